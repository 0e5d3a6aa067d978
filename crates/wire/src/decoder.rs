//! Client-to-server frames: bytes in any pieces become messages (RFC 6455 §5, §6.2, §8.1).
//!
//! The engine keeps one [`Decoder`] per connection and calls [`Decoder::next`] with the bytes of
//! one `recv` until it yields `None`. Invariants:
//!
//! - A frame that is whole in the input is unmasked in place and borrowed from it, without a copy.
//!   Only a message that is split, over frames or over inputs, is kept, in a boxed `Partial`; each
//!   of its bytes is unmasked once and copied once.
//! - Memory grows with bytes that arrived, never with a length that was announced; limits are
//!   checked as soon as a header shows its length.
//! - Every offence is found at the first byte that commits it, including text that cannot become
//!   UTF-8, and ends the decoding, as a close frame does.
//! - After a call that returned `None`, `partial` is present if and only if a frame or a fragmented
//!   message is open, so an idle connection holds nothing.

use super::close::{CloseFrame, is_valid_received_code};
use super::frame::{MessageKind, Opcode};
use super::header::Header;
use super::partial::{Collected, Partial};
use super::{mask, utf8};

pub use super::input::Input;
pub use super::protocol_error::{DecoderLimits, ProtocolError};

/// The state of one connection's incoming frames.
#[derive(Default, Debug)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
    phase: Phase,
}

const _: () = assert!(size_of::<Decoder>() <= 16);

/// Work of the next call: memory to free, or input to ignore.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Phase {
    #[default]
    Decoding,
    /// The message of `partial` was lent out; the next call frees it.
    LentMessage,
    /// The control frame of `partial` was lent out.
    LentControl,
    /// After a close frame or an error: all further input is dropped.
    Ended,
}

/// A message as it came, whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// Text or binary.
    pub kind: MessageKind,
    /// Unmasked; valid UTF-8 if the kind is text.
    pub payload: &'a [u8],
}

/// A message or control frame of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item<'a> {
    /// A whole message, its fragments joined.
    Message(Message<'a>),
    /// A whole compressed message, for [`super::deflate::Inflater`]. Its payload is still
    /// compressed: only the inflated text can be checked for UTF-8.
    Compressed(Message<'a>),
    /// Must be answered by a pong with the same payload.
    Ping(&'a [u8]),
    /// A frame that needs no action. It is yielded so that callers can count every frame.
    Passive(Passive<'a>),
    /// The last item; `None` if the frame was empty.
    Close(Option<CloseFrame<'a>>),
}

/// A frame that needs no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passive<'a> {
    /// An answer to a ping, or a heartbeat.
    Pong(&'a [u8]),
    /// A whole frame, possibly empty, that is not the last of its message: it is kept until that
    /// comes.
    Fragment,
}

impl Decoder {
    /// A decoder at the start of a connection. Allocates nothing.
    pub const fn new() -> Decoder {
        Decoder {
            partial: None,
            phase: Phase::Decoding,
        }
    }

    /// The next item, or `None` when the input is used up.
    ///
    /// Call it until it returns `None`: that call also frees the message that was lent before.
    /// After a close frame or an error it returns `None` and drops all input.
    ///
    /// # Errors
    ///
    /// The first offence of the peer; close the connection with its close code.
    #[inline]
    pub fn next<'s, 'i: 's>(
        &'s mut self,
        input: &mut Input<'i>,
        limits: &DecoderLimits,
    ) -> Result<Option<Item<'s>>, ProtocolError> {
        if self.phase != Phase::Decoding {
            self.settle(input);
        }
        // Fast path: nearly every frame is whole and unfragmented, so no state is touched for it.
        if self.partial.is_none()
            && let Some((header, payload)) = take_whole_frame(input, limits)
        {
            let kind = match header.opcode {
                _ if header.is_compressed => return self.lend_rare(&header, payload, input),
                Opcode::Text if utf8::is_valid(payload) => MessageKind::Text,
                Opcode::Binary => MessageKind::Binary,
                _ => return self.lend_rare(&header, payload, input),
            };
            return Ok(Some(Item::Message(Message { kind, payload })));
        }
        self.next_split(input, limits)
    }

    /// Bytes of memory that this connection holds for a message or frame that is not whole yet.
    pub fn held_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| {
            size_of::<Partial>() + partial.message_capacity()
        })
    }

    /// Whether a frame or a fragmented message is open: its rest has a deadline.
    pub fn is_mid_message(&self) -> bool {
        match self.phase {
            Phase::Decoding => self.partial.is_some(),
            Phase::LentControl => self.has_open_message(),
            Phase::LentMessage | Phase::Ended => false,
        }
    }

    fn has_open_message(&self) -> bool {
        self.partial
            .as_ref()
            .is_some_and(|partial| partial.has_open_message())
    }

    /// Frees the payload that the last call lent; after the end, drops all input.
    #[cold]
    fn settle(&mut self, input: &mut Input<'_>) {
        match self.phase {
            Phase::Decoding => {}
            Phase::LentMessage => self.partial = None,
            Phase::LentControl => {
                if !self.has_open_message() {
                    self.partial = None;
                }
            }
            Phase::Ended => return self.end(input),
        }
        self.phase = Phase::Decoding;
    }

    #[cold]
    fn end(&mut self, input: &mut Input<'_>) {
        input.bytes = &mut [];
        self.partial = None;
        self.phase = Phase::Ended;
    }

    /// The next item if a frame or a message is split, is about to be, or breaks a rule.
    #[inline(never)]
    fn next_split(
        &mut self,
        input: &mut Input<'_>,
        limits: &DecoderLimits,
    ) -> Result<Option<Item<'_>>, ProtocolError> {
        if input.is_empty() || self.phase == Phase::Ended {
            return Ok(None);
        }
        match self.partial.get_or_insert_default().collect(input, limits) {
            Ok(Collected::Nothing) => Ok(None),
            Ok(Collected::Fragment) => Ok(Some(Item::Passive(Passive::Fragment))),
            Ok(Collected::Message {
                kind,
                is_compressed,
            }) => {
                self.phase = Phase::LentMessage;
                let payload = self
                    .partial
                    .as_ref()
                    .map_or(&[][..], |partial| partial.message());
                Ok(Some(message_item(kind, payload, is_compressed)))
            }
            Ok(Collected::Control(opcode)) => {
                self.phase = Phase::LentControl;
                if opcode == Opcode::Close {
                    self.phase = Phase::Ended;
                    input.bytes = &mut [];
                }
                let payload = self
                    .partial
                    .as_ref()
                    .map_or(&[][..], |partial| partial.control());
                control_item(opcode, payload).map(Some)
            }
            Err(error) => {
                self.end(input);
                Err(error)
            }
        }
    }

    /// Handles a whole frame that is a compressed message, a control frame or invalid text.
    #[inline(never)]
    fn lend_rare<'p>(
        &mut self,
        header: &Header,
        payload: &'p [u8],
        input: &mut Input<'_>,
    ) -> Result<Option<Item<'p>>, ProtocolError> {
        let item = match header.opcode {
            Opcode::Text if header.is_compressed => {
                Ok(message_item(MessageKind::Text, payload, true))
            }
            Opcode::Binary => Ok(message_item(MessageKind::Binary, payload, true)),
            Opcode::Text => Err(ProtocolError::InvalidUtf8),
            opcode => control_item(opcode, payload),
        };
        if matches!(item, Err(_) | Ok(Item::Close(_))) {
            self.end(input);
        }
        item.map(Some)
    }
}

/// The frame at the front of the input, unmasked, if it is whole and not a fragment.
///
/// `None`, with nothing taken, for all others, including invalid ones: [`Partial`] classifies them.
#[inline]
fn take_whole_frame<'i>(
    input: &mut Input<'i>,
    limits: &DecoderLimits,
) -> Option<(Header, &'i [u8])> {
    let (header, header_len) = Header::parse(input.bytes, None, limits).ok().flatten()?;
    let is_whole = header.payload_len <= (input.bytes.len() - header_len) as u64;
    if !header.fin || !is_whole {
        return None;
    }
    input.take(header_len);
    let payload = input.take(header.payload_len as usize);
    mask::apply(payload, header.key);
    Some((header, payload))
}

fn message_item(kind: MessageKind, payload: &[u8], is_compressed: bool) -> Item<'_> {
    let message = Message { kind, payload };
    if is_compressed {
        Item::Compressed(message)
    } else {
        Item::Message(message)
    }
}

fn control_item(opcode: Opcode, payload: &[u8]) -> Result<Item<'_>, ProtocolError> {
    debug_assert!(opcode.is_control());
    Ok(match opcode {
        Opcode::Ping => Item::Ping(payload),
        Opcode::Pong => Item::Passive(Passive::Pong(payload)),
        _ => Item::Close(close_frame(payload)?),
    })
}

/// RFC 6455 §5.5.1: empty, or a code and a reason in UTF-8.
fn close_frame(payload: &[u8]) -> Result<Option<CloseFrame<'_>>, ProtocolError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        let is_empty = payload.is_empty();
        return if is_empty {
            Ok(None)
        } else {
            Err(ProtocolError::CloseTooShort)
        };
    };
    let code = u16::from_be_bytes(*code);
    if !is_valid_received_code(code) {
        return Err(ProtocolError::InvalidCloseCode);
    }
    match std::str::from_utf8(reason) {
        Ok(reason) => Ok(Some(CloseFrame { code, reason })),
        Err(_) => Err(ProtocolError::InvalidCloseReason),
    }
}

#[cfg(test)]
mod tests;
