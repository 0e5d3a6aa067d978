//! Files with keys, which are read again when they change: keys are replaced without a restart, and
//! without a signal.
//!
//! A thread polls the files several times a second, since secrets in containers are replaced by
//! renaming whole folders, which raises no event for the file itself:
//!
//! - A file with keys: these are valid, and no others. A change is applied once two polls have seen
//!   the same state, so that a file that is still being written is not read as a shorter one.
//! - A file that is empty or has been removed: its keys are revoked.
//! - A file that cannot be read or parsed is ignored: a typing error must not lock out every
//!   client. The previous keys stay, and the log repeats the error regularly.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use super::keys::{ApiKey, ApiKeyError};
use super::token::{TokenKeyError, TokenKeys};
use crate::engine::Handle;

/// Time between two polls.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Polls after which a file that keeps changing is read.
const LOOKS_MAX: usize = 3;

/// Time between two log lines about a file that cannot be used.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// Bytes that a file with keys may have: a thousand API keys, or a large set of JSON Web Keys.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Files with keys. Relative paths start at the working directory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Files {
    /// API keys, one per line; empty lines and those that begin with `#` are skipped.
    pub keys: Option<PathBuf>,
    /// Keys that sign tokens: public keys in PEM, or a set of JSON Web Keys.
    pub tokens: Option<PathBuf>,
}

/// The reason why a key file cannot be used. The message begins with the path, and never contains
/// anything of the file's content.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct FileError {
    /// The path of the file.
    pub path: PathBuf,
    /// The problem with it.
    pub problem: FileProblem,
}

/// A problem with a key file.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// A line is not a valid API key.
    #[error("line {line}: {error}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// The reason.
        error: ApiKeyError,
    },
    /// It holds no usable keys for tokens.
    #[error(transparent)]
    Tokens(#[from] TokenKeyError),
}

impl Files {
    /// The API keys; none if no file is named or the file has none.
    pub(crate) fn read_keys(&self) -> Result<Vec<ApiKey>, FileError> {
        self.keys.as_deref().map_or(Ok(Vec::new()), |path| {
            let keys = read(path).and_then(|text| parse_keys(&text));
            keys.map_err(|problem| at(path, problem))
        })
    }

    /// The keys that sign tokens, likewise.
    pub(super) fn read_tokens(&self) -> Result<TokenKeys, FileError> {
        self.tokens
            .as_deref()
            .map_or(Ok(TokenKeys::default()), |path| {
                let keys = read(path).and_then(|text| match TokenKeys::parse(&text) {
                    Err(TokenKeyError::Empty) => Ok(TokenKeys::default()),
                    parsed => Ok(parsed?),
                });
                keys.map_err(|problem| at(path, problem))
            })
    }

    /// The current state of the files, to notice a change by.
    pub(super) fn stamps(&self) -> Stamps {
        [&self.keys, &self.tokens].map(|path| {
            let metadata = fs::metadata(path.as_ref()?).ok()?;
            Some(Stamp {
                file: (metadata.dev(), metadata.ino()),
                bytes: metadata.len(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            })
        })
    }
}

/// The state of each file; `None`: it does not exist.
pub(super) type Stamps = [Option<Stamp>; 2];

/// The metadata of a file. If any of it differs, the file was replaced or its content has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    file: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Files that are polled for changes.
#[derive(Clone)]
pub(crate) struct Watched {
    files: Files,
    /// Their state when they were last read.
    taken: Stamps,
    /// Their state at the last poll, if it differs, and the number of polls since it changed.
    seen: Option<(Stamps, usize)>,
    /// When to read files again that could not be used.
    again: Option<Instant>,
}

impl Watched {
    /// Files that the caller reads after this call.
    pub(crate) fn new(files: Files) -> Watched {
        let taken = files.stamps();
        Watched::since(files, taken)
    }

    pub(super) fn since(files: Files, taken: Stamps) -> Watched {
        Watched {
            files,
            taken,
            seen: None,
            again: None,
        }
    }

    /// Polls the files once. Returns whether they are to be read now.
    pub(crate) fn must_read(&mut self) -> bool {
        let stamps = self.files.stamps();
        if stamps == self.taken {
            self.seen = None;
            return self.again.is_some_and(|again| again <= Instant::now());
        }
        let looks = match self.seen {
            Some((seen, _)) if seen == stamps => LOOKS_MAX,
            Some((_, looks)) => looks + 1,
            None => 1,
        };
        self.seen = Some((stamps, looks));
        if looks < LOOKS_MAX {
            return false;
        }
        (self.taken, self.seen) = (stamps, None);
        true
    }

    /// Records whether the files could be used. If not, they are read again after a while, so that
    /// the log repeats the error.
    pub(crate) fn note(&mut self, is_usable: bool) {
        self.again = (!is_usable).then(|| Instant::now() + COMPLAINT_INTERVAL);
    }
}

/// Spawns a thread that calls `look` at each interval, until it returns false.
pub(crate) fn spawn_poller(mut look: impl FnMut() -> bool + Send + 'static) {
    let every = move || {
        loop {
            thread::sleep(LOOK_INTERVAL);
            if !look() {
                return;
            }
        }
    };
    let spawned = thread::Builder::new().name("guard".to_owned()).spawn(every);
    if let Err(error) = spawned {
        tracing::error!(%error, "cannot watch the key files; send SIGHUP to reload them");
    }
}

/// The keys of a file that was read again; `None`: it cannot be used, and the previous keys stay.
pub(crate) fn taken<T: Default>(
    path: &Option<PathBuf>,
    read: Result<T, FileError>,
    is_empty: impl Fn(&T) -> bool,
    handle: &Handle,
) -> Option<T> {
    match read {
        Ok(keys) => {
            if let Some(path) = path.as_ref().filter(|_| is_empty(&keys)) {
                let path = path.display();
                tracing::warn!("{path}: holds no keys: the previous ones are revoked");
            }
            Some(keys)
        }
        Err(error) if error.is_absent() => {
            tracing::warn!("{error}: all of its keys are revoked");
            Some(T::default())
        }
        Err(error) => {
            handle.count_unusable_key_file();
            tracing::error!("{error}: the previous keys stay in force");
            None
        }
    }
}

impl FileError {
    /// Whether the file does not exist.
    fn is_absent(&self) -> bool {
        let FileProblem::Unreadable(error) = &self.problem else {
            return false;
        };
        error.kind() == io::ErrorKind::NotFound
    }
}

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
        ApiKey::of_line(line).map_err(|error| FileProblem::Line {
            line: index + 1,
            error,
        })
    });
    keys.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_has_one_key_per_line_and_comments() {
        let text = "# old\nold-key-0123456789\n\n  new-key-0123456789  \n";
        let keys = parse_keys(text).expect("keys");
        let keys: Vec<&str> = keys.iter().map(ApiKey::reveal).collect();
        assert_eq!(keys, ["old-key-0123456789", "new-key-0123456789"]);
    }

    #[test]
    fn a_problem_with_a_file_never_repeats_its_content() {
        let problem = |text: &str| parse_keys(text).expect_err("a problem").to_string();
        assert!(problem("# ok\nhünter\n").starts_with("line 2: an API key has 1"));
        assert!(problem("# ok\nhunter 2\n").starts_with("line 2: scope 1 is not one of"));
        assert!(!problem("hunter 2").contains("hunter"));
        assert!(parse_keys("# none\n").expect("no keys").is_empty());
        let files = Files {
            tokens: Some("no/such/file".into()),
            ..Files::default()
        };
        let error = files.read_tokens().expect_err("no file").to_string();
        assert!(error.starts_with("no/such/file: cannot be read"), "{error}");
        assert!(files.read_keys().expect("no file is named").is_empty());
    }
}
