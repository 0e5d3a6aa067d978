//! Settings of a guard, and of the keys and tokens that it knows.

use super::files::Files;
use super::keys::{ApiKey, Secret};
use super::origin::Origins;
use super::token::TokenChecks;

/// The settings of a guard.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GuardSettings {
    /// Pages that may connect.
    pub origins: Origins,
    /// Keys and tokens that admit a client; `None`: every client is admitted.
    pub auth: Option<AuthSettings>,
}

/// Credentials: a client needs one valid key or token.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuthSettings {
    /// API keys.
    pub keys: Vec<ApiKey>,
    /// The secret that signs tokens by HS256.
    pub token_secret: Option<Secret>,
    /// Files with more of both, which are read again when they change.
    pub files: Files,
    /// Checks of a token beside its signature and its time.
    pub token_checks: TokenChecks,
    /// Which connections are closed when the key that admitted them is removed.
    pub close_revoked: CloseRevoked,
}

/// Which connections are closed when their credential is revoked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CloseRevoked {
    /// Those opened with an API key: unlike a token, it does not expire by itself.
    #[default]
    Keys,
    /// Also those opened with a token, if the key that signed it is removed.
    All,
    /// None.
    Off,
}
