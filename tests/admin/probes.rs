//! `/livez` and `/readyz`.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use corecast::admin;
use corecast::config::ConnectionLimit;
use corecast::engine::{Endpoint, EndpointSettings, Engine, FileBudget, Session, Settings};
use corecast::relay;
use corecast::wire::decoder::Message as Received;
use tungstenite::Message;

use crate::http::{Client, ask, ask_until};
use crate::{Relay, config, relay_text, try_join};

#[test]
fn a_relay_that_runs_is_alive_and_ready_on_both_listeners() {
    let relay = Relay::start(&config());
    for to in [relay.main, relay.admin()] {
        for (path, body) in [("/livez", "alive\n"), ("/readyz", "ready\n")] {
            let reply = ask(to, "GET", path);
            assert_eq!((reply.status, &*reply.body), (200, body));
            assert_eq!(reply.header("Cache-Control"), Some("no-store"));
            assert_eq!(ask(to, "HEAD", path).status, 200);
        }
    }
}

#[test]
fn before_a_shutdown_the_relay_is_not_ready_but_still_relays() {
    let mut config = config();
    config.shutdown.delay = Duration::from_secs(3);
    let mut relay = Relay::start(&config);
    let mut clients = vec![relay.join("/")];
    let engine = relay.engine.take().expect("it runs");
    let stopping = std::thread::spawn(move || engine.stop());
    for to in [relay.admin(), relay.main] {
        ask_until(to, "/readyz", 503);
        assert_eq!(ask(to, "GET", "/livez").status, 200);
        let health = ask(to, "GET", "/health");
        assert!(
            health.status == 200 && health.body.contains("\"healthy\""),
            "{health:?}"
        );
    }
    clients.push(relay.join("/"));
    relay_text(&mut clients, "still here");
    for client in &mut clients {
        let closed = client.read().expect("a close frame");
        let Message::Close(Some(frame)) = closed else {
            panic!("{closed:?}");
        };
        assert_eq!(u16::from(frame.code), 1001);
        // Reading on answers the Close.
        assert!(client.read().is_err());
    }
    assert!(stopping.join().expect("it stops"), "not gracefully");
    assert!(!crate::listens(relay.main) && !crate::listens(relay.admin()));
}

/// Blocks, which endpoints must not, until the test releases it.
struct Stuck(Mutex<Receiver<()>>);

impl Endpoint for Stuck {
    type State = ();
    type Local = ();

    fn message(&self, session: &mut Session<'_>, message: Received<'_>) {
        let released = self.0.lock().expect("not poisoned");
        released.recv().expect("the test lets it go on");
        session.send(message.kind, message.payload);
    }
}

#[test]
fn a_shard_that_stands_is_named_until_it_turns_again() {
    let settings = Settings {
        admin_listen: vec![SocketAddr::from(([127, 0, 0, 1], 0)).into()],
        ..Settings::default()
    };
    let (release, released) = channel();
    let mut builder = Engine::builder().settings(settings);
    let stuck = Stuck(Mutex::new(released));
    let stuck = builder.endpoint(EndpointSettings::default(), stuck);
    builder.route("/stuck", stuck).expect("a path");
    let pages = admin::Pages::default();
    admin::routes(&mut builder, pages).expect("paths that are free");
    let relay = Relay::of(builder.start().expect("it starts"));
    let mut client = relay.join("/stuck");
    assert_eq!(ask(relay.admin(), "GET", "/livez").status, 200);
    client.send(Message::text("wait")).expect("sent");
    let late = ask_until(relay.admin(), "/livez", 503);
    assert!(
        late.body.starts_with("shard 0: event loop stuck for "),
        "{late:?}"
    );
    release.send(()).expect("it waits");
    assert_eq!(client.read().expect("a message"), Message::text("wait"));
    ask_until(relay.admin(), "/livez", 200);
}

/// More than the admin listener accepts from one address or in all.
const CROWD: usize = 300;

/// Idle connections that have sent one request.
fn crowd(relay: &Relay) -> Vec<Client> {
    let each = (0..CROWD).map(|_| {
        let mut client = Client::connect(relay.admin());
        assert_eq!(client.ask("GET", "/livez").status, 200);
        client
    });
    each.collect()
}

#[test]
fn idle_connections_to_the_admin_listener_make_room_for_probes() {
    let relay = Relay::start(&config());
    let crowd = crowd(&relay);
    for path in ["/livez", "/readyz", "/health", "/metrics"] {
        assert_eq!(ask(relay.admin(), "GET", path).status, 200, "{path}");
    }
    let evicted = relay.scrape().value("corecast_admin_evicted_total");
    assert!(evicted >= CROWD as f64 - 256.0, "{evicted}");
    drop(crowd);
}

#[test]
fn busy_admin_connections_outlive_idle_ones() {
    let relay = Relay::start(&config());
    let mut watching = try_join(relay.admin(), "/dashboard/stream").expect("a WebSocket");
    let mut asking = Client::connect(relay.admin());
    asking.send(b"GET /readyz HTTP/1.1\r\nHo");
    let crowd = crowd(&relay);
    asking.send(b"st: relay\r\n\r\n");
    assert_eq!(asking.reply("GET").status, 200);
    assert!(watching.read().expect("a snapshot").is_text());
    drop(crowd);
    // If none is idle, a busy connection makes room.
    let busy: Vec<Client> = (0..CROWD)
        .map(|_| {
            let mut client = Client::connect(relay.admin());
            client.send(b"GET /readyz HTTP/1.1\r\nHo");
            client
        })
        .collect();
    assert_eq!(ask(relay.admin(), "GET", "/livez").status, 200);
    assert!(watching.read().expect("a snapshot").is_text());
    drop(busy);
}

#[test]
#[cfg(target_os = "linux")]
fn one_address_cannot_exhaust_the_admin_listener() {
    let relay = Relay::start(&config());
    let mut scraper = Client::connect(relay.admin());
    assert_eq!(scraper.ask("GET", "/metrics").status, 200);
    let crowd: Vec<Client> = (0..CROWD)
        .map(|_| {
            let mut client = Client::connect_from(2, relay.admin());
            assert_eq!(client.ask("GET", "/livez").status, 200);
            client
        })
        .collect();
    assert_eq!(scraper.ask("GET", "/metrics").status, 200);
    drop(crowd);
}

#[test]
fn a_full_relay_answers_only_probes_on_both_listeners() {
    let mut config = config();
    config.limits.connections = ConnectionLimit::Count(1);
    let relay = Relay::start(&config);
    let mut members = [relay.join("/")];
    for to in [relay.main, relay.admin()] {
        for path in ["/livez", "/readyz"] {
            let reply = ask(to, "GET", path);
            assert_eq!(reply.status, 200, "{path}");
            let is_last = reply.header("Connection") == Some("close");
            assert_eq!(is_last, to == relay.main, "{reply:?}");
        }
    }
    for (method, path) in [("POST", "/livez"), ("GET", "/health"), ("GET", "/x")] {
        let status = ask(relay.main, method, path).status;
        let expected = if method == "POST" { 405 } else { 503 };
        assert_eq!(status, expected, "{method} {path}");
    }
    assert_eq!(try_join(relay.main, "/").err(), Some(503));
    relay_text(&mut members, "goes on");
}

#[test]
fn the_connection_limit_is_capped_by_the_open_files() {
    const FILES: usize = 64;
    let mut config = config();
    config.limits.connections = ConnectionLimit::Count(10_000);
    let builder = relay::builder(&config, FILES).expect("a config that works");
    let relay = Relay::of(builder.start().expect("it starts"));
    let allowed = FileBudget::of(FILES, &relay::file_needs(&config, 2)).connections_max;
    let members: Vec<_> = (0..allowed).map(|_| relay.join("/")).collect();
    assert_eq!(try_join(relay.main, "/").err(), Some(503));
    assert_eq!(ask(relay.admin(), "GET", "/livez").status, 200);
    drop(members);
}
