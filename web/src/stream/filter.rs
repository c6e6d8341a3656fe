//! Topic patterns, compiled to a set of kinds: matching an event is then one bit.

use shers_contract::{
    Kind,
    routing::{Pattern, PatternError},
};
use std::{collections::HashMap, sync::LazyLock};

/// A set of kinds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Filter(u128);

static BITS: LazyLock<HashMap<&'static str, u128>> = LazyLock::new(|| {
    let bit = |(index, kind): (usize, &Kind)| {
        (kind.as_str(), u32::try_from(index).ok().and_then(|i| 1u128.checked_shl(i)).unwrap_or(0))
    };
    Kind::ALL.iter().enumerate().map(bit).collect()
});

impl Filter {
    /// Every kind.
    pub(crate) const ALL: Self = Self(u128::MAX);

    /// The kinds that one of the patterns matches.
    pub(crate) fn of<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, PatternError> {
        let mut set = 0;
        for text in patterns {
            let pattern = Pattern::new(text)?;
            set |= BITS.iter().filter(|(kind, _)| pattern.matches(kind)).fold(0, |sum, (_, bit)| sum | bit);
        }
        Ok(Self(set))
    }

    /// The set of one kind.
    pub(crate) fn one(kind: Kind) -> Self {
        Self(BITS.get(kind.as_str()).copied().unwrap_or(0))
    }

    /// Whether the two have a kind in common.
    pub(crate) const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_holds_exactly_the_kinds_its_patterns_match() {
        assert!(Kind::ALL.len() <= 128, "the set needs more bits");
        let patterns = ["incident.*", "unit.#"];
        let filter = Filter::of(patterns).expect("good patterns");
        for kind in Kind::ALL {
            let want = patterns.iter().any(|p| Pattern::new(p).expect("good").matches(kind.as_str()));
            assert_eq!(filter.meets(Filter::one(*kind)), want, "{kind}");
        }
        assert!(Filter::of(["no such!"]).is_err());
    }
}
