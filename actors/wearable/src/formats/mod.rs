//! Encodings of readings. Each module turns a body into [`Element`]s, one per reading, so that a bad one
//! never costs a good one.
//!
//! - [`json`]: the house's own form, as an object, an array, or one object a line.
//! - [`careful`]: reads one element that the quick way did not understand, and says what is wrong.
//!
//! FHIR observations and Open mHealth data points take their places here: a module each that yields
//! elements of the same kind.

pub mod careful;
pub mod json;

use serde::de::{MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};
use shers_contract::{
    DeviceId, LatLon, PatientId, Problem, Timestamp,
    vitals::{Consciousness, Reading, TenthsCelsius},
};
use std::{fmt, marker::PhantomData};

/// One reading of a body.
#[derive(Debug)]
pub enum Element<'a> {
    /// Understood at once; nothing of it is copied.
    Quick(Box<Quick<'a>>),
    /// Understood with care.
    Slow(Box<Reading>),
    /// Not understood.
    Bad(Problem),
}

/// A reading as it lies in the body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quick<'a> {
    /// See [`Reading`], also for the other fields.
    pub patient_id: &'a str,
    #[serde(default, borrow)]
    device_id: Option<&'a str>,
    at: Timestamp,
    #[serde(default)]
    seq: Option<u64>,
    #[serde(default)]
    spot: bool,
    #[serde(default)]
    heart_rate_bpm: Option<u16>,
    #[serde(default)]
    spo2_pct: Option<u8>,
    #[serde(default)]
    respiration_rate_bpm: Option<u16>,
    #[serde(default)]
    systolic_mmhg: Option<u16>,
    #[serde(default)]
    diastolic_mmhg: Option<u16>,
    #[serde(default)]
    temperature_c: Option<TenthsCelsius>,
    #[serde(default)]
    consciousness: Option<Consciousness>,
    #[serde(default)]
    oxygen: Option<bool>,
    #[serde(default)]
    fall: bool,
    #[serde(default)]
    sos: bool,
    #[serde(default)]
    steps: Option<u32>,
    #[serde(default)]
    location: Option<Object<LatLon>>,
}

/// A `T` that was written as a JSON object. Derived code also takes an array of the values in the order
/// of the fields; for a position that order is as often longitude first.
#[derive(Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(Members(PhantomData)).map(Self)
    }
}

impl Quick<'_> {
    /// The reading, of a patient whose id is at hand.
    ///
    /// # Errors
    /// When the device's id is none.
    pub fn into_reading(self, patient_id: PatientId) -> Result<Reading, Problem> {
        let device_id = self.device_id.map(DeviceId::new).transpose();
        Ok(Reading {
            patient_id,
            device_id: device_id.map_err(|error| Problem::invalid("/device_id", error.to_string()))?,
            at: self.at,
            seq: self.seq,
            spot: self.spot,
            heart_rate_bpm: self.heart_rate_bpm,
            spo2_pct: self.spo2_pct,
            respiration_rate_bpm: self.respiration_rate_bpm,
            systolic_mmhg: self.systolic_mmhg,
            diastolic_mmhg: self.diastolic_mmhg,
            temperature: self.temperature_c,
            consciousness: self.consciousness,
            oxygen: self.oxygen,
            fall: self.fall,
            sos: self.sos,
            steps: self.steps,
            location: self.location.map(|Object(location)| location),
        })
    }
}
