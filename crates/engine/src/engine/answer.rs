//! Requests as endpoints see them, and the answers that endpoints give.

use std::any::Any;
use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::refusal::{Refusal, Refused};
use crate::fanout::ConnectionId;
use crate::peer::Peer;
use crate::wire::http::{Head, Response};

/// The reason why an endpoint cannot start.
pub type EndpointError = Box<dyn std::error::Error + Send + Sync>;

/// A request, as an endpoint sees it.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Request<'r> {
    /// The request line and the headers.
    pub head: &'r Head<'r>,
    /// The part of the path that the endpoint's pattern captured, percent-decoded; `None` if the
    /// pattern captures nothing, or if the part has an invalid escape or is not UTF-8.
    pub parameter: Option<&'r str>,
    /// The body; empty if the request has none.
    pub body: &'r [u8],
    /// Where the client is.
    pub peer: Peer,
    /// The connection.
    pub connection: ConnectionId,
    /// Facts about the client from a guard in front of the endpoint, set in
    /// [`Endpoint::admit`](crate::Endpoint::admit) and for plain requests. Later they are available
    /// as [`Client::context`](crate::Client::context).
    pub context: Option<&'r Context>,
}

/// Facts about a client, readable by all code that handles it.
pub type Context = dyn Any + Send + Sync;

impl<'r> Request<'r> {
    /// A request with this head and nothing else, for tests of endpoints and hooks. The caller may
    /// set the other fields.
    ///
    /// ```
    /// use corecast_engine::wire::http::{Head, HeadLimits, HeaderSpace};
    /// use corecast_engine::{Hook, Refused, Request};
    ///
    /// struct Members;
    ///
    /// impl Hook for Members {
    ///     fn reject(&self, request: &Request<'_>) -> Result<(), Refused> {
    ///         match request.parameter {
    ///             Some("ada") => Ok(()),
    ///             _ => Err(Refused::new(403, "stranger", "Members only.")),
    ///         }
    ///     }
    /// }
    ///
    /// let mut space = HeaderSpace::new();
    /// let bytes = b"GET /ws/ada HTTP/1.1\r\nHost: a\r\n\r\n";
    /// let limits = HeadLimits { head_bytes: 1_024, target_bytes: 256 };
    /// let parsed = Head::parse(bytes, &mut space, &limits);
    /// let (head, _) = parsed.unwrap().unwrap();
    /// let mut request = Request::new(&head);
    /// assert_eq!(Members.reject(&request).unwrap_err().status, 403);
    /// request.parameter = Some("ada");
    /// assert!(Members.reject(&request).is_ok());
    /// ```
    pub fn new(head: &'r Head<'r>) -> Request<'r> {
        Request {
            head,
            parameter: None,
            body: &[],
            peer: Peer::Unix,
            connection: ConnectionId {
                index: 0,
                generation: 0,
                shard: 0,
            },
            context: None,
        }
    }

    /// [`Request::context`], if it is of this type.
    pub fn context<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.context?.downcast_ref()
    }

    /// A copy that can be kept.
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

/// A request that is kept for as long as the connection lives.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct OwnedRequest {
    /// The method.
    pub method: String,
    /// The request target, as sent.
    pub target: String,
    /// The headers, in the order received.
    pub headers: Vec<(String, String)>,
    /// The part of the path that the endpoint's pattern captured, percent-decoded.
    pub parameter: Option<String>,
    /// Where the client is.
    pub peer: Peer,
}

impl OwnedRequest {
    /// The first header of this name; case is ignored.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// Whether a client gets its WebSocket.
pub enum Admission<S = ()> {
    /// The client gets its WebSocket.
    Accept(Accept<S>),
    /// The client does not get one, and is told this.
    Refuse(Refused),
    /// The decision follows later: see [`Responder::admission`](crate::Responder::admission).
    Later(Pending),
}

impl<S> Admission<S> {
    pub(super) fn map<T>(self, accept: impl FnOnce(Accept<S>) -> Accept<T>) -> Admission<T> {
        match self {
            Admission::Accept(accepted) => Admission::Accept(accept(accepted)),
            Admission::Refuse(refused) => Admission::Refuse(refused),
            Admission::Later(pending) => Admission::Later(pending),
        }
    }

    /// Sets the terms of a client that is accepted, now or later, unless it has terms already.
    pub fn on(mut self, terms: Terms) -> Admission<S> {
        match &mut self {
            Admission::Accept(accept) => {
                accept.terms.get_or_insert(terms);
            }
            Admission::Later(pending) => {
                pending.terms.get_or_insert(terms);
            }
            Admission::Refuse(_) => {}
        }
        self
    }
}

/// The identity of a client and its expiry, which hold while its WebSocket is open.
#[derive(Clone, Default)]
pub struct Terms {
    /// For [`Client::context`](crate::Client::context).
    pub context: Option<Arc<Context>>,
    /// When the WebSocket is closed with 1008
    /// ([`CloseReason::Expired`](crate::CloseReason::Expired)), to within a second. The time of day
    /// counts, so a machine that was suspended closes connections that have expired meanwhile.
    /// `None`: never.
    pub expires: Option<SystemTime>,
    /// The subprotocol to select if the client offers it and the endpoint selects none.
    pub protocol: Option<&'static str>,
    /// Decides later whether the client may stay: see [`Handle::recheck`](crate::Handle::recheck).
    /// [`Handle::recheck`](crate::Handle::recheck).
    pub authorizer: Option<Arc<dyn Authorizer>>,
}

/// Code that admitted a client and can withdraw that decision.
pub trait Authorizer: Send + Sync {
    /// Whether a client with these terms may stay. Called on the client's own shard.
    fn still_allows(&self, terms: &Terms) -> bool;
}

impl Terms {
    /// Whether they hold nothing that an open WebSocket has to keep.
    pub(super) fn are_empty(&self) -> bool {
        self.context.is_none() && self.expires.is_none() && self.authorizer.is_none()
    }

    /// Whether the authorizer, if any, lets the client stay.
    pub(super) fn hold(&self) -> bool {
        self.authorizer
            .as_ref()
            .is_none_or(|authorizer| authorizer.still_allows(self))
    }
}

/// An endpoint's state of a connection, with its type erased.
pub(super) type ErasedState = Box<dyn Any + Send>;

/// The terms on which a client gets its WebSocket, and the state that its endpoint keeps for it.
pub struct Accept<S = ()> {
    pub(super) protocol: Option<Cow<'static, str>>,
    /// `None`: the default value, made when it is first needed.
    pub(super) state: Option<S>,
    pub(super) terms: Option<Terms>,
}

impl<S> Default for Accept<S> {
    fn default() -> Self {
        Accept {
            protocol: None,
            state: None,
            terms: None,
        }
    }
}

impl<S> Accept<S> {
    /// No subprotocol, and the default state.
    pub fn new() -> Accept<S> {
        Accept::default()
    }

    pub(super) fn erase(self) -> Accept<ErasedState>
    where
        S: Send + 'static,
    {
        Accept {
            protocol: self.protocol,
            state: self.state.map(|state| -> ErasedState { Box::new(state) }),
            terms: self.terms,
        }
    }

    /// Selects a subprotocol. It must be one that the client offered (RFC 6455 §4.2.2).
    pub fn protocol(mut self, protocol: impl Into<Cow<'static, str>>) -> Accept<S> {
        self.protocol = Some(protocol.into());
        self
    }

    /// The state that the endpoint keeps for the connection. It is dropped when the WebSocket ends,
    /// after [`Endpoint::closed`](crate::Endpoint::closed), or with these terms if the WebSocket
    /// never opens.
    pub fn state(mut self, state: S) -> Accept<S> {
        self.state = Some(state);
        self
    }

    /// Facts about the client that all code may read: see
    /// [`Client::context`](crate::Client::context).
    pub fn context(mut self, context: Arc<Context>) -> Accept<S> {
        self.terms.get_or_insert_default().context = Some(context);
        self
    }

    /// Decides later whether the client may stay: see [`Terms::authorizer`].
    pub fn authorizer(mut self, authorizer: Arc<dyn Authorizer>) -> Accept<S> {
        self.terms.get_or_insert_default().authorizer = Some(authorizer);
        self
    }

    /// When the WebSocket is closed at the latest: see [`Terms::expires`].
    pub fn expires(mut self, expires: SystemTime) -> Accept<S> {
        self.terms.get_or_insert_default().expires = Some(expires);
        self
    }
}

/// The answer to a plain request.
pub enum Answer {
    /// This response.
    Now(Response),
    /// The request is refused, and the client is told why.
    Refuse(Refused),
    /// The answer follows later: see [`Responder::response`](crate::Responder::response).
    Later(Pending),
}

/// Answers plain requests before the services of their paths do: see
/// [`Builder::intercept`](crate::Builder::intercept).
pub(super) type Interceptor = dyn Fn(&Request<'_>) -> Option<Answer> + Send + Sync;

/// The decision that can be made from the head of a plain request, before its body is received.
pub enum HeadVerdict {
    /// No decision: the request is checked when its body is complete.
    Open,
    /// The client is admitted, with this context.
    Admitted(Option<Arc<Context>>),
    /// The final answer. `Answer::Later` here counts as an answer that took too long.
    Answered(Answer),
}

/// An answer that is awaited.
pub struct Pending {
    pub(super) slot: Arc<AnswerSlot>,
    pub(super) timeout: Duration,
    pub(super) terms: Option<Terms>,
}

/// The slot for an answer from another thread.
#[derive(Default)]
pub(super) struct AnswerSlot(Mutex<Option<LateAnswer>>);

/// An answer that came from another thread.
pub(super) enum LateAnswer {
    Accept(Accept<ErasedState>),
    Respond(Response),
    Refuse(Refused),
}

impl AnswerSlot {
    pub(super) fn take(&self) -> Option<LateAnswer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn put(&self, answer: LateAnswer) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }
}

/// The refusal of a client whose deferred answer did not come in time.
pub(super) fn unanswered() -> Refused {
    Refused::of(Refusal::AnswerTimeout, 503, "The answer took too long.").retry_after(1)
}
