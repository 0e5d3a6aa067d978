//! Who may come in: `auth`.

use std::path::PathBuf;
use std::time::Duration;

use crate::guard::token::TokenChecks;
use crate::guard::{ApiKey, AuthSettings, CloseRevoked, Files, Secret};

/// `auth`: keys and tokens that let a client in. One that is good is enough.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthConfig {
    /// Whether they are needed; `None`: where any are written ([`AuthConfig::need`]).
    pub enabled: Option<bool>,
    /// API keys; `None`: none are written.
    pub keys: Option<Vec<ApiKey>>,
    /// More of them, one a line.
    pub keys_file: Option<PathBuf>,
    /// Whose connections end when what let them in is good no more.
    pub close_revoked: CloseRevoked,
    /// Tokens.
    pub jwt: JwtConfig,
}

/// What a door asks for. It follows from what is written alone, never from what is found in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: whoever asks comes in.
    Nothing,
    /// A key or a token that is good.
    Credentials,
}

/// `auth.jwt`: JSON Web Tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtConfig {
    /// The secret of HS256.
    pub secret: Option<Secret>,
    /// Public keys in PEM, or a set of JSON Web Keys.
    pub keys_file: Option<PathBuf>,
    /// What `iss` has to be.
    pub issuer: Option<String>,
    /// What `aud` has to be or to hold.
    pub audience: Option<String>,
    /// How far clocks may differ.
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

    /// Whether anything that lets a client in is written. A file that is named counts, whatever is
    /// in it.
    pub(super) fn has_keys(&self) -> bool {
        let is_listed = self.keys.as_ref().is_some_and(|keys| !keys.is_empty());
        is_listed || self.keys_file.is_some() || self.has_token_keys()
    }

    /// What it asks of clients. Everybody who wants to know whether a door is open asks this.
    pub fn need(&self) -> Need {
        match self.enabled.unwrap_or(self.has_keys()) {
            true => Need::Credentials,
            false => Need::Nothing,
        }
    }

    /// What a guard is told; `None` where nothing is needed.
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
