//! `corecast nostr export`
//!
//! A file appears under its name when it is complete. Until then it has another name, and if a
//! signal ends the export, its last line says how far it has come.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use corecast_nostr::{PrivateKinds, Seq, Store};
use serde::{Deserialize, Serialize};

use super::interrupt::Interrupt;
use super::progress::Progress;

/// Events that are read at a time.
const ROWS: usize = 1_000;

/// The permissions of a new file: it has the private events, too.
const MODE: u32 = 0o600;

/// Most bytes of the last line of an incomplete file.
const TRAILER_BYTES_MAX: u64 = 8_192;

/// The last line of an incomplete file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Trailer {
    /// The store that is exported.
    store: PathBuf,
    /// All up to this change is in the file.
    exported_up_to: Seq,
    events: u64,
}

/// The result of an export.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Exported {
    /// Events in the file.
    pub(super) events: u64,
    /// Bytes that this run has written.
    pub(super) bytes: u64,
    /// Events of private kinds that this run has written.
    pub(super) private: u64,
    up_to: Seq,
}

/// The store, and the events of it that are exported.
pub(super) struct Exporter<'s> {
    pub(super) store: &'s dyn Store,
    /// The folder of the store.
    pub(super) name: &'s Path,
    /// Kinds whose events are counted separately.
    pub(super) private: &'s PrivateKinds,
    /// Seconds since 1970; what has expired by then is left out.
    pub(super) now: u64,
    pub(super) interrupt: &'s Interrupt,
}

impl Exporter<'_> {
    /// Exports to a file, which is replaced when it is complete. `None`: a signal has come before
    /// that, and the next call with the same arguments goes on.
    ///
    /// # Errors
    ///
    /// The store or the file fails.
    pub(super) fn to_file(&self, path: &Path) -> anyhow::Result<Option<Exported>> {
        let partial = partial_of(path);
        let named = || partial.display().to_string();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.mode(MODE).open(&partial).with_context(named)?;
        let begun = self.continued(&mut file).with_context(named)?;
        let mut output = BufWriter::with_capacity(1 << 20, file);
        let exported = self.write(&mut output, begun)?;
        if self.interrupt.has_come() {
            let trailer = Trailer {
                store: self.name.to_owned(),
                exported_up_to: exported.up_to,
                events: exported.events,
            };
            serde_json::to_writer(&mut output, &trailer)?;
            output.write_all(b"\n").with_context(named)?;
            output.flush().with_context(named)?;
            return Ok(None);
        }
        let file = output.into_inner().map_err(io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).with_context(named)?;
        let to_named = || path.display().to_string();
        fs::rename(&partial, path).with_context(to_named)?;
        sync_folder_of(path).with_context(to_named)?;
        Ok(Some(exported))
    }

    /// Exports to standard output or another stream.
    ///
    /// # Errors
    ///
    /// The store or the stream fails.
    pub(super) fn to_stream(&self, output: impl Write) -> anyhow::Result<Exported> {
        let mut output = BufWriter::with_capacity(1 << 20, output);
        let exported = self.write(&mut output, Exported::default())?;
        output.flush()?;
        Ok(exported)
    }

    /// Cuts an incomplete file after its last event. Returns how far it has come.
    fn continued(&self, file: &mut File) -> io::Result<Exported> {
        let length = file.metadata()?.len();
        let start = length.saturating_sub(TRAILER_BYTES_MAX);
        let mut end = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.read_to_end(&mut end)?;
        let line = end.strip_suffix(b"\n").unwrap_or_default();
        let line_start = line.iter().rposition(|byte| *byte == b'\n');
        let line_start = line_start.map_or(0, |newline| newline + 1);
        let trailer = serde_json::from_slice::<Trailer>(&line[line_start..]).ok();
        let trailer = trailer.filter(|trailer| {
            trailer.store == self.name && trailer.exported_up_to <= self.store.last_seq()
        });
        let (kept, begun) = match trailer {
            Some(trailer) => {
                let begun = Exported {
                    events: trailer.events,
                    up_to: trailer.exported_up_to,
                    ..Exported::default()
                };
                (start + line_start as u64, begun)
            }
            None => (0, Exported::default()),
        };
        file.set_len(kept)?;
        file.seek(SeekFrom::Start(kept))?;
        Ok(begun)
    }

    /// Writes the events after those of `exported`, in the order in which they were stored.
    fn write(&self, output: &mut impl Write, mut exported: Exported) -> anyhow::Result<Exported> {
        let last = self.store.last_seq();
        let mut progress = Progress::on_stderr(Some(last), exported.up_to);
        let mut written = 0;
        while exported.up_to < last && !self.interrupt.has_come() {
            let (events, up_to) = self.store.since(exported.up_to, ROWS)?;
            for (_, event) in events
                .iter()
                .filter(|(_, event)| !event.is_expired(self.now))
            {
                let json = event.json().as_bytes();
                let wrote = output
                    .write_all(json)
                    .and_then(|()| output.write_all(b"\n"));
                wrote.inspect_err(|_| progress.clear())?;
                exported.bytes += json.len() as u64 + 1;
                exported.private += u64::from(self.private.contains(event.kind()));
                written += 1;
            }
            exported.up_to = up_to;
            progress.show(up_to, written, Instant::now());
        }
        progress.clear();
        exported.events += written;
        Ok(exported)
    }
}

/// The name of a file that is not complete.
fn partial_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

/// Makes a new name in a folder durable.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use corecast_nostr::{Draft, MemoryStore, Nip09, Signer};

    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn store_of(count: u64) -> MemoryStore {
        let store = MemoryStore::new(10_000);
        let signer = Signer::new([1; 32]).expect("a key");
        let event = |number: u64| {
            let mut tags = Vec::new();
            if number.is_multiple_of(10) {
                tags.push(vec!["expiration".to_owned(), NOW.to_string()]);
            }
            // In an order that is not that of time.
            Arc::new(signer.sign(Draft {
                created_at: NOW - number * 7 % 1_000,
                kind: if number.is_multiple_of(3) { 4 } else { 1 },
                tags,
                content: format!("{number}"),
            }))
        };
        let events: Vec<_> = (1..=count).map(event).collect();
        store.commit(&events, &Nip09).expect("a store");
        store
    }

    fn exporter<'s>(
        store: &'s MemoryStore,
        private: &'s PrivateKinds,
        interrupt: &'s Interrupt,
    ) -> Exporter<'s> {
        Exporter {
            store,
            name: Path::new("/store"),
            private,
            now: NOW,
            interrupt,
        }
    }

    /// The contents of the lines.
    fn numbers(text: &str) -> Vec<u64> {
        let content = |line: &str| {
            let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let content = event["content"].as_str().expect("a content");
            content.parse().expect("a number")
        };
        text.lines().map(content).collect()
    }

    #[test]
    fn events_come_in_the_order_in_which_they_were_stored() {
        let (store, private) = (store_of(2_500), [4].into_iter().collect());
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("events.jsonl");
        fs::write(&path, "from before").expect("a file");
        let interrupt = Interrupt::default();
        let exporter = exporter(&store, &private, &interrupt);
        let exported = exporter.to_file(&path).expect("a file").expect("complete");
        let text = fs::read_to_string(&path).expect("a file");
        let expected: Vec<u64> = (1..=2_500).filter(|number| number % 10 != 0).collect();
        assert_eq!(numbers(&text), expected);
        assert_eq!(
            (exported.events, exported.bytes, exported.private),
            (2_250, text.len() as u64, 750)
        );
        let mut stream = Vec::new();
        assert_eq!(exporter.to_stream(&mut stream).expect("a stream"), exported);
        assert!(stream == text.as_bytes());
        let files = fs::read_dir(directory.path()).expect("a folder");
        assert_eq!(files.count(), 1);
    }

    /// A store whose reader is interrupted after some pages.
    #[test]
    fn an_interrupted_export_goes_on_where_it_stopped() {
        let (store, private) = (store_of(1_500), PrivateKinds::default());
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("events.jsonl");
        let interrupt = Interrupt::default();
        interrupt.come();
        let stopped = exporter(&store, &private, &interrupt);
        assert_eq!(stopped.to_file(&path).expect("a file"), None);
        assert!(!path.exists());
        let partial = partial_of(&path);
        // As if it had exported some.
        let line = "{\"content\":\"77\"}\n";
        let trailer = |store: &str| {
            format!("{{\"store\":\"{store}\",\"exported_up_to\":1000,\"events\":1}}\n")
        };
        let calm = Interrupt::default();
        let whole = exporter(&store, &private, &calm);
        let exported_after = |text: &str| {
            fs::write(&partial, text).expect("a file");
            let exported = whole.to_file(&path).expect("a file").expect("complete");
            let found = numbers(&fs::read_to_string(&path).expect("a file"));
            assert_eq!(found.len() as u64, exported.events);
            found
        };
        let all: Vec<u64> = (1..=1_500).filter(|number| number % 10 != 0).collect();
        let rest: Vec<u64> = [77].into_iter().chain(all[900..].iter().copied()).collect();
        assert_eq!(
            exported_after(&format!("{line}{}", trailer("/store"))),
            rest
        );
        // Of another store, or killed: anew.
        for other in [trailer("/other"), String::new(), "{\"content\":".to_owned()] {
            assert_eq!(exported_after(&format!("{line}{other}")), all);
        }
    }
}
