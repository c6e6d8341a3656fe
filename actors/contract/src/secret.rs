//! A text that must not be seen: it is read from configuration, handed to whom it is for, and never printed.

use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// A secret. `Debug` and `Serialize` say only that there is one.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// What stands where a secret would.
const HIDDEN: &str = "(secret)";

impl Secret {
    /// Keeps a text secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    /// The text itself, for the one it is for.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_and_never_shown() {
        let secret: Secret = serde_json::from_str("\"hunter2\"").expect("a text");
        assert_eq!(secret.reveal(), "hunter2");
        let shown = format!("{secret:?} {}", serde_json::to_string(&secret).expect("a text"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
