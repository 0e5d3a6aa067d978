//! The guards of endpoints, made from `origins`, `auth` and their overrides.

use std::path::Path;
use std::sync::Arc;

use super::auth::{AuthConfig, JwtConfig, Need};
use super::endpoint::EndpointConfig;
use super::error::{ConfigError, Problem};
use super::model::Config;
use crate::guard::{Files, Guard, GuardSettings, Origins};

impl Config {
    /// The `auth` of `endpoint`: its overrides, else the common settings.
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

    /// The credentials that clients of `endpoint` need.
    pub fn need_of(&self, endpoint: &EndpointConfig) -> Need {
        self.auth_of(endpoint).need()
    }

    /// The settings for the guard of `endpoint`.
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

    /// The guards of all enabled endpoints, by name. Endpoints with the same settings share one.
    ///
    /// # Errors
    ///
    /// Files that cannot be used, with the keys that name them as their places.
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
                // A problem of the common settings is reported once, not for each endpoint.
                Err(problem) if problems.contains(&problem) => {}
                Err(problem) => problems.push(problem),
            }
        }
        match problems.is_empty() {
            true => Ok(guards),
            false => Err(ConfigError { problems }),
        }
    }

    /// A problem if `enabled` is true and the key file is empty. With `auto` an empty file is
    /// valid: it means that all keys have been revoked.
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
                "{}: holds no key, and enabled is true; write enabled: auto if nobody shall be \
                 able to connect",
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
