//! What a page is, and what the pages tell beside the engine's own numbers.

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

/// What the pages tell beside the engine's numbers.
#[derive(Default)]
pub struct Pages {
    /// The status that `/health` gives.
    pub status_word: String,
    /// The users that it may list.
    pub users: Vec<ListedUsers>,
    /// The endpoints that WebSocket connections are counted by, each with its name.
    pub endpoints: Vec<(String, EndpointId)>,
    /// What browsers are told with every answer of `/health` and `/test/benchmark`.
    pub cors: Cors,
    /// What the push APIs count.
    pub push: Arc<PushStats>,
    /// The Nostr endpoints, each with what it counts.
    pub nostr: Vec<NamedStats>,
    /// The dashboard, where there is to be one.
    pub dashboard: Option<DashboardSettings>,
    /// What opens the dashboard from the terminal.
    pub link: Option<Arc<Link>>,
}

/// The users of an endpoint, and who is told their names: those who may come in there.
pub struct ListedUsers {
    /// The users.
    pub users: Arc<Users>,
    /// Whether `/health` of the relaying listeners lists them.
    pub is_told: bool,
    /// Whether that of the admin listener does.
    pub is_told_to_admins: bool,
}

/// The engine that a page tells about.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) view: View,
    pub(super) since: SystemTime,
}

/// What a path answers.
pub(super) trait Page: Send + Sync + 'static {
    /// The methods that it answers.
    const METHODS: &'static [&'static str] = &["GET", "HEAD"];

    /// Whether it is answered however full the relay is.
    const IS_PROBE: bool = false;

    /// What browsers are told with every answer.
    fn cors(&self) -> &Cors {
        &Cors(None)
    }

    /// The configuration was read again, and asks for `next`.
    fn reload(&self, next: &Self)
    where
        Self: Sized,
    {
        let _ = next;
    }

    /// The answer, whose body is left out for HEAD. It is about this moment: nobody may keep it.
    fn answer(&self, request: &Request<'_>, running: &Running) -> Response;
}
