//! Amounts as Stripe counts them.
//!
//! Mostly the minor unit of ISO 4217. Not so where Stripe's API keeps two decimals that the currency has
//! lost (ISK), counts in whole units although ISO has two decimals (MGA), or wants the last of three
//! decimals to be 0. What cannot be said exactly is not charged: rounding would break that both shares
//! add up to the total.

use crate::gateway::payment::AmountLimits;
use crate::settings::OwnLimits;
use shers_contract::{Currency, Money};
use std::collections::BTreeMap;

/// Digits of Stripe's amounts, in most currencies.
const MAX_STRIPE_UNITS: i64 = 99_999_999;

/// Smallest amounts, in Stripe's units, of the currencies for which Stripe names one. An account that
/// settles in another currency may have others: they can be set.
const SMALLEST: [(&str, i64); 24] = [
    ("AED", 200),
    ("AUD", 50),
    ("BRL", 50),
    ("CAD", 50),
    ("CHF", 50),
    ("CZK", 1_500),
    ("DKK", 250),
    ("EUR", 50),
    ("GBP", 30),
    ("HKD", 400),
    ("HUF", 17_500),
    ("INR", 50),
    ("JPY", 50),
    ("MXN", 1_000),
    ("MYR", 200),
    ("NOK", 300),
    ("NZD", 50),
    ("PLN", 200),
    ("RON", 200),
    ("SEK", 300),
    ("SGD", 50),
    ("THB", 1_000),
    ("USD", 50),
    ("BGN", 100),
];

/// How a currency's minor units become Stripe's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scale {
    /// As they are.
    Same,
    /// As they are, and a multiple of ten.
    Tens,
    /// A hundred of Stripe's for one of ours.
    Hundredfold,
    /// One of Stripe's for a hundred of ours.
    Hundredth,
}

fn scale(currency: Currency) -> Scale {
    match currency.code() {
        "ISK" => Scale::Hundredfold,
        "MGA" => Scale::Hundredth,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => Scale::Tens,
        _ => Scale::Same,
    }
}

/// The amount in Stripe's units, if it can be said exactly.
#[must_use]
pub fn to_stripe(amount: Money) -> Option<i64> {
    let minor = amount.amount_minor;
    match scale(amount.currency) {
        Scale::Same => Some(minor),
        Scale::Tens => (minor % 10 == 0).then_some(minor),
        Scale::Hundredfold => minor.checked_mul(100),
        Scale::Hundredth => (minor % 100 == 0).then_some(minor / 100),
    }
}

/// What Stripe takes in a currency.
#[must_use]
pub fn limits(currency: Currency, own: &BTreeMap<String, OwnLimits>) -> AmountLimits {
    let smallest = SMALLEST.iter().find(|(code, _)| *code == currency.code()).map_or(1, |(_, units)| *units);
    let (min_minor, max_minor, step_minor) = match scale(currency) {
        Scale::Same => (smallest, MAX_STRIPE_UNITS, 1),
        Scale::Tens => (smallest.max(10), MAX_STRIPE_UNITS, 10),
        Scale::Hundredfold => (1, MAX_STRIPE_UNITS / 100, 1),
        Scale::Hundredth => (100, MAX_STRIPE_UNITS * 100, 100),
    };
    let own = own.get(currency.code());
    AmountLimits {
        min_minor: own.map_or(min_minor, |own| own.min_minor),
        max_minor: own.map_or(max_minor, |own| own.max_minor),
        step_minor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::payment::Unchargeable;

    fn currency(code: &str) -> Currency {
        Currency::try_from(code.to_owned()).expect("a currency")
    }

    #[test]
    fn amounts_are_said_in_stripes_units_or_not_at_all() {
        for (code, minor, want) in [
            ("CHF", 12_345, Some(12_345)),
            ("JPY", 500, Some(500)),
            ("KWD", 5_120, Some(5_120)),
            ("KWD", 5_124, None),
            ("ISK", 5, Some(500)),
            ("MGA", 500, Some(5)),
            ("MGA", 550, None),
        ] {
            assert_eq!(to_stripe(Money::new(minor, currency(code))), want, "{minor} {code}");
        }
    }

    #[test]
    fn limits_are_those_of_the_currency_and_the_account() {
        let none = BTreeMap::new();
        for (code, minor, want) in [
            ("CHF", 49, Err(Unchargeable::TooSmall)),
            ("CHF", 50, Ok(())),
            ("CHF", 99_999_999, Ok(())),
            ("CHF", 100_000_000, Err(Unchargeable::TooLarge)),
            ("JPY", 49, Err(Unchargeable::TooSmall)),
            ("JPY", 50, Ok(())),
            ("KWD", 9, Err(Unchargeable::TooSmall)),
            ("KWD", 1_005, Err(Unchargeable::TooFine)),
            ("KWD", 1_010, Ok(())),
            ("ISK", 1, Ok(())),
            ("ISK", 1_000_000, Err(Unchargeable::TooLarge)),
            ("MGA", 150, Err(Unchargeable::TooFine)),
            ("XXX", 1, Ok(())),
        ] {
            assert_eq!(limits(currency(code), &none).check(minor), want, "{minor} {code}");
        }
        let own = BTreeMap::from([("CHF".to_owned(), OwnLimits { min_minor: 100, max_minor: 200 })]);
        assert_eq!(limits(currency("CHF"), &own).check(99), Err(Unchargeable::TooSmall));
        assert_eq!(limits(currency("CHF"), &own).check(201), Err(Unchargeable::TooLarge));
    }

    #[test]
    fn whatever_the_limits_let_pass_can_be_said_exactly() {
        for code in ["CHF", "JPY", "KWD", "ISK", "MGA", "TND", "KRW"] {
            let limits = limits(currency(code), &BTreeMap::new());
            for minor in (0..30_000).filter(|minor| limits.check(*minor).is_ok()) {
                assert!(to_stripe(Money::new(minor, currency(code))).is_some(), "{minor} {code}");
            }
        }
    }
}
