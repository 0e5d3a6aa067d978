//! Pages of others that read what a browser's own machine tells: by a name of theirs that points
//! to it (DNS rebinding), so that the browser takes the answer for their own.
//!
//! Only their `Host` gives such requests away, and it is a name that nobody who works here would
//! use. But a scraper may come by any name of DNS, through a proxy on this machine as well. So a
//! request is refused that comes from this machine, by a browser, under a name that is not this
//! machine's.

use std::net::IpAddr;

use crate::engine::Peer;
use crate::wire::http::Head;

/// What a refused request is told.
pub(super) const TEXT: &str = "This name is not this machine's: ask at localhost or an address.";

/// Whether a page of somebody else may be behind this request of `peer`.
pub(super) fn is_rebound(peer: Peer, head: &Head<'_>) -> bool {
    peer.ip().is_some_and(|ip| ip.to_canonical().is_loopback())
        && is_by_browser(head)
        && host_of(head).is_some_and(|host| !is_of_this_machine(host))
}

/// Whether the request is by a proxy: it says so, or it is of HTTP/1.0, as nginx asks unless it is
/// told otherwise.
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

/// What browsers send with every request, and no page can leave out.
fn is_by_browser(head: &Head<'_>) -> bool {
    const NAMES: [&str; 3] = ["accept-language", "origin", "referer"];
    head.headers.iter().any(|header| {
        let name = header.name.to_ascii_lowercase();
        NAMES.contains(&name.as_str()) || name.starts_with("sec-")
    }) || head
        .header("user-agent")
        .is_some_and(|agent| agent.starts_with("Mozilla/"))
}

/// An address is nobody's name. A name without a point is in no DNS that others can write to.
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
    fn a_browser_here_that_asks_by_a_foreign_name_is_refused_and_nobody_else() {
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
        // A scraper by a name of DNS, through a proxy here; a browser elsewhere.
        let scraper = "User-Agent: Prometheus/3\r\nX-Forwarded-For: 192.0.2.1\r\n";
        assert!(!rebound(HERE, "relay.example", scraper));
        assert!(!rebound("192.0.2.1:1", "relay.example", BROWSER));
    }
}
