//! A connection, as code around its endpoint sees it during a callback.

use std::any::Any;
use std::sync::Arc;

use super::behind::Payload;
use super::core::{Core, PublishedTo};
use crate::engine::answer::Terms;
use crate::engine::close_reason::CloseReason;
use crate::engine::handle::Handle;
use crate::engine::ids::{JoinError, Key, RoomId, is_sendable, is_sendable_size};
use crate::fanout::room::{EndpointId, RoomKey};
use crate::fanout::shared_body::SharedBody;
use crate::fanout::{ConnectionId, Filter, Recipients};
use crate::peer::Peer;
use crate::wire::frame::MessageKind;

/// An open connection, as code around its endpoint sees it during a callback: without the state
/// that the endpoint keeps for it.
pub struct Client<'c> {
    pub(super) core: &'c mut Core,
    pub(super) key: Key,
    received_ns: u64,
    /// Restricts the recipients of what is published.
    veto: Option<Filter>,
}

impl<'c> Client<'c> {
    pub(super) fn new(core: &'c mut Core, key: Key, received_ns: u64) -> Client<'c> {
        core.published.clear();
        Client {
            core,
            key,
            received_ns,
            veto: None,
        }
    }

    /// The id of the connection, for [`Handle`] and for [`Recipients::Except`].
    pub fn id(&self) -> ConnectionId {
        self.core.connection_id(self.key)
    }

    /// The client's address.
    pub fn peer(&self) -> Peer {
        self.core.connections[self.key.index as usize].peer()
    }

    /// The identity of the client, as set by [`crate::Accept::context`] or a guard; `None` if it is
    /// not known or has another type.
    pub fn context<T: Any + Send + Sync>(&self) -> Option<&T> {
        let connection = &self.core.connections[self.key.index as usize];
        connection
            .extras
            .terms()?
            .context
            .as_deref()?
            .downcast_ref()
    }

    /// Replaces the identity of the client and its expiry, for clients that authenticate after they
    /// have connected, or again. A subprotocol can no longer be selected.
    pub fn set_terms(&mut self, terms: Terms) {
        let connection = &mut self.core.connections[self.key.index as usize];
        connection.extras.set_terms(Some(terms));
    }

    /// Keeps a value for the connection besides the endpoint's state: one of each type, for code
    /// around an endpoint that must not touch its state. It is dropped with the connection, after
    /// [`crate::Endpoint::closed`].
    pub fn attach<T: Any + Send>(&mut self, value: T) {
        let connection = &mut self.core.connections[self.key.index as usize];
        connection.extras.attach(value);
    }

    /// The value of this type that was attached last.
    pub fn attached<T: Any + Send>(&mut self) -> Option<&mut T> {
        let connection = &mut self.core.connections[self.key.index as usize];
        connection.extras.attached()
    }

    /// Closes the connection with [`CloseReason::Revoked`] if its authorizer does not let it stay
    /// ([`Terms::authorizer`]): for code that admits clients by an answer that comes later.
    pub fn recheck(&mut self) {
        let connection = &self.core.connections[self.key.index as usize];
        let terms = connection.extras.terms();
        if terms.is_some_and(|terms| !terms.hold()) {
            self.core.schedule_close(self.key, CloseReason::Revoked);
        }
    }

    /// Joins a room of this endpoint, which is created if it does not exist. The connection gets
    /// every frame that is published after this returns. Joining twice has no effect.
    pub fn join(&mut self, room: &str) -> Result<RoomId, JoinError> {
        let key = self.room_key(room);
        self.core.join(self.key, &key)
    }

    /// Joins a room of another endpoint. The connection still belongs to this endpoint, with its
    /// settings, and gets what is published there.
    pub fn join_at(&mut self, endpoint: EndpointId, room: &str) -> Result<RoomId, JoinError> {
        let name = room.into();
        self.core.join(self.key, &RoomKey { endpoint, name })
    }

    /// Whether a room may have this name, which depends on the length that the settings allow.
    pub fn is_room_name(&self, name: &str) -> bool {
        name.len() <= self.core.settings.limits.room_name_bytes
    }

    /// The room of this name, if the connection is in it.
    pub fn joined(&self, room: &str) -> Option<RoomId> {
        let place = self.core.exchange.find(&self.room_key(room))?;
        let connection = &self.core.connections[self.key.index as usize];
        let is_member = connection.rooms.contains(place);
        is_member.then(|| self.core.room_id(place))
    }

    /// Leaves a room, in constant time however many rooms the connection is in.
    pub fn leave(&mut self, room: RoomId) {
        if let Some(place) = self.core.room_place(room) {
            self.core.leave(self.key, place);
        }
    }

    /// The rooms that the connection is in, in the order of joining; if it leaves one, the last
    /// room takes its position.
    pub fn rooms(&self) -> impl Iterator<Item = RoomId> {
        let memberships = &self.core.connections[self.key.index as usize].rooms;
        memberships
            .iter()
            .map(|membership| self.core.room_id(membership.room))
    }

    /// Members of a room on all shards, as far as known at this moment.
    pub fn members(&self, room: RoomId) -> u32 {
        let place = self.core.room_place(room);
        place.map_or(0, |place| self.core.exchange.room(place).members())
    }

    /// Restricts the recipients of what is published through this session from now on, to any room:
    /// a frame goes only to those of its recipients for which `filter` returns true as well. It
    /// applies until the end of the callback; several vetoes add up. It does not apply to frames
    /// published by handles or for a plain request ([`crate::Responder::publish`]).
    pub fn veto(&mut self, filter: Filter) {
        let filter: Filter = match self.veto.take() {
            Some(earlier) => Arc::new(move |each| earlier(each) && filter(each)),
            None => filter,
        };
        self.veto = Some(filter);
    }

    fn unvetoed(&self, recipients: Recipients) -> Recipients {
        match &self.veto {
            Some(veto) => recipients.only(Arc::clone(veto)),
            None => recipients,
        }
    }

    /// Publishes to a room that this connection has joined. If the shard no longer has members of
    /// it, nothing happens.
    pub fn publish(
        &mut self,
        room: RoomId,
        recipients: Recipients,
        kind: MessageKind,
        payload: &[u8],
    ) {
        if self.is_for_it(&recipients) {
            self.core.published.rooms.push(room);
        }
        let recipients = self.unvetoed(recipients);
        if let Some(place) = self.core.room_place(room) {
            self.core
                .publish(place, recipients, kind.into(), payload, self.received_ns);
        }
    }

    /// Publishes to any room of this endpoint, by name. Returns whether the room has members.
    pub fn publish_to(
        &mut self,
        room: &str,
        recipients: Recipients,
        kind: MessageKind,
        payload: &[u8],
    ) -> bool {
        let endpoint = self.core.connections[self.key.index as usize].endpoint;
        self.publish_at(endpoint, room, recipients, kind, payload)
    }

    /// Publishes to a room of another endpoint.
    pub fn publish_at(
        &mut self,
        endpoint: EndpointId,
        room: &str,
        recipients: Recipients,
        kind: MessageKind,
        payload: &[u8],
    ) -> bool {
        if !is_sendable(payload) {
            return false;
        }
        let is_for_it = self.is_for_it(&recipients);
        let recipients = self.unvetoed(recipients);
        let name = room.into();
        let key = RoomKey { endpoint, name };
        let has_members =
            self.core
                .publish_by_name(&key, recipients, kind.into(), payload, self.received_ns);
        if has_members && is_for_it {
            self.core.published.names.push(key);
        }
        has_members
    }

    /// Whether this connection may be among the recipients.
    #[inline]
    fn is_for_it(&self, recipients: &Recipients) -> bool {
        !matches!(recipients, Recipients::Except(sender) if *sender == self.id())
    }

    /// Sends to this connection alone. Messages published earlier in the same callback, to a room
    /// of this connection, come before it.
    pub fn send(&mut self, kind: MessageKind, payload: &[u8]) {
        if !is_sendable(payload) {
            return;
        }
        let (key, opcode) = (self.key, kind.into());
        match self.own_rooms_published_to() {
            rooms if rooms.is_empty() => self.core.send(key, opcode, payload, self.received_ns),
            rooms => {
                let (core, payload) = (&mut *self.core, Payload::Whole(payload.into()));
                core.send_behind(key, rooms, opcode, payload, self.received_ns);
            }
        }
    }

    /// Sends a message to this connection alone that consists of `head` followed by `body`, in
    /// order with [`Client::send`]. The body is not copied, however many clients get it, unless it
    /// is shorter than a few hundred bytes, since sharing does not pay for those. A client that
    /// [inflates](Client::inflates) gets the deflated body, if there is one, with a plain head.
    /// Together they must not exceed the size of a message, and a text must be UTF-8 as a whole.
    pub fn send_shared(&mut self, kind: MessageKind, head: &[u8], body: &SharedBody) {
        if !is_sendable_size(head.len() + body.len()) {
            return;
        }
        let (key, opcode) = (self.key, kind.into());
        match self.own_rooms_published_to() {
            rooms if rooms.is_empty() => {
                let core = &mut *self.core;
                core.send_shared(key, opcode, head, body, self.received_ns);
            }
            rooms => {
                let (core, payload) = (&mut *self.core, Payload::Shared(head.into(), body.clone()));
                core.send_behind(key, rooms, opcode, payload, self.received_ns);
            }
        }
    }

    /// Makes a body for [`Client::send_shared`], for this connection and any other: `payload` is
    /// copied once. With `deflate` it is deflated at once for clients that inflate, if the
    /// endpoint's settings enable compression and it is long enough for them.
    pub fn shared_body(&mut self, payload: &[u8], deflate: bool) -> SharedBody {
        let endpoint = self.core.connections[self.key.index as usize].endpoint;
        self.core.shared_body(endpoint, payload, deflate)
    }

    /// Whether the client has negotiated compressed messages (RFC 7692).
    pub fn inflates(&self) -> bool {
        self.core.connections[self.key.index as usize].window_bits > 0
    }

    /// Tells the engine that the client's message gets no answer, so that TCP acknowledges it at
    /// once. Otherwise the acknowledgement is delayed for up to 40 ms, and a client with Nagle's
    /// algorithm waits as long before it sends the next message. Done at most once a turn, and only
    /// if nothing is sent to the client anyway. It works on Linux and over TCP; elsewhere it does
    /// nothing.
    pub fn acknowledge(&mut self) {
        if self.core.unanswered.last() != Some(&self.key) {
            self.core.unanswered.push(self.key);
        }
    }

    /// The rooms of this connection that this callback has published to.
    #[inline]
    fn own_rooms_published_to(&self) -> Vec<RoomId> {
        let PublishedTo { rooms, names } = &self.core.published;
        let own = |place: Option<u32>| {
            let rooms = &self.core.connections[self.key.index as usize].rooms;
            let place = place.filter(|place| rooms.contains(*place))?;
            Some(self.core.room_id(place))
        };
        let by_id = rooms.iter().map(|room| self.core.room_place(*room));
        let by_name = names.iter().map(|key| self.core.exchange.find(key));
        by_id.chain(by_name).filter_map(own).collect()
    }

    /// Charges the turn for work besides handling the connection's messages: an estimate in
    /// nanoseconds of this thread.
    pub fn spend(&mut self, ns: u64) {
        self.core.work.spend(ns);
    }

    /// Stops reading the client until [`Client::release`], so that TCP slows it down. Data that has
    /// arrived waits, and the ping timeout does not run. A client that is held must be released:
    /// until then, not even its disconnect is noticed.
    pub fn hold(&mut self) {
        self.core.hold(self.key);
    }

    /// Goes on reading it, first what was held back.
    pub fn release(&mut self) {
        self.core.release(self.key);
    }

    /// Whether its last send would have blocked, so that what is sent to it waits.
    pub fn is_behind(&self) -> bool {
        !self.core.connections[self.key.index as usize].is_writable
    }

    /// The bytes that wait to be sent to it.
    pub fn outbox_bytes(&self) -> usize {
        let connection = &self.core.connections[self.key.index as usize];
        let behind_bytes = self.core.behind.bytes_for(self.key);
        connection.all_bytes() + behind_bytes
    }

    /// Asks for a call of [`Endpoint::drained`](crate::Endpoint::drained), once, when at most
    /// `bytes` wait for the client: after the flush of this turn, if that is true by then. The last
    /// call before that determines `bytes`.
    pub fn await_low_water(&mut self, bytes: usize) {
        self.core.await_low_water(self.key, bytes);
    }

    /// Closes the connection after the callback, with `code` (RFC 6455 §7.4) and a reason, which is
    /// cut to 123 bytes. A code that must not be sent (1005, 1006, below 1000 and others) makes an
    /// empty Close frame.
    pub fn close(&mut self, code: u16, reason: &str) {
        let reason = reason.to_owned().into();
        self.core
            .schedule_close(self.key, CloseReason::Endpoint { code, reason });
    }

    /// Closes the connection because of a forbidden action ([`CloseReason::Forbidden`]).
    pub fn forbid(&mut self) {
        self.core.schedule_close(self.key, CloseReason::Forbidden);
    }

    /// A handle that other threads can use.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.core.shared))
    }

    fn room_key(&self, name: &str) -> RoomKey {
        let endpoint = self.core.connections[self.key.index as usize].endpoint;
        RoomKey {
            endpoint,
            name: name.into(),
        }
    }
}
