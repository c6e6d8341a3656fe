//! Areas that response times are reported for: data, not code.
//!
//! Configured areas are rectangles with a name; the first that holds an incident's place counts. Without any, the map is
//! divided into squares of a part of a degree, named by their middle, so that a slow quarter shows without configuration.

use super::kpi::Targets;
use serde::{Deserialize, Serialize};
use shers_contract::LatLon;

/// Where no area is.
const ELSEWHERE: &str = "elsewhere";
/// Where nobody knows.
const UNKNOWN_PLACE: &str = "place unknown";

/// An area.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Area {
    /// Its name.
    pub name: String,
    /// South-western corner.
    pub south_west: LatLon,
    /// North-eastern corner.
    pub north_east: LatLon,
    /// Targets that hold here instead of the house's.
    #[serde(default)]
    pub targets: Option<Targets>,
}

impl Area {
    fn holds(&self, at: LatLon) -> bool {
        (self.south_west.lat..=self.north_east.lat).contains(&at.lat)
            && (self.south_west.lon..=self.north_east.lon).contains(&at.lon)
    }
}

/// All areas.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Areas {
    /// Configured ones, in the order in which they are asked.
    pub named: Vec<Area>,
    /// Side of a square in thousandths of a degree, when none is configured.
    pub square_mdeg: u16,
}

impl Default for Areas {
    fn default() -> Self {
        Self { named: Vec::new(), square_mdeg: 50 }
    }
}

impl Areas {
    /// The area of a place.
    #[must_use]
    pub fn name_of(&self, at: Option<LatLon>) -> String {
        let Some(at) = at else { return UNKNOWN_PLACE.to_owned() };
        if self.named.is_empty() {
            return self.square(at);
        }
        self.named.iter().find(|area| area.holds(at)).map_or_else(|| ELSEWHERE.to_owned(), |area| area.name.clone())
    }

    /// Targets of an area's own.
    #[must_use]
    pub fn targets_of(&self, name: &str) -> Option<&Targets> {
        self.named.iter().find(|area| area.name == name)?.targets.as_ref()
    }

    fn square(&self, at: LatLon) -> String {
        let side = f64::from(self.square_mdeg.max(1)) / 1_000.0;
        let middle = |degrees: f64| (degrees / side).floor() * side + side / 2.0;
        format!("{:.3}, {:.3}", middle(at.lat), middle(at.lon))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat: f64, lon: f64) -> LatLon {
        LatLon::new(lat, lon).expect("on earth")
    }

    #[test]
    fn a_place_belongs_to_the_first_area_that_holds_it_or_to_a_square() {
        let area = |name: &str, south: f64, north: f64| Area {
            name: name.to_owned(),
            south_west: at(south, 9.0),
            north_east: at(north, 10.0),
            targets: None,
        };
        let areas = Areas { named: vec![area("lower", 47.0, 47.2), area("upper", 47.1, 47.5)], square_mdeg: 50 };
        assert_eq!(areas.name_of(Some(at(47.15, 9.5))), "lower");
        assert_eq!(areas.name_of(Some(at(47.3, 9.5))), "upper");
        assert_eq!(areas.name_of(Some(at(46.0, 9.5))), "elsewhere");
        assert_eq!(areas.name_of(None), "place unknown");
        assert_eq!(Areas::default().name_of(Some(at(47.14, 9.52))), "47.125, 9.525");
        assert_eq!(Areas::default().name_of(Some(at(-33.91, -70.01))), "-33.925, -70.025");
    }
}
