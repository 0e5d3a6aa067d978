//! Events that nobody may see, by their ids and their authors.

use std::collections::HashMap;

use crate::event::Event;
use crate::hex::Bytes32;

/// Events that are kept but hidden: those of banned keys and banned events. An event that a
/// moderator has allowed is visible whoever wrote it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hidden {
    /// Banned keys, and the reason for each.
    pub(super) keys: HashMap<Bytes32, Box<str>>,
    pub(super) events: HashMap<Bytes32, Mark>,
}

/// A moderator's decision on an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    pub(super) is_banned: bool,
    pub(super) reason: Box<str>,
}

impl Hidden {
    /// Whether the event is hidden.
    pub fn hides(&self, event: &Event) -> bool {
        self.hides_id(event.id(), event.pubkey())
    }

    /// Whether the event with this id by this author is hidden.
    pub fn hides_id(&self, id: &Bytes32, author: &Bytes32) -> bool {
        match self.mark(id) {
            Some(mark) => mark.is_banned,
            None => !self.keys.is_empty() && self.keys.contains_key(author),
        }
    }

    /// Whether a moderator has banned or allowed this event.
    pub fn is_decided(&self, id: &Bytes32) -> bool {
        self.mark(id).is_some()
    }

    /// Whether nothing is hidden.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.events.is_empty()
    }

    pub(super) fn mark(&self, id: &Bytes32) -> Option<&Mark> {
        match self.events.is_empty() {
            true => None,
            false => self.events.get(id),
        }
    }
}
