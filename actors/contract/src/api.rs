//! Requests from outside, as the web layer hands them to the service that owns the thing asked about.
//!
//! A request is data: in one process it is passed on as it is, between processes it travels as JSON to
//! the owner of the stream. Reading lists goes to the stream service's read models.

use crate::care::{Hospital, Station};
use crate::dispatch::{Fix, UnitProfile, UnitStatus};
use crate::incident::{Disposition, Priority};
use crate::patient::Patient;
use crate::{
    BillId, DeviceId, HospitalId, IncidentId, LatLon, PatientId, PlanId, Problem, StationId, Timestamp, Traceparent,
    UnitId,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// What a token allows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// May post readings and positions.
    Device,
    /// May read.
    Viewer,
    /// May handle incidents and the fleet.
    Dispatcher,
    /// May do everything.
    Administrator,
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Principal {
    /// Stable name of the person or machine.
    pub subject: String,
    /// What it may do.
    pub role: Role,
}

/// Idempotency of a POST: the client's key within its principal and route, and a digest of the body.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Idempotency {
    /// `<subject> <route> <client's key>`.
    pub key: String,
    /// SHA-256 of the body, hex.
    pub body_digest: String,
}

/// A request with who asks and how it is traced.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    /// Id of this call; events it causes carry it as `causation_id`.
    pub id: Uuid,
    /// Who asks.
    pub principal: Principal,
    /// Trace context of the HTTP request.
    pub traceparent: Traceparent,
    /// Demo and drills.
    pub exercise: bool,
    /// Present when the client sent an `Idempotency-Key`.
    pub idempotency: Option<Idempotency>,
    /// `If-Match`.
    pub if_match: Option<u64>,
    /// What is asked.
    pub request: Request,
}

/// A successful answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// JSON body.
    pub body: Value,
    /// Version of the resource, for `ETag`.
    pub version: Option<u64>,
}

impl Answer {
    /// 200 with `body`.
    #[must_use]
    pub fn ok(body: Value) -> Self {
        Self { status: 200, body, version: None }
    }
    /// Another status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }
    /// With the resource's version.
    #[must_use]
    pub fn at_version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }
}

/// Answer or problem.
pub type Reply = Result<Answer, Problem>;

/// A manual call, the body of `POST /incidents`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManualCall {
    /// Who, when known.
    #[serde(default)]
    pub patient_id: Option<PatientId>,
    /// Where.
    #[serde(default)]
    pub location: Option<LatLon>,
    /// How urgent.
    pub priority: Priority,
    /// What is the matter.
    pub summary: String,
    /// Capabilities a unit must have.
    #[serde(default)]
    pub needs: Vec<String>,
}

/// A status from a crew, the body of `POST /units/{id}/status`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusReport {
    /// Status by name.
    #[serde(default)]
    pub status: Option<UnitStatus>,
    /// Status by FMS digit, instead.
    #[serde(default)]
    pub fms: Option<u8>,
    /// When, by the crew's clock; now when missing.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// Where, when known.
    #[serde(default)]
    pub location: Option<LatLon>,
    /// For which incident; checked against the unit's own when given.
    #[serde(default)]
    pub incident_id: Option<IncidentId>,
    /// Another hospital than the chosen one, with Onboard.
    #[serde(default)]
    pub hospital_id: Option<HospitalId>,
    /// Why, for out-of-service and cancelled.
    #[serde(default)]
    pub reason: Option<String>,
    /// How the incident ended, for a crew that clears at the scene: `refused`, `treated-on-scene`,
    /// `false-alarm` or `other`, with cancelled.
    #[serde(default)]
    pub disposition: Option<Disposition>,
}

/// One fix of a unit, in the body of `POST /units/{id}/locations` (an object or an array).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitFix {
    /// When; now when missing.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// Where.
    pub location: LatLon,
    /// Ground speed, metres per second.
    #[serde(default)]
    pub speed_mps: Option<f32>,
    /// Course, degrees.
    #[serde(default)]
    pub heading_deg: Option<f32>,
}

impl UnitFix {
    /// The fix of `unit_id`, taken `now` when it says no time.
    #[must_use]
    pub fn of_unit(self, unit_id: UnitId, now: Timestamp) -> Fix {
        Fix {
            unit_id,
            at: self.at.unwrap_or(now),
            location: self.location,
            speed_mps: self.speed_mps,
            heading_deg: self.heading_deg,
        }
    }
}

/// A device as registered.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Id.
    pub device_id: DeviceId,
    /// Who wears it.
    pub patient_id: PatientId,
    /// Model, free text.
    #[serde(default)]
    pub model: Option<String>,
}

/// Encoding of a body of readings.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VitalsFormat {
    /// One JSON object or an array of them.
    Json,
    /// One JSON object a line.
    Ndjson,
}

/// Which page of a list.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Page {
    /// Where the last page ended.
    pub cursor: Option<String>,
    /// At most so many.
    pub limit: usize,
    /// Only this status or state.
    pub status: Option<String>,
}

/// What a person does to an incident.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncidentAction {
    /// A dispatcher has seen it.
    Acknowledge,
    /// Call it off.
    Cancel {
        /// Why.
        reason: String,
    },
    /// End the care.
    Resolve {
        /// How.
        disposition: Disposition,
    },
    /// Close it without waiting for the bill.
    Close,
    /// Make it more urgent.
    Escalate {
        /// Why.
        reason: String,
    },
    /// Make it less urgent.
    Downgrade {
        /// Why.
        reason: String,
    },
}

/// What a person does to an actor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActorAction {
    /// End this life, begin the next.
    Restart,
    /// Let a quarantined one go on.
    Release,
    /// Panic in the actor (exercise mode only).
    Crash,
    /// Give up what is parked for a quarantined one: to the dead letters.
    Discard,
}

/// Looking after an instance of a service, asked of whoever runs it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HouseRequest {
    /// Its actors, the troubled ones first, at most so many a category.
    Actors(usize),
    /// Act on an actor, `category/id`.
    Act(String, ActorAction),
    /// Messages that were given up.
    DeadLetters,
    /// Deliver one of them once more.
    Replay(String),
}

/// The services of the house.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// Patients, devices, readings.
    Wearable,
    /// Classes.
    Triage,
    /// Events manager.
    Incidents,
    /// Fleet.
    Dispatch,
    /// Next of kin.
    Notification,
    /// Bills.
    Billing,
    /// Cover.
    Insurance,
    /// Read models.
    Stream,
}

impl Service {
    /// All eight.
    pub const ALL: [Self; 8] = [
        Self::Wearable,
        Self::Triage,
        Self::Incidents,
        Self::Dispatch,
        Self::Notification,
        Self::Billing,
        Self::Insurance,
        Self::Stream,
    ];
    /// As in JSON and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wearable => "wearable",
            Self::Triage => "triage",
            Self::Incidents => "incidents",
            Self::Dispatch => "dispatch",
            Self::Notification => "notification",
            Self::Billing => "billing",
            Self::Insurance => "insurance",
            Self::Stream => "stream",
        }
    }
}

/// Everything the outside may ask of a service.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// `POST /vitals`, the body as it came.
    RecordVitals {
        /// The text.
        body: String,
        /// How it is encoded.
        format: VitalsFormat,
    },
    /// `PUT /patients/{id}`.
    PutPatient(Box<Patient>),
    /// `GET /patients/{id}`.
    GetPatient(PatientId),
    /// `GET /patients/{id}/vitals`, newest first.
    GetVitals(PatientId, Page),
    /// `PUT /devices/{id}`.
    PutDevice(Device),
    /// `GET /devices/{id}`.
    GetDevice(DeviceId),

    /// `GET /rules`: the thresholds of triage.
    GetRules,
    /// `PUT /rules`.
    PutRules(Value),

    /// `POST /incidents`.
    OpenIncident(ManualCall),
    /// `POST /incidents/{id}/…`.
    ActOnIncident(IncidentId, IncidentAction),

    /// `POST /units`.
    RegisterUnit(UnitProfile),
    /// `PATCH /units/{id}`, an RFC 7396 merge patch of the profile.
    PatchUnit(UnitId, Value),
    /// `DELETE /units/{id}`.
    RetireUnit(UnitId),
    /// `POST /units/{id}/status`.
    ReportStatus(UnitId, StatusReport),
    /// `POST /units/{id}/locations` and `/osmand`.
    ReportLocations(UnitId, Vec<UnitFix>),
    /// `PUT /hospitals/{id}`.
    PutHospital(Hospital),
    /// `PUT /stations/{id}`.
    PutStation(Station),
    /// `GET /stations/{id}`.
    GetStation(StationId),
    /// `GET /incidents/{id}/recommendations`.
    Recommend(IncidentId),
    /// `POST /incidents/{id}/assignments`.
    Assign(IncidentId, UnitId, Option<String>),
    /// `DELETE /incidents/{id}/assignments/{unit}`.
    Unassign(IncidentId, UnitId, Option<String>),

    /// `POST /bills/{id}/retry`.
    RetryBill(BillId),
    /// `POST /bills/{id}/write-off`.
    WriteOffBill(BillId, String),
    /// `POST /webhooks/stripe`, checked by its signature.
    PaymentWebhook {
        /// The raw body.
        body: String,
        /// `Stripe-Signature`.
        signature: String,
    },

    /// `POST /fhir/R4/CoverageEligibilityRequest`.
    Eligibility(Value),
    /// `PUT /plans/{id}`.
    PutPlan(PlanId, Value),
    /// `GET /plans/{id}`.
    GetPlan(PlanId),

    /// `GET /incidents`.
    ListIncidents(Page),
    /// `GET /incidents/{id}`.
    GetIncident(IncidentId),
    /// `GET /incidents/{id}/timeline`.
    GetTimeline(IncidentId, Page),
    /// `GET /incidents/{id}/nemsis`.
    GetNemsis(IncidentId),
    /// `GET /units`.
    ListUnits(Page),
    /// `GET /units/{id}`.
    GetUnit(UnitId),
    /// `GET /hospitals`.
    ListHospitals(Page),
    /// `GET /hospitals/{id}`.
    GetHospital(HospitalId),
    /// `GET /bills`.
    ListBills(Page),
    /// `GET /bills/{id}`.
    GetBill(BillId),
    /// `GET /notifications`.
    ListNotifications(Page),
    /// `GET /kpis`.
    GetKpis,

    /// `/actors` and `/dead-letters`, of an instance of this service.
    House(Service, HouseRequest),
}

impl Request {
    /// The service that answers.
    #[must_use]
    pub fn service(&self) -> Service {
        match self {
            Self::RecordVitals { .. }
            | Self::PutPatient(_)
            | Self::GetPatient(_)
            | Self::GetVitals(..)
            | Self::PutDevice(_)
            | Self::GetDevice(_) => Service::Wearable,
            Self::GetRules | Self::PutRules(_) => Service::Triage,
            Self::OpenIncident(_) | Self::ActOnIncident(..) => Service::Incidents,
            Self::RegisterUnit(_)
            | Self::PatchUnit(..)
            | Self::RetireUnit(_)
            | Self::ReportStatus(..)
            | Self::ReportLocations(..)
            | Self::PutHospital(_)
            | Self::PutStation(_)
            | Self::GetStation(_)
            | Self::Recommend(_)
            | Self::Assign(..)
            | Self::Unassign(..) => Service::Dispatch,
            Self::RetryBill(_) | Self::WriteOffBill(..) | Self::PaymentWebhook { .. } => Service::Billing,
            Self::Eligibility(_) | Self::PutPlan(..) | Self::GetPlan(_) => Service::Insurance,
            Self::ListIncidents(_)
            | Self::GetIncident(_)
            | Self::GetTimeline(..)
            | Self::GetNemsis(_)
            | Self::ListUnits(_)
            | Self::GetUnit(_)
            | Self::ListHospitals(_)
            | Self::GetHospital(_)
            | Self::ListBills(_)
            | Self::GetBill(_)
            | Self::ListNotifications(_)
            | Self::GetKpis => Service::Stream,
            Self::House(service, _) => *service,
        }
    }
}
