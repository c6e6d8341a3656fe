//! Limits of dispatch, each with its unit.

use crate::eta::EtaSettings;
use crate::model::diversion::Diversion;
use crate::model::hospital::DoorTimes;
use crate::model::mode::ByPerson;
use crate::model::positions::FixLimits;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Settings of the dispatch service.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Who computes drive times.
    pub eta: EtaSettings,
    /// A last position older than this, in seconds, says nothing about where a unit is, unless it is at
    /// its post.
    pub stale_position_s: u32,
    /// A fix older than this, in seconds, is refused.
    pub max_fix_age_s: u32,
    /// A fix or a status further in the future than this, in seconds, is refused: clocks differ.
    pub max_future_s: u32,
    /// Fastest believable ground speed of a unit, in metres per second. Above it a fix is refused.
    pub max_speed_mps: f64,
    /// Distance that GPS noise may add between two fixes, in metres.
    pub gps_noise_m: f64,
    /// An expected arrival that moved by more than this, in seconds, is announced.
    pub eta_change_s: u32,
    /// Shortest time between two announcements for one unit, in seconds.
    pub eta_min_interval_s: u32,
    /// Candidates told in a recommendation, at least 2.
    pub max_candidates: usize,
    /// Excluded units told in a recommendation.
    pub max_excluded: usize,
    /// Candidates tried in turn when a unit refuses because it became busy meanwhile.
    pub max_assign_attempts: usize,
    /// The waiting list is looked through this often, in seconds, for what no event tells (a shift that
    /// begins, a position that goes stale).
    pub sweep_s: u32,
    /// A crew that was told sets out within this time, in seconds; else it counts as out of service until it
    /// reports, and the next unit is sent.
    pub turnout_limit_s: u32,
    /// A unit on its way that does not move for this time, in seconds, is flagged once.
    pub not_moving_s: u32,
    /// Waiting incidents that are served together, from the head of the queue; those behind are served one by
    /// one.
    pub max_joint: usize,
    /// Kinds of incident that a person assigns; all others are automatic.
    pub by_person: Vec<ByPerson>,
    /// Of a fleet of at most so many units, each one that can't go is told in a recommendation, with its reason.
    pub list_all_up_to: usize,
    /// A unit farther than this from its expected way, in metres, is noticed, and its arrival computed at once.
    pub off_route_m: u32,
    /// Whether a unit on its way is moved to a sicker patient: `off`, `advised` or `automatic`.
    pub diversion: Diversion,
    /// Nearer to its arrival than this, in seconds, a unit is never moved.
    pub diversion_min_remaining_s: u32,
    /// Least gain for the sicker patient that is worth a move, in seconds.
    pub diversion_min_gain_s: u32,
    /// Time from arrival to hand-over at a hospital that says nothing about it, in seconds.
    pub default_offload_s: u32,
    /// Added to it for each unit that heads to the same hospital already, in seconds.
    pub offload_per_unit_s: u32,
    /// Positions are kept this long, in seconds.
    pub position_retention_s: u32,
    /// Old positions are dropped this often, in seconds.
    pub prune_interval_s: u32,
    /// Fixes in one event of the journal.
    pub max_fixes_per_event: usize,
    /// Fixes in one request.
    pub max_fixes_per_request: usize,
    /// Requests that may wait to be answered.
    pub queue: usize,
    /// A request that is not answered in this time, in milliseconds, is answered with "outcome unknown".
    pub time_limit_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            eta: EtaSettings::default(),
            stale_position_s: 1_800,
            max_fix_age_s: 3_600,
            max_future_s: 300,
            max_speed_mps: 90.0,
            gps_noise_m: 100.0,
            eta_change_s: 60,
            eta_min_interval_s: 30,
            max_candidates: 5,
            max_excluded: 20,
            max_assign_attempts: 8,
            sweep_s: 15,
            turnout_limit_s: 180,
            not_moving_s: 180,
            max_joint: 40,
            by_person: Vec::new(),
            list_all_up_to: 500,
            off_route_m: 250,
            default_offload_s: 1_200,
            offload_per_unit_s: 300,
            diversion: Diversion::Off,
            diversion_min_remaining_s: 120,
            diversion_min_gain_s: 120,
            position_retention_s: 3_600,
            prune_interval_s: 300,
            max_fixes_per_event: 500,
            max_fixes_per_request: 1_000,
            queue: 4_096,
            time_limit_ms: 10_000,
        }
    }
}

fn ms(seconds: u32) -> i64 {
    i64::from(seconds) * 1_000
}

impl Settings {
    pub(crate) fn fix_limits(&self) -> FixLimits {
        FixLimits {
            max_future_ms: ms(self.max_future_s),
            max_age_ms: ms(self.max_fix_age_s),
            max_speed_mps: self.max_speed_mps,
            noise_m: self.gps_noise_m,
        }
    }
    pub(crate) fn stale_ms(&self) -> i64 {
        ms(self.stale_position_s)
    }
    pub(crate) fn max_future_ms(&self) -> i64 {
        ms(self.max_future_s)
    }
    pub(crate) fn eta_change_ms(&self) -> i64 {
        ms(self.eta_change_s)
    }
    pub(crate) fn eta_interval_ms(&self) -> i64 {
        ms(self.eta_min_interval_s)
    }
    pub(crate) fn door_times(&self) -> DoorTimes {
        DoorTimes { default_offload_s: self.default_offload_s, per_unit_s: self.offload_per_unit_s }
    }
    pub(crate) fn turnout_ms(&self) -> i64 {
        ms(self.turnout_limit_s)
    }
    pub(crate) fn not_moving_ms(&self) -> i64 {
        ms(self.not_moving_s)
    }
    pub(crate) fn retention_ms(&self) -> i64 {
        ms(self.position_retention_s)
    }
    pub(crate) fn sweep(&self) -> Duration {
        Duration::from_secs(u64::from(self.sweep_s.max(1)))
    }
    pub(crate) fn prune_interval(&self) -> Duration {
        Duration::from_secs(u64::from(self.prune_interval_s.max(1)))
    }
    pub(crate) fn time_limit(&self) -> Duration {
        Duration::from_millis(self.time_limit_ms)
    }
}
