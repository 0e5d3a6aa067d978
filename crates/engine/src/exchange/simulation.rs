//! Exchanges without sockets and threads: a seeded scheduler interleaves their steps.
//!
//! Each shard here is an [`Exchange`] that is driven as `engine/shard/mod.rs` drives it, with
//! members that only record what they get. Other shards may run between any two steps of a turn or
//! of a sealing. The mailboxes are tiny, so that senders block all the time. A shard that sleeps
//! runs again only when it is woken: no tick hides a lost wake. Ports take part in some runs
//! (`simulation/ports.rs`).

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use self::ports::{Driven, Fate};
use super::mailbox::Mailbox;
use super::sealing::Sealing;
use super::{EndpointMail, Exchange, ExchangeStats, Interconnect, Sleeper, Wake};
use crate::fanout::Recipients;
use crate::fanout::local_room::{LocalRun, MemberSeat};
use crate::fanout::pass::{Served, deliver_pass};
use crate::fanout::room::{EndpointId, RoomKey};
use crate::fanout::segment::Buffer;
use crate::limits::{MAIL_WORK_NS, PRICE_RUN};
use crate::wire::frame::Opcode;
use crate::work::{TurnPhase, Work};

mod faults;
mod ports;

const ROOMS: u64 = 3;
/// A header, and a payload that is the frame's number.
const FRAME_BYTES: usize = 2 + 8;
/// More than any run takes that ends.
const STEPS_MAX: u64 = 1_000_000;

/// SplitMix64, the only source of randomness here.
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

/// A member, and the numbers of the frames that it has got.
struct Member {
    place: u32,
    seat: MemberSeat,
    epoch: u64,
    got: Vec<u64>,
    /// The room's next ticket when it joined: it must get the frames from this one on.
    joined_at: u64,
    is_gone: bool,
}

/// The next step of a shard.
enum Step {
    TakeMail,
    Publish,
    Seal(Sealing),
    Deliver,
    Announce,
    Sleep,
    Asleep,
}

struct Shard {
    id: u16,
    exchange: Exchange,
    work: Work,
    step: Step,
    members: Vec<Member>,
    to_publish: u64,
    has_ended: bool,
    /// The number of endpoint mails that it has sent to each shard, and got from each.
    mail_sent: Vec<u64>,
    mail_got: Vec<u64>,
}

/// Records that a shard was woken.
struct Waker(Arc<AtomicBool>);

impl Wake for Waker {
    fn wake(&self) -> io::Result<()> {
        self.0.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// The state that shards share, and what the test knows of them.
struct World {
    random: Random,
    interconnect: Arc<Interconnect>,
    /// Whether each participant was woken.
    is_woken: Vec<Arc<AtomicBool>>,
    /// The participants that are shards. The others are ports.
    shards: u16,
    /// The way in which all ports end, unless chance decides.
    fate: Option<Fate>,
    /// A planted fault: ports that are dropped do not close.
    forgets_ports: bool,
    mails_max: usize,
    /// Shards announce that they have published everything. This wakes all of them, so they do it
    /// in some runs only.
    has_ends: bool,
    /// The room of each frame.
    published: Vec<u64>,
    /// The frames of each room in the order of their tickets.
    order: BTreeMap<u64, Vec<u64>>,
}

impl World {
    fn new(seed: u64, shards: u16, mails_max: usize, bytes_max: usize) -> World {
        World::with_ports(seed, shards, 0, mails_max, bytes_max)
    }

    fn with_ports(seed: u64, shards: u16, ports: u16, mails_max: usize, bytes_max: usize) -> World {
        let is_woken: Vec<Arc<AtomicBool>> = (0..shards + ports).map(|_| Arc::default()).collect();
        let sleepers = is_woken.iter();
        let sleepers = sleepers.map(|each| Sleeper::new(Waker(Arc::clone(each))));
        let mailbox = || Mailbox::bounded(mails_max, bytes_max);
        let mut random = Random(seed);
        World {
            has_ends: random.one_in(2),
            random,
            interconnect: Arc::new(Interconnect::with_mailboxes(sleepers.collect(), mailbox)),
            is_woken,
            shards,
            fate: None,
            forgets_ports: false,
            mails_max,
            published: Vec::new(),
            order: BTreeMap::new(),
        }
    }

    fn any_room(&mut self) -> RoomKey {
        RoomKey {
            endpoint: EndpointId(0),
            name: self.random.below(ROOMS).to_string().into(),
        }
    }

    /// Records the order that the tickets give.
    fn note_order(&mut self, sealing: &Sealing) {
        let Sealing::Tickets { batch, next, .. } = sealing else {
            return;
        };
        let run = &batch.runs[next - 1];
        let order = self.order.entry(run.room.epoch).or_default();
        assert_eq!(run.first_ticket, order.len() as u64);
        for number in numbers(&run.buffer, &run.bytes) {
            let epoch = self.published[number as usize];
            assert_eq!(epoch, run.room.epoch, "a frame of another room");
            order.push(number);
        }
    }

    /// Checks that no credit is lost or given back twice: all mail that a mailbox counts is queued
    /// in it or held by the shard that took it.
    fn check_credits(&self, shards: &[Shard], ports: &[Driven]) {
        let shards = shards.iter().map(|shard| (shard.id, Some(&shard.exchange)));
        let ports = ports.iter().map(Driven::exchange);
        for (to, exchange) in shards.chain(ports) {
            let held = exchange.map_or(Vec::new(), Exchange::held_credits);
            for from in 0..self.interconnect.participants() {
                let mailbox = self.interconnect.mailbox(from, to);
                let of_it = held.iter().filter(|credit| credit.is_of(mailbox)).count();
                assert_eq!(
                    mailbox.depth(),
                    mailbox.queued() + of_it,
                    "a credit is lost"
                );
            }
        }
    }
}

/// The frame numbers in a part of a buffer.
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
        let interconnect = Arc::clone(&world.interconnect);
        let stats = Arc::<ExchangeStats>::default();
        Shard {
            id,
            exchange: Exchange::new(id, interconnect, stats, Rc::default()),
            work: Work::default(),
            step: Step::TakeMail,
            members: Vec::new(),
            to_publish,
            has_ended: false,
            mail_sent: vec![0; world.is_woken.len()],
            mail_got: vec![0; world.is_woken.len()],
        }
    }

    /// Takes one step of a turn.
    fn go_on(&mut self, world: &mut World) {
        self.step = match std::mem::replace(&mut self.step, Step::Asleep) {
            Step::TakeMail => {
                self.receive_mail(world);
                Step::Publish
            }
            Step::Publish => {
                self.read(world);
                let sealing = self.exchange.begin_sealing();
                sealing.map_or(Step::Deliver, Step::Seal)
            }
            Step::Seal(sealing) => self.seal(world, sealing),
            Step::Deliver => {
                self.deliver(world);
                self.exchange.wake_if_freed();
                self.end_turn(world)
            }
            Step::Announce => {
                self.sleeper(world).sleeping.announce();
                Step::Sleep
            }
            Step::Sleep if self.exchange.has_mail() => {
                self.sleeper(world).sleeping.withdraw();
                Step::TakeMail
            }
            Step::Sleep | Step::Asleep => {
                if !world.is_woken[usize::from(self.id)].swap(false, Ordering::Relaxed) {
                    return;
                }
                self.sleeper(world).sleeping.withdraw();
                Step::TakeMail
            }
        };
    }

    fn sleeper<'w>(&self, world: &'w World) -> &'w Sleeper {
        world.interconnect.sleeper(self.id)
    }

    fn is_asleep(&self, world: &World) -> bool {
        let is_woken = &world.is_woken[usize::from(self.id)];
        matches!(self.step, Step::Asleep) && !is_woken.load(Ordering::Relaxed)
    }

    fn receive_mail(&mut self, world: &mut World) {
        self.exchange.push_unsent();
        self.work.begin_turn();
        self.work.begin(TurnPhase::Mail);
        let left_ns = world.random.below(4) * PRICE_RUN;
        self.work.spend(MAIL_WORK_NS - left_ns);
        self.exchange.receive_mail(&mut self.work, 0);
        for from in 0..world.is_woken.len() as u16 {
            let depth = world.interconnect.mailbox(from, self.id).depth();
            assert!(depth <= world.mails_max, "held mail fills its mailbox");
        }
    }

    /// Sends endpoint mail to some shard. It holds the sender and how many mails it sent before.
    fn send_mail(&mut self, world: &mut World) {
        let to = world.random.below(u64::from(world.shards)) as u16;
        let sent = &mut self.mail_sent[usize::from(to)];
        let mail = EndpointMail {
            endpoint: EndpointId(0),
            mail: Arc::new((self.id, *sent)),
        };
        *sent += 1;
        self.exchange.send(to, mail);
    }

    /// Handles some of the endpoint mail that has arrived.
    fn handle_mail(&mut self, world: &mut World) {
        while !world.random.one_in(4)
            && let Some(EndpointMail { mail, .. }) = self.exchange.next_arrived()
        {
            let (from, number) = *mail.downcast::<(u16, u64)>().expect("as it was sent");
            let got = &mut self.mail_got[usize::from(from)];
            assert_eq!(number, *got, "mail that comes once and in order");
            *got += 1;
        }
    }

    /// Lets members join, leave and publish.
    fn read(&mut self, world: &mut World) {
        self.handle_mail(world);
        if self.to_publish > 0 && self.exchange.may_publish() && world.random.one_in(3) {
            self.send_mail(world);
        }
        if world.random.one_in(4) {
            self.leave(world);
        }
        if self.exchange.may_publish() && world.random.one_in(3) {
            self.join(world);
        }
        if self.exchange.may_publish() {
            for _ in 0..world.random.below(6).min(self.to_publish) {
                self.to_publish -= 1;
                self.publish(world);
            }
        }
        let has_all = self.to_publish == 0 && !self.exchange.has_published();
        if world.has_ends && has_all && !self.has_ended {
            self.has_ended = true;
            for shard in self.exchange.others().filter(|each| *each < world.shards) {
                self.exchange.end_mail_to(shard);
            }
        }
    }

    fn publish(&mut self, world: &mut World) {
        let key = world.any_room();
        let payload = (world.published.len() as u64).to_be_bytes();
        let to_all = Recipients::All;
        let epoch = if let Some(place) = self.exchange.find(&key) {
            let exchange = &mut self.exchange;
            exchange.publish(place, to_all, Opcode::Binary, &payload, 0);
            exchange.room(place).epoch
        } else if let Some(room) = self.exchange.find_anywhere(&key) {
            let exchange = &mut self.exchange;
            exchange.publish_to(&room, to_all, Opcode::Binary, &payload, 0);
            room.epoch
        } else {
            return;
        };
        world.published.push(epoch);
    }

    fn join(&mut self, world: &mut World) {
        let number = self.members.len() as u32;
        let (place, seat) = self.exchange.join(&world.any_room(), number, false);
        let room = self.exchange.room(place);
        let (epoch, joined_at) = (room.epoch, room.tickets.take(0).0);
        self.members.push(Member {
            place,
            seat,
            epoch,
            got: Vec::new(),
            joined_at,
            is_gone: false,
        });
    }

    /// A random member.
    fn any_member(&self, world: &mut World) -> Option<usize> {
        let present = self.members.iter().enumerate();
        let present: Vec<usize> = present
            .filter(|(_, member)| !member.is_gone)
            .map(|(number, _)| number)
            .collect();
        let bound = std::num::NonZero::new(present.len() as u64)?;
        Some(present[world.random.below(bound.get()) as usize])
    }

    fn leave(&mut self, world: &mut World) {
        let Some(number) = self.any_member(world) else {
            return;
        };
        let member = &mut self.members[number];
        member.is_gone = true;
        let moved = self.exchange.leave(member.place, member.seat, false);
        for moved in moved.into_iter().flatten() {
            self.members[moved.connection as usize].seat = moved.seat;
        }
    }

    fn seal(&mut self, world: &mut World, sealing: Sealing) -> Step {
        let Some(next) = self.exchange.go_on_sealing(sealing, 0) else {
            let own = world.interconnect.mailbox(self.id, self.id);
            let depth = own.depth();
            assert!(depth <= world.mails_max, "held own frames stop the reading");
            return Step::Deliver;
        };
        world.note_order(&next);
        Step::Seal(next)
    }

    fn deliver(&mut self, world: &mut World) {
        let Shard {
            exchange, members, ..
        } = self;
        let mut pending = exchange.begin_pass();
        deliver_pass(&mut pending, |place| {
            let visits_max = world.random.below(4) as usize;
            exchange.visit(place, visits_max, |connection, runs| {
                // Its outbox is full, for example.
                if world.random.one_in(8) {
                    return false;
                }
                let member = &mut members[connection as usize];
                assert!(!member.is_gone, "a member that is gone");
                assert_eq!(member.place, place, "a member of another room");
                let frames = |run: &LocalRun| numbers(&run.plain.segment.buffer, &run.plain.bytes);
                member.got.extend(runs.flat_map(frames));
                true
            });
            Served {
                is_pending: exchange.is_pending(place),
                is_spent: world.random.one_in(4),
            }
        });
        exchange.end_pass(pending);
    }

    fn end_turn(&self, world: &World) -> Step {
        let has_work = self.exchange.has_pending()
            || self.exchange.has_arrived()
            || (self.has_more(world) && self.exchange.may_publish());
        if has_work {
            Step::TakeMail
        } else {
            Step::Announce
        }
    }

    fn has_more(&self, world: &World) -> bool {
        self.to_publish > 0 || (world.has_ends && !self.has_ended)
    }

    /// Checks that every member has got one contiguous piece of its room's order, of the right
    /// length.
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

    /// Checks that it has nothing left to do.
    fn check_end(&self, world: &World) {
        let id = self.id;
        assert!(
            !self.exchange.is_blocked(),
            "shard {id} sleeps on mail that it has not sent"
        );
        assert_eq!(
            self.to_publish, 0,
            "shard {id} sleeps on what it has to publish"
        );
        let held = self.exchange.held_credits().len();
        assert_eq!(held, 0, "shard {id} waits for a ticket that does not come");
        for other in self.exchange.others().filter(|each| *each < world.shards) {
            let is_told = self.exchange.has_ended(other);
            assert_eq!(is_told, world.has_ends, "shard {id} missed an end");
        }
    }
}

/// The outcome of a run.
struct Happened {
    /// How often a shard was blocked.
    blocked: u64,
    /// Frames that ports got.
    to_ports: usize,
}

/// Runs until all participants sleep, and calls `disturb` before each step of a shard.
fn run(mut world: World, mut disturb: impl FnMut(&mut Shard, &mut World)) -> Happened {
    let (shards, participants) = (world.shards, world.interconnect.participants());
    let mut ports: Vec<Driven> = (shards..participants)
        .map(|id| Driven::new(&mut world, id))
        .collect();
    let mut all: Vec<Shard> = (0..shards).map(|id| Shard::new(&world, id, 150)).collect();
    let mut steps = 0;
    loop {
        let is_asleep = |id: &usize| match all.get(*id) {
            Some(shard) => shard.is_asleep(&world),
            None => ports[*id - all.len()].is_asleep(&world),
        };
        let awake: Vec<usize> = (0..all.len() + ports.len())
            .filter(|id| !is_asleep(id))
            .collect();
        if awake.is_empty() {
            break;
        }
        // Often a shard does not get on for a while.
        let chosen = awake[world.random.below(awake.len() as u64) as usize];
        for _ in 0..1 + world.random.below(12) {
            if let Some(shard) = all.get_mut(chosen) {
                disturb(shard, &mut world);
                shard.go_on(&mut world);
            } else {
                let port = chosen - all.len();
                ports[port].go_on(&mut world);
            }
            steps += 1;
        }
        world.check_credits(&all, &ports);
        assert!(steps < STEPS_MAX, "some shard never sleeps");
    }
    for (from, to) in all
        .iter()
        .flat_map(|from| all.iter().map(move |to| (from, to)))
    {
        let sent = from.mail_sent[usize::from(to.id)];
        let got = to.mail_got[usize::from(from.id)];
        assert_eq!(sent, got, "mail that comes at all");
    }
    for shard in &all {
        shard.check_end(&world);
        shard.check(&world);
    }
    ports.iter().for_each(|port| port.check(&world));
    let interconnect = &world.interconnect;
    assert!((0..participants).all(|shard| interconnect.mailbox_depth(shard) == 0));
    assert_eq!(
        interconnect.live.now(),
        0,
        "frames that everybody has are held"
    );
    let blocked = all.iter().map(|shard| shard.exchange.stats.blocked.get());
    Happened {
        blocked: blocked.sum(),
        to_ports: ports.iter().map(Driven::got).sum(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_schedule_with_ports_ends_with_one_order_for_everybody(
        seed in any::<u64>(),
        shards in 1..4_u16,
        ports in 1..3_u16,
        mails_max in 1..4_usize,
        frames_max in 1..12_usize,
    ) {
        let bytes_max = frames_max * FRAME_BYTES;
        run(World::with_ports(seed, shards, ports, mails_max, bytes_max), |_, _| {});
    }

    #[test]
    fn every_schedule_ends_with_one_order_for_everybody(
        seed in any::<u64>(),
        shards in 2..6_u16,
        mails_max in 1..4_usize,
        frames_max in 1..12_usize,
    ) {
        run(World::new(seed, shards, mails_max, frames_max * FRAME_BYTES), |_, _| {});
    }
}

#[test]
fn senders_block_in_the_simulation() {
    let world = |seed| World::new(seed, 4, 1, 4 * FRAME_BYTES);
    let blocked = |seed| run(world(seed), |_, _| {}).blocked;
    let blocked: u64 = (0..20).map(blocked).sum();
    assert!(
        blocked > 100,
        "only {blocked} times: the bounds were not put to the test"
    );
}

#[test]
fn ports_get_frames_and_block_a_lone_shard_in_the_simulation() {
    let world = |seed| World::with_ports(seed, 1, 1, 1, 4 * FRAME_BYTES);
    let (mut blocked, mut to_ports) = (0, 0);
    for seed in 0..20 {
        let happened = run(world(seed), |_, _| {});
        blocked += happened.blocked;
        to_ports += happened.to_ports;
    }
    assert!(blocked > 50, "only {blocked} times");
    assert!(to_ports > 500, "only {to_ports} frames");
}
