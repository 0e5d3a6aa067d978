//! The counted work: the codec and the fan-out in memory. No sockets, clock or randomness, and one
//! thread, so that the same program executes the same instructions each time.

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;

use corecast::fanout::batch::BatchBuilder;
use corecast::fanout::directory::Directory;
use corecast::fanout::local_room::{LocalRoom, LocalRun};
use corecast::fanout::outbox::{Origin, Outbox};
use corecast::fanout::room::{EndpointId, Room, RoomKey};
use corecast::fanout::{ConnectionId, Recipients};
use corecast::limits::MEMBERS_PER_PASS;
use corecast::wire::decoder::{Decoder, DecoderLimits, Input, Item};
use corecast::wire::frame::{Opcode, append_frame};
use corecast::wire::handshake;
use corecast::wire::http::{Head, HeadLimits, HeaderSpace};

/// Repetitions while counting: the first one costs the same as the others.
pub(crate) const REPEATS: u64 = 100;
const WARMUP: u64 = 3;
const FRAMES: usize = 64;
const MEMBERS: u32 = 50;

const LIMITS: DecoderLimits = DecoderLimits {
    message_bytes: 1 << 20,
    frame_bytes: 1 << 20,
    allows_compressed: false,
};

const HEAD: &[u8] = b"GET /rooms/lobby HTTP/1.1\r\nHost: relay.example.com\r\n\
    Connection: Upgrade\r\nUpgrade: websocket\r\nOrigin: https://app.example.com\r\n\
    Sec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

/// Each name with its work.
pub(crate) const ALL: [(&str, fn()); 10] = [
    ("encode 64 frames of 128 B", encode_small),
    ("encode a frame of 16 KiB", encode_large),
    ("decode 64 binary frames of 128 B", decode_binary),
    ("decode 64 ASCII frames of 128 B", decode_ascii),
    ("decode 64 Greek frames of 512 B", decode_greek),
    ("decode a text frame of 16 KiB", decode_large),
    ("upgrade", upgrade),
    ("deliver a frame to 50 members", deliver_one),
    ("deliver 64 frames to 50 members", deliver_many),
    ("deliver 64 frames to all but the sender", deliver_except),
];

/// The one function that is counted, found by its name.
#[inline(never)]
fn measured_part(work: &mut dyn FnMut()) {
    for _ in 0..REPEATS {
        work();
    }
}

fn measure(mut work: impl FnMut()) {
    for _ in 0..WARMUP {
        work();
    }
    measured_part(&mut work);
}

fn encode_small() {
    let room = room();
    let mut builder = BatchBuilder::new(Arc::default());
    let payload = [b'a'; 128];
    measure(|| {
        for _ in 0..FRAMES {
            let payload = black_box(&payload);
            builder.append(&room, Recipients::All, Opcode::Text, payload, 0);
        }
        black_box(builder.seal());
    });
}

fn encode_large() {
    let payload = vec![b'a'; 16 << 10];
    let mut out = Vec::with_capacity(payload.len() + 16);
    measure(|| {
        out.clear();
        append_frame(&mut out, Opcode::Text, black_box(&payload));
        black_box(&out);
    });
}

fn decode_binary() {
    decode(Opcode::Binary, FRAMES, &[b'a'; 128]);
}

fn decode_ascii() {
    decode(Opcode::Text, FRAMES, &[b'a'; 128]);
}

fn decode_greek() {
    decode(Opcode::Text, FRAMES, "λόγος ".repeat(46).as_bytes());
}

fn decode_large() {
    decode(Opcode::Text, 1, &vec![b'a'; 16 << 10]);
}

/// Unmasked in place, so each repetition needs its own bytes.
fn decode(opcode: Opcode, count: usize, payload: &[u8]) {
    let frames = client_frames(opcode, count, payload);
    let mut copies = vec![frames; (REPEATS + WARMUP) as usize].into_iter();
    measure(|| {
        let mut bytes = copies.next().unwrap_or_default();
        let mut input = Input::new(&mut bytes);
        let mut decoder = Decoder::new();
        let mut messages = 0;
        while let Ok(Some(item)) = decoder.next(&mut input, &LIMITS) {
            if let Item::Message(message) = item {
                black_box(message.payload);
                messages += 1;
            }
        }
        assert_eq!(messages, count);
    });
}

/// Masked frames with 16 bits of length (RFC 6455 §5.2).
fn client_frames(opcode: Opcode, count: usize, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xFA, 0x21, 0x3D];
    let mut bytes = Vec::new();
    for _ in 0..count {
        bytes.extend_from_slice(&[0x80 | opcode as u8, 0x80 | 126]);
        bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&key);
        bytes.extend(
            payload
                .iter()
                .enumerate()
                .map(|(i, byte)| byte ^ key[i % 4]),
        );
    }
    bytes
}

fn upgrade() {
    let limits = HeadLimits {
        head_bytes: 8192,
        target_bytes: 2048,
    };
    let mut out = Vec::with_capacity(512);
    measure(|| {
        let mut space = HeaderSpace::new();
        let head = Head::parse(black_box(HEAD), &mut space, &limits);
        let Ok(Some((head, _))) = head else {
            panic!("the head is whole")
        };
        let Ok(upgrade) = handshake::check(&head) else {
            panic!("the upgrade is good")
        };
        out.clear();
        handshake::append_accept(&mut out, &upgrade, None, &[]);
        black_box(&out);
    });
}

fn deliver_one() {
    deliver(1, &Recipients::All);
}

fn deliver_many() {
    deliver(FRAMES, &Recipients::All);
}

fn deliver_except() {
    let sender = ConnectionId {
        index: 7,
        generation: 0,
        shard: 0,
    };
    deliver(FRAMES, &Recipients::Except(sender));
}

/// From the message to the bytes for a member's send.
fn deliver(frames: usize, recipients: &Recipients) {
    let mut local: LocalRoom<()> = LocalRoom::new(room(), 0, &Rc::default());
    (0..MEMBERS).for_each(|connection| {
        local.join(connection);
    });
    let mut outboxes: Vec<Outbox> = (0..MEMBERS).map(|_| Outbox::default()).collect();
    let mut builder = BatchBuilder::new(Arc::default());
    let payload = [b'a'; 128];
    measure(|| {
        for _ in 0..frames {
            builder.append(&local.room, recipients.clone(), Opcode::Text, &payload, 0);
        }
        let mut batch = builder.seal();
        batch.take_tickets();
        for run in &batch.runs {
            local.accept(run, 0, || ());
        }
        while local.is_pending() {
            local.deliver(MEMBERS_PER_PASS, |connection, runs| {
                let outbox = &mut outboxes[connection as usize];
                runs.for_each(|run| push(outbox, run, connection));
                while let Some(bytes) = outbox.only_slice().map(<[u8]>::len) {
                    outbox.advance(bytes, |sent| {
                        black_box(sent);
                    });
                }
                outbox.clear(false);
                true
            });
        }
    });
}

fn push(outbox: &mut Outbox, run: &LocalRun, connection: u32) {
    let encoding = run.encoding_for(0);
    if run.recipients.is_none() {
        let range = encoding.bytes.clone();
        return outbox.push(&encoding.segment, range, run.frames, Origin::Room(0));
    }
    let is_for = |each: &Recipients| match each {
        Recipients::Except(sender) => sender.index != connection,
        Recipients::All | Recipients::If(_) => true,
    };
    let mut from = 0;
    while let Some(frames) = run.next_stretch(from, is_for) {
        from = frames.end + 1;
        let count = frames.end - frames.start;
        let bytes = encoding.bytes_of(&frames);
        outbox.push(&encoding.segment, bytes, count, Origin::Room(0));
    }
}

fn room() -> Arc<Room> {
    let key = RoomKey {
        endpoint: EndpointId(0),
        name: "/".into(),
    };
    Directory::default().enter(&key, 0).0
}
