//! What the tags of an OpenStreetMap way mean for an ambulance: may it drive there, in which direction, how fast.
//!
//! Decisions, and why:
//! - **Kept**: motorway to service road, living streets, and tracks of grade 1, 2 or unknown grade (in the mountains a
//!   farm is reached by nothing else). Worse tracks are for tractors. Pedestrian streets and paths only when tagged
//!   `emergency=yes`, `designated` or `official`. Areas (`area=yes`) are no lines to drive along.
//! - **Access**: `access=no|private` and `motor_vehicle=no` bind the public, not an ambulance. Such a road stays, but
//!   slow, for there may be a gate. `emergency=no` closes it.
//! - **One-way** roads bind with lights and sirens too: driving against traffic is a decision of the crew, and an ETA
//!   must not count on it. `oneway:emergency=no` opens the other direction. Roundabouts and motorways are one-way
//!   unless tagged otherwise.
//! - **Speeds**: `maxspeed` where tagged, else a usual limit of the class. Normal driving reaches 80 % of the limit;
//!   lights and sirens reach 110 %, at most 130 km/h.

use crate::Speed;
use serde::Serialize;

/// Fastest that is assumed of an ambulance anywhere, in km/h.
const FASTEST_KMH: f64 = 130.0;
/// Fastest on a road closed to the public.
const RESTRICTED_KMH: f64 = 20.0;
/// Fastest on a road without pavement.
const UNPAVED_KMH: f64 = 30.0;
/// Slowest speed taken from a tag; below it, a tag is a mistake or a walking pace.
const SLOWEST_KMH: f64 = 5.0;

/// How important a road is, from the class of OpenStreetMap's `highway` tag. Link roads have the class of their road.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum RoadClass {
    /// Motorway.
    Motorway = 0,
    /// Trunk road.
    Trunk = 1,
    /// Primary road.
    Primary = 2,
    /// Secondary road.
    Secondary = 3,
    /// Tertiary road.
    Tertiary = 4,
    /// Minor public road.
    Unclassified = 5,
    /// Residential street.
    Residential = 6,
    /// Street where pedestrians have priority.
    LivingStreet = 7,
    /// Access road, drive, parking aisle, emergency access.
    Service = 8,
    /// Farm or forest track fit for a car.
    Track = 9,
}

impl RoadClass {
    /// The byte that stands for the class in the display encoding.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Whether homes usually stand along such a road.
    pub(crate) const fn has_homes(self) -> bool {
        matches!(self, Self::Unclassified | Self::Residential | Self::LivingStreet)
    }

    const fn usual_limit_kmh(self) -> f64 {
        match self {
            Self::Motorway => 120.0,
            Self::Trunk => 90.0,
            Self::Primary => 70.0,
            Self::Secondary => 60.0,
            Self::Tertiary | Self::Unclassified => 50.0,
            Self::Residential => 40.0,
            Self::LivingStreet | Self::Service | Self::Track => 20.0,
        }
    }

    /// A tagged limit above the usual one is not believed on these roads: their shape is the limit.
    const fn is_slow_by_shape(self) -> bool {
        matches!(self, Self::LivingStreet | Self::Service | Self::Track)
    }
}

/// Speeds in one direction, in metres per second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Pace {
    lights_mps: f64,
    normal_mps: f64,
}

impl Pace {
    fn from_limit_kmh(limit_kmh: f64) -> Self {
        let mps = |kmh: f64| kmh.clamp(SLOWEST_KMH, FASTEST_KMH) / 3.6;
        Self { lights_mps: mps(limit_kmh * 1.1), normal_mps: mps(limit_kmh * 0.8) }
    }

    /// Metres per second when driving so.
    pub(crate) const fn mps(self, speed: Speed) -> f64 {
        match speed {
            Speed::LightsAndSirens => self.lights_mps,
            Speed::Normal => self.normal_mps,
        }
    }
}

/// How a way can be driven: at least one direction is open.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Drive {
    /// Class.
    pub(crate) class: RoadClass,
    /// Along the way as drawn, if open.
    pub(crate) forward: Option<Pace>,
    /// Against the way as drawn, if open.
    pub(crate) backward: Option<Pace>,
}

/// The tags of one element.
pub(crate) struct Tags<'a>(pub(crate) Vec<(&'a str, &'a str)>);

impl<'a> Tags<'a> {
    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find(|(k, _)| *k == key).map(|(_, v)| *v)
    }

    fn is(&self, key: &str, values: &[&str]) -> bool {
        self.get(key).is_some_and(|value| values.contains(&value))
    }
}

/// How an ambulance drives a way with these tags; `None` where it can't.
pub(crate) fn drive(tags: &Tags<'_>) -> Option<Drive> {
    let (class, link) = class(tags)?;
    if tags.is("area", &["yes"]) || tags.is("emergency", &["no"]) {
        return None;
    }
    let direction = direction(tags, class);
    let pace = |key: &str| Pace::from_limit_kmh(limit_kmh(tags, class, link, key));
    Some(Drive {
        class,
        forward: (direction != Direction::Backward).then(|| pace("maxspeed:forward")),
        backward: (direction != Direction::Forward).then(|| pace("maxspeed:backward")),
    })
}

/// Whether a node with these tags stops a car, an ambulance included: gates open, blocks of concrete don't.
pub(crate) fn blocks(tags: &Tags<'_>) -> bool {
    let solid = tags.is(
        "barrier",
        &[
            "block",
            "bollard",
            "cycle_barrier",
            "debris",
            "full-height_turnstile",
            "jersey_barrier",
            "kissing_gate",
            "log",
            "motorcycle_barrier",
            "planter",
            "stile",
            "turnstile",
            "wall",
        ],
    );
    let opens = tags.is("bollard", &["removable", "rising", "foldable", "flexible"])
        || ["emergency", "motor_vehicle", "vehicle", "access"]
            .iter()
            .any(|key| tags.is(key, &["yes", "designated", "official", "permissive"]));
    solid && !opens
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Both,
    Forward,
    Backward,
}

fn class(tags: &Tags<'_>) -> Option<(RoadClass, bool)> {
    let highway = tags.get("highway")?;
    let (base, link) = highway.strip_suffix("_link").map_or((highway, false), |base| (base, true));
    let class = match base {
        "motorway" => RoadClass::Motorway,
        "trunk" => RoadClass::Trunk,
        "primary" => RoadClass::Primary,
        "secondary" => RoadClass::Secondary,
        "tertiary" => RoadClass::Tertiary,
        "unclassified" | "road" => RoadClass::Unclassified,
        "residential" => RoadClass::Residential,
        "living_street" => RoadClass::LivingStreet,
        "service" => RoadClass::Service,
        "track" if tags.get("tracktype").is_none_or(|grade| matches!(grade, "grade1" | "grade2")) => RoadClass::Track,
        _ if tags.is("emergency", &["yes", "designated", "official"]) && is_wide_enough(base) => RoadClass::Service,
        _ => return None,
    };
    Some((class, link))
}

fn is_wide_enough(highway: &str) -> bool {
    matches!(highway, "pedestrian" | "footway" | "path" | "cycleway" | "track" | "busway" | "emergency_access")
}

fn direction(tags: &Tags<'_>, class: RoadClass) -> Direction {
    let implied = if class == RoadClass::Motorway || tags.is("junction", &["roundabout", "circular"]) {
        Direction::Forward
    } else {
        Direction::Both
    };
    if tags.is("oneway:emergency", &["no"]) {
        return Direction::Both;
    }
    match tags.get("oneway") {
        Some("yes" | "true" | "1") => Direction::Forward,
        Some("-1" | "reverse") => Direction::Backward,
        Some("no" | "false" | "0" | "reversible" | "alternating") => Direction::Both,
        Some(_) | None => implied,
    }
}

fn limit_kmh(tags: &Tags<'_>, class: RoadClass, link: bool, directed_key: &str) -> f64 {
    let usual = class.usual_limit_kmh() * if link { 0.6 } else { 1.0 };
    let tagged = tags.get(directed_key).or_else(|| tags.get("maxspeed")).and_then(parse_kmh);
    let mut limit = match tagged {
        Some(tagged) if class.is_slow_by_shape() => tagged.min(usual),
        Some(tagged) => tagged,
        None => usual,
    };
    if tags.is("surface", &["unpaved", "gravel", "dirt", "earth", "ground", "grass", "mud", "sand", "pebblestone"]) {
        limit = limit.min(UNPAVED_KMH);
    }
    if tags.is("access", &["no", "private"]) || tags.is("motor_vehicle", &["no", "private"]) {
        limit = limit.min(RESTRICTED_KMH);
    }
    limit
}

/// Reads a speed limit: `50`, `50 km/h`, `30 mph`, or one of the few words in use.
fn parse_kmh(text: &str) -> Option<f64> {
    let text = text.trim();
    match text {
        "none" => return Some(FASTEST_KMH),
        "walk" => return Some(SLOWEST_KMH),
        _ => {}
    }
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let factor = match unit.trim() {
        "" | "km/h" | "kmh" | "kph" => 1.0,
        "mph" => 1.609_344,
        _ => return None,
    };
    number.parse::<f64>().ok().filter(|n| *n > 0.0).map(|n| (n * factor).clamp(SLOWEST_KMH, 150.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drive_of(tags: &[(&'static str, &'static str)]) -> Option<Drive> {
        drive(&Tags(tags.to_vec()))
    }

    #[track_caller]
    fn check(tags: &[(&'static str, &'static str)], expected: Option<(RoadClass, bool, bool)>) {
        let got = drive_of(tags).map(|d| (d.class, d.forward.is_some(), d.backward.is_some()));
        assert_eq!(got, expected, "{tags:?}");
    }

    #[test]
    fn roads_for_cars_are_kept_with_their_directions() {
        use RoadClass::*;
        check(&[("highway", "residential")], Some((Residential, true, true)));
        check(&[("highway", "primary_link"), ("oneway", "yes")], Some((Primary, true, false)));
        check(&[("highway", "primary"), ("oneway", "-1")], Some((Primary, false, true)));
        check(&[("highway", "motorway")], Some((Motorway, true, false)));
        check(&[("highway", "tertiary"), ("junction", "roundabout")], Some((Tertiary, true, false)));
        check(&[("highway", "service"), ("oneway", "yes"), ("oneway:emergency", "no")], Some((Service, true, true)));
        check(&[("highway", "track")], Some((Track, true, true)));
        check(&[("highway", "track"), ("tracktype", "grade4")], None);
        check(&[("highway", "footway")], None);
        check(&[("highway", "pedestrian"), ("emergency", "yes")], Some((Service, true, true)));
        check(&[("highway", "proposed"), ("emergency", "yes")], None);
        check(&[("highway", "service"), ("emergency", "no")], None);
        check(&[("highway", "service"), ("access", "private")], Some((Service, true, true)));
        check(&[("highway", "service"), ("area", "yes")], None);
        check(&[("waterway", "river")], None);
    }

    #[test]
    fn speeds_follow_the_limit_and_sirens_are_never_slower() {
        let kmh = |tags: &[(&'static str, &'static str)], speed| {
            let pace = drive_of(tags).and_then(|d| d.forward).expect("open");
            (pace.mps(speed) * 3.6).round()
        };
        let fifty = [("highway", "primary"), ("maxspeed", "50")];
        assert_eq!(kmh(&fifty, Speed::Normal), 40.0);
        assert_eq!(kmh(&fifty, Speed::LightsAndSirens), 55.0);
        assert_eq!(kmh(&[("highway", "primary"), ("maxspeed", "25 mph")], Speed::Normal), 32.0);
        assert_eq!(kmh(&[("highway", "motorway"), ("maxspeed", "none")], Speed::LightsAndSirens), 130.0);
        assert_eq!(kmh(&[("highway", "primary"), ("maxspeed", "50"), ("access", "no")], Speed::Normal), 16.0);
        assert_eq!(kmh(&[("highway", "service"), ("maxspeed", "80")], Speed::Normal), 16.0);
        let by_direction = [("highway", "primary"), ("maxspeed:forward", "60"), ("maxspeed", "30")];
        assert_eq!(kmh(&by_direction, Speed::Normal), 48.0);
    }

    #[test]
    fn only_solid_barriers_block() {
        let blocked = |tags: &[(&'static str, &'static str)]| blocks(&Tags(tags.to_vec()));
        assert!(blocked(&[("barrier", "bollard")]));
        assert!(!blocked(&[("barrier", "gate")]));
        assert!(!blocked(&[("barrier", "bollard"), ("bollard", "rising")]));
        assert!(!blocked(&[("barrier", "block"), ("emergency", "yes")]));
    }

    #[test]
    fn limits_that_are_not_numbers_are_left_to_the_class() {
        for text in ["", "signals", "CH:urban", "50 knots", "0", "-5", "variable"] {
            assert_eq!(parse_kmh(text), None, "{text}");
        }
        assert_eq!(parse_kmh("walk"), Some(5.0));
        assert_eq!(parse_kmh(" 30 km/h "), Some(30.0));
    }
}
