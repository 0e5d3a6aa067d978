//! The keys of back ends: the holder of a key may push, publish, list and disconnect, as its scopes
//! allow.
//!
//! The push API and the rooms API call `ApiKeys::check`. Several keys are valid at once, so that a
//! new one can be rolled out before the old one is removed. Without any key nothing is allowed. The
//! file is read again when it changes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use crate::config::{ApiConfig, ConfigError, Problem};
use crate::engine::{Handle, Peer, Refusal, Responder, Throttled};
use crate::guard::{self, ApiKey, Files, Scope, Watched, spawn_poller, taken};
use crate::wire::http::Head;

/// The valid keys. Clones share them, including later changes.
#[derive(Clone)]
pub struct ApiKeys(Arc<Shared>);

struct Shared {
    keys: RwLock<Arc<guard::ApiKeys>>,
    source: Mutex<Source>,
    /// Set when the engine has started.
    handle: OnceLock<Handle>,
    /// Whether a thread polls the file.
    is_watched: AtomicBool,
    /// Whether the log has reported that no key is set.
    is_told: AtomicBool,
}

/// The sources of the keys: the config and a file.
#[derive(Clone)]
struct Source {
    listed: Vec<ApiKey>,
    files: Files,
    watched: Watched,
}

/// The reason why a request is refused for its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KeyDenial {
    /// The request has no key.
    Missing,
    /// The key is unknown.
    Bad,
    /// The key is valid but lacks this scope.
    Scope(Scope),
    /// The key is unknown, and its address has sent too many unknown ones.
    Throttled(Throttled),
}

impl KeyDenial {
    /// The reason that it is counted under.
    pub(crate) fn reason(self) -> Refusal {
        match self {
            KeyDenial::Missing => guard::NO_CREDENTIALS,
            KeyDenial::Bad => guard::BAD_KEY,
            KeyDenial::Scope(_) => guard::FORBIDDEN,
            KeyDenial::Throttled(_) => Refusal::CredentialRate,
        }
    }
}

impl Default for ApiKeys {
    fn default() -> ApiKeys {
        ApiKeys::new(&[])
    }
}

impl ApiKeys {
    /// A set of these keys, without a file.
    pub fn new(keys: &[ApiKey]) -> ApiKeys {
        let files = Files::default();
        ApiKeys::of(
            keys,
            Source {
                listed: keys.to_vec(),
                watched: Watched::new(files.clone()),
                files,
            },
        )
    }

    fn of(keys: &[ApiKey], source: Source) -> ApiKeys {
        ApiKeys(Arc::new(Shared {
            keys: RwLock::new(Arc::new(guard::ApiKeys::new(keys))),
            source: Mutex::new(source),
            handle: OnceLock::new(),
            is_watched: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
        }))
    }

    /// The keys of a config: those of `api.keys`, and those of the file.
    ///
    /// # Errors
    ///
    /// The file cannot be used; the message does not repeat its content.
    pub fn load(config: &ApiConfig) -> Result<ApiKeys, ConfigError> {
        let files = Files {
            keys: config.keys_file.clone(),
            tokens: None,
        };
        let watched = Watched::new(files.clone());
        let mut keys = files.read_keys().map_err(|error| ConfigError {
            problems: vec![Problem {
                place: "api.keys_file".to_owned(),
                message: error.to_string(),
            }],
        })?;
        let listed = config.keys.clone().unwrap_or_default();
        keys.extend(listed.iter().cloned());
        Ok(ApiKeys::of(
            &keys,
            Source {
                listed,
                files,
                watched,
            },
        ))
    }

    /// Starts to poll the file, until the last clone is dropped. All owners of clones may call
    /// this.
    pub(crate) fn watch(&self, handle: &Handle) {
        self.0.handle.get_or_init(|| handle.clone());
        self.poll_file();
    }

    /// Starts the thread that polls the file, if a file is configured and the engine runs.
    fn poll_file(&self) {
        let has_file = self.0.source().files.keys.is_some();
        let Some(handle) = self.0.handle.get().filter(|_| has_file) else {
            return;
        };
        if self.0.is_watched.swap(true, Ordering::Relaxed) {
            return;
        }
        let (shared, handle) = (Arc::downgrade(&self.0), handle.clone());
        spawn_poller(move || {
            let shared = shared.upgrade();
            let is_there = shared.is_some();
            shared.into_iter().for_each(|shared| shared.look(&handle));
            is_there
        });
    }

    /// Replaces the keys by those of `next`, for all clones.
    pub fn reload(&self, next: &ApiKeys) {
        if Arc::ptr_eq(&self.0, &next.0) {
            return;
        }
        let source = next.0.source().clone();
        let mut own = self.0.source();
        *own = source;
        self.0.replace(next.keys());
        drop(own);
        self.0.is_told.store(false, Ordering::Relaxed);
        self.poll_file();
    }

    /// Whether no key is set, so that every request is refused.
    pub fn is_empty(&self) -> bool {
        self.keys().is_empty()
    }

    /// Checks whether the key of a request has this scope. If no key is set, the log says so at the
    /// first request.
    pub(crate) fn check(
        &self,
        presented: Option<&str>,
        scope: Scope,
        client: Peer,
        responder: &mut Responder<'_>,
    ) -> Result<(), KeyDenial> {
        let keys = self.keys();
        let presented = presented.filter(|key| !key.is_empty());
        if keys.is_empty() {
            if !self.0.is_told.swap(true, Ordering::Relaxed) {
                tracing::warn!("no API key is set (api.keys), so every request with one gets 401");
            }
            // Without a key nothing can be guessed, so the failure is not counted.
            return Err(presented.map_or(KeyDenial::Missing, |_| KeyDenial::Bad));
        }
        let presented = presented.ok_or(KeyDenial::Missing)?;
        match keys.find(presented.as_bytes()) {
            Some((_, scopes)) if scopes.contain(scope) => Ok(()),
            Some(_) => Err(KeyDenial::Scope(scope)),
            None => {
                let failed = responder.failed(client);
                Err(failed.map_or_else(KeyDenial::Throttled, |()| KeyDenial::Bad))
            }
        }
    }

    /// Whether this is one of the keys, regardless of its scopes.
    pub fn contains(&self, presented: &[u8]) -> bool {
        self.keys().allow(presented)
    }

    fn keys(&self) -> Arc<guard::ApiKeys> {
        let keys = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&keys)
    }
}

impl Shared {
    fn source(&self) -> MutexGuard<'_, Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, keys: Arc<guard::ApiKeys>) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Reads the file if it has changed.
    fn look(&self, handle: &Handle) {
        let mut source = self.source();
        if !source.watched.must_read() {
            return;
        }
        let files = &source.files;
        let of_file = taken(&files.keys, files.read_keys(), Vec::is_empty, handle);
        source.watched.note(of_file.is_some());
        if let Some(mut keys) = of_file {
            keys.extend(source.listed.iter().cloned());
            self.replace(Arc::new(guard::ApiKeys::new(&keys)));
            tracing::info!("reloaded the file of API keys after a change");
        }
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
        assert!(!keys.contains(b"") && !keys.contains(b"anything"));
    }

    #[test]
    fn a_reload_replaces_the_keys_of_all_clones() {
        let keys = ApiKeys::new(&[key("old-key"), key("both")]);
        let shared = keys.clone();
        keys.reload(&ApiKeys::new(&[key("new-key"), key("both")]));
        for each in [&keys, &shared] {
            assert!(each.contains(b"new-key") && each.contains(b"both"));
            assert!(!each.contains(b"old-key"));
        }
        keys.reload(&ApiKeys::default());
        assert!(shared.is_empty() && !shared.contains(b"both"));
    }

    #[test]
    fn keys_of_a_file_are_added_to_those_of_the_config() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys");
        fs::write(&path, "# rotated in May\nfirst\n\n  second \r\n").expect("a file");
        let config = ApiConfig {
            keys: Some(vec![key("third")]),
            keys_file: Some(path),
            ..ApiConfig::default()
        };
        let keys = ApiKeys::load(&config).expect("keys");
        for good in ["first", "second", "third"] {
            assert!(keys.contains(good.as_bytes()), "{good}");
        }
        assert!(!keys.contains(b"# rotated in May") && !keys.contains(b""));
    }

    #[test]
    fn a_problem_with_a_file_repeats_no_key() {
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
