//! Does what the saga asks for outside, once, and says how it ended. Whatever it meets is an outcome.
//!
//! The provider is chosen here: an exercise never reaches a real one, whatever is configured.

use crate::gateway::{
    Ask, CancelOutcome, ConfirmOutcome, CreateOutcome, CreatePayment, Eligibility, FoundPayment, Insurer,
    PaymentGateway, PaymentState, ReadOutcome, RefundOutcome, Released, Sought,
};
use crate::model::{Account, Action, Bill, Command, Effect, OpenPayment, RetryPolicy, Ticket, Undone};
use async_trait::async_trait;
use shers_runtime::{Clock, Performer};
use std::sync::Arc;

/// How often each kind of call is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policies {
    /// An insurer that does not answer.
    pub insurer: RetryPolicy,
    /// An insurer that has queued the question, a provider that has not decided.
    pub poll: RetryPolicy,
    /// A provider that does not answer.
    pub payment: RetryPolicy,
    /// Undoing.
    pub compensation: RetryPolicy,
}

/// The outside of a bill.
pub struct Outside {
    /// The insurer.
    pub insurer: Arc<dyn Insurer>,
    /// The provider for what is real, when one is configured.
    pub payment: Option<Arc<dyn PaymentGateway>>,
    /// The provider for exercises, and for everything when no other is configured.
    pub sandbox: Arc<dyn PaymentGateway>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Retries.
    pub policies: Policies,
}

impl Outside {
    fn provider(&self, exercise: bool) -> &Arc<dyn PaymentGateway> {
        self.payment.as_ref().filter(|_| !exercise).unwrap_or(&self.sandbox)
    }

    /// The provider that knows a payment: the one that created it. Never a real one in an exercise.
    fn provider_of(&self, payment: &OpenPayment, exercise: bool) -> Result<&Arc<dyn PaymentGateway>, String> {
        let Some(name) = payment.provider.as_deref() else { return Ok(self.provider(exercise)) };
        let real = self.payment.as_ref().filter(|_| !exercise);
        let known = real.into_iter().chain([&self.sandbox]).find(|gateway| gateway.name() == name);
        known.ok_or_else(|| format!("the payment is at {name}, which is not configured"))
    }

    fn ask(&self, account: &Account) -> Option<Ask> {
        let coverage = account.payer.coverage.clone()?;
        Some(Ask { order: account.order.clone(), coverage, attempt: account.attempt, created: self.clock.now() })
    }

    async fn ask_coverage(&self, ticket: Ticket, account: &Account) -> Command {
        let Some(ask) = self.ask(account) else {
            return Command::Blocked { ticket, reason: "the bill names no cover to ask about".to_owned() };
        };
        match self.insurer.eligibility(&ask).await {
            Eligibility::Complete { insurer, reason, response_id } => {
                Command::CoverageAnswered { ticket, insurer, reason, response_id }
            }
            Eligibility::Queued => Command::CoverageQueued { ticket, policy: self.policies.poll },
            Eligibility::Error { retryable: true, reason } => {
                Command::Delayed { ticket, reason, policy: self.policies.insurer }
            }
            Eligibility::Error { retryable: false, reason } => Command::Blocked { ticket, reason },
        }
    }

    async fn release(&self, ticket: Ticket, account: &Account) -> Command {
        let Some(ask) = self.ask(account) else {
            return Command::Blocked { ticket, reason: "the bill names no cover to release".to_owned() };
        };
        match self.insurer.release(&ask).await {
            Released::Done => Command::ClaimReleased { ticket },
            Released::Error { retryable: true, reason } => {
                Command::Delayed { ticket, reason, policy: self.policies.compensation }
            }
            Released::Error { retryable: false, reason } => Command::Blocked { ticket, reason },
        }
    }

    async fn create(&self, ticket: Ticket, account: &Account, key: String, exercise: bool) -> Command {
        let gateway = self.provider(exercise);
        let amount = account.patient_share();
        let provider = gateway.name().to_owned();
        let limits = gateway.limits(amount);
        if let Err(why) = limits.check(amount.amount_minor) {
            let [min, max, step] =
                [limits.min_minor, limits.max_minor, limits.step_minor].map(|minor| amount.with_amount(minor));
            let reason = format!("{provider} takes {min} to {max} in steps of {step}, not {amount}");
            return Command::PaymentDeclined { ticket, code: why.code().to_owned(), reason };
        }
        let Some(payment_method) = account.payer.payment_method.clone() else {
            return Command::Blocked { ticket, reason: "the bill names no payment method".to_owned() };
        };
        let policy = self.policies.payment;
        // After a try without an end, look first: it may exist.
        if ticket.tries > 0 {
            match gateway.find(&sought(account, &key)).await {
                ReadOutcome::Found(found) => {
                    return Command::PaymentCreated { ticket, payment_id: found.id, provider };
                }
                ReadOutcome::Absent => {}
                ReadOutcome::Retry(reason) => return Command::Delayed { ticket, reason, policy },
            }
        }
        let bill_id = account.order.request.incident_id.bill();
        match gateway.create(CreatePayment { key, amount, payment_method, bill_id }).await {
            CreateOutcome::Created { id } => Command::PaymentCreated { ticket, payment_id: id, provider },
            CreateOutcome::Declined { code, reason } => Command::PaymentDeclined { ticket, code, reason },
            CreateOutcome::Unknown(reason) | CreateOutcome::Retry(reason) => {
                Command::Delayed { ticket, reason, policy }
            }
            CreateOutcome::Blocked(reason) => Command::Blocked { ticket, reason },
        }
    }

    /// Confirms or captures. Reads first: a call before a crash or a lost answer may have done it already.
    async fn settle(
        &self,
        ticket: Ticket,
        payment: &OpenPayment,
        gateway: &Arc<dyn PaymentGateway>,
        capture: bool,
    ) -> Command {
        let Some(id) = payment.payment_id.as_deref() else {
            return Command::Blocked { ticket, reason: "the payment has no id".to_owned() };
        };
        let found = match gateway.read(id).await {
            ReadOutcome::Found(found) => found,
            ReadOutcome::Absent => {
                return Command::Blocked { ticket, reason: format!("{} does not know the payment", gateway.name()) };
            }
            ReadOutcome::Retry(reason) => {
                return Command::Delayed { ticket, reason, policy: self.policies.payment };
            }
        };
        match (self.standing(ticket, gateway.name(), &found), capture) {
            (Standing::Ended(command), _) => command,
            (Standing::Authorised, false) => Command::PaymentAuthorised { ticket },
            (Standing::Authorised, true) => {
                self.settled(ticket, gateway.capture(&format!("{}-capture", payment.key), id).await)
            }
            (Standing::Unconfirmed, false) => {
                self.settled(ticket, gateway.confirm(&format!("{}-confirm", payment.key), id).await)
            }
            (Standing::Unconfirmed, true) => {
                let reason = format!("{} says that the payment is not confirmed", gateway.name());
                Command::Blocked { ticket, reason }
            }
        }
    }

    /// What a payment that was read back means for its bill.
    fn standing(&self, ticket: Ticket, provider: &str, found: &FoundPayment) -> Standing {
        Standing::Ended(match found.state {
            PaymentState::RequiresConfirmation => return Standing::Unconfirmed,
            PaymentState::Authorised => return Standing::Authorised,
            PaymentState::Succeeded => Command::PaymentSucceeded { ticket },
            PaymentState::Processing => self.undecided(ticket),
            PaymentState::RequiresAction => authentication(ticket),
            PaymentState::Declined => {
                let code = found.decline_code.clone().unwrap_or_else(|| "card-declined".to_owned());
                Command::PaymentDeclined { ticket, code, reason: format!("{provider} declined the card") }
            }
            PaymentState::Cancelled | PaymentState::Refunded => {
                let reason = format!("the payment was cancelled or refunded at {provider}");
                Command::PaymentDeclined { ticket, code: "payment-cancelled".to_owned(), reason }
            }
        })
    }

    fn settled(&self, ticket: Ticket, outcome: ConfirmOutcome) -> Command {
        match outcome {
            ConfirmOutcome::Authorised => Command::PaymentAuthorised { ticket },
            ConfirmOutcome::Succeeded => Command::PaymentSucceeded { ticket },
            ConfirmOutcome::Declined { code, reason } => Command::PaymentDeclined { ticket, code, reason },
            ConfirmOutcome::RequiresAction => authentication(ticket),
            ConfirmOutcome::Processing => self.undecided(ticket),
            ConfirmOutcome::Unknown(reason) | ConfirmOutcome::Retry(reason) => {
                Command::Delayed { ticket, reason, policy: self.policies.payment }
            }
            ConfirmOutcome::Blocked(reason) => Command::Blocked { ticket, reason },
        }
    }

    fn undecided(&self, ticket: Ticket) -> Command {
        let reason = "the payment provider has not decided yet".to_owned();
        Command::Delayed { ticket, reason, policy: self.policies.poll }
    }

    /// Cancels; refunds when that comes too late. Without an id the key finds the payment, if there is one.
    async fn undo(
        &self,
        ticket: Ticket,
        account: &Account,
        payment: &OpenPayment,
        gateway: &Arc<dyn PaymentGateway>,
    ) -> Command {
        let policy = self.policies.compensation;
        let found = match &payment.payment_id {
            Some(id) => Ok(Some(id.clone())),
            None => match gateway.find(&sought(account, &payment.key)).await {
                ReadOutcome::Found(found) => Ok(Some(found.id)),
                ReadOutcome::Absent => Ok(None),
                ReadOutcome::Retry(reason) => Err(reason),
            },
        };
        let id = match found {
            Ok(Some(id)) => id,
            Ok(None) => return Command::PaymentUndone { ticket, how: Undone::Absent },
            Err(reason) => return Command::Delayed { ticket, reason, policy },
        };
        // An earlier try may have done it without an answer. One that can't be read is cancelled all the same.
        let charged = match gateway.read(&id).await {
            ReadOutcome::Found(found) => match found.state {
                PaymentState::Cancelled => return Command::PaymentUndone { ticket, how: Undone::Cancelled },
                PaymentState::Refunded => return Command::PaymentUndone { ticket, how: Undone::Refunded },
                PaymentState::Succeeded => true,
                PaymentState::RequiresConfirmation
                | PaymentState::Authorised
                | PaymentState::RequiresAction
                | PaymentState::Processing
                | PaymentState::Declined => false,
            },
            ReadOutcome::Absent | ReadOutcome::Retry(_) => false,
        };
        if !charged {
            match gateway.cancel(&format!("{}-cancel", payment.key), &id).await {
                CancelOutcome::Cancelled => return Command::PaymentUndone { ticket, how: Undone::Cancelled },
                CancelOutcome::Succeeded => {}
                CancelOutcome::Unknown(reason) | CancelOutcome::Retry(reason) => {
                    return Command::Delayed { ticket, reason, policy };
                }
                CancelOutcome::Blocked(reason) => return Command::Blocked { ticket, reason },
            }
        }
        match gateway.refund(&format!("{}-refund", payment.key), &id, account.patient_share()).await {
            RefundOutcome::Refunded => Command::PaymentUndone { ticket, how: Undone::Refunded },
            RefundOutcome::Failed(reason) => Command::Blocked { ticket, reason },
            RefundOutcome::Unknown(reason) | RefundOutcome::Retry(reason) => {
                Command::Delayed { ticket, reason, policy }
            }
        }
    }
}

/// What a payment that was read back asks for.
enum Standing {
    /// To be confirmed.
    Unconfirmed,
    /// To be captured.
    Authorised,
    /// Nothing: it says how the step ended.
    Ended(Command),
}

/// What finds a payment by its key.
fn sought(account: &Account, key: &str) -> Sought {
    Sought { key: key.to_owned(), bill_id: account.order.request.incident_id.bill(), since: account.begun_at }
}

fn authentication(ticket: Ticket) -> Command {
    Command::PaymentDeclined {
        ticket,
        code: "authentication-required".to_owned(),
        reason: "the bank wants the patient to authenticate, who is not present".to_owned(),
    }
}

#[async_trait(?Send)]
impl Performer<Bill> for Outside {
    async fn perform(&self, _id: &str, exercise: bool, effect: Effect) -> Command {
        let Effect { ticket, account, action } = effect;
        match action {
            Action::AskCoverage => self.ask_coverage(ticket, &account).await,
            Action::Create { key } => self.create(ticket, &account, key, exercise).await,
            Action::Confirm(payment) => match self.provider_of(&payment, exercise) {
                Ok(gateway) => self.settle(ticket, &payment, gateway, false).await,
                Err(reason) => Command::Blocked { ticket, reason },
            },
            Action::Capture(payment) => match self.provider_of(&payment, exercise) {
                Ok(gateway) => self.settle(ticket, &payment, gateway, true).await,
                Err(reason) => Command::Blocked { ticket, reason },
            },
            Action::UndoPayment(payment) => match self.provider_of(&payment, exercise) {
                Ok(gateway) => self.undo(ticket, &account, &payment, gateway).await,
                Err(reason) => Command::Blocked { ticket, reason },
            },
            Action::ReleaseClaim(_) => self.release(ticket, &account).await,
        }
    }
}
