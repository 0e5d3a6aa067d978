//! Pubsub and the rooms API, from outside: real sockets, a relay as its config describes it.

mod bad_input;
mod keys;
mod pubsub;
mod reload;
mod rooms;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use corecast::config::{Config, EndpointConfig, EndpointKind, Shards};
use corecast::engine::Engine;
use corecast::relay;
use corecast_test as support;
use serde_json::Value;
use support::client::{Answer, Client};

const KEY: &str = "a-good-key";

/// A relay with a hub at every path and pubsub at `/pubsub`, and a key for its API.
struct Relay {
    engine: Option<Engine>,
    address: SocketAddr,
}

impl Relay {
    fn start(shards: u16) -> Relay {
        Relay::with(shards, |_| {})
    }

    fn with(shards: u16, change: impl FnOnce(&mut Config)) -> Relay {
        let mut config = Config::default();
        config.server.host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        config.server.port = 0;
        config.metrics.port = 0;
        config.engine.shards = Shards::Count(shards);
        config.api.keys = Some(vec![KEY.parse().expect("a key")]);
        let pubsub = EndpointConfig::new(EndpointKind::PubSub, "/pubsub");
        config.endpoints.insert("pubsub".to_owned(), pubsub);
        change(&mut config);
        let builder = relay::builder(&config, 10_000).expect("a config that can run");
        let engine = builder.start().expect("free ports");
        Relay {
            address: engine.addresses()[0],
            engine: Some(engine),
        }
    }

    fn open(&self, path: &str) -> Client {
        Client::open(self.address, path)
    }

    /// A WebSocket at pubsub's path that is subscribed to these rooms.
    fn subscriber(&self, rooms: &[&str]) -> Client {
        let mut client = self.open("/pubsub");
        for room in rooms {
            let ok = exchange(
                &mut client,
                &format!(r#"{{"type":"subscribe","room":"{room}","id":1}}"#),
            );
            assert_eq!(ok["type"], "ok", "{ok}");
        }
        client
    }

    /// Sends one request with a valid key. Returns the answer's status and its JSON.
    fn ask(&self, method: &str, target: &str, body: &str) -> (u16, Value) {
        let head = format!("X-API-KEY: {KEY}\r\nContent-Length: {}\r\n", body.len());
        let answer = self.say(method, target, &head, body.as_bytes());
        (answer.status, json(&answer))
    }

    /// The JSON of a valid request's answer.
    fn get(&self, target: &str) -> Value {
        let (status, value) = self.ask("GET", target, "");
        assert_eq!(status, 200, "{target}: {value}");
        value
    }

    fn post(&self, target: &str, body: &str) -> Value {
        let (status, value) = self.ask("POST", target, body);
        assert_eq!(status, 200, "{target} {body}: {value}");
        value
    }

    /// Sends one request with these headers.
    fn say(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> Answer {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: relay\r\n{headers}\r\n");
        let mut client = Client::connect(self.address);
        client.send(&[head.as_bytes(), body].concat());
        client.answer()
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

/// Sends a message, and reads the next one, as JSON.
fn exchange(client: &mut Client, text: &str) -> Value {
    client.text(text);
    next(client)
}

fn next(client: &mut Client) -> Value {
    serde_json::from_str(&client.expect_text()).expect("JSON")
}

fn json(answer: &Answer) -> Value {
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    serde_json::from_slice(&answer.body).expect("JSON")
}
