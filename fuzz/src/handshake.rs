//! Requests for a WebSocket upgrade (RFC 6455 §4.2).

use std::net::IpAddr;
use std::time::UNIX_EPOCH;

use corecast::wire::forwarded::{Client, client};
use corecast::wire::handshake::{self, Upgrade};
use corecast::wire::http::{Head, HeadLimits, Header, HeaderSpace, percent_decode};
use tungstenite::handshake::server::{Request, create_response};
use tungstenite::http::{HeaderName, HeaderValue, Version};

const LIMITS: HeadLimits = HeadLimits {
    head_bytes: 4096,
    target_bytes: 1024,
};
/// Precedes an input that begins with `+`, so that it tests one header at a time.
const GOOD_UPGRADE: &[u8] = b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The target: every request gets an answer that a client can parse, and no upgrade is accepted
/// that tungstenite refuses. An input is a request, or after a `+` further lines of a valid one.
///
/// # Panics
///
/// If that does not hold.
pub(crate) fn handshake(data: &[u8]) {
    let request = match data.strip_prefix(b"+") {
        Some(lines) => [GOOD_UPGRADE, lines, b"\r\n\r\n"].concat(),
        None => data.to_vec(),
    };
    let mut space = HeaderSpace::new();
    let Ok(Some((head, _))) = Head::parse(&request, &mut space, &LIMITS) else {
        return;
    };
    for segment in head.path.split('/') {
        check_percent(segment);
    }
    check_forwarded(&head);
    match handshake::check(&head) {
        Ok(upgrade) => check_accepted(&head, &upgrade),
        Err(error) => {
            let mut answer = Vec::new();
            error
                .response()
                .append_to(&mut answer, UNIX_EPOCH, false, false);
            let (status, body) = read_answer(&answer, &[]);
            assert!(matches!(status, 400 | 405 | 426), "{status}");
            assert!(!body.is_empty(), "a refusal gives its reason");
        }
    }
}

fn check_accepted(head: &Head<'_>, upgrade: &Upgrade<'_>) {
    let protocol = upgrade.protocols().last();
    let broken = protocol.unwrap_or("none");
    let extra = [
        ("X-Extra", "1"),
        ("X-Broken", "a\r\nb: c"),
        ("X\r\n", broken),
    ];
    let mut answer = Vec::new();
    handshake::append_accept(&mut answer, upgrade, protocol, &extra);
    let accept = tungstenite::handshake::derive_accept_key(upgrade.key.as_bytes());
    let expected = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept.as_str()),
        ("X-Extra", "1"),
    ];
    let (status, rest) = read_answer(&answer, &expected);
    assert_eq!((status, rest.len()), (101, 0));

    let Some(request) = as_tungstenites(head).filter(|_| is_comparable(head, upgrade)) else {
        return;
    };
    let theirs = create_response(&request).expect("tungstenite accepts it too");
    assert_eq!(theirs.headers()["Sec-WebSocket-Accept"], accept.as_str());
}

/// Whether tungstenite must agree. It reads only the first `Connection`, only ASCII and no tabs in
/// it, wants `Upgrade` to be one word, and the unused bits of the key to be zero (RFC 4648 §3.5
/// leaves that to the reader, and the answer does not depend on them).
fn is_comparable(head: &Head<'_>, upgrade: &Upgrade<'_>) -> bool {
    let only = |name: &str| {
        let mut named = head
            .headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case(name));
        named
            .next()
            .filter(|_| named.next().is_none())
            .map(|header| header.value)
    };
    only("connection").is_some_and(|value| value.is_ascii() && !value.contains(&b'\t'))
        && only("upgrade").is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
        && matches!(
            upgrade.key.as_bytes().get(21),
            Some(b'A' | b'Q' | b'g' | b'w')
        )
}

/// The status of an answer and the bytes after its head, which must have these headers.
fn read_answer<'a>(answer: &'a [u8], expected: &[(&str, &str)]) -> (u16, &'a [u8]) {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(answer).expect("an answer in HTTP");
    assert!(parsed.is_complete(), "the answer is not whole");
    for (name, value) in expected {
        let mut named = response
            .headers
            .iter()
            .filter(|header| header.name == *name);
        assert_eq!(
            named.next().map(|header| header.value),
            Some(value.as_bytes()),
            "{name}"
        );
        assert!(named.next().is_none(), "{name} is repeated");
    }
    (
        response.code.unwrap_or_default(),
        &answer[parsed.unwrap()..],
    )
}

/// The request in tungstenite's types; `None` if they cannot represent it.
fn as_tungstenites(head: &Head<'_>) -> Option<Request> {
    let mut request = Request::builder()
        .method(head.method)
        .uri(head.target)
        .version(Version::HTTP_11)
        .body(())
        .ok()?;
    for header in head.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        let value = HeaderValue::from_bytes(header.value).ok()?;
        request.headers_mut().append(name, value);
    }
    Some(request)
}

/// A client cannot forge the header of the first untrusted proxy: a line of its own before that
/// proxy's changes nothing.
fn check_forwarded(head: &Head<'_>) {
    let is_trusted: [fn(IpAddr) -> bool; 2] = [|_| false, |ip| ip.is_loopback()];
    for is_trusted in is_trusted {
        let Ok(Client::Address(ip)) = client(head, is_trusted) else {
            continue;
        };
        if is_trusted(ip) {
            continue;
        }
        for name in ["forwarded", "x-forwarded-for"] {
            let is_of = |header: &Header<'_>, name| header.name.eq_ignore_ascii_case(name);
            if !head.headers.iter().any(|header| is_of(&header, name)) {
                continue;
            }
            // Nothing else in the head decides the client.
            let first =
                format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: for=192.0.2.1, 192.0.2.1\r\n");
            let mut lie = first.into_bytes();
            for header in head.headers {
                if is_of(&header, "forwarded") || is_of(&header, "x-forwarded-for") {
                    lie.extend([header.name.as_bytes(), b": ", header.value, b"\r\n"].concat());
                }
            }
            lie.extend(b"\r\n");
            let limits = HeadLimits {
                head_bytes: usize::MAX,
                target_bytes: usize::MAX,
            };
            let mut space = HeaderSpace::new();
            let Ok(Some((with_lie, _))) = Head::parse(&lie, &mut space, &limits) else {
                continue;
            };
            assert_eq!(
                client(&with_lie, is_trusted),
                Ok(Client::Address(ip)),
                "{name}"
            );
        }
    }
}

/// Decoding, encoding in full and decoding again gives the same.
fn check_percent(segment: &str) {
    let Some(decoded) = percent_decode(segment) else {
        return;
    };
    let encoded: String = decoded.bytes().map(|byte| format!("%{byte:02X}")).collect();
    assert_eq!(percent_decode(&encoded), Some(decoded));
}
