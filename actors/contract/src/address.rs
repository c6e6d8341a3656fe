//! What an address must look like before it is handed to a provider.

/// Whether `phone` is E.164 (ITU-T): a plus sign and 7 to 15 digits, the first of them not 0.
#[must_use]
pub fn is_e164(phone: &str) -> bool {
    phone.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0')
    })
}

/// Whether `mail` can be one mailbox (RFC 5321, 254 octets at most): something, one `@`, a domain of two labels
/// or more, and nothing that could smuggle in a second recipient or a header.
#[must_use]
pub fn is_mailbox(mail: &str) -> bool {
    let clean = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, ',' | ';' | '<' | '>' | '"' | '\\');
    let label = |text: &str| {
        let inner = |c: char| c.is_alphanumeric() || c == '-';
        !text.is_empty() && !text.starts_with('-') && !text.ends_with('-') && text.chars().all(inner)
    };
    let parts = mail.split_once('@').filter(|_| mail.len() <= 254 && mail.chars().all(clean));
    parts.is_some_and(|(local, domain)| {
        (1..=64).contains(&local.len()) && domain.contains('.') && domain.split('.').all(label)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_a_provider_would_take_pass_and_others_do_not() {
        for good in ["+41791234567", "+15005550006", "+4212345"] {
            assert!(is_e164(good), "{good}");
        }
        for bad in
            ["", "+", "41791234567", "+0791234567", "+41 79 123", "0041791234567", "+123456", "+1234567890123456"]
        {
            assert!(!is_e164(bad), "{bad}");
        }
        for good in ["kim@example.org", "a.b+c@mail.example.org"] {
            assert!(is_mailbox(good), "{good}");
        }
        for bad in [
            "kim",
            "@example.org",
            "kim@localhost",
            "kim@a@b.c",
            "kim@example.org,x@example.org",
            "a b@c.d",
            "k\n@c.d",
            "kim@.org",
        ] {
            assert!(!is_mailbox(bad), "{bad:?}");
        }
    }
}
