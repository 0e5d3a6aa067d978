//! Loads many events at once, in order of keys.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::keys;
use super::opening::{DiskOptions, OpenError};
use super::rebuild::{Sieve, add_keys, io_failed, sort_folder};
use super::sort::{Pair, Sorter};
use super::state::Vanishing;
use super::tables::{Checkpoint, Opened, Tables, failed};
use super::view::View;
use super::write::Draft;
use super::{DiskStore, change, log};
use crate::event::Event;
use crate::query::Seq;
use crate::store::{Nip09, Store as _, StoreError, deletion};

/// Records that are written in one transaction.
const RECORDS_AT_ONCE: usize = 10_000;

/// Events that are stored one by one at the end, in one commit.
const COMMIT_EVENTS: usize = 1_000;

/// The result of a bulk load.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BulkReport {
    /// Events that were given.
    pub given: u64,
    /// Events that the store has now.
    pub events: u64,
    /// Events that it had before.
    pub events_before: u64,
}

/// Loads many events into a store that nobody else has open. They are not verified. Nothing of it
/// counts before [`BulkLoader::finish`], which writes a new index: that is worth it if the store
/// has no more events than come in. The disk needs space for two indexes and the sorted keys,
/// about 2 KB an event.
pub struct BulkLoader {
    folder: PathBuf,
    options: DiskOptions,
    tables: Tables,
    checkpoint: Checkpoint,
    events_before: u64,
    given: u64,
    sorter: Sorter,
    records: Vec<(Seq, Box<[u8]>)>,
    /// Decides whether the state before has something to say about an event; `None` if the store
    /// was empty.
    before: Option<Draft>,
    /// Events that cannot be loaded in any order: JSON, a line each.
    aside: BufWriter<File>,
}

impl BulkLoader {
    /// Opens the store in `folder`, which is created if it does not exist.
    ///
    /// # Errors
    ///
    /// As those of [`DiskStore::open`].
    pub fn open(folder: &Path, options: &DiskOptions) -> Result<BulkLoader, OpenError> {
        let store = DiskStore::open(folder, options)?;
        let replayed = store.checkpoint();
        replayed.map_err(|StoreError(what)| OpenError::damaged(folder, &what))?;
        let is_new = store.last_seq() == 0;
        drop(store);
        let Opened {
            tables, checkpoint, ..
        } = Tables::open(folder, options.cache_bytes)?;
        let before = (!is_new).then(|| -> Result<Draft, StoreError> {
            let view = View {
                layers: Vec::new(),
                tables: tables.read()?,
            };
            Ok(Draft::new(
                view,
                checkpoint.seq,
                checkpoint.sums,
                Vanishing::default(),
            ))
        });
        let before = before.transpose();
        let io = |error| OpenError::io(folder, error);
        Ok(BulkLoader {
            before: before.map_err(|StoreError(what)| OpenError::damaged(folder, &what))?,
            sorter: Sorter::new(&sort_folder(folder)).map_err(io)?,
            aside: BufWriter::new(aside_file(folder).map_err(io)?),
            folder: folder.to_owned(),
            options: options.clone(),
            events_before: checkpoint.sums.events,
            given: 0,
            tables,
            checkpoint,
            records: Vec::new(),
        })
    }

    /// Adds an event. Ephemeral ones are ignored.
    ///
    /// # Errors
    ///
    /// The store cannot be read or written. Nothing is loaded then.
    pub fn add(&mut self, event: &Event) -> Result<(), StoreError> {
        self.given += 1;
        if event.class() == crate::kind::Class::Ephemeral {
            return Ok(());
        }
        let is_special = !deletion::may_be_deleted(event)
            || match &self.before {
                Some(before) => before.refuses(event)?,
                None => false,
            };
        if is_special {
            let written = writeln!(self.aside, "{}", event.json());
            return written.map_err(io_failed);
        }
        let seq = self.checkpoint.seq + 1;
        self.checkpoint.seq = seq;
        self.checkpoint.sums.events += 1;
        self.checkpoint.sums.bytes += event.json().len() as u64;
        add_keys(&mut self.sorter, seq, event).map_err(io_failed)?;
        self.records.push((seq, event.json().as_bytes().into()));
        match self.records.len() < RECORDS_AT_ONCE {
            true => Ok(()),
            false => self.append_records(),
        }
    }

    fn append_records(&mut self) -> Result<(), StoreError> {
        self.tables
            .append_records(&std::mem::take(&mut self.records))
    }

    /// Makes the events part of the store.
    ///
    /// # Errors
    ///
    /// The store cannot be written. Its events are then as before.
    pub fn finish(mut self) -> Result<BulkReport, StoreError> {
        self.append_records()?;
        let BulkLoader {
            folder,
            options,
            mut tables,
            mut checkpoint,
            sorter,
            ..
        } = self;
        // It holds the databases open as they were.
        drop(self.before);
        checkpoint.batch += 1;
        let mut sieve = Sieve::default();
        {
            let mut added = sorter.finish().map_err(io_failed)?;
            let mut stored = tables.read()?.index_pairs()?;
            let mut next_stored = || -> Result<Option<Pair>, StoreError> {
                let pair = stored.next().transpose().map_err(failed)?;
                Ok(pair.map(|(key, value)| stored_pair(key.value(), value.value())))
            };
            let mut heads = (next_stored()?, added.next().map_err(io_failed)?);
            let mut next = || -> Result<Option<Pair>, StoreError> {
                loop {
                    let is_stored = match &heads {
                        (Some(stored), Some(added)) => stored <= added,
                        (stored, _) => stored.is_some(),
                    };
                    let pair = match is_stored {
                        true => std::mem::replace(&mut heads.0, next_stored()?),
                        false => {
                            let next = added.next().map_err(io_failed)?;
                            std::mem::replace(&mut heads.1, next)
                        }
                    };
                    let Some(pair) = pair else {
                        return Ok(None);
                    };
                    if let Some(pair) = sieve.pass(pair) {
                        return Ok(Some(pair));
                    }
                }
            };
            let replaced =
                tables.replace_index(&folder, options.cache_bytes, checkpoint.batch, &mut next);
            replaced.map_err(|error| StoreError(error.to_string()))?;
        }
        tables.end_bulk(sieve.removed, &mut checkpoint)?;
        drop(tables);
        log::remove_until(&folder, options.log_bytes, log::BatchNumber::MAX).map_err(io_failed)?;
        let store = DiskStore::open(&folder, &options).map_err(|e| StoreError(e.to_string()))?;
        store_aside(&store, self.aside)?;
        store.checkpoint()?;
        Ok(BulkReport {
            given: self.given,
            events: store.size().0 as u64,
            events_before: self.events_before,
        })
    }
}

/// A pair of the index, with the key in the form in which it is sorted.
fn stored_pair(key: &[u8], value: &[u8]) -> Pair {
    (keys::as_sorted(key, value), value.to_vec())
}

/// A file without a name.
fn aside_file(folder: &Path) -> std::io::Result<File> {
    let path = folder.join("aside.tmp");
    let mut options = File::options();
    let file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

/// Stores the events that were put aside, in the order in which they were given.
fn store_aside(store: &DiskStore, aside: BufWriter<File>) -> Result<(), StoreError> {
    let mut file = aside
        .into_inner()
        .map_err(|error| io_failed(error.into_error()))?;
    file.rewind().map_err(io_failed)?;
    let mut batch = Vec::new();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(io_failed)?;
        batch.extend(change::event(line.as_bytes()).map(Arc::new));
        if batch.len() >= COMMIT_EVENTS {
            store.commit(&std::mem::take(&mut batch), &Nip09)?;
        }
    }
    store.commit(&batch, &Nip09)?;
    while store.tidy(0)? > 0 {}
    Ok(())
}
