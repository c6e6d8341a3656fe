//! From the values that count to a class, and the rule that decided.
//!
//! Emergency: an SOS, a fall, a single-parameter extreme, or NEWS2 of 7 and more. Abnormal: NEWS2 of 5
//! or 6, or a single parameter scoring 3. Normal: otherwise, with at least two of heart rate, SpO2 and
//! respiration rate. Fewer: Insufficient, which is never shown as Normal.
//!
//! A partial score counts with its lower bound: what is missing is shown, never assumed.
//!
//! Where NEWS2 is not valid only SOS, falls and extremes decide, and everything else is Insufficient. Of
//! the extremes (adult criteria of medical emergency teams) only those hold for a child that are extreme
//! at every age: respiration below 5, heart rate below 40, SpO2 below 90 % on oxygen.

use super::evidence::Evidence;
use super::news2::{Parameter, Scored, Spo2Scale, Values, score};
use super::rules::Rules;
use super::subject::Applies;
use shers_contract::{Timestamp, triage::Class};

/// Total from which NEWS2 asks for an emergency response.
pub const EMERGENCY_FROM: u8 = 7;
/// Total from which NEWS2 asks for an urgent response.
pub const ABNORMAL_FROM: u8 = 5;
/// How many of heart rate, SpO2 and respiration rate make a wearer assessable.
pub const CORE_NEEDED: usize = 2;

/// The rule that decided.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rule {
    /// The wearer pressed the button.
    Sos,
    /// The device reported a fall.
    Fall,
    /// One vital sign beyond any doubt.
    Extreme(Extreme),
    /// The NEWS2 total.
    Total,
    /// One parameter scores 3.
    SingleRed,
    /// Too little is known.
    InsufficientData,
}

/// Single-parameter extremes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Extreme {
    /// Below 5.
    RespirationLow,
    /// Above 36.
    RespirationHigh,
    /// Below 40.
    HeartRateLow,
    /// Above 140.
    HeartRateHigh,
    /// Below 90 mmHg.
    SystolicLow,
    /// Below 90 % on oxygen.
    Spo2LowOnOxygen,
}

impl Extreme {
    /// The parameter.
    #[must_use]
    pub const fn parameter(self) -> Parameter {
        match self {
            Self::RespirationLow | Self::RespirationHigh => Parameter::RespirationRate,
            Self::HeartRateLow | Self::HeartRateHigh => Parameter::HeartRate,
            Self::SystolicLow => Parameter::Systolic,
            Self::Spo2LowOnOxygen => Parameter::Spo2,
        }
    }
}

impl Rule {
    /// As in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sos => "sos",
            Self::Fall => "fall",
            Self::Extreme(extreme) => match extreme.parameter() {
                Parameter::RespirationRate => "extreme-respiration-rate",
                Parameter::HeartRate => "extreme-heart-rate",
                Parameter::Systolic => "extreme-systolic",
                Parameter::Spo2 | Parameter::Oxygen | Parameter::Consciousness | Parameter::Temperature => {
                    "extreme-spo2"
                }
            },
            Self::Total => "news2-total",
            Self::SingleRed => "single-red",
            Self::InsufficientData => "insufficient-data",
        }
    }
}

/// What the evidence says at one instant.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Assessment {
    /// The class.
    pub class: Class,
    /// Why.
    pub rule: Rule,
    /// The values that counted.
    pub values: Values,
    /// Which score applies.
    pub applies: Applies,
    /// NEWS2 of them (on scale 1 where it is not valid; then it decides nothing and is not shown).
    pub scored: Scored,
    /// The instant, in event time.
    pub at: Timestamp,
}

/// Assesses `evidence` at `at`. With `held_since`, values that counted when the open Emergency began
/// have no end of life.
#[must_use]
pub fn assess(
    evidence: &Evidence,
    applies: Applies,
    rules: &Rules,
    at: Timestamp,
    held_since: Option<Timestamp>,
) -> Assessment {
    let values = evidence.values(at, &rules.lives, held_since);
    let (scale, valid) = match applies {
        Applies::News2(scale) => (scale, true),
        Applies::NotInPregnancy | Applies::NotUnder16 => (Spo2Scale::One, false),
    };
    let scored = score(&values, scale);
    let holds =
        |pressed: Option<Timestamp>| pressed.is_some_and(|t| at.ms_since(t) < 1000 * i64::from(rules.alarm_hold_s));
    let (class, rule) = if holds(evidence.sos_at) {
        (Class::Emergency, Rule::Sos)
    } else if holds(evidence.fall_at) {
        (Class::Emergency, Rule::Fall)
    } else if let Some(extreme) = extreme(&values, applies) {
        (Class::Emergency, Rule::Extreme(extreme))
    } else if !valid {
        (Class::Insufficient, Rule::InsufficientData)
    } else if scored.lower >= EMERGENCY_FROM {
        (Class::Emergency, Rule::Total)
    } else if scored.lower >= ABNORMAL_FROM {
        (Class::Abnormal, Rule::Total)
    } else if scored.single_red {
        (Class::Abnormal, Rule::SingleRed)
    } else if core_known(&values) >= CORE_NEEDED {
        (Class::Normal, Rule::Total)
    } else {
        (Class::Insufficient, Rule::InsufficientData)
    };
    Assessment { class, rule, values, applies, scored, at }
}

/// How many of heart rate, SpO2 and respiration rate are known.
#[must_use]
pub fn core_known(values: &Values) -> usize {
    usize::from(values.heart_rate_bpm.is_some())
        + usize::from(values.spo2_pct.is_some())
        + usize::from(values.respiration_rate_bpm.is_some())
}

/// The first extreme there is, in the order of airway, breathing, circulation.
#[must_use]
pub fn extreme(values: &Values, applies: Applies) -> Option<Extreme> {
    let grown = applies != Applies::NotUnder16;
    let on_oxygen = values.oxygen == Some(true);
    [
        (values.respiration_rate_bpm.is_some_and(|v| v < 5), Extreme::RespirationLow),
        (grown && values.respiration_rate_bpm.is_some_and(|v| v > 36), Extreme::RespirationHigh),
        (on_oxygen && values.spo2_pct.is_some_and(|v| v < 90), Extreme::Spo2LowOnOxygen),
        (values.heart_rate_bpm.is_some_and(|v| v < 40), Extreme::HeartRateLow),
        (grown && values.heart_rate_bpm.is_some_and(|v| v > 140), Extreme::HeartRateHigh),
        (grown && values.systolic_mmhg.is_some_and(|v| v < 90), Extreme::SystolicLow),
    ]
    .into_iter()
    .find_map(|(is, extreme)| is.then_some(extreme))
}
