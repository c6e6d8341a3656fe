//! What may be asked of a bill, and why it may say no.

use crate::model::bill::Ticket;
use crate::model::retry::RetryPolicy;
use shers_contract::{
    Money, Problem,
    billing::{Order, Payer, Step},
};

/// How a payment was undone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Undone {
    /// It was cancelled before any money moved.
    Cancelled,
    /// It had succeeded and was paid back.
    Refunded,
    /// The provider knows of no payment under the key.
    Absent,
}

impl Undone {
    /// As in `billing.compensated`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "payment-cancelled",
            Self::Refunded => "payment-refunded",
            Self::Absent => "payment-absent",
        }
    }
}

/// What may be asked of a bill. The results of effects carry the [`Ticket`] of the effect; one that does
/// not belong to what the bill is doing now changes nothing.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// Bill this. Changes nothing when there is a bill already.
    Start {
        /// What.
        order: Order,
        /// To whom.
        payer: Payer,
    },
    /// The wait before a further try is over.
    Due,
    /// The insurer answered.
    CoverageAnswered {
        /// Of which effect.
        ticket: Ticket,
        /// What the insurer pays.
        insurer: Money,
        /// In a sentence, why so.
        reason: String,
        /// The response's id.
        response_id: Option<String>,
    },
    /// The insurer parked the question.
    CoverageQueued {
        /// Of which effect.
        ticket: Ticket,
        /// How often to ask again.
        policy: RetryPolicy,
    },
    /// The payment exists at the provider; nothing is charged yet.
    PaymentCreated {
        /// Of which effect.
        ticket: Ticket,
        /// The provider's id of it.
        payment_id: String,
        /// The provider.
        provider: String,
    },
    /// The amount is reserved on the card; nothing is charged yet.
    PaymentAuthorised {
        /// Of which effect.
        ticket: Ticket,
    },
    /// The charge succeeded.
    PaymentSucceeded {
        /// Of which effect.
        ticket: Ticket,
    },
    /// The provider said no, for good.
    PaymentDeclined {
        /// Of which effect.
        ticket: Ticket,
        /// Word such as `card-declined`.
        code: String,
        /// For a person.
        reason: String,
    },
    /// The payment is undone.
    PaymentUndone {
        /// Of which effect.
        ticket: Ticket,
        /// How.
        how: Undone,
    },
    /// The insurer released its claim.
    ClaimReleased {
        /// Of which effect.
        ticket: Ticket,
    },
    /// The effect did not end, or nobody knows how: try again later, by reading back first.
    Delayed {
        /// Of which effect.
        ticket: Ticket,
        /// Why.
        reason: String,
        /// How often.
        policy: RetryPolicy,
    },
    /// The effect cannot work without a person.
    Blocked {
        /// Of which effect.
        ticket: Ticket,
        /// Why.
        reason: String,
    },
    /// The provider reports, by itself, how a payment stands. Reports come repeated, late and in any order,
    /// also before the answer of the call that they are about.
    Reported(Report),
    /// A person wants it tried again.
    Retry {
        /// Who.
        by: String,
        /// Cover and card as they are now.
        payer: Payer,
    },
    /// A person gives it up.
    WriteOff {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
}

/// A provider's own report of a payment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The provider.
    pub provider: String,
    /// Key under which the payment was created.
    pub key: String,
    /// The provider's id of it.
    pub payment_id: String,
    /// How it stands, by the report.
    pub state: ReportedState,
}

/// How a payment stands, as far as a report matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReportedState {
    /// It exists, or is being decided.
    Underway,
    /// The amount is reserved.
    Authorised,
    /// Charged.
    Succeeded,
    /// Declined, cancelled, refunded or waiting for the patient: to be read back.
    Changed,
}

/// Why a bill says no.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// There is no such bill.
    Absent,
    /// The saga is at work; only a person's turn is not now.
    Running(Step),
    /// It is paid.
    Paid,
    /// It was written off.
    WrittenOff,
    /// A write-off needs a reason.
    ReasonMissing,
    /// The reason is longer than [`MAX_REASON_CHARS`].
    ReasonTooLong,
}

/// Longest reason a person may give, in characters.
pub const MAX_REASON_CHARS: usize = 500;

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Absent => Self::new(404, "not-found", "there is no such bill"),
            Refusal::Running(step) => Self::conflict(
                "the bill is PENDING and its saga is running; retry and write-off are for a bill that is stuck or FAILED",
            )
            .with("state", "PENDING")
            .with("step", serde_json::to_value(step).unwrap_or_default()),
            Refusal::Paid => Self::conflict("the bill is PAID; that never changes").with("state", "PAID"),
            Refusal::WrittenOff => {
                Self::conflict("the bill was written off; that never changes").with("state", "FAILED").with("written_off", true)
            }
            Refusal::ReasonMissing => Self::invalid("/reason", "a write-off needs a reason, such as \"hardship case\""),
            Refusal::ReasonTooLong => {
                Self::invalid("/reason", format!("a reason is at most {MAX_REASON_CHARS} characters long"))
            }
        }
    }
}
