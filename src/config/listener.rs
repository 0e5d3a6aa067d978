//! The notation of listeners and trusted proxies.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::{Network, NetworkError};

/// One more listener: an item of `server.listen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listener {
    /// `http://[::]:8080` or `https://0.0.0.0:8443`.
    Tcp {
        /// Address and port.
        address: SocketAddr,
        /// Whether the listener accepts TLS only; otherwise it accepts no TLS.
        tls: bool,
    },
    /// `unix:/run/corecast.sock`: without TLS.
    Unix(PathBuf),
    /// `systemd`: the sockets that the service manager passes, in place of `server.host` and
    /// `server.port`.
    Systemd,
}

/// Why an item of `server.listen` cannot be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ListenerError {
    /// Neither a URL nor a Unix socket nor `systemd`.
    #[error(
        "is not a listener; write http://ADDRESS:PORT, https://ADDRESS:PORT, unix:/PATH or systemd"
    )]
    NoListener,
    /// A host name in place of an IP address, or a missing port.
    #[error("needs an IP address and a port, as in http://0.0.0.0:8080 or http://[::]:8080")]
    NoAddress,
    /// A relative or missing path.
    #[error("needs an absolute path, as in unix:/run/corecast.sock")]
    NoPath,
}

impl FromStr for Listener {
    type Err = ListenerError;

    fn from_str(text: &str) -> Result<Listener, ListenerError> {
        if text.eq_ignore_ascii_case("systemd") {
            return Ok(Listener::Systemd);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            let is_path = path.len() > 1 && path.starts_with('/') && !path.contains('\0');
            return is_path
                .then(|| Listener::Unix(PathBuf::from(path)))
                .ok_or(ListenerError::NoPath);
        }
        let (scheme, address) = text.split_once("://").ok_or(ListenerError::NoListener)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return Err(ListenerError::NoListener),
        };
        let address = address.strip_suffix('/').unwrap_or(address);
        let address = address.parse().map_err(|_| ListenerError::NoAddress)?;
        Ok(Listener::Tcp { address, tls })
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listener::Tcp {
                address,
                tls: false,
            } => write!(f, "http://{address}"),
            Listener::Tcp { address, tls: true } => write!(f, "https://{address}"),
            Listener::Unix(path) => write!(f, "unix:{}", path.display()),
            Listener::Systemd => f.write_str("systemd"),
        }
    }
}

/// A peer whose statement about its client's address is trusted: an item of
/// `server.trusted_proxies`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustedProxy {
    /// Proxies in this network.
    Network(Network),
    /// `unix`: every peer at a Unix socket.
    Unix,
}

impl FromStr for TrustedProxy {
    type Err = TrustedProxyError;

    fn from_str(text: &str) -> Result<TrustedProxy, TrustedProxyError> {
        if text.eq_ignore_ascii_case("unix") {
            return Ok(TrustedProxy::Unix);
        }
        Ok(text.parse().map(TrustedProxy::Network)?)
    }
}

/// Why an item of `server.trusted_proxies` cannot be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} (or unix)")]
pub struct TrustedProxyError(#[from] NetworkError);

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrustedProxy::Network(network) => write!(f, "{network}"),
            TrustedProxy::Unix => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_shown_as_it_is_written() {
        for text in [
            "http://[::]:8080",
            "https://0.0.0.0:8443",
            "unix:/run/corecast.sock",
            "systemd",
        ] {
            let listener: Listener = text.parse().expect("a listener");
            assert_eq!(listener.to_string(), text);
        }
        let careless: Listener = "WSS://127.0.0.1:1/".parse().expect("a listener");
        assert_eq!(careless.to_string(), "https://127.0.0.1:1");
    }

    #[test]
    fn an_invalid_listener_is_refused_with_the_reason() {
        for (text, error) in [
            ("", ListenerError::NoListener),
            ("8080", ListenerError::NoListener),
            ("ftp://0.0.0.0:21", ListenerError::NoListener),
            ("http://localhost:80", ListenerError::NoAddress),
            ("http://0.0.0.0", ListenerError::NoAddress),
            ("http://::1:80", ListenerError::NoAddress),
            ("unix:", ListenerError::NoPath),
            ("unix:relative.sock", ListenerError::NoPath),
        ] {
            assert_eq!(text.parse::<Listener>(), Err(error), "{text}");
        }
    }
}
