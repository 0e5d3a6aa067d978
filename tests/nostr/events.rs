//! Answers to an EVENT, and its effects.

use corecast_nostr::{Draft, Event};
use serde_json::{Value, json};

use crate::support::client::{BINARY, frame};
use crate::{Relay, event, id, key, now, signer, tags};

#[test]
fn an_event_is_stored_sent_and_served_as_it_was_signed() {
    let relay = Relay::with(2, |_| {});
    let mut reader = relay.open();
    reader.req("a\"é", &[json!({"kinds": [1]})]);
    assert_eq!(reader.stored("a\"é"), (vec![], json!(["finish"])));
    let signed = signer(1).sign(Draft {
        created_at: now(),
        kind: 1,
        tags: tags(&[&["t", "ä\n\u{1}"], &[], &["long", "x", "y"]]),
        content: "a\"\\\n\u{7f}\u{fdd1}😀/".into(),
    });
    let mut writer = relay.open();
    writer.expect_taken(&signed);
    let wanted: Value = serde_json::from_str(signed.json()).expect("JSON");
    assert_eq!(reader.hear(), json!(["EVENT", "a\"é", wanted]));
    writer.req("s", &[json!({"ids": [id(&signed)]})]);
    let text = writer.0.expect_text();
    assert_eq!(text, format!("[\"EVENT\",\"s\",{}]", signed.json()));
    assert_eq!(writer.stored("s").0.len(), 0);
}

#[test]
fn a_known_event_is_accepted_but_not_sent_again() {
    let relay = Relay::with(2, |_| {});
    let (mut reader, mut writer) = (relay.open(), relay.open());
    reader.req("s", &[json!({})]);
    reader.stored("s");
    let first = event(1, 1, 0, &[]);
    writer.expect_taken(&first);
    assert_eq!(reader.live("s"), id(&first));
    let duplicate = (true, "duplicate: already have this event".to_owned());
    assert_eq!(writer.publish(&first), duplicate);
    // Also by another shard, which has to ask the store.
    for _ in 0..4 {
        assert_eq!(relay.open().publish(&first), duplicate);
    }
    reader.expect_nothing();
}

#[test]
fn of_replaceable_events_the_newest_stays() {
    let relay = Relay::start();
    let (mut reader, mut writer) = (relay.open(), relay.open());
    reader.req("s", &[json!({})]);
    reader.stored("s");
    for (kind, d) in [(0, ""), (10_002, ""), (30_023, "x")] {
        let versions = [9, 5, 7].map(|ago| event(1, kind, ago, &[&["d", d]]));
        writer.expect_taken(&versions[0]);
        writer.expect_taken(&versions[1]);
        let (is_taken, reason) = writer.publish(&versions[2]);
        assert!(!is_taken && reason.starts_with("duplicate: "), "{reason}");
        assert_eq!(
            writer.query(&[json!({"kinds": [kind]})]),
            [id(&versions[1])]
        );
        assert_eq!(
            [reader.live("s"), reader.live("s")],
            [id(&versions[0]), id(&versions[1])]
        );
    }
    reader.expect_nothing();
}

#[test]
fn of_one_second_the_lower_id_stays() {
    let relay = Relay::start();
    let mut writer = relay.open();
    let version = |content: &str| {
        let draft = Draft {
            created_at: 1_000,
            kind: 0,
            content: content.into(),
            ..Draft::default()
        };
        signer(1).sign(draft)
    };
    let (one, other) = (version("a"), version("b"));
    let (low, high) = if one.id() < other.id() {
        (one, other)
    } else {
        (other, one)
    };
    writer.expect_taken(&high);
    writer.expect_taken(&low);
    assert!(!writer.publish(&high).0);
    assert_eq!(writer.query(&[json!({"kinds": [0]})]), [id(&low)]);
}

#[test]
fn ephemeral_events_are_sent_and_not_stored() {
    let relay = Relay::with(2, |_| {});
    let (mut reader, mut writer) = (relay.open(), relay.open());
    reader.req("s", &[json!({"kinds": [20_001]})]);
    reader.stored("s");
    let ephemeral = event(1, 20_001, 0, &[]);
    writer.expect_taken(&ephemeral);
    assert_eq!(reader.live("s"), id(&ephemeral));
    assert_eq!(writer.query(&[json!({"kinds": [20_001]})]), [""; 0]);
}

/// Makes an invalid text of an event.
type Spoil<'s> = &'s dyn Fn(&Event) -> String;

#[test]
fn every_offence_is_answered_with_its_name() {
    let relay = Relay::start();
    let mut client = relay.open();
    let good = event(1, 1, 0, &[&["t", "x"]]);
    let cases: &[(Spoil<'_>, &str)] = &[
        (
            &|e| {
                e.json()
                    .replace("\"content\":\"1 0\"", "\"content\":\"1 1\"")
            },
            "invalid: id is not",
        ),
        (
            &|e| {
                e.json()
                    .replace(&e.json()[e.json().len() - 20..], "00000000000000000\"}")
            },
            "invalid: sig",
        ),
        (
            &|e| e.json().replace(&key(1), &"f".repeat(64)),
            "invalid: id is not",
        ),
        (
            &|e| e.json().replace("\"kind\":1", "\"kind\":65536"),
            "invalid: ",
        ),
        (
            &|e| e.json().replace("\"kind\":1", "\"kind\":\"1\""),
            "invalid: ",
        ),
        (
            &|e| e.json().replace("\"content\":\"1 0\",", ""),
            "invalid: missing field `content`",
        ),
        (
            &|e| e.json().replace("\"tags\":", "\"tags\":[],\"tags\":"),
            "invalid: duplicate field",
        ),
        (
            &|e| e.json().replace("[[\"t\",\"x\"]]", "[[\"t\",1]]"),
            "invalid: tags",
        ),
    ];
    for (spoil, reason) in cases {
        let spoilt = spoil(&good);
        assert_ne!(spoilt, good.json());
        let (is_taken, told) = client.publish_json(&spoilt);
        assert!(!is_taken && told.starts_with(reason), "{told} for {spoilt}");
    }
    for (made, reason) in [
        (
            signer(1).sign(Draft {
                created_at: now() + 1_000,
                ..Draft::default()
            }),
            "invalid: created_at",
        ),
        (event(1, 22_242, 0, &[]), "invalid: kind 22242"),
        (event(1, 27_235, 0, &[]), "invalid: kind 27235"),
        (
            event(1, 1, 0, &[&["expiration", "1"]]),
            "invalid: the event has expired",
        ),
    ] {
        let (is_taken, told) = client.publish(&made);
        assert!(!is_taken && told.starts_with(reason), "{told}");
    }
    client.expect_taken(&good);
}

#[test]
fn an_invalid_message_gets_a_notice_and_keeps_the_connection() {
    let relay = Relay::start();
    let mut client = relay.open();
    for text in [
        "{}",
        "[]",
        "nonsense",
        "[\"BOO\"]",
        "[1,2]",
        "[\"EVENT\"]",
        "[\"EVENT\",{}]",
        "[\"EVENT\",[]]",
        "[\"EVENT\",\"x\"]",
        "[\"REQ\"]",
        "[\"REQ\",1,{}]",
        "[\"CLOSE\",\"\"]",
        "[\"AUTH\",\"x\"]",
        "[\"AUTH\",{}]",
    ] {
        client.0.text(text);
        let answer = client.hear();
        assert_eq!(answer[0], "NOTICE", "{answer} for {text}");
        let told = answer[1].as_str().expect("text");
        let prefixes = ["invalid: ", "restricted: "];
        assert!(
            prefixes.iter().any(|prefix| told.starts_with(prefix)),
            "{told} for {text}"
        );
    }
    client.0.send(&frame(BINARY, b"[\"REQ\",\"s\",{}]"));
    assert_eq!(
        client.hear(),
        json!(["NOTICE", "invalid: messages must be text"])
    );
    client.0.text("");
    client.0.text(" \n");
    client.expect_nothing();
}

#[test]
fn limits_of_events_are_the_settings() {
    let relay = Relay::with(1, |settings| {
        settings.events.tags = 2;
        settings.events.content_chars = Some(5);
        settings.events.past_s = Some(100);
        settings.events.kinds = Some([1].into());
        settings.events.bytes = 1_000;
    });
    let mut client = relay.open();
    let long = Draft {
        created_at: now(),
        kind: 1,
        content: "123456".into(),
        ..Draft::default()
    };
    let huge = Draft {
        content: "x".repeat(1_000),
        ..long.clone()
    };
    for (made, reason) in [
        (
            event(1, 1, 0, &[&[], &[], &[]]),
            "invalid: the event has more than 2 tags",
        ),
        (
            signer(1).sign(long),
            "invalid: the content has more than 5 characters",
        ),
        (
            signer(1).sign(huge),
            "invalid: the event has more than 1000 bytes",
        ),
        (
            event(1, 1, 200, &[]),
            "invalid: created_at is too far in the past",
        ),
        (
            event(1, 7, 0, &[]),
            "blocked: events of kind 7 are not accepted",
        ),
    ] {
        assert_eq!(client.publish(&made), (false, reason.to_owned()));
    }
    client.expect_taken(&event(1, 1, 0, &[&[], &[]]));
}

#[test]
fn work_is_asked_for() {
    let relay = Relay::with(1, |settings| settings.events.pow = 4);
    let mut client = relay.open();
    let mined = |is_enough: fn(u8) -> bool| {
        (0..).find_map(|nonce: u32| {
            let nonce = nonce.to_string();
            let made = event(1, 1, 0, &[&["nonce", &nonce, "4"]]);
            is_enough(made.id()[0]).then_some(made)
        })
    };
    client.expect_taken(&mined(|first| first < 16).expect("a number"));
    let (is_taken, told) = client.publish(&mined(|first| first >= 16).expect("a number"));
    assert!(!is_taken && told.starts_with("pow: "), "{told}");
}

#[test]
fn an_event_expires() {
    let relay = Relay::start();
    let mut client = relay.open();
    // A slow machine may take so long that the event has expired when it comes.
    let taken = [2, 10, 50].into_iter().find_map(|seconds| {
        let end = now() + seconds;
        let expiring = event(1, 1, 0, &[&["expiration", &end.to_string()]]);
        client.publish(&expiring).0.then_some((end, expiring))
    });
    let (end, expiring) = taken.expect("an event that has not expired yet");
    crate::support::eventually("it is not served any more", || {
        client.query(&[json!({"ids": [id(&expiring)]})]).is_empty()
    });
    assert!(now() >= end);
    crate::support::eventually("it is removed", || {
        let metrics = relay.stats.store_size();
        metrics == (0, 0)
    });
}

/// Over a shard's verification limit its clients are not read, and nothing is lost.
#[test]
fn a_flood_of_events_is_taken_to_the_last() {
    let relay = Relay::start();
    let mut client = relay.open();
    let events: Vec<Event> = (0..700).map(|ago| event(1, 1, ago, &[])).collect();
    let text: Vec<String> = events
        .iter()
        .map(|e| format!("[\"EVENT\",{}]", e.json()))
        .collect();
    let frames: Vec<u8> = text
        .iter()
        .flat_map(|text| frame(1, text.as_bytes()))
        .collect();
    client.0.send(&frames);
    for event in &events {
        assert_eq!(client.hear(), json!(["OK", id(event), true, ""]));
    }
    client.say(&json!(["COUNT", "c", {"kinds": [1], "limit": 1}, {"kinds": [1, 2]}]));
    assert_eq!(client.hear(), json!(["COUNT", "c", {"count": 700}]));
}

#[test]
fn the_oldest_go_when_memory_is_full() {
    let relay = Relay::with(1, |settings| settings.memory_events = 2);
    let mut client = relay.open();
    let events = [3, 2, 1].map(|ago| event(1, 1, ago, &[]));
    events.iter().for_each(|event| client.expect_taken(event));
    assert_eq!(client.query(&[json!({})]), [id(&events[2]), id(&events[1])]);
}
