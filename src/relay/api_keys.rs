//! The keys of back ends: who holds one may push, publish, list and disconnect.
//!
//! The push API and the rooms API ask [`ApiKeys::allows`]. Several keys hold at once, so that a new
//! one can be rolled out before the old one goes. Without any key nothing is allowed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::config::{ApiConfig, ConfigError, Problem};
use crate::guard::{self, ApiKey, Files};
use crate::wire::http::Head;

/// The keys that are good. Clones share them, also what they become later.
#[derive(Clone, Default)]
pub struct ApiKeys(Arc<Shared>);

#[derive(Default)]
struct Shared {
    keys: RwLock<Arc<guard::ApiKeys>>,
    /// Whether the log says that there are none.
    is_told: AtomicBool,
}

impl ApiKeys {
    /// These keys.
    pub fn new(keys: &[ApiKey]) -> ApiKeys {
        ApiKeys(Arc::new(Shared {
            keys: RwLock::new(Arc::new(guard::ApiKeys::new(keys))),
            is_told: AtomicBool::new(false),
        }))
    }

    /// The keys of a config: those of `api.keys`, and those of the file.
    ///
    /// # Errors
    ///
    /// A file that cannot be used; the message does not repeat what is in it.
    pub fn load(config: &ApiConfig) -> Result<ApiKeys, ConfigError> {
        let file = Files {
            keys: config.keys_file.clone(),
            tokens: None,
        };
        let mut keys = file.read_keys().map_err(|error| ConfigError {
            problems: vec![Problem {
                place: "api.keys_file".to_owned(),
                message: error.to_string(),
            }],
        })?;
        keys.extend(config.keys.iter().cloned());
        Ok(ApiKeys::new(&keys))
    }

    /// From now on these are the keys that `next` has, and no others.
    pub fn take_over(&self, next: &ApiKeys) {
        let keys = next.keys();
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        self.0.is_told.store(false, Ordering::Relaxed);
    }

    /// Whether there are none, so that nothing is ever allowed.
    pub fn is_empty(&self) -> bool {
        self.keys().is_empty()
    }

    /// Whether a request with this key is good. The first one that cannot be, since there is no
    /// key, is told in the log.
    pub fn allows(&self, presented: &[u8]) -> bool {
        if self.is_empty() && !self.0.is_told.swap(true, Ordering::Relaxed) {
            tracing::warn!("no API key is set (api.keys), so every request with one gets 401");
        }
        self.contains(presented)
    }

    /// Whether this is one of them.
    pub fn contains(&self, presented: &[u8]) -> bool {
        self.keys().allow(presented)
    }

    fn keys(&self) -> Arc<guard::ApiKeys> {
        let keys = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&keys)
    }
}

/// The key that a request carries in `X-API-KEY`, else in `API-KEY`: the first that is not empty.
pub fn header_key<'r>(head: &'r Head<'r>) -> Option<&'r str> {
    ["X-API-KEY", "API-KEY"]
        .into_iter()
        .filter_map(|name| head.header(name))
        .map(str::trim)
        .find(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn key(text: &str) -> ApiKey {
        text.parse().expect("a key")
    }

    #[test]
    fn without_a_key_nothing_is_allowed() {
        let keys = ApiKeys::default();
        assert!(keys.is_empty());
        assert!(!keys.allows(b"") && !keys.allows(b"anything"));
    }

    #[test]
    fn other_keys_take_the_place_of_those_that_were_for_whoever_has_them() {
        let keys = ApiKeys::new(&[key("old-key"), key("both")]);
        let shared = keys.clone();
        keys.take_over(&ApiKeys::new(&[key("new-key"), key("both")]));
        for each in [&keys, &shared] {
            assert!(each.allows(b"new-key") && each.allows(b"both"));
            assert!(!each.allows(b"old-key"));
        }
        keys.take_over(&ApiKeys::default());
        assert!(shared.is_empty() && !shared.allows(b"both"));
    }

    #[test]
    fn a_file_has_a_key_a_line_beside_those_of_the_config() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys");
        fs::write(&path, "# rotated in May\nfirst\n\n  second \r\n").expect("a file");
        let config = ApiConfig {
            keys: vec![key("third")],
            keys_file: Some(path),
            ..ApiConfig::default()
        };
        let keys = ApiKeys::load(&config).expect("keys");
        for good in ["first", "second", "third"] {
            assert!(keys.allows(good.as_bytes()), "{good}");
        }
        assert!(!keys.allows(b"# rotated in May") && !keys.allows(b""));
    }

    #[test]
    fn a_file_that_cannot_be_used_is_a_problem_that_repeats_no_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys");
        let load = || {
            let config = ApiConfig {
                keys_file: Some(path.clone()),
                ..ApiConfig::default()
            };
            let problems = ApiKeys::load(&config).err().expect("a problem");
            problems.to_string()
        };
        assert!(load().starts_with("api.keys_file: "), "no such file");
        fs::write(&path, "good\nhunter2\u{7}\n").expect("a file");
        let problem = load();
        assert!(problem.contains("keys: line 2: "), "{problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
        fs::write(&path, "k\n".repeat(1 << 20)).expect("a file");
        assert!(load().contains("larger"));
    }
}
