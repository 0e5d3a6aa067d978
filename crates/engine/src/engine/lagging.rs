//! Clients of a shard that lag behind: the state of the sweep over them between turns, and the list
//! for reports.

use std::rc::Rc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::clock::Tick;
use crate::fanout::ConnectionId;
use crate::fanout::outbox::{self, Part};
use crate::fanout::room::EndpointId;
use crate::fanout::segment::Segment;
use crate::peer::Peer;

/// Visits every connection whose last send would have blocked, a bounded number in each turn.
#[derive(Default)]
pub(super) struct Sweep {
    /// The list index of the next connection; `None` if all were visited in this tick.
    pub(super) next: Option<usize>,
    /// When the oldest frame was accepted that waits for the connections visited so far.
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

/// The first and the last part of some slices, and the number of slices.
type Ends = (PartOf, PartOf, usize);

/// The segments that small slices were merged into. The merged parts are kept as well, since the
/// keys hold the addresses of their segments, which must not be used again meanwhile.
#[derive(Default)]
pub(super) struct Joined(FxHashMap<Ends, (Vec<Part>, Rc<Segment>)>);

impl Joined {
    /// The joined segment, which is the same for all clients that wait for the same parts.
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
    /// The client's address.
    pub peer: Peer,
    /// The endpoint that it is connected to.
    pub endpoint: EndpointId,
    /// For how long the oldest frame has waited for it.
    pub age: Duration,
    /// The bytes that wait for it.
    pub outbox_bytes: usize,
}

/// The clients that lag behind on one shard, as of its last sweep.
#[derive(Default, Debug)]
pub(super) struct Lagging {
    pub(super) count: usize,
    /// Those that have waited longest, in order.
    pub(super) oldest: Vec<LaggingClient>,
}
