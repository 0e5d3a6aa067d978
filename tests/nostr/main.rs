//! A Nostr relay, from outside: real sockets, events that are really signed.

mod auth;
mod counts;
mod deletions;
mod disk;
mod events;
mod examples;
mod hand_over;
mod handle;
mod hooks;
mod http;
mod live;
mod manage;
mod policies;
mod queries;
mod sync;
mod tools;

use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use corecast::engine::{EndpointSettings, Network, TrustedProxies};
use corecast::relay::nostr::{self, HookList, Nostr, NostrSettings, NostrStats};
use corecast_nostr::{Draft, Event, RelayUrls, Signer, to_hex};
use corecast_test as support;
use serde_json::{Value, json};
use support::client::{Client, upgrade_with};
use support::{Server, settings};

/// A relay at `/nostr` in this process.
struct Relay {
    server: Server,
    stats: Arc<NostrStats>,
}

impl Relay {
    fn start() -> Relay {
        Relay::with(1, |_| {})
    }

    fn with(shards: usize, change: impl FnOnce(&mut NostrSettings)) -> Relay {
        let mut settings = NostrSettings::default();
        change(&mut settings);
        Relay::of(shards, EndpointSettings::default(), Nostr::new(settings))
    }

    /// A relay with hooks, and one URL.
    fn hooked(hooks: HookList) -> Relay {
        Relay::with(2, |settings| {
            settings.hooks = hooks;
            settings.urls = RelayUrls::new(vec![auth::URL.to_owned()]);
        })
    }

    fn of(shards: usize, endpoint: EndpointSettings, nostr: Nostr) -> Relay {
        let stats = Arc::clone(nostr.stats());
        let settings = corecast::engine::Settings {
            shards,
            trusted_proxies: TrustedProxies {
                networks: vec![Network::LOOPBACK_V4],
                unix: false,
            },
            ..settings()
        };
        let server = Server::start(settings, |builder| {
            let id = builder.endpoint_and_service(endpoint, nostr);
            builder.render_refusals(id, nostr::rendered);
            builder.route("/nostr", id).expect("a path");
        });
        Relay { server, stats }
    }

    fn open(&self) -> Nostrich {
        Nostrich(self.server.open("/nostr"))
    }

    /// A client whose address is that one: this machine is a trusted proxy.
    fn open_from(&self, ip: &str) -> Nostrich {
        let mut client = self.ask_from(ip);
        assert_eq!(client.answer().status, 101);
        Nostrich(client)
    }

    /// A client that has requested a WebSocket from there.
    fn ask_from(&self, ip: &str) -> Client {
        let mut client = Client::connect(self.server.address);
        let header = format!("X-Forwarded-For: {ip}\r\n");
        client.send(upgrade_with("/nostr", &header).as_bytes());
        client
    }
}

/// A client that speaks JSON.
struct Nostrich(Client);

impl Nostrich {
    fn say(&mut self, message: &Value) {
        self.0.text(&message.to_string());
    }

    fn hear(&mut self) -> Value {
        serde_json::from_str(&self.0.expect_text()).expect("JSON")
    }

    /// Publishes; returns whether it was accepted, and the reason if not.
    fn publish(&mut self, event: &Event) -> (bool, String) {
        self.publish_json(event.json())
    }

    fn publish_json(&mut self, event: &str) -> (bool, String) {
        self.0.text(&format!("[\"EVENT\",{event}]"));
        let answer = self.hear();
        assert_eq!(answer[0], "OK", "{answer}");
        let reason = answer[3].as_str().expect("a reason").to_owned();
        (answer[2].as_bool().expect("a verdict"), reason)
    }

    fn expect_taken(&mut self, event: &Event) {
        assert_eq!(
            self.publish(event),
            (true, String::new()),
            "{}",
            event.json()
        );
    }

    fn req(&mut self, name: &str, filters: &[Value]) {
        let mut message = vec![json!("REQ"), json!(name)];
        message.extend_from_slice(filters);
        self.say(&Value::Array(message));
    }

    /// The ids of the stored events, and the hint of the EOSE.
    fn stored(&mut self, name: &str) -> (Vec<String>, Value) {
        let mut ids = Vec::new();
        loop {
            let message = self.hear();
            assert_eq!(message[1], name, "{message}");
            match message[0].as_str() {
                Some("EVENT") => ids.push(message[2]["id"].as_str().expect("an id").to_owned()),
                Some("EOSE") => return (ids, message[2].clone()),
                _ => panic!("{message}"),
            }
        }
    }

    /// Queries, and returns the ids of the stored events.
    fn query(&mut self, filters: &[Value]) -> Vec<String> {
        self.req("query", filters);
        let (ids, _) = self.stored("query");
        self.say(&json!(["CLOSE", "query"]));
        ids
    }

    /// The answer to a refused message.
    fn refused(&mut self, message: &Value) -> Value {
        self.say(message);
        self.hear()
    }

    /// The id of the next live event of a subscription.
    fn live(&mut self, name: &str) -> String {
        let message = self.hear();
        assert_eq!(
            (&message[0], &message[1]),
            (&json!("EVENT"), &json!(name)),
            "{message}"
        );
        message[2]["id"].as_str().expect("an id").to_owned()
    }

    /// Expects that no unread message was sent to it.
    fn expect_nothing(&mut self) {
        self.req("nothing before this", &[json!({"limit": 0, "ids": []})]);
        let answer = self.hear();
        assert_eq!(answer, json!(["EOSE", "nothing before this", ["finish"]]));
        self.say(&json!(["CLOSE", "nothing before this"]));
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
}

fn signer(secret: u8) -> Signer {
    Signer::new([secret; 32]).expect("a key")
}

fn key(secret: u8) -> String {
    to_hex(&signer(secret).public_key())
}

fn id(event: &Event) -> String {
    to_hex(event.id())
}

fn tags(tags: &[&[&str]]) -> Vec<Vec<String>> {
    tags.iter()
        .map(|tag| tag.iter().map(|item| (*item).to_owned()).collect())
        .collect()
}

/// The time at which the test began, which does not move while a machine is slow.
fn began() -> u64 {
    static BEGAN: OnceLock<u64> = OnceLock::new();
    *BEGAN.get_or_init(now)
}

/// An event of that kind, created a number of seconds before the test began, so that events are as
/// far apart as they say.
fn event(secret: u8, kind: u16, ago: u64, of: &[&[&str]]) -> Event {
    let content = format!("{kind} {ago}");
    signer(secret).sign(Draft {
        created_at: began() - ago,
        kind,
        tags: tags(of),
        content,
    })
}
