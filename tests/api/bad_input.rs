//! Bad input of every kind to every path of the API: an answer in JSON with a code that stays, never
//! a 500, never a hang.

use corecast::config::API_PATHS;
use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::{KEY, Relay, json as json_of};

/// The method that a path answers.
fn method(path: &str) -> &'static str {
    match path {
        "/api/publish" | "/api/disconnect" => "POST",
        _ => "GET",
    }
}

/// The answer to whatever bytes; [`Client::answer`] waits for it with a deadline.
fn answer(relay: &Relay, bytes: &[u8]) -> Answer {
    let mut client = Client::connect(relay.address);
    client.send(bytes);
    client.answer()
}

/// A refusal of this status with this code.
fn expect(answer: &Answer, status: u16, code: &str, what: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    let body = json_of(answer);
    assert_eq!(body["code"], code, "{what}: {body}");
    assert!(
        body["error"].as_str().is_some_and(|text| !text.is_empty()),
        "{what}: {body}"
    );
    assert_eq!(
        body.as_object().map(serde_json::Map::len),
        Some(2),
        "{what}: {body}"
    );
}

#[test]
fn whatever_is_wrong_with_a_request_has_a_code_on_every_path() {
    let relay = Relay::start(1);
    for path in API_PATHS {
        let good = method(path);
        let bad = if good == "GET" { "POST" } else { "GET" };
        let long = "x".repeat(9_000);
        let many = "X-A: b\r\n".repeat(101);
        let key = format!("API-KEY: {KEY}\r\n");
        let rows: [(String, u16, &str); 20] = [
            (
                format!("{bad} {path} HTTP/1.1\r\nHost: r\r\n\r\n"),
                405,
                "method_not_allowed",
            ),
            (
                format!("PATCH {path} HTTP/1.1\r\nHost: r\r\n\r\n"),
                405,
                "method_not_allowed",
            ),
            (
                format!("BREW {path} HTTP/1.1\r\nHost: r\r\n\r\n"),
                501,
                "unknown_method",
            ),
            (
                format!("{good} {path} HTTP/1.1\r\n\r\n"),
                400,
                "missing_host",
            ),
            (
                format!("{good} {path} HTTP/1.1\r\nHost: r\r\nHost: s\r\n\r\n"),
                400,
                "repeated_host",
            ),
            (
                format!("{good} {path} HTTP/1.1\r\nHost: r\r\nA : b\r\n\r\n"),
                400,
                "bad_header_name",
            ),
            (
                format!("{good} {path} HTTP/1.1\r\nHost: r\r\nA: \0\r\n\r\n"),
                400,
                "bad_header_value",
            ),
            (
                format!("{good} {path}?{long} HTTP/1.1\r\nHost: r\r\n\r\n"),
                414,
                "target_too_long",
            ),
            (
                format!("{good} {path} HTTP/1.1\r\nHost: r\r\n{many}\r\n"),
                431,
                "too_many_headers",
            ),
            (
                format!("{good} {path} HTTP/1.1\r\nHost: r\r\nA: {long}{long}\r\n\r\n"),
                431,
                "head_too_large",
            ),
            (
                format!("{good} {path} HTTP/2.0\r\nHost: r\r\n\r\n"),
                505,
                "unsupported_version",
            ),
            (
                format!("{good} {path} HTTP/1.1\r\nHost: r\r\nContent-Length: -1\r\n\r\n"),
                400,
                "bad_length",
            ),
            (
                format!("{good} {path} HTTP/1.1\r\nHost: r\r\nContent-Length: 1048577\r\n\r\n"),
                413,
                "body_too_large",
            ),
            (
                format!("{good} {path} HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: gzip\r\n\r\n"),
                501,
                "unknown_encoding",
            ),
            (
                format!(
                    "{good} {path} HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"
                ),
                400,
                "bad_chunk",
            ),
            (
                format!("{good} {path} HTTP/1.1\r\nHost: r\r\nExpect: the-best\r\n\r\n"),
                417,
                "unknown_expectation",
            ),
            (
                format!(
                    "GET {path} HTTP/1.1\r\nHost: r\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                ),
                400,
                "no_websocket",
            ),
            (
                format!(
                    "GET {path} HTTP/1.1\r\nHost: r\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
                ),
                400,
                "no_version",
            ),
            (
                format!("{good} {path} HTTP/1.1\r\nHost: r\r\n\r\n"),
                401,
                "unauthorized",
            ),
            (
                format!("{good} {path}?surprise=1 HTTP/1.1\r\nHost: r\r\n{key}\r\n"),
                400,
                "bad_query",
            ),
        ];
        for (request, status, code) in rows {
            let answer = answer(&relay, request.as_bytes());
            expect(&answer, status, code, &format!("{path}: {code}"));
            if status == 405 {
                let allow = answer.header("Allow");
                assert!(allow.is_some_and(|allow| allow.contains(good)), "{allow:?}");
            }
        }
    }
}

#[test]
fn half_a_request_is_answered_when_its_time_is_over() {
    let relay = Relay::with(1, |config| {
        config.timeouts.handshake = std::time::Duration::from_millis(50);
    });
    for path in API_PATHS {
        let begun = format!("{} {path} HTTP/1.1\r\nHost", method(path));
        let body_missing = format!("{begun}: r\r\nContent-Length: 10\r\n\r\n{{");
        for half in [begun, body_missing] {
            expect(
                &answer(&relay, half.as_bytes()),
                408,
                "handshake_timeout",
                path,
            );
        }
    }
}

#[test]
fn every_wrong_body_has_a_code() {
    let relay = Relay::start(1);
    let deep = "[".repeat(100_000);
    let reason = "r".repeat(124);
    let common = [
        ("", "bad_json"),
        ("null", "bad_json"),
        ("7", "bad_json"),
        ("[]", "bad_json"),
        (r#"["hub","/x"]"#, "bad_json"),
        ("{", "bad_json"),
        (r#"{"endpoint":"hub"} x"#, "bad_json"),
        (r#"{"endpoint":"\ud800"}"#, "bad_json"),
        ("\u{feff}{}", "bad_json"),
        (&deep, "bad_json"),
        ("{}", "bad_field"),
        (r#"{"endpoint":"hub"}"#, "bad_field"),
        (r#"{"endpoint":7}"#, "bad_field"),
        (r#"{"endpoint":null}"#, "bad_field"),
        (r#"{"endpoint":"hub","endpoint":"hub"}"#, "bad_field"),
        (r#"{"endpoint":"hub","surprise":1}"#, "bad_field"),
    ];
    let publish = [
        (r#"{"endpoint":"hub","room":"/x"}"#, "bad_field"),
        (r#"{"endpoint":"hub","text":"t"}"#, "bad_field"),
        (
            r#"{"endpoint":"hub","room":"/x","user":"u","text":"t"}"#,
            "bad_field",
        ),
        (
            r#"{"endpoint":"hub","room":"/x","text":"t","json":1}"#,
            "bad_field",
        ),
        (r#"{"endpoint":"hub","room":"/x","text":null}"#, "bad_field"),
        (
            r#"{"endpoint":"hub","room":["/x"],"text":"t"}"#,
            "bad_field",
        ),
        (
            r#"{"endpoint":"hub","room":"/x","base64":"?"}"#,
            "bad_field",
        ),
        (
            r#"{"endpoint":"hub","room":"/x","base64":"AAA"}"#,
            "bad_field",
        ),
        (
            r#"{"endpoint":"none","room":"/x","text":"t"}"#,
            "unknown_endpoint",
        ),
        (
            r#"{"endpoint":"","room":"/x","text":"t"}"#,
            "unknown_endpoint",
        ),
        (r#"{"endpoint":"hub","user":"u","text":"t"}"#, "no_users"),
    ];
    let with_reason = format!(r#"{{"endpoint":"hub","room":"/x","reason":"{reason}"}}"#);
    let disconnect = [
        (
            r#"{"endpoint":"hub","room":"/x","connection":"1-1-1"}"#,
            "bad_field",
        ),
        (r#"{"endpoint":"hub","connection":"x"}"#, "bad_field"),
        (r#"{"endpoint":"hub","connection":"-1-1-1"}"#, "bad_field"),
        (
            r#"{"endpoint":"hub","room":"/x","code":"1008"}"#,
            "bad_field",
        ),
        (
            r#"{"endpoint":"hub","room":"/x","code":70000}"#,
            "bad_field",
        ),
        (r#"{"endpoint":"hub","room":"/x","code":1005}"#, "bad_field"),
        (r#"{"endpoint":"hub","room":"/x","code":999}"#, "bad_field"),
        (
            r#"{"endpoint":"hub","room":"/x","reason":null}"#,
            "bad_field",
        ),
        (&with_reason, "bad_field"),
        (r#"{"endpoint":"none","room":"/x"}"#, "unknown_endpoint"),
        (r#"{"endpoint":"hub","user":"u"}"#, "no_users"),
    ];
    for (path, own) in [("/api/publish", publish), ("/api/disconnect", disconnect)] {
        for (body, code) in common.into_iter().chain(own) {
            let (status, answer) = relay.ask("POST", path, body);
            let shown: String = body.chars().take(80).collect();
            assert_eq!(answer["code"], code, "{path} {shown}: {answer}");
            assert_eq!(status, if code == "unknown_endpoint" { 404 } else { 400 });
        }
        let head = format!("API-KEY: {KEY}\r\nContent-Length: 3\r\n");
        let answer = relay.say("POST", path, &head, b"{\xff}");
        expect(&answer, 400, "bad_json", path);
    }
}

#[test]
fn every_wrong_query_has_a_code() {
    let relay = Relay::start(1);
    for (path, query, code) in [
        ("rooms", "", "bad_query"),
        ("rooms", "?endpoint", "unknown_endpoint"),
        ("rooms", "?endpoint=none", "unknown_endpoint"),
        ("rooms", "?endpoint=hub&endpoint=hub", "bad_query"),
        ("rooms", "?endpoint=%zz", "bad_query"),
        ("rooms", "?endpoint=%FF", "bad_query"),
        ("rooms", "?%FF=hub", "bad_query"),
        ("rooms", "?endpoint=hub&limit=0", "bad_query"),
        ("rooms", "?endpoint=hub&limit=1001", "bad_query"),
        ("rooms", "?endpoint=hub&limit=-1", "bad_query"),
        ("rooms", "?endpoint=hub&limit=1e2", "bad_query"),
        ("rooms", "?endpoint=hub&limit=", "bad_query"),
        (
            "rooms",
            "?endpoint=hub&limit=99999999999999999999",
            "bad_query",
        ),
        ("rooms", "?endpoint=hub&room=/x", "bad_query"),
        ("members", "?endpoint=hub", "bad_query"),
        ("members", "?room=/x", "bad_query"),
        ("members", "?endpoint=hub&room=/x&after=x", "bad_query"),
        (
            "members",
            "?endpoint=hub&room=/x&after=1-2-3-4",
            "bad_query",
        ),
        (
            "members",
            "?endpoint=hub&room=/x&after=99999-2-3",
            "bad_query",
        ),
        ("info", "?endpoint=hub", "bad_query"),
    ] {
        let (status, answer) = relay.ask("GET", &format!("/api/{path}{query}"), "");
        assert_eq!(answer["code"], code, "{path}{query}: {answer}");
        assert_eq!(status, if code == "unknown_endpoint" { 404 } else { 400 });
    }
    // What looks odd and is good.
    for query in ["&after=", "&after=%00", "&", "&limit=1000", "&limit=007"] {
        relay.get(&format!("/api/rooms?endpoint=hub{query}"));
    }
    relay.get("/api/members?endpoint=hub&room=&after=255-4294967295-4294967295");
}

#[test]
fn a_message_over_the_endpoints_limit_is_refused() {
    let relay = Relay::with(1, |config| {
        let pubsub = config.endpoints.get_mut("pubsub").expect("it is there");
        pubsub.limits.message_bytes = Some(100);
        let hub = config.endpoints.get_mut("hub").expect("it is there");
        hub.limits.message_bytes = Some(100);
    });
    let publish = |endpoint: &str, bytes: usize| {
        let body = json!({"endpoint": endpoint, "room": "r", "text": "x".repeat(bytes)});
        relay.ask("POST", "/api/publish", &body.to_string())
    };
    let too_large = |(status, answer): (u16, Value)| {
        assert_eq!(
            (status, &answer["code"]),
            (413, &json!("message_too_large"))
        );
    };
    assert_eq!(publish("hub", 100).0, 200);
    too_large(publish("hub", 101));
    // What surrounds it counts.
    assert_eq!(publish("pubsub", 50).0, 200);
    too_large(publish("pubsub", 100));
}
