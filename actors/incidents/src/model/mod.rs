//! What an incident is and what may happen to it, pure.
//!
//! - [`incident`] is the state machine, [`command`] what may be asked of it and why it says no.
//! - [`case`] is what is remembered of an open incident, [`view`] what a person is shown of it.
//! - [`intake`] turns calls into commands: priorities, limits, validation.
//! - [`news`] turns what other services say into commands.

pub mod case;
pub mod command;
pub mod incident;
pub mod intake;
pub mod news;
mod steps;
pub mod view;

pub use case::{Attention, Case, Phase, UnitWork};
pub use command::{BillOutcome, Command, NewCall, OpeningRule, Refusal, UnitNews};
pub use incident::Incident;
