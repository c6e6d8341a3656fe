//! The built-in stand-in for a payment provider, `sandbox-payment`. No money moves.
//!
//! Stateful and durable: each payment is a document `sandbox.payment`, whose id is derived from its
//! idempotency key, so a key finds its payment and gives the same answer for ever. The ledger is all of
//! these documents: the charges that succeeded, minus what was refunded.
//!
//! Test cards, as `payment_method`:
//!
//! | token | what happens |
//! |---|---|
//! | `pm_card_visa`, and any other | charged |
//! | `pm_card_chargeDeclined`, `pm_card_visa_chargeDeclined` | declined, `card-declined` |
//! | `pm_card_insufficientFunds`, `pm_card_visa_chargeDeclinedInsufficientFunds` | declined, `insufficient-funds` |
//! | `pm_card_expired`, `pm_card_chargeDeclinedExpiredCard` | declined, `expired-card` |
//! | `pm_card_authenticationRequired` | the bank wants the patient to authenticate |
//! | `pm_card_timeout_before` | the first confirmation is lost before it is processed |
//! | `pm_card_timeout_after` | the capture is charged, its answer lost |
//! | `pm_card_slow` | the capture is accepted at once, charged after [`SLOW_MS`] |
//! | `pm_card_silent` | charged, and no answer to capturing or reading ever comes |
//! | `pm_card_refundFails` | as `pm_card_silent`, and the refund is refused |
//! | `pm_card_unavailable` | the provider is down whenever this card is used |

use crate::gateway::payment::{
    AmountLimits, CancelOutcome, ConfirmOutcome, CreateOutcome, CreatePayment, FoundPayment, PaymentGateway,
    PaymentState, ReadOutcome, RefundOutcome, Sought,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use shers_contract::{BillId, Money, Timestamp, derived_uuid};
use shers_runtime::{Clock, Commit, Deps, DocumentWrite, Store};
use std::sync::Arc;
use tokio::sync::Mutex;

/// Collection of the sandbox's payments.
pub const COLLECTION: &str = "sandbox.payment";
/// How long `pm_card_slow` takes, milliseconds.
pub const SLOW_MS: i64 = 5_000;
/// Largest amount the sandbox takes, minor units.
pub const MAX_MINOR: i64 = 99_999_999_999;

const LOST: &str = "sandbox-payment: no answer in time";
const DOWN: &str = "sandbox-payment: unavailable";

/// State of a sandbox payment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Created.
    RequiresConfirmation,
    /// Waiting for the patient.
    RequiresAction,
    /// Confirmed: the amount is reserved.
    RequiresCapture,
    /// Will succeed at `ready_at`.
    Processing,
    /// Declined.
    Declined,
    /// Charged.
    Succeeded,
    /// Cancelled.
    Cancelled,
}

/// One payment of the sandbox.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SandboxPayment {
    /// Id.
    pub id: String,
    /// Key it was created under.
    pub key: String,
    /// Which bill it is for.
    pub bill_id: BillId,
    /// How much.
    pub amount: Money,
    /// The card.
    pub payment_method: String,
    /// State.
    pub status: Status,
    /// Why it was declined.
    #[serde(default)]
    pub decline_code: Option<String>,
    /// How often it was charged; never more than once.
    pub charges: u32,
    /// Paid back.
    pub refunded_minor: i64,
    /// Answers that were lost so far.
    #[serde(default)]
    pub lost: u32,
    /// When a slow one succeeds.
    #[serde(default)]
    pub ready_at: Option<Timestamp>,
}

impl SandboxPayment {
    /// What this payment moved: charged minus refunded.
    #[must_use]
    pub fn net_minor(&self) -> i64 {
        i64::from(self.charges) * self.amount.amount_minor - self.refunded_minor
    }
    fn found(&self) -> FoundPayment {
        let state = match self.status {
            Status::RequiresConfirmation => PaymentState::RequiresConfirmation,
            Status::RequiresAction => PaymentState::RequiresAction,
            Status::RequiresCapture => PaymentState::Authorised,
            Status::Processing => PaymentState::Processing,
            Status::Declined => PaymentState::Declined,
            Status::Succeeded if self.refunded_minor >= self.amount.amount_minor => PaymentState::Refunded,
            Status::Succeeded => PaymentState::Succeeded,
            Status::Cancelled => PaymentState::Cancelled,
        };
        FoundPayment { id: self.id.clone(), state, decline_code: self.decline_code.clone() }
    }
    fn charge(&mut self) {
        self.status = Status::Succeeded;
        self.charges += 1;
    }
    fn decline(&mut self, code: &str) {
        self.status = Status::Declined;
        self.decline_code = Some(code.to_owned());
    }
    /// Answers of this card to anything but the one cancellation and refund never come.
    fn is_silent(&self) -> bool {
        self.charges > 0 && matches!(self.payment_method.as_str(), "pm_card_silent" | "pm_card_refundFails")
    }
    fn confirm_outcome(&self) -> ConfirmOutcome {
        match self.status {
            Status::Succeeded => ConfirmOutcome::Succeeded,
            Status::RequiresCapture => ConfirmOutcome::Authorised,
            Status::RequiresAction => ConfirmOutcome::RequiresAction,
            Status::Processing => ConfirmOutcome::Processing,
            Status::Declined => ConfirmOutcome::Declined {
                code: self.decline_code.clone().unwrap_or_else(|| "card-declined".to_owned()),
                reason: "sandbox-payment declined the test card".to_owned(),
            },
            Status::Cancelled => ConfirmOutcome::Declined {
                code: "payment-cancelled".to_owned(),
                reason: "sandbox-payment: the payment was cancelled".to_owned(),
            },
            Status::RequiresConfirmation => ConfirmOutcome::Unknown(LOST.to_owned()),
        }
    }
}

/// The sandbox provider.
pub struct SandboxPayments {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// One operation at a time: documents have no versions.
    turn: Mutex<()>,
}

impl SandboxPayments {
    /// The sandbox over a service's store.
    #[must_use]
    pub fn new(deps: &Deps) -> Self {
        Self { store: Arc::clone(&deps.store), clock: Arc::clone(&deps.clock), turn: Mutex::new(()) }
    }

    /// The id of the payment of a key.
    #[must_use]
    pub fn id_of(key: &str) -> String {
        format!("sandbox_pi_{}", derived_uuid(&["sandbox-payment", key]).simple())
    }

    /// The whole ledger.
    ///
    /// # Errors
    /// The store can't be read, or holds something else.
    pub async fn ledger(store: &dyn Store) -> Result<Vec<SandboxPayment>, String> {
        let documents = store.documents(COLLECTION, &[], None, usize::MAX).await.map_err(|e| e.to_string())?;
        documents.iter().map(|d| serde_json::from_str(&d.doc).map_err(|e| e.to_string())).collect()
    }

    async fn load(&self, id: &str) -> Result<Option<SandboxPayment>, String> {
        let document = self.store.document(COLLECTION, id).await.map_err(|e| e.to_string())?;
        let payment = document.map(|d| serde_json::from_str::<SandboxPayment>(&d.doc)).transpose();
        let payment = payment.map_err(|e| e.to_string())?;
        // A slow payment is decided by the time it is looked at.
        let now = self.clock.now();
        match payment {
            Some(mut slow) if slow.status == Status::Processing && slow.ready_at.is_some_and(|at| at <= now) => {
                slow.charge();
                self.save(&slow).await?;
                Ok(Some(slow))
            }
            other => Ok(other),
        }
    }

    async fn save(&self, payment: &SandboxPayment) -> Result<(), String> {
        let doc = serde_json::to_string(payment).map_err(|e| e.to_string())?;
        let write = DocumentWrite {
            collection: COLLECTION,
            id: payment.id.clone(),
            tag: payment.bill_id.to_string(),
            rank: 0,
            doc: Some(doc),
        };
        let commit = Commit { documents: vec![write], ..Commit::default() };
        self.store.commit(commit).await.map(|_| ()).map_err(|e| e.to_string())
    }

    async fn do_create(&self, ask: CreatePayment) -> Result<CreateOutcome, String> {
        let id = Self::id_of(&ask.key);
        if ask.payment_method == "pm_card_unavailable" {
            return Ok(CreateOutcome::Retry(DOWN.to_owned()));
        }
        if let Some(before) = self.load(&id).await? {
            return Ok(if before.amount == ask.amount && before.payment_method == ask.payment_method {
                CreateOutcome::Created { id }
            } else {
                CreateOutcome::Blocked("sandbox-payment: this key was used for another payment".to_owned())
            });
        }
        let payment = SandboxPayment {
            id: id.clone(),
            key: ask.key,
            bill_id: ask.bill_id,
            amount: ask.amount,
            payment_method: ask.payment_method,
            status: Status::RequiresConfirmation,
            decline_code: None,
            charges: 0,
            refunded_minor: 0,
            lost: 0,
            ready_at: None,
        };
        self.save(&payment).await?;
        Ok(CreateOutcome::Created { id })
    }

    async fn do_confirm(&self, id: &str) -> Result<ConfirmOutcome, String> {
        let Some(mut payment) = self.load(id).await? else {
            return Ok(ConfirmOutcome::Blocked("sandbox-payment knows no such payment".to_owned()));
        };
        if payment.status != Status::RequiresConfirmation {
            let silent = payment.is_silent();
            return Ok(if silent { ConfirmOutcome::Unknown(LOST.to_owned()) } else { payment.confirm_outcome() });
        }
        let card = payment.payment_method.clone();
        let mut lost = false;
        match card.as_str() {
            "pm_card_chargeDeclined" | "pm_card_visa_chargeDeclined" => payment.decline("card-declined"),
            "pm_card_insufficientFunds" | "pm_card_visa_chargeDeclinedInsufficientFunds" => {
                payment.decline("insufficient-funds");
            }
            "pm_card_expired" | "pm_card_chargeDeclinedExpiredCard" => payment.decline("expired-card"),
            "pm_card_authenticationRequired" => payment.status = Status::RequiresAction,
            "pm_card_timeout_before" if payment.lost == 0 => lost = true,
            _ => payment.status = Status::RequiresCapture,
        }
        payment.lost += u32::from(lost);
        self.save(&payment).await?;
        Ok(if lost { ConfirmOutcome::Unknown(LOST.to_owned()) } else { payment.confirm_outcome() })
    }

    async fn do_capture(&self, id: &str) -> Result<ConfirmOutcome, String> {
        let Some(mut payment) = self.load(id).await? else {
            return Ok(ConfirmOutcome::Blocked("sandbox-payment knows no such payment".to_owned()));
        };
        match payment.status {
            Status::RequiresCapture => {}
            Status::RequiresConfirmation => {
                return Ok(ConfirmOutcome::Blocked("sandbox-payment: the payment is not confirmed".to_owned()));
            }
            Status::RequiresAction | Status::Processing | Status::Declined | Status::Succeeded | Status::Cancelled => {
                let silent = payment.is_silent();
                return Ok(if silent { ConfirmOutcome::Unknown(LOST.to_owned()) } else { payment.confirm_outcome() });
            }
        }
        let mut lost = false;
        match payment.payment_method.as_str() {
            "pm_card_timeout_after" | "pm_card_silent" | "pm_card_refundFails" => {
                payment.charge();
                lost = true;
            }
            "pm_card_slow" => {
                payment.status = Status::Processing;
                payment.ready_at = Some(self.clock.now().plus_ms(SLOW_MS));
            }
            _ => payment.charge(),
        }
        payment.lost += u32::from(lost);
        self.save(&payment).await?;
        Ok(if lost { ConfirmOutcome::Unknown(LOST.to_owned()) } else { payment.confirm_outcome() })
    }

    async fn do_cancel(&self, id: &str) -> Result<CancelOutcome, String> {
        let Some(mut payment) = self.load(id).await? else {
            return Ok(CancelOutcome::Blocked("sandbox-payment knows no such payment".to_owned()));
        };
        match payment.status {
            Status::Succeeded => Ok(CancelOutcome::Succeeded),
            Status::Processing => Ok(CancelOutcome::Unknown("sandbox-payment has not decided yet".to_owned())),
            Status::Cancelled => Ok(CancelOutcome::Cancelled),
            Status::RequiresConfirmation | Status::RequiresAction | Status::RequiresCapture | Status::Declined => {
                payment.status = Status::Cancelled;
                self.save(&payment).await?;
                Ok(CancelOutcome::Cancelled)
            }
        }
    }

    async fn do_refund(&self, id: &str, amount: Money) -> Result<RefundOutcome, String> {
        let Some(mut payment) = self.load(id).await? else {
            return Ok(RefundOutcome::Failed("sandbox-payment knows no such payment".to_owned()));
        };
        if payment.status != Status::Succeeded || amount != payment.amount {
            return Ok(RefundOutcome::Failed("sandbox-payment: only a whole succeeded charge is refunded".to_owned()));
        }
        if payment.payment_method == "pm_card_refundFails" {
            return Ok(RefundOutcome::Failed("sandbox-payment: the test card refuses refunds".to_owned()));
        }
        // A repeat finds it refunded and answers the same.
        payment.refunded_minor = amount.amount_minor;
        self.save(&payment).await?;
        Ok(RefundOutcome::Refunded)
    }

    async fn do_read(&self, id: &str) -> ReadOutcome {
        match self.load(id).await {
            Ok(None) => ReadOutcome::Absent,
            Ok(Some(payment)) => ReadOutcome::Found(payment.found()),
            Err(why) => ReadOutcome::Retry(why),
        }
    }
}

#[async_trait]
impl PaymentGateway for SandboxPayments {
    fn name(&self) -> &'static str {
        "sandbox-payment"
    }
    fn limits(&self, _amount: Money) -> AmountLimits {
        AmountLimits { min_minor: 1, max_minor: MAX_MINOR, step_minor: 1 }
    }
    async fn create(&self, payment: CreatePayment) -> CreateOutcome {
        let _turn = self.turn.lock().await;
        self.do_create(payment).await.unwrap_or_else(CreateOutcome::Unknown)
    }
    async fn confirm(&self, _key: &str, id: &str) -> ConfirmOutcome {
        let _turn = self.turn.lock().await;
        self.do_confirm(id).await.unwrap_or_else(ConfirmOutcome::Unknown)
    }
    async fn capture(&self, _key: &str, id: &str) -> ConfirmOutcome {
        let _turn = self.turn.lock().await;
        self.do_capture(id).await.unwrap_or_else(ConfirmOutcome::Unknown)
    }
    async fn find(&self, sought: &Sought) -> ReadOutcome {
        let _turn = self.turn.lock().await;
        self.do_read(&Self::id_of(&sought.key)).await
    }
    async fn read(&self, id: &str) -> ReadOutcome {
        let _turn = self.turn.lock().await;
        match self.load(id).await {
            Ok(Some(payment)) if payment.is_silent() => ReadOutcome::Retry(LOST.to_owned()),
            Ok(Some(payment)) => ReadOutcome::Found(payment.found()),
            Ok(None) => ReadOutcome::Absent,
            Err(why) => ReadOutcome::Retry(why),
        }
    }
    async fn cancel(&self, _key: &str, id: &str) -> CancelOutcome {
        let _turn = self.turn.lock().await;
        self.do_cancel(id).await.unwrap_or_else(CancelOutcome::Unknown)
    }
    async fn refund(&self, _key: &str, id: &str, amount: Money) -> RefundOutcome {
        let _turn = self.turn.lock().await;
        self.do_refund(id, amount).await.unwrap_or_else(RefundOutcome::Unknown)
    }
}
