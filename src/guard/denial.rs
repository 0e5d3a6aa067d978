//! The reasons for which a guard refuses a client, and the answers to it. Neither contains a
//! secret.

use std::borrow::Cow;

use super::token::TokenError;
use crate::engine::{Refusal, Refused};

/// Declares the reasons, each with its label, and the list of them.
macro_rules! reasons {
    ($( $(#[$meta:meta])* $name:ident = $label:literal; )+) => {
        $( $(#[$meta])* pub const $name: Refusal = Refusal::Own($label); )+

        /// All of them.
        pub const REASONS: &[Refusal] = &[$( $name ),+];
    };
}

reasons! {
    /// The page's origin is not allowed.
    ORIGIN = "origin";
    /// The request has neither a key nor a token.
    NO_CREDENTIALS = "no_credentials";
    /// The key is unknown.
    BAD_KEY = "bad_key";
    /// The token cannot be parsed, or lacks a required part.
    TOKEN_MALFORMED = "token_malformed";
    /// The token is signed with another algorithm than the one of its key.
    TOKEN_ALGORITHM = "token_algorithm";
    /// The token names an unknown key.
    TOKEN_KEY = "token_key";
    /// The token's signature does not match its key.
    TOKEN_SIGNATURE = "token_signature";
    /// The token has expired.
    TOKEN_EXPIRED = "token_expired";
    /// The token is not valid yet.
    TOKEN_NOT_YET_VALID = "token_not_yet_valid";
    /// The token has another issuer.
    TOKEN_ISSUER = "token_issuer";
    /// The token is for another audience.
    TOKEN_AUDIENCE = "token_audience";
    /// The client is known and lacks the permission.
    FORBIDDEN = "forbidden";
}

/// Their labels, for an endpoint or a service that refuses for the same reasons.
pub fn reasons() -> Vec<&'static str> {
    REASONS.iter().map(|reason| reason.label()).collect()
}

fn reason_of(error: TokenError) -> Refusal {
    match error {
        TokenError::Malformed => TOKEN_MALFORMED,
        TokenError::Algorithm => TOKEN_ALGORITHM,
        TokenError::UnknownKey => TOKEN_KEY,
        TokenError::Signature => TOKEN_SIGNATURE,
        TokenError::Expired => TOKEN_EXPIRED,
        TokenError::NotYetValid => TOKEN_NOT_YET_VALID,
        TokenError::Issuer => TOKEN_ISSUER,
        TokenError::Audience => TOKEN_AUDIENCE,
    }
}

pub(super) fn origin() -> Refused {
    Refused::of(ORIGIN, 403, "This origin may not connect.")
}

pub(super) fn no_credentials() -> Refused {
    let told = "A key or a token is required: Authorization: Bearer, or X-API-Key.";
    unauthorized(NO_CREDENTIALS, told, "Bearer")
}

pub(super) fn bad_key() -> Refused {
    unauthorized(BAD_KEY, "The key is not valid.", "Bearer")
}

pub(super) fn bad_token(error: TokenError) -> Refused {
    let told = format!("The token is not valid: {error}.");
    let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{error}\"");
    unauthorized(reason_of(error), told, challenge)
}

/// 401, with the challenge that names the accepted scheme (RFC 6750 §3).
fn unauthorized(
    reason: Refusal,
    told: impl Into<Cow<'static, str>>,
    challenge: impl Into<String>,
) -> Refused {
    let refused = Refused::of(reason, 401, told).ending_connection();
    refused.with_header("WWW-Authenticate", challenge)
}

/// 403, for a valid key without the scope (RFC 6750 §3.1).
pub(super) fn out_of_scope() -> Refused {
    let told = "The key lacks the scope connect.";
    let challenge = "Bearer error=\"insufficient_scope\", scope=\"connect\"";
    forbidden(told).with_header("WWW-Authenticate", challenge)
}

/// 403, for a client that is known and lacks the permission.
pub(crate) fn forbidden(told: impl Into<Cow<'static, str>>) -> Refused {
    Refused::of(FORBIDDEN, 403, told).ending_connection()
}
