//! A store on disk.
//!
//! A folder has a log, `records.redb` and `index.redb`. A commit is decided on in memory, becomes
//! durable as one batch of the log, and then counts: as a layer in memory over the two databases. A
//! thread writes layers into the databases, in order of keys, so a commit never waits for that
//! unless it is far behind. A layer's part of the log is needed until then.
//!
//! The index is derived from the records and is rebuilt if it is missing, damaged, or of another
//! version. Records are the truth: a store whose records or log are damaged does not start.

mod bulk;
mod change;
mod check;
mod keys;
mod layer;
mod log;
mod opening;
mod read;
mod rebuild;
mod sort;
mod state;
mod tables;
mod view;
mod write;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use self::bulk::{BulkLoader, BulkReport};
pub use self::check::{CheckReport, Statistics};
use self::keys::mark;
use self::layer::Space;
use self::log::{Log, LogError};
pub use self::opening::{DiskOptions, OpenError};
use self::read::Reader;
use self::state::{Flushing, State, Vanishing};
use self::tables::{Checkpoint, Tables};
use self::view::View;
use self::write::Draft;
use super::{DeletionRule, Items, Numbered, Outcome, Store, StoreError};
use crate::event::Event;
use crate::query::{Page, Query, Seq};

/// Events that are removed in one batch: expired ones, and those of authors who have vanished.
const TIDIED_PER_BATCH: usize = 1_024;

/// Interval between two looks at whether a checkpoint is due.
const CHECKPOINT_LOOK: Duration = Duration::from_secs(1);

/// Durations of checkpoints that are kept until they are taken.
const DURATIONS_MAX: usize = 64;

/// A checkpoint that is still running while the next one is due holds up commits once there are so
/// many times as many changes.
const BEHIND_MAX: usize = 4;

/// Keeps events in a folder.
pub struct DiskStore {
    shared: Arc<Shared>,
    checkpoints: Option<JoinHandle<()>>,
}

/// State that the writer, readers and the thread that makes checkpoints share.
struct Shared {
    folder: PathBuf,
    options: DiskOptions,
    /// `None` only while they are opened again after a failure.
    tables: RwLock<Option<Tables>>,
    state: Mutex<State>,
    /// The state has changed in a way that somebody waits for.
    changed: Condvar,
    /// Held while something is decided on and written.
    writer: Mutex<Writer>,
    /// Held while files of the log are made, renamed or removed: two threads must not use one spare
    /// file at a time.
    files: Mutex<()>,
    /// Durations of checkpoints, for the metrics.
    durations: Mutex<Vec<Duration>>,
}

struct Writer {
    log: Log,
    /// Whether the last batch may be half written.
    is_log_broken: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DiskStore {
    /// Opens the store in `folder`, which is created if it does not exist. Changes in the log past
    /// the last checkpoint are replayed; an index that cannot be used is rebuilt first, which takes
    /// about 20 µs an event.
    ///
    /// # Errors
    ///
    /// Another process has it open, or its records or log are damaged or cannot be read or written.
    pub fn open(folder: &Path, options: &DiskOptions) -> Result<DiskStore, OpenError> {
        let shared = Arc::new(Shared::open(folder, options)?);
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new().name("nostr-checkpoint".to_owned());
        let thread = thread.spawn(move || own.make_checkpoints());
        let thread = thread.map_err(|error| OpenError::io(folder, error))?;
        Ok(DiskStore {
            shared,
            checkpoints: Some(thread),
        })
    }

    /// Makes a checkpoint now, and waits until it is done.
    ///
    /// # Errors
    ///
    /// The databases cannot be written.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        self.shared.begin_checkpoint()?;
        self.shared.wait_for_checkpoint()
    }

    /// Calls `take` with all events after number `after`, in order of their numbers. Events that
    /// come meanwhile may be included.
    ///
    /// # Errors
    ///
    /// The records cannot be read, or `take` has failed.
    pub fn export(
        &self,
        after: Seq,
        take: &mut dyn FnMut(Seq, &Event) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        const ROWS: usize = 256;
        let mut after = after;
        loop {
            let (found, end) = self.since(after, ROWS)?;
            let is_last = found.len() < ROWS;
            found
                .iter()
                .try_for_each(|(seq, event)| take(*seq, event))?;
            after = end;
            if is_last {
                return Ok(());
            }
        }
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        lock(&self.shared.state).is_closing = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.checkpoints.take() {
            // It has nothing to say if it has panicked.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn open(folder: &Path, options: &DiskOptions) -> Result<Shared, OpenError> {
        create_folder(folder).map_err(|error| OpenError::io(folder, error))?;
        let is_new = !tables::has_records(folder);
        let mut opened = Tables::open(folder, options.cache_bytes)?;
        let log_failed = |error: LogError| match error {
            LogError::Io(error) => OpenError::io(folder, error),
            LogError::Damaged { path, what } => OpenError::damaged(&path, &what),
        };
        let files = log::files(folder).map_err(|error| OpenError::io(folder, error))?;
        if is_new && !files.is_empty() {
            let what = "there is a log, but records.redb is missing";
            return Err(OpenError::damaged(folder, what));
        }
        let checkpoint = opened.checkpoint;
        let done = checkpoint.batch;
        let mut batches = Vec::new();
        let store = opened.tables.store;
        let last = log::replay(folder, &store, done, |number, payload| {
            let changes = change::decode(payload).ok_or_else(|| LogError::Damaged {
                path: folder.to_owned(),
                what: format!("batch {number} of the log cannot be read"),
            })?;
            batches.extend(changes);
            Ok(())
        });
        let last = last.map_err(log_failed)?;
        // An index that is behind the records, or ahead of the log, belongs to another state of
        // them.
        if !opened
            .index
            .is_some_and(|index| (done..=last).contains(&index))
        {
            rebuild::index(&mut opened.tables, folder, options.cache_bytes, done)?;
        }
        let log = Log::begin(folder, store, options.log_bytes, last + 1);
        let log = log.map_err(|error| OpenError::io(folder, error))?;
        let shared = Shared {
            folder: folder.to_owned(),
            options: options.clone(),
            tables: RwLock::new(Some(opened.tables)),
            state: Mutex::default(),
            changed: Condvar::new(),
            writer: Mutex::new(Writer {
                log,
                is_log_broken: false,
            }),
            files: Mutex::default(),
            durations: Mutex::default(),
        };
        let replayed = shared.replay(&checkpoint, &batches);
        replayed.map_err(|StoreError(what)| OpenError::damaged(folder, &what))?;
        Ok(shared)
    }

    fn replay(
        &self,
        checkpoint: &Checkpoint,
        batches: &[change::Change],
    ) -> Result<(), StoreError> {
        let view = self.view()?;
        let mut vanishing = Vanishing::default();
        for (key, until) in view.with_prefix(Space::Marks, &mark::all_vanishing())? {
            if let Some(key) = mark::vanishing_key(&key) {
                vanishing.set(key, write::time(&until));
            }
        }
        let mut draft = Draft::new(view, checkpoint.seq, checkpoint.sums, vanishing);
        batches.iter().try_for_each(|change| draft.repeat(change))?;
        self.publish(draft);
        Ok(())
    }

    /// The store as it is now.
    fn view(&self) -> Result<View, StoreError> {
        // In this order: what leaves a layer is in the tables by then.
        let layers = lock(&self.state).layers();
        self.view_of(layers)
    }

    fn view_of(&self, layers: Vec<view::SharedLayer>) -> Result<View, StoreError> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let tables = tables
            .as_ref()
            .ok_or_else(|| StoreError("it is being reopened".to_owned()))?;
        Ok(View {
            layers,
            tables: tables.read()?,
        })
    }

    fn read<T>(
        &self,
        now: u64,
        read: impl FnOnce(&Reader<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let state = lock(&self.state);
        let (layers, vanishing) = (state.layers(), state.vanishing.clone());
        drop(state);
        let view = self.view_of(layers)?;
        read(&Reader {
            view: &view,
            vanishing: &vanishing,
            now,
        })
    }

    fn draft(&self) -> Result<Draft, StoreError> {
        let state = lock(&self.state);
        if let Some(failure) = &state.failure {
            return Err(StoreError(failure.clone()));
        }
        let (layers, last_seq, sums) = (state.layers(), state.last_seq, state.sums);
        let vanishing = state.vanishing.clone();
        drop(state);
        Ok(Draft::new(self.view_of(layers)?, last_seq, sums, vanishing))
    }

    /// Makes the changes of a draft durable, and then visible.
    fn commit(&self, writer: &mut Writer, draft: Draft) -> Result<(), StoreError> {
        if draft.changes.is_empty() {
            return Ok(());
        }
        if let Err(error) = writer.log.append(&change::encode(&draft.changes)) {
            writer.is_log_broken = true;
            return Err(self.fail(format!("the log cannot be written: {error}")));
        }
        self.publish(draft);
        Ok(())
    }

    fn publish(&self, draft: Draft) {
        let (last_seq, sums, vanishing) = (draft.last_seq, draft.sums, draft.vanishing.clone());
        let layer = draft.into_layer();
        let mut state = lock(&self.state);
        write::write(&state.active).absorb(layer);
        state.last_seq = last_seq;
        state.sums = sums;
        state.vanishing = vanishing;
        state.last_change = Some(Instant::now());
    }

    fn fail(&self, what: String) -> StoreError {
        lock(&self.state).failure = Some(what.clone());
        self.changed.notify_all();
        StoreError(what)
    }

    /// How full the active layer is: 1 or more if a checkpoint is due.
    fn fill(&self, writer: &Writer) -> usize {
        let active = Arc::clone(&lock(&self.state).active);
        let active = view::read(&active);
        let by_changes = active.changes / self.options.checkpoint_changes.max(1);
        let by_bytes = active.bytes / self.options.checkpoint_bytes.max(1);
        by_changes
            .max(by_bytes)
            .max(usize::from(writer.log.is_full()))
    }

    /// Begins a checkpoint if one is due, and waits if the last one is far behind.
    fn make_room(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let fill = self.fill(writer);
        if fill >= BEHIND_MAX {
            self.wait_for_checkpoint()?;
        }
        if fill >= 1 {
            self.rotate(writer)?;
        }
        Ok(())
    }

    fn begin_checkpoint(&self) -> Result<(), StoreError> {
        self.wait_for_checkpoint()?;
        self.rotate(&mut lock(&self.writer))
    }

    /// Hands the active layer to the thread that makes checkpoints, unless it has one already.
    fn rotate(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let is_due = {
            let state = lock(&self.state);
            state.flushing.is_none() && view::read(&state.active).changes > 0
        };
        if !is_due {
            return Ok(());
        }
        let rotated = {
            let _files = lock(&self.files);
            writer.log.rotate()
        };
        if let Err(error) = rotated {
            return Err(self.fail(format!("a new log cannot be begun: {error}")));
        }
        let next = writer.log.next();
        let mut state = lock(&self.state);
        let layer = std::mem::take(&mut state.active);
        let checkpoint = Checkpoint {
            batch: next - 1,
            seq: state.last_seq,
            sums: state.sums,
        };
        state.flushing = Some(Flushing {
            layer,
            checkpoint,
            next,
        });
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// The same, unless something is being written: whoever writes may wait for a checkpoint.
    fn rotate_if_free(&self) -> Result<(), StoreError> {
        match self.writer.try_lock() {
            Ok(mut writer) => self.rotate(&mut writer),
            Err(TryLockError::Poisoned(writer)) => self.rotate(&mut writer.into_inner()),
            Err(TryLockError::WouldBlock) => Ok(()),
        }
    }

    fn wait_for_checkpoint(&self) -> Result<(), StoreError> {
        let is_waiting = |state: &mut State| state.flushing.is_some() && state.failure.is_none();
        let state = self.changed.wait_while(lock(&self.state), is_waiting);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        state
            .failure
            .clone()
            .map_or(Ok(()), |failure| Err(StoreError(failure)))
    }

    /// Writes the layer that waits for it into the tables.
    fn flush(&self) -> Result<(), StoreError> {
        let Some(Flushing {
            layer,
            checkpoint,
            next,
        }) = lock(&self.state).flushing.clone()
        else {
            return Ok(());
        };
        let begin = Instant::now();
        {
            let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
            let tables = tables.as_ref();
            let tables = tables.ok_or_else(|| StoreError("it is closed".to_owned()))?;
            tables.apply(&view::read(&layer), &checkpoint)?;
        }
        lock(&self.state).flushing = None;
        self.changed.notify_all();
        let mut durations = lock(&self.durations);
        if durations.len() < DURATIONS_MAX {
            durations.push(begin.elapsed());
        }
        drop(durations);
        // A file that stays is removed after the next checkpoint; one that is missing is made when
        // it is needed, which reports errors.
        let bytes = self.options.log_bytes;
        let _files = lock(&self.files);
        let _ = log::remove_until(&self.folder, bytes, next)
            .and_then(|()| log::prepare(&self.folder, bytes));
        Ok(())
    }

    /// Until the store is closed.
    fn make_checkpoints(&self) {
        let is_idle = |state: &mut State| {
            !state.is_closing && (state.flushing.is_none() || state.failure.is_some())
        };
        loop {
            let state = lock(&self.state);
            let waited = self
                .changed
                .wait_timeout_while(state, CHECKPOINT_LOOK, is_idle);
            let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            let (is_closing, has_failed) = (state.is_closing, state.failure.is_some());
            let is_due = state.flushing.is_some();
            let is_quiet = state
                .last_change
                .is_some_and(|at| at.elapsed() >= self.options.idle);
            drop(state);
            let done = match (has_failed, is_due) {
                (true, _) => self.recover(),
                (false, true) => self.flush(),
                (false, false) if is_closing || is_quiet => self.rotate_if_free(),
                (false, false) => Ok(()),
            };
            if let Err(StoreError(what)) = &done {
                let _ = self.fail(what.clone());
            }
            let is_done = lock(&self.state).flushing.is_none() || done.is_err();
            if is_closing && is_done {
                return;
            }
        }
    }

    /// Makes the store usable again after a failure, as far as possible.
    fn recover(&self) -> Result<(), StoreError> {
        let mut writer = lock(&self.writer);
        if lock(&self.state).failure.is_none() {
            return Ok(());
        }
        let failed = |error: io::Error| StoreError(format!("the log cannot be written: {error}"));
        {
            let _files = lock(&self.files);
            log::prepare(&self.folder, self.options.log_bytes).map_err(failed)?;
            if writer.is_log_broken {
                // It takes the place of the batch that has failed, whatever there is of it.
                writer.log = writer.log.again().map_err(failed)?;
                writer.is_log_broken = false;
            }
        }
        self.reopen()?;
        if let Err(error) = self.flush() {
            // Reads go on.
            self.reopen()?;
            return Err(error);
        }
        lock(&self.state).failure = None;
        self.changed.notify_all();
        Ok(())
    }

    /// Opens the databases again: they refuse everything once a write has failed.
    fn reopen(&self) -> Result<(), StoreError> {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        *tables = None;
        let opened = Tables::open(&self.folder, self.options.cache_bytes);
        let opened = opened.map_err(|error| StoreError(error.to_string()))?;
        if opened.index.is_none() {
            return Err(StoreError(
                "the index is damaged; a restart rebuilds it".to_owned(),
            ));
        }
        *tables = Some(opened.tables);
        Ok(())
    }
}

impl Store for DiskStore {
    fn commit(
        &self,
        events: &[Arc<Event>],
        rule: &dyn DeletionRule,
    ) -> Result<Vec<Outcome>, StoreError> {
        let mut writer = lock(&self.shared.writer);
        self.shared.make_room(&mut writer)?;
        let mut draft = self.shared.draft()?;
        let outcomes = events.iter().map(|event| draft.store(event, rule));
        let outcomes: Vec<Outcome> = outcomes.collect::<Result<_, _>>()?;
        self.shared.commit(&mut writer, draft)?;
        Ok(outcomes)
    }

    fn last_seq(&self) -> Seq {
        lock(&self.shared.state).last_seq
    }

    fn page(
        &self,
        query: &mut Query,
        rows: usize,
        bytes: usize,
        now: u64,
    ) -> Result<Page, StoreError> {
        self.shared
            .read(now, |reader| reader.page(query, rows, bytes))
    }

    fn items(&self, query: &mut Query, rows: usize, now: u64) -> Result<Items, StoreError> {
        self.shared.read(now, |reader| reader.items(query, rows))
    }

    fn since(&self, after: Seq, rows: usize) -> Result<(Vec<Numbered>, Seq), StoreError> {
        let last_seq = self.last_seq();
        self.shared
            .read(0, |reader| reader.since(after, rows, last_seq))
    }

    fn tidy(&self, now: u64) -> Result<usize, StoreError> {
        let mut writer = lock(&self.shared.writer);
        self.shared.make_room(&mut writer)?;
        let mut draft = self.shared.draft()?;
        let expired = draft.remove_expired(now, TIDIED_PER_BATCH)?;
        let vanished = draft.remove_vanished(TIDIED_PER_BATCH - expired)?;
        self.shared.commit(&mut writer, draft)?;
        Ok(expired + vanished)
    }

    fn size(&self) -> (usize, usize) {
        let sums = lock(&self.shared.state).sums;
        let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
        (number(sums.events), number(sums.bytes))
    }

    fn notes(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let prefix = mark::all_notes();
        let notes = self.shared.view()?.with_prefix(Space::Marks, &prefix)?;
        let notes = notes.into_iter().map(|(key, value)| {
            let name = String::from_utf8_lossy(&key[prefix.len()..]);
            (name.into_owned(), value.into_vec())
        });
        Ok(notes.collect())
    }

    fn set_note(&self, name: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
        let mut writer = lock(&self.shared.writer);
        self.shared.make_room(&mut writer)?;
        let mut draft = self.shared.draft()?;
        draft.set_mark(mark::note(name), value);
        self.shared.commit(&mut writer, draft)
    }

    fn take_checkpoints(&self) -> Vec<Duration> {
        std::mem::take(&mut *lock(&self.shared.durations))
    }

    fn recover(&self) -> Result<(), StoreError> {
        self.shared.recover()
    }
}

/// Creates the folder of a store, for its owner alone: it may hold private messages.
fn create_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

#[cfg(test)]
mod tests;
