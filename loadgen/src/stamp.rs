//! The payload of a message: a stamp that names it, and a body that can be checked byte by byte.
//!
//! [`Payloads`] is made once a run and shared by all threads. A publisher appends whole masked
//! frames with [`Payloads::append`]; a receiver gives a payload to [`Payloads::read`], which
//! allocates nothing and copies nothing.
//!
//! The stamp is 40 bytes, little-endian; raw in binary messages and hexadecimal (80 characters) in
//! text messages. In JSON it follows the opening ([`payload_json`]):
//!
//! | offset | what |
//! |---|---|
//! | 0 | magic `CLG`, then bits: 1 measured (not in the warm-up), 2 it had waited for the socket |
//! | 4 | publisher |
//! | 8 | run id: 64 bits that are drawn for each run |
//! | 16 | sequence number within the publisher, from 0; the lower 32 bits of it |
//! | 20 | how late it was sent, in units of 16 ns |
//! | 24 | due time, nanoseconds since the origin of the [`Clock`](crate::clock::Clock) |
//! | 32 | checksum of the bytes before |
//!
//! The body is a stretch of a template that the seed decides. Where it starts depends on the
//! checksum, so that the body of another message is seen as damage; comparing it is one `memcmp`.
//!
//! A message with another run id is foreign. An unreadable message is foreign too, unless it has
//! nearly our run id or one of our bodies. So a message that arrives without most of its run id and
//! without a whole body counts as foreign, and the original as lost.

use std::ops::{Range, RangeInclusive};

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::payload_json;

const MAGIC: [u8; 3] = *b"CLG";
/// The magic as the lowest three bytes of a little-endian word.
const MAGIC_WORD: u32 = u32::from_le_bytes([MAGIC[0], MAGIC[1], MAGIC[2], 0]);
const STAMP_WORDS: usize = 5;
const STAMP_BYTES: usize = STAMP_WORDS * 8;
/// Where the stamp has the run id.
const RUN_ID: Range<usize> = 8..16;
/// An id with at most this many changed bits still counts as ours: the ids of two runs differ in 32
/// bits on average, and one pair in a thousand million by so few.
const RUN_ID_BITS_CHANGED_MAX: u32 = 8;

/// Unit of the time between due and sent: 32 bits of it hold more than a minute.
const LATENESS_UNIT_NS: u64 = 16;

/// The stamp in hexadecimal.
const HEX_BYTES: usize = 2 * STAMP_BYTES;
/// Largest payload, in bytes.
const PAYLOAD_BYTES_MAX: usize = 16 << 20;
/// Largest payload in JSON; the template holds many of them.
const JSON_BYTES_MAX: usize = 64 << 10;

/// Shorter bodies occur in other senders' messages by chance.
const BODY_BYTES_TELLING: usize = 8;

/// Places in the template at which the body of a message may start.
const OFFSETS: u64 = 64;
/// Distance between them. A multiple of the mask's four bytes, so that the template can be kept
/// masked as well.
const OFFSET_STEP: usize = 4;

/// The form of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A binary message: the stamp, then random bytes.
    Binary,
    /// A text message: the stamp in hexadecimal, then random characters.
    Text,
    /// A text message in JSON: the stamp in hexadecimal, then the changes of an order book.
    Json,
}

impl Form {
    /// The allowed payload sizes; the smallest holds the stamp and the required rest.
    pub(crate) fn sizes(self) -> RangeInclusive<usize> {
        match self {
            Self::Binary => STAMP_BYTES..=PAYLOAD_BYTES_MAX,
            Self::Text => HEX_BYTES..=PAYLOAD_BYTES_MAX,
            Self::Json => self.body_from() + payload_json::BODY_BYTES_MIN..=JSON_BYTES_MAX,
        }
    }

    /// Whether messages are text.
    pub(crate) fn is_text(self) -> bool {
        self != Self::Binary
    }

    /// The bytes of every payload before the stamp.
    fn opening(self) -> &'static [u8] {
        match self {
            Self::Binary | Self::Text => &[],
            Self::Json => payload_json::OPENING,
        }
    }

    /// Where the body begins: a multiple of the mask's four bytes.
    fn body_from(self) -> usize {
        match self {
            Self::Binary => STAMP_BYTES,
            Self::Text => HEX_BYTES,
            Self::Json => payload_json::OPENING.len() + HEX_BYTES,
        }
    }
}

/// The stamp of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// False in the warm-up.
    pub(crate) measured: bool,
    pub(crate) publisher: u32,
    pub(crate) seq: u32,
    pub(crate) due_ns: u64,
    /// When it was sent; exact to 16 ns, and at most a minute after it was due.
    pub(crate) sent_ns: u64,
    /// The socket accepted no more bytes when it was due.
    pub(crate) is_held: bool,
}

/// How a received payload was classified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// As it was sent. The second field is the checksum of the stamp.
    Intact(Stamp, u64),
    /// The stamp is right, but the body or the length is not.
    BodyDamaged(Stamp, u64),
    /// It was ours, but cannot be identified any more.
    StampDamaged,
    /// Not of this run: a greeting of the server, or another generator's message.
    Foreign,
}

/// Makes and checks the payloads of one run.
#[derive(Debug)]
pub(crate) struct Payloads {
    size: usize,
    form: Form,
    run_id: u64,
    /// The run id as encoded in payloads.
    run_id_sent: Vec<u8>,
    mask: [u8; 4],
    /// Header and mask, which are the same for every frame that is sent.
    sent_head: Vec<u8>,
    /// Header of every frame that should come back.
    expected_head: Vec<u8>,
    template: Vec<u8>,
    masked_template: Vec<u8>,
    /// Distance between the possible starts of bodies in the template.
    step: usize,
}

impl Payloads {
    /// Payloads of `size` bytes, within the form's bounds ([`Form::sizes`]). The seed decides their
    /// content, and the run id marks them as ours.
    pub(crate) fn new(size: usize, form: Form, seed: u64, run_id: u64) -> Self {
        let mut random = SplitMix(seed);
        // A zero mask would leave the server's unmasking untested.
        let mask = ((random.next() as u32) | 0x0101_0101).to_le_bytes();
        let opcode = OpCode::Data(match form.is_text() {
            true => Data::Text,
            false => Data::Binary,
        });
        let (template, step) = template(size, form, &mut random);
        let masked_template = template
            .iter()
            .enumerate()
            .map(|(at, byte)| byte ^ mask[at % 4])
            .collect();
        Self {
            size,
            form,
            run_id,
            run_id_sent: match form.is_text() {
                true => to_hex::<16>(&run_id.to_le_bytes()).to_vec(),
                false => run_id.to_le_bytes().to_vec(),
            },
            mask,
            sent_head: head(opcode, Some(mask), size),
            expected_head: head(opcode, None, size),
            template,
            masked_template,
            step,
        }
    }

    /// Bytes of a payload.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Whether messages are text.
    pub(crate) fn is_text(&self) -> bool {
        self.form.is_text()
    }

    /// The header that a server gives an unfragmented frame with one of our payloads.
    pub(crate) fn expected_head(&self) -> &[u8] {
        &self.expected_head
    }

    /// The mask of this run. RFC 6455 §5.3 wants it unpredictable for the sake of proxies, which a
    /// load generator does not have; the server cannot tell.
    pub(crate) fn mask(&self) -> [u8; 4] {
        self.mask
    }

    /// Bytes of a whole frame with its header and mask.
    pub(crate) fn frame_bytes(&self) -> usize {
        self.sent_head.len() + self.size
    }

    /// Appends the whole masked frame of a message to `out`.
    pub(crate) fn append(&self, out: &mut Vec<u8>, stamp: &Stamp) {
        out.extend_from_slice(&self.sent_head);
        let payload_from = out.len();
        let body = self.append_stamp(out, stamp);
        for (at, byte) in out[payload_from..].iter_mut().enumerate() {
            *byte ^= self.mask[at % 4];
        }
        out.extend_from_slice(&self.masked_template[body]);
    }

    /// Appends the payload of a message to `out`, unmasked.
    pub(crate) fn append_plain(&self, out: &mut Vec<u8>, stamp: &Stamp) {
        let body = self.append_stamp(out, stamp);
        out.extend_from_slice(&self.template[body]);
    }

    /// Appends the part before the body. Returns the body's offset in the template.
    fn append_stamp(&self, out: &mut Vec<u8>, stamp: &Stamp) -> Range<usize> {
        let (plain, checksum) = self.encode(stamp);
        out.extend_from_slice(self.form.opening());
        if self.form.is_text() {
            out.extend_from_slice(&to_hex::<HEX_BYTES>(&plain));
        } else {
            out.extend_from_slice(&plain);
        }
        let from = self.body_offset(checksum);
        from..from + self.size - self.form.body_from()
    }

    /// Classifies a received payload.
    #[inline]
    pub(crate) fn read(&self, payload: &[u8]) -> Reading {
        let Some((stamp, body)) = self.split(payload) else {
            return self.unreadable(payload);
        };
        let words = words_of(&stamp);
        let [first, run_id, third, due_ns, checksum] = words;
        let phase = (first >> 24) as u8;
        if first as u32 & 0xff_ffff != MAGIC_WORD || phase > 3 || checksum != checksum_of(&words) {
            return self.unreadable(payload);
        }
        if run_id != self.run_id {
            return Reading::Foreign;
        }
        let read = Stamp {
            measured: phase & 1 == 1,
            publisher: (first >> 32) as u32,
            seq: third as u32,
            due_ns,
            sent_ns: due_ns + (third >> 32) * LATENESS_UNIT_NS,
            is_held: phase & 2 == 2,
        };
        let from = self.body_offset(checksum);
        if payload.len() == self.size && *body == self.template[from..from + body.len()] {
            Reading::Intact(read, checksum)
        } else {
            Reading::BodyDamaged(read, checksum)
        }
    }

    /// A payload without a readable stamp is still ours if it has nearly our run id, or one of our
    /// bodies.
    #[cold]
    fn unreadable(&self, payload: &[u8]) -> Reading {
        let from = self.form.body_from() - self.stamp_bytes();
        let scale = self.stamp_bytes() / STAMP_BYTES;
        let run_id = payload.get(from + RUN_ID.start * scale..from + RUN_ID.end * scale);
        let is_near = run_id.is_some_and(|run_id| {
            let pairs = run_id.iter().zip(&self.run_id_sent);
            let changed: u32 = pairs.map(|(one, other)| (one ^ other).count_ones()).sum();
            changed <= RUN_ID_BITS_CHANGED_MAX
        });
        if is_near || self.has_body(payload) {
            Reading::StampDamaged
        } else {
            Reading::Foreign
        }
    }

    /// Whether a payload of our length ends with the body of some message of ours.
    fn has_body(&self, payload: &[u8]) -> bool {
        let body_bytes = self.size - self.form.body_from();
        payload.len() == self.size
            && body_bytes >= BODY_BYTES_TELLING
            && (0..OFFSETS).any(|offset| {
                let from = self.body_offset(offset);
                payload[self.form.body_from()..] == self.template[from..from + body_bytes]
            })
    }

    /// Bytes of the encoded stamp.
    fn stamp_bytes(&self) -> usize {
        match self.form.is_text() {
            true => HEX_BYTES,
            false => STAMP_BYTES,
        }
    }

    #[inline]
    fn split<'a>(&self, payload: &'a [u8]) -> Option<([u8; STAMP_BYTES], &'a [u8])> {
        if self.form.is_text() {
            let rest = payload.strip_prefix(self.form.opening())?;
            let (hex, body) = rest.split_first_chunk::<HEX_BYTES>()?;
            Some((from_hex(hex)?, body))
        } else {
            let (stamp, body) = payload.split_first_chunk::<STAMP_BYTES>()?;
            Some((*stamp, body))
        }
    }

    fn encode(&self, stamp: &Stamp) -> ([u8; STAMP_BYTES], u64) {
        let phase = u32::from(stamp.measured) << 24 | u32::from(stamp.is_held) << 25;
        let late_ns = stamp.sent_ns.saturating_sub(stamp.due_ns);
        let late = (late_ns / LATENESS_UNIT_NS).min(u32::MAX.into());
        let mut words = [
            u64::from(MAGIC_WORD | phase) | u64::from(stamp.publisher) << 32,
            self.run_id,
            u64::from(stamp.seq) | late << 32,
            stamp.due_ns,
            0,
        ];
        let checksum = checksum_of(&words);
        words[4] = checksum;
        let mut bytes = [0; STAMP_BYTES];
        for (chunk, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *chunk = word.to_le_bytes();
        }
        (bytes, checksum)
    }

    #[inline]
    fn body_offset(&self, checksum: u64) -> usize {
        (checksum % OFFSETS) as usize * self.step
    }
}

/// Encodes a frame header.
fn head(opcode: OpCode, mask: Option<[u8; 4]>, payload_bytes: usize) -> Vec<u8> {
    let header = FrameHeader {
        opcode,
        mask,
        ..FrameHeader::default()
    };
    let mut bytes = Vec::new();
    // Writing into a vector cannot fail.
    let _ = header.format(payload_bytes as u64, &mut bytes);
    bytes
}

/// The template of the bodies, and the distance between their starts. A body in JSON must be valid
/// by itself, so that template is a list of whole bodies.
fn template(size: usize, form: Form, random: &mut SplitMix) -> (Vec<u8>, usize) {
    if form == Form::Json {
        let body_bytes = size - form.body_from();
        let step = body_bytes.next_multiple_of(OFFSET_STEP);
        let mut all = Vec::with_capacity(OFFSETS as usize * step);
        for number in 1..=OFFSETS as usize {
            all.extend(payload_json::body(body_bytes, &mut || random.next()));
            all.resize(number * step, 0);
        }
        return (all, step);
    }
    let bytes = (0..size + OFFSETS as usize * OFFSET_STEP).map(|_| match random.next() {
        byte if form == Form::Text => b'!' + (byte % 94) as u8,
        byte => byte as u8,
    });
    (bytes.collect(), OFFSET_STEP)
}

/// Not cryptographic: it only has to notice bytes that were mixed up, cut off or flipped.
#[inline]
fn checksum_of(words: &[u64; STAMP_WORDS]) -> u64 {
    words[..STAMP_WORDS - 1]
        .iter()
        .fold(0x5851_f42d_4c95_7f2d, |sum: u64, word| {
            let mixed = (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed ^ (mixed >> 29)
        })
}

#[inline]
fn words_of(stamp: &[u8; STAMP_BYTES]) -> [u64; STAMP_WORDS] {
    let chunks = stamp.as_chunks::<8>().0;
    std::array::from_fn(|at| u64::from_le_bytes(chunks[at]))
}

fn to_hex<const HEX: usize>(bytes: &[u8]) -> [u8; HEX] {
    debug_assert_eq!(2 * bytes.len(), HEX);
    let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
    let mut hex = [0; HEX];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    hex
}

fn from_hex(hex: &[u8; HEX_BYTES]) -> Option<[u8; STAMP_BYTES]> {
    let mut bytes = [0; STAMP_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same on every machine for one seed.
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        measured: true,
        publisher: 7,
        seq: 1 << 31,
        due_ns: 123_456_789,
        sent_ns: 123_456_789 + 16 * 1000,
        is_held: true,
    };

    const RUN: u64 = 0x0123_4567_89ab_cdef;

    /// The payload of a frame, unmasked as a server does it.
    fn payload_of(payloads: &Payloads, stamp: &Stamp) -> Vec<u8> {
        let mut frame = Vec::new();
        payloads.append(&mut frame, stamp);
        assert_eq!(frame.len(), payloads.frame_bytes());
        let from = frame.len() - payloads.size();
        assert_eq!(&frame[from - 4..from], payloads.mask());
        let mask = payloads.mask();
        frame[from..]
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key)
            .collect()
    }

    #[test]
    fn a_stamp_survives_the_way_at_every_size() {
        for (form, sizes) in [
            (Form::Binary, [40, 41, 126, 70_000]),
            (Form::Text, [80, 83, 126, 70_000]),
            (Form::Json, [256, 257, 514, 65_536]),
        ] {
            for size in sizes {
                let payloads = Payloads::new(size, form, 42, RUN);
                let payload = payload_of(&payloads, &STAMP);
                assert!(
                    matches!(payloads.read(&payload), Reading::Intact(read, _) if read == STAMP)
                );
                assert!(!form.is_text() || payload.is_ascii(), "text must be UTF-8");
                let is_json = serde_json::from_slice::<serde_json::Value>(&payload).is_ok();
                assert_eq!(is_json, form == Form::Json);
            }
        }
    }

    #[test]
    fn no_flipped_bit_is_read_as_intact() {
        for (form, size) in [(Form::Binary, 120), (Form::Text, 120), (Form::Json, 256)] {
            let payloads = Payloads::new(size, form, 42, RUN);
            let payload = payload_of(&payloads, &STAMP);
            for bit in 0..payload.len() * 8 {
                let mut damaged = payload.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                let reading = payloads.read(&damaged);
                assert!(
                    matches!(reading, Reading::BodyDamaged(..) | Reading::StampDamaged),
                    "bit {bit}: {reading:?}"
                );
            }
        }
    }

    #[test]
    fn the_body_of_another_message_is_damage() {
        let payloads = Payloads::new(400, Form::Binary, 42, RUN);
        let other = (0..64).map(|seq| payload_of(&payloads, &Stamp { seq, ..STAMP }));
        let mut mixed = payload_of(&payloads, &STAMP);
        let own_body = mixed[STAMP_BYTES..].to_vec();
        let foreign = other.map(|payload| payload[STAMP_BYTES..].to_vec());
        let body = foreign
            .into_iter()
            .find(|body| *body != own_body)
            .expect("64 offsets");
        mixed[STAMP_BYTES..].copy_from_slice(&body);
        assert!(matches!(payloads.read(&mixed), Reading::BodyDamaged(..)));
    }

    #[test]
    fn a_message_of_another_run_is_foreign_whatever_the_seed() {
        for form in [Form::Binary, Form::Text, Form::Json] {
            let one = Payloads::new(256, form, 1, RUN);
            let other = Payloads::new(256, form, 1, !RUN);
            let payload = payload_of(&one, &STAMP);
            assert_eq!(other.read(&payload), Reading::Foreign);
            assert_eq!(one.read(b"welcome"), Reading::Foreign);
            assert_eq!(one.read(&[0xee; 256]), Reading::Foreign, "of our size");
            // The seed decides everything but the run id.
            let body = form.body_from()..;
            assert_eq!(one.template, other.template);
            assert_ne!(one.template, Payloads::new(256, form, 2, RUN).template);
            assert_ne!(payload[body.clone()], payload_of(&other, &STAMP)[body]);
        }
    }

    #[test]
    fn a_message_without_stamp_is_known_by_run_id_or_body() {
        for form in [Form::Binary, Form::Text, Form::Json] {
            let payloads = Payloads::new(300, form, 42, RUN);
            let payload = payload_of(&payloads, &STAMP);
            let stamp_from = form.body_from() - payloads.stamp_bytes();
            let mut stampless = payload.clone();
            stampless[stamp_from..form.body_from()].fill(0xee);
            assert_eq!(payloads.read(&stampless), Reading::StampDamaged);
            let mut bodyless = payload.clone();
            bodyless[form.body_from() - 1..].fill(0xee);
            assert_eq!(payloads.read(&bodyless), Reading::StampDamaged);
            let run_id_until = stamp_from + RUN_ID.end * payloads.stamp_bytes() / STAMP_BYTES;
            assert_eq!(
                payloads.read(&payload[..run_id_until]),
                Reading::StampDamaged
            );
            let less = &payload[..run_id_until - 1];
            assert_eq!(payloads.read(less), Reading::Foreign);
        }
    }
}
