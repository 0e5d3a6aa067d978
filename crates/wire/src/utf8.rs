//! UTF-8 validation of text messages (RFC 6455 §8.1), whole or as they arrive.

/// From this length on the vectorised validator is faster than the standard library's.
const SIMD_FROM_BYTES: usize = 64;

/// Up to this length, a check for plain ASCII comes first: most small messages are ASCII, and the
/// check is inlined, whereas the vectorised validator is a call. For longer ones, the second pass
/// over other text costs more.
const ASCII_FIRST_TO_BYTES: usize = 512;

/// Bytes that no continuation can turn into UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct InvalidUtf8;

/// Whether a whole text is UTF-8.
#[inline]
pub(super) fn is_valid(text: &[u8]) -> bool {
    if text.len() <= ASCII_FIRST_TO_BYTES && text.is_ascii() {
        true
    } else if text.len() < SIMD_FROM_BYTES {
        std::str::from_utf8(text).is_ok()
    } else {
        simdutf8::basic::from_utf8(text).is_ok()
    }
}

/// The length of the longest prefix of `text` that is UTF-8, if more bytes may follow.
///
/// It is the whole length less 0 to 3 bytes of a character that is not complete yet. The error is
/// raised at the first byte that makes the text invalid no matter what follows: `E0 80` at its
/// second.
pub(super) fn valid_prefix_bytes(text: &[u8]) -> Result<usize, InvalidUtf8> {
    let (valid, is_cut_short) = if text.len() < SIMD_FROM_BYTES {
        match std::str::from_utf8(text) {
            Ok(_) => return Ok(text.len()),
            Err(error) => (error.valid_up_to(), error.error_len().is_none()),
        }
    } else {
        match simdutf8::compat::from_utf8(text) {
            Ok(_) => return Ok(text.len()),
            Err(error) => (error.valid_up_to(), error.error_len().is_none()),
        }
    };
    if is_cut_short {
        Ok(valid)
    } else {
        Err(InvalidUtf8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_that_is_cut_short_may_still_become_valid() {
        for filler in [0, 100] {
            let mut text = "a".repeat(filler).into_bytes();
            text.extend_from_slice("κόσμε\u{1F600}".as_bytes());
            for cut in 0..=text.len() {
                let valid = valid_prefix_bytes(&text[..cut]).unwrap();
                assert!(valid <= cut && cut - valid <= 3);
                assert!(std::str::from_utf8(&text[..valid]).is_ok());
                assert_eq!(is_valid(&text[..cut]), valid == cut);
            }
        }
    }

    #[test]
    fn invalid_utf8_fails_at_its_first_impossible_byte() {
        let impossible: [&[u8]; 8] = [
            b"\x80",
            b"\xC0",
            b"\xC1",
            b"\xE0\x80",
            b"\xED\xA0",
            b"\xF0\x80",
            b"\xF4\x90",
            b"\xF5",
        ];
        for bad in impossible {
            for filler in [0, 63, 64, 200] {
                let text = [&vec![b'a'; filler], bad].concat();
                assert_eq!(
                    valid_prefix_bytes(&text),
                    Err(InvalidUtf8),
                    "{filler} {bad:x?}"
                );
                let before = text.len() - 1;
                assert!(
                    valid_prefix_bytes(&text[..before]).is_ok(),
                    "{filler} {bad:x?}"
                );
            }
        }
    }
}
