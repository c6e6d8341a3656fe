//! Patients, their next of kin, their cover and their devices.

use crate::{DeviceId, LatLon, PatientId, PlanId};
use serde::{Deserialize, Serialize};

/// Administrative sex.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sex {
    /// Female.
    Female,
    /// Male.
    Male,
    /// Other.
    Other,
}

/// Somebody who is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    /// Name as used in a message's salutation.
    pub name: String,
    /// Relation to the patient, free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<String>,
    /// E.164, such as +41791234567.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// E-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// BCP 47 language of messages; `en` and `de` are built in.
    #[serde(default = "default_language")]
    pub language: String,
    /// Does not want messages.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opted_out: bool,
}

fn default_language() -> String {
    "en".into()
}

/// Membership of an insurance plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoverageRef {
    /// The plan.
    pub plan_id: PlanId,
    /// The member's number there.
    pub member_id: String,
}

/// A registered patient. Personal data: never in logs, never in messages to outsiders.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patient {
    /// Id.
    pub patient_id: PatientId,
    /// Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Date of birth, `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub birth_date: Option<jiff::civil::Date>,
    /// Sex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sex: Option<Sex>,
    /// A clinician recorded hypercapnic respiratory failure with a target of 88–92 %: NEWS2's second
    /// SpO2 scale applies. Prescribed, never inferred.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spo2_scale_2: bool,
    /// Pregnant: NEWS2 is not valid.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pregnant: bool,
    /// Home, used when a reading carries no position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<LatLon>,
    /// Address for the crew, free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Who is told, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next_of_kin: Vec<Contact>,
    /// Insurance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<CoverageRef>,
    /// The payment provider's token of the card on file (`pm_…`); never a card number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<String>,
    /// Devices worn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceId>,
}

crate::domain_events! {
    /// What is known of a patient, in stream `patient/<id>`.
    PatientEvent {
        /// First registration.
        Registered(Patient) = PATIENT_REGISTERED,
        /// Replaced as a whole.
        Updated(Patient) = PATIENT_UPDATED,
    }
}

impl PatientEvent {
    /// The patient as of this event.
    #[must_use]
    pub fn patient(&self) -> &Patient {
        match self {
            Self::Registered(p) | Self::Updated(p) => p,
        }
    }
}
