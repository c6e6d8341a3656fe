//! A world in a box: a deterministic simulation of the whole house.
//!
//! The real services, actors, Keeper, exchange and log code run in one thread under tokio's paused clock,
//! around them a city of patients, crews and a dispatcher. Everything follows from one seed: messages that
//! are repeated, reordered and delayed, actors that are killed, a log that refuses or loses commits,
//! gateways that hang and lie, a process that is killed and started again. After every second of the city
//! the laws in [`shers_contract::laws`] are held against what is new in the log, and at the end, after quiet time
//! without faults, nothing may be owed to anybody.
//!
//! Invariants of this crate:
//! - Two runs of a seed give the same log and the same documents, to the byte.
//! - No threads, no time but tokio's, no chance but the seed's, no order that depends on hashing.
//! - The laws are written once, in [`shers_contract::laws`], and a running house watches over them too.

pub mod chance;
pub mod city;
pub mod exchange;
pub mod faults;
pub mod gateways;
pub mod house;
pub mod panics;
pub mod store;
pub mod world;

pub use world::{Broken, Outcome, Script, run};
