//! The pure heart of triage: what a wearer's readings mean. No clock, no randomness, no I/O: time and
//! rules are arguments.
//!
//! - [`news2`]: the table of the Royal College of Physicians (2017) and its partial sums.
//! - [`evidence`]: the newest value of each vital sign; merging is the same in any order.
//! - [`assess`]: from fresh values to a class and the rule that decided.
//! - [`monitor`]: one wearer over time: what is announced, and when.
//! - [`explain`]: the sentences a person reads.
//! - [`rules`]: the thresholds that are data.
//!
//! Places left for what comes later: scores for children stand beside [`news2`] and are chosen by
//! [`subject::Subject`]; signal quality, persistence and hysteresis stand between [`evidence`] and
//! [`assess`]; the confirmation of falls feeds [`evidence`].

pub mod assess;
pub mod evidence;
pub mod explain;
pub mod monitor;
pub mod news2;
pub mod rules;
pub mod subject;
