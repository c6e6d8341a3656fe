//! The question to the insurer and what its answer means: pure translation between a bill and FHIR.
//!
//! - Not in force, or excluded: the whole amount is the patient's.
//! - Covered: the insurer pays the `benefit` of the item (`allowedMoney`), at most the total; the patient
//!   pays the rest.
//! - Whatever cannot be understood is an error that is tried again and then waits for a person.

use crate::gateway::insurer::{Ask, Eligibility, Released};
use serde_json::Value;
use shers_contract::{
    Money, Timestamp,
    fhir::{
        Amount, AmountError, BENEFIT_SYSTEM, Concept, CoverageEligibilityRequest, ERROR_SYSTEM, EligibilityRequest,
        EligibilityResponse, Identifier, Outcome, PLAN_SYSTEM, REQUEST_SYSTEM, Reference, RequestInsurance,
        RequestItem, ResponseItem, SERVICE_SYSTEM, Status,
    },
    incident::StartBilling,
};

/// The question could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The amount has no exact decimal.
    #[error("writing the question to the insurer: {0}")]
    Amount(#[from] AmountError),
    /// JSON.
    #[error("writing the question to the insurer")]
    Json(#[from] serde_json::Error),
}

/// The question.
///
/// # Errors
/// See [`WriteError`].
pub fn request(ask: &Ask) -> Result<Value, WriteError> {
    written(ask, Status::Active)
}

/// The same question, cancelled: nothing will be claimed.
///
/// # Errors
/// See [`WriteError`].
pub fn release(ask: &Ask) -> Result<Value, WriteError> {
    written(ask, Status::Cancelled)
}

fn written(ask: &Ask, status: Status) -> Result<Value, WriteError> {
    let billing = &ask.order.request;
    let patient = match &ask.order.patient_id {
        Some(id) => Reference { reference: Some(format!("Patient/{id}")), ..Reference::default() },
        None => Reference { display: Some("not identified".to_owned()), ..Reference::default() },
    };
    let coverage = Reference {
        identifier: Some(Identifier::new(format!("{PLAN_SYSTEM}{}", ask.coverage.plan_id), &ask.coverage.member_id)),
        ..Reference::default()
    };
    let item = RequestItem {
        product_or_service: Some(Concept::code(SERVICE_SYSTEM, &service(billing))),
        unit_price: Some(Amount::of(ask.order.total)?),
    };
    let request = EligibilityRequest {
        resource_type: CoverageEligibilityRequest::default(),
        identifier: vec![Identifier::new(REQUEST_SYSTEM, format!("{}.{}", billing.incident_id.bill(), ask.attempt))],
        status,
        purpose: vec!["benefits".to_owned()],
        patient,
        serviced_date: date(billing.served_at),
        created: ask.created,
        insurer: Reference { display: Some("insurer".to_owned()), ..Reference::default() },
        insurance: vec![RequestInsurance { focal: Some(true), coverage }],
        item: vec![item],
    };
    Ok(serde_json::to_value(request)?)
}

/// The code of what was done.
fn service(billing: &StartBilling) -> String {
    if billing.transported {
        format!("ambulance-{}", billing.level_of_care)
    } else {
        "ambulance-no-transport".to_owned()
    }
}

/// The UTC day of an instant.
fn date(at: Timestamp) -> Option<jiff::civil::Date> {
    at.to_string().get(..10).and_then(|day| day.parse().ok())
}

/// What an answer means for a bill of `total`.
#[must_use]
pub fn understood(response: &EligibilityResponse, total: Money) -> Eligibility {
    match response.outcome {
        Outcome::Queued => Eligibility::Queued,
        Outcome::Error => Eligibility::Error {
            retryable: true,
            reason: format!("the insurer reports an error: {}", errors(response)),
        },
        Outcome::Complete | Outcome::Partial => complete(response, total),
    }
}

fn complete(response: &EligibilityResponse, total: Money) -> Eligibility {
    let answer =
        |insurer: Money, reason: String| Eligibility::Complete { insurer, reason, response_id: response.id.clone() };
    let nothing = total.with_amount(0);
    let Some(insurance) = response.insurance.first() else {
        return not_understood("it names no insurance");
    };
    if insurance.inforce != Some(true) {
        return answer(nothing, "the cover was not in force on the day of service".to_owned());
    }
    let Some(item) = insurance.item.first() else {
        return not_understood("it names no item");
    };
    if item.excluded == Some(true) {
        return answer(nothing, "the plan excludes this service".to_owned());
    }
    let Some(amount) = benefit(item) else {
        return not_understood("the item has no benefit with an allowed amount");
    };
    match amount.to_money() {
        Ok(allowed) if allowed.currency == total.currency && allowed.amount_minor >= 0 => {
            let insurer = total.with_amount(allowed.amount_minor.min(total.amount_minor));
            let reason = response.disposition.clone();
            answer(insurer, reason.unwrap_or_else(|| format!("the plan pays {insurer} of {total}")))
        }
        Ok(allowed) => not_understood(&format!("a benefit of {allowed} does not fit a bill of {total}")),
        Err(error) => not_understood(&error.to_string()),
    }
}

fn not_understood(why: &str) -> Eligibility {
    Eligibility::Error { retryable: true, reason: format!("the insurer's answer can't be used: {why}") }
}

fn benefit(item: &ResponseItem) -> Option<&Amount> {
    let is_benefit = |concept: &Concept| concept.in_system(BENEFIT_SYSTEM) == Some("benefit");
    item.benefit.iter().find(|benefit| is_benefit(&benefit.kind)).and_then(|benefit| benefit.allowed_money.as_ref())
}

fn errors(response: &EligibilityResponse) -> String {
    let codes = response.error.iter().filter_map(|error| error.code.in_system(ERROR_SYSTEM));
    let text = codes.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "no code".to_owned() } else { text }
}

/// What the answer to a release means.
#[must_use]
pub fn released(response: &EligibilityResponse) -> Released {
    match response.outcome {
        Outcome::Complete | Outcome::Partial => Released::Done,
        Outcome::Queued => Released::Error { retryable: true, reason: "the insurer has queued the release".to_owned() },
        Outcome::Error => {
            Released::Error { retryable: true, reason: format!("the insurer reports an error: {}", errors(response)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shers_contract::{
        Currency, IncidentId, PatientId, PlanId, billing::Order, incident::Disposition, patient::CoverageRef,
    };

    fn ask(plan: &str, patient: Option<&str>, transported: bool, total: Money) -> Ask {
        let at = Timestamp::from_ms(1_772_366_400_000);
        let patient_id = patient.map(|id| PatientId::new(id).expect("an id"));
        let request = StartBilling {
            incident_id: IncidentId::new(format!("i-{plan}")).expect("an id"),
            patient_id: patient_id.clone(),
            transported,
            distance_m: 12_345,
            level_of_care: "als".to_owned(),
            disposition: Disposition::Transported,
            served_at: at,
        };
        let order = Order { request, patient_id, lines: Vec::new(), total };
        let coverage = CoverageRef { plan_id: PlanId::new(plan).expect("an id"), member_id: "m-1".to_owned() };
        Ask { order, coverage, attempt: 1, created: at }
    }

    /// The questions that billing may write. With `SHERS_TEST_FHIR_DIR` they are left there for a validator of
    /// FHIR that this project did not write (`scripts/check-fhir`).
    #[test]
    fn every_kind_of_question_is_written_and_read_back() {
        let chf = |minor| Money::new(minor, Currency::CHF);
        let insured = ask("basic", Some("p-1"), true, chf(100_005));
        let questions = [
            ("transport", request(&insured)),
            ("release", release(&insured)),
            ("nobody-known", request(&ask("full", None, true, chf(68_000)))),
            ("no-transport", request(&ask("standard", Some("p-2"), false, chf(25_000)))),
            ("no-decimals", request(&ask("yen", Some("p-3"), true, Money::new(68_000, Currency::JPY)))),
            ("three-decimals", request(&ask("dinar", Some("p-4"), true, Money::new(68_005, Currency::KWD)))),
        ];
        let directory = std::env::var("SHERS_TEST_FHIR_DIR").ok();
        for (name, question) in questions {
            let question = question.expect("written");
            let read: EligibilityRequest = serde_json::from_value(question.clone()).expect("readable");
            assert_eq!(serde_json::to_value(&read).expect("written"), question, "{name}");
            if let Some(directory) = &directory {
                let path = format!("{directory}/{name}.json");
                std::fs::write(&path, question.to_string()).unwrap_or_else(|error| panic!("{path}: {error}"));
            }
        }
    }
}
