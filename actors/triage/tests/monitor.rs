//! One wearer over time.

use proptest::prelude::*;
use shers_contract::{
    LatLon, PatientId, Timestamp,
    triage::{Class, TriageStatus},
    vitals::{Consciousness, Reading, TenthsCelsius},
};
use shers_triage::model::{monitor::Monitor, news2::Spo2Scale, rules::Rules, subject::Subject};

const T0: Timestamp = Timestamp::from_ms(1_767_225_600_000);

fn patient() -> PatientId {
    PatientId::new("p-1").expect("an id")
}

fn at(seconds: i64) -> Timestamp {
    T0.plus_ms(seconds * 1000)
}

/// A reading at `seconds` with `change` applied.
fn reading(seconds: i64, change: impl FnOnce(&mut Reading)) -> Reading {
    let mut reading = Reading::empty(patient(), at(seconds));
    change(&mut reading);
    reading
}

fn vitals(r: &mut Reading, hr: u16, spo2: u8, rr: u16) {
    (r.heart_rate_bpm, r.spo2_pct, r.respiration_rate_bpm) = (Some(hr), Some(spo2), Some(rr));
}

fn feed(monitor: &mut Monitor, reading: &Reading) -> Option<TriageStatus> {
    monitor.observe(reading, reading.at, &Subject::default(), &Rules::default())
}

/// What a single reading of an unknown wearer is announced as.
fn check(change: impl FnOnce(&mut Reading), class: Class, rule: &str) -> TriageStatus {
    let status = feed(&mut Monitor::default(), &reading(0, change)).expect("a first reading is announced");
    assert_eq!((status.class, status.rule.as_str(), status.previous), (class, rule, None), "{status:?}");
    status
}

#[test]
fn a_first_reading_is_classified_by_the_rules_of_the_domain() {
    check(|r| vitals(r, 70, 98, 16), Class::Normal, "news2-total");
    check(|r| r.heart_rate_bpm = Some(70), Class::Insufficient, "insufficient-data");
    check(|r| r.steps = Some(10), Class::Insufficient, "insufficient-data");
    check(|r| r.heart_rate_bpm = Some(135), Class::Abnormal, "single-red");
    check(|r| vitals(r, 115, 93, 21), Class::Abnormal, "news2-total");
    check(|r| vitals(r, 115, 91, 21), Class::Emergency, "news2-total");
    check(|r| r.sos = true, Class::Emergency, "sos");
    check(|r| r.fall = true, Class::Emergency, "fall");
}

#[test]
fn each_single_parameter_extreme_is_an_emergency_and_its_edge_is_not() {
    /// Rule, how to set the value, a value beyond the limit, and the last one within.
    type Case = (&'static str, fn(&mut Reading, u16), u16, u16);
    let extremes: [Case; 5] = [
        ("extreme-respiration-rate", |r, v| r.respiration_rate_bpm = Some(v), 4, 5),
        ("extreme-respiration-rate", |r, v| r.respiration_rate_bpm = Some(v), 37, 36),
        ("extreme-heart-rate", |r, v| r.heart_rate_bpm = Some(v), 39, 40),
        ("extreme-heart-rate", |r, v| r.heart_rate_bpm = Some(v), 141, 140),
        ("extreme-systolic", |r, v| r.systolic_mmhg = Some(v), 89, 90),
    ];
    for (rule, set, beyond, edge) in extremes {
        check(|r| set(r, beyond), Class::Emergency, rule);
        check(|r| set(r, edge), Class::Abnormal, "single-red");
    }
    let on = |pct: u8, oxygen: Option<bool>| move |r: &mut Reading| (r.spo2_pct, r.oxygen) = (Some(pct), oxygen);
    check(on(89, Some(true)), Class::Emergency, "extreme-spo2");
    check(on(90, Some(true)), Class::Abnormal, "news2-total");
    check(on(89, Some(false)), Class::Abnormal, "single-red");
    check(on(89, None), Class::Abnormal, "single-red");
}

#[test]
fn a_status_explains_itself() {
    let status = check(
        |r| {
            vitals(r, 132, 91, 26);
            r.location = LatLon::new(47.14, 9.52);
        },
        Class::Emergency,
        "news2-total",
    );
    assert_eq!((status.score.known, status.score.lower, status.score.upper), (9, 9, 20));
    assert_eq!(status.score.missing, ["oxygen", "systolic", "consciousness", "temperature"]);
    assert_eq!(status.findings.len(), 3);
    assert!(status.reason.contains("heart rate 132 /min (3)"), "{}", status.reason);
    assert!(status.clears_when.is_some_and(|text| text.contains("below 7")));
    assert_eq!((status.reading_at, status.location), (at(0), LatLon::new(47.14, 9.52)));
}

#[test]
fn a_class_is_announced_when_it_changes_and_not_when_it_stays() {
    let mut monitor = Monitor::default();
    assert!(feed(&mut monitor, &reading(0, |r| vitals(r, 70, 98, 16))).is_some());
    assert!(feed(&mut monitor, &reading(5, |r| vitals(r, 72, 97, 15))).is_none());
    let worse = feed(&mut monitor, &reading(10, |r| vitals(r, 150, 90, 28))).expect("changed");
    assert_eq!((worse.class, worse.previous), (Class::Emergency, Some(Class::Normal)));
    assert!(feed(&mut monitor, &reading(15, |r| vitals(r, 151, 90, 28))).is_none());
    let better = feed(&mut monitor, &reading(20, |r| vitals(r, 80, 97, 16))).expect("changed");
    assert_eq!((better.class, better.previous), (Class::Normal, Some(Class::Emergency)));
}

#[test]
fn a_repeat_announces_nothing() {
    let mut monitor = Monitor::default();
    let sos = reading(0, |r| r.sos = true);
    assert!(feed(&mut monitor, &sos).is_some());
    let once = monitor;
    assert!(feed(&mut monitor, &sos).is_none());
    assert_eq!(monitor, once);
}

#[test]
fn a_late_reading_changes_nothing() {
    let mut monitor = Monitor::default();
    let press = reading(0, |r| r.sos = true);
    let (subject, rules) = (Subject::default(), Rules::default());
    assert!(monitor.observe(&press, at(15 * 60 + 1), &subject, &rules).is_none());
    assert_eq!(monitor, Monitor::default());
    assert!(monitor.observe(&press, at(15 * 60), &subject, &rules).is_some());
}

#[test]
fn missing_data_never_lowers_an_open_emergency() {
    let mut monitor = Monitor::default();
    feed(&mut monitor, &reading(0, |r| vitals(r, 115, 91, 26))).expect("an emergency");
    // Six minutes later the respiration is past its life: without it the total would be 5.
    assert!(feed(&mut monitor, &reading(360, |r| (r.heart_rate_bpm, r.spo2_pct) = (Some(115), Some(91)))).is_none());
    // An hour later there is nothing but a position.
    assert!(feed(&mut monitor, &reading(3600, |r| r.location = LatLon::new(47.0, 9.0))).is_none());
    assert_eq!(monitor.watch.class(), Some(Class::Emergency));
    // One good value alone is not enough; two are, when respiration is among what is newer.
    assert!(feed(&mut monitor, &reading(3700, |r| r.respiration_rate_bpm = Some(16))).is_none());
    let cleared = feed(&mut monitor, &reading(3705, |r| vitals(r, 80, 97, 16))).expect("cleared");
    assert_eq!(cleared.class, Class::Normal);
}

#[test]
fn an_sos_holds_for_its_time_and_then_gives_way_to_fresh_values_only() {
    let mut monitor = Monitor::default();
    feed(&mut monitor, &reading(0, |r| r.sos = true)).expect("an emergency");
    assert!(feed(&mut monitor, &reading(899, |r| vitals(r, 70, 98, 16))).is_none());
    let cleared = feed(&mut monitor, &reading(900, |r| vitals(r, 70, 98, 16))).expect("cleared");
    assert_eq!((cleared.class, cleared.previous), (Class::Normal, Some(Class::Emergency)));
}

#[test]
fn within_an_emergency_an_sos_is_announced_once_per_refractory_time() {
    let mut monitor = Monitor::default();
    feed(&mut monitor, &reading(0, |r| vitals(r, 150, 90, 28))).expect("an emergency");
    let pressed = feed(&mut monitor, &reading(60, |r| r.sos = true)).expect("the button is news");
    assert_eq!((pressed.rule.as_str(), pressed.previous), ("sos", Some(Class::Emergency)));
    assert!(feed(&mut monitor, &reading(600, |r| r.sos = true)).is_none());
    assert!(feed(&mut monitor, &reading(60 + 900, |r| r.sos = true)).is_some());
    // SOS and fall at once are one alarm.
    let mut monitor = Monitor::default();
    assert!(feed(&mut monitor, &reading(0, |r| (r.sos, r.fall) = (true, true))).is_some());
    assert!(feed(&mut monitor, &reading(5, |r| r.heart_rate_bpm = Some(80))).is_none());
}

#[test]
fn where_news2_is_not_valid_only_sos_falls_and_extremes_decide() {
    let pregnant = Subject { pregnant: true, ..Subject::default() };
    let child = Subject { birth_date: Some("2020-01-01".parse().expect("a date")), ..Subject::default() };
    let judge = |subject: &Subject, change: fn(&mut Reading)| {
        Monitor::default().observe(&reading(0, change), at(0), subject, &Rules::default()).expect("a first")
    };
    for subject in [&pregnant, &child] {
        let well = judge(subject, |r| vitals(r, 70, 98, 16));
        assert_eq!((well.class, well.score.name.as_str()), (Class::Insufficient, "news2-not-valid"));
        assert!(well.reason.contains("not valid"), "{}", well.reason);
        assert_eq!(judge(subject, |r| vitals(r, 130, 91, 26)).class, Class::Insufficient);
        assert_eq!(judge(subject, |r| r.sos = true).class, Class::Emergency);
        assert_eq!(judge(subject, |r| r.heart_rate_bpm = Some(35)).class, Class::Emergency);
    }
    assert_eq!(judge(&pregnant, |r| r.heart_rate_bpm = Some(150)).class, Class::Emergency);
    // 150 a minute is nothing unusual for a small child.
    assert_eq!(judge(&child, |r| r.heart_rate_bpm = Some(150)).class, Class::Insufficient);
}

#[test]
fn scale_2_counts_only_where_it_is_prescribed() {
    let prescribed = Subject { scale: Spo2Scale::Two, ..Subject::default() };
    let r = reading(0, |r| {
        vitals(r, 70, 90, 16);
        r.oxygen = Some(false);
    });
    let judge = |subject| Monitor::default().observe(&r, at(0), subject, &Rules::default()).expect("a first").class;
    assert_eq!(judge(&prescribed), Class::Normal);
    assert_eq!(judge(&Subject::default()), Class::Abnormal);
}

#[test]
fn values_past_their_life_are_missing_and_their_end_is_announced_without_a_reading() {
    let mut monitor = Monitor::default();
    feed(&mut monitor, &reading(0, |r| vitals(r, 70, 98, 16))).expect("normal");
    let (subject, rules) = (Subject::default(), Rules::default());
    assert!(monitor.expire(&patient(), at(300), &subject, &rules).is_none());
    let gone = monitor.expire(&patient(), at(301), &subject, &rules).expect("nothing is fresh");
    assert_eq!((gone.class, gone.previous), (Class::Insufficient, Some(Class::Normal)));
    assert!(monitor.expire(&patient(), at(900), &subject, &rules).is_none());
    let mut open = Monitor::default();
    feed(&mut open, &reading(0, |r| r.sos = true)).expect("an emergency");
    assert!(open.expire(&patient(), at(86_400), &subject, &rules).is_none());
}

#[test]
fn a_device_whose_clock_runs_ahead_does_not_hide_what_follows() {
    let mut monitor = Monitor::default();
    let (subject, rules) = (Subject::default(), Rules::default());
    monitor.observe(&reading(290, |r| vitals(r, 70, 98, 16)), at(0), &subject, &rules).expect("normal");
    let sick = monitor.observe(&reading(5, |r| vitals(r, 150, 90, 28)), at(5), &subject, &rules).expect("changed");
    assert_eq!(sick.class, Class::Emergency);
}

prop_compose! {
    fn any_reading()(
        second in 0i64..600, hr in proptest::option::of(35u16..150), spo2 in proptest::option::of(86u8..100),
        rr in proptest::option::of(6u16..30), systolic in proptest::option::of(85u16..230),
        tenths in proptest::option::of(345i16..395), level in proptest::option::of(0u8..2), oxygen: Option<bool>,
    ) -> Reading {
        reading(second, |r| {
            (r.heart_rate_bpm, r.spo2_pct, r.respiration_rate_bpm, r.systolic_mmhg) = (hr, spo2, rr, systolic);
            r.temperature = tenths.map(TenthsCelsius);
            r.consciousness = level.map(|l| if l == 0 { Consciousness::Alert } else { Consciousness::Voice });
            r.oxygen = oxygen;
        })
    }
}

proptest! {
    /// All readings arrive at the end of the ten minutes, in some order, some of them twice.
    #[test]
    fn what_is_known_does_not_depend_on_order_or_repeats(
        readings in proptest::collection::vec(any_reading(), 1..20), seed: u64,
    ) {
        let (subject, rules) = (Subject::default(), Rules::default());
        let fold = |readings: &[Reading]| {
            let mut monitor = Monitor::default();
            for r in readings { monitor.observe(r, at(600), &subject, &rules); }
            monitor
        };
        let mut ordered = readings.clone();
        ordered.sort_by_key(|r| r.at);
        let mut mixed = readings;
        let length = mixed.len();
        for i in 0..length {
            let other = usize::try_from(seed.rotate_left(u32::try_from(i).expect("small")) % 97).expect("small") % length;
            mixed.swap(i, other);
        }
        mixed.extend_from_within(..length / 2);
        prop_assert_eq!(fold(&ordered).evidence, fold(&mixed).evidence);
    }

    /// When every reading is complete there is nothing to hold: the class is that of the newest.
    #[test]
    fn with_complete_readings_the_last_class_does_not_depend_on_the_order(
        values in proptest::collection::vec((35u16..150, 86u8..100, 6u16..30), 1..12), shift in 0usize..12,
    ) {
        let complete: Vec<Reading> = values.iter().zip(0i64..).map(|((hr, spo2, rr), i)| reading(i * 10, |r| {
            vitals(r, *hr, *spo2, *rr);
            (r.systolic_mmhg, r.temperature, r.consciousness, r.oxygen) =
                (Some(120), Some(TenthsCelsius(370)), Some(Consciousness::Alert), Some(false));
        })).collect();
        let (subject, rules) = (Subject::default(), Rules::default());
        let mut ordered = Monitor::default();
        for r in &complete { ordered.observe(r, at(120), &subject, &rules); }
        let mut rotated = Monitor::default();
        for i in 0..complete.len() {
            let r = &complete[(i + shift) % complete.len()];
            rotated.observe(r, at(120), &subject, &rules);
        }
        prop_assert_eq!(ordered.watch.class(), rotated.watch.class());
    }

    #[test]
    fn a_monitor_survives_being_stored(readings in proptest::collection::vec(any_reading(), 1..10)) {
        let mut monitor = Monitor::default();
        for r in &readings { monitor.observe(r, at(600), &Subject::default(), &Rules::default()); }
        let text = serde_json::to_string(&monitor).expect("writes");
        prop_assert_eq!(serde_json::from_str::<Monitor>(&text).expect("reads"), monitor);
    }
}
