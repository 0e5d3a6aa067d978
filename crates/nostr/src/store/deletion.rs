//! Deletions (NIP-09) and requests to vanish (NIP-62): the decisions that all stores share.
//!
//! The state of a store depends on the set of events that it was given, not on their order:
//!
//! - A deletion applies to the targets that are stored, and to those that come later. So a store
//!   remembers, for as long as the deletion itself or longer, the ids and addresses it names
//!   ([`targets`]).
//! - Of an address, only the newest version of all that were ever given counts. If that one is
//!   deleted or expires, no older one takes its place: a store remembers its [`Position`], and
//!   refuses older ones as superseded. A newest version that comes after its deletion is refused,
//!   and still ends the older one that is stored.
//! - A request to vanish covers the events of its key up to its time ([`is_vanished`]), but no
//!   request to vanish. Deletions of the key go too, but their effect stays; one that comes after
//!   the request is refused, and still deletes its targets. Otherwise the order would matter for
//!   a target that is newer than the request.

use ring::digest::{Context, SHA256};

use super::DeletionRule;
use crate::event::{Event, EventAddress};
use crate::hex::{self, Bytes32};
use crate::kind::{Class, DELETION, VANISH, WRAPS, class_of};
use crate::query::Position;

/// An event or an address that a deletion names.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Target {
    /// The event with this id (`e`).
    Id(Bytes32),
    /// All versions up to the deletion's time (`a`).
    Address(EventAddress),
}

/// The targets of a deletion, whoever signed them; empty for other kinds. Malformed ones are
/// ignored.
pub(crate) fn targets(event: &Event) -> impl Iterator<Item = Target> {
    let is_deletion = event.kind() == DELETION;
    let tags = event.single_letter_tags().filter(move |_| is_deletion);
    tags.filter_map(|(letter, value)| match letter {
        b'e' => hex::parse(value).map(Target::Id),
        b'a' => address(value).map(Target::Address),
        _ => None,
    })
}

/// The address that `kind:pubkey:d` stands for. The `d` of a replaceable kind is empty (NIP-01).
fn address(text: &str) -> Option<EventAddress> {
    let mut parts = text.splitn(3, ':');
    let (kind, pubkey, d) = (parts.next()?, parts.next()?, parts.next()?);
    let number: u16 = kind.parse().ok()?;
    let has_address = match class_of(number) {
        Class::Addressable => true,
        Class::Replaceable => d.is_empty(),
        Class::Regular | Class::Ephemeral => false,
    };
    // Only one way to write a number.
    (has_address && number.to_string() == kind).then_some(EventAddress {
        kind: number,
        pubkey: hex::parse(pubkey)?,
        d: d.into(),
    })
}

/// A short key for an address, whose `d` may be long.
pub(crate) fn address_hash(address: &EventAddress) -> Bytes32 {
    let mut context = Context::new(&SHA256);
    context.update(&address.kind.to_be_bytes());
    context.update(&address.pubkey);
    context.update(address.d.as_bytes());
    context.finish().as_ref().try_into().unwrap_or_default()
}

/// Whether a deletion that names this event by its id deletes it.
pub(crate) fn deletes_by_id(deletion: &Event, target: &Event, rule: &dyn DeletionRule) -> bool {
    may_be_deleted(target) && {
        let is_due = owners(target).any(|owner| owner == *deletion.pubkey());
        rule.may_delete(target, deletion, is_due)
    }
}

/// Whether a deletion that names this event by its address deletes it.
pub(crate) fn deletes_by_address(
    deletion: &Event,
    target: &Event,
    rule: &dyn DeletionRule,
) -> bool {
    target.created_at() <= deletion.created_at() && deletes_by_id(deletion, target, rule)
}

/// Whether a deletion can affect the event at all: it cannot undo a deletion (NIP-09) or a request
/// to vanish (NIP-62).
pub(crate) fn may_be_deleted(target: &Event) -> bool {
    !matches!(target.kind(), DELETION | VANISH)
}

/// Whether one of an event's owners has asked to vanish, and the event is not newer than that.
/// `vanished_at` returns the latest time for which a key has asked.
pub(crate) fn is_vanished(
    event: &Event,
    mut vanished_at: impl FnMut(&Bytes32) -> Option<u64>,
) -> bool {
    let is_covered = |key: Bytes32| vanished_at(&key).is_some_and(|end| event.created_at() <= end);
    event.kind() != VANISH && owners(event).any(is_covered)
}

/// The key and the time of a request to vanish.
pub(crate) fn vanish_of(event: &Event) -> Option<(Bytes32, u64)> {
    (event.kind() == VANISH).then(|| (*event.pubkey(), event.created_at()))
}

/// The keys that may delete an event: its author, and the recipients of a wrap, whose author is a
/// random key (NIP-59).
pub(crate) fn owners(event: &Event) -> impl Iterator<Item = Bytes32> {
    std::iter::once(*event.pubkey()).chain(recipients(event))
}

/// The recipients of a wrap; empty for other kinds.
pub(crate) fn recipients(event: &Event) -> impl Iterator<Item = Bytes32> {
    let is_wrap = WRAPS.contains(&event.kind());
    let tags = event.single_letter_tags().filter(move |_| is_wrap);
    tags.filter_map(|(letter, value)| (letter == b'p').then(|| hex::parse(value))?)
}

/// Whether a version at `position` is older than the newest known one, or is that one itself, which
/// is gone. Positions order the newest first, then by the lower id.
pub(crate) fn is_superseded(position: Position, newest: Option<Position>) -> bool {
    newest.is_some_and(|newest| newest <= position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Draft, Signer};
    use crate::hex::to_hex;

    #[test]
    fn malformed_targets_are_ignored() {
        let key = "ab".repeat(32);
        let good = [
            ("e", key.clone()),
            ("a", format!("30000:{key}:")),
            ("a", format!("30000:{key}:a:b")),
            ("a", format!("0:{key}:")),
        ];
        let bad = [
            ("e", String::new()),
            ("e", key.to_uppercase()),
            ("E", key.clone()),
            ("a", key.clone()),
            ("a", format!("30000:{key}")),
            ("a", format!("030000:{key}:")),
            ("a", format!("+30000:{key}:")),
            ("a", format!("96536:{key}:")),
            ("a", format!("1:{key}:")),
            ("a", format!("20000:{key}:")),
            ("a", format!("0:{key}:x")),
            ("a", format!("30000:{}:", key.to_uppercase())),
            ("a", "::".to_owned()),
        ];
        let tags = good.iter().chain(&bad);
        let tags = tags.map(|(name, value)| vec![(*name).to_owned(), value.clone()]);
        let sign = |kind| {
            Signer::new([1; 32]).expect("a key").sign(Draft {
                kind,
                tags: tags.clone().chain([vec!["e".to_owned()]]).collect(),
                ..Draft::default()
            })
        };
        let address = |kind, d: &str| {
            Target::Address(EventAddress {
                kind,
                pubkey: [0xab; 32],
                d: d.into(),
            })
        };
        let found: Vec<Target> = targets(&sign(5)).collect();
        let due = [
            Target::Id([0xab; 32]),
            address(30_000, ""),
            address(30_000, "a:b"),
            address(0, ""),
        ];
        assert_eq!(found, due);
        assert_eq!(targets(&sign(1)).count(), 0);
    }

    #[test]
    fn a_wrap_belongs_to_its_recipients_too() {
        let [author, recipient] = [1, 2].map(|secret| Signer::new([secret; 32]).expect("a key"));
        let owners_of = |kind| {
            let event = author.sign(Draft {
                kind,
                tags: vec![vec!["p".to_owned(), to_hex(&recipient.public_key())]],
                ..Draft::default()
            });
            owners(&event).collect::<Vec<_>>()
        };
        let both = vec![author.public_key(), recipient.public_key()];
        assert_eq!(owners_of(1_059), both);
        assert_eq!(owners_of(21_059), both);
        assert_eq!(owners_of(1), both[..1]);
    }
}
