//! Admission, from outside: origins, keys, tokens, networks, and the rooms of a token.

mod command;
mod edges;
mod endpoints;
mod heads;
mod hooks;
mod keys;
mod reload;
mod revoked;
mod rooms;
mod terms;
mod throttle;
mod tokens;

use std::time::{Duration, SystemTime};

use corecast::engine::{CloseReason, EndpointSettings, Network, Refusal, Settings};
use corecast::guard::token::{NewToken, SigningKey};
use corecast::guard::{self, AuthSettings, Guard, GuardSettings, Guarded, Secret};
use corecast::relay::hub::Hub;
use corecast_test as support;

use support::client::{Answer, Client, upgrade_with};
use support::{Server, settings};

const SECRET: &str = "a secret of these tests, long enough";

/// A hub at every path, behind a guard. This machine may fail without limit.
fn guarded(guard: GuardSettings) -> Server {
    let mut settings = settings();
    settings.exempt_networks = vec![Network::LOOPBACK_V4];
    guarded_with(settings, guard)
}

fn guarded_with(settings: Settings, guard: GuardSettings) -> Server {
    Server::start(settings, |builder| {
        let guard = Guard::new(guard).expect("files that can be used");
        let hub = Guarded::new(Hub { echo: true }, guard);
        let id = builder.endpoint_and_service(EndpointSettings::default(), hub);
        builder.route("/**", id).expect("a path");
    })
}

fn guarded_by(auth: AuthSettings) -> Server {
    guarded(GuardSettings {
        auth: Some(auth),
        ..GuardSettings::default()
    })
}

/// A hub that requires tokens by [`SECRET`]. Clocks do not differ.
fn guarded_by_secret() -> Server {
    guarded_by(secret_auth())
}

fn secret_auth() -> AuthSettings {
    let mut auth = AuthSettings {
        token_secret: Some(Secret::new(SECRET)),
        ..AuthSettings::default()
    };
    auth.token_checks.leeway = Duration::ZERO;
    auth
}

/// Requests a WebSocket.
fn ask(server: &Server, path: &str, headers: &str) -> (Client, Answer) {
    let mut client = Client::connect(server.address);
    client.send(upgrade_with(path, headers).as_bytes());
    let answer = client.answer();
    (client, answer)
}

/// A WebSocket with this token.
fn open(server: &Server, path: &str, token: &str) -> Client {
    let (client, answer) = ask(server, path, &bearer(token));
    assert_eq!(answer.status, 101, "{}", answer.head);
    client
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// A token for one hour and all rooms.
fn plain_token() -> NewToken {
    NewToken {
        user: Some("ada".to_owned()),
        rooms: None,
        issuer: None,
        audience: None,
        begins: None,
        expires: SystemTime::now() + Duration::from_secs(3_600),
        key_id: None,
    }
}

fn signed_by(secret: &str, token: &NewToken) -> String {
    let key = SigningKey::of_secret(&Secret::new(secret)).expect("a secret");
    key.sign(token).expect("a token")
}

fn signed(token: &NewToken) -> String {
    signed_by(SECRET, token)
}

/// The number of refusals for this reason.
fn refused(server: &Server, refusal: Refusal) -> u64 {
    server.sum(|stats| stats.refused.get(refusal))
}

/// The number of closes for this reason.
fn closed(server: &Server, reason: &CloseReason) -> u64 {
    server.sum(|stats| stats.closed[reason.label_index()].get())
}

#[test]
fn the_page_has_every_reason_of_the_guard() {
    let page = include_str!("../../crates/engine/src/engine/edge/HANDSHAKE.md").lines();
    let mut rows = page.skip_while(|line| !line.starts_with("| refused by the guard |"));
    let header = (rows.next(), rows.next());
    assert!(header.1.is_some(), "the page has no such table");
    let labels = rows.map_while(|row| row.strip_prefix("| `")?.split('`').next());
    assert_eq!(labels.collect::<Vec<_>>(), guard::reasons());
}
