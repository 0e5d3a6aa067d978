//! A shard's state, and what may be done to it from anywhere: join, publish, send, doom.
//!
//! Nothing in here calls an endpoint or a socket, so an endpoint may be given all of it while one
//! of its callbacks runs ([`super::session::Session`]). What needs either is noted (the lists of
//! connections to read, to flush and to close) and done by the phases in [`super::shard`].

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use super::clock::Clock;
use super::close_reason::CloseReason;
use super::connection::{Connection, Key, Membership, Phase};
use super::control::{Doors, Live};
use super::local_rooms::LocalRooms;
use super::mailbox::Credit;
use super::places::Places;
use super::settings::{Deflate, EndpointSettings, Settings};
use super::stats::ShardStats;
use super::tls::Tls;
use crate::fanout::batch::{BatchBuilder, Run};
use crate::fanout::local_room::{Accepted, LocalRoom, Moved};
use crate::fanout::outbox::Origin;
use crate::fanout::room::{EndpointId, Room, RoomKey};
use crate::fanout::segment::{Buffer, Segment};
use crate::fanout::{ConnectionId, Recipients};
use crate::sparse::Sparse as _;
use crate::wire::deflate::{Deflater, Inflater, window_bits_for};
use crate::wire::frame::{Opcode, append_frame, server_frame_bytes};

/// A room that the connection's shard has members of. It is valid while the connection is a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoomId {
    pub(super) place: u32,
    pub(super) epoch: u64,
}

/// Why a connection may not join a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JoinError {
    /// It has as many rooms as it may have.
    #[error("the connection has as many rooms as it may have")]
    TooManyRooms,
    /// The name is too long.
    #[error("the room's name is too long")]
    NameTooLong,
    /// It is not open any more.
    #[error("the connection is closed")]
    Closed,
}

/// A shard's state.
pub(super) struct Core {
    pub(super) id: u16,
    pub(super) doors: Arc<Doors>,
    pub(super) settings: Arc<Settings>,
    pub(super) endpoint_settings: Arc<[EndpointSettings]>,
    /// For connections that are still to come.
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) clock: Clock,
    pub(super) connections: Places<Connection>,
    next_generation: u32,
    pub(super) rooms: LocalRooms,
    /// Rooms with members that are yet to get frames, round robin.
    pub(super) rooms_pending: VecDeque<u32>,
    /// Bytes of the runs that those wait for.
    pub(super) pending_bytes: usize,
    pub(super) batch: BatchBuilder,
    pub(super) deflater: Deflater,
    pub(super) inflater: Inflater,
    pub(super) to_read: VecDeque<Key>,
    /// The same for those in the TLS handshake: by a budget, when the others are served. Those that
    /// are almost there come first.
    pub(super) to_handshake: VecDeque<Key>,
    /// Those that have sent more than they may, by when they have their turn, in nanoseconds:
    /// place and generation of each.
    pub(super) paused: BinaryHeap<Reverse<(u64, u32, u32)>>,
    pub(super) dirty: Vec<Key>,
    pub(super) lagging: Vec<Key>,
    /// Connections whose last send failed for want of memory in the kernel.
    pub(super) starved: Vec<Key>,
    pub(super) doomed: Vec<(Key, CloseReason)>,
    pub(super) dead: Vec<Key>,
    /// Runs that waited for a ticket were dropped with their room: their mailboxes have room again.
    pub(super) has_freed_mail: bool,
}

impl Core {
    pub(super) fn new(id: u16, doors: Arc<Doors>, live: Live, clock: Clock) -> Core {
        Core {
            id,
            batch: BatchBuilder::new(Arc::clone(&doors.live)),
            deflater: Deflater::default(),
            inflater: Inflater::default(),
            doors,
            settings: live.settings,
            endpoint_settings: live.endpoint_settings,
            tls: live.tls,
            clock,
            connections: Places::default(),
            next_generation: 0,
            rooms: LocalRooms::new(),
            rooms_pending: VecDeque::new(),
            pending_bytes: 0,
            to_read: VecDeque::new(),
            to_handshake: VecDeque::new(),
            paused: BinaryHeap::new(),
            dirty: Vec::new(),
            lagging: Vec::new(),
            starved: Vec::new(),
            doomed: Vec::new(),
            dead: Vec::new(),
            has_freed_mail: false,
        }
    }

    /// Replaces what can be replaced.
    pub(super) fn take_live(&mut self, live: Live) {
        self.settings = live.settings;
        self.endpoint_settings = live.endpoint_settings;
        self.tls = live.tls;
    }

    pub(super) fn stats(&self) -> &ShardStats {
        &self.doors.doors[usize::from(self.id)].stats
    }

    pub(super) fn next_generation(&mut self) -> u32 {
        // The last value belongs to the tokens of listeners and wakers.
        self.next_generation = (self.next_generation + 1) % (u32::MAX - 1);
        self.next_generation
    }

    /// The connection of that key, unless it is gone.
    pub(super) fn connection(&mut self, key: Key) -> Option<&mut Connection> {
        self.connections
            .get_mut(key.index as usize)
            .filter(|connection| connection.generation == key.generation)
    }

    pub(super) fn connection_id(&self, key: Key) -> ConnectionId {
        ConnectionId {
            index: key.index,
            generation: key.generation,
            shard: self.id,
        }
    }

    /// The key of a connection of this shard.
    pub(super) fn key_of(&self, id: ConnectionId) -> Option<Key> {
        (id.shard == self.id).then_some(Key {
            index: id.index,
            generation: id.generation,
        })
    }

    /// Has the connection read in this turn or the next.
    pub(super) fn queue_read(&mut self, key: Key) {
        if let Some(connection) = self.connection(key)
            && !connection.is_queued_to_read
        {
            connection.is_queued_to_read = true;
            match (connection.phase, &connection.tls) {
                (Phase::Handshake, Some(tls)) if tls.has_answered() => {
                    self.to_handshake.push_front(key);
                }
                (Phase::Handshake, _) => self.to_handshake.push_back(key),
                _ => self.to_read.push_back(key),
            }
        }
    }

    /// Has the connection flushed at the end of the turn.
    pub(super) fn mark_dirty(&mut self, key: Key) {
        if let Some(connection) = self.connection(key)
            && !connection.is_dirty
        {
            connection.is_dirty = true;
            self.dirty.push(key);
        }
    }

    /// Has the connection closed as soon as no endpoint code runs. The first reason counts.
    pub(super) fn doom(&mut self, key: Key, reason: CloseReason) {
        if let Some(connection) = self.connection(key)
            && !connection.is_doomed
        {
            connection.is_doomed = true;
            self.doomed.push((key, reason));
        }
    }

    /// Whether messages of the connection, which is there, still count.
    pub(super) fn is_open(&self, key: Key) -> bool {
        let connection = &self.connections[key.index as usize];
        connection.phase == Phase::Open && !connection.is_doomed
    }

    /// Whether the connection is about to be closed, or gone.
    pub(super) fn is_doomed(&mut self, key: Key) -> bool {
        self.connection(key)
            .is_none_or(|connection| connection.is_doomed || connection.phase == Phase::Dead)
    }

    /// Makes the connection a member of the room.
    pub(super) fn join(&mut self, key: Key, room: &RoomKey) -> Result<RoomId, JoinError> {
        if room.name.len() > self.settings.room_name_bytes_max {
            return Err(JoinError::NameTooLong);
        }
        let rooms_max = self.settings.rooms_per_connection_max;
        let connection = self
            .connection(key)
            .filter(|each| each.phase == Phase::Open);
        let joined = connection.ok_or(JoinError::Closed)?.rooms.len();
        if let Some(place) = self.rooms.find(room)
            && self.connections[key.index as usize].rooms.contains(place)
        {
            return Ok(self.room_id(place));
        }
        if joined >= rooms_max {
            return Err(JoinError::TooManyRooms);
        }
        let place = self.enter(room);
        let can_inflate = self.connections[key.index as usize].window_bits > 0;
        let local = &mut self.rooms[place as usize];
        local.room.member_joined(can_inflate);
        let membership = Membership {
            room: place,
            place: local.join(key.index),
        };
        self.connections[key.index as usize].rooms.add(membership);
        Ok(self.room_id(place))
    }

    pub(super) fn room_id(&self, place: u32) -> RoomId {
        RoomId {
            place,
            epoch: self.rooms[place as usize].room.epoch,
        }
    }

    /// The room's place on this shard, which gets its frames from now on.
    fn enter(&mut self, key: &RoomKey) -> u32 {
        if let Some(place) = self.rooms.find(key) {
            return place;
        }
        let (room, first_ticket) = self.doors.directory.enter(key, self.id);
        let place = self.rooms.insert(LocalRoom::new(room, first_ticket));
        self.stats().rooms.set(self.rooms.len() as u64);
        place
    }

    /// Ends the connection's membership of the room at `place`.
    pub(super) fn leave(&mut self, key: Key, place: u32) {
        let Some(connection) = self.connection(key) else {
            return;
        };
        let Some(seat) = connection.rooms.remove(place) else {
            return;
        };
        let can_inflate = connection.window_bits > 0;
        let local = &mut self.rooms[place as usize];
        let pending_before = local.pending_bytes();
        let moved = local.leave(seat);
        self.pending_bytes -= pending_before - local.pending_bytes();
        local.room.member_left(can_inflate);
        for Moved {
            connection,
            place: seat,
        } in moved.into_iter().flatten()
        {
            self.connections[connection as usize]
                .rooms
                .moved(place, seat);
        }
        if self.rooms[place as usize].members() == 0 {
            let local = self.rooms.remove(place);
            self.has_freed_mail |= local.held_runs() > 0;
            self.doors.directory.leave(&local.room, self.id);
            self.stats().rooms.set(self.rooms.len() as u64);
        }
    }

    /// Ends all memberships of the connection.
    pub(super) fn leave_all(&mut self, key: Key) {
        while let Some(connection) = self.connection(key)
            && let Some(last) = connection.rooms.len().checked_sub(1)
            && let Some(membership) = connection.rooms.at(last)
        {
            self.leave(key, membership.room);
        }
    }

    /// The room's place on this shard, if the id is still good.
    pub(super) fn room_place(&self, id: RoomId) -> Option<u32> {
        let local = self.rooms.get(id.place as usize)?;
        (local.room.epoch == id.epoch).then_some(id.place)
    }

    /// The room of that name on this shard.
    pub(super) fn find_room(&self, key: &RoomKey) -> Option<u32> {
        self.rooms.find(key)
    }

    /// Members of the room of that name on all shards.
    pub(super) fn members(&self, key: &RoomKey) -> u32 {
        if let Some(place) = self.find_room(key) {
            return self.rooms[place as usize].room.members();
        }
        let room = self.doors.directory.find(key);
        room.map_or(0, |room| room.members())
    }

    /// Publishes to a room that this shard has members of.
    pub(super) fn publish(
        &mut self,
        place: u32,
        recipients: Recipients,
        opcode: Opcode,
        payload: &[u8],
        received_ns: u64,
    ) {
        let room = &self.rooms[place as usize].room;
        self.batch
            .append(room, recipients, opcode, payload, received_ns);
        if room.deflate_members() > 0 {
            let room = Arc::clone(room);
            self.deflate_published(&room, opcode, payload);
        }
    }

    /// Publishes to a room by name. Returns whether it has any members.
    pub(super) fn publish_by_name(
        &mut self,
        key: &RoomKey,
        recipients: Recipients,
        opcode: Opcode,
        payload: &[u8],
        received_ns: u64,
    ) -> bool {
        if let Some(place) = self.find_room(key) {
            self.publish(place, recipients, opcode, payload, received_ns);
            return true;
        }
        let Some(room) = self.doors.directory.find(key) else {
            return false;
        };
        self.batch
            .append(&room, recipients, opcode, payload, received_ns);
        if room.deflate_members() > 0 {
            self.deflate_published(&room, opcode, payload);
        }
        true
    }

    /// Deflates the message that was published last, once for all members that can inflate.
    fn deflate_published(&mut self, room: &Room, opcode: Opcode, payload: &[u8]) {
        let deflate = self.settings_of(room.key.endpoint).deflate;
        let backoff = match opcode {
            Opcode::Text => &room.text_backoff,
            _ => &room.binary_backoff,
        };
        if payload.len() < deflate.min_bytes || !backoff.must_try() {
            return;
        }
        let deflater = &mut self.deflater;
        let is_smaller = self
            .batch
            .deflate_last(deflater, deflate.level, opcode, payload);
        backoff.note(is_smaller);
        self.count_deflated(is_smaller);
    }

    fn count_deflated(&self, is_smaller: bool) {
        let stats = self.stats();
        match is_smaller {
            true => stats.deflated.add(1),
            false => stats.deflated_in_vain.add(1),
        }
    }

    /// Puts encoded bytes into the outbox of one connection.
    pub(super) fn enqueue(&mut self, key: Key, bytes: Vec<u8>, origin: Origin, received_ns: u64) {
        debug_assert!(!bytes.is_empty());
        let end = bytes.len() as u32;
        let buffer = Buffer::new(bytes, Box::default(), &self.doors.live);
        let segment = Segment::new(Arc::new(buffer), received_ns, self.clock.tick());
        let Some(connection) = self.connection(key) else {
            return;
        };
        match origin {
            Origin::Control | Origin::Pong => connection.outbox.push_control(&segment, origin),
            Origin::Room(_) | Origin::Direct | Origin::Close => {
                connection.outbox.push(&segment, 0..end, 1, origin);
            }
        }
        self.mark_dirty(key);
    }

    /// Sends a message to one connection alone.
    pub(super) fn send(&mut self, key: Key, opcode: Opcode, payload: &[u8], received_ns: u64) {
        let settings = Arc::clone(&self.endpoint_settings);
        let Some(connection) = self
            .connection(key)
            .filter(|each| each.phase == Phase::Open)
        else {
            return;
        };
        let window_bits = connection.window_bits;
        let settings = &settings[usize::from(connection.endpoint.0)];
        let frame = self.encode_for(window_bits, settings.deflate, opcode, payload);
        let Some(connection) = self.connection(key) else {
            return;
        };
        let slow = &settings.slow_client;
        if !connection.is_writable && super::slow::refuses(connection, slow, frame.len()) {
            self.count_refused(1);
            return;
        }
        self.enqueue(key, frame, Origin::Direct, received_ns);
        super::slow::enforce(self, key);
    }

    /// The frame of a message for one connection that inflates with this window.
    fn encode_for(
        &mut self,
        window_bits: u8,
        deflate: Deflate,
        opcode: Opcode,
        payload: &[u8],
    ) -> Vec<u8> {
        let plain_bytes = server_frame_bytes(payload.len());
        let mut frame = Vec::with_capacity(plain_bytes);
        if payload.len() >= deflate.min_bytes && window_bits_for(payload.len()) <= window_bits {
            let is_smaller = self
                .deflater
                .append(&mut frame, opcode, payload, deflate.level);
            self.count_deflated(is_smaller);
            if is_smaller {
                let saved = plain_bytes - frame.len();
                self.stats().deflate_saved_bytes.add(saved as u64);
                return frame;
            }
        }
        append_frame(&mut frame, opcode, payload);
        frame
    }

    /// Takes a run of a room that this shard may have members of. `hold` is called where it waits.
    pub(super) fn accept_run(&mut self, run: &Run, hold: impl FnOnce() -> Rc<Credit>) {
        let Some(place) = self.rooms.of_epoch(run.room.epoch) else {
            return;
        };
        let local = &mut self.rooms[place as usize];
        let was_pending = local.is_pending();
        let pending_before = local.pending_bytes();
        let accepted = local.accept(run, self.clock.tick(), hold);
        self.pending_bytes += local.pending_bytes() - pending_before;
        match accepted {
            Accepted::Now if !was_pending && local.is_pending() => {
                self.rooms_pending.push_back(place);
            }
            Accepted::Held => self.rooms.note_held(place),
            Accepted::Now | Accepted::Stale => {}
        }
    }

    /// Gives back memory that grew under load. Called between turns, at most once a tick.
    pub(super) fn shrink(&mut self) {
        self.batch.shrink();
        self.deflater.shrink();
        self.inflater.shrink();
        self.rooms_pending.shrink_sparse();
        self.to_read.shrink_sparse();
        self.to_handshake.shrink_sparse();
        self.paused.shrink_sparse();
        self.dirty.shrink_sparse();
        self.lagging.shrink_sparse();
        self.starved.shrink_sparse();
        self.doomed.shrink_sparse();
        self.dead.shrink_sparse();
    }

    /// The endpoint's settings for the connection.
    pub(super) fn settings_of(&self, endpoint: EndpointId) -> &EndpointSettings {
        &self.endpoint_settings[usize::from(endpoint.0)]
    }

    fn count_refused(&self, frames: u64) {
        let stats = self.stats();
        stats.slow_actions[super::stats::SlowAction::DropNewest as usize].add(1);
        stats.dropped_frames.add(frames);
    }
}
