//! The header of a client's frame: parsed and checked in one pass (RFC 6455 §5.2).

use super::frame::{CONTROL_PAYLOAD_BYTES_MAX, FIN, LEN7_MAX, LEN16_MARK, LEN16_MAX, Opcode, RSV1};
use super::protocol_error::{DecoderLimits, ProtocolError};

/// The largest header of a client's frame: two bytes, a 64-bit length and the masking key.
pub(super) const CLIENT_HEADER_BYTES_MAX: usize = 14;

const RESERVED_BITS: u8 = 0x70;
const MASKED: u8 = 0x80;

/// A header that violates no rule or limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    /// The first frame of a compressed message (RFC 7692 §6).
    pub(super) is_compressed: bool,
    pub(super) key: [u8; 4],
    /// At most 125 for control frames, at most `message_bytes` for others.
    pub(super) payload_len: u64,
}

impl Header {
    /// The header at the front of `bytes` and its length, or `None` if it is not whole yet.
    ///
    /// `open_bytes` is the size of the open fragmented message so far, `None` if there is none. An
    /// offence is reported as soon as the byte that commits it is present.
    #[inline]
    pub(super) fn parse(
        bytes: &[u8],
        open_bytes: Option<usize>,
        limits: &DecoderLimits,
    ) -> Result<Option<(Header, usize)>, ProtocolError> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        if first & RESERVED_BITS != 0 {
            judge_reserved_bits(first, limits)?;
        }
        let (fin, opcode) = judge_first_byte(first, open_bytes.is_some())?;
        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        if second & MASKED == 0 {
            return Err(ProtocolError::UnmaskedFrame);
        }
        let mark = second & !MASKED;
        if opcode.is_control() && usize::from(mark) > CONTROL_PAYLOAD_BYTES_MAX {
            return Err(ProtocolError::ControlTooLong);
        }
        let Some((payload_len, key_at)) = payload_len(mark, bytes)? else {
            return Ok(None);
        };
        if !opcode.is_control() {
            judge_size(payload_len, open_bytes.unwrap_or(0), limits)?;
        }
        let Some(key) = bytes.get(key_at..).and_then(<[u8]>::first_chunk) else {
            return Ok(None);
        };
        let header = Header {
            fin,
            opcode,
            is_compressed: first & RSV1 != 0,
            key: *key,
            payload_len,
        };
        Ok(Some((header, key_at + key.len())))
    }
}

#[inline]
fn judge_first_byte(first: u8, is_message_open: bool) -> Result<(bool, Opcode), ProtocolError> {
    let opcode = Opcode::from_first_byte(first).ok_or(ProtocolError::ReservedOpcode)?;
    let fin = first & FIN != 0;
    match opcode {
        Opcode::Close | Opcode::Ping | Opcode::Pong if !fin => {
            Err(ProtocolError::FragmentedControl)
        }
        Opcode::Continuation if !is_message_open => Err(ProtocolError::UnexpectedContinuation),
        Opcode::Text | Opcode::Binary if is_message_open => {
            Err(ProtocolError::ExpectedContinuation)
        }
        _ => Ok((fin, opcode)),
    }
}

/// RFC 7692 §6: of the reserved bits only RSV1 has a meaning, if the extension was negotiated, and
/// only on the first frame of a message.
#[cold]
fn judge_reserved_bits(first: u8, limits: &DecoderLimits) -> Result<(), ProtocolError> {
    let opcode = Opcode::from_first_byte(first);
    let begins_message = matches!(opcode, Some(Opcode::Text | Opcode::Binary));
    if limits.allows_compressed && first & RESERVED_BITS == RSV1 && begins_message {
        return Ok(());
    }
    Err(ProtocolError::ReservedBits)
}

/// The length of the payload and the offset of the masking key after it.
#[inline]
fn payload_len(mark: u8, bytes: &[u8]) -> Result<Option<(u64, usize)>, ProtocolError> {
    let (len, key_at) = match mark {
        0..LEN16_MARK => return Ok(Some((u64::from(mark), 2))),
        LEN16_MARK => match bytes.get(2..).and_then(<[u8]>::first_chunk) {
            Some(len) => (u64::from(u16::from_be_bytes(*len)), 4),
            None => return Ok(None),
        },
        _ => match bytes.get(2..).and_then(<[u8]>::first_chunk) {
            Some(len) => (u64::from_be_bytes(*len), 10),
            None => return Ok(None),
        },
    };
    let shorter_form_max = if key_at == 4 { LEN7_MAX } else { LEN16_MAX };
    if len > i64::MAX as u64 {
        return Err(ProtocolError::LengthTooLarge);
    }
    if len <= shorter_form_max as u64 {
        return Err(ProtocolError::LengthNotMinimal);
    }
    Ok(Some((len, key_at)))
}

#[inline]
fn judge_size(
    payload_len: u64,
    open_bytes: usize,
    limits: &DecoderLimits,
) -> Result<(), ProtocolError> {
    if payload_len > limits.frame_bytes {
        return Err(ProtocolError::FrameTooBig);
    }
    if payload_len > limits.message_bytes.saturating_sub(open_bytes) as u64 {
        return Err(ProtocolError::MessageTooBig);
    }
    Ok(())
}
