//! `corecast nostr import`

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use corecast_nostr::{BulkLoader, BulkReport, Nip09, Outcome, Store};

use super::interrupt::Interrupt;
use super::lines::{Lines, Place};
use super::position::Bookmark;
use super::progress::{Progress, counted, grouped};
use super::refused::ByReason;
use super::verify::{Checked, Rules, Unfit, Verified};

/// Interval between two notes about the place.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);

/// About how many bytes of JSON an event has, most of which are its id, key and signature.
const EVENT_BYTES_ABOUT: u64 = 600;

/// The results of the lines so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The place from which this run went on.
    from: Place,
    pub(super) end: Place,
    pub(super) events: u64,
    stored: u64,
    duplicate: u64,
    superseded: u64,
    deleted: u64,
    vanished: u64,
    loaded: Option<BulkReport>,
    left_out: ByReason,
    pub(super) refused: ByReason,
    elapsed: Duration,
}

impl Tally {
    fn add_outcome(&mut self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Stored(_) => &mut self.stored,
            Outcome::Duplicate => &mut self.duplicate,
            Outcome::Superseded => &mut self.superseded,
            Outcome::Deleted => &mut self.deleted,
            Outcome::Vanished => &mut self.vanished,
        };
        *count += 1;
    }

    fn add_unfit(&mut self, unfit: Vec<(u64, Unfit)>) {
        for (line, unfit) in unfit {
            match unfit {
                Unfit::Invalid(reason) => self.refused.add(line, &reason),
                Unfit::Passing(reason) => self.left_out.add(line, reason),
            }
        }
    }

    /// The figures, for people.
    pub(super) fn report(&self) -> String {
        let lines = self.end.lines - self.from.lines;
        let seconds = self.elapsed.as_secs_f64();
        let rate = grouped((self.events as f64 / seconds.max(0.001)) as u64);
        let mut text = format!(
            "{} in {seconds:.1} s, {rate} events a second\n",
            counted(lines, "line")
        );
        if let Some(loaded) = &self.loaded {
            let more = loaded.events.saturating_sub(loaded.events_before);
            text += &format!("{:>12}  stored\n", grouped(more));
            let others = loaded.given.saturating_sub(more);
            if others > 0 {
                text += &format!("{:>12}  known, replaced or deleted\n", grouped(others));
            }
        }
        for (count, name) in [
            (self.stored, "stored"),
            (self.duplicate, "stored before"),
            (self.superseded, "not stored: a newer version is"),
            (self.deleted, "not stored: deleted (NIP-09)"),
            (
                self.vanished,
                "not stored: the author has vanished (NIP-62)",
            ),
            (self.left_out.count(), "left out"),
            (self.refused.count(), "refused"),
        ] {
            if count > 0 {
                text += &format!("{:>12}  {name}\n", grouped(count));
            }
        }
        for (lines, title) in [(&self.left_out, "left out"), (&self.refused, "refused")] {
            if lines.count() > 0 {
                text += &format!("{title}:\n{}", lines.report());
            }
        }
        text
    }
}

/// Where lines come from.
pub(super) enum Source {
    /// A file, whose place can be found again, and its size in bytes.
    File(File, Bookmark, u64),
    /// A pipe.
    Stream(Box<dyn Read + Send>),
}

impl Source {
    /// The file, or standard input if the path is `-`.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub(super) fn open(path: &Path) -> io::Result<Source> {
        if path == Path::new("-") {
            return Ok(Source::Stream(Box::new(io::stdin())));
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::other("it is a folder"));
        }
        if !metadata.is_file() {
            return Ok(Source::Stream(Box::new(file)));
        }
        let bookmark = Bookmark::of(&file)?;
        Ok(Source::File(file, bookmark, metadata.len()))
    }

    /// About how many events it has; 0 if nobody knows.
    pub(super) fn events_about(&self) -> u64 {
        match self {
            Source::File(_, _, bytes) => bytes / EVENT_BYTES_ABOUT,
            Source::Stream(_) => 0,
        }
    }
}

/// Where events go.
pub(super) enum Target<'s> {
    /// One commit after the other.
    Store(&'s dyn Store),
    /// All at the end, or nothing.
    Bulk(Box<BulkLoader>),
}

/// An import in progress.
struct Run<'s> {
    target: Target<'s>,
    bookmark: Option<Bookmark>,
    noted: Instant,
    progress: Progress<io::Stderr>,
    tally: Tally,
}

/// Reads `source` into the store. It goes on where an earlier import of the same file stopped,
/// unless `is_anew` or in bulk. It ends early if a signal comes.
///
/// # Errors
///
/// The file or the store fails. Earlier commits stay.
pub(super) fn import(
    target: Target<'_>,
    source: Source,
    is_anew: bool,
    rules: &Rules,
    interrupt: &Interrupt,
) -> anyhow::Result<Tally> {
    let mut begun = Begun::default();
    let reader: Box<dyn Read + Send> = match source {
        Source::Stream(reader) => reader,
        Source::File(mut file, bookmark, bytes) => {
            begun.bytes = Some(bytes);
            if let Target::Store(store) = target {
                begun.from = match is_anew {
                    true => Place::default(),
                    false => bookmark.place(store)?,
                };
                begun.bookmark = Some(bookmark);
            }
            file.seek(SeekFrom::Start(begun.from.offset))?;
            Box::new(file)
        }
    };
    if begun.from != Place::default() {
        eprintln!("going on after line {}", grouped(begun.from.lines));
    }
    // A line may have blanks around the event, and members that are not kept.
    let line_bytes_max = rules.event_bytes_max.saturating_mul(2);
    let lines = Lines::new(reader, line_bytes_max, begun.from);
    let verified = Verified::start(lines, rules, interrupt)?;
    let mut run = Run::new(target, begun);
    let read = run.put_all(verified);
    run.progress.clear();
    if read.is_err() {
        // The store may have failed; then the next import reads more than it had to.
        let _ = run.note();
    }
    read.with_context(|| run.told())?;
    run.end(interrupt.has_come())
}

/// The beginning of an import.
#[derive(Default)]
struct Begun {
    bookmark: Option<Bookmark>,
    from: Place,
    bytes: Option<u64>,
}

impl<'s> Run<'s> {
    fn new(target: Target<'s>, begun: Begun) -> Run<'s> {
        let Begun {
            bookmark,
            from,
            bytes,
        } = begun;
        Run {
            target,
            bookmark,
            noted: Instant::now(),
            progress: Progress::on_stderr(bytes, from.offset),
            tally: Tally {
                from,
                end: from,
                ..Tally::default()
            },
        }
    }

    fn put_all(&mut self, mut verified: Verified) -> anyhow::Result<()> {
        while let Some(checked) = verified.next()? {
            self.put(checked)?;
        }
        Ok(verified.end()?)
    }

    fn put(&mut self, checked: Checked) -> anyhow::Result<()> {
        match &mut self.target {
            Target::Store(store) => {
                let outcomes = store.commit(&checked.events, &Nip09)?;
                outcomes
                    .into_iter()
                    .for_each(|each| self.tally.add_outcome(each));
            }
            Target::Bulk(loader) => {
                checked
                    .events
                    .iter()
                    .try_for_each(|event| loader.add(event))?;
            }
        }
        self.tally.events += checked.events.len() as u64;
        self.tally.add_unfit(checked.unfit);
        self.tally.end = checked.end;
        let now = Instant::now();
        if now.saturating_duration_since(self.noted) >= NOTE_INTERVAL {
            self.noted = now;
            self.note()?;
        }
        let (done, events) = (self.tally.end.offset, self.tally.events);
        self.progress.show(done, events, now);
        Ok(())
    }

    fn note(&self) -> anyhow::Result<()> {
        match (&self.bookmark, &self.target) {
            (Some(bookmark), Target::Store(store)) => bookmark.set(*store, self.tally.end),
            _ => Ok(()),
        }
    }

    fn told(&self) -> String {
        match self.target {
            Target::Store(_) => format!(
                "the import stopped after line {}; run the same command again to go on",
                grouped(self.tally.end.lines)
            ),
            Target::Bulk(_) => "nothing was imported".to_owned(),
        }
    }

    fn end(mut self, is_interrupted: bool) -> anyhow::Result<Tally> {
        if is_interrupted {
            self.note()?;
        } else if let (Some(bookmark), Target::Store(store)) = (&self.bookmark, &self.target) {
            bookmark.remove(*store)?;
        }
        if let Target::Bulk(loader) = self.target
            && !is_interrupted
        {
            eprintln!(
                "sorting the index of {}",
                counted(self.tally.events, "event")
            );
            self.tally.loaded = Some(loader.finish().context("nothing was imported")?);
        }
        self.tally.elapsed = self.progress.elapsed(Instant::now());
        Ok(self.tally)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use corecast_nostr::{Draft, Event, MemoryStore, Signer, StoreError};

    use super::*;

    fn event(kind: u16, number: u64) -> Event {
        Signer::new([1; 32]).expect("a key").sign(Draft {
            created_at: 1_700_000_000 + number,
            kind,
            content: format!("{number}"),
            ..Draft::default()
        })
    }

    fn rules() -> Rules {
        Rules {
            event_bytes_max: 10_000,
            is_trusted: false,
            urls: corecast_nostr::RelayUrls::default(),
            now: 1_800_000_000,
        }
    }

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("events.jsonl");
        fs::write(&path, text).expect("a file");
        (directory, path)
    }

    fn lines_of(events: &[Event]) -> String {
        events
            .iter()
            .map(|event| event.json().to_owned() + "\n")
            .collect()
    }

    #[test]
    fn the_report_says_what_became_of_each_line() {
        let store = MemoryStore::new(100);
        let [old, new, note] = [event(0, 1), event(0, 2), event(1, 3)];
        let ephemeral = event(20_000, 4);
        let mut text = lines_of(&[new, old, note]);
        text += "\nnonsense\n";
        text += &lines_of(&[ephemeral, event(1, 3)]);
        let (_directory, path) = file(&text);
        let source = Source::open(&path).expect("a file");
        let tally = import(
            Target::Store(&store),
            source,
            false,
            &rules(),
            &Interrupt::default(),
        );
        let tally = tally.expect("an import");
        let report = tally.report();
        let (_, rows) = report.split_once('\n').expect("rows");
        assert!(report.starts_with("7 lines in 0."), "{report}");
        let expected = "           2  stored
           1  stored before
           1  not stored: a newer version is
           1  left out
           1  refused
left out:
           1  ephemeral events are not stored: line 6
refused:
           1  an event is an object: line 5
";
        assert_eq!(rows, expected);
        assert_eq!(store.size().0, 2);
        // Nothing is left of it but the events.
        assert!(store.notes().expect("notes").is_empty());
    }

    #[test]
    fn an_interrupted_import_goes_on_where_it_stopped() {
        let events: Vec<Event> = (0..2_500).map(|number| event(1, number)).collect();
        let (_directory, path) = file(&lines_of(&events));
        let store = MemoryStore::new(10_000);
        let interrupt = Interrupt::default();
        let source = || Source::open(&path).expect("a file");
        let Source::File(_, bookmark, _) = source() else {
            panic!("not a file");
        };
        // As if it had been stopped after the first chunk.
        let first = lines_of(&events[..1_000]);
        let place = Place {
            offset: first.len() as u64,
            lines: 1_000,
        };
        bookmark.set(&store, place).expect("a note");
        let tally = import(Target::Store(&store), source(), false, &rules(), &interrupt)
            .expect("an import");
        assert_eq!((tally.stored, tally.end.lines), (1_500, 2_500));
        let tally = import(Target::Store(&store), source(), false, &rules(), &interrupt)
            .expect("an import");
        assert_eq!((tally.stored, tally.duplicate), (1_000, 1_500));
        // Stopped before the first chunk, and told to begin anew.
        interrupt.come();
        let tally =
            import(Target::Store(&store), source(), true, &rules(), &interrupt).expect("an import");
        assert_eq!(tally.end, Place::default());
        assert_eq!(store.notes().expect("notes").len(), 1);
    }

    /// A store that fails after some commits.
    struct Failing(MemoryStore, std::sync::atomic::AtomicUsize);

    #[test]
    fn a_failed_commit_says_after_which_line_it_stopped() {
        let events: Vec<Event> = (0..1_500).map(|number| event(1, number)).collect();
        let (_directory, path) = file(&lines_of(&events));
        let store = Failing(MemoryStore::new(10_000), 1.into());
        let source = Source::open(&path).expect("a file");
        let error = import(
            Target::Store(&store),
            source,
            false,
            &rules(),
            &Interrupt::default(),
        );
        let told = format!("{:#}", error.expect_err("it fails"));
        assert!(told.contains("stopped after line 1,000;"), "{told}");
        assert!(told.ends_with("the store: full"), "{told}");
        let source = Source::open(&path).expect("a file");
        store.1.store(9, std::sync::atomic::Ordering::Relaxed);
        let tally = import(
            Target::Store(&store),
            source,
            false,
            &rules(),
            &Interrupt::default(),
        );
        assert_eq!(tally.expect("an import").stored, 500);
    }

    impl Store for Failing {
        fn commit(
            &self,
            events: &[std::sync::Arc<Event>],
            rule: &dyn corecast_nostr::DeletionRule,
        ) -> Result<Vec<Outcome>, StoreError> {
            use std::sync::atomic::Ordering::Relaxed;
            if self
                .1
                .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1))
                .is_err()
            {
                return Err(StoreError("full".to_owned()));
            }
            self.0.commit(events, rule)
        }

        fn last_seq(&self) -> u64 {
            self.0.last_seq()
        }

        fn page(
            &self,
            query: &mut corecast_nostr::Query,
            rows: usize,
            bytes: usize,
            now: u64,
        ) -> Result<corecast_nostr::Page, StoreError> {
            self.0.page(query, rows, bytes, now)
        }

        fn since(
            &self,
            after: u64,
            rows: usize,
        ) -> Result<(Vec<corecast_nostr::Numbered>, u64), StoreError> {
            self.0.since(after, rows)
        }

        fn tidy(&self, now: u64) -> Result<usize, StoreError> {
            self.0.tidy(now)
        }

        fn size(&self) -> (usize, usize) {
            self.0.size()
        }

        fn notes(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
            self.0.notes()
        }

        fn set_note(&self, name: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
            self.0.set_note(name, value)
        }
    }
}
