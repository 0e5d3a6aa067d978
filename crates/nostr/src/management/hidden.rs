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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::{Draft, Signer};
    use crate::filter::Filter;
    use crate::query::{Query, QueryLimits};
    use crate::store::{MemoryStore, Nip09, Store};
    use crate::visibility::Viewer;

    #[test]
    fn hidden_events_take_no_place_in_the_limit_of_a_query() {
        let store = MemoryStore::new(10);
        let [good, bad] = [1, 2].map(|secret| Signer::new([secret; 32]).expect("a key"));
        let events: Vec<_> = [&bad, &good, &bad, &good, &good]
            .iter()
            .zip(1..)
            .map(|(author, created_at)| {
                Arc::new(author.sign(Draft {
                    created_at,
                    kind: 1,
                    ..Draft::default()
                }))
            })
            .collect();
        store.commit(&events, &Nip09).expect("a store");
        let mut hidden = Hidden::default();
        hidden.keys.insert(bad.public_key(), Box::default());
        let is_banned = true;
        let reason = Box::default();
        hidden
            .events
            .insert(*events[4].id(), Mark { is_banned, reason });
        let limits = QueryLimits {
            limit_max: 2,
            limit_default: 2,
            second_max: 0,
        };
        let filter = Arc::new(Filter::default());
        let seq = store.last_seq();
        let mut query = Query::new([filter], &limits, seq, Viewer::default(), Arc::default());
        query.hide(Arc::new(hidden));
        let mut found = Vec::new();
        loop {
            let page = store.page(&mut query, 1, usize::MAX, 9).expect("a store");
            found.extend(page.rows.iter().map(|event| *event.id()));
            if page.is_last {
                break;
            }
        }
        assert_eq!(found, [*events[3].id(), *events[1].id()]);
        assert!(!query.has_more());
    }
}
