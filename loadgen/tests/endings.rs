//! A relay that disappears, stalls, or drops some clients: the report says what happened, when, and
//! who caused it.

use std::process::Command;
use std::time::Duration;

use corecast_test::generator::{self, number, report};
use corecast_test::stand_in::{self, Hub, Plan, StandIn, both, expect, stall};
use serde_json::Value;

/// Ten seconds; a run without clients ends after a small part of it.
const LONG: &str = "--clients 8 --rate 400 --duration 10s --warmup 100ms";
const SHORT: &str = "--clients 8 --rate 400 --duration 800 --warmup 100ms";
const SOON: Duration = Duration::from_millis(300);

/// The finding of this kind.
#[track_caller]
fn finding<'a>(report: &'a Value, kind: &str) -> &'a Value {
    let found = report["findings"].as_array().expect("a list").iter();
    let mut of = found.filter(|finding| finding["kind"] == kind);
    of.next()
        .unwrap_or_else(|| panic!("no {kind} in {report:#}"))
}

fn text(finding: &Value) -> &str {
    finding["text"].as_str().expect("a text")
}

/// All clients are dropped some time after the measurement began.
fn leaving(
    mut leave: impl FnMut(&mut Hub, usize) + Send + 'static,
) -> impl FnMut(&mut Hub, &stand_in::Message) + Send + 'static {
    let mut has_left = false;
    move |hub, message| {
        if hub.measured_for() < SOON || has_left {
            return hub.broadcast(message);
        }
        has_left = true;
        for client in hub.clients() {
            leave(hub, client);
        }
    }
}

#[test]
fn a_restarted_relay_ends_the_run_and_is_reported() {
    let server = StandIn::with(leaving(Hub::close));
    let (code, report) = report(&server.url, LONG);
    assert_eq!(code, 5, "{report:#}");
    assert!(number(&report, "/measured_ms") < 5000.0, "it ends early");
    let gone = finding(&report, "relay_gone");
    let at_ms = number(gone, "/at_ms");
    assert!((250.0..5000.0).contains(&at_ms), "{gone:#}");
    let told = text(gone);
    assert!(told.starts_with("the relay went away at "), "{told}");
    assert!(told.contains("it accepts connections again"), "{told}");
    let sent = number(&report, "/sent") + number(&report, "/warmup/sent");
    assert!(told.contains(&format!("after {sent} messages")), "{told}");
    // The messages that the server received and delivered are known exactly; the rest is lost.
    let truth = server.truth();
    assert_eq!(both(&report, "delivered"), truth.deliveries, "{report:#}");
    assert_eq!(number(&report, "/disconnects/reading"), 8.0);
    let reasons = report["invalid_reasons"].to_string();
    assert!(
        !reasons.contains("schedule"),
        "it is not the generator's doing"
    );
    assert_eq!(number(&report, "/unsent_by/own"), 0.0);
}

#[test]
fn a_vanished_server_ends_the_comparison() {
    let (stays, leaves) = (
        StandIn::with(Hub::broadcast),
        StandIn::with(leaving(Hub::close)),
    );
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["ab", &stays.url, &leaves.url, "--output", "json"])
        .args("--clients 8 --rate 400 --duration 2s --warmup 100ms".split(' '))
        .output()
        .expect("the generator starts");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(output.status.code(), Some(5), "{report:#}");
    assert_eq!(
        (&report["gone"], &report["verdict"]),
        (&"b".into(), &"undecided".into())
    );
    assert_eq!(report["caveats"], serde_json::json!(["B is gone"]));
}

#[test]
fn a_vanished_relay_is_reported() {
    let server = StandIn::with(leaving(|hub, client| {
        hub.stop_listening();
        hub.close(client);
    }));
    let (code, report) = report(&server.url, LONG);
    assert_eq!(code, 5, "{report:#}");
    let told = text(finding(&report, "relay_gone"));
    assert!(told.contains("nothing listens there any more"), "{told}");
}

#[test]
fn a_vanished_relay_ends_repeats_with_the_results_so_far() {
    let server = StandIn::with(leaving(Hub::reset));
    let (code, report) = report(&server.url, &format!("{LONG} --repeat 3"));
    assert_eq!(code, 5, "{report:#}");
    assert_eq!(report["repeats"]["runs"].as_array().map(Vec::len), Some(1));
    let told = text(finding(&report, "relay_gone"));
    assert!(told.starts_with("run 1: the relay went away"), "{told}");
}

#[test]
fn a_relay_unreachable_for_a_later_repeat_keeps_the_report() {
    let mut messages = 0;
    let server = StandIn::with(move |hub, message| {
        messages += 1;
        if messages == 10 {
            hub.stop_listening();
        }
        hub.broadcast(message);
    });
    let load = "--clients 2 --rate 100 --duration 200 --warmup 0 --repeat 3";
    let (code, report) = report(&server.url, load);
    assert_eq!((code, number(&report, "/sent")), (5, 20.0), "{report:#}");
    let told = text(finding(&report, "not_run"));
    assert!(told.contains("run 2") && told.contains("refused"), "{told}");
    assert_eq!(report["right"], false);
}

#[test]
fn without_publishers_a_relay_that_goes_away_ends_the_run() {
    let server = StandIn::new(Plan {
        joined: Box::new(|hub, client| {
            if hub.clients().len() == 4 {
                hub.clients()
                    .into_iter()
                    .for_each(|client| hub.close(client));
            }
            let _ = client;
        }),
        ..Plan::default()
    });
    let load = "--clients 4 --publishers 0 --duration 10s --warmup 0";
    let (code, report) = report(&server.url, load);
    assert_eq!(code, 5, "{report:#}");
    assert!(number(&report, "/measured_ms") < 5000.0);
    finding(&report, "relay_gone");
}

#[test]
fn the_last_publisher_that_is_gone_ends_the_run_too() {
    let server = StandIn::with(leaving(|hub, client| {
        if hub.index(client) == Some(0) {
            hub.close(client);
        }
    }));
    let (code, report) = report(&server.url, &format!("{LONG} --publishers 1"));
    assert_eq!(code, 5, "{report:#}");
    let told = text(finding(&report, "relay_gone"));
    assert!(
        told.contains("the last publisher lost its connection"),
        "{told}"
    );
    assert_eq!(number(&report, "/disconnects/reading"), 1.0);
}

#[test]
fn reset_and_closed_clients_are_counted_separately() {
    for is_reset in [true, false] {
        let server = StandIn::with(leaving(move |hub, client| {
            if hub.index(client) == Some(3) {
                match is_reset {
                    true => hub.reset(client),
                    false => hub.close(client),
                }
            }
        }));
        let (code, report) = report(&server.url, SHORT);
        assert_eq!(code, 3, "{report:#}");
        let disconnected = finding(&report, "disconnected");
        let told = text(disconnected);
        assert!(
            told.contains("1 of 8 connections, first of client 3 at "),
            "{told}"
        );
        assert_eq!(told.contains("reset"), is_reset, "{told}");
        let listed = &report["disconnects"]["listed"][0];
        assert_eq!(number(listed, "/client"), 3.0);
        assert!(number(listed, "/at_ms") >= 250.0, "{listed:#}");
        // An eighth of the messages that were due later.
        let unsent = number(&report, "/unsent");
        assert!(unsent > 0.0 && unsent == number(&report, "/unsent_by/disconnected"));
        let reasons = report["invalid_reasons"].to_string();
        assert!(!reasons.contains("schedule"), "{reasons}");
        assert_eq!(report["order"]["differing"], 0);
    }
}

#[test]
fn a_connection_that_is_over_costs_no_time() {
    // In a busy loop the generator would use all the CPU time that the machine gives it.
    let server = StandIn::with(|hub, message| {
        if message.number == 0 {
            for client in hub.clients() {
                if hub.index(client) == Some(1) {
                    hub.close(client);
                }
            }
        }
        hub.broadcast(message);
    });
    let load = "--clients 8 --publishers 1 --rate 20 --duration 2s --warmup 0";
    let (code, report) = report(&server.url, load);
    assert_eq!((code, number(&report, "/disconnects/reading")), (3, 1.0));
    let share = number(&report, "/generator/cpu_share");
    assert!(share < 0.2, "{share} of a core for 20 messages a second");
}

#[test]
fn a_close_is_reported_with_its_code() {
    let server = StandIn::with(leaving(|hub, client| {
        if hub.index(client) == Some(2) {
            hub.send(client, b"\x88\x0a\x03\xf5too slow");
        }
    }));
    let (code, report) = report(&server.url, SHORT);
    assert_eq!(code, 3, "{report:#}");
    let told = text(finding(&report, "disconnected"));
    assert!(told.contains("1013 too slow"), "{told}");
}

#[test]
fn access_denied_after_the_upgrade_is_reported() {
    let server = StandIn::new(Plan {
        joined: Box::new(|hub, client| hub.send(client, b"\x88\x0b\x03\xf0bad token")),
        ..Plan::default()
    });
    let (code, report) = report(&server.url, LONG);
    assert_eq!(code, 5, "{report:#}");
    let told = text(finding(&report, "access_denied"));
    assert!(
        told.contains("8 of 8") && told.contains("1008 bad token"),
        "{told}"
    );
}

#[test]
fn a_refused_upgrade_reports_its_reason() {
    for (status, hint) in [
        (401, "--url may hold the token"),
        (404, "nothing at the path"),
        (429, "--source-ips"),
        (502, "a proxy does not reach the relay"),
        (503, "503"),
    ] {
        let server = StandIn::new(Plan {
            answer: Box::new(move |_| Some(status)),
            ..Plan::default()
        });
        let output = generator::run(&server.url, SHORT);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(
            told.contains(&status.to_string()) && told.contains(hint),
            "{told}"
        );
    }
}

#[test]
fn a_relay_that_reads_nothing_more_holds_messages_back() {
    let mut has_stopped = false;
    let server = StandIn::with(move |hub, message| {
        if !has_stopped && hub.measured_for() >= SOON {
            has_stopped = true;
            hub.stop_reading();
        }
        hub.broadcast(message);
    });
    let load = "--clients 2 --rate 200 --size 65536 --duration 800 --warmup 100ms";
    // More than the sockets' buffers hold.
    let load = load.replace("--rate 200", "--rate 1000");
    let (code, report) = report(&server.url, &load);
    assert_eq!(code, 3, "{report:#}");
    let held = number(&report, "/unsent_by/held");
    assert!(
        held > 0.0 && held == number(&report, "/unsent"),
        "{report:#}"
    );
    let told = text(finding(&report, "held_back"));
    assert!(
        told.contains("the relay no longer reads from clients 0, 1"),
        "{told}"
    );
    let reasons = report["invalid_reasons"].to_string();
    assert!(!reasons.contains("schedule"), "{reasons}");
}

#[test]
fn a_stall_is_reported_with_its_length() {
    let mut has_stalled = false;
    let server = StandIn::with(move |hub, message| {
        if !has_stalled && hub.measured_for() >= SOON {
            has_stalled = true;
            stall(Duration::from_millis(1600));
        }
        hub.broadcast(message);
    });
    let load = SHORT.replace("800", "2500");
    let (code, report) = report(&server.url, &load);
    assert_eq!(code, 0, "late is not wrong: {report:#}");
    let told = text(finding(&report, "stalled"));
    assert!(told.starts_with("nothing arrived for 1."), "{told}");
    assert!(number(&report, "/latency_ns/max") >= 1.5e9, "{report:#}");
}

#[test]
fn an_endless_stall_is_reported_with_its_start() {
    let server = StandIn::with(|hub, message| {
        if hub.measured_for() < SOON {
            hub.broadcast(message);
        } else {
            hub.clients().iter().for_each(|_| hub.fault(message));
        }
    });
    let (code, report) = report(&server.url, &SHORT.replace("800", "2s"));
    let truth = server.truth();
    let counts = [("delivered", truth.deliveries), ("lost", truth.faults)];
    expect(&report, &truth, 8, &counts);
    assert_eq!(code, 3);
    let told = text(finding(&report, "stalled"));
    assert!(told.starts_with("nothing arrived after "), "{told}");
    let told = text(finding(&report, "drain_gave_up"));
    assert!(told.contains("no latency includes them"), "{told}");
}

#[test]
fn deliveries_after_the_drain_are_reported() {
    // The last messages come three seconds late.
    let server = StandIn::with(|hub, message| {
        if hub.measured_for() < SOON {
            return hub.broadcast(message);
        }
        for client in hub.clients() {
            hub.fault(message);
            hub.send_later(Duration::from_secs(4), client, message.frame());
        }
    });
    let (code, report) = report(&server.url, &SHORT.replace("800", "400"));
    let truth = server.truth();
    let counts = [("delivered", truth.deliveries), ("lost", truth.faults)];
    expect(&report, &truth, 8, &counts);
    assert_eq!(code, 3);
    let gave_up = finding(&report, "drain_gave_up");
    let lost = truth.faults.iter().sum::<u64>().to_string();
    assert!(
        text(gave_up).contains(&format!("the last {lost} deliveries")),
        "{gave_up:#}"
    );
}
