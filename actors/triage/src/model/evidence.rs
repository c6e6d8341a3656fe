//! The newest value of each vital sign of one wearer.
//!
//! Invariant: merging readings is idempotent, and the result does not depend on their order: of two
//! values the later measured wins, of two measured at the same instant the greater.

use super::news2::{Parameter, Values};
use super::rules::Lives;
use serde::{Deserialize, Serialize};
use shers_contract::{
    LatLon, Timestamp,
    vitals::{Consciousness, Reading, TenthsCelsius},
};

/// A value with the time it was measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sample<T> {
    /// When.
    pub at: Timestamp,
    /// What.
    pub value: T,
}

/// What is known of a wearer now.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// Breaths per minute.
    pub respiration_rate: Option<Sample<u16>>,
    /// Percent.
    pub spo2: Option<Sample<u8>>,
    /// On oxygen.
    pub oxygen: Option<Sample<bool>>,
    /// Millimetres of mercury.
    pub systolic: Option<Sample<u16>>,
    /// Beats per minute.
    pub heart_rate: Option<Sample<u16>>,
    /// ACVPU.
    pub consciousness: Option<Sample<Consciousness>>,
    /// Tenths of a degree.
    pub temperature: Option<Sample<TenthsCelsius>>,
    /// Last press of the emergency button.
    pub sos_at: Option<Timestamp>,
    /// Last fall the device reported.
    pub fall_at: Option<Timestamp>,
    /// Last known position.
    pub location: Option<Sample<LatLon>>,
    /// Time of the latest reading: "now" in event time.
    pub latest_at: Option<Timestamp>,
}

/// Keeps the later of two values, the greater of two at the same instant.
fn newer<T: Copy>(slot: &mut Option<Sample<T>>, at: Timestamp, value: Option<T>, order: impl Fn(&T) -> i32) {
    let Some(value) = value else { return };
    let keep = slot.is_some_and(|have| (have.at, order(&have.value)) >= (at, order(&value)));
    if !keep {
        *slot = Some(Sample { at, value });
    }
}

const fn acvpu_order(level: &Consciousness) -> i32 {
    match level {
        Consciousness::Alert => 0,
        Consciousness::Confused => 1,
        Consciousness::Voice => 2,
        Consciousness::Pain => 3,
        Consciousness::Unresponsive => 4,
    }
}

impl Evidence {
    /// Takes in what `reading` says, received at `received_at`: a device whose clock runs ahead cannot
    /// push its values into the future, where they would hide the ones that follow.
    pub fn merge(&mut self, reading: &Reading, received_at: Timestamp) {
        let at = reading.at.min(received_at);
        newer(&mut self.respiration_rate, at, reading.respiration_rate_bpm, |v| i32::from(*v));
        newer(&mut self.spo2, at, reading.spo2_pct, |v| i32::from(*v));
        newer(&mut self.oxygen, at, reading.oxygen, |v| i32::from(*v));
        newer(&mut self.systolic, at, reading.systolic_mmhg, |v| i32::from(*v));
        newer(&mut self.heart_rate, at, reading.heart_rate_bpm, |v| i32::from(*v));
        newer(&mut self.consciousness, at, reading.consciousness, acvpu_order);
        newer(&mut self.temperature, at, reading.temperature, |v| i32::from(v.0));
        // A ten-thousandth of a degree is some metres: enough to choose the same of two every time.
        #[expect(clippy::cast_possible_truncation, reason = "degrees are within ±180")]
        newer(&mut self.location, at, reading.location, |p| ((p.lat * 1.0e4) as i32) * 7 + (p.lon * 1.0e4) as i32);
        if reading.sos {
            self.sos_at = self.sos_at.max(Some(at));
        }
        if reading.fall {
            self.fall_at = self.fall_at.max(Some(at));
        }
        self.latest_at = self.latest_at.max(Some(at));
    }

    /// The values that count at `at`: those within their life, and, while an Emergency that opened at
    /// `held_since` is open, also those that were within it then or later. So a value that led to an
    /// Emergency goes on counting until a newer one replaces it.
    #[must_use]
    pub fn values(&self, at: Timestamp, lives: &Lives, held_since: Option<Timestamp>) -> Values {
        let from = held_since.map_or(at, |since| since.min(at));
        let fresh = |taken_at: Timestamp, parameter| from.ms_since(taken_at) <= lives.of_ms(parameter);
        Values {
            respiration_rate_bpm: pick(self.respiration_rate, |t| fresh(t, Parameter::RespirationRate)),
            spo2_pct: pick(self.spo2, |t| fresh(t, Parameter::Spo2)),
            oxygen: pick(self.oxygen, |t| fresh(t, Parameter::Oxygen)),
            systolic_mmhg: pick(self.systolic, |t| fresh(t, Parameter::Systolic)),
            heart_rate_bpm: pick(self.heart_rate, |t| fresh(t, Parameter::HeartRate)),
            consciousness: pick(self.consciousness, |t| fresh(t, Parameter::Consciousness)),
            temperature: pick(self.temperature, |t| fresh(t, Parameter::Temperature)),
        }
    }

    /// When the value of `parameter` was measured.
    #[must_use]
    pub fn taken_at(&self, parameter: Parameter) -> Option<Timestamp> {
        match parameter {
            Parameter::RespirationRate => self.respiration_rate.map(|s| s.at),
            Parameter::Spo2 => self.spo2.map(|s| s.at),
            Parameter::Oxygen => self.oxygen.map(|s| s.at),
            Parameter::Systolic => self.systolic.map(|s| s.at),
            Parameter::HeartRate => self.heart_rate.map(|s| s.at),
            Parameter::Consciousness => self.consciousness.map(|s| s.at),
            Parameter::Temperature => self.temperature.map(|s| s.at),
        }
    }
}

fn pick<T: Copy>(sample: Option<Sample<T>>, fresh: impl Fn(Timestamp) -> bool) -> Option<T> {
    sample.filter(|s| fresh(s.at)).map(|s| s.value)
}
