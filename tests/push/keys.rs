//! Valid keys without the right to push, and guessed keys.

use corecast::guard::{ApiKey, Scopes};

use crate::{KEY, Relay, ask, config};

const PUSH: &str = "{\"event_name\":\"e\"}";

/// A relay without exemptions, with a key that reads and publishes besides the one for everything.
fn relay() -> Relay {
    let mut config = config();
    let reader: ApiKey = "a-key-that-reads".parse().expect("a key");
    let scopes = Scopes::of_names(["read", "publish"].into_iter()).expect("scopes");
    let keys = config.api.keys.get_or_insert_default();
    keys.push(reader.with_scopes(scopes));
    config.limits.exempt_networks = Vec::new();
    Relay::start(&config)
}

/// The status, the body, and `Retry-After`.
fn say(relay: &Relay, method: &str, target: &str, key: &str) -> (u16, String, Option<String>) {
    let headers = format!("X-API-KEY: {key}\r\n");
    let answer = ask(relay.address, method, target, &headers, PUSH);
    let again = answer.header("Retry-After").map(str::to_owned);
    let body = String::from_utf8(answer.body).expect("UTF-8");
    (answer.status, body, again)
}

fn counted(relay: &Relay, name: &str, reason: &str) -> f64 {
    relay.metric(&format!("corecast_{name}_total{{reason=\"{reason}\"}}"))
}

#[test]
fn a_key_is_taken_as_a_bearer_behind_its_other_places() {
    let relay = relay();
    let status = |target: &str, headers: &str| {
        let answer = ask(relay.address, "POST", target, headers, PUSH);
        answer.status
    };
    let good = format!("Authorization: Bearer {KEY}\r\n");
    let other = "Authorization: Bearer for-a-proxy\r\n";
    assert_eq!(status("/api/push", &good), 200);
    assert_eq!(status("/api/push?api_key=", &good), 200);
    assert_eq!(status(&format!("/api/push?api_key={KEY}"), other), 200);
    assert_eq!(status("/api/push?api_key=a-guess", &good), 401);
    assert_eq!(status("/api/push", other), 401);
}

#[test]
fn a_key_without_the_scope_push_is_403() {
    let relay = relay();
    for (method, target) in [
        ("POST", "/api/push"),
        ("GET", "/api/push/pending"),
        ("DELETE", "/api/push/pending/1"),
    ] {
        let (status, body, _) = say(&relay, method, target, "a-key-that-reads");
        let expected = "{\"code\":-1,\"msg\":\"api key lacks the scope push\"}";
        assert_eq!((status, &*body), (403, expected), "{target}");
    }
    assert_eq!(counted(&relay, "refused", "forbidden"), 3.0);
    assert_eq!(counted(&relay, "push_requests_refused", "key_scope"), 3.0);
}

#[test]
fn guesses_are_401_then_429_and_the_key_pushes_all_the_same() {
    let relay = relay();
    let guesses = (0..200).map(|_| say(&relay, "POST", "/api/push", "a-guess"));
    let mut guesses = guesses.enumerate().skip_while(|(_, (status, body, _))| {
        let is_judged = *status == 401;
        assert!(!is_judged || body == "{\"code\":-1,\"msg\":\"invalid api key\"}");
        is_judged
    });
    let (judged, (status, body, again)) = guesses.next().expect("it is throttled");
    assert!(judged >= 20, "{judged}");
    let expected = "{\"code\":-1,\"msg\":\"too many invalid api keys\"}";
    assert_eq!((status, &*body), (429, expected));
    assert_eq!(again.as_deref(), Some("1"));
    assert_eq!(say(&relay, "POST", "/api/push", KEY).0, 200);
    for (name, reason, count) in [
        ("refused", "bad_key", judged as f64),
        ("refused", "credential_rate", 1.0),
        ("push_requests_refused", "key", judged as f64),
        ("push_requests_refused", "key_rate", 1.0),
    ] {
        assert_eq!(counted(&relay, name, reason), count, "{name} {reason}");
    }
}
