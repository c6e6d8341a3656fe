//! The envelope: the same in the log, on the wire and on the websocket.

use crate::{IncidentId, Kind, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{fmt, sync::Arc};
use uuid::Uuid;

/// Name of a stream, `category/id`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamName(Arc<str>);

impl StreamName {
    /// The stream of `id` in `category`.
    #[must_use]
    pub fn new(category: &str, id: impl AsRef<str>) -> Self {
        Self(format!("{category}/{}", id.as_ref()).into())
    }
    /// A name read back from where it was stored.
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }
    /// The part before the slash.
    #[must_use]
    pub fn category(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(c, _)| c)
    }
    /// The part after the slash.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, id)| id)
    }
    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// W3C trace context: 16 bytes of trace id and 8 of the parent span.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Traceparent {
    /// Trace id, not zero.
    pub trace_id: u128,
    /// Id of the span that caused this, not zero.
    pub span_id: u64,
}

impl Traceparent {
    /// Parses `00-<32 hex>-<16 hex>-<2 hex>`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lengths = version.len() == 2 && trace.len() == 32 && span.len() == 16 && flags.len() == 2;
        if !lengths || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|t| *t != 0)?;
        let span_id = u64::from_str_radix(span, 16).ok().filter(|s| *s != 0)?;
        Some(Self { trace_id, span_id })
    }
    /// The same trace with another parent span.
    #[must_use]
    pub fn child(self, span_id: u64) -> Self {
        Self { span_id: if span_id == 0 { 1 } else { span_id }, ..self }
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-01", self.trace_id, self.span_id)
    }
}

impl fmt::Debug for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Traceparent {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("not a W3C traceparent: {text:?}"))
    }
}

impl From<Traceparent> for String {
    fn from(t: Traceparent) -> String {
        t.to_string()
    }
}

/// One event or command with all that says where it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// UUIDv7 of this message; consumers recognise a repeat by it.
    pub id: Uuid,
    /// What it is.
    pub kind: Kind,
    /// Schema version of `data`.
    pub v: u16,
    /// The stream it belongs to.
    pub stream: StreamName,
    /// Position in that stream, from 1.
    pub version: u64,
    /// When it happened.
    pub at: Timestamp,
    /// The incident it belongs to, if there is one yet.
    pub correlation_id: Option<IncidentId>,
    /// The message or request that caused it.
    pub causation_id: Option<Uuid>,
    /// Trace context.
    pub traceparent: Option<Traceparent>,
    /// True in demo and drills; never leaves as a real SMS or charge.
    pub exercise: bool,
    /// The body, kept as the bytes it was written with.
    pub data: Box<RawValue>,
}

/// Why an envelope's data could not be understood.
#[derive(Debug, thiserror::Error)]
#[error("reading the data of {kind} v{v}")]
pub struct DecodeError {
    /// The kind.
    pub kind: Kind,
    /// Its schema version.
    pub v: u16,
    /// What serde said.
    #[source]
    pub source: serde_json::Error,
}

/// A set of event types of one service, each with its kind.
pub trait DomainEvent: Sized + Clone + Send + 'static {
    /// The kind of this event.
    fn kind(&self) -> Kind;
    /// The schema version this build writes.
    fn schema_version(&self) -> u16 {
        1
    }
    /// The body as JSON.
    fn to_data(&self) -> Box<RawValue>;
    /// Reads a body of `kind`; `None` when the kind is not one of this set.
    fn from_data(kind: Kind, v: u16, data: &RawValue) -> Option<Result<Self, DecodeError>>;
    /// Reads an envelope; `None` when its kind is not one of this set.
    fn from_envelope(envelope: &Envelope) -> Option<Result<Self, DecodeError>> {
        Self::from_data(envelope.kind, envelope.v, &envelope.data)
    }
}

/// Declares an enum of events, each variant holding one body type and bound to one kind.
#[macro_export]
macro_rules! domain_events {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident($body:ty) = $kind:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        // Events live for the time of one decision; a box each would cost more than the spare bytes.
        #[allow(clippy::large_enum_variant)]
        pub enum $name { $($(#[$vmeta])* $variant($body),)* }

        impl $crate::DomainEvent for $name {
            fn kind(&self) -> $crate::Kind {
                match self { $(Self::$variant(_) => $crate::Kind::$kind,)* }
            }
            fn to_data(&self) -> Box<serde_json::value::RawValue> {
                let data = match self { $(Self::$variant(body) => serde_json::value::to_raw_value(body),)* };
                // Bodies are plain structs with text keys: writing them cannot fail.
                data.unwrap_or_else(|_| serde_json::value::RawValue::NULL.to_owned())
            }
            fn from_data(kind: $crate::Kind, v: u16, data: &serde_json::value::RawValue)
                -> Option<Result<Self, $crate::DecodeError>> {
                $(if kind == $crate::Kind::$kind {
                    return Some(serde_json::from_str::<$body>(data.get()).map(Self::$variant)
                        .map_err(|source| $crate::DecodeError { kind, v, source }));
                })*
                None
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_survives_its_text_and_bad_ones_are_refused() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(Traceparent::parse(text).map(|t| t.to_string()).as_deref(), Some(text));
        for bad in ["", "00-0-0-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "x"] {
            assert_eq!(Traceparent::parse(bad), None, "{bad}");
        }
    }
}
