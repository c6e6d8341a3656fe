//! NEWS2 against the published table, and against what others compute.

use proptest::prelude::*;
use shers_contract::vitals::{Consciousness, TenthsCelsius};
use shers_triage::model::news2::{self, Parameter, Spo2Scale, Values, score};
use std::io::Read;
use std::path::PathBuf;

fn shared(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("SHERS_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let file = root.join(path);
    if !file.exists() {
        println!("MISSING {}: set SHERS_SHARED to check against it", file.display());
        return None;
    }
    Some(file)
}

/// Each edge of each column, with the value on both of its sides.
#[test]
fn every_edge_of_the_table_is_where_the_college_put_it() {
    fn check(name: &str, points: impl Fn(u16) -> u8, edges: &[(u16, u8)]) {
        for (value, want) in edges {
            assert_eq!(points(*value), *want, "{name} {value}");
        }
    }
    check(
        "respiration",
        news2::respiration_points,
        &[(0, 3), (8, 3), (9, 1), (11, 1), (12, 0), (20, 0), (21, 2), (24, 2), (25, 3), (80, 3)],
    );
    check(
        "systolic",
        news2::systolic_points,
        &[(40, 3), (90, 3), (91, 2), (100, 2), (101, 1), (110, 1), (111, 0), (219, 0), (220, 3), (300, 3)],
    );
    check(
        "pulse",
        news2::heart_rate_points,
        &[
            (20, 3),
            (40, 3),
            (41, 1),
            (50, 1),
            (51, 0),
            (90, 0),
            (91, 1),
            (110, 1),
            (111, 2),
            (130, 2),
            (131, 3),
            (300, 3),
        ],
    );
    check(
        "temperature",
        |t| news2::temperature_points(TenthsCelsius(i16::try_from(t).expect("small"))),
        &[(300, 3), (350, 3), (351, 1), (360, 1), (361, 0), (380, 0), (381, 1), (390, 1), (391, 2), (430, 2)],
    );
    check("oxygen", |on| news2::oxygen_points(on == 1), &[(0, 0), (1, 2)]);
    let spo2 = |scale, oxygen| {
        move |pct: u16| {
            let points = news2::spo2_points(scale, u8::try_from(pct).expect("small"), Some(oxygen));
            assert_eq!(points.lower, points.upper);
            points.lower
        }
    };
    let scale_1 = [(50, 3), (91, 3), (92, 2), (93, 2), (94, 1), (95, 1), (96, 0), (100, 0)];
    check("SpO2 scale 1 on air", spo2(Spo2Scale::One, false), &scale_1);
    check("SpO2 scale 1 on oxygen", spo2(Spo2Scale::One, true), &scale_1);
    let low = [(50, 3), (83, 3), (84, 2), (85, 2), (86, 1), (87, 1), (88, 0), (92, 0)];
    check("SpO2 scale 2 on air", spo2(Spo2Scale::Two, false), &low);
    check("SpO2 scale 2 on oxygen", spo2(Spo2Scale::Two, true), &low);
    check("SpO2 scale 2 on air", spo2(Spo2Scale::Two, false), &[(93, 0), (94, 0), (95, 0), (97, 0), (100, 0)]);
    check(
        "SpO2 scale 2 on oxygen",
        spo2(Spo2Scale::Two, true),
        &[(93, 1), (94, 1), (95, 2), (96, 2), (97, 3), (100, 3)],
    );
    for (level, want) in [
        (Consciousness::Alert, 0),
        (Consciousness::Confused, 3),
        (Consciousness::Voice, 3),
        (Consciousness::Pain, 3),
        (Consciousness::Unresponsive, 3),
    ] {
        assert_eq!(news2::consciousness_points(level), want, "{level:?}");
    }
}

#[test]
fn a_missing_parameter_widens_the_bounds_up_to_its_own_maximum() {
    let nothing = score(&Values::default(), Spo2Scale::One);
    assert_eq!((nothing.lower, nothing.upper, nothing.missing().count()), (0, 20, 7));
    let watch = Values { heart_rate_bpm: Some(95), spo2_pct: Some(93), ..Values::default() };
    let partial = score(&watch, Spo2Scale::One);
    assert_eq!((partial.lower, partial.upper, partial.single_red), (3, 3 + 3 + 2 + 3 + 3 + 3, false));
    // On scale 2 nobody knows what 95 % means before it is known whether the wearer is on oxygen.
    let unknown_air = Values { spo2_pct: Some(95), ..Values::default() };
    let partial = score(&unknown_air, Spo2Scale::Two);
    assert_eq!((partial.lower, partial.upper), (0, 2 + 2 + 5 * 3));
}

/// The table that people are shown says the same as the one that decides.
#[test]
fn the_shown_table_is_the_table_that_decides() {
    let table = news2::table();
    let column = |name: &str, points: &dyn Fn(i32) -> u8, scale: f64| {
        for row in table[name].as_array().expect(name) {
            let (range, want) = (row[0].as_str().expect("a range"), row[1].as_u64().expect("points"));
            let (low, high) = range.split_once("..").expect("a range");
            for end in [low, high].into_iter().filter(|end| !end.is_empty()) {
                #[expect(clippy::cast_possible_truncation, reason = "small")]
                let value = (end.parse::<f64>().expect("a number") * scale).round() as i32;
                assert_eq!(u64::from(points(value)), want, "{name} {end}");
            }
        }
    };
    let to = |v: i32| u16::try_from(v).expect("small");
    column("respiration_rate_bpm", &|v| news2::respiration_points(to(v)), 1.0);
    column("systolic_mmhg", &|v| news2::systolic_points(to(v)), 1.0);
    column("heart_rate_bpm", &|v| news2::heart_rate_points(to(v)), 1.0);
    column("temperature_c", &|v| news2::temperature_points(TenthsCelsius(i16::try_from(v).expect("small"))), 10.0);
    let spo2 = |scale, on, v: i32| news2::spo2_points(scale, u8::try_from(v).expect("small"), Some(on)).lower;
    column("spo2_pct_scale_1", &|v| spo2(Spo2Scale::One, false, v), 1.0);
    column("spo2_pct_scale_2_on_air", &|v| spo2(Spo2Scale::Two, false, v), 1.0);
    column("spo2_pct_scale_2_on_oxygen", &|v| spo2(Spo2Scale::Two, true, v), 1.0);
}

fn acvpu(letter: &str) -> Consciousness {
    match letter {
        "A" => Consciousness::Alert,
        "C" => Consciousness::Confused,
        "V" => Consciousness::Voice,
        "P" => Consciousness::Pain,
        "U" => Consciousness::Unresponsive,
        other => panic!("{other}"),
    }
}

fn int<T: TryFrom<i64>>(value: &serde_json::Value) -> Option<T> {
    #[expect(clippy::cast_possible_truncation, reason = "vital signs")]
    value.as_f64().and_then(|v| T::try_from(v as i64).ok())
}

#[test]
fn five_hundred_cases_score_as_two_other_programs_score_them() {
    let Some(path) = shared("data/news/news2_oracle_dev.ndjson.gz") else { return };
    let mut text = String::new();
    let file = std::fs::File::open(path).expect("opens");
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("is gzip");
    let mut cases = 0;
    for line in text.lines() {
        let case: serde_json::Value = serde_json::from_str(line).expect("is JSON");
        let input = &case["in"];
        let values = Values {
            respiration_rate_bpm: int(&input["rr"]),
            spo2_pct: int(&input["spo2"]),
            oxygen: input["o2"].as_bool(),
            systolic_mmhg: int(&input["sbp"]),
            heart_rate_bpm: int(&input["hr"]),
            consciousness: input["acvpu"].as_str().map(acvpu),
            temperature: input["temp_c"].as_f64().and_then(TenthsCelsius::from_celsius),
        };
        let scale = if input["scale"] == 2 { Spo2Scale::Two } else { Spo2Scale::One };
        let scored = score(&values, scale);
        assert_eq!(scored.lower, scored.upper, "nothing is missing in {line}");
        assert_eq!(u64::from(scored.lower), case["clincalc_total"].as_u64().expect("a total"), "{line}");
        assert_eq!(scored.single_red, case["clincalc"]["single_parameter_3"].as_bool().expect("a flag"), "{line}");
        let parts = &case["vitalscore_parts"];
        for (parameter, points) in scored.known() {
            let name = match parameter {
                Parameter::RespirationRate => "rr_score",
                Parameter::Spo2 => "spo2_score",
                Parameter::Oxygen => "o2_score",
                Parameter::Systolic => "sbp_score",
                Parameter::HeartRate => "hr_score",
                Parameter::Consciousness => "consciousness_score",
                Parameter::Temperature => "temp_score",
            };
            assert_eq!(u64::from(points), parts[name].as_u64().expect(name), "{name} of {line}");
        }
        cases += 1;
    }
    assert_eq!(cases, 500);
}

#[test]
fn the_openehr_guideline_cases_score_as_published() {
    let Some(path) = shared("data/news/openehr_gdl2_news2.ndjson") else { return };
    let text = std::fs::read_to_string(path).expect("opens");
    let mut cases = 0;
    for line in text.lines() {
        let case: serde_json::Value = serde_json::from_str(line).expect("is JSON");
        let input = &case["input"];
        let present = |name: &str| input[name]["ordinal"].as_u64();
        let values = Values {
            respiration_rate_bpm: int(&input["Respiration rate"]),
            spo2_pct: int(&input["spO2"]),
            oxygen: present("Supplemental oxygen").map(|ordinal| ordinal > 0),
            systolic_mmhg: int(&input["Systolic BP"]),
            heart_rate_bpm: int(&input["Heart rate"]),
            consciousness: present("Consciousness")
                .map(|o| if o == 0 { Consciousness::Alert } else { Consciousness::Voice }),
            temperature: input["Temperature"].as_f64().and_then(TenthsCelsius::from_celsius),
        };
        let hypercapnic = present("Hypercapnic respiratory failure").is_some_and(|ordinal| ordinal > 0);
        let scored = score(&values, if hypercapnic { Spo2Scale::Two } else { Spo2Scale::One });
        let Some(total) = int::<u8>(&case["expected"]["Total score"]) else { continue };
        assert!((scored.lower..=scored.upper).contains(&total), "{} not in {scored:?}", case["id"]);
        if scored.missing().count() == 0 {
            assert_eq!(scored.lower, total, "{}", case["id"]);
        }
        cases += 1;
    }
    assert!(cases >= 15, "only {cases} cases were compared");
}

prop_compose! {
    fn any_values()(
        rr in 3u16..80, spo2 in 50u8..=100, oxygen: bool, systolic in 40u16..=300, hr in 20u16..=300,
        level in 0usize..5, tenths in 300i16..=430,
    ) -> Values {
        let levels = ["A", "C", "V", "P", "U"];
        Values {
            respiration_rate_bpm: Some(rr), spo2_pct: Some(spo2), oxygen: Some(oxygen), systolic_mmhg: Some(systolic),
            heart_rate_bpm: Some(hr), consciousness: Some(acvpu(levels[level])), temperature: Some(TenthsCelsius(tenths)),
        }
    }
}

fn keep(values: &Values, mask: u8) -> Values {
    let has = |bit: u8| mask & (1 << bit) != 0;
    Values {
        respiration_rate_bpm: values.respiration_rate_bpm.filter(|_| has(0)),
        spo2_pct: values.spo2_pct.filter(|_| has(1)),
        oxygen: values.oxygen.filter(|_| has(2)),
        systolic_mmhg: values.systolic_mmhg.filter(|_| has(3)),
        heart_rate_bpm: values.heart_rate_bpm.filter(|_| has(4)),
        consciousness: values.consciousness.filter(|_| has(5)),
        temperature: values.temperature.filter(|_| has(6)),
    }
}

proptest! {
    #[test]
    fn the_bounds_of_a_partial_score_contain_the_full_one(values in any_values(), mask: u8, two: bool) {
        let scale = if two { Spo2Scale::Two } else { Spo2Scale::One };
        let full = score(&values, scale);
        let partial = score(&keep(&values, mask), scale);
        prop_assert_eq!(full.lower, full.upper);
        prop_assert!(partial.lower <= full.lower && full.upper <= partial.upper && full.upper <= 20);
    }

    #[test]
    fn learning_a_value_never_widens_the_bounds(values in any_values(), mask: u8, bit in 0u8..7, two: bool) {
        let scale = if two { Spo2Scale::Two } else { Spo2Scale::One };
        let before = score(&keep(&values, mask & !(1 << bit)), scale);
        let after = score(&keep(&values, mask | (1 << bit)), scale);
        prop_assert!(before.lower <= after.lower && after.upper <= before.upper);
        prop_assert!(!before.single_red || after.single_red);
    }
}
