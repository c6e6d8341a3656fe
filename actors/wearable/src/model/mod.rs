//! The pure heart of the wearable service.
//!
//! - [`check`]: is a reading possible, and when not, what would be right.
//! - [`registry`]: what a PUT of a patient or a device means.
//! - [`track`]: what is remembered of a wearer's readings: repeats, and where the history lies.

pub mod check;
pub mod registry;
pub mod track;
