//! Questions to shards, and what is done to many of a room's members at once: a [`Handle`] from a
//! thread that may wait.
//!
//! Which rooms there are is in the directory; who is in one only its shards know. A shard is asked
//! by its control mailbox, does a bounded amount of work, and answers by a channel. No shard may
//! ask: it could wait for itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use bytes::Bytes;

use super::close_reason::CloseReason;
use super::connection::{Key, Phase};
use super::control::{Control, HandleError};
use super::core::Core;
use super::handle::{Handle, sendable};
use crate::fanout::room::{EndpointId, RoomKey};
use crate::fanout::{ConnectionId, Recipient};
use crate::limits::{CONNECTIONS_PER_ASK, TERMS_PER_ASK, TURN_BYTES_MAX};
use crate::wire::frame::MessageKind;

/// What a shard is asked to do.
pub(super) type Ask = Box<dyn FnOnce(&mut Core) + Send>;

/// A room in a list of rooms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoomEntry {
    /// Its name.
    pub name: String,
    /// Its members on all shards, as far as is known at this moment.
    pub members: u32,
}

impl Handle {
    /// Members of a room on all shards, as far as is known at this moment; 0 where there is no such
    /// room. It does not wait.
    pub fn member_count(&self, endpoint: EndpointId, room: &str) -> u32 {
        let room = self.doors.directory.find(&key(endpoint, room));
        room.map_or(0, |room| room.members())
    }

    /// Up to `limit` rooms of an endpoint by name, those behind `after` in byte order. It looks at
    /// every room there is, so it is nothing for a shard's thread.
    pub fn rooms(&self, endpoint: EndpointId, after: Option<&str>, limit: usize) -> Vec<RoomEntry> {
        let rooms = self.doors.directory.rooms_after(endpoint, after, limit);
        let entry = |room: &std::sync::Arc<crate::fanout::room::Room>| RoomEntry {
            name: room.key.name.to_string(),
            members: room.members(),
        };
        rooms.iter().map(entry).collect()
    }

    /// Up to `limit` members of a room, in the order of shards and of places on them, those behind
    /// `after`; each as `describe` tells it on the member's own shard. Who stays is in exactly one
    /// of several such pages. Waits for the shards until `deadline`.
    ///
    /// # Errors
    ///
    /// A shard that does not answer in time.
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
        let Some(room) = self.doors.directory.find(&key) else {
            return Ok(Vec::new());
        };
        let from = after.map_or(0, |after| after.shard);
        let mut found = Vec::new();
        for shard in room.tickets.shards().iter().filter(|each| *each >= from) {
            let left = limit - found.len();
            if left == 0 {
                break;
            }
            let after = after.filter(|after| after.shard == shard);
            let after = after.map(|after| after.index);
            let (key, describe) = (key.clone(), describe.clone());
            let more = self.ask(shard, deadline, move |core| {
                members_after(core, &key, after, left, describe)
            })?;
            found.extend(more);
        }
        Ok(found)
    }

    /// Closes those of these connections that are open WebSockets of this endpoint, as
    /// [`Handle::close`] does. Returns how many. Waits for their shards until `deadline`.
    ///
    /// # Errors
    ///
    /// A shard does not answer in time; some are closed then.
    pub fn close_open(
        &self,
        endpoint: EndpointId,
        connections: &[ConnectionId],
        code: u16,
        reason: &str,
        deadline: Instant,
    ) -> Result<usize, HandleError> {
        let reason = reason.to_owned();
        let close = move |core: &mut Core, key| core.doom(key, endpoint_close(code, &reason));
        self.each_open(endpoint, connections, CONNECTIONS_PER_ASK, deadline, close)
    }

    /// Sends to those of these connections that are open WebSockets of this endpoint. Returns how
    /// many. Waits for their shards until `deadline`.
    ///
    /// # Errors
    ///
    /// A message that is too large. A shard does not answer in time; some have it then.
    pub fn send_open(
        &self,
        endpoint: EndpointId,
        connections: &[ConnectionId],
        kind: MessageKind,
        payload: impl Into<Bytes>,
        deadline: Instant,
    ) -> Result<usize, HandleError> {
        let payload = sendable(payload)?;
        // Each gets a frame of its own: a turn makes no more of them than it reads elsewhere.
        let per_ask = TURN_BYTES_MAX / payload.len().max(1);
        let per_ask = per_ask.clamp(1, CONNECTIONS_PER_ASK);
        let send = move |core: &mut Core, key| {
            let now_ns = core.clock.now_ns();
            core.send(key, kind.into(), &payload, now_ns);
        };
        self.each_open(endpoint, connections, per_ask, deadline, send)
    }

    /// Has something done to those of these connections that are open WebSockets of this endpoint,
    /// to `per_ask` of them in a turn. Returns to how many.
    fn each_open(
        &self,
        endpoint: EndpointId,
        connections: &[ConnectionId],
        per_ask: usize,
        deadline: Instant,
        act: impl Fn(&mut Core, Key) + Clone + Send + 'static,
    ) -> Result<usize, HandleError> {
        let mut connections = connections.to_vec();
        connections.retain(|each| each.shard < self.doors.relaying);
        connections.sort_by_key(|each| each.shard);
        let mut done = 0;
        for of_shard in connections.chunk_by(|one, other| one.shard == other.shard) {
            for some in of_shard.chunks(per_ask) {
                let (shard, act) = (some[0].shard, act.clone());
                let some = some.to_vec();
                done += self.ask(shard, deadline, move |core| {
                    let open = some.iter().filter_map(|id| open_of(core, endpoint, *id));
                    let open: Vec<Key> = open.collect();
                    open.iter().for_each(|key| act(core, *key));
                    open.len()
                })?;
            }
        }
        Ok(done)
    }

    /// Closes every member of a room, as [`Handle::close`] does, a bounded number in each turn of
    /// their shards. Returns how many. Waits for the shards until `deadline`.
    ///
    /// # Errors
    ///
    /// A shard does not answer in time, or members join faster than they can be closed; some are
    /// closed then.
    pub fn close_members(
        &self,
        endpoint: EndpointId,
        room: &str,
        code: u16,
        reason: &str,
        deadline: Instant,
    ) -> Result<usize, HandleError> {
        let key = key(endpoint, room);
        let Some(room) = self.doors.directory.find(&key) else {
            return Ok(0);
        };
        let mut closed = 0;
        for shard in room.tickets.shards().iter() {
            loop {
                let (key, reason) = (key.clone(), reason.to_owned());
                let some = self.ask(shard, deadline, move |core| {
                    close_some(core, &key, code, &reason)
                })?;
                closed += some;
                if some < CONNECTIONS_PER_ASK {
                    break;
                }
                if Instant::now() >= deadline {
                    return Err(HandleError::Late);
                }
            }
        }
        Ok(closed)
    }

    /// Has everybody who was let in by a [`super::Keeper`] judged again
    /// ([`super::Terms::keeper`]), and closes open WebSockets of those who may not stay with
    /// [`CloseReason::Revoked`], a bounded number in each turn of their shards. Returns how many.
    /// Waits for the shards until `deadline`.
    ///
    /// # Errors
    ///
    /// A shard does not answer in time; some are closed then.
    pub fn recheck(&self, deadline: Instant) -> Result<usize, HandleError> {
        let mut closed = 0;
        for shard in 0..self.doors.shards() {
            let mut from = Some(0);
            while let Some(index) = from {
                let asked = self.ask(shard, deadline, move |core| recheck_some(core, index));
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
        what: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> Result<T, HandleError> {
        let (answer, answered) = crossbeam_channel::bounded(1);
        let ask: Ask = Box::new(move |core| {
            // Whoever asked may have given up.
            let _ = answer.send(what(core));
        });
        // Where one shard has no place for the question, others may have done their part.
        let asked = self.doors.control_until(shard, Control::Ask(ask), deadline);
        asked.map_err(|_| HandleError::Late)?;
        answered
            .recv_deadline(deadline)
            .map_err(|_| HandleError::Late)
    }
}

/// Does what is asked. A panic in it (of a description) is the asker's trouble alone.
pub(super) fn answer(core: &mut Core, ask: Ask) {
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

/// The connection, if it is an open WebSocket of this endpoint and stays one.
fn open_of(core: &mut Core, endpoint: EndpointId, id: ConnectionId) -> Option<Key> {
    let key = core.key_of(id)?;
    let found = core.connection(key)?;
    let is_open = found.phase == Phase::Open && !found.is_doomed && found.endpoint == endpoint;
    is_open.then_some(key)
}

fn members_after<T>(
    core: &Core,
    key: &RoomKey,
    after: Option<u32>,
    limit: usize,
    describe: impl Fn(&Recipient<'_>) -> T,
) -> Vec<T> {
    let Some(place) = core.find_room(key) else {
        return Vec::new();
    };
    let members = core.rooms[place as usize].connections();
    let mut page: Vec<u32> = members
        .filter(|index| after.is_none_or(|after| *index > after))
        .collect();
    if page.len() > limit {
        page.select_nth_unstable(limit);
        page.truncate(limit);
    }
    page.sort_unstable();
    let describe_at = |index: u32| {
        let connection = &core.connections[index as usize];
        describe(&Recipient {
            id: ConnectionId {
                index,
                generation: connection.generation,
                shard: core.id,
            },
            peer: connection.peer,
            state: connection.state.as_deref(),
            attachments: connection.attachments.as_slice(),
        })
    };
    page.into_iter().map(describe_at).collect()
}

/// Looks at up to [`TERMS_PER_ASK`] places from `from` on, and dooms up to [`CONNECTIONS_PER_ASK`]
/// open WebSockets whose terms do not hold any more. Returns how many, and where to go on.
fn recheck_some(core: &mut Core, from: usize) -> (usize, Option<usize>) {
    let places = core.connections.capacity();
    let mut next = from;
    let mut over = Vec::new();
    while next < places.min(from + TERMS_PER_ASK) && over.len() < CONNECTIONS_PER_ASK {
        if let Some(connection) = core.connections.get(next)
            && connection.phase == Phase::Open
            && !connection.is_doomed
            && connection.terms.as_ref().is_some_and(|terms| !terms.hold())
        {
            over.push(Key {
                index: next as u32,
                generation: connection.generation,
            });
        }
        next += 1;
    }
    for key in &over {
        core.doom(*key, CloseReason::Revoked);
    }
    (over.len(), (next < places).then_some(next))
}

/// Dooms up to [`CONNECTIONS_PER_ASK`] members of a room. Returns how many.
fn close_some(core: &mut Core, room: &RoomKey, code: u16, reason: &str) -> usize {
    let Some(place) = core.find_room(room) else {
        return 0;
    };
    let members = core.rooms[place as usize].connections();
    let keys: Vec<Key> = members
        .map(|index| (index, &core.connections[index as usize]))
        .filter(|(_, connection)| !connection.is_doomed)
        .map(|(index, connection)| Key {
            index,
            generation: connection.generation,
        })
        .take(CONNECTIONS_PER_ASK)
        .collect();
    for key in &keys {
        core.doom(*key, endpoint_close(code, reason));
    }
    keys.len()
}
