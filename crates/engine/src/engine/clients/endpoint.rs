//! Endpoints: the trait for the WebSockets of a path. The relay's own endpoints implement it, and
//! so do an embedder's. Plain requests are for a [`Service`](crate::Service).
//!
//! All methods are called on the connection's own shard and must not wait. Defer work that has to
//! wait (for a database, a key server): [`Responder`] hands out a token that may be answered from
//! any thread.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::local::{Local, Mailer, OnShard};
use super::pulse::Pulse;
use super::session::Session;
use crate::engine::answer::{
    Accept, Admission, Answer, AnswerSlot, EndpointError, LateAnswer, Pending, Request, unanswered,
};
use crate::engine::close_reason::CloseReason;
use crate::engine::control::{Control, Shared};
use crate::engine::handle::Handle;
use crate::engine::ids::is_sendable;
use crate::engine::refusal::Refused;
use crate::fanout::room::{EndpointId, RoomKey};
use crate::fanout::{ConnectionId, Recipients};
use crate::wire::decoder::Message;
use crate::wire::frame::MessageKind;
use crate::wire::http::Response;

/// An endpoint handles the WebSockets of a path. One value serves all shards, so data that it
/// changes needs a lock or an atomic, unless it belongs to one connection ([`Endpoint::State`]) or
/// to one shard ([`Endpoint::Local`]).
///
/// If a method panics, that connection is closed with 1011 and nothing else happens.
pub trait Endpoint: Sized + Send + Sync + 'static {
    /// The state of a connection: [`Accept::state`], [`Session::state`]. The engine creates it on
    /// first use. An endpoint without such state uses `()`.
    type State: Default + Send + 'static;

    /// The state of a shard, which never leaves it, and the work that is done there besides
    /// answering clients: [`Session::local`]. An endpoint without such state uses `()`.
    type Local: Local;

    /// The engine is about to start. An endpoint that publishes or reports by itself keeps a clone
    /// of the handle.
    ///
    /// # Errors
    ///
    /// The endpoint cannot work, for example for want of a file: the engine does not start.
    fn started(&self, handle: &Handle) -> Result<(), EndpointError> {
        let _ = handle;
        Ok(())
    }

    /// The way to send mail to what this endpoint keeps on the shards ([`Local::mail`]). Called
    /// once, after [`Endpoint::started`].
    fn mailer(&self, mailer: Mailer<<Self::Local as Local>::Mail>) {
        let _ = mailer;
    }

    /// A shard has begun: `local` is the default, and may be given what it needs. Called on the
    /// shard before anything else is.
    fn started_on(&self, shard: &mut OnShard<'_, Self::Local>, local: &mut Self::Local) {
        let _ = (shard, local);
    }

    /// The configuration was read again, and asks for `next` in the place of this one, which goes
    /// on with what it can take over. `next` is dropped. It is not called on a shard.
    fn reload(&self, next: &Self) {
        let _ = next;
    }

    /// A client asks for a WebSocket. The request is valid (RFC 6455 §4.2.1). The default lets
    /// everybody in.
    fn admit(
        &self,
        request: &Request<'_>,
        responder: &mut Responder<'_>,
    ) -> Admission<Self::State> {
        let _ = (request, responder);
        Admission::Accept(Accept::new())
    }

    /// The WebSocket is open.
    fn opened(&self, session: &mut Session<'_, Self::State, Self::Local>, request: &Request<'_>) {
        let _ = (session, request);
    }

    /// A message has arrived.
    fn message(&self, session: &mut Session<'_, Self::State, Self::Local>, message: Message<'_>);

    /// The WebSocket is over: called exactly once for each that was opened. It is still in its
    /// rooms, so that it can publish to them.
    fn closed(&self, session: &mut Session<'_, Self::State, Self::Local>, reason: &CloseReason) {
        let _ = (session, reason);
    }

    /// No more waits for the client than [`await_low_water`](crate::Client::await_low_water) has
    /// said: more may be sent. Called once, however often it was asked for before.
    fn drained(&self, session: &mut Session<'_, Self::State, Self::Local>) {
        let _ = session;
    }

    /// A second is over. Called on the admin shard alone, where there is one, so that an endpoint
    /// which tells what the relay does needs no thread: it returns at once where nobody listens.
    fn pulse(&self, pulse: &mut Pulse<'_>) {
        let _ = pulse;
    }

    /// The labels of the reasons of its own for which it refuses clients
    /// ([`Refusal::Own`](crate::Refusal::Own)): each
    /// is counted apart. An endpoint around another one has that one's too. They are asked for
    /// once, before the engine starts.
    fn reasons(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// What may be done besides giving an answer: promise it for later, and publish.
pub struct Responder<'a> {
    pub(super) core: &'a mut Core,
    pub(super) connection: ConnectionId,
}

impl Responder<'_> {
    /// Members of a room on all shards, as far as is known at this moment.
    pub fn members(&self, endpoint: EndpointId, room: &str) -> u32 {
        let name = room.into();
        self.core.exchange.members(&RoomKey { endpoint, name })
    }

    /// Publishes to a room of any endpoint, by name. Returns whether it has any members. Who asks
    /// is no member, and what it asks for is no message: no veto
    /// ([`Client::veto`](crate::Client::veto)) holds here.
    pub fn publish(
        &mut self,
        endpoint: EndpointId,
        room: &str,
        recipients: Recipients,
        kind: MessageKind,
        payload: &[u8],
    ) -> bool {
        let name = room.into();
        let received_ns = self.core.clock.now_ns();
        is_sendable(payload)
            && self.core.publish_by_name(
                &RoomKey { endpoint, name },
                recipients,
                kind.into(),
                payload,
                received_ns,
            )
    }

    /// Defers an admission. The token may be answered from any thread, within `timeout`: after that
    /// the client gets 503, as it does when the token is dropped.
    pub fn admission<S>(&mut self, timeout: Duration) -> (Admission<S>, DeferredAdmission<S>) {
        let (pending, token) = self.defer(timeout);
        let token = DeferredAdmission {
            token,
            state: PhantomData,
        };
        (Admission::Later(pending), token)
    }

    /// Defers the answer to a plain request, likewise.
    pub fn response(&mut self, timeout: Duration) -> (Answer, DeferredResponse) {
        let (pending, token) = self.defer(timeout);
        (Answer::Later(pending), DeferredResponse(token))
    }

    fn defer(&mut self, timeout: Duration) -> (Pending, Token) {
        let slot = Arc::<AnswerSlot>::default();
        let token = Token {
            slot: Arc::clone(&slot),
            shared: Arc::clone(&self.core.shared),
            connection: self.connection,
            is_answered: false,
        };
        let pending = Pending {
            slot,
            timeout,
            terms: None,
        };
        (pending, token)
    }
}

/// The right to answer once.
struct Token {
    slot: Arc<AnswerSlot>,
    shared: Arc<Shared>,
    connection: ConnectionId,
    is_answered: bool,
}

impl Token {
    fn answer(&mut self, answer: LateAnswer) {
        self.is_answered = true;
        self.slot.put(answer);
        // Where the control mailbox is full the shard finds the answer in its next sweep.
        let _ = self
            .shared
            .control(self.connection.shard, Control::Answered(self.connection));
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if !self.is_answered {
            self.answer(LateAnswer::Refuse(unanswered()));
        }
    }
}

/// The right to admit a client or to refuse it, once.
pub struct DeferredAdmission<S = ()> {
    token: Token,
    state: PhantomData<fn(S)>,
}

impl<S: Send + 'static> DeferredAdmission<S> {
    /// Lets the client in.
    pub fn accept(mut self, accept: Accept<S>) {
        self.token.answer(LateAnswer::Accept(accept.erase()));
    }

    /// Refuses it.
    pub fn refuse(mut self, refused: Refused) {
        self.token.answer(LateAnswer::Refuse(refused));
    }
}

/// The right to answer a plain request, once.
pub struct DeferredResponse(Token);

impl DeferredResponse {
    /// Answers.
    pub fn respond(mut self, response: Response) {
        self.0.answer(LateAnswer::Respond(response));
    }

    /// Refuses it.
    pub fn refuse(mut self, refused: Refused) {
        self.0.answer(LateAnswer::Refuse(refused));
    }
}
