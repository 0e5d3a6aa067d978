//! The memory of events that are gone and must not come back.
//!
//! Deletions that are stored need no entry here: they are found by what they name.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use crate::event::{Event, EventAddress};
use crate::hex::Bytes32;
use crate::query::Position;
use crate::store::deletion::{self, Target};

/// The memory itself: a bounded number of each kind of entry.
pub(super) struct Tombstones {
    /// Ids that a removed deletion named, with its signer.
    ids: Bounded<(Bytes32, Bytes32), ()>,
    /// Addresses whose versions up to this time a removed deletion of their author named.
    addresses: Bounded<Bytes32, u64>,
    /// The newest version of an address that is gone.
    versions: Bounded<Bytes32, Position>,
    /// Keys that have vanished, and until when.
    vanished: Bounded<Bytes32, u64>,
}

impl Tombstones {
    /// Up to `entries_max` of each kind of entry; past that, the oldest entries go first.
    pub(super) fn new(entries_max: usize) -> Tombstones {
        Tombstones {
            ids: Bounded::new(entries_max),
            addresses: Bounded::new(entries_max),
            versions: Bounded::new(entries_max),
            vanished: Bounded::new(entries_max),
        }
    }

    /// Remembers what a deletion names; other events have no targets.
    pub(super) fn bury_targets(&mut self, deletion: &Event) {
        let signer = *deletion.pubkey();
        for target in deletion::targets(deletion) {
            match target {
                Target::Id(id) => self.ids.update((id, signer), |_| ()),
                Target::Address(address) if address.pubkey == signer => {
                    let time = deletion.created_at();
                    let until = |known: Option<u64>| known.map_or(time, |known| known.max(time));
                    let hash = deletion::address_hash(&address);
                    self.addresses.update(hash, until);
                }
                Target::Address(_) => {}
            }
        }
    }

    /// Remembers a version of an address, if the event is one: older ones are superseded.
    pub(super) fn bury_version(&mut self, event: &Event) {
        if let Some(address) = event.address() {
            let own = Position::of(event);
            let newest = |known: Option<Position>| known.map_or(own, |known| known.min(own));
            self.versions
                .update(deletion::address_hash(&address), newest);
        }
    }

    /// The newest version of an address that is gone.
    pub(super) fn version_of(&self, address: &EventAddress) -> Option<Position> {
        if self.versions.is_empty() {
            return None;
        }
        self.versions.get(&deletion::address_hash(address)).copied()
    }

    /// Whether a removed deletion applies to the event.
    pub(super) fn holds(&self, event: &Event) -> bool {
        let is_named = |owner| self.ids.get(&(*event.id(), owner)).is_some();
        if !self.ids.is_empty()
            && deletion::may_be_deleted(event)
            && deletion::owners(event).any(is_named)
        {
            return true;
        }
        !self.addresses.is_empty()
            && event.address().is_some_and(|address| {
                let until = self.addresses.get(&deletion::address_hash(&address));
                until.is_some_and(|until| event.created_at() <= *until)
            })
    }

    /// Remembers that a key has vanished. Returns until when.
    pub(super) fn vanish(&mut self, key: Bytes32, until: u64) -> u64 {
        let latest = |known: Option<u64>| known.map_or(until, |known| known.max(until));
        self.vanished.update(key, latest);
        self.vanished.get(&key).copied().unwrap_or(until)
    }

    /// Whether the event is of a key that has vanished.
    pub(super) fn is_vanished(&self, event: &Event) -> bool {
        !self.vanished.is_empty()
            && deletion::is_vanished(event, |key| self.vanished.get(key).copied())
    }
}

/// A map of a bounded size. The entries that were added first are removed first.
struct Bounded<K, V> {
    entries_max: usize,
    entries: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K: Copy + Eq + Hash, V: Copy> Bounded<K, V> {
    fn new(entries_max: usize) -> Bounded<K, V> {
        Bounded {
            entries_max,
            entries: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    /// Sets a value, given the one that is there.
    fn update(&mut self, key: K, value: impl FnOnce(Option<V>) -> V) {
        let known = self.entries.get(&key).copied();
        if self.entries.insert(key, value(known)).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > self.entries_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entries_that_came_first_are_forgotten_first() {
        let mut map: Bounded<u8, u8> = Bounded::new(2);
        for key in [1, 2, 1, 3] {
            map.update(key, |known| known.unwrap_or(0) + 1);
        }
        let values = [1, 2, 3].map(|key| map.get(&key).copied());
        assert_eq!(values, [None, Some(1), Some(1)]);
        assert_eq!(map.order.len(), 2);
    }
}
