//! A link that opens the dashboard once. It is written to the relay's terminal. If other machines
//! can reach the admin listener and no token is set, it is the only way to open the dashboard.
//!
//! The link contains a secret, of which only the hash is kept. The browser that opens it gets a
//! cookie with another secret, which is valid until the relay ends or a token is set.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::guard::{ApiKey, ApiKeys};
use crate::wire::http::{Head, Response};

/// The path of the link.
pub(super) const PATH: &str = "/dashboard/open";

/// How long the link is valid.
pub const VALID: Duration = Duration::from_secs(600);

const COOKIE: &str = "corecast_dashboard";

/// See the module.
pub struct Link {
    /// The secret of the link; empty after its use.
    unused: Mutex<ApiKeys>,
    /// The secret of the cookie; empty until the link is used.
    cookie: Mutex<ApiKeys>,
    expires: Instant,
}

/// Why a link does not open the dashboard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LinkError {
    /// The secret is wrong, or the link was used before.
    Unknown,
    /// It is older than [`VALID`].
    Expired,
    /// The operating system has no random bytes.
    Random,
}

impl Link {
    /// A new link and its secret, which must be shown on the terminal only.
    ///
    /// # Errors
    ///
    /// The operating system has no random bytes.
    pub fn new(now: Instant) -> io::Result<(Link, String)> {
        let (secret, unused) = secret()?;
        let link = Link {
            unused: Mutex::new(unused),
            cookie: Mutex::default(),
            expires: now + VALID,
        };
        Ok((link, secret))
    }

    /// The path and query of the link with this secret.
    pub fn target(secret: &str) -> String {
        format!("{PATH}?link={secret}")
    }

    /// Uses the link up if the request has its secret. Returns the answer with the cookie.
    pub(super) fn open(&self, head: &Head<'_>, now: Instant) -> Result<Response, LinkError> {
        let shown = shown(head).unwrap_or_default();
        let mut unused = lock(&self.unused);
        if !unused.allow(shown.as_bytes()) {
            return Err(LinkError::Unknown);
        }
        if now >= self.expires {
            return Err(LinkError::Expired);
        }
        let (secret, cookie) = secret().map_err(|_| LinkError::Random)?;
        *unused = ApiKeys::default();
        *lock(&self.cookie) = cookie;
        let cookie = format!("{COOKIE}={secret}; Path=/; HttpOnly; SameSite=Strict");
        let response = Response::new(303).with_header("Location", "/");
        Ok(response.with_header("Set-Cookie", cookie))
    }

    /// Whether the request has the cookie of the browser that opened the link.
    pub(super) fn is_opened_by(&self, head: &Head<'_>) -> bool {
        let cookie = lock(&self.cookie);
        cookies(head).any(|value| cookie.allow(value.as_bytes()))
    }
}

/// Whether a browser only prefetches the page, which must not use the link up.
pub(super) fn is_prefetch(head: &Head<'_>) -> bool {
    ["sec-purpose", "purpose"]
        .iter()
        .filter_map(|name| head.header(name))
        .any(|purpose| purpose.contains("prefetch") || purpose.contains("preview"))
}

fn shown<'h>(head: &Head<'h>) -> Option<&'h str> {
    let mut parameters = head.query?.split('&');
    parameters.find_map(|each| each.strip_prefix("link="))
}

/// The values of our cookie; there may be several (RFC 6265 §5.4).
fn cookies<'h>(head: &Head<'h>) -> impl Iterator<Item = &'h str> {
    let pairs = head
        .headers_named("cookie")
        .flat_map(|list| list.split(';'));
    pairs.filter_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// 256 random bits, and a set of their hash that compares in constant time.
fn secret() -> io::Result<(String, ApiKeys)> {
    let mut bytes = [0; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| io::Error::other("the operating system has no random bytes"))?;
    let secret = URL_SAFE_NO_PAD.encode(bytes);
    let key: ApiKey = secret
        .parse()
        .map_err(|_| io::Error::other("base64 is visible ASCII"))?;
    Ok((secret, ApiKeys::new(&[key])))
}

fn lock(keys: &Mutex<ApiKeys>) -> MutexGuard<'_, ApiKeys> {
    keys.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::with_head;

    fn open(link: &Link, secret: &str, now: Instant) -> Result<Response, LinkError> {
        let request = format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", Link::target(secret));
        with_head(&request, |head| link.open(head, now))
    }

    fn is_opened_by(link: &Link, cookie: &str) -> bool {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b; {cookie}\r\n\r\n");
        with_head(&request, |head| link.is_opened_by(head))
    }

    fn cookie_of(response: &Response) -> String {
        let mut headers = response.headers.iter();
        let (_, cookie) = headers
            .find(|(name, _)| name == "Set-Cookie")
            .expect("a cookie");
        cookie.split(';').next().expect("a pair").to_owned()
    }

    #[test]
    fn a_link_opens_once_and_its_cookie_from_then_on() {
        let now = Instant::now();
        let (link, secret) = Link::new(now).expect("random bytes");
        assert!(!is_opened_by(&link, &format!("{COOKIE}=")));
        assert_eq!(open(&link, "another", now), Err(LinkError::Unknown));
        assert_eq!(open(&link, "", now), Err(LinkError::Unknown));
        let opened = open(&link, &secret, now).expect("it is good");
        let cookie = cookie_of(&opened);
        assert!(is_opened_by(&link, &cookie) && !cookie.contains(&secret));
        assert_eq!(open(&link, &secret, now), Err(LinkError::Unknown));
        assert!(is_opened_by(&link, &cookie), "the first use stays");
        assert!(!is_opened_by(&link, &format!("{COOKIE}={secret}")));
        assert!(!is_opened_by(&link, &format!("x{cookie}")));
    }

    #[test]
    fn a_link_is_valid_for_ten_minutes() {
        let begun = Instant::now();
        let (link, secret) = Link::new(begun).expect("random bytes");
        let at = |seconds| open(&link, &secret, begun + Duration::from_secs(seconds));
        assert_eq!(at(600), Err(LinkError::Expired));
        assert_eq!(at(10_000), Err(LinkError::Expired));
        assert!(at(599).is_ok());
        let (other, other_secret) = Link::new(begun).expect("random bytes");
        assert_ne!(secret, other_secret);
        assert_eq!(open(&other, &secret, begun), Err(LinkError::Unknown));
    }
}
