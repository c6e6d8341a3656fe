//! One event of every kind, with every optional field present somewhere.

use shers_contract::{
    BillId, Currency, DomainEvent, Envelope, IncidentId, LatLon, Money, NotificationId, PatientId, Timestamp,
    Traceparent, UnitId, billing as b, care as c, derived_uuid, dispatch as d, envelope::StreamName, incident as i,
    notification as n, patient as p, supervision as s, triage as t, vitals as v,
};

/// An envelope, and the check that one read from its text holds the same event.
pub struct Sample {
    pub envelope: Envelope,
    pub reads_back: Box<dyn Fn(&Envelope) -> bool>,
}

const INCIDENT: &str = "7f1a0c3e-52d4-8a6b-9c1d-0e2f3a4b5c6d";

/// Seconds after 2026-03-01T12:00:00Z.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_ms(1_772_366_400_000 + seconds * 1000)
}
fn incident() -> IncidentId {
    IncidentId::new(INCIDENT).expect("an id")
}
fn patient() -> PatientId {
    PatientId::new("p-1").expect("an id")
}
fn unit() -> UnitId {
    UnitId::new("rtw-1").expect("an id")
}
fn bill() -> BillId {
    incident().bill()
}
fn notification() -> NotificationId {
    NotificationId::new("0b9f8e7d-6c5b-8a49-8372-615040302010").expect("an id")
}
fn place(lat: f64, lon: f64) -> LatLon {
    LatLon::new(lat, lon).expect("on earth")
}
fn chf(amount_minor: i64) -> Money {
    Money::new(amount_minor, Currency::CHF)
}

fn sample<E: DomainEvent + PartialEq>(category: &str, id: &str, version: u64, event: E) -> Sample {
    let kind = event.kind();
    let alone = ["patient", "readings", "positions", "hospital", "triage", "supervision"].contains(&category);
    let envelope = Envelope {
        id: derived_uuid(&["golden", kind.as_str()]),
        kind,
        v: event.schema_version(),
        stream: StreamName::new(category, id),
        version,
        at: at(60),
        correlation_id: (!alone).then(incident),
        causation_id: Some(derived_uuid(&["golden", "cause", kind.as_str()])),
        traceparent: Traceparent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        exercise: true,
        data: event.to_data(),
    };
    let reads_back = Box::new(move |read: &Envelope| matches!(E::from_envelope(read), Some(Ok(back)) if back == event));
    Sample { envelope, reads_back }
}

/// All of them, in the order of `Kind::ALL`.
pub fn samples() -> Vec<Sample> {
    let mut all = patients();
    all.extend(classes());
    all.extend(incidents());
    all.extend(commands());
    all.extend(units());
    all.extend(decisions());
    all.extend(notifications());
    all.extend(bills());
    all.extend(supervised());
    all
}

fn person() -> p::Patient {
    p::Patient {
        patient_id: patient(),
        name: Some("Erika Muster".into()),
        birth_date: Some(jiff::civil::date(1950, 2, 28)),
        sex: Some(p::Sex::Female),
        spo2_scale_2: true,
        pregnant: false,
        home: Some(place(47.14, 9.52)),
        address: Some("Städtle 1, Vaduz".into()),
        next_of_kin: vec![p::Contact {
            name: "Max Muster".into(),
            relation: Some("son".into()),
            phone: Some("+41790000001".into()),
            email: Some("max@example.org".into()),
            language: "de".into(),
            opted_out: true,
        }],
        coverage: Some(p::CoverageRef { plan_id: "basic".parse().expect("an id"), member_id: "M-1".into() }),
        payment_method: Some("pm_card_visa".into()),
        devices: vec!["watch-1".parse().expect("an id")],
    }
}

fn patients() -> Vec<Sample> {
    let bare = p::Patient {
        name: None,
        birth_date: None,
        sex: None,
        spo2_scale_2: false,
        home: None,
        address: None,
        next_of_kin: vec![],
        coverage: None,
        payment_method: None,
        devices: vec![],
        ..person()
    };
    let full = v::Reading {
        device_id: Some("watch-1".parse().expect("an id")),
        seq: Some(41),
        spot: true,
        heart_rate_bpm: Some(131),
        spo2_pct: Some(90),
        respiration_rate_bpm: Some(26),
        systolic_mmhg: Some(95),
        diastolic_mmhg: Some(60),
        temperature: Some(v::TenthsCelsius(381)),
        consciousness: Some(v::Consciousness::Voice),
        oxygen: Some(true),
        fall: true,
        sos: true,
        steps: Some(3),
        location: Some(place(47.141, 9.5215)),
        ..v::Reading::empty(patient(), at(0))
    };
    let batch = v::ReadingBatch { received_at: at(1), readings: vec![full, v::Reading::empty(patient(), at(1))] };
    vec![
        sample("patient", "p-1", 1, p::PatientEvent::Registered(person())),
        sample("patient", "p-1", 2, p::PatientEvent::Updated(bare)),
        sample("readings", "p07", 12, v::WearableEvent::Recorded(batch)),
    ]
}

fn status(class: t::Class, previous: Option<t::Class>) -> t::TriageStatus {
    t::TriageStatus {
        patient_id: patient(),
        class,
        previous,
        rule: "news2-total".into(),
        reason: "NEWS2 is at least 8 of 20".into(),
        score: t::Score {
            name: "news2".into(),
            known: 8,
            lower: 8,
            upper: 14,
            single_red: true,
            missing: vec!["systolic".into(), "consciousness".into()],
        },
        findings: vec![t::Finding {
            parameter: "spo2".into(),
            value: "90 %".into(),
            points: 3,
            taken_at: at(0),
            age_s: 2,
        }],
        clears_when: Some("the total is 4 or less for 60 s".into()),
        reading_at: at(2),
        location: Some(place(47.141, 9.5215)),
    }
}

fn classes() -> Vec<Sample> {
    let first = t::TriageStatus { clears_when: None, location: None, ..status(t::Class::Normal, None) };
    vec![
        sample("triage", "p-1", 1, t::TriageEvent::Normal(first)),
        sample("triage", "p-1", 2, t::TriageEvent::Abnormal(status(t::Class::Abnormal, Some(t::Class::Normal)))),
        sample("triage", "p-1", 3, t::TriageEvent::Emergency(status(t::Class::Emergency, Some(t::Class::Abnormal)))),
        sample(
            "triage",
            "p-1",
            4,
            t::TriageEvent::Insufficient(status(t::Class::Insufficient, Some(t::Class::Emergency))),
        ),
    ]
}

fn incident_event(version: u64, event: i::IncidentEvent) -> Sample {
    sample("incident", INCIDENT, version, event)
}

fn incidents() -> Vec<Sample> {
    let triage = status(t::Class::Emergency, Some(t::Class::Abnormal));
    let call =
        |source, triage| i::CallReceived { source, at: at(2), summary: "NEWS2 is at least 8 of 20".into(), triage };
    vec![
        incident_event(
            1,
            i::IncidentEvent::Opened(i::Opened {
                incident_id: incident(),
                patient_id: Some(patient()),
                priority: i::Priority::P1,
                location: Some(place(47.141, 9.5215)),
                call: call(i::CallSource::Triage, Some(triage)),
                needs: vec!["als".into()],
                acknowledge_by: at(62),
                max_escalations: 3,
            }),
        ),
        incident_event(
            4,
            i::IncidentEvent::CallJoined(i::CallJoined {
                call: call(i::CallSource::Manual, None),
                priority: i::Priority::P1,
                location: None,
            }),
        ),
        incident_event(5, i::IncidentEvent::Acknowledged(i::Acknowledged { by: "dispatcher-1".into() })),
        incident_event(
            13,
            i::IncidentEvent::Downgraded(i::Downgraded {
                reason: "the caller says that the pain is gone".into(),
                by: "dispatcher-1".into(),
                previous: i::Priority::P1,
                priority: i::Priority::P2,
            }),
        ),
        incident_event(
            6,
            i::IncidentEvent::Escalated(i::Escalated {
                level: 1,
                reason: "nobody acknowledged it within 60 s".into(),
                by: None,
                priority: i::Priority::P1,
                next_at: Some(at(122)),
            }),
        ),
        incident_event(
            7,
            i::IncidentEvent::UnitChanged(i::UnitChanged {
                unit_id: unit(),
                status: d::UnitStatus::Arrived,
                eta_s: Some(245),
                level_of_care: Some("als".into()),
                hospital_id: Some("hospital-1".parse().expect("an id")),
                loaded_distance_m: Some(4_200),
            }),
        ),
        incident_event(
            8,
            i::IncidentEvent::Resolved(i::Resolved {
                disposition: i::Disposition::Transported,
                by: None,
                unit_id: Some(unit()),
                hospital_id: Some("hospital-1".parse().expect("an id")),
            }),
        ),
        incident_event(9, i::IncidentEvent::Closed(i::Closed { bill: Some("PAID".into()), by: None })),
        incident_event(
            10,
            i::IncidentEvent::Cancelled(i::Cancelled { by: "dispatcher-1".into(), reason: "called by mistake".into() }),
        ),
    ]
}

fn send() -> n::SendNotification {
    n::SendNotification {
        notification_id: notification(),
        incident_id: incident(),
        patient_id: patient(),
        template: n::Template::UnitEnroute,
        eta_min: Some(5),
        hospital: Some("Spital Vaduz".into()),
    }
}

fn request() -> i::RequestDispatch {
    i::RequestDispatch {
        incident_id: incident(),
        priority: i::Priority::P1,
        location: Some(place(47.141, 9.5215)),
        needs: vec!["als".into()],
        opened_at: at(2),
    }
}

fn billed() -> i::StartBilling {
    i::StartBilling {
        incident_id: incident(),
        patient_id: Some(patient()),
        transported: true,
        distance_m: 4_200,
        level_of_care: "als".into(),
        disposition: i::Disposition::Transported,
        served_at: at(1_800),
    }
}

fn commands() -> Vec<Sample> {
    vec![
        incident_event(2, i::IncidentEvent::SendNotification(send())),
        incident_event(3, i::IncidentEvent::RequestDispatch(request())),
        incident_event(
            11,
            i::IncidentEvent::CancelDispatch(i::CancelDispatch {
                incident_id: incident(),
                reason: "the incident was cancelled".into(),
            }),
        ),
        incident_event(12, i::IncidentEvent::StartBilling(billed())),
    ]
}

fn profile() -> d::UnitProfile {
    d::UnitProfile {
        unit_id: unit(),
        kind: "ambulance".into(),
        capabilities: vec!["als".into(), "paediatric".into()],
        crew_level: "als".into(),
        station_id: Some("station-1".parse().expect("an id")),
        location: Some(place(47.15, 9.51)),
        shift: Some(d::Shift { from: at(-3_600), until: at(25_200) }),
        contact: Some("channel 4".into()),
    }
}

fn hospital_choice() -> d::HospitalChoice {
    d::HospitalChoice {
        hospital_id: "hospital-1".parse().expect("an id"),
        name: "Spital Vaduz".into(),
        location: place(47.133, 9.517),
        drive_s: 310,
        distance_m: 4_200,
        reason: "nearest that takes emergencies; next is 640 s away".into(),
        door_s: None,
        next: None,
    }
}

fn units() -> Vec<Sample> {
    let unit_event = |version, event| sample("unit", "rtw-1", version, event);
    let bare = d::UnitProfile { station_id: None, location: None, shift: None, contact: None, ..profile() };
    let mut all = vec![
        unit_event(1, d::UnitEvent::Registered(profile())),
        unit_event(2, d::UnitEvent::Updated(bare)),
        unit_event(3, d::UnitEvent::Retired(d::Retired { unit_id: unit(), by: "chief".into() })),
    ];
    let mut previous = None;
    for (version, status) in (4..).zip(d::UnitStatus::ALL) {
        use d::UnitStatus as S;
        let change = d::StatusChanged {
            unit_id: unit(),
            previous,
            incident_id: (!matches!(status, S::AtPost | S::OutOfService)).then(incident),
            hospital: matches!(status, S::Onboard | S::Arrived | S::HandedOver).then(hospital_choice),
            by: "crew-1".into(),
            at: at(59),
            location: (status == S::OnScene).then(|| place(47.141, 9.5215)),
            loaded_distance_m: (status == S::Arrived).then_some(4_200),
            reason: matches!(status, S::OutOfService | S::Cancelled).then(|| "flat tyre".into()),
        };
        all.push(unit_event(version, d::UnitEvent::status(status, change)));
        previous = Some(status);
    }
    let fix = d::Fix {
        unit_id: unit(),
        at: at(59),
        location: place(47.1405, 9.5205),
        speed_mps: Some(13.5),
        heading_deg: Some(270.0),
    };
    let still = d::Fix { speed_mps: None, heading_deg: None, ..fix.clone() };
    let located = d::UnitEvent::Located(d::LocationsReported { fixes: vec![fix, still] });
    all.push(sample("positions", "p03", 9, located));
    all
}

fn decisions() -> Vec<Sample> {
    let other: IncidentId = "aa1a0c3e-52d4-8a6b-9c1d-0e2f3a4b5c6d".parse().expect("an id");
    let assigned = d::Assigned {
        incident_id: incident(),
        unit_id: unit(),
        eta_s: 245,
        distance_m: 3_900,
        eta_source: "built-in".into(),
        reason: "nearest by road: 245 s, rtw-2 needs 300 s".into(),
        candidates: vec![
            d::Candidate { unit_id: unit(), eta_s: 245, distance_m: 3_900 },
            d::Candidate { unit_id: "rtw-2".parse().expect("an id"), eta_s: 300, distance_m: 4_800 },
        ],
        by: "dispatch".into(),
        from: Some(place(47.15, 9.51)),
        to: place(47.141, 9.5215),
        answer_by: None,
    };
    let unit_event = |version, event| sample("unit", "rtw-1", version, event);
    vec![
        unit_event(6, d::DispatchEvent::Assigned(assigned)),
        unit_event(
            7,
            d::DispatchEvent::Unassigned(d::Unassigned {
                incident_id: incident(),
                unit_id: unit(),
                reason: "breakdown".into(),
                by: "dispatcher-1".into(),
                reopen: true,
                disposition: None,
            }),
        ),
        unit_event(
            8,
            d::DispatchEvent::Diverted(d::Diverted {
                incident_id: incident(),
                from_incident_id: other,
                unit_id: unit(),
                reason: "410 s sooner at a priority 1, 120 s later at a priority 3".into(),
            }),
        ),
        sample(
            "dispatch",
            INCIDENT,
            1,
            d::DispatchEvent::Waiting(d::Waiting {
                request: request(),
                reason: "all units are busy".into(),
                excluded: vec![d::Excluded { unit_id: unit(), reason: "on another incident".into() }],
                by_person: false,
            }),
        ),
        sample(
            "dispatch",
            INCIDENT,
            2,
            d::WaitEvent::Ended(d::WaitEnded {
                incident_id: incident(),
                unit_id: Some(unit()),
                reason: "rtw-1 came free".into(),
            }),
        ),
        unit_event(
            9,
            d::DispatchEvent::EtaChanged(d::EtaChanged {
                incident_id: incident(),
                unit_id: unit(),
                leg: "scene".into(),
                arrives_at: at(400),
                eta_source: "built-in".into(),
                reason: None,
                off_route_m: None,
            }),
        ),
        sample(
            "hospital",
            "hospital-1",
            1,
            c::HospitalEvent::Updated(c::Hospital {
                hospital_id: "hospital-1".parse().expect("an id"),
                name: "Spital Vaduz".into(),
                location: place(47.133, 9.517),
                capabilities: vec!["emergency".into(), "stroke".into()],
                state: c::HospitalState::Diverting,
                beds_free: Some(3),
                expected_offload_min: Some(12),
            }),
        ),
    ]
}

fn notifications() -> Vec<Sample> {
    let target = n::PlannedAttempt { contact: 0, channel: n::Channel::Sms };
    let mail = n::PlannedAttempt { contact: 0, channel: n::Channel::Email };
    let policy = n::DeliveryPolicy {
        attempts_per_target: 3,
        backoff_ms: 2_000,
        max_backoff_ms: 60_000,
        ambiguous_repeats: 1,
        provider: "sandbox-messaging".into(),
    };
    let ended = n::AttemptEnded {
        notification_id: notification(),
        incident_id: incident(),
        template: n::Template::UnitEnroute,
        attempt: 1,
        target: Some(target.clone()),
        provider: "sandbox-messaging".into(),
        provider_id: Some("m-1".into()),
        reason: None,
        last: true,
        next_at: None,
    };
    let failed = n::AttemptEnded {
        provider_id: None,
        reason: Some("the number is not in service".into()),
        last: false,
        next_at: Some(at(90)),
        ..ended.clone()
    };
    let nobody = n::AttemptEnded {
        attempt: 0,
        target: None,
        provider_id: None,
        reason: Some("time-out".into()),
        ..ended.clone()
    };
    let event = |version, event| sample("notification", notification().as_str(), version, event);
    vec![
        event(
            1,
            n::NotificationEvent::Queued(n::Queued {
                request: send(),
                plan: vec![target.clone(), mail],
                policy,
                quiet: None,
            }),
        ),
        event(
            2,
            n::NotificationEvent::Attempted(n::Attempted {
                notification_id: notification(),
                attempt: 1,
                target,
                provider: "sandbox-messaging".into(),
                repeats: None,
            }),
        ),
        event(3, n::NotificationEvent::Sent(ended)),
        event(4, n::NotificationEvent::Failed(failed)),
        event(5, n::NotificationEvent::Ambiguous(nobody)),
    ]
}

fn bills() -> Vec<Sample> {
    let (bill_id, incident_id) = (bill(), incident());
    let event = |version, event| sample("bill", INCIDENT, version, event);
    let line = b::BillLine { item: "base".into(), text: "Emergency transport, ALS".into(), amount_minor: 95_000 };
    let order = b::Order { request: billed(), patient_id: Some(patient()), lines: vec![line], total: chf(95_000) };
    let pending = b::Pending {
        bill_id: bill_id.clone(),
        incident_id: incident_id.clone(),
        step: b::Step::ConfirmPayment,
        order: Some(order),
        payer: Some(b::Payer { coverage: person().coverage, payment_method: person().payment_method }),
        attempt: 1,
        idempotency_key: Some("bill-1-1".into()),
        payment_id: Some("pi_1".into()),
        retry_at: Some(at(120)),
        reason: Some("the provider did not answer".into()),
        provider: Some("sandbox-payment".into()),
        code: Some("time-out".into()),
        by: Some("administrator".into()),
    };
    vec![
        event(1, b::BillingEvent::Pending(pending)),
        event(
            2,
            b::BillingEvent::CoverageVerified(b::CoverageVerified {
                bill_id: bill_id.clone(),
                incident_id: incident_id.clone(),
                insurer: chf(85_500),
                patient: chf(9_500),
                reason: "10 % copay".into(),
                response_id: Some("r-1".into()),
            }),
        ),
        event(
            3,
            b::BillingEvent::Paid(b::Paid {
                bill_id: bill_id.clone(),
                incident_id: incident_id.clone(),
                payment_id: Some("pi_1".into()),
                provider: "sandbox-payment".into(),
                charged: chf(9_500),
            }),
        ),
        event(
            4,
            b::BillingEvent::Failed(b::Failed {
                bill_id: bill_id.clone(),
                incident_id: incident_id.clone(),
                code: "card-declined".into(),
                reason: "the card was declined".into(),
            }),
        ),
        event(
            5,
            b::BillingEvent::Compensated(b::Compensated {
                bill_id: bill_id.clone(),
                incident_id: incident_id.clone(),
                what: "payment-cancelled".into(),
            }),
        ),
        event(
            6,
            b::BillingEvent::Stuck(b::Stuck {
                bill_id: bill_id.clone(),
                incident_id: incident_id.clone(),
                step: b::Step::Compensate,
                reason: "the refund was refused".into(),
            }),
        ),
        event(
            7,
            b::BillingEvent::WrittenOff(b::WrittenOff {
                bill_id,
                incident_id,
                by: "administrator".into(),
                reason: "goodwill".into(),
            }),
        ),
    ]
}

fn supervised() -> Vec<Sample> {
    let actor = |cause, back_at| s::Supervised {
        actor: "unit/rtw-1".into(),
        cause,
        detail: "panicked in evolve".into(),
        incarnation: 2,
        restarts: 1,
        back_at,
    };
    let event = |version, event| sample("supervision", "node-1", version, event);
    vec![
        event(1, s::SupervisionEvent::Restarted(actor(Some(s::Cause::Panic), Some(at(61))))),
        event(2, s::SupervisionEvent::Quarantined(actor(Some(s::Cause::Hang), None))),
        event(3, s::SupervisionEvent::Released(actor(None, None))),
    ]
}
