//! Reads one reading field by field: takes what can be meant in only one way (a whole number written as
//! 72.0, a null for nothing), and says of everything else what is wrong and what would be right.

use super::Object;
use crate::model::check::{
    DIASTOLIC, Fault, HEART_RATE, RESPIRATION_RATE, SPO2, SYSTOLIC, TEMPERATURE, Vital, problem,
};
use serde_json::{Map, Value};
use shers_contract::{
    DeviceId, LatLon, PatientId, Problem, Timestamp,
    vitals::{Consciousness, Reading, TenthsCelsius},
};

/// The fields of a reading.
pub const FIELDS: [&str; 17] = [
    "patient_id",
    "device_id",
    "at",
    "seq",
    "spot",
    "heart_rate_bpm",
    "spo2_pct",
    "respiration_rate_bpm",
    "systolic_mmhg",
    "diastolic_mmhg",
    "temperature_c",
    "consciousness",
    "oxygen",
    "fall",
    "sos",
    "steps",
    "location",
];

/// Names that other systems use.
const ALIASES: [(&str, &str); 44] = [
    ("hr", "heart_rate_bpm"),
    ("pulse", "heart_rate_bpm"),
    ("pulserate", "heart_rate_bpm"),
    ("bpm", "heart_rate_bpm"),
    ("heartrate", "heart_rate_bpm"),
    ("heartratebpm", "heart_rate_bpm"),
    ("spo2", "spo2_pct"),
    ("sao2", "spo2_pct"),
    ("o2sat", "spo2_pct"),
    ("oxygensaturation", "spo2_pct"),
    ("spo2percent", "spo2_pct"),
    ("rr", "respiration_rate_bpm"),
    ("resp", "respiration_rate_bpm"),
    ("resprate", "respiration_rate_bpm"),
    ("respirationrate", "respiration_rate_bpm"),
    ("respiratoryrate", "respiration_rate_bpm"),
    ("respiratoryratebpm", "respiration_rate_bpm"),
    ("breathingrate", "respiration_rate_bpm"),
    ("sbp", "systolic_mmhg"),
    ("sys", "systolic_mmhg"),
    ("systolic", "systolic_mmhg"),
    ("systolicbp", "systolic_mmhg"),
    ("dbp", "diastolic_mmhg"),
    ("dia", "diastolic_mmhg"),
    ("diastolic", "diastolic_mmhg"),
    ("diastolicbp", "diastolic_mmhg"),
    ("temp", "temperature_c"),
    ("tempc", "temperature_c"),
    ("temperature", "temperature_c"),
    ("bodytemperature", "temperature_c"),
    ("temperaturef", "temperature_c"),
    ("tempf", "temperature_c"),
    ("avpu", "consciousness"),
    ("acvpu", "consciousness"),
    ("time", "at"),
    ("timestamp", "at"),
    ("ts", "at"),
    ("datetime", "at"),
    ("patient", "patient_id"),
    ("device", "device_id"),
    ("sequence", "seq"),
    ("lat", "location"),
    ("lon", "location"),
    ("position", "location"),
];

/// Reads `text`, which is valid JSON.
///
/// # Errors
/// A problem with every fault there is.
pub fn read(text: &str) -> Result<Reading, Problem> {
    let value: Value = serde_json::from_str(text).map_err(|error| Problem::malformed(error.to_string()))?;
    let Value::Object(fields) = value else {
        let detail = format!("a reading is a JSON object, not {}", name_of(&value));
        return Err(Problem::invalid("", detail));
    };
    let mut reader = Reader { fields, faults: Vec::new() };
    let reading = reader.reading();
    match reading {
        Some(reading) if reader.faults.is_empty() => Ok(reading),
        Some(_) | None => Err(problem(&reader.faults)),
    }
}

struct Reader {
    fields: Map<String, Value>,
    faults: Vec<Fault>,
}

impl Reader {
    fn reading(&mut self) -> Option<Reading> {
        let patient_id = self.required_text("patient_id").and_then(|text| {
            let id = PatientId::new(text);
            id.map_err(|error| self.fault("patient_id", error.to_string())).ok()
        });
        let at = self.at();
        // Both are needed to build one, but what else is wrong is said as well.
        let stand_in = PatientId::new("unknown").ok()?;
        let known = patient_id.is_some() && at.is_some();
        let mut reading = Reading::empty(patient_id.unwrap_or(stand_in), at.unwrap_or_default());
        reading.device_id = self.text("device_id").and_then(|text| {
            let id = DeviceId::new(text);
            id.map_err(|error| self.fault("device_id", error.to_string())).ok()
        });
        reading.seq = self.whole("seq", "the device's counter");
        reading.steps = self.whole("steps", "a number of steps").and_then(|v| match u32::try_from(v) {
            Ok(steps) => Some(steps),
            Err(_) => {
                self.fault("steps", format!("{v} steps since the last reading can't be"));
                None
            }
        });
        reading.heart_rate_bpm = self.vital(&HEART_RATE);
        reading.spo2_pct = self.vital(&SPO2).and_then(|v| u8::try_from(v).ok());
        reading.respiration_rate_bpm = self.vital(&RESPIRATION_RATE);
        reading.systolic_mmhg = self.vital(&SYSTOLIC);
        reading.diastolic_mmhg = self.vital(&DIASTOLIC);
        reading.temperature = self.number(&TEMPERATURE).and_then(TenthsCelsius::from_celsius);
        reading.consciousness = self.consciousness();
        reading.oxygen = self.flag("oxygen");
        reading.spot = self.flag("spot").unwrap_or(false);
        reading.fall = self.flag("fall").unwrap_or(false);
        reading.sos = self.flag("sos").unwrap_or(false);
        reading.location = self.location();
        self.unknown_fields();
        known.then_some(reading)
    }

    fn fault(&mut self, field: &str, detail: impl Into<String>) {
        self.faults.push(Fault::new(field, detail));
    }

    /// Takes a field out; null is nothing.
    fn take(&mut self, field: &str) -> Option<Value> {
        self.fields.remove(field).filter(|value| !value.is_null())
    }

    fn text(&mut self, field: &str) -> Option<String> {
        match self.take(field)? {
            Value::String(text) => Some(text),
            other => {
                self.fault(field, format!("{field} is a text in quotes, not {}", name_of(&other)));
                None
            }
        }
    }

    fn required_text(&mut self, field: &str) -> Option<String> {
        if self.fields.get(field).is_none_or(Value::is_null) {
            self.fields.remove(field);
            self.fault(field, format!("{field} is required"));
            return None;
        }
        self.text(field)
    }

    fn at(&mut self) -> Option<Timestamp> {
        const EXAMPLE: &str = "send an RFC 3339 time with its zone, such as 2026-03-01T12:00:00Z";
        match self.take("at") {
            None => {
                self.fault("at", format!("at is required: {EXAMPLE}"));
                None
            }
            Some(Value::String(text)) => {
                let at = Timestamp::parse(&text);
                if at.is_none() {
                    let shown: String = text.chars().take(40).collect();
                    self.fault("at", format!("{shown:?} is not a time: {EXAMPLE}"));
                }
                at
            }
            Some(Value::Number(number)) => {
                self.fault("at", format!("{number} is a number{}: {EXAMPLE}", epoch_hint(number.as_f64())));
                None
            }
            Some(other) => {
                self.fault("at", format!("at is a text, not {}: {EXAMPLE}", name_of(&other)));
                None
            }
        }
    }

    fn whole(&mut self, field: &str, what: &str) -> Option<u64> {
        let value = self.take(field)?;
        let whole = value.as_u64().or_else(|| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked to be whole and small"
            )]
            value.as_f64().filter(|v| v.fract() == 0.0 && (0.0..9.0e15).contains(v)).map(|v| v as u64)
        });
        if whole.is_none() {
            self.fault(field, format!("{field} is {what}: a whole number of 0 or more, not {}", shown(&value)));
        }
        whole
    }

    /// A plausible number; 0 is nothing.
    fn number(&mut self, vital: &Vital) -> Option<f64> {
        let value = self.take(vital.field)?;
        let Some(number) = value.as_f64() else {
            let inside = value.as_str().is_some_and(|text| text.trim().parse::<f64>().is_ok());
            let hint = if inside { "; leave the quotes out" } else { "" };
            self.fault(
                vital.field,
                format!("{} is a number in {}, not {}{hint}", vital.field, vital.unit, shown(&value)),
            );
            return None;
        };
        if number == 0.0 {
            return None;
        }
        if !vital.allows(number) {
            self.fault(vital.field, vital.complaint(number));
            return None;
        }
        Some(number)
    }

    /// Rounds half away from zero, once, here.
    fn vital(&mut self, vital: &Vital) -> Option<u16> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "plausible values are 3 to 300")]
        self.number(vital).map(|number| number.round() as u16)
    }

    fn flag(&mut self, field: &str) -> Option<bool> {
        let value = self.take(field)?;
        let flag = value.as_bool();
        if flag.is_none() {
            self.fault(field, format!("{field} is true or false, not {}", shown(&value)));
        }
        flag
    }

    fn consciousness(&mut self) -> Option<Consciousness> {
        let text = self.text("consciousness")?;
        let level = match text.as_str() {
            "alert" => Some(Consciousness::Alert),
            "confused" => Some(Consciousness::Confused),
            "voice" => Some(Consciousness::Voice),
            "pain" => Some(Consciousness::Pain),
            "unresponsive" => Some(Consciousness::Unresponsive),
            _ => None,
        };
        if level.is_none() {
            let shown: String = text.chars().take(40).collect();
            let hint = match text.to_ascii_lowercase().as_str() {
                "a" | "alert" => "; A is written alert",
                "c" | "confused" | "confusion" => "; C is written confused",
                "v" | "voice" | "verbal" => "; V is written voice",
                "p" | "pain" => "; P is written pain",
                "u" | "unresponsive" => "; U is written unresponsive",
                _ => "",
            };
            let detail = format!("{shown:?} is none of alert, confused, voice, pain, unresponsive{hint}");
            self.fault("consciousness", detail);
        }
        level
    }

    fn location(&mut self) -> Option<LatLon> {
        let value = self.take("location")?;
        match serde_json::from_value::<Object<LatLon>>(value) {
            Ok(Object(location)) => Some(location),
            Err(error) => {
                self.fault("location", format!("a location is {{\"lat\": 47.14, \"lon\": 9.52}} in degrees: {error}"));
                None
            }
        }
    }

    fn unknown_fields(&mut self) {
        let unknown: Vec<String> = self.fields.keys().filter(|key| !FIELDS.contains(&key.as_str())).cloned().collect();
        for field in unknown {
            let shown: String = field.chars().take(64).collect();
            let detail = match suggestion(&field) {
                Some(known) => format!("unknown field '{shown}': did you mean {known}?"),
                None if self.fields.get(&field).is_some_and(Value::is_array) => {
                    format!("unknown field '{shown}': send the array of readings itself, without an object around it")
                }
                None => format!("unknown field '{shown}': a reading has {}", FIELDS.join(", ")),
            };
            let pointer = shown.replace('~', "~0").replace('/', "~1");
            self.fault(&pointer, detail);
        }
    }
}

/// The field that was probably meant.
#[must_use]
pub fn suggestion(field: &str) -> Option<&'static str> {
    let bare = |text: &str| -> String {
        text.chars().filter(|c| c.is_ascii_alphanumeric()).map(|c| c.to_ascii_lowercase()).take(40).collect()
    };
    let sought = bare(field);
    if let Some((_, known)) = ALIASES.iter().find(|(alias, _)| *alias == sought) {
        return Some(known);
    }
    let closest = FIELDS.iter().map(|known| (distance(&sought, &bare(known)), *known)).min();
    closest.filter(|(distance, known)| *distance <= 3 && distance * 3 <= known.len()).map(|(_, known)| known)
}

/// Levenshtein distance of two short texts.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, to) in row.iter_mut().skip(1).zip(b.bytes()) {
            let up = *cell;
            *cell = (diagonal + usize::from(from != to)).min(up + 1).min(left + 1);
            diagonal = up;
            left = *cell;
        }
    }
    row.last().copied().unwrap_or(0)
}

fn epoch_hint(number: Option<f64>) -> String {
    let ms = match number {
        Some(seconds) if (1.0e9..1.0e10).contains(&seconds) => seconds * 1000.0,
        Some(ms) if (1.0e12..1.0e13).contains(&ms) => ms,
        Some(_) | None => return String::new(),
    };
    #[expect(clippy::cast_possible_truncation, reason = "within the bounds above")]
    let at = Timestamp::from_ms(ms as i64);
    format!(" (as a Unix time it is {at})")
}

const fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A value short enough to be shown back.
fn shown(value: &Value) -> String {
    match value {
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) if text.chars().count() <= 20 => format!("{text:?}"),
        Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => name_of(value).to_owned(),
    }
}
