//! Identifiers as types. Outside ids (patients, devices, units …) are short texts chosen by whoever
//! registers them; ids made here are UUIDs in text form. All share one alphabet, so that any of them
//! can stand in a path, a stream name or a log field without escaping.

use crate::routing;
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};
use uuid::Uuid;

/// Longest id accepted, in bytes.
pub const MAX_ID_LEN: usize = 64;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id is 1 to {MAX_ID_LEN} characters of A-Z a-z 0-9 . _ : - (got {got:?})")]
pub struct IdError {
    /// The offending text, cut to a sensible length.
    pub got: String,
}

fn check(text: &str) -> Result<(), IdError> {
    let ok = !text.is_empty()
        && text.len() <= MAX_ID_LEN
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'));
    if ok { Ok(()) } else { Err(IdError { got: text.chars().take(80).collect() }) }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and makes an id of it.
            ///
            /// # Errors
            /// [`IdError`] when the text is empty, too long, or uses other characters.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                check(text.as_ref())?;
                Ok(Self(Arc::from(text.as_ref())))
            }
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str { &self.0 }
            /// The id whose text is a UUID.
            #[must_use]
            pub fn from_uuid(uuid: Uuid) -> Self {
                let mut buffer = Uuid::encode_buffer();
                Self(Arc::from(&*uuid.hyphenated().encode_lower(&mut buffer)))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> { Self::new(text) }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String { id.0.as_ref().to_owned() }
        }
        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> { Self::new(text) }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str { &self.0 }
        }
    )*};
}

ids! {
    /// A wearer.
    PatientId;
    /// A wearable device.
    DeviceId;
    /// A crewed vehicle.
    UnitId;
    /// A receiving hospital.
    HospitalId;
    /// A base where units are stationed.
    StationId;
    /// One emergency being handled; also the `correlation_id` of all that belongs to it.
    IncidentId;
    /// A bill. One per incident, so it has the incident's text.
    BillId;
    /// One notification to the next of kin (one template for one incident).
    NotificationId;
    /// An insurance plan.
    PlanId;
}

impl IncidentId {
    /// The incident a patient's `ordinal`-th emergency opens. Two owners that try to open the same one
    /// compute the same id, so the log's version check refuses the second of them.
    #[must_use]
    pub fn of_patient(patient: &PatientId, ordinal: u64) -> Self {
        let uuid = derived_uuid(&["incident", patient.as_str(), &ordinal.to_string()]);
        let partition = u128::from(routing::partition_of(patient.as_str()));
        Self::from_uuid(Uuid::from_u128((uuid.as_u128() & !0xf) | partition))
    }
    /// Its partition: the patient's, which [`Self::of_patient`] left in the last digit. An incident without a
    /// patient has one all the same.
    #[must_use]
    pub fn partition(&self) -> u16 {
        let last = Uuid::try_parse(self.as_str()).ok().and_then(|uuid| u16::try_from(uuid.as_u128() & 0xf).ok());
        last.unwrap_or_else(|| routing::partition_of(self.as_str()))
    }
    /// The bill of this incident: there is never a second one.
    #[must_use]
    pub fn bill(&self) -> BillId {
        BillId(self.0.clone())
    }
}

impl BillId {
    /// The incident this bill is for.
    #[must_use]
    pub fn incident(&self) -> IncidentId {
        IncidentId(self.0.clone())
    }
}

/// A UUID (version 8) derived from `parts`: the same parts always give the same id. Used wherever a
/// repeat must find what the first attempt made.
#[must_use]
pub fn derived_uuid(parts: &[&str]) -> Uuid {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let mut bytes = [0u8; 16];
    for (to, from) in bytes.iter_mut().zip(digest.iter()) {
        *to = *from;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_accept_their_alphabet_and_refuse_the_rest() {
        for good in ["p-1", "A.b_c:9", &"x".repeat(64)] {
            assert!(PatientId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "ä", "a/b", &"x".repeat(65)] {
            assert!(PatientId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_same_parts_give_the_same_uuid_and_others_another() {
        assert_eq!(derived_uuid(&["a", "bc"]), derived_uuid(&["a", "bc"]));
        assert_ne!(derived_uuid(&["a", "bc"]), derived_uuid(&["ab", "c"]));
    }
}
