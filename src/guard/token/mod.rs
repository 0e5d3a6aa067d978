//! Tokens: JSON Web Tokens (RFC 7519) in the compact form (RFC 7515 §7.1), signed by HS256, RS256,
//! ES256 or EdDSA with Ed25519.
//!
//! The key decides the algorithm, never the token (RFC 8725 §3.1): the `alg` of a token must be the
//! one that its key is for, and `none` is not an algorithm. The claims of a token are not used, and
//! do not influence the answer, before its signature is verified. ring verifies the signatures,
//! since it is a dependency for TLS already; the current JWT crates bring other cryptography, or
//! need it installed for the whole process.

mod algorithm;
mod compact;
mod error;
mod keys;
mod sign;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer};

pub use self::algorithm::Algorithm;
use self::compact::{decode, decode_json};
pub use self::error::TokenError;
pub use self::keys::{TokenKeyError, TokenKeys};
pub use self::sign::{NewToken, SigningKey, SigningKeyError};
use super::identity::{By, Identity, Pattern, Rooms};
use super::keys::Fingerprint;

/// Checks of a token beside its signature and its time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenChecks {
    /// `iss` must be this; `None`: it may be any, or missing.
    pub issuer: Option<String>,
    /// `aud` must be this, or contain it; `None`: a token with an `aud` is rejected, since it is
    /// meant for another server (RFC 7519 §4.1.3).
    pub audience: Option<String>,
    /// Tolerated difference between clocks, for `exp` and `nbf`.
    pub leeway: Duration,
}

impl Default for TokenChecks {
    fn default() -> TokenChecks {
        TokenChecks {
            issuer: None,
            audience: None,
            leeway: Duration::from_secs(30),
        }
    }
}

/// The claims of a valid token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claims {
    /// From `sub` and `rooms`.
    pub identity: Identity,
    /// `exp`.
    pub expires: SystemTime,
}

/// RFC 7515 §4.1. Other parameters are ignored, but `crit` names some that must not be: a token
/// with it is rejected.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

/// RFC 7519 §4.1, and our own claim `rooms`. A claim of a wrong type makes the token malformed.
#[derive(Deserialize)]
struct RawClaims {
    exp: f64,
    nbf: Option<f64>,
    iss: Option<String>,
    aud: Option<OneOrMany>,
    sub: Option<String>,
    /// Absent: all rooms. Null is an error, so that a mistake does not open all rooms.
    #[serde(default, deserialize_with = "present")]
    rooms: Option<RoomsClaim>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// `["/a"]` for both, or `{"read": ["*"], "write": ["/a"]}`.
#[derive(Deserialize)]
#[serde(untagged)]
enum RoomsClaim {
    Both(Vec<Pattern>),
    Apart {
        #[serde(default)]
        read: Vec<Pattern>,
        #[serde(default)]
        write: Vec<Pattern>,
    },
}

fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

impl TokenKeys {
    /// The claims of `token`, if one of these keys signed it and it is valid at `now`.
    ///
    /// # Errors
    ///
    /// The first failure, in the order of [`TokenError`].
    pub fn verify(
        &self,
        token: &str,
        checks: &TokenChecks,
        now: SystemTime,
    ) -> Result<Claims, TokenError> {
        let key = self.verify_signed(token, &mut 0)?;
        self.read_verified(token, key, checks, now)
    }

    /// Verifies the signature alone, and adds the time that this takes to `spent_ns`. Returns the
    /// key that signed the token.
    pub(super) fn verify_signed(
        &self,
        token: &str,
        spent_ns: &mut u64,
    ) -> Result<Fingerprint, TokenError> {
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, _) = message.split_once('.').ok_or(TokenError::Malformed)?;
        let header: Header = decode_json(header)?;
        let signature = decode(signature)?;
        if header.crit.is_some() {
            return Err(TokenError::Malformed);
        }
        let algorithm = Algorithm::of_name(&header.alg).ok_or(TokenError::Algorithm)?;
        self.verify_signature(
            algorithm,
            header.kid.as_deref(),
            message.as_bytes(),
            &signature,
            spent_ns,
        )
    }

    /// The claims of a token that `key` is known to have signed, if it is valid at `now`.
    pub(super) fn read_verified(
        &self,
        token: &str,
        key: Fingerprint,
        checks: &TokenChecks,
        now: SystemTime,
    ) -> Result<Claims, TokenError> {
        let (message, _) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (_, claims) = message.split_once('.').ok_or(TokenError::Malformed)?;
        let mut claims = decode_json::<RawClaims>(claims)?.check(checks, now)?;
        claims.identity.by = By::Token(key);
        Ok(claims)
    }
}

impl RawClaims {
    fn check(self, checks: &TokenChecks, now: SystemTime) -> Result<Claims, TokenError> {
        let expires = time_of(self.exp)?;
        // RFC 7519 §4.1.4: on or after this time it is not accepted.
        if expires
            .checked_add(checks.leeway)
            .is_some_and(|end| end <= now)
        {
            return Err(TokenError::Expired);
        }
        let begins = self.nbf.map(time_of).transpose()?;
        let latest = now.checked_add(checks.leeway);
        if begins
            .zip(latest)
            .is_some_and(|(begins, latest)| begins > latest)
        {
            return Err(TokenError::NotYetValid);
        }
        if checks.issuer.is_some() && checks.issuer != self.iss {
            return Err(TokenError::Issuer);
        }
        let is_for_us = match (&checks.audience, &self.aud) {
            (None, audience) => audience.is_none(),
            (Some(own), Some(OneOrMany::One(one))) => own == one,
            (Some(own), Some(OneOrMany::Many(many))) => many.contains(own),
            (Some(_), None) => false,
        };
        if !is_for_us {
            return Err(TokenError::Audience);
        }
        let (read, write) = match self.rooms {
            None => (Rooms::All, Rooms::All),
            Some(RoomsClaim::Both(rooms)) => {
                (Rooms::Matching(rooms.clone()), Rooms::Matching(rooms))
            }
            Some(RoomsClaim::Apart { read, write }) => {
                (Rooms::Matching(read), Rooms::Matching(write))
            }
        };
        let user = self.sub.filter(|user| !user.is_empty());
        let user = user.map(String::into_boxed_str);
        let identity = Identity {
            user,
            read,
            write,
            by: By::Other,
        };
        Ok(Claims { identity, expires })
    }
}

/// RFC 7519 §2: seconds since 1970, which may have a fraction.
fn time_of(numeric_date: f64) -> Result<SystemTime, TokenError> {
    let since = Duration::try_from_secs_f64(numeric_date.max(0.0));
    let time = since.ok().and_then(|since| UNIX_EPOCH.checked_add(since));
    time.ok_or(TokenError::Malformed)
}

#[cfg(test)]
mod tests;
