//! Access to the dashboard.
//!
//! If a token is set, requests must present it. Without a token the listener must be on a loopback
//! address, and the `Host` must be this machine: a foreign page whose name was made to point here
//! (DNS rebinding) sends its own name. The request must not come through a proxy either, since
//! clients on other machines may reach the proxy.

use std::net::IpAddr;

use super::super::rebinding::{host_of, is_by_proxy};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use strum::IntoStaticStr;

use crate::guard::{ApiKey, ApiKeys, Origin, Origins, bearer};
use crate::wire::http::Head;

/// The subprotocol of the stream. A page offers its token as another one.
pub(super) const PROTOCOL: &str = "corecast.dashboard.v1";

/// The prefix of the subprotocol that carries the token, in base64 for URLs, since a subprotocol
/// cannot hold every character of a token.
const TOKEN_PROTOCOL: &str = "token.";

/// The conditions of access to the dashboard.
#[derive(PartialEq, Eq)]
pub(super) struct Access {
    /// At most one key.
    token: ApiKeys,
    is_loopback: bool,
}

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, IntoStaticStr)]
pub(super) enum Denied {
    /// No token is set, and other machines can reach the listener.
    #[strum(serialize = "dashboard_closed")]
    Closed,
    /// No token is set, and the `Host` is not this machine.
    #[strum(serialize = "bad_host")]
    Host,
    /// No token is set, and the request comes through a proxy.
    #[strum(serialize = "behind_proxy")]
    Proxied,
    /// The token is missing.
    #[strum(serialize = "no_token")]
    NoToken,
    /// The token is wrong.
    #[strum(serialize = "bad_token")]
    BadToken,
}

impl Denied {
    pub(super) fn status(self) -> u16 {
        match self {
            Denied::Closed | Denied::Host | Denied::Proxied => 403,
            Denied::NoToken | Denied::BadToken => 401,
        }
    }

    /// The `code` in the JSON of the refusal.
    pub(super) fn code(self) -> &'static str {
        self.into()
    }

    /// The reason of the refusal and a solution.
    pub(super) fn text(self) -> &'static str {
        match self {
            Denied::Closed => {
                "The dashboard is closed, since other machines can reach this port: set \
                 admin.token (or CORECAST_ADMIN_TOKEN) to a secret of at least 16 characters, or \
                 metrics.host to 127.0.0.1, or start the relay in a terminal, where it shows a \
                 link."
            }
            Denied::Host => {
                "Without a token the dashboard is only for this machine: open it at localhost, \
                 or set admin.token."
            }
            Denied::Proxied => {
                "Without a token the dashboard is only for this machine, and this request came \
                 through a proxy: set admin.token."
            }
            Denied::NoToken => "The dashboard requires the token from admin.token.",
            Denied::BadToken => "The token differs from admin.token.",
        }
    }
}

impl Access {
    pub(super) fn new(token: Option<&ApiKey>, is_loopback: bool) -> Access {
        Access {
            token: ApiKeys::new(token.map(std::slice::from_ref).unwrap_or_default()),
            is_loopback,
        }
    }

    /// Whether the page itself, which holds no figures, may be sent.
    pub(super) fn judge_page(&self, head: &Head<'_>) -> Result<(), Denied> {
        match self.token.is_empty() {
            false => Ok(()),
            true if !self.is_loopback => Err(Denied::Closed),
            true if !names_this_machine(head) => Err(Denied::Host),
            true if is_by_proxy(head) => Err(Denied::Proxied),
            true => Ok(()),
        }
    }

    /// Whether figures may be sent.
    pub(super) fn judge(&self, head: &Head<'_>) -> Result<(), Denied> {
        self.judge_page(head)?;
        let is_good = self.token.is_empty()
            || bearer(head).is_some_and(|token| self.token.allow(token.as_bytes()))
            || offered(head).is_some_and(|token| self.token.allow(&token));
        match is_good {
            true => Ok(()),
            false if shows_token(head) => Err(Denied::BadToken),
            false => Err(Denied::NoToken),
        }
    }
}

/// Whether the request presents a token, valid or not.
fn shows_token(head: &Head<'_>) -> bool {
    bearer(head).is_some() || protocols(head).any(|each| each.starts_with(TOKEN_PROTOCOL))
}

/// Whether the request comes from our own page or not from a page at all.
pub(super) fn is_own_page(head: &Head<'_>) -> bool {
    let same = Origins {
        allow: vec![Origin::Same],
        allow_missing: true,
    };
    same.admit(head)
}

fn names_this_machine(head: &Head<'_>) -> bool {
    let Some(name) = host_of(head) else {
        return false;
    };
    let address = name.parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// The token among the subprotocols that a page offers.
fn offered(head: &Head<'_>) -> Option<Vec<u8>> {
    let mut protocols = protocols(head);
    let token = protocols.find_map(|protocol| protocol.strip_prefix(TOKEN_PROTOCOL))?;
    URL_SAFE_NO_PAD.decode(token).ok()
}

/// The subprotocols that are offered.
pub(super) fn protocols<'h>(head: &Head<'h>) -> impl Iterator<Item = &'h str> {
    let lists = head.headers_named("sec-websocket-protocol");
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::with_head;

    const TOKEN: &str = "a/token+with,all=";

    fn judged(access: &Access, headers: &str) -> (Result<(), Denied>, Result<(), Denied>) {
        let request = format!("GET / HTTP/1.1\r\n{headers}\r\n");
        with_head(&request, |head| {
            (access.judge_page(head), access.judge(head))
        })
    }

    #[test]
    fn only_the_token_as_a_header_or_subprotocol_opens_it() {
        let token = TOKEN.parse().expect("a key");
        let offered = URL_SAFE_NO_PAD.encode(TOKEN);
        for is_loopback in [false, true] {
            let access = Access::new(Some(&token), is_loopback);
            for good in [
                format!("Authorization: Bearer {TOKEN}\r\n"),
                format!("authorization: bearer   {TOKEN}\r\n"),
                format!("Sec-WebSocket-Protocol: {PROTOCOL}, token.{offered}\r\n"),
            ] {
                let good = format!("Host: relay.example\r\n{good}");
                assert_eq!(judged(&access, &good), (Ok(()), Ok(())), "{good}");
            }
            for (bad, denied) in [
                ("".to_owned(), Denied::NoToken),
                (
                    "Authorization: Bearer a/token+with,all\r\n".to_owned(),
                    Denied::BadToken,
                ),
                (format!("Authorization: Basic {TOKEN}\r\n"), Denied::NoToken),
                ("Authorization: Bearer \r\n".to_owned(), Denied::NoToken),
                (
                    format!("Sec-WebSocket-Protocol: {PROTOCOL}, token.!\r\n"),
                    Denied::BadToken,
                ),
                (
                    format!("Sec-WebSocket-Protocol: {PROTOCOL}, {offered}\r\n"),
                    Denied::NoToken,
                ),
            ] {
                let bad = format!("Host: localhost\r\n{bad}");
                assert_eq!(judged(&access, &bad), (Ok(()), Err(denied)), "{bad}");
            }
        }
    }

    #[test]
    fn without_a_token_it_is_for_this_machine_alone() {
        let closed = Access::new(None, false);
        let local = "Host: localhost:9090\r\n";
        assert_eq!(judged(&closed, local).1, Err(Denied::Closed));
        let open = Access::new(None, true);
        for host in [
            "localhost",
            "LOCALHOST:9090",
            "127.0.0.1:1",
            "[::1]:9090",
            "127.9.9.9",
        ] {
            let header = format!("Host: {host}\r\n");
            assert_eq!(judged(&open, &header), (Ok(()), Ok(())), "{host}");
        }
        for host in [
            "relay.example",
            "10.0.0.1:9090",
            "localhost.evil.example",
            "[::2]",
        ] {
            let header = format!("Host: {host}\r\n");
            let denied = Err(Denied::Host);
            assert_eq!(judged(&open, &header), (denied, denied), "{host}");
        }
    }

    #[test]
    fn without_a_token_nobody_comes_through_a_proxy() {
        let open = Access::new(None, true);
        for header in [
            "X-Forwarded-For: 192.0.2.1",
            "x-forwarded-proto: https",
            "Forwarded: for=192.0.2.1",
            "Via: 1.1 proxy",
            "X-Real-IP: 192.0.2.1",
        ] {
            let headers = format!("Host: localhost\r\n{header}\r\n");
            let denied = Err(Denied::Proxied);
            assert_eq!(judged(&open, &headers), (denied, denied), "{header}");
            let token = TOKEN.parse().expect("a key");
            let headers = format!("{headers}Authorization: Bearer {TOKEN}\r\n");
            let with_token = Access::new(Some(&token), true);
            assert_eq!(judged(&with_token, &headers), (Ok(()), Ok(())), "{header}");
        }
    }
}
