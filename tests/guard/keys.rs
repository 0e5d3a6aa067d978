//! API keys, and keys of both kinds that are replaced while the relay runs.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use corecast::guard::token::SigningKey;
use corecast::guard::{self, ApiKey, AuthSettings, Files, Secret};
use rcgen::{KeyPair, PKCS_ED25519};
use serde_json::json;

use super::support::eventually;
use super::{ask, bearer, guarded_by, plain_token, refused, secret_auth, signed};

const OLD: &str = "old-key-0123456789";
const NEW: &str = "new-key-0123456789";

fn api_key(text: &str) -> ApiKey {
    text.parse().expect("a key")
}

fn header(key: &str) -> String {
    format!("X-API-Key: {key}\r\n")
}

#[test]
fn each_of_several_keys_lets_in_and_another_does_not() {
    let server = guarded_by(AuthSettings {
        keys: vec![api_key(OLD), api_key(NEW)],
        ..AuthSettings::default()
    });
    let protocols = format!("Sec-WebSocket-Protocol: corecast.v1, key.{NEW}\r\n");
    let query = format!("/?api_key={NEW}");
    for (path, headers) in [
        ("/", header(OLD)),
        ("/", header(NEW)),
        ("/", protocols),
        (&query, String::new()),
    ] {
        let (mut client, answer) = ask(&server, path, &headers);
        assert_eq!(answer.status, 101, "{path} {headers}");
        assert!(!answer.head.contains(NEW), "{}", answer.head);
        client.text("in");
        assert_eq!(client.expect_text(), "in");
    }
    for (path, headers) in [
        ("/", header("another-key-0123456")),
        ("/", header(&OLD[..OLD.len() - 1])),
        // The first credential decides.
        (&query, header("another-key-0123456")),
    ] {
        let before = refused(&server, guard::BAD_KEY);
        let (_client, answer) = ask(&server, path, &headers);
        assert_eq!(answer.status, 401);
        assert_eq!(refused(&server, guard::BAD_KEY), before + 1);
    }
}

#[test]
fn a_key_or_a_token_is_enough_if_both_are_configured() {
    let server = guarded_by(AuthSettings {
        keys: vec![api_key(OLD)],
        ..secret_auth()
    });
    for headers in [header(OLD), bearer(&signed(&plain_token()))] {
        assert_eq!(ask(&server, "/", &headers).1.status, 101, "{headers}");
    }
}

#[test]
fn a_key_lets_in_as_a_bearer_in_each_of_its_places() {
    let keys = || vec![api_key(OLD)];
    for auth in [
        AuthSettings {
            keys: keys(),
            ..AuthSettings::default()
        },
        AuthSettings {
            keys: keys(),
            ..secret_auth()
        },
    ] {
        let server = guarded_by(auth);
        for (path, headers) in [
            ("/".to_owned(), bearer(OLD)),
            (
                "/".to_owned(),
                format!("Sec-WebSocket-Protocol: corecast.v1, bearer.{OLD}\r\n"),
            ),
            (format!("/?access_token={OLD}"), String::new()),
        ] {
            let (mut client, answer) = ask(&server, &path, &headers);
            assert_eq!(answer.status, 101, "{path} {headers}");
            client.text("in");
            assert_eq!(client.expect_text(), "in");
        }
    }
}

/// Every place with a credential, for guards that know keys, tokens, both, or neither.
#[test]
fn a_credential_that_was_sent_is_invalid_and_never_needed() {
    const OTHER: &str = "another-key-0123456";
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("keys.txt");
    fs::write(&empty, "").expect("a file");
    let keys = AuthSettings {
        keys: vec![api_key(OLD)],
        ..AuthSettings::default()
    };
    let both = AuthSettings {
        keys: vec![api_key(OLD)],
        ..secret_auth()
    };
    let neither = AuthSettings {
        files: Files {
            keys: Some(empty),
            tokens: None,
        },
        ..AuthSettings::default()
    };
    for (kind, auth) in [
        ("keys", keys),
        ("tokens", secret_auth()),
        ("both", both),
        ("neither", neither),
    ] {
        let server = guarded_by(auth);
        for (path, headers) in [
            ("/".to_owned(), bearer(OTHER)),
            ("/".to_owned(), header(OTHER)),
            (
                "/".to_owned(),
                format!("Sec-WebSocket-Protocol: bearer.{OTHER}\r\n"),
            ),
            (
                "/".to_owned(),
                format!("Sec-WebSocket-Protocol: key.{OTHER}\r\n"),
            ),
            (format!("/?access_token={OTHER}"), String::new()),
            (format!("/?api_key={OTHER}"), String::new()),
        ] {
            let answer = ask(&server, &path, &headers).1;
            let body = String::from_utf8(answer.body).expect("UTF-8");
            assert_eq!(answer.status, 401, "{kind}: {path} {headers}");
            assert!(body.contains("is not valid"), "{kind}: {path} {body}");
        }
        assert_eq!(refused(&server, guard::NO_CREDENTIALS), 0, "{kind}");
        let answer = ask(&server, "/", "").1;
        let body = String::from_utf8(answer.body).expect("UTF-8");
        assert!(body.contains("is required"), "{kind}: {body}");
        assert_eq!(refused(&server, guard::NO_CREDENTIALS), 1, "{kind}");
    }
}

/// Replaces a file as a deployment does: by another one, under its name.
pub(crate) fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).expect("a file");
    fs::rename(next, path).expect("a file in its place");
}

#[test]
fn api_keys_in_a_file_are_replaced_while_the_relay_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys.txt");
    fs::write(&path, format!("# for the start\n{OLD}\n")).expect("a file");
    let server = guarded_by(AuthSettings {
        files: Files {
            keys: Some(path.clone()),
            tokens: None,
        },
        ..AuthSettings::default()
    });
    let status = |key: &str| ask(&server, "/", &header(key)).1.status;
    assert_eq!((status(OLD), status(NEW)), (101, 401));
    replace(&path, &format!("{OLD}\n{NEW}\n"));
    eventually("the new key is good", || status(NEW) == 101);
    assert_eq!(status(OLD), 101);
    // An invalid file changes nothing; the next one does.
    replace(&path, "broken\n");
    replace(&path, &format!("{NEW}\n"));
    eventually("the old key is not good any more", || status(OLD) == 401);
    assert_eq!(status(NEW), 101);
}

#[test]
fn a_set_of_json_web_keys_is_replaced_while_the_relay_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("jwks.json");
    let pairs: [KeyPair; 2] =
        std::array::from_fn(|_| KeyPair::generate_for(&PKCS_ED25519).expect("a key"));
    let set = |pairs: &[&KeyPair]| -> String {
        let keys = pairs.iter().map(|pair| {
            let x = URL_SAFE_NO_PAD.encode(pair.public_key_raw());
            json!({"kty": "OKP", "crv": "Ed25519", "x": x})
        });
        json!({"keys": keys.collect::<Vec<_>>()}).to_string()
    };
    let tokens = pairs.each_ref().map(|pair| {
        let key = SigningKey::of_pem(&pair.serialize_pem()).expect("a key");
        key.sign(&plain_token()).expect("a token")
    });
    fs::write(&path, set(&[&pairs[0]])).expect("a file");
    let server = guarded_by(AuthSettings {
        files: Files {
            keys: None,
            tokens: Some(path.clone()),
        },
        token_secret: Some(Secret::new(super::SECRET)),
        ..AuthSettings::default()
    });
    let status = |token: &str| ask(&server, "/", &bearer(token)).1.status;
    assert_eq!(tokens.each_ref().map(|token| status(token)), [101, 401]);
    replace(&path, &set(&[&pairs[0], &pairs[1]]));
    eventually("both are good", || status(&tokens[1]) == 101);
    assert_eq!(status(&tokens[0]), 101);
    replace(&path, "");
    replace(&path, &set(&[&pairs[1]]));
    eventually("the first is not good any more", || {
        status(&tokens[0]) == 401
    });
    assert_eq!(status(&tokens[1]), 101);
    // The secret was not in the file, so it stays.
    assert_eq!(status(&signed(&plain_token())), 101);
}

#[test]
fn each_of_many_keys_without_a_name_verifies() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys.pem");
    let pairs: Vec<KeyPair> = (0..64)
        .map(|_| KeyPair::generate_for(&PKCS_ED25519).expect("a key"))
        .collect();
    let pem: String = pairs.iter().map(KeyPair::public_key_pem).collect();
    fs::write(&path, pem).expect("a file");
    let server = guarded_by(AuthSettings {
        files: Files {
            keys: None,
            tokens: Some(path),
        },
        ..AuthSettings::default()
    });
    for (number, pair) in pairs.iter().enumerate() {
        let key = SigningKey::of_pem(&pair.serialize_pem()).expect("a key");
        let token = key.sign(&plain_token()).expect("a token");
        let (_client, answer) = ask(&server, "/", &bearer(&token));
        assert_eq!(answer.status, 101, "key {number}");
    }
}

#[test]
fn a_broken_key_file_keeps_the_keys_and_an_empty_one_revokes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys.txt");
    fs::write(&path, OLD).expect("a file");
    let relay = super::support::relay::Relay::start(&[
        "--set",
        &format!("auth.keys_file={}", path.display()),
    ]);
    let status = |key: &str| {
        let mut client = super::Client::connect(relay.address);
        client.send(super::upgrade_with("/", &header(key)).as_bytes());
        client.answer().status
    };
    let unusable = || super::reload::metric(&relay, "corecast_unusable_key_files_total");
    assert_eq!((status(OLD), status(NEW), &*unusable()), (101, 401, "0"));
    replace(&path, "hunter 2");
    eventually("it says so", || {
        relay.logged("the previous keys stay in force") == 1
    });
    assert_eq!((status(OLD), relay.logged("hunter")), (101, 0));
    assert_eq!(unusable(), "1");
    for (number, text) in [(1, ""), (2, "# all revoked\n\n")] {
        replace(&path, text);
        eventually("nobody comes in by it", || status(OLD) == 401);
        eventually("it says so", || relay.logged("holds no keys") == number);
        replace(&path, OLD);
        eventually("the key is good again", || status(OLD) == 101);
    }
    fs::remove_file(&path).expect("a file");
    eventually("nobody comes in by it", || status(OLD) == 401);
    // The door is closed, but still exists.
    assert_eq!(status(""), 401);
    eventually("it says so", || {
        relay.logged("all of its keys are revoked") == 1
    });
    // SIGHUP does not find a file either, and that opens nothing.
    relay.signal(rustix::process::Signal::HUP);
    eventually("it says so", || relay.logged("not reloaded") == 1);
    assert_eq!((status(OLD), status("")), (401, 401));
    replace(&path, NEW);
    eventually("the new key is good", || status(NEW) == 101);
    assert_eq!((status(OLD), &*unusable()), (401, "1"));
}
