//! Live events.

use corecast::engine::{Deflate, EndpointSettings, SlowClient};
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

/// An event of that number with 20,000 bytes.
fn large(number: usize) -> corecast_nostr::Event {
    crate::signer(1).sign(corecast_nostr::Draft {
        created_at: now() - 5_000 + number as u64,
        kind: 1,
        content: format!("{number} {}", "x".repeat(20_000)),
        ..Default::default()
    })
}

#[test]
fn a_stalled_subscriber_is_closed_and_others_get_everything() {
    let slow_client = SlowClient {
        outbox_bytes: 256 << 10,
        ..SlowClient::default()
    };
    let endpoint = EndpointSettings {
        slow_client,
        message_bytes: 128 << 10,
        ..EndpointSettings::default()
    };
    let relay = Relay::of(1, endpoint, Nostr::new(NostrSettings::default()));
    let narrow = Client::connect_narrow(relay.server.address, 4_096);
    let mut stalled = Nostrich(narrow.upgraded("/nostr"));
    let (mut reader, mut writer) = (relay.open(), relay.open());
    for client in [&mut stalled, &mut reader] {
        client.req("s", &[json!({"kinds": [1]})]);
        client.stored("s");
    }
    let mut number = 0;
    while relay.stats.open_subscriptions() > 1 {
        number += 1;
        assert!(number < 4_000, "it is never closed");
        let sent = large(number);
        writer.expect_taken(&sent);
        assert_eq!(reader.live("s"), id(&sent));
    }
    let (texts, code, _) = stalled.0.until_close();
    assert_eq!(code, 1013);
    assert!(
        texts
            .iter()
            .all(|text| text.starts_with("[\"EVENT\",\"s\",{"))
    );
}

/// A slow reader gets its stored events page by page, as fast as it reads, and then the rest.
#[test]
fn a_slow_reader_gets_all_stored_events() {
    let relay = Relay::start();
    let mut writer = relay.open();
    let events: Vec<_> = (0..300).map(large).collect();
    events.iter().for_each(|event| writer.expect_taken(event));
    let narrow = Client::connect_narrow(relay.server.address, 4_096);
    let mut slow = Nostrich(narrow.upgraded("/nostr"));
    slow.req("s", &[json!({"kinds": [1]})]);
    let after = large(300);
    writer.expect_taken(&after);
    let (got, _) = slow.stored("s");
    let wanted: Vec<String> = events.iter().rev().map(id).collect();
    let is_stored = got.first() == Some(&id(&after));
    assert_eq!(got[usize::from(is_stored)..], wanted);
    if !is_stored {
        assert_eq!(slow.live("s"), id(&after));
    }
    slow.expect_nothing();
}

#[test]
fn compressed_messages_are_unchanged() {
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
