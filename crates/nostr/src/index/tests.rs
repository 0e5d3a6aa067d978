use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::oracle::{events, filters, is_match};

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
