//! Questions to shards, and operations on many members of a room at once, for a [`Handle`] on a
//! thread that may wait.
//!
//! The directory knows which rooms exist; only the shards know their members. A shard is asked
//! through its control mailbox, does a bounded amount of work, and answers through a channel. A
//! shard must not ask, since it could wait for itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use bytes::Bytes;

use super::connection::Phase;
use super::core::Core;
use crate::engine::close_reason::CloseReason;
use crate::engine::control::{Control, HandleError};
use crate::engine::handle::{Handle, sendable};
use crate::engine::ids::Key;
use crate::engine::questions::{Ask, Asked};
use crate::fanout::room::{EndpointId, RoomKey};
use crate::fanout::{ConnectionId, Recipient};
use crate::limits::{
    CONNECTIONS_PER_ASK, MEMBERS_LOOKED_AT_PER_ASK, TERMS_PER_ASK, TURN_BYTES_MAX,
};
use crate::wire::frame::MessageKind;

/// A room in a list of rooms.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RoomEntry {
    /// Its name.
    pub name: String,
    /// Its members on all shards, as far as known at this moment. It may have 0, since a
    /// [`crate::Port`] is not counted.
    pub members: u32,
}

impl Handle {
    /// Counts the members of a room on all shards, without ports, as far as known at this moment.
    /// Returns 0 if the room does not exist. Does not wait.
    pub fn member_count(&self, endpoint: EndpointId, room: &str) -> u32 {
        let room = self
            .shared
            .interconnect
            .directory
            .find(&key(endpoint, room));
        room.map_or(0, |room| room.members())
    }

    /// Up to `limit` rooms of an endpoint by name, in byte order after `after`. A caller that asks
    /// page after page gets every room exactly once that exists all the time. It visits about as
    /// many rooms as it returns, however many exist, and a bounded number under each lock.
    pub fn rooms(&self, endpoint: EndpointId, after: Option<&str>, limit: usize) -> Vec<RoomEntry> {
        let rooms = self
            .shared
            .interconnect
            .directory
            .rooms_after(endpoint, after, limit);
        let entry = |room: &std::sync::Arc<crate::fanout::room::Room>| RoomEntry {
            name: room.key.name.to_string(),
            members: room.members(),
        };
        rooms.iter().map(entry).collect()
    }

    /// Up to `limit` members of a room after `after`, in the order of shards and of slots on them.
    /// `describe` runs for each on the member's own shard. A member that stays is in exactly one of
    /// several such pages. Waits for the shards until `deadline`.
    ///
    /// # Errors
    ///
    /// A shard did not answer in time.
    pub fn members<T: Send + 'static>(
        &self,
        endpoint: EndpointId,
        room: &str,
        after: Option<ConnectionId>,
        limit: usize,
        deadline: Instant,
        describe: impl Fn(&Recipient<'_>) -> T + Clone + Send + 'static,
    ) -> Result<Vec<T>, HandleError> {
        let key = key(endpoint, room);
        let Some(room) = self.shared.interconnect.directory.find(&key) else {
            return Ok(Vec::new());
        };
        let from = after.map_or(0, |after| after.shard);
        let mut found = Vec::new();
        for shard in self.shared.shards_of(&room).filter(|each| *each >= from) {
            let after = after.filter(|after| after.shard == shard);
            let mut next = Some(after.map_or(0, |after| after.index.saturating_add(1)));
            while let Some(from) = next.filter(|_| found.len() < limit) {
                let most = (limit - found.len()).min(CONNECTIONS_PER_ASK);
                let (key, describe) = (key.clone(), describe.clone());
                let (more, rest) = self.ask(shard, deadline, move |asked| {
                    let mut told = Vec::new();
                    let mut tell = |member: &Recipient<'_>| told.push(describe(member));
                    let next = asked.tell_members(&key, from, most, &mut tell);
                    (told, next)
                })?;
                found.extend(more);
                next = rest;
            }
        }
        Ok(found)
    }

    /// Closes those of these connections that are open WebSockets of this endpoint, as
    /// [`Handle::close`] does. Returns how many. Waits for their shards until `deadline`.
    ///
    /// # Errors
    ///
    /// A shard did not answer in time; some connections may be closed.
    pub fn close_open(
        &self,
        endpoint: EndpointId,
        connections: &[ConnectionId],
        code: u16,
        reason: &str,
        deadline: Instant,
    ) -> Result<usize, HandleError> {
        let reason = reason.to_owned();
        let close = move |asked: &mut dyn Asked, some: &[ConnectionId]| {
            asked.close_open(endpoint, some, code, &reason)
        };
        self.each_shard(connections, CONNECTIONS_PER_ASK, deadline, close)
    }

    /// Sends to those of these connections that are open WebSockets of this endpoint. Returns how
    /// many. Waits for their shards until `deadline`.
    ///
    /// # Errors
    ///
    /// The message is too large; or a shard did not answer in time, and some connections may have
    /// it.
    pub fn send_open(
        &self,
        endpoint: EndpointId,
        connections: &[ConnectionId],
        kind: MessageKind,
        payload: impl Into<Bytes>,
        deadline: Instant,
    ) -> Result<usize, HandleError> {
        let payload = sendable(payload)?;
        // Each connection gets a frame of its own, so a turn makes no more of them than it reads
        // otherwise.
        let per_ask = TURN_BYTES_MAX / payload.len().max(1);
        let per_ask = per_ask.clamp(1, CONNECTIONS_PER_ASK);
        let send = move |asked: &mut dyn Asked, some: &[ConnectionId]| {
            asked.send_open(endpoint, some, kind, &payload)
        };
        self.each_shard(connections, per_ask, deadline, send)
    }

    /// Lets the shards apply an operation to these connections, to `per_ask` of them in a turn.
    /// Returns the number of connections that it was applied to.
    fn each_shard(
        &self,
        connections: &[ConnectionId],
        per_ask: usize,
        deadline: Instant,
        act: impl Fn(&mut dyn Asked, &[ConnectionId]) -> usize + Clone + Send + 'static,
    ) -> Result<usize, HandleError> {
        let mut connections = connections.to_vec();
        connections.retain(|each| each.shard < self.shared.relaying);
        connections.sort_by_key(|each| each.shard);
        let mut done = 0;
        for of_shard in connections.chunk_by(|one, other| one.shard == other.shard) {
            for some in of_shard.chunks(per_ask) {
                let (shard, act) = (some[0].shard, act.clone());
                let some = some.to_vec();
                done += self.ask(shard, deadline, move |asked| act(asked, &some))?;
            }
        }
        Ok(done)
    }

    /// Closes every member of a room, as [`Handle::close`] does, a bounded number in each turn of
    /// their shards. Returns how many. Waits for the shards until `deadline`. Members that join
    /// meanwhile may stay.
    ///
    /// # Errors
    ///
    /// A shard did not answer in time; some members may be closed.
    pub fn close_members(
        &self,
        endpoint: EndpointId,
        room: &str,
        code: u16,
        reason: &str,
        deadline: Instant,
    ) -> Result<usize, HandleError> {
        let key = key(endpoint, room);
        let Some(room) = self.shared.interconnect.directory.find(&key) else {
            return Ok(0);
        };
        let mut closed = 0;
        for shard in self.shared.shards_of(&room) {
            let mut next = Some(0);
            while let Some(from) = next {
                let (key, reason) = (key.clone(), reason.to_owned());
                let (some, rest) = self.ask(shard, deadline, move |asked| {
                    asked.close_members(&key, from, code, &reason)
                })?;
                closed += some;
                next = rest;
            }
        }
        Ok(closed)
    }

    /// Asks the [`crate::Authorizer`] of every client again ([`crate::Terms::authorizer`]), and
    /// closes open WebSockets of those that may not stay with [`CloseReason::Revoked`], a bounded
    /// number in each turn of their shards. Returns how many. Waits for the shards until
    /// `deadline`.
    ///
    /// # Errors
    ///
    /// A shard did not answer in time; some connections may be closed.
    pub fn recheck(&self, deadline: Instant) -> Result<usize, HandleError> {
        let mut closed = 0;
        for shard in 0..self.shared.shards() {
            let mut from = Some(0);
            while let Some(index) = from {
                let asked = self.ask(shard, deadline, move |asked| asked.recheck(index));
                let (some, next) = asked?;
                closed += some;
                from = next;
            }
        }
        Ok(closed)
    }

    fn ask<T: Send + 'static>(
        &self,
        shard: u16,
        deadline: Instant,
        what: impl FnOnce(&mut dyn Asked) -> T + Send + 'static,
    ) -> Result<T, HandleError> {
        let (answer, answered) = crossbeam_channel::bounded(1);
        let ask: Ask = Box::new(move |asked| {
            // The asking thread may have given up.
            let _ = answer.send(what(asked));
        });
        // If one shard's mailbox is full, others may have done their part already.
        let asked = self
            .shared
            .control_until(shard, Control::Ask(ask), deadline);
        asked.map_err(|_| HandleError::Late)?;
        answered
            .recv_deadline(deadline)
            .map_err(|_| HandleError::Late)
    }
}

/// Answers a question. A panic in its closure fails only this question.
pub(in crate::engine) fn answer(core: &mut Core, ask: Ask) {
    if catch_unwind(AssertUnwindSafe(|| ask(core))).is_err() {
        core.stats().endpoint_panics.add(1);
        tracing::error!("code that describes members panicked");
    }
}

fn key(endpoint: EndpointId, name: &str) -> RoomKey {
    RoomKey {
        endpoint,
        name: name.into(),
    }
}

fn endpoint_close(code: u16, reason: &str) -> CloseReason {
    let reason = reason.to_owned().into();
    CloseReason::Endpoint { code, reason }
}

impl Asked for Core {
    fn tell_members(
        &self,
        room: &RoomKey,
        from: u32,
        most: usize,
        tell: &mut dyn FnMut(&Recipient<'_>),
    ) -> Option<u32> {
        let some = members_from(self, room, from, most);
        let members = some.members.iter();
        members.for_each(|index| tell(&recipient(self, *index)));
        some.next
    }

    fn close_members(
        &mut self,
        room: &RoomKey,
        from: u32,
        code: u16,
        reason: &str,
    ) -> (usize, Option<u32>) {
        close_from(self, room, from, code, reason)
    }

    fn close_open(
        &mut self,
        endpoint: EndpointId,
        connections: &[ConnectionId],
        code: u16,
        reason: &str,
    ) -> usize {
        let open = open_of(self, endpoint, connections);
        let close = |key: &Key| self.schedule_close(*key, endpoint_close(code, reason));
        open.iter().for_each(close);
        open.len()
    }

    fn send_open(
        &mut self,
        endpoint: EndpointId,
        connections: &[ConnectionId],
        kind: MessageKind,
        payload: &[u8],
    ) -> usize {
        let open = open_of(self, endpoint, connections);
        for key in &open {
            let now_ns = self.clock.now_ns();
            self.send(*key, kind.into(), payload, now_ns);
        }
        open.len()
    }

    fn recheck(&mut self, from: usize) -> (usize, Option<usize>) {
        recheck_some(self, from)
    }
}

/// Those of the connections that are open WebSockets of this endpoint and are not being closed.
fn open_of(core: &mut Core, endpoint: EndpointId, connections: &[ConnectionId]) -> Vec<Key> {
    let is_open = |id: &ConnectionId| {
        let key = core.key_of(*id)?;
        let found = core.connection(key)?;
        let is_open = found.phase == Phase::Open && !found.is_close_scheduled;
        (is_open && found.endpoint == endpoint).then_some(key)
    };
    connections.iter().filter_map(is_open).collect()
}

/// Some of a room's members on a shard.
#[derive(PartialEq, Eq, Debug)]
struct Members {
    /// Their slots, in order.
    members: Vec<u32>,
    /// The slot to continue at, if there may be more.
    next: Option<u32>,
}

/// Visits up to [`TERMS_PER_ASK`] slots from `from` on, and schedules the close of up to
/// [`CONNECTIONS_PER_ASK`] open WebSockets whose terms no longer hold. Returns how many, and the
/// slot to continue at.
fn recheck_some(core: &mut Core, from: usize) -> (usize, Option<usize>) {
    let mut next = core.connections.next_from(from);
    let mut over = Vec::new();
    for _ in 0..TERMS_PER_ASK {
        let Some(index) = next.filter(|_| over.len() < CONNECTIONS_PER_ASK) else {
            break;
        };
        let connection = &core.connections[index];
        if connection.phase == Phase::Open
            && !connection.is_close_scheduled
            && connection.extras.terms().is_some_and(|terms| !terms.hold())
        {
            over.push(Key {
                index: index as u32,
                generation: connection.generation,
            });
        }
        next = core.connections.next_from(index + 1);
    }
    for key in &over {
        core.schedule_close(*key, CloseReason::Revoked);
    }
    (over.len(), next)
}

/// Up to `most` members of a room, from slot `from` on. It visits a bounded number of members or
/// connections, so there may be more even if it finds none.
fn members_from(core: &Core, key: &RoomKey, from: u32, most: usize) -> Members {
    debug_assert!(most > 0);
    let Some(room) = core.exchange.find(key) else {
        return Members {
            members: Vec::new(),
            next: None,
        };
    };
    let exchange = &core.exchange;
    if exchange.local_members(room) > MEMBERS_LOOKED_AT_PER_ASK {
        return members_among_connections(core, room, from, most);
    }
    // Connections that are being closed may still be in rooms.
    let is_open = |index: &u32| core.connections[*index as usize].phase == Phase::Open;
    let behind = exchange.connections(room).filter(|index| *index >= from);
    let behind = behind.filter(is_open);
    let mut page: Vec<u32> = behind.collect();
    let has_more = page.len() > most;
    if has_more {
        page.select_nth_unstable(most);
        page.truncate(most);
    }
    page.sort_unstable();
    let last = page.last().filter(|_| has_more);
    Members {
        next: last.map(|last| last + 1),
        members: page,
    }
}

/// The same for a large room, which many of the shard's connections are members of.
fn members_among_connections(core: &Core, room: u32, from: u32, most: usize) -> Members {
    let mut members = Vec::new();
    let mut next = core.connections.next_from(from as usize);
    for _ in 0..MEMBERS_LOOKED_AT_PER_ASK {
        let Some(index) = next.filter(|_| members.len() < most) else {
            break;
        };
        let connection = &core.connections[index];
        if connection.phase == Phase::Open && connection.rooms.contains(room) {
            members.push(index as u32);
        }
        next = core.connections.next_from(index + 1);
    }
    Members {
        members,
        next: next.map(|next| next as u32),
    }
}

fn recipient(core: &Core, index: u32) -> Recipient<'_> {
    let connection = &core.connections[index as usize];
    Recipient {
        id: ConnectionId {
            index,
            generation: connection.generation,
            shard: core.id,
        },
        peer: connection.peer(),
        state: connection.state.as_deref(),
        attachments: connection.extras.attachments(),
    }
}

/// Schedules the close of up to [`CONNECTIONS_PER_ASK`] members of a room, from slot `from` on.
/// Returns how many, and the slot to continue at, if there may be more.
fn close_from(
    core: &mut Core,
    room: &RoomKey,
    from: u32,
    code: u16,
    reason: &str,
) -> (usize, Option<u32>) {
    let some = members_from(core, room, from, CONNECTIONS_PER_ASK);
    let mut closed = 0;
    for index in some.members {
        let connection = &core.connections[index as usize];
        if !connection.is_close_scheduled {
            let generation = connection.generation;
            core.schedule_close(Key { index, generation }, endpoint_close(code, reason));
            closed += 1;
        }
    }
    (closed, some.next)
}
