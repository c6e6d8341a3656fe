//! What a PUT of a patient or a device means.
//!
//! Invariants:
//! - A PUT that changes nothing gives no event and no new version.
//! - A card number is never taken: only the payment provider's token of it.

use shers_contract::{
    Problem, Timestamp,
    address::{is_e164, is_mailbox},
    patient::{Contact, Patient, PatientEvent},
};

/// Contacts of one patient, at most.
const MAX_CONTACTS: usize = 20;
/// Devices of one patient, at most.
const MAX_DEVICES: usize = 50;
/// Longest free text, characters.
const MAX_TEXT: usize = 400;

/// What is stored of something that has versions.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Versioned<T> {
    /// From 1.
    pub version: u64,
    /// As it was put.
    pub body: T,
}

/// Decides a PUT of a patient: the event, or `None` when nothing changes.
///
/// # Errors
/// A problem that names the field; 412 when `if_match` is another version.
pub fn put_patient(
    current: Option<&Versioned<Patient>>,
    patient: &Patient,
    if_match: Option<u64>,
    now: Timestamp,
) -> Result<Option<PatientEvent>, Problem> {
    let version = current.map_or(0, |c| c.version);
    if let Some(expected) = if_match.filter(|v| *v != version) {
        return Err(Problem::stale(expected, version));
    }
    check_patient(patient, now)?;
    Ok(match current {
        None => Some(PatientEvent::Registered(patient.clone())),
        Some(stored) if stored.body == *patient => None,
        Some(_) => Some(PatientEvent::Updated(patient.clone())),
    })
}

fn check_patient(patient: &Patient, now: Timestamp) -> Result<(), Problem> {
    for (field, text) in [("/name", &patient.name), ("/address", &patient.address)] {
        check_text(field, text.as_deref())?;
    }
    if let Some(born) = patient.birth_date {
        check_birth_date(born, now)?;
    }
    if patient.next_of_kin.len() > MAX_CONTACTS {
        return Err(Problem::invalid("/next_of_kin", format!("at most {MAX_CONTACTS} contacts are kept")));
    }
    if patient.devices.len() > MAX_DEVICES {
        return Err(Problem::invalid("/devices", format!("at most {MAX_DEVICES} devices are kept")));
    }
    for (index, contact) in patient.next_of_kin.iter().enumerate() {
        check_contact(&format!("/next_of_kin/{index}"), contact)?;
    }
    let member = patient.coverage.as_ref().map(|coverage| coverage.member_id.trim());
    if member.is_some_and(|number| !(1..=64).contains(&number.chars().count())) {
        return Err(Problem::invalid("/coverage/member_id", "the member's number has 1 to 64 characters"));
    }
    patient.payment_method.as_deref().map_or(Ok(()), check_payment_method)
}

fn check_text(field: &str, text: Option<&str>) -> Result<(), Problem> {
    let Some(text) = text else { return Ok(()) };
    if text.trim().is_empty() || text.chars().count() > MAX_TEXT || text.chars().any(char::is_control) {
        return Err(Problem::invalid(
            field,
            format!("1 to {MAX_TEXT} characters without control characters, or leave it out"),
        ));
    }
    Ok(())
}

fn check_birth_date(born: jiff::civil::Date, now: Timestamp) -> Result<(), Problem> {
    // A day ahead of UTC it is already tomorrow somewhere.
    let latest = jiff::Timestamp::from_millisecond(now.plus_ms(14 * 3_600_000).as_ms())
        .map(|t| jiff::tz::Offset::UTC.to_datetime(t).date());
    if latest.is_ok_and(|today| born > today) {
        return Err(Problem::invalid("/birth_date", format!("{born} is in the future")));
    }
    if born.year() < 1880 {
        return Err(Problem::invalid(
            "/birth_date",
            format!("{born} is too long ago; write the year with four digits"),
        ));
    }
    Ok(())
}

fn check_contact(at: &str, contact: &Contact) -> Result<(), Problem> {
    check_text(&format!("{at}/name"), Some(&contact.name))?;
    check_text(&format!("{at}/relation"), contact.relation.as_deref())?;
    if let Some(phone) = contact.phone.as_deref().filter(|p| !is_e164(p)) {
        let hint = if phone.starts_with("00") { " (00 is written +)" } else { "" };
        let detail =
            format!("a phone number is E.164: + and 7 to 15 digits without spaces, such as +41791234567{hint}");
        return Err(Problem::invalid(&format!("{at}/phone"), detail));
    }
    if contact.email.as_deref().is_some_and(|e| !is_mailbox(e)) {
        return Err(Problem::invalid(&format!("{at}/email"), "an e-mail address looks like name@example.org"));
    }
    let language_ok = (2..=35).contains(&contact.language.len())
        && contact
            .language
            .split('-')
            .all(|p| (1..=8).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphanumeric()));
    if !language_ok {
        return Err(Problem::invalid(&format!("{at}/language"), "a language is a BCP 47 tag such as en or de-CH"));
    }
    Ok(())
}

fn check_payment_method(token: &str) -> Result<(), Problem> {
    let digits = token.chars().filter(char::is_ascii_digit).count();
    let only_number = token.chars().all(|c| c.is_ascii_digit() || matches!(c, ' ' | '-' | '.'));
    if only_number && (12..=19).contains(&digits) || has_card_number(token) {
        // The number itself is never repeated: problems are logged and shown.
        let detail =
            "this looks like a card number, which is never stored here; send the payment provider's token (pm_…)";
        return Err(Problem::invalid("/payment_method", detail));
    }
    let shape_ok = (1..=255).contains(&token.len())
        && token.starts_with(|c: char| c.is_ascii_alphabetic())
        && token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if !shape_ok {
        let detail = "a payment method is the provider's token: pm_… or a sandbox name, of letters, digits, _ and -";
        return Err(Problem::invalid("/payment_method", detail));
    }
    Ok(())
}

/// A run of 12 to 19 digits, perhaps with spaces or dashes between, that passes the Luhn check.
fn has_card_number(text: &str) -> bool {
    let mut run: Vec<u32> = Vec::new();
    for c in text.chars().chain(std::iter::once('x')) {
        match c.to_digit(10) {
            Some(digit) => run.push(digit),
            None if matches!(c, ' ' | '-') => {}
            None => {
                if (12..=19).contains(&run.len()) && luhn(&run) {
                    return true;
                }
                run.clear();
            }
        }
    }
    false
}

fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, d)| if i % 2 == 0 { *d } else { d * 2 - if *d > 4 { 9 } else { 0 } })
        .sum();
    sum.is_multiple_of(10)
}
