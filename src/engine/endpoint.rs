//! What a path does with its connections: the trait that the relay's own endpoints implement, and
//! an embedder's.
//!
//! Everything here is called on the connection's own shard and must not wait. What has to wait (a
//! database, a key server) is deferred: [`Later`] hands out a token that may be answered from any
//! thread.

use std::any::Any;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::close_reason::{CloseReason, Refusal};
use super::control::{Control, Doors};
use super::core::Core;
use super::handle::Handle;
use super::pulse::Pulse;
use super::session::{Session, is_sendable};
use crate::fanout::room::{EndpointId, RoomKey};
use crate::fanout::{ConnectionId, Recipients};
use crate::wire::decoder::Message;
use crate::wire::frame::MessageKind;
use crate::wire::http::{Head, Response};

/// Why an endpoint cannot start.
pub type EndpointError = Box<dyn std::error::Error + Send + Sync>;

/// What a path does with its connections. One value serves all shards, so what it changes it has
/// to share by itself; what belongs to one connection goes into the connection's state
/// ([`Accept::state`], [`Session::state`]).
///
/// Where one of these panics, that connection is closed with 1011 and nothing else happens.
pub trait Endpoint: Any + Send + Sync {
    /// The engine is about to start. An endpoint that publishes or reports by itself keeps a clone
    /// of the handle.
    ///
    /// # Errors
    ///
    /// What the endpoint cannot work without is not to be had: the engine does not start.
    fn started(&self, handle: &Handle) -> Result<(), EndpointError> {
        let _ = handle;
        Ok(())
    }

    /// The configuration was read again, and asks for `next` in the place of this one, which goes
    /// on with what it can take over. `next` is dropped. It is not called on a shard.
    fn take_over(&self, next: &dyn Endpoint) {
        let _ = next;
    }

    /// A client asks for a WebSocket. The request is valid (RFC 6455 §4.2.1). The default lets
    /// everybody in.
    fn admit(&self, request: &Request<'_>, later: &mut Later<'_>) -> Admission {
        let _ = (request, later);
        Admission::Accept(Accept::new())
    }

    /// The WebSocket is open.
    fn opened(&self, session: &mut Session<'_>, request: &Request<'_>) {
        let _ = (session, request);
    }

    /// A message has arrived.
    fn message(&self, session: &mut Session<'_>, message: Message<'_>);

    /// The WebSocket is over: called exactly once for each that was opened. It is still in its
    /// rooms, so that it can publish to them.
    fn closed(&self, session: &mut Session<'_>, reason: &CloseReason) {
        let _ = (session, reason);
    }

    /// A second is over. Called on the admin shard alone, where there is one, so that an endpoint
    /// which tells what the relay does needs no thread: it returns at once where nobody listens.
    fn pulse(&self, pulse: &mut Pulse<'_>) {
        let _ = pulse;
    }

    /// The methods of plain requests that it answers: for another one the engine itself says 405,
    /// with these and OPTIONS in `Allow`, and it answers OPTIONS where that is not among them. What
    /// is no method of [RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#section-9.3) or PATCH is a
    /// 501 everywhere.
    fn methods(&self) -> &'static [&'static str] {
        &["GET", "HEAD"]
    }

    /// The engine refuses a request for a path of this endpoint by itself: its head, its method,
    /// its body or its upgrade is wrong, or it comes at a bad time. `code` is a fixed word for the
    /// reason, `response` says it in a line of text. An endpoint whose clients look for another
    /// form of error gives it another body or more headers; the status should stay. An endpoint
    /// around another one passes this on to it, and has its own refusals worded so as well.
    fn refusal(&self, response: Response, code: &'static str) -> Response {
        let _ = code;
        response
    }

    /// Whether its plain requests ask if the relay lives: without a body they are answered even if
    /// the client is over a limit or the relay is full. The answer must cost next to nothing.
    fn is_probe(&self) -> bool {
        false
    }

    /// The head of a plain request is there, its body still to come. What the head alone decides
    /// is said here: then nothing of the body is waited for or kept. It is called once for such a
    /// request, before [`Endpoint::request`] or [`Endpoint::judged_request`], and not for one that
    /// is whole. An endpoint around another one passes both on; one that does not has all judged
    /// in `request`.
    fn judge_head(&self, request: &Request<'_>, later: &mut Later<'_>) -> HeadVerdict {
        let _ = (request, later);
        HeadVerdict::Open
    }

    /// As [`Endpoint::request`], for a request that [`Endpoint::judge_head`] has admitted: nothing
    /// is judged again. What is known about the client is its context.
    fn judged_request(&self, request: &Request<'_>, later: &mut Later<'_>) -> Answer {
        self.request(request, later)
    }

    /// A plain HTTP request with one of [`Endpoint::methods`]. The default says that this is a
    /// WebSocket endpoint (426).
    fn request(&self, request: &Request<'_>, later: &mut Later<'_>) -> Answer {
        let _ = (request, later);
        Answer::Now(upgrade_required())
    }
}

/// 426, with a line that says what this is (RFC 9110 §15.5.22).
pub fn upgrade_required() -> Response {
    Response::text(
        426,
        "This is a WebSocket endpoint: connect to it with a WebSocket client.\n",
    )
    .with_header("Upgrade", "websocket")
    .with_header("Sec-WebSocket-Version", "13")
}

/// A request, as an endpoint sees it.
pub struct Request<'r> {
    /// The request line and the headers.
    pub head: &'r Head<'r>,
    /// What the endpoint's path pattern took from the path, percent-decoded; `None` where it takes
    /// nothing, and where that is no UTF-8 or an escape in it is none.
    pub parameter: Option<&'r str>,
    /// The body; empty where there is none.
    pub body: &'r [u8],
    /// The client's address.
    pub peer: SocketAddr,
    /// The connection.
    pub connection: ConnectionId,
    /// In [`Endpoint::admit`] and for plain requests: what a guard in front of the endpoint found
    /// out about the client. Afterwards it is [`Session::context`].
    pub context: Option<&'r Context>,
}

/// What is known about a client, shared with whoever wants to know it.
pub type Context = dyn Any + Send + Sync;

impl Request<'_> {
    /// [`Request::context`], where it is of this type.
    pub fn context<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.context?.downcast_ref()
    }

    /// A copy for those who want to keep the request.
    pub fn to_owned(&self) -> OwnedRequest {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        OwnedRequest {
            method: self.head.method.to_owned(),
            target: self.head.target.to_owned(),
            headers: self
                .head
                .headers
                .iter()
                .map(|header| (header.name.to_owned(), text(header.value)))
                .collect(),
            parameter: self.parameter.map(str::to_owned),
            peer: self.peer,
        }
    }
}

/// A request that is kept for the connection's life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnedRequest {
    /// The method.
    pub method: String,
    /// The request target, as sent.
    pub target: String,
    /// The headers, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// What the endpoint's path pattern took from the path, percent-decoded.
    pub parameter: Option<String>,
    /// The client's address.
    pub peer: SocketAddr,
}

impl OwnedRequest {
    /// The first header of that name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// Whether a client gets its WebSocket.
pub enum Admission {
    /// Yes.
    Accept(Accept),
    /// No, and this is the answer. Its status must not be 101.
    Refuse(Response),
    /// The same, counted under another reason than [`Refusal::Endpoint`].
    RefuseFor(Refusal, Response),
    /// It will be said later: see [`Later::admission`].
    Later(Pending),
}

impl Admission {
    /// Refuses with `status` and a line of text.
    pub fn refuse(status: u16, text: impl Into<String>) -> Admission {
        Admission::Refuse(Response::text(status, text))
    }

    /// Gives these terms to whoever is let in, now or later, without terms of its own.
    pub fn on(mut self, terms: Terms) -> Admission {
        match &mut self {
            Admission::Accept(accept) => {
                accept.terms.get_or_insert(terms);
            }
            Admission::Later(pending) => {
                pending.terms.get_or_insert(terms);
            }
            Admission::Refuse(_) | Admission::RefuseFor(..) => {}
        }
        self
    }
}

/// Who a client is, and for how long: what holds for as long as its WebSocket is open.
#[derive(Clone, Default)]
pub struct Terms {
    /// For [`Session::context`].
    pub context: Option<Arc<Context>>,
    /// When the WebSocket is closed with 1008 ([`CloseReason::Expired`]), to within a second. It is
    /// the time of day that counts, so a machine that was suspended closes what has expired
    /// meanwhile. `None`: never.
    pub expires: Option<SystemTime>,
    /// The subprotocol that is selected where the client offers it and the endpoint selects none.
    pub protocol: Option<&'static str>,
    /// Who can say later whether the client may stay: see [`Handle::recheck`].
    pub keeper: Option<Arc<dyn Keeper>>,
}

/// Whoever has let a client in, and may change its mind.
pub trait Keeper: Send + Sync {
    /// Whether a client with these terms may stay. It is called on the client's own shard.
    fn keeps(&self, terms: &Terms) -> bool;
}

impl Terms {
    /// Whether there is nothing in them to be kept for a WebSocket that is open.
    pub(super) fn are_empty(&self) -> bool {
        self.context.is_none() && self.expires.is_none() && self.keeper.is_none()
    }

    /// Whether whoever let the client in lets it stay.
    pub(super) fn hold(&self) -> bool {
        self.keeper.as_ref().is_none_or(|keeper| keeper.keeps(self))
    }
}

/// The terms on which a client gets its WebSocket.
#[derive(Default)]
pub struct Accept {
    pub(super) protocol: Option<Cow<'static, str>>,
    pub(super) state: Option<Box<dyn Any + Send>>,
    pub(super) terms: Option<Terms>,
}

impl Accept {
    /// No subprotocol, no state.
    pub fn new() -> Accept {
        Accept::default()
    }

    /// Selects a subprotocol. It must be one that the client offered (RFC 6455 §4.2.2).
    pub fn protocol(mut self, protocol: impl Into<Cow<'static, str>>) -> Accept {
        self.protocol = Some(protocol.into());
        self
    }

    /// What the endpoint keeps for the connection. It is dropped when the WebSocket is over, after
    /// [`Endpoint::closed`], or with these terms where they come to nothing.
    pub fn state(mut self, state: impl Any + Send) -> Accept {
        self.state = Some(Box::new(state));
        self
    }

    /// What everybody may know about the client: see [`Session::context`].
    pub fn context(mut self, context: Arc<Context>) -> Accept {
        self.terms.get_or_insert_default().context = Some(context);
        self
    }

    /// Who can say later whether the client may stay: see [`Terms::keeper`].
    pub fn keeper(mut self, keeper: Arc<dyn Keeper>) -> Accept {
        self.terms.get_or_insert_default().keeper = Some(keeper);
        self
    }

    /// When the WebSocket is closed at the latest: see [`Terms::expires`].
    pub fn expires(mut self, expires: SystemTime) -> Accept {
        self.terms.get_or_insert_default().expires = Some(expires);
        self
    }
}

/// The answer to a plain request.
pub enum Answer {
    /// This one.
    Now(Response),
    /// The same, and it is a refusal that is counted under this reason.
    RefuseFor(Refusal, Response),
    /// It will be said later: see [`Later::response`].
    Later(Pending),
}

/// What the head of a plain request decides by itself.
pub enum HeadVerdict {
    /// Nothing: it is judged when its body is there.
    Open,
    /// That it may come: with what is known about its client.
    Admitted(Option<Arc<Context>>),
    /// All. An answer that comes later is one that took too long.
    Answered(Answer),
}

/// An answer that is awaited.
pub struct Pending {
    pub(super) slot: Arc<AnswerSlot>,
    pub(super) timeout: Duration,
    pub(super) terms: Option<Terms>,
}

/// Where an answer that comes from another thread is put down.
#[derive(Default)]
pub(super) struct AnswerSlot(Mutex<Option<LateAnswer>>);

/// An answer that came from another thread.
pub(super) enum LateAnswer {
    Accept(Accept),
    Respond(Response),
}

impl AnswerSlot {
    pub(super) fn take(&self) -> Option<LateAnswer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, answer: LateAnswer) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }
}

/// What may be done besides giving an answer: promise it for later, and publish.
pub struct Later<'a> {
    pub(super) core: &'a mut Core,
    pub(super) connection: ConnectionId,
}

impl Later<'_> {
    /// Members of a room on all shards, as far as is known at this moment.
    pub fn members(&self, endpoint: EndpointId, room: &str) -> u32 {
        let name = room.into();
        self.core.members(&RoomKey { endpoint, name })
    }

    /// Publishes to a room of any endpoint, by name. Returns whether it has any members. Who asks
    /// is no member, and what it asks for is no message: no veto ([`Session::veto`]) holds here.
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
    pub fn admission(&mut self, timeout: Duration) -> (Admission, DeferredAdmission) {
        let (pending, token) = self.defer(timeout);
        (Admission::Later(pending), DeferredAdmission(token))
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
            doors: Arc::clone(&self.core.doors),
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
    doors: Arc<Doors>,
    connection: ConnectionId,
    is_answered: bool,
}

impl Token {
    fn answer(&mut self, answer: LateAnswer) {
        self.is_answered = true;
        self.slot.put(answer);
        // Where the control mailbox is full the shard finds the answer in its next sweep.
        let _ = self
            .doors
            .control(self.connection.shard, Control::Answered(self.connection));
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if !self.is_answered {
            self.answer(LateAnswer::Respond(unanswered()));
        }
    }
}

/// What a client gets whose answer was promised and did not come.
pub(super) fn unanswered() -> Response {
    Response::text(503, "The answer took too long.\n").with_header("Retry-After", "1")
}

/// The right to admit a client or to refuse it, once.
pub struct DeferredAdmission(Token);

impl DeferredAdmission {
    /// Lets the client in.
    pub fn accept(mut self, accept: Accept) {
        self.0.answer(LateAnswer::Accept(accept));
    }

    /// Refuses it with this answer.
    pub fn refuse(mut self, response: Response) {
        self.0.answer(LateAnswer::Respond(response));
    }
}

/// The right to answer a plain request, once.
pub struct DeferredResponse(Token);

impl DeferredResponse {
    /// Answers.
    pub fn respond(mut self, response: Response) {
        self.0.answer(LateAnswer::Respond(response));
    }
}
