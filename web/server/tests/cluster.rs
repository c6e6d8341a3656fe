//! The distributed way against the real servers: RabbitMQ, PostgreSQL, nginx, processes of each service.
//! Runs in the area `cluster`, which installs the servers.

mod support;

use futures::FutureExt;
use serde_json::json;
use std::{
    cell::Cell,
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};
use support::{
    Client, TOKEN,
    cluster::{Cluster, signal},
    driver::Driver,
    eventually_within,
    invariants::{check_house, check_incidents, check_ledgers, check_streams, check_unit, notifications_end, recorded},
    ledger, run,
    story::{self, PHONE},
    world::{self, RUN},
};

/// Emergencies under way at once: more than there are units, so that some wait.
const PATIENTS: usize = 4;
const UNITS: usize = 2;
/// Emergencies at most: they stop at the last fault.
const MOST: usize = 900;
/// Longest wait for an emergency that began after a fault to end.
const RECOVERY: Duration = Duration::from_secs(240);
/// A process stands still for longer than the broker waits for a heartbeat, which is 10 s, twice missed.
const STILL: Duration = Duration::from_secs(30);

#[test]
fn the_story_passes_unchanged_over_eight_processes_and_the_gateway() {
    let cluster = Cluster::up(1);
    assert_eq!(cluster.processes().len(), 8);
    run(Duration::from_secs(240), async {
        let incident = story::play(&cluster.client()).await;
        let told = |service: &str, kind: &str| {
            let log = cluster.log_of(&format!("{service}-1"));
            log.lines().any(|line| line.contains(&incident) && line.contains(kind))
        };
        assert!(told("incidents", "incident.opened") && told("dispatch", "dispatch.assigned"));
        assert!(told("billing", "billing.paid"));
        eventually_within(Duration::from_secs(60), "every queue is empty", async || {
            let queued = cluster.queued();
            if queued.is_empty() { Ok(()) } else { Err(format!("{queued:?}")) }
        })
        .await;
        let logs = cluster.processes().iter().map(|name| cluster.log_of(name)).collect::<String>();
        for secret in [TOKEN, PHONE, "Ottilie", "heart_rate_bpm", "pm_card"] {
            assert!(!logs.contains(secret) && !cluster.gateway_log().contains(secret), "{secret} stands in a log");
        }
    });
}

#[test]
fn what_is_no_message_is_dead_lettered_with_its_reason_and_the_rest_goes_on() {
    let envelope = |kind: &str, v: u32| {
        format!(
            r#"{{"id":"01968000-0000-7000-8000-00000000000{v}","kind":"{kind}","v":{v},"stream":"triage/p-9","version":1,"at":"2026-01-01T00:00:00.000Z","correlation_id":null,"causation_id":null,"traceparent":null,"exercise":false,"data":{{}}}}"#
        )
    };
    let bad = [
        ("{\"kind\":".to_owned(), "not JSON"),
        (envelope("triage.status.unheard-of", 1), "unknown kind"),
        (envelope("triage.status.emergency", 7), "schema version 7"),
        ("[]".to_owned(), "not an envelope"),
        ("x".to_owned(), "too large"),
    ];
    let cluster = Cluster::up_with(1, &[("SHERS_AMQP__MAX_BODY_BYTES", "65536")]);
    for (body, why) in &bad {
        let times = if *why == "too large" { 70_000 } else { 1 };
        cluster.publish_raw("triage.status.emergency.p03", body, times);
    }
    run(Duration::from_secs(240), async {
        let client = cluster.client();
        eventually_within(Duration::from_secs(60), "every one is given up by all who hear it", async || {
            let letters = client.get("/dead-letters").await.expect(200)["items"].clone();
            let letters = letters.as_array().cloned().unwrap_or_default();
            let of =
                |why: &str| letters.iter().filter(|l| l["reason"].as_str().is_some_and(|r| r.contains(why))).count();
            // The incidents and the read models hear it.
            if bad.iter().all(|(_, why)| of(why) >= 2) { Ok(()) } else { Err(format!("{letters:#?}")) }
        })
        .await;
        story::play(&client).await;
        eventually_within(Duration::from_secs(60), "every queue is empty", async || {
            let queued = cluster.queued();
            if queued.is_empty() { Ok(()) } else { Err(format!("{queued:?}")) }
        })
        .await;
    });
}

/// Emergencies that are closed by everybody at once.
const RACES: usize = 8;

#[test]
fn an_incident_that_two_replicas_close_at_once_has_one_bill_and_one_charge() {
    let cluster = Cluster::up(2);
    run(Duration::from_secs(240), async {
        let client = cluster.client();
        world::hospital(&client, "landesspital").await;
        let patients: Vec<String> = (1..=RACES).map(|n| format!("p-{n}")).collect();
        let mut races = Vec::new();
        for (n, patient) in patients.iter().enumerate() {
            world::register_patient(&client, patient, &world::patient("pm_card_visa", PHONE)).await;
            world::free_unit(&client, &format!("rtw-{n}")).await;
            client.post("/vitals", &world::ill(patient, 1)).await.expect(202);
            let incident = world::assigned(&client, patient).await;
            let unit = incident["unit_id"].as_str().expect("a unit").to_owned();
            for status in RUN.iter().take_while(|status| **status != "handed-over") {
                world::report(&client, &unit, status).await;
            }
            races.push((incident["incident_id"].as_str().expect("an id").to_owned(), unit));
        }
        // The crew hands over at one replica while dispatchers end the care at both, each request for itself.
        let at = |process: &str| cluster.client_of(process);
        let (dispatch, replicas) = (at("dispatch-2"), [at("incidents-1"), at("incidents-2")]);
        let body = json!({"disposition": "transported"});
        let (body, dispatch) = (&body, &dispatch);
        let at_once = races.iter().flat_map(|(incident, unit)| {
            let resolve = format!("/incidents/{incident}/resolve");
            let dispatchers = (0..4).map(|n| {
                let (client, path) = (replicas[n % 2].clone(), resolve.clone());
                async move { client.post(&path, body).await.status }.boxed_local()
            });
            let hands_over =
                async { world::report(dispatch, unit, "handed-over").await["status"].as_str().map_or(0, |_| 200) };
            dispatchers.chain([hands_over.boxed_local()]).collect::<Vec<_>>()
        });
        let statuses = futures::future::join_all(at_once).await;
        println!("note: the answers to all of them: {statuses:?}");
        assert!(statuses.iter().all(|status| matches!(status, 200 | 409)), "{statuses:?}");
        for patient in &patients {
            world::closed(&client, patient).await;
        }
        let log = ledger::log(&client).await;
        let payments = cluster.documents("billing", "sandbox.payment").await;
        for (incident, _) in &races {
            for kind in ["incident.resolved", "command.billing.start", "billing.paid", "incident.closed"] {
                let of =
                    log.iter().filter(|event| event.kind == kind && event.correlation_id.as_ref() == Some(incident));
                assert_eq!(of.count(), 1, "{kind} of {incident}");
            }
            let of_bill: Vec<_> = payments.iter().filter(|payment| payment["bill_id"] == incident.as_str()).collect();
            let charges: u64 = of_bill.iter().map(|payment| payment["charges"].as_u64().expect("a number")).sum();
            assert_eq!(charges, 1, "{of_bill:?}");
        }
    });
}

/// Waits until an emergency that begins now has ended, and says how long that took.
async fn recovers(driver: &Driver, client: &Client, what: &str) {
    let (began, first) = (Instant::now(), driver.plans.borrow().len());
    eventually_within(RECOVERY, &format!("an emergency passes after: {what}"), async || {
        let plans: BTreeSet<String> = driver.plans.borrow().iter().skip(first).map(|p| p.patient.clone()).collect();
        let list = client.try_get("/incidents?limit=1000&status=closed").await?;
        let items = list.body["items"].as_array().cloned().ok_or_else(|| list.body.to_string())?;
        let ended = items.iter().any(|i| i["patient_id"].as_str().is_some_and(|patient| plans.contains(patient)));
        if ended { Ok(()) } else { Err(format!("{} begun since, none has ended", plans.len())) }
    })
    .await;
    println!("note: recovered in {:.1} s after: {what}", began.elapsed().as_secs_f64());
}

/// Does something that blocks while the world goes on.
async fn meanwhile<T: Send + 'static>(cluster: &Arc<Cluster>, work: impl FnOnce(&Cluster) -> T + Send + 'static) -> T {
    let cluster = Arc::clone(cluster);
    tokio::task::spawn_blocking(move || work(&cluster)).await.expect("it does not panic")
}

#[test]
fn under_load_no_fault_of_process_broker_or_database_loses_or_doubles_anything() {
    let cluster = Arc::new(Cluster::up(2));
    run(Duration::from_secs(2_400), faults(&cluster));
}

async fn faults(cluster: &Arc<Cluster>) {
    let client = cluster.client();
    let driver = Driver::new(client.clone());
    let units: Vec<String> = (1..=UNITS).map(|n| format!("rtw-{n}")).collect();
    let next = Cell::new(0);
    let stories = async {
        futures::future::join_all((0..PATIENTS).map(|_| driver.patients(&next, MOST))).await;
        driver.over.set(true);
    };
    let crews = async {
        driver.set_up(&units).await;
        futures::future::join_all(units.iter().map(|unit| driver.crew(unit))).await;
    };
    let breaker = async {
        recovers(&driver, &client, "the start").await;
        break_everything(cluster, &driver, &client).await;
        driver.enough.set(true);
    };
    tokio::join!(breaker, stories, crews, driver.watch());
    notifications_end(&client).await;
    check_house(&client, &driver).await;
    eventually_within(Duration::from_secs(120), "every queue is empty", async || {
        let queued = meanwhile(cluster, |cluster| cluster.queued()).await;
        if queued.is_empty() { Ok(()) } else { Err(format!("{queued:?}")) }
    })
    .await;
    let log = ledger::log(&client).await;
    println!("note: {} emergencies, {} events", driver.plans.borrow().len(), log.len());
    check_streams(&log);
    check_incidents(&log, &driver.plans.borrow());
    for unit in &units {
        check_unit(&log, unit);
    }
    // Two replicas may each record a repeat; nothing accepted is missing, and nobody acted twice (above).
    let recorded: BTreeSet<_> = recorded(&log).into_iter().collect();
    let missing: Vec<_> = driver.accepted.borrow().difference(&recorded).cloned().collect();
    assert!(missing.is_empty(), "accepted readings are lost: {missing:?}");
    let payments = cluster.documents("billing", "sandbox.payment").await;
    let messages = cluster.documents("notification", "sandbox.message").await;
    check_ledgers(&payments, &messages, &log, &driver.plans.borrow());
}

/// One fault after the other, and after each an emergency that passes.
async fn break_everything(cluster: &Arc<Cluster>, driver: &Driver, client: &Client) {
    for process in cluster.processes().iter().filter(|name| name.ends_with("-1")) {
        signal(cluster.pid(process), "KILL");
        recovers(driver, client, &format!("SIGKILL of {process}, its replica alone")).await;
        meanwhile(cluster, |cluster| cluster.scale(2)).await;
    }
    for process in ["triage-1", "incidents-1", "dispatch-1", "billing-1", "notification-1"] {
        signal(cluster.pid(process), "STOP");
        tokio::time::sleep(STILL).await;
        signal(cluster.pid(process), "CONT");
        recovers(driver, client, &format!("{process} stood still for {} s and woke", STILL.as_secs())).await;
    }
    meanwhile(cluster, |cluster| cluster.broker("close-connections")).await;
    recovers(driver, client, "the broker closed all connections").await;
    for how in ["stop", "kill"] {
        meanwhile(cluster, move |cluster| {
            cluster.broker(how);
            cluster.broker("start");
        })
        .await;
        recovers(driver, client, &format!("the broker's restart ({how})")).await;
    }
    for mode in ["fast", "immediate"] {
        meanwhile(cluster, move |cluster| cluster.restart_database(mode)).await;
        recovers(driver, client, &format!("PostgreSQL's restart ({mode})")).await;
    }
    meanwhile(cluster, |cluster| cluster.scale(3)).await;
    recovers(driver, client, "a third replica of each joined").await;
    meanwhile(cluster, |cluster| cluster.scale(2)).await;
    recovers(driver, client, "the third replicas left").await;
    meanwhile(cluster, |cluster| cluster.status()).await.expect("everything runs and is ready");
}
