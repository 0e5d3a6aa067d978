//! The changes since the last checkpoint, in memory, over the tables on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::keys::{self, Row};
use crate::event::Event;
use crate::query::{Position, Seq};

/// Values by key, in order; `None` stands for a removed one.
pub(super) type Changes = BTreeMap<Box<[u8]>, Option<Box<[u8]>>>;

/// One of the two tables with keys of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Space {
    Index,
    Marks,
}

/// Changes that are not in the tables yet.
#[derive(Default)]
pub(super) struct Layer {
    pub(super) index: Changes,
    pub(super) marks: Changes,
    pub(super) events: BTreeMap<Seq, Option<Arc<Event>>>,
    /// Changes in all, and an estimate of their memory in bytes.
    pub(super) changes: usize,
    pub(super) bytes: usize,
}

/// Memory of a key beside its bytes.
const KEY_BYTES: usize = 100;

impl Layer {
    pub(super) fn of(&self, space: Space) -> &Changes {
        match space {
            Space::Index => &self.index,
            Space::Marks => &self.marks,
        }
    }

    /// An event is inserted: it gets into all of its lists.
    pub(super) fn insert(&mut self, seq: Seq, event: &Arc<Event>) {
        let row = Row::of(event, seq).to_bytes();
        for key in keys::lists_of(event) {
            self.set_index(key, Some(row.clone()));
        }
        let tail = keys::tail(&Position::of(event));
        let place: Box<[u8]> = [&row[..], &tail].concat().into();
        self.set_index(keys::id(event.id()), Some(place.clone()));
        if let Some(address) = event.address() {
            self.set_index(keys::address(&address), Some(place));
        }
        self.changes += 1;
        self.bytes += event.held_bytes();
        self.events.insert(seq, Some(Arc::clone(event)));
    }

    /// An event is removed from all of its lists.
    pub(super) fn remove(&mut self, seq: Seq, event: &Event) {
        for key in keys::lists_of(event) {
            self.set_index(key, None);
        }
        self.set_index(keys::id(event.id()), None);
        if let Some(address) = event.address() {
            self.set_index(keys::address(&address), None);
        }
        self.changes += 1;
        self.events.insert(seq, None);
    }

    pub(super) fn set_mark(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.changes += 1;
        self.bytes += key.len() + value.map_or(0, <[u8]>::len) + KEY_BYTES;
        self.marks.insert(key.into(), value.map(Box::from));
    }

    fn set_index(&mut self, key: Vec<u8>, value: Option<Box<[u8]>>) {
        self.bytes += key.len() + value.as_ref().map_or(0, |value| value.len()) + KEY_BYTES;
        self.index.insert(key.into(), value);
    }

    /// Takes over the changes of a later layer.
    pub(super) fn absorb(&mut self, later: Layer) {
        self.index.extend(later.index);
        self.marks.extend(later.marks);
        self.events.extend(later.events);
        self.changes += later.changes;
        self.bytes += later.bytes;
    }
}
