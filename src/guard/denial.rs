//! Why somebody is not let in: the answer, and the word for metrics and log. Neither has a secret.

use super::token::TokenError;
use crate::engine::{Refusal, Throttled};
use crate::wire::http::Response;

/// Why a client is not let in, and what it is told.
#[derive(Debug)]
pub struct Denial {
    /// For metrics and log.
    pub refusal: Refusal,
    /// The answer.
    pub response: Response,
}

pub(super) fn refusal_of(error: TokenError) -> Refusal {
    match error {
        TokenError::Malformed => Refusal::TokenMalformed,
        TokenError::Algorithm => Refusal::TokenAlgorithm,
        TokenError::UnknownKey => Refusal::TokenKey,
        TokenError::Signature => Refusal::TokenSignature,
        TokenError::Expired => Refusal::TokenExpired,
        TokenError::NotYetValid => Refusal::TokenNotYetValid,
        TokenError::Issuer => Refusal::TokenIssuer,
        TokenError::Audience => Refusal::TokenAudience,
    }
}

/// 401, with what would let the client in (RFC 6750 §3).
pub(super) fn unauthorized(refusal: Refusal, error: Option<TokenError>) -> Denial {
    let (text, challenge) = match error {
        Some(error) => (
            format!("The token is not good: {error}.\n"),
            format!("Bearer error=\"invalid_token\", error_description=\"{error}\""),
        ),
        None if refusal == Refusal::BadKey => {
            ("The key is not good.\n".to_owned(), "Bearer".to_owned())
        }
        None => (
            "A key or a token is needed.\n".to_owned(),
            "Bearer".to_owned(),
        ),
    };
    Denial {
        refusal,
        response: Response::text(401, text).with_header("WWW-Authenticate", challenge),
    }
}

/// 403, for a key that is good and does not open this (RFC 6750 §3.1).
pub(super) fn out_of_scope() -> Denial {
    let text = "The key is not for this: it lacks the scope connect.\n";
    let challenge = "Bearer error=\"insufficient_scope\", scope=\"connect\"";
    Denial {
        refusal: Refusal::Forbidden,
        response: Response::text(403, text).with_header("WWW-Authenticate", challenge),
    }
}

pub(super) fn throttled(throttled: Throttled) -> Denial {
    Denial {
        refusal: Refusal::CredentialRate,
        response: throttled.response(),
    }
}
