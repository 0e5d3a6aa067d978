//! The relay of named users, `/ws/{username}`: its promises, and the test of each row ([`ROWS`]).

use std::time::Duration;

use corecast::config::{Config, ConfigFile, EndpointConfig, OnDuplicate, load};
use corecast::engine::CloseReason;
use serde_json::{Value, json};

use crate::support::client::{
    Answer, BINARY, Client, Frame, TEXT, fragment, frame, upgrade, upgrade_with,
};
use crate::support::{Server, assert_tests, config, eventually};

const MIB: usize = 1 << 20;

/// A promise, and the test that would fail if it were broken.
#[rustfmt::skip]
const ROWS: &[(&str, &str)] = &[
    ("one segment, percent-decoded", "a_user_name_is_exactly_one_path_segment"),
    ("/ws/ and /ws/a/b are 404", "a_user_name_is_exactly_one_path_segment"),
    ("to all but the sender", "a_message_skips_its_sender_and_keeps_its_opcode"),
    ("a taken name: 409 and its bytes", "every_answer_of_named_users_is_as_promised_byte_for_byte"),
    ("exactly one wins", "of_200_simultaneous_clients_exactly_one_gets_the_name"),
    ("the newcomer takes over",
        "of_200_replacing_clients_one_stays_and_the_rest_are_closed"),
    ("one name, several devices", "devices_that_share_a_name_get_each_others_messages"),
    ("10,485,760 bytes pass, one more is 1009", "ten_mebibytes_pass_and_one_byte_more_is_1009"),
    ("ping 54 s, pong 60 s, write 10 s", "pings_and_silence_are_as_with_the_earlier_relay"),
    ("who is too slow is dropped", "a_slow_client_that_reconnects_under_its_name_is_harmless"),
    ("a slow one that comes back", "a_slow_client_that_reconnects_under_its_name_is_harmless"),
    ("PORT, MAX_MESSAGE_SIZE, buffers",
        "the_earlier_relays_environment_works_with_any_file"),
    ("BUILD_*", "the_deployment_is_what_the_environment_says"),
    ("CORS, also on 400 and 409", "every_answer_of_named_users_is_as_promised_byte_for_byte"),
    ("OPTIONS is 200 without a body", "every_answer_of_named_users_is_as_promised_byte_for_byte"),
    ("CORS is configurable", "cors_headers_can_be_changed_and_disabled"),
    ("/health, the superset", "health_is_all_that_its_consumers_look_for"),
    ("/health by any method", "any_method_gets_health_and_any_origin_may_ask"),
    ("/health: users and count", "health_lists_and_counts_users_unless_disabled"),
    ("/test/benchmark by Accept", "the_benchmark_reports_in_what_the_client_accepts"),
    ("/test/benchmark as JSON", "the_benchmark_has_results_for_programs_and_both_reports"),
    ("audio in binary frames", "a_message_skips_its_sender_and_keeps_its_opcode"),
    ("binary_out and echo", "echo_and_binary_out_do_what_they_say"),
    ("a plain GET is 426", "every_answer_of_named_users_is_as_promised_byte_for_byte"),
    ("any origin may connect", "a_browsers_upgrade_from_any_origin_is_let_in"),
    ("--clients 50 --duration 10000", "a_bare_duration_is_milliseconds"),
];

#[test]
fn every_row_has_its_test() {
    let tests = [
        include_str!("named.rs"),
        include_str!("names_at_once.rs"),
        include_str!("../admin/health.rs"),
        include_str!("../../loadgen/src/args/parse.rs"),
    ];
    assert_tests(ROWS, &tests);
}

fn named(config: &mut Config) -> &mut EndpointConfig {
    config.endpoints.get_mut("named").expect("built in")
}

/// A relay with its defaults, on two shards.
fn relay() -> Server {
    Server::relay(&config(2))
}

/// Sends a request on a connection of its own.
fn ask(server: &Server, request: &str) -> Answer {
    let mut client = Client::connect(server.address);
    client.send(request.as_bytes());
    match request.starts_with("HEAD ") {
        true => client.answer_to_head(),
        false => client.answer(),
    }
}

fn plain(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// The answer's head without its date.
fn undated(answer: &Answer) -> String {
    let lines = answer.head.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("Date: ")).collect()
}

const CORS: &str = "Access-Control-Allow-Origin: *\r\n\
                    Access-Control-Allow-Methods: GET, POST, OPTIONS\r\n\
                    Access-Control-Allow-Headers: Content-Type\r\n";

const TEXT_TYPE: &str = "Content-Type: text/plain; charset=utf-8\r\n";

/// For an error that the earlier relay does not have.
const JSON_TYPE: &str = "Content-Type: application/json\r\nCache-Control: no-store\r\n";

/// A row: the promise, the request while ada is connected, and the answer: status line, headers
/// before those of CORS, headers after them, body.
type Row = (
    &'static str,
    fn() -> String,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

/// Every answer that is not a WebSocket, byte for byte.
#[rustfmt::skip]
const ANSWERS: &[Row] = &[
    (
        "a name that is taken: 409 before the upgrade", || upgrade("/ws/ada"),
        "409 Conflict", TEXT_TYPE, "", "Username already connected\n",
    ),
    (
        "the name is percent-decoded", || upgrade("/ws/%61d%61"),
        "409 Conflict", TEXT_TYPE, "", "Username already connected\n",
    ),
    (
        "a page can ask why: 409 for a plain GET", || plain("GET", "/ws/ada"),
        "409 Conflict", TEXT_TYPE, "", "Username already connected\n",
    ),
    (
        "a plain GET of a path that only upgrades is 426", || plain("GET", "/ws/bob"),
        "426 Upgrade Required",
        "Content-Type: text/plain; charset=utf-8\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\n",
        "Connection: Upgrade\r\n",
        "This is a WebSocket endpoint: connect to it with a WebSocket client.\n",
    ),
    (
        "OPTIONS answers 200 with no body", || plain("OPTIONS", "/ws/ada"),
        "200 OK", "", "", "",
    ),
    (
        "OPTIONS of /health", || plain("OPTIONS", "/health"),
        "200 OK", "", "Cache-Control: no-store\r\n", "",
    ),
    (
        "OPTIONS of /test/benchmark", || plain("OPTIONS", "/test/benchmark"),
        "200 OK", "", "Cache-Control: no-store\r\n", "",
    ),
    (
        "CORS on a 400: a bad upgrade", || upgrade("/ws/bob").replace("Key: dGhl", "Key: "),
        "400 Bad Request",
        "Content-Type: application/json\r\nSec-WebSocket-Version: 13\r\n\
         Cache-Control: no-store\r\n",
        "Connection: close\r\n",
        r#"{"code":"bad_key","error":"Sec-WebSocket-Key is not the base64 of 16 bytes"}"#,
    ),
    (
        "CORS on a 400: control characters", || upgrade("/ws/a%0Ab"),
        "400 Bad Request", JSON_TYPE, "",
        r#"{"code":"bad_username","error":"The username has control characters."}"#,
    ),
    (
        "CORS on a 400: a blank name", || upgrade("/ws/%20%C2%A0"),
        "400 Bad Request", JSON_TYPE, "",
        r#"{"code":"bad_username","error":"The username is blank."}"#,
    ),
    (
        "CORS on a 400: a long name", || upgrade(&format!("/ws/{}", "%C3%A9".repeat(129))),
        "400 Bad Request", JSON_TYPE, "",
        r#"{"code":"bad_username","error":"The username is longer than 256 bytes."}"#,
    ),
    (
        "CORS on a 400: a bad escape", || upgrade("/ws/100%"),
        "400 Bad Request", JSON_TYPE, "",
        r#"{"code":"bad_username","error":"The username is not UTF-8, percent-encoded."}"#,
    ),
    (
        "CORS on a 400: no UTF-8", || plain("GET", "/ws/%FF"),
        "400 Bad Request", JSON_TYPE, "",
        r#"{"code":"bad_username","error":"The username is not UTF-8, percent-encoded."}"#,
    ),
    (
        "CORS on a 405", || plain("POST", "/ws/bob"),
        "405 Method Not Allowed",
        "Content-Type: application/json\r\nAllow: GET, HEAD, OPTIONS\r\n\
         Cache-Control: no-store\r\n",
        "",
        r#"{"code":"method_not_allowed","error":"This path does not answer that method."}"#,
    ),
];

#[test]
fn every_answer_of_named_users_is_as_promised_byte_for_byte() {
    let server = relay();
    let _ada = server.open("/ws/ada");
    for (row, request, status, before, behind, body) in ANSWERS {
        let answer = ask(&server, &request());
        let length = format!("Content-Length: {}\r\n\r\n", body.len());
        let head = format!("HTTP/1.1 {status}\r\n{before}{CORS}{behind}{length}");
        assert_eq!(undated(&answer), head, "{row}");
        assert_eq!(String::from_utf8_lossy(&answer.body), *body, "{row}");
    }
}

#[test]
fn a_user_name_is_exactly_one_path_segment() {
    let server = relay();
    for path in ["/ws/", "/ws/a/b", "/ws//", "/ws/a/", "/ws/a%2Fb", "/ws/%2f"] {
        assert_eq!(ask(&server, &upgrade(path)).status, 404, "{path}");
        assert_eq!(ask(&server, &plain("GET", path)).status, 404, "{path}");
    }
    // The hub is separate, and named users are not in its rooms.
    let mut ada = server.open("/ws/ada");
    let mut room = server.open("/wsx");
    room.text("to the room");
    assert_eq!(room.expect_text(), "to the room");
    ada.round_trip();
    let longest = format!("/ws/{}", "%C3%A9".repeat(128));
    server.open(&longest).round_trip();
}

#[test]
fn a_message_skips_its_sender_and_keeps_its_opcode() {
    let server = relay();
    let mut clients = ["/ws/ada", "/ws/bob", "/ws/J%C3%BCrgen"].map(|path| server.open(path));
    clients[0].send(&frame(BINARY, &[7; 8_192]));
    clients[0].text("hello");
    clients[0].round_trip();
    for client in &mut clients[1..] {
        let audio = client.frame();
        assert_eq!((audio.opcode, audio.payload), (BINARY, vec![7; 8_192]));
        assert_eq!(client.expect_text(), "hello");
    }
    clients[1].text("to all others");
    for other in [0, 2] {
        assert_eq!(clients[other].expect_text(), "to all others");
    }
}

#[test]
fn ten_mebibytes_pass_and_one_byte_more_is_1009() {
    let server = relay();
    let (mut ada, mut bob) = (server.open("/ws/ada"), server.open("/ws/bob"));
    let largest = vec![b'x'; 10_485_760];
    ada.send(&frame(TEXT, &largest));
    assert_eq!(bob.frame().payload.len(), largest.len());
    // The header alone shows it.
    ada.send(&fragment(0x82, &vec![0; largest.len() + 1])[..14]);
    ada.expect_close(1009);
    // The hub has a limit of its own.
    let mut room = server.open("/");
    room.send(&frame(BINARY, &vec![0; MIB + 1])[..14]);
    room.expect_close(1009);
}

#[test]
fn pings_and_silence_are_as_with_the_earlier_relay() {
    let defaults = Config::default();
    let settings = defaults.settings_of(&defaults.endpoints["named"]);
    let keepalive = (settings.keepalive.ping, settings.keepalive.pong);
    assert_eq!(
        keepalive,
        (Duration::from_secs(54), Duration::from_secs(60))
    );
    assert_eq!(settings.slow_client.outbox_age, Duration::from_secs(10));

    let mut config = config(1);
    named(&mut config).keepalive.ping = Some(Duration::ZERO);
    named(&mut config).keepalive.pong = Some(Duration::from_secs(1));
    let server = Server::relay(&config);
    let mut silent = server.open("/ws/ada");
    assert_eq!(silent.expect_close(1001), "timeout: nothing heard");
    // And the name is free again.
    server.open("/ws/ada").round_trip();
}

#[test]
fn echo_and_binary_out_do_what_they_say() {
    let mut config = config(2);
    let options = named(&mut config).named_mut().expect("its options");
    options.echo = true;
    options.binary_out = true;
    let server = Server::relay(&config);
    let (mut ada, mut bob) = (server.open("/ws/ada"), server.open("/ws/bob"));
    ada.text("both get it");
    for client in [&mut ada, &mut bob] {
        let expected = Frame {
            opcode: BINARY,
            payload: b"both get it".to_vec(),
        };
        assert_eq!(client.frame(), expected);
    }
}

#[test]
fn cors_headers_can_be_changed_and_disabled() {
    let with = |change: fn(&mut Config)| {
        let mut config = config(1);
        change(&mut config);
        let server = Server::relay(&config);
        ["/ws/bob", "/health", "/test/benchmark"].map(|path| {
            let answer = ask(&server, &plain("OPTIONS", path));
            assert_eq!(answer.status, 200, "{path}");
            let about = ["Origin", "Methods", "Headers"];
            let value = |of| answer.header(&format!("Access-Control-Allow-{of}"));
            about.map(|of| value(of).unwrap_or("none").to_owned())
        })
    };
    assert_eq!(with(|config| config.cors.origin = None), [["none"; 3]; 3]);
    let everywhere = with(|config| {
        config.cors.origin = Some("https://a.example".to_owned());
        config.cors.methods = "GET".to_owned();
        config.cors.headers = "X-Trace".to_owned();
    });
    assert_eq!(everywhere, [["https://a.example", "GET", "X-Trace"]; 3]);
    let [named, health, _] = with(|config| {
        let cors = &mut named(config).named_mut().expect("its options").cors;
        cors.origin = Some(Some("https://b.example".to_owned()));
        cors.methods = Some("HEAD".to_owned());
        cors.headers = Some("X-B".to_owned());
    });
    assert_eq!(named, ["https://b.example", "HEAD", "X-B"]);
    assert_eq!(health[0], "*");
}

fn health(server: &Server) -> Value {
    let answer = ask(server, &plain("GET", "/health"));
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    serde_json::from_slice(&answer.body).expect("JSON")
}

#[test]
fn health_lists_and_counts_users_unless_disabled() {
    let server = relay();
    let ada = server.open("/ws/ada");
    let _bob = server.open("/ws/B%20%22b%22");
    let report = health(&server);
    let names = json!(["B \"b\"", "ada"]);
    assert_eq!((&report["users"], &report["count"]), (&names, &json!(2)));
    let metrics = &report["metrics"];
    assert_eq!(
        (&metrics["users"], &metrics["connected_users"]),
        (&names, &json!(2))
    );
    drop(ada);
    eventually("ada has left", || {
        let report = health(&server);
        report["users"] == json!(["B \"b\""]) && report["count"] == json!(1)
    });

    let mut config = config(1);
    config.health.users = Some(false);
    let server = Server::relay(&config);
    let _ada = server.open("/ws/ada");
    let report = health(&server);
    assert_eq!(
        (&report["users"], &report["count"]),
        (&json!([]), &json!(1))
    );
    assert_eq!(report["metrics"]["users"], json!([]));
}

#[test]
fn health_lists_no_more_than_a_thousand_users() {
    let server = Server::start(crate::support::settings(), |builder| {
        let named = corecast::relay::named::Named::new(Default::default());
        let users = std::sync::Arc::clone(named.users());
        let connection = |index| corecast::fanout::ConnectionId {
            index,
            generation: 0,
            shard: 0,
        };
        for index in 0..1_500 {
            let name = format!("user {index}");
            let how = OnDuplicate::Refuse;
            let claim = users.claim(&name, connection(index), how, |_| false);
            std::mem::forget(claim.expect("free"));
        }
        let pages = corecast::admin::Pages {
            users: vec![corecast::admin::ListedUsers {
                users,
                is_told: true,
                is_told_to_admins: false,
            }],
            ..Default::default()
        };
        corecast::admin::routes(builder, pages).expect("free paths");
    });
    assert_eq!(
        health(&server)["users"].as_array().map(Vec::len),
        Some(1_000)
    );
}

/// A relay with two clients, one of which has received a message of five bytes.
fn relay_with_a_message() -> (Server, [Client; 2]) {
    let server = relay();
    let mut clients = ["/ws/ada", "/ws/bob"].map(|path| server.open(path));
    clients[0].text("12345");
    assert_eq!(clients[1].expect_text(), "12345");
    eventually("it is counted", || {
        server.sum(|stats| stats.deliveries.get()) == 1
    });
    (server, clients)
}

/// The report's type and text, for these header lines.
fn benchmark(server: &Server, headers: &str) -> (String, String) {
    let request = format!("GET /test/benchmark HTTP/1.1\r\nHost: test\r\n{headers}\r\n");
    let answer = ask(server, &request);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("Vary"), Some("Accept"));
    assert!(answer.head.contains(CORS), "{}", answer.head);
    let content_type = answer.header("Content-Type").expect("a type").to_owned();
    (content_type, String::from_utf8(answer.body).expect("UTF-8"))
}

#[test]
fn the_benchmark_reports_in_what_the_client_accepts() {
    let (server, _clients) = relay_with_a_message();
    let json = "application/json";
    let markdown = "text/markdown; charset=utf-8";
    let html = "text/html; charset=utf-8";
    for (headers, expected) in [
        ("", json),
        ("Accept: */*\r\n", json),
        ("Accept: image/png\r\n", json),
        ("Accept: text/markdown\r\n", markdown),
        ("Accept: text/html, */*;q=0.8\r\n", html),
        ("Accept: text/html;q=0.5, Text/Markdown;q=0.6\r\n", markdown),
        ("Accept: text/html;q=0\r\n", json),
        (
            "Accept: text/html;q=x, \u{fc}\r\nAccept: application/json\r\n",
            html,
        ),
    ] {
        assert_eq!(benchmark(&server, headers).0, expected, "{headers}");
    }
    let (_, markdown) = benchmark(&server, "Accept: text/markdown\r\n");
    assert!(markdown.contains("\n| Messages | 1 |\n"), "{markdown}");
    assert!(markdown.contains("\n| Deliveries | 1 |\n"), "{markdown}");
    let (_, html) = benchmark(&server, "Accept: text/html\r\n");
    assert!(html.starts_with("<!doctype html>"), "{html}");
    assert!(
        html.contains("<th scope=\"row\">Messages</th><td>1</td>"),
        "{html}"
    );
}

#[test]
fn the_benchmark_has_results_for_programs_and_both_reports() {
    let (server, _clients) = relay_with_a_message();
    let (_, report) = benchmark(&server, "");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    for (form, begin) in [
        ("report_markdown", "# "),
        ("report_html", "<!doctype html>"),
    ] {
        let text = report[form].as_str().expect("a text");
        assert!(text.starts_with(begin), "{text}");
    }
    let results = &report["results"];
    for (name, value) in [
        ("connected_clients", 2),
        ("total_connections", 2),
        ("total_messages", 1),
        ("total_bytes_relayed", 5),
        ("total_deliveries", 1),
        ("dropped_deliveries", 0),
    ] {
        assert_eq!(results[name], json!(value), "{name}");
    }
    let latency = |of| {
        results[format!("latency_{of}_ms")]
            .as_f64()
            .expect("a number")
    };
    // As the earlier relay's own scripts read them.
    for (name, value) in [
        ("total_messages", json!(1)),
        ("total_bytes", json!(5)),
        (
            "messages_per_second",
            results["messages_per_second"].clone(),
        ),
        ("bandwidth_mbps", results["bandwidth_mbps"].clone()),
        ("connected_users", json!(2)),
    ] {
        assert_eq!(results["metrics"][name], value, "{name}");
    }
    let nested = &results["server"];
    assert_eq!(nested["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(nested["connected_users"], 2);
    assert!(nested["uptime_seconds"].is_f64());
    assert_eq!(results["test_duration_ms"], 0);
    // One delivery: all of them are about it, in buckets but for the average.
    assert!(latency("avg") > 0.0 && latency("avg") <= latency("max"));
    assert!(
        ["min", "p50", "p99"]
            .iter()
            .all(|of| latency(of) == latency("max"))
    );
}

/// This crashed the earlier relay.
#[test]
fn a_slow_client_that_reconnects_under_its_name_is_harmless() {
    let mut config = config(2);
    let endpoint = named(&mut config);
    endpoint.limits.message_bytes = Some(64 << 10);
    endpoint.slow_client.outbox_bytes = Some(128 << 10);
    let server = Server::relay(&config);
    let (mut bob, mut carol) = (server.open("/ws/bob"), server.open("/ws/carol"));
    let slow = Client::connect_narrow(server.address, 4_096).upgraded("/ws/ada");
    let closed = || server.sum(|stats| stats.closed[CloseReason::SlowBytes.label_index()].get());
    let mut sent = 0;
    eventually("the slow client is closed", || {
        bob.send(&frame(BINARY, &[sent as u8; 64 << 10]));
        sent += 1;
        assert_eq!(carol.frame().payload[0], (sent - 1) as u8);
        closed() == 1
    });
    // Its socket lingers, but its name is free.
    let mut ada = server.open("/ws/ada");
    bob.text("you are back");
    for client in [&mut ada, &mut carol] {
        assert_eq!(client.expect_text(), "you are back");
    }
    drop(slow);
    eventually("the first connection is gone", || {
        server.view.connections() == 3
    });
    assert_eq!(ask(&server, &upgrade("/ws/ada")).status, 409);
    ada.text("and stay");
    for client in [&mut bob, &mut carol] {
        assert_eq!(client.expect_text(), "and stay");
    }
    assert_eq!(closed(), 1);
}

#[test]
fn the_earlier_relays_environment_works_with_any_file() {
    let environment = [
        ("PORT", "0"),
        ("MAX_MESSAGE_SIZE", "2MB"),
        ("READ_BUFFER_SIZE", "1MB"),
        ("WRITE_BUFFER_SIZE", "1MB"),
    ];
    let shipped = ConfigFile {
        name: "config.yaml",
        text: include_str!("../../config.yaml"),
    };
    for file in [None, Some(shipped)] {
        let variables = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut loaded = load(file, variables, &[]).expect("a config");
        loaded.server.host = config(1).server.host;
        loaded.metrics.enabled = false;
        assert_eq!(loaded.engine.read_buffer_bytes, MIB);
        assert_eq!(loaded.engine.send_buffer_bytes, Some(MIB));
        let server = Server::relay(&loaded);
        let (mut ada, mut bob) = (server.open("/ws/ada"), server.open("/ws/bob"));
        ada.send(&frame(BINARY, &vec![1; 2 * MIB]));
        assert_eq!(bob.frame().payload.len(), 2 * MIB);
        ada.send(&frame(BINARY, &vec![1; 2 * MIB + 1])[..14]);
        ada.expect_close(1009);
    }
}

/// The earlier relay's page sends an unknown origin and no subprotocol.
#[test]
fn a_browsers_upgrade_from_any_origin_is_let_in() {
    let server = relay();
    let mut client = Client::connect(server.address);
    let headers = "Origin: https://anywhere.example\r\nSec-Fetch-Mode: websocket\r\n";
    client.send(upgrade_with("/ws/ada", headers).as_bytes());
    assert_eq!(client.answer().status, 101);
}
