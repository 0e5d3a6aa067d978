//! Notation and bounds of the values of `nostr`.

use std::marker::PhantomData;
use std::time::Duration;

use serde_json::json;
use serde_yaml::Value;

use super::{NostrChallenge, NostrPolicy, RelayUrl};
use crate::config::form::{Form, Formed};
use crate::config::quantity::KIB;
use crate::config::value::{
    Codec, Count, List, Mapped, Or, Span, Text, Word, describe, plain_text, quoted,
};

pub(crate) const POLICIES: List<NostrPolicy> = List("policies", PhantomData);
pub(crate) const RELAY_URLS: List<RelayUrl> = List("URLs", PhantomData);
pub(crate) const CHALLENGE: Word<NostrChallenge> = Word(&[
    ("demand", NostrChallenge::Demand),
    ("connect", NostrChallenge::Connect),
]);
pub(crate) const HEX_KEY: HexKey = HexKey;
pub(crate) const ADMINS: HexKeys = HexKeys;
pub(crate) const INFO_TEXT: Text = Text { bytes_max: 2 * KIB };
pub(crate) const PROSE: Prose = Prose { bytes_max: 8 * KIB };
pub(crate) const PRIVATE_KINDS: Kinds = Kinds { least: 0 };
pub(crate) const EVENT_KINDS: Or<Kinds> = Or(&["all"], Kinds { least: 1 });

const fn count(min: usize, max: usize) -> Count {
    Count { min, max }
}

pub(crate) const MEMORY_EVENTS: Count = count(1, 100_000_000);
pub(crate) const KEYS: Count = count(1, 1_000);
pub(crate) const TAGS: Count = count(1, 1_000_000);
pub(crate) const CONTENT_CHARS: Or<Count> = Or(&["off", "0"], count(1, 1 << 30));
pub(crate) const FILTERS: Count = count(1, 10_000);
pub(crate) const SUBSCRIPTIONS: Count = count(1, 1_000_000);
pub(crate) const VALUES: Count = count(1, 1_000_000);
pub(crate) const ROWS: Count = count(1, 1_000_000);
pub(crate) const COUNTED: Count = count(1, 1_000_000_000);
pub(crate) const SYNCED: Or<Count> = Or(&["off", "0"], count(1, 100_000_000));
pub(crate) const SYNC_SESSIONS: Count = count(1, 1_000);
pub(crate) const SYNC_IDLE: Span = Span {
    min: Duration::from_secs(1),
    max: Duration::from_secs(24 * 3_600),
};
pub(crate) const READERS: Or<Count> = Or(&["auto"], count(1, 64));
pub(crate) const BITS: Mapped<Count, u8> = Mapped {
    codec: count(0, 255),
    from: |bits| bits as u8,
    into: |bits| usize::from(*bits),
};

const AGE_MAX: Duration = Duration::from_secs(876_000 * 3_600);
pub(crate) const AGE: Span = Span {
    min: Duration::ZERO,
    max: AGE_MAX,
};
pub(crate) const OFF_OR_AGE: Or<Span> = Or(
    &["off", "0", "0s"],
    Span {
        min: Duration::from_secs(1),
        max: AGE_MAX,
    },
);

/// A public key: 64 lower-case hexadecimal digits.
pub(crate) struct HexKey;

/// A list of public keys.
pub(crate) struct HexKeys;

/// A list of kinds of events.
pub(crate) struct Kinds {
    /// The least number of kinds.
    least: usize,
}

/// A text in paragraphs: it may have more than one line.
pub(crate) struct Prose {
    bytes_max: usize,
}

impl Codec for HexKey {
    type Target = String;

    fn read(&self, value: &Value) -> Result<String, String> {
        let text = plain_text(value).unwrap_or_default();
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 64 && text.bytes().all(is_digit) {
            return Ok(text);
        }
        // A secret key in its usual form begins with nsec1. It must not get into a log.
        let shown = match text.starts_with("nsec1") {
            true => "a secret key".to_owned(),
            false => describe(value),
        };
        Err(format!(
            "{shown} is not a public key; write its 64 lower-case hexadecimal digits, not npub1…"
        ))
    }

    fn show(&self, key: &String) -> Value {
        Value::from(key.as_str())
    }
}

impl Codec for HexKeys {
    type Target = Vec<String>;

    fn read(&self, value: &Value) -> Result<Vec<String>, String> {
        match value {
            Value::Sequence(items) => items.iter().map(|item| HEX_KEY.read(item)).collect(),
            Value::String(text) => {
                let items = text.split(',').map(|item| Value::from(item.trim()));
                items.map(|item| HEX_KEY.read(&item)).collect()
            }
            _ => Err(format!("{} is not a list of public keys", describe(value))),
        }
    }

    fn show(&self, keys: &Vec<String>) -> Value {
        Value::Sequence(keys.iter().map(String::as_str).map(Value::from).collect())
    }
}

impl Codec for Kinds {
    type Target = Vec<u16>;

    fn read(&self, value: &Value) -> Result<Vec<u16>, String> {
        let items: Vec<String> = match value {
            Value::Sequence(items) => items
                .iter()
                .map(|item| plain_text(item).unwrap_or_else(|| describe(item)))
                .collect(),
            _ => plain_text(value)
                .ok_or_else(|| format!("{} is not a list of kinds", describe(value)))?
                .split(',')
                .map(|item| item.trim().to_owned())
                .collect(),
        };
        if items.len() < self.least {
            return Err("an empty list would accept no event at all; list kinds".to_owned());
        }
        let is_number = |item: &str| item.bytes().all(|byte| byte.is_ascii_digit());
        let read = |item: &String| match item.parse() {
            Ok(kind) if is_number(item) => Ok(kind),
            _ => Err(format!("{} is not a kind, 0 to 65535", quoted(item))),
        };
        items.iter().map(read).collect()
    }

    fn show(&self, kinds: &Vec<u16>) -> Value {
        Value::Sequence(kinds.iter().copied().map(Value::from).collect())
    }
}

impl Codec for Prose {
    type Target = String;

    fn read(&self, value: &Value) -> Result<String, String> {
        let text = match value {
            Value::Bool(on) => Some(on.to_string()),
            _ => plain_text(value),
        };
        let text = text.ok_or_else(|| format!("{} is not a text", describe(value)))?;
        let is_other = |c: char| c.is_control() && c != '\n';
        if text.is_empty() || text.len() > self.bytes_max || text.chars().any(is_other) {
            return Err(format!(
                "{} is not a text of 1 to {} bytes, printable but for line breaks",
                describe(value),
                self.bytes_max
            ));
        }
        Ok(text)
    }

    fn show(&self, text: &String) -> Value {
        Value::from(text.as_str())
    }
}

impl Formed for HexKey {
    fn form(&self) -> Form {
        let schema = json!({"type": "string", "pattern": "^[0-9a-f]{64}$"});
        Form::new("64 lower-case hexadecimal digits", schema)
    }
}

impl Formed for HexKeys {
    fn form(&self) -> Form {
        let key = json!({"type": "string", "pattern": "^[0-9a-f]{64}$"});
        let schema = json!({"type": ["array", "string"], "items": key});
        Form::new(
            "list of public keys, 64 lower-case hexadecimal digits each",
            schema,
        )
    }
}

impl Formed for Kinds {
    fn form(&self) -> Form {
        let kind = json!({"type": "integer", "minimum": 0, "maximum": u16::MAX});
        let schema = json!({
            "type": ["array", "string", "integer"],
            "items": kind,
            "minItems": self.least,
        });
        Form::new("list of numbers from 0 to 65535", schema)
    }
}

impl Formed for Prose {
    fn form(&self) -> Form {
        let words = format!("text of 1 to {} bytes, in paragraphs", self.bytes_max);
        let schema = json!({
            "type": ["string", "integer", "boolean"],
            "minLength": 1,
            "maxLength": self.bytes_max,
        });
        Form::new(words, schema)
    }
}
