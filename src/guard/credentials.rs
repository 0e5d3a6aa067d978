//! Where a request may have a key or a token.
//!
//! Clients that set headers use `Authorization: Bearer TOKEN` (RFC 6750 §2.1) and `X-API-Key`. A
//! page in a browser cannot: it offers subprotocols, `corecast.v1` and `bearer.TOKEN` or `key.KEY`,
//! or writes `?access_token=` (§2.3) or `?api_key=` into its URL. The first place in this order
//! that has something decides: what is wrong there is not made good elsewhere.

use std::borrow::Cow;

use crate::wire::http::{Head, percent_decode};

/// What a client shows.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credential<'h> {
    Token(Cow<'h, str>),
    ApiKey(Cow<'h, str>),
}

/// The credential of a request, where tokens or keys are looked for.
pub(super) fn find<'h>(head: &Head<'h>, tokens: bool, keys: bool) -> Option<Credential<'h>> {
    let token = |place: fn(&Head<'h>) -> Option<Cow<'h, str>>| {
        let found = tokens.then(|| place(head)).flatten();
        found.map(Credential::Token)
    };
    let key = |place: fn(&Head<'h>) -> Option<Cow<'h, str>>| {
        let found = keys.then(|| place(head)).flatten();
        found.map(Credential::ApiKey)
    };
    token(bearer)
        .or_else(|| key(|head| filled(head.header("x-api-key")?)))
        .or_else(|| token(|head| offered(head, "bearer.")))
        .or_else(|| key(|head| offered(head, "key.")))
        .or_else(|| token(|head| in_query(head, "access_token")))
        .or_else(|| key(|head| in_query(head, "api_key")))
}

fn bearer<'h>(head: &Head<'h>) -> Option<Cow<'h, str>> {
    let (scheme, token) = head.header("authorization")?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| filled(token.trim()))
        .flatten()
}

/// What follows `prefix` in a subprotocol that the client offers.
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
    // What cannot be decoded is no credential that anybody has, but it is one.
    Some(percent_decode(value).unwrap_or(Cow::Borrowed(value)))
}

fn filled(text: &str) -> Option<Cow<'_, str>> {
    (!text.is_empty()).then_some(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::with_head;

    fn found(target: &str, headers: &str, tokens: bool, keys: bool) -> Option<(char, String)> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        with_head(&request, |head| {
            find(head, tokens, keys).map(|found| match found {
                Credential::Token(text) => ('t', text.into_owned()),
                Credential::ApiKey(text) => ('k', text.into_owned()),
            })
        })
    }

    #[test]
    fn a_credential_is_found_in_each_of_its_places() {
        let protocols = "Sec-WebSocket-Protocol: corecast.v1, bearer.T\r\n";
        let key_protocol = "Sec-WebSocket-Protocol: corecast.v1\r\n\
                            Sec-WebSocket-Protocol: key.K\r\n";
        for (target, headers, expected) in [
            ("/", "Authorization: Bearer T\r\n", ('t', "T")),
            ("/", "authorization: bearer   T\r\n", ('t', "T")),
            ("/", "X-Api-Key: K\r\n", ('k', "K")),
            ("/", protocols, ('t', "T")),
            ("/", key_protocol, ('k', "K")),
            ("/?a=1&access_token=T&b=2", "", ('t', "T")),
            ("/?api_key=a%2Fb", "", ('k', "a/b")),
            ("/?api_key=%zz", "", ('k', "%zz")),
        ] {
            let expected = Some((expected.0, expected.1.to_owned()));
            assert_eq!(
                found(target, headers, true, true),
                expected,
                "{target} {headers}"
            );
        }
    }

    #[test]
    fn what_is_no_credential_is_none() {
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
    fn the_first_place_decides_and_only_what_is_known_is_looked_for() {
        let headers = "X-API-Key: K\r\nAuthorization: Bearer T\r\n";
        let of = |tokens, keys| found("/?access_token=U", headers, tokens, keys);
        assert_eq!(of(true, true), Some(('t', "T".to_owned())));
        assert_eq!(of(false, true), Some(('k', "K".to_owned())));
        assert_eq!(of(true, false), Some(('t', "T".to_owned())));
        assert_eq!(of(false, false), None);
    }
}
