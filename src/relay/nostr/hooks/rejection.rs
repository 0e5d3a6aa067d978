//! Why a hook refuses something.

use std::borrow::Cow;
use std::fmt;

use strum::{EnumIter, IntoEnumIterator as _, IntoStaticStr};

/// The first word of a reason, for programs (NIP-01, NIP-42).
#[derive(Clone, Copy, PartialEq, Eq, Debug, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Prefix {
    /// The relay has it already.
    Duplicate,
    /// It needs more work (NIP-13).
    Pow,
    /// It is not allowed, and a key does not change that.
    Blocked,
    /// Too many of them.
    RateLimited,
    /// It is malformed.
    Invalid,
    /// The client's keys are not allowed to do this (NIP-42).
    Restricted,
    /// An ephemeral event that nobody listens to.
    Mute,
    /// The relay failed.
    Error,
    /// The client has to prove a key first. The challenge is sent before the answer (NIP-42).
    AuthRequired,
    /// The relay does not support it.
    Unsupported,
}

impl Prefix {
    /// As it is sent, without the colon.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A refusal: a prefix and a text for people. A plain text may begin with a prefix, such as
/// `"rate-limited: slow down"`; otherwise it gets `blocked: `.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejection {
    prefix: Prefix,
    text: Cow<'static, str>,
}

impl Rejection {
    /// A refusal with this prefix.
    pub fn new(prefix: Prefix, text: impl Into<Cow<'static, str>>) -> Rejection {
        let text = match text.into() {
            text if text.trim().is_empty() => Cow::Borrowed("no reason was given"),
            text => text,
        };
        Rejection { prefix, text }
    }

    /// Its prefix.
    pub fn prefix(&self) -> Prefix {
        self.prefix
    }

    /// Its text, without the prefix.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl From<&'static str> for Rejection {
    fn from(reason: &'static str) -> Rejection {
        match prefixed(reason) {
            Some((prefix, text)) => Rejection::new(prefix, text),
            None => Rejection::new(Prefix::Blocked, reason),
        }
    }
}

impl From<String> for Rejection {
    fn from(reason: String) -> Rejection {
        match prefixed(&reason) {
            Some((prefix, text)) => Rejection::new(prefix, text.to_owned()),
            None => Rejection::new(Prefix::Blocked, reason),
        }
    }
}

/// The prefix of a reason that has one, and the text after it.
fn prefixed(reason: &str) -> Option<(Prefix, &str)> {
    let (word, text) = reason.split_once(':')?;
    let prefix = Prefix::iter().find(|prefix| prefix.as_str() == word)?;
    Some((prefix, text.trim_start()))
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.prefix.as_str(), self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_without_a_prefix_is_blocked() {
        for (reason, sent) in [
            ("no cats", "blocked: no cats"),
            ("rate-limited: slow down", "rate-limited: slow down"),
            ("auth-required:log in", "auth-required: log in"),
            ("pow: 28 bits", "pow: 28 bits"),
            ("note: no cats", "blocked: note: no cats"),
            ("Blocked: no cats", "blocked: Blocked: no cats"),
            ("", "blocked: no reason was given"),
            ("error: ", "error: no reason was given"),
        ] {
            assert_eq!(Rejection::from(reason).to_string(), sent);
            assert_eq!(Rejection::from(reason.to_owned()).to_string(), sent);
        }
        let rejection = Rejection::new(Prefix::Mute, "nobody is here");
        assert_eq!(
            (rejection.prefix(), rejection.text()),
            (Prefix::Mute, "nobody is here")
        );
    }
}
