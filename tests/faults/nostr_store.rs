//! A Nostr relay whose store has a failing disk, damaged files, or two owners. The row about a full
//! disk is in `files.rs`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use corecast_nostr::{Draft, Event, Signer, to_hex};
use serde_json::{Value, json};

use crate::kills::settings_of;
use crate::stage::{Stage, arguments, skip, succeeds};
use crate::support::client::Client;
use crate::support::{binary, eventually};

fn event(number: u64) -> Event {
    Signer::new([7; 32]).expect("a key").sign(Draft {
        created_at: 1_600_000_000 + number,
        kind: 1,
        content: "x".repeat(100),
        ..Draft::default()
    })
}

/// Whether the event was accepted, and the reason if not.
fn publish(client: &mut Client, event: &Event) -> (bool, String) {
    client.text(&format!("[\"EVENT\",{}]", event.json()));
    let answer: Value = serde_json::from_str(&client.expect_text()).expect("JSON");
    assert_eq!(
        (&answer[0], &answer[1]),
        (&json!("OK"), &json!(to_hex(event.id())))
    );
    let reason = answer[3].as_str().expect("a reason").to_owned();
    (answer[2] == true, reason)
}

fn stored(client: &mut Client) -> u64 {
    client.text("[\"COUNT\",\"c\",{\"kinds\":[1]}]");
    let answer: Value = serde_json::from_str(&client.expect_text()).expect("JSON");
    answer[2]["count"].as_u64().expect("a count")
}

#[test]
fn the_disk_fails_once_under_the_store() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = directory.path().join("store");
    // Calls are counted in each thread: opening takes fewer, and one commit fails.
    let inject = "inject=fdatasync:error=EIO:when=60";
    let trace = directory.path().join("trace");
    let trace = trace.to_str().expect("UTF-8");
    let strace = ["strace", "-D", "-f", "-qq", "-o", trace];
    let strace = [&strace[..], &["-e", "trace=fdatasync", "-e", inject]].concat();
    if !succeeds(&[&strace[..], &["true"]].concat()) {
        return skip("strace cannot trace here");
    }
    let settings = settings_of(&store);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let stage = Stage::start_by(&strace, &settings);
    let mut client = stage.open("/nostr");
    let (mut accepted, mut number) = (0, 0);
    eventually("a commit fails", || {
        number += 1;
        let (is_accepted, reason) = publish(&mut client, &event(number));
        accepted += u64::from(is_accepted);
        reason.starts_with("error: ")
    });
    assert_eq!(stored(&mut client), accepted);
    eventually("it accepts again", || {
        publish(&mut client, &event(number)).0
    });
    assert_eq!(stored(&mut client), accepted + 1);
    stage.leave(client);
    stage.end(&[]);
    let output = tool("check", &store);
    assert!(output.status.success(), "{output:?}");
}

/// A relay with two shards and this store, which is expected to end by itself.
fn run(store: &Path) -> Output {
    let settings = settings_of(store);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    Command::new(binary("corecast"))
        .args(["--set", "server.host=127.0.0.1", "--set", "server.port=0"])
        .args(["--set", "metrics.port=0"])
        .args(arguments(&settings))
        .env_clear()
        .output()
        .expect("it runs")
}

/// Expects a failure whose message has these parts.
fn expect_refused(output: &Output, parts: &[&str]) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for part in parts {
        assert!(told.contains(part), "no {part}: {told}");
    }
    assert!(!told.contains("panicked"), "{told}");
}

fn tool(command: &str, store: &Path) -> Output {
    let mut tool = Command::new(binary("corecast"));
    tool.args(["nostr", command, "--store"]).arg(store);
    tool.env_clear().output().expect("it runs")
}

#[test]
fn a_second_process_is_refused_and_told_why() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = directory.path().join("store");
    let settings = settings_of(&store);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let stage = Stage::start(&settings);
    let mut client = stage.open("/nostr");
    assert!(publish(&mut client, &event(0)).0);
    let name = store.to_str().expect("UTF-8");
    expect_refused(&run(&store), &[name, "another process has this store open"]);
    for command in ["stats", "check"] {
        expect_refused(&tool(command, &store), &[name, "stop the relay"]);
    }
    assert!(publish(&mut client, &event(1)).0);
    assert_eq!(stored(&mut client), 2);
    stage.leave(client);
    stage.end(&[]);
}

/// A store with some events, closed.
fn store_of(count: u64, directory: &Path) -> std::path::PathBuf {
    let store = directory.join("store");
    let lines: String = (0..count)
        .map(|number| format!("{}\n", event(number).json()))
        .collect();
    let file = directory.join("events.jsonl");
    fs::write(&file, lines).expect("a file");
    let mut import = Command::new(binary("corecast"));
    import
        .args(["nostr", "import", "--store"])
        .arg(&store)
        .arg(&file);
    let output = import.env_clear().output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    store
}

#[test]
fn damaged_records_are_never_served() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = store_of(100, directory.path());
    let records = store.join("records.redb");
    fs::write(&records, "not a database").expect("a file");
    let advice = "restore it from a backup";
    expect_refused(&run(&store), &["records.redb", advice]);
    for command in ["stats", "check"] {
        expect_refused(&tool(command, &store), &["records.redb", advice]);
    }
}

#[test]
fn a_damaged_index_is_built_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = store_of(100, directory.path());
    let index = store.join("index.redb");
    for is_missing in [true, false] {
        match is_missing {
            true => fs::remove_file(&index).expect("a file"),
            false => fs::write(&index, "not a database").expect("a file"),
        }
        let settings = settings_of(&store);
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let stage = Stage::start(&settings);
        let mut client = stage.open("/nostr");
        assert_eq!(stored(&mut client), 100);
        stage.leave(client);
        stage.end(&[]);
        let output = tool("check", &store);
        assert!(output.status.success(), "{output:?}");
    }
}
