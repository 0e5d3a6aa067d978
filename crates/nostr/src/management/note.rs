//! Notes: how the state of management lies in the store, an entry each.
//!
//! A name is `manage/` and a list and an entry, such as `manage/banned-key/HEX`. A value is a text;
//! for events and kinds it begins with `ban` or `allow`, since only one of the two can hold.

use std::net::IpAddr;

use super::call::{Change, Methods, RelayText};
use crate::hex::{self, to_hex};

pub(super) const PREFIX: &str = "manage/";

/// A note to write to the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// Its name.
    pub name: String,
    /// Its value; `None` removes it.
    pub value: Option<String>,
}

/// A note that is not one of this relay's: the store is damaged, or of a later version.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the note {0:?} cannot be read")]
pub struct NoteError(pub String);

/// The subject of a note.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Subject {
    BannedKey([u8; 32]),
    AllowedKey([u8; 32]),
    Event([u8; 32]),
    Kind(u16),
    Ip(IpAddr),
    Admin([u8; 32]),
    Text(RelayText),
}

impl RelayText {
    const ALL: [(RelayText, &'static str); 3] = [
        (RelayText::Name, "name"),
        (RelayText::Description, "description"),
        (RelayText::Icon, "icon"),
    ];
}

impl Subject {
    /// The subject of the note with this name; `None` if it has none.
    pub(super) fn of(name: &str) -> Option<Subject> {
        let (list, entry) = name.strip_prefix(PREFIX)?.split_once('/')?;
        Some(match list {
            "banned-key" => Subject::BannedKey(hex::parse(entry)?),
            "allowed-key" => Subject::AllowedKey(hex::parse(entry)?),
            "event" => Subject::Event(hex::parse(entry)?),
            "kind" => Subject::Kind(entry.parse().ok()?),
            "ip" => Subject::Ip(entry.parse().ok()?),
            "admin" => Subject::Admin(hex::parse(entry)?),
            "text" => {
                let mut texts = RelayText::ALL.into_iter();
                Subject::Text(texts.find(|(_, name)| *name == entry)?.0)
            }
            _ => return None,
        })
    }

    pub(super) fn name(self) -> String {
        let (list, entry) = match self {
            Subject::BannedKey(key) => ("banned-key", to_hex(&key)),
            Subject::AllowedKey(key) => ("allowed-key", to_hex(&key)),
            Subject::Event(id) => ("event", to_hex(&id)),
            Subject::Kind(kind) => ("kind", kind.to_string()),
            Subject::Ip(ip) => ("ip", ip.to_string()),
            Subject::Admin(key) => ("admin", to_hex(&key)),
            Subject::Text(text) => {
                let mut texts = RelayText::ALL.into_iter();
                let name = texts.find(|(each, _)| *each == text);
                ("text", name.map_or("", |(_, name)| name).to_owned())
            }
        };
        format!("{PREFIX}{list}/{entry}")
    }
}

impl Change {
    /// The subject of this change's note.
    pub(super) fn subject(&self) -> Subject {
        match self {
            Change::BanKey(key, _) | Change::UnbanKey(key) => Subject::BannedKey(*key),
            Change::AllowKey(key, _) | Change::UnallowKey(key) => Subject::AllowedKey(*key),
            Change::BanEvent(id, _) | Change::AllowEvent(id, _) => Subject::Event(*id),
            Change::Text(text, _) => Subject::Text(*text),
            Change::AllowKind(kind) | Change::DisallowKind(kind) => Subject::Kind(*kind),
            Change::BlockIp(ip, _) | Change::UnblockIp(ip) => Subject::Ip(*ip),
            Change::GrantAdmin(key, _) | Change::RevokeAdmin(key, _) => Subject::Admin(*key),
        }
    }
}

/// A decision and its reason, as a value.
pub(super) fn decision(is_banned: bool, reason: &str) -> String {
    let word = if is_banned { "ban" } else { "allow" };
    format!("{word} {reason}")
}

/// The reverse of [`decision`].
pub(super) fn decided(value: &str) -> Option<(bool, &str)> {
    match value.split_once(' ')? {
        ("ban", reason) => Some((true, reason)),
        ("allow", reason) => Some((false, reason)),
        _ => None,
    }
}

impl Methods {
    /// As a value: the names, or `*` for all.
    pub(super) fn value(&self) -> String {
        match self {
            Methods::All => "*".to_owned(),
            Methods::Some(names) => names.iter().cloned().collect::<Vec<_>>().join(" "),
        }
    }

    /// The reverse of [`Methods::value`].
    pub(super) fn of_value(value: &str) -> Methods {
        match value {
            "*" => Methods::All,
            names => Methods::Some(names.split_whitespace().map(str::to_owned).collect()),
        }
    }
}
