//! Bad input of every kind to every path of the API: an answer in JSON with a code that stays,
//! never a 500, never a hang.

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

fn status_of(code: &str) -> u16 {
    match code {
        "unknown_endpoint" | "no_users" => 404,
        _ => 400,
    }
}

/// What follows the method and the path, the status and the code. The method is the path's own, or
/// the one that stands before the rest.
const WRONG: [(&str, u16, &str); 20] = [
    ("OTHER  HTTP/1.1|Host: r", 405, "method_not_allowed"),
    ("PATCH  HTTP/1.1|Host: r", 405, "method_not_allowed"),
    ("BREW  HTTP/1.1|Host: r", 501, "unknown_method"),
    ("OWN  HTTP/1.1", 400, "missing_host"),
    ("OWN  HTTP/1.1|Host: r|Host: s", 400, "repeated_host"),
    ("OWN  HTTP/1.1|Host: r|A : b", 400, "bad_header_name"),
    ("OWN  HTTP/1.1|Host: r|A: \0", 400, "bad_header_value"),
    ("OWN ?LONG HTTP/1.1|Host: r", 414, "target_too_long"),
    ("OWN  HTTP/1.1|Host: r|MANY", 431, "too_many_headers"),
    ("OWN  HTTP/1.1|Host: r|A: LONGLONG", 431, "head_too_large"),
    ("OWN  HTTP/2.0|Host: r", 505, "unsupported_version"),
    (
        "OWN  HTTP/1.1|Host: r|Content-Length: -1",
        400,
        "bad_length",
    ),
    (
        "OWN  HTTP/1.1|Host: r|Content-Length: 1048577",
        413,
        "body_too_large",
    ),
    (
        "OWN  HTTP/1.1|Host: r|Transfer-Encoding: gzip",
        501,
        "unknown_encoding",
    ),
    (
        "OWN  HTTP/1.1|Host: r|Transfer-Encoding: chunked||xyz",
        400,
        "bad_chunk",
    ),
    (
        "OWN  HTTP/1.1|Host: r|Expect: the-best",
        417,
        "unknown_expectation",
    ),
    (
        "GET  HTTP/1.1|Host: r|Connection: Upgrade|Upgrade: websocket|Sec-WebSocket-Version: 13|\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        400,
        "no_websocket",
    ),
    (
        "GET  HTTP/1.1|Host: r|Connection: Upgrade|Upgrade: websocket",
        400,
        "no_version",
    ),
    ("OWN  HTTP/1.1|Host: r", 401, "unauthorized"),
    (
        "OWN ?surprise=1 HTTP/1.1|Host: r|API-KEY: GOOD",
        400,
        "bad_query",
    ),
];

#[test]
fn whatever_is_wrong_with_a_request_has_a_code_on_every_path() {
    let relay = Relay::start(1);
    for path in API_PATHS {
        let own = method(path);
        let other = if own == "GET" { "POST" } else { "GET" };
        for (row, status, code) in WRONG {
            let (verb, rest) = row.split_once(' ').expect("a method");
            let verb = match verb {
                "OWN" => own,
                "OTHER" => other,
                verb => verb,
            };
            let rest = rest
                .replace("LONG", &"x".repeat(9_000))
                .replace("MANY", &vec!["X-A: b"; 101].join("\r\n"))
                .replace("GOOD", KEY)
                .replace('|', "\r\n");
            let request = format!("{verb} {path}{rest}\r\n\r\n");
            let answer = answer(&relay, request.as_bytes());
            expect(&answer, status, code, &format!("{path}: {code}"));
            if status == 405 {
                let allow = answer.header("Allow");
                assert!(allow.is_some_and(|allow| allow.contains(own)), "{allow:?}");
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

/// Bodies with the code that they get: everywhere, and on one path.
const COMMON: &[(&str, &str)] = &[
    ("", "bad_json"),
    ("null", "bad_json"),
    ("7", "bad_json"),
    ("[]", "bad_json"),
    (r#"["hub","/x"]"#, "bad_json"),
    ("{", "bad_json"),
    (r#"{"endpoint":"hub"} x"#, "bad_json"),
    (r#"{"endpoint":"\ud800"}"#, "bad_json"),
    ("\u{feff}{}", "bad_json"),
    ("{}", "bad_field"),
    (r#"{"endpoint":"hub"}"#, "bad_field"),
    (r#"{"endpoint":7}"#, "bad_field"),
    (r#"{"endpoint":null}"#, "bad_field"),
    (r#"{"endpoint":"hub","endpoint":"hub"}"#, "bad_field"),
    (r#"{"endpoint":"hub","surprise":1}"#, "bad_field"),
];

const PUBLISH: &[(&str, &str)] = &[
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

const DISCONNECT: &[(&str, &str)] = &[
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
    (r#"{"endpoint":"none","room":"/x"}"#, "unknown_endpoint"),
    (r#"{"endpoint":"hub","user":"u"}"#, "no_users"),
];

#[test]
fn every_wrong_body_has_a_code() {
    let relay = Relay::start(1);
    let deep = "[".repeat(100_000);
    let reason = "r".repeat(124);
    let long = format!(r#"{{"endpoint":"hub","room":"/x","reason":"{reason}"}}"#);
    let more = [(&*deep, "bad_json"), (&*long, "bad_field")];
    for (path, own) in [("/api/publish", PUBLISH), ("/api/disconnect", DISCONNECT)] {
        for &(body, code) in COMMON.iter().chain(own).chain(&more) {
            let (status, answer) = relay.ask("POST", path, body);
            let shown: String = body.chars().take(80).collect();
            assert_eq!(answer["code"], code, "{path} {shown}: {answer}");
            assert_eq!(status, status_of(code));
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
        assert_eq!(status, status_of(code));
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
