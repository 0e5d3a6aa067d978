//! Configures an engine, starts it and stops it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use crate::clock::Clock;
use crate::engine::answer::{Answer, Request};
use crate::engine::clients::Clients;
use crate::engine::clients::core::Core;
use crate::engine::clients::endpoint::Endpoint;
use crate::engine::clients::erased::{ErasedEndpoint, ErasedService, NoWebSocket, Typed};
use crate::engine::clients::service::{Service, UpgradeRequired};
use crate::engine::control::{Inbox, Live, ShardHandle, Shared};
use crate::engine::edge::router::{PatternError, Router};
use crate::engine::edge::{Common, Edge, Plain};
use crate::engine::handle::Handle;
use crate::engine::listener::{Bound, Inherited, Listeners};
use crate::engine::refusal::{Refusal, Refused};
use crate::engine::settings::{EndpointSettings, Listen, Settings};
use crate::engine::shard::busy::BusyWindow;
use crate::engine::shard::stop::Stop;
use crate::engine::shard::{Listening, Shard, WAKER};
use crate::engine::start_error::StartError;
use crate::engine::stats::Counted;
use crate::engine::tls::Tls;
use crate::engine::view::View;
use crate::exchange::{Interconnect, Link, Seat, Sleeper, Wake};
use crate::fanout::room::EndpointId;
use crate::limits::{
    EVENTS_PER_POLL, MESSAGE_BYTES_MAX, READ_BUFFER_BYTES_MIN, SHARDS_MAX, STOP_PORT_WAIT,
    TLS_KEPT_BYTES_MAX,
};
use crate::wire::frame::SERVER_HEADER_BYTES_MAX;
use crate::wire::http::Response;

/// Configures an engine.
#[derive(Default)]
pub struct Builder {
    pub(super) settings: Settings,
    pub(super) endpoints: Vec<Arc<dyn ErasedEndpoint>>,
    pub(super) endpoint_settings: Vec<EndpointSettings>,
    pub(super) plain: Vec<Plain>,
    router: Router,
    admin_router: Router,
    common: Common,
    inherited: Vec<(Inherited, bool)>,
    pub(super) tls: Option<Arc<Tls>>,
    ports: Vec<Sleeper>,
    link: Link,
}

impl Builder {
    /// Replaces the settings.
    pub fn settings(mut self, settings: Settings) -> Builder {
        self.settings = settings;
        self
    }

    /// Sets certificate and key for the listeners with [`Listen::tls`].
    pub fn tls(&mut self, tls: Tls) {
        self.tls = Some(Arc::new(tls));
    }

    /// Adds a listener of the relaying shards that is open already, in addition to those of the
    /// settings. Its clients speak TLS if `tls` is true.
    pub fn inherit(&mut self, listener: Inherited, tls: bool) {
        self.inherited.push((listener, tls));
    }

    /// Adds an endpoint, for WebSockets only. It serves nothing until [`Builder::route`] gives it a
    /// path.
    pub fn endpoint(&mut self, settings: EndpointSettings, endpoint: impl Endpoint) -> EndpointId {
        let service = Arc::new(Typed(UpgradeRequired));
        self.add(settings, Arc::new(Typed(endpoint)), service)
    }

    /// Adds a service, for plain requests only. Its id is one of the endpoints' ids.
    pub fn service(&mut self, service: impl Service) -> EndpointId {
        let endpoint = Arc::new(Typed(NoWebSocket));
        self.add(
            EndpointSettings::default(),
            endpoint,
            Arc::new(Typed(service)),
        )
    }

    /// Adds an endpoint that is also a service: its paths take WebSockets and plain requests.
    pub fn endpoint_and_service(
        &mut self,
        settings: EndpointSettings,
        both: impl Endpoint + Service,
    ) -> EndpointId {
        let both = Arc::new(Typed(both));
        self.add(settings, Arc::clone(&both) as Arc<_>, both)
    }

    fn add(
        &mut self,
        settings: EndpointSettings,
        endpoint: Arc<dyn ErasedEndpoint>,
        service: Arc<dyn ErasedService>,
    ) -> EndpointId {
        let id = EndpointId(self.endpoints.len() as u16);
        self.endpoints.push(endpoint);
        self.endpoint_settings.push(settings);
        self.plain.push(Plain {
            service,
            renderer: None,
        });
        id
    }

    /// Renders the refusals on the endpoint's paths in another form than a line of text: those of
    /// the engine itself as well as those of endpoints, services and hooks. `render` should keep
    /// the status. If it panics, the refusal is a line of text. [`Engine::reload`] keeps the first
    /// `render`.
    pub fn render_refusals(
        &mut self,
        endpoint: EndpointId,
        render: impl Fn(&Refused) -> Response + Send + Sync + 'static,
    ) {
        if let Some(plain) = self.plain.get_mut(usize::from(endpoint.0)) {
            plain.renderer = Some(Box::new(render));
        }
    }

    /// The same for refusals of paths that no endpoint has, and of endpoints without a form.
    pub fn render_other_refusals(
        &mut self,
        render: impl Fn(&Refused) -> Response + Send + Sync + 'static,
    ) {
        self.common.renderer = Some(Arc::new(render));
    }

    /// Has plain requests to the relaying shards answered by `answer`, for whatever path, also one
    /// that no endpoint has; `None` leaves a request to the service of its path. It is asked when
    /// the head is there, before any service or guard, and not about upgrades or clients that are
    /// turned away. It must not wait; if it panics, that one request is answered with 500.
    /// [`Engine::reload`] keeps the first.
    pub fn intercept(
        &mut self,
        answer: impl Fn(&Request<'_>) -> Option<Answer> + Send + Sync + 'static,
    ) {
        self.common.interceptor = Some(Arc::new(answer));
    }

    /// Gives the endpoint a path of the relaying shards. `/ws` is that path alone, `/ws/{name}`
    /// takes one more segment, and `/room/**` takes everything below `/room`. The most specific
    /// pattern wins.
    pub fn route(&mut self, path: &str, endpoint: EndpointId) -> Result<(), PatternError> {
        self.router.add(path, endpoint)
    }

    /// Gives the endpoint a path of the admin shard.
    pub fn route_admin(&mut self, path: &str, endpoint: EndpointId) -> Result<(), PatternError> {
        self.admin_router.add(path, endpoint)
    }

    /// Adds a port: a member of rooms that is not a connection, driven by a thread of the embedder,
    /// which `waker` wakes. Send the seat to that thread, which opens it when the engine has
    /// started. Shards and ports together may be at most [`SHARDS_MAX`]. [`Engine::reload`] adds no
    /// ports: a seat of its builder never opens.
    pub fn port(&mut self, waker: impl Wake + 'static) -> Seat {
        let seat = self.link.seat(self.ports.len() as u16);
        self.ports.push(Sleeper::new(waker));
        seat
    }

    /// The refusal reasons that endpoints and services define, each once.
    fn reasons(&self) -> Arc<[&'static str]> {
        let endpoints = self.endpoints.iter().map(|each| each.reasons());
        let services = self.plain.iter().map(|each| each.service.reasons());
        let mut reasons = Vec::new();
        for reason in endpoints.chain(services).flatten() {
            if !reasons.contains(&reason) && !Refusal::LABELS.contains(&reason) {
                reasons.push(reason);
            }
        }
        reasons.into()
    }

    /// Checks whether the settings can work.
    pub(super) fn check(&self) -> Result<(), StartError> {
        let shards = self.settings.shards;
        if shards == 0 || shards >= SHARDS_MAX {
            return Err(StartError::Shards(shards));
        }
        let shards = shards + usize::from(!self.settings.admin_listen.is_empty());
        let ports = self.ports.len();
        if shards + ports > SHARDS_MAX {
            return Err(StartError::Ports { shards, ports });
        }
        if self.settings.read_buffer_bytes < READ_BUFFER_BYTES_MIN {
            return Err(StartError::ReadBuffer(self.settings.read_buffer_bytes));
        }
        let mut listeners = self
            .settings
            .listen
            .iter()
            .chain(&self.settings.admin_listen);
        if let Some(listen) = listeners.find(|each| each.tls && self.tls.is_none()) {
            return Err(StartError::NoCertificate(listen.address.clone()));
        }
        for endpoint in &self.endpoint_settings {
            let message_bytes = endpoint.message_bytes;
            let outbox_bytes = endpoint.slow_client.outbox_bytes;
            if message_bytes > MESSAGE_BYTES_MAX {
                return Err(StartError::Message(message_bytes));
            }
            if outbox_bytes < message_bytes + SERVER_HEADER_BYTES_MAX {
                return Err(StartError::Outbox {
                    outbox_bytes,
                    message_bytes,
                });
            }
        }
        Ok(())
    }

    /// Binds the listeners and starts the shards.
    ///
    /// # Errors
    ///
    /// The settings cannot work, an address cannot be bound, or a thread cannot be started. Nothing
    /// is left running then.
    pub fn start(self) -> Result<Engine, StartError> {
        self.check()?;
        let reasons = self.reasons();
        let settings = Arc::new(self.settings);
        let relaying = settings.shards as u16;
        let (relays, admins) = listen(&settings, self.inherited, self.tls.is_some())?;
        let (addresses, admin_addresses) = (relays.addresses(), admins.addresses());
        let listening = relays.places;
        let mut listeners = relays.of_shards;
        listeners.extend(admins.of_shards);
        let names = tls_names(&listening);
        let counted = Counted {
            endpoints: self.endpoints.len(),
            reasons,
        };
        let (shared, parts) =
            share_handles(listeners.len(), &counted, self.ports, relaying, names)?;
        let shared = Arc::new(shared);
        let handle = Handle::new(Arc::clone(&shared));
        tell_started(&self.endpoints, &self.plain, &handle)?;
        let live = Live {
            settings,
            endpoint_settings: self.endpoint_settings.into(),
            tls: self.tls,
        };
        shared.reloads.note(live.tls.as_deref());
        let setup = Setup {
            endpoints: self.endpoints.into(),
            plain: self.plain.into(),
            common: self.common,
            shared: Arc::clone(&shared),
            live: live.clone(),
        };
        let (endpoints, plain) = (Arc::clone(&setup.endpoints), Arc::clone(&setup.plain));
        let routers = [Arc::new(self.router), Arc::new(self.admin_router)];
        let mut engine = Engine {
            shared,
            live,
            endpoints,
            plain,
            addresses,
            listening,
            admin_addresses,
            threads: Vec::new(),
        };
        for (id, ((poll, inbox), listeners)) in parts.into_iter().zip(listeners).enumerate() {
            let router = Arc::clone(&routers[usize::from(id >= usize::from(relaying))]);
            let spawned = register(&poll, listeners).and_then(|listeners| {
                spawn(Parts {
                    id: id as u16,
                    poll,
                    inbox,
                    listeners,
                    router,
                    setup: setup.clone(),
                })
            });
            match spawned {
                Ok(thread) => engine.threads.push(thread),
                Err(error) => {
                    engine.abort();
                    return Err(error.into());
                }
            }
        }
        engine.shared.admit_ports(&self.link);
        engine.shared.is_ready.store(true, Ordering::Release);
        Ok(engine)
    }
}

/// Tells endpoints and services that the engine is about to start.
fn tell_started(
    endpoints: &[Arc<dyn ErasedEndpoint>],
    plain: &[Plain],
    handle: &Handle,
) -> Result<(), StartError> {
    for (number, endpoint) in endpoints.iter().enumerate() {
        let started = endpoint.started(handle, EndpointId(number as u16));
        started.map_err(StartError::Endpoint)?;
    }
    for plain in plain {
        let started = plain.service.started(handle);
        started.map_err(StartError::Endpoint)?;
    }
    Ok(())
}

/// The names of the listeners that speak TLS.
fn tls_names(listening: &[Listen]) -> Vec<String> {
    let listening = listening.iter().filter(|place| place.tls);
    listening.map(|place| place.address.to_string()).collect()
}

/// The listeners of the relaying shards, and those of the admin shard.
fn listen(
    settings: &Settings,
    inherited: Vec<(Inherited, bool)>,
    has_certificate: bool,
) -> Result<(Listeners, Listeners), StartError> {
    let mut relays = Listeners::new(settings.shards);
    for listen in &settings.listen {
        relays.open(listen, settings)?;
    }
    for (listener, tls) in inherited {
        let taken = relays.inherit(listener, tls, settings);
        taken.map_err(StartError::Inherited)?;
    }
    if let Some(place) = relays.places.iter().find(|place| place.tls)
        && !has_certificate
    {
        return Err(StartError::NoCertificate(place.address.clone()));
    }
    let mut admins = Listeners::new(usize::from(!settings.admin_listen.is_empty()));
    for listen in &settings.admin_listen {
        admins.open(listen, settings)?;
    }
    Ok((relays, admins))
}

/// A handle for each shard, beside these ports, and the parts from which each shard is made.
fn share_handles(
    shards: usize,
    counted: &Counted,
    ports: Vec<Sleeper>,
    relaying: u16,
    tls_listeners: Vec<String>,
) -> io::Result<(Shared, Vec<(Poll, Inbox)>)> {
    let (mut handles, mut sleepers, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..shards {
        let poll = Poll::new()?;
        sleepers.push(Sleeper::new(Waker::new(poll.registry(), WAKER)?));
        let (handle, inbox) = ShardHandle::new(counted);
        handles.push(handle);
        parts.push((poll, inbox));
    }
    sleepers.extend(ports);
    let interconnect = Interconnect::new(sleepers);
    let shared = Shared::new(handles, interconnect, relaying, tls_listeners)?;
    Ok((shared, parts))
}

fn register(poll: &Poll, listeners: Vec<Bound>) -> io::Result<Vec<Listening>> {
    let mut listening = Vec::new();
    for (number, mut bound) in listeners.into_iter().enumerate() {
        let token = Token(WAKER.0 - 1 - number);
        bound.listener.register(poll.registry(), token)?;
        listening.push(Listening {
            listener: bound.listener,
            is_ready: true,
            is_failing: false,
            tls: bound.tls,
            is_inherited: bound.is_inherited,
        });
    }
    Ok(listening)
}

/// The data that all shards are made from.
#[derive(Clone)]
struct Setup {
    endpoints: Arc<[Arc<dyn ErasedEndpoint>]>,
    plain: Arc<[Plain]>,
    common: Common,
    shared: Arc<Shared>,
    live: Live,
}

/// The data that one shard is made from. The shard is built on its own thread and never leaves it,
/// since its reference counts are not atomic.
struct Parts {
    id: u16,
    poll: Poll,
    inbox: Inbox,
    listeners: Vec<Listening>,
    router: Arc<Router>,
    setup: Setup,
}

impl Parts {
    fn assemble(self) -> Shard {
        let Setup {
            endpoints,
            plain,
            mut common,
            shared,
            live,
        } = self.setup;
        if usize::from(self.id) >= live.settings.shards {
            common.interceptor = None;
        }
        let kept_bytes = live.tls.as_ref().map_or(0, |_| TLS_KEPT_BYTES_MAX);
        let clock = Clock::new(shared.origin);
        let locals = endpoints.iter().map(|each| each.new_local()).collect();
        let receive_buffer = vec![0; live.settings.read_buffer_bytes + kept_bytes];
        let core = Core::new(self.id, shared, live, locals, clock);
        Shard {
            poll: self.poll,
            events: Events::with_capacity(EVENTS_PER_POLL),
            listeners: self.listeners,
            receive_buffer,
            inbox: self.inbox,
            edge: Edge {
                router: self.router,
                plain,
                common,
                stop: Stop::Running,
            },
            clients: Clients::new(core, endpoints),
            timers_tick: 0,
            next_pulse_tick: 0,
            busy_window: BusyWindow::default(),
            sweep_from: 0,
            sweep_left: 0,
            sweep_outbox_bytes: 0,
        }
    }
}

/// Ends the process if a panic drops it: the room order would stall at a dead shard.
struct EndsProcess;

impl Drop for EndsProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a shard has panicked; the process ends");
            eprintln!("corecast: a shard has panicked; the process ends");
            std::process::abort();
        }
    }
}

fn spawn(parts: Parts) -> io::Result<JoinHandle<()>> {
    let (id, settings) = (parts.id, &parts.setup.live.settings);
    let is_relaying = usize::from(id) < settings.shards;
    let core = if settings.pin && is_relaying {
        core_of(id)
    } else {
        None
    };
    let name = if is_relaying {
        format!("shard-{id}")
    } else {
        "admin".to_owned()
    };
    std::thread::Builder::new().name(name).spawn(move || {
        let _ends_process = EndsProcess;
        if let Some(core) = core
            && !core_affinity::set_for_current(core)
        {
            tracing::warn!(shard = id, "cannot bind the shard to its core");
        }
        parts.assemble().run();
    })
}

/// The core for a shard: the cores that the process may use, in order.
fn core_of(id: u16) -> Option<core_affinity::CoreId> {
    let cores = core_affinity::get_core_ids()?;
    cores.get(usize::from(id) % cores.len().max(1)).copied()
}

/// A running engine. Dropping it does not stop it; [`Engine::stop`] does.
pub struct Engine {
    pub(super) shared: Arc<Shared>,
    pub(super) live: Live,
    pub(super) endpoints: Arc<[Arc<dyn ErasedEndpoint>]>,
    pub(super) plain: Arc<[Plain]>,
    addresses: Vec<SocketAddr>,
    listening: Vec<Listen>,
    admin_addresses: Vec<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
}

impl Engine {
    /// A builder for an engine.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The TCP addresses of the relaying shards, in the order of the settings, with the ports that
    /// were chosen for 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// All listeners of the relaying shards, in the same order, followed by inherited ones.
    pub fn listening(&self) -> &[Listen] {
        &self.listening
    }

    /// The TCP addresses of the admin shard.
    pub fn admin_addresses(&self) -> &[SocketAddr] {
        &self.admin_addresses
    }

    /// A handle for any thread.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.shared))
    }

    /// The engine's counters.
    pub fn view(&self) -> View {
        View::new(Arc::clone(&self.shared))
    }

    /// Stops the shards that run already, without telling their clients.
    fn abort(self) {
        self.shared.is_aborted.store(true, Ordering::Relaxed);
        for shard in 0..self.shared.shards() {
            self.shared.wake(shard);
        }
        for thread in self.threads {
            // A shard that panics ends the process, so there is no error to report.
            let _ = thread.join();
        }
    }

    /// Stops the engine gracefully. It is no longer ready; after `shutdown.delay` it stops
    /// accepting, delivers what it has accepted, and closes all connections with 1001. Returns
    /// `true` as soon as the last connection has ended, or `false` when `shutdown.timeout` is over.
    pub fn stop(self) -> bool {
        self.shared.is_ready.store(false, Ordering::Release);
        std::thread::sleep(self.live.settings.shutdown.delay);
        let (now, timeout) = (Instant::now(), self.live.settings.shutdown.timeout);
        let stopping = Stopping {
            shared: &self.shared,
            ports_until: now + STOP_PORT_WAIT.min(timeout / 2),
            deadline: now + timeout,
        };
        let relaying = self.shared.relaying;
        (0..relaying).for_each(|shard| stopping.tell(shard));
        let mut threads = self.threads.into_iter();
        let relays: Vec<_> = threads.by_ref().take(usize::from(relaying)).collect();
        let mut is_graceful = stopping.join(relays);
        // The admin shard stops last, so that it can report on the others meanwhile.
        (relaying..self.shared.shards()).for_each(|shard| stopping.tell(shard));
        is_graceful &= stopping.join(threads.collect());
        self.shared.is_aborted.store(true, Ordering::Relaxed);
        self.shared.interconnect.end(self.shared.shards());
        is_graceful
    }
}

/// A graceful stop under way.
struct Stopping<'d> {
    shared: &'d Shared,
    /// Until then shards may wait for ports.
    ports_until: Instant,
    deadline: Instant,
}

impl Stopping<'_> {
    /// The pause between two checks.
    const LOOK: Duration = Duration::from_millis(5);

    /// Tells a shard to stop, unless it accepts no message before the deadline.
    fn tell(&self, shard: u16) {
        loop {
            let next_look = self.deadline.min(Instant::now() + Stopping::LOOK);
            let is_told = self.shared.stop_until(shard, next_look);
            if is_told || Instant::now() >= self.deadline {
                return;
            }
            self.look_at_ports();
        }
    }

    /// Waits for the threads until the deadline. Returns whether all have ended.
    fn join(&self, mut threads: Vec<JoinHandle<()>>) -> bool {
        while !threads.is_empty() {
            threads.retain(|thread| !thread.is_finished());
            if Instant::now() >= self.deadline {
                return threads.is_empty();
            }
            self.look_at_ports();
            std::thread::sleep(Stopping::LOOK);
        }
        true
    }

    /// Closes ports that shards wait for, once their time is over. A shard that is blocked by a
    /// port does not take control messages, so it would never learn that it is to stop.
    fn look_at_ports(&self) {
        if Instant::now() >= self.ports_until {
            self.shared.close_blocking_ports();
        }
    }
}
