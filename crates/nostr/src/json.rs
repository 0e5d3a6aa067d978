//! Strings in JSON, in the two forms that Nostr needs.
//!
//! The id of an event is the hash of JSON with just seven escapes; all other characters are
//! literal, including control characters that valid JSON must escape (NIP-01). Messages are sent as
//! valid JSON.

use std::borrow::Cow;

use serde::Deserialize;

/// A string, borrowed if it has no escapes.
#[derive(Deserialize, Clone, Debug)]
#[serde(transparent)]
pub(crate) struct Text<'m>(#[serde(borrow)] pub(crate) Cow<'m, str>);

/// Most characters of a client's own text that an answer repeats.
const TOLD_CHARS_MAX: usize = 200;

/// The beginning of a client's text, for an answer that describes an error in it.
pub(crate) fn cut(text: &str) -> &str {
    match text.char_indices().nth(TOLD_CHARS_MAX) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// The message of serde's error without its position, which refers to a part of the message only.
pub(crate) fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    cut(&text[..end]).to_owned()
}

/// Whether `raw`, which is valid JSON of strings and arrays, equals both forms: no blanks outside
/// strings, and within them no escapes but the seven.
pub(crate) fn is_canonical(raw: &str) -> bool {
    let mut bytes = raw.bytes();
    let mut is_in_string = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => is_in_string = !is_in_string,
            b'\\'
                if !matches!(
                    bytes.next(),
                    Some(b'n' | b'"' | b'\\' | b'r' | b't' | b'b' | b'f')
                ) =>
            {
                return false;
            }
            b' ' | b'\n' | b'\r' | b'\t' if !is_in_string => return false,
            _ => {}
        }
    }
    true
}

/// Appends a string in the form that is hashed.
pub(crate) fn append_hashed(to: &mut String, text: &str) {
    append(to, text, String::push);
}

/// Appends a string as JSON.
pub(crate) fn append_string(to: &mut String, text: &str) {
    append(to, text, |to, control| {
        to.push_str("\\u00");
        to.push_str(&crate::hex::to_hex(&[control as u8]));
    });
}

fn append(to: &mut String, text: &str, control: impl Fn(&mut String, char)) {
    to.push('"');
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'\n' => "\\n",
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0C => "\\f",
            0..0x20 => "",
            _ => continue,
        };
        to.push_str(&text[from..at]);
        from = at + 1;
        match escape {
            "" => control(to, char::from(byte)),
            escape => to.push_str(escape),
        }
    }
    to.push_str(&text[from..]);
    to.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(text: &str) -> (String, String) {
        let (mut hashed, mut json) = (String::new(), String::new());
        append_hashed(&mut hashed, text);
        append_string(&mut json, text);
        (hashed, json)
    }

    #[test]
    fn strings_have_seven_escapes() {
        let (hashed, json) = both("a\n\"\\\r\t\u{8}\u{c}/é\u{7f}\u{fdd1}😀");
        assert_eq!(hashed, "\"a\\n\\\"\\\\\\r\\t\\b\\f/é\u{7f}\u{fdd1}😀\"");
        assert_eq!(hashed, json);
        assert!(is_canonical(&json));
    }

    #[test]
    fn control_characters_are_hashed_as_they_are_and_sent_escaped() {
        let (hashed, json) = both("\0\u{1f}");
        assert_eq!(hashed, "\"\0\u{1f}\"");
        assert_eq!(json, "\"\\u0000\\u001f\"");
        assert!(!is_canonical(&json));
    }

    #[test]
    fn other_forms_of_the_same_are_not_canonical() {
        for raw in [
            "[ \"a\"]",
            "[\"a\",\n[]]",
            "\"\\/\"",
            "\"\\u0041\"",
            "\"\\\\\\/\"",
        ] {
            assert!(!is_canonical(raw), "{raw}");
        }
        for raw in [
            "[]",
            "[[\"a\",\"b c\"],[\"\\\\\"]]",
            "\" \\\" \"",
            "\"\\\\\"",
        ] {
            assert!(is_canonical(raw), "{raw}");
        }
    }
}
