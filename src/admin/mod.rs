//! Health, metrics and the dashboard: pages about the engine's own numbers.
//!
//! [`routes`] adds `/health`, `/livez` and `/readyz` to both listeners. `/test/benchmark` is on the
//! main listener only, where its clients look for it. `/metrics` and the [`dashboard`] are on the
//! admin shard only, so that a scrape never runs on a core that relays. A page reads the shards'
//! counters ([`View`]) when it is requested; relaying a message writes to nothing in here.
//!
//! [`View`]: crate::engine::View

mod benchmark;
pub mod dashboard;
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
    Answer, Builder, EndpointError, Handle, PatternError, Refused, Request, Responder, Service,
};
use crate::fanout::room::EndpointId;
use crate::guard;
use crate::relay::json_error::{json_error, rendered};

/// Adds the pages to an engine. Reads the environment, once, for the deployment in `/health`.
///
/// # Errors
///
/// An endpoint that was added before uses one of the paths.
pub fn routes(builder: &mut Builder, mut pages: Pages) -> Result<(), PatternError> {
    if let Some(settings) = pages.dashboard.take() {
        let dashboard = Dashboard::new(
            settings,
            pages.link.take(),
            pages.endpoints.clone(),
            pages.nostr.clone(),
        );
        let settings = Dashboard::endpoint_settings();
        let dashboard = builder.endpoint_and_service(settings, dashboard);
        builder.render_refusals(dashboard, rendered);
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
    let nostr = pages.nostr.clone();
    let readyz = serve(builder, probes::Readyz { nostr });
    for (path, page) in [("/livez", livez), ("/readyz", readyz)] {
        builder.route_admin(path, page)?;
        builder.route(path, page)?;
    }
    Ok(())
}

fn serve(builder: &mut Builder, page: impl Page) -> EndpointId {
    add(builder, page, false)
}

/// Serves a page of the admin listener that reveals more than a probe, and therefore not to web
/// pages of other origins.
fn serve_admins(builder: &mut Builder, page: impl Page) -> EndpointId {
    add(builder, page, true)
}

fn add(builder: &mut Builder, page: impl Page, is_for_admins: bool) -> EndpointId {
    let cors = page.cors().clone();
    let service = builder.service(Served {
        page,
        running: OnceLock::new(),
        is_for_admins,
    });
    builder.render_refusals(service, move |refused| cors.on(rendered(refused)));
    service
}

/// A page as a service.
struct Served<P> {
    page: P,
    running: OnceLock<Running>,
    /// See [`rebinding`].
    is_for_admins: bool,
}

impl<P: Page> Served<P> {
    fn answer(&self, request: &Request<'_>) -> Answer {
        if self.is_for_admins && rebinding::is_rebound(request.peer, request.head) {
            let refused = Refused::new(403, "bad_host", rebinding::TEXT);
            let refused = refused.counted_as(guard::FORBIDDEN);
            return Answer::Refuse(refused.ending_connection());
        }
        let response = match self.running.get() {
            Some(running) => self.page.answer(request, running),
            None => json_error(503, "starting", "The relay is starting."),
        };
        let response = self.page.cors().on(response);
        Answer::Now(response.with_header("Cache-Control", "no-store"))
    }
}

impl<P: Page> Service for Served<P> {
    fn started(&self, handle: &Handle) -> Result<(), EndpointError> {
        self.running.get_or_init(|| Running {
            view: handle.view(),
            since: SystemTime::now(),
        });
        Ok(())
    }

    fn reload(&self, next: &Self) {
        self.page.reload(&next.page);
    }

    fn methods(&self) -> &'static [&'static str] {
        P::METHODS
    }

    fn reasons(&self) -> Vec<&'static str> {
        vec![guard::FORBIDDEN.label()]
    }

    fn is_probe(&self) -> bool {
        P::IS_PROBE
    }

    fn wants_body(&self) -> bool {
        false
    }

    fn request(&self, request: &Request<'_>, _responder: &mut Responder<'_>) -> Answer {
        self.answer(request)
    }
}
