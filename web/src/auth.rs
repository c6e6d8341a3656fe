//! Who asks: bearer tokens known by their digest (embedded), or JWTs checked against a JWKS (production).
//!
//! A token itself is never kept. Digests are compared in constant time, all of them, whatever matches.

use crate::problem::{Refused, unauthenticated};
use actix_web::http::header::{self, HeaderMap};
use base64::Engine as _;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shers_contract::{
    Timestamp,
    api::{Principal, Role},
};
use std::sync::{PoisonError, RwLock};

/// SHA-256 of a bearer token.
#[derive(Clone, Copy, Debug)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// A digest kept as 64 hex digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut digest = [0u8; 32];
        if text.len() != 64 {
            return None;
        }
        for (index, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
        }
        Some(Self(digest))
    }

    /// The digest of `token`.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Compares without telling by its duration where the difference lies.
    fn same_as(&self, other: &Self) -> bool {
        let difference = self.0.iter().zip(other.0.iter()).fold(0u8, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

/// How callers prove who they are.
pub enum Authentication {
    /// Fixed tokens, each of one principal.
    Tokens(Vec<(TokenDigest, Principal)>),
    /// Tokens signed by an identity provider.
    Jwt(Jwt),
}

/// A caller that proved who it is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// When the proof expires, if it does.
    pub expires_at: Option<Timestamp>,
}

impl Authentication {
    /// One administrator's token, as in the embedded house.
    #[must_use]
    pub fn administrator(token: &str) -> Self {
        let principal = Principal { subject: "administrator".into(), role: Role::Administrator };
        Self::Tokens(vec![(TokenDigest::of(token), principal)])
    }

    fn verify(&self, token: &str) -> Option<Caller> {
        match self {
            Self::Tokens(known) => {
                let presented = TokenDigest::of(token);
                let mut found = None;
                for (digest, principal) in known {
                    if digest.same_as(&presented) {
                        found = Some(principal);
                    }
                }
                found.map(|principal| Caller { principal: principal.clone(), expires_at: None })
            }
            Self::Jwt(jwt) => jwt.verify(token),
        }
    }

    /// The caller that `headers` prove. `basic` also takes the token as the password of HTTP Basic, for
    /// trackers that can send nothing else.
    pub(crate) fn caller(&self, headers: &HeaderMap, basic: bool) -> Result<Caller, Refused> {
        let missing = || unauthenticated("send the header Authorization: Bearer <token>");
        let value = headers.get(header::AUTHORIZATION).ok_or_else(missing)?;
        let (scheme, rest) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(missing)?;
        let token = if scheme.eq_ignore_ascii_case("bearer") {
            rest.trim().to_owned()
        } else if basic && scheme.eq_ignore_ascii_case("basic") {
            password(rest.trim()).ok_or_else(missing)?
        } else {
            return Err(missing());
        };
        self.verify(&token).ok_or_else(|| unauthenticated("the token is not known, or it has expired"))
    }
}

fn password(encoded: &str) -> Option<String> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

/// What a JWT must say beside its signature.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtOptions {
    /// `iss` must be this.
    pub issuer: String,
    /// `aud` must name this.
    pub audience: String,
    /// Clock difference allowed, in seconds.
    #[serde(default = "default_leeway")]
    pub leeway_s: u64,
}

const fn default_leeway() -> u64 {
    30
}

/// A JWKS could not be used.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// It is no JWKS.
    #[error("reading the JWKS")]
    Malformed(#[source] serde_json::Error),
    /// None of its keys can check a signature.
    #[error("the JWKS holds no RSA, EC or Ed25519 key for signatures")]
    NoKey,
}

/// Checks JWTs against the keys of a JWKS.
pub struct Jwt {
    keys: RwLock<Vec<Key>>,
    options: JwtOptions,
}

struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    role: Role,
    exp: u64,
}

impl Jwt {
    /// Checks against the keys in `jwks`, the text of a JWKS that was already fetched or read.
    ///
    /// # Errors
    /// [`JwksError`] when it is no JWKS or holds no usable key.
    pub fn new(jwks: &str, options: JwtOptions) -> Result<Self, JwksError> {
        Ok(Self { keys: RwLock::new(read_keys(jwks)?), options })
    }

    /// Takes the keys of a newer JWKS; the old ones stay when it is unusable.
    ///
    /// # Errors
    /// [`JwksError`], as in [`Jwt::new`].
    pub fn replace_keys(&self, jwks: &str) -> Result<(), JwksError> {
        let keys = read_keys(jwks)?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    fn verify(&self, token: &str) -> Option<Caller> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let named = |key: &&Key| header.kid.is_none() || key.id == header.kid;
        let key = keys.iter().filter(named).find(|key| key.algorithms.contains(&header.alg))?;
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.options.issuer]);
        validation.set_audience(&[&self.options.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = self.options.leeway_s;
        validation.validate_nbf = true;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.key, &validation).ok()?.claims;
        let expires_s = i64::try_from(claims.exp).unwrap_or(i64::MAX / 1000).min(i64::MAX / 1000);
        Some(Caller {
            principal: Principal { subject: claims.sub, role: claims.role },
            expires_at: Some(Timestamp::from_ms(expires_s * 1000)),
        })
    }
}

/// The keys that can check signatures. Shared secrets are none: whoever can check with one can also sign.
fn read_keys(jwks: &str) -> Result<Vec<Key>, JwksError> {
    use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, PublicKeyUse};
    let set: JwkSet = serde_json::from_str(jwks).map_err(JwksError::Malformed)?;
    let mut keys = Vec::new();
    for jwk in &set.keys {
        if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)) {
            continue;
        }
        let mut algorithms = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => vec![
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
                EllipticCurve::P256 => vec![Algorithm::ES256],
                EllipticCurve::P384 => vec![Algorithm::ES384],
                _ => continue,
            },
            AlgorithmParameters::OctetKeyPair(_) => vec![Algorithm::EdDSA],
            _ => continue,
        };
        if let Some(only) = jwk.common.key_algorithm {
            algorithms.retain(|a| format!("{a:?}") == only.to_string());
        }
        if let (false, Ok(key)) = (algorithms.is_empty(), DecodingKey::from_jwk(jwk)) {
            keys.push(Key { id: jwk.common.key_id.clone(), algorithms, key });
        }
    }
    if keys.is_empty() { Err(JwksError::NoKey) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn tokens() -> Authentication {
        let viewer = Principal { subject: "eve".into(), role: Role::Viewer };
        Authentication::Tokens(vec![
            (TokenDigest::of("first"), viewer.clone()),
            (TokenDigest::of("second"), Principal { subject: "adam".into(), role: Role::Dispatcher }),
        ])
    }

    fn subject_of(auth: &Authentication, header: Option<&str>, basic: bool) -> Option<String> {
        let mut headers = HeaderMap::new();
        if let Some(text) = header {
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(text).expect("header"));
        }
        auth.caller(&headers, basic).ok().map(|c| c.principal.subject)
    }

    #[test]
    fn a_token_names_its_principal_and_nothing_else_does() {
        let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("x:second"));
        for (header, takes_basic, want) in [
            (Some("Bearer first"), false, Some("eve")),
            (Some("bearer second"), false, Some("adam")),
            (Some("Bearer third"), false, None),
            (Some("Bearer "), false, None),
            (Some("first"), false, None),
            (None, false, None),
            (Some(basic.as_str()), false, None),
            (Some(basic.as_str()), true, Some("adam")),
        ] {
            assert_eq!(subject_of(&tokens(), header, takes_basic).as_deref(), want, "{header:?}");
        }
    }

    #[test]
    fn a_jwks_without_a_usable_key_is_refused() {
        assert!(matches!(read_keys("[]"), Err(JwksError::Malformed(_))));
        assert!(matches!(read_keys(r#"{"keys":[]}"#), Err(JwksError::NoKey)));
        assert!(matches!(read_keys(r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#), Err(JwksError::NoKey)));
    }

    /// The key pair of RFC 8037, appendix A.
    const JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","alg":"EdDSA","use":"sig",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn signed(key_id: &str, claims: &serde_json::Value) -> String {
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
        der.extend(URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").expect("base64"));
        let mut header = jsonwebtoken::Header::new(Algorithm::EdDSA);
        header.kid = Some(key_id.to_owned());
        jsonwebtoken::encode(&header, claims, &jsonwebtoken::EncodingKey::from_ed_der(&der)).expect("signed")
    }

    #[test]
    fn a_jwt_counts_when_signature_issuer_audience_and_time_are_right() {
        let options = JwtOptions { issuer: "https://id.example".into(), audience: "shers".into(), leeway_s: 30 };
        let jwt = Jwt::new(JWKS, options).expect("a key");
        let now = jsonwebtoken::get_current_timestamp();
        let good = serde_json::json!({"sub": "eve", "role": "dispatcher", "exp": now + 600, "iss": "https://id.example", "aud": "shers"});
        let caller = jwt.verify(&signed("k1", &good)).expect("good");
        assert_eq!(caller.principal, Principal { subject: "eve".into(), role: Role::Dispatcher });
        assert_eq!(caller.expires_at.map(Timestamp::as_ms), i64::try_from((now + 600) * 1000).ok());
        assert_eq!(jwt.verify(&signed("k2", &good)), None, "another key id");
        let mut forged = signed("k1", &good);
        forged.truncate(forged.len() - 4);
        assert_eq!(jwt.verify(&forged), None, "another signature");
        for (claim, value) in [
            ("exp", serde_json::json!(now - 600)),
            ("iss", "https://else.example".into()),
            ("aud", "other".into()),
            ("role", "king".into()),
            ("nbf", serde_json::json!(now + 600)),
            ("sub", serde_json::Value::Null),
        ] {
            let mut claims = good.clone();
            claims[claim] = value;
            assert_eq!(jwt.verify(&signed("k1", &claims)), None, "{claims}");
        }
    }
}
