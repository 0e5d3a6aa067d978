use std::cell::Cell;
use std::sync::Arc;

use super::super::meter::Meter;
use super::*;
use crate::limits::{CONTROLS_MAX, SMALL_SLICE_BYTES};

const ROOM: Origin = Origin::Room(1);

/// A segment with one frame for each text.
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
    Segment::new(Arc::new(buffer), 0, accepted_tick, &Rc::default())
}

/// An outbox with the texts from one room, each in its own segment if `is_split`.
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

/// Sends `bytes` bytes. Returns how many frames ended in them.
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
    // A gap, then another room, then another buffer.
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

/// The outbox after `sent` bytes and `policy`, with all frames in one slice and in a slice each.
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
    // The number of frames over the bound.
    let some = |frames: usize| {
        move |outbox: &mut Outbox| {
            let left = Cell::new(frames);
            outbox.drop_oldest(|_, _| left.replace(left.get().saturating_sub(1)) > 0)
        }
    };
    assert_eq!(after(0, some(2)), both("ccdd", 2));
    assert_eq!(after(0, some(9)), both("", 4));
    assert_eq!(after(1, some(1)), both("accdd", 1));
    assert_eq!(after(1, some(9)), both("a", 3));
    assert_eq!(after(2, some(2)), both("dd", 2));
    assert_eq!(after(3, some(1)), both("bdd", 1));
    assert_eq!(after(0, some(0)), both("aabbccdd", 0));
}

#[test]
fn drop_oldest_goes_by_the_cost_of_what_is_left() {
    let slice = size_of::<Slice>();
    for (max, left) in [
        (2 * slice + 6, "bbccdd"),
        (2 * slice + 5, "ccdd"),
        (2, "dd"),
        (1, ""),
    ] {
        let mut outbox = outbox(&["aa", "bb", "cc", "dd"], true);
        outbox.drop_oldest(|cost, _| cost > max);
        assert_eq!(waiting(&outbox), left);
        assert!(outbox.cost() <= max);
    }
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
fn many_pongs_and_a_ping_that_wait_are_replaced_by_the_next() {
    let mut outbox = outbox(&["data"], false);
    outbox.push_control(&segment(&["C"]), Origin::Control);
    for number in 0..10_000 {
        outbox.push_control(&segment(&["?"]), Origin::Ping);
        outbox.push_control(&segment(&[&format!("{number},")]), Origin::Pong);
        assert!(slices(&outbox) <= CONTROLS_MAX + 4);
    }
    let all = waiting(&outbox);
    assert!(all.starts_with("C?0,"), "few are all answered: {all}");
    assert!(
        all.ends_with("9999,data") || all.ends_with("9999,?data"),
        "{all}"
    );
    send(&mut outbox, all.len());
    assert!(outbox.is_empty());
}

#[test]
fn an_open_pong_is_finished_and_the_next_wait_behind_it() {
    let mut outbox = Outbox::default();
    outbox.push_control(&segment(&["oooooo"]), Origin::Pong);
    send(&mut outbox, 3);
    assert_eq!(outbox.open_bytes(), 3);
    for _ in 0..CONTROLS_MAX - 1 {
        outbox.push_control(&segment(&["-"]), Origin::Pong);
    }
    outbox.push_control(&segment(&["dropped"]), Origin::Pong);
    outbox.push_control(&segment(&["newest"]), Origin::Pong);
    let kept = "-".repeat(CONTROLS_MAX - 1);
    assert_eq!(waiting(&outbox), format!("ooo{kept}newest"));
}

#[test]
fn queued_frames_cost_more_than_their_bytes() {
    let mut outbox = Outbox::default();
    let shared = segment(&["shared"]);
    push(&mut outbox, &shared, ROOM);
    assert_eq!(outbox.cost(), 6);
    let others = vec![Rc::clone(&shared); 3];
    assert_eq!(outbox.share(|_| 1), 6 / 5, "five wait for it");
    assert_eq!(outbox.share(|_| 6), 0, "on six shards each");
    drop((others, shared));
    assert_eq!(outbox.share(|_| 1), 6);
    assert_eq!(outbox.share(|_| 2), 3);
    push(&mut outbox, &segment(&["b"]), ROOM);
    assert_eq!(outbox.cost(), 7 + size_of::<Slice>());
    assert_eq!(outbox.share(|_| 1), outbox.cost());
}

#[test]
fn the_meter_counts_queues_by_their_capacity() {
    let meter: Rc<Meter> = Rc::default();
    let small = || {
        let buffer = Buffer::new(vec![b'x'], Box::default(), &Arc::default());
        Segment::new(Arc::new(buffer), 0, 0, &meter)
    };
    let mut outbox = Outbox::default();
    push(&mut outbox, &small(), ROOM);
    assert_eq!(meter.bytes(), Segment::BYTES);
    for _ in 0..999 {
        push(&mut outbox, &small(), ROOM);
    }
    let segments = 1_000 * Segment::BYTES;
    assert!(meter.bytes() >= segments + size_of::<Rest>() + 999 * size_of::<Slice>());
    outbox.coalesce(1, false, join);
    assert_eq!(slices(&outbox), 2);
    assert!(meter.bytes() < 2 * Segment::BYTES + size_of::<Rest>() + 128 * size_of::<Slice>());
    send(&mut outbox, 1_000);
    assert_eq!(meter.bytes(), 0);
}

#[test]
fn small_slices_of_one_tick_are_merged_and_looked_at_once() {
    let mut outbox = Outbox::default();
    for (texts, room, tick) in [
        (&["open"][..], 1, 0),
        (&["a", "b"], 1, 0),
        (&["c"], 1, 0),
        (&["d"], 2, 0),
        (&["e"], 2, 1),
        (&["f", "g"], 2, 1),
        (&["h"], 2, 2),
        (&["i"], 2, 2),
    ] {
        push(&mut outbox, &aged(texts, tick), Origin::Room(room));
    }
    send(&mut outbox, 2);
    let mut parts = Vec::new();
    let mut looked_at = outbox.coalesce(2, false, |group| {
        parts.push(group.len());
        join(group)
    });
    // Neither the first slice, nor those of this tick, nor those of another room or tick.
    assert_eq!((looked_at, &*parts), (5, &[2, 2][..]));
    assert_eq!(waiting(&outbox), "enabcdefghi");
    assert_eq!(slices(&outbox), 6);
    looked_at = outbox.coalesce(3, true, join);
    assert_eq!((looked_at, slices(&outbox)), (2, 5));
    assert_eq!(waiting(&outbox), "enabcdefghi");
    // Ages and the number of frames have not changed.
    assert_eq!(outbox.drop_oldest(|_, tick| tick < 1).frames, 4);
    assert_eq!(waiting(&outbox), "enefghi");
    assert_eq!(outbox.drop_oldest(|_, tick| tick < 2).frames, 3);
    assert_eq!(waiting(&outbox), "enhi");
}

#[test]
fn slices_of_several_rooms_that_were_merged_belong_to_none() {
    let mut outbox = outbox(&["first", "a"], true);
    push(&mut outbox, &segment(&["b"]), Origin::Room(2));
    outbox.coalesce(1, true, join);
    assert_eq!(slices(&outbox), 2);
    push(&mut outbox, &segment(&["c"]), ROOM);
    assert_eq!(outbox.keep_latest().frames, 1);
    assert_eq!(waiting(&outbox), "abc");
}

#[test]
fn large_slices_are_not_merged_and_merged_ones_stay_small() {
    let small = "s".repeat(SMALL_SLICE_BYTES - 1);
    let large = "l".repeat(SMALL_SLICE_BYTES);
    let count = COALESCED_BYTES_MAX / small.len() + 10;
    let mut texts = vec!["first", &large, &large];
    texts.extend(std::iter::repeat_n(&*small, count));
    let mut outbox = outbox(&texts, true);
    outbox.coalesce(1, false, |parts| {
        let joined = join(parts)?;
        assert!(joined.buffer.bytes().len() <= COALESCED_BYTES_MAX);
        Some(joined)
    });
    assert_eq!(outbox.slices(), 5);
}

#[test]
fn stale_frames_are_looked_for_only_where_there_may_be_enough() {
    let mut outbox = outbox(&["open", "a"], true);
    for room in 2..100 {
        push(&mut outbox, &segment(&["b"]), Origin::Room(room));
    }
    assert!(outbox.may_have_stale());
    assert_eq!(outbox.keep_latest().frames, 1);
    assert!(!outbox.may_have_stale(), "nothing came since");
    for _ in 0..99_usize.div_ceil(16) {
        assert!(!outbox.may_have_stale());
        push(&mut outbox, &segment(&["c"]), ROOM);
    }
    assert!(outbox.may_have_stale());
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
        Some(segment.with_copy(segment.buffer.copy_out(start, end)))
    });
    assert_eq!(copied, [(1, 6), (10, 12)]);
    assert_eq!(Rc::strong_count(&large), 1, "the large buffer is free");
    assert_eq!(waiting(&outbox), "aaabbddwhole");
    assert_eq!(outbox.drop_oldest(|bytes, _| bytes > 3).frames, 3);
    assert_eq!(waiting(&outbox), "aaa");
}
