//! The opening handshake, server side (RFC 6455 §4.2).
//!
//! The engine calls [`check`] with a parsed head whose path belongs to an endpoint, and answers
//! with [`append_accept`] once the endpoint admitted it, else with a
//! [`Response`]. A refused upgrade always tells the client what would have been accepted.

use httparse::Header;
use tungstenite::handshake::derive_accept_key;

use super::http::{BodyLength, Head, Response, is_emittable, list_items};

/// The one version of the protocol (RFC 6455 §4.1).
const VERSION: &str = "13";
/// Sixteen bytes in base64: 22 digits and two of padding.
const KEY_BYTES: usize = 24;

/// An upgrade that may be accepted.
#[derive(Clone, Copy, Debug)]
pub struct Upgrade<'b> {
    /// `Sec-WebSocket-Key`: the base64 of 16 bytes.
    pub key: &'b str,
    headers: &'b [Header<'b>],
}

impl<'b> Upgrade<'b> {
    /// The subprotocols that the client offers, in its order of preference.
    pub fn protocols(&self) -> impl Iterator<Item = &'b str> + use<'b> {
        list_items(self.headers, "sec-websocket-protocol")
    }
}

/// Why a request does not become a WebSocket. One variant for each offence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandshakeError {
    /// RFC 6455 §4.1: only GET upgrades.
    #[error("a WebSocket is opened by GET")]
    MethodNotGet,
    /// The request asks for no WebSocket.
    #[error("this address speaks WebSocket: connect with a WebSocket client")]
    NotAnUpgrade,
    /// RFC 6455 §4.1: HTTP/1.1 or higher.
    #[error("a WebSocket needs HTTP/1.1")]
    Http10,
    /// RFC 6455 §4.2.1: `Connection` has no token `Upgrade`.
    #[error("Connection: Upgrade is missing")]
    NoConnectionUpgrade,
    /// An upgrade with a body, which could be taken for frames.
    #[error("an upgrade has no body")]
    HasBody,
    /// `Sec-WebSocket-Version` is missing or repeated.
    #[error("Sec-WebSocket-Version is missing or repeated")]
    NoVersion,
    /// RFC 6455 §4.4: another version than 13.
    #[error("only version 13 of the WebSocket protocol is spoken here")]
    UnsupportedVersion,
    /// `Sec-WebSocket-Key` is missing or repeated.
    #[error("Sec-WebSocket-Key is missing or repeated")]
    NoKey,
    /// RFC 6455 §4.2.1: a key that is not the base64 of 16 bytes.
    #[error("Sec-WebSocket-Key is not the base64 of 16 bytes")]
    BadKey,
}

impl HandshakeError {
    /// A fixed word for metric labels and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::MethodNotGet => "method_not_get",
            Self::NotAnUpgrade => "not_an_upgrade",
            Self::Http10 => "http10",
            Self::NoConnectionUpgrade => "no_connection_upgrade",
            Self::HasBody => "has_body",
            Self::NoVersion => "no_version",
            Self::UnsupportedVersion => "unsupported_version",
            Self::NoKey => "no_key",
            Self::BadKey => "bad_key",
        }
    }

    /// The answer, with the header that says what would have been accepted.
    pub fn response(self) -> Response {
        let (status, name, value) = match self {
            Self::MethodNotGet => (405, "Allow", "GET"),
            Self::NotAnUpgrade => (426, "Upgrade", "websocket"),
            Self::UnsupportedVersion => (426, "Sec-WebSocket-Version", VERSION),
            _ => (400, "Sec-WebSocket-Version", VERSION),
        };
        let response = Response::text(status, format!("{self}\n")).with_header(name, value);
        match self {
            // RFC 9110 §15.5.22: a 426 names the protocol.
            Self::UnsupportedVersion => response.with_header("Upgrade", "websocket"),
            _ => response,
        }
    }
}

/// Judges a request as an upgrade (RFC 6455 §4.2.1).
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
    Ok(Upgrade {
        key,
        headers: head.headers,
    })
}

/// The value of a header that is there exactly once.
fn only<'b>(head: &Head<'b>, name: &str) -> Option<&'b str> {
    let mut values = head.headers_named(name);
    values.next().filter(|_| values.next().is_none())
}

/// The form of 16 bytes in base64. Unused bits of the last digit may be set (RFC 4648 §3.5): the
/// answer is derived from the text, not from the bytes.
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
/// line are left out.
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
