//! The two databases of a store: the records with the marks, and the index that is derived from
//! them.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use redb::{
    Builder, Database, ReadOnlyTable, ReadableDatabase as _, ReadableTable as _, TableDefinition,
    WriteTransaction,
};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::change;
use super::layer::{Layer, Space};
use super::log::BatchNumber;
use super::opening::OpenError;
use crate::event::Event;
use crate::query::Seq;
use crate::store::StoreError;

pub(super) type Bytes = &'static [u8];

const RECORDS: TableDefinition<'_, Seq, Bytes> = TableDefinition::new("records");
const MARKS: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("marks");
const META: TableDefinition<'_, &str, Bytes> = TableDefinition::new("meta");
const INDEX: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("index");

/// Raised with each change of a key of the index, which is then rebuilt.
const INDEX_VERSION: u64 = 1;
/// Raised with each change of the records that an earlier version cannot read.
const RECORDS_VERSION: u64 = 1;

const RECORDS_FILE: &str = "records.redb";
const INDEX_FILE: &str = "index.redb";

pub(super) fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError(error.into().to_string())
}

/// Sums over a store's events.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Sums {
    pub(super) events: u64,
    /// Bytes of their JSON.
    pub(super) bytes: u64,
}

/// What is known about the records as of a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Checkpoint {
    pub(super) batch: BatchNumber,
    pub(super) seq: Seq,
    pub(super) sums: Sums,
}

/// The open databases.
pub(super) struct Tables {
    records: Database,
    index: Database,
    pub(super) store: [u8; 16],
}

/// Opened tables, and how far the index is.
pub(super) struct Opened {
    pub(super) tables: Tables,
    pub(super) checkpoint: Checkpoint,
    /// The last batch in the index; `None` if it has to be rebuilt.
    pub(super) index: Option<BatchNumber>,
}

fn open_file(path: &Path, cache_bytes: usize) -> Result<Database, OpenError> {
    // For its owner alone: there may be private messages in it.
    let mut file = OpenOptions::new();
    file.read(true).append(true).create(true).mode(0o600);
    file.open(path)
        .map_err(|error| OpenError::io(path, error))?;
    let opened = Builder::new().set_cache_size(cache_bytes).create(path);
    opened.map_err(|error| OpenError::of_database(path, error))
}

/// Whether the folder has the records of a store.
pub(super) fn has_records(folder: &Path) -> bool {
    folder.join(RECORDS_FILE).exists()
}

impl Tables {
    pub(super) fn open(folder: &Path, cache_bytes: usize) -> Result<Opened, OpenError> {
        let path = folder.join(RECORDS_FILE);
        // Lists of the index are read far more often than the records, which are large.
        let records = open_file(&path, cache_bytes / 4)?;
        let failed = |error: redb::Error| OpenError::damaged(&path, &error.to_string());
        let (store, checkpoint) = read_records(&records).map_err(failed)?;
        let store = match store {
            Some((store, RECORDS_VERSION)) => store,
            Some((_, version)) => {
                let what = format!("its version {version} is unknown to this program");
                return Err(OpenError::damaged(&path, &what));
            }
            None => begin_records(&records).map_err(failed)?,
        };
        drop_unfinished(&records, checkpoint.seq).map_err(failed)?;
        let (index, state) = open_index(folder, cache_bytes - cache_bytes / 4, &store)?;
        let tables = Tables {
            records,
            index,
            store,
        };
        Ok(Opened {
            tables,
            checkpoint,
            index: state,
        })
    }

    pub(super) fn read(&self) -> Result<Reading, StoreError> {
        let index = self.index.begin_read().map_err(failed)?;
        let records = self.records.begin_read().map_err(failed)?;
        Ok(Reading {
            index: index.open_table(INDEX).map_err(failed)?,
            records: records.open_table(RECORDS).map_err(failed)?,
            marks: records.open_table(MARKS).map_err(failed)?,
        })
    }

    /// Writes a layer into the tables: first into the index, so that the keys of a removed event
    /// can still be derived from its record if only this much is done.
    pub(super) fn apply(&self, layer: &Layer, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        self.apply_index(layer, checkpoint.batch)
            .map_err(|e| StoreError(e.to_string()))?;
        self.apply_records(layer, checkpoint)
            .map_err(|e| StoreError(e.to_string()))
    }

    fn apply_index(&self, layer: &Layer, batch: BatchNumber) -> Result<(), redb::Error> {
        let transaction = begin(&self.index)?;
        {
            let mut table = transaction.open_table(INDEX)?;
            for (key, value) in &layer.index {
                match value {
                    Some(value) => drop(table.insert(&**key, &**value)?),
                    None => drop(table.remove(&**key)?),
                }
            }
        }
        set_index_state(&transaction, &self.store, batch)?;
        Ok(transaction.commit()?)
    }

    fn apply_records(&self, layer: &Layer, checkpoint: &Checkpoint) -> Result<(), redb::Error> {
        let transaction = begin(&self.records)?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for (seq, event) in &layer.events {
                match event {
                    Some(event) => drop(table.insert(seq, event.json().as_bytes())?),
                    None => drop(table.remove(seq)?),
                }
            }
            let mut table = transaction.open_table(MARKS)?;
            for (key, value) in &layer.marks {
                match value {
                    Some(value) => drop(table.insert(&**key, &**value)?),
                    None => drop(table.remove(&**key)?),
                }
            }
        }
        set_checkpoint(&transaction, checkpoint)?;
        Ok(transaction.commit()?)
    }

    /// Inserts records in order of their numbers, without the index. They are not durable, and do
    /// not count before [`Tables::end_bulk`].
    pub(super) fn append_records(&self, records: &[(Seq, Box<[u8]>)]) -> Result<(), StoreError> {
        let append = || -> Result<(), redb::Error> {
            let mut transaction = self.records.begin_write()?;
            transaction.set_durability(redb::Durability::None)?;
            {
                let mut table = transaction.open_table(RECORDS)?;
                for (seq, json) in records {
                    table.insert(seq, &**json)?;
                }
            }
            Ok(transaction.commit()?)
        };
        append().map_err(|error| StoreError(error.to_string()))
    }

    /// Removes records, and makes the rest durable. `sums` are those of all records with them.
    pub(super) fn end_bulk(
        &self,
        removed: impl IntoIterator<Item = Seq>,
        checkpoint: &mut Checkpoint,
    ) -> Result<(), StoreError> {
        let end = || -> Result<(), redb::Error> {
            let transaction = begin(&self.records)?;
            {
                let mut table = transaction.open_table(RECORDS)?;
                for seq in removed {
                    if let Some(json) = table.remove(seq)? {
                        checkpoint.sums.events -= 1;
                        checkpoint.sums.bytes -= json.value().len() as u64;
                    }
                }
            }
            set_checkpoint(&transaction, checkpoint)?;
            Ok(transaction.commit()?)
        };
        end().map_err(|error| StoreError(error.to_string()))
    }

    /// Replaces the index by one with these pairs, which are in order.
    pub(super) fn replace_index(
        &mut self,
        folder: &Path,
        cache_bytes: usize,
        batch: BatchNumber,
        next: &mut dyn FnMut() -> Result<Option<(Vec<u8>, Vec<u8>)>, StoreError>,
    ) -> Result<(), OpenError> {
        let (path, unfinished) = (folder.join(INDEX_FILE), folder.join("index.tmp"));
        let index = new_index(&unfinished, cache_bytes)?;
        let damaged = |what: String| OpenError::damaged(&path, &what);
        let mut is_done = false;
        while !is_done {
            let mut pairs = Vec::with_capacity(PAIRS_AT_ONCE);
            while pairs.len() < PAIRS_AT_ONCE && !is_done {
                match next().map_err(|StoreError(what)| damaged(what))? {
                    Some(pair) => pairs.push(pair),
                    None => is_done = true,
                }
            }
            let state = is_done.then_some((&self.store, batch));
            append_index(&index, &pairs, state).map_err(|error| damaged(error.to_string()))?;
        }
        drop(index);
        std::fs::rename(unfinished, &path).map_err(|error| OpenError::io(&path, error))?;
        self.index = open_file(&path, cache_bytes)?;
        Ok(())
    }
}

/// Pairs that are written into a new index in one transaction.
const PAIRS_AT_ONCE: usize = 100_000;

/// Inserts pairs at the end of an index. With `state` they are the last ones, and all is durable.
fn append_index(
    index: &Database,
    pairs: &[(Vec<u8>, Vec<u8>)],
    state: Option<(&[u8; 16], BatchNumber)>,
) -> Result<(), redb::Error> {
    let mut transaction = index.begin_write()?;
    match state {
        Some((store, batch)) => {
            transaction.set_quick_repair(true);
            set_index_state(&transaction, store, batch)?;
        }
        None => transaction.set_durability(redb::Durability::None)?,
    }
    {
        let mut table = transaction.open_table(INDEX)?;
        for (key, value) in pairs {
            table.insert(&**key, &**value)?;
        }
    }
    Ok(transaction.commit()?)
}

/// A transaction after which a restart need not walk the file, even after a kill.
fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

type Identity = ([u8; 16], u64);

fn read_records(records: &Database) -> Result<(Option<Identity>, Checkpoint), redb::Error> {
    let transaction = records.begin_read()?;
    let table = match transaction.open_table(META) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok((None, Checkpoint::default())),
        Err(error) => return Err(error.into()),
    };
    let store = table
        .get("store")?
        .and_then(|value| value.value().try_into().ok());
    let Some(store) = store else {
        return Err(redb::Error::Corrupted(
            "the store's identity is missing".to_owned(),
        ));
    };
    let number = |name| -> Result<u64, redb::Error> {
        let value = table.get(name)?;
        let number = value.and_then(|value| value.value().try_into().ok());
        number
            .map(u64::from_be_bytes)
            .ok_or_else(|| redb::Error::Corrupted(format!("{name} is missing")))
    };
    let checkpoint = Checkpoint {
        batch: number("batch")?,
        seq: number("seq")?,
        sums: Sums {
            events: number("events")?,
            bytes: number("bytes")?,
        },
    };
    Ok((Some((store, number("version")?)), checkpoint))
}

fn begin_records(records: &Database) -> Result<[u8; 16], redb::Error> {
    let mut store = [0; 16];
    let random = SystemRandom::new().fill(&mut store);
    random.map_err(|_| redb::Error::Io(std::io::Error::other("no random numbers")))?;
    let transaction = begin(records)?;
    {
        transaction.open_table(RECORDS)?;
        transaction.open_table(MARKS)?;
        let mut table = transaction.open_table(META)?;
        table.insert("store", &store[..])?;
        table.insert("version", &RECORDS_VERSION.to_be_bytes()[..])?;
    }
    set_checkpoint(&transaction, &Checkpoint::default())?;
    transaction.commit()?;
    Ok(store)
}

/// Removes what a bulk load has left that was not finished.
fn drop_unfinished(records: &Database, last: Seq) -> Result<(), redb::Error> {
    let table = records.begin_read()?.open_table(RECORDS)?;
    if table.last()?.is_none_or(|(seq, _)| seq.value() <= last) {
        return Ok(());
    }
    drop(table);
    let transaction = begin(records)?;
    transaction
        .open_table(RECORDS)?
        .retain_in(last + 1.., |_, _| false)?;
    Ok(transaction.commit()?)
}

fn set_checkpoint(
    transaction: &WriteTransaction,
    checkpoint: &Checkpoint,
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(META)?;
    for (name, value) in [
        ("batch", checkpoint.batch),
        ("seq", checkpoint.seq),
        ("events", checkpoint.sums.events),
        ("bytes", checkpoint.sums.bytes),
    ] {
        table.insert(name, &value.to_be_bytes()[..])?;
    }
    Ok(())
}

fn index_state(store: &[u8; 16], batch: BatchNumber) -> Vec<u8> {
    [
        &INDEX_VERSION.to_be_bytes()[..],
        store,
        &batch.to_be_bytes(),
    ]
    .concat()
}

fn set_index_state(
    transaction: &WriteTransaction,
    store: &[u8; 16],
    batch: BatchNumber,
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(META)?;
    table.insert("state", &index_state(store, batch)[..])?;
    Ok(())
}

fn read_index(index: &Database, store: &[u8; 16]) -> Result<Option<BatchNumber>, redb::Error> {
    let transaction = index.begin_read()?;
    let table = match transaction.open_table(META) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(state) = table.get("state")? else {
        return Ok(None);
    };
    let state = state.value();
    let batch = state
        .last_chunk::<8>()
        .map(|batch| u64::from_be_bytes(*batch));
    Ok(batch.filter(|batch| index_state(store, *batch) == state))
}

/// Opens the index. One that cannot be read is replaced by an empty one.
fn open_index(
    folder: &Path,
    cache_bytes: usize,
    store: &[u8; 16],
) -> Result<(Database, Option<BatchNumber>), OpenError> {
    let path = folder.join(INDEX_FILE);
    match open_file(&path, cache_bytes) {
        Ok(index) => {
            if let Ok(Some(batch)) = read_index(&index, store) {
                return Ok((index, Some(batch)));
            }
        }
        Err(OpenError::Damaged { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok((new_index(&path, cache_bytes)?, None))
}

fn new_index(path: &Path, cache_bytes: usize) -> Result<Database, OpenError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(OpenError::io(path, error));
        }
        _ => {}
    }
    let index = open_file(path, cache_bytes)?;
    let begin = || -> Result<(), redb::Error> {
        let transaction = begin(&index)?;
        transaction.open_table(INDEX)?;
        Ok(transaction.commit()?)
    };
    begin().map_err(|error| OpenError::damaged(path, &error.to_string()))?;
    Ok(index)
}

/// The event of a record.
pub(super) fn parsed(seq: Seq, json: &[u8]) -> Result<Event, StoreError> {
    change::event(json).ok_or_else(|| StoreError(format!("record {seq} is damaged")))
}

/// The tables as of the moment of reading.
pub(super) struct Reading {
    index: ReadOnlyTable<Bytes, Bytes>,
    marks: ReadOnlyTable<Bytes, Bytes>,
    records: ReadOnlyTable<Seq, Bytes>,
}

/// Rows of a table, in order.
pub(super) type Stored = redb::Range<'static, Bytes, Bytes>;

impl Reading {
    fn of(&self, space: Space) -> &ReadOnlyTable<Bytes, Bytes> {
        match space {
            Space::Index => &self.index,
            Space::Marks => &self.marks,
        }
    }

    pub(super) fn get(&self, space: Space, key: &[u8]) -> Result<Option<Box<[u8]>>, StoreError> {
        let value = self.of(space).get(key).map_err(failed)?;
        Ok(value.map(|value| value.value().into()))
    }

    pub(super) fn range(
        &self,
        space: Space,
        range: (std::ops::Bound<&[u8]>, std::ops::Bound<&[u8]>),
    ) -> Result<Stored, StoreError> {
        self.of(space).range::<&[u8]>(range).map_err(failed)
    }

    pub(super) fn event(&self, seq: Seq) -> Result<Option<Event>, StoreError> {
        let Some(json) = self.records.get(seq).map_err(failed)? else {
            return Ok(None);
        };
        parsed(seq, json.value()).map(Some)
    }

    /// All pairs of the index, in order.
    pub(super) fn index_pairs(&self) -> Result<Stored, StoreError> {
        self.range(
            Space::Index,
            (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded),
        )
    }

    /// Records above `after`, in order.
    pub(super) fn records_after(
        &self,
        after: Seq,
    ) -> Result<redb::Range<'static, Seq, Bytes>, StoreError> {
        let range = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        self.records.range::<Seq>(range).map_err(failed)
    }
}
