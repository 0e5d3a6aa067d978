//! Plain HTTP: what a path does with requests that do not ask for a WebSocket.

use super::endpoint::Responder;
use crate::engine::answer::{Answer, EndpointError, HeadVerdict, Request};
use crate::engine::handle::Handle;
use crate::wire::http::Response;

/// A service answers the plain HTTP requests of a path. One value serves all shards.
///
/// Like an [`Endpoint`](crate::Endpoint) it is called on the connection's own shard and must not
/// wait. If it panics, that request is answered with 500. A path without a service answers GET and
/// HEAD with 426 ([`upgrade_required`]); a path without an endpoint refuses WebSockets (400).
pub trait Service: Sized + Send + Sync + 'static {
    /// The engine is about to start: see [`Endpoint::started`](crate::Endpoint::started). A type
    /// that is both an endpoint and a service gets both calls.
    ///
    /// # Errors
    ///
    /// The service cannot work, for example because a file is missing: the engine does not start.
    fn started(&self, handle: &Handle) -> Result<(), EndpointError> {
        let _ = handle;
        Ok(())
    }

    /// Called on reload: see [`Endpoint::reload`](crate::Endpoint::reload).
    fn reload(&self, next: &Self) {
        let _ = next;
    }

    /// The methods that it answers. For others the engine itself answers 405, with these and
    /// OPTIONS in `Allow`; it also answers OPTIONS unless that is among them. Methods other than
    /// those of [RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#section-9.3) and PATCH get 501.
    fn methods(&self) -> &'static [&'static str] {
        &["GET", "HEAD"]
    }

    /// Whether its requests check that the relay is alive. Without a body they are answered even if
    /// the client is over a limit or the relay is full, so the answer must cost almost nothing.
    fn is_probe(&self) -> bool {
        false
    }

    /// Whether a body can change the answer. If not, a request is answered as soon as its head is
    /// complete, and its body is neither awaited nor kept.
    fn wants_body(&self) -> bool {
        true
    }

    /// The head of a request is complete, and its body has yet to come. A decision that depends on
    /// the head alone is made here; then the body is neither awaited nor kept. Called once for such
    /// a request, before [`Service::checked_request`], and not for a request that is complete. A
    /// service around another one should pass both calls on; otherwise everything is checked in
    /// `request`.
    fn check_head(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> HeadVerdict {
        match self.wants_body() {
            true => HeadVerdict::Open,
            false => HeadVerdict::Answered(self.request(request, responder)),
        }
    }

    /// Like [`Service::request`], for a request that [`Service::check_head`] has admitted: it
    /// should not be checked again. Its context tells what is known about the client.
    fn checked_request(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer {
        self.request(request, responder)
    }

    /// A request with one of [`Service::methods`]. The default answer is that this is a WebSocket
    /// endpoint (426).
    fn request(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer {
        let _ = (request, responder);
        Answer::Now(upgrade_required())
    }

    /// The labels of its own reasons for refusing requests: see
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

/// 426, with a line that explains what this path is (RFC 9110 §15.5.22).
pub fn upgrade_required() -> Response {
    Response::text(
        426,
        "This is a WebSocket endpoint: connect to it with a WebSocket client.\n",
    )
    .with_header("Upgrade", "websocket")
    .with_header("Sec-WebSocket-Version", "13")
}
