//! Plain HTTP: what a path does with requests that do not ask for a WebSocket.

use super::endpoint::Responder;
use crate::engine::answer::{Answer, EndpointError, HeadVerdict, Request};
use crate::engine::handle::Handle;
use crate::wire::http::Response;

/// A service answers the plain HTTP requests of a path. One value serves all shards.
///
/// As an [`Endpoint`](crate::Endpoint) it is called on the connection's own shard and must not
/// wait; if it panics, that one request is answered with 500. A path without a service answers GET
/// and HEAD with 426 ([`upgrade_required`]); one without an endpoint refuses WebSockets (400).
pub trait Service: Sized + Send + Sync + 'static {
    /// The engine is about to start: see [`Endpoint::started`](crate::Endpoint::started). What is
    /// both gets both calls.
    ///
    /// # Errors
    ///
    /// The service cannot work, for example for want of a file: the engine does not start.
    fn started(&self, handle: &Handle) -> Result<(), EndpointError> {
        let _ = handle;
        Ok(())
    }

    /// The configuration was read again, and asks for `next` in the place of this one: see
    /// [`Endpoint::reload`](crate::Endpoint::reload).
    fn reload(&self, next: &Self) {
        let _ = next;
    }

    /// The methods that it answers: for another one the engine itself says 405, with these and
    /// OPTIONS in `Allow`, and it answers OPTIONS where that is not among them. What is no method
    /// of [RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#section-9.3) or PATCH is a 501
    /// everywhere.
    fn methods(&self) -> &'static [&'static str] {
        &["GET", "HEAD"]
    }

    /// Whether its requests ask if the relay lives: without a body they are answered even if the
    /// client is over a limit or the relay is full. The answer must cost next to nothing.
    fn is_probe(&self) -> bool {
        false
    }

    /// Whether a body can change the answer. If not, a request is answered as soon as its head is
    /// there, and nothing of its body is waited for or kept.
    fn wants_body(&self) -> bool {
        true
    }

    /// The head of a request is there, its body still to come. What the head alone decides is said
    /// here; then nothing of the body is waited for or kept. It is called once for such a request,
    /// before [`Service::checked_request`], and not for one that is whole. A service around another
    /// one passes both on; one that does not has all judged in `request`.
    fn check_head(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> HeadVerdict {
        match self.wants_body() {
            true => HeadVerdict::Open,
            false => HeadVerdict::Answered(self.request(request, responder)),
        }
    }

    /// As [`Service::request`], for a request that [`Service::check_head`] has admitted: nothing is
    /// judged again. What is known about the client is its context.
    fn checked_request(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer {
        self.request(request, responder)
    }

    /// A request with one of [`Service::methods`]. The default says that this is a WebSocket
    /// endpoint (426).
    fn request(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer {
        let _ = (request, responder);
        Answer::Now(upgrade_required())
    }

    /// The labels of the reasons of its own for which it refuses requests: see
    /// [`Endpoint::reasons`](crate::Endpoint::reasons).
    fn reasons(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// The default service of a path: 426.
pub(in crate::engine) struct UpgradeRequired;

impl Service for UpgradeRequired {
    fn wants_body(&self) -> bool {
        false
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
