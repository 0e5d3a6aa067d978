//! The frames that wait for a connection: slices of buffers, never copies of shared frames.
//!
//! The engine pushes slices in sending order, hands the front to a write, and reports how many
//! bytes were sent. Policies for slow clients cut at frame boundaries. A frame that is partly sent
//! is always finished, and a data policy never drops control frames. See `OUTBOX.md` beside this
//! file for the states.

mod rest;
mod slice;

use std::io::IoSlice;
use std::rc::Rc;

use rustc_hash::FxHashSet;

use self::rest::Rest;
use self::slice::Slice;
use super::segment::{Buffer, Segment};
use crate::limits::COALESCED_BYTES_MAX;

pub use self::slice::{Origin, Part};

/// Frames that a policy removed from an outbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Dropped {
    /// Frames that will not be sent.
    pub frames: u32,
    /// Their bytes.
    pub bytes: usize,
}

impl Dropped {
    fn count(&mut self, slice: &Slice) {
        self.frames += slice.frames;
        self.bytes += slice.len();
    }
}

/// A slice, or the front of one, that was sent to the end of its last frame.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Frames in it.
    pub frames: u32,
    /// When the oldest of them was received, in nanoseconds of the process's clock.
    pub received_ns: u64,
    /// Whether it came from a room.
    pub is_delivery: bool,
}

/// The frames that wait for one connection, in sending order.
#[derive(Debug, Default)]
pub struct Outbox {
    /// The first slice, inline: the common case allocates nothing.
    first: Option<Slice>,
    /// The slices behind the first. Boxed, since most outboxes never need them.
    rest: Option<Box<Rest>>,
    bytes: usize,
    /// Bytes of frames that are gathered for this connection and not pushed yet.
    announced: u32,
    /// Whether the first frame of `first` is partly sent.
    is_front_partial: bool,
}

impl Outbox {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The bytes that are announced and not pushed yet.
    #[inline]
    pub fn announced(&self) -> usize {
        self.announced as usize
    }

    /// Counts a frame that is gathered and will be pushed.
    #[inline]
    pub fn announce(&mut self, bytes: u32) {
        self.announced = self.announced.saturating_add(bytes);
    }

    /// Removes a frame from the announced bytes: it is pushed now, or was refused.
    #[inline]
    pub fn arrive(&mut self, bytes: u32) {
        self.announced = self.announced.saturating_sub(bytes);
    }

    /// The number of slices that wait, which is what a flush passes to the operating system.
    #[inline]
    pub fn slices(&self) -> usize {
        usize::from(self.first.is_some()) + self.queued()
    }

    /// The slices behind the first.
    fn queued(&self) -> usize {
        self.rest.as_ref().map_or(0, |rest| rest.slices.len())
    }

    /// The memory that this connection takes: the bytes that wait and the queue's slices for them.
    /// The first slice is stored inline and costs only its bytes.
    pub fn cost(&self) -> usize {
        self.bytes + self.queued() * size_of::<Slice>()
    }

    /// The same, with bytes that several outboxes wait for divided among them: what dropping this
    /// outbox frees, on average. `shards` tells how many shards hold a segment's buffer. Visits
    /// every slice.
    pub fn share(&self, shards: impl Fn(&Segment) -> usize) -> usize {
        let share = |slice: &Slice| {
            let segment = &slice.segment;
            Segment::share(segment, slice.start, slice.end, shards(segment))
        };
        let bytes: usize = self.waiting().map(share).sum();
        bytes + self.queued() * size_of::<Slice>()
    }

    /// The segments of the slices that wait, in order. A segment that two slices share occurs
    /// twice.
    pub fn segments(&self) -> impl Iterator<Item = &Rc<Segment>> {
        self.waiting().map(|slice| &slice.segment)
    }

    /// The unsent bytes of the frame that is partly sent.
    pub fn open_bytes(&self) -> usize {
        let first = self.first.as_ref().filter(|_| self.is_front_partial);
        first.map_or(0, |first| {
            let end = first.segment.buffer.frame_end_after(first.start);
            (end.min(first.end) - first.start) as usize
        })
    }

    fn waiting(&self) -> impl Iterator<Item = &Slice> {
        let rest = self.rest.iter().flat_map(|rest| rest.slices.iter());
        self.first.iter().chain(rest)
    }

    /// Appends frames. They extend the last slice if they follow it directly in the same buffer.
    pub fn push(
        &mut self,
        segment: &Rc<Segment>,
        bytes: std::ops::Range<u32>,
        frames: u32,
        origin: Origin,
    ) {
        debug_assert!(bytes.start < bytes.end && frames > 0);
        self.bytes += (bytes.end - bytes.start) as usize;
        let origin = u32::from(origin);
        let last = match &mut self.rest {
            Some(rest) => rest.last_for_more(),
            None => self.first.as_mut(),
        };
        if let Some(last) = last
            && Rc::ptr_eq(&last.segment, segment)
            && last.end == bytes.start
            && last.origin == origin
        {
            last.end = bytes.end;
            last.frames += frames;
            return;
        }
        let slice = Slice {
            segment: Rc::clone(segment),
            start: bytes.start,
            end: bytes.end,
            frames,
            origin,
        };
        if self.first.is_none() {
            self.first = Some(slice);
        } else {
            let rest = self.rest.get_or_insert_with(|| Rest::of_shard(segment));
            rest.push(slice);
        }
    }

    /// Queues a control frame, which is the whole of `segment`. It is sent before any data, after
    /// the frame that is partly sent and after control frames that wait already. If more than
    /// [`CONTROLS_MAX`](crate::limits::CONTROLS_MAX) of those wait, a pong replaces the pong before
    /// it, since only the latest ping has to be answered (RFC 6455 §5.5.3). A ping that waits is
    /// always replaced. Constant time.
    pub fn push_control(&mut self, segment: &Rc<Segment>, origin: Origin) {
        let end = segment.buffer.len() as u32;
        self.push_control_at(segment, 0..end, origin);
    }

    /// The same for one frame, at `bytes` of `segment`.
    pub fn push_control_at(
        &mut self,
        segment: &Rc<Segment>,
        bytes: std::ops::Range<u32>,
        origin: Origin,
    ) {
        debug_assert!(origin.goes_ahead());
        let control = Slice::frame(segment, bytes, origin);
        self.bytes += control.len();
        let controls = self.rest.as_ref().map_or(0, |rest| rest.ahead());
        if origin.is_replaced(controls)
            && let Some(waiting) = self.last_control(control.origin)
        {
            let bytes = waiting.len();
            *waiting = control;
            self.bytes -= bytes;
            return;
        }
        let Some(first) = &mut self.first else {
            self.first = Some(control);
            return;
        };
        let rest = self.rest.get_or_insert_with(|| Rest::of_shard(segment));
        if self.is_front_partial {
            if let Some(others) = first.split_off_others() {
                rest.push_front(others);
            }
            rest.push_control(control);
        } else if first.origin().goes_ahead() {
            rest.push_control(control);
        } else {
            rest.push_front(std::mem::replace(first, control));
        }
    }

    /// The last control frame of this origin that is not partly sent, if it is among the last few.
    fn last_control(&mut self, origin: u32) -> Option<&mut Slice> {
        let rest = self.rest.as_mut();
        let last = rest.and_then(|rest| rest.last_control(origin));
        let first = self.first.as_mut().filter(|_| !self.is_front_partial);
        last.or(first.filter(|first| first.origin == origin))
    }

    /// Fills `slices` with the front of the outbox, for one `writev`. Returns how many were filled.
    pub fn front<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (place, slice) in slices.iter_mut().zip(self.waiting()) {
            let Some(bytes) = slice.bytes() else {
                return self.front_in_pieces(slices);
            };
            *place = IoSlice::new(bytes);
            filled += 1;
        }
        filled
    }

    /// The same if frames end with shared bodies, which are stored elsewhere.
    fn front_in_pieces<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = self.waiting().flat_map(Slice::pieces);
        let mut filled = 0;
        for (place, piece) in slices.iter_mut().zip(pieces) {
            *place = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    /// The whole outbox as one piece, if it is a single slice without shared bodies.
    #[inline]
    pub fn only_slice(&self) -> Option<&[u8]> {
        match &self.rest {
            Some(_) => None,
            None => self.first.as_ref().and_then(Slice::bytes),
        }
    }

    /// The whole outbox as one or two pieces, if it is a single slice that allows that. The second
    /// piece is empty if there is only one.
    #[inline]
    pub fn only_pair(&self) -> Option<(&[u8], &[u8])> {
        match &self.rest {
            Some(_) => None,
            None => self.first.as_ref().and_then(Slice::pair),
        }
    }

    /// Removes `sent` bytes from the front and reports the frames that ended, slice by slice.
    ///
    /// A send may end inside a slice. Then it matters whether it ended between two frames: if not,
    /// the frame at the front has to be finished before a control frame or a policy may touch it.
    /// `frame_start_before(end)` returns the start of the frame whose last byte is `end - 1`, so
    /// `at + 1` asks for the frame that holds the byte at `at`, the first unsent one. With `at` it
    /// would return the start of the frame before, and no cut would ever count as a boundary.
    pub fn advance(&mut self, mut sent: usize, mut done: impl FnMut(Sent)) {
        debug_assert!(sent <= self.bytes);
        self.bytes -= sent;
        while sent > 0 {
            let Some(slice) = &mut self.first else { break };
            if sent < slice.len() {
                let at = slice.start + sent as u32;
                let before = slice.segment.buffer.frames_in(slice.start, at);
                let boundary = slice.segment.buffer.frame_start_before(at + 1) == at;
                let ended = if slice.frames == 1 {
                    0
                } else {
                    before.min(slice.frames - 1)
                };
                if ended > 0 {
                    done(sent_of(slice, ended));
                }
                slice.cut_front(at, ended);
                self.is_front_partial = !boundary;
                break;
            }
            sent -= slice.len();
            done(sent_of(slice, slice.frames));
            self.is_front_partial = false;
            self.first = self.rest.as_mut().and_then(|rest| rest.pop_front());
        }
        self.release_rest();
    }

    /// When this shard accepted the oldest data that waits, in ticks of its clock.
    pub fn oldest_tick(&self) -> Option<u32> {
        let data = |slice: &&Slice| slice.origin().is_data();
        match self.first.as_ref().filter(data) {
            Some(first) => Some(first),
            None => self.rest.as_ref()?.first_data().filter(data),
        }
        .map(|slice| slice.segment.accepted_tick)
    }

    /// Drops the oldest frames for as long as `is_over(cost of the outbox, tick of the oldest)`
    /// holds.
    pub fn drop_oldest(&mut self, is_over: impl Fn(usize, u32) -> bool) -> Dropped {
        let mut dropped = Dropped::default();
        let Some(open) = self.gather() else {
            return dropped;
        };
        let mut bytes = self.bytes;
        if let Some(rest) = &mut self.rest {
            let place = open + rest.ahead();
            while let Some(slice) = rest.slices.get_mut(place)
                && slice.origin().is_data()
            {
                let queued = rest.slices.len() - 1;
                let slice = &mut rest.slices[place];
                let cost = bytes + queued * size_of::<Slice>();
                if !is_over(cost, slice.segment.accepted_tick) {
                    break;
                }
                let end = slice.segment.buffer.frame_end_after(slice.start);
                let end = end.min(slice.end);
                bytes -= (end - slice.start) as usize;
                dropped.frames += 1;
                dropped.bytes += (end - slice.start) as usize;
                if end == slice.end {
                    rest.remove(place);
                } else {
                    slice.cut_front(end, 1);
                }
            }
        }
        self.settle(bytes);
        dropped
    }

    /// Whether [`Outbox::keep_latest`] is worth its walk over all slices: enough frames have come
    /// since the last walk that its cost, divided among them, is small.
    pub fn may_have_stale(&self) -> bool {
        match &self.rest {
            None => self.first.as_ref().is_some_and(|first| first.frames > 1),
            Some(rest) => rest.may_have_stale(),
        }
    }

    /// Keeps the latest frame of each room and everything that does not come from a room.
    ///
    /// The walk goes from the newest slice to the oldest, so the first slice seen of a room holds
    /// its latest frame: only that frame is kept of it, and older slices of the room are dropped
    /// whole. The frame that is partly sent does not take part: its bytes are already on the wire,
    /// so it must be finished, and it does not count as its room's latest.
    pub fn keep_latest(&mut self) -> Dropped {
        let mut dropped = Dropped::default();
        let Some(open) = self.gather() else {
            return dropped;
        };
        let mut bytes = self.bytes;
        if let Some(rest) = &mut self.rest {
            let mut seen = FxHashSet::default();
            rest.keep_backwards(open, |slice| {
                let Origin::Room(room) = slice.origin() else {
                    return true;
                };
                if !seen.insert(room) {
                    dropped.count(slice);
                    return false;
                }
                let start = slice.segment.buffer.frame_start_before(slice.end);
                let start = start.max(slice.start);
                dropped.frames += slice.frames - 1;
                dropped.bytes += (start - slice.start) as usize;
                slice.cut_front(start, slice.frames - 1);
                true
            });
            bytes -= dropped.bytes;
        }
        self.settle(bytes);
        dropped
    }

    /// Drops everything except the frame that is partly sent and, if `keep_control`, whatever is
    /// not data.
    pub fn clear(&mut self, keep_control: bool) -> Dropped {
        let mut dropped = Dropped::default();
        let Some(open) = self.gather() else {
            return dropped;
        };
        let mut bytes = self.bytes;
        if let Some(rest) = &mut self.rest {
            rest.keep_backwards(open, |slice| {
                let keep = keep_control && !slice.origin().is_data();
                if !keep {
                    bytes -= slice.len();
                }
                if !keep && slice.origin().is_data() {
                    dropped.count(slice);
                }
                keep
            });
        }
        self.settle(bytes);
        dropped
    }

    /// The slices that are parts of larger buffers, each with its start and end.
    pub fn parts(&self) -> impl Iterator<Item = (&Rc<Segment>, u32, u32)> {
        let parts = self.waiting().filter(|slice| slice.is_part());
        parts.map(|slice| (&slice.segment, slice.start, slice.end))
    }

    /// Replaces each part of a larger buffer by what `copy` returns for it: a segment that holds
    /// only those bytes, or `None` to leave the part as it is.
    pub fn compact(&mut self, mut copy: impl FnMut(&Rc<Segment>, u32, u32) -> Option<Rc<Segment>>) {
        let rest = self.rest.iter_mut();
        let rest = rest.flat_map(|rest| rest.slices.iter_mut());
        let waiting = self.first.iter_mut().chain(rest);
        for slice in waiting.filter(|slice| slice.is_part()) {
            if let Some(segment) = copy(&slice.segment, slice.start, slice.end) {
                slice.segment = segment;
                slice.end -= slice.start;
                slice.start = 0;
            }
        }
    }

    /// Merges small neighbouring slices that were accepted in the same tick before `now_tick`.
    ///
    /// Each queued slice costs an entry of the queue and keeps its whole buffer in memory. Without
    /// merging, a client that lags behind on many small messages would cost many times their bytes.
    /// Slices of the current tick are left, since more may join them. A merged slice has a single
    /// tick, so the age of its frames stays exact.
    ///
    /// `joined` returns the segment for the parts, so that clients that wait for the same parts can
    /// share it. If `is_mixed`, slices of different rooms and direct messages are merged too; the
    /// result counts as direct, so a policy that tells rooms apart must not use it. Returns the
    /// number of slices visited; each slice is visited once.
    pub fn coalesce(
        &mut self,
        now_tick: u32,
        is_mixed: bool,
        joined: impl FnMut(&[Part]) -> Option<Rc<Segment>>,
    ) -> usize {
        let looked_at = match &mut self.rest {
            Some(rest) => rest.coalesce(now_tick, is_mixed, joined),
            None => 0,
        };
        self.release_rest();
        looked_at
    }

    #[inline]
    fn release_rest(&mut self) {
        if let Some(rest) = &self.rest
            && rest.slices.is_empty()
        {
            self.rest = None;
        }
    }

    /// Moves all slices into one queue for the policies, with the frame that is partly sent as a
    /// slice of its own. Returns how many slices that is (0 or 1), or `None` if nothing waits.
    /// [`Outbox::settle`] undoes it.
    fn gather(&mut self) -> Option<usize> {
        let mut first = self.first.take()?;
        let open = self.is_front_partial;
        let others = if open { first.split_off_others() } else { None };
        let rest = self
            .rest
            .get_or_insert_with(|| Rest::of_shard(&first.segment));
        rest.gather(first, others, open);
        Some(usize::from(open))
    }

    /// Ends what [`Outbox::gather`] began. `bytes` is the new total: the caller has it already, and
    /// counting it again would visit every slice.
    fn settle(&mut self, bytes: usize) {
        self.bytes = bytes;
        if let Some(rest) = &mut self.rest {
            self.first = rest.settle(self.is_front_partial);
        }
        self.is_front_partial &= self.first.is_some();
        self.release_rest();
    }
}

/// Joins the parts into a segment that holds nothing else.
pub fn join(parts: &[Part]) -> Option<Rc<Segment>> {
    let (first, ..) = parts.first()?;
    let copy = first.with_copy(Buffer::join(parts)?);
    debug_assert!(copy.buffer.len() <= COALESCED_BYTES_MAX);
    Some(copy)
}

fn sent_of(slice: &Slice, frames: u32) -> Sent {
    Sent {
        frames,
        received_ns: slice.segment.received_ns,
        is_delivery: slice.origin().is_data(),
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod body_tests;
