//! The desk's choice against trying every unit, and the sorting of positions and the queue.

use proptest::prelude::*;
use serde_json::json;
use shers_contract::dispatch::Fix;
use shers_contract::incident::{Priority, RequestDispatch};
use shers_contract::{IncidentId, LatLon, Timestamp};
use shers_dispatch::gateway::{BuiltIn, Driving, EtaSource};
use shers_dispatch::model::desk::Queue;
use shers_dispatch::model::fleet::Position;
use shers_dispatch::model::positions::{FixLimits, sort};
use shers_roads::{RoadMap, Speed};
use std::sync::Arc;

const START: Timestamp = Timestamp::from_ms(1_767_225_600_000);
const LIMITS: FixLimits =
    FixLimits { max_future_ms: 300_000, max_age_ms: 3_600_000, max_speed_mps: 90.0, noise_m: 100.0 };

#[test]
fn the_built_in_ranking_is_the_one_that_routing_every_unit_gives() {
    let map = Arc::new(RoadMap::built_in().expect("the built-in map"));
    let source = BuiltIn::new(Arc::clone(&map));
    let point = |n: u32| {
        let fraction = |k: f64| (f64::from(n) * k).fract();
        map.random_road_point(fraction(0.618_034), fraction(0.414_214))
    };
    for round in 0..20 {
        let from: Vec<LatLon> = (0..30).map(|n| point(round * 100 + n)).collect();
        let to = point(round * 100 + 99);
        let ranking = futures::executor::block_on(source.rank_from(&from, to, Driving::LightsAndSirens, 3));
        let times: Vec<f64> =
            from.iter().map(|from| map.eta(*from, to, Speed::LightsAndSirens).expect("on roads").duration_s).collect();
        let mut by_hand: Vec<usize> = (0..from.len()).collect();
        by_hand.sort_by(|a, b| times[*a].total_cmp(&times[*b]));
        let ranked: Vec<usize> = ranking.expect("on roads").best.iter().map(|(index, _)| *index).collect();
        assert_eq!(ranked, by_hand[..3], "round {round}");
    }
}

fn fix(seconds: i64, north_m: f64) -> Fix {
    let location = LatLon::new(47.0 + north_m / 111_195.0, 9.5).expect("valid");
    serde_json::from_value(json!({"unit_id": "a", "at": START.plus_ms(seconds * 1_000), "location": location}))
        .expect("valid")
}

#[test]
fn a_repeat_is_accepted_and_not_kept_and_an_older_fix_is_refused() {
    let first = fix(0, 0.0);
    let last = Some(Position { at: first.at, location: first.location });
    let sorted = sort(vec![first, fix(-5, 10.0), fix(5, 20.0)], last, START, &LIMITS);
    assert_eq!((sorted.accepted, sorted.believed.len()), (2, 1));
    assert_eq!(
        sorted.refused.iter().map(|(i, p)| (*i, p.kind.as_str())).collect::<Vec<_>>(),
        [(1, "/problems/out-of-order")]
    );
    let old = sort(vec![fix(-4_000, 0.0)], None, START, &LIMITS);
    assert_eq!(old.refused.first().map(|(_, p)| p.kind.as_str()), Some("/problems/stale-position"));
}

#[test]
fn what_is_not_believed_says_what_it_is_and_what_would_be() {
    let last = Some(Position { at: START, location: fix(0, 0.0).location });
    let check = |seconds: i64, north_m: f64, kind: &str, words: [&str; 2]| {
        let sorted = sort(vec![fix(seconds, north_m)], last, START.plus_ms(60_000), &LIMITS);
        let (_, problem) = sorted.refused.first().expect("refused");
        assert_eq!(problem.kind, format!("/problems/{kind}"));
        assert!(words.iter().all(|word| problem.detail.contains(word)), "{}", problem.detail);
    };
    check(500, 0.0, "time-in-future", ["440 s in the future", "at most 300 s"]);
    check(10, 5_000.0, "impossible-speed", ["5000 m in 10.0 s", "at most 90 m/s"]);
    check(-10, 0.0, "out-of-order", ["is not after the last known fix", "2026-01-01T00:00:00"]);
    check(-4_000, 0.0, "stale-position", ["4060 s old", "at most 3600 s"]);
}

proptest! {
    #[test]
    fn believed_fixes_are_ordered_and_drivable_and_none_is_lost(
        raw in proptest::collection::vec((-4_000_i64..400, -20_000.0..20_000.0), 0..40)
    ) {
        let fixes: Vec<Fix> = raw.iter().map(|(seconds, metres)| fix(*seconds, *metres)).collect();
        let sorted = sort(fixes.clone(), None, START, &LIMITS);
        prop_assert_eq!(sorted.accepted + sorted.refused.len(), fixes.len());
        for pair in sorted.believed.windows(2) {
            let passed_ms = pair[1].at.ms_since(pair[0].at);
            prop_assert!(passed_ms > 0);
            let reach_m = passed_ms as f64 / 1_000.0 * 90.0 + 100.0;
            prop_assert!(pair[0].location.distance_m(&pair[1].location) <= reach_m + 0.001);
        }
    }

    #[test]
    fn the_queue_is_by_priority_then_age_whatever_the_order_of_arrival(
        raw in proptest::collection::vec((0_u8..12, 1_u8..=4, 0_i64..50), 0..60)
    ) {
        let mut queue = Queue::default();
        for (id, priority, opened_s) in raw {
            let request = RequestDispatch {
                incident_id: IncidentId::new(format!("i-{id:02}")).expect("valid"),
                priority: Priority::try_from(priority).expect("valid"),
                location: None,
                needs: Vec::new(),
                opened_at: START.plus_ms(opened_s),
            };
            let known = queue.learn(&request, None, false);
            prop_assert!(known.request.priority <= request.priority, "a priority is never lowered");
            queue.wait(&known.request);
        }
        let order = queue.in_order();
        prop_assert_eq!(order.len(), queue.len());
        let keys: Vec<_> = order.iter().filter_map(|id| queue.known(id)).map(|k| (k.request.priority, k.request.opened_at)).collect();
        prop_assert_eq!(keys.len(), order.len());
        prop_assert!(keys.is_sorted());
        let unique: std::collections::BTreeSet<_> = order.iter().collect();
        prop_assert_eq!(unique.len(), order.len());
    }
}
