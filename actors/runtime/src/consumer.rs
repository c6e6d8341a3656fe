//! Consumers: queue → inbox → decision. A consumer's handler commits the mark of the message together
//! with what it decided; this loop settles the delivery after that.
//!
//! A message that a quarantined actor did not take is parked durably and settled: nothing behind it waits.
//! When a person releases the actor it comes back here, before anything that came later for that actor.

use crate::Deps;
use crate::exchange::{Delivery, Settlement, Subscription};
use crate::keeper::KeeperOptions;
use crate::parked::{Parking, Ticket};
use crate::store::Recorded;
use crate::tasks::Life;
use async_trait::async_trait;
use futures::{FutureExt, StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use std::{cell::RefCell, collections::HashMap, panic::AssertUnwindSafe, rc::Rc, time::Duration};
use tokio::sync::mpsc;
use uuid::Uuid;

/// Why a handler did not deal with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Something passing: try again after a back-off.
    Retry(String),
    /// It can never work: to the dead letters, with the reason.
    Dead(String),
}

/// Deals with messages. Runs on one arbiter; state inside is single-threaded.
#[async_trait(?Send)]
pub trait Consumer: 'static {
    /// What it wants to hear.
    fn subscription(&self) -> Subscription;
    /// Messages with the same key are handled one after the other, others at the same time.
    fn order_key(&self, message: &Recorded) -> String;
    /// Deals with one message. Must be safe to repeat.
    async fn handle(&self, message: &Recorded) -> Result<(), Failure>;
}

/// Limits of a consumer.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// Deliveries taken at once.
    pub batch: usize,
    /// A message whose handling panics this often goes to the dead letters. What fails for a passing reason
    /// is tried until it works.
    pub max_attempts: u32,
    /// Wait before the first retry; doubles up to `max_backoff`.
    pub backoff: Duration,
    /// Longest wait between retries.
    pub max_backoff: Duration,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self { batch: 256, max_attempts: 8, backoff: Duration::from_millis(20), max_backoff: Duration::from_secs(10) }
    }
}

/// The message that a consumer's handler has in hand.
struct InHand {
    consumer: &'static str,
    message_id: Uuid,
    /// The quarantined actor that did not take it.
    stopped_by: RefCell<Option<String>>,
}

tokio::task_local! {
    static IN_HAND: Rc<InHand>;
}

/// Says that `actor`, in quarantine, did not take the message in hand, if there is one.
pub(crate) fn stopped_by(actor: String) {
    // Outside of a handler there is nothing to park.
    let _ = IN_HAND.try_with(|in_hand| in_hand.stopped_by.replace(Some(actor)));
}

/// Whether the message in hand must wait behind others that are parked for the actor.
pub(crate) fn must_wait(parking: &Parking, category: &str, id: &str) -> bool {
    let waits = |in_hand: &Rc<InHand>| parking.must_wait(category, id, in_hand.consumer, in_hand.message_id);
    IN_HAND.try_with(waits).unwrap_or(false)
}

/// How the handling of a message ended.
enum Handled {
    Done,
    Dead(String),
    /// To be kept until this actor is released.
    Parked(String),
}

/// Runs a consumer for ever on the current arbiter, under the Keeper as `consumer/<name>`. Subscribes again
/// when the exchange fails. A life that ends leaves its deliveries unsettled, so the next one gets them again.
pub async fn run_consumer(deps: Deps, consumer: Rc<dyn Consumer>, options: ConsumerOptions) {
    let name = consumer.subscription().name;
    let keeper = deps.keeper.clone();
    let life = |life| one_life(&deps, &consumer, &options, life);
    // An actor that hangs is restarted first; only if that does not help is it the consumer that hangs.
    let defaults = KeeperOptions::default();
    let limits = KeeperOptions { hang_after: defaults.hang_after * 2, ..defaults };
    keeper.keep("consumer", name, limits, life).await;
}

async fn one_life(
    deps: &Deps,
    consumer: &Rc<dyn Consumer>,
    options: &ConsumerOptions,
    life: Life,
) -> Result<(), String> {
    let name = consumer.subscription().name;
    let mut wait = options.backoff;
    while let Err(error) = deps.keeper.parking().recover().await {
        tracing::warn!(consumer = name, %error, "reading parked messages");
        deps.clock.sleep(wait).await;
        wait = (wait * 2).min(options.max_backoff);
    }
    let released = take_released(deps, consumer, options, deps.keeper.parking().register(name));
    let delivered = take_delivered(deps, consumer, options, &life);
    futures::future::join(delivered, released).await;
    Ok(())
}

/// Deals with parked messages whose actors were released, one after the other.
async fn take_released(
    deps: &Deps,
    consumer: &Rc<dyn Consumer>,
    options: &ConsumerOptions,
    mut released: mpsc::UnboundedReceiver<Ticket>,
) {
    let name = consumer.subscription().name;
    let parking = deps.keeper.parking();
    while let Some(ticket) = released.recv().await {
        let message = loop {
            match parking.message(&ticket).await {
                Ok(message) => break message,
                Err(error) => tracing::warn!(consumer = name, %error, "reading a parked message"),
            }
            deps.clock.sleep(options.max_backoff).await;
        };
        let Some(message) = message else {
            parking.forget(&ticket);
            continue;
        };
        match handle_one(deps, consumer, options, &message, 1, None).await {
            Handled::Done => parking.done(&ticket, &message, None).await,
            Handled::Dead(why) => parking.done(&ticket, &message, Some(&why)).await,
            Handled::Parked(actor) => parking.park(actor, name, &message, Some(&ticket)).await,
        }
    }
}

async fn take_delivered(deps: &Deps, consumer: &Rc<dyn Consumer>, options: &ConsumerOptions, life: &Life) {
    let name = consumer.subscription().name;
    let mut wait = options.backoff;
    loop {
        match deps.exchange.subscribe(consumer.subscription()).await {
            Ok(mut deliveries) => {
                wait = options.backoff;
                loop {
                    match deliveries.next(options.batch).await {
                        Ok(batch) => {
                            life.begin(batch.len());
                            handle_batch(deps, consumer, options, batch, life).await;
                            life.end();
                        }
                        Err(error) => {
                            tracing::warn!(consumer = name, %error, "subscription lost");
                            break;
                        }
                    }
                }
            }
            Err(error) => tracing::warn!(consumer = name, %error, "subscribing failed"),
        }
        deps.clock.sleep(wait).await;
        wait = (wait * 2).min(options.max_backoff);
    }
}

/// Handles a batch: in order within a key, concurrently across keys, settled one by one.
async fn handle_batch(
    deps: &Deps,
    consumer: &Rc<dyn Consumer>,
    options: &ConsumerOptions,
    batch: Vec<Delivery>,
    life: &Life,
) {
    let mut lanes: HashMap<String, usize> = HashMap::new();
    let mut queues: Vec<Vec<Delivery>> = Vec::new();
    for delivery in batch {
        let key = consumer.order_key(&delivery.message);
        let lane = *lanes.entry(key).or_insert_with(|| {
            queues.push(Vec::new());
            queues.len() - 1
        });
        if let Some(queue) = queues.get_mut(lane) {
            queue.push(delivery);
        }
    }
    let mut running: FuturesUnordered<LocalBoxFuture<'_, ()>> =
        queues
            .into_iter()
            .map(|queue| {
                async move {
                    for delivery in queue {
                        let settlement =
                            match handle_one(deps, consumer, options, &delivery.message, delivery.attempt, Some(life))
                                .await
                            {
                                Handled::Done => Settlement::Done,
                                Handled::Dead(why) => Settlement::Dead(why),
                                Handled::Parked(actor) => park(deps, consumer, actor, &delivery.message).await,
                            };
                        delivery.settle(settlement);
                        life.progress();
                    }
                }
                .boxed_local()
            })
            .collect();
    while running.next().await.is_some() {}
}

/// Parks a delivered message, or gives it up where too many are parked already.
async fn park(deps: &Deps, consumer: &Rc<dyn Consumer>, actor: String, message: &Recorded) -> Settlement {
    let parking = deps.keeper.parking();
    if let Some(why) = parking.refuses(&actor) {
        tracing::error!(actor, message.id = %message.envelope.id, why, "a message is given up");
        return Settlement::Dead(why);
    }
    parking.park(actor, consumer.subscription().name, message, None).await;
    Settlement::Done
}

/// Tries one message until it is done, dead, or stopped by a quarantine. Retries stay here, in place, so
/// that order within the key holds.
async fn handle_one(
    deps: &Deps,
    consumer: &Rc<dyn Consumer>,
    options: &ConsumerOptions,
    message: &Recorded,
    mut attempt: u32,
    life: Option<&Life>,
) -> Handled {
    let name = consumer.subscription().name;
    let envelope = &message.envelope;
    let mut wait = options.backoff;
    loop {
        let in_hand = Rc::new(InHand { consumer: name, message_id: envelope.id, stopped_by: RefCell::default() });
        let handling = AssertUnwindSafe(consumer.handle(message)).catch_unwind();
        let (why, panicked) = match IN_HAND.scope(Rc::clone(&in_hand), handling).await {
            Ok(Ok(())) => {
                metrics::counter!("shers_messages_handled_total", "consumer" => name).increment(1);
                return Handled::Done;
            }
            Ok(Err(Failure::Dead(why))) => {
                tracing::error!(consumer = name, message.id = %envelope.id, kind = %envelope.kind, why, "message is dead");
                return Handled::Dead(why);
            }
            Ok(Err(Failure::Retry(why))) => (why, false),
            Err(panic) => (format!("panicked: {}", crate::keeper::panic_text(&*panic)), true),
        };
        if let Some(actor) = in_hand.stopped_by.take() {
            tracing::warn!(consumer = name, message.id = %envelope.id, kind = %envelope.kind, actor, "a message is parked");
            return Handled::Parked(actor);
        }
        metrics::counter!("shers_messages_retried_total", "consumer" => name).increment(1);
        tracing::warn!(consumer = name, message.id = %envelope.id, kind = %envelope.kind, attempt, why, "handling failed");
        // What passes (a store that is out) is nobody's fault: only panics make a message poison.
        if panicked && attempt >= options.max_attempts {
            return Handled::Dead(why);
        }
        attempt += u32::from(panicked);
        if let Some(life) = life {
            // To fail and try again is not to hang.
            life.progress();
        }
        deps.clock.sleep(wait).await;
        wait = (wait * 2).min(options.max_backoff);
    }
}
