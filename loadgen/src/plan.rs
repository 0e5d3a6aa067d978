//! What a run is going to do, checked: nothing in here fails later for a reason that was known
//! before.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use tungstenite::http::Uri;

use crate::stamp::Form;
use crate::tls::Tls;

/// A checked plan for one run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the scenario, for the report.
    pub scenario: String,
    /// What the user calls this run, for the report.
    pub label: Option<String>,
    /// Where to connect.
    pub target: Target,
    /// For a `wss://` target.
    pub tls: Option<Tls>,
    /// Offer permessage-deflate without context takeover (RFC 7692 §7.1.1).
    pub deflate: bool,
    /// Threads that share the connections.
    pub threads: u32,
    /// A connection that is not upgraded after this time fails the run.
    pub connect_timeout: Duration,
    /// Payload bytes of every message.
    pub size: usize,
    /// What a message looks like.
    pub form: Form,
    /// Seed of payloads and mask.
    pub seed: u64,
    /// What to do with the connections.
    pub work: Work,
}

/// The kind of run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work {
    /// Publish and receive.
    Relay(Relay),
    /// Open, upgrade and close.
    Handshakes(Handshakes),
}

/// Publish and receive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Relay {
    /// Connections, stalled ones included.
    pub clients: u32,
    /// The last so many clients never read.
    pub stalled: u32,
    /// The first so many clients publish.
    pub publishers: u32,
    /// When messages are sent.
    pub pace: Pace,
    /// The relay sends a message back to its publisher too.
    pub echo: bool,
    /// Load before the measurement.
    pub warmup: Duration,
    /// Load that is measured.
    pub duration: Duration,
}

impl Relay {
    /// Clients that read.
    pub(crate) fn live(&self) -> u32 {
        self.clients - self.stalled
    }
}

/// Open, upgrade and close.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Handshakes {
    /// Connections in all.
    pub count: u32,
    /// Connections at a time.
    pub concurrency: u32,
    /// Reset instead of a closing handshake.
    pub reset: bool,
    /// Open at most so many connections a second.
    pub per_second: Option<f64>,
}

/// When messages are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// At fixed times, whatever the relay does.
    Open {
        /// Messages a second, of all publishers together.
        per_second: f64,
    },
    /// Whenever fewer than `window` messages of a publisher are under way.
    Closed {
        /// Messages of one publisher under way.
        window: u32,
    },
}

/// Something about the command line that does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError(String);

impl PlanError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl std::fmt::Display for PlanError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for PlanError {}

/// A URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As it was given.
    pub url: String,
    is_tls: bool,
    host: String,
    port: u16,
    authority: String,
    /// Path and query; `{i}` stands for the client's number.
    path: String,
}

impl Target {
    /// Takes a `ws://` or `wss://` URL apart.
    ///
    /// # Errors
    /// Not a URL, another scheme, or no host.
    pub fn parse(url: &str) -> Result<Self, PlanError> {
        let bad = |why: &str| PlanError::new(format!("--url {url}: {why}"));
        // Braces are not allowed in a URI; a marker that is stands in for them.
        let uri: Uri = url
            .replace("{i}", CLIENT_MARK)
            .parse()
            .map_err(|_| bad("not a URL"))?;
        let is_tls = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(bad("must start with ws:// or wss://")),
        };
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| bad("no host"))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            url: url.to_owned(),
            is_tls,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            authority: uri.authority().map_or(host, |all| all.as_str()).to_owned(),
            path: path.replace(CLIENT_MARK, "{i}"),
        })
    }

    /// The address to connect to; an IPv4 one where the host has both.
    ///
    /// # Errors
    /// The name does not resolve.
    pub fn resolve(&self) -> Result<SocketAddr, PlanError> {
        let bad = |why: String| PlanError::new(format!("--url {}: {why}", self.url));
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        let all: Vec<_> = found.map_err(|error| bad(error.to_string()))?.collect();
        let first = all.iter().find(|address| address.is_ipv4()).or(all.first());
        first
            .copied()
            .ok_or_else(|| bad(format!("{} has no address", self.host)))
    }

    /// True for `wss://`.
    pub(crate) fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Name or address of the server, without its port.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The `Host` header.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query for one client.
    pub(crate) fn path_for(&self, client: u32) -> String {
        self.path.replace("{i}", &client.to_string())
    }
}

const CLIENT_MARK: &str = "loadgen-client-number";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let target = Target::parse("ws://[::1]:8443/ws/user{i}?a=b").expect("a good URL");
        assert_eq!((target.host.as_str(), target.port), ("::1", 8443));
        assert_eq!(target.authority(), "[::1]:8443");
        assert_eq!(target.path_for(7), "/ws/user7?a=b");
        let plain = Target::parse("ws://localhost").expect("a good URL");
        assert_eq!((plain.port, plain.path_for(0).as_str()), (80, "/"));
        let tls = Target::parse("wss://localhost/chat").expect("a good URL");
        assert!(tls.is_tls() && tls.port == 443 && !plain.is_tls());
    }
}
