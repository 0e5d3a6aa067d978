//! Who may come in: `origins` and `auth`, what an endpoint overrides of them, and the guards that
//! they become.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Config, ConfigError, EndpointConfig, Origin, Origins, Override, Problem};
use crate::guard::token::TokenChecks;
use crate::guard::{ApiKey, AuthSettings, Files, Guard, GuardSettings, Secret};

/// `auth`: keys and tokens that let a client in. One that is good is enough.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthConfig {
    /// Whether they are needed; `None`: where there are any.
    pub enabled: Option<bool>,
    /// API keys.
    pub keys: Vec<ApiKey>,
    /// More of them, one a line.
    pub keys_file: Option<PathBuf>,
    /// Tokens.
    pub jwt: JwtConfig,
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

    /// Whether anything lets a client in.
    pub(super) fn has_keys(&self) -> bool {
        !self.keys.is_empty() || self.keys_file.is_some() || self.has_token_keys()
    }

    /// What a guard is told; `None` where whoever asks comes in.
    pub(super) fn settings(self) -> Option<AuthSettings> {
        let is_enabled = self.enabled.unwrap_or(self.has_keys());
        is_enabled.then_some(AuthSettings {
            keys: self.keys,
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
        })
    }
}

impl Config {
    /// What holds for the clients of `endpoint`: its overrides, else the common settings.
    pub fn auth_of(&self, endpoint: &EndpointConfig) -> AuthConfig {
        let (own, common) = (endpoint.auth.clone(), self.auth.clone());
        AuthConfig {
            enabled: own.enabled.unwrap_or(common.enabled),
            keys: own.keys.unwrap_or(common.keys),
            keys_file: own.keys_file.or(common.keys_file),
            jwt: JwtConfig {
                secret: own.jwt.secret.or(common.jwt.secret),
                keys_file: own.jwt.keys_file.or(common.jwt.keys_file),
                issuer: own.jwt.issuer.or(common.jwt.issuer),
                audience: own.jwt.audience.or(common.jwt.audience),
                leeway: common.jwt.leeway,
            },
        }
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
            match Guard::new(settings.clone()) {
                Ok(guard) => {
                    made.push((settings, Arc::clone(&guard)));
                    guards.push((name.as_str(), guard));
                }
                Err(error) => {
                    let problem = Problem {
                        place: self.key_of_file(name, endpoint, &error.path),
                        message: error.to_string(),
                    };
                    // Endpoints with the common settings have the common problem.
                    if !problems.contains(&problem) {
                        problems.push(problem);
                    }
                }
            }
        }
        match problems.is_empty() {
            true => Ok(guards),
            false => Err(ConfigError { problems }),
        }
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
