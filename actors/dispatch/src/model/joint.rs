//! Several waiting incidents and several free units at once: the assignment problem.
//!
//! The rule, in this order:
//! 1. The queue's order (priority, then age) decides who is served: an incident goes without only if it can't
//!    be served together with those before it. Nobody behind it ever takes that away.
//! 2. Among all ways to serve these, the one with the least sum of drive times is taken, each time weighted by
//!    priority ([`weight`]: 8, 4, 2, 1): a minute for the most urgent is worth eight for the least urgent.
//! 3. Equal sums: decided by the order of the input alone, so the same input gives the same answer.
//!
//! Exact: rows are added one by one by the shortest augmenting path with potentials (the Hungarian method),
//! which keeps every earlier row served.

use shers_contract::incident::Priority;

/// Worth of a second for an incident of this priority.
#[must_use]
pub const fn weight(priority: Priority) -> i64 {
    match priority.get() {
        1 => 8,
        2 => 4,
        3 => 2,
        _ => 1,
    }
}

/// Cost of each pair: a row per incident in the queue's order, a column per unit; `None` can't be.
pub type Costs = Vec<Vec<Option<i64>>>;

const FAR: i64 = i64::MAX / 4;

/// State of the method. Column and row 0 are the method's own; the real ones begin at 1.
struct Matching<'a> {
    costs: &'a Costs,
    columns: usize,
    row_price: Vec<i64>,
    column_price: Vec<i64>,
    /// Row that holds each column.
    held_by: Vec<usize>,
}

fn get<T: Copy>(list: &[T], index: usize, otherwise: T) -> T {
    list.get(index).copied().unwrap_or(otherwise)
}

fn put<T>(list: &mut [T], index: usize, value: T) {
    if let Some(place) = list.get_mut(index) {
        *place = value;
    }
}

impl Matching<'_> {
    fn cost(&self, row: usize, column: usize) -> Option<i64> {
        let row = self.costs.get(row.checked_sub(1)?)?;
        row.get(column.checked_sub(1)?).copied().flatten().map(|cost| cost.clamp(0, FAR / 1_000_000))
    }

    /// Serves `row` too, moving others if that is best. False, and nothing changed, if it can't be.
    fn add(&mut self, row: usize) -> bool {
        let prices = (self.row_price.clone(), self.column_price.clone());
        put(&mut self.held_by, 0, row);
        let mut reach = vec![FAR; self.columns + 1];
        let mut came_from = vec![0; self.columns + 1];
        let mut settled = vec![false; self.columns + 1];
        let mut at = 0;
        loop {
            put(&mut settled, at, true);
            let Some((step, next)) = self.nearest(at, &settled, &mut reach, &mut came_from) else {
                (self.row_price, self.column_price) = prices;
                return false;
            };
            for column in 0..=self.columns {
                if get(&settled, column, false) {
                    let holder = get(&self.held_by, column, 0);
                    let (row, column_price) = (get(&self.row_price, holder, 0), get(&self.column_price, column, 0));
                    put(&mut self.row_price, holder, row + step);
                    put(&mut self.column_price, column, column_price - step);
                } else if get(&reach, column, FAR) < FAR {
                    let left = get(&reach, column, FAR) - step;
                    put(&mut reach, column, left);
                }
            }
            at = next;
            if get(&self.held_by, at, 0) == 0 {
                break;
            }
        }
        while at != 0 {
            let before = get(&came_from, at, 0);
            let holder = get(&self.held_by, before, 0);
            put(&mut self.held_by, at, holder);
            at = before;
        }
        true
    }

    /// The unsettled column that is cheapest to reach, with its distance.
    fn nearest(&self, at: usize, settled: &[bool], reach: &mut [i64], came_from: &mut [usize]) -> Option<(i64, usize)> {
        let row = get(&self.held_by, at, 0);
        let mut best: Option<(i64, usize)> = None;
        for column in 1..=self.columns {
            if get(settled, column, true) {
                continue;
            }
            if let Some(cost) = self.cost(row, column) {
                let left = cost - get(&self.row_price, row, 0) - get(&self.column_price, column, 0);
                if left < get(reach, column, FAR) {
                    put(reach, column, left);
                    put(came_from, column, at);
                }
            }
            let distance = get(reach, column, FAR);
            if distance < best.map_or(FAR, |(shortest, _)| shortest) {
                best = Some((distance, column));
            }
        }
        best
    }
}

/// The unit (column) of each incident (row).
#[must_use]
pub fn assign(costs: &Costs) -> Vec<Option<usize>> {
    let columns = costs.iter().map(Vec::len).max().unwrap_or(0);
    let mut matching = Matching {
        costs,
        columns,
        row_price: vec![0; costs.len() + 1],
        column_price: vec![0; columns + 1],
        held_by: vec![0; columns + 1],
    };
    for row in 1..=costs.len() {
        matching.add(row);
    }
    let mut units = vec![None; costs.len()];
    for (column, row) in matching.held_by.iter().enumerate().skip(1) {
        if let Some(row) = row.checked_sub(1) {
            put(&mut units, row, Some(column - 1));
        }
    }
    units
}

/// One after the other, each takes the best that is left: what [`assign`] is measured against.
#[must_use]
pub fn greedy(costs: &Costs) -> Vec<Option<usize>> {
    let mut taken = std::collections::BTreeSet::new();
    let take = |row: &Vec<Option<i64>>| {
        let free = row.iter().enumerate().filter(|(column, _)| !taken.contains(column));
        let best = free.filter_map(|(column, cost)| Some(((*cost)?, column))).min().map(|(_, column)| column);
        taken.extend(best);
        best
    };
    costs.iter().map(take).collect()
}

/// The sum of what was assigned.
#[must_use]
pub fn total(costs: &Costs, units: &[Option<usize>]) -> i64 {
    let cost = |(row, unit): (&Vec<Option<i64>>, &Option<usize>)| row.get((*unit)?).copied().flatten();
    costs.iter().zip(units).filter_map(cost).sum()
}
