use super::*;
use crate::event::{Draft, Signer};
use crate::hex::to_hex;
use crate::query::QueryLimits;
use crate::store::{Nip09, rules};
use crate::visibility::{PrivateKinds, Viewer};

fn event(kind: u16, created_at: u64, tags: &[&[&str]], content: &str) -> Arc<Event> {
    let tags = tags
        .iter()
        .map(|tag| tag.iter().map(|item| (*item).to_owned()).collect());
    Arc::new(Signer::new([5; 32]).expect("a key").sign(Draft {
        created_at,
        kind,
        tags: tags.collect(),
        content: content.to_owned(),
    }))
}

fn all(store: &MemoryStore, snapshot: Seq, now: u64) -> Vec<Bytes32> {
    let limits = QueryLimits {
        limit_max: 100,
        limit_default: 100,
        second_max: 0,
    };
    let filter = Arc::new(Filter::default());
    let private = Arc::new(PrivateKinds::default());
    let mut query = Query::new([filter], &limits, snapshot, Viewer::default(), private);
    let page = store
        .page(&mut query, 100, usize::MAX, now)
        .expect("memory");
    assert!(page.is_last);
    page.rows.iter().map(|event| *event.id()).collect()
}

/// In any order, the newest version stays, and of two in one second the one with the lower id.
#[test]
fn all_orders_end_in_one_state() {
    for (kind, d) in [(0, "x"), (10_001, ""), (30_000, ""), (39_999, "x")] {
        let tags: &[&[&str]] = &[&["d", d], &["d", "other"]];
        let versions = [
            event(kind, 1, tags, "a"),
            event(kind, 2, tags, "b"),
            event(kind, 2, tags, "c"),
        ];
        let best = versions[1].id().min(versions[2].id());
        for order in [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ] {
            let store = MemoryStore::new(10);
            for index in order {
                let outcomes = store
                    .commit(&[Arc::clone(&versions[index])], &Nip09)
                    .expect("memory");
                let is_best_there = store.read().by_id.contains_key(best);
                let is_stored = matches!(outcomes[..], [Outcome::Stored(_)]);
                assert!(is_stored || outcomes == [Outcome::Superseded]);
                assert!(is_stored || store.size().0 == 1);
                assert!(is_best_there || versions[index].id() != best);
            }
            assert_eq!(
                all(&store, Seq::MAX, 0),
                [*best],
                "{kind} in order {order:?}"
            );
            let again = [best].map(|best| {
                Arc::clone(
                    versions
                        .iter()
                        .find(|each| each.id() == best)
                        .expect("one of them"),
                )
            });
            assert_eq!(store.commit(&again, &Nip09), Ok(vec![Outcome::Duplicate]));
        }
    }
}

#[test]
fn addresses_differ_by_the_first_d() {
    let store = MemoryStore::new(10);
    let events = [
        event(30_000, 1, &[&["d", "a"]], ""),
        event(30_000, 2, &[&["d", "b"], &["d", "a"]], ""),
        event(30_001, 3, &[&["d", "a"]], ""),
        event(30_000, 4, &[], ""),
        event(30_000, 5, &[&["d"]], ""),
        event(30_000, 6, &[&["d"], &["d", "a"]], ""),
    ];
    store.commit(&events, &Nip09).expect("memory");
    let left = [5, 2, 1, 0].map(|index: usize| *events[index].id());
    assert_eq!(all(&store, Seq::MAX, 0), left);
}

#[test]
fn the_oldest_go_first_and_take_all_of_them_along() {
    let store = MemoryStore::new(2);
    let events = [3, 1, 2, 4].map(|at| event(1, at, &[&["t", "x"], &["t", "x"]], ""));
    store.commit(&events, &Nip09).expect("memory");
    assert_eq!(all(&store, Seq::MAX, 0), [*events[3].id(), *events[0].id()]);
    assert!(!store.read().by_id.contains_key(events[1].id()));
    let tables = store.read();
    assert_eq!((tables.by_seq.len(), tables.by_id.len()), (2, 2));
    assert!(tables.by_key.values().all(|rows| rows.len() == 2));
    assert_eq!(
        tables.bytes,
        events[0].held_bytes() + events[3].held_bytes()
    );
}

#[test]
fn expired_events_are_not_served_and_are_removed() {
    let store = MemoryStore::new(10);
    let events = [
        event(1, 1, &[&["expiration", "10"]], ""),
        event(1, 2, &[], ""),
    ];
    store.commit(&events, &Nip09).expect("memory");
    assert_eq!(all(&store, Seq::MAX, 9).len(), 2);
    assert_eq!(all(&store, Seq::MAX, 10), [*events[1].id()]);
    assert_eq!((store.tidy(9).expect("memory"), store.size().0), (0, 2));
    assert_eq!((store.tidy(10).expect("memory"), store.size().0), (1, 1));
    assert_eq!(store.tidy(10).expect("memory"), 0);
}

#[test]
fn a_query_sees_its_snapshot_and_the_rest_comes_by_number() {
    let store = MemoryStore::new(10);
    let events: Vec<_> = (1..=5).map(|at| event(1, at, &[], "")).collect();
    let outcomes = store.commit(&events, &Nip09).expect("memory");
    assert_eq!(outcomes, (1..=5).map(Outcome::Stored).collect::<Vec<_>>());
    assert_eq!(all(&store, 2, 0), [*events[1].id(), *events[0].id()]);
    let numbers = |after, rows| {
        let (found, end) = store.since(after, rows).expect("memory");
        (found.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), end)
    };
    assert_eq!(numbers(2, 10), (vec![3, 4, 5], 5));
    assert_eq!(numbers(2, 2), (vec![3, 4], 4));
    assert_eq!(numbers(5, 2), (vec![], 5));
}

#[test]
fn pages_are_bounded_in_bytes_too() {
    let store = MemoryStore::new(10);
    let events: Vec<_> = (1..=3).map(|at| event(1, at, &[], "")).collect();
    store.commit(&events, &Nip09).expect("memory");
    let limits = QueryLimits {
        limit_max: 100,
        limit_default: 100,
        second_max: 0,
    };
    let private = Arc::new(PrivateKinds::default());
    let filter = Arc::new(Filter::default());
    let mut query = Query::new([filter], &limits, 3, Viewer::default(), private);
    let pages: Vec<usize> = std::iter::from_fn(|| {
        let page = store.page(&mut query, 100, 1, 0).expect("memory");
        (!page.rows.is_empty()).then_some(page.rows.len())
    })
    .take(10)
    .collect();
    assert_eq!(pages, [1, 1, 1]);
}

fn fresh() -> Box<dyn Store> {
    Box::new(MemoryStore::new(10_000))
}

#[test]
fn deletions_and_vanishing_do_not_depend_on_the_order() {
    for history in rules::histories() {
        rules::all_orders_end_in_one_state(&fresh, &history);
    }
}

#[test]
fn events_that_are_gone_are_refused_by_name() {
    rules::events_that_are_gone_are_refused_by_name(&fresh);
}

#[test]
fn the_events_of_others_are_left_alone() {
    rules::others_are_left_alone(&fresh);
}

#[test]
fn the_rule_of_deletion_decides_on_each_target() {
    rules::the_rule_decides_on_each_target(&fresh);
}

#[test]
fn a_key_vanishes_at_once_and_its_events_go_in_batches() {
    rules::many_events_vanish_at_once(&fresh);
}

proptest::proptest! {
    #[test]
    fn a_query_has_what_the_filters_say(case in rules::answers::any_case()) {
        rules::answers::a_query_has_what_the_filters_say(&fresh, &case);
    }

    #[test]
    fn any_history_ends_in_what_is_due(steps in rules::any_history()) {
        rules::run(&*fresh(), &steps);
    }
}

#[test]
fn a_deletion_that_is_dropped_as_the_oldest_no_longer_holds() {
    let store = MemoryStore::new(2);
    let [target, new, newer] = [10, 30, 31].map(|at| rules::event(1, 1, at, &[]));
    let deletion = rules::event(1, 5, 5, &[["e", &to_hex(target.id())]]);
    let commit = |event: &Arc<Event>| store.commit(&[Arc::clone(event)], &Nip09).expect("memory");
    commit(&deletion);
    assert_eq!(commit(&target), [Outcome::Deleted]);
    commit(&new);
    commit(&newer);
    assert!(matches!(commit(&target)[..], [Outcome::Stored(_)]));
    assert_eq!(store.size().0, 2, "and was dropped as the oldest itself");
}
