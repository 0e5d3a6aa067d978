//! `/health`.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::http::{Client, ask};
use crate::{Relay, config, relay_text};

fn health(to: SocketAddr) -> Value {
    let reply = ask(to, "GET", "/health");
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("Content-Type"), Some("application/json"));
    serde_json::from_str(&reply.body).expect("JSON")
}

/// `2026-01-31T12:00:00Z` and nothing else.
fn is_rfc_3339_utc(text: &str) -> bool {
    let form = "dddd-dd-ddTdd:dd:ddZ";
    text.len() == form.len()
        && text
            .bytes()
            .zip(form.bytes())
            .all(|(byte, like)| match like {
                b'd' => byte.is_ascii_digit(),
                exact => byte == exact,
            })
}

/// Replaces values that differ from run to run by the name of their type, if they have it.
fn with_types(mut health: Value) -> Value {
    for (path, kind) in [
        ("/server/uptime_seconds", "integer"),
        ("/server/start_time", "time"),
        ("/server/current_time", "time"),
        ("/metrics/messages_per_second", "number"),
        ("/metrics/bandwidth_mbps", "number"),
    ] {
        let value = health
            .pointer_mut(path)
            .unwrap_or_else(|| panic!("no {path}"));
        let is_so = match kind {
            "integer" => value.is_u64(),
            "number" => value.is_f64(),
            _ => value.as_str().is_some_and(is_rfc_3339_utc),
        };
        assert!(is_so, "{path}: {value} is no {kind}");
        *value = kind.into();
    }
    health
}

#[test]
fn health_is_all_that_its_consumers_look_for() {
    let relay = Relay::start(&config());
    let mut clients = [relay.join("/a"), relay.join("/a")];
    relay_text(&mut clients, "12345");
    let expected = json!({
        "status": "healthy",
        "version": env!("CARGO_PKG_VERSION"),
        "users": [],
        "count": 2,
        "deployment": {
            "commit": env!("CORECAST_COMMIT"),
            "timestamp": "",
            "actor": "manual",
            "run_id": "",
            "run_url": "",
        },
        "server": {"uptime_seconds": "integer", "start_time": "time", "current_time": "time"},
        "metrics": {
            "connected_users": 2,
            "users": [],
            "total_connections": 2,
            "total_messages": 1,
            "total_bytes_relayed": 5,
            "messages_per_second": "number",
            "bandwidth_mbps": "number",
        },
    });
    for to in [relay.main, relay.admin()] {
        let mut health = with_types(health(to));
        // The environment of the build may describe the deployment.
        if std::env::vars().any(|(name, _)| name.starts_with("BUILD_")) {
            health["deployment"] = expected["deployment"].clone();
        }
        assert_eq!(health, expected);
    }
}

#[test]
fn any_method_gets_health_and_any_origin_may_ask() {
    let relay = Relay::start(&config());
    let mut client = Client::connect(relay.main);
    for method in ["GET", "POST", "PUT", "HEAD", "OPTIONS"] {
        let reply = client.ask(method, "/health");
        assert_eq!(reply.status, 200, "{method}");
        for (name, value) in [
            ("Access-Control-Allow-Origin", "*"),
            ("Access-Control-Allow-Methods", "GET, POST, OPTIONS"),
            ("Access-Control-Allow-Headers", "Content-Type"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{method}");
        }
        let has_body = !matches!(method, "HEAD" | "OPTIONS");
        assert_eq!(!reply.body.is_empty(), has_body, "{method}");
    }
}

#[test]
fn the_status_word_is_the_configs() {
    let mut config = config();
    config.health.status_word = "o\"k".to_owned();
    let relay = Relay::start(&config);
    assert_eq!(health(relay.main)["status"], "o\"k");
    assert_eq!(health(relay.admin())["status"], "o\"k");
}

/// The binary, which is killed at the end of the test.
struct Binary(Child);

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_deployment_is_what_the_environment_says() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_corecast"));
    command
        .args(["--host", "127.0.0.1", "--set", "server.port=0"])
        .args(["--set", "metrics.enabled=false", "--set", "engine.shards=1"])
        .current_dir(directory.path())
        .env_clear()
        .env("BUILD_COMMIT", "c0ffee")
        .env("BUILD_TIME", "2026-01-31T12:00:00Z")
        .env("BUILD_ACTOR", "ada")
        .env("BUILD_RUN_ID", "17")
        .env("BUILD_RUN_URL", "https://ci.example/17")
        .stderr(Stdio::piped());
    let mut binary = Binary(command.spawn().expect("the binary runs"));
    let log = BufReader::new(binary.0.stderr.take().expect("its log"));
    let port = log.lines().map_while(Result::ok).find_map(|line| {
        let (_, rest) = line.split_once("127.0.0.1:")?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u16>().ok()
    });
    let health = health((Ipv4Addr::LOCALHOST, port.expect("a line with its port")).into());
    let expected = json!({
        "commit": "c0ffee",
        "timestamp": "2026-01-31T12:00:00Z",
        "actor": "ada",
        "run_id": "17",
        "run_url": "https://ci.example/17",
    });
    assert_eq!(health["deployment"], expected);
}
