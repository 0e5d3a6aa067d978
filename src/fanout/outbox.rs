//! What a connection still has to be sent: slices of buffers, never copies of shared frames.
//!
//! The engine pushes slices in the order in which they go out, takes the front for a write, and
//! says how much of it went. Policies for slow clients cut at frame boundaries; a frame that is
//! partly sent is always finished, and control frames are never dropped by a data policy. See
//! `OUTBOX.md` beside this file for the states.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;

use super::segment::Segment;
use crate::limits::CONTROL_BYTES_MAX;

/// Where a slice's frames come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A room, by its number on this shard.
    Room(u32),
    /// Sent to this connection alone.
    Direct,
    /// A ping, or an HTTP response.
    Control,
    /// The Close frame: it goes out last.
    Close,
    /// A pong.
    Pong,
}

impl Origin {
    /// Whether it goes out ahead of data.
    fn goes_ahead(self) -> bool {
        matches!(self, Origin::Control | Origin::Pong)
    }

    fn is_data(self) -> bool {
        matches!(self, Origin::Room(_) | Origin::Direct)
    }
}

/// Frames, or the rest of them, that are side by side in one buffer.
#[derive(Clone, Debug)]
struct Slice {
    segment: Rc<Segment>,
    start: u32,
    end: u32,
    frames: u32,
    /// [`Origin`], packed: the engine keeps one of these in every slab entry.
    origin: u32,
}

const DIRECT: u32 = u32::MAX;
const CONTROL: u32 = u32::MAX - 1;
const PONG: u32 = u32::MAX - 2;
const CLOSE: u32 = u32::MAX - 3;

impl Slice {
    fn origin(&self) -> Origin {
        match self.origin {
            DIRECT => Origin::Direct,
            CONTROL => Origin::Control,
            PONG => Origin::Pong,
            CLOSE => Origin::Close,
            room => Origin::Room(room),
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.segment.buffer.bytes()[self.start as usize..self.end as usize]
    }

    fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether it holds a larger buffer than it needs.
    fn is_part(&self) -> bool {
        self.len() < self.segment.buffer.bytes().len()
    }

    /// Takes the bytes up to `at` off the front, with the `frames` that end there.
    fn cut_front(&mut self, at: u32, frames: u32) {
        debug_assert!(self.start <= at && at <= self.end && frames <= self.frames);
        self.start = at;
        self.frames -= frames;
    }
}

impl From<Origin> for u32 {
    fn from(origin: Origin) -> u32 {
        match origin {
            Origin::Direct => DIRECT,
            Origin::Control => CONTROL,
            Origin::Pong => PONG,
            Origin::Close => CLOSE,
            Origin::Room(room) => room,
        }
    }
}

/// What a policy took out of an outbox.
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

/// A slice that was sent to its end.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Frames in it.
    pub frames: u32,
    /// When the oldest of them had been received, in nanoseconds of the process's clock.
    pub received_ns: u64,
    /// Whether it came from a room.
    pub is_delivery: bool,
}

/// The frames that wait for one connection, in the order in which they go out.
#[derive(Debug, Default)]
pub struct Outbox {
    /// The first slice, inline: the common case allocates nothing.
    first: Option<Slice>,
    /// The others. Boxed, since most outboxes never need it.
    #[allow(
        clippy::box_collection,
        reason = "8 bytes in every slab entry instead of 32"
    )]
    rest: Option<Box<VecDeque<Slice>>>,
    bytes: usize,
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

    /// The slices that wait: what a flush has to hand to the operating system.
    pub fn slices(&self) -> usize {
        let rest = self.rest.as_ref().map_or(0, |rest| rest.len());
        usize::from(self.first.is_some()) + rest
    }

    /// Adds frames at the end. They become one slice with those before them where they touch.
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
            Some(rest) if !rest.is_empty() => rest.back_mut(),
            _ => self.first.as_mut(),
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
        let segment = Rc::clone(segment);
        self.push_slice(Slice {
            segment,
            start: bytes.start,
            end: bytes.end,
            frames,
            origin,
        });
    }

    /// Adds a control frame, the whole of `segment`: it goes out before any data, behind the frame
    /// that is partly sent and control frames that wait already. Past the budget for control frames
    /// only the newest pong is kept (RFC 6455 §5.5.3).
    pub fn push_control(&mut self, segment: &Rc<Segment>, origin: Origin) {
        debug_assert!(!origin.is_data());
        let end = segment.buffer.bytes().len() as u32;
        let mut bytes = self.bytes + end as usize;
        let mut slices = self.take_all();
        self.split_partial_front(&mut slices);
        let open = usize::from(self.is_front_partial).min(slices.len());
        // They are side by side: only they are looked at, however much data waits.
        let controls = slices.iter().skip(open);
        let controls = controls.take_while(|slice| slice.origin().goes_ahead());
        let (count, queued) = controls.fold((0, 0), |(count, queued), slice| {
            (count + 1, queued + slice.len())
        });
        let mut place = open + count;
        if origin == Origin::Pong && queued + end as usize > CONTROL_BYTES_MAX {
            for index in (open..place).rev() {
                if slices[index].origin() == Origin::Pong {
                    bytes -= slices[index].len();
                    slices.remove(index);
                    place -= 1;
                }
            }
        }
        let origin = u32::from(origin);
        slices.insert(
            place,
            Slice {
                segment: Rc::clone(segment),
                start: 0,
                end,
                frames: 1,
                origin,
            },
        );
        self.put_all(slices, bytes);
    }

    /// Lays the front of the outbox out for one `writev`. Returns how many slices were filled in.
    pub fn front<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let waiting = self
            .first
            .iter()
            .chain(self.rest.iter().flat_map(|rest| rest.iter()));
        let mut filled = 0;
        for (place, slice) in slices.iter_mut().zip(waiting) {
            *place = IoSlice::new(slice.bytes());
            filled += 1;
        }
        filled
    }

    /// The front as one piece, where it is all that waits.
    pub fn only_slice(&self) -> Option<&[u8]> {
        match &self.rest {
            Some(rest) if !rest.is_empty() => None,
            _ => self.first.as_ref().map(Slice::bytes),
        }
    }

    /// Takes `sent` bytes off the front and reports every slice that is done.
    pub fn advance(&mut self, mut sent: usize, mut done: impl FnMut(Sent)) {
        debug_assert!(sent <= self.bytes);
        self.bytes -= sent;
        while sent > 0 {
            let Some(slice) = &mut self.first else { return };
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
                return;
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
        let waiting = self
            .first
            .iter()
            .chain(self.rest.iter().flat_map(|rest| rest.iter()));
        waiting
            .filter(|slice| slice.origin().is_data())
            .map(|slice| slice.segment.accepted_tick)
            .next()
    }

    /// Drops the oldest frames for which `is_over(bytes that wait, tick of the oldest)` holds.
    pub fn drop_oldest(&mut self, is_over: impl Fn(usize, u32) -> bool) -> Dropped {
        let mut dropped = Dropped::default();
        let mut slices = self.take_all();
        self.split_partial_front(&mut slices);
        let mut bytes = self.bytes;
        let mut place = usize::from(self.is_front_partial);
        while let Some(slice) = slices.get_mut(place) {
            if !slice.origin().is_data() {
                place += 1;
                continue;
            }
            if !is_over(bytes, slice.segment.accepted_tick) {
                break;
            }
            let end = slice
                .segment
                .buffer
                .frame_end_after(slice.start)
                .min(slice.end);
            bytes -= (end - slice.start) as usize;
            dropped.frames += 1;
            dropped.bytes += (end - slice.start) as usize;
            if end == slice.end {
                slices.remove(place);
            } else {
                slice.cut_front(end, 1);
            }
        }
        self.put_all(slices, bytes);
        dropped
    }

    /// Keeps of every room the latest frame alone, and whatever does not come from a room.
    pub fn keep_latest(&mut self) -> Dropped {
        let mut dropped = Dropped::default();
        let mut slices = self.take_all();
        self.split_partial_front(&mut slices);
        let open = usize::from(self.is_front_partial);
        let mut seen = Vec::new();
        let mut kept = VecDeque::new();
        while slices.len() > open {
            let Some(mut slice) = slices.pop_back() else {
                break;
            };
            if let Origin::Room(room) = slice.origin() {
                if seen.contains(&room) {
                    dropped.count(&slice);
                    continue;
                }
                seen.push(room);
                let start = slice
                    .segment
                    .buffer
                    .frame_start_before(slice.end)
                    .max(slice.start);
                dropped.frames += slice.frames - 1;
                dropped.bytes += (start - slice.start) as usize;
                slice.cut_front(start, slice.frames - 1);
            }
            kept.push_front(slice);
        }
        slices.append(&mut kept);
        let bytes = slices.iter().map(Slice::len).sum();
        self.put_all(slices, bytes);
        dropped
    }

    /// Drops everything but the frame that is partly sent and, where `keep_control`, what is not
    /// data.
    pub fn clear(&mut self, keep_control: bool) -> Dropped {
        let mut dropped = Dropped::default();
        let mut slices = self.take_all();
        self.split_partial_front(&mut slices);
        let open = usize::from(self.is_front_partial);
        let mut index = 0;
        slices.retain(|slice| {
            index += 1;
            let keep = index <= open || (keep_control && !slice.origin().is_data());
            if !keep && slice.origin().is_data() {
                dropped.count(slice);
            }
            keep
        });
        let bytes = slices.iter().map(Slice::len).sum();
        self.put_all(slices, bytes);
        dropped
    }

    /// The parts of larger buffers that wait, each with where it begins and ends.
    pub fn parts(&self) -> impl Iterator<Item = (&Rc<Segment>, u32, u32)> {
        let rest = self.rest.iter().flat_map(|rest| rest.iter());
        let waiting = self.first.iter().chain(rest);
        waiting
            .filter(|slice| slice.is_part())
            .map(|slice| (&slice.segment, slice.start, slice.end))
    }

    /// Replaces each part of a larger buffer by what `copy` makes of it: a segment that holds just
    /// those bytes, or `None` where it stays as it is.
    pub fn compact(&mut self, mut copy: impl FnMut(&Rc<Segment>, u32, u32) -> Option<Rc<Segment>>) {
        let waiting = self
            .first
            .iter_mut()
            .chain(self.rest.iter_mut().flat_map(|rest| rest.iter_mut()));
        for slice in waiting.filter(|slice| slice.is_part()) {
            if let Some(segment) = copy(&slice.segment, slice.start, slice.end) {
                slice.segment = segment;
                slice.end -= slice.start;
                slice.start = 0;
            }
        }
    }

    fn push_slice(&mut self, slice: Slice) {
        if self.first.is_none() {
            self.first = Some(slice);
        } else {
            self.rest.get_or_insert_default().push_back(slice);
        }
    }

    fn release_rest(&mut self) {
        if self.rest.as_ref().is_some_and(|rest| rest.is_empty()) {
            self.rest = None;
        }
    }

    /// All slices in one queue, for the policies. Their callers put them back.
    fn take_all(&mut self) -> VecDeque<Slice> {
        let mut slices = self.rest.take().map(|rest| *rest).unwrap_or_default();
        if let Some(first) = self.first.take() {
            slices.push_front(first);
        }
        slices
    }

    /// `bytes` is what they hold together: counting it here would look at every one of them.
    fn put_all(&mut self, mut slices: VecDeque<Slice>, bytes: usize) {
        self.bytes = bytes;
        self.first = slices.pop_front();
        self.is_front_partial &= self.first.is_some();
        self.rest = (!slices.is_empty()).then(|| Box::new(slices));
    }

    /// Makes the frame that is partly sent a slice of its own.
    fn split_partial_front(&self, slices: &mut VecDeque<Slice>) {
        if !self.is_front_partial {
            return;
        }
        let Some(front) = slices.front_mut() else {
            return;
        };
        let end = front.segment.buffer.frame_end_after(front.start);
        if end < front.end {
            let mut rest = front.clone();
            rest.cut_front(end, 1);
            front.end = end;
            front.frames = 1;
            slices.insert(1, rest);
        }
    }
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
