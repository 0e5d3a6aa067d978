//! The state of a shard, and the operations on it that are allowed anywhere: join, publish, send,
//! schedule a close.
//!
//! Nothing here calls an endpoint or a socket, so an endpoint may be given all of it during its
//! callbacks ([`super::session::Session`]). Work that needs either is noted (in the lists of
//! connections to read, flush and close) and done by the phases in [`crate::engine::shard`].

use std::any::Any;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mio::{Registry, Token};

use super::behind::BehindRooms;
use super::connection::{Arrival, Connection, LowWater, Membership, Phase};
use super::gathered::Gathered;
use super::lanes::Lanes;
use crate::clock::{Clock, Tick};
use crate::engine::close_reason::CloseReason;
use crate::engine::control::{Live, Shared};
use crate::engine::ids::{JoinError, Key, RoomId};
use crate::engine::lagging::Sweep;
use crate::engine::settings::{EndpointSettings, Settings};
use crate::engine::spare::SpareFile;
use crate::engine::stats::ShardStats;
use crate::engine::tls::{Tls, TlsSession};
use crate::exchange::Exchange;
use crate::fanout::local_room::Moved;
use crate::fanout::meter::{Charge, Meter};
use crate::fanout::room::{EndpointId, Room, RoomKey};
use crate::fanout::{ConnectionId, Recipients};
use crate::limits::{PRICE_KIB_DEFLATED, PRICE_KIB_READ, PRICE_PUBLISH};
use crate::slots::Slots;
use crate::sparse::Sparse as _;
use crate::wire::deflate::{Deflater, Inflater};
use crate::wire::frame::Opcode;
use crate::work::{TurnPhase, Work};

/// The rooms that the current callback has published to, except for publications whose recipients
/// exclude its own client.
#[derive(Default)]
pub(super) struct PublishedTo {
    pub(super) rooms: Vec<RoomId>,
    pub(super) names: Vec<RoomKey>,
}

impl PublishedTo {
    /// A callback begins.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.rooms.clear();
        if !self.names.is_empty() {
            self.clear_names();
        }
    }

    #[cold]
    fn clear_names(&mut self) {
        self.names.clear();
    }
}

/// The state of a shard.
pub(in crate::engine) struct Core {
    pub(super) id: u16,
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Arc<Settings>,
    pub(super) endpoint_settings: Arc<[EndpointSettings]>,
    /// The local state of each endpoint on this shard.
    pub(super) locals: Vec<Box<dyn Any>>,
    /// Endpoints with work left.
    pub(super) at_work: VecDeque<EndpointId>,
    /// For new connections.
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) clock: Clock,
    /// The work that is left in this turn.
    pub(super) work: Work,
    pub(super) connections: Slots<Connection>,
    next_generation: u32,
    pub(super) exchange: Exchange,
    pub(super) deflater: Deflater,
    pub(super) inflater: Inflater,
    pub(super) to_read: Lanes,
    /// The same for connections in the TLS handshake, which have a budget and come after the
    /// others. Those that are almost done come first.
    pub(super) to_handshake: VecDeque<Key>,
    /// Connections that have sent more than they may, ordered by the time in nanoseconds at which
    /// they may be read again, each with slot and generation.
    pub(super) paused: BinaryHeap<Reverse<(u64, u32, u32)>>,
    pub(super) dirty: Lanes,
    pub(super) lagging: Vec<Key>,
    /// Connections whose last send failed because the kernel was short of memory.
    pub(super) starved: Vec<Key>,
    pub(super) published: PublishedTo,
    pub(super) behind: BehindRooms,
    pub(super) gathered: Gathered,
    /// Connections whose messages get no answer, and are to be acknowledged at once.
    pub(super) unanswered: Vec<Key>,
    /// Connections for which little waits, whose endpoints want to be told.
    pub(super) drained: Vec<Key>,
    pub(super) to_close: VecDeque<(Key, CloseReason)>,
    /// Connections that are not open any more and have rooms to leave.
    pub(super) leaving: VecDeque<Key>,
    /// Connections that have left all rooms and are to be removed.
    pub(super) dead: Vec<Key>,
    /// Counts the shard's memory besides the buffers that shards share.
    pub(super) meter: Rc<Meter>,
    /// The part of it that the shard's own buffers take.
    own_buffers: Charge,
    /// The part of those that is for sending and TLS.
    tls_bytes: usize,
    /// The part of it that the process's sum includes.
    metered: usize,
    pub(super) sweep: Sweep,
    /// When parts that lagging clients wait for were last copied out.
    pub(super) copied_out_tick: Tick,
}

impl Core {
    pub(in crate::engine) fn new(
        id: u16,
        shared: Arc<Shared>,
        live: Live,
        locals: Vec<Box<dyn Any>>,
        clock: Clock,
    ) -> Core {
        let meter = Rc::default();
        let stats = &shared.handles[usize::from(id)].stats.exchange;
        let (interconnect, stats) = (Arc::clone(&shared.interconnect), Arc::clone(stats));
        Core {
            id,
            exchange: Exchange::new(id, interconnect, stats, Rc::clone(&meter)),
            deflater: Deflater::default(),
            inflater: Inflater::default(),
            shared,
            settings: live.settings,
            endpoint_settings: live.endpoint_settings,
            locals,
            at_work: VecDeque::new(),
            tls: live.tls,
            clock,
            work: Work::default(),
            connections: Slots::default(),
            next_generation: 0,
            to_read: Lanes::default(),
            to_handshake: VecDeque::new(),
            paused: BinaryHeap::new(),
            dirty: Lanes::default(),
            lagging: Vec::new(),
            starved: Vec::new(),
            published: PublishedTo::default(),
            behind: BehindRooms::new(&meter),
            gathered: Gathered::default(),
            unanswered: Vec::new(),
            drained: Vec::new(),
            to_close: VecDeque::new(),
            leaving: VecDeque::new(),
            dead: Vec::new(),
            own_buffers: Charge::new(&meter),
            tls_bytes: 0,
            meter,
            metered: 0,
            sweep: Sweep::default(),
            copied_out_tick: 0,
        }
    }

    /// Applies new settings.
    pub(in crate::engine) fn apply_live(&mut self, live: Live) {
        self.settings = live.settings;
        self.endpoint_settings = live.endpoint_settings;
        self.tls = live.tls;
    }

    pub(in crate::engine) fn stats(&self) -> &ShardStats {
        &self.shared.handles[usize::from(self.id)].stats
    }

    /// Counts the current phase if it had to end while `more` waited.
    pub(in crate::engine) fn note_cut(&self, more: bool) {
        if let Some(phase) = self.work.cut(more) {
            self.stats().turn_cut[phase as usize].add(1);
        }
    }

    /// Whether the spare files are there, reopening them if possible.
    pub(in crate::engine) fn has_spare_files(&self) -> bool {
        let mut spare_files = self.shared.spare_files.iter();
        spare_files.all(SpareFile::reopen)
    }

    /// Closes a socket, or turns it into a spare file that is missing, our own first.
    pub(in crate::engine) fn close_file(&self, socket: OwnedFd) {
        let own = self.spare_file();
        let mut spare_files = self.shared.spare_files.iter();
        let missing = spare_files.find(|each| each.is_spent());
        match own.is_spent() {
            true => own.close(socket),
            false => missing.unwrap_or(own).close(socket),
        }
    }

    /// The shard's number.
    #[inline]
    pub(in crate::engine) fn id(&self) -> u16 {
        self.id
    }

    #[inline]
    pub(in crate::engine) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Begins a turn: advances the clock, and the clock of reading if clients may be read.
    #[inline]
    pub(in crate::engine) fn advance_clock(&mut self, may_read: bool) {
        self.clock.advance(may_read);
    }

    #[inline]
    pub(in crate::engine) fn settings(&self) -> &Settings {
        &self.settings
    }

    #[inline]
    pub(in crate::engine) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The work that is left in this turn.
    #[inline]
    pub(in crate::engine) fn work(&mut self) -> &mut Work {
        &mut self.work
    }

    /// Tickets, mailboxes and unsealed frames. Methods of this type are the only way to change
    /// them.
    #[inline]
    pub(in crate::engine) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// All connections, by slot.
    #[inline]
    pub(in crate::engine) fn connections(&self) -> &Slots<Connection> {
        &self.connections
    }

    /// The connection of this key, which must exist.
    #[inline]
    pub(in crate::engine) fn known(&self, key: Key) -> &Connection {
        &self.connections[key.index as usize]
    }

    /// The same, mutable.
    #[inline]
    pub(in crate::engine) fn known_mut(&mut self, key: Key) -> &mut Connection {
        &mut self.connections[key.index as usize]
    }

    /// Adds a connection with this socket, and registers it with the poll.
    ///
    /// # Errors
    ///
    /// The poll refused it. The connection has been added nevertheless.
    pub(in crate::engine) fn insert(
        &mut self,
        arrival: Arrival,
        registry: &Registry,
    ) -> (Key, io::Result<()>) {
        let generation = self.next_generation();
        let mut connection = Connection::new(arrival, generation);
        let entry = self.connections.vacant_entry();
        let key = Key {
            index: entry.key() as u32,
            generation,
        };
        let token = Token((generation as usize) << 32 | entry.key());
        let registered = connection.stream.register(registry, token);
        let phase = entry.insert(connection).phase;
        if let Some(gauge) = phase.gauge(self.stats()) {
            gauge.add(1);
        }
        (key, registered)
    }

    /// A TLS session for a new connection; `None` without a certificate.
    pub(in crate::engine) fn new_tls_session(&self) -> Option<TlsSession> {
        let tls = self.tls.as_deref()?;
        TlsSession::new(tls, &self.meter)
    }

    /// The next connection to read, if any is left for this turn.
    #[inline]
    pub(in crate::engine) fn next_to_read(&mut self) -> Option<Key> {
        self.to_read.pop()
    }

    /// The number of connections to read.
    #[inline]
    pub(in crate::engine) fn to_read(&self) -> usize {
        self.to_read.len()
    }

    /// The next connection whose TLS handshake is to be continued.
    #[inline]
    pub(in crate::engine) fn next_to_handshake(&mut self) -> Option<Key> {
        self.to_handshake.pop_front()
    }

    /// Whether any TLS handshake is to be continued.
    #[inline]
    pub(in crate::engine) fn has_to_handshake(&self) -> bool {
        !self.to_handshake.is_empty()
    }

    /// Whether the close of a connection is scheduled.
    #[inline]
    pub(in crate::engine) fn has_scheduled_closes(&self) -> bool {
        !self.to_close.is_empty()
    }

    /// The next connection to close, with the reason.
    pub(in crate::engine) fn next_to_close(&mut self) -> Option<(Key, CloseReason)> {
        self.to_close.pop_front()
    }

    /// Whether endpoints are to be told that little waits for clients of theirs.
    #[inline]
    pub(in crate::engine) fn has_drained(&self) -> bool {
        !self.drained.is_empty()
    }

    /// Whether there is work that needs no event, except for reading.
    #[inline]
    pub(in crate::engine) fn has_work(&self) -> bool {
        !self.dirty.is_empty()
            || !self.gathered.is_empty()
            || !self.unanswered.is_empty()
            || self.exchange.has_pending()
            || self.exchange.has_published()
            || self.exchange.has_arrived()
            || !self.at_work.is_empty()
            || !self.drained.is_empty()
            || !self.to_close.is_empty()
            || !self.leaving.is_empty()
            || !self.dead.is_empty()
            || self.sweep.is_under_way()
    }

    /// Tries again to push mail that other shards did not take.
    pub(in crate::engine) fn push_unsent(&mut self) {
        self.exchange.push_unsent();
    }

    /// Takes the mail of other shards, as far as the work allows.
    pub(in crate::engine) fn receive_mail(&mut self) {
        self.work.begin(TurnPhase::Mail);
        let more = self
            .exchange
            .receive_mail(&mut self.work, self.clock.tick());
        self.note_cut(more);
    }

    /// Freezes the frames that were published in this turn, takes tickets and hands the batch over,
    /// to the other shards first, so that they work on it at the same time as this one.
    pub(in crate::engine) fn seal(&mut self) {
        self.exchange.seal(self.clock.tick());
        if !self.behind.is_empty() {
            self.note_sealed();
        }
    }

    /// Sends messages that had to follow published frames. It comes after the delivery: only then
    /// are those frames in the outbox, and a message queued earlier would overtake them.
    #[inline]
    pub(in crate::engine) fn send_what_follows(&mut self) {
        if !self.behind.is_empty() {
            self.send_those_behind();
        }
    }

    /// Tells another shard that no more mail comes from this one.
    pub(in crate::engine) fn end_mail_to(&mut self, shard: u16) {
        self.exchange.end_mail_to(shard);
    }

    /// The place of a room on this shard, if it has members here.
    pub(in crate::engine) fn find_room(&self, room: &RoomKey) -> Option<u32> {
        self.exchange.find(room)
    }

    /// Records that the shard has ended, so that others no longer wait for it.
    pub(in crate::engine) fn ended(&self) {
        self.shared.inbound_holders.ended(self.id);
        self.shared.waiting_holders.ended(self.id);
    }

    /// The file that is held open for when no descriptor is left.
    pub(in crate::engine) fn spare_file(&self) -> &SpareFile {
        let [relaying, admin] = &self.shared.spare_files;
        match self.id < self.shared.relaying {
            true => relaying,
            false => admin,
        }
    }

    pub(super) fn next_generation(&mut self) -> u32 {
        // The highest generation belongs to the tokens of listeners and wakers.
        self.next_generation = (self.next_generation + 1) % (u32::MAX - 1);
        self.next_generation
    }

    /// The connection of this key, unless it has been removed.
    pub(in crate::engine) fn connection(&mut self, key: Key) -> Option<&mut Connection> {
        self.connections
            .get_mut(key.index as usize)
            .filter(|connection| connection.generation == key.generation)
    }

    pub(in crate::engine) fn connection_id(&self, key: Key) -> ConnectionId {
        ConnectionId {
            index: key.index,
            generation: key.generation,
            shard: self.id,
        }
    }

    /// The key of a connection of this shard.
    pub(in crate::engine) fn key_of(&self, id: ConnectionId) -> Option<Key> {
        (id.shard == self.id).then_some(Key {
            index: id.index,
            generation: id.generation,
        })
    }

    /// Queues the connection to be read in this turn or the next.
    pub(in crate::engine) fn queue_read(&mut self, key: Key) {
        if let Some(connection) = self.connection(key)
            && !connection.is_queued_to_read
        {
            connection.is_queued_to_read = true;
            match (connection.phase, &connection.tls) {
                (Phase::Handshake, Some(tls)) if tls.has_answered() => {
                    self.to_handshake.push_front(key);
                }
                (Phase::Handshake, _) => self.to_handshake.push_back(key),
                _ => self.to_read.push(key),
            }
        }
    }

    /// Queues a connection to be read on that has used up its share of the reading.
    pub(in crate::engine) fn queue_read_on(&mut self, key: Key) {
        if let Some(connection) = self.connection(key)
            && !connection.is_queued_to_read
        {
            if connection.phase == Phase::Handshake {
                return self.queue_read(key);
            }
            connection.is_queued_to_read = true;
            self.to_read.push_heavy(key);
        }
    }

    /// Queues the connection to be flushed at the end of the turn.
    pub(in crate::engine) fn mark_dirty(&mut self, key: Key) {
        if let Some(connection) = self.connection(key)
            && !connection.is_dirty
        {
            connection.is_dirty = true;
            match connection.has_much_to_send() {
                true => self.dirty.push_heavy(key),
                false => self.dirty.push(key),
            }
        }
    }

    /// Schedules the close of the connection, which happens when no endpoint code runs. The first
    /// reason counts.
    pub(in crate::engine) fn schedule_close(&mut self, key: Key, reason: CloseReason) {
        if let Some(connection) = self.connection(key)
            && !connection.is_close_scheduled
        {
            connection.is_close_scheduled = true;
            self.to_close.push_back((key, reason));
        }
    }

    /// Whether messages of the connection, which must exist, are still handled.
    pub(super) fn is_open(&self, key: Key) -> bool {
        self.connections[key.index as usize].is_open()
    }

    /// Whether the reading of the connection, which must exist, is paused by its endpoint.
    #[inline]
    pub(super) fn is_held(&self, key: Key) -> bool {
        self.connections[key.index as usize].is_held
    }

    /// Pauses the reading of a connection until it is released.
    pub(super) fn hold(&mut self, key: Key) {
        if let Some(connection) = self.connection(key) {
            connection.is_held = true;
        }
    }

    /// Resumes the reading. Deadlines that depend on reading start again.
    pub(super) fn release(&mut self, key: Key) {
        let reading_tick = self.clock.reading_tick();
        if let Some(connection) = self.connection(key)
            && std::mem::take(&mut connection.is_held)
        {
            connection.heard_tick = reading_tick;
            if connection.message_since_tick > 0 {
                connection.message_since_tick = reading_tick.max(1);
            }
            self.queue_read(key);
        }
    }

    /// Asks for a call of its endpoint, once, when at most `bytes` wait for it.
    pub(super) fn await_low_water(&mut self, key: Key, bytes: usize) {
        if let Some(connection) = self.connection(key) {
            if connection.low_water == LowWater::Unasked {
                connection.low_water = LowWater::Awaited;
            }
            connection.extras.set_low_water_bytes(bytes);
            self.note_low_water(key);
        }
    }

    /// Notes the connection if that may be the case now.
    #[inline]
    pub(super) fn note_low_water(&mut self, key: Key) {
        if let Some(connection) = self.connection(key)
            && connection.low_water == LowWater::Awaited
            && connection.is_at_low_water(0)
        {
            connection.low_water = LowWater::Noted;
            self.drained.push(key);
        }
    }

    /// Whether the endpoint of a noted connection is to be told. If more waits by now, also behind
    /// rooms, the next write notes it again.
    pub(super) fn take_low_water(&mut self, key: Key) -> bool {
        let behind_bytes = self.behind.bytes_for(key);
        let Some(connection) = self.connection(key).filter(|each| each.is_open()) else {
            return false;
        };
        let is_low = connection.is_at_low_water(behind_bytes);
        connection.low_water = match is_low {
            true => LowWater::Unasked,
            false => LowWater::Awaited,
        };
        is_low
    }

    /// Whether received bytes of the connection were left when others had their turn.
    pub(in crate::engine) fn has_kept(&mut self, key: Key) -> bool {
        self.connection(key).is_some_and(|each| each.has_kept())
    }

    /// Whether the close of the connection is scheduled, or it has ended.
    pub(in crate::engine) fn is_close_scheduled(&mut self, key: Key) -> bool {
        self.connection(key).is_none_or(|connection| {
            connection.is_close_scheduled || connection.phase == Phase::Dead
        })
    }

    /// Makes the connection a member of the room.
    pub(in crate::engine) fn join(
        &mut self,
        key: Key,
        room: &RoomKey,
    ) -> Result<RoomId, JoinError> {
        if room.name.len() > self.settings.limits.room_name_bytes {
            return Err(JoinError::NameTooLong);
        }
        let rooms_max = self.settings.limits.rooms_per_connection;
        let connection = self
            .connection(key)
            .filter(|each| each.phase == Phase::Open);
        let joined = connection.ok_or(JoinError::Closed)?.rooms.len();
        if let Some(place) = self.exchange.find(room)
            && self.connections[key.index as usize].rooms.contains(place)
        {
            return Ok(self.room_id(place));
        }
        if joined >= rooms_max {
            return Err(JoinError::TooManyRooms);
        }
        let connection = &mut self.connections[key.index as usize];
        let can_inflate = connection.window_bits > 0;
        let (place, seat) = self.exchange.join(room, key.index, can_inflate);
        connection.rooms.add(Membership { room: place, seat });
        Ok(self.room_id(place))
    }

    pub(super) fn room_id(&self, place: u32) -> RoomId {
        RoomId {
            place,
            epoch: self.exchange.room(place).epoch,
        }
    }

    /// Ends the connection's membership of the room at `place`.
    pub(in crate::engine) fn leave(&mut self, key: Key, place: u32) {
        let Some(connection) = self.connection(key) else {
            return;
        };
        let Some(seat) = connection.rooms.remove(place) else {
            return;
        };
        let can_inflate = connection.window_bits > 0;
        let moved = self.exchange.leave(place, seat, can_inflate);
        for Moved { connection, seat } in moved.into_iter().flatten() {
            self.connections[connection as usize]
                .rooms
                .moved(place, seat);
        }
    }

    /// The room's place on this shard, if the id is still valid.
    pub(super) fn room_place(&self, id: RoomId) -> Option<u32> {
        let room = self.exchange.get_room(id.place)?;
        (room.epoch == id.epoch).then_some(id.place)
    }

    /// Publishes to a room that this shard has members of. It is inlined into callers that have
    /// just looked the room up, so that it is not looked up twice.
    #[inline(always)]
    pub(super) fn publish(
        &mut self,
        place: u32,
        recipients: Recipients,
        opcode: Opcode,
        payload: &[u8],
        received_ns: u64,
    ) {
        let room = self
            .exchange
            .publish(place, recipients, opcode, payload, received_ns);
        self.work.spend(PRICE_PUBLISH);
        if let Some(room) = room {
            self.deflate_published(&room, opcode, payload);
        }
    }

    /// Publishes to a room by name. Returns whether the room has members.
    pub(in crate::engine) fn publish_by_name(
        &mut self,
        key: &RoomKey,
        recipients: Recipients,
        opcode: Opcode,
        payload: &[u8],
        received_ns: u64,
    ) -> bool {
        if let Some(place) = self.exchange.find(key) {
            self.publish(place, recipients, opcode, payload, received_ns);
            return true;
        }
        let Some(room) = self.exchange.find_anywhere(key) else {
            return false;
        };
        self.work.spend(PRICE_PUBLISH);
        self.work.spend_bytes(payload.len(), PRICE_KIB_READ);
        self.exchange
            .publish_to(&room, recipients, opcode, payload, received_ns);
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
        self.work.spend_bytes(payload.len(), PRICE_KIB_DEFLATED);
        let deflater = &mut self.deflater;
        let is_smaller = self
            .exchange
            .deflate_last(deflater, deflate.level, opcode, payload);
        backoff.note(is_smaller);
        self.count_deflated(is_smaller);
    }

    pub(super) fn count_deflated(&self, is_smaller: bool) {
        let stats = self.stats();
        match is_smaller {
            true => stats.deflated.add(1),
            false => stats.deflated_in_vain.add(1),
        }
    }

    /// Publishes the memory that the shard holds, if it has changed. `tls_bytes` is the memory of
    /// its buffers for TLS and for sending, which are not part of this struct.
    pub(super) fn publish_held(&mut self, tls_bytes: usize) {
        self.tls_bytes = tls_bytes;
        let streams = self.deflater.held_bytes() + self.inflater.held_bytes();
        let gathered = self.gathered.held_bytes();
        let own_bytes = self.exchange.batch_bytes() + gathered + streams + tls_bytes;
        self.own_buffers.set(own_bytes);
        self.publish_metered();
    }

    /// Gives back memory that is kept from one turn to the next only for speed.
    pub(super) fn shrink_buffers(&mut self) {
        self.exchange.shrink_batch();
        self.gathered.shrink();
        self.deflater.shrink();
        self.inflater.shrink();
        self.publish_held(self.tls_bytes);
    }

    /// The same, after memory was released.
    pub(super) fn publish_metered(&mut self) {
        let now = self.meter.bytes();
        if now != self.metered {
            // If the value shrinks, the difference wraps, and so does the sum, which makes it a
            // subtraction.
            let more = now.wrapping_sub(self.metered);
            self.shared.metered.fetch_add(more, Ordering::Relaxed);
            self.metered = now;
        }
    }

    /// Records that the partial data received from the connection has grown.
    pub(in crate::engine) fn inbound_grown(&mut self, key: Key) {
        let held = self.connection(key).map_or(0, |each| each.held_bytes());
        self.shared.inbound_holders.grown(self.id, held);
    }

    /// Gives back memory that grew under load. Called between turns, at most once a tick.
    pub(in crate::engine) fn shrink(&mut self) {
        self.shrink_buffers();
        self.exchange.shrink();
        self.to_read.shrink_sparse();
        self.to_handshake.shrink_sparse();
        self.paused.shrink_sparse();
        self.dirty.shrink_sparse();
        self.lagging.shrink_sparse();
        self.starved.shrink_sparse();
        self.unanswered.shrink_sparse();
        self.drained.shrink_sparse();
        self.to_close.shrink_sparse();
        self.leaving.shrink_sparse();
        self.dead.shrink_sparse();
    }

    /// The endpoint's settings for the connection.
    pub(in crate::engine) fn settings_of(&self, endpoint: EndpointId) -> &EndpointSettings {
        &self.endpoint_settings[usize::from(endpoint.0)]
    }
}
