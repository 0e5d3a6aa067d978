//! Percent-decoding of path segments (RFC 3986 §2.1).

use std::borrow::Cow;

/// The segment with its escapes decoded, borrowed where it has none.
///
/// `None` for an escape that is cut short or not hexadecimal, and for a result that is not UTF-8.
/// `+` stays what it is. The result may hold any character, `/` and control characters included:
/// split the path before, and judge the result after.
pub fn percent_decode(path_segment: &str) -> Option<Cow<'_, str>> {
    if !path_segment.contains('%') {
        return Some(Cow::Borrowed(path_segment));
    }
    let mut decoded = Vec::with_capacity(path_segment.len());
    let mut bytes = path_segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = hex_digit(bytes.next()?)?;
            let low = hex_digit(bytes.next()?)?;
            decoded.push(high << 4 | low);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

/// The value of a hexadecimal digit of either case.
pub(super) fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_bad_ones_refused() {
        for (segment, decoded) in [
            ("", Some("")),
            ("plain+name", Some("plain+name")),
            ("a%20b", Some("a b")),
            ("%c3%A9t%C3%a9", Some("été")),
            ("%2F%00", Some("/\0")),
            ("é", Some("é")),
            ("%", None),
            ("%4", None),
            ("%4g", None),
            ("%+1", None),
            ("%%41", None),
            ("%C3", None),
            ("%C3%28", None),
            ("%é", None),
        ] {
            assert_eq!(percent_decode(segment).as_deref(), decoded, "{segment}");
        }
        assert!(matches!(
            percent_decode("alice"),
            Some(Cow::Borrowed("alice"))
        ));
    }
}
