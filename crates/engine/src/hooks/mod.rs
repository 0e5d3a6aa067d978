//! Hooks around an endpoint: code that decides before it, observes it, or changes its messages.
//!
//! The patterns are those of [khatru](https://khatru.nostr.technology), a framework for relays. Any
//! [`Endpoint`] can be wrapped with [`Hooks::around`]. Hooks are added as closures or as a
//! [`Hook`], a value with several of them, and run in the order in which they were added.
//!
//! | pattern | how | in `examples/` |
//! |---|---|---|
//! | reject a connection, 429 by default | [`Hooks::reject_connection`] | `hooks_reject.rs` |
//! | on connect, on disconnect exactly once | [`Hooks::on_connect`] | `hooks_presence.rs` |
//! | on message: allow, drop, change | [`Hooks::on_message`] | `hooks_messages.rs` |
//! | a veto for each recipient of a broadcast | [`Hooks::veto`] | `hooks_veto.rs` |
//! | authentication during a connection | [`Client::attach`] | `hooks_login.rs` |
//! | rooms of several endpoints, subscriptions | [`Client::join_at`] | `hooks_router.rs` |
//! | ready-made policies, with khatru's numbers | [`policies`] | `hooks_policies.rs` |
//!
//! The [`Request`] is the original one, with headers in any case and the client's address;
//! [`Request::to_owned`] keeps it for longer. Values that belong to a connection and end with it
//! are attached to it ([`Client::attach`]), besides the endpoint's own state.
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
//! Put a guard around the hooks (`Guarded`, in the relay). Then hooks are called only for clients
//! that it admits, and know their identity ([`Request::context`], [`Client::context`]).
//!
//! Hooks run on the connection's own shard and must not wait, like endpoint code. If a decision
//! takes time, the endpoint itself can admit the client later ([`Responder`]). A hook that panics
//! closes that one connection (1011).

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

/// The hooks around an endpoint. Each method does nothing by default.
pub trait Hook: Send + Sync + 'static {
    /// A client requests a WebSocket. An error refuses it, and later hooks are not called.
    fn reject(&self, request: &Request<'_>) -> Result<(), Refused> {
        let _ = request;
        Ok(())
    }

    /// The WebSocket is open, and the endpoint has been told: it has joined its rooms.
    fn connected(&self, client: &mut Client<'_>, request: &Request<'_>) {
        let _ = (client, request);
    }

    /// A message has arrived, as changed by the hooks before this one.
    fn message(&self, client: &mut Client<'_>, message: Message<'_>) -> Verdict {
        let _ = (client, message);
        Verdict::Allow
    }

    /// The WebSocket has ended. Called exactly once for each that was opened, in reverse order with
    /// the endpoint last, even if other hooks panic.
    fn disconnected(&self, client: &mut Client<'_>, reason: &CloseReason) {
        let _ = (client, reason);
    }
}

/// The decision on a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It passes unchanged.
    Allow,
    /// It is dropped: neither later hooks nor the endpoint get it.
    Drop,
    /// This text replaces it.
    Text(String),
    /// This binary message replaces it.
    Binary(Vec<u8>),
}

/// 429 with `Retry-After: 1`, as khatru refuses. Any other [`Refused`] may be used instead.
pub fn rejection(message: impl Into<Cow<'static, str>>) -> Refused {
    Refused::new(429, "rejected", message).retry_after(1)
}

/// An endpoint with hooks around it.
pub struct Hooks<E> {
    inner: E,
    hooks: Vec<Box<dyn Hook>>,
}

impl<E: Endpoint> Hooks<E> {
    /// An endpoint without hooks yet.
    pub fn around(inner: E) -> Hooks<E> {
        Hooks {
            inner,
            hooks: Vec::new(),
        }
    }

    /// Adds a hook, after those that were added before.
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

    /// Passes, drops or changes messages.
    pub fn on_message<F>(self, message: F) -> Hooks<E>
    where
        F: Fn(&mut Client<'_>, Message<'_>) -> Verdict + Send + Sync + 'static,
    {
        self.with(OnMessage(message))
    }

    /// Restricts, for each message, who gets what the endpoint publishes because of it; `None`: all
    /// recipients. The filter is called on each recipient's own shard, before the frame is queued.
    /// It does not apply to what is published for a plain request or by a [`Handle`].
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

    /// Reloads the endpoint. The hooks stay, with their state.
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

/// Passed to the endpoint: hooks only concern WebSockets.
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

/// The message as it is, or its replacement.
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
