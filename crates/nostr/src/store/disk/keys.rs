//! Keys of the index, and of the marks that outlive events.
//!
//! The keys of lists end in `!created_at` (5 bytes, big-endian) and the id, so that a forward scan
//! returns the newest event first and ties by the lower id (NIP-01).

use ring::digest::{SHA256, digest};

use crate::event::{Event, EventAddress};
use crate::hex::Bytes32;
use crate::query::{Position, Seq};
use crate::store::deletion::{self, Target};

/// Length of the end of a key that gives the position of an event.
pub(super) const TAIL: usize = 37;

/// Addresses come first and ids second: a bulk load decides by them which events stay, before it
/// comes to the lists.
const ADDRESS: u8 = 1;
const ID: u8 = 2;
const ALL: u8 = 3;
const AUTHOR: u8 = 4;
const KIND: u8 = 5;
const AUTHOR_KIND: u8 = 6;
const TAG: u8 = 7;
const KIND_TAG: u8 = 8;
const EXPIRY: u8 = 9;
const DELETION_OF: u8 = 10;
const DELETION_OF_ADDRESS: u8 = 11;
const WRAP_FOR: u8 = 12;

/// The form in which a key is sorted: with a position at the end of an address, too, so that the
/// newest version of it comes first.
pub(super) fn as_sorted(key: &[u8], value: &[u8]) -> Vec<u8> {
    let tail = match key.first() {
        Some(&ADDRESS) => &value[value.len().saturating_sub(TAIL)..],
        _ => &[],
    };
    [key, tail].concat()
}

/// The opposite of [`as_sorted`].
pub(super) fn from_sorted(mut key: Vec<u8>) -> Vec<u8> {
    if key.first() == Some(&ADDRESS) {
        key.truncate(key.len().saturating_sub(TAIL));
    }
    key
}

/// A row of the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Row {
    pub(super) seq: Seq,
    pub(super) kind: u16,
    pub(super) expires: bool,
}

/// Length of a row.
const ROW: usize = 11;

impl Row {
    pub(super) fn of(event: &Event, seq: Seq) -> Row {
        Row {
            seq,
            kind: event.kind(),
            expires: event.expires_at().is_some(),
        }
    }

    pub(super) fn to_bytes(self) -> Box<[u8]> {
        let mut bytes = Vec::with_capacity(ROW);
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.kind.to_be_bytes());
        bytes.push(u8::from(self.expires));
        bytes.into()
    }

    /// `None`: not a row.
    pub(super) fn parse(bytes: &[u8]) -> Option<Row> {
        let (seq, rest) = bytes.split_first_chunk::<8>()?;
        let (kind, rest) = rest.split_first_chunk::<2>()?;
        Some(Row {
            seq: Seq::from_be_bytes(*seq),
            kind: u16::from_be_bytes(*kind),
            expires: *rest.first()? != 0,
        })
    }
}

/// The position in a key's last bytes.
pub(super) fn position_at_end(key: &[u8]) -> Option<Position> {
    let (_, tail) = key.split_last_chunk::<TAIL>()?;
    let (time, id) = tail.split_first_chunk::<5>()?;
    let mut bytes = [0; 8];
    bytes[3..].copy_from_slice(&time.map(|byte| !byte));
    Some(Position::at(u64::from_be_bytes(bytes), id.try_into().ok()?))
}

pub(super) fn tail(position: &Position) -> [u8; TAIL] {
    let mut tail = [0; TAIL];
    // Every created_at is below 2^40; a filter's time may be later, which is as good as that.
    let time = position.created_at().min((1 << 40) - 1);
    tail[..5].copy_from_slice(&(!time).to_be_bytes()[3..]);
    tail[5..].copy_from_slice(position.id());
    tail
}

/// Values have any length, so keys have their hash.
fn hash(text: &str) -> [u8; 16] {
    let hash = digest(&SHA256, text.as_bytes());
    hash.as_ref()[..16].try_into().unwrap_or_default()
}

fn join(prefix: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut key = Vec::with_capacity(1 + length + TAIL);
    key.push(prefix);
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

pub(super) fn id(id: &Bytes32) -> Vec<u8> {
    join(ID, &[id])
}

/// The key of the stored version of an address.
pub(super) fn address(address: &EventAddress) -> Vec<u8> {
    join(ADDRESS, &[&deletion::address_hash(address)])
}

/// The list of the deletions (NIP-09) that name an event or an address.
pub(super) fn deletions_of(target: &Target) -> Vec<u8> {
    match target {
        Target::Id(id) => join(DELETION_OF, &[id]),
        Target::Address(address) => join(DELETION_OF_ADDRESS, &[&deletion::address_hash(address)]),
    }
}

/// The list of wraps (NIP-59) for a key.
pub(super) fn wraps_for(key: &Bytes32) -> Vec<u8> {
    join(WRAP_FOR, &[key])
}

pub(super) fn all() -> Vec<u8> {
    join(ALL, &[])
}

pub(super) fn author(key: &Bytes32) -> Vec<u8> {
    join(AUTHOR, &[key])
}

pub(super) fn kind(kind: u16) -> Vec<u8> {
    join(KIND, &[&kind.to_be_bytes()])
}

pub(super) fn author_kind(key: &Bytes32, kind: u16) -> Vec<u8> {
    join(AUTHOR_KIND, &[key, &kind.to_be_bytes()])
}

pub(super) fn tag(letter: u8, value: &str) -> Vec<u8> {
    join(TAG, &[&[letter], &hash(value)])
}

pub(super) fn kind_tag(kind: u16, letter: u8, value: &str) -> Vec<u8> {
    join(KIND_TAG, &[&kind.to_be_bytes(), &[letter], &hash(value)])
}

/// The range of the keys of events that expire up to `now`.
pub(super) fn expired_until(now: u64) -> (Vec<u8>, Vec<u8>) {
    let end = now.saturating_add(1).to_be_bytes();
    (join(EXPIRY, &[]), join(EXPIRY, &[&end]))
}

/// The lists that an event is in, each with the event's position at its end.
pub(super) fn lists_of(event: &Event) -> Vec<Vec<u8>> {
    let tail = tail(&Position::of(event));
    let pubkey = event.pubkey();
    let number = event.kind();
    let mut keys = vec![
        all(),
        author(pubkey),
        kind(number),
        author_kind(pubkey, number),
    ];
    let mut tags: Vec<(u8, &str)> = event.single_letter_tags().collect();
    tags.sort_unstable();
    tags.dedup();
    for (letter, value) in tags {
        let hash = hash(value);
        keys.push(join(TAG, &[&[letter], &hash]));
        keys.push(join(KIND_TAG, &[&number.to_be_bytes(), &[letter], &hash]));
    }
    keys.extend(deletion::targets(event).map(|target| deletions_of(&target)));
    keys.extend(deletion::recipients(event).map(|key| wraps_for(&key)));
    if let Some(end) = event.expires_at() {
        keys.push(join(EXPIRY, &[&end.to_be_bytes()]));
    }
    keys.iter_mut().for_each(|key| key.extend_from_slice(&tail));
    keys
}

/// Keys of marks: durable beside the events, and not derived from them.
pub(super) mod mark {
    use super::join;
    use crate::hex::Bytes32;

    const DELETED: u8 = 1;
    const DELETED_ADDRESS: u8 = 2;
    const NEWEST: u8 = 3;
    const VANISHED: u8 = 4;
    const VANISHING: u8 = 5;
    const NOTE: u8 = 6;

    /// An id that a removed deletion of `signer` named.
    pub(in super::super) fn deleted(id: &Bytes32, signer: &Bytes32) -> Vec<u8> {
        join(DELETED, &[id, signer])
    }

    /// An address, by its hash, that a removed deletion of its author named.
    pub(in super::super) fn deleted_address(hash: &Bytes32) -> Vec<u8> {
        join(DELETED_ADDRESS, &[hash])
    }

    /// The newest version of an address that is gone.
    pub(in super::super) fn newest(hash: &Bytes32) -> Vec<u8> {
        join(NEWEST, &[hash])
    }

    /// A key that has vanished (NIP-62).
    pub(in super::super) fn vanished(key: &Bytes32) -> Vec<u8> {
        join(VANISHED, &[key])
    }

    /// A key that has vanished, whose events are not all removed yet.
    pub(in super::super) fn vanishing(key: &Bytes32) -> Vec<u8> {
        join(VANISHING, &[key])
    }

    /// The beginning of the keys of all of those.
    pub(in super::super) fn all_vanishing() -> Vec<u8> {
        join(VANISHING, &[])
    }

    /// The key that a mark of a vanishing key is about.
    pub(in super::super) fn vanishing_key(mark: &[u8]) -> Option<Bytes32> {
        mark.strip_prefix(&[VANISHING])?.try_into().ok()
    }

    pub(in super::super) fn note(name: &str) -> Vec<u8> {
        join(NOTE, &[name.as_bytes()])
    }

    /// The beginning of the keys of all notes.
    pub(in super::super) fn all_notes() -> Vec<u8> {
        join(NOTE, &[])
    }
}
