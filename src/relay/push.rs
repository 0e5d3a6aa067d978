//! Tokens and push: clients connect with a token and wait, back ends push to them over HTTP.
//!
//! A token names a group, which is a room of that name; every connection of the endpoint is also a
//! member of a common room. Clients do not relay to each other: they can only send their token
//! (`identify`) and test the connection (`ping`). The push API is an endpoint of its own on plain
//! HTTP ([`PushApi`]): immediate pushes are published on the shard that got the request; delayed
//! ones are kept by a thread of their own (`schedule.rs`), which writes them to a journal
//! (`journal.rs`) if one is configured.
//!
//! A client with an identity needs the permission to read the room of its token. Broadcasts go to
//! all clients.

mod api;
mod journal;
mod order;
mod pending;
mod refusal;
mod schedule;
mod settings;
mod stats;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

pub use self::api::PushApi;
pub(crate) use self::api::rendered;
use self::order::{Text, object};
pub(crate) use self::refusal::Refusal as PushRefusal;
pub use self::settings::PushSettings;
pub use self::stats::PushStats;
use crate::engine::{
    Accept, Admission, Endpoint, JoinError, Request, Responder, RoomId, Service, Session,
};
use crate::guard;
use crate::wire::decoder::Message;
use crate::wire::frame::MessageKind;
use crate::wire::http::query_value;

/// The common room of a push endpoint. No token is empty, so no group has this name.
const EVERYBODY: &str = "";

/// The WebSocket side: connections that wait for pushes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Push;

/// `{"type":"ping","ts":17}`: a client measures its round-trip time.
#[derive(Deserialize)]
struct Ping<'m> {
    #[serde(rename = "type", borrow)]
    kind: Text<'m>,
    #[serde(default)]
    ts: Option<i64>,
}

/// `{"event":"identify","data":{"token":"X"}}`: a client sends its token.
#[derive(Deserialize)]
struct Event<'m> {
    #[serde(borrow)]
    event: Text<'m>,
    #[serde(borrow)]
    data: &'m RawValue,
}

#[derive(Deserialize)]
struct Identity {
    token: String,
}

impl Endpoint for Push {
    /// The group of the connection's token.
    type State = Option<RoomId>;
    type Local = ();

    fn admit(
        &self,
        request: &Request<'_>,
        _responder: &mut Responder<'_>,
    ) -> Admission<Self::State> {
        let identity = request.context::<guard::Identity>();
        let token = token_of(request).unwrap_or_default();
        if identity.is_some_and(|identity| !token.is_empty() && !identity.may_read(&token)) {
            let told = "You may not read what is pushed to this token.";
            return Admission::Refuse(guard::forbidden(told));
        }
        Admission::Accept(Accept::new())
    }

    fn opened(&self, session: &mut Session<'_, Option<RoomId>>, request: &Request<'_>) {
        if let Err(error) = session.join(EVERYBODY) {
            return close(session, error);
        }
        if let Some(token) = token_of(request) {
            enter(session, &token);
        }
    }

    fn message(&self, session: &mut Session<'_, Option<RoomId>>, message: Message<'_>) {
        if let Some(ts) = ts_of_ping(message.payload) {
            let pong = format!("{{\"type\":\"pong\",\"ts\":{ts}}}");
            session.send(MessageKind::Text, pong.as_bytes());
        } else if let Some(token) = token_of_identify(message.payload) {
            enter(session, &token);
        }
    }
}

impl Service for Push {
    fn wants_body(&self) -> bool {
        false
    }
}

/// The token of `?token=`.
fn token_of<'r>(request: &Request<'r>) -> Option<Cow<'r, str>> {
    query_value(request.head.query?, "token")
}

fn ts_of_ping(payload: &[u8]) -> Option<i64> {
    let Ping { kind, ts } = object(payload)?;
    (kind.0 == "ping").then(|| ts.unwrap_or_default())
}

fn token_of_identify(payload: &[u8]) -> Option<String> {
    let Event { event, data } = object(payload)?;
    let is_identify = event.0 == "identify";
    let identity: Identity = is_identify.then(|| object(data.get().as_bytes()))??;
    Some(identity.token)
}

/// Moves the connection to the group of this token. An empty token is ignored.
fn enter(session: &mut Session<'_, Option<RoomId>>, token: &str) {
    if token.is_empty() {
        return;
    }
    let identity = session.context::<guard::Identity>();
    if identity.is_some_and(|identity| !identity.may_read(token)) {
        return session.forbid();
    }
    let former = session.kept().copied().flatten();
    match session.join(token) {
        // The same token again: leaving and joining would lose messages on their way.
        Ok(group) if Some(group) == former => {}
        Ok(group) => {
            if let Some(former) = former {
                session.leave(former);
            }
            *session.state() = Some(group);
        }
        Err(error) => close(session, error),
    }
}

fn close(session: &mut Session<'_, Option<RoomId>>, error: JoinError) {
    session.close(1008, &format!("room: {error}"));
}
