//! Bodies: the ends of frames, each shared by many frames, behind heads of their own.
//!
//! The bytes of a buffer are the heads alone, side by side. Positions in it count the bodies too,
//! as if each were stored behind its head, so code that cuts at frames does not have to know about
//! them.

use std::ops::Range;
use std::sync::Arc;

use super::live::{COUNTS_BYTES, LiveBytes};
use crate::sparse::Sparse as _;

/// The end of frames that many frames share, in one block of memory.
#[derive(Debug)]
pub struct Body {
    bytes: Box<[u8]>,
    live: Arc<LiveBytes>,
}

impl Body {
    /// A body with a copy of these bytes.
    pub fn new(bytes: &[u8], live: &Arc<LiveBytes>) -> Arc<Body> {
        let body = Body {
            bytes: bytes.into(),
            live: Arc::clone(live),
        };
        live.add(body.cost());
        Arc::new(body)
    }

    /// All of its bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The memory of the body and its reference counts, in bytes.
    pub fn cost(&self) -> usize {
        self.bytes.len() + size_of::<Body>() + COUNTS_BYTES
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.live.subtract(self.cost());
    }
}

/// The positions in a buffer that a body takes.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
    /// The bytes of the bodies before it.
    before: u32,
    /// Its index in the table.
    body: u32,
    /// The first byte of the body that belongs to it: not 0 if a part was sent before a copy was
    /// made.
    from: u32,
}

/// The bodies at the ends of one buffer's frames.
#[derive(Debug)]
pub(super) struct Bodies {
    spans: Box<[Span]>,
    table: Box<[Arc<Body>]>,
    /// The bytes of all spans.
    bytes: u32,
}

impl Bodies {
    /// The bytes of all bodies, each counted once for every frame that ends with it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// The memory of the index. The bodies are counted by themselves.
    pub(super) fn cost(&self) -> usize {
        size_of::<Bodies>() + size_of_val(&*self.spans) + size_of_val(&*self.table)
    }

    /// The index of the first span that ends after `position`.
    fn first_behind(&self, position: u32) -> usize {
        self.spans.partition_point(|span| span.end <= position)
    }

    /// Whether `start..end` touches a body.
    pub(super) fn has_any_in(&self, start: u32, end: u32) -> bool {
        let first = self.spans.get(self.first_behind(start));
        first.is_some_and(|first| first.start < end)
    }

    fn spans_in(&self, start: u32, end: u32) -> impl Iterator<Item = Span> {
        let first = self.first_behind(start);
        let spans = self.spans[first..].iter().copied();
        spans.take_while(move |span| span.start < end)
    }

    /// The bodies in `start..end`, each with the number of its bytes there.
    pub(super) fn shared_in(
        &self,
        start: u32,
        end: u32,
    ) -> impl Iterator<Item = (&Arc<Body>, usize)> {
        self.spans_in(start, end).map(move |span| {
            let bytes = span.end.min(end) - span.start.max(start);
            (&self.table[span.body as usize], bytes as usize)
        })
    }

    /// The range of the heads in `start..end` within the buffer's own bytes.
    pub(super) fn heads_in(&self, start: u32, end: u32) -> Range<usize> {
        self.own_position(start)..self.own_position(end)
    }

    fn own_position(&self, position: u32) -> usize {
        let own = match self.spans.get(self.first_behind(position)) {
            Some(span) => position.min(span.start) - span.before,
            None => position - self.bytes,
        };
        own as usize
    }

    /// The bodies in `start..end`, for a copy of the heads there; `None` if there are none.
    pub(super) fn copy_out(&self, start: u32, end: u32) -> Option<Box<Bodies>> {
        let mut copy = Placed::default();
        for span in self.spans_in(start, end) {
            let body = &self.table[span.body as usize];
            let bytes = span.end.min(end) - span.start.max(start);
            let from = span.from + start.saturating_sub(span.start);
            copy.add(span.start.max(start) - start, body, from, bytes);
        }
        copy.freeze()
    }

    /// The bytes `start..end`, if they are one or two contiguous pieces. The second is empty if
    /// there is only one.
    #[inline(never)]
    pub(super) fn pair_in<'b>(
        &'b self,
        own: &'b [u8],
        start: u32,
        end: u32,
    ) -> Option<(&'b [u8], &'b [u8])> {
        let span = self.first_behind(start);
        let first = self.piece(own, start, end, span);
        let at = start + first.len() as u32;
        if at == end {
            return Some((first, &[]));
        }
        let is_over = self.spans.get(span).is_some_and(|span| span.end <= at);
        let second = self.piece(own, at, end, span + usize::from(is_over));
        (at + second.len() as u32 == end).then_some((first, second))
    }

    /// The contiguous bytes from `at` on, up to `end` or to the end of this head or body. `span` is
    /// the index of the first span that ends after `at`.
    fn piece<'b>(&'b self, own: &'b [u8], at: u32, end: u32, span: usize) -> &'b [u8] {
        match self.spans.get(span) {
            Some(span) if span.start <= at => {
                let from = span.from + (at - span.start);
                let to = from + (span.end.min(end) - at);
                &self.table[span.body as usize].bytes()[from as usize..to as usize]
            }
            Some(span) => {
                let end = span.start.min(end);
                &own[(at - span.before) as usize..(end - span.before) as usize]
            }
            None => &own[(at - self.bytes) as usize..(end - self.bytes) as usize],
        }
    }
}

/// Collects the bodies of a buffer that is being made.
#[derive(Default)]
pub(super) struct Placed {
    spans: Vec<Span>,
    table: Vec<Arc<Body>>,
    bytes: u32,
}

impl Placed {
    /// The bytes of all bodies, each counted once for every frame that ends with it.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// Adds `bytes` bytes of a body, from its byte `from` on, behind a head that ends at `start`.
    pub(super) fn add(&mut self, start: u32, body: &Arc<Body>, from: u32, bytes: u32) {
        if bytes == 0 {
            return;
        }
        if !self
            .table
            .last()
            .is_some_and(|last| Arc::ptr_eq(last, body))
        {
            self.table.push(Arc::clone(body));
        }
        self.spans.push(Span {
            start,
            end: start + bytes,
            before: self.bytes,
            body: self.table.len() as u32 - 1,
            from,
        });
        self.bytes += bytes;
    }

    /// The bodies that were added; `None` if there are none. The builder keeps its own memory.
    pub(super) fn freeze(&mut self) -> Option<Box<Bodies>> {
        if self.spans.is_empty() {
            return None;
        }
        let bodies = Bodies {
            spans: self.spans.as_slice().into(),
            table: self.table.as_slice().into(),
            bytes: std::mem::take(&mut self.bytes),
        };
        self.spans.clear();
        self.table.clear();
        Some(Box::new(bodies))
    }

    /// The memory that it keeps between turns, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        let spans = self.spans.capacity() * size_of::<Span>();
        spans + self.table.capacity() * size_of::<Arc<Body>>()
    }

    /// Gives back memory that grew under load.
    pub(super) fn shrink(&mut self) {
        self.spans.shrink_sparse();
        self.table.shrink_sparse();
    }
}

/// The contiguous pieces of a range of a buffer: see [`super::segment::Buffer::pieces`].
pub struct Pieces<'b> {
    own: &'b [u8],
    bodies: Option<&'b Bodies>,
    at: u32,
    end: u32,
    /// The index of the first span that ends after `at`.
    span: usize,
}

impl<'b> Pieces<'b> {
    pub(super) fn new(
        own: &'b [u8],
        bodies: Option<&'b Bodies>,
        start: u32,
        end: u32,
    ) -> Pieces<'b> {
        Pieces {
            own,
            bodies,
            at: start,
            end,
            span: bodies.map_or(0, |bodies| bodies.first_behind(start)),
        }
    }
}

impl<'b> Iterator for Pieces<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        if self.at >= self.end {
            return None;
        }
        let Some(bodies) = self.bodies else {
            let all = &self.own[self.at as usize..self.end as usize];
            self.at = self.end;
            return Some(all);
        };
        let piece = bodies.piece(self.own, self.at, self.end, self.span);
        self.at += piece.len() as u32;
        let span = bodies.spans.get(self.span);
        self.span += usize::from(span.is_some_and(|span| span.end <= self.at));
        Some(piece)
    }
}
