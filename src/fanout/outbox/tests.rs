use std::sync::Arc;

use super::super::segment::Buffer;
use super::*;

const ROOM: Origin = Origin::Room(1);

/// Frames in one buffer: each text is one.
fn segment(texts: &[&str]) -> Rc<Segment> {
    aged(texts, 0)
}

fn aged(texts: &[&str], accepted_tick: u32) -> Rc<Segment> {
    let mut end = 0;
    let mut ends = Vec::new();
    for text in texts {
        end += text.len() as u32;
        ends.push(end);
    }
    let ends = if ends.len() == 1 { Vec::new() } else { ends };
    let buffer = Buffer::new(texts.concat().into_bytes(), ends.into(), &Arc::default());
    Segment::new(Arc::new(buffer), 0, accepted_tick)
}

/// An outbox with the texts from one room, each in a segment of its own where `is_split`.
fn outbox(texts: &[&str], is_split: bool) -> Outbox {
    let mut outbox = Outbox::default();
    if is_split {
        texts
            .iter()
            .for_each(|text| push(&mut outbox, &segment(&[text]), ROOM));
    } else {
        push(&mut outbox, &segment(texts), ROOM);
    }
    outbox
}

/// Pushes a whole segment.
fn push(outbox: &mut Outbox, segment: &Rc<Segment>, origin: Origin) {
    let end = segment.buffer.bytes().len() as u32;
    outbox.push(segment, 0..end, segment.buffer.frames_in(0, end), origin);
}

fn waiting(outbox: &Outbox) -> String {
    let mut slices = [IoSlice::new(&[]); 64];
    let filled = outbox.front(&mut slices);
    let bytes: Vec<u8> = slices[..filled]
        .iter()
        .flat_map(|slice| slice.to_vec())
        .collect();
    assert_eq!(bytes.len(), outbox.bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

fn slices(outbox: &Outbox) -> usize {
    let filled = outbox.front(&mut [IoSlice::new(&[]); 64]);
    assert_eq!(outbox.slices(), filled);
    filled
}

/// Sends so many bytes. Returns how many frames ended in them.
fn send(outbox: &mut Outbox, bytes: usize) -> u32 {
    let mut frames = 0;
    outbox.advance(bytes, |sent| frames += sent.frames);
    frames
}

#[test]
fn slices_that_touch_become_one() {
    let whole = segment(&["aa", "b", "ccc", "d"]);
    let mut outbox = Outbox::default();
    outbox.push(&whole, 0..2, 1, ROOM);
    outbox.push(&whole, 2..6, 2, ROOM);
    assert_eq!(
        (slices(&outbox), outbox.only_slice()),
        (1, Some(&b"aabccc"[..]))
    );
    assert_eq!(send(&mut outbox, 6), 3);
    assert!(outbox.is_empty());
}

#[test]
fn slices_that_do_not_touch_stay_apart() {
    let whole = segment(&["aa", "b", "ccc", "d"]);
    let mut outbox = Outbox::default();
    outbox.push(&whole, 0..2, 1, ROOM);
    // One frame is left out, then it is another room, then another buffer.
    outbox.push(&whole, 3..6, 1, ROOM);
    outbox.push(&whole, 6..7, 1, Origin::Room(2));
    push(&mut outbox, &segment(&["e"]), Origin::Room(2));
    assert_eq!((slices(&outbox), outbox.only_slice()), (4, None));
    assert_eq!(waiting(&outbox), "aacccde");
}

#[test]
fn a_send_may_end_at_every_byte() {
    let texts = ["aa", "b", "ccc", "d"];
    let ends = [2, 3, 6, 7];
    for is_split in [false, true] {
        for first in 0..=7 {
            for second in 0..=7 - first {
                let mut outbox = outbox(&texts, is_split);
                let ended = |at: usize| ends.iter().filter(|end| **end <= at).count() as u32;
                assert_eq!(send(&mut outbox, first), ended(first));
                assert_eq!(waiting(&outbox), texts.concat()[first..]);
                assert_eq!(
                    send(&mut outbox, second),
                    ended(first + second) - ended(first)
                );
                assert_eq!(waiting(&outbox), texts.concat()[first + second..]);
            }
        }
    }
}

/// What waits after `sent` bytes and `policy`, for frames in one slice and in slices of their own.
fn after(sent: usize, policy: impl Fn(&mut Outbox) -> Dropped) -> [(String, u32); 2] {
    [false, true].map(|is_split| {
        let mut outbox = outbox(&["aa", "bb", "cc", "dd"], is_split);
        send(&mut outbox, sent);
        let before = outbox.bytes();
        let dropped = policy(&mut outbox);
        assert_eq!(before - outbox.bytes(), dropped.bytes);
        (waiting(&outbox), dropped.frames)
    })
}

fn both(waiting: &str, dropped: u32) -> [(String, u32); 2] {
    [(waiting.to_owned(), dropped), (waiting.to_owned(), dropped)]
}

#[test]
fn drop_oldest_cuts_at_frames_and_finishes_the_open_one() {
    let to = |max: usize| move |outbox: &mut Outbox| outbox.drop_oldest(|bytes, _| bytes > max);
    assert_eq!(after(0, to(5)), both("ccdd", 2));
    assert_eq!(after(0, to(0)), both("", 4));
    assert_eq!(after(1, to(5)), both("accdd", 1));
    assert_eq!(after(1, to(0)), both("a", 3));
    assert_eq!(after(2, to(2)), both("dd", 2));
    assert_eq!(after(3, to(4)), both("bdd", 1));
    assert_eq!(after(0, to(8)), both("aabbccdd", 0));
}

#[test]
fn keep_latest_keeps_one_frame_of_each_room_and_the_open_one() {
    assert_eq!(after(0, Outbox::keep_latest), both("dd", 3));
    assert_eq!(after(3, Outbox::keep_latest), both("bdd", 1));
    assert_eq!(after(7, Outbox::keep_latest), both("d", 0));
    let mut outbox = Outbox::default();
    for (text, room) in [("a1", 1), ("b1", 2), ("a2", 1), ("b2", 2), ("b3", 2)] {
        push(&mut outbox, &segment(&[text]), Origin::Room(room));
        push(&mut outbox, &segment(&["!"]), Origin::Direct);
    }
    assert_eq!(
        outbox.keep_latest(),
        Dropped {
            frames: 3,
            bytes: 6
        }
    );
    assert_eq!(waiting(&outbox), "!!a2!!b3!");
}

#[test]
fn clear_leaves_the_open_frame_and_control_frames() {
    assert_eq!(after(0, |outbox| outbox.clear(true)), both("", 4));
    assert_eq!(after(3, |outbox| outbox.clear(false)), both("b", 2));
    let mut outbox = outbox(&["aa", "bb"], false);
    outbox.push_control(&segment(&["P"]), Origin::Control);
    assert_eq!(outbox.clear(true).frames, 2);
    assert_eq!(waiting(&outbox), "P");
    outbox.clear(false);
    assert!(outbox.is_empty() && outbox.bytes() == 0);
}

#[test]
fn a_control_frame_goes_behind_the_open_frame_and_before_data() {
    for (sent, expected) in [(0, "PQaabb"), (1, "aPQbb"), (2, "PQbb"), (3, "bPQ")] {
        let mut outbox = outbox(&["aa", "bb"], false);
        send(&mut outbox, sent);
        outbox.push_control(&segment(&["P"]), Origin::Control);
        outbox.push_control(&segment(&["Q"]), Origin::Pong);
        assert_eq!(waiting(&outbox), expected);
        let frames = 4 - sent as u32 / 2;
        assert_eq!(send(&mut outbox, expected.len()), frames);
    }
}

#[test]
fn policies_leave_control_frames_alone() {
    let mut outbox = outbox(&["aa", "bb"], true);
    send(&mut outbox, 1);
    outbox.push_control(&segment(&["PP"]), Origin::Control);
    push(&mut outbox, &segment(&["cc"]), ROOM);
    assert_eq!(outbox.keep_latest().frames, 1);
    assert_eq!(waiting(&outbox), "aPPcc");
    assert_eq!(outbox.drop_oldest(|_, _| true).frames, 1);
    assert_eq!(waiting(&outbox), "aPP");
}

#[test]
fn past_the_budget_only_the_newest_pong_is_kept() {
    let pong = "o".repeat(127);
    let fits = CONTROL_BYTES_MAX / pong.len();
    let mut outbox = outbox(&["data"], false);
    outbox.push_control(&segment(&["C"]), Origin::Control);
    for _ in 0..fits {
        outbox.push_control(&segment(&[&pong]), Origin::Pong);
    }
    assert_eq!(outbox.bytes(), 5 + fits * pong.len());
    let newest = "n".repeat(CONTROL_BYTES_MAX - fits * pong.len());
    outbox.push_control(&segment(&[&newest]), Origin::Pong);
    assert_eq!(waiting(&outbox), format!("C{newest}data"));
    push(&mut outbox, &segment(&["more"]), ROOM);
    outbox.push_control(&segment(&["Q"]), Origin::Pong);
    assert_eq!(waiting(&outbox), format!("C{newest}Qdatamore"));
}

#[test]
fn an_open_pong_is_finished_past_the_budget() {
    let pong = "o".repeat(CONTROL_BYTES_MAX);
    let mut outbox = Outbox::default();
    outbox.push_control(&segment(&[&pong]), Origin::Pong);
    send(&mut outbox, CONTROL_BYTES_MAX - 3);
    outbox.push_control(&segment(&["dropped"]), Origin::Pong);
    outbox.push_control(&segment(&[&pong]), Origin::Pong);
    assert_eq!(waiting(&outbox), format!("ooo{pong}"));
}

#[test]
fn the_oldest_data_tells_the_age() {
    let mut outbox = Outbox::default();
    assert_eq!(outbox.oldest_tick(), None);
    outbox.push_control(&aged(&["P"], 3), Origin::Control);
    assert_eq!(outbox.oldest_tick(), None);
    push(&mut outbox, &aged(&["a"], 5), ROOM);
    push(&mut outbox, &aged(&["b"], 9), ROOM);
    assert_eq!(outbox.oldest_tick(), Some(5));
    assert_eq!(outbox.drop_oldest(|_, tick| tick < 9).frames, 1);
    assert_eq!(
        (outbox.oldest_tick(), waiting(&outbox).as_str()),
        (Some(9), "Pb")
    );
}

#[test]
fn compacting_replaces_what_pins_more_than_it_needs() {
    let large = segment(&["aaaa", "bb", "cccc", "dd"]);
    let mut outbox = Outbox::default();
    outbox.push(&large, 0..6, 2, ROOM);
    outbox.push(&large, 10..12, 1, ROOM);
    push(&mut outbox, &segment(&["whole"]), ROOM);
    send(&mut outbox, 1);
    let mut copied = Vec::new();
    outbox.compact(|segment, start, end| {
        copied.push((start, end));
        let copy = Arc::new(segment.buffer.copy_out(start, end));
        Some(Segment::new(
            copy,
            segment.received_ns,
            segment.accepted_tick,
        ))
    });
    assert_eq!(copied, [(1, 6), (10, 12)]);
    assert_eq!(Rc::strong_count(&large), 1, "the large buffer is free");
    assert_eq!(waiting(&outbox), "aaabbddwhole");
    assert_eq!(outbox.drop_oldest(|bytes, _| bytes > 3).frames, 3);
    assert_eq!(waiting(&outbox), "aaa");
}
