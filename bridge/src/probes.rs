//! A member shows itself in every queue of its part, so that the owner knows that it owns the queue and how many
//! members there are. In passing it measures the queues.

use crate::{
    link::{Role, Up, connected},
    member::Member,
    message, publish,
    shared::{Shared, within},
    topology::dead_queue,
};
use lapin::{
    Channel, Confirmation,
    options::{BasicPublishOptions, QueueDeclareOptions},
    types::FieldTable,
};
use shers_runtime::wire::Happening;
use std::sync::Arc;
use tokio::sync::mpsc;

/// With more messages than this waiting, they tell the owner as well as a probe would. This bounds the probes that
/// gather in a queue whose owner is stuck; they need no expiry, which would fill the dead letters with them.
const ENOUGH_WAITING: u32 = 64;

/// Probes until the host leaves.
pub(crate) async fn run(shared: Arc<Shared>, member: Arc<Member>, tell: mpsc::Sender<Happening>) {
    let probing = async {
        let mut link = shared.link(Role::Publish).subscribe();
        let mut failures = 0;
        while let Some(up) = connected(&mut link).await {
            let (edition, _) = shared.house();
            let mut declared = shared.declared.subscribe();
            if declared.wait_for(|at| *at >= edition).await.is_err() {
                return;
            }
            match on_connection(&shared, &up, &member).await {
                Ok(()) => failures = 0,
                Err(why) => tracing::info!(part = member.part.name, why, "probing was interrupted"),
            }
            let wait = shared.settings.backoff(failures, shared.ids.random());
            failures += 1;
            tokio::time::sleep(wait).await;
        }
    };
    tokio::select! {
        () = probing => {}
        () = tell.closed() => {}
    }
}

async fn on_connection(shared: &Shared, up: &Up, member: &Member) -> Result<(), String> {
    let channel = publish::confirming(shared, up).await?;
    loop {
        for partition in 0..member.part.partitions {
            probe(shared, &channel, member, partition).await?;
        }
        if let Some(dead) = dead_queue(&member.part) {
            let waiting = depth(shared, &channel, &dead).await?;
            metrics::gauge!("shers_amqp_dead_letters", "part" => member.part.name.clone()).set(f64::from(waiting));
        }
        let full = shared.settings.probe_interval();
        let spread = full.mul_f64(0.9) + full.mul_f64(0.2).mul_f64((shared.ids.random() % 1_000) as f64 / 1_000.0);
        tokio::select! {
            () = tokio::time::sleep(spread) => {}
            () = member.poke.notified() => {}
        }
    }
}

async fn probe(shared: &Shared, channel: &Channel, member: &Member, partition: u16) -> Result<(), String> {
    let queue = member.part.queue(partition);
    let waiting = depth(shared, channel, &queue).await?;
    metrics::gauge!("shers_amqp_queue_ready", "queue" => queue.clone()).set(f64::from(waiting));
    if waiting < ENOUGH_WAITING {
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let probe = async {
            let sent =
                channel.basic_publish("".into(), queue.as_str().into(), options, &[], message::probe(&member.id));
            sent.await?.await
        };
        match within(shared.settings.operation_limit(), "probing", probe).await? {
            Confirmation::Ack(None) => {}
            Confirmation::Ack(Some(_)) | Confirmation::Nack(_) | Confirmation::NotRequested => {
                return Err(format!("{queue} took no probe"));
            }
        }
    }
    if let Some(desk) = member.desk(partition) {
        desk.probed();
    }
    Ok(())
}

/// Messages that wait in a queue.
async fn depth(shared: &Shared, channel: &Channel, queue: &str) -> Result<u32, String> {
    let options = QueueDeclareOptions { passive: true, ..Default::default() };
    let looking = channel.queue_declare(queue.into(), options, FieldTable::default());
    let found = within(shared.settings.operation_limit(), &format!("looking at {queue}"), looking).await?;
    Ok(found.message_count())
}
