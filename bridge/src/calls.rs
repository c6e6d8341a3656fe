//! Calls: a request to whoever answers at an address, and its one reply, over direct reply-to. A call is delivered
//! at most once; a caller that gets no reply in time does not know, and asks again with its Idempotency-Key.

use crate::{
    link::{Role, Up, connected},
    publish::confirming,
    shared::{Fault, Shared, within},
};
use futures::StreamExt;
use lapin::{
    BasicProperties, Channel, Confirmation, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use shers_contract::{
    Problem,
    api::{Call, Reply},
};
use shers_runtime::{clock::system_now, endpoint::Endpoint, wire::Address};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Semaphore, oneshot},
    time::{Instant, timeout_at},
};

/// The pseudo queue by which the broker hands a reply to the connection that asked.
const REPLY_TO: &str = "amq.rabbitmq.reply-to";
/// A queue of calls goes this long after its last subscriber.
const UNUSED_MS: i64 = 60_000;

fn queue(shared: &Shared, at: Address) -> String {
    let service = at.service.as_str();
    match at.partition {
        Some(partition) => format!("{}.{service}.p{partition:02}", shared.settings.calls),
        None => format!("{}.{service}.any", shared.settings.calls),
    }
}

type Pending = Arc<Mutex<HashMap<String, oneshot::Sender<Reply>>>>;

/// The asking side of one connection.
struct Line {
    generation: u64,
    channel: Channel,
}

/// The asking side of this process.
pub(crate) struct Caller {
    in_flight: Semaphore,
    pending: Pending,
    line: tokio::sync::Mutex<Option<Arc<Line>>>,
}

/// Forgets a call that is no longer waited for, so that a late reply is dropped.
struct Waiting<'a> {
    pending: &'a Pending,
    id: String,
}

fn lock(pending: &Pending) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Reply>>> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(self.pending).remove(&self.id);
    }
}

impl Caller {
    pub(crate) fn new(in_flight: usize) -> Self {
        Self { in_flight: Semaphore::new(in_flight), pending: Pending::default(), line: tokio::sync::Mutex::new(None) }
    }

    pub(crate) async fn ask(&self, shared: &Arc<Shared>, to: Address, call: Call, limit: Duration) -> Reply {
        let deadline = Instant::now() + limit;
        let Ok(_permit) = self.in_flight.try_acquire() else {
            return Err(Problem::unavailable("too many requests wait for other replicas; try again shortly"));
        };
        let body = serde_json::to_vec(&call).map_err(|_| Problem::malformed("the request can't be passed on"))?;
        let line = match timeout_at(deadline, self.line(shared)).await {
            Ok(Ok(line)) => line,
            Ok(Err(why)) => {
                tracing::warn!(why, "a call could not be sent");
                return Err(Problem::unavailable("the broker can't be reached; nothing was done, try again"));
            }
            Err(_) => return Err(Problem::unavailable("the broker is slow; nothing was done, try again")),
        };
        let id = shared.ids.uuid(system_now()).to_string();
        let (reply, mut replied) = oneshot::channel();
        lock(&self.pending).insert(id.clone(), reply);
        let waiting = Waiting { pending: &self.pending, id };
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_correlation_id(waiting.id.as_str().into())
            .with_reply_to(REPLY_TO.into())
            .with_expiration(limit.as_millis().max(1).to_string().into());
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let queue = queue(shared, to);
        let sending = line.channel.basic_publish("".into(), queue.as_str().into(), options, &body, properties);
        let exchange = async {
            let confirm = sending.await.map_err(|_| Problem::unknown_outcome())?;
            tokio::select! {
                biased;
                reply = &mut replied => return reply.unwrap_or_else(|_| Err(Problem::unknown_outcome())),
                confirmed = confirm => match confirmed {
                    Ok(Confirmation::Ack(None)) => {}
                    Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_))) => {
                        let service = to.service.as_str();
                        let nobody = format!("no replica of {service} answers for this now; nothing was done, try again");
                        return Err(Problem::unavailable(nobody));
                    }
                    Ok(Confirmation::Nack(None) | Confirmation::NotRequested) | Err(_) => {
                        return Err(Problem::unknown_outcome());
                    }
                },
            }
            replied.await.unwrap_or_else(|_| Err(Problem::unknown_outcome()))
        };
        timeout_at(deadline, exchange).await.unwrap_or_else(|_| Err(Problem::unknown_outcome()))
    }

    /// The channel of the current connection. Without a connection there is none, and no waiting for one.
    async fn line(&self, shared: &Arc<Shared>) -> Result<Arc<Line>, String> {
        let up = shared.link(Role::Publish).borrow().clone()?;
        let mut line = self.line.lock().await;
        if let Some(line) = &*line
            && line.generation == up.generation
            && line.channel.status().connected()
        {
            return Ok(Arc::clone(line));
        }
        // Whoever waits on the old channel gets no reply any more.
        lock(&self.pending).clear();
        let channel = confirming(shared, &up).await?;
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let consuming = channel.basic_consume(REPLY_TO.into(), "".into(), options, FieldTable::default());
        let replies = within(shared.settings.operation_limit(), "subscribing to replies", consuming).await?;
        shared.spawn(take_replies(replies, Arc::clone(&self.pending)));
        let opened = Arc::new(Line { generation: up.generation, channel });
        *line = Some(Arc::clone(&opened));
        Ok(opened)
    }
}

async fn take_replies(mut replies: Consumer, pending: Pending) {
    while let Some(Ok(delivery)) = replies.next().await {
        let id = delivery.properties.correlation_id().as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default();
        let Some(waiting) = lock(&pending).remove(&id) else {
            metrics::counter!("shers_amqp_late_replies_total").increment(1);
            continue;
        };
        let reply = serde_json::from_slice(&delivery.data).unwrap_or_else(|_| Err(Problem::unknown_outcome()));
        // The caller may give up at this very moment.
        let _ = waiting.send(reply);
    }
}

/// Answers until it is dropped.
pub(crate) struct Answering {
    _ends_with_this: oneshot::Sender<()>,
}

pub(crate) fn answer(shared: &Arc<Shared>, at: Address, door: Arc<dyn Endpoint>) -> Answering {
    let (guard, mut dropped) = oneshot::channel::<()>();
    let task = Arc::clone(shared);
    shared.spawn(async move {
        let queue = queue(&task, at);
        // The latest comes first: an owner that does not know yet that it is none any more is passed by.
        let priority = at.partition.map(|_| system_now().as_ms());
        let mut link = task.link(Role::Consume).subscribe();
        let fault = Fault::of(&task, &queue);
        let mut failures = 0;
        loop {
            let up = tokio::select! {
                up = connected(&mut link) => up,
                _ = &mut dropped => None,
            };
            let Some(up) = up else { return };
            let served = match subscribe(&task, &up, &queue, priority).await {
                Ok((channel, calls)) => {
                    failures = 0;
                    fault.set(None);
                    let served = tokio::select! {
                        why = serve(&task, &channel, calls, &door) => Err(why),
                        _ = &mut dropped => Ok(()),
                    };
                    let closing = channel.close(200, "OK".into());
                    // It may be closed already.
                    let _ = within(task.settings.operation_limit(), "closing a channel", closing).await;
                    served
                }
                Err(why) => Err(why),
            };
            let Err(why) = served else { return };
            tracing::warn!(queue, why, "answering was interrupted");
            fault.set(up.connection.status().connected().then_some(why));
            tokio::time::sleep(task.settings.backoff(failures, task.ids.random())).await;
            failures += 1;
        }
    });
    Answering { _ends_with_this: guard }
}

async fn subscribe(
    shared: &Shared,
    up: &Up,
    queue: &str,
    priority: Option<i64>,
) -> Result<(Channel, Consumer), String> {
    let limit = shared.settings.operation_limit();
    let channel = within(limit, "opening a channel", up.connection.create_channel()).await?;
    // Gone with its last subscriber, so that a caller hears at once that nobody is there. Durable all the same:
    // a transient queue that is not exclusive is on its way out of the broker.
    let options = QueueDeclareOptions { durable: true, auto_delete: true, ..Default::default() };
    let mut arguments = FieldTable::default();
    arguments.insert("x-expires".into(), AMQPValue::LongLongInt(UNUSED_MS));
    within(limit, "declaring a queue of calls", channel.queue_declare(queue.into(), options, arguments)).await?;
    let qos = channel.basic_qos(shared.settings.answers_in_flight, BasicQosOptions::default());
    within(limit, "setting the prefetch", qos).await?;
    let mut arguments = FieldTable::default();
    if let Some(priority) = priority {
        arguments.insert("x-priority".into(), AMQPValue::LongLongInt(priority));
    }
    let consuming = channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), arguments);
    Ok((channel.clone(), within(limit, "subscribing to calls", consuming).await?))
}

/// Answers calls; says why it ended.
async fn serve(shared: &Arc<Shared>, channel: &Channel, mut calls: Consumer, door: &Arc<dyn Endpoint>) -> String {
    let in_flight = Arc::new(Semaphore::new(usize::from(shared.settings.answers_in_flight)));
    while let Some(delivery) = calls.next().await {
        let delivery = match delivery {
            Ok(delivery) => delivery,
            Err(error) => return error.to_string(),
        };
        let Ok(permit) = Arc::clone(&in_flight).acquire_owned().await else { break };
        // Before it is done, not after: a call is never done twice for one question.
        let ack = channel.basic_ack(delivery.delivery_tag, BasicAckOptions::default());
        if let Err(why) = within(shared.settings.operation_limit(), "acknowledging a call", ack).await {
            return why;
        }
        let (shared_, door) = (Arc::clone(shared), Arc::clone(door));
        shared.spawn(async move {
            answer_one(&shared_, delivery, door).await;
            drop(permit);
        });
    }
    "the broker ended the subscription".to_owned()
}

async fn answer_one(shared: &Shared, delivery: Delivery, door: Arc<dyn Endpoint>) {
    let properties = &delivery.properties;
    let (Some(reply_to), Some(id)) = (properties.reply_to().clone(), properties.correlation_id().clone()) else {
        tracing::warn!("a call without reply-to or correlation id was dropped");
        return;
    };
    let reply: Reply = match serde_json::from_slice::<Call>(&delivery.data) {
        Ok(call) => door.call(call).await,
        Err(_) => Err(Problem::unavailable("this replica does not know such a request; it may be older or newer")),
    };
    let Ok(body) = serde_json::to_vec(&reply) else { return };
    let link = shared.link(Role::Publish).borrow().clone();
    let sent = async {
        let up = link?;
        let limit = shared.settings.operation_limit();
        let channel = within(limit, "opening a channel", up.connection.create_channel()).await?;
        let properties = BasicProperties::default().with_correlation_id(id);
        let sending = channel.basic_publish("".into(), reply_to, BasicPublishOptions::default(), &body, properties);
        within(limit, "sending a reply", sending).await?;
        within(limit, "closing a channel", channel.close(200, "OK".into())).await
    };
    if let Err(why) = sent.await {
        tracing::warn!(why, "a reply could not be sent; its caller will ask again");
    }
}
