//! Unauthorised access: clients that were admitted or informed by mistake.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::stage::{Metrics, Stage, arguments};
use crate::support::client::{Answer, Client, TEXT, frame, raw_frame, upgrade, upgrade_with};
use crate::support::eventually;
use crate::support::relay::Relay;

const KEY: &str = "X-API-Key: a-key-of-this-row\r\n";

/// The answer to a back end or a monitor on a connection of its own.
fn ask(to: std::net::SocketAddr, method: &str, target: &str, more: &str) -> Answer {
    let mut client = Client::connect(to);
    let head = format!("{method} {target} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n");
    client.send(format!("{head}{more}").as_bytes());
    client.answer()
}

fn health(to: std::net::SocketAddr) -> Value {
    let answer = ask(to, "GET", "/health", "\r\n");
    assert_eq!(answer.status, 200, "{}", answer.head);
    serde_json::from_slice(&answer.body).expect("JSON")
}

fn lists(to: std::net::SocketAddr) -> Value {
    let health = health(to);
    assert_eq!(health["users"], health["metrics"]["users"]);
    health["users"].clone()
}

/// A WebSocket with additional headers.
fn open(to: std::net::SocketAddr, path: &str, headers: &str) -> Client {
    let mut client = Client::connect(to);
    client.send(upgrade_with(path, headers).as_bytes());
    assert_eq!(client.answer().status, 101, "{path}");
    client
}

#[test]
fn users_behind_a_key_are_not_listed_publicly() {
    let settings = [
        "endpoints.named.auth.keys=a-key-of-this-row",
        "endpoints.open.kind=named",
        "endpoints.open.path=/open/{username}",
    ];
    let stage = Stage::start(&settings);
    let ada = open(stage.address(), "/ws/ada", KEY);
    let bob = stage.open("/open/bob");
    for to in [stage.address(), stage.relay.admin] {
        assert_eq!(lists(to), json!(["bob"]), "where it needs no key");
        assert_eq!(health(to)["count"], 2 + 5, "all are counted");
    }
    for accept in ["application/json", "text/markdown", "text/html"] {
        let accept = format!("Accept: {accept}\r\n\r\n");
        let answer = ask(stage.address(), "GET", "/test/benchmark", &accept);
        let body = String::from_utf8(answer.body).expect("UTF-8");
        assert!(!body.contains("ada") && !body.contains("bob"), "{body}");
    }
    stage.leave(ada);
    stage.leave(bob);
    stage.end(&[]);

    let relay = Relay::start(&arguments(&[settings[0], "health.users=true"]));
    let _ada = open(relay.address, "/ws/ada", KEY);
    assert_eq!(
        lists(relay.address),
        json!(["ada"]),
        "who says so is obeyed"
    );
    // A client that is denied at one listener may be allowed at the other.
    let relay = Relay::start(&arguments(&["networks.allow=127.0.0.0/8"]));
    let _ada = open(relay.address, "/ws/ada", "");
    assert_eq!(lists(relay.address), json!(["ada"]));
    assert_eq!(lists(relay.admin), json!([]));
}

#[test]
fn a_reload_that_requires_keys_also_protects_the_user_list() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yaml");
    let write = |text: &str| fs::write(&file, text).expect("a file");
    write("health: {users: auto}\n");
    let relay = Relay::start(&["--config-file", file.to_str().expect("UTF-8")]);
    let _ada = open(relay.address, "/ws/ada", "");
    let places = [relay.address, relay.admin];
    assert_eq!(places.map(lists), [json!(["ada"]), json!(["ada"])]);
    for (reloads, text, users) in [
        (
            1,
            "endpoints: {named: {auth: {keys: [a-key-of-this-row]}}}\n",
            json!([]),
        ),
        (
            2,
            "endpoints: {named: {auth: {keys: [a-key-of-this-row]}}}\nhealth: {users: true}\n",
            json!(["ada"]),
        ),
        (
            3,
            "endpoints: {named: {auth: {keys: [a-key-of-this-row]}}}\nhealth: {users: false}\n",
            json!([]),
        ),
    ] {
        write(text);
        relay.signal(Signal::HUP);
        eventually("it is reloaded", || relay.logged("are reloaded") == reloads);
        assert_eq!(places.map(lists), [users.clone(), users], "{text}");
    }
}

#[test]
fn health_costs_a_relaying_shard_no_more_for_more_users() {
    let stage = Stage::start(&[]);
    let long = "x".repeat(240);
    let users: Vec<Client> = (0..400)
        .map(|each| stage.open(&format!("/ws/{each}{long}")))
        .collect();
    let ask = || {
        let mut client = stage.connect();
        client.send(b"GET /health HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n");
        client.answer().body
    };
    // 400 of these names, twice, were 195 KB.
    let body = ask();
    assert!((100_000..150_000).contains(&body.len()), "{}", body.len());
    let health: Value = serde_json::from_slice(&body).expect("JSON");
    assert!(health["users"].as_array().expect("a list").len() > 250);
    assert_eq!(health["count"], 405);
    // It is made once a second, although the witness's messages are counted all the time.
    let (begun, mut bodies) = (Instant::now(), BTreeSet::new());
    while begun.elapsed() < Duration::from_millis(300) || bodies.len() < 2 {
        bodies.insert(ask());
    }
    let seconds = begun.elapsed().as_secs() as usize;
    assert!(
        bodies.len() <= seconds + 2,
        "{} in {seconds} s",
        bodies.len()
    );
    users.into_iter().for_each(|user| stage.leave(user));
    stage.end(&[]);
}

#[test]
fn an_ambiguous_push_token_is_refused() {
    let stage = Stage::start(&["api.keys=a-key-of-this-row"]);
    let mut stranger = stage.open("/ws?token=somebody");
    for token in [
        "{\"id\":\"u1\",\"id\":\"u1\"}",
        "{\"user_id\":1,\"user_id\":2}",
        "1e400",
    ] {
        let body = format!("{{\"event_name\":\"private\",\"token\":{token}}}");
        let length = format!("{KEY}Content-Length: {}\r\n\r\n{body}", body.len());
        assert_eq!(
            ask(stage.address(), "POST", "/api/push", &length).status,
            400,
            "{token}"
        );
    }
    stranger.round_trip();
    stage.leave(stranger);
    stage.end(&[]);
}

#[test]
fn a_garbled_x_forwarded_for_passes_no_limit() {
    let settings = [
        "server.trusted_proxies=127.0.0.0/8",
        "limits.connections_per_ip=2",
    ];
    let stage = Stage::start(&settings);
    let garbled = ["garbage", "unix:", "unknown", "192.0.2.1, garbage", ""];
    let mut connections = Vec::new();
    for value in garbled.iter().cycle().take(20) {
        let mut client = stage.connect();
        let header = format!("X-Forwarded-For: {value}\r\n");
        client.send(upgrade_with("/garbled", &header).as_bytes());
        connections.push((client.answer().status, client));
    }
    let (inside, outside): (Vec<_>, Vec<_>) = connections
        .into_iter()
        .partition(|(status, _)| *status == 101);
    assert_eq!((inside.len(), outside.len()), (2, 18));
    assert!(outside.iter().all(|(status, _)| *status == 429));
    inside
        .into_iter()
        .for_each(|(_, client)| stage.leave(client));
    drop(outside);
    stage.end(&[("refused connections_per_ip", 18)]);
}

#[test]
fn a_garbled_x_forwarded_for_passes_no_network() {
    let settings = [
        "server.trusted_proxies=127.0.0.0/8",
        "networks.allow=127.0.0.0/8",
    ];
    let stage = Stage::start(&settings);
    for value in ["garbage", "unix:", "unknown", "192.0.2.1, garbage", ""] {
        let mut client = stage.connect();
        let header = format!("X-Forwarded-For: {value}\r\n");
        client.send(upgrade_with("/garbled", &header).as_bytes());
        assert_eq!(client.answer().status, 403, "{value}");
    }
    stage.end(&[("refused unknown_client", 5)]);
}

#[test]
fn bodies_of_clients_without_a_key_take_no_memory() {
    const BODY: usize = 1 << 20;
    let stage = Stage::start(&[
        "api.keys=a-key-of-this-row",
        "endpoints.vault.kind=hub",
        "endpoints.vault.path=/vault/**",
        "endpoints.vault.auth.keys=a-key-of-this-row",
    ]);
    let paths = [
        ("POST", "/api/push"),
        ("POST", "/api/publish"),
        ("POST", "/api/disconnect"),
        ("GET", "/vault/x"),
    ];
    let mut clients = Vec::new();
    for (method, path) in paths.iter().cycle().take(40) {
        let mut client = stage.connect();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: relay\r\nContent-Length: {BODY}\r\n");
        client.send(format!("{head}Expect: 100-continue\r\n\r\n").as_bytes());
        // Not a 100: none of the body has been sent.
        assert_eq!(client.answer().status, 401, "{path}");
        let _ = client.try_send(&[b'x'; BODY / 8]);
        clients.push(client);
    }
    assert_eq!(stage.metrics().value("corecast_inbound_bytes"), 0.0);
    drop(clients);
    let faults = stage.metrics().faults();
    assert!(
        faults.keys().all(|fault| fault.starts_with("refused ")),
        "{faults:?}"
    );
    assert!(faults["refused no_credentials"] >= 10);
    stage.end_with(|_| {
        faults
            .iter()
            .map(|(fault, count)| (&**fault, *count))
            .collect()
    });
}

#[test]
fn an_origin_with_something_behind_its_host_is_below_no_other() {
    let stage = Stage::start(&[
        "endpoints.pages.kind=hub",
        "endpoints.pages.path=/pages/**",
        "endpoints.pages.origins.allow=https://*.example.com",
    ]);
    let status = |origin: &str| {
        let mut client = stage.connect();
        client.send(upgrade_with("/pages/x", &format!("Origin: {origin}\r\n")).as_bytes());
        let status = client.answer().status;
        if status == 101 {
            stage.leave(client);
        }
        status
    };
    for origin in [
        "https://evil.net/.example.com",
        "https://evil.net?.example.com",
        "https://evil.net#.example.com",
        "https://evil.net:1/.example.com",
        "https://user@a.example.com",
        "https://evil.net%2f.example.com",
    ] {
        assert_eq!(status(origin), 403, "{origin}");
    }
    assert_eq!(status("https://a.example.com"), 101);
    stage.end(&[("refused origin", 6)]);
}

/// Clients' offences, each on a connection of its own; the relay reacts, and then the connection is
/// dropped.
fn offences() -> Vec<(&'static str, Vec<u8>)> {
    let get = |path: &str, headers: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\n{headers}\r\n").into_bytes()
    };
    let post = |path: &str, headers: &str, body: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: r\r\n{headers}");
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let socket = |frames: &[u8]| [upgrade("/offence").as_bytes(), frames].concat();
    let both = "Forwarded: for=192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n";
    vec![
        ("no request", b"\x16\x03\x01\r\n\r\n".to_vec()),
        (
            "a head that is too large",
            get("/", &format!("A: {}\r\n", "x".repeat(20_000))),
        ),
        (
            "a body that is too large",
            get("/", "Content-Length: 99999999\r\n"),
        ),
        ("a bad upgrade", get("/", "Upgrade: websocket\r\n")),
        ("no such method", post("/livez", "", "")),
        ("no such path", get("/ws/a/b", "")),
        ("two clients", get("/", both)),
        ("a garbled client", get("/", "X-Forwarded-For: garbage\r\n")),
        ("a bad key", post("/api/push", "X-API-KEY: wrong\r\n", "{}")),
        (
            "a bad key",
            post("/api/publish", "X-API-KEY: wrong\r\n", "{}"),
        ),
        ("a bad key", get("/vault/x", "X-API-Key: wrong\r\n")),
        (
            "a bad token",
            get("/vault/x", "Authorization: Bearer a.b.c\r\n"),
        ),
        ("a bad push", post("/api/push", KEY, "{")),
        (
            "an ambiguous push",
            post("/api/push", KEY, "{\"event_name\":\"e\",\"token\":1e400}"),
        ),
        (
            "a push with a slip",
            post("/api/push", KEY, "{\"event_name\":\"e\",\"tokn\":\"u\"}"),
        ),
        ("a bad name", upgrade("/ws/%FF").into_bytes()),
        (
            "a foreign page",
            upgrade_with("/pages/x", "Origin: https://evil.net\r\n").into_bytes(),
        ),
        (
            "a frame without a mask",
            socket(&raw_frame(0x81, b"x", false)),
        ),
        ("a bad opcode", socket(&raw_frame(0x8F, b"", true))),
        ("no UTF-8", socket(&frame(TEXT, b"\xFF"))),
        (
            "a message that is too large",
            socket(&frame(TEXT, &[b'x'; 70_000])),
        ),
        ("too much", socket(&frame(TEXT, b"x").repeat(200))),
        (
            "a token that is too long",
            upgrade(&format!("/ws?token={}", "x".repeat(999))).into_bytes(),
        ),
    ]
}

#[test]
fn no_offence_of_a_client_is_a_line_of_the_log_each_time() {
    const TIMES: usize = 20;
    let settings = [
        "server.trusted_proxies=127.0.0.0/8",
        "api.keys=a-key-of-this-row",
        "endpoints.vault.kind=hub",
        "endpoints.vault.path=/vault/**",
        "endpoints.vault.auth.keys=a-key-of-this-row",
        "endpoints.pages.kind=hub",
        "endpoints.pages.path=/pages/**",
        "endpoints.pages.origins.allow=https://*.example.com",
        "endpoints.hub.limits.message_bytes=64KiB",
        "endpoints.hub.rate.messages=100",
        "endpoints.hub.rate.policy=close",
    ];
    let relay = Relay::start(&arguments(&settings));
    let before = relay.logged("");
    for (offence, bytes) in offences() {
        for _ in 0..TIMES {
            let mut client = Client::connect(relay.address);
            // It may be refused before all of it is sent.
            let _ = client.try_send(&bytes);
            assert_ne!(client.answer().status, 500, "{offence}");
        }
    }
    for _ in 0..TIMES {
        let browser = "User-Agent: Mozilla/5.0\r\nHost: evil.example\r\n\r\n";
        let mut client = Client::connect(relay.admin);
        client.send(format!("GET /metrics HTTP/1.1\r\n{browser}").as_bytes());
        assert_eq!(client.answer().status, 403);
    }
    relay.signal(Signal::HUP);
    // The log is read asynchronously: all earlier output is in it with this line.
    eventually("it is reloaded", || relay.logged("are reloaded") == 1);
    let lines = relay.logged("") - before - 1;
    assert!(lines < TIMES / 4, "{lines} lines");
}

#[test]
fn slow_clients_are_not_a_line_of_the_log_each() {
    const SLOW: usize = 6;
    let relay = Relay::start(&arguments(&[
        "endpoints.hub.limits.message_bytes=64KiB",
        "endpoints.hub.echo=false",
        "endpoints.hub.slow_client.outbox_bytes=128KiB",
    ]));
    let slow = (0..SLOW).map(|_| Client::connect_narrow(relay.address, 4_096).upgraded("/slow"));
    let slow: Vec<Client> = slow.collect();
    let mut publisher = Client::open(relay.address, "/slow");
    let message = frame(TEXT, &[b'x'; 60_000]);
    eventually("all are closed", || {
        publisher.send(&message);
        let closed = "corecast_closed_total{reason=\"slow_bytes\"}";
        Metrics::of(&relay).value(closed) == SLOW as f64
    });
    drop(slow);
    relay.signal(Signal::HUP);
    eventually("it is reloaded", || relay.logged("are reloaded") == 1);
    assert_eq!(relay.logged("slow client closed"), 1);
}

#[test]
fn missing_proxy_headers_are_logged_only_sometimes() {
    let relay = Relay::start(&arguments(&[
        "server.trusted_proxies=127.0.0.0/8",
        "server.proxy_protocol=true",
    ]));
    for _ in 0..20 {
        let mut client = Client::connect(relay.address);
        client.send(upgrade("/").as_bytes());
        client.expect_end();
    }
    relay.signal(Signal::HUP);
    eventually("it is reloaded", || relay.logged("are reloaded") == 1);
    assert_eq!(relay.logged("no PROXY header"), 1);
}

#[test]
fn files_of_the_relay_are_not_world_readable() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let [journal, log] = ["journal", "log"].map(path);
    let [journal_is, log_is] = [
        format!("endpoints.push.journal={}", journal.display()),
        format!("logging.output={}", log.display()),
    ];
    let mode = |file| fs::metadata(file).expect("a file").permissions().mode() & 0o777;
    let started = || {
        let by = ["sh", "-c", "umask 022; exec \"$0\" \"$@\""];
        let relay = Relay::start_logging_to(&by, &arguments(&[&journal_is, &log_is]), |_| {
            fs::read_to_string(&log).unwrap_or_default()
        });
        relay.signal(Signal::TERM);
        assert_eq!(relay.exit_code(), Some(0));
        (mode(&journal), mode(&log))
    };
    assert_eq!(started(), (0o600, 0o640));
    // An existing file keeps its owner's permissions.
    fs::remove_file(&log).expect("a file");
    fs::write(&log, "").expect("a file");
    for (file, mode) in [(&journal, 0o640), (&log, 0o600)] {
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("ours");
    }
    assert_eq!(started(), (0o640, 0o600));
}
