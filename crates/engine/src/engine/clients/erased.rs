//! Endpoints and services with their types erased, as the engine calls them.
//!
//! The state that an endpoint keeps for a connection and on a shard has types of its own. The
//! engine stores both without types, and [`Typed`] is the only place that restores them.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::client::Client;
use super::core::Core;
use super::endpoint::{Endpoint, Responder};
use super::local::{Local, Mailer, OnShard};
use super::pulse::Pulse;
use super::service::Service;
use super::session::Session;
use crate::engine::answer::{
    Accept, Admission, Answer, EndpointError, ErasedState, HeadVerdict, Request,
};
use crate::engine::close_reason::CloseReason;
use crate::engine::handle::Handle;
use crate::engine::refusal::Refused;
use crate::exchange::EndpointMail;
use crate::fanout::room::EndpointId;
use crate::wire::decoder::Message;

/// An [`Endpoint`] of any types.
pub(in crate::engine) trait ErasedEndpoint: Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn started(&self, handle: &Handle, id: EndpointId) -> Result<(), EndpointError>;
    fn reload(&self, next: &dyn ErasedEndpoint);
    /// The state that it keeps on a shard, created there. It is passed to the other methods.
    fn new_local(&self) -> Box<dyn Any>;
    fn started_on(&self, core: &mut Core, id: EndpointId);
    fn mail(&self, core: &mut Core, mail: EndpointMail);
    fn turn(&self, core: &mut Core, id: EndpointId) -> bool;
    fn tick(&self, core: &mut Core, id: EndpointId);
    fn admit(&self, request: &Request<'_>, responder: &mut Responder<'_>)
    -> Admission<ErasedState>;
    fn opened(&self, client: Client<'_>, request: &Request<'_>);
    fn message(&self, client: Client<'_>, message: Message<'_>);
    fn closed(&self, client: Client<'_>, reason: &CloseReason);
    fn drained(&self, client: Client<'_>);
    fn pulse(&self, pulse: &mut Pulse<'_>);
    fn reasons(&self) -> Vec<&'static str>;
}

/// A [`Service`] of any type.
pub(in crate::engine) trait ErasedService: Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn started(&self, handle: &Handle) -> Result<(), EndpointError>;
    fn reload(&self, next: &dyn ErasedService);
    fn methods(&self) -> &'static [&'static str];
    fn is_probe(&self) -> bool;
    fn check_head(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> HeadVerdict;
    fn checked_request(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer;
    fn request(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer;
    fn reasons(&self) -> Vec<&'static str>;
}

/// The default endpoint of a path, which refuses WebSockets.
pub(in crate::engine) struct NoWebSocket;

impl Endpoint for NoWebSocket {
    type State = ();
    type Local = ();

    fn admit(&self, _: &Request<'_>, _: &mut Responder<'_>) -> Admission {
        Admission::Refuse(Refused::new(
            400,
            "no_websocket",
            "This path is not a WebSocket endpoint.",
        ))
    }

    fn message(&self, _: &mut Session<'_>, _: Message<'_>) {
        debug_assert!(false, "no client is admitted here");
    }
}

/// An endpoint or a service with its types.
pub(in crate::engine) struct Typed<E>(pub(in crate::engine) E);

impl<E: Endpoint> ErasedEndpoint for Typed<E> {
    fn as_any(&self) -> &dyn Any {
        &self.0
    }

    fn started(&self, handle: &Handle, id: EndpointId) -> Result<(), EndpointError> {
        self.0.started(handle)?;
        self.0.mailer(Mailer::new(Arc::clone(&handle.shared), id));
        Ok(())
    }

    /// An endpoint of another type belongs to other settings than the running ones, so it is
    /// ignored.
    fn reload(&self, next: &dyn ErasedEndpoint) {
        if let Some(next) = next.as_any().downcast_ref() {
            self.0.reload(next);
        }
    }

    fn new_local(&self) -> Box<dyn Any> {
        Box::new(E::Local::default())
    }

    fn started_on(&self, core: &mut Core, id: EndpointId) {
        with_local::<E, _>(core, id, |local, shard| self.0.started_on(shard, local));
    }

    fn mail(&self, core: &mut Core, mail: EndpointMail) {
        let EndpointMail { endpoint, mail } = mail;
        let Ok(mail) = mail.downcast() else {
            return debug_assert!(false, "mail of another type");
        };
        with_local::<E, _>(core, endpoint, |local, shard| local.mail(shard, &mail));
    }

    fn turn(&self, core: &mut Core, id: EndpointId) -> bool {
        with_local::<E, _>(core, id, Local::turn).unwrap_or(false)
    }

    fn tick(&self, core: &mut Core, id: EndpointId) {
        with_local::<E, _>(core, id, Local::tick);
    }

    fn admit(
        &self,
        request: &Request<'_>,
        responder: &mut Responder<'_>,
    ) -> Admission<ErasedState> {
        self.0.admit(request, responder).map(Accept::erase)
    }

    fn opened(&self, client: Client<'_>, request: &Request<'_>) {
        self.0.opened(&mut Session::new(client), request);
    }

    fn message(&self, client: Client<'_>, message: Message<'_>) {
        self.0.message(&mut Session::new(client), message);
    }

    fn closed(&self, client: Client<'_>, reason: &CloseReason) {
        self.0.closed(&mut Session::new(client), reason);
    }

    fn drained(&self, client: Client<'_>) {
        self.0.drained(&mut Session::new(client));
    }

    fn pulse(&self, pulse: &mut Pulse<'_>) {
        self.0.pulse(pulse);
    }

    fn reasons(&self) -> Vec<&'static str> {
        self.0.reasons()
    }
}

impl<S: Service> ErasedService for Typed<S> {
    fn as_any(&self) -> &dyn Any {
        &self.0
    }

    fn started(&self, handle: &Handle) -> Result<(), EndpointError> {
        self.0.started(handle)
    }

    fn reload(&self, next: &dyn ErasedService) {
        if let Some(next) = next.as_any().downcast_ref() {
            self.0.reload(next);
        }
    }

    fn methods(&self) -> &'static [&'static str] {
        self.0.methods()
    }

    fn is_probe(&self) -> bool {
        self.0.is_probe()
    }

    fn check_head(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> HeadVerdict {
        self.0.check_head(request, responder)
    }

    fn checked_request(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer {
        self.0.checked_request(request, responder)
    }

    fn request(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer {
        self.0.request(request, responder)
    }

    fn reasons(&self) -> Vec<&'static str> {
        self.0.reasons()
    }
}

/// Calls endpoint code with its state on the shard, and with the shard without that state.
fn with_local<E: Endpoint, R>(
    core: &mut Core,
    id: EndpointId,
    call: impl FnOnce(&mut E::Local, &mut OnShard<'_, E::Local>) -> R,
) -> Option<R> {
    let place = usize::from(id.0);
    let mut local = std::mem::replace(&mut core.locals[place], Box::new(()));
    let result = local.downcast_mut().map(|local| {
        let mut shard = OnShard::new(core, id);
        catch_unwind(AssertUnwindSafe(|| call(local, &mut shard)))
    });
    core.locals[place] = local;
    match result? {
        Ok(result) => Some(result),
        Err(_) => {
            core.stats().endpoint_panics.add(1);
            tracing::error!("endpoint code panicked");
            None
        }
    }
}
