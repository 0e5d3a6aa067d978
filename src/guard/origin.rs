//! Which pages may connect: the allow-list of origins (RFC 6455 §10.2).
//!
//! A browser says in `Origin` which page asks, and a page cannot change that. Other clients say
//! what they like, or nothing: the list protects the users of browsers, not the relay.

use std::fmt;
use std::str::FromStr;

use crate::wire::http::Head;

/// Pages that may connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origins {
    /// One of these; empty: none.
    pub allow: Vec<Origin>,
    /// Whether a request without an `Origin` is let in, as clients send it that are no browsers.
    pub allow_missing: bool,
}

impl Default for Origins {
    /// Every page, and whoever is none.
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
    /// `same`: a page of the host and port that the request itself names, whatever the scheme,
    /// which a proxy in front may have taken off.
    Same,
    /// `https://example.com`: this one; in lower case, its port left out where it is the scheme's.
    /// Also `null`, which is a page without an origin, such as a local file.
    Exact(Box<str>),
    /// `https://*.example.com`: those of all hosts below this one, but not its own.
    Below {
        /// `https://`
        scheme: Box<str>,
        /// `.example.com`, with the port where there is one.
        host: Box<str>,
    },
}

/// Why a text is no origin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OriginError {
    /// It is none of the forms.
    #[error(
        "is not an origin; write https://example.com, https://*.example.com, same, null or * (any)"
    )]
    Form,
    /// It has something behind the host.
    #[error("has something behind its host; an origin ends there, without a slash")]
    Path,
}

impl Origins {
    /// Whether the page that sent this request may connect. Two origins are none.
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
        let Some(text) = text.filter(|_| headers.next().is_none()) else {
            return false;
        };
        let origin = normal(text);
        let host = head.header("host");
        self.allow
            .iter()
            .any(|allowed| allowed.admits(&origin, host))
    }
}

impl Origin {
    fn admits(&self, origin: &str, host: Option<&str>) -> bool {
        match self {
            Origin::Any => true,
            Origin::Exact(exact) => **exact == *origin,
            Origin::Below { scheme, host } => origin
                .strip_prefix(&**scheme)
                .and_then(|rest| rest.strip_suffix(&**host))
                .is_some_and(|label| !label.is_empty()),
            Origin::Same => match (origin.split_once("://"), host) {
                (Some((scheme, _)), Some(host)) => normal(&format!("{scheme}://{host}")) == origin,
                _ => false,
            },
        }
    }
}

/// The one way to write an origin (RFC 6454 §6.2): in lower case, without its scheme's own port.
fn normal(text: &str) -> String {
    let mut text = text.to_ascii_lowercase();
    for (scheme, port) in [("http://", ":80"), ("https://", ":443")] {
        if text.starts_with(scheme) && text.ends_with(port) {
            text.truncate(text.len() - port.len());
        }
    }
    text
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Origin, OriginError> {
        let text = text.trim();
        match text {
            "*" => return Ok(Origin::Any),
            "same" => return Ok(Origin::Same),
            "null" => return Ok(Origin::Exact(text.into())),
            _ => {}
        }
        let normal = normal(text);
        let (scheme, host) = normal.split_once("://").ok_or(OriginError::Form)?;
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if scheme.is_empty() || !scheme.bytes().all(is_scheme) || host.is_empty() {
            return Err(OriginError::Form);
        }
        if host.contains(['/', '?', '#']) {
            return Err(OriginError::Path);
        }
        let below = host.strip_prefix('*');
        let plain = below.unwrap_or(host);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        if !plain.bytes().all(is_plain) || below.is_some_and(|rest| !rest.starts_with('.')) {
            return Err(OriginError::Form);
        }
        Ok(match below {
            Some(rest) => Origin::Below {
                scheme: format!("{scheme}://").into(),
                host: rest.into(),
            },
            None => Origin::Exact(normal.into()),
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
    use super::*;
    use crate::wire::http::{HeadLimits, HeaderSpace};

    fn origins(allow: &[&str]) -> Origins {
        let allow = allow.iter().map(|text| text.parse().expect("an origin"));
        Origins {
            allow: allow.collect(),
            allow_missing: false,
        }
    }

    fn admits(origins: &Origins, headers: &str) -> bool {
        let request = format!("GET / HTTP/1.1\r\nHost: relay.example:8443\r\n{headers}\r\n");
        let limits = HeadLimits {
            head_bytes: 8_192,
            target_bytes: 2_048,
        };
        let mut space = HeaderSpace::new();
        let parsed = Head::parse(request.as_bytes(), &mut space, &limits);
        origins.admit(&parsed.expect("a head").expect("a whole one").0)
    }

    #[test]
    fn an_origin_is_allowed_by_its_own_form_alone() {
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
            ("*", "whatever", true),
        ] {
            let header = format!("Origin: {origin}\r\n");
            assert_eq!(
                admits(&origins(&[allow]), &header),
                admitted,
                "{allow} {origin}"
            );
        }
    }

    #[test]
    fn who_sends_no_origin_comes_in_where_that_is_allowed_and_two_are_none() {
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
    fn a_text_that_is_no_origin_is_refused_with_the_reason() {
        for text in [
            "",
            "example.com",
            "https://",
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
