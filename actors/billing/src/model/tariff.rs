//! What a run costs. The tariff is data; the arithmetic is whole minor units.
//!
//! - A transport costs the base, the loaded distance and the level of care. The distance is charged to the
//!   metre and rounded half up to a minor unit.
//! - Care without transport (treated on scene, refused) costs one fee, a run called off on the way (false
//!   alarm, other) another; both may be nothing.
//! - A level of care the tariff does not name adds nothing.

use serde::{Deserialize, Serialize};
use shers_contract::{
    Currency, Money,
    billing::{BillLine, Order},
    incident::{Disposition, StartBilling},
};
use std::collections::BTreeMap;

/// Largest amount a tariff may name, so that no sum can overflow.
pub const MAX_AMOUNT_MINOR: i64 = 1_000_000_000_000;

/// Prices in whole minor units of one currency.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tariff {
    /// ISO 4217 code.
    pub currency: Currency,
    /// For every transport.
    pub base_minor: i64,
    /// For every loaded kilometre.
    pub per_km_minor: i64,
    /// Added by level of care (`als`, `bls`).
    pub level_of_care_minor: BTreeMap<String, i64>,
    /// Care without transport.
    pub no_transport_minor: i64,
    /// Called off on the way.
    pub cancelled_minor: i64,
}

impl Default for Tariff {
    fn default() -> Self {
        Self {
            currency: Currency::CHF,
            base_minor: 68_000,
            per_km_minor: 1_400,
            level_of_care_minor: BTreeMap::from([("als".to_owned(), 32_000), ("bls".to_owned(), 0)]),
            no_transport_minor: 0,
            cancelled_minor: 0,
        }
    }
}

/// A tariff that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tariff: {name} is {got}; an amount is 0 to {MAX_AMOUNT_MINOR} minor units")]
pub struct TariffError {
    /// Which amount.
    pub name: String,
    /// What it is.
    pub got: i64,
}

impl Tariff {
    /// Checks every amount.
    ///
    /// # Errors
    /// The first amount that is negative or too large.
    pub fn check(&self) -> Result<(), TariffError> {
        let named = [
            ("base_minor", self.base_minor),
            ("per_km_minor", self.per_km_minor),
            ("no_transport_minor", self.no_transport_minor),
            ("cancelled_minor", self.cancelled_minor),
        ];
        let levels = self.level_of_care_minor.iter().map(|(level, amount)| (level.as_str(), *amount));
        for (name, got) in named.into_iter().chain(levels) {
            if !(0..=MAX_AMOUNT_MINOR).contains(&got) {
                return Err(TariffError { name: name.to_owned(), got });
            }
        }
        Ok(())
    }

    /// The order for `request`: its lines and their sum.
    #[must_use]
    pub fn order(&self, request: StartBilling) -> Order {
        let lines = if request.transported { self.transport(&request) } else { self.without(request.disposition) };
        let total = lines.iter().fold(0_i64, |sum, line| sum.saturating_add(line.amount_minor));
        Order { patient_id: request.patient_id.clone(), lines, total: Money::new(total, self.currency), request }
    }

    fn transport(&self, request: &StartBilling) -> Vec<BillLine> {
        let (km, tenth) = (request.distance_m / 1_000, request.distance_m % 1_000 / 100);
        let per_km = Money::new(self.per_km_minor, self.currency);
        let level = &request.level_of_care;
        let lines = [
            line("base", "Emergency transport".to_owned(), self.base_minor),
            line("distance", format!("{km}.{tenth} km at {per_km}"), distance(self.per_km_minor, request.distance_m)),
            line(
                "level-of-care",
                format!("Level of care {}", level.to_uppercase()),
                self.level_of_care_minor.get(level).copied().unwrap_or(0),
            ),
        ];
        lines.into_iter().filter(|line| line.amount_minor > 0).collect()
    }

    fn without(&self, disposition: Disposition) -> Vec<BillLine> {
        let line = match disposition {
            Disposition::Transported | Disposition::TreatedOnScene | Disposition::Refused => {
                line("no-transport", "Care without transport".to_owned(), self.no_transport_minor)
            }
            Disposition::FalseAlarm | Disposition::Other => {
                line("cancelled", "Called off on the way".to_owned(), self.cancelled_minor)
            }
        };
        vec![line]
    }
}

fn line(item: &str, text: String, amount_minor: i64) -> BillLine {
    BillLine { item: item.to_owned(), text, amount_minor }
}

/// `per_km` times the distance, rounded half up.
fn distance(per_km_minor: i64, distance_m: u32) -> i64 {
    let exact = i128::from(per_km_minor) * i128::from(distance_m);
    i64::try_from((exact + 500) / 1_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shers_contract::{IncidentId, Timestamp};

    fn request(transported: bool, distance_m: u32, level: &str, disposition: Disposition) -> StartBilling {
        StartBilling {
            incident_id: IncidentId::new("i-1").expect("an id"),
            patient_id: None,
            transported,
            distance_m,
            level_of_care: level.to_owned(),
            disposition,
            served_at: Timestamp::from_ms(0),
        }
    }

    #[test]
    fn a_run_costs_what_the_tariff_says() {
        let priced = Tariff { no_transport_minor: 25_000, cancelled_minor: 9_000, ..Tariff::default() };
        for (tariff, transported, distance_m, level, disposition, want) in [
            (&priced, true, 0, "bls", Disposition::Transported, 68_000),
            (&priced, true, 12_345, "bls", Disposition::Transported, 68_000 + 17_283),
            (&priced, true, 1_000, "als", Disposition::Transported, 68_000 + 1_400 + 32_000),
            (&priced, true, 1_000, "unheard-of", Disposition::Transported, 68_000 + 1_400),
            (&priced, false, 9_999, "als", Disposition::TreatedOnScene, 25_000),
            (&priced, false, 0, "als", Disposition::Refused, 25_000),
            (&priced, false, 0, "als", Disposition::FalseAlarm, 9_000),
            (&priced, false, 0, "als", Disposition::Other, 9_000),
            (&Tariff::default(), false, 5_000, "als", Disposition::Refused, 0),
        ] {
            let order = tariff.order(request(transported, distance_m, level, disposition));
            assert_eq!(order.total.amount_minor, want, "{disposition:?} {distance_m} m {level}");
        }
    }

    #[test]
    fn a_tariff_with_an_impossible_amount_is_refused_by_name() {
        assert_eq!(Tariff::default().check(), Ok(()));
        let bad = Tariff { per_km_minor: -1, ..Tariff::default() };
        assert_eq!(bad.check().map_err(|e| e.name), Err("per_km_minor".to_owned()));
    }

    proptest! {
        #[test]
        fn the_total_is_the_sum_of_the_lines_and_never_negative(
            base in 0..=MAX_AMOUNT_MINOR, per_km in 0..=MAX_AMOUNT_MINOR, als in 0..=MAX_AMOUNT_MINOR,
            metres in any::<u32>(), transported in any::<bool>(),
        ) {
            let tariff = Tariff {
                base_minor: base, per_km_minor: per_km,
                level_of_care_minor: BTreeMap::from([("als".to_owned(), als)]), ..Tariff::default()
            };
            let order = tariff.order(request(transported, metres, "als", Disposition::Other));
            prop_assert!(order.total.amount_minor >= 0);
            prop_assert_eq!(order.total.amount_minor, order.lines.iter().map(|l| l.amount_minor).sum::<i64>());
        }
    }
}
