//! The keys of back ends: who holds one may push, publish, list and disconnect.
//!
//! The push API and the rooms API ask [`ApiKeys::allows`]. Several keys hold at once, so that a new
//! one can be rolled out before the old one goes. Without any key nothing is allowed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io};

use subtle::{Choice, ConstantTimeEq};

use crate::config::{ApiConfig, ApiKey, ConfigError, Problem};
use crate::wire::http::Head;

/// Bytes that a file of keys may have.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// The keys that are good. Cloning shares them.
#[derive(Clone, Default)]
pub struct ApiKeys {
    keys: Arc<[ApiKey]>,
    /// Whether the log says that there are none.
    is_told: Arc<AtomicBool>,
}

impl ApiKeys {
    /// These keys.
    pub fn new(keys: impl IntoIterator<Item = ApiKey>) -> ApiKeys {
        ApiKeys {
            keys: keys.into_iter().collect(),
            is_told: Arc::default(),
        }
    }

    /// The keys of a config: those of `api.keys`, and those of the file, one a line. Empty lines
    /// and lines that begin with `#` are skipped.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or a line that is no key; the message does not repeat it.
    pub fn load(config: &ApiConfig) -> Result<ApiKeys, ConfigError> {
        let mut keys = config.keys.clone();
        if let Some(path) = &config.keys_file {
            keys.extend(read_file(path)?);
        }
        Ok(ApiKeys::new(keys))
    }

    /// Whether there are none, so that nothing is ever allowed.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a key is good. The time that this takes depends on its length and on how many keys
    /// there are, and not on what they are: every key is compared to its end.
    pub fn allows(&self, presented: &[u8]) -> bool {
        if self.is_empty() && !self.is_told.swap(true, Ordering::Relaxed) {
            tracing::warn!("no API key is set (api.keys), so every request with one gets 401");
        }
        let is_one = |key: &ApiKey| key.reveal().as_bytes().ct_eq(presented);
        let found = self.keys.iter().map(is_one);
        found.fold(Choice::from(0), |any, one| any | one).into()
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

fn read_file(path: &Path) -> Result<Vec<ApiKey>, ConfigError> {
    let text = read_text(path).map_err(|error| problem(path, None, &error.to_string()))?;
    let lines = text.lines().map(str::trim).zip(1..);
    let keys = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    keys.map(|(line, number)| {
        let key = line.parse::<ApiKey>();
        key.map_err(|error| problem(path, Some(number), &error.to_string()))
    })
    .collect()
}

fn read_text(path: &Path) -> io::Result<String> {
    let file = fs::File::open(path)?;
    if file.metadata()?.len() > FILE_BYTES_MAX {
        let error = format!("it is larger than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::other(error));
    }
    io::read_to_string(io::Read::take(file, FILE_BYTES_MAX))
}

fn problem(path: &Path, line: Option<usize>, message: &str) -> ConfigError {
    let line = line.map_or_else(String::new, |line| format!(":{line}"));
    let problem = Problem {
        place: "api.keys_file".to_owned(),
        message: format!("{}{line}: {message}", path.display()),
    };
    ConfigError {
        problems: vec![problem],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> ApiKey {
        text.parse().expect("a key")
    }

    #[test]
    fn each_of_several_keys_is_good_and_nothing_else() {
        let keys = ApiKeys::new([key("old-key"), key("new-key")]);
        assert!(keys.allows(b"old-key") && keys.allows(b"new-key"));
        for bad in ["", "old-ke", "old-keys", "old-kez", "old-key,new-key"] {
            assert!(!keys.allows(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn without_a_key_nothing_is_allowed() {
        let keys = ApiKeys::default();
        assert!(keys.is_empty());
        assert!(!keys.allows(b"") && !keys.allows(b"anything"));
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
        assert!(problem.contains("keys:2: "), "{problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
        fs::write(&path, "k\n".repeat(FILE_BYTES_MAX as usize)).expect("a file");
        assert!(load().contains("larger"));
    }
}
