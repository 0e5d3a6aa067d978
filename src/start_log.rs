//! The log lines of a start: addresses to open, paths, and warnings for the operator before clients
//! connect.
//!
//! The one-time link to the dashboard is not part of the log: it is written to the terminal only.

use std::io::{self, IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::admin::dashboard::{Link, VALID};
use crate::config::{Config, EndpointKind, Need, Networks};
use crate::engine::{Engine, Listen, ListenAddress};

/// A one-time link and its secret, for a terminal.
pub struct TerminalLink {
    /// For the dashboard.
    pub link: Arc<Link>,
    secret: String,
}

/// The first line: the program and its version.
pub fn version() {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        commit = env!("CORECAST_COMMIT"),
        "corecast"
    );
}

/// A link to the dashboard of this config, if that is closed and standard error is a terminal.
pub fn terminal_link(config: &Config) -> Option<TerminalLink> {
    if !is_closed(config) || !has_terminal() {
        return None;
    }
    match Link::new(Instant::now()) {
        Ok((link, secret)) => Some(TerminalLink {
            link: Arc::new(link),
            secret,
        }),
        Err(error) => {
            tracing::warn!(%error, "cannot make a link to the dashboard");
            None
        }
    }
}

/// Logs the paths, the URLs and the warnings, and the addresses of the listeners last, since
/// programs that read the log wait for those.
pub fn started(config: &Config, engine: &Engine, link: Option<TerminalLink>) {
    paths(config);
    urls(config, engine);
    warn_of_open_doors(config, engine);
    if is_closed(config) {
        tracing::warn!(
            "the dashboard is closed, since other machines can reach its port: set admin.token \
             (CORECAST_ADMIN_TOKEN=$(openssl rand -hex 24)), or metrics.host to 127.0.0.1"
        );
    }
    for Listen { address, tls } in engine.listening() {
        match tls {
            true => tracing::info!(tls, %address, "listening"),
            false => tracing::info!(%address, "listening"),
        }
    }
    for address in engine.admin_addresses() {
        tracing::info!(%address, "metrics and health");
    }
    if let (Some(address), Some(link)) = (engine.admin_addresses().first(), link) {
        write_link(*address, &link);
    }
}

/// Logs a URL to open for each listener.
fn urls(config: &Config, engine: &Engine) {
    for Listen { address, tls } in engine.listening() {
        if let ListenAddress::Tcp(address) = address {
            let scheme = if *tls { "wss" } else { "ws" };
            tracing::info!(url = %url(scheme, *address), "clients connect here");
        }
    }
    for address in engine.admin_addresses() {
        let url = url("http", *address);
        match config.admin.dashboard && !is_closed(config) {
            true => tracing::info!(%url, "the dashboard is here"),
            false => tracing::info!(url = %format!("{url}metrics"), "metrics are here"),
        }
    }
}

/// Logs a line for each endpoint.
fn paths(config: &Config) {
    for (name, endpoint) in config.endpoints.iter().filter(|(_, each)| each.enabled) {
        let kind = EndpointKind::ALL.iter();
        let kind = kind.clone().find(|(_, kind)| endpoint.kind == *kind);
        let kind = kind.map_or("", |(name, _)| *name);
        let (path, push_path) = (
            &endpoint.path,
            endpoint.push().and_then(|push| push.push_path.as_deref()),
        );
        let needs_key = config.needs_auth(endpoint);
        match push_path.filter(|_| endpoint.kind == EndpointKind::Push) {
            Some(push_path) => {
                tracing::info!(name, kind, %path, %push_path, needs_key, "endpoint");
            }
            None => tracing::info!(name, kind, %path, needs_key, "endpoint"),
        }
    }
}

fn warn_of_open_doors(config: &Config, engine: &Engine) {
    let is_public = |listen: &Listen| match &listen.address {
        ListenAddress::Tcp(address) => !address.ip().to_canonical().is_loopback(),
        ListenAddress::Unix(_) => false,
    };
    let mut enabled = config.endpoints.values().filter(|each| each.enabled);
    let is_open = config.networks == Networks::default()
        && config.server.tls.client_ca_file.is_none()
        && enabled.all(|each| config.need_of(each) == Need::Nothing);
    if is_open && engine.listening().iter().any(is_public) {
        tracing::warn!(
            "nobody needs a key or a token, and other machines can reach this relay: set auth, or \
             server.host to 127.0.0.1 to try it"
        );
    }
}

/// Writes the link to the terminal, in one piece, since lines of the log may go there as well.
fn write_link(address: SocketAddr, link: &TerminalLink) {
    let (base, target) = (url("http", address), Link::target(&link.secret));
    let (base, minutes) = (base.trim_end_matches('/'), VALID.as_secs() / 60);
    let text =
        format!("\nOpens the dashboard once, within {minutes} minutes:\n  {base}{target}\n\n");
    // If the terminal is gone, the link is useless.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Whether the dashboard is enabled but closed to everyone, since it has no token.
fn is_closed(config: &Config) -> bool {
    let is_local = config.metrics_host().is_loopback();
    let is_there = config.metrics.enabled && config.admin.dashboard;
    is_there && config.admin.token.is_none() && !is_local
}

/// Whether a person may read standard error on a terminal. In a container, the container engine
/// reads the terminal of the first process and keeps its text in a file.
fn has_terminal() -> bool {
    let parent = rustix::process::getppid();
    let is_in_container =
        std::process::id() == 1 || parent.is_some_and(|parent| parent.as_raw_nonzero().get() == 1);
    io::stderr().is_terminal() && !is_in_container
}

/// A URL of the address that can be opened on this machine.
fn url(scheme: &str, address: SocketAddr) -> String {
    let (ip, port) = (address.ip().to_canonical(), address.port());
    match ip.is_unspecified() || ip == Ipv4Addr::LOCALHOST {
        true => format!("{scheme}://localhost:{port}/"),
        false => format!("{scheme}://{}/", SocketAddr::new(ip, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_an_address_can_be_opened() {
        for (address, expected) in [
            ("[::]:8443", "ws://localhost:8443/"),
            ("0.0.0.0:1", "ws://localhost:1/"),
            ("127.0.0.1:1", "ws://localhost:1/"),
            ("192.0.2.1:80", "ws://192.0.2.1:80/"),
            ("[2001:db8::1]:80", "ws://[2001:db8::1]:80/"),
        ] {
            assert_eq!(url("ws", address.parse().expect("an address")), expected);
        }
    }

    #[test]
    fn a_reachable_dashboard_without_a_token_is_closed() {
        let of = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            is_closed(&config)
        };
        assert!(of(|_| {}));
        assert!(of(|config| config.metrics.host = "192.0.2.1".parse().ok()));
        assert!(!of(|config| config.metrics.host = "::1".parse().ok()));
        assert!(!of(
            |config| config.server.host = "127.0.0.1".parse().expect("an address")
        ));
        assert!(!of(|config| config.metrics.enabled = false));
        assert!(!of(|config| config.admin.dashboard = false));
        assert!(!of(
            |config| config.admin.token = "a-token-of-16-characters".parse().ok()
        ));
    }
}
