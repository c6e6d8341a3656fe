//! Events that Stripe sends by itself: checked by signature and age, then read into a [`Report`].
//!
//! The header is `t=<unix seconds>,v1=<hex>[,v1=<hex>…]`; a `v1` is the HMAC-SHA-256 of `<t>.<body>` with the
//! endpoint's secret. While a secret is being rolled there are several. Only the raw body is checked: what is
//! read from it is read after that.

use crate::model::{Report, ReportedState};
use hmac::{Hmac, Mac};
use serde::Deserialize;
use sha2::Sha256;
use shers_contract::{BillId, Secret, Timestamp};
use std::collections::BTreeMap;

/// Name of the provider in events.
const PROVIDER: &str = "stripe";
/// Metadata: the bill.
const BILL: &str = "shers_bill";
/// Metadata: the key under which the payment was created.
const KEY: &str = "shers_key";
/// Signatures that are looked at.
const MAX_SIGNATURES: usize = 8;

/// Why a webhook is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// The header is none.
    #[error("the header Stripe-Signature has no time and signature of scheme v1")]
    Header,
    /// No signature fits.
    #[error("no signature fits the body; is billing.stripe_webhook_secret the secret of this endpoint?")]
    Signature,
    /// It was signed too long ago, or in the future.
    #[error("the signature is too old, or from the future; is the clock right?")]
    Age,
    /// What is signed is no event.
    #[error("the body is no event of Stripe")]
    Body,
}

/// Checks signature and age of a webhook.
///
/// # Errors
/// Why it is not taken.
pub fn verify(secret: &Secret, header: &str, body: &str, now: Timestamp, tolerance_s: u32) -> Result<(), Refused> {
    let mut signed_at = None;
    let mut signatures = Vec::new();
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", time)) => signed_at = Some(time),
            Some(("v1", hex)) if signatures.len() < MAX_SIGNATURES => signatures.extend(from_hex(hex)),
            Some(_) | None => {}
        }
    }
    let text = signed_at.ok_or(Refused::Header)?;
    let seconds: i64 = text.parse().map_err(|_| Refused::Header)?;
    if signatures.is_empty() {
        return Err(Refused::Header);
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()).map_err(|_| Refused::Signature)?;
    for part in [text.as_bytes(), b".", body.as_bytes()] {
        mac.update(part);
    }
    // `verify_slice` compares in constant time.
    if !signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok()) {
        return Err(Refused::Signature);
    }
    let age_s = (now.as_ms() / 1_000).saturating_sub(seconds);
    if age_s.unsigned_abs() > u64::from(tolerance_s) {
        return Err(Refused::Age);
    }
    Ok(())
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = hex.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect()
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    id: String,
    #[serde(default)]
    object: String,
    status: Option<String>,
    payment_intent: Option<String>,
    /// Values are texts; what is none is no metadata of ours.
    #[serde(default)]
    metadata: BTreeMap<String, serde_json::Value>,
}

/// What an event reports about a payment of a bill; `None` for all else that an account may send.
///
/// # Errors
/// The body is no event.
pub fn read(body: &str) -> Result<Option<(BillId, Report)>, Refused> {
    let Event { kind, data: Data { object } } = serde_json::from_str(body).map_err(|_| Refused::Body)?;
    let word = |name: &str| object.metadata.get(name).and_then(|value| value.as_str());
    let (Some(bill), Some(key)) = (word(BILL), word(KEY)) else { return Ok(None) };
    let Ok(bill_id) = BillId::new(bill) else { return Ok(None) };
    let (payment_id, state) = match object.object.as_str() {
        "payment_intent" => (object.id.clone(), state(object.status.as_deref())),
        // A charge carries the metadata of its intent; what it says is read back.
        "charge" => (object.payment_intent.clone().unwrap_or_default(), ReportedState::Changed),
        _ => return Ok(None),
    };
    if payment_id.is_empty() || kind.is_empty() {
        return Ok(None);
    }
    let report = Report { provider: PROVIDER.to_owned(), key: key.to_owned(), payment_id, state };
    Ok(Some((bill_id, report)))
}

fn state(status: Option<&str>) -> ReportedState {
    match status {
        Some("succeeded") => ReportedState::Succeeded,
        Some("requires_capture") => ReportedState::Authorised,
        Some("requires_payment_method" | "requires_action" | "canceled") => ReportedState::Changed,
        Some(_) | None => ReportedState::Underway,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNED_AT_S: i64 = 1_772_366_400;

    fn sign(secret: &str, time: i64, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
        mac.update(format!("{time}.{body}").as_bytes());
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn check(header: &str, body: &str, later_s: i64) -> Result<(), Refused> {
        let now = Timestamp::from_ms((SIGNED_AT_S + later_s) * 1_000);
        verify(&Secret::new("whsec_1"), header, body, now, 300)
    }

    #[test]
    fn a_signature_fits_its_secret_time_and_body_for_a_while() {
        let (body, other) = ("{\"id\":\"evt_1\"}", "{\"id\":\"evt_2\"}");
        let good = sign("whsec_1", SIGNED_AT_S, body);
        let rolled = sign("whsec_0", SIGNED_AT_S, body);
        let header = format!("t={SIGNED_AT_S},v1={good}");
        for (what, header, body, later_s, want) in [
            ("fresh", header.clone(), body, 0, Ok(())),
            ("as old as may be", header.clone(), body, 300, Ok(())),
            ("too old", header.clone(), body, 301, Err(Refused::Age)),
            ("from the future", header.clone(), body, -301, Err(Refused::Age)),
            ("another body", header.clone(), other, 0, Err(Refused::Signature)),
            ("another secret", format!("t={SIGNED_AT_S},v1={rolled}"), body, 0, Err(Refused::Signature)),
            ("rolling", format!("t={SIGNED_AT_S},v1={rolled},v1={good}"), body, 0, Ok(())),
            ("another time", format!("t={},v1={good}", SIGNED_AT_S + 1), body, 0, Err(Refused::Signature)),
            ("spaces", format!("t={SIGNED_AT_S}, v1={good}"), body, 0, Ok(())),
            ("scheme v0 only", format!("t={SIGNED_AT_S},v0={good}"), body, 0, Err(Refused::Header)),
            ("no time", format!("v1={good}"), body, 0, Err(Refused::Header)),
            ("no number", format!("t=now,v1={good}"), body, 0, Err(Refused::Header)),
            ("half a byte", format!("t={SIGNED_AT_S},v1=abc"), body, 0, Err(Refused::Header)),
            ("shortened", format!("t={SIGNED_AT_S},v1={}", &good[..32]), body, 0, Err(Refused::Signature)),
            ("empty", String::new(), body, 0, Err(Refused::Header)),
        ] {
            assert_eq!(check(&header, body, later_s), want, "{what}");
        }
    }

    #[test]
    fn an_event_about_a_payment_of_ours_is_a_report_and_all_else_is_not() {
        let event = |object: &str| format!("{{\"type\":\"x.y\",\"data\":{{\"object\":{object}}}}}");
        let ours = "\"metadata\":{\"shers_bill\":\"i-1\",\"shers_key\":\"k\"}";
        for (object, want) in [
            (format!("{{\"object\":\"payment_intent\",\"id\":\"pi_1\",\"status\":\"succeeded\",{ours}}}"), Some(ReportedState::Succeeded)),
            (format!("{{\"object\":\"payment_intent\",\"id\":\"pi_1\",\"status\":\"requires_capture\",{ours}}}"), Some(ReportedState::Authorised)),
            (format!("{{\"object\":\"payment_intent\",\"id\":\"pi_1\",\"status\":\"canceled\",{ours}}}"), Some(ReportedState::Changed)),
            (format!("{{\"object\":\"payment_intent\",\"id\":\"pi_1\",\"status\":\"processing\",{ours}}}"), Some(ReportedState::Underway)),
            (format!("{{\"object\":\"charge\",\"id\":\"ch_1\",\"payment_intent\":\"pi_1\",\"status\":\"succeeded\",{ours}}}"), Some(ReportedState::Changed)),
            (format!("{{\"object\":\"charge\",\"id\":\"ch_1\",{ours}}}"), None),
            (format!("{{\"object\":\"customer\",\"id\":\"cus_1\",{ours}}}"), None),
            ("{\"object\":\"payment_intent\",\"id\":\"pi_1\",\"status\":\"succeeded\"}".to_owned(), None),
            ("{\"object\":\"payment_intent\",\"id\":\"pi_1\",\"metadata\":{\"shers_bill\":\"no id!\",\"shers_key\":\"k\"}}".to_owned(), None),
            ("{}".to_owned(), None),
        ] {
            let got = read(&event(&object)).expect("an event");
            assert_eq!(got.as_ref().map(|(_, report)| report.state), want, "{object}");
            if let Some((bill, report)) = got {
                assert_eq!((bill.as_str(), report.payment_id.as_str(), report.key.as_str()), ("i-1", "pi_1", "k"));
            }
        }
        assert_eq!(read("[]"), Err(Refused::Body));
        assert_eq!(read("{\"type\":\"x\"}"), Err(Refused::Body));
    }
}
