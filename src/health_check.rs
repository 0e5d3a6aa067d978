//! `corecast --health-check`: asks a running relay whether it is alive.
//!
//! It is for container engines, since the relay's image contains no other HTTP client.
//! [`crate::config::cli`] calls it in a process that does nothing else. It sends one HTTP request
//! without TLS, which may take [`HEALTH_CHECK_TIME_MAX`] from the connection to the end of the
//! answer; at most [`HEALTH_CHECK_BYTES_MAX`] of the answer are read.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use thiserror::Error;
use tungstenite::http::Uri;

use crate::config::Config;
use crate::limits::{HEALTH_CHECK_BYTES_MAX, HEALTH_CHECK_TIME_MAX};

/// The reason why a relay does not count as healthy.
#[derive(Debug, Error)]
pub enum HealthCheckError {
    /// The URL is not one that can be requested.
    #[error("{0:?} is not a URL such as http://127.0.0.1:9090/livez")]
    Url(String),
    /// The config has no port that could be asked.
    #[error("the config has no fixed port without TLS to ask: turn metrics on, or name a URL")]
    NoPort,
    /// No answer came, or not in time.
    #[error("{0}")]
    NoAnswer(#[from] io::Error),
    /// The answer is not HTTP.
    #[error("the answer is not HTTP")]
    NotHttp,
    /// An answer other than 200.
    #[error("{status}: {body}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The body, in which the relay gives the reason.
        body: String,
    },
}

/// The URL of the liveness check of a relay with this config: `/livez` of the admin port, or of the
/// relaying port if the admin port is off.
///
/// # Errors
///
/// [`HealthCheckError::NoPort`] if that port is 0 (any free one) or speaks TLS.
pub fn url(config: &Config) -> Result<String, HealthCheckError> {
    let server = &config.server;
    let (host, port) = if config.metrics.enabled {
        let host = config.metrics.host.unwrap_or(server.host);
        (host, config.metrics.port)
    } else if server.tls.enabled {
        return Err(HealthCheckError::NoPort);
    } else {
        (server.host, server.port)
    };
    if port == 0 {
        return Err(HealthCheckError::NoPort);
    }
    // A listener on all addresses is reachable at 127.0.0.1; not every machine has ::1.
    let host = match host {
        host if host.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
        host => host,
    };
    Ok(format!("http://{}/livez", SocketAddr::new(host, port)))
}

/// Sends the request. Returns the body of the answer if its status is 200.
///
/// # Errors
///
/// Every other outcome.
pub fn ask(url: &str) -> Result<String, HealthCheckError> {
    let deadline = Instant::now() + HEALTH_CHECK_TIME_MAX;
    let bad = || HealthCheckError::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let host = uri.host().ok_or_else(bad)?;
    if uri.scheme_str() != Some("http") {
        return Err(bad());
    }
    let authority = format!("{host}:{}", uri.port_u16().unwrap_or(80));
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut stream = connect(&authority, deadline)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.set_write_timeout(Some(left_until(deadline)?))?;
    stream.write_all(request.as_bytes())?;
    check(&read(&mut stream, deadline)?)
}

/// Connects to the first address that accepts.
fn connect(authority: &str, deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in authority.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left_until(deadline)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Reads the answer to its end or its bound.
fn read(stream: &mut TcpStream, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut answer = vec![0; HEALTH_CHECK_BYTES_MAX];
    let mut length = 0;
    while length < answer.len() {
        stream.set_read_timeout(Some(left_until(deadline)?))?;
        match stream.read(&mut answer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(too_late()),
            Err(error) => return Err(error),
        }
    }
    answer.truncate(length);
    Ok(answer)
}

/// The remaining time. Zero is an error, since a socket takes a timeout of zero for none.
fn left_until(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    (!left.is_zero()).then_some(left).ok_or_else(too_late)
}

fn too_late() -> io::Error {
    let message = format!("no answer within {} s", HEALTH_CHECK_TIME_MAX.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, message)
}

fn check(answer: &[u8]) -> Result<String, HealthCheckError> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(body_at)) = head.parse(answer) else {
        return Err(HealthCheckError::NotHttp);
    };
    let body = String::from_utf8_lossy(&answer[body_at..]);
    let body = body.trim().to_owned();
    match head.code {
        Some(200) => Ok(body),
        status => Err(HealthCheckError::Status {
            status: status.unwrap_or_default(),
            body,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url_of(change: impl FnOnce(&mut Config)) -> Option<String> {
        let mut config = Config::default();
        change(&mut config);
        url(&config).ok()
    }

    #[test]
    fn the_admin_port_is_asked_before_the_relaying_one() {
        let asked = |url: &str| Some(url.to_owned());
        assert_eq!(url_of(|_| {}), asked("http://127.0.0.1:9090/livez"));
        let address = |config: &mut Config| config.server.host = "::1".parse().expect("an address");
        assert_eq!(url_of(address), asked("http://[::1]:9090/livez"));
        let elsewhere = |config: &mut Config| config.metrics.host = "10.0.0.1".parse().ok();
        assert_eq!(url_of(elsewhere), asked("http://10.0.0.1:9090/livez"));
        let without = |config: &mut Config| config.metrics.enabled = false;
        assert_eq!(url_of(without), asked("http://127.0.0.1:8443/livez"));
    }

    #[test]
    fn a_port_that_cannot_be_known_or_speaks_tls_is_not_asked() {
        assert_eq!(url_of(|config| config.metrics.port = 0), None);
        let tls_alone = |config: &mut Config| {
            config.metrics.enabled = false;
            config.server.tls.enabled = true;
        };
        assert_eq!(url_of(tls_alone), None);
        let with_tls = |config: &mut Config| config.server.tls.enabled = true;
        assert!(url_of(with_tls).is_some());
    }

    #[test]
    fn only_200_is_healthy() {
        let healthy = check(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nalive\n");
        assert_eq!(healthy.ok().as_deref(), Some("alive"));
        let said = |answer: &[u8]| check(answer).expect_err("it is not healthy").to_string();
        let stands =
            b"HTTP/1.1 503 Service Unavailable\r\n\r\nshard 1: its loop stands since 9 s\n";
        assert_eq!(said(stands), "503: shard 1: its loop stands since 9 s");
        assert_eq!(said(b"SSH-2.0-x\r\n"), "the answer is not HTTP");
        assert_eq!(said(b"HTTP/1.1 200 OK\r\nA: b"), "the answer is not HTTP");
        assert_eq!(said(b""), "the answer is not HTTP");
    }

    #[test]
    fn urls_that_cannot_be_requested_are_rejected() {
        for url in [
            "",
            "localhost",
            "https://localhost/",
            "/livez",
            "http:///x",
            "ftp://a/",
        ] {
            let error = ask(url).expect_err(url);
            assert!(matches!(error, HealthCheckError::Url(_)), "{url}: {error}");
        }
    }
}
