//! Who may come in: `origins` and `auth`, what an endpoint overrides of them, and the guards that
//! they become.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Config, ConfigError, EndpointConfig, Origin, Origins, Override, Problem};
use crate::guard::token::TokenChecks;
use crate::guard::{ApiKey, AuthSettings, CloseRevoked, Files, Guard, GuardSettings, Secret};

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

/// `endpoints.<name>.origins`; see [`Origins`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OriginsOverride {
    /// Pages that may connect.
    pub allow: Override<Vec<Origin>>,
    /// Whether who sends no origin may.
    pub allow_missing: Override<bool>,
}

/// `endpoints.<name>.auth`; see [`AuthConfig`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthOverride {
    /// Whether keys and tokens are needed; `Some(None)`: where there are any.
    pub enabled: Override<Option<bool>>,
    /// API keys.
    pub keys: Override<Vec<ApiKey>>,
    /// More of them.
    pub keys_file: Override<PathBuf>,
    /// Tokens.
    pub jwt: JwtOverride,
}

/// `endpoints.<name>.auth.jwt`; see [`JwtConfig`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JwtOverride {
    /// The secret of HS256.
    pub secret: Override<Secret>,
    /// Public keys.
    pub keys_file: Override<PathBuf>,
    /// What `iss` has to be.
    pub issuer: Override<String>,
    /// What `aud` has to be or to hold.
    pub audience: Override<String>,
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

impl AuthOverride {
    /// Whether it has keys of its own.
    pub(super) fn has_keys(&self) -> bool {
        let is_listed = self.keys.as_ref().is_some_and(|keys| !keys.is_empty());
        let jwt = &self.jwt;
        is_listed || self.keys_file.is_some() || jwt.secret.is_some() || jwt.keys_file.is_some()
    }
}

impl Config {
    /// What holds for the clients of `endpoint`: its overrides, else the common settings.
    pub fn auth_of(&self, endpoint: &EndpointConfig) -> AuthConfig {
        let (own, common) = (endpoint.auth.clone(), self.auth.clone());
        AuthConfig {
            enabled: own.enabled.unwrap_or(common.enabled),
            keys: own.keys.or(common.keys),
            keys_file: own.keys_file.or(common.keys_file),
            close_revoked: common.close_revoked,
            jwt: JwtConfig {
                secret: own.jwt.secret.or(common.jwt.secret),
                keys_file: own.jwt.keys_file.or(common.jwt.keys_file),
                issuer: own.jwt.issuer.or(common.jwt.issuer),
                audience: own.jwt.audience.or(common.jwt.audience),
                leeway: common.jwt.leeway,
            },
        }
    }

    /// What clients of `endpoint` need.
    pub fn need_of(&self, endpoint: &EndpointConfig) -> Need {
        self.auth_of(endpoint).need()
    }

    /// What the guard of `endpoint` is made from.
    pub fn guard_of(&self, endpoint: &EndpointConfig) -> GuardSettings {
        let (own, common) = (&endpoint.origins, &self.origins);
        GuardSettings {
            origins: Origins {
                allow: own.allow.as_ref().unwrap_or(&common.allow).clone(),
                allow_missing: own.allow_missing.unwrap_or(common.allow_missing),
            },
            auth: self.auth_of(endpoint).settings(),
        }
    }

    /// The guards of all endpoints that are enabled, by name. Those with the same settings have one
    /// together.
    ///
    /// # Errors
    ///
    /// Files that cannot be used, under the keys that name them.
    pub fn guards(&self) -> Result<Vec<(&str, Arc<Guard>)>, ConfigError> {
        let mut made: Vec<(GuardSettings, Arc<Guard>)> = Vec::new();
        let mut guards = Vec::new();
        let mut problems = Vec::new();
        let enabled = self.endpoints.iter().filter(|(_, each)| each.enabled);
        for (name, endpoint) in enabled {
            let settings = self.guard_of(endpoint);
            if let Some((_, guard)) = made.iter().find(|(earlier, _)| *earlier == settings) {
                guards.push((name.as_str(), Arc::clone(guard)));
                continue;
            }
            let made_now = Guard::new(settings.clone()).map_err(|error| Problem {
                place: self.key_of_file(name, endpoint, &error.path),
                message: error.to_string(),
            });
            let made_now =
                made_now.and_then(|guard| match self.empty_file(name, endpoint, &guard) {
                    None => Ok(guard),
                    Some(problem) => Err(problem),
                });
            match made_now {
                Ok(guard) => {
                    made.push((settings, Arc::clone(&guard)));
                    guards.push((name.as_str(), guard));
                }
                // Endpoints with the common settings have the common problem.
                Err(problem) if problems.contains(&problem) => {}
                Err(problem) => problems.push(problem),
            }
        }
        match problems.is_empty() {
            true => Ok(guards),
            false => Err(ConfigError { problems }),
        }
    }

    /// A file without keys where `enabled` says that there are some. Where it does not, the file
    /// says that they have been revoked.
    fn empty_file(&self, name: &str, endpoint: &EndpointConfig, guard: &Guard) -> Option<Problem> {
        let auth = self.auth_of(endpoint);
        let files = Files {
            keys: auth.keys_file.clone(),
            tokens: None,
        };
        let has_keys = files.read_keys().is_ok_and(|keys| !keys.is_empty());
        let is_empty = auth.keys_file.is_some() && !has_keys;
        if auth.enabled != Some(true) || !(is_empty || guard.is_shut()) {
            return None;
        }
        let path = match is_empty {
            true => auth.keys_file?,
            false => auth.jwt.keys_file?,
        };
        Some(Problem {
            place: self.key_of_file(name, endpoint, &path),
            message: format!(
                "{}: holds no key, and enabled is true; write enabled: auto for a door that nobody \
                 can open",
                path.display()
            ),
        })
    }

    /// The key that names a file with keys.
    fn key_of_file(&self, name: &str, endpoint: &EndpointConfig, path: &Path) -> String {
        let auth = self.auth_of(endpoint);
        let (key, is_own) = if auth.keys_file.as_deref() == Some(path) {
            ("auth.keys_file", endpoint.auth.keys_file.is_some())
        } else {
            ("auth.jwt.keys_file", endpoint.auth.jwt.keys_file.is_some())
        };
        match is_own {
            true => format!("endpoints.{name}.{key}"),
            false => key.to_owned(),
        }
    }
}
