//! From an HTTP request to a [`Request`] of the contract. Nothing is decided here.

use crate::{
    input::{self, Query, path_id},
    osmand,
    routes::Operation,
    settings::Settings,
};
use actix_web::HttpRequest;
use serde::Deserialize;
use serde_json::Value;
use shers_contract::{
    BillId, DeviceId, HospitalId, IncidentId, PatientId, PlanId, Problem, StationId, UnitId,
    api::{IncidentAction, Request, UnitFix, VitalsFormat},
    incident::Disposition,
};

/// All that a request brought.
pub(crate) struct Incoming<'a> {
    pub(crate) http: &'a HttpRequest,
    pub(crate) query: Query,
    pub(crate) media_type: String,
    pub(crate) body: Vec<u8>,
    pub(crate) settings: &'a Settings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resolution {
    disposition: Disposition,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Assignment {
    unit_id: UnitId,
    #[serde(default)]
    reason: Option<String>,
}

/// Longest reason a person may give, in bytes.
const MAX_REASON: usize = 500;

impl Incoming<'_> {
    fn id<T>(&self) -> Result<T, Problem>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        path_id(self.http, "id")
    }

    fn page(&self) -> Result<shers_contract::api::Page, Problem> {
        self.query.page(self.settings)
    }

    fn json(&self) -> Result<Value, Problem> {
        input::json(&self.body)
    }

    fn body<T: serde::de::DeserializeOwned>(&self) -> Result<T, Problem> {
        input::typed(self.json()?)
    }

    /// The body, with the id of the path in `field`.
    fn body_with_id<T: serde::de::DeserializeOwned>(&self, field: &str) -> Result<T, Problem> {
        input::typed(input::with_id(self.json()?, field, &input::path_text(self.http, "id"))?)
    }

    /// No body, or an empty object.
    fn no_body(&self) -> Result<(), Problem> {
        if self.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        match self.json()? {
            Value::Object(members) if members.is_empty() => Ok(()),
            _ => Err(Problem::invalid("", "this request takes no body, or an empty object")),
        }
    }

    fn reason(&self) -> Result<String, Problem> {
        let Reason { reason } = self.body()?;
        checked_reason("/reason", reason)
    }

    fn act(&self, action: IncidentAction) -> Result<Request, Problem> {
        Ok(Request::ActOnIncident(self.id()?, action))
    }

    /// One value, or an array of them.
    fn fixes(&self) -> Result<Vec<UnitFix>, Problem> {
        let fixes: Vec<UnitFix> = match self.json()? {
            list @ Value::Array(_) => input::typed(list)?,
            one => vec![input::typed(one)?],
        };
        if fixes.is_empty() {
            return Err(Problem::invalid("", "send at least one position"));
        }
        Ok(fixes)
    }

    fn tracker(&self) -> Result<Request, Problem> {
        let (unit, fix) = if self.body.is_empty() {
            osmand::from_query(&|name| self.query.get(name).map(str::to_owned))?
        } else if self.media_type == "application/x-www-form-urlencoded" {
            let form = osmand::form(&self.body)?;
            osmand::from_query(&|name| form.get(name).cloned())?
        } else {
            osmand::from_json(self.body()?)?
        };
        Ok(Request::ReportLocations(unit, vec![fix]))
    }

    fn vitals(&mut self) -> Result<Request, Problem> {
        let ndjson = matches!(self.media_type.as_str(), "application/x-ndjson" | "application/ndjson");
        let format = if ndjson { VitalsFormat::Ndjson } else { VitalsFormat::Json };
        Ok(Request::RecordVitals { body: input::text(std::mem::take(&mut self.body))?, format })
    }

    fn webhook(&mut self) -> Result<Request, Problem> {
        let signature = self.http.headers().get("stripe-signature").and_then(|v| v.to_str().ok());
        let signature =
            signature.ok_or_else(|| Problem::malformed("the header Stripe-Signature is missing"))?.to_owned();
        Ok(Request::PaymentWebhook { body: input::text(std::mem::take(&mut self.body))?, signature })
    }

    fn unassign(&self) -> Result<Request, Problem> {
        let reason = self.query.get("reason").map(|r| checked_reason("reason", r.to_owned())).transpose()?;
        Ok(Request::Unassign(self.id()?, path_id(self.http, "unit")?, reason))
    }

    fn assign(&self) -> Result<Request, Problem> {
        let Assignment { unit_id, reason } = self.body()?;
        let reason = reason.map(|r| checked_reason("/reason", r)).transpose()?;
        Ok(Request::Assign(self.id()?, unit_id, reason))
    }

    /// The request of a service, or `None` when the web layer answers itself.
    pub(crate) fn request(&mut self, operation: Operation) -> Result<Option<Request>, Problem> {
        use Operation as Do;
        Ok(Some(match operation {
            Do::RecordVitals => self.vitals()?,
            Do::GetPatient => Request::GetPatient(self.id::<PatientId>()?),
            Do::PutPatient => Request::PutPatient(Box::new(self.body_with_id("patient_id")?)),
            Do::GetVitals => Request::GetVitals(self.id()?, self.page()?),
            Do::GetDevice => Request::GetDevice(self.id::<DeviceId>()?),
            Do::PutDevice => Request::PutDevice(self.body_with_id("device_id")?),
            Do::GetRules => Request::GetRules,
            Do::PutRules => Request::PutRules(self.json()?),
            Do::ListIncidents => Request::ListIncidents(self.page()?),
            Do::OpenIncident => Request::OpenIncident(self.body()?),
            Do::GetIncident => Request::GetIncident(self.id::<IncidentId>()?),
            Do::GetTimeline => Request::GetTimeline(self.id()?, self.page()?),
            Do::GetNemsis => Request::GetNemsis(self.id()?),
            Do::Acknowledge => self.no_body().and_then(|()| self.act(IncidentAction::Acknowledge))?,
            Do::Close => self.no_body().and_then(|()| self.act(IncidentAction::Close))?,
            Do::Cancel => self.act(IncidentAction::Cancel { reason: self.reason()? })?,
            Do::Downgrade => self.act(IncidentAction::Downgrade { reason: self.reason()? })?,
            Do::Escalate => self.act(IncidentAction::Escalate { reason: self.reason()? })?,
            Do::Resolve => {
                let Resolution { disposition } = self.body()?;
                self.act(IncidentAction::Resolve { disposition })?
            }
            Do::Recommend => Request::Recommend(self.id()?),
            Do::Assign => self.assign()?,
            Do::Unassign => self.unassign()?,
            Do::ListUnits => Request::ListUnits(self.page()?),
            Do::RegisterUnit => Request::RegisterUnit(self.body()?),
            Do::GetUnit => Request::GetUnit(self.id()?),
            Do::PatchUnit => Request::PatchUnit(self.id()?, self.json()?),
            Do::RetireUnit => Request::RetireUnit(self.id::<UnitId>()?),
            Do::ReportStatus => Request::ReportStatus(self.id()?, self.body()?),
            Do::ReportLocations => Request::ReportLocations(self.id()?, self.fixes()?),
            Do::Osmand => self.tracker()?,
            Do::ListHospitals => Request::ListHospitals(self.page()?),
            Do::GetHospital => Request::GetHospital(self.id::<HospitalId>()?),
            Do::PutHospital => Request::PutHospital(self.body_with_id("hospital_id")?),
            Do::GetStation => Request::GetStation(self.id::<StationId>()?),
            Do::PutStation => Request::PutStation(self.body_with_id("station_id")?),
            Do::ListBills => Request::ListBills(self.page()?),
            Do::GetBill => Request::GetBill(self.id::<BillId>()?),
            Do::RetryBill => self.no_body().and_then(|()| Ok(Request::RetryBill(self.id()?)))?,
            Do::WriteOffBill => Request::WriteOffBill(self.id()?, self.reason()?),
            Do::GetPlan => Request::GetPlan(self.id::<PlanId>()?),
            Do::PutPlan => Request::PutPlan(self.id()?, self.json()?),
            Do::Eligibility => Request::Eligibility(self.json()?),
            Do::PaymentWebhook => self.webhook()?,
            Do::ListNotifications => Request::ListNotifications(self.page()?),
            Do::GetKpis => Request::GetKpis,
            Do::Events
            | Do::Ticket
            | Do::Stream
            | Do::ListActors
            | Do::Act(_)
            | Do::ListDeadLetters
            | Do::ReplayDeadLetter
            | Do::Map
            | Do::MapInfo
            | Do::OpenApi
            | Do::Live
            | Do::Ready
            | Do::Metrics => return Ok(None),
        }))
    }
}

fn checked_reason(field: &str, reason: String) -> Result<String, Problem> {
    if reason.trim().is_empty() || reason.len() > MAX_REASON {
        return Err(Problem::invalid(field, format!("a reason is 1 to {MAX_REASON} bytes of text")));
    }
    Ok(reason)
}
