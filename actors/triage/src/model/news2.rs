//! NEWS2 (Royal College of Physicians, 2017): the table, and totals with some parameters missing.
//!
//! Invariants:
//! - A missing parameter is never a silent 0: it widens the bounds up to its own maximum.
//! - `lower <= total <= upper` for every way the missing parameters could turn out.
//! - Learning a value never widens the bounds.

use serde::{Deserialize, Serialize};
use shers_contract::vitals::{Consciousness, TenthsCelsius};

/// The seven parameters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parameter {
    /// Breaths per minute.
    RespirationRate,
    /// Oxygen saturation.
    Spo2,
    /// Air or supplemental oxygen.
    Oxygen,
    /// Systolic blood pressure.
    Systolic,
    /// Pulse.
    HeartRate,
    /// ACVPU.
    Consciousness,
    /// Body temperature.
    Temperature,
}

impl Parameter {
    /// All seven, in the order of the chart.
    pub const ALL: [Self; 7] = [
        Self::RespirationRate,
        Self::Spo2,
        Self::Oxygen,
        Self::Systolic,
        Self::HeartRate,
        Self::Consciousness,
        Self::Temperature,
    ];

    /// As in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RespirationRate => "respiration-rate",
            Self::Spo2 => "spo2",
            Self::Oxygen => "oxygen",
            Self::Systolic => "systolic",
            Self::HeartRate => "heart-rate",
            Self::Consciousness => "consciousness",
            Self::Temperature => "temperature",
        }
    }

    /// As a person says it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::RespirationRate => "respiration rate",
            Self::Spo2 => "SpO2",
            Self::Oxygen => "air or oxygen",
            Self::Systolic => "systolic blood pressure",
            Self::HeartRate => "heart rate",
            Self::Consciousness => "consciousness",
            Self::Temperature => "temperature",
        }
    }

    /// The most points it can give.
    #[must_use]
    pub const fn max_points(self) -> u8 {
        match self {
            Self::Oxygen => 2,
            Self::RespirationRate
            | Self::Spo2
            | Self::Systolic
            | Self::HeartRate
            | Self::Consciousness
            | Self::Temperature => 3,
        }
    }
}

/// Which SpO2 column applies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spo2Scale {
    /// For everyone else.
    #[default]
    One,
    /// Prescribed: hypercapnic respiratory failure with a target of 88–92 %.
    Two,
}

/// Values to score; `None` is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Values {
    /// Breaths per minute.
    pub respiration_rate_bpm: Option<u16>,
    /// Percent.
    pub spo2_pct: Option<u8>,
    /// On supplemental oxygen.
    pub oxygen: Option<bool>,
    /// Millimetres of mercury.
    pub systolic_mmhg: Option<u16>,
    /// Beats per minute.
    pub heart_rate_bpm: Option<u16>,
    /// ACVPU.
    pub consciousness: Option<Consciousness>,
    /// Tenths of a degree.
    pub temperature: Option<TenthsCelsius>,
}

/// Points one parameter may have: a range only where another missing parameter decides (scale 2 with
/// air or oxygen unknown).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Points {
    /// At least.
    pub lower: u8,
    /// At most.
    pub upper: u8,
}

impl Points {
    const fn exactly(points: u8) -> Self {
        Self { lower: points, upper: points }
    }
}

/// A score, perhaps partial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scored {
    /// Points by parameter; `None` where the value is missing.
    pub points: [(Parameter, Option<Points>); 7],
    /// Least possible total.
    pub lower: u8,
    /// Greatest possible total.
    pub upper: u8,
    /// Some known parameter scores 3 for certain.
    pub single_red: bool,
}

impl Scored {
    /// Parameters without a value.
    pub fn missing(&self) -> impl Iterator<Item = Parameter> + '_ {
        self.points.iter().filter(|(_, points)| points.is_none()).map(|(parameter, _)| *parameter)
    }
    /// Parameters with a value, and its certain points.
    pub fn known(&self) -> impl Iterator<Item = (Parameter, u8)> + '_ {
        self.points.iter().filter_map(|(parameter, points)| points.map(|p| (*parameter, p.lower)))
    }
}

/// Scores `values`.
#[must_use]
pub fn score(values: &Values, scale: Spo2Scale) -> Scored {
    let exactly = |points: Option<u8>| points.map(Points::exactly);
    let points = [
        (Parameter::RespirationRate, exactly(values.respiration_rate_bpm.map(respiration_points))),
        (Parameter::Spo2, values.spo2_pct.map(|pct| spo2_points(scale, pct, values.oxygen))),
        (Parameter::Oxygen, exactly(values.oxygen.map(oxygen_points))),
        (Parameter::Systolic, exactly(values.systolic_mmhg.map(systolic_points))),
        (Parameter::HeartRate, exactly(values.heart_rate_bpm.map(heart_rate_points))),
        (Parameter::Consciousness, exactly(values.consciousness.map(consciousness_points))),
        (Parameter::Temperature, exactly(values.temperature.map(temperature_points))),
    ];
    let mut scored = Scored { points, lower: 0, upper: 0, single_red: false };
    for (parameter, points) in points {
        match points {
            Some(p) => {
                scored.lower += p.lower;
                scored.upper += p.upper;
                scored.single_red |= p.lower == 3;
            }
            None => scored.upper += parameter.max_points(),
        }
    }
    scored
}

/// Respiration rate.
#[must_use]
pub const fn respiration_points(per_minute: u16) -> u8 {
    match per_minute {
        0..=8 | 25.. => 3,
        9..=11 => 1,
        12..=20 => 0,
        21..=24 => 2,
    }
}

/// SpO2, on scale 1, or on scale 2 where air or oxygen counts from 93 % up.
#[must_use]
pub const fn spo2_points(scale: Spo2Scale, pct: u8, oxygen: Option<bool>) -> Points {
    let on_oxygen = match scale {
        Spo2Scale::One => {
            return Points::exactly(match pct {
                0..=91 => 3,
                92..=93 => 2,
                94..=95 => 1,
                96.. => 0,
            });
        }
        Spo2Scale::Two => match pct {
            0..=83 => return Points::exactly(3),
            84..=85 => return Points::exactly(2),
            86..=87 => return Points::exactly(1),
            88..=92 => return Points::exactly(0),
            93..=94 => 1,
            95..=96 => 2,
            97.. => 3,
        },
    };
    match oxygen {
        Some(true) => Points::exactly(on_oxygen),
        Some(false) => Points::exactly(0),
        None => Points { lower: 0, upper: on_oxygen },
    }
}

/// Air or oxygen.
#[must_use]
pub const fn oxygen_points(on_oxygen: bool) -> u8 {
    if on_oxygen { 2 } else { 0 }
}

/// Systolic blood pressure.
#[must_use]
pub const fn systolic_points(mmhg: u16) -> u8 {
    match mmhg {
        0..=90 | 220.. => 3,
        91..=100 => 2,
        101..=110 => 1,
        111..=219 => 0,
    }
}

/// Pulse.
#[must_use]
pub const fn heart_rate_points(per_minute: u16) -> u8 {
    match per_minute {
        0..=40 | 131.. => 3,
        41..=50 | 91..=110 => 1,
        51..=90 => 0,
        111..=130 => 2,
    }
}

/// Consciousness: anything but alert is red.
#[must_use]
pub const fn consciousness_points(level: Consciousness) -> u8 {
    match level {
        Consciousness::Alert => 0,
        Consciousness::Confused | Consciousness::Voice | Consciousness::Pain | Consciousness::Unresponsive => 3,
    }
}

/// Temperature.
#[must_use]
pub const fn temperature_points(temperature: TenthsCelsius) -> u8 {
    match temperature.0 {
        ..=350 => 3,
        351..=360 | 381..=390 => 1,
        361..=380 => 0,
        391.. => 2,
    }
}

/// The table as data, for people who ask which rules apply. A test holds it against [`score`].
#[must_use]
pub fn table() -> serde_json::Value {
    serde_json::json!({
        "source": "Royal College of Physicians, National Early Warning Score (NEWS) 2, 2017",
        "respiration_rate_bpm": [["..8", 3], ["9..11", 1], ["12..20", 0], ["21..24", 2], ["25..", 3]],
        "spo2_pct_scale_1": [["..91", 3], ["92..93", 2], ["94..95", 1], ["96..", 0]],
        "spo2_pct_scale_2_on_air": [["..83", 3], ["84..85", 2], ["86..87", 1], ["88..", 0]],
        "spo2_pct_scale_2_on_oxygen":
            [["..83", 3], ["84..85", 2], ["86..87", 1], ["88..92", 0], ["93..94", 1], ["95..96", 2], ["97..", 3]],
        "oxygen": [["air", 0], ["oxygen", 2]],
        "systolic_mmhg": [["..90", 3], ["91..100", 2], ["101..110", 1], ["111..219", 0], ["220..", 3]],
        "heart_rate_bpm":
            [["..40", 3], ["41..50", 1], ["51..90", 0], ["91..110", 1], ["111..130", 2], ["131..", 3]],
        "consciousness": [["alert", 0], ["confused", 3], ["voice", 3], ["pain", 3], ["unresponsive", 3]],
        "temperature_c": [["..35.0", 3], ["35.1..36.0", 1], ["36.1..38.0", 0], ["38.1..39.0", 1], ["39.1..", 2]],
    })
}
