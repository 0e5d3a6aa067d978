//! Tokens: where they may be, and every way in which one is invalid.

use std::path::Path;
use std::time::{Duration, SystemTime};

use corecast::engine::{CloseReason, Refusal};
use corecast::guard::token::NewToken;
use corecast::guard::{self, AuthSettings, Files};

use super::support::Server;
use super::{
    SECRET, ask, bearer, closed, guarded_by, guarded_by_secret, open, plain_token, refused,
    secret_auth, signed, signed_by,
};

#[test]
fn without_a_key_or_a_token_clients_are_refused() {
    let server = guarded_by_secret();
    for headers in ["", "Authorization: Basic YWRhOnB3\r\n"] {
        let before = refused(&server, guard::NO_CREDENTIALS);
        let (_client, answer) = ask(&server, "/?token=x", headers);
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert_eq!(refused(&server, guard::NO_CREDENTIALS), before + 1);
    }
}

#[test]
fn a_token_lets_in_from_each_of_its_places_and_is_never_echoed() {
    let server = guarded_by_secret();
    let token = signed(&plain_token());
    let protocols = format!("Sec-WebSocket-Protocol: corecast.v1, bearer.{token}\r\n");
    let turned = format!("Sec-WebSocket-Protocol: bearer.{token}, corecast.v1\r\n");
    let alone = format!("Sec-WebSocket-Protocol: bearer.{token}\r\n");
    let query = format!("/?access_token={token}");
    let chosen = Some("corecast.v1");
    for (path, headers, protocol) in [
        ("/", bearer(&token), None),
        ("/", protocols, chosen),
        ("/", turned, chosen),
        ("/", alone, None),
        (&query, String::new(), None),
        (
            &query,
            "Sec-WebSocket-Protocol: other, corecast.v1\r\n".to_owned(),
            chosen,
        ),
    ] {
        let (mut client, answer) = ask(&server, path, &headers);
        assert_eq!(answer.status, 101, "{headers}");
        assert_eq!(
            answer.header("sec-websocket-protocol"),
            protocol,
            "{headers}"
        );
        assert!(!answer.head.contains(&token) && !answer.head.contains("bearer"));
        client.text("in");
        assert_eq!(client.expect_text(), "in");
    }
}

/// A hub that requires tokens by [`SECRET`] as the key `known`, with our audience and issuer.
fn strict_server(folder: &Path) -> Server {
    let jwks = folder.join("jwks.json");
    // The secret in base64url.
    let k = "YSBzZWNyZXQgb2YgdGhlc2UgdGVzdHMsIGxvbmcgZW5vdWdo";
    let set = format!(r#"{{"keys": [{{"kty": "oct", "kid": "known", "k": "{k}"}}]}}"#);
    std::fs::write(&jwks, set).expect("a file");
    let mut auth = AuthSettings {
        files: Files {
            tokens: Some(jwks),
            keys: None,
        },
        ..AuthSettings::default()
    };
    auth.token_checks.issuer = Some("us".to_owned());
    auth.token_checks.audience = Some("relay".to_owned());
    guarded_by(auth)
}

/// A token that is valid there.
fn strict_token() -> NewToken {
    NewToken {
        issuer: Some("us".to_owned()),
        audience: Some("relay".to_owned()),
        key_id: Some("known".to_owned()),
        ..plain_token()
    }
}

/// Tokens that are not, with the reason and the message to the client.
fn bad_tokens() -> Vec<(String, Refusal, &'static str)> {
    let with = |change: fn(&mut NewToken)| {
        let mut token = strict_token();
        change(&mut token);
        signed(&token)
    };
    const MINUTE: Duration = Duration::from_secs(60);
    let token = signed(&strict_token());
    let (message, signature) = token.rsplit_once('.').expect("a signature");
    let (header, claims) = message.split_once('.').expect("claims");
    // {"alg":"none"} and {"alg":"RS256","kid":"known"}
    let none = format!("eyJhbGciOiJub25lIn0.{claims}.");
    let rs256 = format!("eyJhbGciOiJSUzI1NiIsImtpZCI6Imtub3duIn0.{claims}.{signature}");
    let others = with(|token| token.user = Some("eve".to_owned()));
    let others = others.split('.').nth(1).expect("claims");
    let tampered = format!("{header}.{others}.{signature}");
    let forged = signed_by(&SECRET.replace("tests", "foes!"), &strict_token());
    let unknown = with(|token| token.key_id = Some("unknown".to_owned()));
    let expired = with(|token| token.expires = SystemTime::now() - MINUTE);
    let early = with(|token| token.begins = Some(SystemTime::now() + MINUTE));
    let by_others = with(|token| token.issuer = Some("them".to_owned()));
    let for_others = with(|token| token.audience = None);
    let (algorithm, wrong) = (
        "its algorithm is not the one of the key",
        "its signature is wrong",
    );
    vec![
        (
            "no.token".to_owned(),
            guard::TOKEN_MALFORMED,
            "it cannot be read",
        ),
        (none, guard::TOKEN_ALGORITHM, algorithm),
        (rs256, guard::TOKEN_ALGORITHM, algorithm),
        (unknown, guard::TOKEN_KEY, "its key is not known"),
        (tampered, guard::TOKEN_SIGNATURE, wrong),
        (forged, guard::TOKEN_SIGNATURE, wrong),
        (expired, guard::TOKEN_EXPIRED, "it has expired"),
        (early, guard::TOKEN_NOT_YET_VALID, "it is not valid yet"),
        (by_others, guard::TOKEN_ISSUER, "it is by another issuer"),
        (
            for_others,
            guard::TOKEN_AUDIENCE,
            "it is for another audience",
        ),
    ]
}

#[test]
fn every_bad_token_is_refused_under_its_own_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = strict_server(folder.path());
    for (token, refusal, description) in bad_tokens() {
        let before = refused(&server, refusal);
        let (mut client, answer) = ask(&server, "/", &bearer(&token));
        assert_eq!(answer.status, 401, "{description}");
        let challenge = answer.header("www-authenticate").expect("a challenge");
        let wanted = format!("Bearer error=\"invalid_token\", error_description=\"{description}\"");
        assert_eq!(challenge, wanted);
        assert!(!String::from_utf8_lossy(&answer.body).contains(&token));
        assert_eq!(refused(&server, refusal), before + 1, "{description}");
        // There is no second attempt on this connection.
        client.expect_end();
    }
    let (mut client, answer) = ask(&server, "/", &bearer(&signed(&strict_token())));
    assert_eq!(answer.status, 101);
    client.round_trip();
}

#[test]
fn exp_closes_the_live_connection() {
    let server = guarded_by_secret();
    let token = signed(&NewToken {
        expires: SystemTime::now() + Duration::from_secs(2),
        ..plain_token()
    });
    let mut lasting = open(&server, "/", &signed(&plain_token()));
    let mut client = open(&server, "/", &token);
    client.text("before");
    assert_eq!(client.expect_text(), "before");
    let reason = client.expect_close(1008);
    assert!(reason.starts_with("auth:"), "{reason}");
    client.close(1008);
    client.expect_end();
    assert_eq!(closed(&server, &CloseReason::Expired), 1);
    lasting.text("after");
    assert_eq!(lasting.expect_text(), "before");
    assert_eq!(lasting.expect_text(), "after");
}

#[test]
fn leeway_is_given_at_the_end_as_well() {
    let mut auth = secret_auth();
    auth.token_checks.leeway = Duration::from_secs(300);
    let server = guarded_by(auth);
    let expired_since = |seconds| {
        let expires = SystemTime::now() - Duration::from_secs(seconds);
        let token = signed(&NewToken {
            expires,
            ..plain_token()
        });
        open(&server, "/", &token)
    };
    let (mut later, mut sooner) = (expired_since(60), expired_since(297));
    assert!(sooner.expect_close(1008).starts_with("auth:"));
    later.round_trip();
}
