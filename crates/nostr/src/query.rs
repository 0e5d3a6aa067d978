//! A query of stored events, page by page: newest first, ties by the lower id (NIP-01).
//!
//! Each filter has its own limit. A query continues after the last row that was examined, so a
//! store keeps no state for it between two pages; rows stored after its snapshot are not returned.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::event::Event;
use crate::filter::Filter;
use crate::hex::Bytes32;
use crate::management::Hidden;
use crate::visibility::{PrivateKinds, Viewer};

/// The number of a change: once stored, events are sent in this order. The first is 1.
pub type Seq = u64;

/// The place of an event in the order of answers: newest first, then the lower id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Position {
    created_at: Reverse<u64>,
    id: Bytes32,
}

impl Position {
    /// The position of an event.
    pub fn of(event: &Event) -> Position {
        Position {
            created_at: Reverse(event.created_at()),
            id: *event.id(),
        }
    }

    /// The first position of that second.
    pub(crate) fn first_of(created_at: u64) -> Position {
        Position {
            created_at: Reverse(created_at),
            id: [0; 32],
        }
    }

    pub(crate) fn at(created_at: u64, id: Bytes32) -> Position {
        Position {
            created_at: Reverse(created_at),
            id,
        }
    }

    /// Seconds since 1970.
    pub(crate) fn created_at(&self) -> u64 {
        self.created_at.0
    }

    pub(crate) fn id(&self) -> &Bytes32 {
        &self.id
    }
}

/// Limits on the answers to a query.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueryLimits {
    /// Most rows of a filter, even if it asks for more.
    pub limit_max: u64,
    /// Rows of a filter without a limit of its own.
    pub limit_default: u64,
    /// If our own limit cuts within a second, up to this many more rows of that second are sent: a
    /// client continues from there by `until`.
    pub second_max: u64,
}

/// One filter of a query, and its progress.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) filter: Arc<Filter>,
    /// Rows that are still to come.
    left: u64,
    /// Rows past the limit that may still come: those of the second in which our own limit cut.
    spare: u64,
    last_second: Option<u64>,
    is_done: bool,
}

/// The verdict on a row that a filter matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// It is returned.
    Yes,
    /// It is past the limit, so more events match.
    Past,
}

impl Part {
    fn new(filter: Arc<Filter>, limits: &QueryLimits) -> Part {
        let asked = filter.limit.unwrap_or(u64::MAX);
        let ours = match filter.limit {
            Some(_) => limits.limit_max,
            None => limits.limit_default.min(limits.limit_max),
        };
        let left = asked.min(ours);
        Part {
            is_done: filter.is_empty(),
            spare: if left < asked { limits.second_max } else { 0 },
            last_second: None,
            left,
            filter,
        }
    }

    /// Whether no more rows are wanted.
    pub(crate) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Offers a row that matches.
    pub(crate) fn take(&mut self, created_at: u64) -> Taken {
        if self.left > 0 {
            self.left -= 1;
            self.last_second = Some(created_at);
            return Taken::Yes;
        }
        if self.spare > 0 && self.last_second == Some(created_at) {
            self.spare -= 1;
            return Taken::Yes;
        }
        self.is_done = true;
        Taken::Past
    }
}

/// A query in progress.
#[derive(Clone, Debug)]
pub struct Query {
    pub(crate) parts: Vec<Part>,
    /// Rows up to this one are done.
    pub(crate) cursor: Option<Position>,
    /// Later rows are not for it.
    pub(crate) snapshot: Seq,
    pub(crate) viewer: Viewer,
    pub(crate) private: Arc<PrivateKinds>,
    hidden: Arc<Hidden>,
    has_more: bool,
    /// The next row of each list that a store merges, by filter and list, as of the end of the last
    /// page; empty: unknown. Rows that are stored later are not for this query, so none before it
    /// matters.
    pub(crate) heads: Vec<Vec<Option<Position>>>,
}

/// A page of the answers.
#[derive(Debug, Default)]
pub struct Page {
    /// Events, newest first.
    pub rows: Vec<Arc<Event>>,
    /// Rows that were examined.
    pub looked_at: usize,
    /// Whether these were the last.
    pub is_last: bool,
}

impl Query {
    /// A query by `viewer` of the events stored at `snapshot`.
    pub fn new(
        filters: impl IntoIterator<Item = Arc<Filter>>,
        limits: &QueryLimits,
        snapshot: Seq,
        viewer: Viewer,
        private: Arc<PrivateKinds>,
    ) -> Query {
        let parts = filters.into_iter().map(|filter| Part::new(filter, limits));
        Query {
            parts: parts.collect(),
            cursor: None,
            snapshot,
            viewer,
            private,
            hidden: Arc::default(),
            has_more: false,
            heads: Vec::new(),
        }
    }

    /// Leaves out from now on the events that are hidden (NIP-86). A query of several pages may be
    /// told before each.
    pub fn hide(&mut self, hidden: Arc<Hidden>) {
        self.hidden = hidden;
    }

    /// Whether it leaves out events that are hidden.
    pub(crate) fn hides_any(&self) -> bool {
        !self.hidden.is_empty()
    }

    /// The last change that it sees.
    pub fn snapshot(&self) -> Seq {
        self.snapshot
    }

    /// Whether older events match that the limits cut off (NIP-67). Known after the last page.
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    /// Whether every filter has reached its limit.
    pub(crate) fn is_done(&self) -> bool {
        self.parts.iter().all(Part::is_done)
    }

    /// Offers a stored row to filter number `part`. Returns whether it is part of the answer.
    pub(crate) fn offer(&mut self, part: usize, event: &Event, seq: Seq, now: u64) -> bool {
        let is_seen = seq <= self.snapshot
            && !event.is_expired(now)
            && !self.hidden.hides(event)
            && self.viewer.may_see(event, &self.private);
        let is_wanted = is_seen && self.parts[part].filter.matches(event);
        is_wanted && self.offer_matching(part, event.created_at())
    }

    /// Offers a row that filter number `part` matches and that may be seen. Returns whether it is
    /// part of the answer.
    pub(crate) fn offer_matching(&mut self, part: usize, created_at: u64) -> bool {
        let part = &mut self.parts[part];
        if part.is_done {
            return false;
        }
        let taken = part.take(created_at);
        self.has_more |= taken == Taken::Past;
        taken == Taken::Yes
    }
}
