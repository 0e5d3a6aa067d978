//! Frames of text.

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// Appends a masked text frame (RFC 6455 §5.2) made of these parts.
pub(super) fn append_text(out: &mut Vec<u8>, mask: [u8; 4], parts: &[&[u8]]) {
    let header = FrameHeader {
        opcode: OpCode::Data(Data::Text),
        mask: Some(mask),
        ..FrameHeader::default()
    };
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    // Writing into a vector cannot fail.
    let _ = header.format(bytes as u64, out);
    let from = out.len();
    parts.iter().for_each(|part| out.extend_from_slice(part));
    for (at, byte) in out[from..].iter_mut().enumerate() {
        *byte ^= mask[at % 4];
    }
}
