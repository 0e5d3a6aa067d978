//! The reasons why a token is not valid.

/// The reason why a token is not valid. The messages contain nothing of the token, and fit into a
/// header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// It is not a token in the compact form, or its claims are malformed.
    #[error("it cannot be read")]
    Malformed,
    /// Its `alg` is unknown, or not the one of its key.
    #[error("its algorithm is not the one of the key")]
    Algorithm,
    /// Its `kid` is unknown.
    #[error("its key is not known")]
    UnknownKey,
    /// Its signature does not match its key.
    #[error("its signature is wrong")]
    Signature,
    /// `exp` is past.
    #[error("it has expired")]
    Expired,
    /// `nbf` is in the future.
    #[error("it is not valid yet")]
    NotYetValid,
    /// `iss` is not the required one.
    #[error("it is by another issuer")]
    Issuer,
    /// `aud` is not the required one.
    #[error("it is for another audience")]
    Audience,
}
