//! Hooks around an endpoint: code that decides before it does, sees what it sees, or changes it.
//!
//! The patterns are those of [khatru](https://khatru.nostr.technology), a framework for relays. Any
//! [`Endpoint`] is wrapped with [`Hooks::around`], and hooks are added as closures or as a
//! [`Hook`], a value that has several of them; they run in the order in which they were added.
//!
//! | pattern | how | in `examples/` |
//! |---|---|---|
//! | reject a connection, 429 by default | [`Hooks::reject_connection`] | `hooks_reject.rs` |
//! | on connect, on disconnect exactly once | [`Hooks::on_connect`] | `hooks_presence.rs` |
//! | on message: allow, drop, change | [`Hooks::on_message`] | `hooks_messages.rs` |
//! | a veto for each recipient of a broadcast | [`Hooks::veto`] | `hooks_veto.rs` |
//! | authentication amid a connection | [`Client::attach`] | `hooks_login.rs` |
//! | rooms of several endpoints, subscriptions | [`Client::join_at`] | `hooks_router.rs` |
//! | policies that are there, khatru's numbers | [`policies`] | `hooks_policies.rs` |
//!
//! The original request, headers in whatever case and the client's address included, is the
//! [`Request`]; who wants it for longer keeps [`Request::to_owned`]. Context of a connection that
//! ends with it is attached to it ([`Client::attach`]), beside the endpoint's own state.
//!
//! ```no_run
//! use corecast_engine::engine::{Endpoint, EndpointSettings, Engine, Session};
//! use corecast_engine::hooks::policies::{ConnectRate, TextOnly};
//! use corecast_engine::hooks::{Hooks, Verdict};
//! use corecast_engine::wire::decoder::Message;
//!
//! struct Echo;
//!
//! impl Endpoint for Echo {
//!     type State = ();
//!     type Local = ();
//!
//!     fn message(&self, session: &mut Session<'_>, message: Message<'_>) {
//!         session.send(message.kind, message.payload);
//!     }
//! }
//!
//! let echo = Hooks::around(Echo)
//!     .with(ConnectRate::default())
//!     .with(TextOnly)
//!     .on_message(|_, message| match message.payload {
//!         b"" => Verdict::Drop,
//!         _ => Verdict::Allow,
//!     });
//! let mut builder = Engine::builder();
//! let id = builder.endpoint(EndpointSettings::default(), echo);
//! builder.route("/**", id)?;
//! # Ok::<(), corecast_engine::engine::StartError>(())
//! ```
//!
//! A guard goes around the hooks (`Guarded`, in the relay): then they are asked only for
//! clients that it lets in, and know who those are ([`Request::context`], [`Client::context`]).
//!
//! Hooks run on the connection's own shard and must not wait, as endpoint code must not: what needs
//! time is admitted later by the endpoint itself ([`Responder`]). A hook that panics closes that
//! one connection (1011).

pub mod policies;

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::engine::{
    Admission, Answer, Client, CloseReason, Endpoint, EndpointError, Handle, HeadVerdict, Local,
    Mailer, OnShard, Pulse, Refused, Request, Responder, Service, Session,
};
use crate::fanout::Filter;
use crate::wire::decoder::Message;
use crate::wire::frame::MessageKind;

/// What may be done around an endpoint. Each of them does nothing unless it is written.
pub trait Hook: Send + Sync + 'static {
    /// A client asks for a WebSocket. With an error it does not get one, and nobody else is asked.
    fn reject(&self, request: &Request<'_>) -> Result<(), Refused> {
        let _ = request;
        Ok(())
    }

    /// The WebSocket is open, for the endpoint as well: it has joined what it joins.
    fn connected(&self, client: &mut Client<'_>, request: &Request<'_>) {
        let _ = (client, request);
    }

    /// A message has come, as the hooks before this one left it.
    fn message(&self, client: &mut Client<'_>, message: Message<'_>) -> Verdict {
        let _ = (client, message);
        Verdict::Allow
    }

    /// The WebSocket is over: called exactly once for each that was opened, the hooks in the
    /// opposite order and the endpoint last, also where others of them panic.
    fn disconnected(&self, client: &mut Client<'_>, reason: &CloseReason) {
        let _ = (client, reason);
    }
}

/// What becomes of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes on as it is.
    Allow,
    /// Nobody sees it, neither later hooks nor the endpoint.
    Drop,
    /// This text goes on in its place.
    Text(String),
    /// This binary message goes on in its place.
    Binary(Vec<u8>),
}

/// 429 with `Retry-After: 1`: how khatru refuses. Any other [`Refused`] does as well.
pub fn rejection(message: impl Into<Cow<'static, str>>) -> Refused {
    Refused::new(429, "rejected", message).retry_after(1)
}

/// An endpoint with hooks around it.
pub struct Hooks<E> {
    inner: E,
    hooks: Vec<Box<dyn Hook>>,
}

impl<E: Endpoint> Hooks<E> {
    /// No hooks yet.
    pub fn around(inner: E) -> Hooks<E> {
        Hooks {
            inner,
            hooks: Vec::new(),
        }
    }

    /// Adds a hook, behind those that are there.
    pub fn with(mut self, hook: impl Hook) -> Hooks<E> {
        self.hooks.push(Box::new(hook));
        self
    }

    /// Refuses clients before their WebSocket is open.
    pub fn reject_connection<F>(self, reject: F) -> Hooks<E>
    where
        F: Fn(&Request<'_>) -> Result<(), Refused> + Send + Sync + 'static,
    {
        self.with(Reject(reject))
    }

    /// Called when a WebSocket is open.
    pub fn on_connect<F>(self, connected: F) -> Hooks<E>
    where
        F: Fn(&mut Client<'_>, &Request<'_>) + Send + Sync + 'static,
    {
        self.with(Connected(connected))
    }

    /// Lets messages go on, drops or changes them.
    pub fn on_message<F>(self, message: F) -> Hooks<E>
    where
        F: Fn(&mut Client<'_>, Message<'_>) -> Verdict + Send + Sync + 'static,
    {
        self.with(OnMessage(message))
    }

    /// Says for a message who of its recipients may get what the endpoint publishes for it; `None`:
    /// all of them. The filter is asked on each recipient's own shard, before the frame is queued.
    /// What is published for a plain request or by a [`Handle`] is no message, and not vetoed.
    pub fn veto<F>(self, veto: F) -> Hooks<E>
    where
        F: Fn(&mut Client<'_>, Message<'_>) -> Option<Filter> + Send + Sync + 'static,
    {
        self.on_message(move |client, message| {
            if let Some(filter) = veto(client, message) {
                client.veto(filter);
            }
            Verdict::Allow
        })
    }

    /// Called exactly once for each WebSocket that was open.
    pub fn on_disconnect<F>(self, disconnected: F) -> Hooks<E>
    where
        F: Fn(&mut Client<'_>, &CloseReason) + Send + Sync + 'static,
    {
        self.with(Disconnected(disconnected))
    }
}

impl<E: Endpoint> Endpoint for Hooks<E> {
    type State = E::State;
    type Local = E::Local;

    fn started(&self, handle: &Handle) -> Result<(), EndpointError> {
        self.inner.started(handle)
    }

    fn mailer(&self, mailer: Mailer<<E::Local as Local>::Mail>) {
        self.inner.mailer(mailer);
    }

    fn started_on(&self, shard: &mut OnShard<'_, E::Local>, local: &mut E::Local) {
        self.inner.started_on(shard, local);
    }

    /// The endpoint's own. The hooks stay, with what they remember.
    fn reload(&self, next: &Self) {
        self.inner.reload(&next.inner);
    }

    fn admit(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Admission<E::State> {
        for hook in &self.hooks {
            if let Err(refused) = hook.reject(request) {
                return Admission::Refuse(refused);
            }
        }
        self.inner.admit(request, responder)
    }

    fn opened(&self, session: &mut Session<'_, E::State, E::Local>, request: &Request<'_>) {
        self.inner.opened(session, request);
        for hook in &self.hooks {
            hook.connected(session, request);
        }
    }

    fn message(&self, session: &mut Session<'_, E::State, E::Local>, message: Message<'_>) {
        let mut changed = None;
        for hook in &self.hooks {
            match hook.message(session, current(message, &changed)) {
                Verdict::Allow => {}
                Verdict::Drop => return,
                Verdict::Text(text) => changed = Some((MessageKind::Text, text.into_bytes())),
                Verdict::Binary(bytes) => changed = Some((MessageKind::Binary, bytes)),
            }
        }
        self.inner.message(session, current(message, &changed));
    }

    fn closed(&self, session: &mut Session<'_, E::State, E::Local>, reason: &CloseReason) {
        let mut panic = None;
        let mut call = |callback: &mut dyn FnMut()| {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(callback)) {
                panic.get_or_insert(payload);
            }
        };
        for hook in self.hooks.iter().rev() {
            call(&mut || hook.disconnected(session, reason));
        }
        call(&mut || self.inner.closed(session, reason));
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    fn pulse(&self, pulse: &mut Pulse<'_>) {
        self.inner.pulse(pulse);
    }

    fn drained(&self, session: &mut Session<'_, E::State, E::Local>) {
        self.inner.drained(session);
    }

    fn reasons(&self) -> Vec<&'static str> {
        self.inner.reasons()
    }
}

/// The endpoint's own: hooks are about WebSockets.
impl<S: Service> Service for Hooks<S> {
    fn started(&self, handle: &Handle) -> Result<(), EndpointError> {
        self.inner.started(handle)
    }

    fn reload(&self, next: &Self) {
        self.inner.reload(&next.inner);
    }

    fn methods(&self) -> &'static [&'static str] {
        self.inner.methods()
    }

    fn is_probe(&self) -> bool {
        self.inner.is_probe()
    }

    fn wants_body(&self) -> bool {
        self.inner.wants_body()
    }

    fn check_head(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> HeadVerdict {
        self.inner.check_head(request, responder)
    }

    fn checked_request(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer {
        self.inner.checked_request(request, responder)
    }

    fn request(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer {
        self.inner.request(request, responder)
    }

    fn reasons(&self) -> Vec<&'static str> {
        self.inner.reasons()
    }
}

/// The message as it is, or what has taken its place.
fn current<'m>(message: Message<'m>, changed: &'m Option<(MessageKind, Vec<u8>)>) -> Message<'m> {
    match changed {
        Some((kind, payload)) => Message {
            kind: *kind,
            payload,
        },
        None => message,
    }
}

struct Reject<F>(F);

impl<F> Hook for Reject<F>
where
    F: Fn(&Request<'_>) -> Result<(), Refused> + Send + Sync + 'static,
{
    fn reject(&self, request: &Request<'_>) -> Result<(), Refused> {
        (self.0)(request)
    }
}

struct Connected<F>(F);

impl<F> Hook for Connected<F>
where
    F: Fn(&mut Client<'_>, &Request<'_>) + Send + Sync + 'static,
{
    fn connected(&self, client: &mut Client<'_>, request: &Request<'_>) {
        (self.0)(client, request);
    }
}

struct OnMessage<F>(F);

impl<F> Hook for OnMessage<F>
where
    F: Fn(&mut Client<'_>, Message<'_>) -> Verdict + Send + Sync + 'static,
{
    fn message(&self, client: &mut Client<'_>, message: Message<'_>) -> Verdict {
        (self.0)(client, message)
    }
}

struct Disconnected<F>(F);

impl<F> Hook for Disconnected<F>
where
    F: Fn(&mut Client<'_>, &CloseReason) + Send + Sync + 'static,
{
    fn disconnected(&self, client: &mut Client<'_>, reason: &CloseReason) {
        (self.0)(client, reason);
    }
}
