//! The state of a connection while a frame or a message is not whole: see [`super::decoder`].

use super::frame::{CONTROL_PAYLOAD_BYTES_MAX, MessageKind, Opcode};
use super::header::{CLIENT_HEADER_BYTES_MAX, Header};
use super::input::Input;
use super::protocol_error::{DecoderLimits, ProtocolError};
use super::{mask, utf8};

/// The pieces of a header, of a control frame and of a message; any of them may be open at once,
/// but a header and a frame exclude each other.
#[derive(Debug)]
pub(super) struct Partial {
    /// The payload of the open message so far, unmasked.
    message: Vec<u8>,
    /// The kind of the open message.
    kind: Option<MessageKind>,
    /// Whether the open message is compressed.
    is_compressed: bool,
    /// The length of the prefix of a text message known to be UTF-8: all but the last 0 to 3 bytes.
    validated_bytes: usize,
    /// The frame whose payload is arriving.
    frame: Option<OpenFrame>,
    header: [u8; CLIENT_HEADER_BYTES_MAX],
    header_len: u8,
    control: [u8; CONTROL_PAYLOAD_BYTES_MAX],
    control_len: u8,
}

#[derive(Debug)]
struct OpenFrame {
    fin: bool,
    opcode: Opcode,
    /// Rotated so that it fits the next byte.
    key: [u8; 4],
    /// Payload bytes that are still to come.
    remaining: usize,
}

/// The result of [`Partial::collect`].
pub(super) enum Collected {
    /// Nothing: the input is used up.
    Nothing,
    /// The message.
    Message {
        kind: MessageKind,
        is_compressed: bool,
    },
    /// A control frame.
    Control(Opcode),
    /// A frame of the open message that is not its last.
    Fragment,
}

impl Default for Partial {
    fn default() -> Partial {
        Partial {
            message: Vec::new(),
            kind: None,
            is_compressed: false,
            validated_bytes: 0,
            frame: None,
            header: [0; CLIENT_HEADER_BYTES_MAX],
            header_len: 0,
            control: [0; CONTROL_PAYLOAD_BYTES_MAX],
            control_len: 0,
        }
    }
}

impl Partial {
    /// Whether a message has begun and was not lent yet.
    pub(super) fn has_open_message(&self) -> bool {
        self.kind.is_some()
    }

    /// The payload of the message that was collected.
    pub(super) fn message(&self) -> &[u8] {
        &self.message
    }

    /// Bytes of memory that are held for the message.
    pub(super) fn message_capacity(&self) -> usize {
        self.message.capacity()
    }

    /// The payload of the last control frame that was collected.
    pub(super) fn control(&self) -> &[u8] {
        &self.control[..usize::from(self.control_len)]
    }

    /// Takes the next frame off the input, as far as it is present.
    pub(super) fn collect(
        &mut self,
        input: &mut Input<'_>,
        limits: &DecoderLimits,
    ) -> Result<Collected, ProtocolError> {
        self.check_invariants();
        if self.frame.is_none() {
            let Some(header) = self.take_header(input, limits)? else {
                return Ok(Collected::Nothing);
            };
            self.open(&header);
        }
        let Some((fin, opcode)) = self.fill(input)? else {
            return Ok(Collected::Nothing);
        };
        match self.kind {
            _ if opcode.is_control() => Ok(Collected::Control(opcode)),
            Some(kind) if fin => self.finish(kind),
            _ => Ok(Collected::Fragment),
        }
    }

    /// Whether the open message must be UTF-8 as it comes.
    fn is_plain_text(&self) -> bool {
        self.kind == Some(MessageKind::Text) && !self.is_compressed
    }

    fn check_invariants(&self) {
        debug_assert!(self.frame.is_none() || self.header_len == 0);
        debug_assert!(self.kind.is_some() || self.message.is_empty());
        debug_assert!(self.validated_bytes <= self.message.len());
        if self.is_plain_text() {
            debug_assert!(self.message.len() - self.validated_bytes <= 3);
        }
    }

    /// Completes the kept header with bytes of the input, or keeps those too.
    fn take_header(
        &mut self,
        input: &mut Input<'_>,
        limits: &DecoderLimits,
    ) -> Result<Option<Header>, ProtocolError> {
        debug_assert!(self.frame.is_none());
        let kept = usize::from(self.header_len);
        let added = input.bytes.len().min(CLIENT_HEADER_BYTES_MAX - kept);
        let filled = kept + added;
        self.header[kept..filled].copy_from_slice(&input.bytes[..added]);
        let open_bytes = self.kind.map(|_| self.message.len());
        let Some((header, len)) = Header::parse(&self.header[..filled], open_bytes, limits)? else {
            // An incomplete header is shorter than the largest, so all input was taken.
            debug_assert!(filled < CLIENT_HEADER_BYTES_MAX && added == input.bytes.len());
            input.take(added);
            self.header_len = filled as u8;
            return Ok(None);
        };
        debug_assert!(len > kept, "the header was whole before");
        input.take(len - kept);
        self.header_len = 0;
        Ok(Some(header))
    }

    /// Starts the payload of a frame.
    fn open(&mut self, header: &Header) {
        debug_assert!(self.frame.is_none() && self.header_len == 0);
        match header.opcode {
            Opcode::Text => self.begin(MessageKind::Text, header.is_compressed),
            Opcode::Binary => self.begin(MessageKind::Binary, header.is_compressed),
            Opcode::Continuation => debug_assert!(self.kind.is_some()),
            Opcode::Close | Opcode::Ping | Opcode::Pong => self.control_len = 0,
        }
        self.frame = Some(OpenFrame {
            fin: header.fin,
            opcode: header.opcode,
            key: header.key,
            remaining: header.payload_len as usize,
        });
    }

    fn begin(&mut self, kind: MessageKind, is_compressed: bool) {
        self.kind = Some(kind);
        self.is_compressed = is_compressed;
    }

    /// Moves payload from the input into the open frame; returns FIN and opcode when it is
    /// complete.
    fn fill(&mut self, input: &mut Input<'_>) -> Result<Option<(bool, Opcode)>, ProtocolError> {
        let Some(frame) = &mut self.frame else {
            return Ok(None);
        };
        let piece = input.take(frame.remaining);
        mask::apply(piece, frame.key);
        frame.key = mask::advance(frame.key, piece.len());
        frame.remaining -= piece.len();
        let (fin, opcode, remaining) = (frame.fin, frame.opcode, frame.remaining);
        if remaining == 0 {
            self.frame = None;
        }
        if opcode.is_control() {
            self.append_control(piece);
        } else {
            self.append(piece, remaining)?;
        }
        Ok((remaining == 0).then_some((fin, opcode)))
    }

    fn append_control(&mut self, piece: &[u8]) {
        let kept = usize::from(self.control_len);
        let filled = kept + piece.len();
        debug_assert!(filled <= CONTROL_PAYLOAD_BYTES_MAX);
        self.control[kept..filled].copy_from_slice(piece);
        self.control_len = filled as u8;
    }

    /// `remaining` is the announced rest of the frame after this piece.
    fn append(&mut self, piece: &[u8], remaining: usize) -> Result<(), ProtocolError> {
        let filled = self.message.len() + piece.len();
        if filled > self.message.capacity() {
            // Twice what has arrived, so that appending stays linear, but never more than the frame
            // will fill, so that a mere announcement reserves nothing.
            let wanted = (filled + remaining).min(filled.saturating_mul(2));
            self.message.reserve_exact(wanted - self.message.len());
        }
        self.message.extend_from_slice(piece);
        if self.is_plain_text() {
            let unknown = &self.message[self.validated_bytes..];
            self.validated_bytes += utf8::valid_prefix_bytes(unknown)?;
        }
        Ok(())
    }

    fn finish(&mut self, kind: MessageKind) -> Result<Collected, ProtocolError> {
        if self.is_plain_text() && self.validated_bytes < self.message.len() {
            return Err(ProtocolError::InvalidUtf8);
        }
        Ok(Collected::Message {
            kind,
            is_compressed: self.is_compressed,
        })
    }
}
