//! Makes a whole index: its keys are sorted first, and then written in order, which is many times
//! as fast as one event after the other.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use super::keys::{self, Row};
use super::log::BatchNumber;
use super::opening::OpenError;
use super::sort::{Pair, Sorted, Sorter};
use super::tables::{Tables, failed, parsed};
use crate::event::Event;
use crate::query::{Position, Seq};
use crate::store::StoreError;

pub(super) fn io_failed(error: io::Error) -> StoreError {
    StoreError(error.to_string())
}

/// The folder for sorting.
pub(super) fn sort_folder(folder: &Path) -> PathBuf {
    folder.join("sort.tmp")
}

/// Adds all keys of an event. That of its address has the position at its end here: the newest
/// version comes first.
pub(super) fn add_keys(sorter: &mut Sorter, seq: Seq, event: &Event) -> io::Result<()> {
    let row = Row::of(event, seq).to_bytes();
    for key in keys::lists_of(event) {
        sorter.add(&key, &row)?;
    }
    let tail = keys::tail(&Position::of(event));
    let place = [&row[..], &tail].concat();
    sorter.add(&keys::id(event.id()), &place)?;
    if let Some(address) = event.address() {
        let key = keys::address(&address);
        sorter.add(&keys::as_sorted(&key, &place), &place)?;
    }
    Ok(())
}

/// Takes the sorted keys of any set of events, and keeps those of the events that stay: of equal
/// events the first, of an address the newest version.
#[derive(Default)]
pub(super) struct Sieve {
    /// Numbers of the events that do not stay.
    pub(super) removed: HashSet<Seq>,
    last: Vec<u8>,
    last_seq: Seq,
}

impl Sieve {
    /// The pair as the index has it, if it stays. Addresses come first, then ids, then lists.
    pub(super) fn pass(&mut self, (key, value): Pair) -> Option<Pair> {
        let seq = Row::parse(&value)?.seq;
        if self.removed.contains(&seq) {
            return None;
        }
        let key = keys::from_sorted(key);
        if key == self.last {
            // A tag may be there twice.
            if seq != self.last_seq {
                self.removed.insert(seq);
            }
            return None;
        }
        self.last_seq = seq;
        self.last.clear();
        self.last.extend_from_slice(&key);
        Some((key, value))
    }
}

/// Rebuilds the index from the records, as of batch `batch`.
pub(super) fn index(
    tables: &mut Tables,
    folder: &Path,
    cache_bytes: usize,
    batch: BatchNumber,
) -> Result<(), OpenError> {
    let as_open_error = |StoreError(what)| OpenError::damaged(folder, &what);
    let mut sorted = sorted(tables, folder).map_err(as_open_error)?;
    let mut sieve = Sieve::default();
    let mut next = || -> Result<Option<Pair>, StoreError> {
        while let Some(pair) = sorted.next().map_err(io_failed)? {
            if let Some(pair) = sieve.pass(pair) {
                return Ok(Some(pair));
            }
        }
        Ok(None)
    };
    tables.replace_index(folder, cache_bytes, batch, &mut next)
}

/// The keys of all records.
pub(super) fn sorted(tables: &Tables, folder: &Path) -> Result<Sorted, StoreError> {
    let mut sorter = Sorter::new(&sort_folder(folder)).map_err(io_failed)?;
    for record in tables.read()?.records_after(0)? {
        let (seq, json) = record.map_err(failed)?;
        let event = parsed(seq.value(), json.value())?;
        add_keys(&mut sorter, seq.value(), &event).map_err(io_failed)?;
    }
    sorter.finish().map_err(io_failed)
}
