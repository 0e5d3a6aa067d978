//! `corecast nostr`: the tools for a store on disk.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use corecast_nostr::Event;
use redb::TableDefinition;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{binary, eventually};
use crate::{event, id};

/// A folder with a store in it, and files beside it.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Bench {
        Bench(tempfile::tempdir().expect("a directory"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("corecast"));
        command.arg("nostr").args(arguments);
        command.current_dir(self.0.path()).env_clear();
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("it runs")
    }

    /// Runs it, expects this exit code, and returns its standard output.
    fn expect(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Runs it, expects a failure, and returns what it says about that.
    fn expect_failure(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).expect("UTF-8")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).expect("a file");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).expect("a file")
    }
}

fn lines<'e>(events: impl IntoIterator<Item = &'e Event>) -> String {
    let line = |event: &Event| event.json().to_owned() + "\n";
    events.into_iter().map(line).collect()
}

#[test]
fn an_exported_store_is_the_same_after_an_import() {
    let bench = Bench::new();
    let deleted = event(1, 1, 9, &[]);
    let events = [
        event(1, 0, 8, &[]),
        deleted,
        event(1, 0, 7, &[]),
        event(2, 1_059, 6, &[&["p", &"a".repeat(64)]]),
        event(1, 1, 500, &[&["expiration", "100"]]),
        event(1, 20_001, 0, &[]),
        event(1, 62, 400, &[&["relay", "wss://elsewhere.example"]]),
    ];
    let deletion = event(1, 5, 5, &[&["e", &id(&events[1])]]);
    bench.write("events.jsonl", &lines(events.iter().chain([&deletion])));
    let report = bench.expect(&["import", "events.jsonl", "--store", "one"], 0);
    let (_, report) = report.split_once('\n').expect("rows");
    let expected = "           5  stored
           3  left out
left out:
           1  ephemeral events are not stored: line 6
           1  expired: line 5
           1  requests to vanish from other relays: line 7
";
    assert_eq!(report, expected);
    let output = bench.run(&["export", "exported.jsonl", "--store", "one"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(told, "3 events, 1 of them private: protect the file\n");
    let kept = [&events[2], &events[3], &deletion];
    assert_eq!(bench.read("exported.jsonl"), lines(kept));
    for (store, trusted) in [("two", None), ("three", Some("--trusted"))] {
        let import = ["import", "exported.jsonl", "--store", store];
        let import: Vec<&str> = import.into_iter().chain(trusted).collect();
        bench.expect(&import, 0);
        // The deleted event does not come in again.
        let report = bench.expect(&["import", "events.jsonl", "--store", store], 0);
        assert!(
            report.contains("           1  not stored: deleted (NIP-09)\n"),
            "{report}"
        );
        assert!(report.contains("           3  stored before\n"), "{report}");
        let again = bench.expect(&["export", "-", "--store", store], 0);
        let mut again: Vec<&str> = again.lines().collect();
        let mut kept: Vec<&str> = kept.iter().map(|event| event.json()).collect();
        again.sort_unstable();
        kept.sort_unstable();
        assert_eq!(again, kept, "{store}");
        let checked = bench.expect(&["check", "--store", store], 0);
        assert!(checked.starts_with("3 events, "), "{checked}");
    }
    let stats = bench.expect(&["stats", "--json", "--store", "three"], 0);
    let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
    assert_eq!(
        (&stats["events"], &stats["authors"]),
        (&3.into(), &2.into())
    );
    assert_eq!(stats["kinds"]["1059"]["events"], 1);
    assert!(stats["files"]["records.redb"].as_u64() > Some(0));
}

#[test]
fn refused_lines_are_named_and_counted_in_the_exit_code() {
    let bench = Bench::new();
    let good = event(1, 1, 0, &[]);
    let changed = good.json().replace("\"kind\":1", "\"kind\":2");
    bench.write(
        "events.jsonl",
        &format!("{changed}\nnonsense\n{}\n", good.json()),
    );
    let report = bench.expect(&["import", "events.jsonl", "--store", "s"], 3);
    for row in [
        "           1  stored\n",
        "           2  refused\n",
        "           1  id is not the hash of the event: line 1\n",
        "           1  an event is an object: line 2\n",
    ] {
        assert!(report.contains(row), "{row}:\n{report}");
    }
}

#[test]
fn a_signal_ends_an_import_cleanly_while_it_waits_for_input() {
    let bench = Bench::new();
    let events: Vec<Event> = (0..10).map(|ago| event(1, 1, ago, &[])).collect();
    let mut command = bench.command(&["import", "-", "--store", "s"]);
    let mut import = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut input = import.stdin.take().expect("a pipe");
    input
        .write_all(lines(&events).as_bytes())
        .expect("it reads");
    // It opens the log last, and signals are handled before.
    eventually("the store is open", || {
        let files = fs::read_dir(bench.0.path().join("s")).into_iter().flatten();
        let mut names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
        names.any(|name| name.starts_with("log-"))
    });
    kill_process(Pid::from_child(&import), Signal::INT).expect("it runs");
    let output = import.wait_with_output().expect("it ends");
    drop(input);
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    bench.write("events.jsonl", &lines(&events));
    bench.expect(&["import", "events.jsonl", "--store", "s"], 0);
    assert_eq!(
        bench.expect(&["export", "-", "--store", "s"], 0),
        lines(&events)
    );
}

/// Removes a key of the index.
fn spoil(index: &Path) {
    const INDEX: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("index");
    let database = redb::Database::open(index).expect("a database");
    let transaction = database.begin_write().expect("a transaction");
    {
        let mut table = transaction.open_table(INDEX).expect("a table");
        assert!(table.pop_first().expect("a table").is_some());
    }
    transaction.commit().expect("a commit");
}

#[test]
fn check_finds_a_key_that_the_index_lacks() {
    let bench = Bench::new();
    let events: Vec<Event> = (0..10)
        .map(|ago| event(1, 1, ago, &[&["t", "x"]]))
        .collect();
    bench.write("events.jsonl", &lines(&events));
    bench.expect(&["import", "events.jsonl", "--store", "s"], 0);
    bench.expect(&["check", "--store", "s"], 0);
    let index = bench.0.path().join("s/index.redb");
    spoil(&index);
    let told = bench.expect_failure(&["check", "--store", "s"]);
    assert!(told.contains("1 key missing or wrong"), "{told}");
    fs::remove_file(index).expect("a file");
    bench.expect(&["check", "--store", "s"], 0);
}

#[test]
fn a_store_that_is_not_there_is_not_made() {
    let bench = Bench::new();
    for command in ["stats", "check"] {
        let told = bench.expect_failure(&[command, "--store", "nowhere"]);
        assert!(
            told.contains("nowhere: this folder does not exist"),
            "{told}"
        );
    }
    let told = bench.expect_failure(&["export", "-", "--store", "nowhere"]);
    assert!(
        told.contains("nowhere: this folder does not exist"),
        "{told}"
    );
    let told = bench.expect_failure(&["import", "no.jsonl", "--store", "nowhere"]);
    assert!(told.contains("no.jsonl: No such file"), "{told}");
    assert!(!bench.0.path().join("nowhere").exists());
}
