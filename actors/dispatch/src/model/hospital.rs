//! Hospitals: the file of each, in stream `hospital/<id>`, and which one a crew drives to.
//!
//! The choice: never a closed one; one that can do what the incident needs before one that can't; an open
//! one before one that asks to be passed by (diverting, or without a bed beyond those that units on their way
//! will take); then the least time until the patient is in the hospital's hands: the drive, the expected
//! offload, and a share for every unit that heads there already, which spreads several units.

use super::desk::{distance_text, duration_text};
use shers_contract::{
    IncidentId, LatLon, Problem, Timestamp,
    api::Answer,
    care::{Hospital, HospitalEvent, HospitalState},
    dispatch::{HospitalChoice, HospitalRunnerUp},
};
use shers_runtime::{Aggregate, NoEffect};

/// The file of one hospital.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum HospitalFile {
    /// Nobody registered it.
    #[default]
    Unknown,
    /// As last told.
    Known(Box<Hospital>),
}

/// What may be asked.
#[derive(Clone, PartialEq, Debug)]
pub enum HospitalCommand {
    /// Register or change it.
    Put(Box<Hospital>),
}

/// Why not.
#[derive(Clone, PartialEq, Debug)]
pub enum HospitalRefusal {
    /// A value can't be right.
    Invalid {
        /// JSON pointer.
        field: &'static str,
        /// What would be right.
        detail: &'static str,
    },
}

impl From<HospitalRefusal> for Problem {
    fn from(refusal: HospitalRefusal) -> Self {
        match refusal {
            HospitalRefusal::Invalid { field, detail } => Self::invalid(field, detail),
        }
    }
}

impl HospitalFile {
    /// The hospital.
    #[must_use]
    pub const fn hospital(&self) -> Option<&Hospital> {
        match self {
            Self::Unknown => None,
            Self::Known(hospital) => Some(hospital),
        }
    }
}

impl Aggregate for HospitalFile {
    const CATEGORY: &'static str = "hospital";
    type Command = HospitalCommand;
    type Event = HospitalEvent;
    type Refusal = HospitalRefusal;
    type Effect = NoEffect;

    fn decide(&self, command: &HospitalCommand, _now: Timestamp) -> Result<Vec<HospitalEvent>, HospitalRefusal> {
        let HospitalCommand::Put(hospital) = command;
        if hospital.name.trim().is_empty() || hospital.name.chars().count() > 200 {
            return Err(HospitalRefusal::Invalid { field: "/name", detail: "a name is 1 to 200 characters" });
        }
        let same = self.hospital() == Some(hospital.as_ref());
        Ok(if same { Vec::new() } else { vec![HospitalEvent::Updated((**hospital).clone())] })
    }

    fn evolve(self, event: &HospitalEvent, _at: Timestamp) -> Self {
        let HospitalEvent::Updated(hospital) = event;
        Self::Known(Box::new(hospital.clone()))
    }

    fn correlation(&self, _event: &HospitalEvent) -> Option<IncidentId> {
        None
    }

    fn answer(&self, version: u64) -> Answer {
        Answer::ok(serde_json::to_value(self.hospital()).unwrap_or_default()).at_version(version)
    }
}

/// How well a hospital suits; the lesser, the better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Suitability {
    lacks: bool,
    passes_by: bool,
}

/// Units that have or fetch a patient for each hospital.
pub type Heading = std::collections::BTreeMap<shers_contract::HospitalId, u32>;

fn heading_to(heading: &Heading, hospital: &Hospital) -> u32 {
    heading.get(&hospital.hospital_id).copied().unwrap_or(0)
}

/// What is expected of the time at the door.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DoorTimes {
    /// Offload where a hospital says nothing, in seconds.
    pub default_offload_s: u32,
    /// Added for each unit that heads there already, in seconds.
    pub per_unit_s: u32,
}

/// Seconds from arrival to hand-over that are expected at a hospital.
#[must_use]
pub fn at_the_door_s(hospital: &Hospital, heading: &Heading, times: &DoorTimes) -> u32 {
    let offload_s = hospital.expected_offload_min.map_or(times.default_offload_s, |min| u32::from(min) * 60);
    offload_s.saturating_add(times.per_unit_s.saturating_mul(heading_to(heading, hospital)))
}

/// Sorts the hospitals that take patients into groups, the best suited first; within a group the drive
/// decides. `needs` that no hospital offers say nothing about hospitals (they are asked of the unit).
#[must_use]
pub fn by_suitability<'a>(
    hospitals: &[&'a Hospital],
    needs: &[String],
    heading: &Heading,
) -> Vec<(Suitability, Vec<&'a Hospital>)> {
    let offered = |need: &&String| hospitals.iter().any(|hospital| hospital.capabilities.contains(need));
    let asked: Vec<&String> = needs.iter().filter(offered).collect();
    let mut groups: std::collections::BTreeMap<Suitability, Vec<&'a Hospital>> = std::collections::BTreeMap::new();
    for hospital in hospitals.iter().filter(|hospital| hospital.state != HospitalState::Closed) {
        let lacks = asked.iter().any(|need| !hospital.capabilities.contains(need));
        let passes_by = hospital.state == HospitalState::Diverting
            || hospital.beds_free.is_some_and(|beds| u32::from(beds) <= heading_to(heading, hospital));
        groups.entry(Suitability { lacks, passes_by }).or_default().push(hospital);
    }
    groups.into_iter().collect()
}

/// A drive to a hospital.
#[derive(Clone, PartialEq, Debug)]
pub struct Drive<'a> {
    /// Where to.
    pub hospital: &'a Hospital,
    /// Seconds.
    pub drive_s: u32,
    /// Metres by road.
    pub distance_m: u32,
    /// Seconds expected from arrival to hand-over.
    pub door_s: u32,
}

impl Drive<'_> {
    /// Seconds until the patient is in the hospital's hands.
    #[must_use]
    pub const fn total_s(&self) -> u32 {
        self.drive_s.saturating_add(self.door_s)
    }
}

/// Drives of one group, the soonest first. Equal totals: the shorter drive, then the id.
fn in_order<'a, 'b>(drives: &'b [Drive<'a>]) -> Vec<&'b Drive<'a>> {
    let mut drives: Vec<&Drive<'_>> = drives.iter().collect();
    drives.sort_by_key(|drive| (drive.total_s(), drive.drive_s, drive.hospital.hospital_id.clone()));
    drives
}

/// The choice among the groups of [`by_suitability`] with their drives, best suited first, and the second best with it.
#[must_use]
pub fn choose(groups: &[(Suitability, Vec<Drive<'_>>)], source: &str) -> Option<HospitalChoice> {
    let mut ranked = groups.iter().flat_map(|(suits, drives)| in_order(drives).into_iter().map(move |d| (*suits, d)));
    let (suits, best) = ranked.next()?;
    let next = ranked.next();
    let kind = match (suits.lacks, suits.passes_by) {
        (false, false) => "the soonest suitable open hospital",
        (false, true) => "the soonest suitable hospital, though it asks to be passed by; no other suitable one is open",
        (true, false) => "the soonest open hospital; none that takes patients can do all that is needed",
        (true, true) => "the soonest hospital that takes patients at all",
    };
    let second = next.map_or_else(String::new, |(next_suits, next)| {
        let (drive, door) = (duration_text(next.drive_s), duration_text(next.door_s));
        let less = match (next_suits.lacks && !suits.lacks, next_suits.passes_by && !suits.passes_by) {
            (true, _) => ", which can't do all that is needed",
            (false, true) => ", which asks to be passed by",
            (false, false) => "",
        };
        format!("; next is {} with {drive} and {door} at the door{less}", next.hospital.name)
    });
    let (drive, way) = (duration_text(best.drive_s), distance_text(best.distance_m));
    let reason = format!(
        "{} is {kind}: {drive} ({way}) by {source} and {} at the door{second}.",
        best.hospital.name,
        duration_text(best.door_s)
    );
    Some(HospitalChoice { next: next.map(|(_, next)| runner_up(next)), ..choice(best, reason) })
}

/// The crew's own choice.
#[must_use]
pub fn chosen_by_crew(drive: &Drive<'_>) -> HospitalChoice {
    HospitalChoice { door_s: None, ..choice(drive, format!("The crew chose {}.", drive.hospital.name)) }
}

fn runner_up(drive: &Drive<'_>) -> HospitalRunnerUp {
    HospitalRunnerUp {
        hospital_id: drive.hospital.hospital_id.clone(),
        name: drive.hospital.name.clone(),
        drive_s: drive.drive_s,
        distance_m: drive.distance_m,
        door_s: drive.door_s,
    }
}

fn choice(drive: &Drive<'_>, reason: String) -> HospitalChoice {
    HospitalChoice {
        hospital_id: drive.hospital.hospital_id.clone(),
        name: drive.hospital.name.clone(),
        location: drive.hospital.location,
        drive_s: drive.drive_s,
        distance_m: drive.distance_m,
        reason,
        door_s: Some(drive.door_s),
        next: None,
    }
}

/// Where a hospital is, for those who route.
#[must_use]
pub fn places<'a>(hospitals: &[&'a Hospital]) -> Vec<(&'a Hospital, LatLon)> {
    hospitals.iter().map(|hospital| (*hospital, hospital.location)).collect()
}
