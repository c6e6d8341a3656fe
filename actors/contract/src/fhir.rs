//! The two FHIR R4 resources that billing and the insurer exchange: `CoverageEligibilityRequest`
//! and `CoverageEligibilityResponse`, with the few data types they need.
//!
//! Only what is used here is named; members of a peer that are not named here are ignored. Amounts are
//! decimals on the wire and whole minor units everywhere else: [`Amount::of`] and [`Amount::to_money`]
//! convert exactly or not at all.

use crate::{Currency, Money, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Number;

/// System of the identifier of a request: `<bill>.<attempt>`.
pub const REQUEST_SYSTEM: &str = "urn:shers:eligibility-request";
/// Start of the system of a coverage's identifier; the plan's id follows. The value is the member's number.
pub const PLAN_SYSTEM: &str = "urn:shers:plan:";
/// System of the services billed: `ambulance-als`, `ambulance-bls`, `ambulance-no-transport`.
pub const SERVICE_SYSTEM: &str = "urn:shers:service";
/// System of the errors in a response.
pub const ERROR_SYSTEM: &str = "urn:shers:eligibility-error";
/// HL7's system of benefit types.
pub const BENEFIT_SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/benefit-type";

/// An amount could not be converted exactly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text} {currency} is not a whole number of minor units of that currency")]
pub struct AmountError {
    /// The number.
    pub text: String,
    /// The currency.
    pub currency: String,
}

/// FHIR `Money`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Amount {
    /// Decimal value.
    pub value: Number,
    /// ISO 4217 code.
    pub currency: Currency,
}

impl Amount {
    /// The decimal form of `money`.
    ///
    /// # Errors
    /// [`AmountError`] when it has more digits than a JSON number keeps.
    pub fn of(money: Money) -> Result<Self, AmountError> {
        let text = money.to_string();
        let digits = text.split(' ').next().unwrap_or_default();
        let error = || AmountError { text: digits.to_owned(), currency: money.currency.code().to_owned() };
        let value: Number = digits.parse().map_err(|_| error())?;
        let amount = Self { value, currency: money.currency };
        if amount.to_money()? == money { Ok(amount) } else { Err(error()) }
    }

    /// The amount in whole minor units.
    ///
    /// # Errors
    /// [`AmountError`] when it has more decimals than the currency, or is too large.
    pub fn to_money(&self) -> Result<Money, AmountError> {
        let text = self.value.to_string();
        minor_units(&text, self.currency.exponent())
            .map(|amount_minor| Money::new(amount_minor, self.currency))
            .ok_or(AmountError { text, currency: self.currency.code().to_owned() })
    }
}

/// Reads a plain decimal with at most `exponent` significant decimals.
fn minor_units(text: &str, exponent: u32) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1_i64, text), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let width = usize::try_from(exponent).ok()?;
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) || fraction.len() > width {
        return None;
    }
    let minor: i64 = if width == 0 { 0 } else { format!("{fraction:0<width$}").parse().ok()? };
    let whole: i64 = whole.parse().ok()?;
    whole.checked_mul(10_i64.checked_pow(exponent)?)?.checked_add(minor)?.checked_mul(sign)
}

/// FHIR `Identifier`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Identifier {
    /// Namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The identifier in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

impl Identifier {
    /// `value` in `system`.
    #[must_use]
    pub fn new(system: impl Into<String>, value: impl Into<String>) -> Self {
        Self { system: Some(system.into()), value: Some(value.into()) }
    }
}

/// FHIR `Reference`: literal, logical, or only a name for people.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Reference {
    /// `Patient/<id>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Logical reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<Identifier>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
}

/// FHIR `Coding`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Coding {
    /// Code system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// FHIR `CodeableConcept`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Concept {
    /// Codes that all mean the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coding: Vec<Coding>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Concept {
    /// One code.
    #[must_use]
    pub fn code(system: &str, code: &str) -> Self {
        Self { coding: vec![Coding { system: Some(system.into()), code: Some(code.into()) }], text: None }
    }
    /// Its code in `system`, if it has one.
    #[must_use]
    pub fn in_system(&self, system: &str) -> Option<&str> {
        self.coding.iter().find(|c| c.system.as_deref() == Some(system)).and_then(|c| c.code.as_deref())
    }
}

/// FHIR `Period` in whole days.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Period {
    /// First day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<jiff::civil::Date>,
    /// Last day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<jiff::civil::Date>,
}

/// `status` of both resources.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// In force.
    Active,
    /// Taken back: as a request it releases what an equal active one had claimed.
    Cancelled,
    /// Not finished.
    Draft,
    /// Never meant.
    EnteredInError,
}

/// The value of `resourceType`, which must be exactly this resource's name.
macro_rules! resource_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
        pub enum $name {
            /// The resource's name.
            #[default]
            $name,
        }
    };
}

resource_type! {
    /// `resourceType` of a request.
    CoverageEligibilityRequest
}
resource_type! {
    /// `resourceType` of a response.
    CoverageEligibilityResponse
}

/// A `CoverageEligibilityRequest`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EligibilityRequest {
    /// Name of the resource.
    pub resource_type: CoverageEligibilityRequest,
    /// [`REQUEST_SYSTEM`]: the same question has the same identifier however often it is asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identifier: Vec<Identifier>,
    /// Active, or cancelled to release the claim.
    pub status: Status,
    /// `benefits`.
    pub purpose: Vec<String>,
    /// Who was served.
    pub patient: Reference,
    /// When, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serviced_date: Option<jiff::civil::Date>,
    /// When the question was written.
    pub created: Timestamp,
    /// Who is asked.
    pub insurer: Reference,
    /// Under which cover.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub insurance: Vec<RequestInsurance>,
    /// What for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub item: Vec<RequestItem>,
}

/// `insurance` of a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestInsurance {
    /// The one to be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub focal: Option<bool>,
    /// A logical reference: [`PLAN_SYSTEM`] with the plan, and the member's number.
    pub coverage: Reference,
}

/// `item` of a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestItem {
    /// [`SERVICE_SYSTEM`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_or_service: Option<Concept>,
    /// What it costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_price: Option<Amount>,
}

/// How far a response got.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Received, not yet worked on: ask again.
    Queued,
    /// Answered.
    Complete,
    /// Failed, see `error`.
    Error,
    /// Answered in part.
    Partial,
}

/// A `CoverageEligibilityResponse`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EligibilityResponse {
    /// Name of the resource.
    pub resource_type: CoverageEligibilityResponse,
    /// Id at the insurer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Active.
    pub status: Status,
    /// As asked.
    pub purpose: Vec<String>,
    /// As asked.
    pub patient: Reference,
    /// When it was written.
    pub created: Timestamp,
    /// Which question it answers.
    pub request: Reference,
    /// How far it got.
    pub outcome: Outcome,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disposition: Option<String>,
    /// Who answers.
    pub insurer: Reference,
    /// What is covered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub insurance: Vec<ResponseInsurance>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub error: Vec<ResponseError>,
}

/// `insurance` of a response.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResponseInsurance {
    /// As asked.
    pub coverage: Reference,
    /// In force on the day of service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inforce: Option<bool>,
    /// When it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub benefit_period: Option<Period>,
    /// What it pays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub item: Vec<ResponseItem>,
}

/// `item` of a response.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResponseItem {
    /// As asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_or_service: Option<Concept>,
    /// Not covered by this plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<bool>,
    /// Amounts and rates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub benefit: Vec<Benefit>,
}

/// One benefit of an item: `benefit`, `deductible`, `copay`, `copay-percent`, `copay-maximum`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Benefit {
    /// [`BENEFIT_SYSTEM`].
    #[serde(rename = "type")]
    pub kind: Concept,
    /// Percent, for `copay-percent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_unsigned_int: Option<u32>,
    /// What the plan allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_money: Option<Amount>,
    /// What this question would use of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_money: Option<Amount>,
}

/// `error` of a response.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ResponseError {
    /// [`ERROR_SYSTEM`].
    pub code: Concept,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_convert_exactly_or_not_at_all() {
        for money in [
            Money::new(0, Currency::CHF),
            Money::new(123_456, Currency::CHF),
            Money::new(100, Currency::CHF),
            Money::new(500, Currency::JPY),
            Money::new(1_005, Currency::KWD),
            Money::new(-7, Currency::EUR),
        ] {
            assert_eq!(Amount::of(money).and_then(|a| a.to_money()), Ok(money), "{money}");
        }
        for (value, currency) in [("0.005", "CHF"), ("1.5", "JPY"), ("1e30", "CHF"), ("99999999999999999999", "CHF")] {
            let text = format!(r#"{{"value":{value},"currency":"{currency}"}}"#);
            let amount: Amount = serde_json::from_str(&text).expect("a JSON number");
            assert!(amount.to_money().is_err(), "{text}");
        }
        assert!(Amount::of(Money::new(i64::MAX, Currency::CHF)).is_err(), "more digits than JSON keeps");
    }

    #[test]
    fn another_resource_is_not_taken_for_a_request() {
        let text = r#"{"resourceType":"Patient","status":"active","purpose":["benefits"],"patient":{},
            "created":"2026-03-01T12:00:00Z","insurer":{}}"#;
        assert!(serde_json::from_str::<EligibilityRequest>(text).is_err());
        let right = text.replace("\"Patient\"", "\"CoverageEligibilityRequest\"");
        assert!(serde_json::from_str::<EligibilityRequest>(&right).is_ok());
    }
}
