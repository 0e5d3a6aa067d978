//! One row for each offence, and the fields of valid heads.

use HttpError::*;
use proptest::prelude::*;

use super::super::HEADERS_MAX;
use super::*;

const LIMITS: HeadLimits = HeadLimits {
    head_bytes: 4096,
    target_bytes: 64,
};

fn offence(bytes: impl AsRef<[u8]>) -> Option<HttpError> {
    let mut space = HeaderSpace::new();
    Head::parse(bytes.as_ref(), &mut space, &LIMITS).err()
}

/// Parses a whole head and passes it on.
#[track_caller]
fn with_head<T>(text: &str, look: impl FnOnce(&Head<'_>) -> T) -> T {
    let mut space = HeaderSpace::new();
    let parsed = Head::parse(text.as_bytes(), &mut space, &LIMITS);
    let (head, len) = parsed.expect("is allowed").expect("is whole");
    assert_eq!(len, text.len());
    look(&head)
}

/// Malformed heads, and their errors.
const MALFORMED: &[(&str, HttpError)] = &[
    // Lines.
    ("GET / HTTP/1.1\nHost: a\n\n", BadLineEnd),
    ("GET / HTTP/1.1\r\nHost: a\n\r\n", BadLineEnd),
    ("GET / HTTP/1.1\r\nHost: a\r\n\n", BadLineEnd),
    ("GET / HTTP/1.1\r\nHost: a\nX: ", BadLineEnd),
    ("GET / HTTP/1.1\rHost: a\r\n\r\n", BadLineEnd),
    ("GET / HTTP/1.1\r\nA: b\nHo st: a\r\n\r\n", BadLineEnd),
    ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BadLineEnd),
    ("\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BadLineEnd),
    ("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", BadLineEnd),
    (
        "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        EmptyLines,
    ),
    // Request line.
    ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
    (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
    ("\x16\x03\x01\x02", BadRequestLine),
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
    ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
    ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
    ("GET /\r\nHost: a\r\n\r\n", BadTarget),
    ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", BadLineEnd),
    ("GET / HTTQ/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
    ("GET / HTTP/11\r\nHost: a\r\n\r\n", BadRequestLine),
    ("GET / http/1.1\r\nHost: a\r\n\r\n", BadRequestLine),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", UnsupportedVersion),
    ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", UnsupportedVersion),
    ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", UnsupportedVersion),
    ("GET / HTTP/2x0\r\nHost: a\r\n\r\n", UnsupportedVersion),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", UnsupportedVersion),
    // Method.
    (
        "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
        UnknownMethod,
    ),
    ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", UnknownMethod),
    ("BREW / HTTP/1.1\r\nHost: a\r\n\r\n", UnknownMethod),
    ("get / HTTP/1.1\r\nHost: a\r\n\r\n", UnknownMethod),
    // Target.
    ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
    ("GET /\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
    ("GET /é HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
    ("GET /#top HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
    ("GET chat HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
    ("TRACE a HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
    ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
    ("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
    // Headers.
    ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", BadHeaderName),
    ("GET / HTTP/1.1\r\nHost\r\n\r\n", BadHeaderName),
    ("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", BadHeaderName),
    ("GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n", BadHeaderName),
    ("GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", BadHeaderName),
    ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", BadHeaderName),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
        BadHeaderName,
    ),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n",
        BadHeaderName,
    ),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n",
        BadHeaderValue,
    ),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\x08\r\n\r\n",
        BadHeaderValue,
    ),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\x7f\r\n\r\n",
        BadHeaderValue,
    ),
    // Host.
    ("GET / HTTP/1.1\r\n\r\n", MissingHost),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", RepeatedHost),
    ("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", RepeatedHost),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", BadHost),
    ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", BadHost),
    ("GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", BadHost),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", BadHost),
    ("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", HostMismatch),
    ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", HostMismatch),
    // Body.
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        BadLength,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
        BadLength,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        BadLength,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
        BadLength,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
        BadLength,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
        BadLength,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\n",
        RepeatedLength,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        RepeatedLength,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        LengthAndEncoding,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
        RepeatedEncoding,
    ),
    (
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        EncodingInHttp10,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        UnknownEncoding,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        UnknownEncoding,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        UnknownEncoding,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n",
        UnknownEncoding,
    ),
    // Expectation.
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 200-ok\r\n\r\n",
        UnknownExpectation,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\n\r\n",
        UnknownExpectation,
    ),
];

#[test]
fn malformed_requests_are_refused_by_name() {
    for (text, error) in MALFORMED {
        assert_eq!(offence(text), Some(*error), "{text:?}");
        // Found at the latest when the head is whole, and never accepted before.
        for cut in 0..text.len() {
            let early = offence(&text.as_bytes()[..cut]);
            assert!(
                early.is_none() || early == Some(*error),
                "{text:?} cut at {cut}: {early:?}"
            );
        }
    }
}

#[test]
fn an_offence_is_named_alike_in_any_pieces() {
    let far_behind = format!("GET /\u{1}{}", "a".repeat(LIMITS.target_bytes));
    let rows = MALFORMED.iter().copied();
    for (text, error) in rows.chain([(far_behind.as_str(), BadTarget)]) {
        assert_eq!(offence(text), Some(error), "{text:?}");
        // Byte by byte, the first offence decides.
        let first = (0..=text.len()).find_map(|len| offence(&text.as_bytes()[..len]));
        assert_eq!(first, Some(error), "{text:?}");
    }
}

#[test]
fn every_offence_has_its_status() {
    for (error, status) in [
        (HttpError::BadLineEnd, 400),
        (HttpError::MissingHost, 400),
        (HttpError::RepeatedLength, 400),
        (HttpError::BodyTooLarge, 413),
        (HttpError::TargetTooLong, 414),
        (HttpError::HeadTooLarge, 431),
        (HttpError::TooManyHeaders, 431),
        (HttpError::TrailersTooLarge, 431),
        (HttpError::UnknownExpectation, 417),
        (HttpError::UnknownMethod, 501),
        (HttpError::UnknownEncoding, 501),
        (HttpError::UnsupportedVersion, 505),
    ] {
        assert_eq!(error.status(), status, "{}", error.name());
        assert!(!error.message().is_empty());
    }
}

#[test]
fn a_target_over_the_limit_is_refused_as_soon_as_it_shows() {
    let target = format!("/{}", "a".repeat(LIMITS.target_bytes - 1));
    assert_eq!(
        offence(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")),
        None
    );
    assert_eq!(offence(format!("GET {target}")), None);
    assert_eq!(
        offence(format!("GET {target}a")),
        Some(HttpError::TargetTooLong)
    );
    let whole = format!("GET {target}a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(offence(whole), Some(HttpError::TargetTooLong));
}

#[test]
fn a_head_at_its_limit_passes_and_one_over_is_refused() {
    let (before, after) = ("GET / HTTP/1.1\r\nHost: a\r\nX: ", "\r\n\r\n");
    let filler = LIMITS.head_bytes - before.len() - after.len();
    let exact = format!("{before}{}{after}", "x".repeat(filler));
    assert_eq!(exact.len(), LIMITS.head_bytes);
    with_head(&exact, |head| assert_eq!(head.headers.len(), 2));
    let over = format!("{before}{}{after}", "x".repeat(filler + 1));
    assert_eq!(offence(over), Some(HttpError::HeadTooLarge));
}

#[test]
fn an_unfinished_head_is_refused_once_it_cannot_fit() {
    let endless = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}",
        "x".repeat(LIMITS.head_bytes)
    );
    assert_eq!(offence(&endless[..LIMITS.head_bytes - 1]), None);
    assert_eq!(
        offence(&endless[..LIMITS.head_bytes]),
        Some(HttpError::HeadTooLarge)
    );
}

#[test]
fn bytes_behind_the_head_do_not_count_against_it() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let bytes = [head.as_bytes(), &[0; 10_000]].concat();
    let mut space = HeaderSpace::new();
    let (_, len) = Head::parse(&bytes, &mut space, &LIMITS).unwrap().unwrap();
    assert_eq!(len, head.len());
}

#[test]
fn a_hundred_headers_pass_and_one_more_is_refused() {
    let head = |count: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "X: y\r\n".repeat(count - 1)
        )
    };
    with_head(&head(HEADERS_MAX), |head| {
        assert_eq!(head.headers.len(), HEADERS_MAX);
    });
    assert_eq!(
        offence(head(HEADERS_MAX + 1)),
        Some(HttpError::TooManyHeaders)
    );
}

#[test]
fn a_few_empty_lines_before_the_request_are_skipped() {
    let text = "\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    with_head(text, |head| assert_eq!(head.path, "/"));
}

#[test]
fn a_head_in_pieces_is_incomplete_until_its_last_byte() {
    let text = "\r\nGET /a?b HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    for cut in 0..text.len() {
        let mut space = HeaderSpace::new();
        let parsed = Head::parse(&text.as_bytes()[..cut], &mut space, &LIMITS);
        assert!(matches!(parsed, Ok(None)), "cut at {cut}");
    }
    with_head(text, |head| assert_eq!(head.target, "/a?b"));
}

#[test]
fn targets_are_split_into_path_and_query() {
    for (line, path, query) in [
        ("GET /", "/", None),
        ("GET /a/b%20c", "/a/b%20c", None),
        ("GET /a?", "/a", Some("")),
        ("GET /a?b=c?d", "/a", Some("b=c?d")),
        ("GET //a", "//a", None),
        ("GET http://EXAMPLE.com:80/x?y", "/x", Some("y")),
        ("GET ws://example.com:80", "/", None),
        ("GET http://example.com:80?y", "/", Some("y")),
        ("OPTIONS *", "*", None),
    ] {
        let text = format!("{line} HTTP/1.1\r\nHost: example.com:80\r\n\r\n");
        with_head(&text, |head| {
            assert_eq!((head.path, head.query), (path, query), "{line}");
        });
    }
}

#[test]
fn hosts_may_be_names_and_addresses_and_empty() {
    for host in [
        "a",
        "a.example:8443",
        "127.0.0.1:80",
        "[::1]:8443",
        "xn--a_b",
        "",
    ] {
        assert_eq!(
            offence(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")),
            None,
            "{host}"
        );
    }
    assert_eq!(offence("GET / HTTP/1.0\r\n\r\n"), None);
}

#[test]
fn bodies_are_announced_by_length_or_in_chunks() {
    for (headers, body) in [
        ("", BodyLength::None),
        ("Content-Length: 0\r\n", BodyLength::Length(0)),
        ("content-length:  42 \r\n", BodyLength::Length(42)),
        ("Transfer-Encoding: Chunked\r\n", BodyLength::Chunked),
    ] {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        with_head(&text, |head| assert_eq!(head.body, body, "{headers}"));
    }
}

#[test]
fn a_100_is_expected_in_http11_alone() {
    for (version, headers, expected) in [
        ("1.1", "", false),
        ("1.1", "Expect: 100-continue\r\n", true),
        ("1.1", "EXPECT: 100-Continue\r\n", true),
        (
            "1.1",
            "Expect: 100-continue\r\nExpect: 100-continue\r\n",
            true,
        ),
        ("1.1", "Expect:\r\n", false),
        ("1.0", "Expect: 100-continue\r\n", false),
        ("1.0", "Expect: anything\r\n", false),
    ] {
        let text = format!("POST / HTTP/{version}\r\nHost: a\r\n{headers}\r\n");
        with_head(&text, |head| {
            assert_eq!(head.expects_continue, expected, "{text:?}");
        });
    }
}

#[test]
fn headers_are_found_in_any_case_and_over_several_lines() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nAccept: x, Y ,,\tz\r\naccept: w\r\nEmpty:\r\n\r\n";
    with_head(text, |head| {
        assert_eq!(head.header("ACCEPT"), Some("x, Y ,,\tz"));
        assert_eq!(
            head.headers_named("Accept").collect::<Vec<_>>(),
            ["x, Y ,,\tz", "w"]
        );
        assert_eq!(
            (head.header("empty"), head.header("absent")),
            (Some(""), None)
        );
        for token in ["X", "y", "z", "w"] {
            assert!(head.has_token("accept", token), "{token}");
        }
        assert!(!head.has_token("accept", "x, Y") && !head.has_token("accept", ""));
    });
}

#[test]
fn a_header_that_is_not_utf8_reads_as_absent() {
    let mut space = HeaderSpace::new();
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nX: \xFF\r\n\r\n";
    let (head, _) = Head::parse(bytes, &mut space, &LIMITS).unwrap().unwrap();
    assert_eq!(head.header("x"), None);
    assert_eq!(head.headers_named("x").count(), 0);
}

#[test]
fn a_token_is_found_beside_what_is_not_utf8() {
    let mut space = HeaderSpace::new();
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: \xFF,\t Close \r\n\r\n";
    let (head, _) = Head::parse(bytes, &mut space, &LIMITS).unwrap().unwrap();
    assert!(head.has_token("connection", "close") && !head.keep_alive());
}

#[test]
fn http11_is_kept_alive_by_default_and_http10_never() {
    for (version, headers, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: keep-alive, Close\r\n", false),
        (
            "1.1",
            "Connection: keep-alive\r\nConnection: close\r\n",
            false,
        ),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", false),
    ] {
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{headers}\r\n");
        with_head(&text, |head| {
            assert_eq!(head.keep_alive(), keep_alive, "{text:?}");
        });
    }
}

#[test]
fn an_upgrade_is_asked_for_by_token() {
    for (headers, is_upgrade) in [
        ("Upgrade: websocket\r\n", true),
        ("upgrade: h2c, WebSocket\r\n", true),
        ("Upgrade: websockets\r\n", false),
        ("", false),
    ] {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        with_head(&text, |head| {
            assert_eq!(head.is_upgrade(), is_upgrade, "{headers}");
        });
    }
}

proptest! {
    #[test]
    fn a_head_is_found_at_one_place_or_not_at_all(
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        behind in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = b"GET /a?b HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n".to_vec();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let judge = |bytes: &[u8]| {
            let mut space = HeaderSpace::new();
            Head::parse(bytes, &mut space, &LIMITS).map(|parsed| parsed.map(|(_, len)| len))
        };
        if let Ok(Some(len)) = judge(&bytes) {
            bytes.truncate(len);
            for cut in 0..len {
                prop_assert_eq!(judge(&bytes[..cut]), Ok(None), "cut at {}", cut);
            }
            bytes.extend_from_slice(&behind);
            prop_assert_eq!(judge(&bytes), Ok(Some(len)));
        } else {
            // Any bytes are handled without a panic.
            bytes.extend_from_slice(&behind);
            let _ = judge(&bytes);
        }
    }
}
