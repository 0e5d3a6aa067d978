//! Rules that hold for every store, whatever it keeps its events in.

pub(crate) mod answers;

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{DeletionRule, Nip09, Outcome, Store};
use crate::event::{Draft, Event, Signer};
use crate::filter::Filter;
use crate::hex::{Bytes32, to_hex};
use crate::query::{Page, Position, Query, QueryLimits};
use crate::visibility::{PrivateKinds, Viewer};

/// Makes an empty store.
pub(crate) type Fresh<'f> = &'f dyn Fn() -> Box<dyn Store>;

/// The time of all queries and removals. Some events have expired by then.
const NOW: u64 = 100;

/// A step in the history of a store.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// These events are stored in one batch.
    Commit(Vec<Arc<Event>>),
    /// Events that must not be kept are removed.
    Tidy,
}

fn signer(secret: u8) -> Signer {
    Signer::new([secret; 32]).expect("a key")
}

pub(crate) fn key(secret: u8) -> String {
    to_hex(&signer(secret).public_key())
}

pub(crate) fn event(secret: u8, kind: u16, created_at: u64, tags: &[[&str; 2]]) -> Arc<Event> {
    let tags = tags.iter().map(|tag| tag.map(str::to_owned).to_vec());
    Arc::new(signer(secret).sign(Draft {
        created_at,
        kind,
        tags: tags.collect(),
        content: String::new(),
    }))
}

fn id(event: &Event) -> String {
    to_hex(event.id())
}

/// The ids of what a store serves, newest first, by all ways of reading.
pub(crate) fn served(store: &dyn Store) -> Vec<Bytes32> {
    let limits = QueryLimits {
        limit_max: u64::MAX,
        limit_default: u64::MAX,
        second_max: 0,
    };
    let query = || {
        let filter = Arc::new(Filter::default());
        let private = Arc::new(PrivateKinds::default());
        let (end, viewer) = (store.last_seq(), Viewer::default());
        Query::new([filter], &limits, end, viewer, private)
    };
    let Page { rows, is_last, .. } = store
        .page(&mut query(), 1_000, usize::MAX, NOW)
        .expect("a page");
    assert!(is_last);
    let ids: Vec<Bytes32> = rows.iter().map(|event| *event.id()).collect();
    let items = store.items(&mut query(), 1_000, NOW).expect("items").items;
    assert_eq!(ids, items.iter().map(|item| item.id).collect::<Vec<_>>());
    let (since, _) = store.since(0, 1_000).expect("changes");
    let since = since.into_iter().map(|(_, event)| event);
    let mut since: Vec<_> = since.filter(|event| !event.is_expired(NOW)).collect();
    since.sort_by_key(|event| Position::of(event));
    assert_eq!(
        ids,
        since.iter().map(|event| *event.id()).collect::<Vec<_>>()
    );
    ids
}

/// The events that a store serves if it was given these: a function of the set, not of the order.
fn due(given: &[Arc<Event>]) -> Vec<Bytes32> {
    let has = |event: &Event, letter: u8, text: &str| {
        let mut tags = event.single_letter_tags();
        tags.any(|tag| tag == (letter, text))
    };
    let owns = |key: &Bytes32, event: &Event| {
        event.pubkey() == key || event.kind() == 1_059 && has(event, b'p', &to_hex(key))
    };
    let address = |event: &Event| event.address().map(|it| (it.kind, it.pubkey, it.d));
    let text = |event: &Event| {
        let (kind, key, d) = address(event)?;
        Some(format!("{kind}:{}:{d}", to_hex(&key)))
    };
    let is_deleted = |event: &Event| {
        let mut deletions = given.iter().filter(|each| each.kind() == 5);
        ![5, 62].contains(&event.kind())
            && deletions.any(|deletion| {
                owns(deletion.pubkey(), event)
                    && (has(deletion, b'e', &id(event))
                        || event.created_at() <= deletion.created_at()
                            && text(event).is_some_and(|text| has(deletion, b'a', &text)))
            })
    };
    let is_vanished = |event: &Event| {
        let mut requests = given.iter().filter(|each| each.kind() == 62);
        event.kind() != 62
            && requests.any(|request| {
                owns(request.pubkey(), event) && event.created_at() <= request.created_at()
            })
    };
    let is_newest = |event: &Event| {
        let mut others = given.iter().filter(|each| address(each) == address(event));
        address(event).is_none() || others.all(|other| Position::of(other) >= Position::of(event))
    };
    let is_due = |event: &&Arc<Event>| {
        !event.is_expired(NOW) && !is_deleted(event) && !is_vanished(event) && is_newest(event)
    };
    let mut due: Vec<_> = given.iter().filter(is_due).collect();
    due.sort_by_key(|event| Position::of(event));
    due.dedup_by_key(|event| *event.id());
    due.iter().map(|event| *event.id()).collect()
}

/// Runs the steps. After each, the store serves what is due for the events given until then.
pub(crate) fn run(store: &dyn Store, steps: &[Step]) {
    let mut given: Vec<Arc<Event>> = Vec::new();
    for step in steps {
        match step {
            Step::Commit(batch) => {
                let outcomes = store.commit(batch, &Nip09).expect("a commit");
                assert_eq!(outcomes.len(), batch.len());
                given.extend_from_slice(batch);
            }
            Step::Tidy => {
                tidy(store);
                assert_eq!(store.size().0, served(store).len(), "something is left");
            }
        }
        assert_eq!(served(store), due(&given), "after {step:?} of {steps:#?}");
    }
}

/// Removes all that must not be kept. Returns how much that was.
pub(crate) fn tidy(store: &dyn Store) -> usize {
    let mut removed = 0;
    for _ in 0..1_000 {
        match store.tidy(NOW).expect("room") {
            0 => return removed,
            more => removed += more,
        }
    }
    panic!("this does not end");
}

/// Sets of two versions, a deletion, a request to vanish and a removal, whose times and targets are
/// combined in many ways.
pub(crate) fn histories() -> Vec<Vec<Step>> {
    let mut histories = Vec::new();
    for kind in [1, 0, 30_000] {
        for expires in [None, Some(0), Some(1)] {
            let version = |number: usize| {
                let at = 10 + 10 * number as u64;
                let end = if expires == Some(number) { "50" } else { "500" };
                event(1, kind, at, &[["d", "x"], ["expiration", end]])
            };
            let versions = [version(0), version(1)];
            let ids = versions.each_ref().map(|version| id(version));
            let d = if kind == 0 { "" } else { "x" };
            let address = format!("{kind}:{}:{d}", key(1));
            let targets: [&[[&str; 2]]; 4] = [
                &[["e", &ids[0]]],
                &[["e", &ids[1]]],
                &[["a", &address]],
                &[["e", &ids[1]], ["a", &address], ["expiration", "60"]],
            ];
            for tags in targets {
                for (deleted_at, vanished_at) in [(5, 15), (15, 15), (20, 10), (30, 20)] {
                    let deletion = event(1, 5, deleted_at, tags);
                    let vanish = event(1, 62, vanished_at, &[]);
                    let [v1, v2] = versions.clone();
                    let given = [v1, v2, deletion, vanish];
                    let steps = given.map(|event| Step::Commit(vec![event]));
                    histories.push(steps.into_iter().chain([Step::Tidy]).collect());
                }
            }
        }
    }
    histories
}

/// Runs the steps in all orders, each in an empty store.
pub(crate) fn all_orders_end_in_one_state(fresh: Fresh<'_>, steps: &[Step]) {
    permute(&mut steps.to_vec(), steps.len(), &mut |order| {
        let store = fresh();
        run(&*store, order);
    });
}

/// Heap's algorithm.
fn permute(steps: &mut Vec<Step>, len: usize, visit: &mut impl FnMut(&[Step])) {
    if len <= 1 {
        return visit(steps);
    }
    for index in 0..len {
        permute(steps, len - 1, visit);
        steps.swap(if len.is_multiple_of(2) { index } else { 0 }, len - 1);
    }
}

/// Histories of any events: versions, wraps, deletions and requests to vanish by three keys, some
/// twice, in batches.
pub(crate) fn any_history() -> impl Strategy<Value = Vec<Step>> {
    let one = (
        1..4_u8,
        0..8_usize,
        1..8_u64,
        any::<[proptest::sample::Index; 2]>(),
    );
    let events = vec(one, 1..14).prop_map(|drafts| {
        let mut made: Vec<Arc<Event>> = Vec::new();
        for (secret, class, at, [first, second]) in drafts {
            made.push(any_event(&made, secret, class, at, [first, second]));
        }
        made
    });
    let order = events.prop_flat_map(|events| {
        let again = vec(proptest::sample::select(events.clone()), 0..4);
        let all = again.prop_map(move |again| [events.clone(), again].concat());
        all.prop_shuffle()
    });
    (order, vec(0..4_usize, 20)).prop_map(|(events, cuts)| {
        let mut steps = Vec::new();
        let mut left = &events[..];
        for cut in cuts {
            let (batch, rest) = left.split_at(cut.min(left.len()));
            steps.push(match batch {
                [] => Step::Tidy,
                batch => Step::Commit(batch.to_vec()),
            });
            left = rest;
        }
        steps.extend([Step::Commit(left.to_vec()), Step::Tidy]);
        steps
    })
}

fn any_event(
    made: &[Arc<Event>],
    secret: u8,
    class: usize,
    at: u64,
    picks: [proptest::sample::Index; 2],
) -> Arc<Event> {
    let end = ["50", "500"][picks[0].index(2)];
    let d = ["", "x"][picks[1].index(2)];
    let recipient = key(picks[1].index(3) as u8 + 1);
    match class {
        0 => event(secret, 1, at, &[["expiration", end]]),
        1 => event(secret, 0, at, &[["expiration", end]]),
        2 | 3 => event(secret, 30_000, at, &[["d", d], ["expiration", end]]),
        4 => event(9, 1_059, at, &[["p", &recipient]]),
        5 => event(secret, 62, at, &[]),
        _ => {
            let target = |pick: &proptest::sample::Index| match made {
                [] => key(secret),
                made => id(&made[pick.index(made.len())]),
            };
            let kind = [0, 30_000][picks[0].index(2)];
            let d = if kind == 0 { "" } else { d };
            let address = format!("{kind}:{recipient}:{d}");
            match picks[0].index(3) {
                0 => event(secret, 5, at, &[["a", &address], ["expiration", end]]),
                1 => event(secret, 5, at, &[["e", &target(&picks[1])], ["a", &address]]),
                _ => {
                    let both = picks.each_ref().map(target);
                    event(secret, 5, at, &[["e", &both[0]], ["e", &both[1]]])
                }
            }
        }
    }
}

/// The outcomes of single commits.
fn outcomes(store: &dyn Store, events: &[&Arc<Event>], rule: &dyn DeletionRule) -> Vec<Outcome> {
    let commit = |event: &&Arc<Event>| {
        let outcomes = store.commit(&[Arc::clone(event)], rule);
        outcomes.expect("a commit")[0]
    };
    events.iter().map(commit).collect()
}

/// Each refusal says why.
pub(crate) fn events_that_are_gone_are_refused_by_name(fresh: Fresh<'_>) {
    let store = fresh();
    let note = event(1, 1, 10, &[]);
    let [old, new] = [10, 20].map(|at| event(1, 30_000, at, &[["d", "x"]]));
    let deletion = event(1, 5, 30, &[["e", &id(&note)], ["e", &id(&new)]]);
    let undone = event(1, 5, 40, &[["e", &id(&deletion)]]);
    let stored = |outcomes: &[Outcome]| {
        let is_stored = |outcome: &Outcome| matches!(outcome, Outcome::Stored(_));
        outcomes.iter().all(is_stored)
    };
    let first = outcomes(&*store, &[&note, &new, &deletion, &undone], &Nip09);
    assert!(stored(&first), "{first:?}");
    assert_eq!(served(&*store), [*undone.id(), *deletion.id()]);
    let again = outcomes(&*store, &[&note, &new, &old, &deletion], &Nip09);
    let due = [
        Outcome::Deleted,
        Outcome::Deleted,
        Outcome::Superseded,
        Outcome::Duplicate,
    ];
    assert_eq!(again, due);

    let vanish = event(1, 62, 35, &[]);
    let unvanished = event(1, 5, 50, &[["e", &id(&vanish)]]);
    let later = event(1, 1, 36, &[]);
    let second = outcomes(&*store, &[&vanish, &unvanished, &later], &Nip09);
    assert!(stored(&second), "{second:?}");
    let left = [&unvanished, &undone, &later, &vanish].map(|event| *event.id());
    assert_eq!(served(&*store), left);
    let again = outcomes(&*store, &[&note, &old, &deletion, &vanish], &Nip09);
    let due = [
        Outcome::Vanished,
        Outcome::Vanished,
        Outcome::Vanished,
        Outcome::Duplicate,
    ];
    assert_eq!(again, due);
    assert_eq!(tidy(&*store), 1, "the deletion");
    assert_eq!(served(&*store), left);
    assert_eq!(store.size().0, 4);
}

/// Keys of others are not affected by a deletion or a request to vanish.
pub(crate) fn others_are_left_alone(fresh: Fresh<'_>) {
    let note = event(1, 1, 10, &[]);
    let article = event(1, 30_000, 10, &[["d", "x"]]);
    let mention = event(1, 1, 11, &[["p", &key(2)]]);
    let address = format!("30000:{}:x", key(1));
    let deletion = event(2, 5, 20, &[["e", &id(&note)], ["a", &address]]);
    let vanish = event(2, 62, 20, &[]);
    let wrap = event(3, 1_059, 12, &[["p", &key(2)]]);
    for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]] {
        let store = fresh();
        let all = [&note, &article, &mention, &deletion, &vanish];
        outcomes(&*store, &order.map(|index: usize| all[index]), &Nip09);
        assert_eq!(outcomes(&*store, &[&wrap], &Nip09), [Outcome::Vanished]);
        tidy(&*store);
        let mut left = [&vanish, &mention, &note, &article];
        left.sort_by_key(|event| Position::of(event));
        assert_eq!(served(&*store), left.map(|event| *event.id()));
    }
}

/// The rule decides on each target, whichever came first, but never on deletions themselves.
pub(crate) fn the_rule_decides_on_each_target(fresh: Fresh<'_>) {
    /// Key 9 may delete all; events of kind 7 stay.
    struct Moderated;
    impl DeletionRule for Moderated {
        fn may_delete(&self, target: &Event, deletion: &Event, is_due: bool) -> bool {
            assert!(![5, 62].contains(&target.kind()));
            let is_moderator = *deletion.pubkey() == signer(9).public_key();
            target.kind() != 7 && (is_due || is_moderator)
        }
    }
    let note = event(1, 1, 10, &[]);
    let reaction = event(1, 7, 11, &[]);
    let article = event(1, 30_000, 12, &[["d", "x"]]);
    let other = event(1, 5, 13, &[]);
    let vanish = event(1, 62, 1, &[]);
    let address = format!("30000:{}:x", key(1));
    let ids = [&note, &reaction, &other, &vanish].map(|event| id(event));
    let mut tags: Vec<[&str; 2]> = ids.iter().map(|id| ["e", id]).collect();
    tags.push(["a", &address]);
    for moderator in [1, 9, 2] {
        let deletion = event(moderator, 5, 20, &tags);
        for is_first in [true, false] {
            let store = fresh();
            let mut all = vec![&note, &reaction, &article, &other, &vanish];
            all.insert(if is_first { 0 } else { 5 }, &deletion);
            outcomes(&*store, &all, &Moderated);
            let left = match moderator {
                2 => vec![&deletion, &other, &article, &reaction, &note, &vanish],
                _ => vec![&deletion, &other, &reaction, &vanish],
            };
            let left: Vec<_> = left.iter().map(|event| *event.id()).collect();
            assert_eq!(served(&*store), left, "{moderator} {is_first}");
        }
    }
}

/// Hidden at once, and removed a bounded number at a time.
pub(crate) fn many_events_vanish_at_once(fresh: Fresh<'_>) {
    let store = fresh();
    let count = 1_500;
    let notes: Vec<_> = (0..count).map(|at| event(1, 1, 1_000 + at, &[])).collect();
    let other = event(2, 1, 10, &[]);
    store.commit(&notes, &Nip09).expect("a commit");
    let vanish = event(1, 62, 5_000, &[]);
    outcomes(&*store, &[&other, &vanish], &Nip09);
    let left = [*vanish.id(), *other.id()];
    assert_eq!(served(&*store), left);
    let first = store.tidy(NOW).expect("room");
    assert!((1..=1_024).contains(&first), "{first} at once");
    assert_eq!(served(&*store), left);
    assert_eq!(first + tidy(&*store), count as usize);
    assert_eq!(store.size().0, 2);
}
