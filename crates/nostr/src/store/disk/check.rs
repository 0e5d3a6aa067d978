//! Compares the index with the records, and sums up what a store has.

use std::collections::BTreeMap;

use super::DiskStore;
use super::rebuild::{Sieve, add_keys, io_failed, sort_folder};
use super::sort::{Pair, Sorter};
use super::tables::{failed, parsed};
use crate::store::{Store as _, StoreError};

/// The result of [`DiskStore::check`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Events.
    pub events: u64,
    /// Keys that the index has.
    pub keys: u64,
    /// Keys that it should have, but has not, or with another value.
    pub missing: u64,
    /// Keys that it should not have.
    pub surplus: u64,
    /// Records of which only one should be there: of the same event, or of the same address.
    pub doubled: u64,
    /// Records that cannot be read.
    pub unreadable: u64,
    /// Difference between the events that were counted and those that the store has noted.
    pub uncounted: u64,
}

impl CheckReport {
    /// Whether the index and the records agree.
    pub fn is_ok(&self) -> bool {
        self.missing + self.surplus + self.doubled + self.unreadable + self.uncounted == 0
    }
}

/// The result of [`DiskStore::statistics`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Events of each kind, and the bytes of their JSON.
    pub kinds: BTreeMap<u16, (u64, u64)>,
    /// The earliest and the latest `created_at`.
    pub times: Option<(u64, u64)>,
    /// Bytes of each file of the store.
    pub files: BTreeMap<String, u64>,
}

impl DiskStore {
    /// Compares the index with the records. `progress` is called with the number of events read
    /// and the number of all. The store should not be written meanwhile.
    ///
    /// # Errors
    ///
    /// The store cannot be read, or the disk lacks space for sorting.
    pub fn check(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<CheckReport, StoreError> {
        self.checkpoint()?;
        let view = self.shared.view()?;
        let total = self.size().0 as u64;
        let mut report = CheckReport::default();
        let mut sorter = Sorter::new(&sort_folder(&self.shared.folder)).map_err(io_failed)?;
        for record in view.tables.records_after(0)? {
            let (seq, json) = record.map_err(failed)?;
            report.events += 1;
            match parsed(seq.value(), json.value()) {
                Ok(event) => add_keys(&mut sorter, seq.value(), &event).map_err(io_failed)?,
                Err(_) => report.unreadable += 1,
            }
            if report.events.is_multiple_of(1_000) {
                progress(report.events, total);
            }
        }
        report.uncounted = report.events.abs_diff(total);
        let mut sorted = sorter.finish().map_err(io_failed)?;
        let mut sieve = Sieve::default();
        let mut due = || -> Result<Option<Pair>, StoreError> {
            while let Some(pair) = sorted.next().map_err(io_failed)? {
                if let Some(pair) = sieve.pass(pair) {
                    return Ok(Some(pair));
                }
            }
            Ok(None)
        };
        let mut wanted = due()?;
        for pair in view.tables.index_pairs()? {
            let (key, value) = pair.map_err(failed)?;
            report.keys += 1;
            while wanted
                .as_ref()
                .is_some_and(|(due, _)| &due[..] < key.value())
            {
                report.missing += 1;
                wanted = due()?;
            }
            match &wanted {
                Some((due_key, due_value)) if &due_key[..] == key.value() => {
                    report.missing += u64::from(&due_value[..] != value.value());
                    wanted = due()?;
                }
                _ => report.surplus += 1,
            }
        }
        while wanted.is_some() {
            report.missing += 1;
            wanted = due()?;
        }
        report.doubled = sieve.removed.len() as u64;
        progress(total, total);
        Ok(report)
    }

    /// Sums up what the store has. `progress` is called like that of [`DiskStore::check`].
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub fn statistics(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Statistics, StoreError> {
        let total = self.size().0 as u64;
        let mut statistics = Statistics::default();
        let mut done = 0;
        self.export(0, &mut |_, event| {
            let (count, bytes) = statistics.kinds.entry(event.kind()).or_default();
            *count += 1;
            *bytes += event.json().len() as u64;
            let at = event.created_at();
            let (first, last) = statistics.times.unwrap_or((at, at));
            statistics.times = Some((first.min(at), last.max(at)));
            done += 1;
            if done % 1_000 == 0 {
                progress(done, total);
            }
            Ok(())
        })?;
        progress(total, total);
        let folder = std::fs::read_dir(&self.shared.folder).map_err(io_failed)?;
        for entry in folder {
            let entry = entry.map_err(io_failed)?;
            let bytes = entry.metadata().map_err(io_failed)?.len();
            statistics
                .files
                .insert(entry.file_name().to_string_lossy().into_owned(), bytes);
        }
        Ok(statistics)
    }
}
