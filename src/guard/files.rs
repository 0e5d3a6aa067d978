//! Files with keys, which are read again when they change: keys are replaced without a restart, and
//! without a signal.
//!
//! A thread looks once a second, since secrets in containers are replaced by renaming whole
//! folders, which is no event of the file. What cannot be read leaves the keys as they are.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};
use std::{fs, io, thread};

use super::keys::{ApiKey, ApiKeyError};
use super::token::{TokenKeyError, TokenKeys};
use super::{Guard, Keys};

/// How long a change may go unseen.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes that a file with keys may have: a thousand API keys, or a large set of JSON Web Keys.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Files with keys. Relative paths start at the working directory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Files {
    /// API keys, one a line; empty lines and those that begin with `#` are left out.
    pub keys: Option<PathBuf>,
    /// Keys that sign tokens: public keys in PEM, or a set of JSON Web Keys.
    pub tokens: Option<PathBuf>,
}

/// Why a file with keys cannot be used. The message begins with the file, and says nothing of what
/// is in it.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: FileProblem,
}

/// What is wrong with a file with keys.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// A line of it is no API key.
    #[error("line {line}: {error}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// Why.
        error: ApiKeyError,
    },
    /// It holds no API key.
    #[error("holds no API key")]
    NoKeys,
    /// It holds no keys that sign tokens.
    #[error(transparent)]
    Tokens(#[from] TokenKeyError),
}

impl Files {
    /// The API keys; none where there is no file.
    pub(crate) fn read_keys(&self) -> Result<Vec<ApiKey>, FileError> {
        self.keys.as_deref().map_or(Ok(Vec::new()), |path| {
            let keys = read(path).and_then(|text| parse_keys(&text));
            keys.map_err(|problem| at(path, problem))
        })
    }

    /// The keys that sign tokens; none where there is no file.
    pub(super) fn read_tokens(&self) -> Result<TokenKeys, FileError> {
        self.tokens
            .as_deref()
            .map_or(Ok(TokenKeys::default()), |path| {
                let keys = read(path).and_then(|text| Ok(TokenKeys::parse(&text)?));
                keys.map_err(|problem| at(path, problem))
            })
    }

    /// What tells that a file has changed.
    pub(super) fn stamps(&self) -> Stamps {
        [&self.keys, &self.tokens].map(|path| {
            let metadata = fs::metadata(path.as_ref()?).ok()?;
            Some((metadata.len(), metadata.modified().ok()?))
        })
    }
}

/// Length and time of change of each file.
pub(super) type Stamps = [Option<(u64, SystemTime)>; 2];

fn at(path: &Path, problem: FileProblem) -> FileError {
    FileError {
        path: path.to_owned(),
        problem,
    }
}

fn read(path: &Path) -> Result<String, FileProblem> {
    let mut text = String::new();
    let file = fs::File::open(path)?;
    io::Read::read_to_string(&mut io::Read::take(file, FILE_BYTES_MAX + 1), &mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let error = io::Error::other(format!("it is larger than {FILE_BYTES_MAX} bytes"));
        return Err(error.into());
    }
    Ok(text)
}

fn parse_keys(text: &str) -> Result<Vec<ApiKey>, FileProblem> {
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let keys = lines.map(|(index, line)| {
        line.parse().map_err(|error| FileProblem::Line {
            line: index + 1,
            error,
        })
    });
    let keys = keys.collect::<Result<Vec<ApiKey>, _>>()?;
    match keys.is_empty() {
        true => Err(FileProblem::NoKeys),
        false => Ok(keys),
    }
}

impl Guard {
    /// Begins to look at the files, until the guard is dropped. Endpoints that share it may all
    /// call this.
    pub(super) fn watch(self: &Arc<Guard>) {
        let files = self.auth.as_ref().map(|auth| auth.settings.files.clone());
        let Some(files) = files.filter(|files| *files != Files::default()) else {
            return;
        };
        if self.is_watched.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut seen = self.stamps;
        let guard = Arc::downgrade(self);
        let look = move || {
            loop {
                thread::sleep(LOOK_INTERVAL);
                let Some(guard) = guard.upgrade() else { return };
                let stamps = files.stamps();
                if stamps != std::mem::replace(&mut seen, stamps) {
                    guard.read_again();
                }
            }
        };
        let spawned = thread::Builder::new().name("guard".to_owned()).spawn(look);
        if let Err(error) = spawned {
            tracing::error!(%error, "files with keys are read again on SIGHUP alone");
        }
    }

    fn read_again(&self) {
        let Some(auth) = &self.auth else { return };
        match Keys::load(&auth.settings) {
            Ok(keys) => {
                *auth.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
                tracing::info!("files with keys have changed and are read again");
            }
            Err(error) => tracing::warn!(%error, "the keys stay as they are"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_keys_has_one_a_line_and_comments() {
        let text = "# old\nold-key-0123456789\n\n  new-key-0123456789  \n";
        let keys = parse_keys(text).expect("keys");
        let keys: Vec<&str> = keys.iter().map(ApiKey::reveal).collect();
        assert_eq!(keys, ["old-key-0123456789", "new-key-0123456789"]);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_what_is_in_it() {
        let problem = |text: &str| parse_keys(text).expect_err("a problem").to_string();
        assert!(problem("# ok\nhunter 2\n").starts_with("line 2: an API key has 1"));
        assert!(!problem("hunter 2").contains("hunter"));
        assert_eq!(problem("# none\n"), "holds no API key");
        let files = Files {
            tokens: Some("no/such/file".into()),
            ..Files::default()
        };
        let error = files.read_tokens().expect_err("no file").to_string();
        assert!(error.starts_with("no/such/file: cannot be read"), "{error}");
        assert!(files.read_keys().expect("no file is named").is_empty());
    }
}
