//! Revoked keys: clients that used them are closed at once, and no others.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use corecast::engine::{
    Accept, Admission, CloseReason, DeferredAdmission, Endpoint, EndpointSettings, Request,
    Responder, Service, Session,
};
use corecast::guard::{ApiKey, AuthSettings, CloseRevoked, Files, Guard, GuardSettings, Guarded};
use corecast::wire::decoder::Message;
use rustix::process::Signal;

use super::keys::replace;
use super::support::client::{Client, upgrade_with};
use super::support::relay::Relay;
use super::support::{DEADLINE, Server, eventually, settings};
use super::{SECRET, ask, bearer, closed, guarded_by, open, plain_token, secret_auth, signed};

const OLD: &str = "old-key-0123456789";
const NEW: &str = "new-key-0123456789";
const LISTED: &str = "listed-key-0123456789";

fn header(key: &str) -> String {
    format!("X-API-Key: {key}\r\n")
}

fn enter(server: &Server, key: &str) -> Client {
    let (client, answer) = ask(server, "/", &header(key));
    assert_eq!(answer.status, 101, "{}", answer.head);
    client
}

fn expect_revoked(client: &mut Client) {
    assert_eq!(client.expect_close(1008), "auth: revoked");
    client.close(1008);
    client.expect_end();
}

/// A hub with its keys in this file; one more is listed, and tokens are accepted as well.
fn server_with(file: &Path, close_revoked: CloseRevoked) -> Server {
    guarded_by(AuthSettings {
        keys: vec![LISTED.parse::<ApiKey>().expect("a key")],
        files: Files {
            keys: Some(file.to_owned()),
            tokens: None,
        },
        close_revoked,
        ..secret_auth()
    })
}

#[test]
fn clients_of_a_revoked_key_are_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("keys.txt");
    fs::write(&file, format!("{OLD}\n{NEW}\n")).expect("a file");
    let server = server_with(&file, CloseRevoked::Keys);
    // More than a shard closes at once.
    let mut gone: Vec<Client> = (0..600).map(|_| enter(&server, OLD)).collect();
    let mut stay = [enter(&server, NEW), enter(&server, LISTED)].map(Some);
    let mut token = open(&server, "/", &signed(&plain_token()));
    replace(&file, NEW);
    gone.iter_mut().for_each(expect_revoked);
    assert_eq!(closed(&server, &CloseReason::Revoked), 600);
    stay.iter_mut().flatten().for_each(Client::round_trip);
    token.round_trip();
    // A key that still exists but no longer admits clients counts as revoked, too.
    replace(&file, &format!("{NEW} push,read"));
    expect_revoked(stay[0].as_mut().expect("it is open"));
    assert_eq!(ask(&server, "/", &header(NEW)).1.status, 403);
    let mut listed = stay[1].take().expect("it is open");
    // And so do all keys of a file that is gone.
    replace(&file, NEW);
    eventually("it is good again", || {
        ask(&server, "/", &header(NEW)).1.status == 101
    });
    let mut last = enter(&server, NEW);
    fs::remove_file(&file).expect("a file");
    expect_revoked(&mut last);
    listed.round_trip();
    token.round_trip();
}

#[test]
fn with_off_who_is_in_stays_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("keys.txt");
    fs::write(&file, OLD).expect("a file");
    let server = server_with(&file, CloseRevoked::Off);
    let mut client = enter(&server, OLD);
    replace(&file, NEW);
    eventually("the key is gone", || {
        ask(&server, "/", &header(OLD)).1.status == 401
    });
    client.round_trip();
    assert_eq!(closed(&server, &CloseReason::Revoked), 0);
}

/// Reloads the relay, and waits until it has logged that.
fn reload(relay: &Relay, times: usize) {
    relay.signal(Signal::HUP);
    eventually("it is reloaded", || {
        relay.logged("config and certificates are reloaded") == times
    });
}

fn enter_relay(relay: &Relay, path: &str, headers: &str) -> Client {
    let mut client = Client::connect(relay.address);
    client.send(upgrade_with(path, headers).as_bytes());
    assert_eq!(client.answer().status, 101);
    client
}

#[test]
fn with_all_a_reload_also_revokes_the_tokens_of_lost_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.yaml");
    let write = |keys: &str, secret: &str, close: &str| {
        let text = format!(
            "auth: {{keys: [{keys}], jwt: {{secret: '{secret}'}}, close_revoked: {close}}}\n"
        );
        fs::write(&path, text).expect("a file");
    };
    let other = SECRET.replace("tests", "trials");
    write(&format!("{OLD}, {NEW}"), SECRET, "keys");
    let relay = Relay::start(&["--config-file", path.to_str().expect("UTF-8")]);
    let by_token = bearer(&signed(&plain_token()));
    let mut old = enter_relay(&relay, "/", &header(OLD));
    let mut named = enter_relay(&relay, "/ws/bob", &header(OLD));
    let mut new = enter_relay(&relay, "/", &header(NEW));
    let mut token = enter_relay(&relay, "/", &by_token);
    write(NEW, &other, "keys");
    reload(&relay, 1);
    expect_revoked(&mut old);
    expect_revoked(&mut named);
    new.round_trip();
    token.round_trip();
    write(NEW, SECRET, "all");
    reload(&relay, 2);
    token.round_trip();
    write(NEW, &other, "all");
    reload(&relay, 3);
    expect_revoked(&mut token);
    new.round_trip();
    eventually("the log says how many", || {
        relay.logged("closed=1") >= 1 && relay.logged("closed connections whose key") >= 2
    });
    assert_eq!((relay.logged(OLD), relay.logged(SECRET)), (0, 0));
}

/// Answers on request.
#[derive(Clone, Default)]
struct Patient(Arc<Mutex<Option<DeferredAdmission>>>);

impl Endpoint for Patient {
    type State = ();
    type Local = ();

    fn admit(&self, _request: &Request<'_>, responder: &mut Responder<'_>) -> Admission {
        let (admission, token) = responder.admission(DEADLINE);
        *self.0.lock().expect("a token") = Some(token);
        admission
    }

    fn message(&self, _session: &mut Session<'_>, _message: Message<'_>) {}
}

impl Service for Patient {}

#[test]
fn a_deferred_client_of_a_revoked_key_is_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("keys.txt");
    fs::write(&file, OLD).expect("a file");
    let auth = AuthSettings {
        files: Files {
            keys: Some(file.clone()),
            tokens: None,
        },
        ..AuthSettings::default()
    };
    let guard = Guard::new(GuardSettings {
        auth: Some(auth),
        ..GuardSettings::default()
    });
    let (patient, guard) = (Patient::default(), guard.expect("a file that can be used"));
    let server = Server::start(settings(), |builder| {
        let guarded = Guarded::new(patient.clone(), guard);
        let id = builder.endpoint_and_service(EndpointSettings::default(), guarded);
        builder.route("/**", id).expect("a path");
    });
    let mut client = Client::connect(server.address);
    client.send(upgrade_with("/", &header(OLD)).as_bytes());
    let mut token = None;
    eventually("it was asked", || {
        token = patient.0.lock().expect("a token").take();
        token.is_some()
    });
    replace(&file, NEW);
    // A plain request is checked as well, and answered at once.
    let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", header(OLD));
    eventually("the key is gone", || {
        let mut other = Client::connect(server.address);
        other.send(request.as_bytes());
        other.answer().status == 401
    });
    token.expect("it is there").accept(Accept::new());
    assert_eq!(client.answer().status, 101);
    expect_revoked(&mut client);
    assert_eq!(closed(&server, &CloseReason::Revoked), 1);
}
