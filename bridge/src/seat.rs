//! One member's subscription to the queue of one partition: standing by until something comes, then the owner.
//!
//! AMQP 0-9-1 does not tell a consumer that it became the active one. So whoever gets anything, a probe or a
//! message, is the owner. It is none any more when its channel ends, when it releases, or when a probe was
//! confirmed and nothing came for [`crate::Settings::silence_ms`] though there was room for it.

use crate::{
    link::{Role, Up, connected},
    member::{Desk, Member},
    message,
    shared::{Fault, Shared, within},
};
use futures::{FutureExt, StreamExt};
use lapin::{
    Channel, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use shers_runtime::wire::{Arrival, Happening};
use std::{collections::VecDeque, sync::Arc};
use tokio::{sync::mpsc, time::Instant};

/// Messages told to the host at once.
const BATCH: usize = 256;

/// Why a subscription ended.
enum End {
    /// The host has left.
    Left,
    /// The host wants to be rid of it.
    Released,
    /// Something went wrong.
    Failed(String),
}

pub(crate) struct Seat {
    shared: Arc<Shared>,
    member: Arc<Member>,
    partition: u16,
    queue: String,
    fault: Fault,
    tell: mpsc::Sender<Happening>,
    owned: bool,
    last_tag: u64,
    /// Told and not settled: our tag, the broker's.
    unsettled: VecDeque<(u64, u64)>,
}

impl Seat {
    pub(crate) fn new(shared: Arc<Shared>, member: Arc<Member>, partition: u16, tell: mpsc::Sender<Happening>) -> Self {
        let queue = member.part.queue(partition);
        let fault = Fault::of(&shared, &queue);
        Self { shared, member, partition, queue, fault, tell, owned: false, last_tag: 0, unsettled: VecDeque::new() }
    }

    /// Subscribes again and again, until the host leaves.
    pub(crate) async fn run(mut self) {
        let member = Arc::clone(&self.member);
        let Some(desk) = member.desk(self.partition) else { return };
        let mut failures = 0;
        loop {
            let tell = self.tell.clone();
            let up = tokio::select! {
                up = ready(&self.shared) => up,
                () = tell.closed() => None,
            };
            let Some(up) = up else { return };
            let began = Instant::now();
            let end = self.subscription(&up, desk).await;
            if std::mem::take(&mut self.owned) {
                metrics::gauge!("shers_amqp_partitions_owned", "part" => self.member.part.name.clone()).decrement(1.0);
                tracing::info!(queue = self.queue, "partition lost");
                if self.tell.send(Happening::Lost(self.partition)).await.is_err() {
                    return;
                }
            }
            self.unsettled.clear();
            match end {
                End::Left => return,
                End::Released => failures = 0,
                End::Failed(why) => {
                    if began.elapsed() > self.shared.settings.silence() {
                        failures = 0;
                    }
                    self.pause(&up, why, failures).await;
                    failures += 1;
                }
            }
        }
    }

    /// Waits before the next try. A fault shows when it is the queue's own, not the connection's.
    async fn pause(&self, up: &Up, why: String, failures: u32) {
        tracing::warn!(queue = self.queue, why, "subscription ended");
        let own = up.connection.status().connected();
        self.fault.set(own.then_some(why));
        let wait = self.shared.settings.backoff(failures, self.shared.ids.random());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.tell.closed() => {}
        }
    }

    async fn subscription(&mut self, up: &Up, desk: &Desk) -> End {
        desk.begin();
        let limit = self.shared.settings.operation_limit();
        let (channel, mut consumer) = match subscribe(&self.shared, up, &self.queue).await {
            Ok(opened) => opened,
            Err(why) => return End::Failed(why),
        };
        self.fault.set(None);
        self.member.poke.notify_one();
        let end = self.serve(&channel, &mut consumer, desk).await;
        if !matches!(end, End::Failed(_)) {
            // What was settled last goes first. Closing the channel ends the subscription and gives back what is
            // unsettled in one step: cancelling first would let the next owner overtake it.
            let _ = self.settle(&channel, desk.orders().settled).await;
            if let Err(why) = within(limit, "closing a channel", channel.close(200, "OK".into())).await {
                return if matches!(end, End::Left) { End::Left } else { End::Failed(why) };
            }
        } else if up.connection.status().connected() {
            // It may be closed already.
            let _ = within(limit, "closing a channel", channel.close(200, "OK".into())).await;
        }
        end
    }

    async fn serve(&mut self, channel: &Channel, consumer: &mut Consumer, desk: &Desk) -> End {
        let silence = self.shared.settings.silence();
        let tell = self.tell.clone();
        loop {
            let hears_nothing = async {
                match desk.waits_since() {
                    Some(since) => tokio::time::sleep_until(since + silence).await,
                    None => tokio::time::sleep(silence).await,
                }
            };
            let done = tokio::select! {
                biased;
                () = tell.closed() => return End::Left,
                () = desk.changed.notified() => {
                    let orders = desk.orders();
                    if orders.release && self.owned {
                        return End::Released;
                    }
                    self.settle(channel, orders.settled).await
                }
                delivery = consumer.next() => match delivery {
                    Some(Ok(first)) => {
                        desk.heard();
                        match self.take(channel, first, consumer).await {
                            Ok(true) => Ok(()),
                            Ok(false) => return End::Left,
                            Err(why) => Err(why),
                        }
                    }
                    Some(Err(error)) => Err(error.to_string()),
                    None => Err("the broker ended the subscription".to_owned()),
                },
                () = hears_nothing => self.judge_silence(desk),
            };
            if let Err(why) = done {
                return End::Failed(why);
            }
        }
    }

    /// An owner that hears nothing of what is in its queue, though it has room, is none.
    fn judge_silence(&self, desk: &Desk) -> Result<(), String> {
        let silence = self.shared.settings.silence();
        let long = desk.waits_since().is_some_and(|since| since.elapsed() >= silence);
        if self.full() {
            desk.heard();
        } else if self.owned && long {
            return Err(format!("heard nothing for {silence:?}, so another owns the partition"));
        } else if long {
            // Standing by is silent.
            desk.heard();
        }
        Ok(())
    }

    fn full(&self) -> bool {
        self.unsettled.len() >= usize::from(self.shared.settings.prefetch)
    }

    async fn settle(&mut self, channel: &Channel, to: u64) -> Result<(), String> {
        let was_full = self.full();
        let mut last = None;
        while self.unsettled.front().is_some_and(|(tag, _)| *tag <= to) {
            last = self.unsettled.pop_front();
        }
        let Some((_, delivery_tag)) = last else { return Ok(()) };
        if was_full && let Some(desk) = self.member.desk(self.partition) {
            desk.heard();
        }
        let options = BasicAckOptions { multiple: true };
        let limit = self.shared.settings.operation_limit();
        within(limit, "acknowledging", channel.basic_ack(delivery_tag, options)).await
    }

    /// Tells the host of a delivery and of all that came with it. False when the host has left.
    async fn take(&mut self, channel: &Channel, first: Delivery, consumer: &mut Consumer) -> Result<bool, String> {
        if !self.owned {
            self.owned = true;
            metrics::gauge!("shers_amqp_partitions_owned", "part" => self.member.part.name.clone()).increment(1.0);
            tracing::info!(queue = self.queue, "partition gained");
            if self.tell.send(Happening::Gained(self.partition)).await.is_err() {
                return Ok(false);
            }
        }
        let mut messages = Vec::new();
        let mut next: Option<lapin::Result<Delivery>> = Some(Ok(first));
        let mut probes = 0;
        while let Some(delivery) = next {
            let delivery = delivery.map_err(|error| error.to_string())?;
            if let Some(member) = message::prober(&delivery) {
                self.member.saw(member);
                probes += 1;
                let limit = self.shared.settings.operation_limit();
                let ack = channel.basic_ack(delivery.delivery_tag, BasicAckOptions { multiple: false });
                within(limit, "acknowledging a probe", ack).await?;
            } else {
                messages.push(self.arrival(delivery));
            }
            next = if messages.len() + probes < BATCH { consumer.next().now_or_never().flatten() } else { None };
        }
        if messages.is_empty() {
            return Ok(true);
        }
        let partition = self.partition;
        Ok(self.tell.send(Happening::Arrived { partition, messages }).await.is_ok())
    }

    fn arrival(&mut self, delivery: Delivery) -> Arrival {
        let part = || self.member.part.name.clone();
        metrics::counter!("shers_amqp_received_total", "part" => part()).increment(1);
        if delivery.redelivered {
            metrics::counter!("shers_amqp_redelivered_total", "part" => part()).increment(1);
        }
        self.last_tag += 1;
        self.unsettled.push_back((self.last_tag, delivery.delivery_tag));
        let settings = &self.shared.settings;
        let message = message::incoming(delivery, settings.max_body_bytes, settings.keep_body_bytes);
        if let Err(bad) = &message {
            metrics::counter!("shers_amqp_unreadable_total", "part" => part()).increment(1);
            // The reason may quote the body: the host keeps it, the log does not.
            tracing::warn!(
                queue = self.queue,
                bad.routing_key,
                bad.message_id,
                bytes = bad.body.len(),
                "unreadable message"
            );
        }
        Arrival { tag: self.last_tag, message }
    }
}

/// Waits for the consuming connection and for the house to be declared.
async fn ready(shared: &Shared) -> Option<Arc<Up>> {
    let mut declared = shared.declared.subscribe();
    let mut link = shared.link(Role::Consume).subscribe();
    let (edition, _) = shared.house();
    declared.wait_for(|at| *at >= edition).await.ok()?;
    connected(&mut link).await
}

async fn subscribe(shared: &Shared, up: &Up, queue: &str) -> Result<(Channel, Consumer), String> {
    let limit = shared.settings.operation_limit();
    let channel = within(limit, "opening a channel", up.connection.create_channel()).await?;
    let qos = channel.basic_qos(shared.settings.prefetch, BasicQosOptions::default());
    within(limit, "setting the prefetch", qos).await?;
    let consuming =
        channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
    let consumer = within(limit, "subscribing", consuming).await?;
    Ok((channel, consumer))
}
