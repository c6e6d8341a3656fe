//! Bodies of readings: rendered once, then numbered and dated in place, so that every reading ever sent
//! is another one and the client spends no time on JSON.

use crate::http;
use shers_contract::Timestamp;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers never given twice in one run. Nine digits, always.
static NEXT: AtomicU64 = AtomicU64::new(100_000_000);
const DIGITS: usize = 9;

/// Takes `count` numbers.
pub fn take_numbers(count: u64) -> u64 {
    NEXT.fetch_add(count, Ordering::Relaxed)
}

/// Id of the `n`-th patient of the bench.
pub fn patient(n: usize) -> String {
    format!("b-{n:06}")
}

/// An instant as text, 24 characters.
pub fn at(now: Timestamp) -> String {
    let text = serde_json::to_string(&now).unwrap_or_default();
    let text = text.trim_matches('"').trim_end_matches('Z').to_owned();
    let (seconds, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let milliseconds: String = fraction.chars().chain("000".chars()).take(3).collect();
    format!("{seconds}.{milliseconds}Z")
}

/// Vital signs nobody worries about.
const NORMAL: &str = r#""heart_rate_bpm":72,"spo2_pct":98,"respiration_rate_bpm":15,"systolic_mmhg":122,"diastolic_mmhg":78,"temperature_c":36.8,"consciousness":"alert","oxygen":false"#;
/// Vital signs that are an emergency at once, taken by a person.
const EMERGENCY: &str = r#""spot":true,"heart_rate_bpm":141,"spo2_pct":84,"respiration_rate_bpm":31,"systolic_mmhg":82,"diastolic_mmhg":50,"temperature_c":39.6,"consciousness":"voice","oxygen":false"#;

fn reading(patient: &str, at: &str, seq: u64, vitals: &str) -> String {
    format!(r#"{{"patient_id":"{patient}","device_id":"d-{patient}","at":"{at}","seq":{seq},{vitals}}}"#)
}

/// One normal reading as JSON.
pub fn normal(n: usize, now: Timestamp) -> String {
    reading(&patient(n), &at(now), take_numbers(1), NORMAL)
}

/// One reading that is an emergency.
pub fn emergency(n: usize, now: Timestamp) -> String {
    reading(&patient(n), &at(now), take_numbers(1), EMERGENCY)
}

/// A request with readings that is made anew in place.
pub struct Template {
    bytes: Vec<u8>,
    seqs: Vec<usize>,
    ats: Vec<usize>,
}

impl Template {
    /// `count` readings in one POST: an object for one, an array for more; of patients from `first` on.
    pub fn new(token: &str, first: usize, count: usize, patients: usize, now: Timestamp) -> Self {
        let one = |n: usize| reading(&patient((first + n) % patients), &at(now), 100_000_000, NORMAL);
        let body = if count == 1 { one(0) } else { format!("[{}]", (0..count).map(one).collect::<Vec<_>>().join(",")) };
        let bytes = http::request("POST", "/api/v1/vitals", token, &body);
        let places = |what: &str| {
            let text = String::from_utf8_lossy(&bytes);
            text.match_indices(what).map(|(place, _)| place + what.len()).collect::<Vec<_>>()
        };
        let (seqs, ats) = (places("\"seq\":"), places("\"at\":\""));
        Self { seqs, ats, bytes }
    }

    /// The next request, with new numbers and this time.
    pub fn next(&mut self, at: &str) -> &[u8] {
        let first = take_numbers(self.seqs.len() as u64);
        for (place, number) in self.seqs.iter().zip(first..) {
            put(&mut self.bytes, *place, &format!("{number:0DIGITS$}"));
        }
        for place in &self.ats {
            put(&mut self.bytes, *place, at);
        }
        &self.bytes
    }
}

fn put(bytes: &mut [u8], place: usize, text: &str) {
    if let Some(room) = bytes.get_mut(place..place + text.len()) {
        room.copy_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_always_as_long() {
        for ms in [0, 1, 10, 1_000, 1_767_225_600_120] {
            assert_eq!(at(Timestamp::from_ms(ms)).len(), 24, "{ms}");
        }
    }

    #[test]
    fn every_request_is_another_one_of_the_same_length() {
        let mut template = Template::new("t", 0, 3, 10, Timestamp::from_ms(0));
        let first = template.next(&at(Timestamp::from_ms(5))).to_vec();
        let second = template.next(&at(Timestamp::from_ms(6))).to_vec();
        assert_ne!(first, second);
        assert_eq!(first.len(), second.len());
    }
}
