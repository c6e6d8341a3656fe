//! Readings and vital signs as devices send them, after normalisation.

use crate::{DeviceId, LatLon, PatientId, Timestamp};
use serde::{Deserialize, Serialize};

/// Level of consciousness on the ACVPU scale (RCP NEWS2, 2017).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consciousness {
    /// Fully awake.
    Alert,
    /// New confusion.
    Confused,
    /// Responds to voice.
    Voice,
    /// Responds to pain.
    Pain,
    /// No response.
    Unresponsive,
}

/// A temperature in whole tenths of a degree Celsius, rounded half away from zero once, at ingest, so
/// that the edges of the NEWS2 table (35.05, 38.05) never depend on binary fractions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TenthsCelsius(pub i16);

impl Serialize for TenthsCelsius {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(f64::from(self.0) / 10.0)
    }
}

impl<'de> Deserialize<'de> for TenthsCelsius {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let celsius = f64::deserialize(d)?;
        Self::from_celsius(celsius)
            .ok_or_else(|| serde::de::Error::custom(format!("a temperature in degrees Celsius, got {celsius}")))
    }
}

impl TenthsCelsius {
    /// Rounds half away from zero, in decimal as the number was written: 38.05 is 38.1 although the
    /// nearest binary fraction lies below it.
    #[must_use]
    pub fn from_celsius(celsius: f64) -> Option<Self> {
        if !celsius.is_finite() || celsius.abs() > 1000.0 {
            return None;
        }
        // Thousandths of a degree are finer than any thermometer and coarser than the binary error.
        let thousandths = (celsius * 1000.0).round();
        #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
        let tenths = (thousandths / 100.0).round() as i16;
        Some(Self(tenths))
    }
    /// In degrees Celsius.
    #[must_use]
    pub fn celsius(self) -> f64 {
        f64::from(self.0) / 10.0
    }
}

/// One reading of one wearer: every vital sign optional.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// Who wears it.
    pub patient_id: PatientId,
    /// What measured it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<DeviceId>,
    /// When it was measured.
    pub at: Timestamp,
    /// The device's own counter, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Taken by a person: counts at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spot: bool,
    /// Heart rate per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heart_rate_bpm: Option<u16>,
    /// Peripheral oxygen saturation, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spo2_pct: Option<u8>,
    /// Breaths per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respiration_rate_bpm: Option<u16>,
    /// Systolic blood pressure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub systolic_mmhg: Option<u16>,
    /// Diastolic blood pressure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diastolic_mmhg: Option<u16>,
    /// Body temperature.
    #[serde(default, rename = "temperature_c", skip_serializing_if = "Option::is_none")]
    pub temperature: Option<TenthsCelsius>,
    /// ACVPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consciousness: Option<Consciousness>,
    /// On supplemental oxygen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oxygen: Option<bool>,
    /// The device believes that its wearer fell.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fall: bool,
    /// The wearer pressed the emergency button.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sos: bool,
    /// Steps since the last reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    /// Where the wearer is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<LatLon>,
}

impl Reading {
    /// A reading with nothing measured.
    #[must_use]
    pub fn empty(patient_id: PatientId, at: Timestamp) -> Self {
        Self {
            patient_id,
            device_id: None,
            at,
            seq: None,
            spot: false,
            heart_rate_bpm: None,
            spo2_pct: None,
            respiration_rate_bpm: None,
            systolic_mmhg: None,
            diastolic_mmhg: None,
            temperature: None,
            consciousness: None,
            oxygen: None,
            fall: false,
            sos: false,
            steps: None,
            location: None,
        }
    }
}

/// Readings that travel together: data of `wearable.reading.recorded`. The stream is
/// `readings/<partition>`, a bounded journal, never one stream per heartbeat.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ReadingBatch {
    /// When the house took them.
    pub received_at: Timestamp,
    /// The readings, in the order they were taken.
    pub readings: Vec<Reading>,
}

crate::domain_events! {
    /// What the wearable service says of readings.
    WearableEvent {
        /// Readings were accepted and are durable.
        Recorded(ReadingBatch) = READING_RECORDED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperatures_round_half_away_from_zero_as_they_were_written() {
        for (celsius, tenths) in [(35.05, 351), (38.05, 381), (36.04, 360), (39.1, 391), (-0.05, -1), (35.0, 350)] {
            assert_eq!(TenthsCelsius::from_celsius(celsius), Some(TenthsCelsius(tenths)), "{celsius}");
        }
        assert_eq!(TenthsCelsius::from_celsius(f64::NAN), None);
    }
}
