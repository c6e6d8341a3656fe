//! The life of one unit.
//!
//! States: [`Unit::Unknown`] → [`Unit::Serving`] → [`Unit::Retired`]. A serving unit has a [`Duty`]: free,
//! out of service, or busy with exactly one [`Mission`] at one [`Leg`].
//!
//! Invariants:
//! - A unit has at most one incident, because only a free one can be assigned and only a busy one has one.
//! - A status report never overwrites what a busy unit does: see [`super::transition`].
//! - Reservation, assignment and the decision with its reason are appended together.
//! - A repeat of what already happened gives no events.

use super::event::FleetEvent;
use super::refusal::UnitRefusal;
use serde_json::{Value, json};
use shers_contract::{
    IncidentId, LatLon, Timestamp,
    api::Answer,
    dispatch::{
        Assigned, DispatchEvent, EtaChanged, HospitalChoice, StatusChanged, UnitEvent, UnitProfile, UnitStatus,
    },
    incident::Disposition,
};
use shers_runtime::{Aggregate, NoEffect};

/// A unit.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Unit {
    /// Nobody registered it.
    #[default]
    Unknown,
    /// Part of the fleet.
    Serving(Box<Serving>),
    /// Taken out for good.
    Retired(Box<UnitProfile>),
}

/// A unit that is part of the fleet.
#[derive(Clone, PartialEq, Debug)]
pub struct Serving {
    /// As registered.
    pub profile: UnitProfile,
    /// What it does.
    pub duty: Duty,
    /// Since when, by the crew's clock.
    pub since: Timestamp,
}

/// What a unit does.
#[derive(Clone, PartialEq, Debug)]
#[expect(clippy::large_enum_variant, reason = "stands in a box already; most of a fleet's memory is profiles")]
pub enum Duty {
    /// Registered a moment ago; its first status follows in the same append.
    New,
    /// May be sent.
    Free {
        /// How it is free.
        spot: FreeSpot,
        /// The incident it comes from; its turnaround belongs to that one.
        after: Option<IncidentId>,
    },
    /// Not in service.
    OutOfService,
    /// At work for one incident.
    Busy {
        /// Which, and how it was decided.
        mission: Mission,
        /// How far it is.
        leg: Leg,
    },
}

/// How a unit is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FreeSpot {
    /// On the road.
    Available,
    /// At its post.
    AtPost,
    /// Just called off.
    Cancelled,
}

/// One unit's part in one incident.
#[derive(Clone, PartialEq, Debug)]
pub struct Mission {
    /// Which incident.
    pub incident_id: IncidentId,
    /// The decision; missing only between the events of one append.
    pub order: Option<Assigned>,
    /// When it was assigned.
    pub assigned_at: Timestamp,
    /// The expected arrival that was last announced.
    pub expected: Option<Expected>,
    /// It was told that the unit does not move.
    pub stalled: bool,
    /// It was moved here from another incident, and is not moved again.
    pub diverted: bool,
}

/// An expected arrival as announced.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Expected {
    /// Which leg it is the end of.
    pub leg: EtaLeg,
    /// Expected arrival.
    pub arrives_at: Timestamp,
    /// When this was said.
    pub said_at: Timestamp,
}

/// Where a unit is driving.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EtaLeg {
    /// To the scene.
    Scene,
    /// To the hospital.
    Hospital,
}

impl EtaLeg {
    /// As in `dispatch.eta-changed`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scene => "scene",
            Self::Hospital => "hospital",
        }
    }
}

/// How far a busy unit is.
#[derive(Clone, PartialEq, Debug)]
pub enum Leg {
    /// Held, not yet told.
    Reserved,
    /// Told.
    Assigned,
    /// Driving to the scene.
    Enroute,
    /// At the scene.
    OnScene,
    /// With the patient; the hospital proposed so far.
    AtPatient(Option<HospitalChoice>),
    /// Driving to the hospital.
    Onboard(Option<HospitalChoice>),
    /// At the hospital.
    Arrived(Option<HospitalChoice>, Option<u32>),
    /// The patient is in other hands; hospital and loaded distance in metres.
    HandedOver(Option<HospitalChoice>, Option<u32>),
}

impl Leg {
    /// As a status.
    #[must_use]
    pub const fn status(&self) -> UnitStatus {
        match self {
            Self::Reserved => UnitStatus::Reserved,
            Self::Assigned => UnitStatus::Assigned,
            Self::Enroute => UnitStatus::Enroute,
            Self::OnScene => UnitStatus::OnScene,
            Self::AtPatient(_) => UnitStatus::AtPatient,
            Self::Onboard(_) => UnitStatus::Onboard,
            Self::Arrived(..) => UnitStatus::Arrived,
            Self::HandedOver(..) => UnitStatus::HandedOver,
        }
    }
    /// The hospital chosen so far.
    #[must_use]
    pub const fn hospital(&self) -> Option<&HospitalChoice> {
        match self {
            Self::Reserved | Self::Assigned | Self::Enroute | Self::OnScene => None,
            Self::AtPatient(hospital)
            | Self::Onboard(hospital)
            | Self::Arrived(hospital, _)
            | Self::HandedOver(hospital, _) => hospital.as_ref(),
        }
    }
    /// The loaded road distance in metres, once arrived.
    #[must_use]
    pub const fn loaded_distance_m(&self) -> Option<u32> {
        match self {
            Self::Arrived(_, distance_m) | Self::HandedOver(_, distance_m) => *distance_m,
            Self::Reserved | Self::Assigned | Self::Enroute | Self::OnScene | Self::AtPatient(_) | Self::Onboard(_) => {
                None
            }
        }
    }
    /// Where it is driving, and to which place.
    #[must_use]
    pub fn destination(&self, mission: &Mission) -> Option<(EtaLeg, LatLon)> {
        match self {
            Self::Assigned | Self::Enroute => mission.order.as_ref().map(|order| (EtaLeg::Scene, order.to)),
            Self::Onboard(Some(hospital)) => Some((EtaLeg::Hospital, hospital.location)),
            Self::Reserved
            | Self::OnScene
            | Self::AtPatient(_)
            | Self::Onboard(None)
            | Self::Arrived(..)
            | Self::HandedOver(..) => None,
        }
    }
}

impl Serving {
    /// Its status; `None` in the middle of its registration.
    #[must_use]
    pub const fn status(&self) -> Option<UnitStatus> {
        match &self.duty {
            Duty::New => None,
            Duty::Free { spot: FreeSpot::Available, .. } => Some(UnitStatus::Available),
            Duty::Free { spot: FreeSpot::AtPost, .. } => Some(UnitStatus::AtPost),
            Duty::Free { spot: FreeSpot::Cancelled, .. } => Some(UnitStatus::Cancelled),
            Duty::OutOfService => Some(UnitStatus::OutOfService),
            Duty::Busy { leg, .. } => Some(leg.status()),
        }
    }
    /// What it is busy with.
    #[must_use]
    pub const fn mission(&self) -> Option<(&Mission, &Leg)> {
        match &self.duty {
            Duty::Busy { mission, leg } => Some((mission, leg)),
            Duty::New | Duty::Free { .. } | Duty::OutOfService => None,
        }
    }
    /// The incident it is busy with.
    #[must_use]
    pub fn incident(&self) -> Option<&IncidentId> {
        self.mission().map(|(mission, _)| &mission.incident_id)
    }
    /// Whether it is on shift.
    #[must_use]
    pub fn on_shift(&self, now: Timestamp) -> bool {
        self.profile.shift.is_none_or(|shift| shift.from <= now && now < shift.until)
    }
}

/// What may be asked of a unit.
#[derive(Clone, PartialEq, Debug)]
pub enum UnitCommand {
    /// Take it into the fleet.
    Register {
        /// As given.
        profile: Box<UnitProfile>,
        /// By whom.
        by: String,
    },
    /// Change its profile by an RFC 7396 merge patch.
    Patch(Value),
    /// Take it out for good.
    Retire {
        /// By whom.
        by: String,
    },
    /// A status from the crew.
    Report(Box<Report>),
    /// Send it to an incident.
    Assign(Box<Assigned>),
    /// Take it off its incident.
    Release {
        /// Which incident.
        incident_id: IncidentId,
        /// Why.
        reason: String,
        /// By whom.
        by: String,
        /// Whether the incident still needs a unit.
        reopen: bool,
    },
    /// A newly computed arrival; announced only when it moved enough to matter.
    NoteEta {
        /// For which incident.
        incident_id: IncidentId,
        /// Which leg.
        leg: EtaLeg,
        /// Expected arrival.
        arrives_at: Timestamp,
        /// Who computed it.
        eta_source: String,
        /// How far it was from its expected way, in metres, if that is why; then it is said however small the change.
        off_route_m: Option<u32>,
        /// Smallest change worth saying, in milliseconds.
        change_ms: i64,
        /// Shortest time between two announcements, in milliseconds.
        interval_ms: i64,
    },
    /// Move it from an incident to a sicker patient's.
    Divert {
        /// The new order; its reason states the gain for both.
        order: Box<Assigned>,
        /// From which incident.
        from_incident: IncidentId,
        /// Nearer to its arrival than this, in milliseconds, it is left alone.
        min_remaining_ms: i64,
    },
    /// The time to set out has passed; given by the unit's own deadline.
    TurnoutPassed {
        /// For which incident.
        incident_id: IncidentId,
    },
    /// A unit on its way does not move; said once per mission.
    NoteStall {
        /// For which incident.
        incident_id: IncidentId,
        /// What is seen, in a sentence.
        reason: String,
        /// Expected arrival, if it set out again now.
        arrives_at: Timestamp,
        /// Who computed it.
        eta_source: String,
    },
}

/// A status from a crew, with what the outside knows about it.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// Status reported.
    pub status: UnitStatus,
    /// When, by the crew's clock.
    pub at: Timestamp,
    /// Where the unit is, when known.
    pub location: Option<LatLon>,
    /// For which incident; checked when given.
    pub incident_id: Option<IncidentId>,
    /// The hospital: the crew's own choice or the proposal.
    pub hospital: Option<HospitalChoice>,
    /// Whether `hospital` is the crew's own choice, which also changes an earlier one.
    pub crew_chose: bool,
    /// Loaded road distance in metres, for Arrived.
    pub loaded_distance_m: Option<u32>,
    /// Why.
    pub reason: Option<String>,
    /// How the incident ended, from a crew that clears at the scene.
    pub disposition: Option<Disposition>,
    /// By whom.
    pub by: String,
}

impl Aggregate for Unit {
    const CATEGORY: &'static str = "unit";
    type Command = UnitCommand;
    type Event = FleetEvent;
    type Refusal = UnitRefusal;
    type Effect = NoEffect;

    fn decide(&self, command: &UnitCommand, now: Timestamp) -> Result<Vec<FleetEvent>, UnitRefusal> {
        super::decision::decide(self, command, now)
    }

    fn evolve(self, event: &FleetEvent, at: Timestamp) -> Self {
        match (self, event) {
            (_, FleetEvent::Unit(UnitEvent::Registered(profile))) => {
                Self::Serving(Box::new(Serving { profile: profile.clone(), duty: Duty::New, since: at }))
            }
            (Self::Serving(mut unit), FleetEvent::Unit(UnitEvent::Updated(profile))) => {
                unit.profile = profile.clone();
                Self::Serving(unit)
            }
            (Self::Serving(unit), FleetEvent::Unit(UnitEvent::Retired(_))) => Self::Retired(Box::new(unit.profile)),
            (Self::Serving(unit), FleetEvent::Unit(event)) => Self::Serving(Box::new(after_status(*unit, event, at))),
            (Self::Serving(unit), FleetEvent::Dispatch(event)) => {
                Self::Serving(Box::new(after_decision(*unit, event, at)))
            }
            (state @ (Self::Unknown | Self::Retired(_)), FleetEvent::Unit(_) | FleetEvent::Dispatch(_)) => state,
        }
    }

    fn correlation(&self, event: &FleetEvent) -> Option<IncidentId> {
        match event {
            FleetEvent::Dispatch(DispatchEvent::Assigned(e)) => Some(e.incident_id.clone()),
            FleetEvent::Dispatch(DispatchEvent::Unassigned(e)) => Some(e.incident_id.clone()),
            FleetEvent::Dispatch(DispatchEvent::Diverted(e)) => Some(e.incident_id.clone()),
            FleetEvent::Dispatch(DispatchEvent::Waiting(e)) => Some(e.request.incident_id.clone()),
            FleetEvent::Dispatch(DispatchEvent::EtaChanged(e)) => Some(e.incident_id.clone()),
            FleetEvent::Unit(event) => {
                let own = event.as_status().and_then(|(_, change)| change.incident_id.clone());
                own.or_else(|| event.as_status().and_then(|_| self.turnaround()))
            }
        }
    }

    fn deadline(&self) -> Option<(Timestamp, UnitCommand)> {
        let (mission, leg) = self.serving()?.mission()?;
        let waits = matches!(leg, Leg::Reserved | Leg::Assigned);
        let by = mission.order.as_ref().filter(|_| waits)?.answer_by?;
        Some((by, UnitCommand::TurnoutPassed { incident_id: mission.incident_id.clone() }))
    }

    fn is_closed(&self) -> bool {
        matches!(self, Self::Retired(_))
    }

    fn answer(&self, version: u64) -> Answer {
        Answer::ok(self.to_json()).at_version(version)
    }
}

impl Unit {
    /// The serving unit, if it is one.
    #[must_use]
    pub const fn serving(&self) -> Option<&Serving> {
        match self {
            Self::Serving(unit) => Some(unit),
            Self::Unknown | Self::Retired(_) => None,
        }
    }

    /// The incident whose turnaround this unit has just ended.
    fn turnaround(&self) -> Option<IncidentId> {
        match &self.serving()?.duty {
            Duty::Free { after, .. } => after.clone(),
            Duty::New | Duty::OutOfService | Duty::Busy { .. } => None,
        }
    }

    /// As REST shows it.
    fn to_json(&self) -> Value {
        let (profile, status, serving) = match self {
            Self::Unknown => return Value::Null,
            Self::Serving(unit) => {
                let status = unit.status().map_or(Value::Null, |status| status.as_str().into());
                (&unit.profile, status, Some(unit))
            }
            Self::Retired(profile) => (profile.as_ref(), json!("retired"), None),
        };
        let mut body = serde_json::to_value(profile).unwrap_or_default();
        let mission = serving.and_then(|unit| unit.mission());
        let fields = [
            ("status", status),
            ("since", json!(serving.map(|unit| unit.since))),
            ("incident_id", json!(mission.map(|(mission, _)| &mission.incident_id))),
            ("assignment", json!(mission.and_then(|(mission, _)| mission.order.as_ref()))),
            ("hospital", json!(mission.and_then(|(_, leg)| leg.hospital()))),
            (
                "arrives_at",
                json!(mission.and_then(|(mission, _)| mission.expected).map(|expected| expected.arrives_at)),
            ),
        ];
        if let Value::Object(members) = &mut body {
            members.extend(fields.map(|(name, value)| (name.to_owned(), value)));
        }
        body
    }
}

/// The unit after an event of its own; those without a status leave it as it is.
fn after_status(unit: Serving, event: &UnitEvent, at: Timestamp) -> Serving {
    let Some((status, change)) = event.as_status() else { return unit };
    let before = match &unit.duty {
        Duty::Busy { mission, leg } => Some((mission.clone(), leg.clone())),
        Duty::New | Duty::Free { .. } | Duty::OutOfService => None,
    };
    let duty = next_duty(status, change, before, at);
    Serving { duty, since: change.at, ..unit }
}

fn next_duty(status: UnitStatus, change: &StatusChanged, before: Option<(Mission, Leg)>, at: Timestamp) -> Duty {
    let came_from = || match &before {
        Some((mission, _)) => Some(mission.incident_id.clone()),
        None => change.incident_id.clone(),
    };
    let hospital = || change.hospital.clone();
    let leg = match status {
        UnitStatus::Available => return Duty::Free { spot: FreeSpot::Available, after: came_from() },
        UnitStatus::AtPost => return Duty::Free { spot: FreeSpot::AtPost, after: came_from() },
        UnitStatus::Cancelled => return Duty::Free { spot: FreeSpot::Cancelled, after: came_from() },
        UnitStatus::OutOfService => return Duty::OutOfService,
        UnitStatus::Reserved => Leg::Reserved,
        UnitStatus::Assigned => Leg::Assigned,
        UnitStatus::Enroute => Leg::Enroute,
        UnitStatus::OnScene => Leg::OnScene,
        UnitStatus::AtPatient => Leg::AtPatient(hospital()),
        UnitStatus::Onboard => Leg::Onboard(hospital()),
        UnitStatus::Arrived => Leg::Arrived(hospital(), change.loaded_distance_m),
        UnitStatus::HandedOver => Leg::HandedOver(hospital(), change.loaded_distance_m),
    };
    // Another incident than before: the unit was moved.
    let diverted = before.as_ref().zip(change.incident_id.as_ref()).is_some_and(|((m, _), id)| m.incident_id != *id);
    let mission = before.map(|(mission, _)| mission).filter(|_| !diverted).or_else(|| {
        let incident_id = change.incident_id.clone()?;
        Some(Mission { incident_id, order: None, assigned_at: at, expected: None, stalled: false, diverted })
    });
    match mission {
        Some(mission) => Duty::Busy { mission: expecting(mission, &leg, change.at), leg },
        // A busy status without an incident is never written; a fold may not refuse it, so it is the
        // cautious reading: such a unit can't be sent.
        None => Duty::OutOfService,
    }
}

/// The arrival that a new leg promises.
fn expecting(mission: Mission, leg: &Leg, now: Timestamp) -> Mission {
    let expected = match leg {
        Leg::Onboard(Some(hospital)) => Some(Expected {
            leg: EtaLeg::Hospital,
            arrives_at: now.plus_ms(i64::from(hospital.drive_s) * 1_000),
            said_at: now,
        }),
        Leg::Reserved | Leg::Assigned | Leg::Enroute => mission.expected,
        Leg::OnScene | Leg::AtPatient(_) | Leg::Onboard(None) | Leg::Arrived(..) | Leg::HandedOver(..) => None,
    };
    Mission { expected, ..mission }
}

/// The unit after a decision about it.
fn after_decision(unit: Serving, event: &DispatchEvent, at: Timestamp) -> Serving {
    let Duty::Busy { mission, leg } = unit.duty else { return unit };
    let duty = match event {
        DispatchEvent::Assigned(order) => {
            let arrives_at = at.plus_ms(i64::from(order.eta_s) * 1_000);
            let expected = Some(Expected { leg: EtaLeg::Scene, arrives_at, said_at: at });
            Duty::Busy { mission: Mission { order: Some(order.clone()), expected, ..mission }, leg }
        }
        DispatchEvent::EtaChanged(change) => {
            let stalled = mission.stalled || change.reason.is_some();
            Duty::Busy { mission: Mission { expected: said(&mission, change, at), stalled, ..mission }, leg }
        }
        DispatchEvent::Unassigned(_) | DispatchEvent::Diverted(_) | DispatchEvent::Waiting(_) => {
            Duty::Busy { mission, leg }
        }
    };
    Serving { duty, ..unit }
}

fn said(mission: &Mission, change: &EtaChanged, at: Timestamp) -> Option<Expected> {
    let leg = if change.leg == EtaLeg::Hospital.as_str() { EtaLeg::Hospital } else { EtaLeg::Scene };
    let same = mission.incident_id == change.incident_id;
    if same { Some(Expected { leg, arrives_at: change.arrives_at, said_at: at }) } else { mission.expected }
}
