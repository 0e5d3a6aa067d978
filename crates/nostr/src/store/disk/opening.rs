//! Options of a store on disk, and why one does not open.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Options of a [`DiskStore`](super::DiskStore).
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// Memory for parts of the databases, in bytes.
    pub cache_bytes: usize,
    /// Changes after which a checkpoint is made.
    pub checkpoint_changes: usize,
    /// Memory of changes after which a checkpoint is made, in bytes.
    pub checkpoint_bytes: usize,
    /// Size of a file of the log before it is used, in bytes. It is used again later.
    pub log_bytes: u64,
    /// A checkpoint is made if nothing has changed for so long.
    pub idle: Duration,
}

impl Default for DiskOptions {
    fn default() -> DiskOptions {
        DiskOptions {
            cache_bytes: 128 << 20,
            checkpoint_changes: 10_000,
            checkpoint_bytes: 24 << 20,
            log_bytes: 16 << 20,
            idle: Duration::from_secs(5),
        }
    }
}

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{}: another process has this store open", .0.display())]
    InUse(PathBuf),
    /// The records or the log cannot be read.
    #[error(
        "{}: {what}. The events in this folder cannot be trusted; restore it from a backup, or \
         move it away to begin with an empty store",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The damage.
        what: String,
    },
    /// A file cannot be opened, read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
}

impl OpenError {
    pub(super) fn damaged(path: &Path, what: &str) -> OpenError {
        OpenError::Damaged {
            path: path.to_owned(),
            what: what.to_owned(),
        }
    }

    pub(super) fn io(path: &Path, error: io::Error) -> OpenError {
        OpenError::Io {
            path: path.to_owned(),
            error,
        }
    }

    pub(super) fn of_database(path: &Path, error: redb::DatabaseError) -> OpenError {
        use redb::{DatabaseError, StorageError};
        match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(path.to_owned()),
            DatabaseError::Storage(StorageError::Io(error))
                if error.kind() != io::ErrorKind::InvalidData =>
            {
                OpenError::io(path, error)
            }
            error => OpenError::damaged(path, &error.to_string()),
        }
    }
}
