//! Why a token is not good.

/// Why a token is not good. The messages say nothing that is in it, and fit a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// It is no token in the compact form, or its claims are not as they must be.
    #[error("it cannot be read")]
    Malformed,
    /// Its `alg` is not the one of its key, or none that is known.
    #[error("its algorithm is not the one of the key")]
    Algorithm,
    /// Its `kid` is none that is known.
    #[error("its key is not known")]
    UnknownKey,
    /// Its signature is not one of its key.
    #[error("its signature is wrong")]
    Signature,
    /// `exp` is past.
    #[error("it has expired")]
    Expired,
    /// `nbf` is to come.
    #[error("it is not valid yet")]
    NotYetValid,
    /// `iss` is not the one that is asked for.
    #[error("it is by another issuer")]
    Issuer,
    /// `aud` is not the one that is asked for.
    #[error("it is for another audience")]
    Audience,
}
