//! The report shows the generator's own share of latencies, and marks quantiles with too much of
//! it.

use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use corecast_test::generator::{Behaviour, loadgen, number, report, run, serve};
use corecast_test::stand_in::{Hub, StandIn, stall};
use loadgen::report::Report;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::Value;

const LOAD: &str = "--clients 8 --rate 400 --duration 2s --warmup 100ms --output json";
/// Messages of the measured time after which the generator is stopped.
const STOP_AFTER: u64 = 100;
/// Messages of 800 that a server holds back until the generator has stopped.
const HELD: u64 = 16;
const TRIES_MAX: usize = 5;
const STOPPED: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(30);

/// Stops the generator, and returns when all its threads have stopped.
fn stop(child: &Child) {
    let id = Pid::from_child(child);
    kill_process(id, Signal::STOP).expect("the generator runs");
    let stopped = waitpid(Some(id), WaitOptions::UNTRACED).expect("a child");
    assert!(stopped.is_some_and(|(_, status)| status.stopped()));
}

fn go_on(child: &Child) {
    kill_process(Pid::from_child(child), Signal::CONT).expect("it stands still");
}

/// The JSON report of a run in which the generator was stopped for 50 ms.
fn stopped() -> Vec<u8> {
    let (sender, reached) = channel();
    let mut measured = 0;
    let server = StandIn::with(move |hub: &mut Hub, message| {
        hub.broadcast(message);
        measured += message.phase() as u64;
        if measured == STOP_AFTER {
            let _ = sender.send(());
        }
    });
    let mut command = loadgen(&server.url, LOAD);
    let child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    reached.recv_timeout(PATIENCE).expect("messages");
    stop(&child);
    stall(STOPPED);
    go_on(&child);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    output.stdout
}

/// Whether a quantile is marked for this cause or, if it is empty, for any.
fn is_marked(report: &Value, quantile: &str, cause: &str) -> bool {
    let marks = report["marks"].as_array().expect("a list");
    let mut of = marks.iter().filter(|mark| mark["quantile"] == quantile);
    of.any(|mark| cause.is_empty() || mark["cause"] == cause)
}

/// The report of such a run with few messages in flight at the stop: those in flight count as the
/// relay's, and on a busy machine they may outnumber the messages that were due later.
fn stopped_between_messages() -> Vec<u8> {
    let mut runs = (0..TRIES_MAX).map(|_| stopped());
    let is_late = |json: &Vec<u8>| {
        let report = serde_json::from_slice(json).expect("JSON");
        is_marked(&report, "p99", "lateness")
    };
    runs.find(is_late).expect("a run that was late")
}

#[test]
fn a_stopped_generator_marks_the_affected_quantiles() {
    let json = stopped_between_messages();
    let text = Report::read(&json).expect("a report").text();
    let report: Value = serde_json::from_slice(&json).expect("JSON");
    let found = report["findings"].as_array().expect("a list");
    let told = found
        .iter()
        .find(|finding| finding["kind"] == "generator_held_up");
    assert_eq!(told.expect("it is named")["culprit"], "generator");
    // Of 800 messages, 20 were due meanwhile: more than one in a hundred.
    assert!(number(&report, "/lateness_ns/max") >= 40e6, "{report:#}");
    // Messages in flight at the stop took longest: that is not the generator's share.
    assert!(is_marked(&report, "max", ""), "{report:#}");
    assert_eq!(report["valid"], false);
    let reasons = report["invalid_reasons"].to_string();
    assert!(reasons.contains("it sent late"), "{reasons}");
    for told in [
        "receive lag  ",
        "without lag  ",
        "INVALID: the generator was the bottleneck",
        "! the generator's own: ",
        "generator and relay share the",
    ] {
        assert!(text.contains(told), "no {told:?} in {text}");
    }
    // If sent in time, they would not have taken so long.
    let [corrected, in_time] = ["/latency_ns/max", "/latency/in_time/p99"];
    assert!(number(&report, corrected) >= 40e6);
    assert!(number(&report, in_time) < number(&report, "/latency_ns/p99"));
}

#[test]
fn every_delivery_has_a_receive_lag() {
    for option in ["", "--threads 3", "--payload json --size 512 --deflate"] {
        let url = serve(Behaviour {
            deflate: option.ends_with("deflate"),
            ..Behaviour::default()
        });
        let load = "--clients 8 --rate 400 --duration 500ms --warmup 100ms";
        let (code, report) = report(&url, &format!("{load} {option}"));
        assert_eq!(code, 0, "{report:#}");
        let count = number(&report, "/latency_ns/count");
        assert!(count > 0.0);
        // Under load one read in four is sampled, and stands for all.
        for path in ["/receive_lag_ns/count", "/latency/arrived/count"] {
            let told = number(&report, path);
            assert!((0.5..1.5).contains(&(told / count)), "{told} of {count}");
        }
        assert_eq!(number(&report, "/latency/in_time/count"), count);
        let [lag, arrived] = ["/receive_lag_ns/mean", "/latency/arrived/mean"];
        assert!(number(&report, lag) > 0.0 && number(&report, arrived) > 0.0);
    }
}

#[test]
fn data_waiting_while_the_generator_is_stopped_is_its_lag() {
    let (reached, is_reached) = channel();
    let (stopped, is_stopped) = channel();
    let (delivered, is_delivered) = channel();
    let (mut measured, mut held) = (0, Vec::new());
    let server = StandIn::with(move |hub: &mut Hub, message| {
        measured += message.phase() as u64;
        if !(STOP_AFTER..STOP_AFTER + HELD).contains(&measured) {
            return hub.broadcast(message);
        }
        held.push(message.clone());
        if held.len() as u64 == HELD {
            let _ = reached.send(());
            let _ = is_stopped.recv_timeout(PATIENCE);
            for message in held.drain(..) {
                hub.broadcast(&message);
            }
            let _ = delivered.send(());
        }
    });
    let mut command = loadgen(&server.url, LOAD);
    let child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    is_reached.recv_timeout(PATIENCE).expect("messages");
    stop(&child);
    stopped.send(()).expect("the server waits");
    is_delivered.recv_timeout(PATIENCE).expect("deliveries");
    stall(STOPPED);
    go_on(&child);
    let output = child.wait_with_output().expect("it ends");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let lag_ns = number(&report, "/receive_lag_ns/max");
    assert!(lag_ns >= STOPPED.as_nanos() as f64 * 0.99, "{report:#}");
    let marks = report["marks"].to_string();
    assert!(marks.contains("receive_lag"), "{marks}");
    // That is more than one delivery in a hundred, so it affects a decisive quantile.
    assert!(is_marked(&report, "p99", "receive_lag"), "{marks}");
    assert_eq!(report["valid"], false);
    let reasons = report["invalid_reasons"].to_string();
    assert!(reasons.contains("it handled data late"), "{reasons}");
}

/// The generator as a user without permission for real-time scheduling.
fn without_permission(url: &str, arguments: &str) -> Command {
    let own = loadgen(url, arguments);
    let (dropper, options): (_, &[&str]) = if rustix::process::getuid().is_root() {
        (
            "setpriv",
            &["--bounding-set=-sys_nice", "--inh-caps=-sys_nice"],
        )
    } else {
        ("prlimit", &["--rtprio=0:0"])
    };
    let mut command = Command::new(dropper);
    command
        .args(options)
        .arg(own.get_program())
        .args(own.get_args());
    command
}

#[test]
fn missing_real_time_permission_is_reported() {
    let url = serve(Behaviour::default());
    let load = "--clients 2 --rate 100 --duration 100ms --warmup 0 --output json";
    let output = without_permission(&url, load).output().expect("it starts");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(report["generator"]["is_realtime"], false);
    let load = format!("{load} --priority realtime");
    let output = without_permission(&url, &load).output().expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("--priority realtime: Operation not permitted"),
        "{told}"
    );
}

#[test]
fn real_time_scheduling_is_asked_for_in_an_open_loop() {
    let url = serve(Behaviour::default());
    let load = "--clients 2 --duration 100ms --warmup 0 --threads 2";
    let of = |option: &str| {
        report(&url, &format!("{load} {option}")).1["generator"]["is_realtime"].clone()
    };
    for option in ["--rate max --window 1", "--rate 100 --priority normal"] {
        assert_eq!(of(option), false, "{option}");
    }
    let insists = run(
        &url,
        &format!("{load} --rate max --window 1 --priority realtime"),
    );
    let is_permitted = insists.status.success();
    assert_eq!(of("--rate 100"), is_permitted);
}
