//! The bridge against the bare client: publish with confirms, consume, settle, on the same broker, with the same
//! bytes and queues of the same kind. What the bridge adds is parsing, batches as a relay publishes them, and
//! ownership.

use crate::{
    house::{Bench, Failure},
    report::Report,
};
use futures::StreamExt;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
};
use shers_bridge::{AmqpWire, Settings};
use shers_contract::{
    Envelope, Kind, Timestamp,
    envelope::StreamName,
    routing::{PARTITIONS, Pattern, routing_key},
};
use shers_runtime::{
    Ids, SystemIds,
    clock::system_now,
    wire::{Happening, Part, Wire},
};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

/// Messages published at once, as a relay does, and confirms that may be open.
const BATCH: usize = 1_000;
const WINDOW: usize = 500;
const PREFETCH: u16 = 512;
/// A round that takes longer is void.
const ROUND_LIMIT: Duration = Duration::from_secs(180);

/// `count` readings over all partitions.
fn messages(count: usize) -> Result<Vec<Arc<Envelope>>, Failure> {
    let vitals = serde_json::json!({"patient_id": "p-0001", "device_id": "d-0001", "heart_rate_bpm": 71, "spo2_pct": 98,
        "respiration_rate_bpm": 14, "systolic_mmhg": 121, "diastolic_mmhg": 79, "temperature_c": 36.8, "seq": 1});
    let mut all = Vec::with_capacity(count);
    for n in 0..count {
        let partition = u16::try_from(n % usize::from(PARTITIONS))?;
        all.push(Arc::new(Envelope {
            id: SystemIds.uuid(system_now()),
            kind: Kind::READING_RECORDED,
            v: 1,
            stream: StreamName::new("readings", format!("p{partition:02}")),
            version: u64::try_from(n / usize::from(PARTITIONS))? + 1,
            at: Timestamp::from_ms(1_767_225_600_000),
            correlation_id: None,
            causation_id: None,
            traceparent: None,
            exercise: true,
            data: serde_json::value::to_raw_value(&serde_json::json!({"readings": [vitals]}))?,
        }));
    }
    Ok(all)
}

fn rate(count: usize, began: Instant) -> f64 {
    count as f64 / began.elapsed().as_secs_f64()
}

/// A house with one part of 16 partitions.
struct Bridged {
    wire: Arc<AmqpWire>,
    member: Box<dyn shers_runtime::wire::Membership>,
}

impl Bridged {
    async fn open(url: &str, name: &str) -> Result<Self, Failure> {
        let settings = Settings {
            url: Some(shers_contract::Secret::new(url)),
            exchange: format!("{name}.events"),
            confirm_window: WINDOW,
            prefetch: PREFETCH,
            ..Settings::default()
        };
        let wire = AmqpWire::start(settings, "bench", Arc::new(SystemIds)).map_err(|problems| problems.join("; "))?;
        let part = Part { name: name.to_owned(), patterns: vec![Pattern::new("wearable.#")?], partitions: PARTITIONS };
        wire.declare(std::slice::from_ref(&part)).await?;
        let mut member = wire.join(part).await?;
        let mut owned = 0;
        while owned < PARTITIONS {
            if let Happening::Gained(_) = member.next().await {
                owned += 1;
            }
        }
        Ok(Self { wire, member })
    }

    async fn round(&mut self, all: &[Arc<Envelope>]) -> Result<f64, Failure> {
        let (wire, batches) = (Arc::clone(&self.wire), all.chunks(BATCH).map(<[_]>::to_vec).collect::<Vec<_>>());
        let began = Instant::now();
        let publishing = actix_rt::spawn(async move {
            for batch in batches {
                wire.publish(batch).await?;
            }
            Ok::<(), shers_runtime::wire::WireError>(())
        });
        let mut versions = vec![0_u64; usize::from(PARTITIONS)];
        let mut seen = 0;
        while seen < all.len() {
            match self.member.next().await {
                Happening::Arrived { partition, messages } => {
                    for arrival in &messages {
                        let envelope = arrival.message.as_ref().map_err(|bad| bad.reason.clone())?;
                        let last = versions.get_mut(usize::from(partition)).ok_or("a partition")?;
                        *last += 1;
                        if envelope.version != *last {
                            return Err(format!("{} came instead of {last}", envelope.version).into());
                        }
                    }
                    seen += messages.len();
                    if let Some(last) = messages.last() {
                        self.member.settle(partition, last.tag).await;
                    }
                }
                other @ (Happening::Gained(_) | Happening::Lost(_)) => return Err(format!("{other:?}").into()),
            }
        }
        publishing.await??;
        Ok(rate(all.len(), began))
    }
}

/// The same with the bare client.
struct Raw {
    exchange: String,
    publish: Channel,
    queues: Vec<(Channel, lapin::Consumer)>,
    _connections: [Connection; 2],
}

impl Raw {
    async fn open(url: &str, name: &str) -> Result<Self, Failure> {
        let connect = || Connection::connect(url, ConnectionProperties::default());
        let (publishing, consuming) = (connect().await?, connect().await?);
        let publish = publishing.create_channel().await?;
        publish.confirm_select(ConfirmSelectOptions::default()).await?;
        let exchange = format!("{name}.events");
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        publish.exchange_declare(exchange.as_str().into(), ExchangeKind::Topic, durable, FieldTable::default()).await?;
        let mut queues = Vec::new();
        for partition in 0..PARTITIONS {
            let channel = consuming.create_channel().await?;
            let queue = format!("{name}.p{partition:02}");
            let mut arguments = FieldTable::default();
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
            arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
            let durable = QueueDeclareOptions { durable: true, ..Default::default() };
            channel.queue_declare(queue.as_str().into(), durable, arguments).await?;
            let key = routing_key(Kind::READING_RECORDED, partition);
            let (to, from) = (queue.as_str().into(), exchange.as_str().into());
            channel.queue_bind(to, from, key.into(), QueueBindOptions::default(), FieldTable::default()).await?;
            channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
            let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
            let consumer = channel.basic_consume(queue.as_str().into(), "".into(), options, arguments).await?;
            queues.push((channel, consumer));
        }
        Ok(Self { exchange, publish, queues, _connections: [publishing, consuming] })
    }

    async fn round(&mut self, all: &[(String, Vec<u8>)]) -> Result<f64, Failure> {
        let count = all.len();
        let per_queue = count / usize::from(PARTITIONS);
        let began = Instant::now();
        let publishing = async {
            let mut open = VecDeque::new();
            for (key, body) in all {
                if open.len() >= WINDOW {
                    confirmed(open.pop_front()).await?;
                }
                let options = BasicPublishOptions { mandatory: true, immediate: false };
                let properties = BasicProperties::default().with_delivery_mode(2);
                let exchange = self.exchange.as_str().into();
                open.push_back(
                    self.publish.basic_publish(exchange, key.as_str().into(), options, body, properties).await?,
                );
            }
            while !open.is_empty() {
                confirmed(open.pop_front()).await?;
            }
            Ok::<(), Failure>(())
        };
        let consuming = self.queues.iter_mut().map(|(channel, consumer)| async move {
            let mut seen = 0;
            while seen < per_queue {
                let mut last = consumer.next().await.ok_or("the subscription ended")??.delivery_tag;
                seen += 1;
                while let Some(Some(more)) = futures::FutureExt::now_or_never(consumer.next()) {
                    last = more?.delivery_tag;
                    seen += 1;
                }
                channel.basic_ack(last, BasicAckOptions { multiple: true }).await?;
            }
            Ok::<(), Failure>(())
        });
        futures::future::try_join(publishing, futures::future::try_join_all(consuming)).await?;
        Ok(rate(count, began))
    }
}

async fn confirmed(confirm: Option<lapin::PublisherConfirm>) -> Result<(), Failure> {
    let Some(confirm) = confirm else { return Ok(()) };
    match confirm.await? {
        Confirmation::Ack(None) => Ok(()),
        other => Err(format!("not confirmed: {other:?}").into()),
    }
}

async fn measure(bench: &Bench, report: &mut Report, url: &str) -> Result<(), Failure> {
    let count = if bench.quick { 8_000 } else { 48_000 };
    let all = messages(count)?;
    let raw: Vec<(String, Vec<u8>)> = all
        .iter()
        .enumerate()
        .map(|(n, envelope)| {
            let partition = u16::try_from(n % usize::from(PARTITIONS))?;
            Ok((routing_key(envelope.kind, partition), serde_json::to_vec(&**envelope)?))
        })
        .collect::<Result<_, Failure>>()?;
    let bytes = raw.first().map_or(0, |(_, body)| body.len());
    let name = format!("bench-{:016x}", SystemIds.random());
    let (bridged_name, raw_name) = (format!("{name}-bridge"), format!("{name}-raw"));
    let mut bridged = Bridged::open(url, &bridged_name).await?;
    let mut bare = Raw::open(url, &raw_name).await?;
    let (mut ratios, mut void, mut rates) = (Vec::new(), Vec::new(), (Vec::new(), Vec::new()));
    for round in 0..if bench.quick { 2 } else { 5 } {
        let both = async { Ok::<_, Failure>((bare.round(&raw).await?, bridged.round(&all).await?)) };
        match tokio::time::timeout(ROUND_LIMIT, both).await {
            Ok(Ok((bare, bridged))) => {
                ratios.push(bridged / bare);
                rates.0.push(bare);
                rates.1.push(bridged);
            }
            Ok(Err(error)) => return Err(format!("round {round}: {error}").into()),
            Err(_) => void.push(format!("round {round} took longer than {ROUND_LIMIT:?}")),
        }
    }
    let median = crate::report::median;
    let note = format!(
        "{count} messages of {bytes} bytes over {PARTITIONS} partitions: bridge {:.0}/s, lapin alone {:.0}/s",
        median(&rates.1),
        median(&rates.0)
    );
    report.add("broker", "publish, consume and settle", "of the bare client", Some((0.5, 0.75)), &ratios, void, note);
    for partition in 0..PARTITIONS {
        for name in [&bridged_name, &raw_name] {
            let queue = format!("{name}.p{partition:02}");
            bare.publish.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
        }
    }
    Ok(())
}

/// Measures on the broker that `SHERS_BENCH_AMQP_URL` names.
pub fn run(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let url = std::env::var("SHERS_BENCH_AMQP_URL").map_err(|_| "SHERS_BENCH_AMQP_URL names no broker")?;
    actix_rt::System::new().block_on(measure(bench, report, &url))
}
