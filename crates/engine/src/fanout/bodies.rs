//! Bodies: the ends of frames, each of which many frames share, behind heads of their own.
//!
//! The bytes of a buffer are the heads alone, side by side. Positions in it count the bodies as
//! well, as if each lay behind its head: so whoever cuts at frames need not know of them.

use std::ops::Range;
use std::sync::Arc;

use super::segment::{Buffer, LiveBytes};
use crate::limits::SHARED_FRAME_BYTES_MAX;
use crate::sparse::Sparse as _;

/// Where a body lies among the positions of a buffer.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
    /// Bytes of the bodies before it.
    before: u32,
    /// Its number in the table.
    body: u32,
    /// Where in the body it begins: behind what was sent before a copy was made.
    from: u32,
}

/// The bodies that frames of one buffer end with.
#[derive(Debug)]
pub(super) struct Bodies {
    spans: Box<[Span]>,
    table: Box<[Arc<Buffer>]>,
    /// Bytes of all spans.
    bytes: u32,
}

impl Bodies {
    /// Bytes of all bodies, each as often as a frame ends with it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// What the index takes. The bodies are counted by themselves.
    pub(super) fn cost(&self) -> usize {
        size_of::<Bodies>() + size_of_val(&*self.spans) + size_of_val(&*self.table)
    }

    /// The number of the first span that ends behind `position`.
    fn first_behind(&self, position: u32) -> usize {
        self.spans.partition_point(|span| span.end <= position)
    }

    /// Whether any of them is in `start..end`.
    pub(super) fn has_any_in(&self, start: u32, end: u32) -> bool {
        let first = self.spans.get(self.first_behind(start));
        first.is_some_and(|first| first.start < end)
    }

    fn spans_in(&self, start: u32, end: u32) -> impl Iterator<Item = Span> {
        let first = self.first_behind(start);
        let spans = self.spans[first..].iter().copied();
        spans.take_while(move |span| span.start < end)
    }

    /// Those in `start..end`, each with how many bytes of it are there.
    pub(super) fn shared_in(
        &self,
        start: u32,
        end: u32,
    ) -> impl Iterator<Item = (&Arc<Buffer>, usize)> {
        self.spans_in(start, end).map(move |span| {
            let bytes = span.end.min(end) - span.start.max(start);
            (&self.table[span.body as usize], bytes as usize)
        })
    }

    /// Where the heads in `start..end` are in the buffer's own bytes.
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

    /// Those in `start..end`, for a copy of the heads there; `None` if there are none.
    pub(super) fn copy_out(&self, start: u32, end: u32) -> Option<Box<Bodies>> {
        let (mut spans, mut table) = (Vec::new(), Vec::new());
        let mut before = 0;
        for span in self.spans_in(start, end) {
            let body = enter(&mut table, &self.table[span.body as usize]);
            let copy = Span {
                start: span.start.max(start) - start,
                end: span.end.min(end) - start,
                before,
                body,
                from: span.from + start.saturating_sub(span.start),
            };
            before += copy.end - copy.start;
            spans.push(copy);
        }
        freeze(&spans, &table, before)
    }

    /// What is in `start..end`, if that is one piece or two; the second is empty if it is one.
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

    /// The bytes of the buffer from `at` on, up to `end` or to where they go on elsewhere; `span`
    /// is the number of the first span that ends behind `at`.
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

/// Puts a body into a table, unless it is the last there. Returns its number.
fn enter(table: &mut Vec<Arc<Buffer>>, body: &Arc<Buffer>) -> u32 {
    if !table.last().is_some_and(|last| Arc::ptr_eq(last, body)) {
        table.push(Arc::clone(body));
    }
    table.len() as u32 - 1
}

fn freeze(spans: &[Span], table: &[Arc<Buffer>], bytes: u32) -> Option<Box<Bodies>> {
    let bodies = || Bodies {
        spans: spans.into(),
        table: table.into(),
        bytes,
    };
    (!spans.is_empty()).then(|| Box::new(bodies()))
}

/// The pieces of a part of a buffer, in their order: see [`Buffer::pieces`].
pub struct Pieces<'b> {
    own: &'b [u8],
    bodies: Option<&'b Bodies>,
    at: u32,
    end: u32,
    /// The number of the first span that ends behind `at`.
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

/// Gathers frames for one buffer, each with a body at its end or without one.
#[derive(Default)]
pub struct Bundle {
    bytes: Vec<u8>,
    /// Where each frame ends, its body included.
    ends: Vec<u32>,
    spans: Vec<Span>,
    table: Vec<Arc<Buffer>>,
    body_bytes: u32,
}

impl Bundle {
    /// Whether there is no frame.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of all frames, without the bodies that they share.
    #[inline]
    pub fn own_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The same with the bodies: where the last frame ends.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() + self.body_bytes as usize
    }

    /// The buffer that the next frame is to be appended to. It is to be ended then.
    #[inline]
    pub fn frame(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Ends a frame, with a body behind what was appended, or as it is. Returns where it ends.
    #[inline]
    pub fn end_frame(&mut self, body: Option<&Arc<Buffer>>) -> u32 {
        if let Some(body) = body {
            self.add_body(body);
        }
        let end = self.len() as u32;
        self.ends.push(end);
        end
    }

    fn add_body(&mut self, body: &Arc<Buffer>) {
        let start = self.len() as u32;
        let end = start + body.bytes().len() as u32;
        if start == end {
            return;
        }
        self.spans.push(Span {
            start,
            end,
            before: self.body_bytes,
            body: enter(&mut self.table, body),
            from: 0,
        });
        self.body_bytes += end - start;
    }

    /// What was gathered, in a buffer of the exact size. A small one is copied, so that this one's
    /// own memory stays warm; a large one is handed over.
    pub fn freeze(&mut self, live: &Arc<LiveBytes>) -> Buffer {
        let bytes = match self.bytes.len() {
            ..=SHARED_FRAME_BYTES_MAX => self.bytes.as_slice().to_vec(),
            _ => std::mem::take(&mut self.bytes),
        };
        let ends = match self.ends.len() {
            1 => Box::default(),
            _ => self.ends.as_slice().into(),
        };
        let bodies = freeze(&self.spans, &self.table, self.body_bytes);
        self.bytes.clear();
        self.ends.clear();
        self.spans.clear();
        self.table.clear();
        self.body_bytes = 0;
        Buffer::with_bodies(bytes, ends, bodies, live)
    }

    /// What it holds from one turn to the next, in bytes.
    pub fn held_bytes(&self) -> usize {
        let ends = self.ends.capacity() * size_of::<u32>();
        let spans = self.spans.capacity() * size_of::<Span>();
        let table = self.table.capacity() * size_of::<Arc<Buffer>>();
        self.bytes.capacity() + ends + spans + table
    }

    /// Gives back memory that a peak took.
    pub fn shrink(&mut self) {
        self.bytes.shrink_sparse();
        self.ends.shrink_sparse();
        self.spans.shrink_sparse();
        self.table.shrink_sparse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str, live: &Arc<LiveBytes>) -> Arc<Buffer> {
        let buffer = Buffer::new(text.as_bytes().to_vec(), Box::default(), live);
        Arc::new(buffer)
    }

    fn bundled(frames: &[(&str, Option<&Arc<Buffer>>)], live: &Arc<LiveBytes>) -> Buffer {
        let mut bundle = Bundle::default();
        for (head, body) in frames {
            bundle.frame().extend_from_slice(head.as_bytes());
            bundle.end_frame(*body);
        }
        bundle.freeze(live)
    }

    fn text(buffer: &Buffer, start: u32, end: u32) -> String {
        let bytes: Vec<u8> = buffer.pieces(start, end).flatten().copied().collect();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn every_part_of_a_buffer_reads_as_if_bodies_lay_behind_their_heads() {
        let live = Arc::default();
        let (x, y) = (body("XXXX", &live), body("Y", &live));
        let frames = [
            ("aa", Some(&x)),
            ("b", None),
            ("c", None),
            ("d", Some(&x)),
            ("", Some(&y)),
            ("ee", Some(&x)),
            ("f", None),
        ];
        let buffer = bundled(&frames, &live);
        let whole = "aaXXXXbcdXXXXYeeXXXXf";
        assert_eq!(buffer.len(), whole.len());
        assert_eq!(buffer.bytes(), b"aabcdeef", "heads alone");
        let ends: Vec<u32> = (0..7).map(|frame| buffer.frame_range(frame).end).collect();
        assert_eq!(ends, [6, 7, 8, 13, 14, 20, 21]);
        for start in 0..=whole.len() {
            for end in start..=whole.len() {
                let part = &whole[start..end];
                let (start, end) = (start as u32, end as u32);
                assert_eq!(text(&buffer, start, end), part);
                let heads = part.bytes().filter(u8::is_ascii_lowercase).count();
                assert_eq!(buffer.own_bytes_in(start, end), heads);
                if ends.contains(&end) {
                    let copy = buffer.copy_out(start, end);
                    assert_eq!(text(&copy, 0, copy.len() as u32), part);
                    assert_eq!(copy.bytes().len(), heads, "no body is copied");
                }
                if start < end {
                    assert_eq!(buffer.has_body_in(start, end), heads < part.len());
                }
            }
        }
    }

    #[test]
    fn one_frame_is_a_pair() {
        let live = Arc::default();
        let x = body("XXX", &live);
        let frames = [("a", None), ("bb", Some(&x)), ("c", None), ("dd", Some(&x))];
        let buffer = bundled(&frames, &live);
        assert_eq!(buffer.pair(1, 6), Some((&b"bb"[..], &b"XXX"[..])));
        assert_eq!(buffer.pair(2, 6), Some((&b"b"[..], &b"XXX"[..])));
        assert_eq!(buffer.pair(4, 6), Some((&b"XX"[..], &b""[..])));
        assert_eq!(buffer.pair(4, 7), Some((&b"XX"[..], &b"c"[..])));
        assert_eq!(buffer.pair(0, 6), Some((&b"abb"[..], &b"XXX"[..])));
        assert_eq!(buffer.pair(1, 7), None);
        assert_eq!(buffer.pair(7, 12), Some((&b"dd"[..], &b"XXX"[..])));
    }

    #[test]
    fn heads_without_bodies_are_one_piece() {
        let live = Arc::default();
        let x = body("X", &live);
        let frames = [("a", None), ("b", None), ("c", Some(&x)), ("d", None)];
        let buffer = bundled(&frames, &live);
        let pieces: Vec<&[u8]> = buffer.pieces(0, 5).collect();
        assert_eq!(pieces, [&b"abc"[..], b"X", b"d"]);
        assert_eq!(buffer.pair(0, 3), Some((&b"abc"[..], &b""[..])));
        assert_eq!(
            buffer.pair(3, 4),
            Some((&b"X"[..], &b""[..])),
            "what is left"
        );
        assert_eq!(buffer.slice(0, 3), None, "it has bodies");
    }

    #[test]
    fn a_body_is_counted_once_and_freed_with_its_last_holder() {
        let live: Arc<LiveBytes> = Arc::default();
        let x = body(&"x".repeat(1_000), &live);
        let before = live.now();
        let frames: Vec<_> = (0..100).map(|_| ("head", Some(&x))).collect();
        let first = bundled(&frames, &live);
        let second = bundled(&frames, &live);
        let heads = live.now() - before;
        assert_eq!(heads, first.cost() + second.cost());
        assert!(heads < 2 * 100 * 32, "heads and index: {heads}");
        let copy = first.copy_out(500, 1_004);
        drop((first, second, x));
        assert_eq!(live.now(), before + copy.cost());
        drop(copy);
        assert_eq!(live.now(), 0);
    }

    #[test]
    fn memory_that_a_peak_took_is_given_back() {
        let live = Arc::default();
        let x = body("X", &live);
        let mut bundle = Bundle::default();
        for _ in 0..1_000 {
            bundle.frame().extend_from_slice(&[0; 50]);
            bundle.end_frame(Some(&x));
        }
        drop(bundle.freeze(&live));
        assert!(bundle.held_bytes() > 50_000, "it stays warm");
        bundle.shrink();
        assert_eq!(bundle.held_bytes(), 0);
        assert_eq!(Arc::strong_count(&x), 1);
    }
}
