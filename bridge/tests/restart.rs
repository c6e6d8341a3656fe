//! What happens when the broker itself goes: all connections closed by it, a restart, a kill. One test, since a
//! broker can't be restarted for one test alone.

mod rig;

use rig::{Process, broker, broker_dir, control, part, unique, wait_until};
use shers_runtime::{
    testing::wire_suite::{Host, reading},
    wire::Wire,
};
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Publishes one stream in batches, each again until it is confirmed, as a relay does.
fn relay(process: &Process, stop: &Arc<AtomicBool>, confirmed: &Arc<AtomicU64>) -> tokio::task::JoinHandle<u32> {
    let (wire, stop, confirmed) = (Arc::clone(&process.wire), Arc::clone(stop), Arc::clone(confirmed));
    actix_rt::spawn(async move {
        let (mut next, mut failures) = (1, 0);
        while !stop.load(Ordering::Acquire) {
            let batch: Vec<_> = (next..next + 50).map(|n| reading(6, n)).collect();
            match wire.publish(batch).await {
                Ok(()) => {
                    next += 50;
                    confirmed.store(next - 1, Ordering::Release);
                }
                Err(_) => failures += 1,
            }
        }
        failures
    })
}

async fn disturb(dir: PathBuf, disturbances: &[&'static str]) {
    for command in disturbances {
        control(command, dir.clone()).await;
    }
}

#[actix_rt::test]
async fn nothing_confirmed_is_lost_when_the_broker_goes() {
    let (Some(url), Some(dir)) = (broker("the broker's restart"), broker_dir("the broker's restart")) else { return };
    let name = unique("restart");
    let publisher = Process::start(&url, |_| {}, &name).await;
    let consumers = [Process::start(&url, |_| {}, &name).await, Process::start(&url, |_| {}, &name).await];
    let part = part(&name, &["wearable.#"]);
    publisher.wire.declare(std::slice::from_ref(&part)).await.expect("declared");
    let (stop, confirmed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let relaying = relay(&publisher, &stop, &confirmed);
    let mut a = Host::join(&consumers[0].port(), &part).await;
    let mut b = Host::join(&consumers[1].port(), &part).await;
    let mut seen = BTreeSet::new();
    for disturbances in [&["close-connections"][..], &["stop", "start"], &["kill", "start"]] {
        let before = confirmed.load(Ordering::Acquire);
        wait_until("some confirmed messages", || confirmed.load(Ordering::Acquire) > before + 100).await;
        let disturbing = actix_rt::spawn(disturb(dir.clone(), disturbances));
        while !disturbing.is_finished() {
            take(&mut a, &mut b, &mut seen).await;
        }
        disturbing.await.expect("disturbed");
        let after = confirmed.load(Ordering::Acquire);
        let started = tokio::time::Instant::now();
        while confirmed.load(Ordering::Acquire) <= after || a.owned.len() + b.owned.len() < 16 {
            take(&mut a, &mut b, &mut seen).await;
            assert!(started.elapsed().as_secs() < 120, "no recovery after {disturbances:?}");
        }
        println!("note: recovered from {disturbances:?} after {:?}", started.elapsed());
    }
    stop.store(true, Ordering::Release);
    let failures = relaying.await.expect("the relay");
    let last = confirmed.load(Ordering::Acquire);
    let started = tokio::time::Instant::now();
    while seen.range(1..=last).count() < usize::try_from(last).expect("a count") {
        take(&mut a, &mut b, &mut seen).await;
        let missing: Vec<u64> = (1..=last).filter(|n| !seen.contains(n)).take(5).collect();
        assert!(started.elapsed().as_secs() < 120, "{last} confirmed, but lost: {missing:?}");
    }
    println!("note: {last} messages confirmed, {failures} batches repeated, none lost");
    assert!(failures > 0, "the disturbances hit the publisher");
}

/// Takes what comes to either within a moment, and settles it.
async fn take(a: &mut Host, b: &mut Host, seen: &mut BTreeSet<u64>) {
    a.happen().await;
    b.happen().await;
    for host in [a, b] {
        let fresh: Vec<u64> = host.versions(6);
        seen.extend(&fresh);
        host.settle_all().await;
        host.forget();
    }
}
