//! The identity of a client, and the rooms that it may read and write.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::keys::Fingerprint;

/// The identity of a client. The default is an anonymous client that may read and write all rooms.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// Its name, if it has one.
    pub user: Option<Box<str>>,
    /// Rooms that it may join.
    pub read: Rooms,
    /// Rooms that it may publish to.
    pub write: Rooms,
    /// The credential that admitted it.
    pub by: By,
}

/// The credential that admitted a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum By {
    /// None, or one that a guard does not know.
    #[default]
    Other,
    /// An API key.
    Key(Fingerprint),
    /// A token that this key signed.
    Token(Fingerprint),
}

/// A set of rooms of an endpoint, by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Rooms {
    /// All of them.
    #[default]
    All,
    /// Those that match any of these.
    Matching(Vec<Pattern>),
}

/// The name of a room, or a prefix of names followed by `*`: `/chat/a`, `/chat/*`, `*`. A `*` at
/// any other place is literal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    text: Box<str>,
    is_beginning: bool,
}

impl Identity {
    /// Whether it may join this room.
    pub fn may_read(&self, room: &str) -> bool {
        self.read.contain(room)
    }

    /// Whether it may publish to this room.
    pub fn may_write(&self, room: &str) -> bool {
        self.write.contain(room)
    }

    /// Whether it may use this name. A client with a name may use that one only; the owner of an
    /// API key may use any, and the bearer of a token without a name none.
    pub fn may_be(&self, user: &str) -> bool {
        match &self.user {
            Some(own) => **own == *user,
            None => !matches!(self.by, By::Token(_)),
        }
    }
}

impl Rooms {
    /// Whether this room is among them.
    pub fn contain(&self, room: &str) -> bool {
        match self {
            Rooms::All => true,
            Rooms::Matching(patterns) => patterns.iter().any(|pattern| pattern.matches(room)),
        }
    }
}

impl Pattern {
    /// Whether the pattern covers a room of this name.
    pub fn matches(&self, room: &str) -> bool {
        if self.is_beginning {
            room.starts_with(&*self.text)
        } else {
            room == &*self.text
        }
    }
}

impl FromStr for Pattern {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Pattern, Infallible> {
        let beginning = text.strip_suffix('*');
        Ok(Pattern {
            text: beginning.unwrap_or(text).into(),
            is_beginning: beginning.is_some(),
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.is_beginning { "*" } else { "" };
        write!(f, "{}{end}", self.text)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pattern, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_or_a_prefix() {
        for (pattern, room, matches) in [
            ("/chat/a", "/chat/a", true),
            ("/chat/a", "/chat/ab", false),
            ("/chat/*", "/chat/", true),
            ("/chat/*", "/chat/a/b", true),
            ("/chat/*", "/chat", false),
            ("/chat/*", "/chats/a", false),
            ("/a*b", "/a*b", true),
            ("/a*b", "/axb", false),
            ("*", "", true),
            ("*", "/any/thing", true),
            ("**", "*", true),
            ("**", "x", false),
            ("", "", true),
            ("", "x", false),
        ] {
            let parsed: Pattern = pattern.parse().expect("a pattern");
            assert_eq!(parsed.matches(room), matches, "{pattern} {room}");
            assert_eq!(parsed.to_string(), pattern);
        }
    }

    #[test]
    fn reading_writing_and_names_are_separate_permissions() {
        let rooms = |pattern: &str| Rooms::Matching(vec![pattern.parse().expect("a pattern")]);
        let ada = Identity {
            user: Some("ada".into()),
            read: rooms("/*"),
            write: rooms("/ada"),
            by: By::Other,
        };
        assert!(ada.may_read("/bob") && !ada.may_write("/bob") && ada.may_write("/ada"));
        assert!(ada.may_be("ada") && !ada.may_be("bob"));
        let nobody = Identity::default();
        assert!(nobody.may_be("bob") && nobody.may_read("/x") && nobody.may_write("/x"));
        assert!(!Rooms::Matching(Vec::new()).contain(""));
        let key = Fingerprint::of(&[b"key"]);
        let by = |by| Identity {
            by,
            ..Identity::default()
        };
        assert!(by(By::Key(key)).may_be("bob") && !by(By::Token(key)).may_be("bob"));
    }
}
