use std::collections::BTreeMap;

use super::super::directory::Directory;
use super::super::room::{EndpointId, RoomKey};
use super::super::{ConnectionId, Filter};
use super::*;

const SENDER: ConnectionId = ConnectionId {
    index: 3,
    generation: 1,
    shard: 0,
};
const LARGE: usize = SHARED_FRAME_BYTES_MAX + 1;

fn rooms<const COUNT: usize>() -> [Arc<Room>; COUNT] {
    let directory = Directory::default();
    std::array::from_fn(|number| {
        let name = format!("/{number}").into();
        let endpoint = EndpointId(0);
        directory.enter(&RoomKey { endpoint, name }, 0).0
    })
}

fn builder() -> (BatchBuilder, Arc<LiveBytes>) {
    let live = Arc::default();
    (BatchBuilder::new(Arc::clone(&live)), live)
}

fn append(builder: &mut BatchBuilder, room: &Arc<Room>, payload: &str) {
    builder.append(room, Recipients::All, Opcode::Text, payload.as_bytes(), 0);
}

/// The payloads of a run's small frames, as its index cuts them.
fn payloads(run: &Run) -> Vec<String> {
    let frames = run.first_frame..run.first_frame + run.frames;
    let ranges: Vec<_> = frames.map(|frame| run.buffer.frame_range(frame)).collect();
    assert_eq!(ranges[0].start, run.bytes.start);
    assert_eq!(ranges[ranges.len() - 1].end, run.bytes.end);
    let frame = |range: &std::ops::Range<u32>| {
        let bytes = &run.buffer.bytes()[range.start as usize..range.end as usize];
        assert_eq!(bytes[0], 0x81);
        assert_eq!(usize::from(bytes[1]), bytes.len() - 2);
        String::from_utf8_lossy(&bytes[2..]).into_owned()
    };
    ranges.iter().map(frame).collect()
}

/// The memory of a batch and its buffers, each counted once.
fn held(batch: &Batch) -> usize {
    let deflated = batch.runs.iter().flat_map(|run| &run.deflated);
    let deflated = deflated.map(|deflated| &deflated.buffer);
    let buffers = batch.runs.iter().map(|run| &run.buffer).chain(deflated);
    let costs: BTreeMap<_, _> = buffers
        .map(|buffer| (Arc::as_ptr(buffer), buffer.cost()))
        .collect();
    batch.cost() + costs.values().sum::<usize>()
}

#[test]
fn a_room_is_one_run_whatever_the_interleaving() {
    let [a, b, c] = rooms();
    let (mut builder, _) = builder();
    for (room, payload) in [
        (&a, "a1"),
        (&b, "b1"),
        (&a, "a2"),
        (&c, "c1"),
        (&b, "b2"),
        (&a, "a3"),
    ] {
        append(&mut builder, room, payload);
    }
    let batch = builder.seal();
    let runs: Vec<_> = batch
        .runs
        .iter()
        .map(|run| (run.room.epoch, payloads(run)))
        .collect();
    let texts = |list: &[&str]| {
        list.iter()
            .map(|text| (*text).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        runs,
        [
            (a.epoch, texts(&["a1", "a2", "a3"])),
            (b.epoch, texts(&["b1", "b2"])),
            (c.epoch, texts(&["c1"])),
        ]
    );
}

#[test]
fn a_batch_is_as_large_as_its_frames() {
    let [a, b] = rooms();
    for is_interleaved in [false, true] {
        for payload_bytes in [1, 200, 30_000] {
            let (mut builder, live) = builder();
            let payload = "x".repeat(payload_bytes);
            append(&mut builder, &a, &payload);
            append(&mut builder, &b, &payload);
            if is_interleaved {
                append(&mut builder, &a, &payload);
            }
            let frames = 2 + usize::from(is_interleaved);
            let bytes = frames * server_frame_bytes(payload_bytes);
            assert_eq!(builder.bytes_pending(), bytes);
            let batch = builder.seal();
            assert_eq!(batch.bytes, bytes);
            assert_eq!(batch.runs[0].buffer.bytes().len(), bytes);
            assert_eq!(live.now(), held(&batch));
            assert!(builder.is_empty() && builder.bytes_pending() == 0);
        }
    }
}

#[test]
fn live_bytes_return_to_zero() {
    let [a, b] = rooms();
    let (mut builder, live) = builder();
    for _ in 0..3 {
        for room in [&a, &b, &a] {
            append(&mut builder, room, "small");
            builder.append(room, Recipients::All, Opcode::Binary, &[7; LARGE], 0);
        }
        let batch = builder.seal();
        assert_eq!(live.now(), held(&batch));
        let first = batch.runs[0].buffer.clone();
        drop(batch);
        assert_eq!(live.now(), first.cost());
    }
    assert_eq!(live.now(), 0);
}

#[test]
fn a_large_frame_splits_its_room_and_keeps_its_place() {
    let [a, b] = rooms();
    let (mut builder, _) = builder();
    append(&mut builder, &a, "a1");
    append(&mut builder, &b, "b1");
    append(&mut builder, &a, "a2");
    builder.append(&a, Recipients::All, Opcode::Binary, &[7; LARGE], 0);
    append(&mut builder, &b, "b2");
    append(&mut builder, &a, "a4");
    let mut batch = builder.seal();
    batch.take_tickets();
    let run = |index: usize| &batch.runs[index];
    assert_eq!(batch.runs.len(), 4);
    assert_eq!(
        (run(0).first_ticket, payloads(run(0))),
        (0, vec!["a1".into(), "a2".into()])
    );
    assert_eq!((run(1).first_ticket, run(1).frames), (2, 1));
    assert_eq!(run(1).buffer.bytes().len(), server_frame_bytes(LARGE));
    assert_eq!(
        (run(2).first_ticket, payloads(run(2))),
        (3, vec!["a4".into()])
    );
    assert_eq!(
        (run(3).first_ticket, payloads(run(3))),
        (0, vec!["b1".into(), "b2".into()])
    );
    assert!(
        Arc::ptr_eq(&run(0).buffer, &run(2).buffer),
        "small frames share a buffer"
    );
    assert!(
        !Arc::ptr_eq(&run(0).buffer, &run(1).buffer),
        "a large one has its own"
    );
}

#[test]
fn recipients_stay_with_their_frames() {
    let [a, b] = rooms();
    let (mut builder, _) = builder();
    append(&mut builder, &a, "to all");
    append(&mut builder, &b, "plain");
    for payload in ["not to the sender", "nor this"] {
        let recipients = Recipients::Except(SENDER);
        builder.append(&a, recipients, Opcode::Text, payload.as_bytes(), 0);
    }
    let nobody: Filter = Arc::new(|_| false);
    for payload in ["to none", "nor this"] {
        let recipients = Recipients::If(Arc::clone(&nobody));
        builder.append(&a, recipients, Opcode::Text, payload.as_bytes(), 0);
    }
    builder.append(
        &b,
        Recipients::Except(SENDER),
        Opcode::Text,
        &[b'x'; LARGE],
        0,
    );
    let batch = builder.seal();
    let addressed = batch.runs[0].recipients.as_deref().unwrap_or_default();
    let addressed: Vec<_> = addressed
        .iter()
        .map(|each| (each.end, &each.recipients))
        .collect();
    assert!(matches!(
        addressed[..],
        [
            (1, Recipients::All),
            (3, Recipients::Except(SENDER)),
            (4, Recipients::If(_)),
            (5, Recipients::If(_)),
        ]
    ));
    assert!(
        batch.runs[1].recipients.is_none(),
        "plain frames need no list"
    );
    let large = batch.runs[2].recipients.as_deref().unwrap_or_default();
    let [large] = large else { panic!("one frame") };
    assert!(matches!(large.recipients, Recipients::Except(SENDER)));
}

#[test]
fn tickets_go_to_every_shard_of_any_room() {
    let directory = Directory::default();
    let key = |name: &str| RoomKey {
        endpoint: EndpointId(0),
        name: name.into(),
    };
    let (a, _) = directory.enter(&key("/a"), 1);
    let (b, _) = directory.enter(&key("/b"), 200);
    let (mut builder, _) = builder();
    append(&mut builder, &a, "1");
    append(&mut builder, &b, "1");
    append(&mut builder, &a, "2");
    let shards = builder.seal().take_tickets();
    assert_eq!(shards.iter().collect::<Vec<_>>(), [1, 200]);
    assert_eq!((a.tickets.take(0).0, b.tickets.take(0).0), (2, 1));
}

#[test]
fn a_run_is_as_old_as_its_oldest_frame() {
    let [a] = rooms();
    let (mut builder, _) = builder();
    for received_ns in [30, 10, 20] {
        builder.append(&a, Recipients::All, Opcode::Text, b"x", received_ns);
    }
    assert_eq!(builder.seal().runs[0].received_ns, 10);
}

#[test]
fn a_builder_is_good_for_many_turns() {
    let [a, b] = rooms();
    let (mut builder, _) = builder();
    for turn in 0..4 {
        let (first, second) = if turn % 2 == 0 { (&a, &b) } else { (&b, &a) };
        append(&mut builder, first, "1");
        append(&mut builder, second, "2");
        append(&mut builder, first, "3");
        let batch = builder.seal();
        let epochs: Vec<_> = batch.runs.iter().map(|run| run.room.epoch).collect();
        assert_eq!(epochs, [first.epoch, second.epoch]);
        assert_eq!(payloads(&batch.runs[0]), ["1", "3"]);
        builder.shrink();
    }
}

/// Appends a message and deflates it. Returns whether it became smaller.
fn append_deflated(builder: &mut BatchBuilder, room: &Arc<Room>, payload: &str) -> bool {
    append(builder, room, payload);
    builder.deflate_last(
        &mut Deflater::default(),
        1,
        Opcode::Text,
        payload.as_bytes(),
    )
}

/// The frame of this number in the deflated form of a run.
fn deflated_frame(run: &Run, number: u32) -> &[u8] {
    let buffer = &run.deflated.as_ref().expect("a variant").buffer;
    let range = buffer.frame_range(number);
    &buffer.bytes()[range.start as usize..range.end as usize]
}

#[test]
fn a_variant_stands_for_its_run_frame_by_frame() {
    let [a, b, c] = rooms();
    let (mut builder, live) = builder();
    let long = "many words, ".repeat(50);
    append(&mut builder, &a, "a1");
    append(&mut builder, &b, "b1");
    assert!(append_deflated(&mut builder, &a, &long));
    assert!(!append_deflated(&mut builder, &c, "c1"));
    append(&mut builder, &a, "a3");
    let pending = builder.bytes_pending();
    let batch = builder.seal();
    let [of_a, of_b, of_c] = &batch.runs[..] else {
        panic!("{} runs", batch.runs.len());
    };
    assert_eq!(
        of_a.deflated.as_ref().map(|each| each.window_bits),
        Some(10)
    );
    assert_eq!(deflated_frame(of_a, 0), b"\x81\x02a1");
    assert_eq!(deflated_frame(of_a, 2), b"\x81\x02a3");
    let deflated = deflated_frame(of_a, 1);
    assert!(deflated[0] == 0xC1 && deflated.len() < long.len() / 2);
    assert!(of_b.deflated.is_none() && of_c.deflated.is_none());
    // The deflated frames were pending already; the plain ones are copied by the seal.
    assert_eq!(batch.bytes, pending + 2 * 4);
    assert_eq!(live.now(), held(&batch));
    assert_eq!(
        batch.runs.iter().map(Run::held_bytes).sum::<usize>(),
        batch.bytes
    );
    drop(batch);
    assert_eq!(live.now(), 0);
}

#[test]
fn a_large_frame_has_a_variant_of_its_own() {
    let [a] = rooms();
    let (mut builder, live) = builder();
    append(&mut builder, &a, "a1");
    assert!(append_deflated(&mut builder, &a, &"x".repeat(LARGE)));
    assert!(append_deflated(&mut builder, &a, &"small ".repeat(40)));
    let batch = builder.seal();
    let variant = |run: usize| batch.runs[run].deflated.as_ref();
    assert!(variant(0).is_none());
    let large = variant(1).expect("a variant");
    assert!(large.window_bits == 15 && large.buffer.bytes().len() < LARGE / 50);
    assert_eq!(large.buffer.bytes(), deflated_frame(&batch.runs[1], 0));
    assert_eq!(variant(2).map(|small| small.window_bits), Some(8));
    assert_eq!(live.now(), held(&batch));
}
