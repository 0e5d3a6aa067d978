//! Sorts more pairs of keys and values than memory holds: sorted runs in files, then merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

/// Bytes of pairs in a run. Up to three are in memory.
const RUN_BYTES: usize = 32 << 20;

/// Buffer of a run that is read.
const READ_BYTES: usize = 128 << 10;

/// Key and value.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// Collects pairs in any order.
pub(super) struct Sorter {
    folder: PathBuf,
    run: Run,
    runs: usize,
    /// The run before, which is being sorted.
    before: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Default)]
struct Run {
    bytes: Vec<u8>,
    /// Where each pair begins, and the lengths of its key and value.
    pairs: Vec<(u32, u16, u16)>,
}

impl Run {
    fn write(mut self, path: &Path) -> io::Result<()> {
        let bytes = &self.bytes;
        let whole = |(at, key, value): &(u32, u16, u16)| {
            let at = *at as usize;
            &bytes[at..at + usize::from(*key) + usize::from(*value)]
        };
        let order = |pair: &(u32, u16, u16)| {
            let (key, value) = whole(pair).split_at(usize::from(pair.1));
            (key, value)
        };
        self.pairs
            .sort_unstable_by(|one, other| order(one).cmp(&order(other)));
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        for pair in &self.pairs {
            file.write_all(&pair.1.to_be_bytes())?;
            file.write_all(&pair.2.to_be_bytes())?;
            file.write_all(whole(pair))?;
        }
        file.flush()
    }
}

impl Sorter {
    /// Its runs are files in a folder of their own, which is emptied first.
    pub(super) fn new(folder: &Path) -> io::Result<Sorter> {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir(folder)?,
        }
        Ok(Sorter {
            folder: folder.to_owned(),
            run: Run::default(),
            runs: 0,
            before: None,
        })
    }

    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let length = |bytes: &[u8]| u16::try_from(bytes.len()).map_err(io::Error::other);
        let at = u32::try_from(self.run.bytes.len()).map_err(io::Error::other)?;
        self.run.pairs.push((at, length(key)?, length(value)?));
        self.run.bytes.extend_from_slice(key);
        self.run.bytes.extend_from_slice(value);
        match self.run.bytes.len() < RUN_BYTES {
            true => Ok(()),
            false => self.end_run(),
        }
    }

    fn end_run(&mut self) -> io::Result<()> {
        self.join()?;
        let run = std::mem::take(&mut self.run);
        let path = self.path(self.runs);
        self.runs += 1;
        self.before = Some(thread::Builder::new().spawn(move || run.write(&path))?);
        Ok(())
    }

    fn join(&mut self) -> io::Result<()> {
        let lost = || Err(io::Error::other("sorting has failed"));
        self.before
            .take()
            .map_or(Ok(()), |run| run.join().unwrap_or_else(|_| lost()))
    }

    fn path(&self, number: usize) -> PathBuf {
        self.folder.join(format!("run-{number}"))
    }

    /// All pairs, in order of their keys; equal keys in order of their values.
    pub(super) fn finish(mut self) -> io::Result<Sorted> {
        self.end_run()?;
        self.join()?;
        let mut sorted = Sorted {
            folder: self.folder.clone(),
            runs: Vec::new(),
            heads: BinaryHeap::new(),
        };
        for number in 0..self.runs {
            let file = File::open(self.path(number))?;
            sorted.runs.push(BufReader::with_capacity(READ_BYTES, file));
            sorted.advance(number)?;
        }
        Ok(sorted)
    }
}

/// Pairs in order. Its folder goes with it.
pub(super) struct Sorted {
    folder: PathBuf,
    runs: Vec<BufReader<File>>,
    heads: BinaryHeap<Reverse<(Pair, usize)>>,
}

impl Sorted {
    fn advance(&mut self, number: usize) -> io::Result<()> {
        let run = &mut self.runs[number];
        let mut lengths = [0; 4];
        match run.read_exact(&mut lengths) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let [a, b, c, d] = lengths;
        let mut key = vec![0; usize::from(u16::from_be_bytes([a, b]))];
        let mut value = vec![0; usize::from(u16::from_be_bytes([c, d]))];
        run.read_exact(&mut key)?;
        run.read_exact(&mut value)?;
        self.heads.push(Reverse(((key, value), number)));
        Ok(())
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Pair>> {
        let Some(Reverse((pair, number))) = self.heads.pop() else {
            return Ok(None);
        };
        self.advance(number)?;
        Ok(Some(pair))
    }
}

impl Drop for Sorted {
    fn drop(&mut self) {
        // Files that are left are removed when the next one begins.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_come_in_order_from_several_runs() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut sorter = Sorter::new(&folder.path().join("runs")).expect("a sorter");
        let value = [7; 60_000];
        let count = 3 * RUN_BYTES / value.len();
        for number in 0..count {
            let key = (number as u64)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .to_be_bytes();
            sorter.add(&key, &value).expect("room");
        }
        let mut sorted = sorter.finish().expect("files");
        let mut keys = Vec::new();
        while let Some((key, value)) = sorted.next().expect("files") {
            assert_eq!(value.len(), 60_000);
            keys.push(key);
        }
        assert_eq!(keys.len(), count);
        assert!(keys.is_sorted());
        drop(sorted);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
