//! Request bodies in chunks (RFC 9112 §7.1).

use super::HttpError;
use super::percent::hex_digit;

/// The most bytes of chunk extensions in one body. They have no meaning here and are skipped.
const EXTENSION_BYTES_MAX: usize = 1024;
/// The most bytes of trailers in one body. They are skipped.
const TRAILER_BYTES_MAX: usize = 4096;
/// Digits of a chunk's size: 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

/// Reads one chunked body, in pieces of any size.
#[derive(Default, Debug)]
pub struct ChunkedDecoder {
    state: State,
    /// Bytes of the open chunk that are still to come.
    remaining: u64,
    extension_bytes: usize,
    trailer_bytes: usize,
}

/// The result of one call of [`ChunkedDecoder::feed`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes of the input that belong to the body; all of them while it is not done.
    pub consumed: usize,
    /// Whether the body and its trailers are complete.
    pub done: bool,
}

/// The part that the next byte belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum State {
    /// The first digit of a size.
    #[default]
    SizeStart,
    Size {
        digits: u8,
    },
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// The first byte of a trailer, or the CR of the last line.
    TrailerStart,
    Trailer,
    TrailerLf,
    LastLf,
    Done,
}

impl ChunkedDecoder {
    /// A decoder at the start of a body.
    pub fn new() -> ChunkedDecoder {
        ChunkedDecoder::default()
    }

    /// Appends the part of the body in `input` to `body`, up to the body's end.
    ///
    /// # Errors
    ///
    /// A malformed chunk or trailer, too many extensions or trailers, or
    /// [`HttpError::BodyTooLarge`] as soon as a chunk's size would take `body` over
    /// `body_bytes_max`. Do not call it again after an error.
    pub fn feed(
        &mut self,
        input: &[u8],
        body: &mut Vec<u8>,
        body_bytes_max: usize,
    ) -> Result<Progress, HttpError> {
        let mut consumed = 0;
        while self.state != State::Done {
            let Some((&byte, _)) = input[consumed..].split_first() else {
                break;
            };
            if self.state == State::Data {
                let rest = &input[consumed..];
                let len = rest
                    .len()
                    .min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
                body.extend_from_slice(&rest[..len]);
                consumed += len;
                self.remaining -= len as u64;
                if self.remaining == 0 {
                    self.state = State::DataCr;
                }
            } else {
                let room = body_bytes_max.saturating_sub(body.len());
                self.state = self.take_byte(byte, room as u64)?;
                consumed += 1;
            }
        }
        Ok(Progress {
            consumed,
            done: self.state == State::Done,
        })
    }

    /// Handles one byte of the framing around the data.
    fn take_byte(&mut self, byte: u8, room: u64) -> Result<State, HttpError> {
        Ok(match (self.state, byte) {
            (State::SizeStart, _) => self.take_digit(byte, 0, room)?,
            (State::Size { .. }, b'\r') => State::SizeLf,
            (State::Size { .. }, b';') => State::Extension,
            (State::Size { digits }, _) => self.take_digit(byte, digits, room)?,
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension, _) => {
                self.extension_bytes += 1;
                let is_bad = !is_text(byte) || self.extension_bytes > EXTENSION_BYTES_MAX;
                if is_bad {
                    Err(HttpError::BadChunk)?
                } else {
                    State::Extension
                }
            }
            (State::SizeLf, b'\n') if self.remaining == 0 => State::TrailerStart,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::SizeStart,
            (State::SizeLf | State::DataCr | State::DataLf, _) => Err(HttpError::BadChunk)?,
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerStart | State::Trailer, _) => self.take_trailer(byte)?,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::LastLf, b'\n') => State::Done,
            (State::TrailerLf | State::LastLf, _) => Err(HttpError::BadTrailer)?,
            (State::Data | State::Done, _) => self.state,
        })
    }

    fn take_digit(&mut self, byte: u8, digits: u8, room: u64) -> Result<State, HttpError> {
        let digit = hex_digit(byte).ok_or(HttpError::BadChunk)?;
        if digits == SIZE_DIGITS_MAX {
            return Err(HttpError::BadChunk);
        }
        // Sixteen digits cannot overflow; `remaining` is zero before the first.
        self.remaining = self.remaining << 4 | u64::from(digit);
        if self.remaining > room {
            return Err(HttpError::BodyTooLarge);
        }
        Ok(State::Size { digits: digits + 1 })
    }

    fn take_trailer(&mut self, byte: u8) -> Result<State, HttpError> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(HttpError::TrailersTooLarge);
        }
        if is_text(byte) {
            Ok(State::Trailer)
        } else {
            Err(HttpError::BadTrailer)
        }
    }
}

/// Bytes allowed in an extension or a trailer: no control characters but the tab.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIKI: &[u8] = b"4\r\nWiki\r\n6;a=\"b\"\r\npedia \r\n0E\r\nin \r\n\r\nchunks.\r\n\
        0\r\nX-Trailer: 1\r\nX-More: 2\r\n\r\n";
    const TEXT: &[u8] = b"Wikipedia in \r\n\r\nchunks.";

    fn read(input: &[u8], body_bytes_max: usize) -> Result<(Vec<u8>, Progress), HttpError> {
        let mut body = Vec::new();
        let progress = ChunkedDecoder::new().feed(input, &mut body, body_bytes_max)?;
        Ok((body, progress))
    }

    #[test]
    fn a_body_ends_where_it_says_and_leaves_the_next_request() {
        let input = [WIKI, b"GET /"].concat();
        let (body, progress) = read(&input, TEXT.len()).unwrap();
        assert_eq!(body, TEXT);
        assert_eq!(
            progress,
            Progress {
                consumed: WIKI.len(),
                done: true
            }
        );
    }

    #[test]
    fn every_split_gives_the_same_body() {
        for cut in 0..WIKI.len() {
            let mut body = Vec::new();
            let mut decoder = ChunkedDecoder::new();
            let first = decoder.feed(&WIKI[..cut], &mut body, 100).unwrap();
            assert_eq!(
                first,
                Progress {
                    consumed: cut,
                    done: false
                }
            );
            let second = decoder.feed(&WIKI[cut..], &mut body, 100).unwrap();
            assert_eq!(
                second,
                Progress {
                    consumed: WIKI.len() - cut,
                    done: true
                }
            );
            assert_eq!(body, TEXT, "cut at {cut}");
        }
    }

    #[test]
    fn malformed_bodies_are_refused_by_name() {
        use HttpError::{BadChunk, BadTrailer, BodyTooLarge, TrailersTooLarge};
        let long_extension = format!("1;{}\r\n", "x".repeat(EXTENSION_BYTES_MAX + 1));
        let long_trailer = format!("0\r\nA: {}\r\n\r\n", "x".repeat(TRAILER_BYTES_MAX));
        let rows: [(&str, HttpError); 18] = [
            ("\r\n", BadChunk),
            (";a\r\n", BadChunk),
            (" 1\r\na\r\n", BadChunk),
            ("1 \r\na\r\n", BadChunk),
            ("0x1\r\na\r\n", BadChunk),
            ("-1\r\n", BadChunk),
            ("1\na\r\n", BadChunk),
            ("1\r\na\n", BadChunk),
            ("1\r\nab\r\n", BadChunk),
            ("1;a\0\r\n", BadChunk),
            ("1;a\n\r\n", BadChunk),
            ("00000000000000000\r\n", BadChunk),
            (&long_extension, BadChunk),
            ("FFFFFFFFFFFFFFFF\r\n", BodyTooLarge),
            ("8\r\nabcdefgh\r\n9", BodyTooLarge),
            ("0\r\nA: b\n\r\n", BadTrailer),
            ("0\r\n\rX", BadTrailer),
            (&long_trailer, TrailersTooLarge),
        ];
        for (input, error) in rows {
            assert_eq!(read(input.as_bytes(), 16), Err(error), "{input:?}");
        }
    }

    #[test]
    fn a_size_that_was_only_announced_reserves_nothing() {
        let (body, progress) = read(b"FFFFFFFF\r\nabc", usize::MAX).unwrap();
        assert_eq!((body.as_slice(), progress.done), (&b"abc"[..], false));
        assert!(body.capacity() < 64);
    }
}
