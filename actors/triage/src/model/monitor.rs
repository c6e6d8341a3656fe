//! One wearer over time: what class was announced, and when it is announced again.
//!
//! States ([`Watch`]): `New` (nothing announced yet), `Calm` (Normal, Abnormal or Insufficient was
//! announced), `Emergency` (open since some instant).
//!
//! Invariants:
//! - Everything happens in event time: the outcome depends on the readings and on when the house
//!   received them, never on when they are looked at. A replay gives the same.
//! - Missing data never lowers an open Emergency: while it is open, values that counted when it opened
//!   do not expire, and leaving it needs enough fresh values besides.
//! - A reading that was late on arrival changes nothing.
//! - A repeat changes nothing and announces nothing.
//! - A class is announced when it changes. Within an open Emergency only a new SOS or fall is announced
//!   again, each at most once per refractory time.
//!
//! A vendor's fall flag is taken as a fall without recovery until falls are confirmed from movement.

use super::assess::{Assessment, Rule, assess};
use super::evidence::Evidence;
use super::explain;
use super::rules::Rules;
use super::subject::Subject;
use serde::{Deserialize, Serialize};
use shers_contract::{
    PatientId, Timestamp,
    triage::{Class, TriageStatus},
    vitals::Reading,
};

/// What is announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Watch {
    /// Nothing yet.
    #[default]
    New,
    /// Anything but Emergency.
    Calm(Class),
    /// An Emergency is open.
    Emergency {
        /// Since when, in event time.
        opened_at: Timestamp,
    },
}

impl Watch {
    /// The class announced.
    #[must_use]
    pub const fn class(self) -> Option<Class> {
        match self {
            Self::New => None,
            Self::Calm(class) => Some(class),
            Self::Emergency { .. } => Some(Class::Emergency),
        }
    }
    const fn open_since(self) -> Option<Timestamp> {
        match self {
            Self::Emergency { opened_at } => Some(opened_at),
            Self::New | Self::Calm(_) => None,
        }
    }
}

/// A wearer's monitor. Stored as a document beside each announcement.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Monitor {
    /// What is known.
    pub evidence: Evidence,
    /// What is announced.
    pub watch: Watch,
    /// The SOS that was announced last.
    pub sos_announced: Option<Timestamp>,
    /// The fall that was announced last.
    pub fall_announced: Option<Timestamp>,
}

impl Monitor {
    /// Takes in a reading that was judged before, without judging it again: for rebuilding.
    pub fn absorb(&mut self, reading: &Reading, received_at: Timestamp, rules: &Rules) {
        if !is_late(reading, received_at, rules) {
            self.evidence.merge(reading, received_at);
        }
    }

    /// Takes in a reading that the house received at `received_at`, and says what there is to announce.
    pub fn observe(
        &mut self,
        reading: &Reading,
        received_at: Timestamp,
        subject: &Subject,
        rules: &Rules,
    ) -> Option<TriageStatus> {
        if is_late(reading, received_at, rules) {
            return None;
        }
        self.evidence.merge(reading, received_at);
        let at = self.evidence.latest_at.unwrap_or(reading.at);
        self.judge(&reading.patient_id, at, reading.at, subject, rules)
    }

    /// Judges again without a reading, at `now`: values may have come to their end. Never announces an
    /// Emergency, and never ends one.
    pub fn expire(
        &mut self,
        patient_id: &PatientId,
        now: Timestamp,
        subject: &Subject,
        rules: &Rules,
    ) -> Option<TriageStatus> {
        let latest_at = self.evidence.latest_at?;
        match self.watch {
            Watch::New | Watch::Emergency { .. } => None,
            Watch::Calm(_) if now <= latest_at => None,
            Watch::Calm(_) => {
                let assessment = assess(&self.evidence, subject.applies(now), rules, now, None);
                match assessment.class {
                    Class::Emergency => None,
                    Class::Insufficient | Class::Normal | Class::Abnormal => {
                        self.judge(patient_id, now, latest_at, subject, rules)
                    }
                }
            }
        }
    }

    fn judge(
        &mut self,
        patient_id: &PatientId,
        at: Timestamp,
        reading_at: Timestamp,
        subject: &Subject,
        rules: &Rules,
    ) -> Option<TriageStatus> {
        let applies = subject.applies(at);
        let fresh = assess(&self.evidence, applies, rules, at, None);
        let (assessment, held) = match self.watch.open_since() {
            None => (fresh, false),
            Some(since) => {
                let held = assess(&self.evidence, applies, rules, at, Some(since));
                let stays_open = held.class == Class::Emergency || fresh.class == Class::Insufficient;
                match (stays_open, fresh.class) {
                    (true, Class::Emergency) | (false, _) => (fresh, false),
                    (true, Class::Insufficient | Class::Normal | Class::Abnormal) => {
                        (Assessment { class: Class::Emergency, ..held }, true)
                    }
                }
            }
        };
        let again = self.new_alarm(assessment, rules);
        let previous = self.watch.class();
        if previous == Some(assessment.class) && again.is_none() {
            return None;
        }
        let assessment = again.map_or(assessment, |rule| Assessment { rule, ..assessment });
        self.announce(&assessment);
        Some(TriageStatus {
            patient_id: patient_id.clone(),
            class: assessment.class,
            previous,
            rule: assessment.rule.name().to_owned(),
            reason: explain::reason(&assessment, &self.evidence, held),
            score: explain::score(&assessment),
            findings: explain::findings(&assessment, &self.evidence),
            clears_when: explain::clears_when(&assessment, rules),
            reading_at,
            location: self.evidence.location.map(|sample| sample.value),
        })
    }

    /// An SOS or a fall within an open Emergency that was not announced yet and is out of the
    /// refractory time of the last one that was.
    fn new_alarm(&self, assessment: Assessment, rules: &Rules) -> Option<Rule> {
        if assessment.class != Class::Emergency || self.watch.open_since().is_none() {
            return None;
        }
        let wait_ms = 1000 * i64::from(rules.refractory_s);
        let hold_ms = 1000 * i64::from(rules.alarm_hold_s);
        let due = |happened: Option<Timestamp>, announced: Option<Timestamp>| {
            happened.is_some_and(|t| {
                assessment.at.ms_since(t) < hold_ms && announced.is_none_or(|before| t.ms_since(before) >= wait_ms)
            })
        };
        if due(self.evidence.sos_at, self.sos_announced) {
            Some(Rule::Sos)
        } else if due(self.evidence.fall_at, self.fall_announced) {
            Some(Rule::Fall)
        } else {
            None
        }
    }

    fn announce(&mut self, assessment: &Assessment) {
        match assessment.rule {
            // Both at once are one alarm.
            Rule::Sos => {
                self.sos_announced = self.evidence.sos_at;
                self.fall_announced = self.evidence.fall_at;
            }
            Rule::Fall => self.fall_announced = self.evidence.fall_at,
            Rule::Extreme(_) | Rule::Total | Rule::SingleRed | Rule::InsufficientData => {}
        }
        self.watch = match (self.watch, assessment.class) {
            (open @ Watch::Emergency { .. }, Class::Emergency) => open,
            (Watch::New | Watch::Calm(_), Class::Emergency) => Watch::Emergency { opened_at: assessment.at },
            (_, calm @ (Class::Normal | Class::Abnormal | Class::Insufficient)) => Watch::Calm(calm),
        };
    }
}

/// Too old on arrival: for the history only.
fn is_late(reading: &Reading, received_at: Timestamp, rules: &Rules) -> bool {
    received_at.ms_since(reading.at) > 1000 * i64::from(rules.late_after_s)
}
