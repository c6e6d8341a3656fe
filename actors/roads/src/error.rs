//! What can go wrong: reading a map ([`MapError`]) and finding a way on it ([`RouteError`]). Every text says what was
//! being done, with which file, and what would be right.

use serde::Serialize;
use std::path::PathBuf;

/// Why a map can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// The file can't be opened or read.
    #[error("cannot read the map {}: give the path of a readable .osm.pbf file", path.display())]
    Unreadable {
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The file has no bytes.
    #[error("the map {} is empty (0 bytes): fetch it again; an .osm.pbf extract of a city has a megabyte or more", path.display())]
    Empty {
        /// File.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("the map {} is not an .osm.pbf file: it {found}; {remedy}", path.display())]
    NotPbf {
        /// File.
        path: PathBuf,
        /// What it looks like.
        found: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The file begins right and then breaks off or is garbled.
    #[error("the map {} is damaged or cut short: fetch it again and compare its checksum", path.display())]
    Damaged {
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: osmpbf::Error,
    },
    /// No usable road network in it.
    #[error(
        "the map {} has no road network that a car can drive ({ways} ways in it, {drivable} of them drivable): \
         use an extract that contains the ways tagged highway=* with their nodes",
        path.display()
    )]
    NoRoads {
        /// File.
        path: PathBuf,
        /// Ways of any kind in the file.
        ways: usize,
        /// Ways that a car can drive.
        drivable: usize,
    },
}

/// Which end of a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteEnd {
    /// Where it begins.
    From,
    /// Where it ends.
    To,
}

impl std::fmt::Display for RouteEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::From => "start",
            Self::To => "destination",
        })
    }
}

/// Why there is no route.
#[derive(Clone, Copy, PartialEq, Debug, thiserror::Error)]
pub enum RouteError {
    /// The point is off the map or in the wilderness.
    #[error("the {which} is {distance_m:.0} m from the nearest road of the map; the limit is {limit_m:.0} m")]
    TooFarFromRoad {
        /// Which point.
        which: RouteEnd,
        /// To the nearest road.
        distance_m: f64,
        /// What is allowed.
        limit_m: f64,
    },
    /// The roads don't connect. Can't happen on a loaded map, which is cut to one strongly connected part.
    #[error("no road leads from the start to the destination")]
    NoRoute,
}
