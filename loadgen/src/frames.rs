//! Walks the frames of a receive buffer in place.
//!
//! Nothing is copied and nothing allocated: payloads are slices of the buffer. A frame whose header
//! is the one that our own messages come back with takes a path of one comparison; every other one
//! is parsed by tungstenite's `FrameHeader`.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// One frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming<'a> {
    /// A whole message with the header that ours have.
    Message(&'a [u8]),
    /// Any other data frame.
    Data {
        kind: Data,
        is_final: bool,
        payload: &'a [u8],
    },
    /// To be answered with the same payload (RFC 6455 §5.5.2).
    Ping(&'a [u8]),
    /// Nobody asked for it; allowed (RFC 6455 §5.5.3).
    Pong,
    /// Status code (1005 where there is none, RFC 6455 §7.1.5) and reason.
    Close { code: u16, reason: &'a [u8] },
}

/// What a server must not send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// A reserved bit or opcode (RFC 6455 §5.2).
    Reserved,
    /// Servers do not mask (RFC 6455 §5.1).
    Masked,
    /// A control frame that is fragmented or over 125 bytes (RFC 6455 §5.5).
    Control,
    /// Larger than anything that was sent.
    TooLarge(u64),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reserved => write!(out, "the server sent a frame with a reserved bit or opcode"),
            Self::Masked => write!(out, "the server sent a masked frame"),
            Self::Control => write!(
                out,
                "the server sent a control frame that is too long or split"
            ),
            Self::TooLarge(bytes) => {
                write!(
                    out,
                    "the server sent a frame of {bytes} bytes, larger than any that was sent"
                )
            }
        }
    }
}

/// What to look for in a stream of frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk<'a> {
    /// Header of our own messages as the server sends them.
    pub(crate) expected_head: &'a [u8],
    /// Payload bytes of our own messages.
    pub(crate) expected_bytes: usize,
    /// No payload may have more bytes.
    pub(crate) payload_bytes_max: u64,
}

impl Walk<'_> {
    /// Calls `visit` for every whole frame in `bytes`, up to and including a Close. Gives back how
    /// many bytes the frames took; what is left is the beginning of the next.
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
        check(&header, payload_bytes)?;
        if payload_bytes > self.payload_bytes_max {
            return Err(FrameError::TooLarge(payload_bytes));
        }
        let from = cursor.position() as usize;
        let until = from + payload_bytes as usize;
        let Some(payload) = bytes.get(from..until) else {
            return Ok(None);
        };
        let frame = match header.opcode {
            OpCode::Data(kind) => Incoming::Data {
                kind,
                is_final: header.is_final,
                payload,
            },
            OpCode::Control(Control::Ping) => Incoming::Ping(payload),
            OpCode::Control(Control::Close) => match payload.split_first_chunk::<2>() {
                Some((code, reason)) => Incoming::Close {
                    code: u16::from_be_bytes(*code),
                    reason,
                },
                None => Incoming::Close {
                    code: 1005,
                    reason: &[],
                },
            },
            OpCode::Control(_) => Incoming::Pong,
        };
        Ok(Some((frame, until)))
    }
}

fn check(header: &FrameHeader, payload_bytes: u64) -> Result<(), FrameError> {
    if header.rsv1 || header.rsv2 || header.rsv3 {
        return Err(FrameError::Reserved);
    }
    if header.mask.is_some() {
        return Err(FrameError::Masked);
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
