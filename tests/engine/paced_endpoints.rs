//! Rate-limited clients at endpoints that do more than a hub: requests with answers, names, pushes.

use std::time::Duration;

use corecast::config::{ApiKey, Config, EndpointConfig, EndpointKind, OnDuplicate};
use corecast::engine::RatePolicy;

use crate::support::client::{Client, TEXT, frame, upgrade};
use crate::support::{Server, config, eventually};

const KEY: &str = "a-key-of-the-test";

/// Two shards, pubsub at `/pubsub`, and a rate and burst of messages for each client.
fn paced(per_second: usize, burst: usize) -> Config {
    let mut config = config(2);
    config.rate.messages = Some(per_second);
    config.rate.messages_burst = Some(burst);
    let pubsub = EndpointConfig::new(EndpointKind::PubSub, "/pubsub");
    config.endpoints.insert("pubsub".to_owned(), pubsub);
    config.api.keys = Some(vec![KEY.parse::<ApiKey>().expect("a key")]);
    config
}

fn waits(server: &Server) -> u64 {
    server.sum(|stats| stats.rate_actions[RatePolicy::Delay as usize].get())
}

/// Sends all of them at once.
fn flood(client: &mut Client, messages: impl Iterator<Item = String>) {
    let frames: Vec<u8> = messages
        .flat_map(|message| frame(TEXT, message.as_bytes()))
        .collect();
    client.send(&frames);
}

fn publish(number: usize) -> String {
    format!(r#"{{"type":"publish","room":"news","data":{number},"id":{number}}}"#)
}

fn published(data: &str) -> String {
    format!(r#"{{"type":"message","room":"news","data":{data}}}"#)
}

fn subscriber(server: &Server) -> Client {
    let mut client = server.open("/pubsub");
    client.text(r#"{"type":"subscribe","room":"news","id":"s"}"#);
    assert!(client.expect_text().starts_with(r#"{"type":"ok","id":"s""#));
    client
}

#[test]
fn requests_to_pubsub_are_all_done_and_answered_in_order() {
    let server = Server::relay(&paced(200, 10));
    let mut readers = [subscriber(&server), subscriber(&server)];
    let mut flooder = server.open("/pubsub");
    flood(&mut flooder, (0..50).map(publish));
    for number in 0..50 {
        let ok = format!(r#"{{"type":"ok","id":{number}}}"#);
        assert_eq!(flooder.expect_text(), ok);
        for reader in &mut readers {
            assert_eq!(reader.expect_text(), published(&number.to_string()));
        }
    }
    assert!(waits(&server) > 0);
    drop((readers, flooder));
    server.expect_empty();
}

#[test]
fn one_that_waits_still_gets_what_others_publish() {
    const FLOOD: usize = 1_000;
    let server = Server::relay(&paced(1, 2));
    let mut flooder = subscriber(&server);
    flood(&mut flooder, (0..FLOOD).map(publish));
    eventually("it waits", || waits(&server) > 0);
    let mut other = server.open("/pubsub");
    other.text(r#"{"type":"publish","room":"news","data":"by another"}"#);
    let mut own = 0;
    loop {
        match flooder.expect_text() {
            text if text == published("\"by another\"") => break,
            _ => own += 1,
        }
    }
    assert!(own < FLOOD, "it came behind all that had to wait");
}

#[test]
fn a_name_can_be_taken_over_from_one_that_waits() {
    let mut config = paced(1, 2);
    let named = config.endpoints.get_mut("named").expect("built in");
    let named = named.named_mut().expect("its options");
    named.on_duplicate = OnDuplicate::Replace;
    let server = Server::relay(&config);
    let mut bob = server.open("/ws/bob");
    let mut ada = server.open("/ws/ada");
    flood(&mut ada, (0..1_000).map(|number| number.to_string()));
    eventually("it waits", || waits(&server) > 0);
    let mut newcomer = server.open("/ws/ada");
    let (texts, code, _) = ada.until_close();
    assert_eq!((texts.len(), code), (0, 4001));
    newcomer.text("I am ada");
    let mut heard = 0;
    while bob.expect_text() != "I am ada" {
        heard += 1;
    }
    assert!((2..1_000).contains(&heard), "{heard}");
    bob.round_trip();
}

#[test]
fn a_deferred_client_that_left_frees_its_name_at_the_next_ping() {
    let mut config = paced(1, 2);
    let named = config.endpoints.get_mut("named").expect("built in");
    named.keepalive.ping = Some(Duration::from_millis(100));
    named.keepalive.pong = Some(Duration::ZERO);
    let server = Server::relay(&config);
    let mut ada = server.open("/ws/ada");
    flood(&mut ada, (0..1_000).map(|number| number.to_string()));
    eventually("it waits", || waits(&server) > 0);
    drop(ada);
    eventually("the name is free", || {
        let mut again = Client::connect(server.address);
        again.send(upgrade("/ws/ada").as_bytes());
        again.answer().status == 101
    });
}

#[test]
fn one_that_waits_still_gets_its_pushes() {
    const FLOOD: usize = 1_000;
    let server = Server::relay(&paced(1, 2));
    let mut client = server.open("/ws?token=ada");
    let ping = |ts| format!(r#"{{"type":"ping","ts":{ts}}}"#);
    flood(&mut client, (0..FLOOD).map(ping));
    eventually("it waits", || waits(&server) > 0);
    let body = r#"{"event_name":"news","subject":1,"token":"ada"}"#;
    let length = body.len();
    let mut back_end = Client::connect(server.address);
    let head = "POST /api/push HTTP/1.1\r\nHost: a\r\nX-API-KEY: ";
    back_end.send(format!("{head}{KEY}\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes());
    assert_eq!(back_end.answer().status, 200);
    let mut pongs = 0;
    loop {
        match client.expect_text() {
            text if text.starts_with(r#"{"event":"news""#) => break,
            pong => assert_eq!(pong, format!(r#"{{"type":"pong","ts":{pongs}}}"#)),
        }
        pongs += 1;
    }
    assert!(pongs < FLOOD, "it came behind all that had to wait");
}
