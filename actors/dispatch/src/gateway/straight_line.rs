//! A fake source of drive times: as the crow flies, at one speed. Anybody can compute what it answers.

use super::{Driving, EtaError, EtaSource, Ranking, Travel};
use async_trait::async_trait;
use shers_contract::LatLon;

/// Drives as the crow flies.
#[derive(Clone, Copy, Debug)]
pub struct StraightLine {
    /// Speed with lights and sirens, metres per second.
    pub urgent_mps: f64,
    /// Speed otherwise, metres per second.
    pub normal_mps: f64,
}

impl Default for StraightLine {
    fn default() -> Self {
        Self { urgent_mps: 20.0, normal_mps: 12.0 }
    }
}

impl StraightLine {
    /// One drive.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float to integer cast saturates, and no place on earth is farther than 20,000 km"
    )]
    pub fn drive(&self, from: LatLon, to: LatLon, driving: Driving) -> Travel {
        let metres = from.distance_m(&to);
        let mps = match driving {
            Driving::LightsAndSirens => self.urgent_mps,
            Driving::Normal => self.normal_mps,
        };
        Travel { duration_s: (metres / mps).ceil() as u32, distance_m: metres.round() as u32 }
    }
}

fn ranked(drives: impl Iterator<Item = Travel>, keep: usize) -> Ranking {
    let mut best: Vec<(usize, Travel)> = drives.enumerate().collect();
    best.sort_by_key(|(index, travel)| (*travel, *index));
    best.truncate(keep);
    Ranking { best, unreachable: Vec::new(), source: "straight-line" }
}

#[async_trait]
impl EtaSource for StraightLine {
    fn name(&self) -> &'static str {
        "straight-line"
    }
    async fn rank_from(&self, from: &[LatLon], to: LatLon, driving: Driving, keep: usize) -> Result<Ranking, EtaError> {
        Ok(ranked(from.iter().map(|from| self.drive(*from, to, driving)), keep))
    }
    async fn rank_to(&self, from: LatLon, to: &[LatLon], driving: Driving, keep: usize) -> Result<Ranking, EtaError> {
        Ok(ranked(to.iter().map(|to| self.drive(from, *to, driving)), keep))
    }
}
