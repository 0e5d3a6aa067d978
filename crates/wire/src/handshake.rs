//! The opening handshake, server side (RFC 6455 §4.2).
//!
//! The engine calls [`check`] with a parsed head whose path belongs to an endpoint, and answers
//! with [`append_accept`] once the endpoint has admitted it, else with a [`Response`]. A refused
//! upgrade always tells the client which values would have been accepted.

use strum::{IntoStaticStr, VariantArray};
use tungstenite::handshake::derive_accept_key;

use super::deflate::offer::{Agreement, negotiate};
use super::http::{BodyLength, Head, Header, Headers, Response, is_emittable, list_items};

/// The only version of the protocol (RFC 6455 §4.1).
const VERSION: &str = "13";
/// Sixteen bytes in base64: 22 digits and two of padding.
const KEY_BYTES: usize = 24;

/// An upgrade that may be accepted.
#[derive(Clone, Copy, Debug)]
pub struct Upgrade<'b> {
    /// `Sec-WebSocket-Key`: the base64 of 16 bytes.
    pub key: &'b str,
    /// The compression that the client offers and the server can accept (RFC 7692 §7.1).
    pub deflate: Option<Agreement>,
    headers: Headers<'b>,
}

impl<'b> Upgrade<'b> {
    /// The subprotocols that the client offers, in its order of preference.
    pub fn protocols(&self) -> impl Iterator<Item = &'b str> + use<'b> {
        list_items(self.headers, "sec-websocket-protocol")
    }
}

/// Why a request cannot become a WebSocket. One variant for each offence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum HandshakeError {
    /// RFC 6455 §4.1: only GET upgrades.
    #[error("a WebSocket is opened by GET")]
    MethodNotGet,
    /// The request does not ask for a WebSocket.
    #[error("this address speaks WebSocket: connect with a WebSocket client")]
    NotAnUpgrade,
    /// RFC 6455 §4.1: HTTP/1.1 or higher.
    #[error("a WebSocket needs HTTP/1.1")]
    Http10,
    /// RFC 6455 §4.2.1: `Connection` has no token `Upgrade`.
    #[error("Connection: Upgrade is missing")]
    NoConnectionUpgrade,
    /// An upgrade with a body, which could be mistaken for frames.
    #[error("an upgrade has no body")]
    HasBody,
    /// `Sec-WebSocket-Version` is missing or repeated.
    #[error("Sec-WebSocket-Version is missing or repeated")]
    NoVersion,
    /// RFC 6455 §4.4: a version other than 13.
    #[error("only version 13 of the WebSocket protocol is supported")]
    UnsupportedVersion,
    /// `Sec-WebSocket-Key` is missing or repeated.
    #[error("Sec-WebSocket-Key is missing or repeated")]
    NoKey,
    /// RFC 6455 §4.2.1: a key that is not the base64 of 16 bytes.
    #[error("Sec-WebSocket-Key is not the base64 of 16 bytes")]
    BadKey,
    /// RFC 6455 §9.1: extensions that do not follow the grammar.
    #[error("Sec-WebSocket-Extensions is malformed")]
    BadExtensions,
}

impl HandshakeError {
    /// A fixed word for metric labels and logs.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::MethodNotGet => 405,
            Self::NotAnUpgrade | Self::UnsupportedVersion => 426,
            _ => 400,
        }
    }

    /// The headers of the answer that list the values that would have been accepted.
    pub fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::MethodNotGet => &[("Allow", "GET")],
            Self::NotAnUpgrade => &[("Upgrade", "websocket")],
            // RFC 9110 §15.5.22: a 426 names the protocol.
            Self::UnsupportedVersion => {
                &[("Sec-WebSocket-Version", VERSION), ("Upgrade", "websocket")]
            }
            _ => &[("Sec-WebSocket-Version", VERSION)],
        }
    }

    /// The answer as a line of text, with the headers.
    pub fn response(self) -> Response {
        let response = Response::text(self.status(), format!("{self}\n"));
        let headers = self.headers().iter();
        headers.fold(response, |response, (name, value)| {
            response.with_header(*name, *value)
        })
    }
}

/// Checks a request as an upgrade (RFC 6455 §4.2.1).
///
/// # Errors
///
/// The first offence; its [`HandshakeError::response`] answers the request.
pub fn check<'b>(head: &Head<'b>) -> Result<Upgrade<'b>, HandshakeError> {
    if head.method != "GET" {
        return Err(HandshakeError::MethodNotGet);
    }
    if !head.is_upgrade() {
        return Err(HandshakeError::NotAnUpgrade);
    }
    if head.version == 0 {
        return Err(HandshakeError::Http10);
    }
    if !head.has_token("connection", "upgrade") {
        return Err(HandshakeError::NoConnectionUpgrade);
    }
    if !matches!(head.body, BodyLength::None | BodyLength::Length(0)) {
        return Err(HandshakeError::HasBody);
    }
    let version = only(head, "sec-websocket-version").ok_or(HandshakeError::NoVersion)?;
    if version != VERSION {
        return Err(HandshakeError::UnsupportedVersion);
    }
    let key = only(head, "sec-websocket-key").ok_or(HandshakeError::NoKey)?;
    if !is_key(key) {
        return Err(HandshakeError::BadKey);
    }
    let extensions = head.headers_named("sec-websocket-extensions");
    let deflate = negotiate(extensions).map_err(|_| HandshakeError::BadExtensions)?;
    Ok(Upgrade {
        key,
        deflate,
        headers: head.headers,
    })
}

/// The header's value if it occurs exactly once; a duplicate that is not UTF-8 still counts.
fn only<'b>(head: &Head<'b>, name: &str) -> Option<&'b str> {
    let is_named = |header: &Header<'b>| header.name.eq_ignore_ascii_case(name);
    let mut named = head.headers.iter().filter(is_named);
    let value = named.next()?.value;
    match named.next() {
        None => std::str::from_utf8(value).ok(),
        Some(_) => None,
    }
}

/// The form of 16 bytes in base64. Unused bits of the last digit may be set (RFC 4648 §3.5): the
/// response is derived from the text, not from the bytes.
fn is_key(key: &str) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == KEY_BYTES
        && key
            .as_bytes()
            .strip_suffix(b"==")
            .is_some_and(|digits| digits.iter().all(is_digit))
}

/// Appends the 101 (RFC 6455 §4.2.2).
///
/// `protocol` must be one of [`Upgrade::protocols`]. Extra headers that would break out of their
/// line are left out. If [`Upgrade::deflate`] is accepted, its header must be among them.
pub fn append_accept(
    out: &mut Vec<u8>,
    upgrade: &Upgrade<'_>,
    protocol: Option<&str>,
    extra: &[(&str, &str)],
) {
    debug_assert!(protocol.is_none_or(|chosen| upgrade.protocols().any(|name| name == chosen)));
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\n\
          Upgrade: websocket\r\n\
          Connection: Upgrade\r\n\
          Sec-WebSocket-Accept: ",
    );
    out.extend_from_slice(derive_accept_key(upgrade.key.as_bytes()).as_bytes());
    out.extend_from_slice(b"\r\n");
    let protocol = protocol.map(|chosen| ("Sec-WebSocket-Protocol", chosen));
    for (name, value) in protocol.iter().chain(extra) {
        if is_emittable(name, value) {
            for part in [name, ": ", value, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use HandshakeError::*;

    use super::*;
    use crate::http::{HeadLimits, HeaderSpace};

    const GET: &str = "GET / HTTP/1.1";
    const LIMITS: HeadLimits = HeadLimits {
        head_bytes: 4096,
        target_bytes: 1024,
    };
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const V13: &str = "Sec-WebSocket-Version: 13\r\n";
    const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n";

    /// A refusal, its status, and its headers besides the content type.
    type Refusal = (HandshakeError, u16, &'static [(&'static str, &'static str)]);

    /// Checks a request line and headers, and passes the outcome on.
    fn judge<T>(
        line: &str,
        headers: &[&str],
        look: impl FnOnce(Result<Upgrade<'_>, HandshakeError>) -> T,
    ) -> T {
        let text = format!("{line}\r\nHost: a\r\n{}\r\n", headers.concat());
        let mut space = HeaderSpace::new();
        let (head, _) = Head::parse(text.as_bytes(), &mut space, &LIMITS)
            .unwrap()
            .unwrap();
        look(check(&head))
    }

    fn offence(line: &str, headers: &[&str]) -> Option<HandshakeError> {
        judge(line, headers, |outcome| outcome.map(drop)).err()
    }

    #[test]
    fn the_example_of_the_standard_is_accepted() {
        let mut out = Vec::new();
        judge("GET /chat HTTP/1.1", &[UPGRADE, KEY, V13], |outcome| {
            append_accept(&mut out, &outcome.unwrap(), None, &[]);
        });
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        );
    }

    #[test]
    fn careless_but_clear_upgrades_are_accepted() {
        let firefox = "Connection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n";
        assert_eq!(offence(GET, &[firefox, KEY, V13]), None);
        assert_eq!(
            offence(GET, &[UPGRADE, KEY, V13, "Content-Length: 0\r\n"]),
            None
        );
        let set_bits = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA/+==\r\n";
        assert_eq!(offence(GET, &[UPGRADE, set_bits, V13]), None);
    }

    /// Request line, headers, and the offence.
    const BAD_UPGRADES: &[(&str, &[&str], HandshakeError)] = &[
        ("POST / HTTP/1.1", &[UPGRADE, KEY, V13], MethodNotGet),
        ("HEAD / HTTP/1.1", &[UPGRADE, KEY, V13], MethodNotGet),
        ("POST / HTTP/1.1", &[], MethodNotGet),
        (GET, &[], NotAnUpgrade),
        (GET, &["Connection: Upgrade\r\n", KEY, V13], NotAnUpgrade),
        (
            GET,
            &["Upgrade: h2c\r\nConnection: Upgrade\r\n"],
            NotAnUpgrade,
        ),
        ("GET / HTTP/1.0", &[UPGRADE, KEY, V13], Http10),
        (
            GET,
            &["Upgrade: websocket\r\n", KEY, V13],
            NoConnectionUpgrade,
        ),
        (
            GET,
            &["Upgrade: websocket\r\nConnection: keep-alive\r\n", KEY, V13],
            NoConnectionUpgrade,
        ),
        (GET, &[UPGRADE, KEY, V13, "Content-Length: 1\r\n"], HasBody),
        (
            GET,
            &[UPGRADE, KEY, V13, "Transfer-Encoding: chunked\r\n"],
            HasBody,
        ),
        (GET, &[UPGRADE, KEY], NoVersion),
        (GET, &[UPGRADE, KEY, V13, V13], NoVersion),
        (
            GET,
            &[UPGRADE, KEY, "Sec-WebSocket-Version: 8\r\n"],
            UnsupportedVersion,
        ),
        (
            GET,
            &[UPGRADE, KEY, "Sec-WebSocket-Version: 13, 8\r\n"],
            UnsupportedVersion,
        ),
        (GET, &[UPGRADE, V13], NoKey),
        (GET, &[UPGRADE, KEY, KEY, V13], NoKey),
        (GET, &[UPGRADE, V13, "Sec-WebSocket-Key:\r\n"], BadKey),
        (
            GET,
            &[UPGRADE, V13, "Sec-WebSocket-Key: c2hvcnQ=\r\n"],
            BadKey,
        ),
        (
            GET,
            &[
                UPGRADE,
                V13,
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=a\r\n",
            ],
            BadKey,
        ),
        (
            GET,
            &[
                UPGRADE,
                V13,
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ===\r\n",
            ],
            BadKey,
        ),
        (
            GET,
            &[
                UPGRADE,
                V13,
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub-5jZQ==\r\n",
            ],
            BadKey,
        ),
        (
            GET,
            &[
                UPGRADE,
                V13,
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAAAA==\r\n",
            ],
            BadKey,
        ),
        (
            GET,
            &[UPGRADE, KEY, V13, "Sec-WebSocket-Extensions: a; =b\r\n"],
            BadExtensions,
        ),
    ];

    #[test]
    fn bad_upgrades_are_refused_by_name() {
        for (line, headers, error) in BAD_UPGRADES {
            assert_eq!(offence(line, headers), Some(*error), "{line} {headers:?}");
        }
    }

    #[test]
    fn a_repeated_header_counts_even_if_not_utf8() {
        let fields = [UPGRADE, KEY, V13].concat();
        let mut text = format!("{GET}\r\nHost: a\r\n{fields}").into_bytes();
        text.extend_from_slice(b"Sec-WebSocket-Version: 13\xFF\r\n\r\n");
        let mut space = HeaderSpace::new();
        let (head, _) = Head::parse(&text, &mut space, &LIMITS).unwrap().unwrap();
        assert_eq!(check(&head).map(drop), Err(NoVersion));
    }

    #[test]
    fn a_refusal_says_what_would_have_been_accepted() {
        let version = &[("Sec-WebSocket-Version", "13")];
        let rows: &[Refusal] = &[
            (MethodNotGet, 405, &[("Allow", "GET")]),
            (NotAnUpgrade, 426, &[("Upgrade", "websocket")]),
            (Http10, 400, version),
            (NoConnectionUpgrade, 400, version),
            (HasBody, 400, version),
            (NoVersion, 400, version),
            (
                UnsupportedVersion,
                426,
                &[("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")],
            ),
            (NoKey, 400, version),
            (BadKey, 400, version),
            (BadExtensions, 400, version),
        ];
        for (error, status, wanted) in rows {
            let response = error.response();
            assert_eq!(response.status, *status, "{}", error.name());
            let headers: Vec<_> = response
                .headers
                .iter()
                .map(|(name, value)| (&**name, &**value))
                .collect();
            assert_eq!(headers[0].0, "Content-Type");
            assert_eq!(&headers[1..], *wanted, "{}", error.name());
            assert_eq!(response.body.last(), Some(&b'\n'));
        }
    }

    #[test]
    fn offered_subprotocols_are_listed_and_the_chosen_one_is_sent() {
        let offers = "Sec-WebSocket-Protocol: chat, superchat\r\nsec-websocket-protocol: v2\r\n";
        judge("GET / HTTP/1.1", &[UPGRADE, KEY, V13, offers], |outcome| {
            let upgrade = outcome.unwrap();
            assert_eq!(
                upgrade.protocols().collect::<Vec<_>>(),
                ["chat", "superchat", "v2"]
            );
            let mut out = Vec::new();
            let extra = [("X-Shard", "1"), ("X-Evil", "a\r\nb"), ("X\r\n", "c")];
            append_accept(&mut out, &upgrade, Some("superchat"), &extra);
            let text = String::from_utf8(out).unwrap();
            let tail = "=\r\nSec-WebSocket-Protocol: superchat\r\nX-Shard: 1\r\n\r\n";
            assert!(text.ends_with(tail), "{text}");
        });
    }
}
