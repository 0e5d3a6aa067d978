//! Settings of a guard, and of the keys and tokens that it knows.

use super::files::Files;
use super::keys::{ApiKey, Secret};
use super::origin::Origins;
use super::token::TokenChecks;

/// What a guard is made from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GuardSettings {
    /// Pages that may ask.
    pub origins: Origins,
    /// Keys and tokens that let a client in; `None`: whoever asks comes in.
    pub auth: Option<AuthSettings>,
}

/// Keys and tokens: one that is good is enough.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuthSettings {
    /// API keys.
    pub keys: Vec<ApiKey>,
    /// The secret that signs tokens by HS256.
    pub token_secret: Option<Secret>,
    /// Files with more of both, which are read again when they change.
    pub files: Files,
    /// What else must hold for a token.
    pub token_checks: TokenChecks,
    /// Whose connections end with the key that let them in.
    pub close_revoked: CloseRevoked,
}

/// Whose connections are closed when what let them in is good no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CloseRevoked {
    /// Those that came in by an API key: it has no end of its own, as a token has.
    #[default]
    Keys,
    /// Those as well that came in by a token, where the key that has signed it is gone.
    All,
    /// Nobody's.
    Off,
}
