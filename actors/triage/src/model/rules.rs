//! Thresholds that are data. The NEWS2 table itself is fixed.

use super::news2::Parameter;
use serde::{Deserialize, Serialize};
use shers_contract::Problem;

/// How long a value counts, in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lives {
    /// Heart rate, seconds.
    pub heart_rate_s: u32,
    /// SpO2, seconds.
    pub spo2_s: u32,
    /// Respiration rate, seconds.
    pub respiration_rate_s: u32,
    /// Blood pressure, seconds.
    pub systolic_s: u32,
    /// Temperature, seconds.
    pub temperature_s: u32,
    /// Consciousness, seconds.
    pub consciousness_s: u32,
    /// Air or oxygen, seconds.
    pub oxygen_s: u32,
}

impl Default for Lives {
    fn default() -> Self {
        Self {
            heart_rate_s: 5 * 60,
            spo2_s: 5 * 60,
            respiration_rate_s: 5 * 60,
            systolic_s: 4 * 3600,
            temperature_s: 12 * 3600,
            consciousness_s: 12 * 3600,
            oxygen_s: 12 * 3600,
        }
    }
}

impl Lives {
    /// The life of one parameter, in milliseconds.
    #[must_use]
    pub fn of_ms(&self, parameter: Parameter) -> i64 {
        1000 * i64::from(match parameter {
            Parameter::RespirationRate => self.respiration_rate_s,
            Parameter::Spo2 => self.spo2_s,
            Parameter::Oxygen => self.oxygen_s,
            Parameter::Systolic => self.systolic_s,
            Parameter::HeartRate => self.heart_rate_s,
            Parameter::Consciousness => self.consciousness_s,
            Parameter::Temperature => self.temperature_s,
        })
    }
}

/// What may be changed with `PUT /rules`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Lives of the values.
    pub lives: Lives,
    /// A reading older than this when it is received raises nothing, seconds.
    pub late_after_s: u32,
    /// A repeat of SOS or fall within an open Emergency is announced again only after this, seconds.
    pub refractory_s: u32,
    /// How long an SOS press or a fall holds the class Emergency by itself, seconds.
    pub alarm_hold_s: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self { lives: Lives::default(), late_after_s: 15 * 60, refractory_s: 15 * 60, alarm_hold_s: 15 * 60 }
    }
}

/// Shortest life or wait that makes sense, seconds.
const SHORTEST_S: u32 = 10;
/// Longest, seconds: readings older than a week are refused at the door anyway.
const LONGEST_S: u32 = 7 * 24 * 3600;

impl Rules {
    /// Says which value, if any, cannot be meant.
    ///
    /// # Errors
    /// A problem that names the field and its range.
    pub fn check(&self) -> Result<(), Problem> {
        let fields = [
            ("/lives/heart_rate_s", self.lives.heart_rate_s),
            ("/lives/spo2_s", self.lives.spo2_s),
            ("/lives/respiration_rate_s", self.lives.respiration_rate_s),
            ("/lives/systolic_s", self.lives.systolic_s),
            ("/lives/temperature_s", self.lives.temperature_s),
            ("/lives/consciousness_s", self.lives.consciousness_s),
            ("/lives/oxygen_s", self.lives.oxygen_s),
            ("/late_after_s", self.late_after_s),
            ("/refractory_s", self.refractory_s),
            ("/alarm_hold_s", self.alarm_hold_s),
        ];
        match fields.into_iter().find(|(_, value)| !(SHORTEST_S..=LONGEST_S).contains(value)) {
            Some((field, value)) => Err(Problem::invalid(
                field,
                format!("{field} must be {SHORTEST_S} to {LONGEST_S} seconds (got {value})"),
            )),
            None => Ok(()),
        }
    }
}
