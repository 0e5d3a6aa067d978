//! `auth`: the credentials that clients need.

use std::path::PathBuf;
use std::time::Duration;

use crate::guard::token::TokenChecks;
use crate::guard::{ApiKey, AuthSettings, CloseRevoked, Files, Secret};

/// `auth`: the credentials that are accepted. A client needs one valid key or token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthConfig {
    /// Whether a credential is required; `None`: if any is configured ([`AuthConfig::need`]).
    pub enabled: Option<bool>,
    /// API keys; `None`: not configured.
    pub keys: Option<Vec<ApiKey>>,
    /// A file with further API keys, one on each line.
    pub keys_file: Option<PathBuf>,
    /// Which connections are closed when the credential that they were opened with is revoked.
    pub close_revoked: CloseRevoked,
    /// JSON Web Tokens.
    pub jwt: JwtConfig,
}

/// The credentials that an endpoint requires. They follow from the configuration alone, never from
/// the contents of a key file: emptying the file must not open the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: anybody may connect.
    Nothing,
    /// A valid key or token.
    Credentials,
}

/// `auth.jwt`: JSON Web Tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtConfig {
    /// The secret of HS256.
    pub secret: Option<Secret>,
    /// Public keys in PEM, or a set of JSON Web Keys.
    pub keys_file: Option<PathBuf>,
    /// The required value of the claim `iss`.
    pub issuer: Option<String>,
    /// The value that the claim `aud` must have or contain.
    pub audience: Option<String>,
    /// Tolerated difference between clocks, for `exp` and `nbf`.
    pub leeway: Duration,
}

impl Default for JwtConfig {
    fn default() -> JwtConfig {
        JwtConfig {
            secret: None,
            keys_file: None,
            issuer: None,
            audience: None,
            leeway: TokenChecks::default().leeway,
        }
    }
}

impl AuthConfig {
    /// Whether tokens can be verified.
    pub(super) fn has_token_keys(&self) -> bool {
        self.jwt.secret.is_some() || self.jwt.keys_file.is_some()
    }

    /// Whether any credential is configured. A key file counts, whatever it contains.
    pub(super) fn has_keys(&self) -> bool {
        let is_listed = self.keys.as_ref().is_some_and(|keys| !keys.is_empty());
        is_listed || self.keys_file.is_some() || self.has_token_keys()
    }

    /// The credentials that clients need. This alone decides whether an endpoint is open.
    pub fn need(&self) -> Need {
        match self.enabled.unwrap_or(self.has_keys()) {
            true => Need::Credentials,
            false => Need::Nothing,
        }
    }

    /// The settings for a guard; `None` if clients need no credential.
    pub(super) fn settings(self) -> Option<AuthSettings> {
        (self.need() == Need::Credentials).then_some(AuthSettings {
            keys: self.keys.unwrap_or_default(),
            token_secret: self.jwt.secret,
            files: Files {
                keys: self.keys_file,
                tokens: self.jwt.keys_file,
            },
            token_checks: TokenChecks {
                issuer: self.jwt.issuer,
                audience: self.jwt.audience,
                leeway: self.jwt.leeway,
            },
            close_revoked: self.close_revoked,
        })
    }
}
