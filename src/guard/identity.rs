//! Who a client is, and which rooms it may read and write.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::keys::Fingerprint;

/// Who a client is. The default is nobody in particular, who may go everywhere.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// Its name; `None` where it has none.
    pub user: Option<Box<str>>,
    /// Rooms that it may join.
    pub read: Rooms,
    /// Rooms that it may publish to.
    pub write: Rooms,
    /// By what it came in.
    pub by: By,
}

/// By what a client came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum By {
    /// By something else than a guard knows.
    #[default]
    Other,
    /// By an API key.
    Key(Fingerprint),
    /// By a token that this key has signed.
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

/// A room's name, or the beginning of names with a `*` behind it: `/chat/a`, `/chat/*`, `*`. A `*`
/// anywhere else stands for itself.
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

    /// Whether it may go by this name. It has to be its own; the owner of an API key may go by any,
    /// and the bearer of a token without one by none.
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
    /// Whether a room of this name is meant.
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
    fn a_pattern_is_a_name_or_the_beginning_of_names() {
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
    fn reading_and_writing_are_two_things_and_a_name_is_ones_own() {
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
