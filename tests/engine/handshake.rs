//! From the first byte to the 101, and plain requests.

use std::time::Duration;

use corecast::engine::{
    Answer, Endpoint, EndpointSettings, Refusal, Request, Responder, Service, Session, Settings,
};
use corecast::wire::decoder::Message;
use corecast::wire::http::Response;

use crate::support::client::{
    ACCEPT, Client, FIN, KEY, TEXT, frame, raw_frame, upgrade, upgrade_with,
};
use crate::support::{Server, eventually, settings};

/// Answers a plain request with its path and body, and a WebSocket message with itself.
struct Mirror;

impl Endpoint for Mirror {
    type State = ();
    type Local = ();

    fn message(&self, session: &mut Session<'_>, message: Message<'_>) {
        session.send(message.kind, message.payload);
    }
}

impl Service for Mirror {
    fn methods(&self) -> &'static [&'static str] {
        &["GET", "HEAD", "POST"]
    }

    fn request(&self, request: &Request<'_>, _responder: &mut Responder<'_>) -> Answer {
        let body = String::from_utf8_lossy(request.body);
        Answer::Now(Response::text(200, format!("{} {body}", request.head.path)))
    }
}

fn mirror() -> Server {
    mirror_with(settings())
}

fn mirror_with(settings: Settings) -> Server {
    Server::start(settings, |builder| {
        let id = builder.endpoint_and_service(EndpointSettings::default(), Mirror);
        builder.route("/**", id).unwrap();
        builder.route("/one/{name}", id).unwrap();
    })
}

#[test]
fn an_upgrade_is_answered_with_the_right_key() {
    let server = Server::default_hub();
    let mut client = Client::connect(server.address);
    client.send(upgrade("/").as_bytes());
    let answer = client.answer();
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("sec-websocket-accept"), Some(ACCEPT));
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    client.round_trip();
}

#[test]
fn a_refused_upgrade_lists_the_accepted_values() {
    let server = mirror();
    let lines = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    let key = format!("Sec-WebSocket-Key: {KEY}\r\n");
    let ask = |method: &str, version: &str, key: &str| {
        let mut client = Client::connect(server.address);
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\n{lines}{version}{key}\r\n");
        client.send(request.as_bytes());
        let answer = client.answer();
        client.expect_end();
        answer
    };
    let v13 = "Sec-WebSocket-Version: 13\r\n";
    let no_key = ask("GET", v13, "");
    assert_eq!(no_key.status, 400);
    assert_eq!(no_key.header("sec-websocket-version"), Some("13"));
    let bad_key = ask("GET", v13, "Sec-WebSocket-Key: c2hvcnQ=\r\n");
    assert_eq!(bad_key.status, 400);
    assert_eq!(ask("POST", v13, &key).status, 405);
    let old = ask("GET", "Sec-WebSocket-Version: 8\r\n", &key);
    assert_eq!(old.status, 426);
    assert_eq!(old.header("sec-websocket-version"), Some("13"));
}

#[test]
fn plain_requests_get_426_or_404_for_unknown_paths() {
    let server = Server::start(settings(), |builder| {
        let hub = corecast::relay::hub::Hub { echo: true };
        let id = builder.endpoint(EndpointSettings::default(), hub);
        builder.route("/ws", id).unwrap();
    });
    let mut client = Client::connect(server.address);
    client.send(b"GET /ws HTTP/1.1\r\nHost: a\r\n\r\nGET /other HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.answer();
    assert_eq!(
        (answer.status, answer.header("upgrade")),
        (426, Some("websocket"))
    );
    assert_eq!(client.answer().status, 404);
    client.send(upgrade("/other").as_bytes());
    assert_eq!(client.answer().status, 404);
}

#[test]
fn an_upgrade_may_be_split_at_every_byte() {
    let server = Server::default_hub();
    let mut other = server.open("/other");
    let request = upgrade("/");
    for at in 1..request.len() {
        let mut client = Client::connect(server.address);
        client.send(&request.as_bytes()[..at]);
        other.round_trip();
        client.send(&request.as_bytes()[at..]);
        assert_eq!(client.answer().status, 101, "split at {at}");
    }
    let mut client = Client::connect(server.address);
    for byte in request.as_bytes() {
        client.send(&[*byte]);
    }
    assert_eq!(client.answer().status, 101);
}

#[test]
fn a_request_with_a_body_may_be_split_at_every_byte() {
    let server = mirror();
    let mut other = server.open("/");
    let fixed = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let chunked = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                   2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nTrailer: t\r\n\r\n";
    for request in [fixed, chunked] {
        let mut client = Client::connect(server.address);
        for at in 1..request.len() {
            client.send(&request.as_bytes()[..at]);
            other.round_trip();
            client.send(&request.as_bytes()[at..]);
            let answer = client.answer();
            assert_eq!(
                (answer.status, &*answer.body),
                (200, &b"/a hello"[..]),
                "split at {at}"
            );
        }
    }
}

#[test]
fn frames_in_the_packet_of_the_upgrade_are_kept() {
    let server = Server::default_hub();
    let mut client = Client::connect(server.address);
    let cut = frame(TEXT, b"second");
    let mut bytes = upgrade("/").into_bytes();
    bytes.extend(frame(TEXT, b"first"));
    bytes.extend(&cut[..5]);
    client.send(&bytes);
    assert_eq!(client.answer().status, 101);
    assert_eq!(client.expect_text(), "first");
    client.send(&cut[5..]);
    assert_eq!(client.expect_text(), "second");
}

#[test]
fn plain_requests_are_pipelined_and_the_connection_kept() {
    let server = mirror();
    let mut client = Client::connect(server.address);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let post = "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    client.send([get("/a"), post.to_owned(), get("/c")].concat().as_bytes());
    for expected in ["/a ", "/b hi", "/c "] {
        assert_eq!(client.answer().body, expected.as_bytes());
    }
    // Then an upgrade, followed by a frame, on the same connection.
    client.send(get("/d").as_bytes());
    assert_eq!(client.answer().body, b"/d ");
    client.send(&[upgrade("/").as_bytes(), &frame(TEXT, b"x")].concat());
    assert_eq!(client.answer().status, 101);
    assert_eq!(client.expect_text(), "x");
    let mut last = Client::connect(server.address);
    last.send(b"GET /e HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let answer = last.answer();
    assert_eq!(answer.header("connection"), Some("close"));
    last.expect_end();
    assert_eq!(server.sum(|stats| stats.requests.get()), 5);
}

#[test]
fn a_client_that_ends_its_direction_still_gets_its_answer() {
    let server = mirror();
    let mut client = Client::connect(server.address);
    client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.answer().body, b"/a ");
    client.expect_end();
    server.expect_empty();
}

#[test]
fn a_head_that_is_too_large_is_431_and_a_body_413() {
    let mut settings = settings();
    settings.head_bytes = 1_024;
    let server = mirror_with(settings);
    let status = |request: String| {
        let mut client = Client::connect(server.address);
        client.send(request.as_bytes());
        let status = client.answer().status;
        client.expect_end();
        status
    };
    let padding = format!("X-Padding: {}\r\n", "x".repeat(1_024));
    assert_eq!(status(upgrade_with("/", &padding)), 431);
    let length = corecast::limits::BODY_BYTES_MAX + 1;
    let post = "POST / HTTP/1.1\r\nHost: a\r\n";
    assert_eq!(
        status(format!("{post}Content-Length: {length}\r\n\r\n")),
        413
    );
    let chunk = format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n");
    assert_eq!(status(post.to_owned() + &chunk), 413);
    assert_eq!(status("nonsense\r\n\r\n".to_owned()), 400);
    assert_eq!(
        server.sum(|stats| stats.refused.get(Refusal::BadRequest)),
        4
    );
}

#[test]
fn silence_is_closed_and_half_a_request_gets_408() {
    let mut settings = settings();
    settings.timeouts.handshake = Duration::from_millis(300);
    let server = Server::hub(settings, EndpointSettings::default());
    let mut silent = Client::connect(server.address);
    let mut half = Client::connect(server.address);
    half.send(b"GET / HTTP/1.1\r\nHost: a\r\n");
    let mut kept = Client::connect(server.address);
    kept.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(kept.answer().status, 426);
    silent.expect_end();
    assert_eq!(half.answer().status, 408);
    half.expect_end();
    kept.expect_end();
    drop((silent, half, kept));
    server.expect_empty();
}

#[test]
fn a_client_that_asks_and_never_reads_is_not_answered_for_ever() {
    let mut settings = settings();
    settings.timeouts.close = Duration::from_millis(300);
    let server = mirror_with(settings);
    let mut client = Client::connect_narrow(server.address, 1_024);
    let request = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(100));
    client.stream.set_nonblocking(true).unwrap();
    let requests = request.repeat(200);
    // Until the server refuses more: its memory must not be the limit.
    eventually("the server ends it", || {
        let written = std::io::Write::write(&mut client.stream, requests.as_bytes());
        assert!(server.view.live_bytes() < 4 << 20, "answers pile up");
        written.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
    });
    server.expect_empty();
}

#[test]
fn a_first_frame_that_breaks_the_protocol_still_gets_its_101() {
    let server = Server::default_hub();
    let mut client = Client::connect(server.address);
    client.send(&[upgrade("/").as_bytes(), &raw_frame(FIN | TEXT, b"x", false)].concat());
    assert_eq!(client.answer().status, 101);
    assert!(client.expect_close(1002).starts_with("protocol: "));
    client.expect_end();
}
