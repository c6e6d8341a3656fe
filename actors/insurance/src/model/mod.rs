//! The pure part of the insurer: plans and what they pay ([`plan`]), and the answer to a FHIR question
//! ([`answer`]). No clock, randomness, I/O or logging.

pub mod answer;
pub mod plan;

pub use answer::{Asked, Malformed, Standing};
pub use plan::{Plan, PlanError, Share};
