//! Endpoints: the trait for the WebSockets of a path. The relay's own endpoints implement it, and
//! so do those of an embedder. A [`Service`](crate::Service) handles plain requests.
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
    /// The endpoint cannot work, for example because a file is missing: the engine does not start.
    fn started(&self, handle: &Handle) -> Result<(), EndpointError> {
        let _ = handle;
        Ok(())
    }

    /// Passes the endpoint a way to send mail to its parts on the shards ([`Local::mail`]). Called
    /// once, after [`Endpoint::started`].
    fn mailer(&self, mailer: Mailer<<Self::Local as Local>::Mail>) {
        let _ = mailer;
    }

    /// A shard has begun. `local` is the default value and may be filled in. Called on the shard
    /// before anything else.
    fn started_on(&self, shard: &mut OnShard<'_, Self::Local>, local: &mut Self::Local) {
        let _ = (shard, local);
    }

    /// Called on reload. Adopt whatever settings of `next` can change at run time; `next` is
    /// dropped. It is not called on a shard.
    fn reload(&self, next: &Self) {
        let _ = next;
    }

    /// A client requests a WebSocket. The request is valid (RFC 6455 §4.2.1). The default admits
    /// every client.
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

    /// The WebSocket has ended. Called exactly once for each that was opened. It is still in its
    /// rooms, so it can publish to them.
    fn closed(&self, session: &mut Session<'_, Self::State, Self::Local>, reason: &CloseReason) {
        let _ = (session, reason);
    }

    /// At most as many bytes wait for the client as were given to
    /// [`await_low_water`](crate::Client::await_low_water), so more may be sent. Called once,
    /// however often it was asked for before.
    fn drained(&self, session: &mut Session<'_, Self::State, Self::Local>) {
        let _ = session;
    }

    /// A second has passed. Called only on the admin shard, if there is one, so that an endpoint
    /// that reports on the relay needs no thread. It should return at once if it has no listeners.
    fn pulse(&self, pulse: &mut Pulse<'_>) {
        let _ = pulse;
    }

    /// The labels of its own reasons for refusing clients ([`Refusal::Own`](crate::Refusal::Own)),
    /// each of which is counted separately. An endpoint around another one includes that one's
    /// labels. Called once, before the engine starts.
    fn reasons(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// Operations besides giving an answer: defer it, and publish.
pub struct Responder<'a> {
    pub(super) core: &'a mut Core,
    pub(super) connection: ConnectionId,
}

impl Responder<'_> {
    /// Members of a room on all shards, as far as known at this moment.
    pub fn members(&self, endpoint: EndpointId, room: &str) -> u32 {
        let name = room.into();
        self.core.exchange.members(&RoomKey { endpoint, name })
    }

    /// Publishes to a room of any endpoint, by name. Returns whether the room has members. Session
    /// vetoes ([`Client::veto`](crate::Client::veto)) do not apply: the caller is not a member of
    /// the room.
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

    /// Defers an admission. The token may be answered from any thread within `timeout`. After that,
    /// or if the token is dropped, the client gets 503.
    pub fn admission<S>(&mut self, timeout: Duration) -> (Admission<S>, DeferredAdmission<S>) {
        let (pending, token) = self.defer(timeout);
        let token = DeferredAdmission {
            token,
            state: PhantomData,
        };
        (Admission::Later(pending), token)
    }

    /// Defers the answer to a plain request in the same way.
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
        // If the control mailbox is full, the shard finds the answer in its next sweep.
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
    /// Admits the client.
    pub fn accept(mut self, accept: Accept<S>) {
        self.token.answer(LateAnswer::Accept(accept.erase()));
    }

    /// Refuses the client.
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

    /// Refuses the request.
    pub fn refuse(mut self, refused: Refused) {
        self.0.answer(LateAnswer::Refuse(refused));
    }
}
