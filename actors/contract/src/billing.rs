//! Bills and the saga PENDING → PAID / FAILED.

use crate::incident::StartBilling;
use crate::patient::CoverageRef;
use crate::{BillId, IncidentId, Money, PatientId, Timestamp};
use serde::{Deserialize, Serialize};

/// State of a bill, exactly these three words.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum BillState {
    /// The saga runs.
    Pending,
    /// Settled.
    Paid,
    /// Not settled, everything undone.
    Failed,
}

/// Where the saga stands. Each is a recovery point: the log says that it was reached before the next
/// thing leaves the house.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Coverage is being asked for.
    Eligibility,
    /// The insurer parked the question; asked again later.
    EligibilityQueued,
    /// A payment is being created under the stored key.
    CreatePayment,
    /// Its id is stored; it is being confirmed, which reserves the amount on the card.
    ConfirmPayment,
    /// The amount is reserved; it is being captured, which moves the money.
    CapturePayment,
    /// Something failed: what was done is being undone.
    Compensate,
    /// Nothing is left to do.
    Settled,
}

/// One line of a bill.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BillLine {
    /// `base`, `distance`, `level-of-care`, `no-transport` …
    pub item: String,
    /// For a person.
    pub text: String,
    /// How much.
    pub amount_minor: i64,
}

/// Data of `billing.pending`, one for every recovery point.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Pending {
    /// Which bill.
    pub bill_id: BillId,
    /// For which incident.
    pub incident_id: IncidentId,
    /// The step that starts now.
    pub step: Step,
    /// The order and the lines, in the first event of an attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// Who is asked to pay, in the first event of an attempt and when a person retries coverage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<Payer>,
    /// 1, 2 … : a person may start a new attempt after FAILED.
    pub attempt: u16,
    /// Idempotency key under which the provider is asked, stored before it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The provider's id of the payment, from `confirm-payment` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_id: Option<String>,
    /// The provider that knows the payment, from `confirm-payment` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// When the step is tried again, after a passing failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// Why it is tried again or undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Word for why it is undone, as in [`Failed::code`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The person who retried or wrote off, when one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl Pending {
    /// The start of `step`, with nothing optional.
    #[must_use]
    pub fn at(bill_id: BillId, step: Step, attempt: u16) -> Self {
        Self {
            incident_id: bill_id.incident(),
            bill_id,
            step,
            order: None,
            payer: None,
            attempt,
            idempotency_key: None,
            payment_id: None,
            provider: None,
            retry_at: None,
            reason: None,
            code: None,
            by: None,
        }
    }
}

/// Who is asked to pay: cover and card as they were when the attempt began.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Payer {
    /// Membership of a plan; null: the patient pays all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<CoverageRef>,
    /// The payment provider's token of the card (`pm_…`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<String>,
}

/// What is billed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Order {
    /// The command.
    pub request: StartBilling,
    /// Who.
    pub patient_id: Option<PatientId>,
    /// Lines by the tariff.
    pub lines: Vec<BillLine>,
    /// Sum of the lines.
    pub total: Money,
}

/// Data of `billing.coverage-verified`. `insurer + patient = total`, always.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CoverageVerified {
    /// Which bill.
    pub bill_id: BillId,
    /// For which incident.
    pub incident_id: IncidentId,
    /// What the insurer pays.
    pub insurer: Money,
    /// What the patient pays.
    pub patient: Money,
    /// In a sentence, how the split came about.
    pub reason: String,
    /// The response's id, if the insurer answered.
    pub response_id: Option<String>,
}

/// Data of `billing.paid`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Paid {
    /// Which bill.
    pub bill_id: BillId,
    /// For which incident.
    pub incident_id: IncidentId,
    /// The provider's payment; null when the patient's share is 0.
    pub payment_id: Option<String>,
    /// The provider (`sandbox-payment`, `stripe`).
    pub provider: String,
    /// What was charged.
    pub charged: Money,
}

/// Data of `billing.failed`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Failed {
    /// Which bill.
    pub bill_id: BillId,
    /// For which incident.
    pub incident_id: IncidentId,
    /// Why, such as `card-declined`.
    pub code: String,
    /// For a person.
    pub reason: String,
}

/// Data of `billing.compensated`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Compensated {
    /// Which bill.
    pub bill_id: BillId,
    /// For which incident.
    pub incident_id: IncidentId,
    /// What was undone: `payment-cancelled`, `payment-refunded`, `payment-absent` (there was none to undo),
    /// `claim-released`.
    pub what: String,
}

/// Data of `billing.stuck`: a person is needed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Stuck {
    /// Which bill.
    pub bill_id: BillId,
    /// For which incident.
    pub incident_id: IncidentId,
    /// The step that could not be done.
    pub step: Step,
    /// Why.
    pub reason: String,
}

/// Data of `billing.written-off`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WrittenOff {
    /// Which bill.
    pub bill_id: BillId,
    /// For which incident.
    pub incident_id: IncidentId,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
}

crate::domain_events! {
    /// The life of a bill, in stream `bill/<incident>`.
    BillingEvent {
        /// A recovery point of the saga.
        Pending(Pending) = BILLING_PENDING,
        /// The split is known.
        CoverageVerified(CoverageVerified) = BILLING_COVERAGE_VERIFIED,
        /// Settled.
        Paid(Paid) = BILLING_PAID,
        /// Not settled.
        Failed(Failed) = BILLING_FAILED,
        /// Something was undone.
        Compensated(Compensated) = BILLING_COMPENSATED,
        /// A person is needed.
        Stuck(Stuck) = BILLING_STUCK,
        /// Given up by a person.
        WrittenOff(WrittenOff) = BILLING_WRITTEN_OFF,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logs, clients and other replicas read these words: a step may be added, none may change.
    #[test]
    fn the_words_of_steps_stay_as_they_were_published() {
        for (step, word) in [
            (Step::Eligibility, "eligibility"),
            (Step::EligibilityQueued, "eligibility-queued"),
            (Step::CreatePayment, "create-payment"),
            (Step::ConfirmPayment, "confirm-payment"),
            (Step::CapturePayment, "capture-payment"),
            (Step::Compensate, "compensate"),
            (Step::Settled, "settled"),
        ] {
            let text = format!("\"{word}\"");
            assert_eq!(serde_json::to_string(&step).expect("a word"), text);
            assert_eq!(serde_json::from_str::<Step>(&text).expect("a step"), step);
        }
    }
}
