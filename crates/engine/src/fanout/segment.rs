//! The memory of frames: buffers that shards share, and a shard's own handle to a buffer.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::bodies::{Bodies, Body, Pieces};
use super::live::COUNTS_BYTES;
use super::meter::Meter;

pub use super::live::LiveBytes;

/// Encoded frames in one block of memory, with an index of their ends. Frames may end with bodies
/// that they share with others ([`super::bodies`]); positions and lengths include those bodies.
#[derive(Debug)]
pub struct Buffer {
    /// The frames, without shared bodies.
    bytes: Bytes,
    /// The end of each frame; empty if the buffer is a single frame.
    frame_ends: Box<[u32]>,
    /// The shared bodies; `None` if no frame has one.
    bodies: Option<Box<Bodies>>,
    live: Arc<LiveBytes>,
}

impl Buffer {
    /// A buffer of encoded frames. `frame_ends` holds the end of each, in order; it is empty if
    /// `bytes` is a single frame.
    pub fn new(bytes: Vec<u8>, frame_ends: Box<[u32]>, live: &Arc<LiveBytes>) -> Buffer {
        Buffer::with_bodies(bytes, frame_ends, None, live)
    }

    /// The same, with the bodies that some of the frames end with.
    #[inline]
    pub(super) fn with_bodies(
        bytes: Vec<u8>,
        frame_ends: Box<[u32]>,
        bodies: Option<Box<Bodies>>,
        live: &Arc<LiveBytes>,
    ) -> Buffer {
        // The exact size: a boxed slice has no spare capacity, so `cost` counts all that is
        // allocated.
        let bytes = Bytes::from(bytes.into_boxed_slice());
        let buffer = Buffer {
            bytes,
            frame_ends,
            bodies,
            live: Arc::clone(live),
        };
        let last_end = buffer.frame_ends.last();
        debug_assert!(last_end.is_none_or(|end| *end as usize == buffer.len()));
        debug_assert!(buffer.frame_ends.is_sorted());
        live.add(buffer.cost());
        buffer
    }

    /// The memory of its bytes, its index and itself, reference counts included. Shared bodies are
    /// counted by themselves.
    pub fn cost(&self) -> usize {
        let bodies = self.bodies.as_ref().map_or(0, |bodies| bodies.cost());
        let index = self.frame_ends.len() * size_of::<u32>() + bodies;
        self.bytes.len() + index + size_of::<Buffer>() + COUNTS_BYTES
    }

    /// Its own bytes: the frames without their shared bodies.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The length of all its frames, shared bodies included. This is the end of the last frame.
    #[inline]
    pub fn len(&self) -> usize {
        let bodies = self.bodies.as_ref().map_or(0, |bodies| bodies.bytes());
        self.bytes.len() + bodies
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes `start..end` as contiguous pieces.
    pub fn pieces(&self, start: u32, end: u32) -> Pieces<'_> {
        Pieces::new(&self.bytes, self.bodies.as_deref(), start, end)
    }

    /// The bytes `start..end`, if they are sure to be contiguous: no frame has a shared body.
    #[inline]
    pub fn slice(&self, start: u32, end: u32) -> Option<&[u8]> {
        match &self.bodies {
            None => Some(&self.bytes[start as usize..end as usize]),
            Some(_) => None,
        }
    }

    /// The bytes `start..end`, if they are one or two contiguous pieces. The second is empty if
    /// there is only one.
    #[inline]
    pub fn pair(&self, start: u32, end: u32) -> Option<(&[u8], &[u8])> {
        match &self.bodies {
            None => Some((&self.bytes[start as usize..end as usize], &[])),
            Some(bodies) => bodies.pair_in(&self.bytes, start, end),
        }
    }

    /// Whether `start..end` touches a shared body.
    #[inline]
    pub fn has_body_in(&self, start: u32, end: u32) -> bool {
        let bodies = self.bodies.as_ref();
        bodies.is_some_and(|bodies| bodies.has_any_in(start, end))
    }

    /// The number of bytes in `start..end` that are not in shared bodies.
    pub fn own_bytes_in(&self, start: u32, end: u32) -> usize {
        match &self.bodies {
            None => (end - start) as usize,
            Some(bodies) => bodies.heads_in(start, end).len(),
        }
    }

    /// The bytes that dropping the bodies in `start..end` frees on average: each body is divided
    /// among the buffers that hold it, and among the `waiting` outboxes that wait for this buffer.
    pub fn body_share(&self, start: u32, end: u32, waiting: usize) -> usize {
        let Some(bodies) = &self.bodies else {
            return 0;
        };
        let shared = bodies.shared_in(start, end);
        let share = |(body, bytes): (&Arc<Body>, usize)| bytes / Arc::strong_count(body);
        shared.map(share).sum::<usize>() / waiting.max(1)
    }

    /// The end of the frame that holds the byte at `position`.
    pub fn frame_end_after(&self, position: u32) -> u32 {
        if self.frame_ends.is_empty() {
            return self.len() as u32;
        }
        let index = self.frame_ends.partition_point(|end| *end <= position);
        debug_assert!(
            index < self.frame_ends.len(),
            "a position past the last frame"
        );
        self.frame_ends[index]
    }

    /// The start of the frame that holds the byte at `end - 1`.
    pub fn frame_start_before(&self, end: u32) -> u32 {
        let index = self.frame_ends.partition_point(|other| *other < end);
        if index == 0 {
            0
        } else {
            self.frame_ends[index - 1]
        }
    }

    /// The bytes of frame number `index`.
    pub fn frame_range(&self, index: u32) -> std::ops::Range<u32> {
        if self.frame_ends.is_empty() {
            return 0..self.len() as u32;
        }
        let index = index as usize;
        let start = if index == 0 {
            0
        } else {
            self.frame_ends[index - 1]
        };
        start..self.frame_ends[index]
    }

    /// The number of frames that end in `start..end`. A start does not count as an end.
    pub fn frames_in(&self, start: u32, end: u32) -> u32 {
        if self.frame_ends.is_empty() {
            return 1;
        }
        let first = self.frame_ends.partition_point(|other| *other <= start);
        let last = self.frame_ends.partition_point(|other| *other <= end);
        (last - first) as u32
    }

    /// A copy of `start..end` alone. Shared bodies stay shared.
    pub fn copy_out(&self, start: u32, end: u32) -> Buffer {
        let frame_ends = self.ends_within(start, end).map(|end| end - start);
        let (own, bodies) = match &self.bodies {
            None => (start as usize..end as usize, None),
            Some(bodies) => (bodies.heads_in(start, end), bodies.copy_out(start, end)),
        };
        let bytes = self.bytes[own].to_vec();
        Buffer::with_bodies(bytes, frame_ends.collect(), bodies, &self.live)
    }

    /// Copies the parts, each of whole frames, into one buffer; `None` if `parts` is empty.
    pub fn join(parts: &[(Rc<Segment>, u32, u32)]) -> Option<Buffer> {
        let (first, ..) = parts.first()?;
        let total = parts.iter().map(|(_, start, end)| end - start).sum::<u32>();
        let mut bytes = Vec::with_capacity(total as usize);
        let mut frame_ends = Vec::with_capacity(parts.len());
        for (segment, start, end) in parts {
            let before = bytes.len() as u32;
            let buffer = &segment.buffer;
            match buffer.frame_ends.is_empty() {
                true => frame_ends.push(before + end - start),
                false => {
                    let ends = buffer.ends_within(*start, *end);
                    frame_ends.extend(ends.map(|end| before + end - start));
                }
            }
            let pieces = buffer.pieces(*start, *end);
            pieces.for_each(|piece| bytes.extend_from_slice(piece));
        }
        Some(Buffer::new(bytes, frame_ends.into(), &first.buffer.live))
    }

    /// The frame ends in `start..end`.
    fn ends_within(&self, start: u32, end: u32) -> impl Iterator<Item = u32> {
        let first = self.frame_ends.partition_point(|other| *other <= start);
        let last = self.frame_ends.partition_point(|other| *other <= end);
        self.frame_ends[first..last].iter().copied()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.live.subtract(self.cost());
    }
}

/// A shard's handle to a buffer. Outboxes share it through [`Rc`], so that a delivery needs no
/// atomic operation.
#[derive(Debug)]
pub struct Segment {
    /// The frames.
    pub buffer: Arc<Buffer>,
    /// When the oldest of the frames was received, in nanoseconds of the process's clock.
    pub received_ns: u64,
    /// When this shard accepted the frames, in ticks of its clock.
    pub accepted_tick: u32,
    /// Whether each frame is for one connection, so that outboxes do not share the frames' own
    /// bytes.
    is_apart: bool,
    /// The shard's meter, which counts this handle and the queues that hold it.
    pub(super) meter: Rc<Meter>,
}

impl Segment {
    /// The memory of a handle.
    pub(super) const BYTES: usize = size_of::<Segment>() + COUNTS_BYTES;

    /// A handle to `buffer`, counted on the shard's `meter`.
    pub fn new(
        buffer: Arc<Buffer>,
        received_ns: u64,
        accepted_tick: u32,
        meter: &Rc<Meter>,
    ) -> Rc<Segment> {
        Rc::new(Segment::not_shared(
            buffer,
            received_ns,
            accepted_tick,
            meter,
        ))
    }

    /// A handle to frames that are for one connection each.
    pub fn apart(
        buffer: Arc<Buffer>,
        received_ns: u64,
        accepted_tick: u32,
        meter: &Rc<Meter>,
    ) -> Rc<Segment> {
        let mut segment = Segment::not_shared(buffer, received_ns, accepted_tick, meter);
        segment.is_apart = true;
        Rc::new(segment)
    }

    #[inline]
    fn not_shared(
        buffer: Arc<Buffer>,
        received_ns: u64,
        accepted_tick: u32,
        meter: &Rc<Meter>,
    ) -> Segment {
        meter.add(Segment::BYTES);
        Segment {
            buffer,
            received_ns,
            accepted_tick,
            is_apart: false,
            meter: Rc::clone(meter),
        }
    }

    /// The bytes that dropping `start..end` frees on average, if `shards` shards hold the buffer.
    pub fn share(segment: &Rc<Segment>, start: u32, end: u32, shards: usize) -> usize {
        let waiting = Rc::strong_count(segment) * shards;
        let own = segment.buffer.own_bytes_in(start, end);
        let own = if segment.is_apart {
            own
        } else {
            own / waiting.max(1)
        };
        own + segment.buffer.body_share(start, end, waiting)
    }

    /// A handle to `copy` with the times of this one.
    pub fn with_copy(&self, copy: Buffer) -> Rc<Segment> {
        Segment::new(
            Arc::new(copy),
            self.received_ns,
            self.accepted_tick,
            &self.meter,
        )
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.meter.subtract(Segment::BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_finds_frames() {
        let live = Arc::default();
        let buffer = Buffer::new(vec![0; 10], [3, 4, 10].into(), &live);
        assert_eq!(buffer.frame_end_after(0), 3);
        assert_eq!(buffer.frame_end_after(3), 4);
        assert_eq!(buffer.frame_end_after(9), 10);
        assert_eq!(buffer.frame_start_before(10), 4);
        assert_eq!(buffer.frame_start_before(3), 0);
        assert_eq!(buffer.frame_range(1), 3..4);
        assert_eq!(buffer.frames_in(0, 10), 3);
        assert_eq!(buffer.frames_in(3, 10), 2);
        assert_eq!(buffer.frames_in(4, 10), 1);
        let one = Buffer::new(vec![0; 5], Box::default(), &live);
        assert_eq!(one.frame_end_after(2), 5);
        assert_eq!(one.frame_start_before(5), 0);
        assert_eq!(one.frame_range(0), 0..5);
        let selves = 2 * (size_of::<Buffer>() + COUNTS_BYTES);
        assert_eq!(live.now(), 10 + 5 + 3 * 4 + selves);
        drop((buffer, one));
        assert_eq!(live.now(), 0);
    }

    #[test]
    fn a_copy_holds_none_of_the_rest() {
        let live = Arc::default();
        let buffer = Buffer::new((0..10).collect(), [3, 4, 10].into(), &live);
        let copy = buffer.copy_out(1, 4);
        drop(buffer);
        assert_eq!(live.now(), copy.cost());
        assert_eq!(copy.bytes(), [1, 2, 3]);
        assert_eq!(copy.frame_end_after(0), 2);
        assert_eq!(copy.frames_in(0, 3), 2);
    }

    #[test]
    fn parts_are_joined_with_their_frames() {
        let live = Arc::default();
        let meter = Rc::default();
        let segment = |bytes: &[u8], ends: &[u32]| {
            let buffer = Buffer::new(bytes.to_vec(), ends.into(), &live);
            Segment::new(Arc::new(buffer), 0, 0, &meter)
        };
        let parts = [
            (segment(b"abbcccd", &[1, 3, 6, 7]), 1, 6),
            (segment(b"eeee", &[]), 0, 4),
            (segment(b"fgg", &[1, 3]), 1, 3),
        ];
        let joined = Buffer::join(&parts).expect("there are parts");
        assert_eq!(joined.bytes(), b"bbccceeeegg");
        assert_eq!(*joined.frame_ends, [2, 5, 9, 11]);
        assert_eq!(meter.bytes(), 3 * Segment::BYTES);
        drop(parts);
        assert_eq!((meter.bytes(), live.now()), (0, joined.cost()));
        assert!(Buffer::join(&[]).is_none());
    }
}
