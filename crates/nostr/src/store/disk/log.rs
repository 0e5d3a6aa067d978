//! The log: each commit is one batch, durable by one `fdatasync` before it is acknowledged.
//!
//! A log is a row of files. A file is filled with zeros before it is used, and used again later:
//! then `fdatasync` need not wait for the file system's own journal. After the last
//! batch, a file therefore has zeros, or older batches, whose numbers are too low to be the next.
//!
//! A batch at the end that fails its checksum was never acknowledged, and is dropped. A batch that
//! fails it while a later one is whole was damaged: the store does not start with it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};

/// Batches begin at multiples of this.
const ALIGNMENT: u64 = 16;

const MAGIC: &[u8; 8] = b"ccnlog01";
const FILE_HEADER: u64 = 48;
const BATCH_HEADER: usize = 28;
const SUM: usize = 16;
const SPARE: &str = "spare.log";

/// The number of a batch. The first is 1.
pub(super) type BatchNumber = u64;

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{path}: {what}")]
    Damaged { path: PathBuf, what: String },
}

/// The log of a store, open for writing.
pub(super) struct Log {
    folder: PathBuf,
    store: [u8; 16],
    file_bytes: u64,
    file: File,
    end: u64,
    next: BatchNumber,
}

fn path_of(folder: &Path, first: BatchNumber) -> PathBuf {
    folder.join(format!("log-{first:020}.log"))
}

impl Log {
    /// Begins a new file, whose first batch has number `next`. Batches with that number and above
    /// in earlier files do not count any more. A file is filled up to `file_bytes` before it is
    /// used; a batch may go past that.
    pub(super) fn begin(
        folder: &Path,
        store: [u8; 16],
        file_bytes: u64,
        next: BatchNumber,
    ) -> Result<Log, io::Error> {
        prepare(folder, file_bytes)?;
        let spare = folder.join(SPARE);
        let file = OpenOptions::new().read(true).write(true).open(&spare)?;
        file.write_all_at(&file_header(&store, next), 0)?;
        file.sync_data()?;
        fs::rename(spare, path_of(folder, next))?;
        File::open(folder)?.sync_all()?;
        Ok(Log {
            folder: folder.to_owned(),
            store,
            file_bytes,
            file,
            end: FILE_HEADER,
            next,
        })
    }

    /// The number of the next batch.
    pub(super) fn next(&self) -> BatchNumber {
        self.next
    }

    /// Whether this file is as large as it should become.
    pub(super) fn is_full(&self) -> bool {
        self.end >= self.file_bytes
    }

    /// Appends a batch. It is durable when this returns.
    pub(super) fn append(&mut self, payload: &[u8]) -> Result<BatchNumber, io::Error> {
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let mut bytes = Vec::with_capacity(BATCH_HEADER + payload.len());
        bytes.extend(length.to_be_bytes());
        bytes.extend(self.next.to_be_bytes());
        bytes.extend(checksum(&self.store, self.next, payload));
        bytes.extend_from_slice(payload);
        self.file.write_all_at(&bytes, self.end)?;
        self.file.sync_data()?;
        let number = self.next;
        self.end += (bytes.len() as u64).next_multiple_of(ALIGNMENT);
        self.next += 1;
        Ok(number)
    }

    /// Begins the next file.
    pub(super) fn rotate(&mut self) -> Result<(), io::Error> {
        if self.end > FILE_HEADER {
            *self = Log::begin(&self.folder, self.store, self.file_bytes, self.next)?;
        }
        Ok(())
    }

    /// A new file that begins with the batch that this one was to write next.
    pub(super) fn again(&self) -> Result<Log, io::Error> {
        Log::begin(&self.folder, self.store, self.file_bytes, self.next)
    }
}

/// Prepares the file that is used next, unless it exists.
pub(super) fn prepare(folder: &Path, file_bytes: u64) -> Result<(), io::Error> {
    let spare = folder.join(SPARE);
    if spare.exists() {
        return Ok(());
    }
    let unfinished = folder.join("spare.tmp");
    let file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&unfinished)?;
    let zeros = vec![0; 64 << 10];
    for at in (0..file_bytes).step_by(zeros.len()) {
        file.write_all_at(&zeros, at)?;
    }
    file.sync_all()?;
    fs::rename(unfinished, spare)
}

/// Removes the files whose batches are all below `first`, and keeps one for later use.
pub(super) fn remove_until(
    folder: &Path,
    file_bytes: u64,
    first: BatchNumber,
) -> Result<(), io::Error> {
    let files = files(folder)?;
    let old = files.iter().filter(|(number, _)| *number < first);
    for (_, path) in old {
        let spare = folder.join(SPARE);
        match spare.exists() || fs::metadata(path)?.len() > 2 * file_bytes {
            true => fs::remove_file(path)?,
            false => fs::rename(path, spare)?,
        }
    }
    Ok(())
}

/// The files of a log and their first batches, in order.
pub(super) fn files(folder: &Path) -> Result<Vec<(BatchNumber, PathBuf)>, io::Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_prefix("log-")?.strip_suffix(".log"));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            files.push((number, path));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Reads the batches after number `done`, in order, and returns the number of the last batch.
pub(super) fn replay<E: From<LogError>>(
    folder: &Path,
    store: &[u8; 16],
    done: BatchNumber,
    mut take: impl FnMut(BatchNumber, &[u8]) -> Result<(), E>,
) -> Result<BatchNumber, E> {
    let files = files(folder).map_err(LogError::from)?;
    let mut last = done;
    for (index, (first, path)) in files.iter().enumerate() {
        let bytes = fs::read(path).map_err(LogError::from)?;
        let damaged = |what: &str| LogError::Damaged {
            path: path.clone(),
            what: what.to_owned(),
        };
        if bytes.get(..FILE_HEADER as usize) != Some(&file_header(store, *first)[..]) {
            return Err(damaged("this is not a log of this store").into());
        }
        if *first > last + 1 {
            return Err(damaged("the log before this file is missing").into());
        }
        // A file that was begun after a failure replaces the end of the one before it.
        let end = files.get(index + 1).map(|(next, _)| *next);
        let mut reader = Reader {
            bytes: &bytes,
            at: FILE_HEADER as usize,
            next: *first,
        };
        while end.is_none_or(|end| reader.next < end) {
            let number = reader.next;
            let Some(payload) = reader.batch(store) else {
                break;
            };
            if number > last {
                take(number, payload)?;
                last = number;
            }
        }
        let is_short = end.is_some_and(|end| reader.next.max(done + 1) < end);
        if is_short || end.is_none() && reader.has_later(store) {
            let what = format!("batch {} is damaged", reader.next);
            return Err(damaged(&what).into());
        }
    }
    Ok(last)
}

/// Reads a file.
struct Reader<'f> {
    bytes: &'f [u8],
    at: usize,
    next: BatchNumber,
}

impl<'f> Reader<'f> {
    /// The next batch; `None` if it is not whole.
    fn batch(&mut self, store: &[u8; 16]) -> Option<&'f [u8]> {
        let (number, payload) = batch_at(self.bytes.get(self.at..)?, store, |number| {
            number == self.next
        })?;
        self.next = number + 1;
        self.at += (BATCH_HEADER + payload.len()).next_multiple_of(ALIGNMENT as usize);
        Some(payload)
    }

    /// Whether a whole batch follows that is later than the one expected here.
    fn has_later(&self, store: &[u8; 16]) -> bool {
        let places = (self.at..self.bytes.len()).step_by(ALIGNMENT as usize);
        places
            .map(|at| &self.bytes[at..])
            .any(|bytes| batch_at(bytes, store, |number| number > self.next).is_some())
    }
}

fn batch_at<'f>(
    bytes: &'f [u8],
    store: &[u8; 16],
    is_wanted: impl Fn(BatchNumber) -> bool,
) -> Option<(BatchNumber, &'f [u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let (sum, rest) = rest.split_first_chunk::<SUM>()?;
    let number = BatchNumber::from_be_bytes(*number);
    if !is_wanted(number) {
        return None;
    }
    let payload = rest.get(..u32::from_be_bytes(*length) as usize)?;
    (checksum(store, number, payload) == *sum).then_some((number, payload))
}

fn checksum(store: &[u8; 16], number: BatchNumber, payload: &[u8]) -> [u8; SUM] {
    let mut context = Context::new(&SHA256);
    context.update(store);
    context.update(&number.to_be_bytes());
    context.update(&(payload.len() as u64).to_be_bytes());
    context.update(payload);
    let sum = context.finish();
    sum.as_ref()[..SUM].try_into().unwrap_or_default()
}

fn file_header(store: &[u8; 16], first: BatchNumber) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend(store);
    header.extend(first.to_be_bytes());
    header.extend(checksum(store, first, MAGIC));
    header
}
