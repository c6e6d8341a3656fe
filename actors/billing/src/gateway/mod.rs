//! The outside: payment providers and insurers, each behind a port.

pub mod eligibility;
pub mod insurer;
pub mod payment;
pub mod sandbox;
#[cfg(feature = "providers")]
pub mod stripe;
pub mod webhook;

pub use insurer::{Ask, Eligibility, Insurer, Released};
pub use payment::{
    AmountLimits, CancelOutcome, ConfirmOutcome, CreateOutcome, CreatePayment, FoundPayment, PaymentGateway,
    PaymentState, ReadOutcome, RefundOutcome, Sought, Unchargeable,
};
