//! Compressed messages (permessage-deflate, RFC 7692): deflating, inflating, and [`offer`].
//!
//! A shard has one [`Deflater`] and one [`Inflater`], made when the first message needs them. No
//! context is taken over from one message to the next in either direction, so a message is deflated
//! once for all its receivers, and a connection needs no memory for it.
//!
//! Our output fits any window that holds the whole message: a message of at most 2^N bytes has no
//! distance over 2^N (RFC 1951 §3.2.5). So [`window_bits_for`] the message's length decides which
//! clients can inflate it, and nothing is ever deflated again for a smaller window.

pub mod offer;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use strum::VariantNames;

use super::decoder::{Message, ProtocolError};
use super::frame::{MessageKind, Opcode, append_deflated_frame, append_deflated_header};
use super::utf8;

/// The smallest and the largest window, as powers of two (RFC 7692 §7.1.2).
pub const WINDOW_BITS: std::ops::RangeInclusive<u8> = 8..=15;
/// The lowest and the highest level of compression.
pub const LEVELS: std::ops::RangeInclusive<u8> = 1..=9;

/// The end of each message without its first bits; it is not sent (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
/// The same for the inflater, followed by an empty last block: the inflater reaches it only if the
/// stream is whole and ended between two blocks.
const TAIL_AND_END: [u8; 9] = [0x00, 0x00, 0xFF, 0xFF, 0x01, 0x00, 0x00, 0xFF, 0xFF];

/// The smallest step by which the inflater's memory grows, in bytes.
const CHUNK_BYTES: usize = 16 * 1024;
/// Memory of a deflating and of an inflating stream's state, in bytes.
const DEFLATE_BYTES: usize = 371 * 1024;
const INFLATE_BYTES: usize = 48 * 1024;
/// Memory that is kept from one message to the next, in bytes.
const KEPT_BYTES: usize = 64 * 1024;

/// The smallest window in which every distance within `message_bytes` fits.
pub fn window_bits_for(message_bytes: usize) -> u8 {
    let bits = usize::BITS - message_bytes.saturating_sub(1).leading_zeros();
    (bits as u8).clamp(*WINDOW_BITS.start(), *WINDOW_BITS.end())
}

/// The longest part of a message that one stored block takes, in bytes (RFC 1951 §3.2.4).
const STORED_BYTES_MAX: usize = u16::MAX as usize;
/// Overhead of a stored block: three bits padded to a byte, the length, and its complement.
const STORED_HEADER_BYTES: usize = 5;

/// The size of `head_bytes` in stored blocks.
pub fn stored_bytes(head_bytes: usize) -> usize {
    head_bytes + head_bytes.div_ceil(STORED_BYTES_MAX) * STORED_HEADER_BYTES
}

/// Appends the beginning of a compressed frame: its header, and `head` in stored blocks, which keep
/// its bytes as they are. The last `body_bytes` of the frame must follow: the end of the message,
/// made by [`Deflater::deflate_body`]. A stored block ends on a byte boundary (RFC 1951 §3.2.4), so
/// the body can be deflated on its own, for any head.
pub fn append_stored_head(out: &mut Vec<u8>, opcode: Opcode, head: &[u8], body_bytes: usize) {
    debug_assert!(!opcode.is_control());
    append_deflated_header(out, opcode, stored_bytes(head.len()) + body_bytes);
    for block in head.chunks(STORED_BYTES_MAX) {
        let length = (block.len() as u16).to_le_bytes();
        let [low, high] = length;
        out.extend_from_slice(&[0x00, low, high, !low, !high]);
        out.extend_from_slice(block);
    }
}

/// Deflates messages for sending.
#[derive(Default, Debug)]
pub struct Deflater {
    /// About 370 KB each. Usually a relay uses only one level.
    streams: [Option<Box<Compress>>; *LEVELS.end() as usize],
    scratch: Vec<u8>,
}

impl Deflater {
    /// Appends the deflated frame of a message if it is smaller than the plain one. Returns whether
    /// it was; otherwise nothing is appended.
    pub fn append(&mut self, out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], level: u8) -> bool {
        debug_assert!(!opcode.is_control());
        match self.deflate(payload, level) {
            Some(deflated) if deflated.len() < payload.len() => {
                append_deflated_frame(out, opcode, deflated);
                true
            }
            _ => false,
        }
    }

    /// Deflates the end of messages that have their own heads: see [`append_stored_head`]. `None`
    /// if the stored block for a head costs more than deflating saves.
    pub fn deflate_body(&mut self, body: &[u8], level: u8) -> Option<&[u8]> {
        let deflated = self.deflate(body, level)?;
        (deflated.len() + STORED_HEADER_BYTES < body.len()).then_some(deflated)
    }

    /// The payload in the form of RFC 7692 §7.2.1; `None` if it did not become small enough.
    fn deflate(&mut self, payload: &[u8], level: u8) -> Option<&[u8]> {
        let level = level.clamp(*LEVELS.start(), *LEVELS.end());
        // Room for incompressible data too: level 1 takes 9 bits for some bytes.
        let room = payload.len() + payload.len() / 8 + CHUNK_BYTES / 16;
        if self.scratch.len() < room {
            self.scratch.resize(room, 0);
        }
        let slot = &mut self.streams[usize::from(level) - 1];
        let mut stream = slot.take().unwrap_or_else(|| {
            let level = Compression::new(u32::from(level));
            Box::new(Compress::new(level, false))
        });
        stream.reset();
        let status = stream.compress(payload, &mut self.scratch[..room], FlushCompress::Sync);
        let deflated_bytes = stream.total_out() as usize;
        // If all room is used up the stream may have more output. A stream left in that state is
        // not reused, because a reset does not undo everything.
        if !matches!(status, Ok(Status::Ok)) || deflated_bytes >= room {
            return None;
        }
        *slot = Some(stream);
        let deflated = &self.scratch[..deflated_bytes];
        debug_assert!(
            deflated.ends_with(&TAIL),
            "a flush ends with an empty block"
        );
        deflated.strip_suffix(&TAIL)
    }

    /// Memory that is held from one message to the next, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.streams.iter().flatten().count() * DEFLATE_BYTES + self.scratch.capacity()
    }

    /// Releases memory that a large message took. Called every few seconds.
    pub fn shrink(&mut self) {
        if self.scratch.capacity() > KEPT_BYTES {
            self.scratch = Vec::new();
        }
    }
}

/// Why a compressed message was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, VariantNames)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum InflateError {
    /// It is over the limit for messages.
    #[strum(serialize = "message_too_big")]
    TooBig,
    /// It is not complete, valid DEFLATE.
    #[strum(serialize = "invalid_deflate")]
    Malformed,
    /// It is text that is not UTF-8.
    InvalidUtf8,
}

impl InflateError {
    /// The labels in the metrics.
    pub const LABELS: &'static [&'static str] = Self::VARIANTS;
}

impl From<InflateError> for ProtocolError {
    fn from(error: InflateError) -> ProtocolError {
        match error {
            InflateError::TooBig => ProtocolError::MessageTooBig,
            InflateError::Malformed => ProtocolError::InvalidDeflate,
            InflateError::InvalidUtf8 => ProtocolError::InvalidUtf8,
        }
    }
}

/// Inflates received messages.
#[derive(Default, Debug)]
pub struct Inflater {
    stream: Option<Box<Decompress>>,
    inflated: Vec<u8>,
}

impl Inflater {
    /// Inflates a message (RFC 7692 §7.2.2). Memory grows with the output, and never beyond
    /// `message_bytes` plus one byte.
    ///
    /// # Errors
    ///
    /// A message over `message_bytes`, one that is not DEFLATE, or text that is not UTF-8.
    pub fn inflate(
        &mut self,
        compressed: Message<'_>,
        message_bytes: usize,
    ) -> Result<Message<'_>, InflateError> {
        let Message { kind, payload } = compressed;
        self.inflated.clear();
        let stream = self
            .stream
            .get_or_insert_with(|| Box::new(Decompress::new(false)));
        stream.reset(false);
        feed(stream, payload, &mut self.inflated, message_bytes)?;
        let end = feed(stream, &TAIL_AND_END, &mut self.inflated, message_bytes)?;
        if end != Status::StreamEnd {
            return Err(InflateError::Malformed);
        }
        if kind == MessageKind::Text && !utf8::is_valid(&self.inflated) {
            return Err(InflateError::InvalidUtf8);
        }
        Ok(Message {
            kind,
            payload: &self.inflated,
        })
    }

    /// Memory that is held from one message to the next, in bytes.
    pub fn held_bytes(&self) -> usize {
        let stream = self.stream.as_ref().map_or(0, |_| INFLATE_BYTES);
        stream + self.inflated.capacity()
    }

    /// Releases memory that a large message took. Called every few seconds.
    pub fn shrink(&mut self) {
        if self.inflated.capacity() > KEPT_BYTES {
            self.inflated = Vec::new();
        }
    }
}

/// Inflates all of `part` and appends it to `inflated`.
fn feed(
    stream: &mut Decompress,
    mut part: &[u8],
    inflated: &mut Vec<u8>,
    message_bytes: usize,
) -> Result<Status, InflateError> {
    loop {
        if inflated.len() == inflated.capacity() {
            // Twice the output so far, but at most one byte over the limit: a message that needs
            // that byte is too long.
            let wanted = (2 * inflated.len()).max(inflated.len() + CHUNK_BYTES);
            let most = message_bytes.saturating_add(1);
            inflated.reserve_exact(wanted.min(most) - inflated.len());
        }
        let (taken_before, len_before) = (stream.total_in(), inflated.len());
        let status = stream
            .decompress_vec(part, inflated, FlushDecompress::Sync)
            .map_err(|_| InflateError::Malformed)?;
        if inflated.len() > message_bytes {
            return Err(InflateError::TooBig);
        }
        let taken = (stream.total_in() - taken_before) as usize;
        part = &part[taken..];
        let has_room = inflated.len() < inflated.capacity();
        match status {
            // RFC 7692 §7.2.3.4: a last block is not the end of the message.
            Status::StreamEnd if !part.is_empty() => stream.reset(false),
            Status::StreamEnd => return Ok(status),
            _ if part.is_empty() && has_room => return Ok(status),
            _ if taken == 0 && has_room && inflated.len() == len_before => {
                return Err(InflateError::Malformed);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
