//! Hexadecimal: lower-case in ids, keys and signatures (NIP-01), of either case in messages of a
//! synchronization (NIP-77).

use faster_hex::{CheckCase, hex_decode, hex_decode_with_case, hex_string};

/// An id or a public key.
pub type Bytes32 = [u8; 32];

/// The bytes of `hex`, if it is `2 * N` lower-case digits.
pub(crate) fn parse<const N: usize>(hex: &str) -> Option<[u8; N]> {
    if hex.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    hex_decode_with_case(hex.as_bytes(), &mut bytes, CheckCase::Lower).ok()?;
    Some(bytes)
}

/// The bytes of `hex`, if it is an even number of digits of either case.
pub(crate) fn parse_any(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2) {
        return None;
    }
    let mut bytes = vec![0; hex.len() / 2];
    hex_decode(hex.as_bytes(), &mut bytes).ok()?;
    Some(bytes)
}

/// The bytes of 64 lower-case hexadecimal digits; `None` if `hex` is anything else.
pub fn from_hex(hex: &str) -> Option<Bytes32> {
    parse(hex)
}

/// Lower-case hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    hex_string(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lower_case_of_the_right_length_is_taken() {
        assert_eq!(parse::<2>("0aff"), Some([0x0a, 0xff]));
        for wrong in ["0aFF", "0af", "0aff0", "0ag0", "", "ßß"] {
            assert_eq!(parse::<2>(wrong), None, "{wrong}");
        }
        assert_eq!(to_hex(&[0x0a, 0xff]), "0aff");
    }
}
