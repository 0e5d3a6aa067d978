//! Percent-decoding of path segments (RFC 3986 §2.1) and of form-encoded queries.

use std::borrow::Cow;

/// The segment with its escapes decoded, borrowed if it has none.
///
/// `None` for an escape that is cut short or not hexadecimal, and for a result that is not UTF-8.
/// `+` is not changed. The result may contain any character, including `/` and control characters:
/// split the path first, and check the result afterwards.
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

/// The first value of this name in a query (`a=1&b=2`), decoded as browsers encode it: `+` is a
/// space, too (WHATWG URL §5.1).
///
/// A pair whose name or value is malformed or not UTF-8 is skipped.
pub fn query_value<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let is_it = form_decode(key)? == name;
        is_it.then(|| form_decode(value)).flatten()
    })
}

/// A name or a value of a query, decoded as browsers encode it. `None` as with [`percent_decode`].
pub fn form_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('+') {
        return percent_decode(text);
    }
    let spaced = text.replace('+', " ");
    percent_decode(&spaced).map(|decoded| Cow::Owned(decoded.into_owned()))
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

    #[test]
    fn a_query_gives_the_first_valid_value_of_a_name() {
        let value = |query| query_value(query, "token");
        for (query, expected) in [
            ("token=USER_123", Some("USER_123")),
            ("a=b&token=x&token=y", Some("x")),
            ("token=a%20b+c%2B", Some("a b c+")),
            ("t%6Fken=x", Some("x")),
            ("token=a=b", Some("a=b")),
            ("token=%zz&token=good", Some("good")),
            ("token=%FF", None),
            ("token=", Some("")),
            ("token", Some("")),
            ("Token=x&tokens=x&xtoken=x", None),
            ("", None),
        ] {
            assert_eq!(value(query).as_deref(), expected, "{query}");
        }
    }
}
