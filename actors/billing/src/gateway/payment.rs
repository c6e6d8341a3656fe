//! The port to a payment provider.
//!
//! What every implementation promises:
//! - The same key gives the same answer however often it is asked; a key never charges twice.
//! - A payment is created, confirmed (the amount is reserved) and captured (the money moves): three calls,
//!   so that what is reserved can still be cancelled.
//! - `Unknown` means that nobody can say whether it was done: the caller reads back, with the same key.
//!   `Retry` means that it was certainly not done.
//! - It never retries by itself and always answers in bounded time.

use async_trait::async_trait;
use shers_contract::{BillId, Money, Timestamp};

/// Amounts a provider takes in one currency, in minor units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AmountLimits {
    /// Smallest.
    pub min_minor: i64,
    /// Largest.
    pub max_minor: i64,
    /// Every amount is a multiple of this.
    pub step_minor: i64,
}

/// Why an amount is not asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unchargeable {
    /// Below the smallest.
    TooSmall,
    /// Above the largest.
    TooLarge,
    /// Finer than the provider counts.
    TooFine,
}

impl Unchargeable {
    /// As the code of a bill that failed.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooSmall => "amount-too-small",
            Self::TooLarge => "amount-too-large",
            Self::TooFine => "amount-too-fine",
        }
    }
}

impl AmountLimits {
    /// Whether an amount may be asked for.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, amount_minor: i64) -> Result<(), Unchargeable> {
        if amount_minor < self.min_minor {
            Err(Unchargeable::TooSmall)
        } else if amount_minor > self.max_minor {
            Err(Unchargeable::TooLarge)
        } else if amount_minor % self.step_minor.max(1) != 0 {
            Err(Unchargeable::TooFine)
        } else {
            Ok(())
        }
    }
}

/// What to look for when only the key is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sought {
    /// Idempotency key of the creation.
    pub key: String,
    /// Metadata: which bill it is for.
    pub bill_id: BillId,
    /// It was not created before.
    pub since: Timestamp,
}

/// A payment to be created.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreatePayment {
    /// Idempotency key, stored before the call.
    pub key: String,
    /// How much.
    pub amount: Money,
    /// The provider's token of the card.
    pub payment_method: String,
    /// Metadata: which bill it is for.
    pub bill_id: BillId,
}

/// How creating ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CreateOutcome {
    /// It exists; nothing is charged yet.
    Created {
        /// The provider's id.
        id: String,
    },
    /// The provider said no, for good.
    Declined {
        /// Word such as `card-declined`.
        code: String,
        /// For a person.
        reason: String,
    },
    /// Nobody knows.
    Unknown(String),
    /// Not done; may work later.
    Retry(String),
    /// Not done, and a person is needed (credentials, a wrong request).
    Blocked(String),
}

/// How confirming or capturing ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfirmOutcome {
    /// The amount is reserved: what follows is to capture it.
    Authorised,
    /// Charged.
    Succeeded,
    /// Not charged, for good.
    Declined {
        /// Word such as `card-declined`.
        code: String,
        /// For a person.
        reason: String,
    },
    /// The bank wants the patient to authenticate, who is not here.
    RequiresAction,
    /// Accepted, not decided yet: read it later.
    Processing,
    /// Nobody knows.
    Unknown(String),
    /// Not done; may work later.
    Retry(String),
    /// Not done, and a person is needed.
    Blocked(String),
}

/// How cancelling ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CancelOutcome {
    /// No money will move.
    Cancelled,
    /// Too late: it succeeded and must be refunded.
    Succeeded,
    /// Not decided yet, or nobody knows: read it later.
    Unknown(String),
    /// Not done; may work later.
    Retry(String),
    /// Not done, and a person is needed.
    Blocked(String),
}

/// How refunding ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RefundOutcome {
    /// The money goes back.
    Refunded,
    /// The provider said no, for good: a person is needed.
    Failed(String),
    /// Nobody knows.
    Unknown(String),
    /// Not done; may work later.
    Retry(String),
}

/// What a provider says of a payment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PaymentState {
    /// Created, not confirmed.
    RequiresConfirmation,
    /// Confirmed, not captured.
    Authorised,
    /// The bank wants the patient to authenticate.
    RequiresAction,
    /// Being decided.
    Processing,
    /// The card was declined.
    Declined,
    /// Charged.
    Succeeded,
    /// Charged and paid back in full.
    Refunded,
    /// Cancelled.
    Cancelled,
}

/// A payment as the provider knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundPayment {
    /// The provider's id.
    pub id: String,
    /// Its state.
    pub state: PaymentState,
    /// Why it was declined, when it was.
    pub decline_code: Option<String>,
}

/// How reading ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadOutcome {
    /// This is it.
    Found(FoundPayment),
    /// The provider knows of none.
    Absent,
    /// No answer; may work later.
    Retry(String),
}

/// A payment provider.
#[async_trait]
pub trait PaymentGateway: Send + Sync + 'static {
    /// Its name in events (`sandbox-payment`, `stripe`).
    fn name(&self) -> &'static str;
    /// Amounts it takes in a currency; checked before it is asked.
    fn limits(&self, amount: Money) -> AmountLimits;
    /// Creates a payment without charging it.
    async fn create(&self, payment: CreatePayment) -> CreateOutcome;
    /// Reserves the amount on the card.
    async fn confirm(&self, key: &str, id: &str) -> ConfirmOutcome;
    /// Charges what is reserved.
    async fn capture(&self, key: &str, id: &str) -> ConfirmOutcome;
    /// Looks for the payment that was created under a key.
    async fn find(&self, sought: &Sought) -> ReadOutcome;
    /// Reads a payment.
    async fn read(&self, id: &str) -> ReadOutcome;
    /// Cancels a payment that is not charged.
    async fn cancel(&self, key: &str, id: &str) -> CancelOutcome;
    /// Pays back a charged one.
    async fn refund(&self, key: &str, id: &str, amount: Money) -> RefundOutcome;
}
