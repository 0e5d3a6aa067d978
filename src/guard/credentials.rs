//! The places in a request that may hold a key or a token.
//!
//! Clients that set headers use `Authorization: Bearer` (RFC 6750 §2.1) or `X-API-Key`. A page in a
//! browser cannot: it offers subprotocols, `corecast.v1` and `bearer.TOKEN` or `key.KEY`, or writes
//! `?access_token=` (§2.3) or `?api_key=` into its URL. A bearer may be an API key as well as a
//! token. The first place in this order that holds a credential decides: a valid one elsewhere does
//! not replace an invalid one. If only API keys are configured, an unknown bearer may be meant for
//! another server, such as a proxy, so the other places are searched before it is refused.

use std::borrow::Cow;

use super::keys::{ApiKeys, Fingerprint, Scopes};
use crate::wire::http::{Head, percent_decode};

/// The credential that a client presents.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credential<'h> {
    /// A token, valid or not.
    Token(Cow<'h, str>),
    /// A known API key.
    ApiKey(Fingerprint, Scopes),
    /// An unknown API key, or a credential of a kind that is not configured.
    Unknown,
}

/// The credential of a request. `keys` are the known API keys; `takes_tokens` says whether any
/// token could be valid.
pub(super) fn find<'h>(
    head: &Head<'h>,
    keys: &ApiKeys,
    takes_tokens: bool,
) -> Option<Credential<'h>> {
    let known = |text: &str| {
        let (key, scopes) = keys.find(text.as_bytes())?;
        Some(Credential::ApiKey(key, scopes))
    };
    let mut is_shown = false;
    for place in PLACES {
        let Some((text, is_bearer)) = place(head) else {
            continue;
        };
        is_shown = true;
        if let Some(key) = known(&text) {
            return Some(key);
        }
        match is_bearer {
            true if takes_tokens => return Some(Credential::Token(text)),
            false if !keys.is_empty() => return Some(Credential::Unknown),
            _ => {}
        }
    }
    is_shown.then_some(Credential::Unknown)
}

/// Reads one place of a request. Returns the credential, and whether it is a bearer.
type Place = for<'h> fn(&Head<'h>) -> Option<(Cow<'h, str>, bool)>;

const PLACES: [Place; 6] = [
    |head| Some((Cow::Borrowed(bearer(head)?), true)),
    |head| Some((filled(head.header("x-api-key")?)?, false)),
    |head| Some((offered(head, "bearer.")?, true)),
    |head| Some((offered(head, "key.")?, false)),
    |head| Some((in_query(head, "access_token")?, true)),
    |head| Some((in_query(head, "api_key")?, false)),
];

/// The bearer in `Authorization`, if it is not empty (RFC 6750 §2.1).
pub(crate) fn bearer<'h>(head: &Head<'h>) -> Option<&'h str> {
    let (scheme, bearer) = head.header("authorization")?.trim().split_once(' ')?;
    let bearer = bearer.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !bearer.is_empty()).then_some(bearer)
}

/// The rest of an offered subprotocol that begins with `prefix`.
fn offered<'h>(head: &Head<'h>, prefix: &str) -> Option<Cow<'h, str>> {
    let offered = head.headers_named("sec-websocket-protocol");
    let mut offered = offered.flat_map(|value| value.split(','));
    offered.find_map(|protocol| filled(protocol.trim().strip_prefix(prefix)?))
}

fn in_query<'h>(head: &Head<'h>, name: &str) -> Option<Cow<'h, str>> {
    let mut parameters = head
        .query?
        .split('&')
        .filter_map(|each| each.split_once('='));
    let (_, value) = parameters.find(|(key, value)| *key == name && !value.is_empty())?;
    // A value that cannot be decoded is an invalid credential rather than a missing one.
    Some(percent_decode(value).unwrap_or(Cow::Borrowed(value)))
}

fn filled(text: &str) -> Option<Cow<'_, str>> {
    (!text.is_empty()).then_some(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::with_head;

    const KEY: &str = "a/key+0123456789";

    /// The credential of a request as (kind, text): a token, the known key, or an unknown one.
    fn found(
        target: &str,
        headers: &str,
        takes_tokens: bool,
        has_keys: bool,
    ) -> Option<(char, String)> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        let keys = has_keys.then(|| KEY.parse().expect("a key"));
        let keys = ApiKeys::new(keys.as_slice());
        with_head(&request, |head| {
            find(head, &keys, takes_tokens).map(|found| match found {
                Credential::Token(text) => ('t', text.into_owned()),
                Credential::ApiKey(..) => ('k', String::new()),
                Credential::Unknown => ('?', String::new()),
            })
        })
    }

    /// A request for each place with `text` in it: target, headers, whether it is a bearer.
    fn places(text: &str) -> [(String, String, bool); 7] {
        let encoded = text.replace('/', "%2F").replace('+', "%2B");
        let header = |line: String, is_bearer| ("/".to_owned(), line + "\r\n", is_bearer);
        let offer = |name: &str| format!("Sec-WebSocket-Protocol: corecast.v1, {name}.{text}");
        let query = |name: &str| format!("/?a=1&{name}={encoded}&b=2");
        [
            header(format!("Authorization: Bearer {text}"), true),
            header(format!("authorization: bearer   {text} "), true),
            header(format!("X-Api-Key: {text}"), false),
            header(offer("bearer"), true),
            header(offer("key"), false),
            (query("access_token"), String::new(), true),
            (query("api_key"), String::new(), false),
        ]
    }

    #[test]
    fn a_known_key_is_found_in_each_place() {
        for takes_tokens in [false, true] {
            for (target, headers, _) in places(KEY) {
                let found = found(&target, &headers, takes_tokens, true);
                let expected = Some(('k', String::new()));
                assert_eq!(found, expected, "{target} {headers}");
            }
        }
    }

    #[test]
    fn an_unknown_bearer_is_a_token_if_tokens_are_accepted() {
        let (token, unknown) = (('t', "T/+".to_owned()), ('?', String::new()));
        for (takes_tokens, has_keys) in [(true, true), (true, false), (false, true), (false, false)]
        {
            for (target, headers, is_bearer) in places("T/+") {
                let found = found(&target, &headers, takes_tokens, has_keys);
                let expected = match is_bearer && takes_tokens {
                    true => &token,
                    false => &unknown,
                };
                assert_eq!(found.as_ref(), Some(expected), "{target} {headers}");
            }
        }
    }

    #[test]
    fn a_value_that_cannot_be_decoded_is_an_unknown_credential() {
        let unknown = Some(('?', String::new()));
        assert_eq!(found("/?api_key=%zz", "", true, true), unknown);
    }

    #[test]
    fn an_empty_place_and_another_scheme_hold_no_credential() {
        for (target, headers) in [
            ("/", ""),
            (
                "/?access_token=&api_key=",
                "Authorization: Bearer \r\nX-API-Key: \r\n",
            ),
            ("/?token=T", "Authorization: Basic dXNlcjpwYXNz\r\n"),
            (
                "/",
                "Sec-WebSocket-Protocol: corecast.v1, bearer., bearer\r\n",
            ),
        ] {
            assert_eq!(
                found(target, headers, true, true),
                None,
                "{target} {headers}"
            );
        }
    }

    #[test]
    fn the_first_place_of_a_configured_kind_decides() {
        let headers = "X-API-Key: K\r\nAuthorization: Bearer T\r\n";
        let of = |tokens, keys| found("/?access_token=U", headers, tokens, keys);
        assert_eq!(of(true, true), Some(('t', "T".to_owned())));
        assert_eq!(of(true, false), Some(('t', "T".to_owned())));
        assert_eq!(of(false, true), Some(('?', String::new())));
        let headers = "X-API-Key: K\r\n";
        let token = found("/?access_token=U", headers, true, false);
        assert_eq!(token, Some(('t', "U".to_owned())));
        // A bearer for a proxy does not hide the key.
        let headers = format!("Authorization: Bearer T\r\nX-API-Key: {KEY}\r\n");
        let key = Some(('k', String::new()));
        assert_eq!(found("/", &headers, false, true), key);
        // If tokens are accepted, the bearer decides.
        let token = Some(('t', "T".to_owned()));
        assert_eq!(found("/", &headers, true, true), token);
    }
}
