//! Statuses from crews, and the hospital they drive to.

use crate::desk::Desk;
use crate::gateway::{Driving, one_decision};
use crate::model::hospital::{Drive, at_the_door_s, by_suitability, choose, chosen_by_crew};
use crate::model::transition::from_fms;
use crate::model::unit::{Report, Serving, UnitCommand};
use crate::orders::checked_reason;
use shers_contract::{
    HospitalId, LatLon, Problem, UnitId,
    api::{Call, Reply, StatusReport},
    care::{Hospital, HospitalState},
    dispatch::{HospitalChoice, UnitStatus},
};

/// The status a report means, by name or by FMS digit.
fn status_of(report: &StatusReport) -> Result<UnitStatus, Problem> {
    let by_digit = match report.fms {
        None => None,
        Some(digit) => Some(from_fms(digit).ok_or_else(|| {
            Problem::invalid("/fms", format!("FMS {digit} is no status here; use 1, 2, 3, 4, 6, 7 or 8"))
        })?),
    };
    match (report.status, by_digit) {
        (Some(status), None) | (None, Some(status)) => Ok(status),
        (Some(status), Some(digit)) if status == digit => Ok(status),
        (Some(status), Some(digit)) => {
            Err(Problem::invalid("/fms", format!("status says {status} and fms says {digit}; give one of them")))
        }
        (None, None) => Err(Problem::invalid("/status", "give a status by name or an FMS digit in \"fms\"")),
    }
}

impl Desk {
    /// `POST /units/{id}/status`.
    pub(crate) async fn report_status(&self, call: &Call, unit: &UnitId, report: StatusReport) -> Reply {
        let status = status_of(&report)?;
        let now = self.deps.clock.now();
        let at = report.at.unwrap_or(now);
        if at.ms_since(now) > self.settings.max_future_ms() {
            return Err(Problem::invalid("/at", format!("{at} is in the future; it is {now}")));
        }
        let reason = checked_reason(report.reason)?;
        let serving = self.book.borrow().fleet.unit(unit).map(|seen| seen.unit.clone());
        let here = report.location.or_else(|| self.whereabouts(unit));
        let crew_chose = report.hospital_id.is_some();
        let hospital = match &serving {
            Some(serving) => self.hospital_for(serving, status, report.hospital_id, here).await?,
            None => None,
        };
        let loaded_distance_m = match (&serving, status) {
            (Some(serving), UnitStatus::Arrived) => self.loaded_distance_m(serving, hospital.as_ref(), here).await,
            _ => None,
        };
        let report = Report {
            status,
            at,
            location: here,
            incident_id: report.incident_id,
            hospital,
            crew_chose,
            loaded_distance_m,
            reason,
            disposition: report.disposition,
            by: call.principal.subject.clone(),
        };
        self.units.answer(call, unit.as_str(), UnitCommand::Report(Box::new(report))).await
    }

    /// The crew's own choice, or the proposal once there is a patient.
    async fn hospital_for(
        &self,
        unit: &Serving,
        status: UnitStatus,
        chosen: Option<HospitalId>,
        here: Option<LatLon>,
    ) -> Result<Option<HospitalChoice>, Problem> {
        let Some((mission, _)) = unit.mission() else { return Ok(None) };
        let from = here.or_else(|| mission.order.as_ref().map(|order| order.to));
        if let Some(id) = chosen {
            return self.crew_choice(&id, from).await.map(Some);
        }
        let Some(from) = from.filter(|_| matches!(status, UnitStatus::AtPatient | UnitStatus::Onboard)) else {
            return Ok(None);
        };
        let needs = {
            let book = self.book.borrow();
            book.queue.known(&mission.incident_id).map(|known| known.request.needs.clone())
        };
        let needs = match needs {
            Some(needs) => needs,
            None => {
                let case = self.case(&mission.incident_id).await.ok();
                case.and_then(|case| case.request).map(|request| request.needs).unwrap_or_default()
            }
        };
        Ok(one_decision(self.propose_hospital(&unit.profile.unit_id, from, &needs)).await)
    }

    async fn crew_choice(&self, id: &HospitalId, from: Option<LatLon>) -> Result<HospitalChoice, Problem> {
        let hospital = self.book.borrow().hospitals.get(id).cloned();
        let hospital = hospital
            .ok_or_else(|| Problem::invalid("/hospital_id", format!("there is no hospital {:?}", id.as_str())))?;
        if hospital.state == HospitalState::Closed {
            return Err(Problem::conflict(format!(
                "{} is closed and takes nobody; choose another hospital",
                hospital.name
            ))
            .with("field", "/hospital_id"));
        }
        let travel = match from {
            Some(from) => self.eta.travel(from, hospital.location, Driving::Normal).await.ok(),
            None => None,
        };
        let (drive_s, distance_m) = travel.map_or((0, 0), |trip| (trip.travel.duration_s, trip.travel.distance_m));
        Ok(chosen_by_crew(&Drive { hospital: &hospital, drive_s, distance_m, door_s: 0 }))
    }

    /// The suitable hospital that has the patient in its hands soonest.
    pub(crate) async fn propose_hospital(
        &self,
        unit: &UnitId,
        from: LatLon,
        needs: &[String],
    ) -> Option<HospitalChoice> {
        let hospitals: Vec<Hospital> = self.book.borrow().hospitals.values().cloned().collect();
        let heading = self.book.borrow().fleet.heading(unit);
        let times = self.settings.door_times();
        let refs: Vec<&Hospital> = hospitals.iter().collect();
        let mut groups = Vec::new();
        let mut source = "";
        for (suits, group) in by_suitability(&refs, needs, &heading) {
            let places: Vec<LatLon> = group.iter().map(|hospital| hospital.location).collect();
            let ranking = match self.eta.rank_to(from, &places, Driving::Normal, places.len()).await {
                Ok(ranking) => ranking,
                Err(error) => {
                    tracing::warn!(%error, "choosing a hospital failed; the crew has to");
                    return None;
                }
            };
            let drive = |(index, travel): &(usize, crate::gateway::Travel)| {
                let hospital = group.get(*index).copied()?;
                let door_s = at_the_door_s(hospital, &heading, &times);
                Some(Drive { hospital, drive_s: travel.duration_s, distance_m: travel.distance_m, door_s })
            };
            let drives: Vec<Drive<'_>> = ranking.best.iter().filter_map(drive).collect();
            if source.is_empty() && !drives.is_empty() {
                source = ranking.source;
            }
            groups.push((suits, drives));
            // Two are enough: the choice and the second best.
            if groups.iter().map(|(_, drives)| drives.len()).sum::<usize>() > 1 {
                break;
            }
        }
        choose(&groups, source)
    }

    /// Road distance with the patient: from the scene to the hospital, or to where the unit says it is.
    async fn loaded_distance_m(
        &self,
        unit: &Serving,
        chosen: Option<&HospitalChoice>,
        here: Option<LatLon>,
    ) -> Option<u32> {
        let (mission, leg) = unit.mission()?;
        let newest = self.book.borrow().queue.known(&mission.incident_id).and_then(|known| known.request.location);
        let scene = mission.order.as_ref().map(|order| order.to).or(newest)?;
        let to = chosen.or(leg.hospital()).map(|hospital| hospital.location).or(here)?;
        self.eta.travel(scene, to, Driving::Normal).await.ok().map(|trip| trip.travel.distance_m)
    }
}
