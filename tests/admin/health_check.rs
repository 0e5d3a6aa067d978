//! `corecast --health-check` against relays that are alive, relays that are not, and other servers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Output};
use std::thread;

use crate::{Relay, config};

/// Runs it in an empty directory with nothing in its environment.
fn health_check(arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_corecast"));
    command.arg("--health-check").args(arguments);
    command.current_dir(directory.path()).env_clear();
    command.output().expect("the binary runs")
}

/// Its standard error, after exit code 1.
fn complaint(arguments: &[&str]) -> String {
    let output = health_check(arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

/// A server that answers one request with these bytes, at the URL that is returned.
fn answering(answer: &'static str) -> (String, thread::JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let url = format!("http://{}/x", listener.local_addr().expect("an address"));
    let server = thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        let mut head = Vec::new();
        let mut buffer = [0; 512];
        while !head.ends_with(b"\r\n\r\n") {
            let length = client.read(&mut buffer).expect("a request");
            assert_ne!(length, 0, "the request has no end");
            head.extend_from_slice(&buffer[..length]);
        }
        assert!(head.starts_with(b"GET /x HTTP/1.1\r\n"), "{head:?}");
        client.write_all(answer.as_bytes()).expect("it reads");
    });
    (url, server)
}

#[test]
fn a_relay_that_runs_is_healthy_by_url_and_by_its_config() {
    let relay = Relay::start(&config());
    let port = format!("metrics.port={}", relay.admin().port());
    let main = format!("server.port={}", relay.main.port());
    let by_url = format!("http://{}/readyz", relay.main);
    let cases: [(&[&str], &str); 3] = [
        (&[&by_url], "ready"),
        (&["--set", &port], "alive"),
        (&["--set", "metrics.enabled=false", "--set", &main], "alive"),
    ];
    for (arguments, said) in cases {
        let output = health_check(arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let line = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(line.ends_with(&format!(": {said}\n")), "{line}");
    }
}

#[test]
fn whatever_is_not_200_is_unhealthy_and_says_why() {
    let (url, server) = answering("HTTP/1.1 503 Service Unavailable\r\n\r\nshard 1 stands\n");
    assert_eq!(complaint(&[&url]), format!("{url}: 503: shard 1 stands\n"));
    server.join().expect("it was asked");
    let (url, server) = answering("220 mail.example ESMTP\r\n");
    let said = complaint(&[&url]);
    assert_eq!(said, format!("{url}: the answer is not HTTP\n"));
    server.join().expect("it was asked");
}

#[test]
fn a_server_that_is_not_there_or_never_answers_is_unhealthy() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let url = format!(
        "http://{}/livez",
        listener.local_addr().expect("an address")
    );
    // The kernel accepts the connection.
    assert!(complaint(&[&url]).contains("no answer within"));
    drop(listener);
    assert!(complaint(&[&url]).contains("refused"));
}

#[test]
fn a_config_that_does_not_load_exits_with_78() {
    let output = health_check(&["--set", "server.port=x"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
}
