//! Push endpoints from outside: the behaviour that clients and back ends of the earlier relay rely
//! on, byte for byte, groups over all shards, and delayed pushes that outlive their relay.

mod contract;
mod delays;
mod first_start;
mod groups;
mod journal;
mod keys;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use corecast::config::{Config, PushOptions, Shards};
use corecast::engine::Engine;
use corecast::relay;
use corecast_test as support;
use support::client::{Answer, Client};

const KEY: &str = "a-key-of-the-test";

/// Loopback, free ports, two shards, a key, and nothing sent without a request.
fn config() -> Config {
    let mut config = Config::default();
    config.server.host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    config.server.port = 0;
    config.metrics.port = 0;
    config.engine.shards = Shards::Count(2);
    config.keepalive.ping = Duration::ZERO;
    config.keepalive.pong = Duration::ZERO;
    config.shutdown.timeout = Duration::from_secs(3);
    config.timeouts.close = Duration::from_secs(2);
    config.api.keys = Some(vec![KEY.parse().expect("a key")]);
    config
}

fn push_of(config: &mut Config) -> &mut PushOptions {
    let endpoint = config.endpoints.get_mut("push").expect("it is built in");
    endpoint.push_mut().expect("a push endpoint")
}

/// A relay in this process, which stops at the end of the test.
struct Relay {
    engine: Option<Engine>,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Relay {
    fn start(config: &Config) -> Relay {
        let builder = relay::builder(config, 1_024).expect("a config that works");
        let engine = builder.start().expect("it starts");
        Relay {
            address: engine.addresses()[0],
            admin: engine.admin_addresses()[0],
            engine: Some(engine),
        }
    }

    fn default() -> Relay {
        Relay::start(&config())
    }

    /// A client in the group of this token; with an empty one in no group.
    fn join(&self, token: &str) -> Client {
        let path = match token {
            "" => "/ws".to_owned(),
            token => format!("/ws?token={token}"),
        };
        Client::open(self.address, &path)
    }

    /// Pushes with the key.
    fn push(&self, body: &str) -> Answer {
        self.ask("POST", "/api/push", body)
    }

    /// Pushes, and expects that it was queued for this many connections.
    fn push_to(&self, body: &str, queued: usize) {
        let answer = self.push(body);
        let told = String::from_utf8(answer.body).expect("UTF-8");
        assert_eq!(answer.status, 200, "{told}");
        assert!(told.contains(&format!("\"queued\":{queued}")), "{told}");
    }

    fn ask(&self, method: &str, target: &str, body: &str) -> Answer {
        ask(self.address, method, target, &key_header(), body)
    }

    /// The value of a series.
    fn metric(&self, series: &str) -> f64 {
        metric(self.admin, series)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take()
            && !std::thread::panicking()
        {
            engine.stop();
        }
    }
}

fn key_header() -> String {
    format!("X-API-KEY: {KEY}\r\n")
}

fn request(method: &str, target: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    let head = format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{headers}");
    format!("{head}Content-Length: {length}\r\n\r\n{body}")
}

/// Sends a request on a connection of its own.
fn ask(to: SocketAddr, method: &str, target: &str, headers: &str, body: &str) -> Answer {
    let mut client = Client::connect(to);
    client.send(request(method, target, headers, body).as_bytes());
    match method {
        "HEAD" => client.answer_to_head(),
        _ => client.answer(),
    }
}

fn metric(admin: SocketAddr, series: &str) -> f64 {
    let answer = ask(admin, "GET", "/metrics", "", "");
    let text = String::from_utf8(answer.body).expect("UTF-8");
    let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    let value = lines.find(|(name, _)| *name == series);
    let (_, value) = value.unwrap_or_else(|| panic!("there is no {series}"));
    value.parse().expect("a number")
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_1970.expect("a clock").as_millis() as u64
}

/// Takes the time out of a frame: returns the frame with `ts` in its place, and the time.
fn split_ts(frame: &str) -> (String, u64) {
    let (before, rest) = frame.rsplit_once("\"ts\":").expect("a frame with a time");
    let digits = rest.find(',').expect("a token behind it");
    let ts = rest[..digits].parse().expect("a number");
    (format!("{before}\"ts\":TS{}", &rest[digits..]), ts)
}

/// The frame that a client should get, with `TS` in place of the time.
fn frame(event: &str, subject: &str, token: &str) -> String {
    format!("{{\"event\":{event},\"data\":{{\"subject\":{subject},\"ts\":TS,\"token\":{token}}}}}")
}
