//! The pure part of billing: what a run costs ([`tariff`]), how a bill lives ([`bill`], [`saga`]), when a
//! step is tried again ([`retry`]). No clock, randomness, I/O or logging.

pub mod bill;
pub mod command;
pub mod retry;
mod saga;
mod shown;
pub mod tariff;

#[cfg(test)]
mod tests;

pub use bill::{Account, Action, Bill, Effect, End, OpenPayment, Run, Split, Stage, Ticket, Undo};
pub use command::{Command, Refusal, Report, ReportedState, Undone};
pub use retry::RetryPolicy;
pub use tariff::{Tariff, TariffError};
