//! Several runs, earlier runs, runs that end early, and the fields of every report.

use corecast_test::generator::{Behaviour, list, number, report, run, serve};
use loadgen::report::{Quantiles, Report};
use serde_json::Value;

const SHORT: &str = "--clients 2 --duration 100 --warmup 0";

#[test]
fn a_walk_finds_the_knee_among_its_steps() {
    let url = serve(Behaviour::default());
    let load = format!("{SHORT} --rate-steps 100..400*2 --find-max messages/s<300");
    let (code, report) = report(&url, &load);
    assert_eq!(code, 0, "{report:#}");
    let steps = list(&report, "/walk/steps");
    let rates: Vec<_> = steps.iter().map(|step| number(step, "/rate")).collect();
    assert_eq!(rates[..3], [100.0, 200.0, 400.0]);
    let met: Vec<_> = steps.iter().map(|step| step["met"].as_bool()).collect();
    // A machine that is too busy to send on time may lose a step.
    assert_eq!(met[2], Some(false), "{report:#}");
    assert_eq!(steps[2]["reasons"][0], "messages/s<300: 400");
    // Each lower rate is confirmed by fresh runs, until one meets the target in all of them.
    let confirming: Vec<_> = steps[3..].iter().map(|step| &step["confirms"]).collect();
    assert!(confirming.iter().all(|one| **one == true), "{report:#}");
    if let Some(knee) = report["walk"]["knee"].as_f64() {
        assert!(knee < 300.0);
        let runs = number(&report, "/walk/confirmed_by");
        let of_knee = |step: &&Value| step["confirms"] == true && number(step, "/rate") == knee;
        let met = steps
            .iter()
            .filter(of_knee)
            .filter(|step| step["met"] == true);
        assert_eq!(met.count() as f64, runs);
        assert_eq!(number(&report, "/config/rate"), knee);
    }
    // If the machine was too busy at 400, the relay's limit is unknown.
    let bound = report["walk"]["bound"].as_str();
    assert!(matches!(bound, Some("target" | "generator")), "{bound:?}");
    assert_eq!(report["walk"]["target"], "messages/s<300");
}

#[test]
fn a_search_doubles_the_rate_and_narrows_down() {
    let url = serve(Behaviour::default());
    let (_, report) = report(
        &url,
        &format!("{SHORT} --rate 50 --find-max messages/s<150"),
    );
    let steps = list(&report, "/walk/steps");
    assert!(steps.len() > 3, "{report:#}");
    for step in steps {
        let too_fast = number(step, "/messages_per_second") >= 150.0;
        assert!(!too_fast || step["met"] == false, "{step:#}");
    }
    if let Some(knee) = report["walk"]["knee"].as_f64() {
        assert!(knee < 151.0, "{report:#}");
    }
}

#[test]
fn repeats_are_listed_with_their_median_and_spread() {
    let url = serve(Behaviour::default());
    let (code, report) = report(&url, &format!("{SHORT} --rate 100 --repeat 3"));
    assert_eq!(code, 0, "{report:#}");
    let runs = list(&report, "/repeats/runs");
    assert_eq!(runs.len(), 3);
    let mut tails: Vec<_> = runs
        .iter()
        .map(|one| number(one, "/latency_ns/p99"))
        .collect();
    tails.sort_by(f64::total_cmp);
    assert_eq!(
        number(&report, "/latency_ns/p99"),
        tails[1],
        "the run in the middle"
    );
    let figures = list(&report, "/repeats/figures");
    let p99 = figures
        .iter()
        .find(|figure| figure["name"] == "latency p99");
    let p99 = p99.expect("the tail");
    assert_eq!(number(p99, "/median"), tails[1]);
    assert_eq!(number(p99, "/spread"), (tails[2] - tails[0]) / tails[1]);
}

#[test]
fn a_condition_ends_the_run_early_with_exit_code_3() {
    let url = serve(Behaviour::default());
    let load = "--clients 2 --rate 100 --duration 10m --warmup 0 --abort-if p50>1ns";
    let (code, report) = report(&url, load);
    assert_eq!(
        (code, &report["aborted"]["condition"]),
        (3, &Value::from("p50>1ns"))
    );
    assert!(number(&report, "/aborted/observed") > 1.0);
    assert!(number(&report, "/measured_ms") < 600_000.0);
    assert_eq!(report["right"], true);
}

#[test]
fn final_figures_are_judged_only_at_the_end() {
    let url = serve(Behaviour::with(|_| vec![]));
    let (code, report) = report(&url, &format!("{SHORT} --rate 100 --abort-if lost>5"));
    assert_eq!(
        (code, &report["aborted"]["condition"]),
        (3, &Value::from("lost>5"))
    );
    assert_eq!(number(&report, "/aborted/observed"), 20.0);
    let told = run(&url, "--abort-if speed>5").stderr;
    assert!(String::from_utf8_lossy(&told).contains("--abort-if"));
}

#[test]
fn the_timeline_counts_every_message_and_its_receivers() {
    let url = serve(Behaviour::default());
    for threads in [1, 2, 3] {
        let load = "--clients 5 --rate 400 --duration 1200 --warmup 100ms";
        let (_, report) = report(&url, &format!("{load} --threads {threads}"));
        assert_eq!(number(&report, "/delivered"), 2400.0, "{report:#}");
        let seconds = list(&report, "/timeline");
        let sum = |path: &str| seconds.iter().map(|one| number(one, path)).sum::<f64>();
        assert_eq!(sum("/sent"), number(&report, "/sent"));
        let drained = |path: &str| number(&report, &format!("/drain{path}"));
        // Late messages of the warm-up arrive in the first second.
        let received = sum("/received") + drained("/received");
        let spilled = received - number(&report, "/delivered");
        assert!((0.0..=200.0).contains(&spilled), "{report:#}");
        let latencies = sum("/latency/count") + drained("/latency/count");
        assert_eq!(latencies, number(&report, "/latency_ns/count"));
        assert_eq!(sum("/for_ms"), 1200.0);
        let bytes = sum("/received_bytes") + drained("/received_bytes");
        assert!(bytes > 512.0 * number(&report, "/delivered"));
        let latency = |path: &str| number(&report, &format!("/latency/{path}"));
        assert_eq!(
            (latency("corrected/first/count"), latency("untracked")),
            (480.0, 0.0)
        );
        assert_eq!(latency("uncorrected/last/count"), 480.0);
        assert_eq!(latency("uncorrected/each/count"), 2400.0);
        assert!(latency("corrected/first/mean") <= latency("corrected/each/mean"));
        assert!(latency("corrected/each/mean") <= latency("corrected/last/mean"));
        assert_eq!(number(&report, "/clients/delivered/count"), 5.0);
        assert_eq!(number(&report, "/clients/listed/4/delivered"), 480.0);
        let shares = list(&report, "/generator/thread_shares");
        assert_eq!(shares.len(), threads);
    }
}

#[test]
fn a_report_is_read_back_as_it_was_written() {
    let url = serve(Behaviour::default());
    let output = run(
        &url,
        &format!("{SHORT} --rate 100 --label one --output json"),
    );
    let read = Report::read(&output.stdout).expect("a report");
    assert_eq!(read.json().expect("JSON").as_bytes(), output.stdout);
    let Report::Relay(report) = &read else {
        panic!("a relay run");
    };
    assert_eq!(report.head.label.as_deref(), Some("one"));
    assert!(report.head.machine.cores > 0 && report.head.started_at.ends_with('Z'));
    let histogram = report.latency.corrected.each.histogram().expect("values");
    assert_eq!(Quantiles::of(&histogram), report.latency_ns);
    // Fields added later are not required of an older report.
    let mut older: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let config = older["config"].as_object_mut().expect("an object");
    config.remove("storm_every_ms");
    let older = Report::read(older.to_string().as_bytes()).expect("a report");
    assert_eq!(older.json().expect("JSON"), read.json().expect("JSON"));
    let newer = String::from_utf8_lossy(&output.stdout).replace("\"version\": 1", "\"version\": 2");
    assert!(Report::read(newer.as_bytes()).is_err_and(|told| told.contains('2')));
    let output = run(&url, "--handshakes 3 --output json");
    let read = Report::read(&output.stdout).expect("a report");
    assert_eq!(read.head().scenario, "handshakes");
    assert_eq!(read.json().expect("JSON").as_bytes(), output.stdout);
}

#[test]
fn every_option_is_named_by_some_test() {
    let help = run("ws://127.0.0.1/", "--help").stdout;
    let help = String::from_utf8(help).expect("text");
    let tests = [
        include_str!("command_line.rs"),
        include_str!("comparisons.rs"),
        include_str!("deliveries.rs"),
        include_str!("loads.rs"),
        include_str!("nostr.rs"),
        include_str!("nostr_queries.rs"),
        include_str!("outputs.rs"),
        include_str!("own.rs"),
        include_str!("series.rs"),
        include_str!("terminal.rs"),
        include_str!("tls.rs"),
        include_str!("../../crates/test/src/generator.rs"),
    ]
    .concat();
    let options = help.lines().filter_map(|line| {
        let line = line
            .trim_start()
            .trim_start_matches("-h, ")
            .trim_start_matches("-V, ");
        line.starts_with("--")
            .then(|| line.split([' ', '=', ',']).next().unwrap_or(line))
    });
    let missing: Vec<_> = options
        .filter(|option| !["--help", "--version"].contains(option) && !tests.contains(*option))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
