//! Routing: the endpoint of a path.
//!
//! There are three kinds of pattern. `/ws` matches that path alone. `/ws/{username}` matches one
//! more segment, which the endpoint gets decoded (or not at all if it cannot be decoded).
//! `/room/**` matches everything below `/room`, and `/**` every path. An exact pattern wins over
//! one with a parameter, that over one with `**`, and a longer one over a shorter one. A pattern
//! with a parameter also claims everything below it: with `/ws/{username}`, the paths `/ws/`,
//! `/ws/a/b` and `/ws/a%2Fb` (a slash ends a segment) have no endpoint.

use std::borrow::Cow;

use crate::fanout::room::EndpointId;
use crate::wire::http::percent_decode;

/// The shape of a path.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Pattern {
    Exact(Box<str>),
    /// The path up to and including the last slash; one segment follows.
    Parameter(Box<str>),
    /// The path up to and including the last slash; anything may follow.
    Below(Box<str>),
}

/// A path pattern that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// It does not begin with a slash.
    #[error("the path pattern {0:?} does not begin with a slash")]
    NoSlash(String),
    /// It has a wildcard or parameter before its last segment.
    #[error("the path pattern {0:?} has a wildcard before its last segment")]
    EarlyWildcard(String),
    /// It belongs to two endpoints.
    #[error("two endpoints have the path {0:?}")]
    Repeated(String),
}

/// An endpoint, and the parameter that its pattern captured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Route<'p> {
    pub(crate) endpoint: EndpointId,
    pub(crate) parameter: Option<Cow<'p, str>>,
}

/// All patterns, the most specific first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Router(Vec<(Pattern, EndpointId)>);

impl Router {
    /// Adds a pattern.
    pub(crate) fn add(&mut self, pattern: &str, endpoint: EndpointId) -> Result<(), PatternError> {
        let parsed = Pattern::parse(pattern)?;
        if self.0.iter().any(|(other, _)| *other == parsed) {
            return Err(PatternError::Repeated(pattern.to_owned()));
        }
        self.0.push((parsed, endpoint));
        self.0.sort_by_key(|(pattern, _)| pattern.rank());
        Ok(())
    }

    /// The endpoint of `path`, if any.
    pub(crate) fn find<'p>(&self, path: &'p str) -> Option<Route<'p>> {
        for (pattern, endpoint) in &self.0 {
            let parameter = match pattern {
                Pattern::Exact(exact) if **exact == *path => None,
                Pattern::Parameter(prefix) => match path.strip_prefix(&**prefix) {
                    Some(segment) if segment.is_empty() || segment.contains('/') => return None,
                    Some(segment) => match percent_decode(segment) {
                        Some(decoded) if decoded.contains('/') => return None,
                        decoded => decoded,
                    },
                    None => continue,
                },
                Pattern::Below(prefix) if path.starts_with(&**prefix) => None,
                _ => continue,
            };
            return Some(Route {
                endpoint: *endpoint,
                parameter,
            });
        }
        None
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Pattern, PatternError> {
        let last_slash = text.rfind('/').filter(|_| text.starts_with('/'));
        let Some(last_slash) = last_slash else {
            return Err(PatternError::NoSlash(text.to_owned()));
        };
        let (prefix, segment) = text.split_at(last_slash + 1);
        if prefix.contains(['{', '}', '*']) {
            return Err(PatternError::EarlyWildcard(text.to_owned()));
        }
        if segment == "**" {
            return Ok(Pattern::Below(prefix.into()));
        }
        if segment.starts_with('{') && segment.ends_with('}') {
            return Ok(Pattern::Parameter(prefix.into()));
        }
        if segment.contains(['{', '}', '*']) {
            return Err(PatternError::EarlyWildcard(text.to_owned()));
        }
        Ok(Pattern::Exact(text.into()))
    }

    fn rank(&self) -> (u8, std::cmp::Reverse<usize>) {
        let (kind, text) = match self {
            Pattern::Exact(text) => (0, text),
            Pattern::Parameter(text) => (1, text),
            Pattern::Below(text) => (2, text),
        };
        (kind, std::cmp::Reverse(text.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(patterns: &[&str]) -> Router {
        let mut router = Router::default();
        for (id, pattern) in patterns.iter().enumerate() {
            router.add(pattern, EndpointId(id as u16)).unwrap();
        }
        router
    }

    fn id(router: &Router, path: &str) -> Option<u16> {
        router.find(path).map(|route| route.endpoint.0)
    }

    #[test]
    fn the_more_specific_pattern_wins() {
        let router = router(&["/**", "/ws/{username}", "/ws", "/room/**", "/room/vip/**"]);
        assert_eq!(id(&router, "/"), Some(0));
        assert_eq!(id(&router, "/any/thing"), Some(0));
        assert_eq!(id(&router, "/ws/ada"), Some(1));
        assert_eq!(id(&router, "/ws"), Some(2));
        assert_eq!(id(&router, "/room/x"), Some(3));
        assert_eq!(id(&router, "/room/vip/x"), Some(4));
    }

    #[test]
    fn nothing_else_matches_below_a_parameter() {
        let router = router(&["/**", "/ws/{username}"]);
        assert_eq!(id(&router, "/ws/"), None);
        assert_eq!(id(&router, "/ws/a/b"), None);
        assert_eq!(id(&router, "/ws/a%2Fb"), None);
        assert_eq!(id(&router, "/ws/%2f"), None);
        assert_eq!(id(&router, "/wsx"), Some(0));
    }

    #[test]
    fn a_parameter_is_decoded() {
        let router = router(&["/ws/{username}"]);
        let route = router.find("/ws/J%C3%BCrgen").unwrap();
        assert_eq!(route.parameter.as_deref(), Some("Jürgen"));
        let route = router.find("/ws/%ZZ").expect("the endpoint judges it");
        assert_eq!(route.parameter, None);
    }

    #[test]
    fn an_invalid_pattern_is_an_error() {
        let mut router = router(&["/a"]);
        let mut add = |pattern| router.add(pattern, EndpointId(9));
        assert!(matches!(add("a"), Err(PatternError::NoSlash(_))));
        assert!(matches!(add("/**/a"), Err(PatternError::EarlyWildcard(_))));
        assert!(matches!(add("/x*"), Err(PatternError::EarlyWildcard(_))));
        assert!(matches!(add("/a"), Err(PatternError::Repeated(_))));
    }
}
