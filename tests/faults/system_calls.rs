//! System calls that fail without any fault of a client, injected by strace.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::stage::{Stage, skip, succeeds};
use crate::support::client::Client;
use crate::support::eventually;
use crate::tls::Certificates;
use crate::tls_client;

/// A relay under strace, which makes some of its system calls fail.
struct Failing {
    stage: Stage,
    trace: tempfile::TempDir,
}

impl Failing {
    /// Makes `calls` (separated by commas) fail with `error`, periodically after the first few in
    /// each thread. Prints a line and returns `None` if strace cannot trace.
    fn start(calls: &str, error: &str, when: &str, settings: &[&str]) -> Option<Failing> {
        let trace = tempfile::tempdir().expect("a directory");
        let file = trace.path().join("trace");
        let file = file.to_str().expect("UTF-8");
        let filter = format!("trace={calls}");
        let inject = format!("inject={calls}:error={error}:when={when}");
        // -D: the relay is the child, so that ending it leaves nothing behind. -I1: strace can be
        // ended before it.
        let strace = ["strace", "-D", "-I1", "-f", "-qq", "-o", file];
        let strace = [&strace[..], &["-e", &filter, "-e", &inject]].concat();
        if !succeeds(&[&strace[..], &["true"]].concat()) {
            skip("strace cannot trace here");
            return None;
        }
        let stage = Stage::start_by(&strace, settings);
        Some(Failing { stage, trace })
    }

    /// Expects that every failure was counted as `fault`, and nothing else.
    fn end(self, fault: &str) {
        let path = self.trace.path().join("trace");
        self.stage.end_with(|relay| {
            // The call that passes a signal on to a thread may be one of the failing calls.
            let_go(relay.id());
            let failures = failures(&path, relay.id());
            assert!(failures > 0, "nothing failed");
            vec![(fault, failures)]
        });
    }
}

/// Ends strace. The relay continues without it.
fn let_go(relay: u32) {
    let tracer = || {
        let status = fs::read_to_string(format!("/proc/{relay}/status")).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("TracerPid:"));
        Pid::from_raw(line.expect("a line").trim().parse().expect("a number"))
    };
    let strace = tracer().expect("it is traced");
    kill_process(strace, Signal::TERM).expect("it runs");
    eventually("nobody traces the relay", || tracer().is_none());
}

/// The number of shards' calls that strace made fail.
fn failures(trace: &Path, relay: u32) -> u64 {
    let text = fs::read_to_string(trace).expect("a trace");
    let failed = text.lines().filter(|line| line.ends_with("(INJECTED)"));
    let of_shard = failed.filter(|line| {
        let thread = line.split(' ').next().expect("the number of a thread");
        let name = fs::read_to_string(format!("/proc/{relay}/task/{thread}/comm"));
        name.is_ok_and(|name| name.starts_with("shard-"))
    });
    of_shard.count() as u64
}

/// Clients connect, send and leave while `accept` fails periodically.
fn accept_fails_with(error: &str) {
    let Some(failing) = Failing::start("accept4", error, "3+5", &[]) else {
        return;
    };
    for number in 0..100 {
        let mut client = failing.stage.open("/newcomers");
        let text = format!("newcomer {number}");
        client.text(&text);
        assert_eq!(client.expect_text(), text);
        failing.stage.leave(client);
    }
    failing.end("accept_errors");
}

/// A client gets more than a megabyte in pieces while sends to it and to all others fail.
fn send_fails_with(error: &str) {
    let Some(failing) = Failing::start("sendto,writev", error, "20+30", &[]) else {
        return;
    };
    let mut client: Client = failing.stage.open("/large");
    for number in 0..100 {
        let text = format!("{number} {}", "x".repeat(20_000));
        client.text(&text);
        assert!(client.expect_text() == text, "message {number}");
    }
    failing.stage.leave(client);
    failing.end("send_errors");
}

/// The same over TLS, where a lost piece ends everything.
#[test]
fn send_fails_with_enobufs_over_tls() {
    let certificates = Certificates::new();
    let settings = certificates.settings();
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let Some(failing) = Failing::start("sendto,writev", "ENOBUFS", "20+30", &settings) else {
        return;
    };
    let address = failing.stage.relay.addresses[1];
    let mut client = tls_client::Client::open(address, &certificates.client(), "/large");
    for number in 0..100 {
        let text = format!("{number} {}", "x".repeat(20_000));
        client.text(&text);
        assert!(client.expect_text() == text, "message {number}");
    }
    client.0.close(None).expect("the relay reads");
    while client.0.read().is_ok() {}
    failing.end("send_errors");
}

#[test]
fn accept_fails_with_emfile() {
    accept_fails_with("EMFILE");
}

#[test]
fn accept_fails_with_enobufs() {
    accept_fails_with("ENOBUFS");
}

#[test]
fn send_fails_with_enobufs() {
    send_fails_with("ENOBUFS");
}

#[test]
fn send_fails_with_enomem() {
    send_fails_with("ENOMEM");
}
