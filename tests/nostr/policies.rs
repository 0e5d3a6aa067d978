//! Policies: one row each, added as a hook and by its name in the configuration.

use std::time::Duration;

use corecast::config::NostrPolicy;
use corecast::relay::nostr::HookList;
use corecast::relay::nostr::policies::{self, Rate, named};
use corecast_nostr::{Draft, Event};
use serde_json::{Value, json};

use crate::http::ask;
use crate::{Relay, event, key, now, signer};

/// The hooks of `nostr.policies`.
fn configured(policies: &[&str]) -> HookList {
    let read = |text: &&str| text.parse::<NostrPolicy>().expect("a policy");
    named(&policies.iter().map(read).collect::<Vec<_>>())
}

fn with_content(content: &str) -> Event {
    signer(1).sign(Draft {
        created_at: now(),
        kind: 1,
        content: content.to_owned(),
        ..Draft::default()
    })
}

fn created(ahead_s: i64) -> Event {
    signer(1).sign(Draft {
        created_at: now().saturating_add_signed(ahead_s),
        kind: 1,
        ..Draft::default()
    })
}

/// A relay with these hooks takes the first event and refuses the second.
fn assert_event(hooks: HookList, good: &Event, bad: &Event, told: &str) {
    let relay = Relay::hooked(hooks);
    let mut client = relay.open();
    client.expect_taken(good);
    assert_eq!(client.publish(bad), (false, told.to_owned()));
}

#[test]
fn policies_for_events_refuse_wrong_tags_sizes_and_kinds() {
    for (policy, good, bad, told) in [
        (
            "prevent_too_many_indexable_tags=2",
            event(1, 1, 0, &[&["t", "a"], &["t", "b"], &["long", "c"]]),
            event(1, 1, 0, &[&["t", "a"], &["t", "b"], &["e", "c"]]),
            "blocked: the event has more than 2 indexable tags",
        ),
        (
            "prevent_large_tags=3",
            event(1, 1, 0, &[&["t", "abc"], &["long", "abcd"]]),
            event(1, 1, 0, &[&["t", "abcd"]]),
            "blocked: the value of a tag has more than 3 bytes",
        ),
        (
            "prevent_large_content=6",
            with_content("\"\n\u{1}\\é"),
            with_content("\"\n\u{1}\\éa"),
            "blocked: the content has more than 6 bytes",
        ),
        (
            "restrict_to_specified_kinds=7 1",
            event(1, 7, 0, &[]),
            event(1, 20_001, 0, &[]),
            "blocked: events of kind 20001 are not accepted",
        ),
        (
            "restrict_to_specified_kinds=1 ephemeral",
            event(1, 20_001, 0, &[]),
            event(1, 2, 0, &[]),
            "blocked: events of kind 2 are not accepted",
        ),
    ] {
        assert_event(configured(&[policy]), &good, &bad, told);
    }
}

#[test]
fn policies_for_events_refuse_wrong_times_and_contents() {
    let base64 = "see data:image/png;base64,AAAA";
    for (policy, good, bad, told) in [
        (
            "prevent_timestamps_in_the_past=1h",
            created(-3_000),
            created(-3_700),
            "invalid: the event is too old",
        ),
        (
            "prevent_timestamps_in_the_future=5m",
            created(200),
            created(400),
            "invalid: the event is too far in the future",
        ),
        (
            "reject_events_with_base64_media",
            with_content("see data:text/plain,x"),
            with_content(base64),
            "blocked: the content has media in base64",
        ),
        (
            "sane_defaults",
            with_content("see data:text/plain,x"),
            with_content("data:video/mp4;base64,AAAA"),
            "blocked: the content has media in base64",
        ),
        (
            "validate_kind",
            event(1, 1, 0, &[]),
            event(1, 2, 0, &[]),
            "invalid: kind 2 is deprecated",
        ),
        (
            "validate_kind",
            event(1, 1, 0, &[]),
            event(1, 0, 0, &[]),
            "invalid: a profile needs a name",
        ),
    ] {
        assert_event(configured(&[policy]), &good, &bad, told);
    }
}

#[test]
fn kinds_may_be_left_out_of_the_bound_on_tags() {
    let hooks = HookList::new()
        .reject_event(policies::prevent_too_many_indexable_tags(0, [3], []))
        .reject_event(policies::prevent_too_many_indexable_tags(1, [3], [3, 4]));
    let one = event(1, 3, 1, &[&["t", "a"]]);
    let two = event(1, 3, 0, &[&["t", "a"], &["t", "b"]]);
    assert_event(
        hooks,
        &one,
        &two,
        "blocked: the event has more than 1 indexable tags",
    );
}

#[test]
fn only_protected_events_of_their_authors_are_taken() {
    let relay = Relay::hooked(configured(&["only_allow_nip70_protected_events"]));
    let mut client = relay.open();
    let told = "blocked: this relay accepts only protected events, with the tag \"-\" (NIP-70)";
    assert_eq!(
        client.publish(&event(1, 1, 0, &[])),
        (false, told.to_owned())
    );
    let protected = event(1, 1, 0, &[&["-"]]);
    let json: Value = serde_json::from_str(protected.json()).expect("JSON");
    let (challenge, _) = client.challenged(&json!(["EVENT", json]));
    assert_eq!(client.auth(1, &challenge)[2], true);
    client.expect_taken(&protected);
}

#[test]
fn policies_for_filters_refuse_what_they_name() {
    let me = key(1);
    for (policy, good, bad, told) in [
        (
            "no_complex_filters",
            json!({"#a": ["1"], "#b": ["1"], "kinds": [1, 2, 3]}),
            json!({"#a": ["1"], "#b": ["1"], "#c": ["1"], "kinds": [1, 2]}),
            "blocked: the filter has too many tags and kinds",
        ),
        (
            "sane_defaults",
            json!({"#a": ["1"], "#b": ["1"], "#c": ["1"], "kinds": [1]}),
            json!({"#a": ["1"], "#b": ["1"], "#c": ["1"], "kinds": [1, 2]}),
            "blocked: the filter has too many tags and kinds",
        ),
        (
            "no_empty_filters",
            json!({"#t": ["x"]}),
            json!({"since": 1, "limit": 0}),
            "blocked: the filter needs an id, an author, a kind or a tag",
        ),
        (
            "anti_sync_bots",
            json!({"kinds": [1], "authors": [me]}),
            json!({"kinds": [1, 2]}),
            "blocked: a filter for notes of kind 1 needs an author",
        ),
        (
            "anti_sync_bots",
            json!({"kinds": [2]}),
            json!({"#t": ["x"]}),
            "blocked: a filter for notes of kind 1 needs an author",
        ),
    ] {
        let relay = Relay::hooked(configured(&[policy]));
        let mut client = relay.open();
        assert_eq!(client.query(&[good]).len(), 0, "{policy}");
        for verb in ["REQ", "COUNT"] {
            let answer = client.refused(&json!([verb, "s", bad]));
            assert_eq!(answer, json!(["CLOSED", "s", told]), "{policy}");
        }
    }
}

#[test]
fn a_policy_asks_all_readers_for_a_key() {
    let relay = Relay::hooked(configured(&["must_auth"]));
    let mut client = relay.open();
    client.expect_taken(&event(1, 1, 0, &[]));
    let req = json!(["REQ", "s", {"kinds": [1]}]);
    let (challenge, answer) = client.challenged(&req);
    let told = "auth-required: this relay answers only clients with a proven key";
    assert_eq!(answer, json!(["CLOSED", "s", told]));
    assert_eq!(client.auth(2, &challenge)[2], true);
    assert_eq!(client.query(&[json!({"kinds": [1]})]).len(), 1);
}

#[test]
fn the_information_document_tells_of_policies() {
    let limits = |policy: &str, limitation: &str| {
        let relay = Relay::hooked(configured(&[policy]));
        let answer = ask(
            &relay,
            "GET",
            "/nostr",
            "Accept: application/nostr+json\r\n",
        );
        let document: Value = serde_json::from_slice(&answer.body).expect("JSON");
        document["limitation"][limitation].clone()
    };
    for (policy, limitation) in [
        ("must_auth", "auth_required"),
        ("restrict_to_specified_kinds=1", "restricted_writes"),
        ("only_allow_nip70_protected_events", "restricted_writes"),
    ] {
        assert_eq!(limits(policy, limitation), true, "{policy}");
        assert_eq!(limits("no_empty_filters", limitation), false);
    }
}

#[test]
fn policies_take_parts_out_of_filters() {
    let hooks = configured(&["remove_all_but_kinds=1 7", "remove_all_but_tags=t p"]);
    let relay = Relay::hooked(hooks);
    let mut client = relay.open();
    for kind in [1, 2, 7] {
        client.expect_taken(&event(1, kind, u64::from(kind), &[&["t", "x"]]));
    }
    let mut count = |filter: Value| client.query(&[filter]).len();
    assert_eq!(count(json!({"kinds": [1, 2]})), 1);
    assert_eq!(count(json!({"kinds": [2]})), 0);
    assert_eq!(count(json!({})), 3, "a filter without kinds stays");
    assert_eq!(count(json!({"#t": ["x"], "#d": ["y"]})), 3);
    assert_eq!(count(json!({"#d": ["y"]})), 0, "nothing is left of it");
    client.req("live", &[json!({"kinds": [2]}), json!({"#d": ["y"]})]);
    client.stored("live");
    client.expect_taken(&event(1, 1, 0, &[&["t", "x"]]));
    client.expect_nothing();
}

#[test]
fn rates_of_events_are_for_each_address() {
    let relay = Relay::hooked(configured(&["event_ip_rate_limiter=1/1h/2"]));
    let slow_down = (false, "rate-limited: slow down, please".to_owned());
    let mut client = relay.open_from("192.0.2.1");
    client.expect_taken(&event(1, 1, 1, &[]));
    client.expect_taken(&event(1, 20_001, 2, &[]));
    assert_eq!(client.publish(&event(1, 1, 3, &[])), slow_down);
    let mut again = relay.open_from("192.0.2.1");
    assert_eq!(again.publish(&event(2, 1, 3, &[])), slow_down);
    relay
        .open_from("192.0.2.2")
        .expect_taken(&event(1, 1, 3, &[]));
    let mut network = relay.open_from("2001:db8:0:1::1");
    network.expect_taken(&event(1, 1, 4, &[]));
    network.expect_taken(&event(1, 1, 5, &[]));
    let mut neighbour = relay.open_from("2001:db8:0:1::2");
    assert_eq!(neighbour.publish(&event(1, 1, 6, &[])), slow_down);
}

#[test]
fn rates_of_filters_are_for_each_address() {
    let relay = Relay::hooked(configured(&["filter_ip_rate_limiter=1/1h/3"]));
    let mut client = relay.open_from("192.0.2.1");
    client.req("s", &[json!({"kinds": [1]}), json!({"kinds": [2]})]);
    client.stored("s");
    assert_eq!(client.refused(&json!(["COUNT", "c", {}]))[0], "COUNT");
    let told = "rate-limited: too many filters; slow down";
    for verb in ["REQ", "COUNT"] {
        let answer = client.refused(&json!([verb, "x", {}]));
        assert_eq!(answer, json!(["CLOSED", "x", told]));
    }
    assert_eq!(relay.open_from("192.0.2.2").query(&[json!({})]).len(), 0);
}

#[test]
fn rates_of_connections_are_for_each_address() {
    let relay = Relay::hooked(configured(&["connection_rate_limiter=1/5m/2"]));
    let _open = [relay.open_from("192.0.2.1"), relay.open_from("192.0.2.1")];
    let answer = relay.ask_from("192.0.2.1").answer();
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (429, Some("300"))
    );
    relay.open_from("192.0.2.2").expect_nothing();
}

#[test]
fn rates_of_keys_count_only_accepted_events() {
    let hooks = HookList::new().with(policies::event_pubkey_rate_limiter(Rate::new(
        1,
        Duration::from_secs(3_600),
        2,
    )));
    let relay = Relay::hooked(hooks);
    let mut client = relay.open();
    // Anybody can claim a key. That must not use up what its owner may send.
    let forged = event(1, 1, 9, &[])
        .json()
        .replace("\"sig\":\"", "\"sig\":\"0");
    for _ in 0..5 {
        let mut forged = forged.clone();
        forged.remove(forged.len() - 3);
        let (is_taken, told) = client.publish_json(&forged);
        assert!(!is_taken && told.starts_with("invalid: "), "{told}");
    }
    client.expect_taken(&event(1, 1, 1, &[]));
    client.expect_taken(&event(1, 20_001, 2, &[]));
    let slow_down = (false, "rate-limited: slow down, please".to_owned());
    assert_eq!(client.publish(&event(1, 1, 3, &[])), slow_down);
    let mut other = relay.open();
    assert_eq!(other.publish(&event(1, 1, 3, &[])), slow_down);
    other.expect_taken(&event(2, 1, 3, &[]));
}

#[test]
fn rates_of_proven_keys_hold_on_all_their_connections() {
    let relay = Relay::hooked(configured(&["event_authed_pubkey_rate_limiter=1/1h/1"]));
    let slow_down = (false, "rate-limited: slow down, please".to_owned());
    let prove = |client: &mut crate::Nostrich| {
        let (challenge, _) = client.challenged(&json!(["REQ", "x", {"kinds": [1059]}]));
        assert_eq!(client.auth(1, &challenge)[2], true);
    };
    let (mut one, mut two) = (relay.open(), relay.open());
    for ago in 1..4 {
        one.expect_taken(&event(1, 1, ago, &[]));
    }
    prove(&mut one);
    one.expect_taken(&event(2, 1, 4, &[]));
    prove(&mut two);
    assert_eq!(two.publish(&event(3, 1, 5, &[])), slow_down);
}

#[test]
fn sane_defaults_limit_other_machines_only() {
    let relay = Relay::hooked(configured(&["sane_defaults"]));
    let mut near = relay.open();
    let mut far = relay.open_from("192.0.2.1");
    for ago in 0..11 {
        near.expect_taken(&event(1, 1, ago, &[]));
        let (is_taken, told) = far.publish(&event(2, 1, ago, &[]));
        assert_eq!(is_taken, ago < 10, "{told}");
    }
    for count in 0..101 {
        near.query(&[json!({"ids": []})]);
        let answer = far.refused(&json!(["COUNT", "c", {"ids": []}]));
        assert_eq!(answer[0] == "COUNT", count < 100, "{answer}");
    }
    // One of 100 connections is there already.
    for count in 1..101 {
        let status = relay.ask_from("192.0.2.1").answer().status;
        assert_eq!(status, if count < 100 { 101 } else { 429 });
    }
    near.expect_nothing();
}
