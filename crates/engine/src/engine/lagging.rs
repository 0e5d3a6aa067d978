//! Lagging clients of a shard: the state of the sweep over them between turns, and the list that is
//! reported.

use std::rc::Rc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::clock::Tick;
use crate::fanout::ConnectionId;
use crate::fanout::outbox::{self, Part};
use crate::fanout::room::EndpointId;
use crate::fanout::segment::Segment;
use crate::peer::Peer;

/// A look at every connection whose last send would have blocked, a bounded number in each turn.
#[derive(Default)]
pub(super) struct Sweep {
    /// The place in the list of the next one; `None`: all were looked at in this tick.
    pub(super) next: Option<usize>,
    /// When the oldest frame was accepted that waits for those that were looked at.
    pub(super) oldest: Option<Tick>,
    pub(super) joined: Joined,
}

impl Sweep {
    pub(super) fn is_under_way(&self) -> bool {
        self.next.is_some()
    }
}

/// A part of a segment, by the segment's address.
pub(super) type PartOf = (usize, u32, u32);

/// The first and the last part of some slices, and how many slices there are.
type Ends = (PartOf, PartOf, usize);

/// What small slices were merged into. What was merged is kept as long: its address must not be
/// used again.
#[derive(Default)]
pub(super) struct Joined(FxHashMap<Ends, (Vec<Part>, Rc<Segment>)>);

impl Joined {
    /// The same segment for everybody who waits for the same parts.
    pub(super) fn of(&mut self, parts: &[Part]) -> Option<Rc<Segment>> {
        let at = |part: &Part| (Rc::as_ptr(&part.0) as usize, part.1, part.2);
        let key = (at(parts.first()?), at(parts.last()?), parts.len());
        let is_same = |(a, b): (&Part, &Part)| Rc::ptr_eq(&a.0, &b.0) && (a.1, a.2) == (b.1, b.2);
        if let Some((known, joined)) = self.0.get(&key)
            && known.iter().zip(parts).all(is_same)
        {
            return Some(Rc::clone(joined));
        }
        let joined = outbox::join(parts)?;
        self.0.insert(key, (parts.to_vec(), Rc::clone(&joined)));
        Some(joined)
    }
}

/// A client whose last send would have blocked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LaggingClient {
    /// The connection.
    pub connection: ConnectionId,
    /// Its client's address.
    pub peer: Peer,
    /// The endpoint that it is connected to.
    pub endpoint: EndpointId,
    /// How long the oldest of what waits for it has waited.
    pub age: Duration,
    /// Bytes that wait for it.
    pub outbox_bytes: usize,
}

/// The clients that lag behind on one shard, as of its last sweep.
#[derive(Default, Debug)]
pub(super) struct Lagging {
    pub(super) count: usize,
    /// Those of them that have waited longest, the first of all first.
    pub(super) oldest: Vec<LaggingClient>,
}
