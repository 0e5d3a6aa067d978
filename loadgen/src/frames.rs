//! Walks the frames of a receive buffer in place.
//!
//! Nothing is copied or allocated: payloads are slices of the buffer. A frame whose header equals
//! that of our own messages takes a path of one comparison; every other one is parsed by
//! tungstenite's `FrameHeader`. The caller joins fragments of a message ([`Fragments`]).

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// One frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming<'a> {
    /// A whole message whose header equals that of our messages.
    Message(&'a [u8]),
    /// Any other data frame.
    Data {
        kind: Data,
        is_final: bool,
        /// The message is compressed (RFC 7692 §6); set on its first frame.
        is_compressed: bool,
        payload: &'a [u8],
    },
    /// A data frame larger than any that was sent, so it is not ours. Its payload is not read.
    Large { kind: Data, is_final: bool },
    /// Must be answered with the same payload (RFC 6455 §5.5.2).
    Ping(&'a [u8]),
    /// Unsolicited, which is allowed (RFC 6455 §5.5.3).
    Pong,
    /// Status code (1005 if absent, RFC 6455 §7.1.5) and reason.
    Close { code: u16, reason: &'a [u8] },
}

/// A message of which some frames are still to come.
#[derive(Debug)]
pub(crate) struct Fragments {
    /// The opcode is the one that was sent.
    pub(crate) is_kind_kept: bool,
    pub(crate) is_compressed: bool,
    /// Larger than any message that was sent: it is not kept.
    pub(crate) is_large: bool,
    pub(crate) bytes: Vec<u8>,
}

/// An offence of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// A reserved bit or opcode was used (RFC 6455 §5.2).
    Reserved,
    /// The frame is masked; servers must not mask (RFC 6455 §5.1).
    Masked,
    /// A control frame is fragmented or over 125 bytes (RFC 6455 §5.5).
    Control,
    /// The length is not minimal, or too large for any frame (RFC 6455 §5.2).
    Length,
    /// A Close has half a status code (RFC 6455 §5.5.1).
    Close,
    /// A continuation without a message (RFC 6455 §5.4).
    Unbegun,
    /// A new message began before the last one's final frame (RFC 6455 §5.4).
    Unfinished,
    /// A compressed message is invalid, or larger than any that was sent (RFC 7692 §7.2.2).
    Compressed,
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "the server sent ")?;
        out.write_str(match self {
            Self::Reserved => "a frame with a reserved bit or opcode",
            Self::Masked => "a masked frame",
            Self::Control => "a control frame that is too long or fragmented",
            Self::Length => "a frame whose length is not minimal",
            Self::Close => "a Close with half a status code",
            Self::Unbegun => "a continuation without a message",
            Self::Unfinished => "a new message before the end of the last one",
            Self::Compressed => {
                "a message that cannot be decompressed, or is larger than any that was sent"
            }
        })
    }
}

/// The parameters of a walk over a stream of frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk<'a> {
    /// Header of our own messages as the server sends them.
    pub(crate) expected_head: &'a [u8],
    /// Payload bytes of our own messages.
    pub(crate) expected_bytes: usize,
    /// Payloads larger than this are not read.
    pub(crate) payload_bytes_max: u64,
    /// Messages may be compressed: permessage-deflate was negotiated.
    pub(crate) allows_compressed: bool,
}

impl Walk<'_> {
    /// Calls `visit` for every whole frame in `bytes`, up to and including a Close. Returns the
    /// number of bytes that the frames took; the rest is the beginning of the next frame. The
    /// number exceeds `bytes` if a frame is large: the caller skips the part that is still to come.
    #[inline]
    pub(crate) fn each<'b>(
        self,
        bytes: &'b [u8],
        mut visit: impl FnMut(Incoming<'b>),
    ) -> Result<usize, FrameError> {
        let whole_bytes = self.expected_head.len() + self.expected_bytes;
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            if rest.len() >= whole_bytes && rest.starts_with(self.expected_head) {
                visit(Incoming::Message(
                    &rest[self.expected_head.len()..whole_bytes],
                ));
                at += whole_bytes;
                continue;
            }
            let Some((frame, frame_bytes)) = self.parse(rest)? else {
                break;
            };
            at += frame_bytes;
            let ends = matches!(frame, Incoming::Close { .. });
            visit(frame);
            if ends {
                break;
            }
        }
        Ok(at)
    }

    fn parse<'b>(&self, bytes: &'b [u8]) -> Result<Option<(Incoming<'b>, usize)>, FrameError> {
        let mut cursor = Cursor::new(bytes);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| FrameError::Reserved)?;
        let Some((header, payload_bytes)) = parsed else {
            return Ok(None);
        };
        let from = cursor.position() as usize;
        check(&header, from, payload_bytes, self.allows_compressed)?;
        if let OpCode::Data(kind) = header.opcode
            && payload_bytes > self.payload_bytes_max
        {
            let is_final = header.is_final;
            let until = from.saturating_add(payload_bytes as usize);
            return Ok(Some((Incoming::Large { kind, is_final }, until)));
        }
        let until = from + payload_bytes as usize;
        let Some(payload) = bytes.get(from..until) else {
            return Ok(None);
        };
        let frame = match header.opcode {
            OpCode::Data(kind) => Incoming::Data {
                kind,
                is_final: header.is_final,
                is_compressed: header.rsv1,
                payload,
            },
            OpCode::Control(Control::Ping) => Incoming::Ping(payload),
            OpCode::Control(Control::Close) => match payload.split_first_chunk::<2>() {
                Some((code, reason)) => Incoming::Close {
                    code: u16::from_be_bytes(*code),
                    reason,
                },
                None if payload.is_empty() => Incoming::Close {
                    code: 1005,
                    reason: &[],
                },
                None => return Err(FrameError::Close),
            },
            OpCode::Control(_) => Incoming::Pong,
        };
        Ok(Some((frame, until)))
    }
}

fn check(
    header: &FrameHeader,
    header_bytes: usize,
    payload_bytes: u64,
    allows_compressed: bool,
) -> Result<(), FrameError> {
    let begins_message = matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
    if header.rsv1 && !(allows_compressed && begins_message) || header.rsv2 || header.rsv3 {
        return Err(FrameError::Reserved);
    }
    if header.mask.is_some() {
        return Err(FrameError::Masked);
    }
    let shortest_bytes = match payload_bytes {
        0..126 => 2,
        126..65_536 => 4,
        _ => 10,
    };
    if header_bytes > shortest_bytes || payload_bytes > i64::MAX as u64 {
        return Err(FrameError::Length);
    }
    let is_control = matches!(header.opcode, OpCode::Control(_));
    if is_control && (!header.is_final || payload_bytes > 125) {
        return Err(FrameError::Control);
    }
    Ok(())
}

/// Appends a masked control frame; `payload` has at most 125 bytes.
pub(crate) fn append_control(out: &mut Vec<u8>, kind: Control, mask: [u8; 4], payload: &[u8]) {
    let opcode = OpCode::Control(kind);
    let header = FrameHeader {
        opcode,
        mask: Some(mask),
        ..FrameHeader::default()
    };
    // Writing into a vector cannot fail.
    let _ = header.format(payload.len() as u64, out);
    out.extend(
        payload
            .iter()
            .enumerate()
            .map(|(at, byte)| byte ^ mask[at % 4]),
    );
}

#[cfg(test)]
mod tests {
    use tungstenite::protocol::frame::Frame;

    use super::*;

    fn bytes_of(frames: Vec<Frame>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames {
            frame.format(&mut bytes).expect("into memory");
        }
        bytes
    }

    fn binary(payload: &[u8], is_final: bool) -> Frame {
        Frame::message(payload.to_vec(), OpCode::Data(Data::Binary), is_final)
    }

    const WALK: Walk<'_> = Walk {
        expected_head: &[0x82, 3],
        expected_bytes: 3,
        payload_bytes_max: 1000,
        allows_compressed: false,
    };

    #[test]
    fn frames_are_found_whole_wherever_a_read_cuts_them() {
        let bytes = bytes_of(vec![
            binary(b"abc", true),
            Frame::ping(b"p".to_vec()),
            binary(b"longer", true),
            binary(b"xyz", false),
            binary(&[7; 300], true),
        ]);
        let mut whole = Vec::new();
        let taken = WALK.each(&bytes, |frame| whole.push(format!("{frame:?}")));
        assert_eq!((taken, whole.len()), (Ok(bytes.len()), 5));
        for cut in 0..bytes.len() {
            let mut seen = Vec::new();
            let taken = WALK.each(&bytes[..cut], |frame| seen.push(format!("{frame:?}")));
            let taken = taken.expect("nothing wrong yet");
            let _ = WALK.each(&bytes[taken..], |frame| seen.push(format!("{frame:?}")));
            assert_eq!(seen, whole, "cut at {cut}");
        }
    }

    #[test]
    fn the_expected_header_and_no_other_takes_the_short_path() {
        let mut kinds = Vec::new();
        let bytes = bytes_of(vec![binary(b"abc", true), binary(b"abcd", true)]);
        let _ = WALK.each(&bytes, |frame| {
            kinds.push(matches!(frame, Incoming::Message(b"abc")));
        });
        assert_eq!(kinds, [true, false]);
    }

    #[test]
    fn nothing_is_read_behind_a_close() {
        let bytes = [0x88, 2, 0x03, 0xe8, 0x82, 3, 1, 2, 3];
        let mut seen = 0;
        assert_eq!(WALK.each(&bytes, |_| seen += 1), Ok(4));
        assert_eq!(seen, 1);
    }

    #[test]
    fn protocol_errors_of_a_server_are_named() {
        let error = |bytes: &[u8]| WALK.each(bytes, |_| {}).expect_err("an offence");
        assert_eq!(error(&[0xc2, 0]), FrameError::Reserved);
        assert_eq!(error(&[0x83, 0]), FrameError::Reserved);
        assert_eq!(error(&[0x82, 0x80, 0, 0, 0, 0]), FrameError::Masked);
        assert_eq!(error(&[0x09, 0]), FrameError::Control);
        assert_eq!(error(&[0x89, 126, 0, 126]), FrameError::Control);
        assert_eq!(error(&[0x82, 126, 0, 125]), FrameError::Length);
        assert_eq!(error(&[0x88, 1, 3]), FrameError::Close);
        let endless = [&[0x82, 127][..], &[0xff; 8]].concat();
        assert_eq!(error(&endless), FrameError::Length);
    }

    #[test]
    fn an_oversized_frame_is_skipped_as_it_arrives() {
        let mut seen = Vec::new();
        let bytes = [0x89, 0, 0x82, 126, 0x03, 0xe9, 1, 2];
        let taken = WALK.each(&bytes, |frame| {
            seen.push(matches!(frame, Incoming::Large { is_final: true, .. }));
        });
        assert_eq!((taken, seen), (Ok(2 + 4 + 1001), vec![false, true]));
        assert!(WALK.each(&[0x89, 126, 0xff, 0xff], |_| {}).is_err());
    }

    #[test]
    fn only_the_first_frame_marks_a_compressed_message() {
        let walk = Walk {
            allows_compressed: true,
            ..WALK
        };
        let mut seen = Vec::new();
        let bytes = [0xc2, 3, 1, 2, 3, 0x82, 3, 1, 2, 3, 0x42, 0, 0x80, 0];
        let taken = walk.each(&bytes, |frame| {
            seen.push(matches!(
                frame,
                Incoming::Data {
                    is_compressed: true,
                    ..
                }
            ));
        });
        assert_eq!((taken, seen), (Ok(14), vec![true, false, true, false]));
        for bytes in [[0xc0, 0], [0xc9, 0], [0xa2, 0]] {
            assert_eq!(walk.each(&bytes, |_| {}), Err(FrameError::Reserved));
        }
    }

    #[test]
    fn a_control_frame_is_masked_and_comes_out_as_it_went_in() {
        let mut bytes = Vec::new();
        append_control(&mut bytes, Control::Pong, [1, 2, 3, 4], b"hello");
        let mut cursor = Cursor::new(&bytes);
        let (header, len) = FrameHeader::parse(&mut cursor)
            .expect("a header")
            .expect("whole");
        let mask = header.mask.expect("masked");
        let payload: Vec<u8> = bytes[6..]
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key)
            .collect();
        assert_eq!((len, payload.as_slice()), (5, &b"hello"[..]));
    }
}
