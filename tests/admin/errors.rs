//! Errors are JSON on both ports, but for those that are listed here and in `docs/design.md`.

use std::net::SocketAddr;

use corecast::config::Config;

use crate::http::Client;
use crate::{Relay, config};

const KEY: &str = "a-key-of-0123456789";
const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The form of an error.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Form {
    /// `{"code":…,"error":…}`, the code a word.
    Ours,
    /// `{"code":-1,"msg":…}`.
    Push,
    /// A line.
    Text,
}

/// Sends a request and returns the status of its error, after a look at the form.
fn expect(to: SocketAddr, request: &str, status: u16, form: Form) {
    let mut client = Client::connect(to);
    client.send(request.as_bytes());
    let reply = client.reply("GET");
    let shown = &request[..request.len().min(100)];
    assert_eq!(reply.status, status, "{shown}: {reply:?}");
    let content_type = reply.header("Content-Type").unwrap_or_default();
    if form == Form::Text {
        assert_eq!(content_type, "text/plain; charset=utf-8", "{shown}");
        assert!(reply.body.ends_with('\n'), "{shown}: {}", reply.body);
        return;
    }
    assert_eq!(content_type, "application/json", "{shown}: {}", reply.body);
    let body: serde_json::Value = serde_json::from_str(&reply.body).expect("JSON");
    let is_as_promised = match form {
        Form::Ours => body["code"].is_string() && body["error"].is_string(),
        _ => body["code"] == -1 && body["msg"].is_string(),
    };
    assert!(is_as_promised, "{shown}: {body}");
}

fn request(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: relay\r\n{headers}\r\n")
}

fn relay(change: impl FnOnce(&mut Config)) -> Relay {
    let mut config = config();
    config.api.keys = Some(vec![KEY.parse().expect("a key")]);
    change(&mut config);
    Relay::start(&config)
}

#[test]
fn invalid_requests_to_either_port_get_json_errors() {
    let relay = relay(|_| {});
    let long = "x".repeat(20_000);
    let many = "a: b\r\n".repeat(200);
    let key = format!("X-API-KEY: {KEY}\r\n");
    let large = format!("{key}Content-Length: 100000000\r\n");
    for to in [relay.main, relay.admin()] {
        for (request, status) in [
            // Requests that cannot be read, for paths of every kind.
            ("GARBAGE\r\n\r\n".to_owned(), 400),
            ("GET /nowhere/ws HTTP/1.1\r\n\r\n".to_owned(), 400),
            ("GET /health HTTP/1.1\r\n\r\n".to_owned(), 400),
            ("GET / HTTP/3.0\r\nHost: a\r\n\r\n".to_owned(), 505),
            (request("BREW", "/ws/", ""), 501),
            (request("GET", &format!("/{long}"), ""), 414),
            (request("GET", "/ws/", &format!("a: {long}\r\n")), 431),
            (request("GET", "/ws/", &many), 431),
            (request("GET", "/", "Host: b\r\n"), 400),
            (request("POST", "/livez", ""), 405),
            (request("GET", "/livez", UPGRADE), 400),
            (request("GET", "/health", UPGRADE), 400),
        ] {
            expect(to, &request, status, Form::Ours);
        }
    }
    for (request, status) in [
        (request("GET", "/ws/", ""), 404),
        (request("GET", "/ws/a/b", UPGRADE), 404),
        (request("GET", "/ws/%zz", UPGRADE), 400),
        (request("POST", "/room", ""), 405),
        (request("POST", "/room", UPGRADE), 405),
        (request("GET", "/room", "Upgrade: websocket\r\n"), 400),
        (request("GET", "/ws/", "Upgrade: websocket\r\n"), 404),
        (request("GET", "/api/info", ""), 401),
        (request("GET", "/api/info?x=1", &key), 400),
        (request("GET", "/api/nothing", &key), 404),
        (request("GET", "/api/publish", &key), 405),
        (request("POST", "/api/publish", &key), 400),
        (request("POST", "/api/publish", &large), 413),
        (
            request("POST", "/api/publish", &format!("{large}Expect: x\r\n")),
            417,
        ),
        (request("GET", "/metrics", ""), 404),
        (request("GET", "/demo/", ""), 404),
        (request("POST", "/test/benchmark", UPGRADE), 405),
    ] {
        expect(relay.main, &request, status, Form::Ours);
    }
    for (request, status) in [
        (request("GET", "/nowhere", ""), 404),
        (request("GET", "/nowhere", UPGRADE), 404),
        (request("POST", "/metrics", ""), 405),
        (request("GET", "/metrics", UPGRADE), 400),
        (request("GET", "/dashboard/x", ""), 403),
        (request("GET", "/dashboard/snapshot", ""), 403),
        (request("GET", "/dashboard/stream", UPGRADE), 403),
        (request("DELETE", "/dashboard/snapshot", ""), 405),
    ] {
        expect(relay.admin(), &request, status, Form::Ours);
    }
}

#[test]
fn the_push_api_has_the_form_of_the_earlier_relay() {
    let relay = relay(|_| {});
    let key = format!("X-API-KEY: {KEY}\r\n");
    for (request, status) in [
        (request("POST", "/api/push", ""), 401),
        (request("POST", "/api/push", &key), 400),
        (request("GET", "/api/push", &key), 405),
        (request("DELETE", "/api/push/pending/1", &key), 404),
        (request("GET", "/api/push", UPGRADE), 400),
        ("GET /api/push HTTP/1.1\r\n\r\n".to_owned(), 400),
    ] {
        expect(relay.main, &request, status, Form::Push);
    }
}

#[test]
fn refused_clients_get_json_errors() {
    let relay = relay(|config| {
        config.auth.keys = Some(vec![KEY.parse().expect("a key")]);
        config.origins.allow = vec!["https://good.example".parse().expect("an origin")];
    });
    for path in ["/room", "/ws/ada", "/ws", "/"] {
        expect(relay.main, &request("GET", path, UPGRADE), 401, Form::Ours);
        expect(relay.main, &request("GET", path, ""), 401, Form::Ours);
        let origin = format!("{UPGRADE}Origin: https://bad.example\r\n");
        expect(relay.main, &request("GET", path, &origin), 403, Form::Ours);
    }
}

#[test]
fn requests_over_a_limit_get_json_errors_on_every_path() {
    let relay = relay(|config| {
        config.limits.connections_per_ip = Some(1);
        config.limits.exempt_networks = Vec::new();
    });
    let _one = relay.join("/room");
    for path in ["/room", "/ws/", "/ws/ada"] {
        expect(relay.main, &request("GET", path, UPGRADE), 429, Form::Ours);
    }
}

/// Errors in plain text, and the reason: clients of earlier relays read them so, or people do.
#[test]
fn the_errors_that_are_lines_of_text_are_these() {
    let relay = relay(|_| {});
    let _ada = relay.join("/ws/ada");
    let main = relay.main;
    // The earlier relay's clients compare it.
    expect(main, &request("GET", "/ws/ada", UPGRADE), 409, Form::Text);
    expect(main, &request("GET", "/ws/ada", ""), 409, Form::Text);
    // A line that says what this is.
    expect(main, &request("GET", "/room", ""), 426, Form::Text);
    // People open it in a browser.
    let root = request("GET", "/", "");
    expect(relay.admin(), &root, 403, Form::Text);
}
