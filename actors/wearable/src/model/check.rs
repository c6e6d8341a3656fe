//! Is a reading possible? Ranges, units of measure, and the time window.
//!
//! Invariants:
//! - 0 means that the sensor is off: the value is taken as absent, never refused.
//! - Every complaint names its field and says what would be right.

use shers_contract::{Problem, Timestamp, vitals::Reading};

/// What is wrong with one field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// JSON pointer within the reading.
    pub field: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl Fault {
    /// A fault of `field`, without the leading slash.
    #[must_use]
    pub fn new(field: &str, detail: impl Into<String>) -> Self {
        Self { field: format!("/{field}"), detail: detail.into() }
    }
}

/// The problem that says all `faults`.
#[must_use]
pub fn problem(faults: &[Fault]) -> Problem {
    let Some(first) = faults.first() else { return Problem::invalid("", "the reading can't be accepted") };
    let problem = Problem::invalid(&first.field, first.detail.clone());
    if faults.len() == 1 {
        return problem;
    }
    let all: Vec<serde_json::Value> =
        faults.iter().map(|f| serde_json::json!({"field": f.field, "detail": f.detail})).collect();
    problem.with("errors", all)
}

/// How far a reading's time may lie from now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Into the future, milliseconds.
    pub future_ms: i64,
    /// Into the past, milliseconds.
    pub past_ms: i64,
}

/// A measured vital sign: its field, its plausible range, and its unit.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Vital {
    /// Name in JSON.
    pub field: &'static str,
    /// Least plausible value.
    pub low: f64,
    /// Greatest plausible value.
    pub high: f64,
    /// Unit, as a person reads it.
    pub unit: &'static str,
}

/// Heart rate.
pub const HEART_RATE: Vital = Vital { field: "heart_rate_bpm", low: 20.0, high: 300.0, unit: "beats per minute" };
/// Respiration rate.
pub const RESPIRATION_RATE: Vital =
    Vital { field: "respiration_rate_bpm", low: 3.0, high: 80.0, unit: "breaths per minute" };
/// Oxygen saturation.
pub const SPO2: Vital = Vital { field: "spo2_pct", low: 50.0, high: 100.0, unit: "percent" };
/// Systolic pressure.
pub const SYSTOLIC: Vital = Vital { field: "systolic_mmhg", low: 40.0, high: 300.0, unit: "mmHg" };
/// Diastolic pressure.
pub const DIASTOLIC: Vital = Vital { field: "diastolic_mmhg", low: 20.0, high: 200.0, unit: "mmHg" };
/// Temperature.
pub const TEMPERATURE: Vital = Vital { field: "temperature_c", low: 30.0, high: 43.0, unit: "degrees Celsius" };

impl Vital {
    /// Whether `value` is plausible.
    #[must_use]
    pub fn allows(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// What is wrong with `value`, when it isn't plausible.
    #[must_use]
    pub fn complaint(&self, value: f64) -> String {
        let Self { low, high, unit, .. } = self;
        let hint = self.hint(value).map(|hint| format!("{hint}; ")).unwrap_or_default();
        format!("{value} is not plausible: {hint}send {unit}, {low} to {high} (0 for sensor off)")
    }

    /// The unit that `value` seems to be in.
    fn hint(&self, value: f64) -> Option<String> {
        let within = |low: f64, high: f64| (low..=high).contains(&value);
        if *self == TEMPERATURE && within(86.0, 110.0) {
            let celsius = (value - 32.0) / 1.8;
            return Some(format!("it looks like Fahrenheit ({value} °F is {celsius:.1} °C)"));
        }
        if *self == TEMPERATURE && within(303.0, 316.5) {
            return Some(format!("it looks like kelvin ({value} K is {:.1} °C)", value - 273.15));
        }
        if *self == TEMPERATURE && within(317.0, 430.0) {
            return Some("it looks like tenths of a degree".to_owned());
        }
        if *self == SPO2 && value > 0.0 && value <= 1.0 {
            return Some(format!("it looks like a fraction ({value} is {:.0} %)", value * 100.0));
        }
        if (*self == HEART_RATE && within(0.3, 5.0)) || (*self == RESPIRATION_RATE && within(0.05, 1.3)) {
            return Some(format!("it looks like a rate per second ({value} /s is {:.0} /min)", value * 60.0));
        }
        if (*self == SYSTOLIC && within(5.3, 39.9)) || (*self == DIASTOLIC && within(2.6, 19.9)) {
            return Some(format!("it looks like kilopascal ({value} kPa is {:.0} mmHg)", value * 7.500_62));
        }
        None
    }
}

/// Takes zeros out and complains of what is impossible.
///
/// # Errors
/// Everything that is wrong, in the order of the fields.
pub fn check(reading: &mut Reading, now: Timestamp, window: Window) -> Result<(), Vec<Fault>> {
    let mut faults = Vec::new();
    if let Some(fault) = time_fault(reading.at, now, window) {
        faults.push(fault);
    }
    sensor_off(&mut reading.heart_rate_bpm, &HEART_RATE, &mut faults, |v| f64::from(*v));
    sensor_off(&mut reading.spo2_pct, &SPO2, &mut faults, |v| f64::from(*v));
    sensor_off(&mut reading.respiration_rate_bpm, &RESPIRATION_RATE, &mut faults, |v| f64::from(*v));
    sensor_off(&mut reading.systolic_mmhg, &SYSTOLIC, &mut faults, |v| f64::from(*v));
    sensor_off(&mut reading.diastolic_mmhg, &DIASTOLIC, &mut faults, |v| f64::from(*v));
    sensor_off(&mut reading.temperature, &TEMPERATURE, &mut faults, |v| v.celsius());
    if let (Some(systolic), Some(diastolic)) = (reading.systolic_mmhg, reading.diastolic_mmhg)
        && diastolic >= systolic
    {
        let detail = format!("diastolic {diastolic} must be below systolic {systolic}; are the two swapped?");
        faults.push(Fault::new(DIASTOLIC.field, detail));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn sensor_off<T>(slot: &mut Option<T>, vital: &Vital, faults: &mut Vec<Fault>, as_f64: impl Fn(&T) -> f64) {
    let Some(value) = slot.as_ref().map(as_f64) else { return };
    if value == 0.0 {
        *slot = None;
    } else if !vital.allows(value) {
        faults.push(Fault::new(vital.field, vital.complaint(value)));
    }
}

fn time_fault(at: Timestamp, now: Timestamp, window: Window) -> Option<Fault> {
    let ahead_ms = at.ms_since(now);
    if ahead_ms > window.future_ms {
        let (ahead, most) = (span(ahead_ms), span(window.future_ms));
        let detail =
            format!("{at} is {ahead} ahead of now ({now}); at most {most} is accepted: check the device's clock");
        return Some(Fault::new("at", detail));
    }
    if ahead_ms < -window.past_ms {
        let (ago, most) = (span(-ahead_ms), span(window.past_ms));
        let detail = format!("{at} is {ago} before now ({now}); at most {most} is accepted");
        return Some(Fault::new("at", detail));
    }
    None
}

/// A length of time as a person says it.
fn span(ms: i64) -> String {
    let s = ms / 1000;
    match s {
        ..=119 => format!("{s} s"),
        120..=7199 => format!("{} min", s / 60),
        7200..=172_799 => format!("{} h", s / 3600),
        172_800.. => format!("{} days", s / 86_400),
    }
}

/// Whether somebody should hear of it at once: SOS, fall, or a value that NEWS2 scores 3 by itself. Only
/// decides what travels in an envelope of its own; what it means is triage's to say.
#[must_use]
pub fn is_urgent(reading: &Reading) -> bool {
    use shers_contract::vitals::Consciousness::Alert;
    reading.sos
        || reading.fall
        || reading.heart_rate_bpm.is_some_and(|v| !(41..=130).contains(&v))
        || reading.respiration_rate_bpm.is_some_and(|v| !(9..=24).contains(&v))
        || reading.spo2_pct.is_some_and(|v| v <= 91)
        || reading.systolic_mmhg.is_some_and(|v| !(91..=219).contains(&v))
        || reading.temperature.is_some_and(|v| v.0 <= 350)
        || reading.consciousness.is_some_and(|v| v != Alert)
}
