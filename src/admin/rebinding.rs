//! Protection against DNS rebinding: a foreign web page makes its own host name point to the
//! browser's machine, so that the browser lets the page read the answers of servers there.
//!
//! Such a request differs from others only in its `Host`, a name that people at this machine would
//! not use. But a scraper may use any DNS name, even through a proxy on this machine. So a request
//! is refused only if it comes from this machine, from a browser, and under a foreign name.

use std::net::IpAddr;

use crate::engine::Peer;
use crate::wire::http::Head;

/// The text of a refusal.
pub(super) const TEXT: &str =
    "This host name is not this machine's; use localhost or an IP address.";

/// Whether a foreign page may have caused this request of `peer`.
pub(super) fn is_rebound(peer: Peer, head: &Head<'_>) -> bool {
    peer.ip().is_some_and(|ip| ip.to_canonical().is_loopback())
        && is_by_browser(head)
        && host_of(head).is_some_and(|host| !is_of_this_machine(host))
}

/// Whether a proxy sent the request: it has a header of proxies, or is HTTP/1.0, which is nginx's
/// default towards upstream servers.
pub(super) fn is_by_proxy(head: &Head<'_>) -> bool {
    const NAMES: [&str; 4] = ["forwarded", "via", "x-real-ip", "cf-connecting-ip"];
    head.version == 0
        || head.headers.iter().any(|header| {
            let name = header.name.to_ascii_lowercase();
            NAMES.contains(&name.as_str()) || name.starts_with("x-forwarded-")
        })
}

/// The name or address in `Host`, without brackets and port.
pub(super) fn host_of<'h>(head: &Head<'h>) -> Option<&'h str> {
    let host = head.header("host")?;
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    }
}

/// Whether the request has headers that browsers always send and that pages cannot remove.
fn is_by_browser(head: &Head<'_>) -> bool {
    const NAMES: [&str; 3] = ["accept-language", "origin", "referer"];
    head.headers.iter().any(|header| {
        let name = header.name.to_ascii_lowercase();
        NAMES.contains(&name.as_str()) || name.starts_with("sec-")
    }) || head
        .header("user-agent")
        .is_some_and(|agent| agent.starts_with("Mozilla/"))
}

/// Whether a host name can only mean this machine: an IP address cannot be rebound, and a name
/// without a dot is not in a DNS zone that strangers control.
fn is_of_this_machine(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let own = rustix::system::uname();
    let own = own.nodename().to_string_lossy();
    host.parse::<IpAddr>().is_ok()
        || !host.contains('.')
        || host.ends_with(".localhost")
        || host.eq_ignore_ascii_case(&own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::with_head;

    fn rebound(peer: &str, host: &str, headers: &str) -> bool {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        let peer = Peer::Ip(peer.parse().expect("an address"));
        with_head(&request, |head| is_rebound(peer, head))
    }

    #[test]
    fn only_a_local_browser_with_a_foreign_host_name_is_refused() {
        const HERE: &str = "127.0.0.1:1";
        const BROWSER: &str = "User-Agent: Mozilla/5.0\r\nAccept-Language: en\r\n";
        for headers in [BROWSER, "Sec-Fetch-Site: none\r\n", "Origin: null\r\n"] {
            for host in [
                "evil.example:9090",
                "evil.example.",
                "127.0.0.1.evil.example",
            ] {
                assert!(rebound(HERE, host, headers), "{host} {headers}");
            }
        }
        assert!(rebound("[::ffff:127.0.0.1]:1", "evil.example", BROWSER));
        for host in [
            "localhost:9090",
            "a.localhost",
            "127.0.0.1:9090",
            "[::1]",
            "relay",
        ] {
            assert!(!rebound(HERE, host, BROWSER), "{host}");
        }
        // A scraper with a DNS name through a local proxy, and a browser elsewhere, are served.
        let scraper = "User-Agent: Prometheus/3\r\nX-Forwarded-For: 192.0.2.1\r\n";
        assert!(!rebound(HERE, "relay.example", scraper));
        assert!(!rebound("192.0.2.1:1", "relay.example", BROWSER));
    }
}
