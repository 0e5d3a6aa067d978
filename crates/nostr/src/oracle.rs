//! Events, filters and ten lines that match them: the oracle of all that answers by filters.

use std::sync::{Arc, OnceLock};

use proptest::collection::btree_set;
use proptest::option;
use proptest::prelude::*;

use crate::event::{Draft, Event, Signer};
use crate::filter::Filter;
use crate::hex::Bytes32;

/// Few distinct values, so that filters and events match often.
pub(crate) fn events() -> Vec<Arc<Event>> {
    static EVENTS: OnceLock<Vec<Arc<Event>>> = OnceLock::new();
    EVENTS.get_or_init(sign_events).clone()
}

fn sign_events() -> Vec<Arc<Event>> {
    let mut events = Vec::new();
    for (number, author) in (0..24).zip([1, 2, 3].into_iter().cycle()) {
        let tag = |name: &str, value: u64| vec![name.to_owned(), format!("{value}")];
        let event = Signer::new([author; 32]).expect("a key").sign(Draft {
            created_at: 100 + number / 3,
            kind: (number % 4) as u16 + 40,
            tags: vec![
                tag("t", number % 3),
                tag("x", number % 2),
                tag("t", number % 5),
            ],
            content: String::new(),
        });
        events.push(Arc::new(event));
    }
    events
}

pub(crate) fn filters(events: &[Arc<Event>]) -> impl Strategy<Value = Filter> + use<> {
    let ids: Vec<Bytes32> = events
        .iter()
        .map(|event| *event.id())
        .chain([[0; 32]])
        .collect();
    let authors: Vec<Bytes32> = events[..3].iter().map(|event| *event.pubkey()).collect();
    let values = || {
        let values = btree_set(0..6_u8, 0..3);
        values.prop_map(|set| {
            set.iter()
                .map(|each| each.to_string().into())
                .collect::<Box<[_]>>()
        })
    };
    (
        option::weighted(0.2, btree_set(proptest::sample::select(ids), 0..5)),
        option::weighted(0.4, btree_set(proptest::sample::select(authors), 0..3)),
        option::weighted(0.4, btree_set(40..46_u16, 0..4)),
        (
            option::weighted(0.4, values()),
            option::weighted(0.2, values()),
            option::weighted(0.3, values()),
        ),
        (
            option::weighted(0.2, 98..110_u64),
            option::weighted(0.2, 98..110_u64),
        ),
        option::weighted(0.5, 0..10_u64),
    )
        .prop_map(
            |(ids, authors, kinds, (t, x, and), (since, until), limit)| Filter {
                ids: ids.map(|set| set.into_iter().collect()),
                authors: authors.map(|set| set.into_iter().collect()),
                kinds: kinds.map(|set| set.into_iter().collect()),
                tags: [(b't', t), (b'x', x)]
                    .into_iter()
                    .filter_map(|(k, v)| Some((k, v?)))
                    .collect(),
                all_tags: and.into_iter().map(|values| (b't', values)).collect(),
                since,
                until,
                limit,
            },
        )
}

/// The rules of NIP-01 and NIP-91, as directly as possible.
pub(crate) fn is_match(filter: &Filter, event: &Event) -> bool {
    let tags = |letter: u8| {
        let tags = event.single_letter_tags();
        tags.filter(|(name, _)| *name == letter)
            .map(|(_, value)| Box::from(value))
            .collect()
    };
    let values: Vec<(u8, Vec<Box<str>>)> = filter.tags.keys().map(|k| (*k, tags(*k))).collect();
    let is_in = |list: &Option<Box<[Bytes32]>>, value| list.iter().all(|l| l.contains(value));
    is_in(&filter.ids, event.id())
        && is_in(&filter.authors, event.pubkey())
        && filter
            .kinds
            .iter()
            .all(|kinds| kinds.contains(&event.kind()))
        && values
            .iter()
            .all(|(k, v)| v.iter().any(|value| filter.tags[k].contains(value)))
        && filter.all_tags.iter().all(|(k, wanted)| {
            let values: Vec<Box<str>> = tags(*k);
            !wanted.is_empty() && wanted.iter().all(|value| values.contains(value))
        })
        && filter.since.is_none_or(|since| since <= event.created_at())
        && filter.until.is_none_or(|until| until >= event.created_at())
}
