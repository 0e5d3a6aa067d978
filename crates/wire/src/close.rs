//! Close frames: the codes that may be sent, and how ours are encoded (RFC 6455 §5.5.1, §7.4).

use super::frame::{CONTROL_PAYLOAD_BYTES_MAX, Opcode, append_frame};

/// The largest reason: a control payload less the two bytes of the code.
pub const REASON_BYTES_MAX: usize = CONTROL_PAYLOAD_BYTES_MAX - 2;

/// The code and reason that a peer sent to close the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CloseFrame<'a> {
    /// A code for which [`is_valid_received_code`] holds.
    pub code: u16,
    /// At most 123 bytes; often empty.
    pub reason: &'a str,
}

/// Whether a peer may send this code (RFC 6455 §7.4).
///
/// Valid are the codes of the standard and of the IANA registry (which added 1012 to 1014), and the
/// ranges for libraries and applications. 1005, 1006 and 1015 only represent the absence of a code
/// and are never sent; 1004 and the rest below 3000 are reserved.
pub fn is_valid_received_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Appends a close frame; without a code its payload is empty and the reason is left out.
///
/// A reason over 123 bytes is cut at the last character boundary that fits.
pub fn append_close(out: &mut Vec<u8>, code: Option<u16>, reason: &str) {
    let Some(code) = code else {
        return append_frame(out, Opcode::Close, &[]);
    };
    debug_assert!(
        is_valid_received_code(code),
        "close code {code} must not be sent"
    );
    let reason = &reason.as_bytes()[..reason.floor_char_boundary(REASON_BYTES_MAX)];
    let mut payload = [0; CONTROL_PAYLOAD_BYTES_MAX];
    payload[..2].copy_from_slice(&code.to_be_bytes());
    payload[2..2 + reason.len()].copy_from_slice(reason);
    append_frame(out, Opcode::Close, &payload[..2 + reason.len()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_must_not_be_on_the_wire_are_refused() {
        for code in [
            0,
            1,
            999,
            1004,
            1005,
            1006,
            1015,
            1016,
            1100,
            2000,
            2999,
            5000,
            u16::MAX,
        ] {
            assert!(!is_valid_received_code(code), "{code}");
        }
        for code in (1000..=1003)
            .chain(1007..=1014)
            .chain([3000, 3999, 4000, 4999])
        {
            assert!(is_valid_received_code(code), "{code}");
        }
    }

    #[test]
    fn a_close_carries_its_code_and_reason() {
        let mut out = Vec::new();
        append_close(&mut out, Some(1001), "bye");
        append_close(&mut out, None, "left out");
        assert_eq!(out, b"\x88\x05\x03\xE9bye\x88\x00");
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character_boundary() {
        for (reason, kept) in [
            ("a".repeat(123), 123),
            ("a".repeat(124), 123),
            ("é".repeat(62), 122),
            ("a".to_owned() + &"é".repeat(62), 123),
            ("\u{1F600}".repeat(40), 120),
        ] {
            let mut out = Vec::new();
            append_close(&mut out, Some(1000), &reason);
            assert_eq!(out[1] as usize, kept + 2);
            assert_eq!(&out[4..], &reason.as_bytes()[..kept]);
        }
    }
}
