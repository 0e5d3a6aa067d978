//! The limits on a client's frames, and one error for each offence.

use strum::IntoStaticStr;

use super::utf8;

/// The limits for one connection; control frames have their own (RFC 6455 §5.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecoderLimits {
    /// Largest message, the sum of its fragments.
    pub message_bytes: usize,
    /// Largest payload of one data frame.
    pub frame_bytes: u64,
    /// Whether messages may be compressed: permessage-deflate was negotiated (RFC 7692 §6).
    pub allows_compressed: bool,
}

/// A frame that RFC 6455 or a limit forbids. One variant for each offence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum ProtocolError {
    /// RFC 6455 §5.1: a client masks every frame.
    #[error("frame is not masked")]
    UnmaskedFrame,
    /// RFC 6455 §5.2: no extension gave these bits a meaning. RSV1 has one on the first frame of a
    /// message if permessage-deflate was negotiated (RFC 7692 §6.1).
    #[error("reserved bits are set")]
    ReservedBits,
    /// RFC 6455 §5.2: opcodes 3 to 7 and 11 to 15.
    #[error("reserved opcode")]
    ReservedOpcode,
    /// RFC 6455 §5.5: a control frame without FIN.
    #[error("fragmented control frame")]
    FragmentedControl,
    /// RFC 6455 §5.5: a control frame over 125 bytes.
    #[error("control frame over 125 bytes")]
    ControlTooLong,
    /// RFC 6455 §5.4: a continuation while no message is open.
    #[error("continuation without a message")]
    UnexpectedContinuation,
    /// RFC 6455 §5.4: a new message while another is open.
    #[error("new message within a fragmented one")]
    ExpectedContinuation,
    /// RFC 6455 §5.2: a length must have its shortest form.
    #[error("length is not in its shortest form")]
    LengthNotMinimal,
    /// RFC 6455 §5.2: the highest bit of a 64-bit length is set.
    #[error("length over 2^63")]
    LengthTooLarge,
    /// A data frame over [`DecoderLimits::frame_bytes`].
    #[error("frame is too big")]
    FrameTooBig,
    /// A message over [`DecoderLimits::message_bytes`].
    #[error("message is too big")]
    MessageTooBig,
    /// RFC 6455 §8.1: text that is not UTF-8.
    #[error("text is not UTF-8")]
    InvalidUtf8,
    /// RFC 7692 §7.2.2: a compressed message that cannot be inflated.
    #[error("compressed message is not DEFLATE")]
    InvalidDeflate,
    /// RFC 6455 §5.5.1: a close with a payload of one byte.
    #[error("close code is cut short")]
    CloseTooShort,
    /// RFC 6455 §7.4: a close code that must not be sent.
    #[error("invalid close code")]
    InvalidCloseCode,
    /// RFC 6455 §5.5.1: a close reason that is not UTF-8.
    #[error("close reason is not UTF-8")]
    InvalidCloseReason,
}

impl ProtocolError {
    /// The matching close code: 1002, 1007 or 1009 (RFC 6455 §7.4.1). RFC 7692 names none for bad
    /// DEFLATE: it is data "not consistent with the type of the message", 1007.
    pub fn close_code(self) -> u16 {
        match self {
            Self::FrameTooBig | Self::MessageTooBig => 1009,
            Self::InvalidUtf8 | Self::InvalidDeflate | Self::InvalidCloseReason => 1007,
            _ => 1002,
        }
    }

    /// A fixed word for metric labels and logs.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl From<utf8::InvalidUtf8> for ProtocolError {
    fn from(_: utf8::InvalidUtf8) -> ProtocolError {
        ProtocolError::InvalidUtf8
    }
}
