//! Lines of a file, in chunks that are committed as a whole.

use std::io::{self, BufRead as _, BufReader, Read};
use std::ops::Range;

/// Most lines of a chunk, and about how many bytes: as much as the relay commits at once.
const CHUNK_LINES: usize = 1_000;
const CHUNK_BYTES: usize = 4 << 20;

/// A place in a file: the end of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Bytes before it.
    pub(super) offset: u64,
    /// Lines before it.
    pub(super) lines: u64,
}

/// Successive lines.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    /// `None`: the line was longer than permitted.
    lines: Vec<Option<Range<usize>>>,
    first: u64,
    /// The end of the last line.
    pub(super) end: Place,
}

impl Chunk {
    /// The lines without their ends, numbered from 1. `None`: it is longer than permitted.
    pub(super) fn lines(&self) -> impl Iterator<Item = (u64, Option<&[u8]>)> {
        let lines = self.lines.iter();
        let texts = lines.map(|range| Some(&self.bytes[range.clone()?]));
        (self.first..).zip(texts)
    }
}

/// Reads lines.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    bytes_max: usize,
    place: Place,
}

impl<R: Read> Lines<R> {
    /// Lines of up to `bytes_max` bytes, from `place` on, at which `reader` already is.
    pub(super) fn new(reader: R, bytes_max: usize, place: Place) -> Lines<R> {
        Lines {
            reader: BufReader::with_capacity(1 << 20, reader),
            bytes_max,
            place,
        }
    }

    /// The next lines; `None` at the end.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub(super) fn next(&mut self) -> io::Result<Option<Chunk>> {
        let mut chunk = Chunk {
            first: self.place.lines + 1,
            ..Chunk::default()
        };
        while chunk.lines.len() < CHUNK_LINES
            && chunk.bytes.len() < CHUNK_BYTES
            && self.line(&mut chunk)?
        {}
        chunk.end = self.place;
        Ok(Some(chunk).filter(|chunk| !chunk.lines.is_empty()))
    }

    /// Reads a line. Returns whether there was one.
    fn line(&mut self, chunk: &mut Chunk) -> io::Result<bool> {
        let start = chunk.bytes.len();
        let limit = self.bytes_max as u64 + 1;
        let mut limited = self.reader.by_ref().take(limit);
        let mut taken = limited.read_until(b'\n', &mut chunk.bytes)? as u64;
        if taken == 0 {
            return Ok(false);
        }
        let mut end = chunk.bytes.len();
        if chunk.bytes.ends_with(b"\n") {
            end -= 1;
            chunk.lines.push(Some(start..end));
        } else if taken < limit {
            // The last line of a file need not be ended.
            chunk.lines.push(Some(start..end));
        } else {
            taken += self.reader.skip_until(b'\n')? as u64;
            chunk.bytes.truncate(start);
            chunk.lines.push(None);
        }
        self.place.offset += taken;
        self.place.lines += 1;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All lines with their numbers, and the ends of all chunks.
    fn read(text: &str, bytes_max: usize) -> (Vec<(u64, Option<String>)>, Vec<Place>) {
        let mut lines = Lines::new(text.as_bytes(), bytes_max, Place::default());
        let (mut found, mut ends) = (Vec::new(), Vec::new());
        while let Some(chunk) = lines.next().expect("a text") {
            ends.push(chunk.end);
            found.extend(chunk.lines().map(|(number, line)| {
                let line = line.map(|line| String::from_utf8_lossy(line).into_owned());
                (number, line)
            }));
        }
        (found, ends)
    }

    #[test]
    fn lines_are_numbered_and_the_last_need_not_end() {
        let line = |number, text: &str| (number, Some(text.to_owned()));
        let expected = vec![line(1, "a"), line(2, ""), line(3, "bc")];
        for text in ["a\n\nbc", "a\n\nbc\n"] {
            let (found, ends) = read(text, 2);
            assert_eq!(found, expected);
            let end = Place {
                offset: text.len() as u64,
                lines: 3,
            };
            assert_eq!(ends, [end]);
        }
        assert_eq!(read("", 2), (vec![], vec![]));
    }

    #[test]
    fn a_long_line_is_left_out_and_counted() {
        let (found, ends) = read("abc\nab\nabcdefgh", 2);
        assert_eq!(found, [(1, None), (2, Some("ab".to_owned())), (3, None)]);
        assert_eq!(
            ends,
            [Place {
                offset: 15,
                lines: 3
            }]
        );
    }

    #[test]
    fn chunks_are_bounded_and_continue_each_other() {
        let (found, ends) = read(&"x\n".repeat(2 * CHUNK_LINES + 1), 1);
        assert_eq!(found.len(), 2 * CHUNK_LINES + 1);
        assert!(found.iter().map(|(number, _)| *number).eq(1..=2_001));
        assert_eq!(
            ends.iter().map(|end| end.lines).collect::<Vec<_>>(),
            [1_000, 2_000, 2_001]
        );
        let line = "x".repeat(CHUNK_BYTES / 2) + "\n";
        let (_, ends) = read(&line.repeat(3), CHUNK_BYTES);
        assert_eq!(ends.iter().map(|end| end.lines).collect::<Vec<_>>(), [2, 3]);
    }
}
