//! A user of go-websocket-relay starts this binary beside the `config.json` that is there.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::ask;
use crate::support::client::Client;

struct Started {
    child: Child,
    address: SocketAddr,
    log: String,
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The port without a file; a file of the tests says 0, so that the system chooses another.
const DEFAULT_PORT: u16 = 8443;

/// Starts the binary without arguments in a folder with these files, and reads its log until it
/// says where its metrics are.
fn start(files: &[(&str, String)]) -> Started {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a file");
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_corecast"))
        .current_dir(folder.path())
        .env_clear()
        // Other tests have a relay at the port of the default.
        .env("CORECAST_METRICS_PORT", "0")
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let stderr = child.stderr.take().expect("a pipe");
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    let mut log = String::new();
    while !log.contains("metrics and health") {
        log += &lines.next().unwrap_or_else(|| panic!("it ended: {log}"));
        log.push('\n');
    }
    let (_, address) = log
        .split_once(" listening address=")
        .expect("where it listens");
    let address = address.lines().next().expect("a line");
    let port = address.rsplit(':').next().expect("a port");
    let address = format!("127.0.0.1:{port}").parse().expect("an address");
    Started {
        child,
        address,
        log,
    }
}

fn earlier(port: u16) -> String {
    format!(
        r#"{{"port": "{port}", "api_key": "a-key-of-the-file", "ws_path": "/socket",
            "push_path": "/push"}}"#
    )
}

#[test]
fn a_config_json_alone_is_read_and_the_log_says_so() {
    let relay = start(&[("config.json", earlier(0))]);
    assert_ne!(relay.address.port(), DEFAULT_PORT);
    let notice = "config: config.json, since there is no config.yaml here";
    assert!(relay.log.contains(notice), "{}", relay.log);
    assert!(!relay.log.contains("a-key-of-the-file"), "{}", relay.log);
    let mut client = Client::open(relay.address, "/socket?token=USER_123");
    client.round_trip();
    let body = r#"{"event_name":"e","subject":1,"token":"USER_123"}"#;
    let key = "X-API-KEY: a-key-of-the-file\r\n";
    assert_eq!(ask(relay.address, "POST", "/push", key, body).status, 200);
    assert!(client.expect_text().starts_with(r#"{"event":"e""#));
    assert_eq!(ask(relay.address, "POST", "/push", "", body).status, 401);
}

#[test]
fn a_config_yaml_precedes_a_config_json_with_a_warning() {
    let own = || ("config.yaml", "server: {port: 0}\n".to_owned());
    let relay = start(&[("config.json", earlier(1)), own()]);
    assert_ne!(relay.address.port(), 1);
    assert!(relay.log.contains("config: config.yaml\n"), "{}", relay.log);
    let warning = "WARN config.json is not read, since there is a config.yaml here";
    assert!(relay.log.contains(warning), "{}", relay.log);
    // Another program's file needs no warning.
    let other = r#"{"name": "app"}"#.to_owned();
    let relay = start(&[("config.json", other), own()]);
    assert!(!relay.log.contains("config.json"), "{}", relay.log);
}

#[test]
fn a_foreign_config_json_is_an_error_with_advice() {
    let start = |text: &str, more: &[(&str, &str)], arguments: &[&str]| {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in [("config.json", text)].iter().chain(more) {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        let output = Command::new(env!("CARGO_BIN_EXE_corecast"))
            .args(["--check"])
            .args(arguments)
            .current_dir(folder.path())
            .env_clear()
            .output()
            .expect("the binary runs");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        (output.status.code(), said)
    };
    for (other, problem) in [
        (r#"{"name": "app", "version": 1}"#, "none of its keys"),
        ("[1, 2]", "none of its keys"),
        ("{\"port\": 1", "config.json:"),
        (r#"{"port": "80", "verbose": true}"#, "verbose: unknown key"),
    ] {
        let (code, said) = start(other, &[], &[]);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains(problem), "{said}");
        let last = said.lines().last().expect("a line");
        assert!(last.starts_with("config.json: it was read"), "{said}");
        assert!(last.contains("--config-file"), "{said}");
        assert!(!said.contains("app"), "{said}");
        // Both ways that it names work.
        let empty = [("config.yaml", "")];
        assert_eq!(start(other, &empty, &[]).0, Some(0));
        let named = [("own.yaml", "")];
        assert_eq!(start(other, &named, &["-c", "own.yaml"]).0, Some(0));
    }
    assert_eq!(start("", &[], &[]).0, Some(0), "an empty file says nothing");
}
