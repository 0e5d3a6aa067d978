//! The cost of the fan-out in memory, without sockets: frames into batches, batches into outboxes.
//!
//! `cargo bench --bench fanout`. Target: under 50 ns per delivery to one member, and at most 2 ms
//! of work between a publish to a small room and its delivery, no matter which other rooms are
//! served.

use std::collections::VecDeque;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corecast::fanout::batch::{Batch, BatchBuilder};
use corecast::fanout::directory::Directory;
use corecast::fanout::local_room::{LocalRoom, LocalRun};
use corecast::fanout::outbox::{Origin, Outbox};
use corecast::fanout::pass::{self, deliver_pass};
use corecast::fanout::room::{EndpointId, Room, RoomKey};
use corecast::fanout::{ConnectionId, Recipients};
use corecast::limits::MEMBERS_PER_PASS;
use corecast::wire::frame::{Opcode, server_frame_bytes};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const PAYLOAD: [u8; 128] = [b'a'; 128];
const LARGE_ROOM: u32 = 100_000;
/// Places of the two rooms that are served side by side.
const SMALL: usize = 0;
const LARGE: usize = 1;
/// The cost of a send on loopback, which follows each delivery in the engine.
const SEND: Duration = Duration::from_micros(3);
const WORK_MAX: Duration = Duration::from_millis(2);

const SENDER: ConnectionId = ConnectionId {
    index: 0,
    generation: 0,
    shard: 0,
};

fn room(directory: &Directory, name: &str) -> Arc<Room> {
    let endpoint = EndpointId(0);
    let key = RoomKey {
        endpoint,
        name: name.into(),
    };
    directory.enter(&key, 0).0
}

/// A shard's part of a room, with an outbox for each member.
struct Served {
    local: LocalRoom<()>,
    outboxes: Vec<Outbox>,
    builder: BatchBuilder,
}

impl Served {
    fn new(name: &str, members: u32) -> Served {
        let mut local = LocalRoom::new(room(&Directory::default(), name), 0, &Rc::default());
        for connection in 0..members {
            local.join(connection);
        }
        Served {
            local,
            outboxes: (0..members).map(|_| Outbox::default()).collect(),
            builder: BatchBuilder::new(Arc::default()),
        }
    }

    fn publish(&mut self, frames: usize, recipients: &Recipients) {
        for _ in 0..frames {
            let room = &self.local.room;
            self.builder
                .append(room, recipients.clone(), Opcode::Text, &PAYLOAD, 0);
        }
        let mut batch = self.builder.seal();
        batch.take_tickets();
        for run in &batch.runs {
            self.local.accept(run, 0, || ());
        }
    }

    /// One pass: up to `visits_max` members get their missing messages, as in the engine, and their
    /// outboxes are sent whole. Returns the number of visits.
    fn pass(&mut self, visits_max: usize) -> usize {
        let Served {
            local, outboxes, ..
        } = self;
        local.deliver(visits_max, |connection, runs| {
            let outbox = &mut outboxes[connection as usize];
            for run in runs {
                push(outbox, run, connection);
            }
            let bytes = black_box(outbox.only_slice()).map_or(0, <[u8]>::len);
            outbox.advance(bytes, |sent| {
                black_box(sent);
            });
            true
        })
    }

    fn deliver_all(&mut self) {
        while self.local.is_pending() {
            self.pass(MEMBERS_PER_PASS);
        }
    }
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

fn bench_encode(c: &mut Criterion) {
    let directory = Directory::default();
    let rooms = [room(&directory, "/a"), room(&directory, "/b")];
    let mut builder = BatchBuilder::new(Arc::default());
    let mut encode = |rooms: &[Arc<Room>], frames: usize| -> Batch {
        for room in rooms.iter().cycle().take(frames) {
            builder.append(room, Recipients::All, Opcode::Text, black_box(&PAYLOAD), 0);
        }
        builder.seal()
    };
    assert_eq!(
        encode(&rooms, 64).bytes,
        64 * server_frame_bytes(PAYLOAD.len())
    );
    let mut group = c.benchmark_group("encode and seal");
    for (name, rooms, frames) in [
        ("1 frame of 128 B", &rooms[..1], 1),
        ("64 frames of 128 B", &rooms[..1], 64),
        ("64 frames of 128 B for two rooms in turn", &rooms[..], 64),
    ] {
        group.throughput(Throughput::Elements(frames as u64));
        group.bench_function(name, |b| b.iter(|| black_box(encode(rooms, frames))));
    }
    group.finish();
}

fn bench_deliver(c: &mut Criterion) {
    let mut group = c.benchmark_group("deliver");
    for members in [50, 1_000, LARGE_ROOM] {
        group.throughput(Throughput::Elements(members.into()));
        let mut served = Served::new("/", members);
        group.bench_function(format!("1 frame to {members} members"), |b| {
            b.iter(|| {
                served.publish(1, &Recipients::All);
                served.deliver_all();
            });
        });
    }
    for (name, recipients) in [
        ("64 frames to 1000 members, a visit each", Recipients::All),
        (
            "64 frames to 1000 members but the sender",
            Recipients::Except(SENDER),
        ),
    ] {
        group.throughput(Throughput::Elements(1_000));
        let mut served = Served::new("/", 1_000);
        group.bench_function(name, |b| {
            b.iter(|| {
                served.publish(64, &recipients);
                served.deliver_all();
            });
        });
    }
    group.finish();
}

/// A message to a small room while a large one is served: the work of the engine's pass before the
/// small room has its frame. Returns the visits of both.
fn small_beside_large(rooms: &mut [Served; 2], pending: &mut VecDeque<u32>) -> usize {
    rooms[SMALL].publish(1, &Recipients::All);
    pending.push_back(SMALL as u32);
    let mut visits = 0;
    deliver_pass(pending, |room| {
        let room = &mut rooms[room as usize];
        visits += room.pass(MEMBERS_PER_PASS);
        pass::Served {
            is_pending: room.local.is_pending(),
            is_spent: visits >= 2 * MEMBERS_PER_PASS,
        }
    });
    assert!(!rooms[SMALL].local.is_pending());
    visits
}

fn bench_fairness(c: &mut Criterion) {
    let mut rooms = [Served::new("/small", 2), Served::new("/large", LARGE_ROOM)];
    let mut pending = VecDeque::new();
    let mut visits = 0;
    let mut work = Duration::ZERO;
    c.bench_function("a room of 2 beside one of 100000", |b| {
        b.iter_custom(|iterations| {
            let mut elapsed = Duration::ZERO;
            for _ in 0..iterations {
                if !rooms[LARGE].local.is_pending() {
                    rooms[LARGE].publish(1, &Recipients::All);
                    pending.push_back(LARGE as u32);
                }
                let began = Instant::now();
                visits = small_beside_large(&mut rooms, &mut pending);
                elapsed += began.elapsed();
            }
            work = elapsed / iterations as u32;
            elapsed
        });
    });
    let with_sends = work + SEND * visits as u32;
    println!(
        "  until the small room's frame is flushed: {visits} visits, {work:?} of work in memory, \
         {with_sends:?} with a send of {SEND:?} for each (wanted: {WORK_MAX:?})"
    );
}

criterion_group!(benches, bench_encode, bench_deliver, bench_fairness);
criterion_main!(benches);
