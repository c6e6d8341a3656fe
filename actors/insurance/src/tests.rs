//! The insurer through its own door, over a store in memory.

use crate::{Settings, start};
use serde_json::{Value, json};
use shers_contract::{
    PlanId, Traceparent,
    api::{Call, Principal, Reply, Request, Role},
    fhir::{EligibilityResponse, Outcome},
};
use shers_runtime::{
    Endpoint,
    testing::{MemoryStore, deps_over},
};
use std::sync::Arc;
use uuid::Uuid;

fn call(request: Request) -> Call {
    Call {
        id: Uuid::nil(),
        principal: Principal { subject: "admin".to_owned(), role: Role::Administrator },
        traceparent: Traceparent { trace_id: 1, span_id: 1 },
        exercise: true,
        idempotency: None,
        if_match: None,
        request,
    }
}

fn id(text: &str) -> PlanId {
    PlanId::new(text).expect("an id")
}

fn question(plan: &str, service: &str, price: f64) -> Value {
    json!({
        "resourceType": "CoverageEligibilityRequest",
        "identifier": [{ "system": "urn:shers:eligibility-request", "value": "i-1.1" }],
        "status": "active",
        "purpose": ["benefits"],
        "patient": { "reference": "Patient/p-1" },
        "servicedDate": "2026-03-01",
        "created": "2026-03-01T12:00:00Z",
        "insurer": { "display": "insurer" },
        "insurance": [{
            "focal": true,
            "coverage": { "identifier": { "system": format!("urn:shers:plan:{plan}"), "value": "m-1" } }
        }],
        "item": [{
            "productOrService": { "coding": [{ "system": "urn:shers:service", "code": service }] },
            "unitPrice": { "value": price, "currency": "CHF" }
        }]
    })
}

fn run<F: Future<Output = ()>>(test: impl FnOnce(Arc<dyn Endpoint>) -> F) {
    actix_rt::System::new().block_on(async {
        let deps = deps_over(MemoryStore::new());
        test(start(deps, Settings::default()).await.expect("starts")).await;
    });
}

async fn ask(insurer: &Arc<dyn Endpoint>, body: Value) -> Reply {
    insurer.call(call(Request::Eligibility(body))).await
}

async fn answered(insurer: &Arc<dyn Endpoint>, body: Value) -> EligibilityResponse {
    let answer = ask(insurer, body).await.expect("an answer");
    serde_json::from_value(answer.body).expect("a response")
}

#[test]
fn a_member_of_basic_is_told_ninety_percent_and_asking_again_changes_nothing() {
    run(|insurer| async move {
        let first = answered(&insurer, question("basic", "ambulance-als", 1000.05)).await;
        assert_eq!(first.outcome, Outcome::Complete);
        assert_eq!(first.insurance[0].inforce, Some(true));
        let benefit = &first.insurance[0].item[0].benefit;
        let paid = benefit[0].allowed_money.as_ref().expect("money").to_money().expect("exact");
        assert_eq!(paid.amount_minor, 90_005, "90 % of 1000.05, half up");
        assert_eq!(first.insurer.display.as_deref(), Some("sandbox-insurer"));
        let again = answered(&insurer, question("basic", "ambulance-als", 1000.05)).await;
        assert_eq!(
            first,
            EligibilityResponse { created: first.created, ..again },
            "only the time of the answer differs"
        );
    });
}

#[test]
fn who_is_not_covered_is_told_so_and_it_is_no_error() {
    run(|insurer| async move {
        let unknown = answered(&insurer, question("unheard-of", "ambulance-als", 10.0)).await;
        assert_eq!((unknown.outcome, unknown.insurance[0].inforce), (Outcome::Complete, Some(false)));
        let narrow = json!({
            "name": "Narrow", "currency": "CHF", "exclusions": ["ambulance-als"],
            "period": { "from": "2026-01-01", "until": "2026-06-30" }
        });
        let put = insurer.call(call(Request::PutPlan(id("narrow"), narrow))).await.expect("stored");
        assert_eq!(put.status, 201);
        let excluded = answered(&insurer, question("narrow", "ambulance-als", 10.0)).await;
        assert_eq!(excluded.insurance[0].item[0].excluded, Some(true));
        let mut late = question("narrow", "ambulance-bls", 10.0);
        late["servicedDate"] = json!("2026-07-01");
        assert_eq!(answered(&insurer, late).await.insurance[0].inforce, Some(false));
    });
}

#[test]
fn the_sandbox_fails_then_queues_then_answers_and_a_release_is_complete() {
    run(|insurer| async move {
        let body = question("sandbox-queued", "ambulance-als", 10.0);
        let mut outcomes = Vec::new();
        for _ in 0..5 {
            outcomes.push(answered(&insurer, body.clone()).await.outcome);
        }
        let want = [Outcome::Error, Outcome::Queued, Outcome::Queued, Outcome::Complete, Outcome::Complete];
        assert_eq!(outcomes, want);
        let mut cancelled = body;
        cancelled["status"] = json!("cancelled");
        let released = answered(&insurer, cancelled).await;
        assert_eq!((released.outcome, released.insurance.len()), (Outcome::Complete, 0));
    });
}

#[test]
fn what_cannot_be_read_is_a_problem_that_names_the_place() {
    run(|insurer| async move {
        let good = question("basic", "ambulance-als", 10.0);
        let cases: [(&str, Value, u16); 7] = [
            ("/resourceType", json!("Patient"), 400),
            ("/status", json!("draft"), 422),
            ("/identifier", json!([]), 422),
            ("/insurance", json!([]), 422),
            ("/item", json!([]), 422),
            ("/item/0/unitPrice/value", json!(0.001), 422),
            ("/insurance/0/coverage/identifier/system", json!("urn:other"), 422),
        ];
        for (pointer, value, status) in cases {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).expect(pointer) = value;
            let problem = ask(&insurer, bad).await.expect_err(pointer);
            assert_eq!(problem.status, status, "{pointer}: {problem}");
        }
    });
}

#[test]
fn plans_are_kept_and_impossible_ones_refused() {
    run(|insurer| async move {
        let plan = json!({ "name": "Mine", "currency": "EUR", "copay_percent": 20 });
        for status in [201, 200] {
            let put = insurer.call(call(Request::PutPlan(id("mine"), plan.clone()))).await.expect("stored");
            assert_eq!(put.status, status);
        }
        let got = insurer.call(call(Request::GetPlan(id("mine")))).await.expect("there");
        assert_eq!((&got.body["plan_id"], &got.body["copay_percent"]), (&json!("mine"), &json!(20)));
        for (body, status) in [
            (json!({ "name": "x" }), 400),
            (json!({ "name": "x", "currency": "CHF", "copay_percent": 101 }), 422),
            (json!({ "name": "x", "currency": "CHF", "plan_id": "other" }), 422),
            (json!({ "name": "x", "currency": "CHF", "surprise": 1 }), 400),
        ] {
            let problem = insurer.call(call(Request::PutPlan(id("mine"), body.clone()))).await.expect_err("refused");
            assert_eq!(problem.status, status, "{body}");
        }
        let missing = insurer.call(call(Request::GetPlan(id("none")))).await.expect_err("not there");
        assert_eq!(missing.status, 404);
    });
}
