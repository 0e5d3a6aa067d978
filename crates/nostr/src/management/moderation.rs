//! The state of management: lists of keys, events, kinds and addresses; admins; texts.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::call::{Change, List, METHODS, Methods, RelayText};
use super::hidden::{Hidden, Mark};
use super::note::{Note, NoteError, PREFIX, Subject, decided, decision};
use crate::hex::{Bytes32, to_hex};

/// Most entries of a list.
const ENTRIES_MAX: usize = 100_000;

/// Most keys with granted methods.
const ADMINS_MAX: usize = 1_000;

/// Why an event is refused. The text follows the prefix that NIP-01 asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Forbidden {
    /// Its author is banned.
    #[error("blocked: this key is banned from this relay")]
    Key,
    /// The event is banned.
    #[error("blocked: this event is banned from this relay")]
    Event,
    /// Only some keys may publish, and its author is not one of them.
    #[error("blocked: only keys on the list of this relay may publish")]
    NotListed,
    /// Its kind is not accepted.
    #[error("blocked: events of kind {0} are not accepted")]
    Kind(u16),
}

/// The state that calls of NIP-86 change. A value does not change while others read it: each
/// change makes another one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Moderation {
    hidden: Arc<Hidden>,
    allowed_keys: HashMap<Bytes32, Box<str>>,
    /// Whether each of these kinds is refused.
    kinds: BTreeMap<u16, bool>,
    ips: HashMap<IpAddr, Box<str>>,
    admins: BTreeMap<Bytes32, Methods>,
    name: Option<String>,
    description: Option<String>,
    icon: Option<String>,
}

impl Moderation {
    /// The state that these notes of a store describe. Notes of other parts are ignored.
    ///
    /// # Errors
    ///
    /// A note cannot be read. A ban must not get lost, so the relay should not start.
    pub fn load(notes: &[(String, Vec<u8>)]) -> Result<Moderation, NoteError> {
        let mut moderation = Moderation::default();
        for (name, value) in notes.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            let error = || NoteError(name.clone());
            let value = std::str::from_utf8(value).map_err(|_| error())?;
            moderation.apply(&Note {
                name: name.clone(),
                value: Some(value.to_owned()),
            })?;
        }
        Ok(moderation)
    }

    /// Applies a note that is in the store.
    ///
    /// # Errors
    ///
    /// The note cannot be read.
    pub fn apply(&mut self, note: &Note) -> Result<(), NoteError> {
        let error = || NoteError(note.name.clone());
        let value = note.value.as_deref();
        match Subject::of(&note.name).ok_or_else(error)? {
            Subject::BannedKey(key) => set(&mut Arc::make_mut(&mut self.hidden).keys, key, value),
            Subject::AllowedKey(key) => set(&mut self.allowed_keys, key, value),
            Subject::Ip(ip) => set(&mut self.ips, ip, value),
            Subject::Text(text) => *self.text_mut(text) = value.map(str::to_owned),
            Subject::Event(id) => {
                let marks = &mut Arc::make_mut(&mut self.hidden).events;
                let Some(value) = value else {
                    marks.remove(&id);
                    return Ok(());
                };
                let (is_banned, reason) = decided(value).ok_or_else(error)?;
                let reason = reason.into();
                marks.insert(id, Mark { is_banned, reason });
            }
            Subject::Kind(kind) => {
                let Some(value) = value else {
                    self.kinds.remove(&kind);
                    return Ok(());
                };
                let (is_refused, _) = decided(value).ok_or_else(error)?;
                self.kinds.insert(kind, is_refused);
            }
            Subject::Admin(key) => {
                match value {
                    Some(value) => self.admins.insert(key, Methods::of_value(value)),
                    None => self.admins.remove(&key),
                };
            }
        }
        Ok(())
    }

    /// The note that makes a change durable.
    ///
    /// # Errors
    ///
    /// A text that says which bound the change exceeds.
    pub fn note(&self, change: &Change) -> Result<Note, String> {
        let subject = change.subject();
        self.check_room(subject)?;
        let value = match change {
            Change::BanKey(_, reason)
            | Change::AllowKey(_, reason)
            | Change::BlockIp(_, reason) => Some(reason.clone()),
            Change::UnbanKey(_) | Change::UnallowKey(_) | Change::UnblockIp(_) => None,
            Change::BanEvent(_, reason) => Some(decision(true, reason)),
            Change::AllowEvent(_, reason) => Some(decision(false, reason)),
            Change::Text(_, text) => (!text.is_empty()).then(|| text.clone()),
            Change::AllowKind(_) => Some(decision(false, "")),
            Change::DisallowKind(_) => Some(decision(true, "")),
            Change::GrantAdmin(key, methods) => Some(self.granted(key, methods).value()),
            Change::RevokeAdmin(key, methods) => {
                self.left(key, methods).map(|methods| methods.value())
            }
        };
        let name = subject.name();
        Ok(Note { name, value })
    }

    /// Whether one more entry fits in the list of that subject.
    fn check_room(&self, subject: Subject) -> Result<(), String> {
        let (has_it, entries, most) = match subject {
            Subject::BannedKey(key) => of(&self.hidden.keys, &key),
            Subject::AllowedKey(key) => of(&self.allowed_keys, &key),
            Subject::Event(id) => of(&self.hidden.events, &id),
            Subject::Ip(ip) => of(&self.ips, &ip),
            Subject::Admin(key) => (
                self.admins.contains_key(&key),
                self.admins.len(),
                ADMINS_MAX,
            ),
            Subject::Kind(_) | Subject::Text(_) => return Ok(()),
        };
        match has_it || entries < most {
            true => Ok(()),
            false => Err(format!("the list is full: it has {most} entries")),
        }
    }

    fn granted(&self, key: &Bytes32, more: &Methods) -> Methods {
        match (self.admins.get(key), more) {
            (Some(Methods::Some(has)), Methods::Some(more)) => {
                Methods::Some(has.union(more).cloned().collect())
            }
            (Some(Methods::All), _) => Methods::All,
            (_, more) => more.clone(),
        }
    }

    /// The methods that a key keeps; `None` if it keeps none.
    fn left(&self, key: &Bytes32, less: &Methods) -> Option<Methods> {
        let Methods::Some(less) = less else {
            return None;
        };
        let has = match self.admins.get(key)? {
            Methods::All => METHODS.iter().map(|name| (*name).to_owned()).collect(),
            Methods::Some(has) => has.clone(),
        };
        let left: std::collections::BTreeSet<String> = has.difference(less).cloned().collect();
        (!left.is_empty()).then_some(Methods::Some(left))
    }

    /// The events that nobody may see.
    pub fn hidden(&self) -> &Arc<Hidden> {
        &self.hidden
    }

    /// Whether an event may be published. `kinds` are those that the configuration accepts; `None`
    /// means all.
    ///
    /// # Errors
    ///
    /// The reason to refuse it.
    pub fn check(
        &self,
        id: &Bytes32,
        key: &Bytes32,
        kind: u16,
        kinds: Option<&HashSet<u16>>,
    ) -> Result<(), Forbidden> {
        if let Some(mark) = self.hidden.mark(id) {
            return if mark.is_banned {
                Err(Forbidden::Event)
            } else {
                Ok(())
            };
        }
        if self.hidden.keys.contains_key(key) {
            return Err(Forbidden::Key);
        }
        if !self.allowed_keys.is_empty() && !self.allowed_keys.contains_key(key) {
            return Err(Forbidden::NotListed);
        }
        match self.takes_kind(kind, kinds) {
            true => Ok(()),
            false => Err(Forbidden::Kind(kind)),
        }
    }

    fn takes_kind(&self, kind: u16, kinds: Option<&HashSet<u16>>) -> bool {
        match self.kinds.get(&kind) {
            Some(is_refused) => !is_refused,
            None => kinds.is_none_or(|kinds| kinds.contains(&kind)),
        }
    }

    /// Whether an address gets no WebSocket.
    pub fn blocks(&self, ip: IpAddr) -> bool {
        !self.ips.is_empty() && self.ips.contains_key(&ip.to_canonical())
    }

    /// The methods that were granted to a key.
    pub fn granted_to(&self, key: &Bytes32) -> Option<&Methods> {
        self.admins.get(key)
    }

    /// Whether some events are refused by a list.
    pub fn restricts_writes(&self) -> bool {
        !self.allowed_keys.is_empty() || self.kinds.values().any(|is_refused| *is_refused)
    }

    /// A text that replaces the configured one.
    pub fn text(&self, text: RelayText) -> Option<&str> {
        match text {
            RelayText::Name => self.name.as_deref(),
            RelayText::Description => self.description.as_deref(),
            RelayText::Icon => self.icon.as_deref(),
        }
    }

    fn text_mut(&mut self, text: RelayText) -> &mut Option<String> {
        match text {
            RelayText::Name => &mut self.name,
            RelayText::Description => &mut self.description,
            RelayText::Icon => &mut self.icon,
        }
    }

    /// A list in the form of NIP-86, in the order of its entries.
    pub fn list(&self, list: List, kinds: Option<&HashSet<u16>>) -> Value {
        let events = |is_banned| {
            let marks = self.hidden.events.iter();
            let marks = marks.filter(|(_, mark)| mark.is_banned == is_banned);
            listed("id", marks.map(|(id, mark)| (to_hex(id), &*mark.reason)))
        };
        let keys = |keys: &HashMap<Bytes32, Box<str>>| {
            let keys = keys.iter();
            listed("pubkey", keys.map(|(key, reason)| (to_hex(key), &**reason)))
        };
        match list {
            List::BannedKeys => keys(&self.hidden.keys),
            List::AllowedKeys => keys(&self.allowed_keys),
            List::BannedEvents => events(true),
            List::AllowedEvents => events(false),
            List::BlockedIps => {
                let ips = self.ips.iter();
                listed("ip", ips.map(|(ip, reason)| (ip.to_string(), &**reason)))
            }
            List::AllowedKinds => {
                let configured = kinds.into_iter().flatten().copied();
                let named = self.kinds.keys().copied();
                let mut all: Vec<u16> = configured.chain(named).collect();
                all.retain(|kind| self.takes_kind(*kind, kinds));
                all.sort_unstable();
                all.dedup();
                json!(all)
            }
            List::DisallowedKinds => {
                let refused = self.kinds.iter().filter(|(_, is_refused)| **is_refused);
                json!(refused.map(|(kind, _)| *kind).collect::<Vec<_>>())
            }
        }
    }

    /// The number of entries of a list.
    pub fn entries(&self, list: List) -> usize {
        let events = |is_banned| {
            let marks = self.hidden.events.values();
            marks.filter(|mark| mark.is_banned == is_banned).count()
        };
        match list {
            List::BannedKeys => self.hidden.keys.len(),
            List::AllowedKeys => self.allowed_keys.len(),
            List::BannedEvents => events(true),
            List::AllowedEvents => events(false),
            List::BlockedIps => self.ips.len(),
            List::AllowedKinds => self.kinds.values().filter(|refused| !**refused).count(),
            List::DisallowedKinds => self.kinds.values().filter(|refused| **refused).count(),
        }
    }
}

fn set<K: Eq + Hash>(list: &mut HashMap<K, Box<str>>, entry: K, reason: Option<&str>) {
    match (list.entry(entry), reason) {
        (Entry::Occupied(entry), None) => {
            entry.remove();
        }
        (entry, Some(reason)) => {
            entry.insert_entry(reason.into());
        }
        (Entry::Vacant(_), None) => {}
    }
}

/// Whether the list has the entry, its length, and the most that it may have.
fn of<K: Eq + Hash, V>(list: &HashMap<K, V>, entry: &K) -> (bool, usize, usize) {
    (list.contains_key(entry), list.len(), ENTRIES_MAX)
}

fn listed<'r>(name: &str, entries: impl Iterator<Item = (String, &'r str)>) -> Value {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_unstable();
    let entries = entries
        .into_iter()
        .map(|(entry, reason)| json!({name: entry, "reason": reason}));
    entries.collect()
}

#[cfg(test)]
mod tests;
