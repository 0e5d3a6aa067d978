//! Putting an engine together, starting it and stopping it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use crate::clock::Clock;
use crate::engine::clients::Clients;
use crate::engine::clients::core::Core;
use crate::engine::clients::endpoint::Endpoint;
use crate::engine::clients::erased::{ErasedEndpoint, ErasedService, NoWebSocket, Typed};
use crate::engine::clients::service::{Service, UpgradeRequired};
use crate::engine::control::{Door, Doors, Inbox, Live};
use crate::engine::edge::router::{PatternError, Router};
use crate::engine::edge::{Edge, Plain};
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

/// Puts an engine together.
#[derive(Default)]
pub struct Builder {
    pub(super) settings: Settings,
    pub(super) endpoints: Vec<Arc<dyn ErasedEndpoint>>,
    pub(super) endpoint_settings: Vec<EndpointSettings>,
    pub(super) plain: Vec<Plain>,
    router: Router,
    admin_router: Router,
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

    /// What the listeners with [`Listen::tls`] make TLS connections with.
    pub fn tls(&mut self, tls: Tls) {
        self.tls = Some(Arc::new(tls));
    }

    /// Adds a listener of the relaying shards that is open already, beside those of the settings.
    /// Its clients speak TLS where `tls` is true.
    pub fn inherit(&mut self, listener: Inherited, tls: bool) {
        self.inherited.push((listener, tls));
    }

    /// Adds an endpoint: WebSockets alone. It serves nothing until [`Builder::route`] gives it a
    /// path.
    pub fn endpoint(&mut self, settings: EndpointSettings, endpoint: impl Endpoint) -> EndpointId {
        let service = Arc::new(Typed(UpgradeRequired));
        self.add(settings, Arc::new(Typed(endpoint)), service)
    }

    /// Adds a service: plain requests alone. Its number is one of the endpoints'.
    pub fn service(&mut self, service: impl Service) -> EndpointId {
        let endpoint = Arc::new(Typed(NoWebSocket));
        self.add(
            EndpointSettings::default(),
            endpoint,
            Arc::new(Typed(service)),
        )
    }

    /// Adds what is both: its paths take WebSockets and plain requests.
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

    /// Gives what is refused for the endpoint's paths another form than a line of text: what the
    /// engine refuses by itself as well as what endpoints, services and hooks refuse. The status
    /// should stay. If `render` panics, it is a line of text. [`Engine::reload`] keeps the first.
    pub fn render_refusals(
        &mut self,
        endpoint: EndpointId,
        render: impl Fn(&Refused) -> Response + Send + Sync + 'static,
    ) {
        if let Some(plain) = self.plain.get_mut(usize::from(endpoint.0)) {
            plain.renderer = Some(Box::new(render));
        }
    }

    /// Gives the endpoint a path of the relaying shards: `/ws` is that path alone, `/ws/{name}` one
    /// more segment, `/room/**` all that lies below. The more specific pattern wins.
    pub fn route(&mut self, path: &str, endpoint: EndpointId) -> Result<(), PatternError> {
        self.router.add(path, endpoint)
    }

    /// Gives the endpoint a path of the admin shard.
    pub fn route_admin(&mut self, path: &str, endpoint: EndpointId) -> Result<(), PatternError> {
        self.admin_router.add(path, endpoint)
    }

    /// Adds a port: a member of rooms that is no connection, driven by a thread of the embedder's,
    /// which `waker` wakes. The seat goes to that thread, which opens it when the engine has
    /// started. There can be [`SHARDS_MAX`] shards and ports together. [`Engine::reload`] adds
    /// none: what this returns for it stays closed.
    pub fn port(&mut self, waker: impl Wake + 'static) -> Seat {
        let seat = self.link.seat(self.ports.len() as u16);
        self.ports.push(Sleeper::new(waker));
        seat
    }

    /// The reasons to refuse that endpoints and services have of their own, each once.
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

    /// Whether the settings can work.
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
    /// Settings that cannot work, an address that cannot be bound, no threads: nothing is left
    /// running then.
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
        let (doors, parts) = make_doors(listeners.len(), &counted, self.ports, relaying, names)?;
        let doors = Arc::new(doors);
        tell_started(
            &self.endpoints,
            &self.plain,
            &Handle::new(Arc::clone(&doors)),
        )?;
        let live = Live {
            settings,
            endpoint_settings: self.endpoint_settings.into(),
            tls: self.tls,
        };
        doors.reloads.note(live.tls.as_deref());
        let shared = Shared {
            endpoints: self.endpoints.into(),
            plain: self.plain.into(),
            doors: Arc::clone(&doors),
            live: live.clone(),
        };
        let (endpoints, plain) = (Arc::clone(&shared.endpoints), Arc::clone(&shared.plain));
        let routers = [Arc::new(self.router), Arc::new(self.admin_router)];
        let mut engine = Engine {
            doors,
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
                    shared: shared.clone(),
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
        engine.doors.admit_ports(&self.link);
        engine.doors.is_ready.store(true, Ordering::Release);
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

/// The doors of so many shards for so many endpoints, beside these ports, and what each shard has
/// for its door.
fn make_doors(
    shards: usize,
    counted: &Counted,
    ports: Vec<Sleeper>,
    relaying: u16,
    tls_listeners: Vec<String>,
) -> io::Result<(Doors, Vec<(Poll, Inbox)>)> {
    let (mut doors, mut sleepers, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..shards {
        let poll = Poll::new()?;
        sleepers.push(Sleeper::new(Waker::new(poll.registry(), WAKER)?));
        let (door, inbox) = Door::new(counted);
        doors.push(door);
        parts.push((poll, inbox));
    }
    sleepers.extend(ports);
    let interconnect = Interconnect::new(sleepers);
    let doors = Doors::new(doors, interconnect, relaying, tls_listeners)?;
    Ok((doors, parts))
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

/// What all shards are made from.
#[derive(Clone)]
struct Shared {
    endpoints: Arc<[Arc<dyn ErasedEndpoint>]>,
    plain: Arc<[Plain]>,
    doors: Arc<Doors>,
    live: Live,
}

/// What one shard is made from. A shard itself never leaves its thread, since its handles are not
/// atomic: it is put together there.
struct Parts {
    id: u16,
    poll: Poll,
    inbox: Inbox,
    listeners: Vec<Listening>,
    router: Arc<Router>,
    shared: Shared,
}

impl Parts {
    fn assemble(self) -> Shard {
        let Shared {
            endpoints,
            plain,
            doors,
            live,
        } = self.shared;
        let kept_bytes = live.tls.as_ref().map_or(0, |_| TLS_KEPT_BYTES_MAX);
        let clock = Clock::new(doors.origin);
        let locals = endpoints.iter().map(|each| each.new_local()).collect();
        let receive_buffer = vec![0; live.settings.read_buffer_bytes + kept_bytes];
        let core = Core::new(self.id, doors, live, locals, clock);
        Shard {
            poll: self.poll,
            events: Events::with_capacity(EVENTS_PER_POLL),
            listeners: self.listeners,
            receive_buffer,
            inbox: self.inbox,
            edge: Edge {
                router: self.router,
                plain,
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

/// Ends the process when it is dropped by a panic: a dead shard would freeze every room.
struct EndsProcess;

impl Drop for EndsProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a shard has failed: the process ends");
            eprintln!("corecast: a shard has failed: the process ends");
            std::process::abort();
        }
    }
}

fn spawn(parts: Parts) -> io::Result<JoinHandle<()>> {
    let (id, settings) = (parts.id, &parts.shared.live.settings);
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
            tracing::warn!(shard = id, "the shard could not be bound to its core");
        }
        parts.assemble().run();
    })
}

/// The core of a shard: the cores that the process may use, in order.
fn core_of(id: u16) -> Option<core_affinity::CoreId> {
    let cores = core_affinity::get_core_ids()?;
    cores.get(usize::from(id) % cores.len().max(1)).copied()
}

/// A running engine. Dropping it does not stop it; [`Engine::stop`] does.
pub struct Engine {
    pub(super) doors: Arc<Doors>,
    pub(super) live: Live,
    pub(super) endpoints: Arc<[Arc<dyn ErasedEndpoint>]>,
    pub(super) plain: Arc<[Plain]>,
    addresses: Vec<SocketAddr>,
    listening: Vec<Listen>,
    admin_addresses: Vec<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
}

impl Engine {
    /// Begins to put an engine together.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where the relaying shards listen by TCP, in the order of the settings, with the ports that
    /// were chosen for 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Everything that the relaying shards listen on, in that order, what was inherited last.
    pub fn listening(&self) -> &[Listen] {
        &self.listening
    }

    /// Where the admin shard listens, likewise.
    pub fn admin_addresses(&self) -> &[SocketAddr] {
        &self.admin_addresses
    }

    /// A handle for any thread.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.doors))
    }

    /// What the engine counts.
    pub fn view(&self) -> View {
        View::new(Arc::clone(&self.doors))
    }

    /// Ends the shards that run already, without a word to anybody.
    fn abort(self) {
        self.doors.is_aborted.store(true, Ordering::Relaxed);
        for shard in 0..self.doors.shards() {
            self.doors.wake(shard);
        }
        for thread in self.threads {
            // A shard that panics ends the process, so there is no error to be told.
            let _ = thread.join();
        }
    }

    /// Stops it gracefully: it is no longer ready; after `shutdown.delay` it stops accepting,
    /// delivers what it has accepted, and closes everybody with 1001. Returns as soon as the last
    /// connection is gone (`true`), or when `shutdown.timeout` is over (`false`).
    pub fn stop(self) -> bool {
        self.doors.is_ready.store(false, Ordering::Release);
        std::thread::sleep(self.live.settings.shutdown.delay);
        let (now, timeout) = (Instant::now(), self.live.settings.shutdown.timeout);
        let stopping = Stopping {
            doors: &self.doors,
            ports_until: now + STOP_PORT_WAIT.min(timeout / 2),
            deadline: now + timeout,
        };
        let relaying = self.doors.relaying;
        (0..relaying).for_each(|shard| stopping.tell(shard));
        let mut threads = self.threads.into_iter();
        let relays: Vec<_> = threads.by_ref().take(usize::from(relaying)).collect();
        let mut is_graceful = stopping.join(relays);
        // The admin shard goes last, so that it can be asked how far the others are.
        (relaying..self.doors.shards()).for_each(|shard| stopping.tell(shard));
        is_graceful &= stopping.join(threads.collect());
        self.doors.is_aborted.store(true, Ordering::Relaxed);
        self.doors.interconnect.end(self.doors.shards());
        is_graceful
    }
}

/// A graceful stop under way.
struct Stopping<'d> {
    doors: &'d Doors,
    /// Until then shards may wait for ports.
    ports_until: Instant,
    deadline: Instant,
}

impl Stopping<'_> {
    /// How long to wait between two looks.
    const LOOK: Duration = Duration::from_millis(5);

    /// Tells a shard to stop. One that takes no message until the deadline is given up.
    fn tell(&self, shard: u16) {
        loop {
            let next_look = self.deadline.min(Instant::now() + Stopping::LOOK);
            let is_told = self.doors.stop_until(shard, next_look);
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

    /// A shard that waits for a port does not even hear that it is to stop.
    fn look_at_ports(&self) {
        if Instant::now() >= self.ports_until {
            self.doors.close_blocking_ports();
        }
    }
}
