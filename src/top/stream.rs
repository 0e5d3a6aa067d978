//! A client of the dashboard's stream.

use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use thiserror::Error;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::{HeaderValue, Uri};
use tungstenite::{HandshakeError, Message, WebSocket};

use crate::config::ApiKey;

/// A stream that is silent for this long is considered lost.
const SILENCE: Duration = Duration::from_secs(6);

/// Why the stream yields no snapshot.
#[derive(Debug, Error)]
pub(super) enum StreamError {
    #[error("{0:?} is not a URL such as http://127.0.0.1:9090 (TLS is not supported)")]
    Url(String),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the relay answered {status}: {text}")]
    Refused { status: u16, text: String },
    #[error("{0}")]
    WebSocket(#[from] tungstenite::Error),
}

impl StreamError {
    /// Whether retrying would fail again. A 5xx may pass: it comes from a relay that is starting,
    /// or from a proxy in front of it.
    pub(super) fn is_final(&self) -> bool {
        match self {
            StreamError::Url(_) => true,
            StreamError::Refused { status, .. } => *status < 500,
            StreamError::Io(_) | StreamError::WebSocket(_) => false,
        }
    }
}

/// A connection to the stream.
pub(super) struct Stream(WebSocket<TcpStream>);

impl Stream {
    pub(super) fn connect(url: &str, token: Option<&ApiKey>) -> Result<Stream, StreamError> {
        let bad = || StreamError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("http"));
        let authority = format!("{}:{}", host.ok_or_else(bad)?, uri.port_u16().unwrap_or(80));
        let path = uri.path().trim_end_matches('/');
        let target = format!("ws://{authority}{path}/dashboard/stream");
        let mut request = target.into_client_request().map_err(|_| bad())?;
        if let Some(token) = token {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()));
            let mut value = value.map_err(|_| bad())?;
            value.set_sensitive(true);
            request.headers_mut().insert("Authorization", value);
        }
        let socket = dial(&authority)?;
        match tungstenite::client(request, socket) {
            Ok((client, _)) => Ok(Stream(client)),
            Err(HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                let text = String::from_utf8_lossy(answer.body().as_deref().unwrap_or_default());
                Err(StreamError::Refused {
                    status: answer.status().as_u16(),
                    text: said(&text),
                })
            }
            Err(HandshakeError::Failure(error)) => Err(error.into()),
            Err(HandshakeError::Interrupted(_)) => {
                Err(io::Error::from(io::ErrorKind::TimedOut).into())
            }
        }
    }

    /// Waits for the next snapshot.
    pub(super) fn next(&mut self) -> Result<String, StreamError> {
        loop {
            match self.0.read() {
                Ok(Message::Text(text)) => return Ok(text.to_string()),
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::from(io::ErrorKind::TimedOut).into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Connects to the first address that accepts.
fn dial(authority: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in authority.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, SILENCE) {
            Ok(socket) => {
                socket.set_read_timeout(Some(SILENCE))?;
                socket.set_write_timeout(Some(SILENCE))?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(io::Error::new(last.kind(), format!("{authority}: {last}")))
}

/// The reason of a refusal on one line.
fn said(body: &str) -> String {
    let json: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let error = json.as_ref().and_then(|json| json["error"].as_str());
    error.unwrap_or(body).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_cannot_be_asked_are_refused_for_good() {
        for url in [
            "",
            "localhost",
            "https://localhost:9090",
            "http:///",
            "ws://a",
        ] {
            let error = Stream::connect(url, None).err().expect(url);
            assert!(
                matches!(error, StreamError::Url(_)) && error.is_final(),
                "{url}"
            );
        }
    }

    #[test]
    fn a_refusal_is_shown_on_one_line() {
        assert_eq!(
            said("{\"code\":\"x\",\"error\":\"No token.\"}"),
            "No token."
        );
        assert_eq!(said("There is nothing here.\n"), "There is nothing here.");
    }
}
