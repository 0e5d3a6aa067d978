//! The slices of an outbox.

use std::ops::Range;
use std::rc::Rc;

use crate::fanout::bodies::Pieces;
use crate::fanout::segment::Segment;
use crate::limits::CONTROLS_MAX;

/// The origin of a slice's frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A room, by its index on this shard.
    Room(u32),
    /// Sent to this connection alone.
    Direct,
    /// An HTTP response.
    Control,
    /// The Close frame, which is sent last.
    Close,
    /// A pong. If many control frames wait, the next pong replaces the last one (RFC 6455 §5.5.3).
    Pong,
    /// A ping. One that waits makes the next one redundant.
    Ping,
}

impl Origin {
    /// Whether it is sent before data.
    pub(super) fn goes_ahead(self) -> bool {
        matches!(self, Origin::Control | Origin::Pong | Origin::Ping)
    }

    /// Whether the next frame of this origin replaces one that waits and is not partly sent, with
    /// `controls` control frames waiting.
    pub(super) fn is_replaced(self, controls: usize) -> bool {
        match self {
            Origin::Ping => true,
            Origin::Pong => controls >= CONTROLS_MAX,
            _ => false,
        }
    }

    pub(super) fn is_data(self) -> bool {
        matches!(self, Origin::Room(_) | Origin::Direct)
    }
}

/// Consecutive frames of one buffer; the first may be partly sent.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    pub(super) segment: Rc<Segment>,
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) frames: u32,
    /// [`Origin`], packed into 32 bits: each connection stores one of these slices inline.
    pub(super) origin: u32,
}

const DIRECT: u32 = u32::MAX;
const CONTROL: u32 = u32::MAX - 1;
const PONG: u32 = u32::MAX - 2;
const CLOSE: u32 = u32::MAX - 3;
const PING: u32 = u32::MAX - 4;

impl Slice {
    /// One frame.
    pub(super) fn frame(segment: &Rc<Segment>, bytes: Range<u32>, origin: Origin) -> Slice {
        Slice {
            segment: Rc::clone(segment),
            start: bytes.start,
            end: bytes.end,
            frames: 1,
            origin: origin.into(),
        }
    }

    pub(super) fn origin(&self) -> Origin {
        match self.origin {
            DIRECT => Origin::Direct,
            CONTROL => Origin::Control,
            PONG => Origin::Pong,
            CLOSE => Origin::Close,
            PING => Origin::Ping,
            room => Origin::Room(room),
        }
    }

    /// Its bytes, if they are sure to be contiguous.
    #[inline]
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        self.segment.buffer.slice(self.start, self.end)
    }

    /// Its bytes, if they are one or two contiguous pieces.
    #[inline]
    pub(super) fn pair(&self) -> Option<(&[u8], &[u8])> {
        self.segment.buffer.pair(self.start, self.end)
    }

    /// Its bytes as contiguous pieces: heads, and the bodies behind them.
    pub(super) fn pieces(&self) -> Pieces<'_> {
        self.segment.buffer.pieces(self.start, self.end)
    }

    /// Whether one of its frames has a shared body.
    pub(super) fn has_body(&self) -> bool {
        self.segment.buffer.has_body_in(self.start, self.end)
    }

    pub(super) fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether its buffer holds more than this slice needs.
    pub(super) fn is_part(&self) -> bool {
        self.len() < self.segment.buffer.len()
    }

    /// Removes the bytes before `at`, and the `frames` that end there.
    pub(super) fn cut_front(&mut self, at: u32, frames: u32) {
        debug_assert!(self.start <= at && at <= self.end && frames <= self.frames);
        self.start = at;
        self.frames -= frames;
    }

    /// Keeps only the first frame. Returns the others, if any.
    pub(super) fn split_off_others(&mut self) -> Option<Slice> {
        let end = self.segment.buffer.frame_end_after(self.start);
        if end >= self.end {
            return None;
        }
        let mut others = self.clone();
        others.cut_front(end, 1);
        self.end = end;
        self.frames = 1;
        Some(others)
    }
}

impl From<Origin> for u32 {
    fn from(origin: Origin) -> u32 {
        match origin {
            Origin::Direct => DIRECT,
            Origin::Control => CONTROL,
            Origin::Pong => PONG,
            Origin::Close => CLOSE,
            Origin::Ping => PING,
            Origin::Room(room) => room,
        }
    }
}

/// A part of a segment: the segment, start and end in its buffer.
pub type Part = (Rc<Segment>, u32, u32);
