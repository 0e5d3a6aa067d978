use std::collections::BTreeSet;

use negentropy::NegentropyStorageVector;
use proptest::prelude::*;

use super::*;

/// Events by their time and id.
type Events = BTreeSet<(u64, [u8; 32])>;

fn set_of(events: &Events, page: usize, memory: &SyncMemory) -> Result<SyncSet, SyncError> {
    let mut newest_first: Vec<Item> = events
        .iter()
        .map(|&(created_at, id)| Item { created_at, id })
        .collect();
    newest_first.sort_by_key(|item| (std::cmp::Reverse(item.created_at), item.id));
    let mut collector = SyncSet::collect(1_000_000, memory);
    for some in newest_first.chunks(page) {
        collector.add(some)?;
    }
    Ok(collector.finish())
}

fn reference(events: &Events) -> NegentropyStorageVector {
    let mut storage = NegentropyStorageVector::new();
    for (created_at, id) in events {
        let id = Id::from_byte_array(*id);
        storage.insert(*created_at, id).expect("not sealed");
    }
    storage.seal().expect("not sealed");
    storage
}

/// Reconciles as a client. Returns the ids that only the client has, those that only the relay has,
/// and the rounds.
fn reconcile(mine: &Events, relay: &SyncSet, limit: u64) -> (Vec<[u8; 32]>, Vec<[u8; 32]>, usize) {
    let storage = reference(mine);
    let mut client = Negentropy::borrowed(&storage, limit).expect("a limit");
    let mut message = client.initiate().expect("a message");
    let (mut have, mut need) = (Vec::new(), Vec::new());
    for round in 1..1_000 {
        let answer = relay.answer(&message).expect("an answer");
        assert!(answer.len() <= SYNC_ANSWER_BYTES_MAX);
        let next = client.reconcile_with_ids(&answer, &mut have, &mut need);
        match next.expect("the right protocol") {
            Some(next) => message = next,
            None => {
                let [have, need] = [have, need].map(|ids| {
                    let ids: BTreeSet<[u8; 32]> = ids.into_iter().map(Id::to_bytes).collect();
                    ids.into_iter().collect()
                });
                return (have, need, round);
            }
        }
    }
    panic!("it does not end");
}

fn ids_only_in(these: &Events, those: &Events) -> Vec<[u8; 32]> {
    let only: BTreeSet<[u8; 32]> = these.difference(those).map(|(_, id)| *id).collect();
    only.into_iter().collect()
}

/// An id that looks random.
fn id(number: u64) -> [u8; 32] {
    let mut id = [0; 32];
    for (index, part) in id.chunks_mut(8).enumerate() {
        let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 + 2 * index as u64);
        part.copy_from_slice(&(mixed ^ (mixed >> 29)).to_le_bytes());
    }
    id
}

fn events(numbers: impl IntoIterator<Item = u64>, seconds: u64) -> Events {
    let event = |number| (1_700_000_000 + number % seconds, id(number));
    numbers.into_iter().map(event).collect()
}

proptest! {
    #[test]
    fn the_differences_are_exactly_what_is_found(
        shared in 0..2_000_u64,
        mine in prop::collection::btree_set(2_000..9_000_u64, 0..300),
        theirs in prop::collection::btree_set(2_000..9_000_u64, 0..300),
        seconds in prop_oneof![Just(1), 1..40_u64, 1..9_000_u64],
        page in 1..500_usize,
        limit in prop_oneof![Just(0), Just(4_096), Just(60_000_u64)],
    ) {
        let memory = SyncMemory::new(10_000);
        let mine = events((0..shared).chain(mine), seconds);
        let theirs = events((0..shared).chain(theirs), seconds);
        let relay = set_of(&theirs, page, &memory).expect("room");
        prop_assert_eq!(memory.items(), theirs.len());
        let (have, need, _) = reconcile(&mine, &relay, limit);
        prop_assert_eq!(have, ids_only_in(&mine, &theirs));
        prop_assert_eq!(need, ids_only_in(&theirs, &mine));
        drop(relay);
        prop_assert_eq!(memory.items(), 0);
    }

    #[test]
    fn answers_are_those_of_the_reference_for_any_message(
        numbers in prop::collection::btree_set(0..400_u64, 0..200),
        seconds in 1..50_u64,
        mine in prop::collection::btree_set(0..400_u64, 0..200),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let theirs = events(numbers, seconds);
        let relay = set_of(&theirs, 64, &SyncMemory::new(1_000)).expect("room");
        let storage = reference(&events(mine, seconds));
        let mut client = Negentropy::borrowed(&storage, 0).expect("a limit");
        let mut message = client.initiate().expect("a message");
        for (at, byte) in damage {
            let at = at.index(message.len());
            message[at] = byte;
        }
        let limit = SYNC_ANSWER_BYTES_MAX as u64;
        let by_reference = Negentropy::owned(reference(&theirs), limit)
            .expect("a limit")
            .reconcile(&message);
        prop_assert_eq!(relay.answer(&message), by_reference.map_err(SyncError::from));
    }
}

#[test]
fn a_large_set_takes_several_rounds_of_bounded_answers() {
    let memory = SyncMemory::new(200_000);
    let theirs = events(0..100_000, 50_000);
    let mine = events((0..100_000).filter(|number| number % 20 != 0), 50_000);
    let relay = set_of(&theirs, 4_096, &memory).expect("room");
    let (have, need, rounds) = reconcile(&mine, &relay, 60_000);
    assert_eq!((have.len(), need.len()), (0, 5_000));
    assert_eq!(need, ids_only_in(&theirs, &mine));
    assert!((3..100).contains(&rounds), "{rounds}");
}

#[test]
fn sets_are_bounded_each_and_together() {
    let memory = SyncMemory::new(10);
    let six = events(0..6, 3);
    let first = set_of(&six, 4, &memory).expect("room");
    assert_eq!((first.len(), first.is_empty()), (6, false));
    assert_eq!(set_of(&six, 4, &memory).err(), Some(SyncError::Full));
    assert_eq!(memory.items(), 6);
    drop(first);
    assert!(set_of(&six, 4, &memory).is_ok());
    let mut small = SyncSet::collect(1, &memory);
    let items = [2, 1].map(|created_at| Item {
        created_at,
        id: [1; 32],
    });
    assert_eq!(small.add(&items), Err(SyncError::TooMany(1)));
    assert_eq!(small.add(&items[..1]), Ok(()));
    assert_eq!(small.add(&items[1..]), Err(SyncError::TooMany(1)));
}

#[test]
fn other_versions_get_the_one_that_is_supported() {
    let empty = SyncSet::collect(1, &SyncMemory::new(1)).finish();
    assert!(empty.is_empty());
    for version in [0x60, 0x62, 0x6f] {
        assert_eq!(empty.answer(&[version, 1, 2]), Ok(vec![0x61]));
    }
    for wrong in [&[][..], &[0x5f], &[0x70], b"\x61\x00\x00\x07"] {
        let error = empty.answer(wrong).expect_err("invalid");
        assert!(error.to_string().starts_with("invalid: "), "{error}");
    }
    assert_eq!(empty.answer(&[0x61]), Ok(vec![0x61]));
}

#[test]
fn messages_are_strings_of_hexadecimal_digits() {
    assert_eq!(sync_message(r#""61aAfF""#), Ok(vec![0x61, 0xaa, 0xff]));
    assert_eq!(sync_message(r#""\u00361""#), Ok(vec![0x61]));
    assert_eq!(sync_message(r#""""#), Ok(Vec::new()));
    for wrong in [
        r#""6""#, r#""6g""#, "61", "null", "[]", r#""61 ""#, r#""é""#,
    ] {
        assert_eq!(sync_message(wrong), Err(SyncError::Hex), "{wrong}");
    }
}
