//! Bad input of every kind to every path of the relay gets an answer in JSON with a stable code,
//! never a 500 and never a hang.

use std::io::Read;
use std::net::Shutdown;

use corecast::config::{API_PATHS, EndpointConfig, EndpointKind};
use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::{KEY, Relay, json as json_of};

/// A path, the method that it answers, and one that it does not; `None`: it answers any.
const ROUTES: [(&str, &str, Option<&str>); 18] = [
    ("/api/publish", "POST", Some("GET")),
    ("/api/rooms", "GET", Some("POST")),
    ("/api/members", "GET", Some("PATCH")),
    ("/api/disconnect", "POST", Some("DELETE")),
    ("/api/info", "GET", Some("PUT")),
    ("/api/push", "POST", Some("TRACE")),
    ("/api/push/pending", "GET", Some("TRACE")),
    ("/api/push/pending/1", "DELETE", Some("TRACE")),
    ("/ws/ada", "GET", Some("POST")),
    ("/ws/%FF", "GET", Some("PUT")),
    ("/ws", "GET", Some("POST")),
    ("/lobby", "GET", Some("PATCH")),
    ("/pubsub", "GET", Some("DELETE")),
    ("/demo/", "GET", Some("POST")),
    ("/health", "GET", None),
    ("/test/benchmark", "GET", Some("PUT")),
    ("/livez", "GET", Some("POST")),
    ("/readyz", "GET", Some("PATCH")),
];

/// A relay with all of those routes.
fn relay(change: impl FnOnce(&mut corecast::config::Config)) -> Relay {
    Relay::with(1, |config| {
        config.pages.enabled = true;
        change(config);
    })
}

/// The answer to arbitrary bytes; [`Client::answer`] waits for it with a deadline.
fn answer(relay: &Relay, bytes: &[u8]) -> Answer {
    let mut client = Client::connect(relay.address);
    client.send(bytes);
    client.answer()
}

/// A refusal of this status with this code, in the form of the path.
fn expect(path: &str, answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{path} {code}: {answer:?}");
    let body = json_of(answer);
    if path.starts_with("/api/push") {
        assert_eq!(body, json!({"code": -1, "msg": code}), "{path}");
        return;
    }
    let text = body["error"].as_str().unwrap_or_default();
    assert!(!text.is_empty(), "{path} {code}: {body}");
    assert_eq!(body, json!({"code": code, "error": text}), "{path}");
}

fn status_of(code: &str) -> u16 {
    match code {
        "unknown_endpoint" | "no_users" | "no_rooms" => 404,
        _ => 400,
    }
}

/// The part of the request after the method and the path, the status and the code. The method is
/// the path's own, or the one given before the rest.
#[rustfmt::skip]
const WRONG: &[(&str, u16, &str)] = &[
    ("OTHER  HTTP/1.1|Host: r", 405, "method_not_allowed"),
    ("BREW  HTTP/1.1|Host: r", 501, "unknown_method"),
    ("OWN  FTP/1.1|Host: r", 400, "bad_request_line"),
    ("OWN  HTTP/2.0|Host: r", 505, "unsupported_version"),
    ("OWN ?LONG HTTP/1.1|Host: r", 414, "target_too_long"),
    ("OWN ?x=\0 HTTP/1.1|Host: r", 400, "bad_target"),
    ("OWN ?x=\u{fc} HTTP/1.1|Host: r", 400, "bad_target"),
    ("OWN  HTTP/1.1", 400, "missing_host"),
    ("OWN  HTTP/1.1|Host: r|Host: s", 400, "repeated_host"),
    ("OWN  HTTP/1.1|Host: r/x", 400, "bad_host"),
    ("OWN  HTTP/1.1|Host: r\nA: b", 400, "bad_line_end"),
    ("OWN  HTTP/1.1|Host: r|A : b", 400, "bad_header_name"),
    ("OWN  HTTP/1.1|Host: r|A: \0", 400, "bad_header_value"),
    ("OWN  HTTP/1.1|Host: r|MANY", 431, "too_many_headers"),
    ("OWN  HTTP/1.1|Host: r|A: LONGLONG", 431, "head_too_large"),
    ("OWN  HTTP/1.1|Host: r|Content-Length: -1", 400, "bad_length"),
    ("OWN  HTTP/1.1|Host: r|Content-Length: 99999999999999999999", 400, "bad_length"),
    ("OWN  HTTP/1.1|Host: r|Content-Length: 1|Content-Length: 1", 400, "repeated_length"),
    ("OWN  HTTP/1.1|Host: r|Content-Length: 1048577", 413, "body_too_large"),
    ("OWN  HTTP/1.1|Host: r|Content-Length: 18446744073709551615", 413, "body_too_large"),
    ("OWN  HTTP/1.1|Host: r|Expect: 100-continue|Content-Length: 1048577", 413, "body_too_large"),
    ("OWN  HTTP/1.1|Host: r|Expect: the-best", 417, "unknown_expectation"),
    ("OWN  HTTP/1.1|Host: r|Transfer-Encoding: gzip", 501, "unknown_encoding"),
    ("OWN  HTTP/1.1|Host: r|CHUNKED|CHUNKED", 400, "repeated_encoding"),
    ("OWN  HTTP/1.1|Host: r|CHUNKED|Content-Length: 1", 400, "length_and_encoding"),
    ("OWN  HTTP/1.0|Host: r|CHUNKED", 400, "encoding_in_http10"),
    ("OWN  HTTP/1.1|Host: r|CHUNKED||xyz", 400, "bad_chunk"),
    ("OWN  HTTP/1.1|Host: r|CHUNKED||ffffffffffffffffff", 413, "body_too_large"),
    ("OWN  HTTP/1.1|Host: r|CHUNKED||1|ab", 400, "bad_chunk"),
    ("OWN  HTTP/1.1|Host: r|CHUNKED||100001", 413, "body_too_large"),
    ("OWN  HTTP/1.1|Host: r|CHUNKED||0|A: \0", 400, "bad_trailer"),
    ("OWN  HTTP/1.1|Host: r|CHUNKED||0|A: LONGLONG", 431, "trailers_too_large"),
    ("GET  HTTP/1.1|Host: r|Connection: Upgrade|Upgrade: websocket", 400, "no_version"),
    (
        "GET  HTTP/1.1|Host: r|Connection: Upgrade|Upgrade: websocket|Sec-WebSocket-Version: 13|\
         Sec-WebSocket-Key: short",
        400, "bad_key",
    ),
];

/// Errors on the paths of the rooms API only.
#[rustfmt::skip]
const WRONG_FOR_BACK_ENDS: &[(&str, u16, &str)] = &[
    (
        "GET  HTTP/1.1|Host: r|Connection: Upgrade|Upgrade: websocket|Sec-WebSocket-Version: 13|\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        400, "no_websocket",
    ),
    ("OWN  HTTP/1.1|Host: r", 401, "unauthorized"),
    ("OWN ?surprise=1 HTTP/1.1|Host: r|API-KEY: GOOD", 400, "bad_query"),
];

#[test]
fn whatever_is_wrong_with_a_request_has_a_code_on_every_path() {
    let relay = relay(|_| {});
    for (path, own, other) in ROUTES {
        let more = match API_PATHS.contains(&path) {
            true => WRONG_FOR_BACK_ENDS,
            false => &[],
        };
        for &(row, status, code) in WRONG.iter().chain(more) {
            let (verb, rest) = row.split_once(' ').expect("a method");
            let verb = match (verb, other) {
                ("OWN", _) => own,
                ("OTHER", Some(other)) => other,
                ("OTHER", None) => continue,
                (verb, _) => verb,
            };
            let rest = rest
                .replace("LONG", &"x".repeat(9_000))
                .replace("MANY", &vec!["X-A: b"; 101].join("\r\n"))
                .replace("CHUNKED", "Transfer-Encoding: chunked")
                .replace("GOOD", KEY)
                .replace('|', "\r\n");
            let request = format!("{verb} {path}{rest}\r\n\r\n");
            let answer = answer(&relay, request.as_bytes());
            expect(path, &answer, status, code);
            if status == 405 {
                let allow = answer.header("Allow");
                assert!(allow.is_some_and(|allow| allow.contains(own)), "{allow:?}");
            }
        }
    }
}

#[test]
fn half_a_request_is_answered_when_its_time_is_over() {
    let relay = relay(|config| {
        config.timeouts.handshake = std::time::Duration::from_secs(1);
    });
    let mut waiting = Vec::new();
    for (path, own, _) in ROUTES {
        let begun = format!("{own} {path} HTTP/1.1\r\nHost");
        let head = format!("{begun}: r\r\nX-API-KEY: {KEY}\r\n");
        let body_missing = format!("{head}Content-Length: 10\r\n\r\n{{");
        let chunk_missing = format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\n{{");
        for half in [begun, body_missing, chunk_missing] {
            let is_answered = !path.starts_with("/api/") && half.contains("\r\n\r\n");
            let mut client = Client::connect(relay.address);
            client.send(half.as_bytes());
            waiting.push((path, is_answered, client));
        }
    }
    for (path, is_answered, mut client) in waiting {
        let answer = client.answer();
        match is_answered {
            // A body does not change the answer, so the relay does not wait for it.
            true => assert_ne!(answer.status, 408, "{path}"),
            false => expect(path, &answer, 408, "handshake_timeout"),
        }
    }
}

/// A client without a key gets the same answer whether a body comes or not.
#[test]
fn a_missing_key_is_refused_before_the_body() {
    let relay = relay(|_| {});
    for (path, own, _) in ROUTES.iter().filter(|(path, ..)| path.starts_with("/api/")) {
        for key in ["", "X-API-KEY: another-key\r\n"] {
            for length in [
                "Content-Length: 1000000\r\n",
                "Transfer-Encoding: chunked\r\n",
            ] {
                let head = format!("{own} {path} HTTP/1.1\r\nHost: r\r\n{key}{length}");
                let request = format!("{head}Expect: 100-continue\r\n\r\n");
                assert_eq!(
                    answer(&relay, request.as_bytes()).status,
                    401,
                    "{path} {key}"
                );
            }
        }
    }
    let mut client = Client::connect(relay.address);
    client.send(b"PUT /api/push HTTP/1.1\r\nHost: r\r\nContent-Length: 9\r\n\r\n");
    assert_eq!(client.answer().status, 405);
    client.expect_end();
}

#[test]
fn a_body_may_come_in_chunks_and_wait_to_be_asked_for() {
    let relay = relay(|_| {});
    for (path, body) in [
        (
            "/api/publish",
            r#"{"endpoint":"hub","room":"/x","text":"t"}"#,
        ),
        ("/api/disconnect", r#"{"endpoint":"hub","room":"/x"}"#),
        ("/api/push", r#"{"event_name":"e"}"#),
        ("/health", "whatever"),
    ] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: r\r\nX-API-KEY: {KEY}\r\n");
        let (one, two) = body.split_at(5);
        let chunks = format!(
            "5\r\n{one}\r\n{:x};a=b\r\n{two}\r\n0\r\nA: b\r\n\r\n",
            two.len()
        );
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}");
        assert_eq!(answer(&relay, chunked.as_bytes()).status, 200, "{path}");

        let mut client = Client::connect(relay.address);
        let length = body.len();
        client.send(
            format!("{head}Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n").as_bytes(),
        );
        if path.starts_with("/api/") {
            assert_eq!(client.answer().status, 100, "{path}");
            client.send(body.as_bytes());
        }
        assert_eq!(client.answer().status, 200, "{path}");
    }
}

/// Valid requests with a few bytes changed, moved or left out: each gets an answer other than 500,
/// or the end of the connection.
#[test]
fn mutated_requests_get_an_answer_or_an_end() {
    let relay = relay(|_| {});
    let bodies = [
        r#"{"endpoint":"hub","room":"/x","json":{"a":[1e400,"\ud800"]}}"#,
        r#"{"endpoint":"named","user":"ada","code":4000,"reason":"r"}"#,
        r#"[{"event_name":"e","token":{"id":1.5e3},"delay_seconds":3}]"#,
        "",
    ];
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    for round in 0..600 {
        let (path, own, _) = ROUTES[round % ROUTES.len()];
        let (body, length) = (bodies[random(4)], random(2));
        let length = format!("Content-Length: {}\r\n", body.len() + length);
        let query = ["", "?endpoint=hub&room=%2Fx&limit=7&after=1-1-1"][random(2)];
        let head = format!("{own} {path}{query} HTTP/1.1\r\nHost: r\r\nAPI-KEY: {KEY}\r\n{length}");
        let mut request = format!("{head}\r\n{body}").into_bytes();
        for _ in 0..random(4) {
            let at = random(request.len());
            match random(4) {
                0 => request[at] = random(256) as u8,
                1 => request[at] ^= 1 << random(8),
                2 => request.insert(at, b"\0\r\n%\"{[,0 \xFF"[random(11)]),
                _ => drop(request.remove(at)),
            }
        }
        let mut client = Client::connect(relay.address);
        client.send(&request);
        // If the relay has ended it already there is nothing left to end.
        let _ = client.stream.shutdown(Shutdown::Write);
        let mut got = Vec::new();
        let ended = client.stream.read_to_end(&mut got);
        let shown = String::from_utf8_lossy(&request);
        assert!(ended.is_ok(), "{round}: {shown:?}: {ended:?}");
        assert!(!got.starts_with(b"HTTP/1.1 500"), "{round}: {shown:?}");
    }
    let info = relay.get("/api/info");
    assert_eq!(info["shards"], 1, "it goes on");
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
    (r#"{"endpoint":"nostr","room":"/x","text":"t"}"#, "no_rooms"),
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
    let relay = Relay::with(1, |config| {
        let nostr = EndpointConfig::new(EndpointKind::Nostr, "/nostr");
        config.endpoints.insert("nostr".to_owned(), nostr);
    });
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
        expect(path, &answer, 400, "bad_json");
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
    // Unusual but valid.
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
    // The rest of the request counts too.
    assert_eq!(publish("pubsub", 50).0, 200);
    too_large(publish("pubsub", 100));
}
