//! The contract of the earlier relay, row by row. Each table names its rows.

use std::path::Path;

use corecast::engine::Engine;
use rustix::process::Signal;

use crate::support::client::{BINARY, Client, TEXT, frame as client_frame};
use crate::support::relay::Relay as Binary;
use crate::support::{assert_tests, eventually};
use crate::{KEY, Relay, ask, config, frame, key_header, now_ms, push_of, request, split_ts};

/// A promise to the earlier relay's users, and the test that would fail if it were broken.
#[rustfmt::skip]
const ROWS: &[(&str, &str)] = &[
    ("config.json loads as it is", "the_earlier_relays_file_loads_unchanged"),
    ("and the binary needs nothing else", "the_earlier_relays_file_is_all_that_the_binary_needs"),
    ("PORT, RELAY_API_KEY, WS_PATH, PUSH_PATH",
        "variables_beat_the_earlier_relays_file_and_flags_beat_both"),
    ("flags, then environment, then file", "flags_beat_environment_beats_file_beats_defaults"),
    ("?token= joins the group, with many connections", "a_push_reaches_members_on_all_shards"),
    ("without a token broadcasts only",
        "a_push_reaches_those_whom_its_token_names_and_them_alone"),
    ("clients do not relay to each other", "the_port_of_push_serves_the_other_endpoints_too"),
    ("identify moves, silently", "identify_moves_a_connection_silently"),
    ("an empty, null or other token is ignored", "a_client_is_answered_its_pings_and_nothing_else"),
    ("ping is answered with pong", "a_client_is_answered_its_pings_and_nothing_else"),
    ("anything else is ignored, the connection stays",
        "a_client_is_answered_its_pings_and_nothing_else"),
    ("X-API-KEY, else API-KEY, else ?api_key=", "the_key_is_looked_for_in_three_places"),
    ("401, its bytes and its type", "the_key_is_looked_for_in_three_places"),
    ("400 invalid json, its bytes", "bodies_are_judged_word_by_word"),
    ("400 event_name is required, its bytes", "bodies_are_judged_word_by_word"),
    ("200, its bytes, queued", "bodies_are_judged_word_by_word"),
    ("queued counts the connections", "a_push_reaches_members_on_all_shards"),
    ("POST only, 405 else", "only_post_pushes"),
    ("the case of field names counts", "bodies_are_judged_word_by_word"),
    ("an absent subject is null", "subject_and_token_are_passed_through_byte_for_byte"),
    ("delay_seconds at most 0 means now", "bodies_are_judged_word_by_word"),
    ("token to user", "a_token_becomes_a_user_by_the_rules"),
    ("broadcast_fallback: false", "without_the_fallback_an_unknown_token_gets_400"),
    ("the frame, subject and token byte for byte",
        "subject_and_token_are_passed_through_byte_for_byte"),
    ("ts is the time of sending",
        "a_delayed_push_reaches_the_clients_connected_when_due"),
    ("recipients of a delay when it fires",
        "a_delayed_push_reaches_the_clients_connected_when_due"),
    ("delays are bounded in number", "pending_pushes_are_bounded_in_number_and_taken_all_or_none"),
    ("delays are bounded in length", "pending_pushes_are_bounded_in_memory_and_in_delay"),
    ("pending pushes are in the metrics", "pending_pushes_are_listed_and_can_be_cancelled"),
    ("health.status_word", "the_status_word_of_health_can_be_the_earlier_one"),
    ("no public default key", "without_a_configured_key_everything_is_401"),
    ("without a key the log says once why", "without_a_key_the_log_says_once_why"),
    ("no keys in the log", "the_earlier_relays_file_is_all_that_the_binary_needs"),
    ("a comparison that leaks nothing", "each_of_several_keys_is_accepted_and_no_other"),
    ("limits", "invalid_push_requests_get_json_errors"),
    ("a dead client delays no answer", "a_client_that_does_not_read_does_not_delay_the_answer"),
];

#[test]
fn every_row_has_its_test() {
    let tests = [
        include_str!("contract.rs"),
        include_str!("delays.rs"),
        include_str!("groups.rs"),
        include_str!("../config/main.rs"),
        include_str!("../config/push.rs"),
        include_str!("../../src/guard/keys.rs"),
        include_str!("../../src/relay/api_keys.rs"),
    ];
    assert_tests(ROWS, &tests);
}

/// A posted body, and the answer's status and body.
struct Row {
    row: &'static str,
    headers: String,
    query: String,
    body: &'static str,
    status: u16,
    answer: &'static str,
}

const PUSH: &str = "{\"event_name\":\"e\"}";
const BAD_KEY: &str = "{\"code\":-1,\"msg\":\"invalid api key\"}";
const BAD_JSON: &str = "{\"code\":-1,\"msg\":\"invalid json\"}";
const NO_NAME: &str = "{\"code\":-1,\"msg\":\"event_name is required\"}";
const OK: &str = "{\"code\":0,\"msg\":\"ok\",\"data\":{\"event_name\":\"e\",\"delay_seconds\":0,\
                  \"target_user_id\":\"\",\"broadcast\":true,\"parsed_user_raw\":null,\
                  \"queued\":0}}";

const OK_BUT_MORE: &str = "{\"code\":0,\"msg\":\"ok\",\"data\":{\"event_name\":\"e\",\
             \"delay_seconds\":0,\"target_user_id\":\"\",\"broadcast\":true,\
             \"parsed_user_raw\":null,\"queued\":0,\"unknown_fields\":[\"more\"]}}";

fn hold(relay: &Relay, rows: impl IntoIterator<Item = Row>) {
    for row in rows {
        let target = format!("/api/push{}", row.query);
        let answer = ask(relay.address, "POST", &target, &row.headers, row.body);
        let body = String::from_utf8(answer.body.clone()).expect("UTF-8");
        assert_eq!(
            (answer.status, body.as_str()),
            (row.status, row.answer),
            "{}",
            row.row
        );
        let content_type = answer.header("content-type");
        assert_eq!(content_type, Some("application/json"), "{}", row.row);
    }
}

#[test]
fn the_key_is_looked_for_in_three_places() {
    let row = |row, headers: String, query: &str, status, answer| Row {
        row,
        headers,
        query: query.to_owned(),
        body: PUSH,
        status,
        answer,
    };
    let header = |name: &str, key: &str| format!("{name}: {key}\r\n");
    let query = format!("?api_key={KEY}");
    let rows = [
        row("X-API-KEY", header("X-API-KEY", KEY), "", 200, OK),
        row(
            "names of headers know no case",
            header("x-api-key", KEY),
            "",
            200,
            OK,
        ),
        row("else API-KEY", header("API-KEY", KEY), "", 200, OK),
        row("else ?api_key=", String::new(), &query, 200, OK),
        row(
            "an empty one does not decide",
            header("X-API-KEY", "") + &header("API-KEY", ""),
            &query,
            200,
            OK,
        ),
        row(
            "the first that is not empty decides",
            header("X-API-KEY", "wrong") + &header("API-KEY", KEY),
            &query,
            401,
            BAD_KEY,
        ),
        row(
            "API-KEY before the query",
            header("API-KEY", "wrong"),
            &query,
            401,
            BAD_KEY,
        ),
        row("missing", String::new(), "", 401, BAD_KEY),
        row(
            "wrong",
            header("X-API-KEY", "a-key-of-the-tesT"),
            "",
            401,
            BAD_KEY,
        ),
        row(
            "a part of it",
            header("X-API-KEY", &KEY[1..]),
            "",
            401,
            BAD_KEY,
        ),
        row(
            "in the query, encoded",
            String::new(),
            "?api_key=a%2Dkey-of-the-test",
            200,
            OK,
        ),
    ];
    hold(&Relay::default(), rows);
}

#[test]
fn without_a_configured_key_everything_is_401() {
    let mut config = config();
    config.api.keys = None;
    let row = |row, headers: String| Row {
        row,
        headers,
        query: String::new(),
        body: PUSH,
        status: 401,
        answer: BAD_KEY,
    };
    let public = "X-API-KEY: U2FsdGVkX18ucQzBA+ozhc3ySrVZ\r\n".to_owned();
    let rows = [
        row("some key", key_header()),
        row("an empty key", "X-API-KEY: \r\n".to_owned()),
        row("the key that every copy of the earlier relay has", public),
    ];
    hold(&Relay::start(&config), rows);
}

#[test]
fn bodies_are_judged_word_by_word() {
    let row = |row, body, status, answer| Row {
        row,
        headers: key_header(),
        query: String::new(),
        body,
        status,
        answer,
    };
    let rows = [
        row("not JSON", "event_name=e", 400, BAD_JSON),
        row("empty", "", 400, BAD_JSON),
        row("cut short", "{\"event_name\":\"e\"", 400, BAD_JSON),
        row(
            "something behind it",
            "{\"event_name\":\"e\"}{}",
            400,
            BAD_JSON,
        ),
        row(
            "wrong type of event_name",
            "{\"event_name\":7}",
            400,
            BAD_JSON,
        ),
        row(
            "wrong type of delay_seconds",
            "{\"event_name\":\"e\",\"delay_seconds\":\"1\"}",
            400,
            BAD_JSON,
        ),
        row(
            "a delay that is no integer",
            "{\"event_name\":\"e\",\"delay_seconds\":1.5}",
            400,
            BAD_JSON,
        ),
        row("no event name", "{\"subject\":1}", 400, NO_NAME),
        row("an empty event name", "{\"event_name\":\"\"}", 400, NO_NAME),
        row(
            "the case of names counts",
            "{\"Event_Name\":\"e\"}",
            400,
            NO_NAME,
        ),
        row("success", "{\"event_name\":\"e\"}", 200, OK),
        row(
            "unknown fields",
            "{\"event_name\":\"e\",\"more\":[1]}",
            200,
            OK_BUT_MORE,
        ),
        row(
            "a delay below zero means now, and is told as it was sent",
            "{\"event_name\":\"e\",\"delay_seconds\":-5}",
            200,
            "{\"code\":0,\"msg\":\"ok\",\"data\":{\"event_name\":\"e\",\"delay_seconds\":-5,\
             \"target_user_id\":\"\",\"broadcast\":true,\"parsed_user_raw\":null,\"queued\":0}}",
        ),
        row(
            "a text with every kind of escape",
            "{\"event_name\":\"a\\u0022\\n\\u00e9\",\"token\":\"x\\\"\"}",
            200,
            "{\"code\":0,\"msg\":\"ok\",\"data\":{\"event_name\":\"a\\\"\\né\",\"delay_seconds\":0,\
             \"target_user_id\":\"x\\\"\",\"broadcast\":false,\"parsed_user_raw\":\"x\\\"\",\
             \"queued\":0}}",
        ),
    ];
    hold(&Relay::default(), rows);
}

/// Tokens, and their users; `None`: everybody.
const TOKENS: [(&str, &str, Option<&str>); 19] = [
    ("a text as it is", "\"USER_123\"", Some("USER_123")),
    ("a text with spaces", "\" a b \"", Some(" a b ")),
    ("an integer", "42", Some("42")),
    ("a negative one", "-42", Some("-42")),
    ("a fraction is cut off", "42.99", Some("42")),
    ("also below zero", "-0.5", Some("0")),
    ("an exponent is carried out", "4.2e3", Some("4200")),
    (
        "64 bits",
        "9223372036854775807",
        Some("9223372036854775807"),
    ),
    (
        "digits beyond are kept",
        "12345678901234567890123",
        Some("12345678901234567890123"),
    ),
    ("an object by its id", "{\"id\":\"x\"}", Some("x")),
    ("a number there", "{\"id\":7.9}", Some("7")),
    ("then by its user_id", "{\"user_id\":\"y\"}", Some("y")),
    (
        "id comes first",
        "{\"user_id\":\"y\",\"id\":\"x\"}",
        Some("x"),
    ),
    (
        "null in it is none",
        "{\"id\":null,\"user_id\":8}",
        Some("8"),
    ),
    ("null", "null", None),
    ("an empty text", "\"\"", None),
    ("true", "true", None),
    ("a list", "[\"x\"]", None),
    ("an object without either", "{\"name\":\"x\"}", None),
];

#[test]
fn a_token_becomes_a_user_by_the_rules() {
    let relay = Relay::default();
    for (row, token, user) in TOKENS {
        let answer = relay.push(&format!("{{\"event_name\":\"e\",\"token\":{token}}}"));
        let (id, broadcast) = (user.unwrap_or_default(), user.is_none());
        let expected = format!(
            "{{\"code\":0,\"msg\":\"ok\",\"data\":{{\"event_name\":\"e\",\"delay_seconds\":0,\
             \"target_user_id\":\"{id}\",\"broadcast\":{broadcast},\"parsed_user_raw\":{token},\
             \"queued\":0}}}}"
        );
        assert_eq!(String::from_utf8(answer.body).unwrap(), expected, "{row}");
    }
}

#[test]
fn a_push_reaches_those_whom_its_token_names_and_them_alone() {
    let relay = Relay::default();
    let mut nobody = relay.join("");
    for (row, token, user) in TOKENS {
        let user_token = user.unwrap_or("somebody").replace(' ', "%20");
        let mut member = relay.join(&user_token);
        let expected = if user.is_some() { 1 } else { 2 };
        let body = format!("{{\"event_name\":\"e\",\"subject\":\"s\",\"token\":{token}}}");
        relay.push_to(&body, expected);
        let (got, _) = split_ts(&member.expect_text());
        assert_eq!(got, frame("\"e\"", "\"s\"", token), "{row}");
        if user.is_none() {
            nobody.expect_text();
        }
        nobody.round_trip();
        drop(member);
        eventually("it is gone", || {
            relay.metric("corecast_connections{state=\"open\"}") == 1.0
        });
    }
}

#[test]
fn without_the_fallback_an_unknown_token_gets_400() {
    let mut config = config();
    push_of(&mut config).broadcast_fallback = false;
    let relay = Relay::start(&config);
    for (row, token, user) in TOKENS {
        let answer = relay.push(&format!("{{\"event_name\":\"e\",\"token\":{token}}}"));
        let is_absent = token == "null";
        if user.is_some() || is_absent {
            assert_eq!(answer.status, 200, "{row}");
        } else {
            let expected = b"{\"code\":-1,\"msg\":\"token names no user\"}";
            assert_eq!(
                (answer.status, &*answer.body),
                (400, &expected[..]),
                "{row}"
            );
        }
    }
    assert_eq!(relay.push(PUSH).status, 200, "an absent token is everybody");
}

/// Requests with two contradicting tokens, or an empty one.
const AMBIGUOUS: [(&str, &str); 7] = [
    ("the same twice", "{\"id\":\"u1\",\"id\":\"u1\"}"),
    ("two", "{\"user_id\":1,\"user_id\":2}"),
    (
        "two in different writing",
        "{\"id\":\"u1\",\"i\\u0064\":\"u2\"}",
    ),
    ("out of range", "1e400"),
    ("out of range below", "-1e400"),
    (
        "out of range in an object",
        "{\"id\":1e400,\"user_id\":\"u1\"}",
    ),
    ("half a surrogate", "\"\\ud800\""),
];

#[test]
fn an_ambiguous_or_empty_push_token_gets_400() {
    for fallback in [true, false] {
        let mut config = config();
        push_of(&mut config).broadcast_fallback = fallback;
        let relay = Relay::start(&config);
        let mut stranger = relay.join("somebody");
        for (row, token) in AMBIGUOUS {
            let bad = format!("{{\"event_name\":\"e\",\"token\":{token}}}");
            let answer = relay.push(&bad);
            let expected = "{\"code\":-1,\"msg\":\"token is ambiguous or out of range\"}";
            let told = String::from_utf8(answer.body).expect("UTF-8");
            assert_eq!((answer.status, &*told), (400, expected), "{row}");
            let answer = relay.push(&format!("[{{\"event_name\":\"e\"}},{bad}]"));
            let told = String::from_utf8(answer.body).expect("UTF-8");
            assert!(
                answer.status == 400 && told.contains("\"index\":1"),
                "{told}"
            );
        }
        stranger.round_trip();
        let refused =
            relay.metric("corecast_push_requests_refused_total{reason=\"token_ambiguous\"}");
        assert_eq!(refused, 2.0 * AMBIGUOUS.len() as f64);
    }
}

#[test]
fn fields_that_have_no_effect_are_named_and_bounded() {
    let relay = Relay::default();
    let mut stranger = relay.join("somebody");
    let answer = relay.push("{\"event_name\":\"e\",\"tokn\":\"u1\"}");
    let told = String::from_utf8(answer.body).expect("UTF-8");
    assert!(
        told.ends_with("\"queued\":1,\"unknown_fields\":[\"tokn\"]}}"),
        "{told}"
    );
    stranger.expect_text();
    let many: String = (0..99).map(|each| format!(",\"f{each}\":{each}")).collect();
    let long = "é".repeat(1_000);
    let body = format!(
        "[{{\"event_name\":\"e\"}},{{\"event_name\":\"e\"{many}}},\
         {{\"event_name\":\"e\",\"{long}\":1,\"a\\\"b\":2,\"delay_seconds\":3600}}]"
    );
    let answer = relay.push(&body);
    let told: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    let named = |at: usize| &told["data"][at]["unknown_fields"];
    assert_eq!(named(0), &serde_json::Value::Null);
    assert_eq!(named(1).as_array().map(Vec::len), Some(8));
    assert_eq!(named(2)[0].as_str(), Some(&*"é".repeat(64)));
    assert_eq!(named(2)[1].as_str(), Some("a\"b"));
}

/// It is logged once in the life of the relay, and only if everybody can push.
#[test]
fn a_start_with_the_fallback_says_so_once() {
    const KEY: &str = "api.keys=a-key-of-this-test";
    const REFUSED: &str = "endpoints.push.broadcast_fallback=false";
    for (settings, expected) in [(&[KEY][..], 1), (&[], 0), (&[KEY, REFUSED], 0)] {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("log");
        let log = || std::fs::read_to_string(&file).unwrap_or_default();
        let output = format!("logging.output={}", file.display());
        let settings = settings.iter().copied().chain([&*output]);
        let arguments: Vec<&str> = settings.flat_map(|setting| ["--set", setting]).collect();
        let relay = Binary::start_logging_to(&[], &arguments, |_| log());
        relay.signal(Signal::HUP);
        eventually("it is reloaded", || log().contains("are reloaded"));
        assert_eq!(
            log().matches("goes to all clients").count(),
            expected,
            "{arguments:?}"
        );
    }
}

/// A pushed subject and token, and the client's message.
const PASSED_THROUGH: [(&str, &str, &str); 8] = [
    ("a text", "\"hello\"", "\"t\""),
    ("numbers as written", "1.50e+01", "\"t\""),
    (
        "spaces and line ends",
        "{ \"a\" :\r\n\t[ 1 , 2 ] }",
        "\"t\"",
    ),
    (
        "escapes as written",
        "\"\\u00e9\\/é\\ud83d\\ude00\"",
        "\"\\u0074\"",
    ),
    ("half a surrogate", "\"\\ud800\"", "\"t\""),
    (
        "one name twice",
        "{\"a\":1,\"a\":2}",
        "{ \"id\" : \"t\" , \"id2\" : null }",
    ),
    ("null", "null", "\"t\""),
    ("deep", "[[[[{\"a\":[[{}]]}]]]]", "\"t\""),
];

#[test]
fn subject_and_token_are_passed_through_byte_for_byte() {
    let relay = Relay::default();
    let mut client = relay.join("t");
    for (row, subject, token) in PASSED_THROUGH {
        let before = now_ms();
        let body = format!("{{\"token\":{token},\"subject\":{subject},\"event_name\":\"n\"}}");
        relay.push_to(&body, 1);
        let (got, ts) = split_ts(&client.expect_text());
        assert_eq!(got, frame("\"n\"", subject, token), "{row}");
        assert!(
            (before..=now_ms()).contains(&ts),
            "{row}: milliseconds of the sending"
        );
    }
    relay.push_to("{\"event_name\":\"n\"}", 1);
    let (got, _) = split_ts(&client.expect_text());
    assert_eq!(
        got,
        frame("\"n\"", "null", "null"),
        "an absent subject is null"
    );
}

/// A client's message, and its answer.
const SAID: [(&str, &str, Option<&str>); 19] = [
    (
        "ping",
        "{\"type\":\"ping\",\"ts\":17}",
        Some("{\"type\":\"pong\",\"ts\":17}"),
    ),
    (
        "ping below zero",
        " {\"ts\":-1,\"type\":\"ping\"}",
        Some("{\"type\":\"pong\",\"ts\":-1}"),
    ),
    (
        "ping without a time",
        "{\"type\":\"ping\"}",
        Some("{\"type\":\"pong\",\"ts\":0}"),
    ),
    (
        "a ping's other fields",
        "{\"type\":\"ping\",\"ts\":1,\"x\":{}}",
        Some("{\"type\":\"pong\",\"ts\":1}"),
    ),
    (
        "a time that is no integer",
        "{\"type\":\"ping\",\"ts\":\"17\"}",
        None,
    ),
    ("another type", "{\"type\":\"pong\",\"ts\":17}", None),
    ("a type of another type", "{\"type\":1}", None),
    ("another case", "{\"Type\":\"ping\"}", None),
    ("identify without data", "{\"event\":\"identify\"}", None),
    (
        "an empty token",
        "{\"event\":\"identify\",\"data\":{\"token\":\"\"}}",
        None,
    ),
    (
        "a null token",
        "{\"event\":\"identify\",\"data\":{\"token\":null}}",
        None,
    ),
    (
        "a number",
        "{\"event\":\"identify\",\"data\":{\"token\":5}}",
        None,
    ),
    (
        "data that is a list",
        "{\"event\":\"identify\",\"data\":[\"thief\"]}",
        None,
    ),
    ("a list", "[\"ping\",17]", None),
    (
        "another event",
        "{\"event\":\"message\",\"data\":{\"token\":\"thief\"}}",
        None,
    ),
    ("no JSON", "hello", None),
    (
        "cut short",
        "{\"event\":\"identify\",\"data\":{\"token\":\"thief\"}",
        None,
    ),
    ("nothing", "", None),
    ("null", "null", None),
];

#[test]
fn a_client_is_answered_its_pings_and_nothing_else() {
    let relay = Relay::default();
    let mut client = relay.join("me");
    let mut other = relay.join("me");
    for kind in [TEXT, BINARY] {
        for (row, said, answer) in SAID {
            client.send(&client_frame(kind, said.as_bytes()));
            if let Some(answer) = answer {
                assert_eq!(client.expect_text(), answer, "{row}");
            }
            // Nothing else comes, and the connection stays open.
            client.round_trip();
        }
    }
    other.round_trip();
    // None of it has changed the client's group.
    relay.push_to("{\"event_name\":\"e\",\"token\":\"me\"}", 2);
    relay.push_to("{\"event_name\":\"e\",\"token\":\"thief\"}", 0);
    client.expect_text();
}

#[test]
fn only_post_pushes() {
    let relay = Relay::default();
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE"] {
        let answer = relay.ask(method, "/api/push", PUSH);
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("POST, OPTIONS"), "{method}");
        if method != "HEAD" {
            assert_eq!(answer.body, b"{\"code\":-1,\"msg\":\"method not allowed\"}");
        }
    }
    let options = relay.ask("OPTIONS", "/api/push", "");
    assert_eq!(
        (options.status, options.header("allow")),
        (204, Some("POST, OPTIONS"))
    );
    let mut client = Client::connect(relay.address);
    client.send(crate::support::client::upgrade("/api/push").as_bytes());
    assert_eq!(
        client.answer().body,
        b"{\"code\":-1,\"msg\":\"no websocket here\"}"
    );
}

#[test]
fn the_status_word_of_health_can_be_the_earlier_one() {
    let status = |config: &corecast::config::Config| {
        let answer = ask(Relay::start(config).address, "GET", "/health", "", "");
        String::from_utf8(answer.body).unwrap()
    };
    let mut config = config();
    assert!(status(&config).starts_with("{\"status\":\"healthy\","));
    config.health.status_word = "ok".to_owned();
    assert!(status(&config).starts_with("{\"status\":\"ok\","));
}

#[test]
fn requests_sent_ahead_are_answered_in_order() {
    let relay = Relay::default();
    let mut member = relay.join("m");
    let mut client = Client::connect(relay.address);
    let body =
        |number: usize| format!("{{\"event_name\":\"e\",\"subject\":{number},\"token\":\"m\"}}");
    let sent: String = (0..50)
        .map(|number| request("POST", "/api/push", &key_header(), &body(number)))
        .collect();
    client.send(sent.as_bytes());
    for number in 0..50 {
        assert_eq!(client.answer().status, 200);
        let (got, _) = split_ts(&member.expect_text());
        assert_eq!(got, frame("\"e\"", &number.to_string(), "\"m\""));
    }
}

#[test]
fn invalid_push_requests_get_json_errors() {
    let relay = Relay::default();
    let key = key_header();
    let post = |headers: &str| {
        let head = format!("POST /api/push HTTP/1.1\r\nHost: test\r\n{key}{headers}\r\n");
        let mut client = Client::connect(relay.address);
        client.send(head.as_bytes());
        let answer = client.answer();
        assert_eq!(
            answer.header("content-type"),
            Some("application/json"),
            "{headers}"
        );
        (answer.status, String::from_utf8(answer.body).unwrap())
    };
    let refused = |status, code| (status, format!("{{\"code\":-1,\"msg\":\"{code}\"}}"));
    for (headers, answer) in [
        (
            "Content-Length: 1048577\r\n",
            refused(413, "body_too_large"),
        ),
        (
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            refused(400, "repeated_length"),
        ),
        (
            "Transfer-Encoding: gzip\r\n",
            refused(501, "unknown_encoding"),
        ),
        ("Expect: wonders\r\n", refused(417, "unknown_expectation")),
    ] {
        assert_eq!(post(headers), answer, "{headers}");
    }
    let target = format!("/api/push?{}", "x".repeat(10_000));
    let answer = relay.ask("POST", &target, PUSH);
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (414, Some("application/json"))
    );
}

/// The binary with only the earlier relay's file.
#[test]
fn the_earlier_relays_file_is_all_that_the_binary_needs() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.json");
    let text = "{\"port\": \"0\", \"api_key\": \"hunter2-hunter2\", \"ws_path\": \"/socket\", \
                \"push_path\": \"/internal/push\"}";
    std::fs::write(&file, text).expect("a file");
    let file = file.to_str().expect("UTF-8");
    let relay = Binary::start(&["--config-file", file, "--log-level", "trace"]);
    let mut client = Client::open(relay.address, "/socket?token=7");
    let good = "X-API-KEY: hunter2-hunter2\r\n";
    let body = "{\"event_name\":\"e\",\"token\":7}";
    let pushed = ask(relay.address, "POST", "/internal/push", good, body);
    assert_eq!(pushed.status, 200);
    assert_eq!(
        split_ts(&client.expect_text()).0,
        frame("\"e\"", "null", "7")
    );
    let wrong = "X-API-KEY: hunter3-hunter3\r\n";
    assert_eq!(
        ask(relay.address, "POST", "/internal/push", wrong, body).status,
        401
    );
    let target = "/internal/push?api_key=hunter2-hunter2";
    assert_eq!(ask(relay.address, "POST", target, "", body).status, 200);
    client.expect_text();
    assert_eq!(
        relay.logged("hunter"),
        0,
        "neither a key nor what was tried"
    );
    assert!(!Path::new("config.json").exists(), "nothing is written");
}

#[test]
fn without_a_key_the_log_says_once_why() {
    let relay = Binary::start(&[]);
    let push = || ask(relay.address, "POST", "/api/push", &key_header(), PUSH).status;
    assert_eq!((push(), push(), push()), (401, 401, 401));
    relay.signal(Signal::HUP);
    // The log is read asynchronously: all earlier output is in it with this line.
    eventually("it is reloaded", || relay.logged("are reloaded") == 1);
    assert_eq!(relay.logged("no API key is set"), 1);
}

#[test]
fn a_client_that_does_not_read_does_not_delay_the_answer() {
    let relay = Relay::default();
    let stalled = Client::connect_narrow(relay.address, 4_096).upgraded("/ws?token=slow");
    let mut reads = relay.join("slow");
    let subject = "x".repeat(100_000);
    let body = format!("{{\"event_name\":\"e\",\"subject\":\"{subject}\",\"token\":\"slow\"}}");
    for _ in 0..100 {
        relay.push_to(&body, 2);
        reads.expect_text();
    }
    drop(stalled);
}

#[test]
fn the_port_of_push_serves_the_other_endpoints_too() {
    let relay = Relay::default();
    let engine: &Engine = relay.engine.as_ref().expect("it runs");
    assert_eq!(engine.addresses().len(), 1);
    let mut hub = Client::open(relay.address, "/any");
    hub.text("hello");
    assert_eq!(hub.expect_text(), "hello");
    let mut push = relay.join("");
    push.text("hello");
    push.round_trip();
    hub.round_trip();
}
