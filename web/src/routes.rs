//! The one table of routes: method, path, who may, what it does, how it reads in the OpenAPI document.
//!
//! The server registers exactly these, the OpenAPI document lists exactly these, and a test compares them.

use shers_contract::api::{ActorAction, Role};

/// Who may ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Anybody: health, and bodies that prove themselves by a signature.
    Public,
    /// A caller with a one-time ticket instead of a token.
    Ticket,
    /// A caller with one of these roles.
    Roles(&'static [Role]),
}

/// Devices post; people who handle incidents may post for them.
const FEEDERS: Access = Access::Roles(&[Role::Device, Role::Dispatcher, Role::Administrator]);
/// Everybody who may look.
const READERS: Access = Access::Roles(&[Role::Viewer, Role::Dispatcher, Role::Administrator]);
/// Those who handle incidents, patients and the fleet.
const DISPATCHERS: Access = Access::Roles(&[Role::Dispatcher, Role::Administrator]);
/// Those who set the rules and mend what broke.
const ADMINISTRATORS: Access = Access::Roles(&[Role::Administrator]);
/// Everybody with a token.
const ALL: Access = Access::Roles(&[Role::Device, Role::Viewer, Role::Dispatcher, Role::Administrator]);

/// What a route does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "each is described by its row in the table")]
pub enum Operation {
    RecordVitals,
    GetPatient,
    PutPatient,
    GetVitals,
    GetDevice,
    PutDevice,
    GetRules,
    PutRules,
    ListIncidents,
    OpenIncident,
    GetIncident,
    GetTimeline,
    GetNemsis,
    Acknowledge,
    Cancel,
    Resolve,
    Close,
    Escalate,
    Downgrade,
    Recommend,
    Assign,
    Unassign,
    ListUnits,
    RegisterUnit,
    GetUnit,
    PatchUnit,
    RetireUnit,
    ReportStatus,
    ReportLocations,
    Osmand,
    ListHospitals,
    GetHospital,
    PutHospital,
    GetStation,
    PutStation,
    ListBills,
    GetBill,
    RetryBill,
    WriteOffBill,
    GetPlan,
    PutPlan,
    Eligibility,
    PaymentWebhook,
    ListNotifications,
    GetKpis,
    Events,
    Ticket,
    Stream,
    ListActors,
    Act(ActorAction),
    ListDeadLetters,
    ReplayDeadLetter,
    Map,
    MapInfo,
    OpenApi,
    Live,
    Ready,
    Metrics,
}

/// What a route reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// No body.
    Nothing,
    /// A JSON body of this schema.
    Json(&'static str),
    /// A JSON body of this schema, or none.
    Optional(&'static str),
    /// A merge patch of this schema.
    Patch(&'static str),
    /// Readings, as JSON or NDJSON.
    Vitals,
    /// A FHIR resource of this schema.
    Fhir(&'static str),
    /// A position in a tracker's own form.
    Tracker,
    /// A payment provider's event with its signature.
    Signed,
}

/// What a route answers with, when all is well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output {
    /// A JSON value of this schema.
    Json(&'static str),
    /// A page of a list of this schema.
    List(&'static str),
    /// No body.
    Nothing,
    /// Another media type.
    Media(&'static str),
    /// Events, as a JSON page or as server-sent events.
    Events,
    /// A websocket.
    Socket,
}

/// One route.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// HTTP method.
    pub method: &'static str,
    /// Path with `{parameters}`.
    pub path: &'static str,
    /// Who may.
    pub access: Access,
    /// What it does.
    pub operation: Operation,
    /// Group in the documentation.
    pub tag: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Query parameters.
    pub query: &'static [&'static str],
    /// What it reads.
    pub input: Input,
    /// Status when all is well.
    pub status: u16,
    /// What it answers with.
    pub output: Output,
}

const PAGE: &[&str] = &["limit", "cursor"];
const STATUS_PAGE: &[&str] = &["limit", "cursor", "status"];

impl Route {
    const fn takes(self, input: Input) -> Self {
        Self { input, ..self }
    }
    const fn query(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }
    const fn gives(self, status: u16, output: Output) -> Self {
        Self { status, output, ..self }
    }
    const fn in_group(self, tag: &'static str) -> Self {
        Self { tag, ..self }
    }
    /// Whether a body may come.
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.input != Input::Nothing
    }
}

const fn route(
    method: &'static str,
    path: &'static str,
    access: Access,
    operation: Operation,
    summary: &'static str,
) -> Route {
    Route {
        method,
        path,
        access,
        operation,
        summary,
        tag: "",
        query: &[],
        input: Input::Nothing,
        status: 200,
        output: Output::Json("Anything"),
    }
}
const fn get(path: &'static str, access: Access, operation: Operation, summary: &'static str) -> Route {
    route("GET", path, access, operation, summary)
}
const fn post(path: &'static str, access: Access, operation: Operation, summary: &'static str) -> Route {
    route("POST", path, access, operation, summary)
}
const fn put(path: &'static str, access: Access, operation: Operation, summary: &'static str) -> Route {
    route("PUT", path, access, operation, summary)
}

use Input::{Fhir, Json, Optional, Patch, Signed, Tracker, Vitals};
use Operation as Do;
use Output::List;

/// Patients, devices and readings.
const WEARERS: &[Route] = &[
    post("/api/v1/vitals", FEEDERS, Do::RecordVitals, "Send readings: one, an array, or one a line")
        .takes(Vitals)
        .gives(202, Output::Json("VitalsAccepted")),
    get("/api/v1/patients/{id}", READERS, Do::GetPatient, "Read a patient").gives(200, Output::Json("Patient")),
    put("/api/v1/patients/{id}", DISPATCHERS, Do::PutPatient, "Register or replace a patient")
        .takes(Json("Patient"))
        .gives(200, Output::Json("Patient")),
    get("/api/v1/patients/{id}/vitals", READERS, Do::GetVitals, "Readings of a patient, newest first")
        .query(PAGE)
        .gives(200, List("Reading")),
    get("/api/v1/devices/{id}", READERS, Do::GetDevice, "Read a device").gives(200, Output::Json("Device")),
    put("/api/v1/devices/{id}", DISPATCHERS, Do::PutDevice, "Register or replace a device")
        .takes(Json("Device"))
        .gives(200, Output::Json("Device")),
    get("/api/v1/rules", READERS, Do::GetRules, "Read the thresholds of triage").gives(200, Output::Json("Rules")),
    put("/api/v1/rules", ADMINISTRATORS, Do::PutRules, "Replace the thresholds of triage")
        .takes(Json("Rules"))
        .gives(200, Output::Json("Rules")),
];

/// Incidents and who goes to them.
const INCIDENTS: &[Route] = &[
    get("/api/v1/incidents", READERS, Do::ListIncidents, "List incidents, the most urgent first")
        .query(STATUS_PAGE)
        .gives(200, List("Incident")),
    post("/api/v1/incidents", DISPATCHERS, Do::OpenIncident, "Take a call")
        .takes(Json("ManualCall"))
        .gives(201, Output::Json("Incident")),
    get("/api/v1/incidents/{id}", READERS, Do::GetIncident, "Read an incident").gives(200, Output::Json("Incident")),
    get("/api/v1/incidents/{id}/timeline", READERS, Do::GetTimeline, "All that happened to an incident, in order")
        .query(PAGE)
        .gives(200, List("Event")),
    get("/api/v1/incidents/{id}/nemsis", READERS, Do::GetNemsis, "Times of an incident by their NEMSIS names"),
    post("/api/v1/incidents/{id}/acknowledge", DISPATCHERS, Do::Acknowledge, "Say that a dispatcher has seen it")
        .takes(Optional("Nothing"))
        .gives(200, Output::Json("Incident")),
    post("/api/v1/incidents/{id}/cancel", DISPATCHERS, Do::Cancel, "Call an incident off")
        .takes(Json("Reason"))
        .gives(200, Output::Json("Incident")),
    post("/api/v1/incidents/{id}/resolve", DISPATCHERS, Do::Resolve, "End the care without a hand-over")
        .takes(Json("Resolution"))
        .gives(200, Output::Json("Incident")),
    post("/api/v1/incidents/{id}/close", DISPATCHERS, Do::Close, "Close without waiting for the bill")
        .takes(Optional("Nothing"))
        .gives(200, Output::Json("Incident")),
    post("/api/v1/incidents/{id}/escalate", DISPATCHERS, Do::Escalate, "Make an incident more urgent")
        .takes(Json("Reason"))
        .gives(200, Output::Json("Incident")),
    post("/api/v1/incidents/{id}/downgrade", DISPATCHERS, Do::Downgrade, "Make an incident less urgent")
        .takes(Json("Reason"))
        .gives(200, Output::Json("Incident")),
    get("/api/v1/incidents/{id}/recommendations", READERS, Do::Recommend, "Units that could go, best first")
        .gives(200, Output::Json("Recommendations")),
    post("/api/v1/incidents/{id}/assignments", DISPATCHERS, Do::Assign, "Send a unit")
        .takes(Json("Assignment"))
        .gives(201, Output::Json("Unit")),
    route("DELETE", "/api/v1/incidents/{id}/assignments/{unit}", DISPATCHERS, Do::Unassign, "Call a unit back")
        .query(&["reason"])
        .gives(200, Output::Json("Unit")),
];

/// Units, hospitals and stations.
const FLEET: &[Route] = &[
    get("/api/v1/units", READERS, Do::ListUnits, "List units").query(STATUS_PAGE).gives(200, List("Unit")),
    post("/api/v1/units", DISPATCHERS, Do::RegisterUnit, "Register a unit")
        .takes(Json("UnitProfile"))
        .gives(201, Output::Json("Unit")),
    get("/api/v1/units/{id}", READERS, Do::GetUnit, "Read a unit").gives(200, Output::Json("Unit")),
    route("PATCH", "/api/v1/units/{id}", DISPATCHERS, Do::PatchUnit, "Change parts of a unit's profile")
        .takes(Patch("UnitProfile"))
        .gives(200, Output::Json("Unit")),
    route("DELETE", "/api/v1/units/{id}", DISPATCHERS, Do::RetireUnit, "Take a unit out for good")
        .gives(200, Output::Json("Unit")),
    post("/api/v1/units/{id}/status", DISPATCHERS, Do::ReportStatus, "Report a crew's status")
        .takes(Json("StatusReport"))
        .gives(200, Output::Json("Unit")),
    post("/api/v1/units/{id}/locations", FEEDERS, Do::ReportLocations, "Report one position or several")
        .takes(Json("UnitFixes"))
        .gives(202, Output::Json("Anything")),
    get("/osmand", FEEDERS, Do::Osmand, "Report a position as OsmAnd or Traccar do, in the query")
        .gives(202, Output::Json("Anything")),
    post("/osmand", FEEDERS, Do::Osmand, "Report a position as OsmAnd or Traccar do")
        .takes(Tracker)
        .gives(202, Output::Json("Anything")),
    get("/api/v1/hospitals", READERS, Do::ListHospitals, "List hospitals")
        .query(STATUS_PAGE)
        .gives(200, List("Hospital")),
    get("/api/v1/hospitals/{id}", READERS, Do::GetHospital, "Read a hospital").gives(200, Output::Json("Hospital")),
    put("/api/v1/hospitals/{id}", DISPATCHERS, Do::PutHospital, "Register or replace a hospital")
        .takes(Json("Hospital"))
        .gives(200, Output::Json("Hospital")),
    get("/api/v1/stations/{id}", READERS, Do::GetStation, "Read a station").gives(200, Output::Json("Station")),
    put("/api/v1/stations/{id}", DISPATCHERS, Do::PutStation, "Register or replace a station")
        .takes(Json("Station"))
        .gives(200, Output::Json("Station")),
];

/// Bills, cover and messages.
const AFTERMATH: &[Route] = &[
    get("/api/v1/bills", READERS, Do::ListBills, "List bills").query(STATUS_PAGE).gives(200, List("Bill")),
    get("/api/v1/bills/{id}", READERS, Do::GetBill, "Read a bill").gives(200, Output::Json("Bill")),
    post("/api/v1/bills/{id}/retry", DISPATCHERS, Do::RetryBill, "Try a failed or stuck bill again")
        .takes(Optional("Nothing"))
        .gives(200, Output::Json("Bill")),
    post("/api/v1/bills/{id}/write-off", ADMINISTRATORS, Do::WriteOffBill, "Give a bill up")
        .takes(Json("Reason"))
        .gives(200, Output::Json("Bill")),
    get("/api/v1/plans/{id}", READERS, Do::GetPlan, "Read an insurance plan").gives(200, Output::Json("Plan")),
    put("/api/v1/plans/{id}", ADMINISTRATORS, Do::PutPlan, "Register or replace an insurance plan")
        .takes(Json("Plan"))
        .gives(200, Output::Json("Plan")),
    post(
        "/fhir/R4/CoverageEligibilityRequest",
        DISPATCHERS,
        Do::Eligibility,
        "Ask the insurer whether a member is covered",
    )
    .takes(Fhir("CoverageEligibilityRequest"))
    .gives(200, Output::Media("application/fhir+json")),
    post(
        "/webhooks/stripe",
        Access::Public,
        Do::PaymentWebhook,
        "Events of the payment provider, checked by their signature",
    )
    .takes(Signed)
    .gives(200, Output::Json("Anything")),
    get("/api/v1/notifications", READERS, Do::ListNotifications, "List messages to the next of kin")
        .query(STATUS_PAGE)
        .gives(200, List("Notification")),
    get("/api/v1/kpis", READERS, Do::GetKpis, "Figures of the house").gives(200, Output::Json("Anything")),
];

/// The live stream.
const LIVE: &[Route] = &[
    get("/api/v1/events", READERS, Do::Events, "Events as pages, or as server-sent events")
        .query(&["after", "pattern", "limit"])
        .gives(200, Output::Events),
    post("/api/v1/stream-tickets", READERS, Do::Ticket, "A ticket for one websocket")
        .takes(Optional("Nothing"))
        .gives(201, Output::Json("StreamTicket")),
    get("/api/v1/stream", Access::Ticket, Do::Stream, "Websocket shers.v1; the ticket is the second subprotocol")
        .gives(101, Output::Socket),
];

/// Looking after the house.
const HOUSE: &[Route] = &[
    get(
        "/api/v1/actors",
        READERS,
        Do::ListActors,
        "The supervision tree: the process, its supervisors, then actors and tasks, the troubled first",
    )
    .query(&["limit"])
    .gives(200, List("Actor")),
    post(
        "/api/v1/actors/{id}/restart",
        ADMINISTRATORS,
        Do::Act(ActorAction::Restart),
        "End an actor's life, begin the next",
    )
    .takes(Optional("Nothing"))
    .gives(204, Output::Nothing),
    post("/api/v1/actors/{id}/release", ADMINISTRATORS, Do::Act(ActorAction::Release), "Let a quarantined actor go on")
        .takes(Optional("Nothing"))
        .gives(204, Output::Nothing),
    post(
        "/api/v1/actors/{id}/crash",
        ADMINISTRATORS,
        Do::Act(ActorAction::Crash),
        "Let an actor panic (exercise mode only)",
    )
    .takes(Optional("Nothing"))
    .gives(204, Output::Nothing),
    post(
        "/api/v1/actors/{id}/discard",
        ADMINISTRATORS,
        Do::Act(ActorAction::Discard),
        "Give up what is parked for a quarantined actor: to the dead letters",
    )
    .takes(Optional("Nothing"))
    .gives(204, Output::Nothing),
    get("/api/v1/dead-letters", ADMINISTRATORS, Do::ListDeadLetters, "Messages that were given up")
        .gives(200, List("DeadLetter")),
    post("/api/v1/dead-letters/{id}/replay", ADMINISTRATORS, Do::ReplayDeadLetter, "Deliver a dead letter once more")
        .takes(Optional("Nothing"))
        .gives(202, Output::Json("Anything")),
    get("/api/v1/map", READERS, Do::Map, "Roads of the map, as delta-varint")
        .gives(200, Output::Media("application/octet-stream")),
    get("/api/v1/map/info", READERS, Do::MapInfo, "Name, attribution and bounds of the map")
        .gives(200, Output::Json("MapInfo")),
    get("/api/openapi.json", ALL, Do::OpenApi, "This document").gives(200, Output::Json("Anything")),
    get("/health/live", Access::Public, Do::Live, "The process lives").gives(200, Output::Json("Health")),
    get("/health/ready", Access::Public, Do::Ready, "The house can serve").gives(200, Output::Json("Health")),
    get("/metrics", READERS, Do::Metrics, "Metrics in Prometheus text form").gives(200, Output::Media("text/plain")),
];

/// Every route there is.
pub fn all() -> impl Iterator<Item = Route> {
    let groups = [
        ("wearers", WEARERS),
        ("incidents", INCIDENTS),
        ("fleet", FLEET),
        ("bills and messages", AFTERMATH),
        ("live stream", LIVE),
        ("house", HOUSE),
    ];
    groups.into_iter().flat_map(|(tag, routes)| routes.iter().map(move |route| route.in_group(tag)))
}
