//! The rights of a key, and invalid keys.

use std::fs;

use corecast::engine::Refusal;
use corecast::guard::{self, ApiKey, Scopes};

use crate::support::eventually;
use crate::{KEY, Relay, json};

const DOORS: [(&str, &str, &str, &str); 5] = [
    (
        "publish",
        "POST",
        "/api/publish",
        r#"{"endpoint":"hub","room":"/a","text":"x"}"#,
    ),
    ("read", "GET", "/api/rooms?endpoint=hub", ""),
    ("read", "GET", "/api/members?endpoint=hub&room=/a", ""),
    ("read", "GET", "/api/info", ""),
    (
        "disconnect",
        "POST",
        "/api/disconnect",
        r#"{"endpoint":"hub","room":"/a"}"#,
    ),
];

fn scoped(scope: &str) -> ApiKey {
    let key: ApiKey = format!("a-key-for-{scope}").parse().expect("a key");
    key.with_scopes(Scopes::of_names([scope].into_iter()).expect("a scope"))
}

fn say(relay: &Relay, door: usize, key: &str) -> (u16, serde_json::Value) {
    let (_, method, target, body) = DOORS[door];
    let headers = format!("X-API-KEY: {key}\r\nContent-Length: {}\r\n", body.len());
    let answer = relay.say(method, target, &headers, body.as_bytes());
    (answer.status, json(&answer))
}

#[test]
fn a_bearer_key_is_accepted_and_a_wrong_one_called_invalid() {
    let relay = Relay::with(1, |_| {});
    for (door, (_, method, target, body)) in DOORS.iter().enumerate() {
        let say = |credential: &str| {
            let length = body.len();
            let headers = format!("{credential}Content-Length: {length}\r\n");
            let answer = relay.say(method, target, &headers, body.as_bytes());
            (answer.status, json(&answer))
        };
        let good = say(&format!("Authorization: Bearer {KEY}\r\n"));
        assert_eq!(good.0, 200, "{door}: {good:?}");
        for wrong in [
            "Authorization: Bearer a-guess\r\n",
            "X-API-KEY: a-guess\r\n",
        ] {
            let (status, body) = say(wrong);
            assert_eq!((status, &body["code"]), (401, &"unauthorized".into()));
            assert_eq!(body["error"], "the key is not valid");
        }
        let error = &say("").1["error"];
        assert!(
            error
                .as_str()
                .expect("a text")
                .starts_with("a key is needed")
        );
    }
}

fn refused(relay: &Relay, refusal: Refusal) -> u64 {
    let engine = relay.engine.as_ref().expect("it runs");
    let view = engine.view();
    view.shards().map(|shard| shard.refused.get(refusal)).sum()
}

#[test]
fn a_key_opens_what_its_scopes_say_on_every_path() {
    let scopes = ["publish", "read", "disconnect", "push", "connect"];
    let relay = Relay::with(1, |config| {
        let keys = config.api.keys.get_or_insert_default();
        keys.extend(scopes.map(scoped));
    });
    let mut forbidden = 0;
    for (door, (needed, ..)) in DOORS.iter().enumerate() {
        assert_eq!(say(&relay, door, KEY).0, 200, "a key without scopes");
        for scope in scopes {
            let (status, body) = say(&relay, door, &format!("a-key-for-{scope}"));
            if scope == *needed {
                assert_eq!(status, 200, "{needed}: {body}");
                continue;
            }
            forbidden += 1;
            assert_eq!(
                (status, &body["code"]),
                (403, &"forbidden".into()),
                "{body}"
            );
            assert_eq!(body["error"], format!("the key lacks the scope {needed}"));
        }
    }
    assert_eq!(refused(&relay, guard::FORBIDDEN), forbidden);
}

#[test]
fn bad_keys_are_counted_on_every_path_and_too_many_are_429() {
    let relay = Relay::with(1, |config| config.limits.exempt_networks = Vec::new());
    for door in 0..DOORS.len() {
        let (status, body) = say(&relay, door, "");
        assert_eq!((status, &body["code"]), (401, &"unauthorized".into()));
    }
    assert_eq!(refused(&relay, guard::NO_CREDENTIALS), DOORS.len() as u64);
    let doors = (0..200).map(|number| number % DOORS.len());
    let judged = doors.take_while(|door| {
        let (status, body) = say(&relay, *door, "a-guess");
        assert!(status == 401 || (status, &body["code"]) == (429, &"credential_rate".into()));
        status == 401
    });
    let judged = judged.count() as u64;
    assert!(judged >= 20, "{judged}");
    assert_eq!(refused(&relay, guard::BAD_KEY), judged);
    assert_eq!(refused(&relay, Refusal::CredentialRate), 1);
    for door in 0..DOORS.len() {
        assert_eq!(say(&relay, door, KEY).0, 200);
    }
}

#[test]
fn an_emptied_or_removed_file_revokes_only_its_own_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys");
    fs::write(&path, "of-the-file\n").expect("a file");
    let relay = Relay::with(1, |config| config.api.keys_file = Some(path.clone()));
    let is = |status: u16| say(&relay, 3, "of-the-file").0 == status;
    assert!(is(200));
    fs::write(&path, "# none\n").expect("a file");
    eventually("it is revoked", || is(401));
    fs::write(&path, "of-the-file read\n").expect("a file");
    eventually("it is good again", || is(200));
    assert_eq!(say(&relay, 0, "of-the-file").0, 403);
    fs::write(&path, "of-the-file raed\n").expect("a file");
    fs::remove_file(&path).expect("a file");
    eventually("it is revoked", || is(401));
    assert_eq!(say(&relay, 3, KEY).0, 200);
}
