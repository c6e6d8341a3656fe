//! Serving several waiting incidents at once: against trying everything, and against one by one.

use proptest::prelude::*;
use shers_dispatch::model::joint::{Costs, assign, greedy, total};

/// Best by the rule, found by trying everything: who is served in the queue's order first, then the sum.
fn by_trying(costs: &Costs) -> (Vec<bool>, i64) {
    fn go(costs: &Costs, row: usize, taken: &mut Vec<usize>, served: &mut Vec<bool>, sum: i64) -> (Vec<bool>, i64) {
        let Some(options) = costs.get(row) else { return (served.clone(), sum) };
        served.push(false);
        let mut best = go(costs, row + 1, taken, served, sum);
        served.pop();
        for (column, cost) in options.iter().enumerate() {
            let Some(cost) = cost.filter(|_| !taken.contains(&column)) else { continue };
            taken.push(column);
            served.push(true);
            let found = go(costs, row + 1, taken, served, sum + cost);
            served.pop();
            taken.pop();
            if found.0 > best.0 || (found.0 == best.0 && found.1 < best.1) {
                best = found;
            }
        }
        best
    }
    go(costs, 0, &mut Vec::new(), &mut Vec::new(), 0)
}

fn costs(rows: usize, columns: usize) -> impl Strategy<Value = Costs> {
    let cell = prop_oneof![3 => (0_i64..500).prop_map(Some), 1 => Just(None)];
    proptest::collection::vec(proptest::collection::vec(cell, columns), 0..=rows)
}

#[test]
fn two_that_reach_for_one_unit_are_served_together_better_than_one_by_one() {
    let costs = vec![vec![Some(10), Some(12)], vec![Some(20), Some(200)]];
    assert_eq!((greedy(&costs), total(&costs, &greedy(&costs))), (vec![Some(0), Some(1)], 210));
    assert_eq!((assign(&costs), total(&costs, &assign(&costs))), (vec![Some(1), Some(0)], 32));
    assert_eq!(assign(&vec![vec![Some(1)], vec![Some(0)]]), [Some(0), None], "the first in the queue goes first");
    assert_eq!(assign(&Vec::new()), []);
}

proptest! {
    #[test]
    fn the_answer_is_the_one_that_trying_everything_gives(costs in (1_usize..5).prop_flat_map(|n| costs(5, n))) {
        let units = assign(&costs);
        let (served, sum) = by_trying(&costs);
        prop_assert_eq!(units.iter().map(Option::is_some).collect::<Vec<_>>(), served);
        prop_assert_eq!(total(&costs, &units), sum);
        prop_assert_eq!(assign(&costs), units, "the same input gives the same answer");
    }

    #[test]
    fn it_never_costs_more_than_one_by_one_and_never_serves_a_later_one_instead(
        costs in (1_usize..12).prop_flat_map(|n| costs(15, n))
    ) {
        let (units, one_by_one) = (assign(&costs), greedy(&costs));
        let served = |units: &[Option<usize>]| units.iter().map(Option::is_some).collect::<Vec<_>>();
        prop_assert!(served(&units) >= served(&one_by_one), "in the queue's order nobody loses");
        if served(&units) == served(&one_by_one) {
            prop_assert!(total(&costs, &units) <= total(&costs, &one_by_one));
        }
        let mut columns: Vec<usize> = units.iter().flatten().copied().collect();
        columns.sort_unstable();
        let count = columns.len();
        columns.dedup();
        prop_assert_eq!(columns.len(), count, "no unit goes twice");
        for (row, unit) in units.iter().enumerate() {
            prop_assert!(unit.is_none_or(|unit| costs[row][unit].is_some()), "only what can be");
        }
    }
}
