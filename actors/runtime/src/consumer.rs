//! Consumers: queue → inbox → decision. A consumer's handler commits the mark of the message together
//! with what it decided; this loop settles the delivery after that.

use crate::Deps;
use crate::exchange::{Delivery, Settlement, Subscription};
use crate::store::Recorded;
use async_trait::async_trait;
use futures::{FutureExt, StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use std::{collections::HashMap, panic::AssertUnwindSafe, rc::Rc, time::Duration};

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
    /// A message that fails this often goes to the dead letters.
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

/// Runs a consumer for ever on the current arbiter. Subscribes again when the exchange fails.
pub async fn run_consumer(deps: Deps, consumer: Rc<dyn Consumer>, options: ConsumerOptions) {
    let name = consumer.subscription().name;
    let mut wait = options.backoff;
    loop {
        match deps.exchange.subscribe(consumer.subscription()).await {
            Ok(mut deliveries) => {
                wait = options.backoff;
                loop {
                    match deliveries.next(options.batch).await {
                        Ok(batch) => handle_batch(&deps, &consumer, &options, batch).await,
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
async fn handle_batch(deps: &Deps, consumer: &Rc<dyn Consumer>, options: &ConsumerOptions, batch: Vec<Delivery>) {
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
    let mut running: FuturesUnordered<LocalBoxFuture<'_, ()>> = queues
        .into_iter()
        .map(|queue| {
            async move {
                for delivery in queue {
                    let settlement = handle_one(deps, consumer, options, &delivery).await;
                    delivery.settle(settlement);
                }
            }
            .boxed_local()
        })
        .collect();
    while running.next().await.is_some() {}
}

/// Tries one message until it is done or dead. Retries stay here, in place, so that order within the
/// key holds.
async fn handle_one(
    deps: &Deps,
    consumer: &Rc<dyn Consumer>,
    options: &ConsumerOptions,
    delivery: &Delivery,
) -> Settlement {
    let name = consumer.subscription().name;
    let envelope = &delivery.message.envelope;
    let mut wait = options.backoff;
    let mut attempt = delivery.attempt;
    loop {
        let outcome = AssertUnwindSafe(consumer.handle(&delivery.message)).catch_unwind().await;
        let why = match outcome {
            Ok(Ok(())) => {
                metrics::counter!("shers_messages_handled_total", "consumer" => name).increment(1);
                return Settlement::Done;
            }
            Ok(Err(Failure::Dead(why))) => {
                tracing::error!(consumer = name, message.id = %envelope.id, kind = %envelope.kind, why, "message is dead");
                return Settlement::Dead(why);
            }
            Ok(Err(Failure::Retry(why))) => why,
            Err(panic) => format!("panicked: {}", crate::keeper::panic_text(&*panic)),
        };
        metrics::counter!("shers_messages_retried_total", "consumer" => name).increment(1);
        tracing::warn!(consumer = name, message.id = %envelope.id, kind = %envelope.kind, attempt, why, "handling failed");
        if attempt >= options.max_attempts {
            return Settlement::Dead(why);
        }
        attempt += 1;
        deps.clock.sleep(wait).await;
        wait = (wait * 2).min(options.max_backoff);
    }
}
