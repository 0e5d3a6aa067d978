//! The binary with a guard: its config, SIGHUP, and a log without secrets.

use std::fs;

use rustix::process::Signal;

use super::support::client::{Client, upgrade_with};
use super::support::eventually;
use super::support::relay::Relay;
use super::{SECRET, bearer, plain_token, signed, signed_by};

const KEY: &str = "a-key-of-the-operator";

pub(crate) fn status(relay: &Relay, path: &str, headers: &str) -> u16 {
    let mut client = Client::connect(relay.address);
    client.send(upgrade_with(path, headers).as_bytes());
    client.answer().status
}

pub(crate) fn metric(relay: &Relay, name: &str) -> String {
    let mut client = Client::connect(relay.admin);
    client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let page = String::from_utf8(client.answer().body).expect("UTF-8");
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    line.expect("the metric").trim().to_owned()
}

#[test]
fn a_guard_is_switched_on_changed_and_off_by_sighup() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.yaml");
    let write = |text: &str| fs::write(&path, text).expect("a file");
    write("{}");
    let relay = Relay::start(&["--config-file", path.to_str().expect("UTF-8")]);
    let mut early = Client::open(relay.address, "/");
    write(&format!("auth: {{keys: [{KEY}]}}"));
    relay.signal(Signal::HUP);
    eventually("a key is needed", || status(&relay, "/", "") == 401);
    assert_eq!(status(&relay, "/", &format!("X-API-Key: {KEY}\r\n")), 101);
    // Connected clients stay.
    early.round_trip();
    write(&format!(
        "auth: {{jwt: {{secret: '{SECRET}'}}}}\norigins: {{allow: [same]}}"
    ));
    relay.signal(Signal::HUP);
    let token = bearer(&signed(&plain_token()));
    eventually("a token is good", || status(&relay, "/", &token) == 101);
    let other = format!("{token}Origin: https://other.example\r\n");
    assert_eq!(status(&relay, "/", &other), 403);
    // A missing file changes nothing.
    write("auth: {keys_file: no/such/file}");
    relay.signal(Signal::HUP);
    eventually("it says so", || {
        relay.logged("auth.keys_file: no/such/file: cannot be read") == 1
    });
    assert_eq!(
        (status(&relay, "/", &token), status(&relay, "/", "")),
        (101, 401)
    );
    write("auth: {enabled: false}\nnetworks: {deny: [127.0.0.0/8]}");
    relay.signal(Signal::HUP);
    eventually("nobody comes in", || {
        let mut client = Client::connect(relay.address);
        let _ = client.try_send(upgrade_with("/", "").as_bytes());
        client.try_answer().is_none()
    });
    assert_ne!(
        metric(&relay, "corecast_refused_total{reason=\"network\"}"),
        "0"
    );
    write("{}");
    relay.signal(Signal::HUP);
    eventually("everybody comes in again", || {
        let mut client = Client::connect(relay.address);
        let _ = client.try_send(upgrade_with("/", "").as_bytes());
        client
            .try_answer()
            .is_some_and(|answer| answer.status == 101)
    });
    assert_eq!((relay.logged(KEY), relay.logged(SECRET)), (0, 0));
}

#[test]
fn the_repositorys_file_and_that_before_it_start_as_ever() {
    for file in ["config.yaml", "tests/config/before.yaml"] {
        let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
        let relay = Relay::start(&["--config-file", &path]);
        assert_eq!(status(&relay, "/", ""), 101, "{file}");
        assert_eq!(status(&relay, "/ws/ada", ""), 101, "{file}");
        let mut client = Client::connect(relay.address);
        client.send(b"GET /api/info HTTP/1.1\r\nHost: x\r\nX-API-KEY: x\r\n\r\n");
        assert_eq!(client.answer().status, 401, "{file}");
        // SIGHUP changes nothing and logs nothing.
        relay.signal(Signal::HUP);
        eventually("it is reloaded", || relay.logged("changes=0") == 1);
        let warnings = usize::from(file != "config.yaml");
        assert_eq!(relay.logged("auth.keys: an empty list"), warnings, "{file}");
    }
}

#[test]
fn an_endpoint_has_a_guard_of_its_own() {
    let hub = "endpoints.hub.auth";
    let relay = Relay::start(&[
        "--set",
        &format!("auth.jwt.secret={SECRET}"),
        "--set",
        "auth.jwt.issuer=us",
        "--set",
        "auth.jwt.audience=all",
        "--set",
        &format!("{hub}.jwt.issuer=hub"),
        "--set",
        &format!("{hub}.jwt.audience=hub"),
        "--set",
        "endpoints.open.kind=hub",
        "--set",
        "endpoints.open.path=/open",
        "--set",
        "endpoints.open.auth.enabled=false",
        "--set",
        "endpoints.page.kind=hub",
        "--set",
        "endpoints.page.path=/page",
        "--set",
        "endpoints.page.origins.allow_missing=false",
    ]);
    let token = |by: &str, audience: &str| {
        let mut token = plain_token();
        token.issuer = Some(by.to_owned());
        token.audience = Some(audience.to_owned());
        bearer(&signed(&token))
    };
    let of_page = format!("{}Origin: https://x.example\r\n", token("us", "all"));
    for (path, headers, expected) in [
        ("/", token("hub", "hub"), 101),
        ("/", token("us", "hub"), 401),
        ("/", token("hub", "all"), 401),
        ("/open", String::new(), 101),
        ("/page", token("us", "all"), 403),
        ("/page", of_page, 101),
    ] {
        assert_eq!(status(&relay, path, &headers), expected, "{path} {headers}");
    }
}

#[test]
fn no_token_and_no_key_is_in_the_log_or_the_metrics() {
    let relay = Relay::start(&[
        "--log-level",
        "trace",
        "--set",
        &format!("auth.jwt.secret={SECRET}"),
        "--set",
        &format!("auth.keys=[{KEY}]"),
    ]);
    let good = signed(&plain_token());
    let bad = signed_by("another secret, which is long enough", &plain_token());
    let wrong_key = "a-key-of-nobody-at-all";
    let signature = |token: &str| token.rsplit('.').next().unwrap_or_default().to_owned();
    let mut secrets = vec![KEY.to_owned(), SECRET.to_owned(), wrong_key.to_owned()];
    for (token, expected) in [(&good, 101), (&bad, 401)] {
        let protocols = format!("Sec-WebSocket-Protocol: corecast.v1, bearer.{token}\r\n");
        let query = format!("/?access_token={token}");
        assert_eq!(status(&relay, "/", &bearer(token)), expected);
        assert_eq!(status(&relay, "/", &protocols), expected);
        assert_eq!(status(&relay, &query, ""), expected);
        secrets.push(signature(token));
    }
    for (key, expected) in [(KEY, 101), (wrong_key, 401)] {
        assert_eq!(
            status(&relay, "/", &format!("X-API-Key: {key}\r\n")),
            expected
        );
        assert_eq!(status(&relay, &format!("/?api_key={key}"), ""), expected);
    }
    assert_eq!(
        metric(&relay, "corecast_refused_total{reason=\"token_signature\"}"),
        "3"
    );
    assert_eq!(
        metric(&relay, "corecast_refused_total{reason=\"bad_key\"}"),
        "2"
    );
    eventually("the refusals are in the log", || {
        relay.logged("token_signature") == 3 && relay.logged("bad_key") == 2
    });
    for secret in secrets {
        assert_eq!(relay.logged(&secret), 0, "{secret}");
    }
}
