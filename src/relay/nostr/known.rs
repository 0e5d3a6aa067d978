//! Ids of events that were accepted lately, so that they need not be verified again.

use std::collections::{HashSet, VecDeque};

use corecast_nostr::{Bytes32, Class, Event};

/// Most ids of each kind of event that a shard remembers.
const IDS_MAX: usize = 8_192;

/// The ids that a shard remembers.
///
/// A deletion or a request to vanish (NIP-09, NIP-62) may have removed any stored event, and from
/// then on that event is refused. So all shards see the number of removals so far, and a stored
/// event counts as known only if none has come since. Then the store decides.
#[derive(Default)]
pub(super) struct KnownIds {
    stored: Recent,
    ephemeral: Recent,
    /// The number of removals when the stored ones were remembered.
    removals: u64,
}

impl KnownIds {
    /// Whether an event with that id was accepted, and no removal has come since.
    pub(super) fn has(&self, id: &Bytes32, removals: u64) -> bool {
        self.ephemeral.ids.contains(id) || self.removals == removals && self.stored.ids.contains(id)
    }

    /// Remembers an accepted event, but not one that a newer version may replace. `removals` is
    /// their number before the event was stored.
    pub(super) fn remember(&mut self, event: &Event, removals: u64) {
        match event.class() {
            Class::Ephemeral => self.ephemeral.insert(*event.id()),
            Class::Replaceable | Class::Addressable => {}
            Class::Regular => {
                if removals > self.removals {
                    self.stored = Recent::default();
                    self.removals = removals;
                }
                if removals == self.removals {
                    self.stored.insert(*event.id());
                }
            }
        }
    }
}

/// A bounded set of ids.
#[derive(Default)]
struct Recent {
    ids: HashSet<Bytes32>,
    /// The same, oldest first.
    order: VecDeque<Bytes32>,
}

impl Recent {
    fn insert(&mut self, id: Bytes32) {
        if self.ids.insert(id) {
            self.order.push_back(id);
        }
        if self.order.len() > IDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use corecast_nostr::{Draft, Signer};

    use super::*;

    fn event(kind: u16) -> Event {
        let signer = Signer::new([1; 32]).expect("a key");
        signer.sign(Draft {
            kind,
            ..Draft::default()
        })
    }

    #[test]
    fn a_removal_ends_what_was_known_of_stored_events() {
        let mut known = KnownIds::default();
        let [note, ephemeral, profile] = [1, 20_001, 0].map(event);
        for event in [&note, &ephemeral, &profile] {
            known.remember(event, 3);
        }
        let has = |known: &KnownIds, removals| {
            [&note, &ephemeral, &profile].map(|event| known.has(event.id(), removals))
        };
        assert_eq!(has(&known, 3), [true, true, false]);
        assert_eq!(has(&known, 4), [false, true, false]);
        // The answer to an event that was stored before the removal comes after it.
        let late = event(7);
        known.remember(&note, 4);
        known.remember(&late, 3);
        assert!(!known.has(late.id(), 4));
        assert_eq!(has(&known, 4), [true, true, false]);
    }
}
