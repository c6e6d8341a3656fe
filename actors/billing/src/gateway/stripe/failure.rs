//! What an error of Stripe's means, each its own path.
//!
//! | answer | meaning |
//! |---|---|
//! | none: time-out, lost connection | unknown: read back |
//! | 5xx, also one saved under the key | unknown: read back, never another key |
//! | 409 (the key is in use), 424 | unknown: the first call with the key is under way |
//! | 429 | certainly not done: later |
//! | 402, `card_error` | declined, or the bank wants the patient |
//! | 401, 403, a key with other parameters | a person is needed |
//! | other 4xx | not done as asked: reading back says whether it was done before |

use stripe::{ApiErrorsType, StripeError};

/// Longest text of the provider that is kept.
const MAX_TEXT_CHARS: usize = 200;

/// An error of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    /// Nobody knows.
    Unknown(String),
    /// Certainly not done; may work later.
    Later(String),
    /// The card was declined.
    Declined {
        /// In our words: `insufficient-funds`.
        code: String,
        /// For a person.
        reason: String,
    },
    /// The bank wants the patient to authenticate.
    Authentication,
    /// There is no such thing.
    Missing(String),
    /// Not done as asked.
    Refused {
        /// In our words.
        code: String,
        /// For a person.
        reason: String,
    },
    /// A person is needed.
    Blocked(String),
}

/// What `error` means.
pub(super) fn meaning(error: StripeError) -> Failure {
    match error {
        StripeError::Stripe(error, status) => {
            let code = error.code.as_ref().map(|code| code.as_str().to_owned());
            let code = error.decline_code.clone().or(code);
            let text = error.message.unwrap_or_default();
            of_answer(status, &error.type_, code.as_deref(), &text)
        }
        StripeError::Timeout => Failure::Unknown("stripe: no answer in time".to_owned()),
        // The bodies of successes and failures alike end here when they can't be read.
        StripeError::JSONDeserialize(_) => Failure::Unknown("stripe: an answer that can't be read".to_owned()),
        StripeError::ClientError(why) => Failure::Unknown(format!("stripe: {}", short(&why))),
        StripeError::ConfigError(why) => Failure::Blocked(format!("stripe: {}", short(&why))),
    }
}

fn of_answer(status: u16, kind: &ApiErrorsType, code: Option<&str>, text: &str) -> Failure {
    let word = code.map_or_else(|| "no-code".to_owned(), kebab);
    let reason = if text.is_empty() { format!("stripe: {word}") } else { format!("stripe: {}", short(text)) };
    match status {
        // What is said about credentials may show them.
        401 | 403 => Failure::Blocked(format!("stripe does not accept the secret key (HTTP {status})")),
        429 => Failure::Later(format!("stripe: too many requests ({word})")),
        409 | 424 | 500.. => Failure::Unknown(format!("stripe: HTTP {status} ({word})")),
        _ if matches!(kind, ApiErrorsType::IdempotencyError) => {
            Failure::Blocked("stripe: the idempotency key was used for another request".to_owned())
        }
        _ if word == "authentication-required" => Failure::Authentication,
        402 => Failure::Declined { code: if code.is_some() { word } else { "card-declined".to_owned() }, reason },
        _ if matches!(kind, ApiErrorsType::CardError) => Failure::Declined { code: word, reason },
        404 => Failure::Missing(reason),
        _ if word == "resource-missing" => Failure::Missing(reason),
        _ => Failure::Refused { code: word, reason },
    }
}

/// `card_declined` as `card-declined`.
pub(super) fn kebab(word: &str) -> String {
    word.replace('_', "-")
}

fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_answer_has_its_own_path() {
        use ApiErrorsType::{ApiError, CardError, IdempotencyError, InvalidRequestError};
        let name = |failure: &Failure| match failure {
            Failure::Unknown(_) => "unknown".to_owned(),
            Failure::Later(_) => "later".to_owned(),
            Failure::Declined { code, .. } => format!("declined {code}"),
            Failure::Authentication => "authentication".to_owned(),
            Failure::Missing(_) => "missing".to_owned(),
            Failure::Refused { code, .. } => format!("refused {code}"),
            Failure::Blocked(_) => "blocked".to_owned(),
        };
        for (status, kind, code, want) in [
            (402, CardError, Some("card_declined"), "declined card-declined"),
            (402, CardError, Some("insufficient_funds"), "declined insufficient-funds"),
            (402, InvalidRequestError, None, "declined card-declined"),
            (402, CardError, Some("authentication_required"), "authentication"),
            (400, IdempotencyError, None, "blocked"),
            (409, IdempotencyError, Some("idempotency_key_in_use"), "unknown"),
            (429, InvalidRequestError, Some("lock_timeout"), "later"),
            (500, ApiError, None, "unknown"),
            (503, ApiError, None, "unknown"),
            (401, InvalidRequestError, None, "blocked"),
            (404, InvalidRequestError, Some("resource_missing"), "missing"),
            (400, InvalidRequestError, Some("resource_missing"), "missing"),
            (
                400,
                InvalidRequestError,
                Some("payment_intent_unexpected_state"),
                "refused payment-intent-unexpected-state",
            ),
            (400, InvalidRequestError, Some("amount_too_small"), "refused amount-too-small"),
        ] {
            assert_eq!(name(&of_answer(status, &kind, code, "text")), want, "{status} {code:?}");
        }
        assert_eq!(name(&meaning(StripeError::Timeout)), "unknown");
        assert_eq!(name(&meaning(StripeError::ClientError("reset".to_owned()))), "unknown");
    }

    #[test]
    fn what_is_said_about_a_refused_key_is_not_repeated() {
        let Failure::Blocked(reason) =
            of_answer(401, &ApiErrorsType::InvalidRequestError, None, "Invalid API Key provided: sk_test_abc")
        else {
            panic!("a person is needed")
        };
        assert!(!reason.contains("abc"), "{reason}");
    }
}
