//! The client of a forwarded request: `Forwarded` (RFC 7239) and `X-Forwarded-For`.
//!
//! The engine calls [`client`] only for requests from a trusted proxy, because anyone can write
//! these headers. Each proxy appends the address that it was reached from, so the list is read from
//! its end for as long as the proxies are trusted; anything that an untrusted proxy or the client
//! itself wrote is never read.

use std::net::{IpAddr, Ipv6Addr};

use super::http::Head;

/// Why the client cannot be determined.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ForwardedError {
    /// An element is malformed, or its `for` is neither an address nor a token that stands for one.
    #[error("malformed Forwarded or X-Forwarded-For")]
    Malformed,
    /// Both headers are present and name different clients: the proxy did not write one of them,
    /// and it is unknown which.
    #[error("Forwarded and X-Forwarded-For name different clients")]
    Conflict,
}

/// The client of a proxied request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Client {
    /// Without a header: the proxy itself.
    Proxy,
    /// A client with this address.
    Address(IpAddr),
    /// The proxy hides it: `unknown`, an obfuscated name (RFC 7239 §6.2, §6.3), an empty list, or
    /// the `unix:` of an nginx that was itself reached by a Unix socket.
    Unknown,
}

/// The client according to the proxies in front: the last address in the list that does not belong
/// to a trusted proxy, else the first.
///
/// # Errors
///
/// A malformed element among those that had to be read, or headers that contradict each other.
pub fn client(
    head: &Head<'_>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Result<Client, ForwardedError> {
    let forwarded = client_by(head, "forwarded", forwarded_for, &is_trusted);
    let x_forwarded_for = client_by(
        head,
        "x-forwarded-for",
        |element| Some(element),
        &is_trusted,
    );
    match (forwarded, x_forwarded_for) {
        (None, None) => Ok(Client::Proxy),
        (Some(only), None) | (None, Some(only)) => only,
        (Some(Ok(one)), Some(Ok(other))) if one == other => Ok(one),
        (Some(_), Some(_)) => Err(ForwardedError::Conflict),
    }
}

/// The client according to the headers of this name; `None` without such a header. `node_of` finds
/// the node in an element.
fn client_by(
    head: &Head<'_>,
    name: &str,
    node_of: fn(&str) -> Option<&str>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<Result<Client, ForwardedError>> {
    let mut lines = head
        .headers
        .iter()
        .rev()
        .filter(|header| header.name.eq_ignore_ascii_case(name))
        .peekable();
    lines.peek()?;
    let mut client = Client::Unknown;
    // As bytes: an element that is not UTF-8 must not hide the elements after it.
    for element in lines.flat_map(|line| line.value.rsplit(|byte| *byte == b',')) {
        let element = std::str::from_utf8(element).map(|text| text.trim_matches([' ', '\t']));
        match element
            .ok()
            .map(|element| (element, node_of(element).and_then(node)))
        {
            // Lists may have empty elements (RFC 9110 §5.6.1).
            Some(("", _)) => {}
            Some((_, Some(Node::Address(ip)))) => {
                client = Client::Address(ip);
                if !is_trusted(ip) {
                    break;
                }
            }
            Some((_, Some(Node::Unknown))) => return Some(Ok(Client::Unknown)),
            Some((_, None)) | None => return Some(Err(ForwardedError::Malformed)),
        }
    }
    Some(Ok(client))
}

/// The node that reached a proxy.
enum Node {
    Address(IpAddr),
    /// Unknown or obfuscated.
    Unknown,
}

impl Node {
    /// `0.0.0.0` and `::` are not addresses of a client.
    fn of(ip: IpAddr) -> Node {
        match ip.to_canonical() {
            ip if ip.is_unspecified() => Node::Unknown,
            ip => Node::Address(ip),
        }
    }
}

/// The value of `for` in one element: `for=192.0.2.60;proto=http;by="[2001:db8::1]"`. A comma
/// within quotes has already cut the element in two, but an address contains none.
fn forwarded_for(element: &str) -> Option<&str> {
    let mut found = None;
    for pair in element.split(';').map(str::trim) {
        let (name, value) = pair.split_once('=')?;
        if name.eq_ignore_ascii_case("for") && found.replace(unquoted(value)?).is_some() {
            return None;
        }
    }
    // RFC 7239 §4 lets a proxy leave it out.
    Some(found.unwrap_or("unknown"))
}

/// A token, or the content of a quoted string. Addresses need no escapes.
fn unquoted(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(rest) => rest
            .strip_suffix('"')
            .filter(|inside| !inside.contains(['"', '\\'])),
        None => Some(value).filter(|value| !value.contains('"')),
    }
}

/// A node (RFC 7239 §6): an address, `[address]` for IPv6, each with an optional port, `unknown`,
/// or a name that begins with `_`. `X-Forwarded-For` also has IPv6 without brackets.
fn node(text: &str) -> Option<Node> {
    if let Ok(ip) = text.parse() {
        return Some(Node::of(ip));
    }
    if let Some(ip) = zoned(text) {
        return Some(Node::of(ip.into()));
    }
    if text == "unix:" {
        return Some(Node::Unknown);
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok().or_else(|| zoned(address))?;
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_node_port);
        return is_port.then_some(Node::of(address.into()));
    }
    let (name, port) = text.split_once(':').unwrap_or((text, "0"));
    if !is_node_port(port) {
        return None;
    }
    if let Ok(ip) = name.parse::<std::net::Ipv4Addr>() {
        return Some(Node::of(ip.into()));
    }
    let is_hidden = name.starts_with('_') && is_obfuscated(name);
    (is_hidden || name.eq_ignore_ascii_case("unknown")).then_some(Node::Unknown)
}

/// A link-local address, written with its zone (RFC 4007 §11): `fe80::1%eth0`. The zone is local to
/// the proxy, so it is ignored.
fn zoned(text: &str) -> Option<Ipv6Addr> {
    let (address, zone) = text.split_once('%')?;
    let is_zone = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-%".contains(&byte);
    let address = address.parse().ok()?;
    (!zone.is_empty() && zone.bytes().all(is_zone)).then_some(address)
}

fn is_node_port(port: &str) -> bool {
    let is_number = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    is_number || (port.starts_with('_') && is_obfuscated(port))
}

fn is_obfuscated(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.len() > 1 && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{HeadLimits, HeaderSpace};
    use ForwardedError::*;

    const LIMITS: HeadLimits = HeadLimits {
        head_bytes: 4096,
        target_bytes: 1024,
    };

    /// Trusts proxies with an address in 10.0.0.0/8.
    fn told(headers: &str) -> Result<Option<String>, ForwardedError> {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        let mut space = HeaderSpace::new();
        let (head, _) = Head::parse(text.as_bytes(), &mut space, &LIMITS)
            .unwrap()
            .unwrap();
        let is_trusted = |ip: IpAddr| matches!(ip, IpAddr::V4(four) if four.octets()[0] == 10);
        client(&head, is_trusted).map(|client| match client {
            Client::Address(ip) => Some(ip.to_string()),
            Client::Proxy | Client::Unknown => None,
        })
    }

    /// A header's name and value, and the client that results.
    type Row<'a> = (&'a str, &'a str, Result<Option<&'a str>, ForwardedError>);

    fn assert_told(rows: &[Row<'_>]) {
        for (name, value, expected) in rows {
            let expected = expected.map(|client| client.map(str::to_owned));
            assert_eq!(
                told(&format!("{name}: {value}\r\n")),
                expected,
                "{name}: {value}"
            );
        }
    }

    #[test]
    fn the_last_untrusted_address_is_the_client() {
        let name = "X-Forwarded-For";
        assert_told(&[
            (name, "192.0.2.1", Ok(Some("192.0.2.1"))),
            (name, "192.0.2.1, 10.0.0.1, 10.0.0.2", Ok(Some("192.0.2.1"))),
            (
                name,
                "198.51.100.7, 192.0.2.1, 10.0.0.1",
                Ok(Some("192.0.2.1")),
            ),
            (name, "10.0.0.3, 10.0.0.1", Ok(Some("10.0.0.3"))),
            (name, "2001:db8::1", Ok(Some("2001:db8::1"))),
            (name, "[2001:db8::1]:443", Ok(Some("2001:db8::1"))),
            (name, "192.0.2.1:56324", Ok(Some("192.0.2.1"))),
            (name, "::ffff:192.0.2.1", Ok(Some("192.0.2.1"))),
            (name, "fe80::1%eth0", Ok(Some("fe80::1"))),
            (name, "[fe80::1%25eth0]:443", Ok(Some("fe80::1"))),
            (name, "192.0.2.1, ::ffff:10.0.0.1", Ok(Some("192.0.2.1"))),
            (name, "unknown", Ok(None)),
            (name, "::", Ok(None)),
            (name, "", Ok(None)),
            (name, ", 192.0.2.1, ,", Ok(Some("192.0.2.1"))),
        ]);
        assert_eq!(told(""), Ok(None));
        let lines = "X-Forwarded-For: 198.51.100.7\r\nx-forwarded-for: 192.0.2.1, 10.0.0.1\r\n";
        assert_eq!(told(lines), Ok(Some("192.0.2.1".to_owned())));
    }

    #[test]
    fn forwarded_is_read_as_its_standard_says() {
        let name = "Forwarded";
        assert_told(&[
            (name, "for=192.0.2.1", Ok(Some("192.0.2.1"))),
            (name, "For=\"[2001:db8::1]:4711\"", Ok(Some("2001:db8::1"))),
            (
                name,
                "proto=https;FOR=192.0.2.1;by=10.0.0.1",
                Ok(Some("192.0.2.1")),
            ),
            (
                name,
                "for=192.0.2.1 ; proto=http, for=10.0.0.1",
                Ok(Some("192.0.2.1")),
            ),
            (name, "for=\"192.0.2.1:80\"", Ok(Some("192.0.2.1"))),
            (name, "for=198.51.100.7, for=_hidden", Ok(None)),
            (name, "for=\"_hidden:_port\"", Ok(None)),
            (name, "for=unknown", Ok(None)),
            (name, "by=10.0.0.1", Ok(None)),
        ]);
    }

    #[test]
    fn a_malformed_element_of_a_trusted_proxy_is_an_error() {
        let x = "X-Forwarded-For";
        let forwarded = "Forwarded";
        assert_told(&[
            (x, "nonsense, 192.0.2.1", Ok(Some("192.0.2.1"))),
            (x, "192.0.2.1, nonsense", Err(Malformed)),
            (x, "192.0.2.256", Err(Malformed)),
            (x, "192.0.2.1:x", Err(Malformed)),
            (x, "[2001:db8::1", Err(Malformed)),
            (x, "[192.0.2.1]", Err(Malformed)),
            (x, "_", Err(Malformed)),
            (x, "fe80::1%", Err(Malformed)),
            (x, "fe80::1%a b", Err(Malformed)),
            (x, "192.0.2.1%eth0", Err(Malformed)),
            (x, "unix:/run/socket", Err(Malformed)),
            (forwarded, "192.0.2.1", Err(Malformed)),
            (forwarded, "for=192.0.2.1;for=192.0.2.2", Err(Malformed)),
            (forwarded, "for=\"192.0.2.1", Err(Malformed)),
            (forwarded, "for=192.0.2.1;x", Err(Malformed)),
        ]);
    }

    #[test]
    fn bytes_that_are_no_text_do_not_hide_what_a_proxy_appended() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: \xFF, 192.0.2.1\r\n\r\n";
        let mut space = HeaderSpace::new();
        let (head, _) = Head::parse(bytes, &mut space, &LIMITS).unwrap().unwrap();
        let client = client(&head, |_| false);
        assert_eq!(client, Ok(Client::Address([192, 0, 2, 1].into())));
    }

    #[test]
    fn only_without_a_header_the_proxy_asks_for_itself() {
        for (headers, expected) in [
            ("", Client::Proxy),
            ("X-Forwarded-For: \r\n", Client::Unknown),
            ("X-Forwarded-For: ,\r\n", Client::Unknown),
            ("X-Forwarded-For: unknown\r\n", Client::Unknown),
            ("X-Forwarded-For: unix:\r\n", Client::Unknown),
            ("X-Forwarded-For: 192.0.2.1, unix:\r\n", Client::Unknown),
            ("Forwarded: for=_hidden\r\n", Client::Unknown),
            ("Forwarded: for=\"unix:\"\r\n", Client::Unknown),
            ("Forwarded: proto=https\r\n", Client::Unknown),
        ] {
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
            let mut space = HeaderSpace::new();
            let parsed = Head::parse(text.as_bytes(), &mut space, &LIMITS);
            let (head, _) = parsed.unwrap().unwrap();
            assert_eq!(client(&head, |_| false), Ok(expected), "{headers}");
        }
    }

    #[test]
    fn headers_that_contradict_each_other_are_an_error() {
        let both = |forwarded: &str, x: &str| {
            told(&format!(
                "Forwarded: {forwarded}\r\nX-Forwarded-For: {x}\r\n"
            ))
        };
        let client = Ok(Some("192.0.2.1".to_owned()));
        assert_eq!(both("for=192.0.2.1", "192.0.2.1"), client);
        assert_eq!(both("for=192.0.2.1", "198.51.100.7, 192.0.2.1"), client);
        assert_eq!(both("for=198.51.100.7", "192.0.2.1"), Err(Conflict));
        assert_eq!(both("for=unknown", "192.0.2.1"), Err(Conflict));
        assert_eq!(both("for=192.0.2.1", ""), Err(Conflict));
        assert_eq!(both("nonsense", "192.0.2.1"), Err(Conflict));
    }
}
