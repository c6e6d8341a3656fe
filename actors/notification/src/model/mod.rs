//! What a notification is and what may happen to it, pure.
//!
//! - [`notification`] is the state machine of one notification and its attempts.
//! - [`plan`] says who is tried, in which order.
//! - [`quiet`] says when nobody is told.
//! - [`template`] writes the texts.

pub mod notification;
pub mod plan;
pub mod quiet;
pub mod template;

pub use notification::{Command, Letter, Notification, Outcome, Refusal, Send};
