//! The rooms API: requests of back ends over HTTP, with a key. `docs/openapi.yaml` describes it.
//!
//! [`routes`] adds five exact paths, so that only those five are lost as rooms of a hub. Rooms are
//! named in queries and bodies and never in a path: a hub's rooms are paths themselves, and not
//! every proxy preserves a slash in a segment.
//!
//! The shard that gets a request publishes to a room at once. Requests that concern other shards,
//! or all rooms, are handled by a thread of their own (`worker.rs`), which answers later. Every
//! refusal has one form, including those of the engine (`json_error.rs`).

mod disconnect;
mod error;
mod info;
mod publish;
mod query;
mod rooms;
mod worker;

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use serde::Serialize;

use self::error::{ApiError, Code};
use self::worker::Worker;
use super::api_keys::{ApiKeys, KeyDenial, header_key};
use super::json_error::rendered;
use super::users::{Claim, Users};
use crate::config::{API_PATHS, EndpointKind};
use crate::engine::{
    Answer, Builder, EndpointError, Handle, HeadVerdict, PatternError, Request, Responder, Service,
    View,
};
use crate::fanout::room::EndpointId;
use crate::fanout::{ConnectionId, Recipient};
use crate::guard::{self, Scope};
use crate::wire::http::Response;

/// An endpoint that back ends can reach.
pub struct Target {
    /// Its name in the config.
    pub name: String,
    /// Its kind.
    pub kind: EndpointKind,
    /// Its path pattern.
    pub path: String,
    /// Its id in the engine.
    pub id: EndpointId,
    /// The largest message for its connections, in bytes.
    pub message_bytes: usize,
    /// Whether its clients get all messages as binary.
    pub binary_out: bool,
    /// Its users, if they have names.
    pub users: Option<Arc<dyn UserNames>>,
}

/// The users of an endpoint, by name.
pub trait UserNames: Send + Sync {
    /// The connections of a user; none if the name is not in use.
    fn connections_of(&self, user: &str) -> Vec<ConnectionId>;

    /// The user that a connection belongs to. It is called on the connection's own shard.
    fn name_of(&self, member: &Recipient<'_>) -> Option<String>;
}

impl UserNames for Users {
    fn connections_of(&self, user: &str) -> Vec<ConnectionId> {
        Users::connections_of(self, user)
    }

    fn name_of(&self, member: &Recipient<'_>) -> Option<String> {
        let claim = member.state::<Option<Claim>>()?.as_ref()?;
        Some(claim.name().to_owned())
    }
}

/// Adds the API's paths to an engine.
///
/// # Errors
///
/// An endpoint that was added before has one of the paths.
pub fn routes(
    builder: &mut Builder,
    keys: ApiKeys,
    targets: Vec<Target>,
) -> Result<(), PatternError> {
    let api = Arc::new(Api {
        keys,
        targets: targets.into_iter().map(Arc::new).collect(),
        running: OnceLock::new(),
    });
    let calls = [
        Call::Publish,
        Call::Rooms,
        Call::Members,
        Call::Disconnect,
        Call::Info,
    ];
    for (path, call) in API_PATHS.into_iter().zip(calls) {
        let api = Arc::clone(&api);
        let route = builder.service(Route { call, api });
        builder.render_refusals(route, rendered);
        builder.route(path, route)?;
    }
    Ok(())
}

/// State that all paths share.
struct Api {
    keys: ApiKeys,
    targets: Vec<Arc<Target>>,
    running: OnceLock<Running>,
}

/// The running engine that the API serves.
struct Running {
    view: View,
    since: SystemTime,
    worker: Worker,
}

impl Api {
    /// Checks that the request has a valid key with this scope: in `X-API-KEY`, else in `API-KEY`,
    /// else as a bearer token (RFC 6750 §2.1).
    fn authorize(
        &self,
        request: &Request<'_>,
        scope: Scope,
        responder: &mut Responder<'_>,
    ) -> Result<(), KeyDenial> {
        let key = header_key(request.head).or_else(|| guard::bearer(request.head));
        self.keys.check(key, scope, request.peer, responder)
    }

    fn target(&self, name: &str) -> Result<&Arc<Target>, ApiError> {
        let target = self.targets.iter().find(|target| target.name == name);
        target.ok_or_else(|| {
            ApiError::new(
                Code::UnknownEndpoint,
                "no endpoint has that name; /api/info lists them",
            )
        })
    }

    fn running(&self) -> Result<&Running, ApiError> {
        let starting = || ApiError::new(Code::Busy, "the relay is starting");
        self.running.get().ok_or_else(starting)
    }
}

/// One of the paths.
struct Route {
    call: Call,
    api: Arc<Api>,
}

#[derive(Clone, Copy)]
enum Call {
    Publish,
    Rooms,
    Members,
    Disconnect,
    Info,
}

impl Call {
    /// The scope that a key needs.
    fn scope(self) -> Scope {
        match self {
            Call::Publish => Scope::Publish,
            Call::Rooms | Call::Members | Call::Info => Scope::Read,
            Call::Disconnect => Scope::Disconnect,
        }
    }
}

impl Route {
    /// The answer to a request with a valid key.
    fn answer(
        &self,
        request: &Request<'_>,
        responder: &mut Responder<'_>,
    ) -> Result<Answer, ApiError> {
        match self.call {
            Call::Publish => self.api.publish(request, responder),
            Call::Rooms => self.api.rooms(request, responder),
            Call::Members => self.api.members(request, responder),
            Call::Disconnect => self.api.disconnect(request, responder),
            Call::Info => self.api.info(request).map(Answer::Now),
        }
    }
}

impl Service for Route {
    fn started(&self, handle: &Handle) -> Result<(), EndpointError> {
        self.api.keys.watch(handle);
        if self.api.running.get().is_none() {
            let running = Running {
                view: handle.view(),
                since: SystemTime::now(),
                worker: Worker::start(handle.clone())?,
            };
            // The engine starts its endpoints one after the other.
            let _ = self.api.running.set(running);
        }
        Ok(())
    }

    /// The keys. The five paths share them.
    fn reload(&self, next: &Self) {
        self.api.keys.reload(&next.api.keys);
    }

    fn methods(&self) -> &'static [&'static str] {
        match self.call {
            Call::Publish | Call::Disconnect => &["POST"],
            Call::Rooms | Call::Members | Call::Info => &["GET", "HEAD"],
        }
    }

    fn check_head(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> HeadVerdict {
        match self.api.authorize(request, self.call.scope(), responder) {
            Ok(()) => HeadVerdict::Admitted(None),
            Err(denial) => HeadVerdict::Answered(Answer::Refuse(error::of_key(denial))),
        }
    }

    fn checked_request(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer {
        let answer = self.answer(request, responder);
        answer.unwrap_or_else(|error| Answer::Now(error.response()))
    }

    fn reasons(&self) -> Vec<&'static str> {
        guard::reasons()
    }

    fn request(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer {
        match self.check_head(request, responder) {
            HeadVerdict::Answered(answer) => answer,
            HeadVerdict::Open | HeadVerdict::Admitted(_) => {
                self.checked_request(request, responder)
            }
        }
    }
}

/// A successful answer.
fn ok(body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(json) => Response::json(200, json).with_header("Cache-Control", "no-store"),
        // Unreachable: our bodies have only string keys and numbers that JSON can express.
        Err(error) => ApiError::new(Code::Busy, error.to_string()).response(),
    }
}
