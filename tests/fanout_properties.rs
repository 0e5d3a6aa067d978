//! Outboxes and local rooms against simple models, under random operations.

use std::collections::vec_deque::Iter;
use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::rc::Rc;
use std::sync::Arc;

use corecast::fanout::Recipients;
use corecast::fanout::batch::{BatchBuilder, Run};
use corecast::fanout::directory::Directory;
use corecast::fanout::local_room::{LocalRoom, LocalRun, MemberSeat};
use corecast::fanout::meter::Meter;
use corecast::fanout::outbox::{Dropped, Origin, Outbox, join};
use corecast::fanout::room::{EndpointId, RoomKey};
use corecast::fanout::segment::{Buffer, LiveBytes, Segment};
use corecast::limits::CONTROLS_MAX;
use corecast::wire::decoder::Message;
use corecast::wire::deflate::{Deflater, Inflater};
use corecast::wire::frame::{MessageKind, Opcode};
use proptest::prelude::*;

/// An operation on an outbox.
#[derive(Clone, Debug)]
enum Step {
    /// Frames of these lengths are published to a room; the member gets the marked ones.
    Publish {
        room: u32,
        frames: Vec<(usize, bool)>,
    },
    Direct(usize),
    Control(usize),
    Pong(usize),
    Ping(usize),
    /// The socket accepts this many thousandths of the waiting bytes.
    Advance(usize),
    DropOldest(usize),
    KeepLatest,
    Clear {
        keep_control: bool,
    },
    Compact,
    /// Time passes, and small slices are merged.
    Coalesce {
        is_mixed: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let frames = prop::collection::vec((1..40_usize, prop::bool::weighted(0.8)), 1..8);
    prop_oneof![
        4 => (0..3_u32, frames).prop_map(|(room, frames)| Step::Publish { room, frames }),
        1 => (1..40_usize).prop_map(Step::Direct),
        1 => (1..40_usize).prop_map(Step::Control),
        2 => (1..40_usize).prop_map(Step::Pong),
        1 => (1..40_usize).prop_map(Step::Ping),
        4 => (0..=1_000_usize).prop_map(Step::Advance),
        1 => (0..200_usize).prop_map(Step::DropOldest),
        1 => Just(Step::KeepLatest),
        1 => any::<bool>().prop_map(|keep_control| Step::Clear { keep_control }),
        1 => Just(Step::Compact),
        1 => any::<bool>().prop_map(|is_mixed| Step::Coalesce { is_mixed }),
    ]
}

struct Frame {
    bytes: Vec<u8>,
    origin: Origin,
}

impl Frame {
    fn is_data(&self) -> bool {
        matches!(self.origin, Origin::Room(_) | Origin::Direct)
    }
}

/// An outbox as a list of frames.
#[derive(Default)]
struct Model {
    frames: VecDeque<Frame>,
    /// Bytes of the first frame that were sent.
    open: usize,
    /// Frames that were sent to their end.
    sent: u32,
}

impl Model {
    fn waiting(&self) -> Vec<u8> {
        let all = self
            .frames
            .iter()
            .flat_map(|frame| frame.bytes.iter().copied());
        all.skip(self.open).collect()
    }

    fn advance(&mut self, mut bytes: usize) {
        while bytes > 0 {
            let left = self.frames[0].bytes.len() - self.open;
            if bytes < left {
                self.open += bytes;
                return;
            }
            bytes -= left;
            self.open = 0;
            self.sent += 1;
            self.frames.pop_front();
        }
    }

    /// Drops the frames that are not kept; the open one always is. `keep` is asked from the newest
    /// to the oldest.
    fn retain(&mut self, mut keep: impl FnMut(&Frame) -> bool) -> Dropped {
        let mut dropped = Dropped::default();
        let mut kept = VecDeque::new();
        while let Some(frame) = self.frames.pop_back() {
            let is_open = self.frames.is_empty() && self.open > 0;
            if is_open || keep(&frame) {
                kept.push_front(frame);
            } else if frame.is_data() {
                dropped.frames += 1;
                dropped.bytes += frame.bytes.len();
            }
        }
        self.frames = kept;
        dropped
    }

    /// Drops the oldest frames until this many data frames are dropped.
    fn drop_oldest(&mut self, frames: u32) -> Dropped {
        let mut dropped = Dropped::default();
        while dropped.frames < frames {
            let open = usize::from(self.open > 0);
            let mut droppable = (open..self.frames.len()).filter(|at| self.frames[*at].is_data());
            let Some(at) = droppable.next() else { break };
            dropped.frames += 1;
            dropped.bytes += self.frames.remove(at).map_or(0, |frame| frame.bytes.len());
        }
        dropped
    }

    fn keep_latest(&mut self) -> Dropped {
        let mut seen = Vec::new();
        self.retain(|frame| match frame.origin {
            Origin::Room(room) if seen.contains(&room) => false,
            Origin::Room(room) => {
                seen.push(room);
                true
            }
            _ => true,
        })
    }

    fn push_control(&mut self, bytes: Vec<u8>, origin: Origin) {
        let is_ahead = |frame: &Frame| !frame.is_data();
        let is_open = self.open > 0;
        let first = self
            .frames
            .front()
            .is_some_and(|first| is_open || is_ahead(first));
        let behind = self
            .frames
            .iter()
            .skip(1)
            .take_while(|frame| is_ahead(frame));
        let behind = if first { behind.count() } else { 0 };
        let place = usize::from(first) + behind;
        let is_replaced = match origin {
            Origin::Ping => true,
            Origin::Pong => behind >= CONTROLS_MAX,
            _ => false,
        };
        let last_two = (place - behind.min(2)..place).rev();
        let mut candidates = last_two.chain((first && !is_open).then_some(0));
        let replaced = candidates.find(|at| is_replaced && self.frames[*at].origin == origin);
        match replaced {
            Some(at) => self.frames[at].bytes = bytes,
            None => self.frames.insert(place, Frame { bytes, origin }),
        }
    }
}

/// The outbox under test, beside its model.
#[derive(Default)]
struct Pair {
    outbox: Outbox,
    model: Model,
    next_byte: u8,
    live: Arc<LiveBytes>,
    meter: Rc<Meter>,
    tick: u32,
    /// Whether slices of several rooms may have been merged: then their rooms are unknown.
    is_mixed: bool,
    /// Frames that the outbox has reported as sent.
    sent: u32,
}

impl Pair {
    /// A frame that differs from all others near it.
    fn frame(&mut self, bytes: usize) -> Vec<u8> {
        let mut fill = || {
            self.next_byte = self.next_byte.wrapping_add(1);
            self.next_byte
        };
        (0..bytes).map(|_| fill()).collect()
    }

    fn segment(&self, frames: &[Vec<u8>]) -> Rc<Segment> {
        let ends = frames.iter().scan(0, |end, frame| {
            *end += frame.len() as u32;
            Some(*end)
        });
        let ends = if frames.len() == 1 {
            Box::default()
        } else {
            ends.collect()
        };
        let buffer = Buffer::new(frames.concat(), ends, &self.live);
        Segment::new(Arc::new(buffer), 0, self.tick, &self.meter)
    }

    fn publish(&mut self, room: u32, frames: &[(usize, bool)]) {
        let bytes: Vec<_> = frames.iter().map(|(bytes, _)| self.frame(*bytes)).collect();
        let segment = self.segment(&bytes);
        let origin = Origin::Room(room);
        if frames.iter().all(|(_, is_recipient)| *is_recipient) {
            let end = segment.buffer.bytes().len() as u32;
            self.outbox
                .push(&segment, 0..end, frames.len() as u32, origin);
        }
        let is_selective = frames.iter().any(|(_, is_recipient)| !is_recipient);
        for (index, (bytes, (_, is_recipient))) in bytes.into_iter().zip(frames).enumerate() {
            if !is_recipient {
                continue;
            }
            if is_selective {
                let range = segment.buffer.frame_range(index as u32);
                self.outbox.push(&segment, range, 1, origin);
            }
            self.model.frames.push_back(Frame { bytes, origin });
        }
    }

    fn control(&mut self, bytes: usize, origin: Origin) {
        let bytes = self.frame(bytes);
        let segment = self.segment(std::slice::from_ref(&bytes));
        if origin == Origin::Direct {
            let end = bytes.len() as u32;
            self.outbox.push(&segment, 0..end, 1, origin);
            self.model.frames.push_back(Frame { bytes, origin });
        } else {
            self.outbox.push_control(&segment, origin);
            self.model.push_control(bytes, origin);
        }
    }

    fn step(&mut self, step: &Step) {
        let Pair { outbox, model, .. } = self;
        match step {
            Step::Publish { room, frames } => self.publish(*room, frames),
            Step::Direct(bytes) => self.control(*bytes, Origin::Direct),
            Step::Control(bytes) => self.control(*bytes, Origin::Control),
            Step::Pong(bytes) => self.control(*bytes, Origin::Pong),
            Step::Ping(bytes) => self.control(*bytes, Origin::Ping),
            Step::Advance(thousandths) => {
                let bytes = (outbox.bytes() * thousandths).div_ceil(1_000);
                outbox.advance(bytes, |done| self.sent += done.frames);
                model.advance(bytes);
            }
            Step::DropOldest(max) => {
                let dropped = outbox.drop_oldest(|cost, _| cost > *max);
                assert_eq!(dropped, model.drop_oldest(dropped.frames));
                let has_data = (usize::from(model.open > 0)..model.frames.len())
                    .any(|at| model.frames[at].is_data());
                assert!(outbox.cost() <= *max || !has_data);
            }
            Step::KeepLatest if self.is_mixed => {}
            Step::KeepLatest => assert_eq!(outbox.keep_latest(), model.keep_latest()),
            Step::Clear { keep_control } => {
                let dropped = outbox.clear(*keep_control);
                assert_eq!(
                    dropped,
                    model.retain(|frame| *keep_control && !frame.is_data())
                );
            }
            Step::Compact => outbox.compact(|segment, start, end| {
                Some(segment.with_copy(segment.buffer.copy_out(start, end)))
            }),
            Step::Coalesce { is_mixed } => {
                self.tick += 1;
                self.is_mixed |= is_mixed;
                outbox.coalesce(self.tick, *is_mixed, join);
            }
        }
    }

    fn check(&self) {
        let mut slices = [IoSlice::new(&[]); 1_024];
        let filled = self.outbox.front(&mut slices);
        let waiting: Vec<u8> = slices[..filled]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect();
        assert_eq!(waiting, self.model.waiting());
        assert_eq!(self.outbox.bytes(), waiting.len());
        assert_eq!(self.outbox.is_empty(), waiting.is_empty());
        assert_eq!(self.sent, self.model.sent, "frames sent to their end");
        if let Some(only) = self.outbox.only_slice() {
            assert_eq!(only, waiting);
        }
        assert_eq!(self.outbox.slices(), filled);
        assert!(self.outbox.share(|_| 1) <= self.outbox.cost());
        assert!(self.meter.bytes() > 0 || self.outbox.is_empty());
    }
}

/// An operation on a shard's members of a room.
#[derive(Clone, Debug)]
enum RoomStep {
    Join,
    /// The member at that place, modulo their number.
    Leave(usize),
    /// Some shard publishes runs, one batch each, that wait to arrive here: messages of these
    /// sizes, which are deflated if they have at least [`DEFLATE_MIN_BYTES`].
    Publish(Vec<Vec<usize>>),
    /// One of the waiting runs arrives.
    Arrive(usize),
    Deliver(usize),
    /// The member at that place is visited out of turn.
    DeliverTo(usize),
}

const DEFLATE_MIN_BYTES: usize = 32;

/// The windows that the members can inflate, in the order in which they join: 0 for none.
const WINDOWS: [u8; 4] = [0, 15, 8, 9];

fn room_step() -> impl Strategy<Value = RoomStep> {
    let messages = prop::collection::vec(prop_oneof![8..DEFLATE_MIN_BYTES, 8..700_usize], 1..4);
    prop_oneof![
        2 => Just(RoomStep::Join),
        2 => any::<usize>().prop_map(RoomStep::Leave),
        3 => prop::collection::vec(messages, 1..4).prop_map(RoomStep::Publish),
        5 => any::<usize>().prop_map(RoomStep::Arrive),
        4 => (1..5_usize).prop_map(RoomStep::Deliver),
        1 => any::<usize>().prop_map(RoomStep::DeliverTo),
    ]
}

struct Member {
    connection: u32,
    window_bits: u8,
    /// The first ticket that it should get, one more than the last that it got.
    next: u64,
}

impl Member {
    /// Receives everything accepted since the last visit, each frame in a form that it can read.
    fn get(&mut self, runs: Iter<'_, LocalRun>, accepted: u64, inflater: &mut Inflater) {
        for run in runs {
            let encoding = run.encoding_for(self.window_bits);
            let all = encoding.bytes_of(&(0..run.frames));
            assert_eq!(all, encoding.bytes, "the run is all of its frames");
            for number in 0..run.frames {
                let bytes = encoding.bytes_of(&(number..number + 1));
                let frame =
                    &encoding.segment.buffer.bytes()[bytes.start as usize..bytes.end as usize];
                let message = message_of(frame, self.window_bits, inflater);
                assert_eq!(message, message_with(self.next, message.len()));
                self.next += 1;
            }
        }
        assert_eq!(self.next, accepted, "a visit brings all there is");
    }
}

/// The message of that ticket: its number, and compressible text unless the ticket is odd.
fn message_with(ticket: u64, bytes: usize) -> Vec<u8> {
    let mut message = ticket.to_be_bytes().to_vec();
    let mut state = ticket;
    message.resize_with(bytes, || {
        state = state
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .wrapping_add(ticket);
        if ticket.is_multiple_of(2) {
            b' '
        } else {
            (state >> 56) as u8
        }
    });
    message
}

/// The message in a server's frame, as read by a client that inflates with this window.
fn message_of(frame: &[u8], window_bits: u8, inflater: &mut Inflater) -> Vec<u8> {
    let (payload_len, header_len) = match frame[1] {
        126 => (usize::from(u16::from_be_bytes([frame[2], frame[3]])), 4),
        len => (usize::from(len), 2),
    };
    let payload = &frame[header_len..];
    assert_eq!(payload.len(), payload_len);
    match frame[0] {
        0x82 => payload.to_vec(),
        0xC2 => {
            let kind = MessageKind::Binary;
            let inflated = inflater.inflate(Message { kind, payload }, 1_000);
            let message = inflated.expect("DEFLATE").payload.to_vec();
            assert!(message.len() <= 1 << window_bits, "a distance may not fit");
            assert!(payload.len() < message.len(), "deflated in vain");
            message
        }
        other => panic!("first byte {other:#x}"),
    }
}

/// A local room, and the messages that its members should get.
struct Seats {
    local: LocalRoom<Rc<()>>,
    /// In the order of the places that the room gave them.
    members: Vec<Member>,
    next_connection: u32,
    /// The ticket up to which runs were accepted.
    accepted: u64,
    underway: Vec<Run>,
    arrived: Vec<(u64, u64)>,
    builder: BatchBuilder,
    deflater: Deflater,
    inflater: Inflater,
    live: Arc<LiveBytes>,
    credit: Rc<()>,
}

impl Seats {
    fn new() -> Seats {
        let name = "/".into();
        let endpoint = EndpointId(0);
        let (room, _) = Directory::default().enter(&RoomKey { endpoint, name }, 0);
        // Frames from before the first join.
        let first = 5;
        room.tickets.take(first);
        let live = Arc::<LiveBytes>::default();
        let mut seats = Seats {
            local: LocalRoom::new(room, first, &Rc::default()),
            members: Vec::new(),
            next_connection: 0,
            accepted: first,
            underway: Vec::new(),
            arrived: Vec::new(),
            builder: BatchBuilder::new(Arc::clone(&live)),
            deflater: Deflater::default(),
            inflater: Inflater::default(),
            live,
            credit: Rc::default(),
        };
        seats.join();
        seats
    }

    fn join(&mut self) {
        let connection = self.next_connection;
        self.next_connection += 1;
        assert_eq!(self.local.join(connection).index(), self.members.len());
        self.members.push(Member {
            connection,
            window_bits: WINDOWS[connection as usize % WINDOWS.len()],
            next: self.accepted,
        });
    }

    /// Moves members as a connection's own list of rooms would.
    fn leave(&mut self, place: usize) {
        let place = place % self.members.len();
        let mut places: Vec<Option<u32>> = self
            .members
            .iter()
            .map(|member| Some(member.connection))
            .collect();
        let leaver = places[place].take();
        for moved in self
            .local
            .leave(MemberSeat::new(place))
            .into_iter()
            .flatten()
        {
            places
                .iter_mut()
                .filter(|each| **each == Some(moved.connection))
                .for_each(|each| {
                    *each = None;
                });
            assert_eq!(places[moved.seat.index()], None, "two members in one place");
            places[moved.seat.index()] = Some(moved.connection);
        }
        assert_eq!(places.pop(), Some(None), "the last place is free");
        self.members
            .retain(|member| Some(member.connection) != leaver);
        let by_place = |member: &Member| {
            places
                .iter()
                .position(|each| *each == Some(member.connection))
        };
        self.members.sort_by_key(by_place);
        assert!(self.local.connections().map(Some).eq(places));
    }

    fn publish(&mut self, batches: &[Vec<usize>]) {
        for sizes in batches {
            let room = &self.local.room;
            let first = room.tickets.take(0).0;
            for (ticket, bytes) in (first..).zip(sizes) {
                let message = message_with(ticket, *bytes);
                self.builder
                    .append(room, Recipients::All, Opcode::Binary, &message, 0);
                if *bytes >= DEFLATE_MIN_BYTES {
                    let deflater = &mut self.deflater;
                    self.builder
                        .deflate_last(deflater, 1, Opcode::Binary, &message);
                }
            }
            let live_before = self.live.now();
            let mut batch = self.builder.seal();
            assert!(self.live.now() - live_before > batch.bytes);
            batch.take_tickets();
            self.underway.append(&mut batch.runs);
        }
    }

    fn arrive(&mut self, which: usize) {
        if self.underway.is_empty() {
            return;
        }
        let run = self.underway.swap_remove(which % self.underway.len());
        self.local.accept(&run, 0, || Rc::clone(&self.credit));
        let end = run.first_ticket + u64::from(run.frames);
        self.arrived.push((run.first_ticket, end));
        while let Some(at) = self
            .arrived
            .iter()
            .position(|(first, _)| *first == self.accepted)
        {
            self.accepted = self.arrived.swap_remove(at).1;
        }
        assert_eq!(self.local.held_runs(), self.arrived.len());
        assert_eq!(Rc::strong_count(&self.credit), 1 + self.arrived.len());
    }

    fn deliver(&mut self, visits_max: usize) {
        let Seats {
            local,
            members,
            accepted,
            inflater,
            ..
        } = self;
        local.deliver(visits_max, |connection, runs| {
            let mut member = members.iter_mut();
            let member = member.find(|each| each.connection == connection);
            let member = member.expect("a visit to nobody");
            member.get(runs, *accepted, inflater);
            true
        });
    }

    fn deliver_to(&mut self, place: usize) {
        let place = place % self.members.len();
        let member = &mut self.members[place];
        self.local
            .deliver_to(MemberSeat::new(place), |connection, runs| {
                assert_eq!(connection, member.connection);
                member.get(runs, self.accepted, &mut self.inflater);
            });
        assert_eq!(member.next, self.accepted);
    }

    fn check(&self) {
        let is_behind = |member: &Member| member.next < self.accepted;
        assert!(self.local.is_pending() || !self.members.iter().any(is_behind));
        if !self.local.is_pending() {
            assert_eq!(self.local.pending_bytes(), 0);
            let plain = self.underway.iter().map(|run| &run.buffer);
            let deflated = self.underway.iter().flat_map(|run| &run.deflated);
            let buffers = plain.chain(deflated.map(|deflated| &deflated.buffer));
            let each: BTreeMap<_, _> = buffers
                .map(|buffer| (Arc::as_ptr(buffer), buffer.cost()))
                .collect();
            let held: usize = each.values().sum();
            let waiting = self.local.held_runs();
            assert!(
                waiting > 0 || self.live.now() == held,
                "what everybody has is still held"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn an_outbox_sends_what_a_list_of_frames_would(
        steps in prop::collection::vec(step(), 1..80)
    ) {
        let mut pair = Pair::default();
        for step in &steps {
            pair.step(step);
            pair.check();
        }
        pair.step(&Step::Advance(1_000));
        pair.check();
        prop_assert!(pair.outbox.is_empty());
        prop_assert_eq!((pair.meter.bytes(), pair.live.now()), (0, 0));
    }

    #[test]
    fn every_member_gets_each_frame_from_its_join_to_its_leave_once(
        steps in prop::collection::vec(room_step(), 1..80)
    ) {
        let mut seats = Seats::new();
        for step in steps {
            match step {
                RoomStep::Join => seats.join(),
                RoomStep::Leave(place) if seats.members.len() > 1 => seats.leave(place),
                RoomStep::Leave(_) => {}
                RoomStep::Publish(batches) => seats.publish(&batches),
                RoomStep::Arrive(which) => seats.arrive(which),
                RoomStep::Deliver(visits_max) => seats.deliver(visits_max),
                RoomStep::DeliverTo(place) => seats.deliver_to(place),
            }
            seats.check();
        }
        while !seats.underway.is_empty() {
            seats.arrive(0);
        }
        while seats.local.is_pending() {
            seats.deliver(3);
        }
        seats.check();
        prop_assert!(seats.members.iter().all(|member| member.next == seats.accepted));
        prop_assert_eq!(seats.live.now(), 0);
    }
}
