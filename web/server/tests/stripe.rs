//! The real binary with Stripe behind it: localstripe (PyPI), which this project did not write, behind the
//! fault proxy of billing's tests. `scripts/test peers` starts localstripe and says where it listens
//! (`SHERS_TEST_LOCALSTRIPE_URL`); without it each test says that it is left out.

#[allow(dead_code, reason = "billing's tests use all of it")]
#[path = "../../../actors/billing/tests/peers/http.rs"]
mod http;
#[allow(dead_code, reason = "billing's tests use all of it")]
#[path = "../../../actors/billing/tests/peers/peer.rs"]
mod peer;
#[allow(dead_code, reason = "billing's tests use all of it")]
#[path = "../../../actors/billing/tests/peers/proxy.rs"]
mod proxy;
mod support;

use peer::{Kind, Ledger, Peer};
use proxy::{Fault, Op, Proxy, Script};
use serde_json::{Value, json};
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use support::{
    Client, Server, Start, eventually_within, run,
    server::data_dir,
    world::{self, RUN},
};
use tokio::sync::Notify;

const KEY: &str = "sk_test_never_shown";
const WEBHOOK_SECRET: &str = "whsec_never_shown";
const LIMIT: Duration = Duration::from_secs(600);
/// For what others on this machine may delay.
const PATIENCE: Duration = Duration::from_secs(120);
/// One test at a time: the peer's lists are looked at as a whole.
static TURN: Mutex<()> = Mutex::new(());

fn localstripe(test: &str) -> Option<Arc<Proxy>> {
    match std::env::var("SHERS_TEST_LOCALSTRIPE_URL") {
        Ok(url) => Some(Proxy::start(Peer::new(Kind::Localstripe, url))),
        Err(_) => {
            println!("left out: {test}: SHERS_TEST_LOCALSTRIPE_URL is not set; `scripts/test peers` sets it");
            None
        }
    }
}

async fn start(data: &Path, proxy: &Proxy) -> Server {
    let start = Start::serve(data)
        .environment("SHERS_BILLING__PROVIDER", "stripe")
        .environment("SHERS_BILLING__STRIPE_URL", &proxy.url)
        .environment("SHERS_BILLING__STRIPE_KEY", KEY)
        .environment("SHERS_BILLING__STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET)
        .environment("SHERS_LOG_FILTER", "debug");
    start.ready().await
}

/// An emergency until the patient is handed over; returns the incident's id.
async fn hand_over(client: &Client, card: &str) -> String {
    world::hospital(client, "landesspital").await;
    world::register_patient(client, "p-1", &world::patient(card, "+41790001234")).await;
    world::free_unit(client, "rtw-1").await;
    client.post("/vitals", &world::ill("p-1", 1)).await.expect(202);
    let incident = world::assigned(client, "p-1").await;
    for status in RUN {
        world::report(client, "rtw-1", status).await;
    }
    incident["incident_id"].as_str().expect("an id").to_owned()
}

async fn settled(client: &Client, incident: &str) -> Value {
    eventually_within(PATIENCE, "the bill is settled", async || {
        let answer = client.try_get(&format!("/bills/{incident}")).await?;
        if answer.body["state"] == "PAID" { Ok(answer.body) } else { Err(answer.body.to_string()) }
    })
    .await
}

#[test]
fn a_bill_is_paid_through_stripe_whose_webhooks_are_taken_and_no_secret_is_shown() {
    let Some(proxy) = localstripe("a bill through Stripe") else { return };
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    run(LIMIT, async {
        proxy.peer.begin().await;
        proxy.begin(Script::default(), Arc::new(Notify::new()));
        let (_kept, data) = data_dir();
        let mut server = start(&data, &proxy).await;
        let client = server.client();
        let webhooks = format!("http://{}/webhooks/stripe", server.address());
        proxy.peer.webhooks_to(&webhooks, WEBHOOK_SECRET).await;
        let incident = hand_over(&client, "pm_card_visa").await;
        let bill = settled(&client, &incident).await;
        assert_eq!(bill["provider"], "stripe", "{bill}");
        let share = bill["patient_share"]["amount_minor"].as_i64().expect("an amount");
        assert_eq!(proxy.peer.ledger(&incident).await, Ledger { charges: 1, net: share }, "{bill}");

        eventually_within(PATIENCE, "the peer's own webhook is taken", async || {
            let metrics = client.get("/metrics").await.body;
            let metrics = metrics.as_str().unwrap_or_default();
            let taken = metrics.lines().any(|l| l.starts_with("shers_webhooks_total") && l.contains("\"taken\""));
            if taken { Ok(()) } else { Err("no webhook was taken".to_owned()) }
        })
        .await;
        let forged = reqwest::Client::builder().no_proxy().build().expect("a client");
        let forged =
            forged.post(&webhooks).header("stripe-signature", "t=1,v1=00").header("content-type", "application/json");
        let answer = forged.body(json!({ "type": "x" }).to_string()).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 400, "a forged webhook");

        assert!(server.terminate(PATIENCE).await.success());
        let (stdout, log) = server.read_rest();
        for secret in [KEY, WEBHOOK_SECRET] {
            assert!(!stdout.contains(secret) && !log.contains(secret), "a secret is in the log");
        }
    });
}

#[test]
fn the_process_killed_at_each_call_of_stripe_charges_once() {
    let Some(proxy) = localstripe("SIGKILL at each call of Stripe") else { return };
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    run(LIMIT, async {
        for op in [Op::Create, Op::Confirm, Op::Capture] {
            for fault in [Fault::DiesBefore, Fault::DiesAfter] {
                proxy.peer.begin().await;
                let death = Arc::new(Notify::new());
                let script = Script { faults: [(op, (fault, 1))].into(), ..Script::default() };
                proxy.begin(script, Arc::clone(&death));
                let (_kept, data) = data_dir();
                let mut server = start(&data, &proxy).await;
                let incident = hand_over(&server.client(), "pm_card_visa").await;
                tokio::time::timeout(PATIENCE, death.notified()).await.expect("the call comes");
                server.kill();
                let server = start(&data, &proxy).await;
                let bill = settled(&server.client(), &incident).await;
                let share = bill["patient_share"]["amount_minor"].as_i64().expect("an amount");
                let ledger = proxy.peer.ledger(&incident).await;
                assert_eq!(ledger, Ledger { charges: 1, net: share }, "{op:?} {fault:?} {bill}");
            }
        }
    });
}
