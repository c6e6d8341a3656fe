//! The dispatcher: acknowledges, meddles, calls units in and off, and looks after bills.

use super::{City, place};
use shers_contract::laws::{BillEnd, Dispatch, Incident, Laws, Phase};
use shers_contract::{
    BillId, IncidentId, PatientId, Timestamp, UnitId,
    api::{IncidentAction, ManualCall, Request},
    incident::{Disposition, Priority},
};

impl City {
    pub(super) fn dispatch(&mut self, laws: &Laws, now: Timestamp) {
        let open: Vec<(&IncidentId, bool)> = laws
            .incidents
            .iter()
            .filter(|(_, incident)| incident.phase == Phase::Open)
            .map(|(id, incident)| (id, incident.acknowledged))
            .collect();
        if let Some((id, acknowledged)) = self.chance.pick(&open).copied() {
            let id = id.clone();
            if !acknowledged && self.chance.in_thousand(30) {
                self.act(&id, IncidentAction::Acknowledge, now);
            } else if !self.quiet {
                self.meddle(laws, &id, now);
            }
        }
        if !self.quiet && self.chance.in_thousand(2) {
            self.call_in(now);
        }
        if self.chance.in_thousand(20) {
            self.collect(laws, now);
        }
    }

    fn act(&mut self, id: &IncidentId, action: IncidentAction, now: Timestamp) {
        self.ask(now, true, Request::ActOnIncident(id.clone(), action));
    }

    fn meddle(&mut self, laws: &Laws, id: &IncidentId, now: Timestamp) {
        let units: Vec<UnitId> = laws.units.keys().cloned().collect();
        let unit = self.chance.pick(&units).cloned();
        let reason = || Some("the world wants it".to_owned());
        match self.chance.below(2_500) {
            0..3 => self.act(id, IncidentAction::Cancel { reason: "a false alarm".to_owned() }, now),
            3..5 => self.act(id, IncidentAction::Escalate { reason: "it looks worse".to_owned() }, now),
            2_400..2_402 => self.act(id, IncidentAction::Downgrade { reason: "it looks better".to_owned() }, now),
            5..8 => self.act(id, IncidentAction::Resolve { disposition: Disposition::TreatedOnScene }, now),
            8..20 => {
                if let Some(unit) = unit {
                    self.ask(now, true, Request::Assign(id.clone(), unit, reason()));
                }
            }
            20..30 => {
                if let Some(unit) = laws.at_work_for(id).first() {
                    self.ask(now, true, Request::Unassign(id.clone(), (*unit).clone(), reason()));
                }
            }
            _ => {}
        }
    }

    /// Ends what waits for a person: crews that gave up at the scene.
    pub fn clear_desk(&mut self, laws: &Laws, now: Timestamp) {
        let left = |incident: &Incident| {
            incident.phase == Phase::Open && !incident.waits && incident.dispatch == Dispatch::LeftToPerson
        };
        let waiting = laws.incidents.iter().filter(|(_, incident)| left(incident));
        let ids: Vec<IncidentId> = waiting.map(|(id, _)| id.clone()).collect();
        for id in ids.iter().filter(|id| laws.at_work_for(id).is_empty()) {
            self.act(id, IncidentAction::Resolve { disposition: Disposition::TreatedOnScene }, now);
        }
    }

    fn call_in(&mut self, now: Timestamp) {
        let patients: Vec<PatientId> = self.wearers.iter().map(|wearer| wearer.record.patient_id.clone()).collect();
        let patient_id = self.chance.pick(&patients).cloned().filter(|_| self.chance.in_thousand(700));
        let location = Some(place(&mut self.chance)).filter(|_| patient_id.is_none() || self.chance.in_thousand(500));
        let call = ManualCall {
            patient_id,
            location,
            priority: if self.chance.in_thousand(500) { Priority::P1 } else { Priority::P2 },
            summary: "somebody called".to_owned(),
            needs: Vec::new(),
        };
        self.ask(now, true, Request::OpenIncident(call));
    }

    /// Looks after bills that wait for a person.
    fn collect(&mut self, laws: &Laws, now: Timestamp) {
        let sick = |end: BillEnd| matches!(end, BillEnd::Stuck | BillEnd::Failed);
        let bills: Vec<BillId> =
            laws.bills.iter().filter(|(_, bill)| sick(bill.end)).map(|(incident, _)| incident.bill()).collect();
        let Some(bill) = self.chance.pick(&bills).cloned() else { return };
        let request = if !self.quiet && self.chance.in_thousand(600) {
            Request::RetryBill(bill)
        } else if self.chance.in_thousand(150) {
            Request::WriteOffBill(bill, "the world gives up".to_owned())
        } else {
            return;
        };
        self.ask(now, true, request);
    }
}
