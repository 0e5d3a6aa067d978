use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::event::{Draft, Signer};
use crate::query::{Position, Query, QueryLimits};
use crate::store::{MemoryStore, Nip09, Outcome, Store};
use crate::visibility::{PrivateKinds, Viewer};
use std::sync::Arc;

/// Few distinct values, so that filters and events match often.
fn events() -> Vec<Arc<Event>> {
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

fn filters(events: &[Arc<Event>]) -> impl Strategy<Value = Filter> + use<> {
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

/// The rules of NIP-01, as directly as possible.
fn is_match(filter: &Filter, event: &Event) -> bool {
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

proptest! {
    #[test]
    fn the_index_finds_what_the_filters_say(
        steps in vec((0..8_u32, vec(filters(&events()), 0..3)), 1..20),
    ) {
        let events = events();
        let mut index = LiveIndex::default();
        let mut model: BTreeMap<u32, Vec<Filter>> = BTreeMap::new();
        for (subscription, filters) in steps {
            if filters.is_empty() {
                index.remove(subscription);
                model.remove(&subscription);
            } else {
                index.insert(subscription, &filters);
                model.insert(subscription, filters);
            }
            for event in &events {
                let mut found = Vec::new();
                index.find(event, |subscription| found.push(subscription));
                found.sort_unstable();
                let wanted = model.iter().filter(|(_, filters)| {
                    filters.iter().any(|filter| is_match(filter, event))
                });
                prop_assert_eq!(found, wanted.map(|(number, _)| *number).collect::<Vec<_>>());
            }
        }
        for subscription in 0..8 {
            index.remove(subscription);
        }
        prop_assert!(index.authors.is_empty() && index.values.is_empty() && index.ids.is_empty());
        prop_assert!(index.kinds.is_empty() && index.others.is_empty());
    }

    /// Page by page, a query returns the events that the filters match, newest first, and knows
    /// whether there are more.
    #[test]
    fn a_query_has_what_the_filters_say(
        filters in vec(filters(&events()), 1..4),
        rows in 1..5_usize,
        order in Just((0..24).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let events = events();
        let store = MemoryStore::new(1_000);
        let all: Vec<_> = order.iter().map(|index| Arc::clone(&events[*index])).collect();
        let outcomes = store.commit(&all, &Nip09).expect("memory");
        prop_assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Stored(_))));
        let limits = QueryLimits { limit_max: 6, limit_default: 4, second_max: 2 };
        let mut query = Query::new(
            filters.iter().map(|filter| Arc::new(filter.clone())),
            &limits,
            store.last_seq(),
            Viewer::default(),
            Arc::new(PrivateKinds::default()),
        );
        let mut got = Vec::new();
        loop {
            let page = store.page(&mut query, rows, usize::MAX, 0).expect("memory");
            prop_assert!(page.rows.len() <= rows);
            got.extend(page.rows);
            if page.is_last {
                break;
            }
        }
        let mut wanted: BTreeMap<Position, Bytes32> = BTreeMap::new();
        let mut has_more = false;
        for filter in &filters {
            let mut found: Vec<_> = events.iter().filter(|each| is_match(filter, each)).collect();
            found.sort_by_key(|event| Position::of(event));
            let asked = filter.limit.unwrap_or(u64::MAX);
            let ours = asked.min(if filter.limit.is_some() { 6 } else { 4 });
            let mut end = found.len().min(ours as usize);
            if ours < asked && end > 0 {
                let second = found[end - 1].created_at();
                let rest = found[end..].iter().take_while(|event| event.created_at() == second);
                end += rest.count().min(2);
            }
            has_more |= end < found.len();
            wanted.extend(found[..end].iter().map(|event| (Position::of(event), *event.id())));
        }
        let got: Vec<Bytes32> = got.iter().map(|event| *event.id()).collect();
        prop_assert_eq!(got, wanted.into_values().collect::<Vec<_>>());
        prop_assert_eq!(query.has_more(), has_more);
    }
}

#[test]
fn filters_that_do_not_name_an_event_are_not_looked_at() {
    let events = events();
    let mut index = LiveIndex::default();
    let filter = |authors: &[Bytes32]| Filter {
        authors: Some(authors.into()),
        ..Filter::default()
    };
    for subscription in 0..1_000_u32 {
        let mut other = [0; 32];
        other[..4].copy_from_slice(&subscription.to_be_bytes());
        index.insert(subscription, [&filter(&[other])]);
    }
    assert_eq!(index.find(&events[0], |_| panic!("nobody asked for it")), 0);
    index.insert(7, [&filter(&[*events[0].pubkey()]), &Filter::default()]);
    let mut found = Vec::new();
    assert_eq!(index.find(&events[0], |each| found.push(each)), 2);
    assert_eq!(found, [7]);
    assert_eq!(index.len(), 1_000);
}

#[test]
fn equal_filters_are_one() {
    let mut index = LiveIndex::default();
    let kinds = Filter {
        kinds: Some([40].into()),
        ..Filter::default()
    };
    (0..100).for_each(|subscription| index.insert(subscription, [&kinds]));
    let mut found = 0;
    assert_eq!(index.find(&events()[0], |_| found += 1), 1);
    assert_eq!(found, 100);
}
