//! Hospitals and stations, from the tags of a map or from a GeoJSON file of one's own.

use crate::tags::Tags;
use serde::{Deserialize, Serialize};
use shers_contract::LatLon;
use std::path::{Path, PathBuf};

/// Two mentions of one name closer than this are one place, mapped as a point and as an outline.
const SAME_PLACE_M: f64 = 300.0;

/// What a place is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FacilityKind {
    /// Receives patients.
    Hospital,
    /// Ambulances wait here. GeoJSON may also say `station`.
    #[serde(alias = "station", alias = "ambulance_station")]
    AmbulanceStation,
    /// Fire station; in many places ambulances wait here too.
    #[serde(alias = "fire_station")]
    FireStation,
}

impl FacilityKind {
    /// Whether vehicles wait there.
    #[must_use]
    pub const fn is_station(self) -> bool {
        matches!(self, Self::AmbulanceStation | Self::FireStation)
    }
}

/// A place of the emergency service.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Facility {
    /// What it is.
    pub kind: FacilityKind,
    /// Its name; a description when the map has none.
    pub name: String,
    /// Where.
    pub location: LatLon,
}

/// Why a file of facilities can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FacilityError {
    /// The file can't be read.
    #[error("cannot read the facilities {}: give the path of a readable GeoJSON file", path.display())]
    Unreadable {
        /// File.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is no GeoJSON FeatureCollection of facilities.
    #[error(
        "the facilities {} are not as expected: a GeoJSON FeatureCollection of Points with the properties \
         kind (hospital, ambulance-station or station, fire-station) and name, coordinates as [lon, lat]",
        path.display()
    )]
    Malformed {
        /// File.
        path: PathBuf,
        /// Cause, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// A feature is nowhere on earth.
    #[error(
        "the facilities {}: feature {index} ({name}) has the coordinates [{lon}, {lat}]; \
         right would be [lon, lat] in degrees, lon -180 to 180 and lat -90 to 90",
        path.display()
    )]
    OffTheEarth {
        /// File.
        path: PathBuf,
        /// Position in the file, from 0.
        index: usize,
        /// Its name.
        name: String,
        /// First coordinate.
        lon: f64,
        /// Second coordinate.
        lat: f64,
    },
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Collection {
    FeatureCollection { features: Vec<Feature> },
}

#[derive(Deserialize)]
struct Feature {
    properties: Properties,
    geometry: Geometry,
}

#[derive(Deserialize)]
struct Properties {
    kind: FacilityKind,
    name: String,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Geometry {
    Point { coordinates: Vec<f64> },
}

/// Reads hospitals and stations from a GeoJSON FeatureCollection of points with the properties `kind` and `name`.
///
/// # Errors
/// When the file can't be read or is something else.
pub fn facilities_from_geojson(path: impl AsRef<Path>) -> Result<Vec<Facility>, FacilityError> {
    let path = path.as_ref();
    let text = std::fs::read(path).map_err(|source| FacilityError::Unreadable { path: path.to_path_buf(), source })?;
    let Collection::FeatureCollection { features } = serde_json::from_slice(&text)
        .map_err(|source| FacilityError::Malformed { path: path.to_path_buf(), source })?;
    features.into_iter().enumerate().map(|(index, feature)| facility(path, index, feature)).collect()
}

fn facility(path: &Path, index: usize, feature: Feature) -> Result<Facility, FacilityError> {
    let Properties { kind, name } = feature.properties;
    let Geometry::Point { coordinates } = feature.geometry;
    let mut numbers = coordinates.into_iter();
    let (lon, lat) = (numbers.next().unwrap_or(f64::NAN), numbers.next().unwrap_or(f64::NAN));
    match LatLon::new(lat, lon) {
        Some(location) => Ok(Facility { kind, name, location }),
        None => Err(FacilityError::OffTheEarth { path: path.to_path_buf(), index, name, lon, lat }),
    }
}

/// The facility that an element with these tags is, with its name.
pub(crate) fn from_tags(tags: &Tags<'_>) -> Option<(FacilityKind, String)> {
    let (kind, unnamed) = match (tags.get("amenity"), tags.get("emergency")) {
        (Some("hospital"), _) => (FacilityKind::Hospital, "Hospital"),
        (_, Some("ambulance_station")) => (FacilityKind::AmbulanceStation, "Ambulance station"),
        (Some("fire_station"), _) => (FacilityKind::FireStation, "Fire station"),
        _ => return None,
    };
    let name = ["name", "official_name", "operator"].iter().find_map(|key| tags.get(key)).unwrap_or(unnamed);
    Some((kind, name.to_owned()))
}

/// The middle of an outline. Its corners' mean is near enough for a building.
pub(crate) fn middle(corners: &[LatLon]) -> Option<LatLon> {
    let corners = match corners {
        [first, inner @ .., last] if first == last => [std::slice::from_ref(first), inner].concat(),
        _ => corners.to_vec(),
    };
    let count = corners.len() as f64;
    let (lat, lon) = corners.iter().fold((0.0, 0.0), |(lat, lon), c| (lat + c.lat / count, lon + c.lon / count));
    if corners.is_empty() { None } else { LatLon::new(lat, lon) }
}

/// Drops second mentions of one place, and orders by kind and name so that every run sees the same list.
pub(crate) fn without_repeats(mut found: Vec<Facility>) -> Vec<Facility> {
    found.sort_by(|a, b| {
        let key = |f: &Facility| (f.kind as u8, f.name.clone());
        key(a)
            .cmp(&key(b))
            .then(a.location.lat.total_cmp(&b.location.lat))
            .then(a.location.lon.total_cmp(&b.location.lon))
    });
    let mut kept: Vec<Facility> = Vec::with_capacity(found.len());
    for next in found {
        let repeats = |k: &Facility| {
            k.kind == next.kind && k.name == next.name && k.location.distance_m(&next.location) < SAME_PLACE_M
        };
        if !kept.iter().any(repeats) {
            kept.push(next);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat: f64, lon: f64) -> LatLon {
        LatLon::new(lat, lon).expect("on earth")
    }

    #[test]
    fn the_middle_of_a_closed_outline_counts_its_first_corner_once() {
        let square = [at(0.0, 0.0), at(0.0, 2.0), at(2.0, 2.0), at(2.0, 0.0), at(0.0, 0.0)];
        assert_eq!(middle(&square), Some(at(1.0, 1.0)));
        assert_eq!(middle(&[]), None);
    }

    #[test]
    fn a_place_mapped_twice_is_one_facility() {
        let place =
            |name: &str, lat| Facility { kind: FacilityKind::Hospital, name: name.into(), location: at(lat, 9.5) };
        let kept = without_repeats(vec![place("A", 47.001), place("B", 47.0), place("A", 47.0), place("A", 47.1)]);
        assert_eq!(kept.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["A", "A", "B"]);
    }

    #[test]
    fn tags_name_hospitals_and_stations() {
        let kind = |tags: &[(&'static str, &'static str)]| from_tags(&Tags(tags.to_vec()));
        assert_eq!(kind(&[("amenity", "hospital"), ("name", "X")]), Some((FacilityKind::Hospital, "X".into())));
        let unnamed = Some((FacilityKind::AmbulanceStation, "Ambulance station".into()));
        assert_eq!(kind(&[("emergency", "ambulance_station")]), unnamed);
        assert_eq!(kind(&[("amenity", "cafe")]), None);
    }
}
