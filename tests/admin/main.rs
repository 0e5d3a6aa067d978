//! Health and metrics from outside: real sockets, a relay in this process, and other
//! implementations' WebSocket clients.

mod astray;
mod dashboard;
mod errors;
mod exposition;
mod health;
mod health_check;
mod http;
mod metrics;
mod pages;
mod probes;
mod started;
mod terminal;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use corecast::config::{Config, PAGE_PATHS, Shards};
use corecast::engine::Engine;
use corecast::relay;
use exposition::Scrape;
use http::{Client, DEADLINE, ask, poll};
use tungstenite::{Message, WebSocket};

/// A configuration for tests: loopback, free ports, two shards, and nothing sent without a request.
fn config() -> Config {
    let mut config = Config::default();
    config.server.host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    config.server.port = 0;
    config.metrics.port = 0;
    config.engine.shards = Shards::Count(2);
    config.keepalive.ping = Duration::ZERO;
    config.keepalive.pong = Duration::ZERO;
    config.shutdown.timeout = Duration::from_secs(5);
    config
}

/// A relay that stops at the end of the test.
struct Relay {
    engine: Option<Engine>,
    main: SocketAddr,
    /// The admin listener, if there is one.
    admin: Option<SocketAddr>,
}

impl Relay {
    fn start(config: &Config) -> Relay {
        let builder = relay::builder(config, 1_024).expect("a config that works");
        Relay::of(builder.start().expect("it starts"))
    }

    fn of(engine: Engine) -> Relay {
        Relay {
            main: engine.addresses()[0],
            admin: engine.admin_addresses().first().copied(),
            engine: Some(engine),
        }
    }

    fn admin(&self) -> SocketAddr {
        self.admin.expect("an admin listener")
    }

    fn scrape(&self) -> Scrape {
        let reply = ask(self.admin(), "GET", "/metrics");
        assert_eq!(reply.status, 200, "{reply:?}");
        Scrape::parse(&reply.body).expect("the text format")
    }

    /// Scrapes until `holds`, and returns that scrape.
    fn scrape_until(&self, what: &str, holds: impl Fn(&Scrape) -> bool) -> Scrape {
        poll(|| self.scrape(), holds, what)
    }

    /// A WebSocket client in the room of that path.
    fn join(&self, path: &str) -> WebSocket<TcpStream> {
        try_join(self.main, path).expect("a WebSocket")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.stop();
        }
    }
}

/// Requests a WebSocket; an error is the status of the refusal.
fn try_join(to: SocketAddr, path: &str) -> Result<WebSocket<TcpStream>, u16> {
    let stream = TcpStream::connect(to).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    match tungstenite::client(format!("ws://{to}{path}"), stream) {
        Ok((client, _)) => Ok(client),
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(refused))) => {
            Err(refused.status().as_u16())
        }
        Err(error) => panic!("{path}: {error}"),
    }
}

/// Sends a text and waits until all of `clients` have it, including the sender.
fn relay_text(clients: &mut [WebSocket<TcpStream>], text: &str) {
    clients[0].send(Message::text(text)).expect("sent");
    for client in clients {
        assert_eq!(client.read().expect("a message"), Message::text(text));
    }
}

/// Opens a connection, and returns whether anything listens.
fn listens(to: SocketAddr) -> bool {
    TcpStream::connect(to).is_ok()
}

#[test]
fn unknown_admin_paths_get_404_and_hub_paths_426() {
    let relay = Relay::start(&config());
    assert_eq!(ask(relay.admin(), "GET", "/x").status, 404);
    assert_eq!(ask(relay.admin(), "GET", "/metrics/x").status, 404);
    // To the main listener the path is a room like any other.
    assert_eq!(ask(relay.main, "GET", "/metrics").status, 404);
    assert!(try_join(relay.main, "/metrics").is_ok());
    assert_eq!(ask(relay.main, "GET", "/room").status, 426);
}

#[test]
fn pages_take_no_websocket_and_no_other_method() {
    let relay = Relay::start(&config());
    for path in PAGE_PATHS {
        assert_eq!(try_join(relay.main, path).err(), Some(400), "{path}");
    }
    for (to, path) in [
        (relay.admin(), "/metrics"),
        (relay.admin(), "/livez"),
        (relay.main, "/livez"),
        (relay.main, "/readyz"),
    ] {
        for method in ["POST", "DELETE"] {
            let reply = ask(to, method, path);
            assert_eq!(reply.status, 405, "{method} {path}");
            assert_eq!(reply.header("Allow"), Some("GET, HEAD, OPTIONS"));
        }
    }
}

#[test]
fn a_scraper_may_keep_its_connection_and_use_head() {
    let relay = Relay::start(&config());
    let mut client = Client::connect(relay.admin());
    let first = client.ask("GET", "/metrics");
    let content_type = Some("text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(first.header("Content-Type"), content_type);
    let head = client.ask("HEAD", "/metrics");
    assert_eq!(
        (head.status, head.header("Content-Type")),
        (200, content_type)
    );
    let length: usize = head
        .header("Content-Length")
        .expect("a length")
        .parse()
        .expect("a number");
    assert!(length > 1_000, "{head:?}");
    let second = client.ask("GET", "/metrics");
    assert_eq!(second.status, 200);
    Scrape::parse(&second.body).expect("the text format");
}

#[test]
fn without_metrics_health_answers_on_the_main_listener() {
    // A port that was free a moment ago.
    let free = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("its address")
    };
    let mut config = config();
    let address = free();
    config.metrics.port = address.port();
    let with_metrics = Relay::start(&config);
    assert!(with_metrics.admin == Some(address) && listens(address));
    drop(with_metrics);
    config.metrics.enabled = false;
    let relay = Relay::start(&config);
    assert_eq!(relay.admin, None);
    assert!(!listens(address));
    for path in PAGE_PATHS {
        assert_eq!(ask(relay.main, "GET", path).status, 200, "{path}");
    }
    let reply = ask(relay.main, "GET", "/metrics");
    assert_eq!(reply.status, 404);
    assert!(reply.body.contains("metrics.enabled"), "{reply:?}");
}
