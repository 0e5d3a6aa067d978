//! Shards without sockets and threads: their steps, interleaved by a seeded scheduler.
//!
//! Directory, tickets, batches, local rooms, mailboxes and flags are the real ones; the steps are
//! those of a turn in `shard.rs`, each with the chance that other shards go on in between. The
//! mailboxes are tiny, so that senders block all the time. A shard that sleeps is run again only
//! when it is woken: there is no tick that would hide a lost wake.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use proptest::prelude::*;

use super::mailbox::{Credit, Mail, Mailbox};
use super::sleep::SleepFlag;
use crate::fanout::Recipients;
use crate::fanout::batch::{Batch, BatchBuilder, Run};
use crate::fanout::directory::Directory;
use crate::fanout::local_room::{LocalRoom, LocalRun};
use crate::fanout::room::{EndpointId, Room, RoomKey};
use crate::fanout::segment::{Buffer, LiveBytes};
use crate::fanout::tickets::ShardSet;
use crate::wire::frame::Opcode;

const ROOMS: u64 = 3;
/// Header and payload, the frame's number.
const FRAME_BYTES: usize = 2 + 8;

/// SplitMix64: all the randomness there is.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }
}

/// A member, and what it has got: the numbers of frames.
struct Member {
    epoch: u64,
    got: Vec<u64>,
    /// The room's next ticket when it joined: what comes from here on it must get.
    joined_at: u64,
    is_gone: bool,
}

/// What a shard does next.
enum Step {
    TakeMail,
    Publish,
    Ticket {
        batch: Batch,
        next: usize,
        shards: ShardSet,
    },
    Push {
        batch: Arc<Batch>,
        shards: Vec<u16>,
        to: VecDeque<u16>,
    },
    Accept {
        batch: Arc<Batch>,
        shards: Vec<u16>,
    },
    Deliver,
    Announce,
    Sleep,
    Asleep,
}

struct Shard {
    id: u16,
    step: Step,
    builder: BatchBuilder,
    rooms: BTreeMap<u64, LocalRoom<Rc<Credit>>>,
    /// The members of each room, by their places.
    seats: BTreeMap<u64, Vec<u32>>,
    unsent: Vec<VecDeque<Mail>>,
    members: Vec<Member>,
    to_publish: u64,
    has_freed_mail: bool,
    blocked_times: u64,
}

/// What shards share, and what the test knows of them.
struct World {
    random: Random,
    directory: Directory,
    mailboxes: Vec<Arc<Mailbox>>,
    mails_max: usize,
    sleeping: Vec<SleepFlag>,
    is_woken: Vec<bool>,
    live: Arc<LiveBytes>,
    shards: u16,
    next_frame: u64,
    /// The frames of each room in the order of their tickets.
    order: BTreeMap<u64, Vec<u64>>,
}

impl World {
    fn mailbox(&self, from: u16, to: u16) -> &Arc<Mailbox> {
        &self.mailboxes[usize::from(from * self.shards + to)]
    }

    fn wake(&mut self, shard: u16) {
        if self.sleeping[usize::from(shard)].must_wake() {
            self.is_woken[usize::from(shard)] = true;
        }
    }

    fn any_room(&mut self) -> RoomKey {
        RoomKey {
            endpoint: EndpointId(0),
            name: self.random.below(ROOMS).to_string().into(),
        }
    }

    /// Writes down the order that the tickets give.
    fn note_order(&mut self, run: &Run) {
        let order = self.order.entry(run.room.epoch).or_default();
        assert_eq!(run.first_ticket, order.len() as u64);
        order.extend(numbers(&run.buffer, &run.bytes));
    }
}

/// The numbers of the frames in a part of a buffer.
fn numbers(buffer: &Buffer, bytes: &std::ops::Range<u32>) -> Vec<u64> {
    let bytes = &buffer.bytes()[bytes.start as usize..bytes.end as usize];
    let number = |frame: &[u8]| {
        frame[2..]
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    bytes.chunks(FRAME_BYTES).map(number).collect()
}

impl Shard {
    fn new(world: &World, id: u16, to_publish: u64) -> Shard {
        Shard {
            id,
            step: Step::TakeMail,
            builder: BatchBuilder::new(Arc::clone(&world.live)),
            rooms: BTreeMap::new(),
            seats: BTreeMap::new(),
            unsent: (0..world.shards).map(|_| VecDeque::new()).collect(),
            members: Vec::new(),
            to_publish,
            has_freed_mail: false,
            blocked_times: 0,
        }
    }

    fn is_blocked(&self) -> bool {
        self.unsent.iter().any(|unsent| !unsent.is_empty())
    }

    fn may_read(&self, world: &World) -> bool {
        !self.is_blocked() && !world.mailbox(self.id, self.id).is_full()
    }

    /// One step of a turn.
    fn go_on(&mut self, world: &mut World) {
        self.step = match std::mem::replace(&mut self.step, Step::Asleep) {
            Step::TakeMail => {
                self.push_unsent(world);
                self.take_mail(world);
                Step::Publish
            }
            Step::Publish => self.read(world),
            Step::Ticket {
                mut batch,
                next,
                mut shards,
            } => match batch.runs.get_mut(next) {
                Some(run) => {
                    shards.add(run.take_tickets());
                    world.note_order(run);
                    Step::Ticket {
                        batch,
                        next: next + 1,
                        shards,
                    }
                }
                None => {
                    shards.remove(self.id);
                    let shards: Vec<u16> = shards.iter().collect();
                    let to = shards.iter().copied().collect();
                    Step::Push {
                        batch: Arc::new(batch),
                        shards,
                        to,
                    }
                }
            },
            Step::Push {
                batch,
                shards,
                mut to,
            } => match to.pop_front() {
                Some(shard) => {
                    self.push_mail(world, shard, Mail::Batch(Arc::clone(&batch)));
                    Step::Push { batch, shards, to }
                }
                None => Step::Accept { batch, shards },
            },
            Step::Accept { batch, shards } => {
                shards.iter().for_each(|shard| world.wake(*shard));
                self.accept_own(world, &batch);
                Step::Deliver
            }
            Step::Deliver => self.end_turn(world),
            Step::Announce => {
                world.sleeping[usize::from(self.id)].announce();
                Step::Sleep
            }
            Step::Sleep if self.has_mail(world) => {
                world.sleeping[usize::from(self.id)].withdraw();
                Step::TakeMail
            }
            Step::Sleep | Step::Asleep => self.wait(world),
        };
    }

    fn end_turn(&mut self, world: &mut World) -> Step {
        self.deliver(world);
        if std::mem::take(&mut self.has_freed_mail) {
            self.wake_blocked_senders(world);
        }
        if self.has_work(world) {
            Step::TakeMail
        } else {
            Step::Announce
        }
    }

    fn wait(&self, world: &mut World) -> Step {
        if !std::mem::take(&mut world.is_woken[usize::from(self.id)]) {
            return Step::Asleep;
        }
        world.sleeping[usize::from(self.id)].withdraw();
        Step::TakeMail
    }

    fn is_asleep(&self, world: &World) -> bool {
        matches!(self.step, Step::Asleep) && !world.is_woken[usize::from(self.id)]
    }

    fn has_work(&self, world: &World) -> bool {
        self.rooms.values().any(LocalRoom::is_pending)
            || (self.to_publish > 0 && self.may_read(world))
    }

    fn has_mail(&self, world: &World) -> bool {
        let may_push_again = |to: u16| {
            let is_answered = !world.mailbox(self.id, to).blocked.is_announced();
            !self.unsent[usize::from(to)].is_empty() && is_answered
        };
        (0..world.shards).any(|other| {
            let has_mail = other != self.id && !world.mailbox(other, self.id).is_empty();
            has_mail || may_push_again(other)
        })
    }

    fn take_mail(&mut self, world: &mut World) {
        let own = self.id;
        let mut taken = 0;
        for from in (0..world.shards).filter(|from| *from != own) {
            let mailbox = Arc::clone(world.mailbox(from, self.id));
            let most = 1 + world.random.below(3);
            for _ in 0..most {
                let Some(mail) = mailbox.pop() else { break };
                taken += 1;
                let credit = Rc::new(Credit::new(&mailbox, &mail));
                if let Mail::Batch(batch) = &mail {
                    batch
                        .runs
                        .iter()
                        .for_each(|run| self.accept_run(run, || Rc::clone(&credit)));
                }
            }
            assert!(
                mailbox.depth() <= world.mails_max,
                "held mail fills its mailbox"
            );
        }
        if taken > 0 {
            self.wake_blocked_senders(world);
        }
    }

    fn wake_blocked_senders(&self, world: &mut World) {
        for from in (0..world.shards).filter(|from| *from != self.id) {
            if world.mailbox(from, self.id).blocked.must_wake() {
                world.wake(from);
            }
        }
    }

    fn accept_run(&mut self, run: &Run, hold: impl FnOnce() -> Rc<Credit>) {
        if let Some(local) = self.rooms.get_mut(&run.room.epoch) {
            local.accept(run, 0, hold);
        }
    }

    fn accept_own(&mut self, world: &World, batch: &Arc<Batch>) {
        let own = world.mailbox(self.id, self.id);
        let mail = Mail::Batch(Arc::clone(batch));
        let mut credit = None;
        for run in &batch.runs {
            let reserve = || Rc::new(Credit::reserve(own, &mail));
            self.accept_run(run, || Rc::clone(credit.get_or_insert_with(reserve)));
        }
        assert!(
            own.depth() <= world.mails_max,
            "held own frames stop the reading"
        );
    }

    /// Members come and go, and publish.
    fn read(&mut self, world: &mut World) -> Step {
        if world.random.one_in(4) {
            self.leave(world);
        }
        if self.may_read(world) && world.random.one_in(3) {
            self.join(world);
        }
        if self.may_read(world) {
            for _ in 0..world.random.below(6).min(self.to_publish) {
                self.to_publish -= 1;
                self.publish(world);
            }
        }
        if self.builder.is_empty() {
            return Step::Deliver;
        }
        let batch = self.builder.seal();
        Step::Ticket {
            batch,
            next: 0,
            shards: ShardSet::default(),
        }
    }

    fn publish(&mut self, world: &mut World) {
        let key = world.any_room();
        let local = self.rooms.values().find(|local| local.room.key == key);
        let local = local.map(|local| Arc::clone(&local.room));
        let Some(room) = local.or_else(|| world.directory.find(&key)) else {
            return;
        };
        let payload = world.next_frame.to_be_bytes();
        world.next_frame += 1;
        self.builder
            .append(&room, Recipients::All, Opcode::Binary, &payload, 0);
    }

    fn join(&mut self, world: &mut World) {
        let key = world.any_room();
        let known = self.rooms.values().find(|local| local.room.key == key);
        let room: Arc<Room> = match known {
            Some(local) => Arc::clone(&local.room),
            None => {
                let (room, first) = world.directory.enter(&key, self.id);
                self.rooms.insert(
                    room.epoch,
                    LocalRoom::new(Arc::clone(&room), first, &Rc::default()),
                );
                room
            }
        };
        let number = self.members.len() as u32;
        self.members.push(Member {
            epoch: room.epoch,
            got: Vec::new(),
            joined_at: room.tickets.take(0).0,
            is_gone: false,
        });
        if let Some(local) = self.rooms.get_mut(&room.epoch) {
            assert_eq!(
                local.join(number) as usize,
                self.seats.entry(room.epoch).or_default().len()
            );
        }
        self.seats.entry(room.epoch).or_default().push(number);
    }

    fn leave(&mut self, world: &mut World) {
        let present: Vec<usize> = (0..self.members.len())
            .filter(|number| !self.members[*number].is_gone)
            .collect();
        let Some(bound) = std::num::NonZero::new(present.len() as u64) else {
            return;
        };
        let number = present[world.random.below(bound.get()) as usize];
        let member = &mut self.members[number];
        member.is_gone = true;
        let epoch = member.epoch;
        let (Some(local), Some(seats)) = (self.rooms.get_mut(&epoch), self.seats.get_mut(&epoch))
        else {
            return;
        };
        let place = seats.iter().position(|seat| *seat == number as u32);
        let moved = local.leave(place.unwrap_or(usize::MAX) as u32);
        for moved in moved.into_iter().flatten() {
            seats[moved.place as usize] = moved.connection;
        }
        seats.pop();
        if seats.is_empty() {
            self.has_freed_mail |= local.held_runs() > 0;
            let room = Arc::clone(&local.room);
            self.rooms.remove(&epoch);
            world.directory.leave(&room, self.id);
        }
    }

    fn deliver(&mut self, world: &mut World) {
        let Shard { rooms, members, .. } = self;
        for local in rooms.values_mut() {
            let visits_max = world.random.below(4) as usize;
            local.deliver(visits_max, |connection, runs| {
                // Its outbox is full, say.
                if world.random.one_in(8) {
                    return false;
                }
                let frames = |run: &LocalRun| numbers(&run.plain.segment.buffer, &run.plain.bytes);
                members[connection as usize]
                    .got
                    .extend(runs.flat_map(frames));
                true
            });
        }
    }

    fn push_mail(&mut self, world: &World, to: u16, mail: Mail) {
        let unsent = &mut self.unsent[usize::from(to)];
        unsent.push_back(mail);
        if unsent.len() == 1 {
            self.push_unsent_to(world, to);
            self.blocked_times += u64::from(!self.unsent[usize::from(to)].is_empty());
        }
    }

    fn push_unsent(&mut self, world: &mut World) {
        for to in 0..world.shards {
            if !self.unsent[usize::from(to)].is_empty() && self.push_unsent_to(world, to) {
                world.wake(to);
            }
        }
    }

    fn push_unsent_to(&mut self, world: &World, to: u16) -> bool {
        let mailbox = world.mailbox(self.id, to);
        mailbox.push_all(&mut self.unsent[usize::from(to)])
    }

    /// Whether all members have got one contiguous piece of their room's order, as long as it
    /// should be.
    fn check(&self, world: &World) {
        for member in &self.members {
            let order = world
                .order
                .get(&member.epoch)
                .map_or(&[][..], Vec::as_slice);
            let start = match member.got.first() {
                Some(first) => order.iter().position(|number| number == first),
                None => Some(order.len()),
            };
            let start = start.expect("a frame of another room");
            let end = start + member.got.len();
            assert_eq!(
                order.get(start..end),
                Some(&member.got[..]),
                "one order for everybody"
            );
            if !member.is_gone {
                assert!(
                    start as u64 <= member.joined_at,
                    "a frame after the join was missed"
                );
                assert_eq!(end, order.len(), "a frame before the end was missed");
            }
        }
    }
}

/// Runs until everybody sleeps. Returns how often a sender was blocked.
fn simulate(seed: u64, shards: u16, mails_max: usize, bytes_max: usize) -> u64 {
    let mut world = World {
        random: Random(seed),
        directory: Directory::default(),
        mailboxes: (0..shards * shards)
            .map(|_| Arc::new(Mailbox::bounded(mails_max, bytes_max)))
            .collect(),
        mails_max,
        sleeping: (0..shards).map(|_| SleepFlag::default()).collect(),
        is_woken: (0..shards).map(|_| false).collect(),
        live: Arc::default(),
        shards,
        next_frame: 0,
        order: BTreeMap::new(),
    };
    let mut all: Vec<Shard> = (0..shards).map(|id| Shard::new(&world, id, 150)).collect();
    loop {
        let awake: Vec<usize> = (0..all.len())
            .filter(|id| !all[*id].is_asleep(&world))
            .collect();
        if awake.is_empty() {
            break;
        }
        // A shard often gets no further for a while.
        let chosen = awake[world.random.below(awake.len() as u64) as usize];
        for _ in 0..1 + world.random.below(12) {
            all[chosen].go_on(&mut world);
        }
    }
    for shard in &all {
        assert!(
            !shard.is_blocked(),
            "shard {} sleeps on mail that it has not sent",
            shard.id
        );
        assert_eq!(
            shard.to_publish, 0,
            "shard {} sleeps on what it has to publish",
            shard.id
        );
        let held: usize = shard.rooms.values().map(LocalRoom::held_runs).sum();
        assert_eq!(
            held, 0,
            "shard {} waits for a ticket that does not come",
            shard.id
        );
        shard.check(&world);
    }
    assert!(world.mailboxes.iter().all(|mailbox| mailbox.depth() == 0));
    assert_eq!(world.live.now(), 0, "frames that everybody has are held");
    all.iter().map(|shard| shard.blocked_times).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_schedule_ends_with_one_order_for_everybody(
        seed in any::<u64>(),
        shards in 2..6_u16,
        mails_max in 1..4_usize,
        frames_max in 1..12_usize,
    ) {
        simulate(seed, shards, mails_max, frames_max * FRAME_BYTES);
    }
}

#[test]
fn senders_block_in_the_simulation() {
    let blocked: u64 = (0..20)
        .map(|seed| simulate(seed, 4, 1, 4 * FRAME_BYTES))
        .sum();
    assert!(
        blocked > 100,
        "only {blocked} times: the bounds were not put to the test"
    );
}
