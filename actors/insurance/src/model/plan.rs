//! A plan and what it pays of one run.
//!
//! Of the total the patient pays the deductible first; of what is left a fixed copay and a percentage,
//! together at most the copay maximum; the plan pays the rest, at most its own maximum, and the patient
//! what that leaves.
//!
//! Invariants: the plan's part and the patient's are never negative and add up to the total. Rounding: the
//! plan's side of the percentage is rounded half up to a whole minor unit, the remainder is the patient's.
//! The deductible counts for each run: the plan keeps no year's account.

use serde::{Deserialize, Serialize};
use shers_contract::{Currency, PlanId};

/// A plan, as `PUT /plans/{id}` takes it and as it is stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Id.
    pub plan_id: PlanId,
    /// Name for people.
    pub name: String,
    /// Currency of all its amounts.
    pub currency: Currency,
    /// What the patient pays before the plan pays anything, minor units, each run.
    #[serde(default)]
    pub deductible_minor: i64,
    /// Fixed copay of each run, minor units.
    #[serde(default)]
    pub copay_minor: i64,
    /// Copay in percent of what the deductible and the fixed copay leave, 0 to 100.
    #[serde(default)]
    pub copay_percent: u8,
    /// Most that both copays take together, minor units; null: no limit.
    #[serde(default)]
    pub copay_maximum_minor: Option<i64>,
    /// Most that the plan pays for one run, minor units; null: no limit.
    #[serde(default)]
    pub maximum_minor: Option<i64>,
    /// Services it does not cover: `ambulance-als`, `ambulance-bls`, `ambulance-no-transport`.
    #[serde(default)]
    pub exclusions: Vec<String>,
    /// When it is in force; without one, always.
    #[serde(default)]
    pub period: Validity,
    /// How the sandbox misbehaves for members of this plan.
    #[serde(default)]
    pub sandbox: Behaviour,
}

/// Days on which a plan is in force, both included, UTC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validity {
    /// First day.
    #[serde(default)]
    pub from: Option<jiff::civil::Date>,
    /// Last day.
    #[serde(default)]
    pub until: Option<jiff::civil::Date>,
}

/// What the sandbox does to each question before it answers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behaviour {
    /// Times it answers with an error first.
    #[serde(default)]
    pub error_times: u32,
    /// Times it then answers `queued`.
    #[serde(default)]
    pub queued_times: u32,
}

impl Behaviour {
    /// Whether it misbehaves at all.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.error_times == 0 && self.queued_times == 0
    }
}

/// A plan that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct PlanError {
    /// JSON pointer to the value.
    pub field: &'static str,
    /// What would be right.
    pub reason: String,
}

/// How a plan divides a total.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// The plan pays.
    pub insurer_minor: i64,
    /// The patient pays.
    pub patient_minor: i64,
    /// Of that, the deductible.
    pub deductible_minor: i64,
    /// Of that, both copays.
    pub copay_minor: i64,
}

impl Plan {
    /// Checks that the plan can be applied.
    ///
    /// # Errors
    /// The first value that cannot be right.
    pub fn check(&self) -> Result<(), PlanError> {
        let error = |field, reason: &str| Err(PlanError { field, reason: reason.to_owned() });
        if self.name.trim().is_empty() || self.name.chars().count() > 200 {
            return error("/name", "a plan needs a name of 1 to 200 characters");
        }
        let amounts = [
            ("/deductible_minor", Some(self.deductible_minor)),
            ("/copay_minor", Some(self.copay_minor)),
            ("/copay_maximum_minor", self.copay_maximum_minor),
            ("/maximum_minor", self.maximum_minor),
        ];
        for (field, amount) in amounts {
            if amount.is_some_and(|amount| amount < 0) {
                return error(field, "an amount is 0 or more, in whole minor units");
            }
        }
        if self.copay_percent > 100 {
            return error("/copay_percent", "a percentage is 0 to 100");
        }
        match (self.period.from, self.period.until) {
            (Some(from), Some(until)) if until < from => error("/period", "`until` is not before `from`"),
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }

    /// Whether it is in force on a day; without a day, whether it always is.
    #[must_use]
    pub fn in_force(&self, day: Option<jiff::civil::Date>) -> bool {
        let Validity { from, until } = self.period;
        match day {
            Some(day) => from.is_none_or(|from| from <= day) && until.is_none_or(|until| day <= until),
            None => from.is_none() && until.is_none(),
        }
    }

    /// Whether it does not cover a service.
    #[must_use]
    pub fn excludes(&self, service: &str) -> bool {
        self.exclusions.iter().any(|excluded| excluded == service)
    }

    /// How it divides a total that is not negative.
    #[must_use]
    pub fn split(&self, total_minor: i64) -> Share {
        let total = total_minor.max(0);
        let deductible = self.deductible_minor.clamp(0, total);
        let left = total - deductible;
        let fixed = self.copay_minor.clamp(0, left);
        let by_percent = (left - fixed) - plan_side(left - fixed, self.copay_percent);
        let copay = self.copay_maximum_minor.map_or(fixed + by_percent, |most| (fixed + by_percent).min(most.max(0)));
        let payable = left - copay;
        let insurer = self.maximum_minor.map_or(payable, |most| payable.min(most.max(0)));
        Share {
            insurer_minor: insurer,
            patient_minor: total - insurer,
            deductible_minor: deductible,
            copay_minor: copay,
        }
    }

    /// The plans that are there from the beginning.
    #[must_use]
    pub fn built_in() -> Vec<Self> {
        let plan = |id: &str, name: &str| {
            PlanId::new(id).ok().map(|plan_id| Self {
                plan_id,
                name: name.to_owned(),
                currency: Currency::CHF,
                deductible_minor: 0,
                copay_minor: 0,
                copay_percent: 0,
                copay_maximum_minor: None,
                maximum_minor: None,
                exclusions: Vec::new(),
                period: Validity::default(),
                sandbox: Behaviour::default(),
            })
        };
        let basic = plan("basic", "Basic (sandbox)").map(|plan| Self { copay_percent: 10, ..plan });
        let full = plan("full", "Full (sandbox)");
        let standard = plan("standard", "Standard (sandbox)").map(|plan| Self {
            deductible_minor: 30_000,
            copay_percent: 10,
            copay_maximum_minor: Some(70_000),
            maximum_minor: Some(500_000),
            ..plan
        });
        let late = plan("sandbox-queued", "Answers late (sandbox)").map(|plan| Self {
            copay_percent: 10,
            sandbox: Behaviour { error_times: 1, queued_times: 2 },
            ..plan
        });
        [basic, full, standard, late].into_iter().flatten().collect()
    }
}

/// The plan's side of an amount when the patient pays `percent` of it, rounded half up.
fn plan_side(amount_minor: i64, percent: u8) -> i64 {
    let share = i128::from(100_u8.saturating_sub(percent));
    let exact = i128::from(amount_minor) * share;
    i64::try_from((exact + 50) / 100).unwrap_or(amount_minor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan(deductible: i64, copay: i64, percent: u8, copay_maximum: Option<i64>, maximum: Option<i64>) -> Plan {
        Plan {
            plan_id: PlanId::new("p").expect("an id"),
            name: "Plan".to_owned(),
            currency: Currency::CHF,
            deductible_minor: deductible,
            copay_minor: copay,
            copay_percent: percent,
            copay_maximum_minor: copay_maximum,
            maximum_minor: maximum,
            exclusions: vec!["ambulance-bls".to_owned()],
            period: Validity { from: "2026-01-01".parse().ok(), until: "2026-12-31".parse().ok() },
            sandbox: Behaviour::default(),
        }
    }

    #[test]
    fn a_plan_pays_what_its_terms_say() {
        for (what, plan, total, insurer) in [
            ("all", plan(0, 0, 0, None, None), 100_000, 100_000),
            ("ten percent copay", plan(0, 0, 10, None, None), 100_000, 90_000),
            ("half a unit goes to the plan", plan(0, 0, 50, None, None), 5, 3),
            ("the deductible first", plan(30_000, 0, 10, None, None), 100_000, 63_000),
            ("a deductible above the total", plan(30_000, 0, 0, None, None), 20_000, 0),
            ("a fixed copay", plan(0, 5_000, 0, None, None), 100_000, 95_000),
            ("copays up to their maximum", plan(0, 5_000, 50, Some(20_000), None), 100_000, 80_000),
            ("no more than its own maximum", plan(0, 0, 0, None, Some(40_000)), 100_000, 40_000),
            ("all to the patient", plan(0, 0, 100, None, None), 100_000, 0),
            ("nothing of nothing", plan(1, 1, 10, Some(1), Some(1)), 0, 0),
        ] {
            let share = plan.split(total);
            assert_eq!((share.insurer_minor, share.patient_minor), (insurer, total - insurer), "{what}");
        }
    }

    #[test]
    fn a_plan_is_in_force_from_its_first_day_to_its_last() {
        let plan = plan(0, 0, 0, None, None);
        for (day, want) in [("2025-12-31", false), ("2026-01-01", true), ("2026-12-31", true), ("2027-01-01", false)] {
            assert_eq!(plan.in_force(day.parse().ok()), want, "{day}");
        }
        assert!(!plan.in_force(None), "no day, but a period");
    }

    #[test]
    fn an_impossible_plan_is_refused_by_field() {
        let good = plan(0, 0, 0, None, None);
        assert_eq!(good.check(), Ok(()));
        for (field, bad) in [
            ("/name", Plan { name: " ".to_owned(), ..good.clone() }),
            ("/deductible_minor", Plan { deductible_minor: -1, ..good.clone() }),
            ("/maximum_minor", Plan { maximum_minor: Some(-1), ..good.clone() }),
            ("/copay_percent", Plan { copay_percent: 101, ..good.clone() }),
            ("/period", Plan { period: Validity { from: good.period.until, until: good.period.from }, ..good }),
        ] {
            assert_eq!(bad.check().map_err(|error| error.field), Err(field));
        }
    }

    #[test]
    fn the_built_in_plans_are_possible_and_say_sandbox() {
        let plans = Plan::built_in();
        assert_eq!(plans.len(), 4);
        for plan in plans {
            assert_eq!(plan.check(), Ok(()), "{}", plan.plan_id);
            assert!(plan.name.contains("sandbox"), "{}", plan.name);
        }
    }

    fn limit() -> impl Strategy<Value = Option<i64>> {
        proptest::option::of(0..=i64::MAX)
    }

    proptest! {
        #[test]
        fn both_shares_add_up_to_the_total_and_none_is_negative(
            total in 0..=i64::MAX, deductible in 0..=i64::MAX, copay in 0..=i64::MAX,
            percent in 0..=100_u8, copay_maximum in limit(), maximum in limit(),
        ) {
            let share = plan(deductible, copay, percent, copay_maximum, maximum).split(total);
            prop_assert!(share.insurer_minor >= 0 && share.patient_minor >= 0);
            prop_assert_eq!(share.insurer_minor.checked_add(share.patient_minor), Some(total));
            prop_assert!(maximum.is_none_or(|most| share.insurer_minor <= most));
            prop_assert!(share.deductible_minor + share.copay_minor <= share.patient_minor);
        }

        #[test]
        fn a_dearer_run_never_makes_the_plan_pay_less(
            total in 0..1_000_000_000_i64, more in 0..1_000_000_i64, deductible in 0..1_000_000_i64,
            percent in 0..=100_u8, maximum in limit(),
        ) {
            let plan = plan(deductible, 0, percent, None, maximum);
            prop_assert!(plan.split(total + more).insurer_minor >= plan.split(total).insurer_minor);
        }
    }
}
