//! Messages of a synchronization (NIP-77) against the reference: its storage must give the same
//! answer to any bytes.

use std::cmp::Reverse;

use corecast_nostr::{
    ClientMessage, Item, SYNC_ANSWER_BYTES_MAX, SyncError, SyncMemory, SyncSet, reply,
    sync_message, to_hex,
};
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use serde_json::{Value, json};

/// Most events of the set, so that one input takes little time.
const EVENTS_MAX: usize = 256;

/// The target: the first bytes are the relay's events and the rest is a message, as it lies and as
/// a client sends it.
///
/// # Panics
///
/// If the answer is another one than that of the reference, or too long.
pub(crate) fn nostr_neg(data: &[u8]) {
    check_text(data);
    let Some((&count, rest)) = data.split_first() else {
        return;
    };
    let Some((events, message)) = rest.split_at_checked(2 * usize::from(count)) else {
        return;
    };
    let items = items(events);
    let memory = SyncMemory::new(EVENTS_MAX);
    let mut collector = SyncSet::collect(EVENTS_MAX, &memory);
    let page = 1 + message.len() % 64;
    for some in items.chunks(page) {
        collector.add(some).expect("room");
    }
    let set = collector.finish();
    assert_eq!((set.len(), memory.items()), (items.len(), items.len()));
    let reference = reference(&items);
    let limit = SYNC_ANSWER_BYTES_MAX as u64;
    let mut relay = Negentropy::borrowed(&reference, limit).expect("a limit");
    let expected = relay.reconcile(message);
    match (set.answer(message), expected) {
        (Ok(answer), Ok(expected)) => {
            assert!(answer == expected, "another answer than the reference's");
            check_answer(&answer, &reference);
        }
        (Err(error), Err(_)) => {
            let told = error.to_string();
            assert!(told.starts_with("invalid: "), "{told}");
        }
        (ours, theirs) => panic!("{ours:?}, and not {theirs:?}"),
    }
}

/// Events of which each is given by a time and the beginning of its id, newest first, then by id.
fn items(bytes: &[u8]) -> Vec<Item> {
    let mut items: Vec<Item> = bytes
        .chunks_exact(2)
        .enumerate()
        .map(|(number, pair)| {
            let mut id = [pair[1]; 32];
            // Ids differ, some only in their last byte.
            id[31] = number as u8;
            let created_at = u64::from(pair[0]);
            Item { created_at, id }
        })
        .collect();
    items.sort_by_key(|item| (Reverse(item.created_at), item.id));
    items
}

fn reference(items: &[Item]) -> NegentropyStorageVector {
    let mut storage = NegentropyStorageVector::new();
    for item in items {
        let id = Id::from_byte_array(item.id);
        storage.insert(item.created_at, id).expect("not sealed");
    }
    storage.seal().expect("not sealed");
    storage
}

/// A client with the same events reads the answer, and both digits and bytes are the same.
fn check_answer(answer: &[u8], events: &NegentropyStorageVector) {
    assert!(
        answer.len() <= SYNC_ANSWER_BYTES_MAX,
        "{} bytes",
        answer.len()
    );
    let mut client = Negentropy::borrowed(events, 0).expect("a limit");
    client.initiate().expect("a message");
    let (mut have, mut need) = (Vec::new(), Vec::new());
    let read = client.reconcile_with_ids(answer, &mut have, &mut need);
    assert!(read.is_ok(), "{read:?}");
    assert!(need.is_empty(), "the relay has no other events");
    let digits = json!(to_hex(answer)).to_string();
    assert_eq!(sync_message(&digits).as_deref(), Ok(answer));
}

/// A text as a client sends it: a message is hexadecimal or is refused, and the refusal is JSON.
fn check_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(Some(ClientMessage::NegOpen(name, parts) | ClientMessage::NegMsg(name, parts))) =
        ClientMessage::parse(text)
    else {
        return;
    };
    for part in parts {
        match sync_message(part) {
            Ok(message) => {
                let theirs: String = serde_json::from_str(part).expect("a string");
                assert_eq!(to_hex(&message), theirs.to_ascii_lowercase());
            }
            Err(SyncError::Hex) => {
                let told = SyncError::Hex.to_string();
                let answer: Value =
                    serde_json::from_str(&reply::neg_err(&name, &told, None)).expect("JSON");
                assert_eq!(answer, json!(["NEG-ERR", name.as_str(), told]));
            }
            Err(other) => panic!("{other}"),
        }
    }
}
