//! Pubsub's protocol, as documented in `docs/pubsub.md`.

use corecast::config::EndpointConfig;

use crate::support::client::{BINARY, Client, frame};
use crate::{Relay, exchange, next};

fn pubsub(config: &mut corecast::config::Config) -> &mut EndpointConfig {
    config.endpoints.get_mut("pubsub").expect("it is there")
}

/// Returns when everything sent to the client before this has arrived; no message may be left
/// unread.
fn expect_nothing(client: &mut Client) {
    let pong = exchange(client, r#"{"type":"ping","id":"nothing before this"}"#);
    assert_eq!(pong["id"], "nothing before this");
}

#[test]
fn a_pubsub_connection_has_many_rooms_named_in_messages() {
    let relay = Relay::start(2);
    let mut reader = relay.subscriber(&["news", "weather/berlin"]);
    let mut writer = relay.open("/pubsub");
    writer.text(r#"{"type":"publish","room":"news","data":{"title":"a"}}"#);
    assert_eq!(
        reader.expect_text(),
        r#"{"type":"message","room":"news","data":{"title":"a"}}"#
    );
    writer.text(r#"{"type":"publish","room":"weather/berlin","data":21.5}"#);
    assert_eq!(
        reader.expect_text(),
        r#"{"type":"message","room":"weather/berlin","data":21.5}"#
    );
    writer.text(r#"{"type":"publish","room":"sports","data":1}"#);
    writer.text(r#"{"type":"publish","room":"news","data":"last"}"#);
    assert_eq!(next(&mut reader)["data"], "last");
}

#[test]
fn data_arrives_byte_for_byte_null_included() {
    let relay = Relay::start(1);
    let mut client = relay.subscriber(&["r"]);
    for data in [
        "null",
        "1e400",
        "123456789012345678901234567890",
        r#"{ "b" : 1, "a":[ ],"b":2 }"#,
        r#""\u00e9 é""#,
    ] {
        client.text(&format!(r#"{{"data":{data},"room":"r","type":"publish"}}"#));
        assert_eq!(
            client.expect_text(),
            format!(r#"{{"type":"message","room":"r","data":{data}}}"#)
        );
    }
}

#[test]
fn only_requests_with_an_id_are_acknowledged() {
    let relay = Relay::start(1);
    let mut client = relay.open("/pubsub");
    for (request, answer) in [
        (
            r#"{"type":"subscribe","room":"r","id":1}"#,
            r#"{"type":"ok","id":1,"members":1}"#,
        ),
        (
            r#"{"type":"subscribe","room":"r","id":"again"}"#,
            r#"{"type":"ok","id":"again","members":1}"#,
        ),
        (
            r#"{"type":"publish","room":"empty","data":1,"id":-2.5}"#,
            r#"{"type":"ok","id":-2.5}"#,
        ),
        (
            r#"{"type":"unsubscribe","room":"r","id":"x"}"#,
            r#"{"type":"ok","id":"x"}"#,
        ),
        (r#"{"type":"ping","id":7}"#, r#"{"type":"ok","id":7}"#),
    ] {
        client.text(request);
        assert_eq!(client.expect_text(), answer);
    }
    client.text(r#"{"type":"subscribe","room":"r"}"#);
    client.text(r#"{"type":"publish","room":"other","data":1}"#);
    expect_nothing(&mut client);
}

#[test]
fn a_subscription_is_active_between_its_acknowledgements() {
    let relay = Relay::start(2);
    let mut writer = relay.open("/pubsub");
    let mut reader = relay.subscriber(&["r"]);
    for number in 0..20 {
        writer.text(&format!(
            r#"{{"type":"publish","room":"r","data":{number}}}"#
        ));
        assert_eq!(next(&mut reader)["data"], number);
        let ended = exchange(
            &mut reader,
            r#"{"type":"unsubscribe","room":"r","id":"end"}"#,
        );
        assert_eq!(ended["id"], "end");
        let published = r#"{"type":"publish","room":"r","data":"missed","id":0}"#;
        assert_eq!(exchange(&mut writer, published)["type"], "ok");
        let begun = exchange(
            &mut reader,
            r#"{"type":"subscribe","room":"r","id":"begin"}"#,
        );
        assert_eq!(begun["id"], "begin", "nothing in between");
    }
}

#[test]
fn a_publisher_gets_its_own_unless_echo_is_off() {
    for echo in [true, false] {
        let relay = Relay::with(1, |config| pubsub(config).echo = echo);
        let mut other = relay.subscriber(&["r"]);
        let mut own = relay.subscriber(&["r"]);
        own.text(r#"{"type":"publish","room":"r","data":"x"}"#);
        assert_eq!(next(&mut other)["data"], "x");
        if echo {
            assert_eq!(next(&mut own)["data"], "x");
        }
        expect_nothing(&mut own);
    }
}

#[test]
fn every_pubsub_error_has_its_code_and_keeps_the_connection() {
    let relay = Relay::with(1, |config| {
        config.limits.rooms_per_connection = 2;
        config.limits.room_name_bytes = 8;
    });
    let mut client = relay.subscriber(&["a", "b"]);
    for (request, code) in [
        ("", "bad_json"),
        ("hello", "bad_json"),
        ("[\"ping\"]", "bad_json"),
        ("{\"type\":\"ping\"", "bad_json"),
        (r#"{"type":"ping","type":"ping"}"#, "bad_json"),
        (r#"{"type":"ping","id":{}}"#, "bad_id"),
        (r#"{"type":"ping","id":true}"#, "bad_id"),
        ("{}", "unknown_type"),
        (r#"{"type":"Publish","room":"a","data":1}"#, "unknown_type"),
        (r#"{"type":7}"#, "unknown_type"),
        (r#"{"type":{"ping":null}}"#, "unknown_type"),
        (r#"{"type":"subscribe"}"#, "bad_room"),
        (r#"{"type":"subscribe","room":""}"#, "bad_room"),
        (r#"{"type":"publish","room":["a"],"data":1}"#, "bad_room"),
        (r#"{"type":"subscribe","room":"\ud800"}"#, "bad_room"),
        (r#"{"type":"subscribe","room":"c"}"#, "too_many_rooms"),
        (
            r#"{"type":"subscribe","room":"123456789"}"#,
            "room_name_too_long",
        ),
        (
            r#"{"type":"publish","room":"123456789","data":1}"#,
            "room_name_too_long",
        ),
        (r#"{"type":"unsubscribe","room":"c"}"#, "not_subscribed"),
        (r#"{"type":"publish","room":"a"}"#, "missing_data"),
    ] {
        let answer = exchange(&mut client, request);
        assert_eq!(
            (&answer["type"], &answer["code"]),
            (&"error".into(), &code.into()),
            "{request}"
        );
        assert!(answer["error"].is_string(), "{answer}");
    }
    client.send(&frame(BINARY, b"{}"));
    assert_eq!(next(&mut client)["code"], "not_text");
    let answer = exchange(&mut client, r#"{"type":"subscribe","room":"c","id":"why"}"#);
    assert_eq!(
        (&answer["id"], &answer["code"]),
        (&"why".into(), &"too_many_rooms".into())
    );
    expect_nothing(&mut client);
}

#[test]
fn an_id_comes_back_up_to_its_bound() {
    let relay = Relay::start(1);
    let mut client = relay.open("/pubsub");
    let id = "i".repeat(126);
    let ping = |id: &str| format!(r#"{{"type":"ping","id":"{id}"}}"#);
    assert_eq!(exchange(&mut client, &ping(&id))["id"], id.as_str());
    assert_eq!(
        exchange(&mut client, &ping(&format!("{id}i")))["code"],
        "bad_id"
    );
}

#[test]
fn the_page_of_the_protocol_has_every_code() {
    let page = include_str!("../../docs/pubsub.md");
    for code in [
        "not_text",
        "bad_json",
        "bad_id",
        "unknown_type",
        "bad_room",
        "room_name_too_long",
        "too_many_rooms",
        "not_subscribed",
        "missing_data",
        "closed",
    ] {
        assert!(page.contains(&format!("| `{code}` |")), "{code}");
    }
}
