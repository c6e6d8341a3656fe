//! The language the services share: ids, time, money, geography, vitals, the envelope,
//! every event of every service, the requests the outside makes, and routing keys.
//!
//! Invariants of this crate:
//! - It is pure: no clock, randomness, I/O, environment or logging. A test of the house enforces it.
//! - Whatever is stored or published is defined here once, with a `kind` from [`Kind::ALL`] and a
//!   golden file under `tests/golden/`.
//! - Services meet here and nowhere else: no service crate depends on another one.

pub mod address;
pub mod api;
pub mod billing;
pub mod care;
pub mod dispatch;
pub mod envelope;
pub mod fhir;
pub mod geo;
pub mod ids;
pub mod incident;
pub mod kind;
pub mod laws;
pub mod money;
pub mod notification;
pub mod owner;
pub mod patient;
pub mod problem;
pub mod routing;
pub mod secret;
pub mod supervision;
pub mod time;
pub mod triage;
pub mod vitals;

pub use envelope::{DecodeError, DomainEvent, Envelope, Traceparent};
pub use geo::LatLon;
pub use ids::*;
pub use kind::Kind;
pub use money::{Currency, Money};
pub use problem::Problem;
pub use secret::Secret;
pub use time::Timestamp;
