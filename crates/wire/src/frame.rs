//! Server-to-client frames: opcodes, sizes, and the encoding of one frame (RFC 6455 §5.2).
//!
//! Fan-out and the engine call [`append_frame`] once per message, regardless of the number of
//! receivers. A server never masks (RFC 6455 §5.1) and this one never fragments, so every frame is
//! a header of 2, 4 or 10 bytes with FIN set, followed by the payload as it is.

/// The kind of a data message. It stays the same from the sender to every receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageKind {
    /// UTF-8 text (opcode 1).
    Text,
    /// Any bytes (opcode 2).
    Binary,
}

/// The opcodes of RFC 6455 §5.2; the value is the one on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of the open message.
    Continuation = 0x0,
    /// A text message, or its first fragment.
    Text = 0x1,
    /// A binary message, or its first fragment.
    Binary = 0x2,
    /// The end of the connection (RFC 6455 §5.5.1).
    Close = 0x8,
    /// A request that a [`Opcode::Pong`] answers (RFC 6455 §5.5.2).
    Ping = 0x9,
    /// The answer to a ping, or a heartbeat (RFC 6455 §5.5.3).
    Pong = 0xA,
}

impl Opcode {
    /// Close, ping and pong (RFC 6455 §5.5): never fragmented, at most
    /// [`CONTROL_PAYLOAD_BYTES_MAX`].
    #[inline]
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }

    /// The opcode of the low four bits of a frame's first byte; `None` for the reserved ones.
    #[inline]
    pub(super) const fn from_first_byte(first: u8) -> Option<Opcode> {
        Some(match first & 0x0F {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xA => Opcode::Pong,
            _ => return None,
        })
    }
}

impl From<MessageKind> for Opcode {
    #[inline]
    fn from(kind: MessageKind) -> Opcode {
        match kind {
            MessageKind::Text => Opcode::Text,
            MessageKind::Binary => Opcode::Binary,
        }
    }
}

/// The largest header of a frame without a mask: two bytes and a 64-bit length.
pub const SERVER_HEADER_BYTES_MAX: usize = 10;

/// The largest payload of a close, ping or pong (RFC 6455 §5.5).
pub const CONTROL_PAYLOAD_BYTES_MAX: usize = 125;

/// Payloads up to this length have it in the header's second byte.
pub(super) const LEN7_MAX: usize = 125;
/// Payloads up to this length have it in two further bytes, larger ones in eight.
pub(super) const LEN16_MAX: usize = u16::MAX as usize;
/// In the second byte: a 16-bit length follows.
pub(super) const LEN16_MARK: u8 = 126;
/// In the second byte: a 64-bit length follows.
const LEN64_MARK: u8 = 127;
/// In the first byte: the last fragment of its message.
pub(super) const FIN: u8 = 0x80;
/// In the first byte: the message is compressed (RFC 7692 §6).
pub(super) const RSV1: u8 = 0x40;

const _: () = assert!(CONTROL_PAYLOAD_BYTES_MAX <= LEN7_MAX);

/// Bytes of a whole frame, header and payload, as [`append_frame`] writes it.
#[inline]
pub const fn server_frame_bytes(payload_len: usize) -> usize {
    payload_len
        + match payload_len {
            0..=LEN7_MAX => 2,
            126..=LEN16_MAX => 4,
            _ => SERVER_HEADER_BYTES_MAX,
        }
}

/// Appends one unfragmented, unmasked frame.
///
/// Exactly [`server_frame_bytes`] are appended.
#[inline]
pub fn append_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    debug_assert!(!opcode.is_control() || payload.len() <= CONTROL_PAYLOAD_BYTES_MAX);
    append(out, FIN | opcode as u8, payload);
}

/// Appends the beginning of such a frame: its header, and `head`. The last `body_bytes` of its
/// payload must follow.
#[inline]
pub fn append_frame_head(out: &mut Vec<u8>, opcode: Opcode, head: &[u8], body_bytes: usize) {
    debug_assert!(!opcode.is_control());
    append_header(out, FIN | opcode as u8, head.len() + body_bytes);
    out.extend_from_slice(head);
}

/// Appends only the header of a frame whose payload was deflated (RFC 7692 §6.1).
pub(super) fn append_deflated_header(out: &mut Vec<u8>, opcode: Opcode, deflated_bytes: usize) {
    append_header(out, FIN | RSV1 | opcode as u8, deflated_bytes);
}

/// The opcode and the payload of one whole frame that [`append_frame`] made; `None` for anything
/// else.
pub fn split_frame(frame: &[u8]) -> Option<(Opcode, &[u8])> {
    let (first, length) = (*frame.first()?, *frame.get(1)?);
    let header = match length {
        LEN16_MARK => 4,
        LEN64_MARK => 10,
        _ => 2,
    };
    Some((Opcode::from_first_byte(first)?, frame.get(header..)?))
}

/// Appends such a frame with a payload that was deflated (RFC 7692 §6.1).
pub(super) fn append_deflated_frame(out: &mut Vec<u8>, opcode: Opcode, deflated: &[u8]) {
    debug_assert!(!opcode.is_control());
    append(out, FIN | RSV1 | opcode as u8, deflated);
}

#[inline]
fn append(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    // Arrays of a known size become single stores.
    match payload.len() {
        len @ 0..=LEN7_MAX => out.extend_from_slice(&[first, len as u8]),
        len => append_long_header(out, first, len),
    }
    out.extend_from_slice(payload);
}

fn append_header(out: &mut Vec<u8>, first: u8, payload_len: usize) {
    match payload_len {
        len @ 0..=LEN7_MAX => out.extend_from_slice(&[first, len as u8]),
        len @ ..=LEN16_MAX => {
            let [high, low] = (len as u16).to_be_bytes();
            out.extend_from_slice(&[first, LEN16_MARK, high, low]);
        }
        len => {
            out.extend_from_slice(&[first, LEN64_MARK]);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

/// The header for a payload of more than [`LEN7_MAX`] bytes.
#[inline(never)]
fn append_long_header(out: &mut Vec<u8>, first: u8, payload_len: usize) {
    out.reserve(server_frame_bytes(payload_len));
    append_header(out, first, payload_len);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tungstenite::protocol::frame::FrameHeader;
    use tungstenite::protocol::frame::coding::{Data, OpCode};

    #[test]
    fn tungstenite_reads_headers_at_every_length_boundary() {
        for len in [
            0,
            1,
            125,
            126,
            127,
            255,
            256,
            65_535,
            65_536,
            65_537,
            1 << 20,
        ] {
            let payload = vec![7; len];
            let mut out = b"before".to_vec();
            append_frame(&mut out, Opcode::Binary, &payload);
            let frame = &out[6..];
            assert_eq!(frame.len(), server_frame_bytes(len), "{len}");

            let mut cursor = std::io::Cursor::new(frame);
            let (header, payload_len) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
            assert!(header.is_final && header.mask.is_none());
            assert_eq!(header.opcode, OpCode::Data(Data::Binary));
            assert_eq!(payload_len, len as u64);
            assert_eq!(&frame[cursor.position() as usize..], payload);
        }
    }

    #[test]
    fn the_opcode_of_a_message_is_its_kind() {
        let mut out = Vec::new();
        append_frame(&mut out, MessageKind::Text.into(), b"hi");
        append_frame(&mut out, MessageKind::Binary.into(), b"");
        append_frame(&mut out, Opcode::Pong, b"!");
        assert_eq!(out, b"\x81\x02hi\x82\x00\x8A\x01!");
    }

    #[test]
    fn a_head_and_its_body_are_the_frame_of_both() {
        for (head, body) in [
            (0, 0),
            (0, 5),
            (40, 85),
            (40, 86),
            (40, 65_495),
            (40, 65_496),
            (70_000, 1),
        ] {
            let (head, body) = (vec![1; head], vec![2; body]);
            let (mut whole, mut parted) = (Vec::new(), Vec::new());
            append_frame(&mut whole, Opcode::Text, &[&head[..], &body].concat());
            append_frame_head(&mut parted, Opcode::Text, &head, body.len());
            assert_eq!(parted.len(), whole.len() - body.len());
            parted.extend_from_slice(&body);
            assert_eq!(parted, whole);
        }
    }

    #[test]
    fn a_frame_is_split_as_it_was_appended() {
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            let (mut frame, payload) = (Vec::new(), vec![7; len]);
            append_frame(&mut frame, Opcode::Binary, &payload);
            assert_eq!(split_frame(&frame), Some((Opcode::Binary, &payload[..])));
        }
        assert_eq!(split_frame(b""), None);
        assert_eq!(split_frame(b"\x82\x7E\x01"), None);
    }

    #[test]
    fn opcodes_round_trip_and_reserved_ones_are_refused() {
        for nibble in 0..16u8 {
            let opcode = Opcode::from_first_byte(FIN | nibble);
            let known = matches!(nibble, 0..=2 | 8..=10);
            assert_eq!(opcode.map(|opcode| opcode as u8), known.then_some(nibble));
            assert_eq!(
                opcode.is_some_and(Opcode::is_control),
                matches!(nibble, 8..=10)
            );
        }
    }
}
