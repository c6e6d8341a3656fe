//! What was measured, as a line of JSON and a line for people.

use serde::Serialize;
use std::{io::Write, path::Path};

/// One figure with its goal.
#[derive(Serialize, Clone)]
pub struct Ratio {
    pub area: &'static str,
    pub name: &'static str,
    /// The median of the rounds.
    pub ratio: f64,
    pub unit: &'static str,
    /// What must be reached, and what is aimed at; null for figures without a goal.
    pub floor: Option<f64>,
    pub aim: Option<f64>,
    pub rounds: Vec<f64>,
    pub median: f64,
    /// Rounds that were void, with the reason.
    pub void: Vec<String>,
    /// The figures behind it.
    pub note: String,
}

/// Which side of a goal is good.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Good {
    High,
    Low,
}

pub struct Report {
    ratios: Vec<Ratio>,
}

/// The middle of the values.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// The value below which this share of the values lies.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a short list")]
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    if share == 0.5 && sorted.len() >= 2 && sorted.len().is_multiple_of(2) {
        let high = sorted.len() / 2;
        return sorted.get(high - 1).zip(sorted.get(high)).map_or(f64::NAN, |(a, b)| f64::midpoint(*a, *b));
    }
    let place = ((sorted.len() as f64) * share).ceil() as usize;
    sorted.get(place.max(1) - 1).copied().unwrap_or(f64::NAN)
}

fn short(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

impl Report {
    pub const fn new() -> Self {
        Self { ratios: Vec::new() }
    }

    /// Adds a figure and prints both lines.
    #[expect(clippy::too_many_arguments, reason = "one line of a table")]
    pub fn add(
        &mut self,
        area: &'static str,
        name: &'static str,
        unit: &'static str,
        goal: Option<(f64, f64)>,
        rounds: &[f64],
        void: Vec<String>,
        note: String,
    ) {
        let median = short(median(rounds));
        let ratio = Ratio {
            area,
            name,
            ratio: median,
            unit,
            floor: goal.map(|g| g.0),
            aim: goal.map(|g| g.1),
            rounds: rounds.iter().copied().map(short).collect(),
            median,
            void,
            note,
        };
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{}", serde_json::to_string(&ratio).unwrap_or_default());
        let _ = writeln!(out, "  {}", readable(&ratio));
        let _ = out.flush();
        self.ratios.push(ratio);
    }

    /// Writes all figures to `path`.
    pub fn save(&self, path: &Path, header: &serde_json::Value) -> std::io::Result<()> {
        let all = serde_json::json!({ "header": header, "ratios": self.ratios });
        std::fs::write(path, serde_json::to_string_pretty(&all).unwrap_or_default())
    }
}

fn readable(r: &Ratio) -> String {
    let verdict = match (r.floor, r.aim) {
        (Some(floor), Some(aim)) => {
            let good = if aim > floor { Good::High } else { Good::Low };
            let reached = |goal: f64| if good == Good::High { r.median >= goal } else { r.median <= goal };
            let word = match (reached(floor), reached(aim)) {
                (_, true) => "aim reached",
                (true, false) => "floor reached",
                (false, false) => "MISSED",
            };
            format!(" (floor {floor}, aim {aim}): {word}")
        }
        _ => String::new(),
    };
    let void = if r.void.is_empty() { String::new() } else { format!(" | VOID rounds: {}", r.void.join("; ")) };
    format!("{} | {}: {} {}{verdict} | {} rounds | {}{void}", r.area, r.name, r.median, r.unit, r.rounds.len(), r.note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_of_the_list_and_the_median_lies_between() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((median(&hundred), percentile(&hundred, 0.99)), (50.5, 99.0));
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    }
}
