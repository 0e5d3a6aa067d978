//! Health, metrics and the dashboard: the engine's own numbers, for whoever asks.
//!
//! [`routes`] gives `/health`, `/livez` and `/readyz` to both listeners, `/test/benchmark` to the
//! relaying one alone, since that is where its clients look for it, and `/metrics` to the admin
//! shard alone, so that a scrape never runs on a core that relays. The [`dashboard`] is there too.
//! A page reads what the shards count ([`View`]) when it is asked for; no shard knows of it, and
//! nothing in here is written to while messages are relayed.
//!
//! [`View`]: crate::engine::View

mod benchmark;
pub mod dashboard;
mod families;
mod health;
mod kept;
mod metrics;
mod page;
mod probes;
#[cfg(target_os = "linux")]
mod process;
mod rebinding;

use std::sync::OnceLock;
use std::time::SystemTime;

use self::dashboard::Dashboard;
pub use self::page::{ListedUsers, Pages};
use self::page::{Page, Running};
use crate::engine::{
    Admission, Answer, Builder, Endpoint, EndpointError, EndpointSettings, Handle, HeadVerdict,
    PatternError, Refusal, Request, Responder, Session,
};
use crate::fanout::room::EndpointId;
use crate::relay::json_error::{json_error, worded};
use crate::wire::decoder::Message;
use crate::wire::http::Response;

/// Adds the pages to an engine. The environment is read here, once, for what `/health` tells about
/// the deployment.
///
/// # Errors
///
/// One of the paths is taken by an endpoint that was added before.
pub fn routes(builder: &mut Builder, mut pages: Pages) -> Result<(), PatternError> {
    if let Some(settings) = pages.dashboard.take() {
        let dashboard = Dashboard::new(settings, pages.endpoints.clone());
        let dashboard = builder.endpoint(Dashboard::endpoint_settings(), dashboard);
        for path in dashboard::PATHS {
            builder.route_admin(path, dashboard)?;
        }
    }
    let metrics = serve_admins(builder, metrics::Metrics::new(&pages));
    builder.route_admin("/metrics", metrics)?;
    let benchmark = benchmark::Benchmark::new(pages.cors.clone());
    let benchmark = serve(builder, benchmark);
    builder.route("/test/benchmark", benchmark)?;
    let health = serve(builder, health::Health::new(&pages, |users| users.is_told));
    builder.route("/health", health)?;
    let health = health::Health::new(&pages, |users| users.is_told_to_admins);
    let health = serve_admins(builder, health);
    builder.route_admin("/health", health)?;
    let livez = serve(builder, probes::Livez);
    let readyz = serve(builder, probes::Readyz);
    for (path, page) in [("/livez", livez), ("/readyz", readyz)] {
        builder.route_admin(path, page)?;
        builder.route(path, page)?;
    }
    Ok(())
}

fn serve(builder: &mut Builder, page: impl Page) -> EndpointId {
    let served = Served {
        page,
        running: OnceLock::new(),
        is_for_admins: false,
    };
    builder.endpoint(EndpointSettings::default(), served)
}

/// Serves a page of the admin listener that tells more than a probe does: not to pages of others.
fn serve_admins(builder: &mut Builder, page: impl Page) -> EndpointId {
    let served = Served {
        page,
        running: OnceLock::new(),
        is_for_admins: true,
    };
    builder.endpoint(EndpointSettings::default(), served)
}

/// A page as an endpoint.
struct Served<P> {
    page: P,
    running: OnceLock<Running>,
    /// See [`rebinding`].
    is_for_admins: bool,
}

impl<P: Page> Served<P> {
    fn answer(&self, request: &Request<'_>) -> Answer {
        if self.is_for_admins && rebinding::is_rebound(request.peer, request.head) {
            let response = json_error(403, "bad_host", rebinding::TEXT);
            return Answer::RefuseFor(Refusal::Forbidden, response);
        }
        let response = match self.running.get() {
            Some(running) => self.page.answer(request, running),
            None => json_error(503, "starting", "The relay is starting."),
        };
        let response = self.readable(response);
        Answer::Now(response.with_header("Cache-Control", "no-store"))
    }

    /// The answer with what browsers are told.
    fn readable(&self, response: Response) -> Response {
        match self.page.cors() {
            Some(cors) => cors.on(response),
            None => response,
        }
    }
}

impl<P: Page> Endpoint for Served<P> {
    type State = ();
    type Local = ();

    fn started(&self, handle: &Handle) -> Result<(), EndpointError> {
        self.running.get_or_init(|| Running {
            view: handle.view(),
            since: SystemTime::now(),
        });
        Ok(())
    }

    fn take_over(&self, next: &Self) {
        self.page.take_over(&next.page);
    }

    fn admit(&self, _request: &Request<'_>, _responder: &mut Responder<'_>) -> Admission {
        let response = json_error(400, "no_websocket", "There is no WebSocket here.");
        Admission::Refuse(self.readable(response))
    }

    fn message(&self, _session: &mut Session<'_>, _message: Message<'_>) {
        debug_assert!(false, "nobody is let in");
    }

    fn methods(&self) -> &'static [&'static str] {
        P::METHODS
    }

    fn refusal(&self, response: Response, code: &'static str) -> Response {
        self.readable(worded(response, code))
    }

    fn is_probe(&self) -> bool {
        P::IS_PROBE
    }

    /// No body changes the answer.
    fn judge_head(&self, request: &Request<'_>, _: &mut Responder<'_>) -> HeadVerdict {
        HeadVerdict::Answered(self.answer(request))
    }

    fn request(&self, request: &Request<'_>, _responder: &mut Responder<'_>) -> Answer {
        self.answer(request)
    }
}
