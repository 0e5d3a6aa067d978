//! Membership of groups: over all shards, and when clients identify themselves.

use crate::support::client::{Client, TEXT, frame as client_frame};
use crate::support::eventually;
use crate::{Relay, config, frame, split_ts};

fn identify(client: &mut Client, token: &str) {
    let said = format!("{{\"event\":\"identify\",\"data\":{{\"token\":\"{token}\"}}}}");
    client.send(&client_frame(TEXT, said.as_bytes()));
    client.round_trip();
}

fn to(token: &str) -> String {
    format!("{{\"event_name\":\"e\",\"subject\":\"{token}\",\"token\":\"{token}\"}}")
}

fn expect_of(client: &mut Client, token: &str) {
    let (got, _) = split_ts(&client.expect_text());
    let quoted = format!("\"{token}\"");
    assert_eq!(got, frame("\"e\"", &quoted, &quoted));
}

#[test]
fn a_push_reaches_members_on_all_shards() {
    let relay = Relay::default();
    let mut members: Vec<Client> = (0..16).map(|_| relay.join("USER_123")).collect();
    let mut others: Vec<Client> = (0..4).map(|_| relay.join("USER_124")).collect();
    let view = relay.engine.as_ref().expect("it runs").view();
    assert!(
        view.shards().all(|stats| stats.open.get() > 0),
        "both shards have some"
    );
    // Each of these uses a connection of its own, alternating between shards.
    for _ in 0..8 {
        relay.push_to(&to("USER_123"), members.len());
        members
            .iter_mut()
            .for_each(|client| expect_of(client, "USER_123"));
        relay.push_to("{\"event_name\":\"all\"}", members.len() + others.len());
        for client in members.iter_mut().chain(&mut others) {
            let (got, _) = split_ts(&client.expect_text());
            assert_eq!(got, frame("\"all\"", "null", "null"));
        }
    }
    others.iter_mut().for_each(Client::round_trip);
}

#[test]
fn identify_moves_a_connection_silently() {
    let relay = Relay::default();
    let mut client = relay.join("");
    relay.push_to(&to("one"), 0);
    identify(&mut client, "one");
    relay.push_to(&to("one"), 1);
    expect_of(&mut client, "one");
    identify(&mut client, "two");
    relay.push_to(&to("one"), 0);
    relay.push_to(&to("two"), 1);
    expect_of(&mut client, "two");
    relay.push_to("{\"event_name\":\"all\"}", 1);
    client.expect_text();
    client.round_trip();
}

#[test]
fn saying_the_same_again_loses_nothing() {
    let relay = Relay::default();
    let mut client = relay.join("me");
    for _ in 0..50 {
        relay.push_to(&to("me"), 1);
        let said = "{\"event\":\"identify\",\"data\":{\"token\":\"me\"}}";
        client.send(&client_frame(TEXT, said.as_bytes()));
    }
    (0..50).for_each(|_| expect_of(&mut client, "me"));
    client.round_trip();
}

#[test]
fn tokens_are_decoded_and_an_empty_one_counts_as_missing() {
    let relay = Relay::default();
    let mut decoded = Client::open(relay.address, "/ws?x=1&token=J%C3%BCrgen+A%2FB");
    relay.push_to(&to("Jürgen A/B"), 1);
    expect_of(&mut decoded, "Jürgen A/B");
    let mut empty = Client::open(relay.address, "/ws?token=");
    relay.push_to("{\"event_name\":\"all\"}", 2);
    empty.expect_text();
    empty.round_trip();
}

#[test]
fn a_token_too_long_for_a_name_gets_an_error() {
    let mut config = config();
    config.limits.room_name_bytes = 16;
    let relay = Relay::start(&config);
    let mut fits = relay.join(&"x".repeat(16));
    fits.round_trip();
    let long = "x".repeat(17);
    let mut client = relay.join(&long);
    assert!(client.expect_close(1008).starts_with("room: "));
    fits.text(&format!(
        "{{\"event\":\"identify\",\"data\":{{\"token\":\"{long}\"}}}}"
    ));
    assert!(fits.expect_close(1008).starts_with("room: "));
}

#[test]
fn a_closed_client_is_in_no_group() {
    let relay = Relay::default();
    let first = relay.join("me");
    let mut second = relay.join("me");
    drop(first);
    eventually("one is left", || {
        let answer = relay.push(&to("me"));
        String::from_utf8(answer.body)
            .unwrap()
            .contains("\"queued\":1}")
    });
    second.expect_text();
    drop(second);
    eventually("nobody is left", || relay.metric("corecast_rooms") == 0.0);
    relay.push_to(&to("me"), 0);
}

#[test]
fn a_batch_is_pushed_whole_or_not_at_all() {
    let relay = Relay::default();
    let mut client = relay.join("me");
    let batch = format!("[{},{},{{\"event_name\":\"all\"}}]", to("me"), to("you"));
    let answer = relay.push(&batch);
    let receipt = |event: &str, token: &str, queued: usize| {
        let (id, raw) = (
            token,
            if token.is_empty() {
                "null".into()
            } else {
                format!("\"{token}\"")
            },
        );
        format!(
            "{{\"event_name\":\"{event}\",\"delay_seconds\":0,\"target_user_id\":\"{id}\",\
             \"broadcast\":{},\"parsed_user_raw\":{raw},\"queued\":{queued}}}",
            token.is_empty()
        )
    };
    let expected = format!(
        "{{\"code\":0,\"msg\":\"ok\",\"data\":[{},{},{}]}}",
        receipt("e", "me", 1),
        receipt("e", "you", 0),
        receipt("all", "", 1)
    );
    assert_eq!(String::from_utf8(answer.body).unwrap(), expected);
    expect_of(&mut client, "me");
    assert_eq!(
        split_ts(&client.expect_text()).0,
        frame("\"all\"", "null", "null")
    );
    let bad = relay.push(&format!("[{},{{}}]", to("me")));
    let expected = b"{\"code\":-1,\"msg\":\"event_name is required\",\"index\":1}";
    assert_eq!((bad.status, &*bad.body), (400, &expected[..]));
    client.round_trip();
    assert_eq!(
        relay.push("[]").body,
        b"{\"code\":0,\"msg\":\"ok\",\"data\":[]}"
    );
    let many = format!("[{}]", vec![to("me"); 1_001].join(","));
    let expected = b"{\"code\":-1,\"msg\":\"too many pushes in one request\"}";
    let refused = relay.push(&many);
    assert_eq!((refused.status, &*refused.body), (400, &expected[..]));
    client.round_trip();
}

#[test]
fn pushes_and_refusals_are_counted() {
    let relay = Relay::default();
    let _members = [relay.join("me"), relay.join("me")];
    relay.push_to(&to("me"), 2);
    relay.push_to("{\"event_name\":\"all\"}", 2);
    relay.push("{}");
    relay.push("?");
    relay.ask("GET", "/api/push", "");
    crate::ask(relay.address, "POST", "/api/push", "", &to("me"));
    for (series, value) in [
        ("corecast_pushes_total{kind=\"now\"}", 2.0),
        ("corecast_pushes_total{kind=\"delayed\"}", 0.0),
        ("corecast_pushes_queued_total", 4.0),
        (
            "corecast_push_requests_refused_total{reason=\"event_name\"}",
            1.0,
        ),
        ("corecast_push_requests_refused_total{reason=\"json\"}", 1.0),
        (
            "corecast_push_requests_refused_total{reason=\"method\"}",
            1.0,
        ),
        ("corecast_push_requests_refused_total{reason=\"key\"}", 1.0),
        ("corecast_pushes_pending", 0.0),
    ] {
        assert_eq!(relay.metric(series), value, "{series}");
    }
}
