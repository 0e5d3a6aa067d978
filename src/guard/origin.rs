//! The pages that may connect: the allow-list of origins (RFC 6455 §10.2).
//!
//! A browser names the page in `Origin`, and the page cannot change that. Other clients can send
//! any origin, or none: the list protects the users of browsers, not the relay.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::wire::http::Head;

/// Pages that may connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origins {
    /// The allowed origins; empty: none is allowed.
    pub allow: Vec<Origin>,
    /// Whether a request without an `Origin` is admitted: clients other than browsers send none.
    pub allow_missing: bool,
}

impl Default for Origins {
    /// Every page, and clients other than browsers.
    fn default() -> Origins {
        Origins {
            allow: vec![Origin::Any],
            allow_missing: true,
        }
    }
}

/// An origin, or several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// `*`: any.
    Any,
    /// `same`: a page of the host and port that the request itself names. The scheme may differ,
    /// since a proxy in front may terminate TLS.
    Same,
    /// `https://example.com`: this origin, in lower case and without the scheme's default port.
    /// Also `null`, which stands for a page without an origin, such as a local file.
    Exact(Box<str>),
    /// `https://*.example.com`: the origins of all subdomains, without the domain itself.
    Below {
        /// `https://`
        scheme: Box<str>,
        /// `.example.com`, with the port if it has one.
        host: Box<str>,
    },
}

/// The reason why a text is not a valid origin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OriginError {
    /// It has none of the accepted forms.
    #[error(
        "is not an origin; write https://example.com, https://*.example.com, same, null or * (any)"
    )]
    Form,
    /// The host is followed by a path, a query or a fragment.
    #[error("must end after the host and the port, without a slash or a path")]
    Path,
}

impl Origins {
    /// Whether the page that sent this request may connect. A malformed origin is refused, and so
    /// are several `Origin` headers in one request.
    ///
    /// If all origins and requests without one are allowed, the header is not checked at all: a
    /// client that could be refused for it could also omit it.
    pub fn admit(&self, head: &Head<'_>) -> bool {
        if self.allow_missing && self.allow.contains(&Origin::Any) {
            return true;
        }
        let is_origin = |name: &str| name.eq_ignore_ascii_case("origin");
        let mut headers = head.headers.iter().filter(|each| is_origin(each.name));
        let Some(first) = headers.next() else {
            return self.allow_missing;
        };
        let text = std::str::from_utf8(first.value).ok();
        let Some(origin) = text.and_then(normal).filter(|_| headers.next().is_none()) else {
            return false;
        };
        let host = head.header("host");
        self.allow
            .iter()
            .any(|allowed| allowed.admits(&origin, host))
    }
}

impl Origin {
    /// Whether this entry covers `origin`, which is in its normal form.
    fn admits(&self, origin: &str, host: Option<&str>) -> bool {
        match self {
            Origin::Any => true,
            Origin::Exact(exact) => **exact == *origin,
            Origin::Below { scheme, host } => origin
                .strip_prefix(&**scheme)
                .and_then(|rest| rest.strip_suffix(&**host))
                .is_some_and(|label| !label.is_empty()),
            Origin::Same => match (origin.split_once("://"), host) {
                (Some((scheme, _)), Some(host)) => {
                    normal(&format!("{scheme}://{host}")).is_some_and(|own| own == origin)
                }
                _ => false,
            },
        }
    }
}

/// The normal form of an origin (RFC 6454 §6.2): `null`, or scheme, host and port alone, in lower
/// case, without the scheme's default port. `None`: it is not an origin. A browser never sends one
/// with a path, a query, a fragment, user information, a list, an escape or a non-ASCII letter.
fn normal(text: &str) -> Option<String> {
    if text == "null" {
        return Some(text.to_owned());
    }
    let text = text.to_ascii_lowercase();
    let (scheme, authority) = text.split_once("://")?;
    let is_in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let begins = scheme.starts_with(|first: char| first.is_ascii_lowercase());
    if !begins || !scheme.bytes().all(is_in_scheme) {
        return None;
    }
    let own_port = match scheme {
        "http" | "ws" => Some("80"),
        "https" | "wss" => Some("443"),
        _ => None,
    };
    let (host, port) = host_and_port(authority)?;
    // Some browsers embedded in apps send `file://`.
    if host.is_empty() && (own_port.is_some() || port.is_some()) {
        return None;
    }
    Some(match port.filter(|port| Some(*port) != own_port) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

/// A host in its normal form, and the port if there is one (RFC 3986 §3.2.2, §3.2.3, no escapes).
fn host_and_port(authority: &str) -> Option<(String, Option<&str>)> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(inside) => {
            let (address, rest) = inside.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            (format!("[{address}]"), rest)
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            let (host, rest) = authority.split_at(end);
            (is_name(host).then(|| host.to_owned())?, rest)
        }
    };
    if rest.is_empty() {
        return Some((host, None));
    }
    let port = rest.strip_prefix(':')?;
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let is_whole = is_number && (port == "0" || !port.starts_with('0'));
    (is_whole && port.parse::<u16>().is_ok()).then_some((host, Some(port)))
}

/// Labels separated by dots; a trailing dot stands for the root.
fn is_name(host: &str) -> bool {
    let is_in_label = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~".contains(&byte);
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(is_in_label);
    host.is_empty()
        || host
            .strip_suffix('.')
            .unwrap_or(host)
            .split('.')
            .all(is_label)
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Origin, OriginError> {
        let text = text.trim();
        match text {
            "*" => return Ok(Origin::Any),
            "same" => return Ok(Origin::Same),
            _ => {}
        }
        let host = text.split_once("://").map(|(_, host)| host);
        if host.is_some_and(|host| !host.is_empty() && host.contains(['/', '?', '#'])) {
            return Err(OriginError::Path);
        }
        let Some((scheme, below)) = text.split_once("://*.") else {
            let exact = normal(text).ok_or(OriginError::Form)?;
            return Ok(Origin::Exact(exact.into()));
        };
        // `*` is not a valid label, so only the rest is parsed as an origin.
        let rest = normal(&format!("{scheme}://{below}")).ok_or(OriginError::Form)?;
        let (scheme, below) = rest.split_once("://").ok_or(OriginError::Form)?;
        if below.is_empty() || below.starts_with('[') {
            return Err(OriginError::Form);
        }
        Ok(Origin::Below {
            scheme: format!("{scheme}://").into(),
            host: format!(".{below}").into(),
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Any => f.write_str("*"),
            Origin::Same => f.write_str("same"),
            Origin::Exact(exact) => f.write_str(exact),
            Origin::Below { scheme, host } => write!(f, "{scheme}*{host}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::http::with_head;

    fn origins(allow: &[&str]) -> Origins {
        let allow = allow.iter().map(|text| text.parse().expect("an origin"));
        Origins {
            allow: allow.collect(),
            allow_missing: false,
        }
    }

    fn admits(origins: &Origins, headers: &str) -> bool {
        let request = format!("GET / HTTP/1.1\r\nHost: relay.example:8443\r\n{headers}\r\n");
        with_head(&request, |head| origins.admit(head))
    }

    #[test]
    fn each_form_of_an_entry_admits_its_own_origins_only() {
        for (allow, origin, admitted) in [
            ("https://a.example", "https://a.example", true),
            ("https://a.example", "HTTPS://A.Example:443", true),
            ("https://a.example:443", "https://a.example", true),
            ("https://a.example", "http://a.example", false),
            ("https://a.example", "https://a.example:8443", false),
            ("https://a.example", "https://a.example.evil.example", false),
            ("https://a.example", "https://evila.example", false),
            ("https://a.example", "null", false),
            ("https://a.example", "", false),
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://.example.com", false),
            ("https://*.example.com", "https://evilexample.com", false),
            ("https://*.example.com", "https://a.example.com.evil", false),
            (
                "https://*.example.com:8080",
                "https://a.example.com:8080",
                true,
            ),
            ("same", "https://relay.example:8443", true),
            ("same", "http://RELAY.example:8443", true),
            ("same", "https://relay.example", false),
            ("same", "https://other.example:8443", false),
            ("same", "null", false),
            ("null", "null", true),
            ("*", "https://any.example", true),
            ("*", "null", true),
            ("*", "file://", true),
            ("http://[::1]:8080", "http://[0:0::1]:8080", true),
            ("https://a.example", "https://a.example.", false),
            ("https://*.example.com", "https://a.example.com.", false),
            (
                "https://xn--bcher-kva.example",
                "https://XN--bcher-kva.example",
                true,
            ),
        ] {
            let header = format!("Origin: {origin}\r\n");
            assert_eq!(
                admits(&origins(&[allow]), &header),
                admitted,
                "{allow} {origin}"
            );
        }
    }

    /// Every kind of list, each with an origin that it admits.
    const LISTS: [(&str, &str); 5] = [
        ("*", "https://evil.example"),
        ("same", "https://relay.example:8443"),
        ("https://a.example", "https://a.example"),
        ("https://*.example.com", "https://a.example.com"),
        ("https://*.example.com:8080", "https://a.example.com:8080"),
    ];

    #[test]
    fn a_malformed_origin_is_refused_by_every_list() {
        for (allow, origin) in LISTS {
            let origins = origins(&[allow]);
            let good = format!("Origin: {origin}\r\n");
            assert!(admits(&origins, &good), "{allow} {origin}");
            let (scheme, host) = origin.split_once("://").expect("both");
            for offence in [
                format!("{origin}/"),
                format!("{origin}/path"),
                format!("{origin}?query"),
                format!("{origin}#fragment"),
                format!("{origin} {origin}"),
                format!("{origin},{origin}"),
                format!("{origin}:"),
                format!("{origin}\\"),
                format!("{scheme}://evil.example/.{host}"),
                format!("{scheme}://evil.example#.{host}"),
                format!("{scheme}://evil.example?.{host}"),
                format!("{scheme}://evil.example%2f.{host}"),
                format!("{scheme}://evil.example:1.{host}"),
                format!("{scheme}://evil.example\t.{host}"),
                format!("{scheme}://[::1].{host}"),
                format!("{scheme}://user@{host}"),
                format!("{scheme}://user:secret@{host}"),
                format!("{scheme}://..{host}"),
                format!("{scheme}://.{host}"),
                format!("{scheme}:/{host}"),
                format!("{scheme}:{host}"),
                format!("1{scheme}://{host}"),
                format!("://{host}"),
                host.to_owned(),
                "NULL".to_owned(),
                "https://".to_owned(),
                "https://[::1".to_owned(),
                "https://a.example:65536".to_owned(),
                "https://a.example:080".to_owned(),
                String::new(),
            ] {
                let header = format!("Origin: {offence}\r\n");
                assert!(!admits(&origins, &header), "{allow} {offence}");
            }
        }
    }

    /// Whether a text has the form of an origin, by the characters that must not occur in it.
    fn has_the_form(text: &str) -> bool {
        let Some((scheme, rest)) = text.split_once("://") else {
            return text == "null";
        };
        let host = rest.split(':').next().unwrap_or_default();
        let is_in_brackets = rest.starts_with('[');
        !scheme.contains(|c: char| !c.is_ascii_alphanumeric())
            && !rest.contains(|c: char| c.is_ascii_whitespace() || "/\\?#@%,".contains(c))
            && (is_in_brackets || rest.matches(':').count() <= 1)
            && (is_in_brackets || !(host.starts_with('.') || host.contains("..")))
    }

    proptest! {
        #[test]
        fn only_texts_in_the_form_of_an_origin_are_admitted(
            scheme in "(https?://)?",
            before in "[a-z./:@#?%\\[\\]\\\\ ]{0,9}",
            at in 0..LISTS.len(),
            behind in "[a-z0-9./:@#?% ]{0,3}",
        ) {
            let (allow, origin) = LISTS[at];
            let (_, host) = origin.split_once("://").expect("both");
            for text in [
                format!("{scheme}{before}{host}{behind}"),
                format!("{scheme}{before}.{host}{behind}"),
            ] {
                let is_allowed = admits(&origins(&[allow]), &format!("Origin: {text}\r\n"));
                prop_assert!(!is_allowed || has_the_form(text.trim()), "{allow} {text}");
            }
        }
    }

    #[test]
    fn a_missing_origin_is_admitted_if_allowed_and_two_are_refused() {
        let mut one = origins(&["https://a.example"]);
        assert!(!admits(&one, ""));
        one.allow_missing = true;
        assert!(admits(&one, ""));
        let twice = "Origin: https://a.example\r\n".repeat(2);
        assert!(!admits(&one, &twice));
        assert!(!admits(&origins(&[]), "Origin: https://a.example\r\n"));
        assert!(!admits(&origins(&["*"]), ""));
        assert!(admits(&Origins::default(), "") && admits(&Origins::default(), &twice));
    }

    #[test]
    fn an_invalid_origin_in_a_list_is_rejected_with_the_reason() {
        for text in [
            "",
            "example.com",
            "https://",
            "https://*.",
            "https://*.[::1]",
            "https://*.*.a.example",
            "https://user@a.example",
            "https://a.example:99999",
            "https://a b",
            "https://a*.example",
            "://x",
        ] {
            assert_eq!(text.parse::<Origin>(), Err(OriginError::Form), "{text}");
        }
        assert_eq!(
            "https://a.example/".parse::<Origin>(),
            Err(OriginError::Path)
        );
        for text in [
            "*",
            "same",
            "null",
            "https://*.a.example",
            "http://[::1]:8080",
        ] {
            let origin: Origin = text.parse().expect("an origin");
            assert_eq!(origin.to_string(), text);
        }
    }
}
