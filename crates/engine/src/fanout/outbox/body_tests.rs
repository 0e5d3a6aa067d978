//! Frames of two slices, a head of their own and a shared body. Whatever happens between two of
//! their bytes, whole frames are sent in order.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::fanout::bodies::Body;
use crate::fanout::bundle::Bundle;
use crate::fanout::meter::Meter;
use crate::fanout::segment::LiveBytes;

const ROOM: Origin = Origin::Room(1);

/// Splits at the frames, which are told apart by their text: `<`, a letter, filler, `>`.
fn parse(bytes: &[u8]) -> Vec<&str> {
    let text = std::str::from_utf8(bytes).expect("text");
    let frames: Vec<&str> = text.split_inclusive('>').collect();
    for frame in &frames {
        let is_whole = frame.starts_with('<') && frame.ends_with('>');
        let is_one = frame.matches(['<', '>']).count() == 2;
        assert!(is_whole && is_one, "not whole frames: {text}");
    }
    frames
}

struct Press {
    live: Arc<LiveBytes>,
    meter: Rc<Meter>,
    large: Arc<Body>,
    small: Arc<Body>,
}

impl Press {
    fn new() -> Press {
        let live = Arc::default();
        let body = |text: &str| Body::new(text.as_bytes(), &live);
        let (large, small) = (body("XXXXX>"), body(">"));
        Press {
            live,
            meter: Rc::default(),
            large,
            small,
        }
    }

    /// One segment with these frames: each has a head and may have a body.
    fn segment(&self, frames: &[(&str, Option<&Arc<Body>>)]) -> Rc<Segment> {
        let mut bundle = Bundle::default();
        for (head, body) in frames {
            bundle.frame().extend_from_slice(head.as_bytes());
            bundle.end_frame(*body);
        }
        let buffer = Arc::new(bundle.freeze(&self.live));
        Segment::apart(buffer, 0, 0, &self.meter)
    }

    /// An outbox with frames with and without bodies, in one segment and in others, from one room
    /// and sent alone.
    fn outbox(&self, origin: Origin) -> Outbox {
        let (large, small) = (Some(&self.large), Some(&self.small));
        let first = [("<ahh", large), ("<b>", None), ("<c", small), ("<d", large)];
        let second = [("<someone else's>", None), ("<eh", large)];
        let third = [("<f", small), ("<g>", None)];
        let mut outbox = Outbox::default();
        for (frames, from) in [(&first[..], 0), (&second, 1), (&third, 0)] {
            let segment = self.segment(frames);
            for frame in from..frames.len() as u32 {
                let bytes = segment.buffer.frame_range(frame);
                outbox.push(&segment, bytes, 1, origin);
            }
        }
        outbox
    }

    fn control(&self, text: &str) -> Rc<Segment> {
        self.segment(&[(text, None)])
    }
}

const FRAMES: [&str; 7] = [
    "<ahhXXXXX>",
    "<b>",
    "<c>",
    "<dXXXXX>",
    "<ehXXXXX>",
    "<f>",
    "<g>",
];

/// Sends up to `bytes` of what one `writev` of `pieces` pieces takes.
fn send(outbox: &mut Outbox, bytes: usize, pieces: usize, out: &mut Vec<u8>) -> u32 {
    let mut slices = [IoSlice::new(&[]); 64];
    let filled = outbox.front(&mut slices[..pieces]);
    let front: Vec<u8> = slices[..filled]
        .iter()
        .flat_map(|slice| slice.to_vec())
        .collect();
    if let Some(only) = outbox.only_slice() {
        assert_eq!(only.len(), outbox.bytes(), "all in one piece");
    }
    if let Some((first, second)) = outbox.only_pair() {
        assert_eq!(first.len() + second.len(), outbox.bytes());
        assert!([first, second].concat().starts_with(&front));
    }
    let sent = bytes.min(front.len());
    out.extend_from_slice(&front[..sent]);
    let mut frames = 0;
    outbox.advance(sent, |done| frames += done.frames);
    frames
}

fn send_all(outbox: &mut Outbox, step: usize, pieces: usize, out: &mut Vec<u8>) -> u32 {
    let mut frames = 0;
    while !outbox.is_empty() {
        frames += send(outbox, step, pieces, out);
    }
    assert_eq!(outbox.bytes(), 0);
    frames
}

type Policy = (&'static str, fn(&mut Outbox) -> Dropped);

fn compact(outbox: &mut Outbox) -> Dropped {
    outbox.compact(|segment, start, end| {
        let copy = segment.buffer.copy_out(start, end);
        Some(segment.with_copy(copy))
    });
    Dropped::default()
}

fn coalesce(outbox: &mut Outbox) -> Dropped {
    outbox.coalesce(1, true, join);
    Dropped::default()
}

const POLICIES: [Policy; 9] = [
    ("nothing", |_| Dropped::default()),
    ("drop_oldest of some", |outbox| {
        let max = outbox.cost() * 2 / 3;
        outbox.drop_oldest(|cost, _| cost > max)
    }),
    ("drop_oldest of all", |outbox| {
        outbox.drop_oldest(|_, _| true)
    }),
    ("keep_latest", Outbox::keep_latest),
    ("clear of data", |outbox| outbox.clear(true)),
    ("clear of all", |outbox| outbox.clear(false)),
    ("compact", compact),
    ("coalesce", coalesce),
    ("compact and drop_oldest", |outbox| {
        compact(outbox);
        outbox.drop_oldest(|cost, _| cost > 12)
    }),
];

/// The frame that is partly sent after `cut` bytes.
fn open_at(cut: usize) -> Option<&'static str> {
    let mut ends = FRAMES.iter().scan(0, |end, frame| {
        let start = *end;
        *end += frame.len();
        Some((start, *end, *frame))
    });
    let open = ends.find(|(start, end, _)| *start < cut && cut < *end);
    open.map(|(_, _, frame)| frame)
}

/// Checks what is sent if a policy, and control frames before or after it, come between two bytes.
fn check_cut(cut: usize, origin: Origin, (name, policy): Policy, controls: [bool; 2], step: usize) {
    let press = Press::new();
    let mut outbox = press.outbox(origin);
    let all: usize = outbox.bytes();
    let mut out = Vec::new();
    let mut ended = 0;
    while out.len() < cut {
        ended += send(&mut outbox, cut - out.len(), 64, &mut out);
    }
    let wholly_sent = FRAMES.iter().scan(0, |end, frame| {
        *end += frame.len();
        Some(*end)
    });
    let begun = wholly_sent.filter(|end| *end <= cut).count();
    assert_eq!(ended as usize, begun, "{name} at {cut}");
    let push = |outbox: &mut Outbox, is_pushed: bool, text: &str| {
        if is_pushed {
            outbox.push_control(&press.control(text), Origin::Pong);
        }
    };
    push(&mut outbox, controls[0], "<P>");
    let before = outbox.bytes();
    let dropped = policy(&mut outbox);
    assert!(before - outbox.bytes() >= dropped.bytes, "{name} at {cut}");
    push(&mut outbox, controls[1], "<Q>");
    outbox.push(&press.control("<close>"), 0..7, 1, Origin::Close);
    send_all(&mut outbox, step, if step == 2 { 2 } else { 64 }, &mut out);
    let frames = parse(&out);
    assert_eq!(frames.last(), Some(&"<close>"), "{name} at {cut}");
    let data: Vec<_> = frames
        .iter()
        .filter(|frame| FRAMES.contains(frame))
        .collect();
    assert!(data.is_sorted(), "{name} at {cut}: {data:?}");
    assert_eq!(
        data.len() + dropped.frames as usize,
        FRAMES.len(),
        "{name} at {cut}"
    );
    let data_bytes: usize = data.iter().map(|frame| frame.len()).sum();
    assert_eq!(data_bytes + dropped.bytes, all, "{name} at {cut}");
    let at = |text: &str| frames.iter().position(|frame| *frame == text);
    // No control frame is sent between a head and its body; right after the body they are.
    if let Some(frame) = open_at(cut) {
        assert!(
            at(frame).is_some(),
            "{name} at {cut}: the open frame is not dropped"
        );
        let first_control = if controls[0] { at("<P>") } else { at("<Q>") };
        if let Some(first_control) = first_control {
            assert_eq!(Some(first_control), at(frame).map(|at| at + 1));
        }
    }
    assert_eq!(at("<Q>").is_some(), controls[1]);
    drop((outbox, out));
    let bodies = press.large.cost() + press.small.cost();
    assert_eq!((press.live.now(), press.meter.bytes()), (bodies, 0));
}

#[test]
fn whole_frames_go_out_whatever_comes_between_two_bytes() {
    let bytes: usize = FRAMES.iter().map(|frame| frame.len()).sum();
    for cut in 0..=bytes {
        for origin in [Origin::Direct, ROOM] {
            for policy in POLICIES {
                for controls in [[false, false], [true, false], [false, true], [true, true]] {
                    for step in [1, 2, 3, 1_000] {
                        check_cut(cut, origin, policy, controls, step);
                    }
                }
            }
        }
    }
}

#[test]
fn a_send_may_end_at_every_byte_of_heads_and_bodies() {
    let press = Press::new();
    let all = FRAMES.concat();
    for first in 0..=all.len() {
        for second in 0..=all.len() - first {
            let mut outbox = press.outbox(Origin::Direct);
            let mut out = Vec::new();
            send(&mut outbox, first, 64, &mut out);
            send(&mut outbox, second, 64, &mut out);
            assert_eq!(out, all.as_bytes()[..first + second]);
            assert_eq!(outbox.bytes(), all.len() - first - second);
            send_all(&mut outbox, 64, 64, &mut out);
            assert_eq!(out, all.as_bytes());
        }
    }
}

#[test]
fn a_copy_of_a_head_keeps_the_body_and_lets_go_of_others_heads() {
    let press = Press::new();
    let others = "<someone else's>".repeat(100);
    let segment = press.segment(&[(&others, None), ("<a", Some(&press.large))]);
    let mut outbox = Outbox::default();
    outbox.push(&segment, segment.buffer.frame_range(1), 1, Origin::Direct);
    let weak = Rc::downgrade(&segment);
    drop(segment);
    compact(&mut outbox);
    assert!(weak.upgrade().is_none(), "the heads of others are free");
    let bodies = press.large.cost() + press.small.cost();
    let own = press.live.now() - bodies;
    assert!(own < 300, "a head, an index and no body: {own}");
    let mut out = Vec::new();
    send_all(&mut outbox, 3, 64, &mut out);
    assert_eq!(out, b"<aXXXXX>");
    assert_eq!(press.live.now(), bodies);
}

#[test]
fn dropping_frees_the_own_head_and_a_part_of_the_body() {
    let press = Press::new();
    let head = "<0123456789";
    let frames = [(head, Some(&press.large)), (head, Some(&press.large))];
    let segment = press.segment(&frames);
    let mut outboxes = [Outbox::default(), Outbox::default()];
    for (frame, outbox) in outboxes.iter_mut().enumerate() {
        let bytes = segment.buffer.frame_range(frame as u32);
        outbox.push(&segment, bytes, 1, Origin::Direct);
    }
    drop(segment);
    // The buffer holds half of the body's six bytes, and the two clients share the other half.
    assert_eq!(outboxes[0].share(|_| 1), head.len() + 6 / 2 / 2);
    assert_eq!(outboxes[0].cost(), head.len() + 6);
}

#[test]
fn frames_with_bodies_are_not_merged_and_those_beside_them_are() {
    let press = Press::new();
    let mut outbox = Outbox::default();
    for frames in [
        [("<first>", None)],
        [("<a>", None)],
        [("<b>", None)],
        [("<c", Some(&press.large))],
        [("<d", Some(&press.large))],
        [("<e>", None)],
        [("<f>", None)],
    ] {
        let segment = press.segment(&frames);
        let bytes = segment.buffer.frame_range(0);
        outbox.push(&segment, bytes, 1, Origin::Direct);
    }
    assert_eq!(Arc::strong_count(&press.large), 3);
    coalesce(&mut outbox);
    assert_eq!(outbox.slices(), 5);
    assert_eq!(Arc::strong_count(&press.large), 3, "shared as before");
    let mut out = Vec::new();
    send_all(&mut outbox, 5, 64, &mut out);
    assert_eq!(out, b"<first><a><b><cXXXXX><dXXXXX><e><f>");
}

proptest! {
    /// The bytes of the outbox are those of its frames, whatever their heads and bodies and however
    /// many of them share a buffer.
    #[test]
    fn the_bytes_of_the_outbox_are_its_frames(
        segments in prop::collection::vec(
            prop::collection::vec((0_usize..6, 0_usize..4, any::<bool>()), 1..8),
            1..6,
        ),
        steps in prop::collection::vec((1_usize..20, 0_usize..POLICIES.len()), 0..12),
    ) {
        let press = Press::new();
        let bodies: Vec<Arc<Body>> = (0..4_usize)
            .map(|bytes| Body::new(&vec![b'B'; bytes * 3], &press.live))
            .collect();
        let (mut outbox, mut model) = (Outbox::default(), Vec::new());
        for frames in &segments {
            let mut bundle = Bundle::default();
            for (number, (head, body, _)) in frames.iter().enumerate() {
                let head = vec![b'a' + number as u8; head + 1];
                bundle.frame().extend_from_slice(&head);
                let body = (*body > 0).then(|| &bodies[*body]);
                bundle.end_frame(body);
            }
            let buffer = Arc::new(bundle.freeze(&press.live));
            let segment = Segment::apart(buffer, 0, 0, &press.meter);
            for (number, (head, body, is_own)) in frames.iter().enumerate() {
                if *is_own {
                    let bytes = segment.buffer.frame_range(number as u32);
                    outbox.push(&segment, bytes, 1, Origin::Direct);
                    model.extend(std::iter::repeat_n(b'a' + number as u8, head + 1));
                    model.extend(std::iter::repeat_n(b'B', body * 3));
                }
            }
        }
        let mut out = Vec::new();
        for (bytes, policy) in steps {
            send(&mut outbox, bytes, 1 + bytes % 5, &mut out);
            // Only policies that drop nothing: the model does not know frames.
            if POLICIES[policy].0 == "compact" || POLICIES[policy].0 == "coalesce" {
                (POLICIES[policy].1)(&mut outbox);
            }
            prop_assert_eq!(outbox.bytes(), model.len() - out.len());
            prop_assert!(outbox.share(|_| 1) <= outbox.cost());
        }
        send_all(&mut outbox, 1_000, 64, &mut out);
        prop_assert_eq!(out, model);
    }
}
