//! The trait of a page, and the pages' data beside the engine's own numbers.

use std::sync::Arc;
use std::time::SystemTime;

use super::dashboard::{DashboardSettings, Link};
use crate::engine::{Request, View};
use crate::fanout::room::EndpointId;
use crate::relay::cors::Cors;
use crate::relay::nostr::NamedStats;
use crate::relay::push::PushStats;
use crate::relay::users::Users;
use crate::wire::http::Response;

/// The data of the pages beside the engine's numbers.
#[derive(Default)]
pub struct Pages {
    /// The value of `status` in `/health`.
    pub status_word: String,
    /// The users that `/health` may list.
    pub users: Vec<ListedUsers>,
    /// The endpoints by which WebSocket connections are counted, each with its name.
    pub endpoints: Vec<(String, EndpointId)>,
    /// The CORS headers of `/health` and `/test/benchmark`.
    pub cors: Cors,
    /// The counters of the push APIs.
    pub push: Arc<PushStats>,
    /// The Nostr endpoints with their counters.
    pub nostr: Vec<NamedStats>,
    /// The dashboard, if it is served.
    pub dashboard: Option<DashboardSettings>,
    /// The link that opens the dashboard, if the terminal shows one.
    pub link: Option<Arc<Link>>,
}

/// The users of an endpoint, and which listeners may list their names.
pub struct ListedUsers {
    /// The users.
    pub users: Arc<Users>,
    /// Whether `/health` of the relaying listeners lists them.
    pub is_told: bool,
    /// Whether `/health` of the admin listener lists them.
    pub is_told_to_admins: bool,
}

/// The engine that a page reports on.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) view: View,
    pub(super) since: SystemTime,
}

/// A page that answers requests for a path.
pub(super) trait Page: Send + Sync + 'static {
    /// The methods that it answers.
    const METHODS: &'static [&'static str] = &["GET", "HEAD"];

    /// Whether it is answered even if the relay is full.
    const IS_PROBE: bool = false;

    /// The CORS headers of every answer.
    fn cors(&self) -> &Cors {
        &Cors(None)
    }

    /// Called on a reload: adopts the settings of `next`.
    fn reload(&self, next: &Self)
    where
        Self: Sized,
    {
        let _ = next;
    }

    /// The answer; its body is left out for HEAD. It is about this moment, so it is never cached.
    fn answer(&self, request: &Request<'_>, running: &Running) -> Response;
}
