//! Messages as AMQP carries them: envelopes, probes, and what is neither.

use lapin::{BasicProperties, message::Delivery};
use shers_contract::{Envelope, Kind, routing};
use shers_runtime::wire::{Unreadable, WireError};
use std::sync::Arc;

/// The newest schema version that this build understands, of any kind.
const NEWEST_SCHEMA_VERSION: u16 = 1;
const JSON: &str = "application/json";
const PROBE: &str = "application/x-shers-probe";
const TRANSIENT: u8 = 1;
const PERSISTENT: u8 = 2;

/// A message ready to be published.
pub(crate) struct Outgoing {
    pub routing_key: String,
    pub body: Vec<u8>,
    pub properties: BasicProperties,
}

pub(crate) fn outgoing(envelope: &Envelope) -> Result<Outgoing, WireError> {
    let partition = routing::partition(&envelope.stream, envelope.correlation_id.as_ref());
    let body = serde_json::to_vec(envelope).map_err(|e| WireError(format!("writing message {}: {e}", envelope.id)))?;
    let properties = BasicProperties::default()
        .with_content_type(JSON.into())
        .with_delivery_mode(PERSISTENT)
        .with_message_id(envelope.id.to_string().into())
        .with_type(envelope.kind.as_str().into());
    Ok(Outgoing { routing_key: routing::routing_key(envelope.kind, partition), body, properties })
}

/// The properties of a member's probe.
pub(crate) fn probe(member: &str) -> BasicProperties {
    BasicProperties::default().with_content_type(PROBE.into()).with_delivery_mode(TRANSIENT).with_app_id(member.into())
}

/// The member whose probe this is; `None` when it is no probe. Probes come through the default exchange only.
pub(crate) fn prober(delivery: &Delivery) -> Option<String> {
    let properties = &delivery.properties;
    let is_probe = delivery.exchange.as_str().is_empty()
        && properties.content_type().as_ref().is_some_and(|content| content.as_str() == PROBE);
    is_probe.then(|| properties.app_id().as_ref().map_or_else(String::new, |id| id.as_str().to_owned()))
}

/// The message in a delivery, or why there is none.
pub(crate) fn incoming(delivery: Delivery, max_bytes: usize, keep_bytes: usize) -> Result<Arc<Envelope>, Unreadable> {
    match read(&delivery.data, max_bytes) {
        Ok(envelope) => Ok(Arc::new(envelope)),
        Err(reason) => {
            let mut body = delivery.data;
            body.truncate(keep_bytes);
            let message_id = delivery.properties.message_id().as_ref().map(|id| id.as_str().to_owned());
            Err(Unreadable { reason, routing_key: delivery.routing_key.as_str().to_owned(), message_id, body })
        }
    }
}

/// Just enough of an envelope to say what is wrong with it.
#[derive(serde::Deserialize)]
struct Outline {
    kind: Option<String>,
    v: Option<u64>,
}

fn read(body: &[u8], max_bytes: usize) -> Result<Envelope, String> {
    if body.len() > max_bytes {
        return Err(format!("too large: {} bytes, at most {max_bytes} are read", body.len()));
    }
    let wrong = match serde_json::from_slice::<Envelope>(body) {
        Ok(envelope) if envelope.v <= NEWEST_SCHEMA_VERSION => return Ok(envelope),
        Ok(envelope) => return Err(from_the_future(envelope.kind.as_str(), envelope.v.into())),
        Err(error) => error,
    };
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(body) {
        return Err(format!("not JSON, at line {} column {}", error.line(), error.column()));
    }
    match serde_json::from_slice::<Outline>(body) {
        Ok(Outline { kind: Some(kind), .. }) if Kind::parse(&kind).is_none() => {
            let kind: String = kind.chars().take(80).collect();
            Err(format!("unknown kind {kind:?}"))
        }
        Ok(Outline { kind: Some(kind), v: Some(v) }) if v > NEWEST_SCHEMA_VERSION.into() => {
            Err(from_the_future(&kind, v))
        }
        Ok(_) | Err(_) => Err(format!("not an envelope: {wrong}")),
    }
}

fn from_the_future(kind: &str, v: u64) -> String {
    format!("{kind} of schema version {v}, and the newest known here is {NEWEST_SCHEMA_VERSION}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use shers_runtime::testing::wire_suite::reading;

    #[test]
    fn an_envelope_passes_unchanged_and_everything_else_says_why_it_does_not() {
        let envelope = reading(3, 9);
        let sent = outgoing(&envelope).expect("written");
        assert_eq!(sent.routing_key, "wearable.reading.recorded.p03");
        let text = String::from_utf8(sent.body.clone()).expect("text");
        let back = read(&sent.body, 10_000).expect("read");
        assert_eq!(serde_json::to_string(&back).expect("JSON"), text);
        for (body, max, want) in [
            ("{".to_owned(), 100, "not JSON, at line 1 column 1"),
            ("[]".to_owned(), 100, "not an envelope"),
            ("{\"kind\":\"wearable.reading.recorded\"}".to_owned(), 100, "not an envelope"),
            (text.replace("wearable.reading.recorded", "wearable.other"), 10_000, "unknown kind \"wearable.other\""),
            (text.replace("\"v\":1", "\"v\":2"), 10_000, "schema version 2, and the newest known here is 1"),
            (text.replace("\"v\":1", "\"v\":99999"), 10_000, "schema version 99999"),
            (text.clone(), 50, "too large"),
        ] {
            let said = read(body.as_bytes(), max).expect_err(&body);
            assert!(said.contains(want), "{body}: {said}");
        }
    }
}
