//! The HTTP edge: refusals, answers and headers.

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use corecast::engine::{
    Answer, Endpoint, EndpointSettings, Refusal, Request, Responder, Service, Session,
};
use corecast::limits::BODY_BYTES_MAX;
use corecast::wire::decoder::Message;
use corecast::wire::http::Response;

use crate::support::client::{Client, KEY, TEXT, frame, upgrade, upgrade_with};
use crate::support::{Server, eventually, settings};

/// The body of `/large`.
const LARGE_BYTES: usize = 8 << 20;

/// Answers with method, path and body of the request; accepts every WebSocket.
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
        if request.head.path == "/large" {
            return Answer::Now(Response::text(200, "x".repeat(LARGE_BYTES)));
        }
        let body = String::from_utf8_lossy(request.body);
        let text = format!("{} {} {body}", request.head.method, request.head.path);
        Answer::Now(Response::text(200, text))
    }
}

/// A mirror at `/` and below, and a hub, which accepts no POST, at `/hub`.
fn server(change: impl FnOnce(&mut corecast::engine::Settings)) -> Server {
    let mut settings = settings();
    settings.head_bytes = 4_096;
    change(&mut settings);
    Server::start(settings, |builder| {
        let hub = corecast::relay::hub::Hub { echo: true };
        let hub = builder.endpoint(EndpointSettings::default(), hub);
        let mirror = builder.endpoint_and_service(EndpointSettings::default(), Mirror);
        builder.route("/hub", hub).unwrap();
        builder.route("/", mirror).unwrap();
        builder.route("/large", mirror).unwrap();
        builder.route("/in/**", mirror).unwrap();
    })
}

/// A request with these lines after the request line, and nothing after the head.
fn request(line: &str, headers: &str) -> String {
    format!("{line}\r\nHost: test\r\n{headers}\r\n")
}

/// A refusal: a name, the request, and the status of the answer, after which the stream ends.
type Refused = (&'static str, String, u16);

fn post(headers: &str) -> String {
    request("POST / HTTP/1.1", headers)
}

fn get(headers: &str) -> String {
    request("GET / HTTP/1.1", headers)
}

/// Two parsers could find the end of the body at different places.
fn ambiguous_bodies() -> Vec<Refused> {
    vec![
        (
            "length and coding",
            post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
            400,
        ),
        (
            "two lengths that differ",
            post("Content-Length: 3\r\nContent-Length: 4\r\n"),
            400,
        ),
        (
            "two lengths that agree",
            post("Content-Length: 3\r\nContent-Length: 3\r\n"),
            400,
        ),
        ("a list of lengths", post("Content-Length: 3, 3\r\n"), 400),
        ("a length with a sign", post("Content-Length: +3\r\n"), 400),
        (
            "an unknown coding",
            post("Transfer-Encoding: gzip, chunked\r\n"),
            501,
        ),
        (
            "a coding in HTTP/1.0",
            request("POST / HTTP/1.0", "Transfer-Encoding: chunked\r\n"),
            400,
        ),
    ]
}

/// Two parsers could find different headers, or another host.
fn ambiguous_heads() -> Vec<Refused> {
    vec![
        ("a folded line", get("X: a\r\n b\r\n"), 400),
        ("a first line that is folded", get(" X: a\r\n"), 400),
        (
            "bare LF behind the request line",
            get("").replacen("\r\n", "\n", 1),
            400,
        ),
        ("bare LF behind a header", get("X: a\nY: b\r\n"), 400),
        (
            "bare LF behind the head",
            get("").replace("\r\n\r\n", "\r\n\n"),
            400,
        ),
        ("bare CR", get("X: a\rb\r\n"), 400),
        ("NUL in a value", get("X: a\0b\r\n"), 400),
        ("NUL in a name", get("X\0: a\r\n"), 400),
        ("NUL in the target", request("GET /\0 HTTP/1.1", ""), 400),
        ("a space before a colon", get("X : a\r\n"), 400),
        ("a header without a colon", get("X\r\n"), 400),
        ("two Hosts", get("Host: test\r\n"), 400),
        ("no Host", "GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (
            "absolute form with another host",
            request("GET http://other/ HTTP/1.1", ""),
            400,
        ),
        (
            "absolute form with a user",
            request("GET http://me@test/ HTTP/1.1", ""),
            400,
        ),
    ]
}

fn bad_upgrades() -> Vec<Refused> {
    let upgrade_line = |line: &str| upgrade("/").replacen("GET / HTTP/1.1", line, 1);
    vec![
        (
            "an upgrade in HTTP/1.0",
            upgrade_line("GET / HTTP/1.0"),
            400,
        ),
        ("an upgrade by POST", upgrade_line("POST / HTTP/1.1"), 405),
        (
            "an upgrade with a body",
            upgrade_with("/", "Content-Length: 2\r\n"),
            400,
        ),
        (
            "another version of WebSocket",
            upgrade("/").replace(": 13", ": 12"),
            426,
        ),
        (
            "a key that is none",
            upgrade("/").replace(KEY, "short"),
            400,
        ),
    ]
}

/// Unsupported, or over a limit.
fn out_of_bounds() -> Vec<Refused> {
    vec![
        ("another expectation", post("Expect: 200-maybe\r\n"), 417),
        (
            "a head that is too large",
            get(&format!("X: {}\r\n", "x".repeat(4_096))),
            431,
        ),
        ("too many headers", get(&"X: y\r\n".repeat(101)), 431),
        (
            "a body that is too large",
            post(&format!("Content-Length: {}\r\n", BODY_BYTES_MAX + 1)),
            413,
        ),
        (
            "a chunk that is too large",
            post("Transfer-Encoding: chunked\r\n") + "fffffffff\r\n",
            413,
        ),
        (
            "a chunk that is none",
            post("Transfer-Encoding: chunked\r\n") + "2\r\nabc\r\n",
            400,
        ),
        (
            "a body for nobody",
            request("POST /no HTTP/1.1", "Content-Length: 3\r\n"),
            404,
        ),
        (
            "a body for a path without POST",
            request("POST /hub HTTP/1.1", "Content-Length: 3\r\n"),
            405,
        ),
        ("an unknown method", request("BREW / HTTP/1.1", ""), 501),
        ("a method in lower case", request("get / HTTP/1.1", ""), 501),
        ("CONNECT", request("CONNECT test:443 HTTP/1.1", ""), 501),
        ("HTTP/2", request("GET / HTTP/2.0", ""), 505),
        ("no HTTP", "\x16\x03\x01 hello".to_owned(), 400),
    ]
}

#[test]
fn ambiguous_or_oversized_requests_end_the_connection() {
    let server = server(|_| {});
    let rows = [
        ambiguous_bodies(),
        ambiguous_heads(),
        bad_upgrades(),
        out_of_bounds(),
    ]
    .concat();
    for (name, request, status) in &rows {
        let mut client = Client::connect(server.address);
        // The bytes after it in the packet must not be parsed as a request.
        let smuggled = "GET /in/smuggled HTTP/1.1\r\nHost: test\r\n\r\n";
        client.send((request.clone() + smuggled).as_bytes());
        let answer = client.answer();
        assert_eq!(answer.status, *status, "{name}: {}", answer.head);
        assert!(answer.header("date").is_some(), "{name}: no date");
        assert_eq!(client.try_answer(), None, "{name}: it was answered twice");
    }
    assert_eq!(server.sum(|stats| stats.requests.get()), 1, "the 405");
    server.expect_empty();
}

#[test]
fn a_target_that_is_too_long_is_414() {
    let server = server(|settings| settings.head_bytes = 64 * 1024);
    let mut client = Client::connect(server.address);
    let target = "x".repeat(corecast::limits::TARGET_BYTES_MAX);
    client.send(request(&format!("GET /{target} HTTP/1.1"), "").as_bytes());
    assert_eq!(client.answer().status, 414);
    client.expect_end();
}

#[test]
fn header_names_ignore_case_and_connection_may_be_a_list() {
    let server = server(|_| {});
    let plain = upgrade("/");
    let rows = [
        plain.replace("Connection: Upgrade", "cOnNeCtIoN: uPgRaDe"),
        plain
            .to_lowercase()
            .replacen("get / http/1.1", "GET / HTTP/1.1", 1),
        plain.replace("Connection: Upgrade", "Connection: keep-alive, Upgrade"),
        plain.replace(
            "Connection: Upgrade",
            "Connection: keep-alive\r\nConnection: upgrade",
        ),
        plain.replace("Connection: Upgrade", "Connection: ,, Upgrade ,keep-alive"),
        plain.replace("GET /", "GET http://test/"),
    ];
    for row in rows {
        let row = row.replace(&KEY.to_lowercase(), KEY);
        let mut client = Client::connect(server.address);
        client.send(row.as_bytes());
        assert_eq!(client.answer().status, 101, "{row}");
        client.round_trip();
    }
}

#[test]
fn frames_after_an_upgrade_wait_for_the_101() {
    let server = server(|_| {});
    let fixed = request("POST /in/a HTTP/1.1", "Content-Length: 2\r\n") + "hi";
    let chunked =
        request("POST /in/a HTTP/1.1", "Transfer-Encoding: chunked\r\n") + "2\r\nhi\r\n0\r\n\r\n";
    for post in [fixed, chunked] {
        let packet = [post.as_bytes(), upgrade("/").as_bytes(), &frame(TEXT, b"x")].concat();
        for cut in [
            packet.len(),
            1,
            post.len() - 1,
            post.len() + 9,
            packet.len() - 3,
        ] {
            let mut client = Client::connect(server.address);
            client.send(&packet[..cut]);
            client.send(&packet[cut..]);
            assert_eq!(client.answer().body, b"POST /in/a hi", "cut at {cut}");
            assert_eq!(client.answer().status, 101, "cut at {cut}");
            assert_eq!(client.expect_text(), "x", "cut at {cut}");
        }
    }
}

#[test]
fn an_acceptable_body_gets_one_100_continue() {
    let server = server(|_| {});
    let expecting = |line: &str, length: usize| {
        request(
            line,
            &format!("Expect: 100-Continue\r\nContent-Length: {length}\r\n"),
        )
    };
    let mut client = Client::connect(server.address);
    for _ in 0..2 {
        client.send(expecting("POST /in/a HTTP/1.1", 4).as_bytes());
        assert_eq!(client.answer().head, "HTTP/1.1 100 Continue\r\n\r\n");
        client.send(b"bo");
        client.send(b"dy");
        assert_eq!(client.answer().body, b"POST /in/a body");
    }
    // Chunks are bodies too.
    let chunked = "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n";
    client.send(request("POST /in/a HTTP/1.1", chunked).as_bytes());
    assert_eq!(client.answer().status, 100);
    client.send(b"2\r\nhi\r\n0\r\n\r\n");
    assert_eq!(client.answer().body, b"POST /in/a hi");
    // A client that did not wait, or has nothing to send, gets no 100.
    client.send((expecting("POST /in/a HTTP/1.1", 4) + "body").as_bytes());
    assert_eq!(client.answer().body, b"POST /in/a body");
    client.send((expecting("POST /in/a HTTP/1.1", 4) + "bo").as_bytes());
    client.send(b"dy");
    assert_eq!(client.answer().body, b"POST /in/a body");
    client.send(expecting("GET /in/a HTTP/1.1", 0).as_bytes());
    assert_eq!(client.answer().body, b"GET /in/a ");
}

#[test]
fn a_refusal_goes_out_instead_of_the_invitation() {
    let server = server(|_| {});
    let large = BODY_BYTES_MAX + 1;
    for (line, length, status) in [
        ("POST /no HTTP/1.1", 4, 404),
        ("POST /hub HTTP/1.1", 4, 405),
        ("POST / HTTP/1.1", large, 413),
    ] {
        let mut client = Client::connect(server.address);
        let headers = format!("Expect: 100-continue\r\nContent-Length: {length}\r\n");
        client.send(request(line, &headers).as_bytes());
        assert_eq!(client.answer().status, status, "{line}");
        client.expect_end();
    }
}

#[test]
fn http10_knows_no_100() {
    let server = server(|_| {});
    let mut client = Client::connect(server.address);
    let headers = "Expect: 100-continue\r\nContent-Length: 4\r\n";
    client.send(request("POST /in/a HTTP/1.0", headers).as_bytes());
    server.open("/").round_trip();
    client.send(b"body");
    assert_eq!(client.answer().body, b"POST /in/a body");
    client.expect_end();
}

#[test]
fn expect_continue_and_upgrade_are_answered_in_this_order() {
    let server = server(|_| {});
    let mut client = Client::connect(server.address);
    client.send(upgrade_with("/", "Expect: 100-continue\r\n").as_bytes());
    assert_eq!(client.answer().status, 100);
    assert_eq!(client.answer().status, 101);
    client.round_trip();
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let server = server(|_| {});
    for path in ["/in/a", "/hub", "/no"] {
        let mut client = Client::connect(server.address);
        let line = |method: &str| request(&format!("{method} {path} HTTP/1.1"), "");
        client.send(line("GET").as_bytes());
        let get = client.answer();
        assert!(!get.body.is_empty());
        client.send((line("HEAD") + &line("HEAD")).as_bytes());
        for _ in 0..2 {
            let head = client.answer_to_head();
            assert_eq!(head.status, get.status, "{path}");
            for name in ["content-type", "upgrade", "connection"] {
                assert_eq!(head.header(name), get.header(name), "{path}: {name}");
            }
            assert!(head.header("date").is_some());
        }
        // The connection carries nothing but the requested answers.
        client.send(upgrade("/").as_bytes());
        assert_eq!(client.answer().status, 101, "{path}");
    }
    let mut refused = Client::connect(server.address);
    refused.send(b"HEAD / HTTP/1.1\r\n\r\n");
    assert_eq!(refused.answer_to_head().status, 400);
    refused.expect_end();
}

#[test]
fn an_unsupported_method_is_405_and_options_lists_the_others() {
    let server = server(|_| {});
    let mut client = Client::connect(server.address);
    let mirror = Some("GET, HEAD, POST, OPTIONS");
    let hub = Some("GET, HEAD, OPTIONS");
    for (line, status, allow) in [
        ("DELETE /in/a HTTP/1.1", 405, mirror),
        ("TRACE /in/a HTTP/1.1", 405, mirror),
        ("PUT /hub HTTP/1.1", 405, hub),
        ("OPTIONS /in/a HTTP/1.1", 204, mirror),
        ("OPTIONS /hub HTTP/1.1", 204, hub),
        ("OPTIONS * HTTP/1.1", 204, hub),
        ("OPTIONS /no HTTP/1.1", 404, None),
        ("DELETE /no HTTP/1.1", 404, None),
    ] {
        client.send(request(line, "").as_bytes());
        let answer = client.answer();
        assert_eq!(
            (answer.status, answer.header("allow")),
            (status, allow),
            "{line}"
        );
    }
    client.send(upgrade("/").as_bytes());
    assert_eq!(client.answer().status, 101, "the connection was kept");
}

#[test]
fn a_client_that_reads_slowly_gets_the_whole_of_its_answer() {
    let server = server(|settings| {
        settings.timeouts.close = Duration::from_millis(200);
        settings.timeouts.handshake = Duration::from_millis(400);
        settings.send_buffer_bytes = Some(64 * 1024);
    });
    let mut pace = server.open("/");
    for headers in ["", "Connection: close\r\n"] {
        let mut client = Client::connect_narrow(server.address, 16 * 1024);
        client.send(request("GET /large HTTP/1.1", headers).as_bytes());
        let (began, mut received) = (Instant::now(), 0);
        let mut buffer = vec![0; 256 * 1024];
        while received < LARGE_BYTES {
            let count = client.stream.read(&mut buffer).expect("more of the answer");
            assert!(count > 0, "cut short after {received} bytes");
            received += count;
            // All of it takes several deadlines.
            let due = Duration::from_secs(3).mul_f64(received as f64 / LARGE_BYTES as f64);
            while began.elapsed() < due {
                pace.round_trip();
            }
        }
    }
}

#[test]
fn a_client_that_reads_nothing_of_its_answer_is_cut() {
    let server = server(|settings| {
        settings.timeouts.close = Duration::from_millis(200);
        settings.timeouts.handshake = Duration::from_millis(200);
    });
    let mut client = Client::connect_narrow(server.address, 16 * 1024);
    client.send(request("GET /large HTTP/1.1", "").as_bytes());
    eventually("it is there", || server.view.live_bytes() > 0);
    server.expect_empty();
    let mut buffer = vec![0; 256 * 1024];
    let mut received = 0;
    loop {
        match client.stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => received += count,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                break;
            }
        }
    }
    assert!(received < LARGE_BYTES);
}

#[test]
fn bodies_count_as_partial_input_and_the_largest_is_closed() {
    let server = server(|settings| settings.inbound_bytes_max = 400_000);
    let post = |length: usize| {
        request(
            "POST /in/a HTTP/1.1",
            &format!("Content-Length: {length}\r\n"),
        )
    };
    let mut small = Client::connect(server.address);
    small.send((post(20_000) + &"s".repeat(10_000)).as_bytes());
    eventually("it counts", || server.view.inbound_bytes() > 10_000);
    for chunked in [false, true] {
        let mut large = Client::connect(server.address);
        if chunked {
            let head = request("POST /in/a HTTP/1.1", "Transfer-Encoding: chunked\r\n");
            large.send((head + "f0000\r\n").as_bytes());
        } else {
            large.send(post(900_000).as_bytes());
        }
        large.send(&[b'l'; 500_000]);
        let answer = large.answer();
        assert_eq!(answer.status, 503);
        assert!(answer.header("retry-after").is_some());
        eventually("its memory is given back", || {
            server.view.inbound_bytes() < 30_000
        });
    }
    let refused = server.sum(|stats| stats.refused.get(Refusal::InboundBudget));
    assert_eq!(refused, 2);
    small.send("s".repeat(10_000).as_bytes());
    assert_eq!(small.answer().body.len(), "POST /in/a ".len() + 20_000);
    drop(small);
    server.expect_empty();
}

#[test]
fn an_interceptor_answers_plain_requests_but_no_upgrade() {
    let server = Server::start(settings(), |builder| {
        let mirror = builder.endpoint_and_service(EndpointSettings::default(), Mirror);
        builder.route("/mirror", mirror).expect("a path");
        builder.intercept(|request| match request.head.path {
            "/mirror" if request.head.query == Some("taken") => {
                Some(Answer::Now(Response::text(200, "taken\n")))
            }
            "/nowhere" => {
                let told = "Not here.";
                let refused = corecast::engine::Refused::of(Refusal::NotFound, 404, told);
                Some(Answer::Refuse(refused))
            }
            "/panic" => panic!("on purpose"),
            _ => None,
        });
        builder.render_other_refusals(|refused| Response::json(refused.status, refused.code));
    });
    let ask = |method: &str, target: &str, more: &str| {
        let mut client = Client::connect(server.address);
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{more}\r\n").as_bytes());
        let answer = client.answer();
        let body = String::from_utf8(answer.body).expect("UTF-8");
        (answer.status, body)
    };
    let expected = |status: u16, body: &str| (status, body.to_owned());
    assert_eq!(ask("GET", "/mirror?taken", ""), expected(200, "taken\n"));
    // Before the method is judged, and without a body.
    let length = "Content-Length: 1000000\r\n";
    assert_eq!(
        ask("DELETE", "/mirror?taken", length),
        expected(200, "taken\n")
    );
    assert_eq!(ask("GET", "/mirror", ""), expected(200, "GET /mirror "));
    assert_eq!(ask("GET", "/nowhere", ""), expected(404, "not_found"));
    assert_eq!(ask("GET", "/else", ""), expected(404, "not_found"));
    assert_eq!(ask("GET", "/panic", ""), expected(500, "endpoint_failed"));
    let mut client = server.open("/mirror?taken");
    client.text("hello");
    assert_eq!(client.expect_text(), "hello");
    // An unreadable request gets an answer in that form too.
    let mut client = Client::connect(server.address);
    client.send(b"GET /nowhere HTTP/1.1\r\n\r\n");
    assert_eq!(client.answer().body, b"missing_host");
}
