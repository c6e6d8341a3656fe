//! The service over a store in memory: what is accepted, what is durable, what is a repeat.

use serde_json::{Value, json};
use shers_contract::{
    Kind, Problem, Traceparent,
    api::{Answer, Call, Idempotency, Page, Principal, Reply, Request, Role, VitalsFormat},
    vitals::ReadingBatch,
};
use shers_runtime::testing::{MemoryStore, TEST_START, deps_at};
use shers_runtime::{CommitError, Endpoint, Recorded, Store};
use shers_wearable::{Settings, start};
use std::sync::Arc;
use uuid::Uuid;

struct House {
    store: Arc<MemoryStore>,
    door: Arc<dyn Endpoint>,
}

impl House {
    async fn over(store: Arc<MemoryStore>, settings: Settings) -> Self {
        let deps = deps_at(Arc::clone(&store) as Arc<dyn Store>, TEST_START.plus_ms(60_000));
        let door = start(deps, settings).await.expect("starts");
        Self { store, door }
    }

    async fn with_patients(ids: &[&str]) -> Self {
        let house = Self::over(MemoryStore::new(), Settings::default()).await;
        for id in ids {
            house.put(json!({"patient_id": id})).await.expect("registered");
        }
        house
    }

    async fn call(&self, change: impl FnOnce(&mut Call)) -> Reply {
        let mut call = Call {
            id: Uuid::from_u128(7),
            principal: Principal { subject: "watch".to_owned(), role: Role::Device },
            traceparent: Traceparent { trace_id: 1, span_id: 1 },
            exercise: false,
            idempotency: None,
            if_match: None,
            request: Request::GetKpis,
        };
        change(&mut call);
        self.door.call(call).await
    }

    async fn ask(&self, request: Request) -> Reply {
        self.call(|call| call.request = request).await
    }

    async fn put(&self, patient: Value) -> Reply {
        let patient = serde_json::from_value(patient).expect("a patient");
        self.ask(Request::PutPatient(Box::new(patient))).await
    }

    async fn post(&self, body: impl Into<String>) -> Reply {
        self.ask(Request::RecordVitals { body: body.into(), format: VitalsFormat::Json }).await
    }

    async fn history(&self, patient: &str, limit: usize, cursor: Option<&str>) -> Answer {
        let page = Page { limit, cursor: cursor.map(str::to_owned), status: None };
        self.ask(Request::GetVitals(patient.parse().expect("an id"), page)).await.expect("a page")
    }

    fn envelopes(&self) -> Vec<Recorded> {
        let mut all = self.store.all();
        all.retain(|r| r.envelope.kind == Kind::READING_RECORDED);
        all
    }

    fn recorded(&self) -> usize {
        let count = |r: &Recorded| {
            serde_json::from_str::<ReadingBatch>(r.envelope.data.get()).expect("a batch of the contract").readings.len()
        };
        self.envelopes().iter().map(count).sum()
    }
}

/// A reading taken `second` seconds after the test's beginning.
fn reading(patient: &str, second: i64, more: &str) -> String {
    let at = TEST_START.plus_ms(second * 1000);
    format!(r#"{{"patient_id": "{patient}", "at": "{at}"{more}}}"#)
}

fn refused(problem: &Problem) -> Vec<(u64, String)> {
    let refused = problem.more["refused"].as_array().expect("a list");
    refused.iter().map(|r| (r["index"].as_u64().expect("index"), r["problem"]["detail"].to_string())).collect()
}

#[actix_rt::test]
async fn the_good_part_of_a_body_is_durable_and_the_rest_is_explained() {
    let house = House::with_patients(&["p-1"]).await;
    let body = format!(
        "[{}, {}, {}, {}, {}]",
        reading("p-1", 1, r#", "heart_rate_bpm": 70"#),
        reading("p-1", 2, r#", "heart_rate_bpm": 71"#),
        reading("p-1", 3, r#", "heart_rate_bpm": 999"#),
        reading("nobody", 4, r#", "heart_rate_bpm": 72"#),
        reading("p-1", 5, r#", "heart_rate_bpm": 73"#),
    );
    let answer = house.post(body).await.expect("accepted");
    assert_eq!((answer.status, &answer.body["accepted"]), (202, &json!(3)));
    assert_eq!(answer.body["refused"][0]["index"], 2);
    assert_eq!(answer.body["refused"][0]["problem"]["field"], "/heart_rate_bpm");
    assert_eq!(answer.body["refused"][1]["index"], 3);
    assert_eq!(answer.body["refused"][1]["problem"]["type"], "/problems/unknown-patient");
    assert_eq!(house.recorded(), 3);
}

#[actix_rt::test]
async fn a_body_without_a_single_good_reading_is_refused_and_records_nothing() {
    let house = House::with_patients(&["p-1"]).await;
    let problem = house.post(format!("[{}, {{}}]", reading("nobody", 1, ""))).await.expect_err("refused");
    assert_eq!(problem.status, 422);
    let refused = refused(&problem);
    assert_eq!(refused.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1]);
    assert!(refused[0].1.contains("PUT /api/v1/patients/nobody"));
    assert_eq!(house.post("{]").await.expect_err("unreadable").status, 400);
    assert_eq!(house.recorded(), 0);
    let nothing = house.post("[]").await.expect("nothing to refuse");
    assert_eq!(nothing.body, json!({"accepted": 0, "refused": []}));
}

#[actix_rt::test]
async fn a_repeat_is_accepted_and_recorded_once_also_out_of_order_and_after_a_restart() {
    let house = House::with_patients(&["p-1", "p-2"]).await;
    let counted = |second: i64, seq: u32| {
        reading("p-1", second, &format!(r#", "device_id": "d", "seq": {seq}, "heart_rate_bpm": 70"#))
    };
    house.post(counted(10, 1)).await.expect("accepted");
    house.post(counted(5, 0)).await.expect("out of order is in order");
    for again in [counted(10, 1), format!("[{}, {}]", counted(5, 0), counted(10, 1))] {
        let answer = house.post(again).await.expect("accepted");
        assert!(answer.body["accepted"].as_u64() >= Some(1));
    }
    assert_eq!(house.recorded(), 2);
    // A counter that begins again is no repeat, nor is another patient; the same values at the same time are.
    house.post(counted(20, 1)).await.expect("accepted");
    let plain = |patient: &str| reading(patient, 30, r#", "heart_rate_bpm": 70"#);
    house.post(format!("[{}, {}, {}]", plain("p-1"), plain("p-2"), plain("p-1"))).await.expect("accepted");
    assert_eq!(house.recorded(), 5);
    let again = House::over(Arc::clone(&house.store), Settings::default()).await;
    again.post(format!("[{}, {}]", counted(10, 1), plain("p-2"))).await.expect("accepted");
    assert_eq!(again.recorded(), 5);
}

#[actix_rt::test]
async fn what_could_not_be_stored_is_not_a_repeat_when_it_comes_again() {
    let house = House::with_patients(&["p-1"]).await;
    let body = reading("p-1", 1, r#", "heart_rate_bpm": 70"#);
    house.store.fail_next([CommitError::Unavailable("the disk is full".to_owned())]);
    assert_eq!(house.post(body.clone()).await.expect_err("not stored").status, 503);
    assert_eq!(house.recorded(), 0);
    house.post(body).await.expect("accepted");
    assert_eq!(house.recorded(), 1);
}

#[actix_rt::test]
async fn a_commit_of_unknown_outcome_is_asked_about_until_it_is_known() {
    let house = House::with_patients(&["p-1"]).await;
    house.store.fail_next([CommitError::Unknown("no answer".to_owned())]);
    house.post(reading("p-1", 1, r#", "heart_rate_bpm": 70"#)).await.expect("accepted");
    assert_eq!(house.recorded(), 1);
}

#[actix_rt::test]
async fn the_same_idempotency_key_gives_the_same_answer_and_records_once() {
    let house = House::with_patients(&["p-1"]).await;
    let send = |body: String, digest: &'static str| {
        house.call(move |call| {
            call.request = Request::RecordVitals { body, format: VitalsFormat::Json };
            call.idempotency = Some(Idempotency { key: "watch POST k".to_owned(), body_digest: digest.to_owned() });
        })
    };
    let body = format!("[{}, {{}}]", reading("p-1", 1, r#", "heart_rate_bpm": 70"#));
    let (first, second) = futures::join!(send(body.clone(), "a"), send(body.clone(), "a"));
    let first = first.expect("accepted");
    assert_eq!(first.body["accepted"], 1);
    assert_eq!(second.expect("accepted"), first);
    assert_eq!(send(body, "a").await.expect("replayed"), first);
    assert_eq!(send(reading("p-1", 2, ""), "b").await.expect_err("another body").status, 422);
    assert_eq!(house.recorded(), 1);
}

#[actix_rt::test]
async fn concurrent_requests_share_envelopes_and_one_that_alarms_travels_alone() {
    let house = House::with_patients(&["p-1", "p-2"]).await;
    let calm = (0..150).map(|i| house.post(reading("p-1", i, r#", "heart_rate_bpm": 70"#)));
    let replies = futures::future::join_all(calm).await;
    assert!(replies.iter().all(Result::is_ok));
    assert_eq!((house.recorded(), house.envelopes().len() <= 5), (150, true));
    let before = house.envelopes().len();
    let alarm = house.call(|call| {
        call.id = Uuid::from_u128(99);
        let body = reading("p-2", 1, r#", "sos": true"#);
        call.request = Request::RecordVitals { body, format: VitalsFormat::Ndjson };
    });
    let others = (0..10).map(|i| house.post(reading("p-1", 200 + i, "")));
    let (alarm, _) = futures::join!(alarm, futures::future::join_all(others));
    assert_eq!(alarm.expect("accepted").status, 202);
    let fresh = house.envelopes().split_off(before);
    let alone = fresh.iter().find(|r| r.envelope.causation_id == Some(Uuid::from_u128(99))).expect("its own envelope");
    assert_eq!(serde_json::from_str::<ReadingBatch>(alone.envelope.data.get()).expect("a batch").readings.len(), 1);
}

#[actix_rt::test]
async fn exercise_and_earnest_never_share_an_envelope() {
    let house = House::with_patients(&["p-1"]).await;
    let send = |second: i64, exercise: bool| {
        house.call(move |call| {
            call.exercise = exercise;
            let body = reading("p-1", second, "");
            call.request = Request::RecordVitals { body, format: VitalsFormat::Json };
        })
    };
    let all = futures::join!(send(1, true), send(2, false), send(3, true), send(4, false));
    assert!(all.0.is_ok() && all.1.is_ok() && all.2.is_ok() && all.3.is_ok());
    for recorded in house.envelopes() {
        let batch: ReadingBatch = serde_json::from_str(recorded.envelope.data.get()).expect("a batch");
        for r in batch.readings {
            let odd = r.at.ms_since(TEST_START) / 1000 % 2 == 1;
            assert_eq!(odd, recorded.envelope.exercise);
        }
    }
}

#[actix_rt::test]
async fn partitions_keep_a_patient_in_one_journal_and_the_history_finds_all() {
    let settings = Settings { partitions: 16, envelope_readings: 10, ..Settings::default() };
    let house = House::over(MemoryStore::new(), settings.clone()).await;
    let ids: Vec<String> = (0..20).map(|i| format!("p-{i}")).collect();
    for id in &ids {
        house.put(json!({"patient_id": id})).await.expect("registered");
    }
    let readings: Vec<String> = (0..400)
        .map(|i| reading(&ids[i % 20], i64::try_from(i).expect("small") / 20, r#", "heart_rate_bpm": 70"#))
        .collect();
    house.post(format!("[{}]", readings.join(","))).await.expect("accepted");
    for recorded in house.envelopes() {
        let batch: ReadingBatch = serde_json::from_str(recorded.envelope.data.get()).expect("a batch");
        assert!(batch.readings.len() <= 10);
        for r in batch.readings {
            let partition = shers_contract::routing::partition_of(r.patient_id.as_str());
            assert_eq!(recorded.envelope.stream.as_str(), format!("readings/p{partition:02}"));
        }
    }
    for id in &ids {
        let page = house.history(id, 100, None).await;
        assert_eq!(page.body["items"].as_array().map(Vec::len), Some(20), "{id}");
    }
}

#[actix_rt::test]
async fn the_history_is_newest_first_paged_bounded_and_found_again() {
    let house = House::with_patients(&["p-1"]).await;
    for second in [3, 1, 2, 5, 4, 4] {
        let hr = 60 + house.recorded();
        house.post(reading("p-1", second, &format!(r#", "heart_rate_bpm": {hr}"#))).await.expect("accepted");
    }
    let collect = async |house: &House| {
        let (mut times, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let page = house.history("p-1", 2, cursor.as_deref()).await.body;
            for item in page["items"].as_array().expect("items") {
                times.push(item["at"].as_str().and_then(|t| t.get(17..19)).expect("seconds").to_owned());
            }
            match page["next"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return times,
            }
        }
    };
    let want = ["05", "04", "04", "03", "02", "01"];
    assert_eq!(collect(&house).await, want);
    let again = House::over(Arc::clone(&house.store), Settings::default()).await;
    assert_eq!(collect(&again).await, want);
    let small = Settings { history_per_patient: 2, ..Settings::default() };
    let small = House::over(Arc::clone(&house.store), small).await;
    assert_eq!(collect(&small).await, want[..2]);
    let unknown = small.ask(Request::GetVitals("nobody".parse().expect("an id"), Page::default())).await;
    assert_eq!(unknown.expect_err("unknown").status, 404);
    let page = Page { cursor: Some("nonsense".to_owned()), ..Page::default() };
    let bad = small.ask(Request::GetVitals("p-1".parse().expect("an id"), page)).await;
    assert_eq!(bad.expect_err("bad cursor").status, 400);
}

#[actix_rt::test]
async fn a_patient_is_registered_updated_and_left_alone_when_nothing_changes() {
    let house = House::with_patients(&[]).await;
    let patient = json!({"patient_id": "p-1", "name": "Ada", "payment_method": "pm_card_visa",
        "next_of_kin": [{"name": "Bo", "phone": "+41791234567", "email": "bo@example.org"}]});
    let first = house.put(patient.clone()).await.expect("registered");
    assert_eq!((first.status, first.version, &first.body["name"]), (201, Some(1), &json!("Ada")));
    let same = house.put(patient.clone()).await.expect("unchanged");
    assert_eq!((same.status, same.version), (200, Some(1)));
    let mut changed = patient;
    changed["name"] = json!("Ada L.");
    let second = house.put(changed.clone()).await.expect("updated");
    assert_eq!((second.status, second.version), (200, Some(2)));
    assert_eq!(house.store.kinds(), ["patient.registered", "patient.updated"]);
    let stale = house.call(|call| {
        call.if_match = Some(1);
        call.request = Request::PutPatient(Box::new(serde_json::from_value(changed).expect("a patient")));
    });
    assert_eq!(stale.await.expect_err("stale").status, 412);
    let got = house.ask(Request::GetPatient("p-1".parse().expect("an id"))).await.expect("there");
    assert_eq!((got.version, &got.body["name"]), (Some(2), &json!("Ada L.")));
    let nobody = house.ask(Request::GetPatient("nobody".parse().expect("an id"))).await;
    assert_eq!(nobody.expect_err("unknown").status, 404);
}

#[actix_rt::test]
async fn a_patient_that_cannot_be_right_is_refused_by_field() {
    let house = House::with_patients(&[]).await;
    let kin = |member: &str, value: &str| json!({"next_of_kin": [{"name": "Bo", member: value}]});
    for (bad, field) in [
        (json!({"birth_date": "2027-01-01"}), "/birth_date"),
        (json!({"birth_date": "0026-01-01"}), "/birth_date"),
        (kin("phone", "0791234567"), "/next_of_kin/0/phone"),
        (kin("phone", "0041791234567"), "/next_of_kin/0/phone"),
        (kin("phone", "+41 79 123 45 67"), "/next_of_kin/0/phone"),
        (kin("email", "bo@example"), "/next_of_kin/0/email"),
        (kin("email", "bo example.org"), "/next_of_kin/0/email"),
        (kin("language", "english language"), "/next_of_kin/0/language"),
        (json!({"payment_method": "4242424242424242"}), "/payment_method"),
        (json!({"payment_method": "4242 4242 4242 4242"}), "/payment_method"),
        (json!({"payment_method": "card_4242424242424242"}), "/payment_method"),
        (json!({"payment_method": "123456789012"}), "/payment_method"),
        (json!({"payment_method": ""}), "/payment_method"),
        (json!({"name": " "}), "/name"),
        (json!({"coverage": {"plan_id": "basic", "member_id": ""}}), "/coverage/member_id"),
    ] {
        let mut patient = bad.clone();
        patient["patient_id"] = json!("p-1");
        let problem = house.put(patient).await.expect_err("refused");
        assert_eq!((problem.status, &problem.more["field"]), (422, &json!(field)), "{bad}");
        assert!(!problem.detail.contains("4242"), "a card number is never repeated");
    }
    for good in ["pm_1PqX9Y2eZvKYlo2C", "pm_card_visa", "sandbox-declined", "tok_visa"] {
        house.put(json!({"patient_id": "p-1", "payment_method": good})).await.expect(good);
    }
}

#[actix_rt::test]
async fn a_device_belongs_to_a_patient_that_exists() {
    let house = House::with_patients(&["p-1"]).await;
    let device =
        |patient: &str| serde_json::from_value(json!({"device_id": "d-1", "patient_id": patient})).expect("a device");
    assert_eq!(house.ask(Request::PutDevice(device("nobody"))).await.expect_err("unknown").status, 422);
    let put = house.ask(Request::PutDevice(device("p-1"))).await.expect("registered");
    assert_eq!((put.status, put.version), (201, Some(1)));
    let same = house.ask(Request::PutDevice(device("p-1"))).await.expect("unchanged");
    assert_eq!((same.status, same.version), (200, Some(1)));
    let got = house.ask(Request::GetDevice("d-1".parse().expect("an id"))).await.expect("there");
    assert_eq!(got.body["patient_id"], "p-1");
    let nothing = house.ask(Request::GetDevice("d-2".parse().expect("an id"))).await;
    assert_eq!(nothing.expect_err("unknown").status, 404);
}

#[actix_rt::test]
async fn a_patient_registered_by_another_process_is_met_at_the_first_reading() {
    let house = House::with_patients(&[]).await;
    let other = House::over(Arc::clone(&house.store), Settings::default()).await;
    other.put(json!({"patient_id": "p-9"})).await.expect("registered");
    let answer = house.post(reading("p-9", 1, "")).await.expect("accepted");
    assert_eq!(answer.body["accepted"], 1);
}
