//! The people around the house: patients who fall ill, crews, a dispatcher. They outlive every process; a
//! request without an answer is sent again, under the same key when it had one.

mod dispatcher;

use crate::chance::Chance;
use shers_contract::laws::Laws;
use shers_contract::{
    HospitalId, IncidentId, LatLon, PatientId, PlanId, Timestamp, Traceparent, UnitId,
    api::{Call, Idempotency, Principal, Request, Role, StatusReport, UnitFix, VitalsFormat},
    care::{Hospital, HospitalState},
    dispatch::{UnitProfile, UnitStatus},
    patient::{Contact, CoverageRef, Patient},
    vitals::{Consciousness, Reading, TenthsCelsius},
};
use shers_runtime::Ids;
use std::collections::{BTreeMap, BTreeSet};

/// Somebody who wears a device.
struct Wearer {
    record: Patient,
    exercise: bool,
    seq: u64,
    next_at: Timestamp,
    ill: Option<(Illness, Timestamp)>,
    next_illness: Timestamp,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Illness {
    Breathless,
    Sos,
    Fall,
    Feverish,
}

/// A crew and what it has in mind.
struct Crew {
    unit: UnitId,
    home: LatLon,
    seen: Option<(UnitStatus, Option<IncidentId>)>,
    due: Timestamp,
    next_fix: Timestamp,
}

/// A request that has no answer yet.
pub struct Open {
    /// The call.
    pub call: Call,
    /// It is on its way now.
    pub under_way: bool,
    /// When it is sent (again).
    pub due: Timestamp,
    /// The reading that it carries.
    reading: Option<(PatientId, u64)>,
}

/// How lively the city is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Wearers.
    pub patients: u64,
    /// Units.
    pub units: u64,
    /// Seconds between two readings of a wearer.
    pub reading_every_s: u64,
    /// Seconds between two illnesses of a wearer, on average.
    pub illness_every_s: u64,
}

/// See the module.
pub struct City {
    /// Requests without an answer.
    pub open: BTreeMap<u64, Open>,
    /// Readings that were accepted.
    pub accepted: BTreeSet<(PatientId, u64)>,
    chance: Chance,
    size: Size,
    wearers: Vec<Wearer>,
    crews: Vec<Crew>,
    next: u64,
    quiet: bool,
}

const CARDS: [&str; 9] = [
    "pm_card_visa",
    "pm_card_visa",
    "pm_card_chargeDeclined",
    "pm_card_timeout_before",
    "pm_card_timeout_after",
    "pm_card_slow",
    "pm_card_silent",
    "pm_card_refundFails",
    "pm_card_authenticationRequired",
];
const PLANS: [&str; 5] = ["basic", "standard", "full", "sandbox-queued", "nobody-knows"];
const PHONES: [&str; 5] = ["+41790000001", "+15005550001", "+15005550007", "+15005550008", "+15005550009"];

fn place(chance: &mut Chance) -> LatLon {
    let grid = |n: u64| f64::from(u32::try_from(n).unwrap_or(0)) / 100_000.0;
    LatLon { lat: 47.1 + grid(chance.below(8_000)), lon: 9.5 + grid(chance.below(8_000)) }
}

impl City {
    /// A city that has told the house nothing yet.
    #[must_use]
    pub fn new(seed: u64, size: Size, now: Timestamp) -> Self {
        let chance = Chance::new(seed, "city");
        let mut city = Self {
            open: BTreeMap::new(),
            accepted: BTreeSet::new(),
            chance,
            size,
            wearers: Vec::new(),
            crews: Vec::new(),
            next: 1,
            quiet: false,
        };
        city.found(now);
        city
    }

    fn found(&mut self, now: Timestamp) {
        for n in 0..2 {
            let Ok(hospital_id) = HospitalId::new(format!("h-{n}")) else { continue };
            let location = place(&mut self.chance);
            let hospital = Hospital {
                hospital_id,
                name: format!("Hospital {n}"),
                location,
                capabilities: vec!["emergency".to_owned()],
                state: HospitalState::Open,
                beds_free: None,
                expected_offload_min: None,
            };
            self.ask(now, false, Request::PutHospital(hospital));
        }
        for n in 0..self.size.units {
            let Ok(unit) = UnitId::new(format!("u-{n}")) else { continue };
            let home = place(&mut self.chance);
            let profile = UnitProfile {
                unit_id: unit.clone(),
                kind: "ambulance".to_owned(),
                capabilities: vec!["als".to_owned()],
                crew_level: if n % 2 == 0 { "als" } else { "bls" }.to_owned(),
                station_id: None,
                location: Some(home),
                shift: None,
                contact: None,
            };
            self.ask(now, true, Request::RegisterUnit(profile));
            self.crews.push(Crew { unit, home, seen: None, due: now, next_fix: now.plus_ms(30_000) });
        }
        for n in 0..self.size.patients {
            let Ok(patient_id) = PatientId::new(format!("p-{n}")) else { continue };
            let record = self.patient(patient_id, n);
            let exercise = self.chance.in_thousand(300);
            self.ask_as(now, false, exercise, Request::PutPatient(Box::new(record.clone())), None);
            let first = self.chance.between(20, 600);
            self.wearers.push(Wearer {
                record,
                exercise,
                seq: 0,
                next_at: now.plus_ms(15_000),
                ill: None,
                next_illness: now.plus_ms(i64::try_from(first * 1_000).unwrap_or(0)),
            });
        }
    }

    fn patient(&mut self, patient_id: PatientId, n: u64) -> Patient {
        let mut next_of_kin = Vec::new();
        for kin in 0..self.chance.below(3) {
            next_of_kin.push(Contact {
                name: format!("Kin {n} {kin}"),
                relation: None,
                phone: self.chance.pick(&PHONES).map(|phone| (*phone).to_owned()),
                email: self.chance.in_thousand(400).then(|| format!("kin{n}.{kin}@world.example")),
                language: if kin == 0 { "en" } else { "de" }.to_owned(),
                opted_out: self.chance.in_thousand(50),
            });
        }
        let plan = self.chance.pick(&PLANS).and_then(|plan| PlanId::new(plan).ok());
        let coverage = plan.filter(|_| self.chance.in_thousand(700));
        Patient {
            patient_id,
            name: Some(format!("Patient {n}")),
            birth_date: None,
            sex: None,
            spo2_scale_2: false,
            pregnant: false,
            home: Some(place(&mut self.chance)),
            address: None,
            next_of_kin,
            coverage: coverage.map(|plan_id| CoverageRef { plan_id, member_id: format!("m-{n}") }),
            payment_method: self.card(),
            devices: Vec::new(),
        }
    }

    fn card(&mut self) -> Option<String> {
        let card = self.chance.pick(&CARDS).map(|card| (*card).to_owned());
        card.filter(|_| self.chance.in_thousand(950))
    }

    /// Nobody falls ill any more, and nobody does anything foolish.
    pub fn calm_down(&mut self) {
        self.quiet = true;
        for wearer in &mut self.wearers {
            wearer.ill = None;
        }
    }

    /// The calls that were under way when the process died have no answer.
    pub fn cut_off(&mut self, now: Timestamp) {
        for open in self.open.values_mut().filter(|open| open.under_way) {
            open.under_way = false;
            open.due = now.plus_ms(1_000);
        }
    }

    /// Takes an answer: the status of the reply.
    pub fn answered(&mut self, number: u64, status: u16, now: Timestamp) {
        let wait = i64::try_from(self.chance.between(500, 5_000)).unwrap_or(0);
        let Some(open) = self.open.get_mut(&number) else { return };
        open.under_way = false;
        if status >= 500 {
            open.due = now.plus_ms(wait);
            return;
        }
        if let Some(open) = self.open.remove(&number)
            && status < 300
            && let Some(reading) = open.reading
        {
            self.accepted.insert(reading);
        }
    }

    fn ask(&mut self, now: Timestamp, key: bool, request: Request) {
        self.ask_as(now, key, false, request, None);
    }

    fn ask_as(
        &mut self,
        now: Timestamp,
        key: bool,
        exercise: bool,
        request: Request,
        reading: Option<(PatientId, u64)>,
    ) {
        let number = self.next;
        self.next += 1;
        let idempotency =
            key.then(|| Idempotency { key: format!("city k-{number}"), body_digest: format!("d-{number}") });
        let trace = u128::from(self.chance.bits().max(1));
        let call = Call {
            id: uuid::Uuid::nil(),
            principal: Principal { subject: "city".to_owned(), role: Role::Administrator },
            traceparent: Traceparent { trace_id: trace, span_id: 7 },
            exercise,
            idempotency,
            if_match: None,
            request,
        };
        let late = i64::try_from(self.chance.below(900)).unwrap_or(0);
        self.open.insert(number, Open { call, under_way: false, due: now.plus_ms(late), reading });
    }

    /// The calls to send now, each with an id of its own for this sending.
    pub fn to_send(&mut self, now: Timestamp, ids: &dyn Ids) -> Vec<(u64, Call)> {
        let due = self.open.iter_mut().filter(|(_, open)| !open.under_way && open.due <= now);
        due.map(|(number, open)| {
            open.under_way = true;
            open.call.id = ids.uuid(now);
            (*number, open.call.clone())
        })
        .collect()
    }

    /// A second passes.
    pub fn tick(&mut self, laws: &Laws, now: Timestamp) {
        self.wear(now);
        self.drive(laws, now);
        self.dispatch(laws, now);
    }
}

// ---- wearers -----------------------------------------------------------------------------------------

impl City {
    fn wear(&mut self, now: Timestamp) {
        for index in 0..self.wearers.len() {
            let Some(mut wearer) = (index < self.wearers.len()).then(|| self.wearers.swap_remove(index)) else {
                continue;
            };
            self.live(&mut wearer, now);
            self.wearers.push(wearer);
            let last = self.wearers.len() - 1;
            self.wearers.swap(index, last);
        }
    }

    fn live(&mut self, wearer: &mut Wearer, now: Timestamp) {
        let seconds = |n: u64| i64::try_from(n * 1_000).unwrap_or(0);
        if wearer.ill.is_some_and(|(_, until)| until <= now) {
            wearer.ill = None;
        }
        if !self.quiet && wearer.ill.is_none() && wearer.next_illness <= now {
            let kinds = [Illness::Breathless, Illness::Sos, Illness::Fall, Illness::Feverish];
            let lasts = seconds(self.chance.between(30, 400));
            wearer.ill = self.chance.pick(&kinds).map(|kind| (*kind, now.plus_ms(lasts)));
            let pause = self.chance.between(self.size.illness_every_s / 2, self.size.illness_every_s * 3 / 2);
            wearer.next_illness = now.plus_ms(lasts + seconds(pause));
            wearer.next_at = now;
        }
        if wearer.next_at > now {
            return;
        }
        let every = self.size.reading_every_s;
        wearer.next_at = now.plus_ms(seconds(self.chance.between(every / 2, every * 3 / 2)));
        wearer.seq += 1;
        let reading = self.reading(wearer, now);
        let Ok(body) = serde_json::to_string(&reading) else { return };
        let request = Request::RecordVitals { body, format: VitalsFormat::Json };
        let key = self.chance.in_thousand(500);
        let number = (wearer.record.patient_id.clone(), wearer.seq);
        self.ask_as(now, key, wearer.exercise, request, Some(number));
        if !self.quiet && self.chance.in_thousand(10) {
            wearer.record.payment_method = self.card();
            self.ask_as(now, false, wearer.exercise, Request::PutPatient(Box::new(wearer.record.clone())), None);
        }
    }

    fn reading(&mut self, wearer: &Wearer, now: Timestamp) -> Reading {
        let mut near = |value: u64| u16::try_from(self.chance.between(value.saturating_sub(2), value + 2)).unwrap_or(0);
        let (heart, spo2, breaths, systolic, tenths) = match wearer.ill.map(|(kind, _)| kind) {
            Some(Illness::Breathless) => (138, 84, 30, 98, 370),
            Some(Illness::Feverish) => (128, 93, 23, 104, 396),
            Some(Illness::Sos | Illness::Fall) => (104, 95, 20, 126, 366),
            None => (72, 97, 15, 124, 367),
        };
        let (heart, breaths, systolic) = (near(heart), near(breaths), near(systolic));
        let kind = wearer.ill.map(|(kind, _)| kind);
        Reading {
            seq: Some(wearer.seq),
            spot: true,
            heart_rate_bpm: Some(heart),
            spo2_pct: u8::try_from(near(spo2).min(100)).ok(),
            respiration_rate_bpm: Some(breaths),
            systolic_mmhg: Some(systolic),
            temperature: Some(TenthsCelsius(tenths)),
            consciousness: Some(Consciousness::Alert),
            oxygen: Some(false),
            fall: kind == Some(Illness::Fall),
            sos: kind == Some(Illness::Sos),
            location: self.chance.in_thousand(300).then_some(wearer.record.home).flatten(),
            ..Reading::empty(wearer.record.patient_id.clone(), now)
        }
    }
}

// ---- crews -------------------------------------------------------------------------------------------

impl City {
    fn drive(&mut self, laws: &Laws, now: Timestamp) {
        for index in 0..self.crews.len() {
            let Some(crew) = self.crews.get(index) else { continue };
            let (unit, home) = (crew.unit.clone(), crew.home);
            let Some(state) = laws.units.get(&unit) else { continue };
            let Some(status) = state.status else { continue };
            let seen = Some((status, state.incident.clone()));
            let (fresh, due, fix) = (crew.seen != seen, crew.due <= now, crew.next_fix <= now);
            let longest = if self.quiet { 20 } else { 120 };
            let wait = i64::try_from(self.chance.between(3, longest) * 1_000).unwrap_or(0);
            if fresh {
                self.note(index, |crew| {
                    crew.seen = seen;
                    crew.due = now.plus_ms(wait);
                });
            } else if due {
                self.note(index, |crew| crew.due = now.plus_ms(wait));
                self.report(&unit, status, state.incident.clone(), now);
            }
            if fix {
                let next = i64::try_from(self.chance.between(120, 400) * 1_000).unwrap_or(0);
                self.note(index, |crew| crew.next_fix = now.plus_ms(next));
                let nudge = f64::from(u32::try_from(self.chance.below(20)).unwrap_or(0)) / 100_000.0;
                let location = LatLon { lat: home.lat + nudge, lon: home.lon };
                let fix = UnitFix { at: None, location, speed_mps: None, heading_deg: None };
                self.ask(now, false, Request::ReportLocations(unit, vec![fix]));
            }
        }
    }

    fn note(&mut self, index: usize, change: impl FnOnce(&mut Crew)) {
        if let Some(crew) = self.crews.get_mut(index) {
            change(crew);
        }
    }

    fn report(&mut self, unit: &UnitId, status: UnitStatus, incident: Option<IncidentId>, now: Timestamp) {
        use UnitStatus::{
            Arrived, Assigned, AtPatient, AtPost, Available, Cancelled, Enroute, HandedOver, OnScene, Onboard,
            OutOfService, Reserved,
        };
        let odd = !self.quiet && self.chance.in_thousand(60);
        let next = match status {
            Reserved | Assigned => Some(Enroute),
            Enroute => Some(OnScene),
            OnScene if self.chance.in_thousand(200) => Some(Onboard),
            OnScene => Some(AtPatient),
            AtPatient if self.chance.in_thousand(150) => Some(Cancelled),
            AtPatient => Some(Onboard),
            Onboard => Some(Arrived),
            Arrived => Some(HandedOver),
            HandedOver | Cancelled | OutOfService => {
                Some(if self.chance.in_thousand(500) { Available } else { AtPost })
            }
            Available | AtPost => None,
        };
        let all = [Cancelled, OutOfService, Available, Onboard, HandedOver, Arrived];
        let next = if odd { self.chance.pick(&all).copied().or(next) } else { next };
        let Some(next) = next else { return };
        let names = self.chance.in_thousand(500);
        let body = StatusReport {
            status: Some(next),
            fms: None,
            at: None,
            location: None,
            incident_id: incident.filter(|_| names && next != Available && next != AtPost),
            hospital_id: None,
            reason: None,
            disposition: None,
        };
        let key = self.chance.in_thousand(700);
        self.ask(now, key, Request::ReportStatus(unit.clone(), body));
    }
}
