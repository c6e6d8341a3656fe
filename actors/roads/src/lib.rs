//! Roads: reads an OpenStreetMap extract, and answers how an ambulance drives from one place to another and how long it
//! takes.
//!
//! A [`RoadMap`] is read once and never changes; share it by `Arc`. It is prepared for two ways of driving
//! ([`Speed`]), answers a route in tens of microseconds ([`RoadMap::route`], [`RoadMap::eta`]), and finds the nearest of
//! many by road exactly, without routing all of them ([`RoadMap::nearest_by_road`], and [`RoadMap::nearest_standing`] for
//! many who stand on the roads from one question to the next).
//!
//! Inside, from the file to the answer: `pbf` reads ways and nodes, `tags` decides what can be driven and how fast,
//! `network` cuts ways at junctions, `connected` keeps the largest part where everything reaches everything,
//! `hierarchy` contracts it, `snap` brings positions onto it, `journey` puts paths together, `inward` and `standing` walk
//! from a destination to those who stand nearest, `display` encodes the roads for drawing.
//!
//! Nothing here logs, sleeps or knows the time; the only input is the map.

mod connected;
mod display;
mod error;
mod facilities;
mod hierarchy;
mod inward;
mod journey;
mod map;
mod nearest;
mod network;
mod pbf;
mod route;
mod snap;
mod standing;
mod tags;
#[cfg(test)]
mod tests;

pub use error::{MapError, RouteEnd, RouteError};
pub use facilities::{Facility, FacilityError, FacilityKind, facilities_from_geojson};
pub use map::{Bounds, DEFAULT_SNAP_LIMIT_M, RoadMap, Stats};
pub use nearest::{ByRoad, Nearest};
pub use route::{Eta, Route};
pub use standing::{Fits, Standing};
pub use tags::RoadClass;

use serde::{Deserialize, Serialize};

/// How a unit drives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Speed {
    /// To an emergency, with priority.
    LightsAndSirens,
    /// With the traffic.
    Normal,
}
