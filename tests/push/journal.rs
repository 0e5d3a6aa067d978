//! Delayed pushes outlive their relay: the binary with a journal, killed and started again.

use std::path::Path;

use rustix::process::Signal;

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::relay::Relay as Binary;
use crate::{KEY, ask, frame, key_header, metric, split_ts};

/// The binary with a journal in this folder.
fn start(folder: &Path) -> Binary {
    let journal = format!(
        "endpoints.push.journal={}",
        folder.join("push.redb").display()
    );
    let key = format!("api.keys={KEY}");
    Binary::start(&["--set", &journal, "--set", &key])
}

/// Pushes with a delay. Returns the push's number.
fn schedule(relay: &Binary, event: &str, seconds: u64) -> String {
    let body = format!(
        "{{\"event_name\":\"{event}\",\"delay_seconds\":{seconds},\"subject\":{{ \"a\" : 1.0 }},\
         \"token\":{{\"id\":7}}}}"
    );
    let answer = ask(relay.address, "POST", "/api/push", &key_header(), &body);
    let told = String::from_utf8(answer.body).expect("UTF-8");
    assert_eq!(answer.status, 200, "{told}");
    let (_, id) = told.split_once("\"id\":\"").expect("a number");
    id.trim_end_matches("\"}}").to_owned()
}

fn list(relay: &Binary) -> String {
    let answer = ask(relay.address, "GET", "/api/push/pending", &key_header(), "");
    String::from_utf8(answer.body).expect("UTF-8")
}

fn cancel(relay: &Binary, id: &str) -> u16 {
    let target = format!("/api/push/pending/{id}");
    ask(relay.address, "DELETE", &target, &key_header(), "").status
}

fn kill(relay: Binary) {
    relay.signal(Signal::KILL);
    assert_eq!(relay.exit_code(), None, "it was killed");
}

#[test]
fn accepted_pushes_survive_a_killed_relay() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = start(folder.path());
    let soon = schedule(&relay, "soon", 1);
    let later = schedule(&relay, "later", 3_600);
    let cancelled = schedule(&relay, "cancelled", 1);
    assert_eq!(cancel(&relay, &cancelled), 200);
    kill(relay);
    let relay = start(folder.path());
    // It was due meanwhile: its client has time to reconnect.
    let mut client = Client::open(relay.address, "/ws?token=7");
    let listed = list(&relay);
    assert!(
        listed.contains(&soon) && listed.contains(&later),
        "{listed}"
    );
    assert!(!listed.contains(&cancelled), "{listed}");
    assert_eq!(metric(relay.admin, "corecast_pushes_pending"), 2.0);
    let (got, _) = split_ts(&client.expect_text());
    assert_eq!(got, frame("\"soon\"", "{ \"a\" : 1.0 }", "{\"id\":7}"));
    eventually("one is left", || {
        metric(relay.admin, "corecast_pushes_pending") == 1.0
    });
    let next = schedule(&relay, "next", 3_600);
    assert!(
        ![&soon, &later, &cancelled].contains(&&next),
        "no number is given twice"
    );
    client.round_trip();
    relay.signal(Signal::TERM);
    assert_eq!(relay.exit_code(), Some(0));
    // A sent push does not come again.
    let relay = start(folder.path());
    let listed = list(&relay);
    assert!(listed.contains("\"count\":2"), "{listed}");
    assert!(
        listed.contains(&later) && listed.contains(&next),
        "{listed}"
    );
    assert_eq!(cancel(&relay, &later), 200);
    assert_eq!(cancel(&relay, &soon), 404);
}

#[test]
fn a_journal_stays_open_while_the_config_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = start(folder.path());
    schedule(&relay, "one", 3_600);
    relay.signal(Signal::HUP);
    eventually("it is reloaded", || {
        metric(
            relay.admin,
            "corecast_config_reloads_total{result=\"applied\"}",
        ) == 1.0
    });
    schedule(&relay, "two", 3_600);
    assert!(list(&relay).contains("\"count\":2"));
}

#[test]
fn a_journal_that_cannot_be_used_keeps_the_relay_from_starting() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = start(folder.path());
    let taken = folder.path().join("push.redb");
    let foreign = folder.path().join("notes.txt");
    std::fs::write(&foreign, "remember the milk\n").expect("a file");
    for path in [taken, foreign, folder.path().join("no/such/folder")] {
        let journal = format!("endpoints.push.journal={}", path.display());
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_corecast"))
            .args([
                "--port",
                "0",
                "--host",
                "127.0.0.1",
                "--set",
                "metrics.port=0",
            ])
            .args(["--set", &journal])
            .env_clear()
            .output()
            .expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&path.display().to_string()), "{said}");
    }
    assert!(list(&first).contains("\"count\":0"));
}
