//! A bill: stream `bill/<incident>`, one per incident whatever happens.
//!
//! States: `Absent` → `Open` (PENDING: the saga runs, see [`super::saga`]) → `Paid` | `Failed`;
//! `Stuck` is PENDING with a person needed; `WrittenOff` is the end a person gives it.
//!
//! Invariants:
//! - `Paid` and `WrittenOff` are final. `Failed` leaves only for a new attempt, or to be written off.
//! - The insurer's share and the patient's are never negative and always add up to the total.
//! - Everything that leaves the house does so under a key that is in the log by then, and the key of an
//!   attempt is one: an unknown outcome is read back, never asked again under another key.
//! - `Failed` is reached only when nothing of the attempt is left at the provider or the insurer.

use crate::model::command::{Command, Refusal};
use crate::model::{saga, shown};
use shers_contract::{
    IncidentId, Money, Timestamp,
    api::Answer,
    billing::{BillingEvent, Order, Payer, Pending, Step},
    derived_uuid,
};
use shers_runtime::Aggregate;

/// What is billed to whom, in which attempt.
#[derive(Clone, PartialEq, Debug)]
pub struct Account {
    /// What.
    pub order: Order,
    /// To whom.
    pub payer: Payer,
    /// 1, 2 …
    pub attempt: u16,
    /// When the attempt began: nothing of it is older.
    pub begun_at: Timestamp,
    /// Who pays how much, once that is known.
    pub split: Option<Split>,
}

/// Who pays how much.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Split {
    /// The insurer.
    pub insurer: Money,
    /// The patient.
    pub patient: Money,
    /// The insurer's response, when it answered.
    pub response_id: Option<String>,
}

impl Split {
    /// What is claimed from the insurer, by its response: nothing when it pays nothing.
    #[must_use]
    pub fn claim(&self) -> Option<String> {
        self.response_id.clone().filter(|_| self.insurer.amount_minor > 0)
    }
}

/// Which try of which step: results of another one are late and change nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket {
    /// Attempt.
    pub attempt: u16,
    /// Step.
    pub step: Step,
    /// Tries of the step before this one.
    pub tries: u16,
}

/// A step of the saga with what it needs.
#[derive(Clone, PartialEq, Debug)]
pub enum Stage {
    /// The insurer is asked.
    Eligibility,
    /// The insurer parked the question and is asked again.
    EligibilityQueued,
    /// The split is known; the next event, in the same commit, says how it goes on.
    Covered,
    /// A payment is created under the key.
    CreatePayment {
        /// Idempotency key of the attempt.
        key: String,
    },
    /// The payment is confirmed: its amount is reserved.
    ConfirmPayment(OpenPayment),
    /// The reserved payment is captured: the money moves.
    CapturePayment(OpenPayment),
    /// What was done is undone, the payment first, then the claim.
    Compensate {
        /// What is left to undo.
        undo: Undo,
        /// What follows.
        end: End,
    },
}

/// A payment that may exist at a provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenPayment {
    /// Key under which it was created.
    pub key: String,
    /// The provider's id; null when the answer to its creation never came.
    pub payment_id: Option<String>,
    /// The provider.
    pub provider: Option<String>,
}

/// What is left to undo.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Undo {
    /// The payment.
    pub payment: Option<OpenPayment>,
    /// The claim, by the insurer's response.
    pub claim: Option<String>,
}

impl Undo {
    /// Nothing is left.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.payment.is_none() && self.claim.is_none()
    }
}

/// How a bill ends once everything is undone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// FAILED.
    Fail {
        /// Word such as `card-declined`.
        code: String,
        /// For a person.
        reason: String,
    },
    /// Written off.
    WriteOff {
        /// By whom.
        by: String,
        /// Why.
        reason: String,
    },
}

/// A saga at work.
#[derive(Clone, PartialEq, Debug)]
pub struct Run {
    /// What is billed to whom.
    pub account: Account,
    /// Where it stands.
    pub stage: Stage,
    /// Tries of this step that did not end.
    pub tries: u16,
    /// Waits until then before the next try.
    pub retry_at: Option<Timestamp>,
    /// Why it waits or is undone.
    pub reason: Option<String>,
}

/// A bill.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Bill {
    /// There is none.
    #[default]
    Absent,
    /// PENDING.
    Open(Run),
    /// PENDING, and a person is needed.
    Stuck(Run),
    /// PAID.
    Paid {
        /// What was billed to whom.
        account: Account,
        /// The payment; null when the patient's share is 0.
        payment_id: Option<String>,
        /// When.
        at: Timestamp,
    },
    /// FAILED; nothing is left to undo.
    Failed {
        /// What was billed to whom.
        account: Account,
        /// Word such as `card-declined`.
        code: String,
        /// For a person.
        reason: String,
    },
    /// Given up by a person.
    WrittenOff {
        /// What was billed to whom.
        account: Account,
        /// By whom.
        by: String,
        /// Why.
        reason: String,
    },
}

/// Something to do outside, for one try of one step.
#[derive(Clone, PartialEq, Debug)]
pub struct Effect {
    /// To be given back with the result.
    pub ticket: Ticket,
    /// What is billed to whom.
    pub account: Account,
    /// What to do.
    pub action: Action,
}

/// What to do outside.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Ask the insurer.
    AskCoverage,
    /// Create the payment of the patient's share under the key.
    Create {
        /// The key.
        key: String,
    },
    /// Confirm the payment, unless reading it shows that this was done.
    Confirm(OpenPayment),
    /// Capture the payment, unless reading it shows that this was done.
    Capture(OpenPayment),
    /// Undo the payment: cancel it, or refund it if it succeeded.
    UndoPayment(OpenPayment),
    /// Take the claim back.
    ReleaseClaim(String),
}

impl Account {
    /// Idempotency key of this attempt's payment: the same whenever it is computed.
    #[must_use]
    pub fn payment_key(&self) -> String {
        derived_uuid(&["payment", self.order.request.incident_id.as_str(), &self.attempt.to_string()]).to_string()
    }
    /// What the patient pays; the total while the split is unknown.
    #[must_use]
    pub fn patient_share(&self) -> Money {
        self.split.as_ref().map_or(self.order.total, |split| split.patient)
    }
}

impl Stage {
    /// The step as the log and the outside name it.
    #[must_use]
    pub const fn step(&self) -> Step {
        match self {
            Self::Eligibility | Self::Covered => Step::Eligibility,
            Self::EligibilityQueued => Step::EligibilityQueued,
            Self::CreatePayment { .. } => Step::CreatePayment,
            Self::ConfirmPayment(_) => Step::ConfirmPayment,
            Self::CapturePayment(_) => Step::CapturePayment,
            Self::Compensate { .. } => Step::Compensate,
        }
    }
}

impl Run {
    /// The ticket of what it does now.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        Ticket { attempt: self.account.attempt, step: self.stage.step(), tries: self.tries }
    }

    fn action(&self) -> Option<Action> {
        match &self.stage {
            Stage::Eligibility | Stage::EligibilityQueued => Some(Action::AskCoverage),
            Stage::Covered => None,
            Stage::CreatePayment { key } => Some(Action::Create { key: key.clone() }),
            Stage::ConfirmPayment(payment) => Some(Action::Confirm(payment.clone())),
            Stage::CapturePayment(payment) => Some(Action::Capture(payment.clone())),
            Stage::Compensate { undo, .. } => match (&undo.payment, &undo.claim) {
                (Some(payment), _) => Some(Action::UndoPayment(payment.clone())),
                (None, Some(claim)) => Some(Action::ReleaseClaim(claim.clone())),
                (None, None) => None,
            },
        }
    }

    /// What would be left to undo if it ended here.
    #[must_use]
    pub fn undo(&self) -> Undo {
        let claim = self.account.split.as_ref().and_then(Split::claim);
        match &self.stage {
            Stage::Eligibility | Stage::EligibilityQueued => Undo::default(),
            Stage::Covered => Undo { payment: None, claim },
            Stage::CreatePayment { key } => {
                let payment = OpenPayment { key: key.clone(), payment_id: None, provider: None };
                Undo { payment: Some(payment), claim }
            }
            Stage::ConfirmPayment(payment) | Stage::CapturePayment(payment) => {
                Undo { payment: Some(payment.clone()), claim }
            }
            Stage::Compensate { undo, .. } => undo.clone(),
        }
    }
}

impl Bill {
    /// What is billed to whom, once there is a bill.
    #[must_use]
    pub const fn account(&self) -> Option<&Account> {
        match self {
            Self::Absent => None,
            Self::Open(run) | Self::Stuck(run) => Some(&run.account),
            Self::Paid { account, .. } | Self::Failed { account, .. } | Self::WrittenOff { account, .. } => {
                Some(account)
            }
        }
    }

    fn on_pending(self, pending: &Pending, at: Timestamp) -> Self {
        match self {
            Self::Absent => match &pending.order {
                Some(order) => Self::Open(first_run(order.clone(), pending, at)),
                None => Self::Absent,
            },
            Self::Failed { account, .. } => Self::Open(first_run(account.order, pending, at)),
            Self::Open(run) => Self::Open(next_run(run, pending, false)),
            Self::Stuck(run) => Self::Open(next_run(run, pending, true)),
            Self::Paid { .. } | Self::WrittenOff { .. } => self,
        }
    }

    /// Ends a run; nothing but a run ends.
    fn ended(self, end: impl FnOnce(Account) -> Self) -> Self {
        match self {
            Self::Open(run) | Self::Stuck(run) => end(run.account),
            Self::Failed { account, .. } => end(account),
            Self::Absent | Self::Paid { .. } | Self::WrittenOff { .. } => self,
        }
    }
}

fn first_run(order: Order, pending: &Pending, at: Timestamp) -> Run {
    let payer = pending.payer.clone().unwrap_or_default();
    let account = Account { order, payer, attempt: pending.attempt, begun_at: at, split: None };
    Run { account, stage: Stage::Eligibility, tries: 0, retry_at: None, reason: None }
}

/// The run after a further recovery point. `fresh`: a person asked for it, so tries count anew.
fn next_run(run: Run, pending: &Pending, fresh: bool) -> Run {
    let same_step = run.stage.step() == pending.step && !matches!(run.stage, Stage::Covered);
    let undo = run.undo();
    let Run { mut account, stage, tries, .. } = run;
    if let Some(payer) = &pending.payer {
        account.payer = payer.clone();
    }
    let tries = match (fresh, same_step, pending.retry_at) {
        (true, _, _) | (false, false, None) => 0,
        (false, false, Some(_)) => 1,
        (false, true, None) => tries,
        (false, true, Some(_)) => tries.saturating_add(1),
    };
    let stage = if same_step { stage } else { entered(&account, pending, undo) };
    Run { account, stage, tries, retry_at: pending.retry_at, reason: pending.reason.clone() }
}

/// The stage that a recovery point enters.
fn entered(account: &Account, pending: &Pending, undo: Undo) -> Stage {
    let key = || pending.idempotency_key.clone().unwrap_or_else(|| account.payment_key());
    let payment =
        || OpenPayment { key: key(), payment_id: pending.payment_id.clone(), provider: pending.provider.clone() };
    match pending.step {
        Step::Eligibility => Stage::Eligibility,
        Step::EligibilityQueued => Stage::EligibilityQueued,
        Step::CreatePayment => Stage::CreatePayment { key: key() },
        Step::ConfirmPayment => Stage::ConfirmPayment(payment()),
        Step::CapturePayment => Stage::CapturePayment(payment()),
        Step::Compensate | Step::Settled => {
            let reason = pending.reason.clone().unwrap_or_default();
            let end = match (&pending.code, &pending.by) {
                (Some(code), _) => End::Fail { code: code.clone(), reason },
                (None, by) => End::WriteOff { by: by.clone().unwrap_or_default(), reason },
            };
            Stage::Compensate { undo, end }
        }
    }
}

/// A run after one thing was undone: the payment goes first, then the claim.
fn undone(run: Run) -> Run {
    let stage = match run.stage {
        Stage::Compensate { undo: Undo { payment: Some(_), claim }, end } => {
            Stage::Compensate { undo: Undo { payment: None, claim }, end }
        }
        Stage::Compensate { undo: Undo { payment: None, claim: _ }, end } => {
            Stage::Compensate { undo: Undo::default(), end }
        }
        stage @ (Stage::Eligibility
        | Stage::EligibilityQueued
        | Stage::Covered
        | Stage::CreatePayment { .. }
        | Stage::ConfirmPayment(_)
        | Stage::CapturePayment(_)) => stage,
    };
    Run { stage, tries: 0, retry_at: None, ..run }
}

impl Aggregate for Bill {
    const CATEGORY: &'static str = "bill";
    type Command = Command;
    type Event = BillingEvent;
    type Refusal = Refusal;
    type Effect = Effect;

    fn decide(&self, command: &Command, now: Timestamp) -> Result<Vec<BillingEvent>, Refusal> {
        saga::decide(self, command, now)
    }

    fn evolve(self, event: &BillingEvent, at: Timestamp) -> Self {
        match event {
            BillingEvent::Pending(pending) => self.on_pending(pending, at),
            BillingEvent::CoverageVerified(verified) => match self {
                Self::Open(run) => {
                    let split = Split {
                        insurer: verified.insurer,
                        patient: verified.patient,
                        response_id: verified.response_id.clone(),
                    };
                    let account = Account { split: Some(split), ..run.account };
                    Self::Open(Run { account, stage: Stage::Covered, tries: 0, retry_at: None, reason: None })
                }
                other @ (Self::Absent
                | Self::Stuck(_)
                | Self::Paid { .. }
                | Self::Failed { .. }
                | Self::WrittenOff { .. }) => other,
            },
            BillingEvent::Paid(paid) => {
                self.ended(|account| Self::Paid { account, payment_id: paid.payment_id.clone(), at })
            }
            BillingEvent::Failed(failed) => {
                self.ended(|account| Self::Failed { account, code: failed.code.clone(), reason: failed.reason.clone() })
            }
            BillingEvent::Compensated(_) => match self {
                Self::Open(run) => Self::Open(undone(run)),
                other @ (Self::Absent
                | Self::Stuck(_)
                | Self::Paid { .. }
                | Self::Failed { .. }
                | Self::WrittenOff { .. }) => other,
            },
            BillingEvent::Stuck(stuck) => match self {
                Self::Open(run) | Self::Stuck(run) => {
                    Self::Stuck(Run { retry_at: None, reason: Some(stuck.reason.clone()), ..run })
                }
                other @ (Self::Absent | Self::Paid { .. } | Self::Failed { .. } | Self::WrittenOff { .. }) => other,
            },
            BillingEvent::WrittenOff(off) => {
                self.ended(|account| Self::WrittenOff { account, by: off.by.clone(), reason: off.reason.clone() })
            }
        }
    }

    fn correlation(&self, event: &BillingEvent) -> Option<IncidentId> {
        let incident = match event {
            BillingEvent::Pending(e) => &e.incident_id,
            BillingEvent::CoverageVerified(e) => &e.incident_id,
            BillingEvent::Paid(e) => &e.incident_id,
            BillingEvent::Failed(e) => &e.incident_id,
            BillingEvent::Compensated(e) => &e.incident_id,
            BillingEvent::Stuck(e) => &e.incident_id,
            BillingEvent::WrittenOff(e) => &e.incident_id,
        };
        Some(incident.clone())
    }

    fn deadline(&self) -> Option<(Timestamp, Command)> {
        match self {
            Self::Open(run) => run.retry_at.map(|at| (at, Command::Due)),
            Self::Absent | Self::Stuck(_) | Self::Paid { .. } | Self::Failed { .. } | Self::WrittenOff { .. } => None,
        }
    }

    fn effect(&self) -> Option<Effect> {
        match self {
            Self::Open(run) if run.retry_at.is_none() => {
                run.action().map(|action| Effect { ticket: run.ticket(), account: run.account.clone(), action })
            }
            Self::Open(_)
            | Self::Absent
            | Self::Stuck(_)
            | Self::Paid { .. }
            | Self::Failed { .. }
            | Self::WrittenOff { .. } => None,
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            // A new attempt opens a failed one again.
            Self::Paid { .. } | Self::Failed { .. } | Self::WrittenOff { .. } => true,
            Self::Absent | Self::Open(_) | Self::Stuck(_) => false,
        }
    }

    fn answer(&self, version: u64) -> Answer {
        shown::answer(self, version)
    }
}
