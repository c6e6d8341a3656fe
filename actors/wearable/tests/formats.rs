//! Bodies, good and bad: what is taken, and what is said of the rest.

use proptest::prelude::*;
use shers_contract::{Problem, Timestamp, api::VitalsFormat, vitals::Reading};
use shers_wearable::formats::{Element, careful, json};
use shers_wearable::model::check::{Window, check, problem};

const NOW: &str = "2026-03-01T12:00:00Z";
const WINDOW: Window = Window { future_ms: 300_000, past_ms: 7 * 86_400_000 };

fn judge(element: Element<'_>) -> Result<Reading, Problem> {
    let mut reading = match element {
        Element::Quick(quick) => {
            let id = shers_contract::PatientId::new(quick.patient_id).expect("an id");
            quick.into_reading(id)?
        }
        Element::Slow(reading) => *reading,
        Element::Bad(problem) => return Err(problem),
    };
    let now = Timestamp::parse(NOW).expect("a time");
    check(&mut reading, now, WINDOW).map_err(|faults| problem(&faults))?;
    Ok(reading)
}

fn read(body: &str, format: VitalsFormat) -> Result<Vec<Result<Reading, Problem>>, Problem> {
    Ok(json::elements(body, format, 100)?.into_iter().map(judge).collect())
}

fn one(fields: &str) -> Result<Reading, Problem> {
    let body = format!(r#"{{"patient_id": "p-1", "at": "{NOW}", {fields}}}"#);
    let mut readings = read(&body, VitalsFormat::Json).expect("readable");
    assert_eq!(readings.len(), 1);
    readings.remove(0)
}

/// A reading with `fields` is refused for `field`, with a detail that says `hint`.
fn check_refused(fields: &str, field: &str, hint: &str) {
    let problem = one(fields).expect_err(fields);
    assert_eq!(problem.status, 422, "{fields}");
    assert_eq!(problem.more["field"], field, "{fields}: {problem}");
    assert!(problem.detail.contains(hint), "{fields}: {:?} does not say {hint:?}", problem.detail);
}

#[test]
fn what_can_be_meant_in_one_way_only_is_taken() {
    let r = one(r#""heart_rate_bpm": 72.0, "spo2_pct": 97.4, "temperature_c": 36.66, "device_id": null, "seq": 3.0"#);
    let r = r.expect("taken");
    assert_eq!(
        (r.heart_rate_bpm, r.spo2_pct, r.temperature.map(|t| t.0), r.seq),
        (Some(72), Some(97), Some(367), Some(3))
    );
    let r =
        one(r#""heart_rate_bpm": null, "fall": null, "consciousness": "voice", "location": {"lat": 47.1, "lon": 9.5}"#);
    assert!(r.expect("taken").location.is_some());
}

#[test]
fn zero_is_a_sensor_that_is_off() {
    for zeros in [
        r#""heart_rate_bpm": 0, "spo2_pct": 0, "respiration_rate_bpm": 0, "systolic_mmhg": 0, "diastolic_mmhg": 0, "temperature_c": 0"#,
        r#""heart_rate_bpm": 0.0, "spo2_pct": 0.0, "respiration_rate_bpm": 0.0, "systolic_mmhg": 0.0, "diastolic_mmhg": 0.0, "temperature_c": 0.0"#,
    ] {
        let r = one(zeros).expect("taken");
        assert_eq!(r, Reading::empty(r.patient_id.clone(), r.at), "{zeros}");
    }
}

#[test]
fn each_plausible_range_is_kept_to_its_edges() {
    for (field, low, high, below, above) in [
        ("heart_rate_bpm", "20", "300", "19", "301"),
        ("respiration_rate_bpm", "3", "80", "2", "81"),
        ("spo2_pct", "50", "100", "49", "101"),
        ("systolic_mmhg", "40", "300", "39", "301"),
        ("diastolic_mmhg", "20", "200", "19", "201"),
        ("temperature_c", "30", "43", "29.9", "43.1"),
    ] {
        for good in [low, high] {
            assert!(one(&format!(r#""{field}": {good}"#)).is_ok(), "{field} {good}");
        }
        for bad in [below, above, "-5", "1e9"] {
            check_refused(&format!(r#""{field}": {bad}"#), &format!("/{field}"), &format!("{low} to {high}"));
        }
    }
}

#[test]
fn a_misfit_names_its_field_and_says_what_would_be_right() {
    for (fields, field, hint) in [
        (r#""temperature_c": 98.6"#, "/temperature_c", "looks like Fahrenheit (98.6 °F is 37.0 °C)"),
        (r#""temperature_c": 310.15"#, "/temperature_c", "looks like kelvin"),
        (r#""temperature_c": 366"#, "/temperature_c", "tenths"),
        (r#""spo2_pct": 0.97"#, "/spo2_pct", "looks like a fraction (0.97 is 97 %)"),
        (r#""heart_rate_bpm": 1.2"#, "/heart_rate_bpm", "per second (1.2 /s is 72 /min)"),
        (r#""systolic_mmhg": 16"#, "/systolic_mmhg", "kilopascal (16 kPa is 120 mmHg)"),
        (r#""systolic_mmhg": 80, "diastolic_mmhg": 120"#, "/diastolic_mmhg", "swapped"),
        (r#""systolic_mmhg": 80, "diastolic_mmhg": 80"#, "/diastolic_mmhg", "below systolic"),
        (r#""heart_rate_bpm": "72""#, "/heart_rate_bpm", "leave the quotes out"),
        (r#""heart_rate_bpm": [72]"#, "/heart_rate_bpm", "not an array"),
        (r#""heartrate": 72"#, "/heartrate", "unknown field 'heartrate': did you mean heart_rate_bpm?"),
        (r#""heart_rate": 72"#, "/heart_rate", "did you mean heart_rate_bpm?"),
        (r#""HR": 72"#, "/HR", "did you mean heart_rate_bpm?"),
        (r#""spo2": 97"#, "/spo2", "did you mean spo2_pct?"),
        (r#""deviceid": "d""#, "/deviceid", "did you mean device_id?"),
        (r#""shoe_size": 43"#, "/shoe_size", "a reading has patient_id"),
        (r#""consciousness": "A""#, "/consciousness", "A is written alert"),
        (r#""consciousness": "sleepy""#, "/consciousness", "none of alert"),
        (r#""oxygen": "yes""#, "/oxygen", "true or false"),
        (r#""seq": -1"#, "/seq", "0 or more"),
        (r#""steps": 5000000000"#, "/steps", "can't be"),
        (r#""device_id": "a b""#, "/device_id", "an id is"),
        (r#""device_id": 7"#, "/device_id", "a text in quotes"),
        (r#""location": {"lat": 95, "lon": 9}"#, "/location", "lat must be -90 to 90"),
        (r#""location": [47, 9]"#, "/location", "in degrees"),
    ] {
        check_refused(fields, field, hint);
    }
}

#[test]
fn times_must_be_there_and_near() {
    for (at, hint) in [
        (r#""2026-03-01T12:05:01Z""#, "check the device's clock"),
        (r#""2026-02-22T11:59:59Z""#, "7 days"),
        (r#""2026-03-01 12:00""#, "is not a time"),
        (r#""yesterday""#, "RFC 3339"),
        ("1772366400", "as a Unix time it is 2026-03-01T12:00:00"),
        ("1772366400000", "as a Unix time it is 2026-03-01T12:00:00"),
        ("null", "at is required"),
        ("true", "not true or false"),
    ] {
        let body = format!(r#"{{"patient_id": "p-1", "at": {at}}}"#);
        let problem = read(&body, VitalsFormat::Json).expect("readable").remove(0).expect_err(at);
        assert_eq!(problem.more["field"], "/at", "{at}");
        assert!(problem.detail.contains(hint), "{at}: {}", problem.detail);
    }
    for at in ["2026-03-01T12:05:00Z", "2026-02-22T12:00:00Z", "2026-03-01T13:00:00+01:00"] {
        let body = format!(r#"{{"patient_id": "p-1", "at": "{at}"}}"#);
        assert!(read(&body, VitalsFormat::Json).expect("readable").remove(0).is_ok(), "{at}");
    }
}

#[test]
fn everything_that_is_wrong_with_a_reading_is_said_at_once() {
    let body = r#"{"heartrate": 72, "temperature_c": 98.6, "at": 5}"#;
    let problem = read(body, VitalsFormat::Json).expect("readable").remove(0).expect_err("refused");
    let fields: Vec<&str> =
        problem.more["errors"].as_array().expect("several").iter().filter_map(|e| e["field"].as_str()).collect();
    assert_eq!(fields, ["/patient_id", "/at", "/temperature_c", "/heartrate"]);
}

#[test]
fn a_bad_element_never_costs_a_good_one() {
    let good = format!(r#"{{"patient_id":"p-1","at":"{NOW}","heart_rate_bpm":70}}"#);
    for bad in [
        r#"{"patient_id":"p-1","at":"2026-03-01T12:00:00Z","heart_rate_bpm":999}"#,
        r#"{"patient_id":"p-1"}"#,
        r#"{"patient_id":"no such id!","at":"2026-03-01T12:00:00Z","x":1}"#,
        "7",
        "null",
        "[]",
        r#"["p-1", null, "2026-03-01T12:00:00Z"]"#,
        r#""text""#,
        "{}",
    ] {
        let body = format!("[{good},\n {good}, {bad}, {good},{good}]");
        let oks: Vec<bool> = read(&body, VitalsFormat::Json).expect("readable").iter().map(Result::is_ok).collect();
        assert_eq!(oks, [true, true, false, true, true], "{bad}");
    }
    for bad in [r#"{"patient_id":"p-1","at":"#, "}{", "nonsense", "[1,2]", r#"{"patient_id":"p-1"}"#] {
        let body = format!("{good}\r\n\n{good}\n{bad}\n{good}\n");
        let readings = read(&body, VitalsFormat::Ndjson).expect("readable");
        let oks: Vec<bool> = readings.iter().map(Result::is_ok).collect();
        assert_eq!(oks, [true, true, false, true], "{bad}");
    }
}

#[test]
fn what_cannot_be_read_at_all_says_where() {
    for (body, line, column) in [
        ("[{\"patient_id\": \"p-1\",\n \"at\" 5}]", 2, 7),
        ("{\"patient_id\": }", 1, 16),
        ("[1, 2", 1, 5),
        ("{} {}", 1, 4),
        ("hello", 1, 1),
    ] {
        let problem = read(body, VitalsFormat::Json).expect_err(body);
        assert_eq!(problem.status, 400, "{body}");
        assert_eq!(
            (&problem.more["line"], &problem.more["column"]),
            (&line.into(), &column.into()),
            "{body}: {problem}"
        );
    }
    for (body, format) in [("", VitalsFormat::Json), ("  \n", VitalsFormat::Ndjson), ("42", VitalsFormat::Json)] {
        assert_eq!(read(body, format).expect_err(body).status, 400, "{body:?}");
    }
    let line_3 = "{}\n\n{\"patient_id\" 5}";
    let problem = read(line_3, VitalsFormat::Ndjson).expect("readable").remove(1).expect_err("bad");
    assert_eq!((problem.status, &problem.more["line"]), (400, &3.into()));
    let deep = "[".repeat(100_000);
    assert_eq!(read(&deep, VitalsFormat::Json).expect_err("deep").status, 400);
    let deep = format!("[{}{}]", r#"{"location":"#.repeat(5_000), "}".repeat(5_000));
    let _ = read(&deep, VitalsFormat::Json);
}

#[test]
fn a_body_over_the_limit_is_refused_whole() {
    let body = format!("[{}]", vec!["{}"; 101].join(","));
    assert_eq!(read(&body, VitalsFormat::Json).expect_err("too many").status, 413);
    assert_eq!(read(&"{}\n".repeat(101), VitalsFormat::Ndjson).expect_err("too many").status, 413);
    assert_eq!(read(&"{}\n".repeat(100), VitalsFormat::Ndjson).expect("fits").len(), 100);
}

#[test]
fn names_of_other_systems_are_recognised_and_strange_ones_are_not() {
    for (field, want) in [
        ("heartRate", Some("heart_rate_bpm")),
        ("respiratory_rate", Some("respiration_rate_bpm")),
        ("patientId", Some("patient_id")),
        ("conciousness", Some("consciousness")),
        ("oxigen", Some("oxygen")),
        ("glucose", None),
        ("", None),
    ] {
        assert_eq!(careful::suggestion(field), want, "{field}");
    }
}

proptest! {
    /// Whatever arrives is answered, never with a panic; and the careful way takes what the quick one does.
    #[test]
    fn any_text_is_answered(body in "\\PC{0,80}") {
        let _ = read(&body, VitalsFormat::Json);
        let _ = read(&body, VitalsFormat::Ndjson);
        let _ = read(&format!("[{body}]"), VitalsFormat::Json);
    }

    #[test]
    fn both_ways_of_reading_agree(
        hr in proptest::option::of(0u16..400), spo2 in proptest::option::of(0u8..120), tenths in 250i16..450,
        fall: bool, oxygen: Option<bool>, seq: Option<u32>,
    ) {
        let value = serde_json::json!({
            "patient_id": "p-1", "device_id": "d-1", "at": NOW, "heart_rate_bpm": hr, "spo2_pct": spo2,
            "temperature_c": f64::from(tenths) / 10.0, "fall": fall, "oxygen": oxygen, "seq": seq,
        });
        let text = value.to_string();
        let quick = serde_json::from_str(&text).map(|q| judge(Element::Quick(Box::new(q)))).expect("quick");
        let slow = careful::read(&text).and_then(|r| judge(Element::Slow(Box::new(r))));
        prop_assert_eq!(quick.is_ok(), slow.is_ok());
        if let (Ok(quick), Ok(slow)) = (quick, slow) {
            prop_assert_eq!(quick, slow);
        }
    }
}
