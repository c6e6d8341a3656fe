//! Publishing: persistent, mandatory, pipelined, every confirm awaited.

use crate::{
    link::{Role, Up, connected},
    message::{self, Outgoing},
    shared::{Shared, within},
};
use lapin::{
    Channel, Confirmation, PublisherConfirm,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use shers_contract::Envelope;
use shers_runtime::wire::WireError;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::time::Instant;

/// Channels kept for the next batch.
const KEPT_CHANNELS: usize = 8;

/// Channels in confirm mode. A batch has one of its own while it lasts, so that a return or an error is its own.
#[derive(Default)]
pub(crate) struct Publisher {
    idle: Mutex<Vec<(u64, Channel)>>,
}

impl Publisher {
    /// Publishes a batch; resolves when all of it is confirmed.
    pub(crate) async fn publish(&self, shared: &Shared, batch: &[Arc<Envelope>]) -> Result<(), WireError> {
        let limit = shared.settings.publish_limit();
        let deadline = Instant::now() + limit;
        let ready = tokio::time::timeout_at(deadline, ready(shared)).await;
        let Ok(Some(up)) = ready else {
            let why = shared.trouble().unwrap_or_else(|| "the house is not declared yet".to_owned());
            return Err(WireError(format!("nothing was published within {limit:?}: {why}")));
        };
        match tokio::time::timeout_at(deadline, self.publish_on(shared, &up, batch)).await {
            Ok(done) => done,
            Err(_) => {
                if let Some(why) = shared.blocked() {
                    return Err(WireError(format!(
                        "no confirms within {limit:?}: the broker blocks publishers: {why}"
                    )));
                }
                let why = format!("no confirms within {limit:?}");
                shared.lost(&up, why.clone());
                Err(WireError(why))
            }
        }
    }

    async fn publish_on(&self, shared: &Shared, up: &Up, batch: &[Arc<Envelope>]) -> Result<(), WireError> {
        let channel = self.channel(shared, up).await.map_err(WireError)?;
        let mut open: VecDeque<(PublisherConfirm, &Envelope)> = VecDeque::new();
        for envelope in batch {
            while open.len() >= shared.settings.confirm_window {
                confirm_oldest(&mut open).await?;
            }
            let Outgoing { routing_key, body, properties } = message::outgoing(envelope)?;
            let options = BasicPublishOptions { mandatory: true, immediate: false };
            let exchange = shared.settings.exchange.as_str().into();
            let sent = channel.basic_publish(exchange, routing_key.into(), options, &body, properties).await;
            let confirm = sent.map_err(|e| WireError(format!("publishing message {}: {e}", envelope.id)))?;
            metrics::counter!("shers_amqp_published_total").increment(1);
            open.push_back((confirm, envelope));
        }
        while !open.is_empty() {
            confirm_oldest(&mut open).await?;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT_CHANNELS {
            idle.push((up.generation, channel));
        }
        Ok(())
    }

    async fn channel(&self, shared: &Shared, up: &Up) -> Result<Channel, String> {
        {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|(generation, channel)| *generation == up.generation && channel.status().connected());
            if let Some((_, channel)) = idle.pop() {
                return Ok(channel);
            }
        }
        confirming(shared, up).await
    }
}

/// A new channel in confirm mode. Without that mode a confirm would resolve at once.
pub(crate) async fn confirming(shared: &Shared, up: &Up) -> Result<Channel, String> {
    let limit = shared.settings.operation_limit();
    let channel = within(limit, "opening a channel", up.connection.create_channel()).await?;
    within(limit, "asking for confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(channel)
}

/// Waits until there is a connection and the whole house is declared.
async fn ready(shared: &Shared) -> Option<Arc<Up>> {
    let mut link = shared.link(Role::Publish).subscribe();
    let mut declared = shared.declared.subscribe();
    loop {
        let up = connected(&mut link).await?;
        let (edition, _) = shared.house();
        tokio::select! {
            biased;
            reached = declared.wait_for(|at| *at >= edition) => {
                reached.ok()?;
                return Some(up);
            }
            gone = link.changed() => gone.ok()?,
        }
    }
}

async fn confirm_oldest(open: &mut VecDeque<(PublisherConfirm, &Envelope)>) -> Result<(), WireError> {
    let Some((confirm, envelope)) = open.pop_front() else { return Ok(()) };
    match confirm.await {
        Ok(Confirmation::Ack(None)) => {
            metrics::counter!("shers_amqp_confirmed_total").increment(1);
            Ok(())
        }
        Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_))) => {
            metrics::counter!("shers_amqp_returned_total", "kind" => envelope.kind.as_str()).increment(1);
            Err(WireError(format!("no queue takes {} (message {})", envelope.kind, envelope.id)))
        }
        Ok(Confirmation::Nack(None)) => Err(WireError(format!("the broker refused message {}", envelope.id))),
        Ok(Confirmation::NotRequested) => Err(WireError("the channel does not confirm".to_owned())),
        Err(error) => Err(WireError(format!("message {} was not confirmed: {error}", envelope.id))),
    }
}
