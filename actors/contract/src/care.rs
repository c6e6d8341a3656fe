//! Places: hospitals and stations.

use crate::{HospitalId, LatLon, StationId};
use serde::{Deserialize, Serialize};

/// Whether a hospital takes patients.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HospitalState {
    /// Takes patients.
    #[default]
    Open,
    /// Asks to be passed by, if another is near.
    Diverting,
    /// Takes nobody.
    Closed,
}

/// A receiving hospital.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hospital {
    /// Id.
    pub hospital_id: HospitalId,
    /// Name.
    pub name: String,
    /// Where its emergency entrance is.
    pub location: LatLon,
    /// Capabilities, such as `emergency`, `trauma`, `cardiac`, `stroke`, `paediatric`.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Open, diverting or closed.
    #[serde(default)]
    pub state: HospitalState,
    /// Free beds in the emergency department, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beds_free: Option<u16>,
    /// Expected minutes from arrival to hand-over, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_offload_min: Option<u16>,
}

/// A station where units wait.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Station {
    /// Id.
    pub station_id: StationId,
    /// Name.
    pub name: String,
    /// Where.
    pub location: LatLon,
}

crate::domain_events! {
    /// Hospitals, in stream `hospital/<id>`.
    HospitalEvent {
        /// Registered or changed.
        Updated(Hospital) = HOSPITAL_UPDATED,
    }
}
