//! The pure part of dispatch: decisions without clock, randomness, I/O or logging.
//!
//! - [`mod@unit`]: the life of one unit, an event-sourced aggregate; [`transition`] is its table of statuses.
//! - [`wait`]: an incident that waits for a unit, an event-sourced aggregate.
//! - [`hospital`]: a hospital's file, and which hospital a crew drives to.
//! - [`fleet`]: what the desk sees of all units, and which of them may be sent.
//! - [`desk`]: the recommendation with its sentence, and the order of the waiting.
//! - [`diversion`]: whether a unit on its way is moved to a sicker patient.
//! - [`joint`]: several waiting incidents and several free units at once.
//! - [`case`]: what the log says about an incident.
//! - [`mode`]: whether dispatch sends a unit by itself or a person does.
//! - [`breaker`]: whether a provider of drive times that failed is asked again.
//! - [`positions`]: which fixes are believed.
//! - [`way`]: how far a unit is from the way it is expected to take.

pub mod breaker;
pub mod case;
pub mod decision;
pub mod desk;
pub mod diversion;
pub mod event;
pub mod fleet;
pub mod hospital;
pub mod joint;
pub mod mode;
pub mod positions;
pub mod refusal;
pub mod transition;
pub mod unit;
pub mod wait;
pub mod way;
