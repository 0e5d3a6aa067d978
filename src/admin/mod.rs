//! Health and metrics: pages that answer plain requests with the engine's own numbers.
//!
//! [`routes`] gives `/health`, `/livez` and `/readyz` to both listeners, and `/metrics` to the
//! admin shard alone, so that a scrape never runs on a core that relays. A page reads what the
//! shards count ([`View`]) when it is asked for; no shard knows of it, and nothing in here is
//! written to while messages are relayed.

mod families;
mod health;
mod metrics;
mod probes;
#[cfg(target_os = "linux")]
mod process;

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use crate::engine::{
    Admission, Answer, Builder, Endpoint, EndpointError, EndpointSettings, Handle, Later,
    PatternError, Request, Session, View,
};
use crate::fanout::room::EndpointId;
use crate::relay::push::PushStats;
use crate::wire::decoder::Message;
use crate::wire::http::Response;

/// Adds the pages to an engine. `status_word` is the status that `/health` gives. The environment
/// is read here, once, for what `/health` tells about the deployment. `push` is for the metrics.
///
/// # Errors
///
/// One of the paths is taken by an endpoint that was added before.
pub fn routes(
    builder: &mut Builder,
    status_word: &str,
    push: Arc<PushStats>,
) -> Result<(), PatternError> {
    let metrics = serve(builder, metrics::Metrics::new(push));
    builder.route_admin("/metrics", metrics)?;
    let health = serve(builder, health::Health::new(status_word));
    let livez = serve(builder, probes::Livez);
    let readyz = serve(builder, probes::Readyz);
    for (path, page) in [("/health", health), ("/livez", livez), ("/readyz", readyz)] {
        builder.route_admin(path, page)?;
        builder.route(path, page)?;
    }
    Ok(())
}

fn serve(builder: &mut Builder, page: impl Page) -> EndpointId {
    let served = Served {
        page,
        running: OnceLock::new(),
    };
    builder.endpoint(EndpointSettings::default(), served)
}

/// The engine that a page tells about.
#[derive(Clone)]
struct Running {
    view: View,
    since: SystemTime,
}

/// What a path answers.
trait Page: Send + Sync + 'static {
    /// The methods that it answers.
    const METHODS: &'static [&'static str] = &["GET", "HEAD"];

    /// The answer, whose body is left out for HEAD. It is about this moment: nobody may keep it.
    fn answer(&self, request: &Request<'_>, running: &Running) -> Response;
}

/// A page as an endpoint.
struct Served<P> {
    page: P,
    running: OnceLock<Running>,
}

impl<P: Page> Endpoint for Served<P> {
    fn started(&self, handle: &Handle) -> Result<(), EndpointError> {
        self.running.get_or_init(|| Running {
            view: handle.view(),
            since: SystemTime::now(),
        });
        Ok(())
    }

    fn admit(&self, _request: &Request<'_>, _later: &mut Later<'_>) -> Admission {
        Admission::refuse(400, "There is no WebSocket here.\n")
    }

    fn message(&self, _session: &mut Session<'_>, _message: Message<'_>) {
        debug_assert!(false, "nobody is let in");
    }

    fn methods(&self) -> &'static [&'static str] {
        P::METHODS
    }

    fn request(&self, request: &Request<'_>, _later: &mut Later<'_>) -> Answer {
        let response = match self.running.get() {
            Some(running) => self.page.answer(request, running),
            None => Response::text(503, "The relay is starting.\n"),
        };
        Answer::Now(response.with_header("Cache-Control", "no-store"))
    }
}
