//! A guard in front of an endpoint or a service.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use super::denial;
use super::judge::{Attempt, Guard};
use super::revoked::CurrentGuard;
use crate::engine::{
    Admission, Answer, CloseReason, Endpoint, EndpointError, Handle, HeadVerdict, Local, Mailer,
    OnShard, Pulse, Refused, Request, Responder, Service, Session, Terms,
};
use crate::wire::decoder::Message;

/// An endpoint or a service with a guard in front. A reload replaces the guard. Open connections
/// stay, except those whose credential is revoked ([`CloseRevoked`](super::CloseRevoked)).
pub struct Guarded<E> {
    current: Arc<CurrentGuard>,
    handle: OnceLock<Handle>,
    inner: E,
}

impl<E> Guarded<E> {
    /// Puts `guard` in front of `inner`.
    pub fn new(inner: E, guard: Arc<Guard>) -> Guarded<E> {
        Guarded {
            current: Arc::new(CurrentGuard::new(guard)),
            handle: OnceLock::new(),
            inner,
        }
    }

    /// As [`Guard::judge`], and counts the failures of each client.
    fn check(
        &self,
        request: &Request<'_>,
        responder: &mut Responder<'_>,
    ) -> Result<Terms, Refused> {
        let attempt = Attempt(Some((responder, request.peer)));
        let guard = self.current.guard();
        let terms = guard.check_attempt(request.head, SystemTime::now(), attempt)?;
        Ok(self.current.authorize(terms))
    }

    fn begin(&self, handle: &Handle) {
        self.handle.get_or_init(|| handle.clone());
        self.current.guard().watch(handle);
    }

    /// Takes the guard of `next`.
    fn replace_guard(&self, next: &Guarded<E>) {
        let guard = next.current.guard();
        let before = self.current.replace(Arc::clone(&guard));
        if let Some(handle) = self.handle.get() {
            guard.watch(handle);
            guard.recheck_after(&before, handle);
        }
    }
}

/// The request, with what is known about the client.
fn known<'r>(request: &Request<'r>, terms: &'r Terms) -> Request<'r> {
    let mut known = *request;
    known.context = terms.context.as_deref();
    known
}

impl<E: Endpoint> Endpoint for Guarded<E> {
    type State = E::State;
    type Local = E::Local;

    fn started(&self, handle: &Handle) -> Result<(), EndpointError> {
        self.begin(handle);
        self.inner.started(handle)
    }

    fn mailer(&self, mailer: Mailer<<E::Local as Local>::Mail>) {
        self.inner.mailer(mailer);
    }

    fn started_on(&self, shard: &mut OnShard<'_, E::Local>, local: &mut E::Local) {
        self.inner.started_on(shard, local);
    }

    fn reload(&self, next: &Self) {
        self.replace_guard(next);
        self.inner.reload(&next.inner);
    }

    fn admit(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Admission<E::State> {
        match self.check(request, responder) {
            Ok(terms) => self
                .inner
                .admit(&known(request, &terms), responder)
                .on(terms),
            Err(refused) => Admission::Refuse(refused),
        }
    }

    fn opened(&self, session: &mut Session<'_, E::State, E::Local>, request: &Request<'_>) {
        self.inner.opened(session, request);
        // The key may have been revoked while the endpoint's answer was awaited.
        session.recheck();
    }

    fn message(&self, session: &mut Session<'_, E::State, E::Local>, message: Message<'_>) {
        self.inner.message(session, message);
    }

    fn closed(&self, session: &mut Session<'_, E::State, E::Local>, reason: &CloseReason) {
        self.inner.closed(session, reason);
    }

    fn pulse(&self, pulse: &mut Pulse<'_>) {
        self.inner.pulse(pulse);
    }

    fn drained(&self, session: &mut Session<'_, E::State, E::Local>) {
        self.inner.drained(session);
    }

    fn reasons(&self) -> Vec<&'static str> {
        [denial::reasons(), self.inner.reasons()].concat()
    }
}

impl<S: Service> Service for Guarded<S> {
    fn started(&self, handle: &Handle) -> Result<(), EndpointError> {
        self.begin(handle);
        self.inner.started(handle)
    }

    fn reload(&self, next: &Self) {
        self.replace_guard(next);
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

    fn reasons(&self) -> Vec<&'static str> {
        [denial::reasons(), self.inner.reasons()].concat()
    }

    fn check_head(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> HeadVerdict {
        if request.head.method == "OPTIONS" {
            return self.inner.check_head(request, responder);
        }
        match self.check(request, responder) {
            Ok(terms) => match self.inner.check_head(&known(request, &terms), responder) {
                answered @ HeadVerdict::Answered(_) => answered,
                _ => HeadVerdict::Admitted(terms.context),
            },
            Err(refused) => HeadVerdict::Answered(Answer::Refuse(refused)),
        }
    }

    fn checked_request(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer {
        self.inner.request(request, responder)
    }

    /// The service answers admitted clients only. OPTIONS is open to all: browsers send it without
    /// credentials.
    fn request(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer {
        if request.head.method == "OPTIONS" {
            return self.inner.request(request, responder);
        }
        match self.check(request, responder) {
            Ok(terms) => self.inner.request(&known(request, &terms), responder),
            Err(refused) => Answer::Refuse(refused),
        }
    }
}
