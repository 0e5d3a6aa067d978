//! The client's side of the opening handshake (RFC 6455 §4.1, RFC 7692 §7.1), without I/O.

use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

/// The most bytes that a response head may have.
pub(crate) const HEAD_BYTES_MAX: usize = 16 << 10;

const DEFLATE: &str = "permessage-deflate";
const SERVER_NO_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_TAKEOVER: &str = "client_no_context_takeover";

/// A handshake whose request was built and whose response is awaited.
#[derive(Debug)]
pub(crate) struct Handshake {
    accept: String,
    offers_deflate: bool,
}

/// A valid response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Bytes of the head; any bytes after it are frames.
    pub(crate) head_bytes: usize,
    /// The server may compress.
    pub(crate) deflate: bool,
}

impl Handshake {
    /// Builds the request for `path` (with its query) at `host` (with its port).
    pub(crate) fn request(host: &str, path: &str, offers_deflate: bool) -> (Self, Vec<u8>) {
        let key = generate_key();
        let offer = match offers_deflate {
            true => format!(
                "Sec-WebSocket-Extensions: {DEFLATE}; {SERVER_NO_TAKEOVER}; \
                 {CLIENT_NO_TAKEOVER}\r\n"
            ),
            false => String::new(),
        };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n"
        );
        (
            Self {
                accept: derive_accept_key(key.as_bytes()),
                offers_deflate,
            },
            request.into_bytes(),
        )
    }

    /// Parses the response. `None`: not complete yet.
    ///
    /// # Errors
    /// The fault of the response, in a few words.
    pub(crate) fn answer(&self, bytes: &[u8]) -> Result<Option<Answer>, String> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return match bytes.len() {
                0..HEAD_BYTES_MAX => Ok(None),
                _ => Err(format!(
                    "the answer's head is larger than {HEAD_BYTES_MAX} bytes"
                )),
            };
        };
        let head = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap_or_default();
        let Some(rest) = status.strip_prefix("HTTP/1.1 ") else {
            return Err("the answer is not HTTP/1.1".to_owned());
        };
        if !rest.starts_with("101") {
            let status = rest.trim();
            let hint = hint(status.split(' ').next().unwrap_or_default());
            return Err(format!(
                "the server answered {}{hint}",
                status.escape_debug()
            ));
        }
        let deflate = self.check_headers(lines)?;
        Ok(Some(Answer {
            head_bytes: end + 4,
            deflate,
        }))
    }

    /// Returns true if the server agreed to compress.
    fn check_headers<'a>(&self, lines: impl Iterator<Item = &'a str>) -> Result<bool, String> {
        let mut deflate = false;
        let (mut upgrade, mut connection, mut accept) = (false, false, false);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("upgrade") {
                upgrade = value.eq_ignore_ascii_case("websocket");
            } else if name.eq_ignore_ascii_case("connection") {
                let mut words = value.split(',').map(str::trim);
                connection |= words.any(|word| word.eq_ignore_ascii_case("upgrade"));
            } else if name.eq_ignore_ascii_case("sec-websocket-accept") {
                accept = value == self.accept;
            } else if name.eq_ignore_ascii_case("sec-websocket-extensions") && !value.is_empty() {
                if deflate || !self.is_offered(value) {
                    return Err(format!(
                        "the server chose an extension that was not offered: {value}"
                    ));
                }
                deflate = true;
            }
        }
        match (upgrade && connection, accept) {
            (true, true) => Ok(deflate),
            (false, _) => Err("101 without `Upgrade: websocket`, `Connection: Upgrade`".to_owned()),
            (true, false) => Err("101 with a wrong Sec-WebSocket-Accept".to_owned()),
        }
    }

    /// Whether this answer to our offer is allowed (RFC 7692 §7.1): one extension, no context
    /// takeover in its direction, and no parameter that only a client may bring up.
    fn is_offered(&self, extensions: &str) -> bool {
        let mut parts = extensions.split(';').map(str::trim);
        let is_deflate = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case(DEFLATE));
        let mut no_takeover = false;
        let all_known = parts.all(|part| {
            no_takeover |= part == SERVER_NO_TAKEOVER;
            let bits = part.strip_prefix("server_max_window_bits=");
            let bits = bits.and_then(|bits| bits.trim_matches('"').parse().ok());
            part == SERVER_NO_TAKEOVER
                || part == CLIENT_NO_TAKEOVER
                || bits.is_some_and(|bits: u8| (8..=15).contains(&bits))
        });
        self.offers_deflate && is_deflate && no_takeover && all_known
    }
}

/// The usual meaning of a status that refuses the upgrade.
fn hint(status: &str) -> &'static str {
    match status {
        "401" | "403" => {
            ": it wants to know who connects; --url may hold the token, or the origin is wrong"
        }
        "404" => ": there is nothing at the path of --url",
        "200" | "400" | "405" | "426" => ": there is no WebSocket at the path of --url",
        "429" => ": too many connections from one address; --source-ips names more",
        "502" | "504" => ": a proxy does not reach the relay",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(handshake: &Handshake, status: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\nUPGRADE: WebSocket\r\nconnection: keep-alive, Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            handshake.accept
        )
    }

    #[test]
    fn an_answer_is_taken_once_it_is_whole_and_leaves_what_follows() {
        let (handshake, _) = Handshake::request("h", "/", false);
        let mut bytes = answer(&handshake, "101 Switching Protocols").into_bytes();
        let head_bytes = bytes.len();
        let answer = Answer {
            head_bytes,
            deflate: false,
        };
        for len in 0..head_bytes {
            assert_eq!(handshake.answer(&bytes[..len]), Ok(None));
        }
        bytes.extend([0x81, 0]);
        assert_eq!(handshake.answer(&bytes), Ok(Some(answer)));
    }

    #[test]
    fn another_status_and_another_key_are_refused_with_the_reason() {
        let (handshake, _) = Handshake::request("h", "/", false);
        let refused = answer(&handshake, "503 Service Unavailable");
        let reason = handshake.answer(refused.as_bytes()).unwrap_err();
        assert!(reason.contains("503 Service Unavailable"), "{reason}");
        let (another, _) = Handshake::request("h", "/", false);
        let foreign = answer(&another, "101 Switching Protocols");
        assert!(
            handshake
                .answer(foreign.as_bytes())
                .unwrap_err()
                .contains("Accept")
        );
    }

    #[test]
    fn deflate_is_agreed_on_without_context_takeover_or_not_at_all() {
        let agreed = |offers: bool, extensions: &str| {
            let (handshake, request) = Handshake::request("h", "/", offers);
            let request = String::from_utf8(request).expect("text");
            assert_eq!(request.contains("permessage-deflate; server_no"), offers);
            let head = answer(&handshake, "101 Switching Protocols");
            let line = format!("\r\nSec-WebSocket-Extensions: {extensions}\r\n\r\n");
            let head = head.replace("\r\n\r\n", &line);
            let answer = handshake.answer(head.as_bytes());
            answer.map(|answer| answer.is_some_and(|answer| answer.deflate))
        };
        for extensions in [
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
            "permessage-deflate;server_no_context_takeover;server_max_window_bits=10",
        ] {
            assert_eq!(agreed(true, extensions), Ok(true), "{extensions}");
            assert!(agreed(false, extensions).is_err(), "{extensions}");
        }
        assert_eq!(agreed(true, ""), Ok(false));
        for extensions in [
            "permessage-deflate",
            "x-webkit-deflate-frame",
            "permessage-deflate; server_no_context_takeover; client_max_window_bits=10",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=16",
            "permessage-deflate; server_no_context_takeover, permessage-deflate",
        ] {
            assert!(agreed(true, extensions).is_err(), "{extensions}");
        }
    }

    #[test]
    fn a_head_without_an_end_is_refused() {
        let (handshake, _) = Handshake::request("h", "/", false);
        assert!(handshake.answer(&vec![b'a'; HEAD_BYTES_MAX]).is_err());
    }
}
