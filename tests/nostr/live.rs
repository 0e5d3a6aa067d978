//! What comes after the stored events.

use corecast::engine::{Deflate, EndpointSettings};
use corecast::relay::nostr::{Nostr, NostrSettings};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::eventually;
use crate::{Nostrich, Relay, event, id, now};

#[test]
fn an_event_comes_once_to_each_subscription_that_it_is_for() {
    let relay = Relay::with(2, |_| {});
    let (mut reader, mut writer) = (relay.open(), relay.open());
    reader.req("both", &[json!({"kinds": [1]}), json!({"#t": ["x"]})]);
    reader.stored("both");
    reader.req("none", &[json!({"kinds": [2]})]);
    reader.stored("none");
    reader.req("zero", &[json!({"kinds": [1], "limit": 0})]);
    reader.stored("zero");
    reader.req("later", &[json!({"kinds": [1], "since": now() + 10})]);
    reader.stored("later");
    let first = event(1, 1, 0, &[&["t", "x"]]);
    writer.expect_taken(&first);
    let mut names: Vec<Value> = (0..2).map(|_| reader.hear()[1].clone()).collect();
    names.sort_by_key(Value::to_string);
    assert_eq!(names, [json!("both"), json!("zero")]);
    reader.expect_nothing();
}

#[test]
fn a_subscription_of_the_same_name_replaces_the_one_before() {
    let relay = Relay::start();
    let (mut reader, mut writer) = (relay.open(), relay.open());
    for kind in [1, 2] {
        reader.req("s", &[json!({"kinds": [kind]})]);
        reader.stored("s");
    }
    writer.expect_taken(&event(1, 1, 0, &[]));
    let second = event(1, 2, 0, &[]);
    writer.expect_taken(&second);
    assert_eq!(reader.live("s"), id(&second));
    // Also one that is refused.
    let answer = reader.refused(&json!(["REQ", "s", {"kinds": "x"}]));
    assert_eq!(answer[0], "CLOSED");
    writer.expect_taken(&event(1, 2, 1, &[]));
    reader.expect_nothing();
}

#[test]
fn nothing_follows_a_close() {
    let relay = Relay::start();
    let (mut reader, mut writer) = (relay.open(), relay.open());
    reader.req("s", &[json!({})]);
    reader.stored("s");
    reader.say(&json!(["CLOSE", "s"]));
    reader.say(&json!(["CLOSE", "never there"]));
    reader.expect_nothing();
    writer.expect_taken(&event(1, 1, 0, &[]));
    reader.expect_nothing();
    eventually("no subscription is left", || {
        relay.stats.open_subscriptions() == 0
    });
}

#[test]
fn events_come_in_the_order_in_which_they_were_stored() {
    let relay = Relay::with(3, |_| {});
    let mut readers = [(); 3].map(|()| relay.open());
    for reader in &mut readers {
        reader.req("s", &[json!({"kinds": [1, 20_001]})]);
        reader.stored("s");
    }
    let writers: Vec<_> = (0..3_u8)
        .map(|number| {
            let mut writer = relay.open();
            std::thread::spawn(move || {
                for ago in 0..50 {
                    writer.expect_taken(&event(number + 1, 1, ago, &[]));
                }
            })
        })
        .collect();
    let orders = readers
        .each_mut()
        .map(|reader| (0..150).map(|_| reader.live("s")).collect::<Vec<_>>());
    writers
        .into_iter()
        .for_each(|writer| writer.join().expect("a writer"));
    assert_eq!(orders[0], orders[1]);
    assert_eq!(orders[0], orders[2]);
}

#[test]
fn a_client_that_goes_leaves_nothing_behind() {
    let relay = Relay::with(2, |_| {});
    let mut readers: Vec<_> = (0..10).map(|_| relay.open()).collect();
    for reader in &mut readers {
        for name in ["a", "b"] {
            reader.req(name, &[json!({"kinds": [1]})]);
            reader.stored(name);
        }
    }
    assert_eq!(relay.stats.open_subscriptions(), 20);
    drop(readers);
    eventually("no subscription is left", || {
        relay.stats.open_subscriptions() == 0
    });
    relay.open().expect_taken(&event(1, 1, 0, &[]));
}

#[test]
fn what_is_compressed_is_the_same() {
    let deflate = Deflate {
        enabled: true,
        min_bytes: 0,
        level: 1,
    };
    let endpoint = EndpointSettings {
        deflate,
        ..EndpointSettings::default()
    };
    let settings = NostrSettings {
        deflate,
        ..NostrSettings::default()
    };
    let relay = Relay::of(2, endpoint, Nostr::new(settings));
    let (mut plain, mut writer) = (relay.open(), relay.open());
    let mut deflating: Vec<Nostrich> = (0..4)
        .map(|_| Nostrich(Client::connect(relay.server.address).deflating("/nostr", "")))
        .collect();
    plain.req("plain", &[json!({"kinds": [1]})]);
    plain.stored("plain");
    for (number, client) in deflating.iter_mut().enumerate() {
        let name = format!("name {number}");
        client.req(&name, &[json!({"kinds": [1]})]);
        client.stored(&name);
        client.0.deflated_frames = Some(0);
        client.0.frame_bytes = 0;
    }
    let mut bytes = 0;
    for length in [1, 100, 5_000] {
        let draft = corecast_nostr::Draft {
            created_at: now(),
            kind: 1,
            content: "compressible ".repeat(length),
            ..Default::default()
        };
        let sent = crate::signer(1).sign(draft);
        bytes += sent.json().len();
        writer.expect_taken(&sent);
        assert_eq!(plain.live("plain"), id(&sent));
        for (number, client) in deflating.iter_mut().enumerate() {
            let text = client.0.expect_text();
            assert_eq!(
                text,
                format!("[\"EVENT\",\"name {number}\",{}]", sent.json())
            );
        }
    }
    for client in &deflating {
        // The shortest may not become smaller: most of it is random.
        assert!(client.0.deflated_frames >= Some(2));
        assert!(
            client.0.frame_bytes < bytes / 20,
            "{} of {bytes}",
            client.0.frame_bytes
        );
    }
}
