//! Runs against earlier runs, and two servers in pairs of runs.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use corecast_test::generator::{Behaviour, list, number, report, run, serve};
use serde_json::Value;

const SHORT: &str = "--clients 2 --rate 100 --duration 100 --warmup 0";
const FIVE: &str = "--repeat 5";
/// Latencies of artificial runs.
const LATENCIES: [&str; 4] = ["p50", "p99", "p99_9", "max"];

/// The report of five runs, with none marked as invalid, because this machine may be busy.
fn five_runs(url: &str) -> Value {
    let (_, mut report) = report(url, &format!("{SHORT} {FIVE} --label before"));
    report["valid"] = true.into();
    for run in report["repeats"]["runs"].as_array_mut().expect("runs") {
        run["valid"] = true.into();
    }
    report
}

/// Writes a report whose repeats have these latencies, in nanoseconds.
fn with_latencies(report: &Value, latencies: &[u64], file: &Path) {
    let mut changed = report.clone();
    let runs = changed["repeats"]["runs"].as_array_mut().expect("runs");
    for (run, latency) in runs.iter_mut().zip(latencies) {
        for quantile in LATENCIES {
            run["latency_ns"][quantile] = (*latency).into();
        }
    }
    std::fs::write(file, changed.to_string()).expect("written");
}

/// The result of `history compare` for two files, by its exit code and as text.
fn compared(folder: &Path, before: &str, after: &str) -> String {
    let history = folder.join(format!("{before}-{after}.db"));
    let history = history.to_str().expect("UTF-8");
    let add = ["history", "add", before, after, "--history", history];
    let compare = ["history", "compare", "1", "2", "--history", history];
    for arguments in [&add[..], &compare] {
        let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .current_dir(folder)
            .args(arguments)
            .output()
            .expect("the generator starts");
        assert!(output.status.success(), "{output:?}");
        if arguments == compare {
            return String::from_utf8(output.stdout).expect("UTF-8");
        }
    }
    unreachable!("the last one returns")
}

fn line<'a>(text: &'a str, name: &str) -> &'a str {
    let found = text.lines().find(|line| line.starts_with(name));
    found.unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[test]
fn five_repeats_on_each_side_give_every_verdict() {
    let report = five_runs(&serve(Behaviour::default()));
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, latencies: &[u64]| {
        with_latencies(&report, latencies, &folder.path().join(name));
    };
    write(
        "a.json",
        &[1_000_000, 1_010_000, 990_000, 1_020_000, 1_000_000],
    );
    write(
        "same.json",
        &[1_010_000, 1_000_000, 1_020_000, 990_000, 1_000_000],
    );
    write(
        "slow.json",
        &[1_500_000, 1_510_000, 1_490_000, 1_520_000, 1_500_000],
    );
    // Far apart from each other, but far from the other runs too.
    write(
        "wild.json",
        &[
            900_000_000,
            1_000_000_000,
            2_100_000_000,
            800_000_000,
            700_000_000,
        ],
    );
    write(
        "mixed.json",
        &[600_000, 1_900_000, 800_000, 1_500_000, 1_100_000],
    );
    for (before, after, verdict) in [
        ("a.json", "same.json", "same"),
        ("a.json", "slow.json", "worse"),
        ("slow.json", "a.json", "better"),
        ("wild.json", "a.json", "better"),
        ("a.json", "wild.json", "worse"),
        ("a.json", "mixed.json", "undecided"),
    ] {
        let text = compared(folder.path(), before, after);
        for name in ["latency p50", "latency p99", "latency p99.9"] {
            assert!(
                line(&text, &format!("{name} ")).ends_with(verdict),
                "{text}"
            );
        }
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }
}

#[test]
fn a_comparison_that_is_worse_ends_with_exit_code_4() {
    let url = serve(Behaviour::default());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("before.json");
    // A latency below that of any machine.
    with_latencies(&five_runs(&url), &[900, 1000, 1100, 1000, 1000], &file);
    let compare = format!(
        "{SHORT} {FIVE} --tolerance 90% --compare {}",
        file.display()
    );
    let (exit, after) = report(&url, &compare);
    let caveats = list(&after, "/comparison/caveats");
    // A generator that was the bottleneck must not call the relay worse.
    let expected = match caveats {
        [] => (4, "worse"),
        _ => (0, "undecided"),
    };
    let verdict = after["comparison"]["verdict"].as_str().expect("a verdict");
    assert_eq!((exit, verdict), expected, "{caveats:?}");
    assert_eq!(after["comparison"]["baseline"]["label"], "before");
    std::fs::write(&file, "{}").expect("written");
    let told = run(&url, &compare).stderr;
    assert!(String::from_utf8_lossy(&told).contains("--compare"));
    let told = run(&url, "--tolerance 5%").stderr;
    assert!(String::from_utf8_lossy(&told).contains("--tolerance needs --compare"));
}

#[test]
fn incomparable_reports_are_undecided_with_a_reason() {
    let url = serve(Behaviour::default());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("before.json");
    let before = five_runs(&url);
    with_latencies(&before, &[900, 1000, 1100, 1000, 1000], &file);
    let mut invalid = before.clone();
    invalid["repeats"]["runs"][3]["valid"] = false.into();
    let invalid_file = folder.path().join("invalid.json");
    with_latencies(&invalid, &[900, 1000, 1100, 1000, 1000], &invalid_file);
    let mut other = before.clone();
    let is_realtime = before["generator"]["is_realtime"].as_bool().expect("known");
    other["generator"]["is_realtime"] = (!is_realtime).into();
    let other_file = folder.path().join("other.json");
    with_latencies(&other, &[900, 1000, 1100, 1000, 1000], &other_file);
    for (options, file, reason) in [
        ("--repeat 5 --size 100", &file, "the loads differ"),
        (
            "",
            &file,
            "this run has 1 of the 5 repeats that are needed: --repeat 5, or loadgen ab",
        ),
        (
            "--repeat 5",
            &invalid_file,
            "the generator was the bottleneck of the earlier run",
        ),
        (
            "--repeat 5",
            &other_file,
            "one generator had real-time scheduling",
        ),
    ] {
        let load = format!("{SHORT} {options} --compare {}", file.display());
        let (code, report) = report(&url, &load);
        assert_eq!(code, 0, "{report:#}");
        assert_eq!(report["comparison"]["verdict"], "undecided");
        let caveats = list(&report, "/comparison/caveats");
        assert!(caveats.contains(&Value::from(reason)), "{caveats:?}");
        let figures = list(&report, "/comparison/figures");
        let changes = figures.iter().map(|figure| &figure["change"]);
        assert!(
            !changes.into_iter().any(|change| change == "worse"),
            "{figures:?}"
        );
    }
}

#[test]
fn closed_loops_are_compared_by_throughput() {
    let url = serve(Behaviour::default());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("before.json");
    let load = "--clients 2 --rate max --window 4 --duration 50 --warmup 0";
    let (_, before) = report(&url, load);
    std::fs::write(&file, before.to_string()).expect("written");
    let (_, after) = report(&url, &format!("{load} --compare {}", file.display()));
    let figures = list(&after, "/comparison/figures");
    let names: Vec<_> = figures
        .iter()
        .map(|figure| figure["name"].as_str())
        .collect();
    assert_eq!(names, [Some("throughput"), Some("wrong deliveries")]);
}

/// The comparison of two servers by its exit code and as JSON.
fn ab(a: &str, b: &str, options: &str) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["ab", a, b, "--output", "json"])
        .args(options.split_whitespace())
        .output()
        .expect("the generator starts");
    let told = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no report ({error}): {told}"));
    (output.status.code(), report)
}

/// A server that needs this long for each delivery.
fn slow(delay: Duration) -> String {
    let (never, said) = channel::<()>();
    serve(Behaviour::with(move |delivery| {
        // Alive, so that only the timeout ends the wait.
        let _ = (&never, said.recv_timeout(delay));
        vec![delivery.payload]
    }))
}

#[test]
fn the_slower_of_two_servers_is_worse() {
    let (quick, slow) = (serve(Behaviour::default()), slow(Duration::from_millis(20)));
    let load = "--clients 1 --rate 20 --duration 250 --warmup 0 --pairs 6 --tolerance 20%";
    for (a, b, code, verdict) in [(&quick, &slow, 4, "worse"), (&slow, &quick, 0, "better")] {
        let (exit, report) = ab(a, b, load);
        assert_eq!((&report["a"], &report["b"]), (&a[..].into(), &b[..].into()));
        assert_eq!(
            (&report["kind"], &report["right"]),
            (&"ab".into(), &true.into())
        );
        let pairs = list(&report, "/pairs");
        let of_b = pairs.iter().filter(|pair| pair["first"] == "b").count();
        // In both orders, unless the comparison ended before all pairs had run.
        let caveats = list(&report, "/caveats");
        assert!(!caveats.is_empty() || (2..=4).contains(&of_b), "{pairs:?}");
        let expected = match caveats {
            [] => (Some(code), verdict),
            // This machine was too busy for a measurement.
            _ => (Some(0), "undecided"),
        };
        let found = report["verdict"].as_str().expect("a verdict");
        assert_eq!((exit, found), expected, "{report:#}");
        if caveats.is_empty() {
            assert_eq!(pairs.len(), 6);
            let p50 = list(&report, "/figures").iter();
            let p50 = p50
                .into_iter()
                .find(|figure| figure["name"] == "latency p50");
            let p50 = p50.expect("the median");
            let (low, high) = (number(p50, "/interval/0"), number(p50, "/interval/1"));
            assert!((low..=high).contains(&number(p50, "/ratio")), "{p50:#}");
        }
    }
}

#[test]
fn wrong_deliveries_in_a_comparison_give_exit_code_3() {
    let loses = serve(Behaviour::with(|delivery| match delivery.number {
        0 => vec![],
        _ => vec![delivery.payload],
    }));
    let url = serve(Behaviour::default());
    let load = "--clients 1 --rate 20 --duration 100 --warmup 0";
    let (exit, report) = ab(&url, &loses, load);
    assert_eq!((exit, &report["right"]), (Some(3), &false.into()));
    assert_eq!(report["wrong_deliveries"], serde_json::json!([0, 1]));
    let (exit, report) = ab(&url, &url, &format!("{load} --abort-if p50>1ns"));
    assert_eq!((exit, &report["verdict"]), (Some(3), &"undecided".into()));
    assert_eq!(list(&report, "/caveats"), ["ended early"]);
}

#[test]
fn ab_reports_as_text_json_or_markdown() {
    let url = serve(Behaviour::default());
    let folder = tempfile::tempdir().expect("a folder");
    let load = "--clients 1 --rate 20 --duration 60 --warmup 0 --no-live --report b.md";
    let started = |options: &str| {
        Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .current_dir(folder.path())
            .args(["ab", &url, &url])
            .args(options.split_whitespace())
            .output()
            .expect("the generator starts")
    };
    let text = String::from_utf8(started(load).stdout).expect("UTF-8");
    assert!(text.contains("\nB is "), "{text}");
    // Unless this machine is too busy for a measurement.
    if !text.contains("bottleneck") {
        assert!(line(&text, "latency p99.9 ").contains('…'), "{text}");
    }
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let markdown = std::fs::read_to_string(folder.path().join("b.md")).expect("written");
    assert!(markdown.contains("| figure | A | B |"), "{markdown}");
    for (options, reason) in [
        ("--pairs 4", "5 to 1000"),
        ("--report a.html", "text, json or markdown"),
        ("--find-max p99<1ms", "--find-max"),
        ("--repeat 2", "--repeat"),
        ("--url ws://localhost/", "--url"),
        ("--publishers 0", "--publishers"),
        ("--metrics-url-b http://localhost/", "--metrics-url"),
    ] {
        let output = started(options);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains(reason), "{options}: {told}");
        assert_eq!(output.status.code(), Some(2), "{told}");
    }
}
