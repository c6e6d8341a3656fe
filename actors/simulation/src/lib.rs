//! The demo city: seeded patients whose vitals go wrong, crews that drive on real roads, a dispatcher who
//! acknowledges. It acts only through the public HTTP interface, as devices, crews and relatives would;
//! it never writes events itself.
//!
//! - [`plot`] is pure: same seed, same plot (who falls ill, when and how, which card is declined, which
//!   call comes twice).
//! - `course` is pure: vital signs over time.
//! - `client` speaks HTTP, `crew`, `wearers` and `desk` act, [`city`] puts them together.

mod client;
mod course;
mod crew;
mod desk;
mod wearers;

pub mod city;
pub mod plot;

pub use city::{CityClock, CityError, CityOptions, Outcome, run};
pub use plot::{Plot, PlotOptions};
