//! Delayed pushes on disk: a table of an embedded store (redb), by number.
//!
//! Only the thread of the [`super::schedule`] writes it. When [`Journal::write`] returns, the
//! change is on disk; a process that is killed before leaves a consistent table, old or new.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableTable as _, TableDefinition};

use super::pending::Pending;

const PENDING: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("pending");

/// The permissions of a new file, since pushes are private. An existing file keeps its own.
const MODE: u32 = 0o600;

/// Memory that the store may use for pages, in bytes: little, since the schedule keeps all entries
/// in memory anyway.
const CACHE_BYTES: usize = 1 << 20;

/// The reason why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the journal {path}: {source}", path = path.display())]
pub(super) struct JournalError {
    path: PathBuf,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The journal file.
pub(super) struct Journal {
    path: PathBuf,
    /// `None` after a failure: redb requires that a store that failed is reopened.
    database: Option<Database>,
}

impl Journal {
    /// Opens the file, or creates it if it does not exist, and reads its entries.
    ///
    /// # Errors
    ///
    /// The folder does not exist, a permission is missing, the file is not a journal, or another
    /// process has it open.
    pub(super) fn open(path: &Path) -> Result<(Journal, Vec<Pending>), JournalError> {
        let opened = open(path).and_then(|database| {
            let pending = read(&database)?;
            Ok((database, pending))
        });
        let (database, pending) = opened.map_err(|error| error.at(path))?;
        let journal = Journal {
            path: path.to_owned(),
            database: Some(database),
        };
        Ok((journal, pending))
    }

    /// Adds and removes entries in one durable transaction.
    ///
    /// # Errors
    ///
    /// The write failed and the file is unchanged. The next call opens it again.
    pub(super) fn write<'p>(
        &mut self,
        added: impl Iterator<Item = &'p Pending>,
        gone: &[u64],
    ) -> Result<(), JournalError> {
        let database = match self.database.take() {
            Some(database) => Ok(database),
            None => open(&self.path),
        };
        let written = database.and_then(|database| {
            write(&database, added, gone)?;
            Ok(database)
        });
        self.database = Some(written.map_err(|error| error.at(&self.path))?);
        Ok(())
    }
}

/// An error of the store or of an entry, without the path.
struct Failure(Box<dyn std::error::Error + Send + Sync>);

impl Failure {
    fn at(self, path: &Path) -> JournalError {
        JournalError {
            path: path.to_owned(),
            source: self.0,
        }
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure(Box::new(error))
    }
}

fn open(path: &Path) -> Result<Database, Failure> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.mode(MODE).open(path)?;
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    let database = builder.create_with_backend(FileBackend::new(file)?)?;
    let transaction = database.begin_write()?;
    // Creates the table, so that it can be read.
    transaction.open_table(PENDING)?;
    transaction.commit()?;
    Ok(database)
}

fn read(database: &Database) -> Result<Vec<Pending>, Failure> {
    use redb::ReadableDatabase as _;
    let table = database.begin_read()?.open_table(PENDING)?;
    let mut pending = Vec::new();
    for entry in table.iter()? {
        let (id, json) = entry?;
        let entry: Pending = serde_json::from_slice(json.value())?;
        pending.push(Pending {
            id: id.value(),
            ..entry
        });
    }
    Ok(pending)
}

fn write<'p>(
    database: &Database,
    added: impl Iterator<Item = &'p Pending>,
    gone: &[u64],
) -> Result<(), Failure> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(PENDING)?;
        for pending in added {
            table.insert(pending.id, serde_json::to_vec(pending)?.as_slice())?;
        }
        for id in gone {
            table.remove(id)?;
        }
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::push::pending::tests::pending;

    #[test]
    fn a_reopened_journal_has_its_entries() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("push.redb");
        let (mut journal, found) = Journal::open(&path).expect("a new file");
        assert!(found.is_empty());
        let all: Vec<Pending> = (1..=3).map(pending).collect();
        journal.write(all.iter(), &[]).expect("a disk");
        journal.write([].into_iter(), &[2, 99]).expect("a disk");
        assert!(Journal::open(&path).is_err(), "it is locked");
        drop(journal);
        let (_, found) = Journal::open(&path).expect("the file");
        let ids: Vec<u64> = found.iter().map(|pending| pending.id).collect();
        assert_eq!(ids, [1, 3]);
        assert_eq!(
            found[1].subject.get(),
            all[2].subject.get(),
            "byte for byte"
        );
    }

    #[test]
    fn a_file_that_is_not_a_journal_is_not_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "remember the milk\n").expect("a file");
        let error = Journal::open(&path).err().expect("no store");
        assert!(error.to_string().contains("notes.txt"), "{error}");
        assert_eq!(
            std::fs::read(&path).expect("a file"),
            b"remember the milk\n"
        );
        assert!(Journal::open(&folder.path().join("no/such/folder")).is_err());
    }

    #[test]
    fn a_new_file_is_private_and_an_existing_one_keeps_its_mode() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("push.redb");
        let mode = || {
            std::fs::metadata(&path)
                .expect("the file")
                .permissions()
                .mode()
                & 0o777
        };
        let (mut journal, _) = Journal::open(&path).expect("a new file");
        journal
            .write([&pending(1)].into_iter(), &[])
            .expect("a disk");
        assert_eq!(mode(), 0o600);
        drop(journal);
        for chosen in [0o640, 0o600] {
            let permissions = std::fs::Permissions::from_mode(chosen);
            std::fs::set_permissions(&path, permissions).expect("ours");
            drop(Journal::open(&path).expect("the file"));
            assert_eq!(mode(), chosen);
        }
        let files = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(files, 1, "the store makes no other files");
    }

    #[test]
    fn a_journal_is_reopened_after_a_failure() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("below").join("push.redb");
        let mut journal = Journal {
            path: path.clone(),
            database: None,
        };
        let push = pending(7);
        assert!(
            journal.write([&push].into_iter(), &[]).is_err(),
            "no folder"
        );
        std::fs::create_dir(folder.path().join("below")).expect("a folder");
        journal.write([&push].into_iter(), &[]).expect("a disk");
        drop(journal);
        let (_, found) = Journal::open(&path).expect("the file");
        assert_eq!(found.len(), 1);
    }
}
