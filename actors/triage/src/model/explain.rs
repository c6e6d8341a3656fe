//! What a person reads: the findings, one sentence why, and one what would clear it.

use super::assess::{ABNORMAL_FROM, Assessment, EMERGENCY_FROM, Extreme, Rule, core_known};
use super::evidence::Evidence;
use super::news2::{Parameter, Values};
use super::rules::Rules;
use super::subject::Applies;
use shers_contract::{
    Timestamp,
    triage::{Class, Finding, Score},
    vitals::Consciousness,
};

/// The score as it is published.
#[must_use]
pub fn score(assessment: &Assessment) -> Score {
    let scored = &assessment.scored;
    let missing = scored.missing().map(|p| p.name().to_owned()).collect();
    match assessment.applies {
        Applies::News2(_) => Score {
            name: "news2".into(),
            known: scored.lower,
            lower: scored.lower,
            upper: scored.upper,
            single_red: scored.single_red,
            missing,
        },
        Applies::NotInPregnancy | Applies::NotUnder16 => {
            Score { name: "news2-not-valid".into(), known: 0, lower: 0, upper: 20, single_red: false, missing }
        }
    }
}

/// The values that counted, each with its points and age. No points where NEWS2 is not valid.
#[must_use]
pub fn findings(assessment: &Assessment, evidence: &Evidence) -> Vec<Finding> {
    let valid = matches!(assessment.applies, Applies::News2(_));
    assessment
        .scored
        .known()
        .filter_map(|(parameter, points)| {
            let taken_at = evidence.taken_at(parameter)?;
            Some(Finding {
                parameter: parameter.name().to_owned(),
                value: text(parameter, &assessment.values)?,
                points: if valid { points } else { 0 },
                taken_at,
                age_s: assessment.at.ms_since(taken_at) / 1000,
            })
        })
        .collect()
}

/// A value with its unit.
#[must_use]
pub fn text(parameter: Parameter, values: &Values) -> Option<String> {
    match parameter {
        Parameter::RespirationRate => values.respiration_rate_bpm.map(|v| format!("{v} /min")),
        Parameter::Spo2 => values.spo2_pct.map(|v| format!("{v} %")),
        Parameter::Oxygen => values.oxygen.map(|on| if on { "oxygen".into() } else { "air".into() }),
        Parameter::Systolic => values.systolic_mmhg.map(|v| format!("{v} mmHg")),
        Parameter::HeartRate => values.heart_rate_bpm.map(|v| format!("{v} /min")),
        Parameter::Consciousness => values.consciousness.map(|level| {
            match level {
                Consciousness::Alert => "alert",
                Consciousness::Confused => "newly confused",
                Consciousness::Voice => "responds to voice",
                Consciousness::Pain => "responds to pain",
                Consciousness::Unresponsive => "unresponsive",
            }
            .into()
        }),
        Parameter::Temperature => values.temperature.map(|v| format!("{:.1} °C", v.celsius())),
    }
}

/// One sentence: why this class.
#[must_use]
pub fn reason(assessment: &Assessment, evidence: &Evidence, held: bool) -> String {
    let sentence = match assessment.rule {
        Rule::Sos => format!("The wearer pressed the emergency button{}.", at_time(evidence.sos_at)),
        Rule::Fall => format!("The device reported a fall{} and no recovery is known.", at_time(evidence.fall_at)),
        Rule::Extreme(extreme) => extreme_sentence(extreme, &assessment.values),
        Rule::Total => total_sentence(assessment),
        Rule::SingleRed => {
            format!("One parameter alone scores 3 in NEWS2: {}.", contributions(assessment, 3))
        }
        Rule::InsufficientData => insufficient_sentence(&assessment.values, assessment.applies),
    };
    let validity = match (assessment.applies, assessment.rule) {
        (Applies::News2(_), _) | (_, Rule::InsufficientData) => "",
        (Applies::NotInPregnancy, _) => " NEWS2 is not valid in pregnancy.",
        (Applies::NotUnder16, _) => " NEWS2 is not valid under 16 years.",
    };
    let holding = if held { " Values past their life still count because the emergency is open." } else { "" };
    format!("{sentence}{validity}{holding}")
}

fn at_time(at: Option<Timestamp>) -> String {
    at.map(|t| format!(" at {t}")).unwrap_or_default()
}

fn total_sentence(assessment: &Assessment) -> String {
    let scored = &assessment.scored;
    let total = if scored.lower == scored.upper {
        format!("NEWS2 is {}", scored.lower)
    } else {
        format!("NEWS2 is at least {} (at most {} with what is missing)", scored.lower, scored.upper)
    };
    let verdict = match assessment.class {
        Class::Emergency => format!("{EMERGENCY_FROM} or more asks for an emergency response"),
        Class::Abnormal => format!("{ABNORMAL_FROM} or 6 asks for an urgent review"),
        Class::Normal | Class::Insufficient => return format!("{total}, and no parameter alone scores 3."),
    };
    format!("{total}; {verdict}: {}.", contributions(assessment, 1))
}

/// The parameters with at least `from` points, as `heart rate 132 /min (3)`.
fn contributions(assessment: &Assessment, from: u8) -> String {
    let parts: Vec<String> = assessment
        .scored
        .known()
        .filter(|(_, points)| *points >= from)
        .filter_map(|(parameter, points)| {
            Some(format!("{} {} ({points})", parameter.label(), text(parameter, &assessment.values)?))
        })
        .collect();
    parts.join(", ")
}

fn extreme_sentence(extreme: Extreme, values: &Values) -> String {
    let parameter = extreme.parameter();
    let mut label = parameter.label().to_owned();
    if let Some(first) = label.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    let value = text(parameter, values).unwrap_or_default();
    let limit = match extreme {
        Extreme::RespirationLow => "below 5",
        Extreme::RespirationHigh => "above 36",
        Extreme::HeartRateLow => "below 40",
        Extreme::HeartRateHigh => "above 140",
        Extreme::SystolicLow => "below 90 mmHg",
        Extreme::Spo2LowOnOxygen => "below 90 % although on oxygen",
    };
    format!("{label} {value} is {limit}: an emergency by itself.")
}

fn insufficient_sentence(values: &Values, applies: Applies) -> String {
    match applies {
        Applies::NotUnder16 => {
            "NEWS2 is not valid under 16 years, so only an SOS, a fall or an extreme value decides.".into()
        }
        Applies::NotInPregnancy => {
            "NEWS2 is not valid in pregnancy, so only an SOS, a fall or an extreme value decides.".into()
        }
        Applies::News2(_) => format!(
            "Of heart rate, SpO2 and respiration rate {} fresh; two are needed to say that a wearer is well.",
            match core_known(values) {
                0 => "none is",
                _ => "only one is",
            }
        ),
    }
}

/// One sentence: what would clear it; `None` when nothing has to be cleared.
#[must_use]
pub fn clears_when(assessment: &Assessment, rules: &Rules) -> Option<String> {
    let enough = "at least two of heart rate, SpO2 and respiration rate are fresh";
    let sentence = match (assessment.class, assessment.rule) {
        (Class::Normal, _) => return None,
        (Class::Insufficient, _) => match assessment.applies {
            Applies::News2(_) => format!("Clears when {enough}."),
            Applies::NotInPregnancy | Applies::NotUnder16 => return None,
        },
        (Class::Abnormal, _) => {
            format!("Clears when NEWS2 is below {ABNORMAL_FROM}, no parameter scores 3, and {enough}.")
        }
        (Class::Emergency, Rule::Sos | Rule::Fall) => format!(
            "Clears when {} minutes have passed without another, and fresh values give no reason for an emergency.",
            rules.alarm_hold_s / 60
        ),
        (Class::Emergency, Rule::Extreme(extreme)) => format!(
            "Clears when a newer {} is within its limits, NEWS2 is below {EMERGENCY_FROM}, and {enough}.",
            extreme.parameter().label()
        ),
        (Class::Emergency, Rule::Total | Rule::SingleRed | Rule::InsufficientData) => format!(
            "Clears when newer values bring NEWS2 below {EMERGENCY_FROM}, and {enough}; a missing value never does."
        ),
    };
    Some(sentence)
}
