//! The dashboard: a page at `/` of the admin listener, and the figures for it and `corecast top`.
//!
//! Once a second, and only while there are viewers, the admin shard reads the counters of the
//! shards and makes one [`Snapshot`] for all viewers: clients of `/dashboard/stream` get it as a
//! text frame through a room of the relay's own, and requests for `/dashboard/snapshot` get it as
//! their answer. Shards that relay do no work for it. `access.rs` decides who may see it.

mod access;
mod link;
mod sample;
mod snapshot;

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use access::{Access, Denied};
use link::LinkError;
pub use link::{Link, VALID};
use sample::Sample;
pub use snapshot::{
    Bucket, FORMAT, FramesPerSend, Latency, Now, Process, Reason, Shard, SlowClient, Snapshot,
    Totals,
};

use crate::config::Config;
use crate::engine::{
    Accept, Admission, Answer, Authorizer, DeferredResponse, Endpoint, EndpointError,
    EndpointSettings, Handle, HeadVerdict, Pulse, Refused, Request, Responder, Service, Session,
    SlowClient as SlowClientSettings, SlowPolicy, Terms, Throttled, View,
};
use crate::fanout::room::EndpointId;
use crate::guard::{self, recheck_soon};
use crate::relay::files::{CSS, File, Files, HTML, SCRIPT, SVG, confined};
use crate::relay::json_error::{json_error, rendered};
use crate::relay::nostr::NamedStats;
use crate::wire::decoder::Message;
use crate::wire::frame::MessageKind;
use crate::wire::http::{Head, Response};

/// The dashboard's patterns on the admin listener.
pub(super) const PATHS: [&str; 2] = ["/", "/dashboard/**"];

/// The room of all viewers.
const ROOM: &str = "snapshots";

const STREAM: &str = "/dashboard/stream";
const SNAPSHOT: &str = "/dashboard/snapshot";
const CONFIG: &str = "/dashboard/config";

const FILES: [File; 4] = [
    ("/", HTML, include_str!("index.html")),
    ("/dashboard/look.css", CSS, include_str!("look.css")),
    ("/dashboard/page.js", SCRIPT, include_str!("page.js")),
    (
        "/dashboard/icon.svg",
        SVG,
        include_str!("../../../examples/assets/icon.svg"),
    ),
];

/// `Permissions-Policy`: the page's scripts may use none of the browser's devices.
const PERMISSIONS: &str = "camera=(), geolocation=(), microphone=()";

/// The shortest window for rates.
const WINDOW_MIN: Duration = Duration::from_millis(500);

/// The timeout of an answer with figures, which normally takes at most a little over two seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The settings that a reload replaces.
pub struct DashboardSettings {
    access: Access,
    shows_addresses: bool,
    /// The config in effect, secrets hidden.
    config: String,
}

impl DashboardSettings {
    /// The settings from `config`.
    pub fn new(config: &Config) -> DashboardSettings {
        let is_loopback = config.metrics_host().is_loopback();
        DashboardSettings {
            access: Access::new(config.admin.token.as_ref(), is_loopback),
            shows_addresses: config.admin.addresses,
            config: config.to_yaml(),
        }
    }
}

/// The endpoint.
pub(super) struct Dashboard {
    files: Files,
    /// The endpoints with their names.
    endpoints: Vec<(String, EndpointId)>,
    nostr: Vec<NamedStats>,
    settings: Shared,
    /// The link from the terminal, valid while no token is set. A reload keeps it.
    link: Option<Arc<Link>>,
    handle: OnceLock<Handle>,
    view: OnceLock<View>,
    watched: Mutex<Watched>,
}

/// The current settings, which reloads replace.
#[derive(Clone)]
struct Shared(Arc<RwLock<Arc<DashboardSettings>>>);

impl Shared {
    fn get(&self) -> Arc<DashboardSettings> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the settings and returns the previous ones.
    fn replace(&self, settings: Arc<DashboardSettings>) -> Arc<DashboardSettings> {
        let mut place = self.0.write().unwrap_or_else(PoisonError::into_inner);
        mem::replace(&mut *place, settings)
    }
}

/// The settings under which a viewer was admitted: its connection ends when access changes, for
/// example by another token.
struct Seat {
    settings: Shared,
    let_in_by: Arc<DashboardSettings>,
}

impl Authorizer for Seat {
    fn still_allows(&self, _terms: &Terms) -> bool {
        self.settings.get().access == self.let_in_by.access
    }
}

/// The state while there are viewers. Only the admin shard uses it.
#[derive(Default)]
struct Watched {
    /// The sample at which the current window begins.
    before: Option<Sample>,
    /// Requests that wait for the next snapshot.
    waiting: Vec<DeferredResponse>,
}

impl Dashboard {
    pub(super) fn new(
        settings: DashboardSettings,
        link: Option<Arc<Link>>,
        endpoints: Vec<(String, EndpointId)>,
        nostr: Vec<NamedStats>,
    ) -> Dashboard {
        Dashboard {
            files: Files::new(&FILES),
            endpoints,
            nostr,
            settings: Shared(Arc::new(RwLock::new(Arc::new(settings)))),
            link,
            handle: OnceLock::new(),
            view: OnceLock::new(),
            watched: Mutex::default(),
        }
    }

    /// The settings of its connections: clients send nothing, and slow ones get only the latest
    /// snapshot.
    pub(super) fn endpoint_settings() -> EndpointSettings {
        EndpointSettings {
            message_bytes: 1_024,
            slow_client: SlowClientSettings {
                policy: SlowPolicy::LatestOnly,
                ..SlowClientSettings::default()
            },
            ..EndpointSettings::default()
        }
    }

    fn settings(&self) -> Arc<DashboardSettings> {
        self.settings.get()
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name_of(&self, endpoint: EndpointId) -> String {
        let mut endpoints = self.endpoints.iter();
        let found = endpoints.find(|(_, id)| *id == endpoint);
        found.map_or_else(String::new, |(name, _)| name.clone())
    }

    /// Begins a window if there was no viewer before.
    fn begin(&self, watched: &mut Watched) {
        if watched.before.is_none() {
            watched.before = self.view.get().map(|view| Sample::read(view, &self.nostr));
        }
    }

    /// The events since the last snapshot, as JSON; `None` if that was too short ago.
    fn snapshot(&self, watched: &mut Watched) -> Option<String> {
        let view = self.view.get()?;
        let before = watched.before.as_ref()?;
        if before.age() < WINDOW_MIN {
            return None;
        }
        let now = Sample::read(view, &self.nostr);
        let shows_addresses = self.settings().shows_addresses;
        let snapshot = now.since(
            before,
            view,
            &self.nostr,
            |id| self.name_of(id),
            shows_addresses,
        );
        watched.before = Some(now);
        let json = serde_json::to_string(&snapshot);
        debug_assert!(json.is_ok(), "numbers and texts always have a form");
        json.ok()
    }

    /// Whether the page may be sent: by the configuration, or because the link was opened.
    fn judge_page(&self, head: &Head<'_>) -> Result<(), Denied> {
        self.or_by_link(self.settings().access.judge_page(head), head)
    }

    /// Whether figures may be sent, by the same rules.
    fn judge(&self, settings: &DashboardSettings, head: &Head<'_>) -> Result<(), Denied> {
        self.or_by_link(settings.access.judge(head), head)
    }

    fn or_by_link(&self, judged: Result<(), Denied>, head: &Head<'_>) -> Result<(), Denied> {
        let link = self.link.as_ref();
        match judged {
            Err(Denied::Closed) if link.is_some_and(|link| link.is_opened_by(head)) => Ok(()),
            judged => judged,
        }
    }

    /// Answers a request for the link.
    fn open(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer {
        let head = request.head;
        let closed = self.settings().access.judge_page(head) == Err(Denied::Closed);
        let Some(link) = self.link.as_ref().filter(|_| closed) else {
            return Answer::Now(unkept(json_error(404, "no_page", "There is no such page.")));
        };
        if head.method != "GET" || link::is_prefetch(head) {
            let told = "This link works once, so it cannot be prefetched.";
            return Answer::Refuse(Refused::new(503, "prefetch", told));
        }
        let told = match link.open(head, Instant::now()) {
            Ok(response) => return Answer::Now(confined(unkept(response))),
            Err(LinkError::Unknown) => {
                "This link is invalid or was used before: restart the relay for a new one, or \
                 set admin.token."
            }
            Err(LinkError::Expired) => {
                "This link has expired: restart the relay for a new one, or set admin.token."
            }
            Err(LinkError::Random) => "The relay could not generate a secret.",
        };
        let refused = Refused::new(403, "bad_link", told).ending_connection();
        let refused = refused.counted_as(guard::BAD_KEY);
        let failed = responder.failed(request.peer);
        Answer::Refuse(failed.map_or_else(Throttled::refused, |()| refused))
    }

    fn file(&self, head: &Head<'_>) -> Response {
        let denied = self.judge_page(head).err();
        let response = match denied {
            Some(denied) if head.path == "/" => {
                Response::text(denied.status(), format!("{}\n", denied.text()))
            }
            Some(denied) => rendered(&refused(denied)),
            None => {
                let file = self.files.answer(head.path, head);
                file.unwrap_or_else(|| json_error(404, "no_page", "There is no such page."))
            }
        };
        confined(response).with_header("Permissions-Policy", PERMISSIONS)
    }
}

impl Endpoint for Dashboard {
    type State = ();
    type Local = ();

    fn started(&self, handle: &Handle) -> Result<(), EndpointError> {
        self.handle.get_or_init(|| handle.clone());
        self.view.get_or_init(|| handle.view());
        Ok(())
    }

    fn reload(&self, next: &Self) {
        let next = next.settings();
        let before = self.settings.replace(Arc::clone(&next));
        if let Some(handle) = self.handle.get().filter(|_| before.access != next.access) {
            recheck_soon(handle);
        }
    }

    fn admit(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Admission {
        let head = request.head;
        if head.path != STREAM {
            let told = "This path does not serve WebSockets.";
            return Admission::Refuse(Refused::new(400, "no_websocket", told));
        }
        if !access::is_own_page(head) {
            let told = "Only the dashboard's own page may connect.";
            let refused = Refused::new(403, "bad_origin", told).counted_as(guard::ORIGIN);
            return Admission::Refuse(refused);
        }
        let settings = self.settings();
        if let Err(denied) = self.judge(&settings, head) {
            return Admission::Refuse(refused_try(denied, request, responder));
        }
        let accept = Accept::new().authorizer(Arc::new(Seat {
            settings: self.settings.clone(),
            let_in_by: settings,
        }));
        let mut offered = access::protocols(head);
        Admission::Accept(match offered.any(|each| each == access::PROTOCOL) {
            true => accept.protocol(access::PROTOCOL),
            false => accept,
        })
    }

    fn opened(&self, session: &mut Session<'_>, _request: &Request<'_>) {
        self.begin(&mut self.watched());
        if let Err(error) = session.join(ROOM) {
            tracing::warn!(%error, "a viewer of the dashboard could not be added");
            session.close(1011, "internal: no room");
        }
    }

    fn message(&self, _session: &mut Session<'_>, _message: Message<'_>) {
        // Viewers have nothing to send; what they send is ignored.
    }

    fn pulse(&self, pulse: &mut Pulse<'_>) {
        let mut watched = self.watched();
        if watched.before.is_none() {
            return;
        }
        if watched.waiting.is_empty() && pulse.members(ROOM) == 0 {
            watched.before = None;
            return;
        }
        if let Some(json) = self.snapshot(&mut watched) {
            pulse.publish(ROOM, MessageKind::Text, json.as_bytes());
            for waiting in mem::take(&mut watched.waiting) {
                waiting.respond(unkept(Response::json(200, json.clone())));
            }
        }
    }

    fn reasons(&self) -> Vec<&'static str> {
        guard::reasons()
    }
}

impl Service for Dashboard {
    fn check_head(&self, request: &Request<'_>, _: &mut Responder<'_>) -> HeadVerdict {
        let head = request.head;
        if head.path == link::PATH {
            return HeadVerdict::Open;
        }
        if ![STREAM, SNAPSHOT, CONFIG].contains(&head.path) {
            return HeadVerdict::Answered(Answer::Now(self.file(head)));
        }
        match self.judge(&self.settings(), head) {
            Ok(()) => HeadVerdict::Open,
            Err(denied) => HeadVerdict::Answered(Answer::Refuse(refused(denied))),
        }
    }

    fn request(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer {
        let head = request.head;
        if head.path == link::PATH {
            return self.open(request, responder);
        }
        if ![STREAM, SNAPSHOT, CONFIG].contains(&head.path) {
            return Answer::Now(self.file(head));
        }
        let settings = self.settings();
        if let Err(denied) = self.judge(&settings, head) {
            return Answer::Refuse(refused_try(denied, request, responder));
        }
        match head.path {
            SNAPSHOT => {
                let (answer, token) = responder.response(ANSWER_TIMEOUT);
                let mut watched = self.watched();
                self.begin(&mut watched);
                watched.waiting.push(token);
                answer
            }
            CONFIG => Answer::Now(unkept(Response::text(200, settings.config.clone()))),
            _ => Answer::Now(crate::engine::upgrade_required()),
        }
    }
}

/// Forbids caching: the response is about this moment, and not public.
fn unkept(response: Response) -> Response {
    response
        .with_header("Cache-Control", "no-store")
        .with_header("X-Content-Type-Options", "nosniff")
}

fn refused(denied: Denied) -> Refused {
    let refused = Refused::new(denied.status(), denied.code(), denied.text()).ending_connection();
    let challenge = ("WWW-Authenticate", "Bearer realm=\"corecast\"");
    match denied {
        Denied::NoToken => refused
            .counted_as(guard::NO_CREDENTIALS)
            .with_header(challenge.0, challenge.1),
        Denied::BadToken => refused
            .counted_as(guard::BAD_KEY)
            .with_header(challenge.0, challenge.1),
        Denied::Closed | Denied::Host | Denied::Proxied => refused.counted_as(guard::FORBIDDEN),
    }
}

/// Refuses a request that may have tried a token. An address that has tried too many wrong ones
/// gets the refusal for that instead.
fn refused_try(denied: Denied, request: &Request<'_>, responder: &mut Responder<'_>) -> Refused {
    let refused = refused(denied);
    if denied != Denied::BadToken {
        return refused;
    }
    let failed = responder.failed(request.peer);
    failed.map_or_else(Throttled::refused, |()| refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_asks_nobody_but_the_relay() {
        let bytes: usize = FILES.iter().map(|(.., text)| text.len()).sum();
        assert!(bytes < 150_000, "{bytes} bytes");
        for (path, _, text) in FILES {
            for scheme in ["http://", "https://", "ws://", "wss://", "//cdn", "@import"] {
                for (at, _) in text.match_indices(scheme) {
                    let rest = &text[at + scheme.len()..];
                    let is_name = rest.starts_with("www.w3.org/2000/svg");
                    assert!(is_name, "{path}: {}", &text[at..at + 40.min(rest.len())]);
                }
            }
        }
    }

    #[test]
    fn every_file_that_the_page_asks_for_is_served() {
        let html = FILES[0].2;
        let asked: Vec<&str> = ["src=\"", "href=\""]
            .iter()
            .flat_map(|attribute| html.split(attribute).skip(1))
            .filter_map(|rest| rest.split('"').next())
            .filter(|target| !target.starts_with('#'))
            .collect();
        assert!(asked.len() >= 3, "{asked:?}");
        for target in asked {
            let path = format!("/{target}");
            assert!(FILES.iter().any(|file| file.0 == path), "{target}");
        }
    }
}
