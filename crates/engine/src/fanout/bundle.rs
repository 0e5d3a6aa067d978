//! Gathers frames for several connections in one buffer.

use std::sync::Arc;

use super::bodies::{Body, Placed};
use super::segment::{Buffer, LiveBytes};
use crate::limits::SHARED_FRAME_BYTES_MAX;
use crate::sparse::Sparse as _;

/// Gathers frames for one buffer, each with or without a body at its end.
#[derive(Default)]
pub struct Bundle {
    bytes: Vec<u8>,
    /// The end of each frame, its body included.
    ends: Vec<u32>,
    bodies: Placed,
}

impl Bundle {
    /// Whether no frame was gathered.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of all frames, without their shared bodies.
    #[inline]
    pub fn own_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The same with the bodies, which is the end of the last frame.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() + self.bodies.bytes()
    }

    /// The buffer to append the next frame to. [`Bundle::end_frame`] has to follow.
    #[inline]
    pub fn frame(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Ends a frame, with a body behind the appended bytes or without one. Returns its end.
    #[inline]
    pub fn end_frame(&mut self, body: Option<&Arc<Body>>) -> u32 {
        if let Some(body) = body {
            let (start, bytes) = (self.len() as u32, body.bytes().len() as u32);
            self.bodies.add(start, body, 0, bytes);
        }
        let end = self.len() as u32;
        self.ends.push(end);
        end
    }

    /// The gathered frames in a buffer of the exact size. A small one is copied, so that the bundle
    /// keeps its own memory, which is in the cache; a large one is handed over.
    pub fn freeze(&mut self, live: &Arc<LiveBytes>) -> Buffer {
        let bytes = match self.bytes.len() {
            ..=SHARED_FRAME_BYTES_MAX => self.bytes.as_slice().to_vec(),
            _ => std::mem::take(&mut self.bytes),
        };
        let ends = match self.ends.len() {
            1 => Box::default(),
            _ => self.ends.as_slice().into(),
        };
        let bodies = self.bodies.freeze();
        self.bytes.clear();
        self.ends.clear();
        Buffer::with_bodies(bytes, ends, bodies, live)
    }

    /// The memory that it keeps between turns, in bytes.
    pub fn held_bytes(&self) -> usize {
        let ends = self.ends.capacity() * size_of::<u32>();
        self.bytes.capacity() + ends + self.bodies.held_bytes()
    }

    /// Gives back memory that grew under load.
    pub fn shrink(&mut self) {
        self.bytes.shrink_sparse();
        self.ends.shrink_sparse();
        self.bodies.shrink();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str, live: &Arc<LiveBytes>) -> Arc<Body> {
        Body::new(text.as_bytes(), live)
    }

    fn bundled(frames: &[(&str, Option<&Arc<Body>>)], live: &Arc<LiveBytes>) -> Buffer {
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
    fn every_part_of_a_buffer_reads_as_heads_followed_by_bodies() {
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
    fn memory_of_a_peak_is_given_back() {
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
