//! The door: each request to the one who answers it.

use crate::desk::Desk;
use crate::gateway::one_decision;
use crate::model::hospital::{HospitalCommand, HospitalFile};
use crate::model::unit::UnitCommand;
use crate::orders::unreadable;
use crate::tracking::Journal;
use async_trait::async_trait;
use shers_contract::{
    Problem, StationId,
    api::{Answer, Call, Reply, Request},
    care::Station,
    dispatch::UnitProfile,
};
use shers_runtime::{Cause, Commit, Directory, DocumentWrite, LocalEndpoint, Rejected};
use std::rc::Rc;

/// Collection of the stations.
pub(crate) const STATIONS: &str = "dispatch.station";

/// The service's endpoint.
pub(crate) struct Door {
    pub desk: Rc<Desk>,
    pub hospitals: Directory<HospitalFile>,
    pub journal: Rc<Journal>,
}

#[async_trait(?Send)]
impl LocalEndpoint for Door {
    async fn call(&self, call: Call) -> Reply {
        let desk = &self.desk;
        match call.request.clone() {
            Request::RegisterUnit(profile) => self.register(&call, profile).await,
            Request::PatchUnit(unit, patch) => desk.units.answer(&call, unit.as_str(), UnitCommand::Patch(patch)).await,
            Request::RetireUnit(unit) => {
                let by = call.principal.subject.clone();
                desk.units.answer(&call, unit.as_str(), UnitCommand::Retire { by }).await
            }
            Request::ReportStatus(unit, report) => desk.report_status(&call, &unit, report).await,
            Request::ReportLocations(unit, fixes) => desk.report_locations(&self.journal, &call, &unit, fixes).await,
            Request::PutHospital(hospital) => {
                let id = hospital.hospital_id.clone();
                self.hospitals.answer(&call, id.as_str(), HospitalCommand::Put(Box::new(hospital))).await
            }
            Request::PutStation(station) => self.put_station(station).await,
            Request::GetStation(id) => self.get_station(&id).await,
            Request::Recommend(incident) => one_decision(desk.show_recommendation(&incident)).await,
            Request::Assign(incident, unit, reason) => desk.assign(&call, &incident, &unit, reason).await,
            Request::Unassign(incident, unit, reason) => desk.unassign(&call, &incident, &unit, reason).await,
            other => Err(Problem::new(
                500,
                "wrong-service",
                format!("dispatch was asked what {} answers", other.service().as_str()),
            )),
        }
    }
}

impl Door {
    /// 201 for a new unit, 200 for one that is registered just so.
    async fn register(&self, call: &Call, profile: UnitProfile) -> Reply {
        let id = profile.unit_id.clone();
        let command = UnitCommand::Register { profile: Box::new(profile), by: call.principal.subject.clone() };
        match self.desk.units.execute(id.as_str(), command, Cause::call(call)).await {
            Ok(executed) if executed.events.is_empty() && executed.version > 0 => Ok(executed.answer),
            Ok(executed) => Ok(executed.answer.with_status(201)),
            Err(Rejected::Refused(refusal)) => Err(refusal.into()),
            Err(Rejected::Problem(problem)) => Err(problem),
            Err(Rejected::Repeated) => Err(Problem::conflict("this was done before")),
            Err(Rejected::Unavailable(why)) => Err(Problem::unavailable(why)),
        }
    }

    async fn put_station(&self, station: Station) -> Reply {
        if station.name.trim().is_empty() || station.name.chars().count() > 200 {
            return Err(Problem::invalid("/name", "a name is 1 to 200 characters"));
        }
        let body = serde_json::to_value(&station).unwrap_or_default();
        let write = DocumentWrite {
            collection: STATIONS,
            id: station.station_id.as_str().to_owned(),
            tag: String::new(),
            rank: 0,
            doc: Some(body.to_string()),
        };
        let commit = Commit { documents: vec![write], ..Commit::default() };
        self.desk.deps.store.commit(commit).await.map_err(|error| {
            tracing::error!(%error, "writing a station");
            Problem::unavailable("the station can't be stored now; try again")
        })?;
        let mut book = self.desk.book.borrow_mut();
        book.fleet.place_station(station.station_id, station.location);
        self.desk.ground.stand_all(&book.fleet);
        Ok(Answer::ok(body))
    }

    async fn get_station(&self, id: &StationId) -> Reply {
        let found = self.desk.deps.store.document(STATIONS, id.as_str()).await.map_err(|error| unreadable(&error))?;
        let document = found.ok_or_else(|| Problem::not_found("station", id.as_str()))?;
        Ok(Answer::ok(serde_json::from_str(&document.doc).unwrap_or_default()))
    }
}
