//! Answers to REQ and COUNT.

use serde_json::{Value, json};

use crate::{Relay, event, id, key, now};

#[test]
fn filters_ask_for_what_nip_01_says() {
    let relay = Relay::start();
    let mut client = relay.open();
    let other = "0".repeat(64);
    let events = [
        event(1, 1, 5, &[&["t", "a"], &["p", &other]]),
        event(1, 7, 4, &[&["t", "b", "a"], &["e", &other]]),
        event(2, 1, 3, &[&["T", "a"]]),
        event(2, 7, 2, &[]),
    ];
    events.iter().for_each(|event| client.expect_taken(event));
    let created = |index: usize| events[index].created_at();
    let cases: &[(Value, &[usize])] = &[
        (json!({}), &[3, 2, 1, 0]),
        (json!({"kinds": [1]}), &[2, 0]),
        (json!({"authors": [key(1)]}), &[1, 0]),
        (
            json!({"authors": [key(1), key(2)], "kinds": [7, 9]}),
            &[3, 1],
        ),
        (json!({"ids": [id(&events[2]), other]}), &[2]),
        (json!({"#t": ["a", "z"]}), &[0]),
        (json!({"#T": ["a"]}), &[2]),
        (json!({"#p": [other]}), &[0]),
        (json!({"#e": [other], "#t": ["b"]}), &[1]),
        (json!({"#e": [other], "#t": ["a"]}), &[]),
        (json!({"since": created(1), "until": created(2)}), &[2, 1]),
        (json!({"limit": 2}), &[3, 2]),
        (json!({"limit": 0}), &[]),
        (json!({"kinds": []}), &[]),
        (json!({"until": 1}), &[]),
    ];
    for (filter, wanted) in cases {
        let wanted: Vec<String> = wanted.iter().map(|index| id(&events[*index])).collect();
        assert_eq!(
            client.query(std::slice::from_ref(filter)),
            wanted,
            "{filter}"
        );
    }
    let both = [
        json!({"kinds": [1], "limit": 1}),
        json!({"authors": [key(2)]}),
    ];
    assert_eq!(client.query(&both), [id(&events[3]), id(&events[2])]);
    client.say(&json!(["COUNT", "c", both[0], both[1]]));
    assert_eq!(client.hear(), json!(["COUNT", "c", {"count": 3}]));
}

#[test]
fn keys_that_require_all_values_are_a_switch() {
    let relay = Relay::with(1, |settings| settings.filter_syntax.and_tags = true);
    let mut client = relay.open();
    let events = [
        event(1, 1, 5, &[&["t", "meme"], &["t", "cat"], &["t", "black"]]),
        event(1, 1, 4, &[&["t", "meme"], &["t", "cat"]]),
        event(1, 1, 3, &[&["t", "meme"], &["t", "black"]]),
    ];
    let mut reader = relay.open();
    let both = json!({"&t": ["meme", "cat"], "#t": ["meme", "cat", "black"]});
    reader.req("s", std::slice::from_ref(&both));
    reader.stored("s");
    events.iter().for_each(|event| client.expect_taken(event));
    assert_eq!(reader.live("s"), id(&events[0]));
    reader.expect_nothing();
    for (filter, wanted) in [
        (both, vec![0]),
        (json!({"&t": ["meme", "cat"]}), vec![1, 0]),
        (
            json!({"&t": ["meme", "cat"], "#t": ["meme", "cat"]}),
            vec![1, 0],
        ),
        (json!({"&t": ["meme", "dog"]}), vec![]),
        (json!({"&t": []}), vec![]),
    ] {
        let wanted: Vec<String> = wanted
            .iter()
            .map(|index: &usize| id(&events[*index]))
            .collect();
        let found = client.query(std::slice::from_ref(&filter));
        assert_eq!(found, wanted, "{filter}");
        client.say(&json!(["COUNT", "c", filter]));
        assert_eq!(client.hear()[2], json!({"count": wanted.len()}));
    }
    let off = Relay::start();
    let answer = off.open().refused(&json!(["REQ", "s", {"&t": ["meme"]}]));
    assert_eq!(
        answer[2],
        "unsupported: the filter has an unknown key \"&t\""
    );
}

#[test]
fn pages_go_on_to_the_end_and_say_whether_there_is_more() {
    let relay = Relay::with(1, |settings| {
        settings.queries.limit_max = 150;
        settings.queries.limit_default = 100;
    });
    let mut client = relay.open();
    let events: Vec<_> = (0..200).map(|ago| event(1, 1, ago, &[])).collect();
    events.iter().for_each(|event| client.expect_taken(event));
    let ids: Vec<String> = events.iter().map(id).collect();
    for (filter, rows, hint) in [
        (json!({}), 100, "more"),
        (json!({"limit": 120}), 120, "more"),
        (json!({"limit": 1_000}), 150, "more"),
        (json!({"since": events[99].created_at()}), 100, "finish"),
        (json!({"since": events[98].created_at()}), 99, "finish"),
        (json!({"since": events[100].created_at()}), 100, "more"),
        (
            json!({"limit": 5, "since": events[4].created_at()}),
            5,
            "finish",
        ),
    ] {
        client.req("s", std::slice::from_ref(&filter));
        let (got, told) = client.stored("s");
        assert_eq!(
            (got.as_slice(), told),
            (&ids[..rows], json!([hint])),
            "{filter}"
        );
    }
}

#[test]
fn a_second_that_our_bound_cuts_is_finished() {
    let relay = Relay::with(1, |settings| {
        settings.queries.limit_default = 3;
        settings.queries.second_max = 4;
    });
    let mut client = relay.open();
    let at = now() - 100;
    let draft = |content: usize| corecast_nostr::Draft {
        created_at: at,
        kind: 1,
        content: content.to_string(),
        ..Default::default()
    };
    (0..6).for_each(|number| client.expect_taken(&crate::signer(1).sign(draft(number))));
    client.expect_taken(&event(1, 1, 200, &[]));
    client.req("s", &[json!({})]);
    let (ids, hint) = client.stored("s");
    assert_eq!((ids.len(), hint), (6, json!(["more"])));
    assert!(ids.is_sorted(), "ties by the lower id: {ids:?}");
    assert_eq!(client.query(&[json!({"limit": 3})]).len(), 3);
}

#[test]
fn a_query_that_cannot_be_is_closed_with_a_reason() {
    let relay = Relay::with(1, |settings| {
        settings.filters_max = 2;
        settings.values_max = 3;
        settings.subscriptions_max = 2;
        settings.filter_syntax.and_tags = true;
    });
    let mut client = relay.open();
    let long = "x".repeat(65);
    let cases: &[(Value, &str)] = &[
        (json!(["REQ", "s"]), "invalid: the filter is missing"),
        (json!(["REQ", "s", 3]), "invalid: "),
        (json!(["REQ", "s", {"ids": ["AB"]}]), "invalid: ids"),
        (json!(["REQ", "s", {"search": "x"}]), "unsupported: "),
        (
            json!(["REQ", "s", {}, {}, {}]),
            "blocked: a query has at most 2 filters",
        ),
        (
            json!(["REQ", "s", {"kinds": [1, 2]}, {"kinds": [1, 2]}]),
            "blocked: the lists",
        ),
        (
            json!(["REQ", "s", {"&t": ["a", "b"], "#x": ["c", "d"]}]),
            "blocked: the lists",
        ),
        (json!(["COUNT", "s", {"kinds": ["x"]}]), "invalid: kinds"),
        (json!(["COUNT", "s"]), "invalid: the filter is missing"),
        (json!(["REQ", long, {}]), "invalid: a subscription's name"),
        (json!(["REQ", "", {}]), "invalid: a subscription's name"),
    ];
    for (message, reason) in cases {
        let answer = client.refused(message);
        assert_eq!(
            (&answer[0], &answer[1]),
            (&json!("CLOSED"), &message[1]),
            "{answer}"
        );
        let told = answer[2].as_str().expect("a reason");
        assert!(told.starts_with(reason), "{told} for {message}");
    }
    for name in ["a", "b"] {
        client.req(name, &[json!({})]);
        client.stored(name);
    }
    let answer = client.refused(&json!(["REQ", "c", {}]));
    assert_eq!(
        answer[2],
        "blocked: a connection has at most 2 subscriptions"
    );
    client.req("a", &[json!({})]);
    client.stored("a");
}

#[test]
fn a_count_that_looks_at_too_much_is_approximate() {
    let relay = Relay::with(1, |settings| settings.count_max = 4_096);
    let mut client = relay.open();
    (0..10).for_each(|ago| client.expect_taken(&event(1, 1, ago, &[])));
    client.say(&json!(["COUNT", "c", {}]));
    assert_eq!(client.hear(), json!(["COUNT", "c", {"count": 10}]));
}

/// A client may send any number of queries at once; all are answered.
#[test]
fn a_flood_of_queries_is_answered_to_the_last() {
    let relay = Relay::start();
    let mut client = relay.open();
    (0..100).for_each(|ago| client.expect_taken(&event(1, 1, ago, &[])));
    let text = r#"["COUNT","c",{"kinds":[1]}]"#;
    let frames = crate::support::client::frame(1, text.as_bytes()).repeat(1_000);
    client.0.send(&frames);
    for _ in 0..1_000 {
        assert_eq!(client.hear(), json!(["COUNT", "c", {"count": 100}]));
    }
}
