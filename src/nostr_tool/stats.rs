//! `corecast nostr stats`

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;

use corecast_nostr::{Bytes32, Event, Store, StoreError};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::interrupt::Interrupt;
use super::progress::grouped;

/// Events that are read at a time.
const ROWS: usize = 1_000;

/// Kinds that the text names; the others are summed up.
const KINDS_TOLD: usize = 20;

/// Events of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct OfKind {
    events: u64,
    /// Bytes of their JSON.
    bytes: u64,
}

/// The figures of a store.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Stats {
    events: u64,
    /// Bytes of the events' JSON.
    event_bytes: u64,
    /// Bytes of all files of the store, as they are allocated.
    file_bytes: u64,
    files: BTreeMap<String, u64>,
    authors: u64,
    /// Seconds since 1970.
    oldest: Option<u64>,
    newest: Option<u64>,
    /// The number of the last change.
    last_change: u64,
    kinds: BTreeMap<u16, OfKind>,
}

impl Stats {
    /// Reads all events. `None`: a signal has come before the end.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub(super) fn of(
        store: &dyn Store,
        interrupt: &Interrupt,
    ) -> Result<Option<Stats>, StoreError> {
        let mut stats = Stats {
            last_change: store.last_seq(),
            ..Stats::default()
        };
        let mut authors = HashSet::new();
        let mut after = 0;
        while after < stats.last_change {
            if interrupt.has_come() {
                return Ok(None);
            }
            let (events, up_to) = store.since(after, ROWS)?;
            for (_, event) in &events {
                stats.add(event, &mut authors);
            }
            after = up_to;
        }
        stats.authors = authors.len() as u64;
        Ok(Some(stats))
    }

    fn add(&mut self, event: &Event, authors: &mut HashSet<Bytes32>) {
        let bytes = event.json().len() as u64;
        self.events += 1;
        self.event_bytes += bytes;
        let of_kind = self.kinds.entry(event.kind()).or_default();
        of_kind.events += 1;
        of_kind.bytes += bytes;
        let at = event.created_at();
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
        self.newest = Some(self.newest.map_or(at, |newest| newest.max(at)));
        authors.insert(*event.pubkey());
    }

    /// Adds the sizes of the files in the store's folder.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub(super) fn add_files(&mut self, folder: &Path) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt as _;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_file() {
                // Blocks of 512 bytes: a file may have holes.
                let bytes = metadata.blocks() * 512;
                self.file_bytes += bytes;
                let name = entry.file_name().to_string_lossy().into_owned();
                self.files.insert(name, bytes);
            }
        }
        Ok(())
    }

    /// The figures, for people.
    pub(super) fn report(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: String| text += &format!("{name:<16}{value:>16}\n");
        row("events", grouped(self.events));
        row("authors", grouped(self.authors));
        row("bytes of JSON", grouped(self.event_bytes));
        row("bytes of files", grouped(self.file_bytes));
        if let Some(each) = self.file_bytes.checked_div(self.events) {
            row("  per event", grouped(each));
        }
        for (name, bytes) in &self.files {
            row(&format!("  {name}"), grouped(*bytes));
        }
        text += &format!("oldest          {}\n", moment(self.oldest));
        text += &format!("newest          {}\n", moment(self.newest));
        text += &self.report_of_kinds();
        text
    }

    fn report_of_kinds(&self) -> String {
        let mut kinds: Vec<_> = self.kinds.iter().collect();
        kinds.sort_by_key(|(_, of_kind)| std::cmp::Reverse(of_kind.events));
        let (told, rest) = kinds.split_at(kinds.len().min(KINDS_TOLD));
        let mut text = format!("\n{:>7}{:>16}{:>20}\n", "kind", "events", "bytes of JSON");
        let mut row = |name: String, of_kind: OfKind| {
            let (events, bytes) = (grouped(of_kind.events), grouped(of_kind.bytes));
            text += &format!("{name:>7}{events:>16}{bytes:>20}\n");
        };
        for (kind, of_kind) in told {
            row(kind.to_string(), **of_kind);
        }
        if !rest.is_empty() {
            let sum = |sum: OfKind, (_, of_kind): &(&u16, &OfKind)| OfKind {
                events: sum.events + of_kind.events,
                bytes: sum.bytes + of_kind.bytes,
            };
            row(
                "others".to_owned(),
                rest.iter().fold(OfKind::default(), sum),
            );
        }
        text
    }
}

/// A time of an event, which may be any number of seconds.
fn moment(seconds: Option<u64>) -> String {
    let Some(seconds) = seconds else {
        return "–".to_owned();
    };
    let time = i64::try_from(seconds).ok();
    let time = time.and_then(|time| OffsetDateTime::from_unix_timestamp(time).ok());
    let text = time.and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_else(|| format!("{seconds} seconds after 1970"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use corecast_nostr::{Draft, MemoryStore, Nip09, Signer};

    use super::*;

    #[test]
    fn events_are_counted_by_kind_author_and_time() {
        let store = MemoryStore::new(10_000);
        let event = |number: u64| {
            let secret = u8::try_from(number % 3 + 1).expect("a secret");
            let signer = Signer::new([secret; 32]).expect("a key");
            Arc::new(signer.sign(Draft {
                created_at: 1_700_000_000 + number,
                kind: if number < 1_600 { 1 } else { 7 },
                content: format!("{number}"),
                ..Draft::default()
            }))
        };
        let events: Vec<_> = (0..2_000).map(event).collect();
        store.commit(&events, &Nip09).expect("a store");
        let calm = Interrupt::default();
        let mut stats = Stats::of(&store, &calm).expect("a store").expect("all");
        let bytes: usize = events.iter().map(|event| event.json().len()).sum();
        assert_eq!((stats.events, stats.authors), (2_000, 3));
        assert_eq!(stats.event_bytes, bytes as u64);
        assert_eq!(stats.kinds[&7].events, 400);
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("a"), [1; 10_000]).expect("a file");
        stats.add_files(directory.path()).expect("a folder");
        assert!(stats.file_bytes >= 10_000 && stats.files.contains_key("a"));
        let report = stats.report();
        for part in [
            "events                     2,000\n",
            "oldest          2023-11-14T22:13:20Z\n",
            "newest          2023-11-14T22:46:39Z\n",
            "      1           1,600",
        ] {
            assert!(report.contains(part), "{part}:\n{report}");
        }
        calm.come();
        assert_eq!(Stats::of(&store, &calm), Ok(None));
    }

    #[test]
    fn an_empty_store_has_figures_too() {
        let stats = Stats::of(&MemoryStore::new(1), &Interrupt::default());
        let report = stats.expect("a store").expect("all").report();
        assert!(report.contains("oldest          –\n"), "{report}");
        assert_eq!(moment(Some(1 << 40)), "1099511627776 seconds after 1970");
    }
}
