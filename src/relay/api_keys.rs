//! The keys of back ends: who holds one may push, publish, list and disconnect, as far as its
//! scopes go.
//!
//! The push API and the rooms API ask `ApiKeys::judge`. Several keys hold at once, so that a new
//! one can be rolled out before the old one goes. Without any key nothing is allowed. The file is
//! read again when it changes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use crate::config::{ApiConfig, ConfigError, Problem};
use crate::engine::{Handle, Peer, Refusal, Responder, Throttled};
use crate::guard::{self, ApiKey, Files, Scope, Watched, spawn_poller, taken};
use crate::wire::http::Head;

/// The keys that are good. Clones share them, also what they become later.
#[derive(Clone)]
pub struct ApiKeys(Arc<Shared>);

struct Shared {
    keys: RwLock<Arc<guard::ApiKeys>>,
    source: Mutex<Source>,
    /// There once the engine has started.
    handle: OnceLock<Handle>,
    /// A thread looks at the file.
    is_watched: AtomicBool,
    /// Whether the log says that there are none.
    is_told: AtomicBool,
}

/// Where they come from.
#[derive(Clone)]
struct Source {
    listed: Vec<ApiKey>,
    files: Files,
    watched: Watched,
}

/// Why a request is refused for its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KeyDenial {
    /// It has none.
    Missing,
    /// It is none of those that are good.
    Bad,
    /// It is good, and does not open this.
    Scope(Scope),
    /// It is no good, and its address has shown too many of those.
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
    /// These keys.
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
    /// A file that cannot be used; the message does not repeat what is in it.
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

    /// From now on a file is looked at, until nobody has these keys any more. Whoever shares them
    /// may call this.
    pub(crate) fn watch(&self, handle: &Handle) {
        self.0.handle.get_or_init(|| handle.clone());
        self.look_at_file();
    }

    /// Has a thread look at the file, if there is one and the engine runs.
    fn look_at_file(&self) {
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

    /// From now on these are the keys that `next` has, and no others.
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
        self.look_at_file();
    }

    /// Whether there are none, so that nothing is ever allowed.
    pub fn is_empty(&self) -> bool {
        self.keys().is_empty()
    }

    /// Whether a request of this client with this key may do what `scope` says. The first one that
    /// cannot be good, since there is no key, is told in the log.
    pub(crate) fn judge(
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
            // Nothing can be guessed.
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

    /// Whether this is one of them, whatever it opens.
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
            tracing::info!("the file of API keys has changed and is read again");
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
    fn other_keys_take_the_place_of_those_that_were_for_whoever_has_them() {
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
    fn a_file_has_a_key_a_line_beside_those_of_the_config() {
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
