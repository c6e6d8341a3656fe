//! What triage needs to know of a patient besides readings: which score applies.

use super::news2::Spo2Scale;
use serde::{Deserialize, Serialize};
use shers_contract::{Timestamp, patient::Patient};

/// Age from which NEWS2 is valid, years.
pub const ADULT_FROM_YEARS: i16 = 16;

/// Facts about the patient that choose the score.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Subject {
    /// SpO2 column, as prescribed.
    pub scale: Spo2Scale,
    /// NEWS2 is not valid in pregnancy.
    pub pregnant: bool,
    /// For the age; unknown counts as adult.
    pub birth_date: Option<jiff::civil::Date>,
}

/// Which score applies at some time. A score for children takes its place here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Applies {
    /// NEWS2 with this SpO2 column.
    News2(Spo2Scale),
    /// None: pregnant.
    NotInPregnancy,
    /// None: under 16 years.
    NotUnder16,
}

impl Subject {
    /// What `patient` says.
    #[must_use]
    pub fn of(patient: &Patient) -> Self {
        let scale = if patient.spo2_scale_2 { Spo2Scale::Two } else { Spo2Scale::One };
        Self { scale, pregnant: patient.pregnant, birth_date: patient.birth_date }
    }

    /// The score that applies at `at`.
    #[must_use]
    pub fn applies(&self, at: Timestamp) -> Applies {
        if self.birth_date.is_some_and(|born| age_years(born, at) < ADULT_FROM_YEARS) {
            Applies::NotUnder16
        } else if self.pregnant {
            Applies::NotInPregnancy
        } else {
            Applies::News2(self.scale)
        }
    }
}

/// Completed years at `at`, in UTC.
fn age_years(born: jiff::civil::Date, at: Timestamp) -> i16 {
    let Ok(instant) = jiff::Timestamp::from_millisecond(at.as_ms()) else { return i16::MAX };
    let today = jiff::tz::Offset::UTC.to_datetime(instant).date();
    let birthday_passed = (today.month(), today.day()) >= (born.month(), born.day());
    today.year() - born.year() - i16::from(!birthday_passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news2_begins_on_the_sixteenth_birthday_and_never_in_pregnancy() {
        let at = Timestamp::parse("2026-03-01T12:00:00Z").expect("valid");
        for (born, pregnant, want) in [
            (Some("2010-03-01"), false, Applies::News2(Spo2Scale::One)),
            (Some("2010-03-02"), false, Applies::NotUnder16),
            (Some("2026-02-01"), false, Applies::NotUnder16),
            (Some("1950-01-01"), true, Applies::NotInPregnancy),
            (None, false, Applies::News2(Spo2Scale::One)),
        ] {
            let birth_date = born.map(|b| b.parse().expect("a date"));
            let subject = Subject { scale: Spo2Scale::One, pregnant, birth_date };
            assert_eq!(subject.applies(at), want, "{born:?} {pregnant}");
        }
    }
}
