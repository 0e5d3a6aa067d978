//! Inflates messages that a server compressed (RFC 7692 §7.2.2), without context takeover.
//!
//! Every member of a room gets the same bytes, so recent results are cached by their compressed
//! bytes: the same bytes need no second inflation, and bytes that differ in one bit are another
//! message. The cache keeps the generator from becoming the bottleneck.

use flate2::{Decompress, FlushDecompress, Status};

use crate::stamp::{Payloads, Reading};

/// The end of every compressed message, which is not sent (RFC 7692 §7.2.1).
const TRAILER: [u8; 4] = [0, 0, 0xff, 0xff];
/// Messages in the cache.
const SEEN_MAX: usize = 16;
/// Larger messages are not cached.
const SEEN_BYTES_MAX: usize = 16 << 10;

/// A thread's inflater.
#[derive(Debug)]
pub(crate) struct Inflater {
    decompress: Decompress,
    message: Vec<u8>,
    seen: Vec<Seen>,
    oldest: usize,
}

#[derive(Debug)]
struct Seen {
    compressed: Vec<u8>,
    reading: Reading,
}

impl Inflater {
    /// For messages of at most `bytes_max`.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            decompress: Decompress::new(false),
            // One extra byte, so that a message that is too large is noticed.
            message: vec![0; bytes_max + 1],
            seen: Vec::with_capacity(SEEN_MAX),
            oldest: 0,
        }
    }

    /// Classifies a compressed payload. `None`: it cannot be inflated, or is too large.
    pub(crate) fn read(&mut self, compressed: &[u8], payloads: &Payloads) -> Option<Reading> {
        let seen = self.seen.iter().find(|seen| seen.compressed == compressed);
        if let Some(seen) = seen {
            return Some(seen.reading);
        }
        let bytes = self.inflate(compressed)?;
        let reading = payloads.read(&self.message[..bytes]);
        if compressed.len() <= SEEN_BYTES_MAX {
            self.remember(compressed, reading);
        }
        Some(reading)
    }

    /// Inflates any message. `None`: it cannot be inflated, or is too large.
    pub(crate) fn whole(&mut self, compressed: &[u8]) -> Option<&[u8]> {
        let bytes = self.inflate(compressed)?;
        Some(&self.message[..bytes])
    }

    fn inflate(&mut self, compressed: &[u8]) -> Option<usize> {
        self.decompress.reset(false);
        let mut bytes = 0;
        for mut input in [compressed, &TRAILER] {
            while !input.is_empty() {
                let (taken, given) = (self.decompress.total_in(), self.decompress.total_out());
                let status = self
                    .decompress
                    .decompress(input, &mut self.message[bytes..], FlushDecompress::Sync)
                    .ok()?;
                input = &input[(self.decompress.total_in() - taken) as usize..];
                bytes += (self.decompress.total_out() - given) as usize;
                if bytes == self.message.len() {
                    return None;
                }
                match status {
                    // A block that is marked as the last (RFC 7692 §7.2.3.5).
                    Status::StreamEnd => return Some(bytes),
                    Status::BufError => return None,
                    Status::Ok => {}
                }
            }
        }
        Some(bytes)
    }

    fn remember(&mut self, compressed: &[u8], reading: Reading) {
        if self.seen.len() < SEEN_MAX {
            let compressed = compressed.to_vec();
            return self.seen.push(Seen {
                compressed,
                reading,
            });
        }
        let seen = &mut self.seen[self.oldest];
        seen.compressed.clear();
        seen.compressed.extend_from_slice(compressed);
        seen.reading = reading;
        self.oldest = (self.oldest + 1) % SEEN_MAX;
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::*;
    use crate::stamp::{Form, Stamp};

    /// Compresses as a server does.
    fn deflate(message: &[u8]) -> Vec<u8> {
        let mut compressed = Vec::with_capacity(message.len() + 100);
        Compress::new(Compression::fast(), false)
            .compress_vec(message, &mut compressed, FlushCompress::Sync)
            .expect("room for all");
        assert!(compressed.ends_with(&TRAILER));
        compressed.truncate(compressed.len() - TRAILER.len());
        compressed
    }

    fn payload(payloads: &Payloads, seq: u32) -> (Stamp, Vec<u8>) {
        let stamp = Stamp {
            measured: true,
            publisher: 1,
            seq,
            due_ns: 5,
            sent_ns: 5,
            is_held: false,
        };
        let mut frame = Vec::new();
        payloads.append(&mut frame, &stamp);
        let payload = frame.split_off(frame.len() - payloads.size());
        let mask = payloads.mask();
        let bytes = payload.iter().zip(mask.iter().cycle());
        (stamp, bytes.map(|(byte, key)| byte ^ key).collect())
    }

    #[test]
    fn compressed_messages_are_read_correctly_twice() {
        let payloads = Payloads::new(512, Form::Json, 3, 9);
        let mut inflater = Inflater::new(512);
        for seq in 0..100 {
            let (stamp, message) = payload(&payloads, seq);
            let compressed = deflate(&message);
            assert!(compressed.len() < 400, "{} bytes", compressed.len());
            for _ in 0..3 {
                let reading = inflater.read(&compressed, &payloads);
                assert!(matches!(reading, Some(Reading::Intact(read, _)) if read == stamp));
            }
        }
        assert_eq!(inflater.seen.len(), SEEN_MAX);
    }

    #[test]
    fn another_message_of_the_same_length_is_inflated_anew() {
        let payloads = Payloads::new(512, Form::Json, 3, 9);
        let mut inflater = Inflater::new(512);
        let (_, mut message) = payload(&payloads, 0);
        assert!(inflater.read(&deflate(&message), &payloads).is_some());
        message[500] ^= 1;
        let reading = inflater.read(&deflate(&message), &payloads);
        assert!(matches!(reading, Some(Reading::BodyDamaged(..))));
    }

    #[test]
    fn oversized_or_invalid_deflate_is_refused() {
        let payloads = Payloads::new(512, Form::Json, 3, 9);
        let mut inflater = Inflater::new(512);
        assert_eq!(inflater.read(&deflate(&[b'a'; 513]), &payloads), None);
        assert_eq!(inflater.read(&[0xff; 20], &payloads), None);
        let foreign = inflater.read(&deflate(&[b'a'; 511]), &payloads);
        assert_eq!(foreign, Some(Reading::Foreign));
    }
}
