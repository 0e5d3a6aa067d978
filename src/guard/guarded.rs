//! A guard in front of an endpoint.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use super::denial::Denial;
use super::judge::{Guard, Trier};
use super::revoked::Door;
use crate::engine::{
    Admission, Answer, CloseReason, Endpoint, EndpointError, Handle, HeadVerdict, Later, Refusal,
    Request, Session, Terms,
};
use crate::wire::decoder::Message;
use crate::wire::http::Response;

/// An endpoint with a guard in front. A reload replaces the guard. Who is connected stays, but for
/// those who came in by what is good no more ([`CloseRevoked`](super::CloseRevoked)).
pub struct Guarded<E> {
    door: Arc<Door>,
    handle: OnceLock<Handle>,
    inner: E,
}

impl<E: Endpoint> Guarded<E> {
    /// Puts `guard` in front of `inner`.
    pub fn new(inner: E, guard: Arc<Guard>) -> Guarded<E> {
        Guarded {
            door: Arc::new(Door::new(guard)),
            handle: OnceLock::new(),
            inner,
        }
    }

    /// As [`Guard::judge`], a refusal in the endpoint's words. It counts who fails.
    fn judge(
        &self,
        request: &Request<'_>,
        later: &mut Later<'_>,
    ) -> Result<Terms, (Refusal, Response)> {
        let trier = Trier(Some((later, request.peer.ip())));
        let guard = self.door.guard();
        let judged = guard.judge_try(request.head, SystemTime::now(), trier);
        let terms = judged.map_err(|Denial { refusal, response }| {
            let response = self.inner.refusal(response, refusal.label());
            (refusal, response)
        })?;
        Ok(self.door.keep(terms))
    }
}

/// The request, with what is known about the client.
fn known<'r>(request: &Request<'r>, terms: &'r Terms) -> Request<'r> {
    let mut known = *request;
    known.context = terms.context.as_deref();
    known
}

impl<E: Endpoint> Endpoint for Guarded<E> {
    fn started(&self, handle: &Handle) -> Result<(), EndpointError> {
        self.handle.get_or_init(|| handle.clone());
        self.door.guard().watch(handle);
        self.inner.started(handle)
    }

    fn take_over(&self, next: &dyn Endpoint) {
        let next: &dyn std::any::Any = next;
        if let Some(next) = next.downcast_ref::<Guarded<E>>() {
            let guard = next.door.guard();
            let before = self.door.replace(Arc::clone(&guard));
            if let Some(handle) = self.handle.get() {
                guard.watch(handle);
                guard.recheck_after(&before, handle);
            }
            self.inner.take_over(&next.inner);
        }
    }

    fn admit(&self, request: &Request<'_>, later: &mut Later<'_>) -> Admission {
        match self.judge(request, later) {
            Ok(terms) => self.inner.admit(&known(request, &terms), later).on(terms),
            Err((refusal, response)) => Admission::RefuseFor(refusal, response),
        }
    }

    fn opened(&self, session: &mut Session<'_>, request: &Request<'_>) {
        self.inner.opened(session, request);
        // The answer of the endpoint may have come later than the key went.
        session.recheck();
    }

    fn message(&self, session: &mut Session<'_>, message: Message<'_>) {
        self.inner.message(session, message);
    }

    fn closed(&self, session: &mut Session<'_>, reason: &CloseReason) {
        self.inner.closed(session, reason);
    }

    fn methods(&self) -> &'static [&'static str] {
        self.inner.methods()
    }

    fn refusal(&self, response: Response, code: &'static str) -> Response {
        self.inner.refusal(response, code)
    }

    fn judge_head(&self, request: &Request<'_>, later: &mut Later<'_>) -> HeadVerdict {
        if request.head.method == "OPTIONS" {
            return self.inner.judge_head(request, later);
        }
        match self.judge(request, later) {
            Ok(terms) => match self.inner.judge_head(&known(request, &terms), later) {
                answered @ HeadVerdict::Answered(_) => answered,
                _ => HeadVerdict::Admitted(terms.context),
            },
            Err((refusal, response)) => HeadVerdict::Answered(Answer::RefuseFor(refusal, response)),
        }
    }

    fn judged_request(&self, request: &Request<'_>, later: &mut Later<'_>) -> Answer {
        self.inner.request(request, later)
    }

    /// What a path tells is for those who may come in. OPTIONS is for everybody: browsers send it
    /// without credentials.
    fn request(&self, request: &Request<'_>, later: &mut Later<'_>) -> Answer {
        if request.head.method == "OPTIONS" {
            return self.inner.request(request, later);
        }
        match self.judge(request, later) {
            Ok(terms) => self.inner.request(&known(request, &terms), later),
            Err((refusal, response)) => Answer::RefuseFor(refusal, response),
        }
    }
}
