//! What an incident decides: tables of given / when / then, and properties over any sequence of commands.

use proptest::prelude::*;
use shers_contract::{
    HospitalId, IncidentId, LatLon, NotificationId, PatientId, Timestamp, UnitId,
    dispatch::UnitStatus,
    incident::{CallReceived, CallSource, Disposition, IncidentEvent, Priority},
    notification::Template,
    triage::{Class, Score, TriageStatus},
};
use shers_incidents::model::{BillOutcome, Command, Incident, NewCall, OpeningRule, Refusal, UnitNews, intake, news};
use shers_runtime::Aggregate;

const START: Timestamp = Timestamp::from_ms(1_767_225_600_000);
const RULE: OpeningRule = OpeningRule { acknowledge_within_ms: 60_000, max_escalations: 2, join_quiet_ms: 900_000 };

fn at(s: i64) -> Timestamp {
    START.plus_ms(s * 1000)
}

fn patient() -> PatientId {
    PatientId::new("p-1").expect("valid")
}

fn unit(n: u8) -> UnitId {
    UnitId::new(format!("u-{n}")).expect("valid")
}

fn place() -> LatLon {
    LatLon::new(47.14, 9.52).expect("valid")
}

fn status(rule: &str, class: Class) -> TriageStatus {
    TriageStatus {
        patient_id: patient(),
        class,
        previous: None,
        rule: rule.into(),
        reason: "NEWS2 is 8".into(),
        score: Score { name: "news2".into(), known: 8, lower: 8, upper: 8, ..Score::default() },
        findings: Vec::new(),
        clears_when: None,
        reading_at: START,
        location: Some(place()),
    }
}

fn call(rule: Option<&str>, priority: u8, s: i64, who: Option<PatientId>, location: Option<LatLon>) -> Command {
    Command::ReceiveCall(Box::new(NewCall {
        incident_id: IncidentId::of_patient(&patient(), 1),
        patient_id: who,
        priority: Priority::try_from(priority).expect("valid"),
        location,
        call: CallReceived {
            source: if rule.is_some() { CallSource::Triage } else { CallSource::Manual },
            at: at(s),
            summary: "collapsed".into(),
            triage: rule.map(|rule| status(rule, Class::Emergency)),
        },
        needs: Vec::new(),
        rule: RULE,
    }))
}

fn emergency(s: i64) -> Command {
    call(Some("news2-total"), 2, s, Some(patient()), Some(place()))
}

fn news(n: u8, news: UnitNews) -> Command {
    Command::FollowUnit { unit_id: unit(n), news }
}

fn assigned(n: u8) -> Command {
    news(n, UnitNews::Assigned { eta_s: 301, level_of_care: Some("als".into()) })
}

fn arrived(n: u8) -> Command {
    news(n, UnitNews::Arrived { hospital_id: None, hospital: Some("Landesspital".into()), distance_m: Some(4200) })
}

fn handed_over(n: u8) -> Command {
    news(n, UnitNews::HandedOver { hospital_id: HospitalId::new("h-1").ok(), distance_m: Some(99) })
}

fn acknowledge() -> Command {
    Command::Acknowledge { by: "d-1".into() }
}

fn resolve(disposition: Disposition) -> Command {
    Command::Resolve { by: "d-1".into(), disposition }
}

fn cancel() -> Command {
    Command::Cancel { by: "d-1".into(), reason: "false alarm".into() }
}

fn close() -> Command {
    Command::Close { by: "d-1".into() }
}

fn escalate() -> Command {
    Command::Escalate { by: "d-1".into(), reason: "getting worse".into() }
}

fn downgrade() -> Command {
    Command::Downgrade { by: "d-1".into(), reason: "the pain is gone".into() }
}

fn cleared(n: u8) -> Command {
    news(n, UnitNews::Cleared { disposition: Disposition::Refused })
}

/// Executes commands one second apart; the refusals change nothing.
fn given(commands: &[Command]) -> Incident {
    commands.iter().zip(0i64..).fold(Incident::default(), |incident, (command, s)| step(incident, command, at(s)).0)
}

type Decided = Result<Vec<IncidentEvent>, Refusal>;

fn step(incident: Incident, command: &Command, now: Timestamp) -> (Incident, Decided) {
    let decided = incident.decide(command, now);
    let next = match &decided {
        Ok(events) => events.iter().fold(incident, |incident, event| incident.evolve(event, now)),
        Err(_) => incident,
    };
    (next, decided)
}

fn kind(event: &IncidentEvent) -> &'static str {
    shers_contract::DomainEvent::kind(event).as_str()
}

/// Given the commands, when one more comes ten minutes later, then these kinds and this status.
fn check(name: &str, before: &[Command], when: &Command, want: &[&str], status: &str) {
    let (after, decided) = step(given(before), when, at(600));
    let kinds: Vec<_> = decided.expect(name).iter().map(kind).collect();
    assert_eq!(kinds, want, "{name}");
    assert_eq!(after.status(), status, "{name}");
}

fn check_refused(name: &str, before: &[Command], when: &Command) {
    let incident = given(before);
    let (after, decided) = step(incident.clone(), when, at(600));
    let refusal = decided.expect_err(name);
    assert_eq!(after, incident, "{name}: a refusal changes nothing");
    let problem: shers_contract::Problem = refusal.into();
    assert!(problem.status == 409 || problem.status == 404, "{name}: {problem}");
    assert!(problem.status == 404 || problem.more.contains_key("current_status"), "{name}: the status shows");
}

#[test]
fn a_call_opens_the_incident_tells_the_relatives_and_asks_for_a_unit() {
    let opened = ["incident.opened", "command.notification.send", "command.dispatch.request"];
    check("triage", &[], &emergency(600), &opened, "opened");
    let nobody = call(None, 3, 600, None, Some(place()));
    check("without a patient", &[], &nobody, &["incident.opened", "command.dispatch.request"], "opened");
}

#[test]
fn a_further_call_joins_and_asks_again_only_for_what_is_worse_or_new() {
    let joined = ["incident.call-joined"];
    let again = ["incident.call-joined", "command.dispatch.request"];
    let open = [emergency(0)];
    check("same rule, quiet", &open, &emergency(600), &[], "opened");
    check("same rule, later", &open, &emergency(1000), &joined, "opened");
    check("another rule", &open, &call(Some("fall"), 2, 600, Some(patient()), None), &joined, "opened");
    check("less urgent", &open, &call(None, 4, 600, Some(patient()), None), &joined, "opened");
    check("more urgent", &open, &call(Some("news2-total"), 1, 600, Some(patient()), None), &again, "opened");
    check("more urgent, unit goes", &[emergency(0), assigned(1)], &call(None, 1, 600, None, None), &joined, "opened");
    let lost = [call(Some("news2-total"), 2, 0, Some(patient()), None)];
    check("found", &lost, &emergency(600), &again, "opened");
}

#[test]
fn deadlines_escalate_until_somebody_looks_and_at_most_so_often() {
    let open = [emergency(0)];
    let escalated = ["incident.escalated"];
    check("first", &open, &Command::Overdue, &escalated, "opened");
    check("after a unit was assigned", &[emergency(0), assigned(1)], &Command::Overdue, &escalated, "opened");
    check("acknowledged", &[emergency(0), acknowledge()], &Command::Overdue, &[], "acknowledged");
    check("cancelled", &[emergency(0), cancel()], &Command::Overdue, &[], "cancelled");

    let mut incident = given(&open);
    let mut times = Vec::new();
    while let Some((due, command)) = incident.deadline() {
        times.push(due.ms_since(START) / 1000);
        assert_eq!(incident.decide(&command, due.plus_ms(-1)), Ok(vec![]), "not before it is due");
        incident = step(incident, &command, due).0;
    }
    assert_eq!(times, [60, 120]);
    assert_eq!(given(&[emergency(0), acknowledge()]).deadline(), None);
}

#[test]
fn a_persons_escalation_raises_the_priority_and_dispatch_hears_of_it() {
    let again = ["incident.escalated", "command.dispatch.request"];
    check("waiting", &[emergency(0)], &escalate(), &again, "opened");
    check("unit goes", &[emergency(0), assigned(1)], &escalate(), &["incident.escalated"], "opened");
    let top = [call(Some("sos"), 1, 0, Some(patient()), Some(place()))];
    check("already the highest", &top, &escalate(), &["incident.escalated"], "opened");
    check("acknowledged stays so", &[emergency(0), acknowledge()], &escalate(), &again, "acknowledged");
    check_refused("over", &[emergency(0), cancel()], &escalate());
}

#[test]
fn a_units_work_is_followed_and_told_once() {
    let changed = ["incident.unit-changed"];
    let told = ["incident.unit-changed", "command.notification.send"];
    let (enroute, onboard) = (news(1, UnitNews::Enroute), news(1, UnitNews::Onboard { hospital_id: None }));
    let given = [emergency(0), assigned(1), enroute.clone(), onboard.clone(), arrived(1)];
    check("assigned", &given[..1], &given[1], &changed, "opened");
    check("assigned again", &given[..2], &given[1], &[], "opened");
    check("enroute", &given[..2], &given[2], &told, "opened");
    check("enroute again", &given[..3], &given[2], &[], "opened");
    check("at the scene", &given[..3], &news(1, UnitNews::OnScene), &[], "opened");
    check("at the scene at once", &given[..2], &news(1, UnitNews::OnScene), &changed, "opened");
    check("onboard", &given[..3], &given[3], &changed, "opened");
    check("arrived", &given[..4], &given[4], &told, "opened");
    check("late enroute", &given[..5], &given[2], &[], "opened");
    check("released", &given[..3], &news(1, UnitNews::Released), &changed, "opened");
    check("stranger released", &given[..3], &news(9, UnitNews::Released), &[], "opened");
    let other = [emergency(0), assigned(1), enroute.clone(), news(1, UnitNews::Released), assigned(2)];
    check("another unit", &other, &news(2, UnitNews::Enroute), &told, "opened");
    let same = [emergency(0), assigned(1), enroute.clone(), news(1, UnitNews::Released), assigned(1)];
    check("the same unit again", &same, &enroute, &changed, "opened");
}

#[test]
fn the_hand_over_resolves_and_bills_what_was_driven() {
    let run = [
        emergency(0),
        assigned(1),
        news(1, UnitNews::Enroute),
        news(1, UnitNews::Onboard { hospital_id: None }),
        arrived(1),
    ];
    check("hand-over", &run, &handed_over(1), &["incident.resolved", "command.billing.start"], "resolved");
    let mut two = run.to_vec();
    two.push(assigned(2));
    let back = ["incident.resolved", "command.dispatch.cancel", "command.billing.start"];
    check("another unit still goes", &two, &handed_over(1), &back, "resolved");

    let (_, decided) = step(given(&run), &handed_over(1), at(600));
    let billing = decided.expect("allowed").into_iter().find_map(|event| match event {
        IncidentEvent::StartBilling(billing) => Some(billing),
        _ => None,
    });
    let billing = billing.expect("a bill");
    assert_eq!((billing.distance_m, billing.level_of_care.as_str(), billing.transported), (4200, "als", true));

    let mut done = run.to_vec();
    done.push(handed_over(1));
    check("again", &done, &handed_over(1), &[], "resolved");
    check("paid", &done, &Command::EndBill(BillOutcome::Paid), &["incident.closed"], "closed");
    check("failed", &done, &Command::EndBill(BillOutcome::Failed), &["incident.closed"], "closed");
    check("unit free", &done, &news(1, UnitNews::Released), &[], "resolved");
}

#[test]
fn a_person_ends_it_in_order_and_the_rest_is_refused_with_its_status() {
    let open = [emergency(0)];
    let ended = ["incident.resolved", "command.dispatch.cancel", "command.billing.start"];
    check("resolve", &open, &resolve(Disposition::TreatedOnScene), &ended, "resolved");
    let loaded = [emergency(0), assigned(1), news(1, UnitNews::Onboard { hospital_id: None })];
    let kept = ["incident.resolved", "command.billing.start"];
    check("resolve, patient on board", &loaded, &resolve(Disposition::Transported), &kept, "resolved");
    let resolved = [emergency(0), resolve(Disposition::Refused)];
    check("resolve again", &resolved, &resolve(Disposition::Refused), &[], "resolved");
    check_refused("resolve otherwise", &resolved, &resolve(Disposition::Other));
    check("close", &resolved, &close(), &["incident.closed"], "closed");
    let closed = [emergency(0), resolve(Disposition::Refused), close()];
    check("close again", &closed, &close(), &[], "closed");
    check("paid later", &closed, &Command::EndBill(BillOutcome::Paid), &[], "closed");
    check("acknowledge again", &[emergency(0), acknowledge()], &acknowledge(), &[], "acknowledged");
    check_refused("close an open one", &open, &close());
    check_refused("cancel a resolved one", &resolved, &cancel());
    check_refused("acknowledge a resolved one", &resolved, &acknowledge());
    check_refused("call after the end", &resolved, &emergency(600));
    check_refused("resolve a cancelled one", &[emergency(0), cancel()], &resolve(Disposition::Other));
    for nothing in [acknowledge(), escalate(), resolve(Disposition::Other), close(), cancel(), assigned(1)] {
        check_refused("there is none", &[], &nothing);
    }
}

#[test]
fn a_person_lowers_the_priority_one_step_and_dispatch_hears_of_it_while_no_unit_goes() {
    let asked = ["incident.downgraded", "command.dispatch.request"];
    check("no unit yet", &[emergency(0)], &downgrade(), &asked, "opened");
    check("a unit goes", &[emergency(0), assigned(1)], &downgrade(), &asked[..1], "opened");
    let lowest = [call(None, 4, 0, None, Some(place()))];
    check_refused("it is the lowest already", &lowest, &downgrade());
    check_refused("there is none", &[], &downgrade());
    check_refused("it is over", &[emergency(0), cancel()], &downgrade());
    let (before, after) = (given(&[emergency(0)]), given(&[emergency(0), downgrade()]));
    let priority = |incident: &Incident| incident.case().map(|case| case.priority.get());
    assert_eq!(priority(&after), priority(&before).map(|priority| priority + 1));
    assert_eq!(priority(&given(&[emergency(0), downgrade(), escalate()])), priority(&before));
}

#[test]
fn a_crew_that_clears_at_the_scene_ends_the_incident_unless_another_unit_works_for_it() {
    let enroute = |n| news(n, UnitNews::Enroute);
    let ended = ["incident.resolved", "command.dispatch.cancel", "command.billing.start"];
    let whole = ["incident.unit-changed", ended[0], ended[1], ended[2]];
    let there = [emergency(0), assigned(1), enroute(1), news(1, UnitNews::OnScene)];
    check("the patient refuses", &there, &cleared(1), &whole, "resolved");
    let mut freed = there.to_vec();
    freed.push(news(1, UnitNews::Released));
    check("its status came first", &freed, &cleared(1), &ended, "resolved");
    let mut two = there.to_vec();
    two.extend([assigned(2), enroute(2)]);
    check("another unit is coming", &two, &cleared(1), &whole[..1], "opened");
    check("a stranger", &there, &cleared(9), &[], "opened");
    let (_, decided) = step(given(&there), &cleared(1), at(600));
    let events = decided.expect("allowed");
    assert!(events.iter().any(|e| matches!(e, IncidentEvent::Resolved(r) if r.disposition == Disposition::Refused)));
    assert!(events.iter().any(|e| matches!(e, IncidentEvent::StartBilling(b) if !b.transported && b.distance_m == 0)));
}

#[test]
fn cancelling_calls_back_the_unit_tells_whom_it_told_and_bills_only_a_run() {
    let told = ["incident.cancelled", "command.dispatch.cancel", "command.notification.send"];
    check("nobody went", &[emergency(0), assigned(1)], &cancel(), &told, "cancelled");
    let nobody = [call(None, 3, 0, None, Some(place()))];
    check("nobody was told", &nobody, &cancel(), &told[..2], "cancelled");
    let billed =
        ["incident.cancelled", "command.dispatch.cancel", "command.notification.send", "command.billing.start"];
    let gone = [emergency(0), assigned(1), news(1, UnitNews::Enroute)];
    check("a unit had gone", &gone, &cancel(), &billed, "cancelled");
    let cancelled = [emergency(0), assigned(1), news(1, UnitNews::Enroute), cancel()];
    check("again", &cancelled, &cancel(), &[], "cancelled");
    check("its bill", &cancelled, &Command::EndBill(BillOutcome::Paid), &[], "cancelled");
    let loaded = [emergency(0), assigned(1), news(1, UnitNews::Onboard { hospital_id: None })];
    check_refused("the patient is on board", &loaded, &cancel());
    assert!(given(&cancelled).is_closed());
}

#[test]
fn an_answer_is_201_for_the_request_that_opened_and_200_for_one_that_joined() {
    let (mut incident, mut version) = (Incident::default(), 0u64);
    let mut statuses = Vec::new();
    for command in [call(None, 2, 0, Some(patient()), None), call(None, 2, 1, Some(patient()), None), acknowledge()] {
        let (next, decided) = step(incident, &command, at(1));
        version += u64::try_from(decided.expect("allowed").len()).expect("few");
        incident = next;
        let answer = incident.answer(version);
        assert_eq!(answer.body["incident_id"], IncidentId::of_patient(&patient(), 1).as_str());
        statuses.push((answer.status, answer.body["status"].as_str().map(str::to_owned)));
    }
    let want = [(201, Some("opened".into())), (200, Some("opened".into())), (200, Some("acknowledged".into()))];
    assert_eq!(statuses, want);
}

#[test]
fn triage_says_how_urgent_a_call_is() {
    for (rule, class, known, want) in [
        ("news2-total", Class::Emergency, 8, 2),
        ("news2-total", Class::Emergency, 9, 1),
        ("extreme-heart-rate", Class::Emergency, 3, 1),
        ("fall", Class::Emergency, 0, 2),
        ("single-red", Class::Abnormal, 3, 3),
    ] {
        let mut status = status(rule, class);
        status.score.known = known;
        assert_eq!(intake::priority_of(&status).get(), want, "{rule} {known}");
    }
}

#[test]
fn a_persons_call_is_checked_and_the_problem_names_the_field() {
    use serde_json::json;
    let limits = intake::TextLimits { max_chars: 20, max_needs: 2 };
    let good = json!({"priority": 2, "summary": "chest pain", "location": {"lat": 47.1, "lon": 9.5}, "needs": ["als"]});
    let check = |change: serde_json::Value, want: Option<&str>| {
        let mut body = good.clone();
        for (name, value) in change.as_object().expect("an object") {
            body[name] = value.clone();
        }
        let call = serde_json::from_value(body).expect("readable");
        let field =
            intake::check_manual(&call, limits).err().map(|p| p.more["field"].as_str().unwrap_or("").to_owned());
        assert_eq!(field.as_deref(), want, "{change}");
    };
    check(json!({}), None);
    check(json!({"location": null, "patient_id": "p-1"}), None);
    check(json!({"location": null}), Some("/location"));
    check(json!({"summary": "  "}), Some("/summary"));
    check(json!({"summary": "x".repeat(21)}), Some("/summary"));
    check(json!({"summary": "a\nb"}), Some("/summary"));
    check(json!({"needs": ["als", "bls", "rescue"]}), Some("/needs"));
    check(json!({"needs": ["als", "A L S"]}), Some("/needs/1"));
}

#[test]
fn a_stored_unit_status_reads_as_the_news_it_is() {
    use shers_contract::{
        DomainEvent, Envelope,
        dispatch::{StatusChanged, UnitEvent},
        envelope::StreamName,
    };
    for (status, want) in [
        (UnitStatus::Reserved, None),
        (UnitStatus::Enroute, Some(UnitNews::Enroute)),
        (UnitStatus::AtPatient, Some(UnitNews::OnScene)),
        (UnitStatus::HandedOver, Some(UnitNews::HandedOver { hospital_id: None, distance_m: None })),
        (UnitStatus::Available, Some(UnitNews::Released)),
    ] {
        let change = StatusChanged {
            unit_id: unit(1),
            previous: None,
            incident_id: Some(IncidentId::of_patient(&patient(), 1)),
            hospital: None,
            by: "crew".into(),
            at: START,
            location: None,
            loaded_distance_m: None,
            reason: None,
        };
        let event = UnitEvent::status(status, change);
        let envelope = Envelope {
            id: shers_contract::derived_uuid(&["test"]),
            kind: event.kind(),
            v: 1,
            stream: StreamName::new("unit", "u-1"),
            version: 1,
            at: START,
            correlation_id: None,
            causation_id: None,
            traceparent: None,
            exercise: false,
            data: event.to_data(),
        };
        let command = news::of(&envelope).expect("readable").map(|(_, command)| command);
        assert_eq!(command, want.map(|news| Command::FollowUnit { unit_id: unit(1), news }), "{status}");
    }
}

fn any_command() -> impl Strategy<Value = Command> {
    let dispositions = [Disposition::Transported, Disposition::Refused, Disposition::FalseAlarm];
    let bills = [BillOutcome::Paid, BillOutcome::Failed, BillOutcome::WrittenOff];
    prop_oneof![
        (any::<bool>(), 1u8..=4, 0i64..4000, any::<bool>()).prop_map(|(triage, p, s, here)| call(
            triage.then_some("sos"),
            p,
            s,
            Some(patient()),
            here.then(place)
        )),
        Just(acknowledge()),
        Just(escalate()),
        Just(downgrade()),
        (1_u8..4).prop_map(cleared),
        Just(Command::Overdue),
        proptest::sample::select(dispositions.to_vec()).prop_map(resolve),
        Just(close()),
        Just(cancel()),
        (1u8..=3, 0usize..7).prop_map(|(n, which)| match which {
            0 => assigned(n),
            1 => news(n, UnitNews::Enroute),
            2 => news(n, UnitNews::OnScene),
            3 => news(n, UnitNews::Onboard { hospital_id: None }),
            4 => arrived(n),
            5 => handed_over(n),
            _ => news(n, UnitNews::Released),
        }),
        proptest::sample::select(bills.to_vec()).prop_map(Command::EndBill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_sequence_of_commands_keeps_the_invariants(commands in proptest::collection::vec((any_command(), 0i64..200), 1..60)) {
        let mut incident = Incident::default();
        let mut log: Vec<(IncidentEvent, Timestamp)> = Vec::new();
        let mut now = START;
        for (command, seconds) in &commands {
            now = now.plus_ms(seconds * 1000);
            let before = incident.clone();
            let (after, decided) = step(incident, command, now);
            match decided {
                Err(_) => prop_assert_eq!(&after, &before, "a refusal changes nothing"),
                Ok(events) => {
                    prop_assert!(!before.is_closed() || events.is_empty(), "the end stays the end: {:?}", events);
                    if let (Some(was), Some(is)) = (before.case(), after.case()) {
                        let by_hand = matches!(command, Command::Downgrade { .. });
                        prop_assert!(by_hand || is.priority <= was.priority, "the priority went down by itself");
                    }
                    log.extend(events.into_iter().map(|event| (event, now)));
                }
            }
            // What was done once is done: its repeat gives nothing (or is refused), save that people may call and escalate again.
            let again = matches!(command, Command::Escalate { .. } | Command::Downgrade { .. } | Command::ReceiveCall(_));
            if !again {
                prop_assert!(after.decide(command, now).map_or(true, |events| events.is_empty()), "{:?} twice", command);
            }
            incident = after;
        }
        let folded = log.iter().fold(Incident::default(), |state, (event, at)| state.evolve(event, *at));
        prop_assert_eq!(&folded, &incident, "folding the events gives the state");
        let bills = log.iter().filter(|(event, _)| matches!(event, IncidentEvent::StartBilling(_))).count();
        prop_assert!(bills <= 1);
        let deadline_escalations = log.iter().filter(|(event, _)| matches!(event, IncidentEvent::Escalated(e) if e.by.is_none()));
        prop_assert!(deadline_escalations.count() <= usize::from(RULE.max_escalations));
        let mut told: Vec<&NotificationId> = log.iter().filter_map(|(event, _)| match event {
            IncidentEvent::SendNotification(send) => Some(&send.notification_id),
            _ => None,
        }).collect();
        let ordered = told.len();
        told.sort();
        told.dedup();
        prop_assert_eq!(told.len(), ordered, "a notification was ordered twice");
        let called_off = log.iter().any(|(event, _)| {
            matches!(event, IncidentEvent::SendNotification(send) if send.template == Template::Cancelled)
        });
        prop_assert!(!called_off || incident.status() == "cancelled");
    }
}
