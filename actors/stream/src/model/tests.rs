//! Folds: given events, then fields.

use super::area::Areas;
use super::testing::*;
use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use shers_contract::{billing::Step, dispatch::UnitStatus as S, incident::Priority};
use std::collections::BTreeMap;

type Docs = BTreeMap<DocKey, Doc>;

/// Folds as the projector does, through the stored form if `stored`.
fn fold_into(docs: &mut Docs, facts: &[Fact], stored: bool) {
    for fact in facts {
        for key in fact.touches() {
            let doc = docs.entry(key.clone()).or_insert_with(|| Doc::empty(&key));
            doc.fold(fact);
            if stored {
                let text = doc.stored().expect("written").json;
                *doc = Doc::read(key.collection, &text).expect("read back");
            }
        }
    }
}

fn fold(facts: &[Fact]) -> Docs {
    let mut docs = Docs::new();
    fold_into(&mut docs, facts, false);
    docs
}

fn json_of(docs: &Docs, collection: Collection, id: &str) -> Value {
    let doc = docs.get(&DocKey { collection, id: id.to_owned() }).expect("the document is there");
    serde_json::from_str(&doc.stored().expect("written").json).expect("JSON")
}

/// Folds and compares the fields that `want` names.
fn check(what: &str, facts: &[Fact], collection: Collection, id: &str, want: Value) {
    let docs = fold(facts);
    let got = json_of(&docs, collection, id);
    for (field, value) in want.as_object().expect("an object") {
        assert_eq!(got.get(field), Some(value), "{what}: {field}");
    }
}

#[test]
fn an_incident_shows_its_lifecycle_its_unit_and_its_bill() {
    let story = story();
    let upto = |seconds: i64| story.iter().filter(|f| f.at <= at(seconds)).cloned().collect::<Vec<_>>();
    let rows = [
        (10, json!({"status": "opened", "priority": 2, "calls": 1, "unit_id": null, "summary": "fell", "version": 1})),
        (11, json!({"waiting_reason": "all are busy"})),
        (12, json!({"waiting_reason": null, "unit_id": "u-2", "unit_status": "assigned", "eta_at": at(252)})),
        (20, json!({"unit_id": null, "unit_status": null, "assignment": null, "eta_at": null})),
        (30, json!({"status": "opened", "escalation_level": 1, "priority": 1, "acknowledge_by": at(500)})),
        (40, json!({"status": "acknowledged", "acknowledged_at": at(40), "acknowledge_by": null})),
        (50, json!({"unit_id": "u-1", "unit_status": "assigned", "eta_at": at(290)})),
        (340, json!({"unit_status": "on-scene", "eta_at": null})),
        (1_000, json!({"unit_status": "onboard", "eta_at": at(1_300)})),
        (
            1_500,
            json!({"status": "resolved", "unit_status": "handed-over", "disposition": "transported", "version": 4}),
        ),
        (1_502, json!({"bill": {"state": "PENDING", "step": "eligibility", "attention": null}})),
        (
            1_600,
            json!({"status": "closed", "closed_at": at(1_505), "unit_status": "available",
            "bill": {"state": "PAID", "step": "settled", "attention": null}}),
        ),
    ];
    for (seconds, want) in rows {
        check(&format!("after {seconds} s"), &upto(seconds), Collection::Incident, "i-1", want);
    }
    let times = &json_of(&fold(&story), Collection::Incident, "i-1")["times"];
    assert_eq!(times["call"], json!(at(8)));
    assert_eq!(times["assigned"], json!(at(50)), "another unit begins the times anew");
    assert_eq!(times["cancelled"], Value::Null, "the first unit's end is not the second's");
    assert_eq!(times["available"], json!(at(1_600)));
}

#[test]
fn a_unit_shows_what_it_does_and_is_free_again_after_it() {
    let story = story();
    let upto = |seconds: i64| story.iter().filter(|f| f.at <= at(seconds)).cloned().collect::<Vec<_>>();
    let rows = [
        ("u-1", 0, json!({"status": "out-of-service", "kind": "ambulance", "version": 1, "located_at": at(0)})),
        ("u-2", 12, json!({"status": "assigned", "incident_id": "i-1", "version": 4})),
        ("u-2", 20, json!({"status": "cancelled", "incident_id": null, "eta_at": null, "version": 6})),
        ("u-1", 100, json!({"status": "enroute", "fms": 3, "eta_at": at(290)})),
        ("u-1", 1_000, json!({"status": "onboard", "eta_at": at(1_300)})),
        ("u-1", 1_600, json!({"status": "available", "incident_id": null, "hospital": null, "version": 11})),
    ];
    for (id, seconds, want) in rows {
        check(&format!("{id} after {seconds} s"), &upto(seconds), Collection::Unit, id, want);
    }
}

#[test]
fn a_bill_shows_its_state_step_and_whether_a_person_is_needed() {
    let bill = |events: Vec<shers_contract::billing::BillingEvent>| -> Vec<Fact> {
        (1..).zip(events).map(|(v, e)| fact("bill/i-1", v, v.cast_signed(), Event::Billing(e))).collect()
    };
    let begun = || pending("i-1", Step::Eligibility);
    let rows = [
        ("begun", bill(vec![begun()]), json!({"state": "PENDING", "step": "eligibility", "attention": null})),
        (
            "covered",
            bill(vec![begun(), covered("i-1")]),
            json!({"coverage_reason": "10 % copay", "step": "eligibility"}),
        ),
        ("paid", bill(vec![begun(), paid("i-1")]), json!({"state": "PAID", "payment_id": "pi_1", "step": "settled"})),
        ("failed", bill(vec![begun(), failed("i-1")]), json!({"state": "FAILED", "code": "card-declined"})),
        (
            "stuck",
            bill(vec![begun(), stuck("i-1")]),
            json!({"state": "PENDING", "attention": "stuck", "step": "compensate"}),
        ),
        (
            "written off",
            bill(vec![begun(), stuck("i-1"), written_off("i-1")]),
            json!({"state": "FAILED", "attention": null, "written_off": true}),
        ),
        (
            "again",
            bill(vec![begun(), failed("i-1"), begun()]),
            json!({"state": "PENDING", "code": null, "reason": null}),
        ),
    ];
    for (what, facts, want) in rows {
        check(what, &facts, Collection::Bill, "i-1", want);
    }
    let history = json_of(&fold(&bill(vec![begun(), paid("i-1")])), Collection::Bill, "i-1");
    assert_eq!(history["history"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_bill_counts_the_tries_of_its_step_anew_at_each_step_and_after_a_person() {
    use shers_contract::{Timestamp, billing::BillingEvent};
    let begun = || pending("i-1", Step::Eligibility);
    let waits = |step| match pending("i-1", step) {
        BillingEvent::Pending(pending) => {
            BillingEvent::Pending(shers_contract::billing::Pending { retry_at: Some(Timestamp::from_ms(9)), ..pending })
        }
        other => other,
    };
    let goes_on = |step| pending("i-1", step);
    let confirm = Step::ConfirmPayment;
    for (what, events, tries) in [
        ("begun", vec![], 0),
        ("waits", vec![goes_on(confirm), waits(confirm)], 1),
        ("tried again", vec![goes_on(confirm), waits(confirm), goes_on(confirm)], 1),
        ("waits again", vec![goes_on(confirm), waits(confirm), goes_on(confirm), waits(confirm)], 2),
        ("the next step", vec![goes_on(confirm), waits(confirm), goes_on(Step::CapturePayment)], 0),
        ("stuck, and a person retried", vec![goes_on(confirm), waits(confirm), stuck("i-1"), goes_on(confirm)], 0),
        ("settled", vec![goes_on(confirm), waits(confirm), paid("i-1")], 0),
    ] {
        let facts: Vec<Fact> = (1..)
            .zip(std::iter::once(begun()).chain(events))
            .map(|(v, e)| fact("bill/i-1", v, v.cast_signed(), Event::Billing(e)))
            .collect();
        check(what, &facts, Collection::Bill, "i-1", json!({ "tries": tries }));
    }
}

#[test]
fn a_notification_is_sent_once_any_attempt_was() {
    use shers_contract::notification::*;
    let target = PlannedAttempt { contact: 0, channel: Channel::Sms };
    let attempted = |attempt| {
        NotificationEvent::Attempted(Attempted {
            notification_id: "n-1".parse().expect("an id"),
            attempt,
            target: target.clone(),
            provider: "sandbox-messaging".into(),
            repeats: (attempt == 2).then_some(1),
        })
    };
    let ended = |attempt, last| AttemptEnded {
        notification_id: "n-1".parse().expect("an id"),
        incident_id: incident("i-1"),
        template: Template::UnitEnroute,
        attempt,
        target: (attempt > 0).then(|| target.clone()),
        provider: "sandbox-messaging".into(),
        provider_id: None,
        reason: Some("why".into()),
        last,
        next_at: None,
    };
    let rows = [
        (vec![attempted(1)], "attempted"),
        (vec![attempted(1), NotificationEvent::Sent(ended(1, true))], "sent"),
        (vec![attempted(1), NotificationEvent::Failed(ended(1, false))], "queued"),
        (vec![attempted(1), NotificationEvent::Failed(ended(1, true))], "failed"),
        (vec![NotificationEvent::Failed(ended(0, true))], "failed"),
        (vec![attempted(1), NotificationEvent::Ambiguous(ended(1, true))], "ambiguous"),
        (
            vec![
                attempted(1),
                NotificationEvent::Ambiguous(ended(1, false)),
                attempted(2),
                NotificationEvent::Sent(ended(2, true)),
            ],
            "sent",
        ),
    ];
    for (events, want) in rows {
        let facts = (1..).zip(events).map(|(v, e)| fact("notification/n-1", v, 1, Event::Notification(e)));
        check(want, &facts.collect::<Vec<_>>(), Collection::Notification, "n-1", json!({"state": want}));
    }
}

#[test]
fn a_late_version_of_a_stream_changes_nothing() {
    let mut facts = vec![
        fact("incident/i-1", 1, 1, Event::Incident(opened("i-1", Priority::P2, 0))),
        fact("incident/i-1", 3, 3, Event::Incident(cancelled())),
    ];
    let before = fold(&facts);
    facts.push(fact("incident/i-1", 2, 2, Event::Incident(acknowledged())));
    assert_eq!(fold(&facts), before);
}

#[test]
fn a_document_of_which_only_others_speak_is_kept_and_not_shown() {
    let foreign = vec![fact("bill/i-1", 1, 1, Event::Billing(pending("i-1", Step::Eligibility)))];
    let key = DocKey { collection: Collection::Incident, id: "i-1".into() };
    let tag = |facts: &[Fact]| fold(facts).get(&key).map(|d| d.stored().expect("written").tag);
    assert_eq!(tag(&foreign), Some(doc::UNKNOWN));
    let mut later = foreign;
    later.push(fact("incident/i-1", 1, 0, Event::Incident(opened("i-1", Priority::P2, 0))));
    assert_eq!(tag(&later), Some("opened"));
    check("the bill that came first", &later, Collection::Incident, "i-1", json!({"exercise": false, "calls": 1}));
}

#[test]
fn open_incidents_come_by_priority_then_age_and_ended_ones_last_newest_first() {
    let one = |id: &str, priority, seconds, end: Option<(i64, shers_contract::incident::IncidentEvent)>| {
        let stream = format!("incident/{id}");
        let mut facts = vec![fact(&stream, 1, seconds, Event::Incident(opened(id, priority, seconds)))];
        facts.extend(end.map(|(seconds, event)| fact(&stream, 2, seconds, Event::Incident(event))));
        facts
    };
    let mut docs = Docs::new();
    for facts in [
        one("p2-old", Priority::P2, 1, None),
        one("p1-new", Priority::P1, 9, None),
        one("p1-old", Priority::P1, 2, None),
        one("resolved", Priority::P1, 0, Some((5, resolved()))),
        one("closed-old", Priority::P1, 0, Some((6, closed()))),
        one("closed-new", Priority::P1, 0, Some((7, cancelled()))),
    ] {
        fold_into(&mut docs, &facts, false);
    }
    let mut ranked: Vec<(i64, &str)> =
        docs.iter().map(|(key, doc)| (doc.stored().expect("written").rank, key.id.as_str())).collect();
    ranked.sort_unstable();
    let order: Vec<&str> = ranked.iter().map(|(_, id)| *id).collect();
    assert_eq!(order, ["p1-old", "p1-new", "p2-old", "resolved", "closed-new", "closed-old"]);
}

#[test]
fn a_cursor_is_read_back_on_its_own_list_only() {
    let behind = (-5_i64, "i-1".to_owned());
    let cursor = page::cursor(Collection::Incident, &behind);
    assert_eq!(page::behind(Collection::Incident, &cursor), Ok(behind));
    for bad in
        ["", "i", "i00", "x0000000000000000a", "i+000000000000001a", "iäöäöäöäöäöäöäöä", &cursor.replace('i', "u")]
    {
        assert_eq!(page::behind(Collection::Incident, bad).map_err(|p| p.status), Err(400), "{bad}");
    }
    assert_eq!(page::timeline_behind(&page::timeline_cursor(77)), Ok(77));
    for bad in ["", "t", "t+1", "77", "tx"] {
        assert_eq!(page::timeline_behind(bad).map_err(|p| p.status), Err(400), "{bad}");
    }
}

#[test]
fn pages_are_kept_within_their_limits() {
    for (asked, want) in [(0, 100), (1, 1), (500, 500), (501, 500)] {
        assert_eq!(page::limit(asked, 100, 500), want, "{asked}");
    }
    assert_eq!(page::tags(Collection::Bill, Some("pending")), Ok(vec!["PENDING".into(), "stuck".into()]));
    assert_eq!(page::tags(Collection::Bill, Some("nonsense")).map_err(|p| p.status), Err(422));
}

#[test]
fn nemsis_times_carry_an_offset_and_what_is_missing_is_named() {
    let story = story();
    let doc = |facts: &[Fact]| match fold(facts).remove(&DocKey { collection: Collection::Incident, id: "i-1".into() })
    {
        Some(Doc::Incident(incident)) => *incident,
        other => panic!("{other:?}"),
    };
    let whole = nemsis::export(&doc(&story));
    assert_eq!(whole["eTimes"]["eTimes.01"], "2026-01-01T00:00:08.000+00:00");
    assert_eq!(whole["eTimes"]["eTimes.12"], "2026-01-01T00:25:00.000+00:00");
    assert_eq!(whole["missing"], json!([]));
    let half: Vec<Fact> = story.iter().filter(|f| f.at <= at(340)).cloned().collect();
    let missing: Vec<Value> = nemsis::export(&doc(&half))["missing"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|m| m["element"].clone())
        .collect();
    let never: Vec<Value> = nemsis::export(&doc(&half))["not_recorded"].as_array().expect("a list").clone();
    assert!(never.iter().all(|n| n["nv"] == "7701003" && n["why"].is_string()));
    let numbers =
        |list: &[Value]| list.iter().filter_map(|n| n["element"].as_str().map(str::to_owned)).collect::<Vec<_>>();
    assert_eq!(numbers(&never).len() + 11, 17, "every element of the section is either told or explained");
    assert_eq!(missing, ["eTimes.07", "eTimes.09", "eTimes.11", "eTimes.12", "eTimes.13"]);
}

#[test]
fn figures_are_fractiles_with_the_share_within_target() {
    let incidents: Vec<kpi::KpiDoc> = (1..=10)
        .map(|n| {
            let turnout_ms = Some(n * 10_000);
            let intervals = kpi::Intervals { turnout_ms, ..kpi::Intervals::default() };
            kpi::KpiDoc { intervals, ..kpi::KpiDoc::empty(&format!("i-{n}")) }
        })
        .collect();
    let turnout = &kpi::intervals(&incidents, &kpi::Targets::default(), &Areas::default())["turnout_time"];
    let want = json!({"count": 10, "p50_s": 50.0, "p90_s": 90.0, "target_s": 60, "within_target": 0.6});
    assert_eq!(turnout, &want);
    let nothing = &kpi::intervals(&[], &kpi::Targets::default(), &Areas::default())["turnout_time"];
    assert_eq!(nothing["p90_s"], Value::Null);
    let times = incident::Times { assigned: Some(at(10)), enroute: Some(at(5)), ..incident::Times::default() };
    assert_eq!(kpi::Intervals::of(&times).turnout_ms, None, "clocks that disagree measure nothing");
}

#[test]
fn figures_are_told_per_category_and_per_area_with_targets_of_its_own() {
    let kpi = |n: u8, priority: Priority, lat: f64| {
        let response_ms = Some(i64::from(n) * 100_000);
        let intervals = kpi::Intervals { response_ms, ..kpi::Intervals::default() };
        let location = shers_contract::LatLon::new(lat, 9.5);
        kpi::KpiDoc { intervals, priority, location, ..kpi::KpiDoc::empty(&format!("i-{n}")) }
    };
    let incidents = [
        kpi(1, Priority::P1, 47.1),
        kpi(10, Priority::P1, 47.1),
        kpi(10, Priority::P2, 47.1),
        kpi(10, Priority::P1, 47.9),
        kpi(1, Priority::P4, 40.0),
    ];
    let corner = |lat: f64, lon: f64| json!({"lat": lat, "lon": lon});
    let areas: Areas = serde_json::from_value(json!({"named": [
        {"name": "town", "south_west": corner(47.0, 9.0), "north_east": corner(47.5, 10.0)},
        {"name": "hills", "south_west": corner(47.5, 9.0), "north_east": corner(48.0, 10.0),
         "targets": {"response_s": [1_200, 2_400, 7_200, 10_800]}},
    ]}))
    .expect("areas");
    let figures = kpi::intervals(&incidents, &kpi::Targets::default(), &areas);
    let response = |path: &[&str]| {
        let at = path.iter().fold(&figures, |at, name| &at[*name]);
        let r = &at["response_time"];
        (r["count"].as_u64().unwrap_or(0), r["within_target"].as_f64(), r["target_s"].as_u64())
    };
    assert_eq!(response(&[]), (5, Some(0.6), None), "no one target for all categories");
    assert_eq!(response(&["by_category", "1"]), (3, Some(0.3333), Some(900)));
    assert_eq!(response(&["by_category", "2"]), (1, Some(1.0), Some(2_400)));
    assert!(figures["by_category"]["3"].is_null());
    assert_eq!(response(&["by_area", "town"]), (3, Some(0.6667), None));
    assert_eq!(response(&["by_area", "town", "by_category", "1"]), (2, Some(0.5), Some(900)));
    assert_eq!(response(&["by_area", "hills", "by_category", "1"]), (1, Some(1.0), Some(1_200)));
    assert_eq!(response(&["by_area", "elsewhere"]).0, 1);
    assert_eq!(figures["by_area"]["town"]["incidents"], json!(3));
}

#[test]
fn an_older_fix_never_replaces_a_newer_one() {
    let mut doc = unit::UnitDoc::empty("u-1");
    let fix = |seconds, lat| shers_contract::dispatch::Fix {
        unit_id: unit("u-1"),
        at: at(seconds),
        location: shers_contract::LatLon::new(lat, 9.5).expect("on earth"),
        speed_mps: None,
        heading_deg: None,
    };
    assert!(doc.located(&fix(5, 47.1)));
    assert!(!doc.located(&fix(4, 47.2)));
    assert!(!doc.located(&fix(5, 47.3)));
    assert_eq!(doc.location.map(|l| l.lat), Some(47.1));
}

/// Histories of one incident and two units, each stream in its own order, the streams mixed in any way.
fn histories() -> impl Strategy<Value = Vec<Fact>> {
    let step = (0..4_u8, 0..12_u8);
    proptest::collection::vec(step, 0..60).prop_map(|steps| {
        let mut versions: BTreeMap<String, u64> = BTreeMap::new();
        let mut seconds = 0;
        let pick = |stream: u8, what: u8| -> (String, Event) {
            let status_of = |id: &str| {
                let reached = S::ALL[usize::from(what)];
                Event::Unit(status(id, reached, Some("i-1"), i64::from(what)))
            };
            match stream {
                0 => (
                    "incident/i-1".into(),
                    Event::Incident(match what {
                        0..=3 => opened("i-1", Priority::P3, 0),
                        4..=5 => acknowledged(),
                        6..=7 => escalated(what),
                        8 => resolved(),
                        9 => closed(),
                        _ => cancelled(),
                    }),
                ),
                1 if what.is_multiple_of(4) => ("unit/u-1".into(), Event::Dispatch(assigned("u-1", "i-1"))),
                1 => ("unit/u-1".into(), status_of("u-1")),
                2 if what % 4 == 1 => ("unit/u-2".into(), Event::Dispatch(unassigned("u-2", "i-1"))),
                2 => ("unit/u-2".into(), status_of("u-2")),
                _ => (
                    "bill/i-1".into(),
                    Event::Billing(match what {
                        0..=4 => pending("i-1", Step::CreatePayment),
                        5..=6 => covered("i-1"),
                        7..=8 => paid("i-1"),
                        9 => stuck("i-1"),
                        _ => failed("i-1"),
                    }),
                ),
            }
        };
        steps
            .into_iter()
            .map(|(stream, what)| {
                let (stream, event) = pick(stream, what);
                let version = versions.entry(stream.clone()).or_default();
                *version += 1;
                seconds += 1;
                fact(&stream, *version, seconds, event)
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn folding_twice_is_folding_once(facts in histories(), from in 0..60_usize) {
        let once = fold(&facts);
        let mut twice = once.clone();
        fold_into(&mut twice, &facts, false);
        prop_assert_eq!(&twice, &once);
        // A redelivery of the end of a batch, in its middle.
        let from = from.min(facts.len());
        let mut torn = Docs::new();
        fold_into(&mut torn, &facts[..from], false);
        fold_into(&mut torn, &facts[from / 2..from], false);
        fold_into(&mut torn, &facts[from / 2..], false);
        prop_assert_eq!(&torn, &once);
    }

    #[test]
    fn a_document_survives_being_stored_between_any_two_events(facts in histories()) {
        let mut stored = Docs::new();
        fold_into(&mut stored, &facts, true);
        prop_assert_eq!(stored, fold(&facts));
    }

    #[test]
    fn any_text_as_cursor_is_refused_or_read_but_never_panics(text in ".*") {
        let _ = page::behind(Collection::Unit, &text);
        let _ = page::timeline_behind(&text);
    }

    #[test]
    fn any_place_in_a_list_survives_its_cursor(rank: i64, id in "[A-Za-z0-9._:-]{1,64}") {
        let behind = (rank, id);
        let cursor = page::cursor(Collection::Bill, &behind);
        prop_assert_eq!(page::behind(Collection::Bill, &cursor), Ok(behind));
    }
}
