//! The part of an endpoint on a shard, besides answering its clients: its state, its mail, work in
//! small steps, and a tick each second.

use std::marker::PhantomData;
use std::sync::Arc;

use super::client::Client;
use super::core::Core;
use crate::engine::clients::connection::Phase;
use crate::engine::control::{Control, Shared};
use crate::engine::ids::is_sendable;
use crate::exchange::EndpointMail;
use crate::fanout::room::{EndpointId, RoomKey};
use crate::fanout::shared_body::SharedBody;
use crate::fanout::{ConnectionId, Recipients};
use crate::limits::TERMS_PER_ASK;
use crate::peer::Peer;
use crate::wire::deflate::Deflater;
use crate::wire::frame::MessageKind;

/// The state of an endpoint on each shard ([`Endpoint::Local`](crate::Endpoint::Local)). It is
/// created on the shard's thread, never leaves it, and need not be `Send`. All methods are called
/// there, between the callbacks for clients, and must not wait. A panic is counted, and has no
/// other effect.
pub trait Local: Default + 'static {
    /// The type of its mail. It is sent from any thread by a [`Mailer`], and from the endpoint's
    /// own callbacks by [`Session::mail`](crate::Session::mail) and [`OnShard::mail`].
    type Mail: Send + Sync + 'static;

    /// Mail has arrived. Mail of one sender arrives in the order in which it was sent.
    fn mail(&mut self, shard: &mut OnShard<'_, Self>, mail: &Arc<Self::Mail>) {
        let _ = (shard, mail);
    }

    /// Does a part of the work for which [`OnShard::ask_for_turn`] or
    /// [`Session::ask_for_turn`](crate::Session::ask_for_turn) was called. It is called once in
    /// each turn of the shard, after clients were read, and should return when
    /// [`OnShard::is_spent`] says so. Returns whether work is left for the next turn.
    fn turn(&mut self, shard: &mut OnShard<'_, Self>) -> bool {
        let _ = shard;
        false
    }

    /// A second has passed on this shard.
    fn tick(&mut self, shard: &mut OnShard<'_, Self>) {
        let _ = shard;
    }
}

/// For endpoints without state on a shard.
impl Local for () {
    type Mail = ();
}

/// A shard, as an endpoint sees it in calls that are not for one of its clients.
pub struct OnShard<'a, L: Local> {
    core: &'a mut Core,
    endpoint: EndpointId,
    local: PhantomData<fn(L)>,
}

impl<'a, L: Local> OnShard<'a, L> {
    pub(super) fn new(core: &'a mut Core, endpoint: EndpointId) -> OnShard<'a, L> {
        OnShard {
            core,
            endpoint,
            local: PhantomData,
        }
    }

    /// The number of this shard.
    pub fn shard(&self) -> u16 {
        self.core.id
    }

    /// The number of shards, including the admin shard.
    pub fn shards(&self) -> u16 {
        self.core.shared.shards()
    }

    /// A client of the endpoint, if it is on this shard and open.
    pub fn client(&mut self, id: ConnectionId) -> Option<Client<'_>> {
        let key = self.core.key_of(id)?;
        let connection = self.core.connection(key)?;
        if connection.endpoint != self.endpoint || !self.core.is_open(key) {
            return None;
        }
        let now_ns = self.core.clock.now_ns();
        Some(Client::new(self.core, key, now_ns))
    }

    /// Visits open clients of the endpoint on this shard, from slot `from` on, a bounded number.
    /// Returns the slot to continue at if there may be more; a client that stays is visited once.
    pub fn clients_from(
        &self,
        from: usize,
        mut visit: impl FnMut(ConnectionId, Peer),
    ) -> Option<usize> {
        let mut next = self.core.connections.next_from(from);
        for _ in 0..TERMS_PER_ASK {
            let index = next?;
            let connection = &self.core.connections[index];
            if connection.phase == Phase::Open && connection.endpoint == self.endpoint {
                let id = ConnectionId {
                    index: index as u32,
                    generation: connection.generation,
                    shard: self.core.id,
                };
                visit(id, connection.peer());
            }
            next = self.core.connections.next_from(index + 1);
        }
        next
    }

    /// Members of a room of this endpoint, on all shards, as far as known at this moment.
    pub fn members(&self, room: &str) -> u32 {
        self.core.exchange.members(&self.room_key(room))
    }

    /// Publishes to a room of this endpoint. Returns whether the room has members.
    pub fn publish(
        &mut self,
        room: &str,
        recipients: Recipients,
        kind: MessageKind,
        payload: &[u8],
    ) -> bool {
        let (key, now_ns) = (self.room_key(room), self.core.clock.now_ns());
        is_sendable(payload)
            && self
                .core
                .publish_by_name(&key, recipients, kind.into(), payload, now_ns)
    }

    /// Makes a body that clients of all shards can share: see [`Client::shared_body`].
    pub fn shared_body(&mut self, payload: &[u8], deflate: bool) -> SharedBody {
        self.core.shared_body(self.endpoint, payload, deflate)
    }

    /// Sends mail to the endpoint on a shard, which may be this one. It is never lost. While a
    /// shard does not take its mail, this shard reads none of its clients.
    pub fn mail(&mut self, shard: u16, mail: Arc<L::Mail>) {
        self.core.send_mail(self.endpoint, shard, mail);
    }

    /// Sends mail to the endpoint on all shards.
    pub fn mail_all(&mut self, mail: &Arc<L::Mail>) {
        for shard in 0..self.shards() {
            self.mail(shard, Arc::<L::Mail>::clone(mail));
        }
    }

    /// Asks for a call of [`Local::turn`]: in this turn of the shard if its reading is not over,
    /// otherwise in the next.
    pub fn ask_for_turn(&mut self) {
        self.core.ask_for_turn(self.endpoint);
    }

    /// Charges the turn for work: an estimate in nanoseconds of this thread.
    pub fn spend(&mut self, ns: u64) {
        self.core.work.spend(ns);
    }

    /// Whether the rest should wait for the next turn.
    pub fn is_spent(&self) -> bool {
        self.core.work.is_spent()
    }

    fn room_key(&self, room: &str) -> RoomKey {
        RoomKey {
            endpoint: self.endpoint,
            name: room.into(),
        }
    }
}

impl Core {
    pub(super) fn send_mail<M: Send + Sync + 'static>(
        &mut self,
        endpoint: EndpointId,
        shard: u16,
        mail: Arc<M>,
    ) {
        if shard < self.shared.shards() {
            self.exchange.send(shard, EndpointMail { endpoint, mail });
        }
    }

    pub(super) fn ask_for_turn(&mut self, endpoint: EndpointId) {
        if !self.at_work.contains(&endpoint) {
            self.at_work.push_back(endpoint);
        }
    }
}

/// The engine has ended, so no shard takes mail any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the engine has ended")]
pub struct Ended;

/// Sends mail to an endpoint on its shards, from any thread except theirs.
pub struct Mailer<M> {
    shared: Arc<Shared>,
    endpoint: EndpointId,
    mail: PhantomData<fn(M)>,
}

impl<M> Clone for Mailer<M> {
    fn clone(&self) -> Self {
        Mailer::new(Arc::clone(&self.shared), self.endpoint)
    }
}

impl<M> Mailer<M> {
    pub(super) fn new(shared: Arc<Shared>, endpoint: EndpointId) -> Mailer<M> {
        Mailer {
            shared,
            endpoint,
            mail: PhantomData,
        }
    }

    /// The number of shards, including the admin shard.
    pub fn shards(&self) -> u16 {
        self.shared.shards()
    }

    /// Makes a body for [`Client::send_shared`] on a thread that is not a shard's, to be sent to
    /// the shards by mail. With `deflater` and a level of 1 to 9, it is deflated once for clients
    /// that inflate, if that makes it smaller.
    pub fn shared_body(&self, payload: &[u8], deflater: Option<(&mut Deflater, u8)>) -> SharedBody {
        SharedBody::new(payload, deflater, &self.shared.interconnect.live)
    }
}

impl<M: Send + Sync + 'static> Mailer<M> {
    /// Sends mail to the endpoint on a shard, after everything that this thread has sent there
    /// before. It waits while the shard has too much to do, so it must not be called on a shard's
    /// thread; use [`OnShard::mail`] or [`Session::mail`](crate::Session::mail) there.
    ///
    /// # Errors
    ///
    /// The shard has ended, or does not exist.
    pub fn send(&self, shard: u16, mail: Arc<M>) -> Result<(), Ended> {
        let mail = EndpointMail {
            endpoint: self.endpoint,
            mail,
        };
        let sent = self.shared.control_waiting(shard, Control::Mail(mail));
        sent.map_err(|_| Ended)
    }

    /// Sends mail to the endpoint on all shards, one after the other.
    ///
    /// # Errors
    ///
    /// A shard has ended; some of the others may have got the mail.
    pub fn send_all(&self, mail: &Arc<M>) -> Result<(), Ended> {
        (0..self.shards()).try_for_each(|shard| self.send(shard, Arc::clone(mail)))
    }
}
