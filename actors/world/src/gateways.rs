//! The outside of the house: a payment provider, a messenger and an insurer that hang, lie and refuse.
//! What they know outlives every process.

use crate::chance::Shared;
use crate::faults::Dial;
use async_trait::async_trait;
use shers_billing::gateway::{
    AmountLimits, Ask, CancelOutcome, ConfirmOutcome, CreateOutcome, CreatePayment, Eligibility, Insurer,
    PaymentGateway, ReadOutcome, RefundOutcome, Released, Sought, eligibility, sandbox::SandboxPayments,
};
use shers_contract::{
    Money, Problem, Traceparent,
    api::{Call, Principal, Request, Role},
    fhir::EligibilityResponse,
};
use shers_notification::gateway::{Lookup, Messenger, Outgoing, SendOutcome};
use shers_runtime::{Clock, Endpoint, Ids};
use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc, time::Duration};

/// What happens to a request to the outside.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Good,
    LostBefore,
    LostAfter,
    Refused,
}

/// The line to the outside.
#[derive(Clone)]
pub struct Wire {
    /// How often it fails.
    pub dial: Arc<Dial>,
    /// Which ones.
    pub chance: Arc<Shared>,
}

const WHY: &str = "the world's line failed";

impl Wire {
    /// The time a request takes, and what becomes of it.
    async fn go(&self) -> Line {
        let faults = self.dial.now().gateway;
        let (line, ms) = self.chance.with(|chance| {
            let bad = chance.in_thousand(faults);
            let line = match chance.below(3) {
                _ if !bad => Line::Good,
                0 => Line::LostBefore,
                1 => Line::LostAfter,
                _ => Line::Refused,
            };
            let hangs = bad && chance.in_thousand(300);
            (line, if hangs { chance.between(5_000, 60_000) } else { chance.between(1, 300) })
        });
        tokio::time::sleep(Duration::from_millis(ms)).await;
        line
    }

    /// Does `call` over the line. `lost` is what a lost answer looks like, `refused` a refusal that nothing
    /// came of.
    async fn carry<T>(&self, call: impl Future<Output = T>, lost: T, refused: T) -> T {
        match self.go().await {
            Line::Good => call.await,
            Line::LostBefore => lost,
            Line::LostAfter => {
                call.await;
                lost
            }
            Line::Refused => refused,
        }
    }
}

/// A payment provider behind the wire. It keeps a sandbox's ledger of its own.
pub struct Bank {
    /// Its books.
    pub books: SandboxPayments,
    /// The line to it.
    pub wire: Wire,
}

#[async_trait]
impl PaymentGateway for Bank {
    fn name(&self) -> &'static str {
        "world-bank"
    }
    fn limits(&self, amount: Money) -> AmountLimits {
        self.books.limits(amount)
    }
    async fn create(&self, payment: CreatePayment) -> CreateOutcome {
        let (lost, refused) = (CreateOutcome::Unknown(WHY.to_owned()), CreateOutcome::Retry(WHY.to_owned()));
        self.wire.carry(self.books.create(payment), lost, refused).await
    }
    async fn confirm(&self, key: &str, id: &str) -> ConfirmOutcome {
        let (lost, refused) = (ConfirmOutcome::Unknown(WHY.to_owned()), ConfirmOutcome::Retry(WHY.to_owned()));
        self.wire.carry(self.books.confirm(key, id), lost, refused).await
    }
    async fn capture(&self, key: &str, id: &str) -> ConfirmOutcome {
        let (lost, refused) = (ConfirmOutcome::Unknown(WHY.to_owned()), ConfirmOutcome::Retry(WHY.to_owned()));
        self.wire.carry(self.books.capture(key, id), lost, refused).await
    }
    async fn find(&self, sought: &Sought) -> ReadOutcome {
        let no = || ReadOutcome::Retry(WHY.to_owned());
        self.wire.carry(self.books.find(sought), no(), no()).await
    }
    async fn read(&self, id: &str) -> ReadOutcome {
        let no = || ReadOutcome::Retry(WHY.to_owned());
        self.wire.carry(self.books.read(id), no(), no()).await
    }
    async fn cancel(&self, key: &str, id: &str) -> CancelOutcome {
        let (lost, refused) = (CancelOutcome::Unknown(WHY.to_owned()), CancelOutcome::Retry(WHY.to_owned()));
        self.wire.carry(self.books.cancel(key, id), lost, refused).await
    }
    async fn refund(&self, key: &str, id: &str, amount: Money) -> RefundOutcome {
        let (lost, refused) = (RefundOutcome::Unknown(WHY.to_owned()), RefundOutcome::Retry(WHY.to_owned()));
        self.wire.carry(self.books.refund(key, id, amount), lost, refused).await
    }
}

/// Messages that reached somebody, by our key for them.
pub type Post = Rc<RefCell<BTreeMap<String, Outgoing>>>;

/// A messenger behind the wire.
pub struct Courier {
    /// What it has delivered.
    pub post: Post,
    /// The line to it.
    pub wire: Wire,
}

#[async_trait(?Send)]
impl Messenger for Courier {
    fn name(&self) -> &'static str {
        "world-courier"
    }
    async fn lookup(&self, key: &str) -> Lookup {
        let known = self.post.borrow().contains_key(key);
        let answer = if known { Lookup::Sent(format!("post-{key}")) } else { Lookup::NotSeen };
        self.wire.carry(async { answer }, Lookup::CannotTell, Lookup::CannotTell).await
    }
    async fn send(&self, message: &Outgoing) -> SendOutcome {
        let deliver = async {
            self.post.borrow_mut().insert(message.key.clone(), message.clone());
            SendOutcome::Sent { id: format!("post-{}", message.key) }
        };
        let lost = SendOutcome::Ambiguous { reason: WHY.to_owned() };
        let refused = SendOutcome::Refused { reason: WHY.to_owned(), permanent: false };
        self.wire.carry(deliver, lost, refused).await
    }
}

/// The insurance service, asked through its own door without HTTP in between.
pub struct DirectInsurer {
    /// The door.
    pub door: Arc<dyn Endpoint>,
    /// The line to it.
    pub wire: Wire,
    /// For the call's trace.
    pub ids: Arc<dyn Ids>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl DirectInsurer {
    async fn ask(&self, body: serde_json::Value) -> Result<EligibilityResponse, Problem> {
        let call = Call {
            id: self.ids.uuid(self.clock.now()),
            principal: Principal { subject: "billing".to_owned(), role: Role::Administrator },
            traceparent: Traceparent { trace_id: 1, span_id: 1 },
            exercise: false,
            idempotency: None,
            if_match: None,
            request: Request::Eligibility(body),
        };
        let lost = || Err(Problem::unavailable(WHY));
        let answer = self.wire.carry(self.door.call(call), lost(), lost()).await?;
        serde_json::from_value(answer.body).map_err(|error| Problem::unavailable(error.to_string()))
    }
}

#[async_trait]
impl Insurer for DirectInsurer {
    async fn eligibility(&self, ask: &Ask) -> Eligibility {
        let body = match eligibility::request(ask) {
            Ok(body) => body,
            Err(error) => return Eligibility::Error { retryable: false, reason: error.to_string() },
        };
        match self.ask(body).await {
            Ok(response) => eligibility::understood(&response, ask.order.total),
            Err(problem) => Eligibility::Error { retryable: problem.status >= 500, reason: problem.detail },
        }
    }
    async fn release(&self, ask: &Ask) -> Released {
        let body = match eligibility::release(ask) {
            Ok(body) => body,
            Err(error) => return Released::Error { retryable: false, reason: error.to_string() },
        };
        match self.ask(body).await {
            Ok(response) => eligibility::released(&response),
            Err(problem) => Released::Error { retryable: problem.status >= 500, reason: problem.detail },
        }
    }
}
