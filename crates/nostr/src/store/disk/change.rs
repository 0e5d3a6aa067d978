//! Changes of a store, as the log keeps them: what a commit has decided, so that replaying them
//! needs no rule and no clock.

use std::sync::Arc;

use crate::event::{Event, ParsedEvent};
use crate::query::Seq;

/// One change.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Insert(Seq, Arc<Event>),
    Remove(Seq),
    /// A mark is set, or removed.
    Mark(Box<[u8]>, Option<Box<[u8]>>),
}

const INSERT: u8 = 1;
const REMOVE: u8 = 2;
const SET: u8 = 3;
const UNSET: u8 = 4;

/// The changes in their order, as bytes.
pub(super) fn encode(changes: &[Change]) -> Vec<u8> {
    let mut to = Vec::new();
    for change in changes {
        match change {
            Change::Insert(seq, event) => {
                to.push(INSERT);
                to.extend(seq.to_be_bytes());
                append(&mut to, event.json().as_bytes());
            }
            Change::Remove(seq) => {
                to.push(REMOVE);
                to.extend(seq.to_be_bytes());
            }
            Change::Mark(key, Some(value)) => {
                to.push(SET);
                append(&mut to, key);
                append(&mut to, value);
            }
            Change::Mark(key, None) => {
                to.push(UNSET);
                append(&mut to, key);
            }
        }
    }
    to
}

fn append(to: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    to.extend(length.to_be_bytes());
    to.extend_from_slice(bytes);
}

/// `None`: not a list of changes.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    while let Some((what, rest)) = bytes.split_first() {
        bytes = rest;
        changes.push(match *what {
            INSERT => {
                let seq = take_seq(&mut bytes)?;
                Change::Insert(seq, Arc::new(event(take(&mut bytes)?)?))
            }
            REMOVE => Change::Remove(take_seq(&mut bytes)?),
            SET => Change::Mark(take(&mut bytes)?.into(), Some(take(&mut bytes)?.into())),
            UNSET => Change::Mark(take(&mut bytes)?.into(), None),
            _ => return None,
        });
    }
    Some(changes)
}

fn take_seq(bytes: &mut &[u8]) -> Option<Seq> {
    let (seq, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(Seq::from_be_bytes(*seq))
}

fn take<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (taken, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *bytes = rest;
    Some(taken)
}

/// An event from its JSON as it was stored, which is not verified again.
pub(super) fn event(json: &[u8]) -> Option<Event> {
    let parsed = ParsedEvent::parse(std::str::from_utf8(json).ok()?).ok()?;
    Some(parsed.into_unverified().trust())
}
