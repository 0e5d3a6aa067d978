//! The slices behind the first one of an [`super::Outbox`].

use std::collections::VecDeque;
use std::rc::Rc;

use super::slice::{Origin, Part, Slice};
use crate::fanout::meter::Charge;
use crate::fanout::segment::Segment;
use crate::limits::{COALESCED_BYTES_MAX, SMALL_SLICE_BYTES};

/// Slices that may be walked for each frame that came since stale frames were last dropped.
const WALKED_PER_FRAME: usize = 16;

/// Slices, control frames first. Counted on the shard's meter by capacity.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) slices: VecDeque<Slice>,
    /// The number of slices at the front that are sent before data. While all slices are gathered,
    /// the frame that is partly sent is in front of these and not counted.
    ahead: usize,
    /// The number of slices at the front that [`Rest::coalesce`] has visited.
    looked_at: usize,
    /// The number of pushes since all but the latest frames were last dropped.
    fresh: usize,
    charge: Charge,
}

impl Rest {
    /// An empty queue, counted on the meter of `segment`'s shard.
    pub(super) fn of_shard(segment: &Segment) -> Box<Rest> {
        let mut charge = Charge::new(&segment.meter);
        charge.set(size_of::<Rest>());
        Box::new(Rest {
            slices: VecDeque::new(),
            ahead: 0,
            looked_at: 0,
            fresh: 0,
            charge,
        })
    }

    pub(super) fn ahead(&self) -> usize {
        self.ahead
    }

    /// The last slice, which more frames may extend.
    pub(super) fn last_for_more(&mut self) -> Option<&mut Slice> {
        self.fresh += 1;
        self.slices.back_mut()
    }

    pub(super) fn push(&mut self, slice: Slice) {
        let capacity = self.slices.capacity();
        self.slices.push_back(slice);
        self.recount(capacity);
    }

    /// Puts data back at the front. No control frame waits here then.
    pub(super) fn push_front(&mut self, slice: Slice) {
        debug_assert!(self.ahead == 0 && !slice.origin().goes_ahead());
        let capacity = self.slices.capacity();
        self.slices.push_front(slice);
        self.looked_at += 1;
        self.recount(capacity);
    }

    pub(super) fn push_control(&mut self, control: Slice) {
        let capacity = self.slices.capacity();
        self.slices.insert(self.ahead, control);
        self.ahead += 1;
        self.looked_at += 1;
        self.recount(capacity);
    }

    /// The last control frame of this origin, if it is one of the last two. Looking at two takes
    /// constant time and finds every pong among pongs and nearly every ping.
    pub(super) fn last_control(&mut self, origin: u32) -> Option<&mut Slice> {
        let last_two = self.ahead.saturating_sub(2)..self.ahead;
        let mut last_two = self.slices.range_mut(last_two).rev();
        last_two.find(|slice| slice.origin == origin)
    }

    /// The first slice that is not sent before data.
    pub(super) fn first_data(&self) -> Option<&Slice> {
        self.slices.get(self.ahead)
    }

    pub(super) fn pop_front(&mut self) -> Option<Slice> {
        self.ahead = self.ahead.saturating_sub(1);
        self.looked_at = self.looked_at.saturating_sub(1);
        self.slices.pop_front()
    }

    pub(super) fn remove(&mut self, place: usize) {
        self.slices.remove(place);
        if place < self.looked_at {
            self.looked_at -= 1;
        }
    }

    pub(super) fn may_have_stale(&self) -> bool {
        self.fresh * WALKED_PER_FRAME > self.slices.len()
    }

    /// Removes the slices for which `keep` returns false, from the newest to the oldest. The first
    /// `open` slices stay and are not asked about. `keep` may cut the slice.
    pub(super) fn keep_backwards(&mut self, open: usize, mut keep: impl FnMut(&mut Slice) -> bool) {
        let mut kept = VecDeque::with_capacity(self.slices.len().min(64));
        while self.slices.len() > open {
            let Some(mut slice) = self.slices.pop_back() else {
                break;
            };
            if keep(&mut slice) {
                kept.push_front(slice);
            }
        }
        let ahead = kept.iter().take_while(|slice| slice.origin().goes_ahead());
        self.ahead = ahead.count();
        self.slices.append(&mut kept);
        self.looked_at = 0;
        self.fresh = 0;
        self.shrink();
    }

    /// Puts the first slice at the front, split into its open frame and the others if it has both.
    pub(super) fn gather(&mut self, first: Slice, others: Option<Slice>, is_open: bool) {
        let capacity = self.slices.capacity();
        if let Some(others) = others {
            self.slices.push_front(others);
            self.looked_at += 1;
        }
        self.ahead += usize::from(!is_open && first.origin().goes_ahead());
        self.slices.push_front(first);
        self.looked_at += 1;
        self.recount(capacity);
    }

    /// Removes and returns the first slice.
    pub(super) fn settle(&mut self, is_open: bool) -> Option<Slice> {
        let ahead = self.ahead;
        let first = self.pop_front();
        if is_open {
            self.ahead = ahead;
        }
        self.shrink();
        first
    }

    /// See [`super::Outbox::coalesce`].
    pub(super) fn coalesce(
        &mut self,
        now_tick: u32,
        is_mixed: bool,
        mut joined: impl FnMut(&[Part]) -> Option<Rc<Segment>>,
    ) -> usize {
        let from = self.looked_at.max(self.ahead).min(self.slices.len());
        let old = |slice: &&Slice| slice.segment.accepted_tick < now_tick;
        let count = self.slices.range(from..).take_while(old).count();
        if count < 2 {
            return count;
        }
        let newer = self.slices.split_off(from + count);
        let mut group = Group::default();
        for slice in self.slices.split_off(from) {
            if !group.takes(&slice, is_mixed) {
                group.end(&mut self.slices, &mut joined);
            }
            group.bytes += slice.len();
            group.slices.push(slice);
        }
        group.end(&mut self.slices, &mut joined);
        self.looked_at = self.slices.len();
        self.slices.extend(newer);
        self.shrink();
        self.charge();
        count
    }

    /// Gives back memory that a backlog took and the rest of it does not need.
    fn shrink(&mut self) {
        if self.slices.capacity() > 64 && self.slices.len() * 4 < self.slices.capacity() {
            self.slices.shrink_to(self.slices.len() * 2);
        }
        self.charge();
    }

    #[inline]
    fn recount(&mut self, capacity_before: usize) {
        if self.slices.capacity() != capacity_before {
            self.charge();
        }
    }

    fn charge(&mut self) {
        let slices = self.slices.capacity() * size_of::<Slice>();
        self.charge.set(size_of::<Rest>() + slices);
    }
}

/// Small neighbouring slices that can become one.
#[derive(Default)]
struct Group {
    slices: Vec<Slice>,
    bytes: usize,
}

impl Group {
    /// Whether `slice` can be merged with the slices of the group.
    fn takes(&self, slice: &Slice, is_mixed: bool) -> bool {
        let Some(last) = self.slices.last() else {
            return true;
        };
        let are_data = last.origin().is_data() && slice.origin().is_data();
        are_data
            && (is_mixed || last.origin == slice.origin)
            && last.len().max(slice.len()) < SMALL_SLICE_BYTES
            && last.segment.accepted_tick == slice.segment.accepted_tick
            // Each client that lags behind would get a copy of the body.
            && !(last.has_body() || slice.has_body())
            && self.bytes + slice.len() <= COALESCED_BYTES_MAX
    }

    /// Appends the group to `slices`, merged if possible, and begins a new one.
    fn end(
        &mut self,
        slices: &mut VecDeque<Slice>,
        joined: &mut impl FnMut(&[Part]) -> Option<Rc<Segment>>,
    ) {
        if self.slices.len() > 1 {
            let part = |slice: &Slice| (Rc::clone(&slice.segment), slice.start, slice.end);
            let parts: Vec<Part> = self.slices.iter().map(part).collect();
            if let Some(segment) = joined(&parts) {
                let first = &self.slices[0];
                let is_alike = |slice: &Slice| slice.origin == first.origin;
                let origin = match self.slices.iter().all(is_alike) {
                    true => first.origin,
                    false => Origin::Direct.into(),
                };
                let merged = Slice {
                    start: 0,
                    end: segment.buffer.len() as u32,
                    frames: self.slices.iter().map(|slice| slice.frames).sum(),
                    segment,
                    origin,
                };
                self.slices.clear();
                self.slices.push(merged);
            }
        }
        slices.extend(self.slices.drain(..));
        self.bytes = 0;
    }
}
