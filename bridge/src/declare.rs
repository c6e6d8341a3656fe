//! Makes the broker hold what [`topology`] says.

use crate::{
    link::Up,
    shared::{Shared, within},
    topology::{Queue, Topology, topology},
};
use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use serde_json::Value;

/// Declares every known part of the house.
pub(crate) async fn house(shared: &Shared, up: &Up) -> Result<(), String> {
    let settings = &shared.settings;
    let (edition, parts) = shared.house();
    let all = topology(&settings.exchange, settings.delivery_limit, &parts);
    let channel = within(settings.operation_limit(), "opening a channel", up.connection.create_channel()).await?;
    let done = walk(shared, &channel, &all).await;
    // It is of no further use, and a refused declaration closed it already.
    let _ = within(settings.operation_limit(), "closing a channel", channel.close(200, "OK".into())).await;
    done?;
    shared.declared.send_if_modified(|stands| {
        let newer = edition > *stands;
        *stands = edition.max(*stands);
        newer
    });
    Ok(())
}

async fn walk(shared: &Shared, channel: &Channel, all: &Topology) -> Result<(), String> {
    let limit = shared.settings.operation_limit();
    for exchange in &all.exchanges {
        let kind = if exchange.kind == "fanout" { ExchangeKind::Fanout } else { ExchangeKind::Topic };
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let declaring = channel.exchange_declare(exchange.name.as_str().into(), kind, options, FieldTable::default());
        within(limit, &format!("declaring exchange {}", exchange.name), declaring).await?;
    }
    for queue in &all.queues {
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        let declaring = channel.queue_declare(queue.name.as_str().into(), options, arguments(queue));
        within(limit, &format!("declaring queue {}", queue.name), declaring).await?;
    }
    for binding in &all.bindings {
        let (queue, exchange) = (binding.queue.as_str().into(), binding.exchange.as_str().into());
        let key = binding.routing_key.as_str().into();
        let binding_it = channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default());
        within(limit, &format!("binding {} to {}", binding.queue, binding.exchange), binding_it).await?;
    }
    Ok(())
}

fn arguments(queue: &Queue) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in &queue.arguments {
        let value = match value {
            Value::Bool(yes) => AMQPValue::Boolean(*yes),
            Value::Number(n) => AMQPValue::LongLongInt(n.as_i64().unwrap_or(i64::MAX)),
            Value::String(text) => AMQPValue::LongString(text.as_str().into()),
            Value::Null | Value::Array(_) | Value::Object(_) => continue,
        };
        table.insert(key.as_str().into(), value);
    }
    table
}
