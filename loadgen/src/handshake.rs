//! The client's side of the opening handshake (RFC 6455 §4.1), without I/O.

use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

/// A response head may have this many bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 16 << 10;

/// A handshake whose request was made and whose answer is awaited.
#[derive(Debug)]
pub(crate) struct Handshake {
    accept: String,
}

impl Handshake {
    /// Makes the request for `path` (with its query) at `host` (with its port).
    pub(crate) fn request(host: &str, path: &str) -> (Self, Vec<u8>) {
        let key = generate_key();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        (
            Self {
                accept: derive_accept_key(key.as_bytes()),
            },
            request.into_bytes(),
        )
    }

    /// Reads the answer. `None`: not whole yet. Else the bytes that the head took; what follows
    /// are frames already.
    ///
    /// # Errors
    /// What is wrong with the answer, in a few words.
    pub(crate) fn answer(&self, bytes: &[u8]) -> Result<Option<usize>, String> {
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
            return Err(format!(
                "the server answered {}",
                rest.trim().escape_debug()
            ));
        }
        self.check_headers(lines)?;
        Ok(Some(end + 4))
    }

    fn check_headers<'a>(&self, lines: impl Iterator<Item = &'a str>) -> Result<(), String> {
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
                return Err(format!(
                    "the server chose an extension nobody offered: {value}"
                ));
            }
        }
        match (upgrade && connection, accept) {
            (true, true) => Ok(()),
            (false, _) => Err("101 without `Upgrade: websocket`, `Connection: Upgrade`".to_owned()),
            (true, false) => Err("101 with a wrong Sec-WebSocket-Accept".to_owned()),
        }
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
        let (handshake, _) = Handshake::request("h", "/");
        let mut bytes = answer(&handshake, "101 Switching Protocols").into_bytes();
        let head_bytes = bytes.len();
        for len in 0..head_bytes {
            assert_eq!(handshake.answer(&bytes[..len]), Ok(None));
        }
        bytes.extend([0x81, 0]);
        assert_eq!(handshake.answer(&bytes), Ok(Some(head_bytes)));
    }

    #[test]
    fn another_status_and_another_key_are_refused_with_the_reason() {
        let (handshake, _) = Handshake::request("h", "/");
        let refused = answer(&handshake, "503 Service Unavailable");
        let reason = handshake.answer(refused.as_bytes()).unwrap_err();
        assert!(reason.contains("503 Service Unavailable"), "{reason}");
        let (another, _) = Handshake::request("h", "/");
        let foreign = answer(&another, "101 Switching Protocols");
        assert!(
            handshake
                .answer(foreign.as_bytes())
                .unwrap_err()
                .contains("Accept")
        );
    }

    #[test]
    fn a_head_without_an_end_is_refused() {
        let (handshake, _) = Handshake::request("h", "/");
        assert!(handshake.answer(&vec![b'a'; HEAD_BYTES_MAX]).is_err());
    }
}
