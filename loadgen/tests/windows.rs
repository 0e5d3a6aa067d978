//! Arrivals are counted in the time in which they belong, and due messages are not forgotten.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::Duration;

use corecast_test::generator::{number, report};
use corecast_test::stand_in::{Hub, Plan, StandIn, expect, stall};
use serde_json::Value;

#[test]
fn deliveries_after_the_end_have_a_row_of_their_own() {
    let late = Duration::from_millis(700);
    let server = StandIn::with(move |hub, message| {
        for client in hub.clients() {
            hub.deliver_later(late, client, message);
        }
    });
    let load = "--clients 8 --rate 400 --duration 2s --warmup 1s";
    let (code, report) = report(&server.url, load);
    let truth = server.truth();
    expect(&report, &truth, 8, &[("delivered", truth.deliveries)]);
    assert_eq!(code, 0);
    // The relay delivers 3,200 a second all the time; those of 700 ms come after the end, and as
    // many of the warm-up at the start.
    let per_second = number(&report, "/throughput/deliveries_per_second");
    assert!((2600.0..3800.0).contains(&per_second), "{per_second}");
    let drain = &report["drain"];
    assert_eq!(
        (number(drain, "/at_ms"), number(drain, "/sent")),
        (2000.0, 0.0)
    );
    let drained = number(drain, "/received");
    assert!((1200.0..3200.0).contains(&drained), "{drain:#}");
    assert!(number(drain, "/for_ms") >= 600.0, "{drain:#}");
    assert!(number(drain, "/latency/min") >= 699e6, "{drain:#}");
    let seconds = report["timeline"].as_array().expect("a list");
    assert_eq!(seconds.len(), 2);
    let last = number(&seconds[1], "/received");
    assert!(last < 4800.0, "the drain is not part of it: {last}");
    let count = |one: &Value| number(one, "/latency/count");
    let counted = seconds.iter().map(count).sum::<f64>() + count(drain);
    assert_eq!(counted, 6400.0);
    assert!(number(&report, "/latency_ns/min") >= 699e6, "{report:#}");
}

#[test]
fn a_delay_of_five_milliseconds_is_in_every_latency() {
    let server = StandIn::with(|hub, message| {
        for client in hub.clients() {
            hub.deliver_later(Duration::from_millis(5), client, message);
        }
    });
    let (code, report) = report(
        &server.url,
        "--clients 4 --rate 100 --duration 300 --warmup 0",
    );
    assert_eq!(code, 0, "{report:#}");
    assert!(number(&report, "/latency_ns/min") >= 5e6, "{report:#}");
}

#[test]
fn a_stalled_client_is_seen_in_the_tail_alone() {
    // Client 2 gets nothing for 200 ms, and then all of it.
    let mut held = Vec::new();
    let mut is_over = false;
    let server = StandIn::with(move |hub, message| {
        let since = hub.measured_for();
        for client in hub.clients() {
            let is_stalled = hub.index(client) == Some(2) && since >= Duration::from_millis(100);
            if is_over || !is_stalled {
                hub.deliver(client, message);
            } else {
                held.push(message.clone());
                if since >= Duration::from_millis(300) {
                    is_over = true;
                    held.drain(..)
                        .for_each(|message| hub.deliver(client, &message));
                }
            }
        }
    });
    let load = "--clients 8 --rate 400 --duration 600 --warmup 0";
    let (code, report) = report(&server.url, load);
    let truth = server.truth();
    expect(&report, &truth, 8, &[("delivered", truth.deliveries)]);
    assert_eq!(code, 0);
    assert!(number(&report, "/latency_ns/max") >= 190e6, "{report:#}");
    assert!(
        number(&report, "/clients/listed/2/max_ns") >= 190e6,
        "{report:#}"
    );
}

#[test]
fn handshakes_count_from_when_they_were_due() {
    // One of ten at a time takes half a second, and so delays the others.
    let server = StandIn::new(Plan {
        answer: Box::new(|client| {
            if client == 20 {
                stall(Duration::from_millis(500));
            }
            None
        }),
        ..Plan::default()
    });
    let load = "--handshakes 120 --per-second 200 --concurrency 10";
    let (code, report) = report(&server.url, load);
    assert_eq!((code, number(&report, "/completed")), (0, 120.0));
    // A hundred were due meanwhile; ten of them were in progress.
    let due = number(&report, "/connect_ns/p50");
    let from_connect = number(&report, "/uncorrected_connect_ns/p50");
    assert!(due >= 100e6 && from_connect < due / 2.0, "{report:#}");
    assert_eq!(number(&report, "/uncorrected_connect_ns/count"), 120.0);
}

#[test]
fn failed_churn_is_reported() {
    let server = StandIn::new(Plan {
        answer: Box::new(|client| {
            if client >= 8 {
                stall(Duration::from_millis(200));
            }
            None
        }),
        ..Plan::default()
    });
    let load = "--clients 8 --churn 40/s --churning 4 --rate 100 --duration 1s --warmup 0";
    let (code, report) = report(&server.url, load);
    assert_eq!(code, 0, "{report:#}");
    let churn = &report["churn"];
    let due = number(churn, "/due");
    assert!((38.0..=40.0).contains(&due), "{churn:#}");
    let done = number(churn, "/replaced") + number(churn, "/skipped");
    // Those in progress at the end count as neither.
    assert!(done <= due && done >= due - 4.0, "{churn:#}");
    assert!(number(churn, "/skipped") >= 10.0, "{churn:#}");
    let finding = &report["findings"][0];
    assert_eq!(finding["kind"], "churn_missed", "{report:#}");
}

#[test]
fn connections_that_fail_to_reconnect_are_reported() {
    let server = StandIn::new(Plan {
        answer: Box::new(|client| (client >= 8).then_some(401)),
        ..Plan::default()
    });
    let load = "--clients 8 --churn 40/s --churning 4 --rate 100 --duration 400 --warmup 0";
    let (code, report) = report(&server.url, load);
    assert_eq!(code, 0, "{report:#}");
    assert!(number(&report, "/churn/failed") >= 4.0, "{report:#}");
    let reason = report["churn"]["reasons"][0].as_str().expect("a reason");
    assert!(
        reason.contains("401") && reason.contains("--url"),
        "{reason}"
    );
    assert_eq!(report["findings"][0]["kind"], "churn_missed");
}

/// Metrics whose CPU time grows by 10 ms a scrape, as long as there are answers left.
fn metrics(answers: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/metrics", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for (scrape, mut stream) in listener.incoming().flatten().enumerate() {
            let mut lines = BufReader::new(&stream).lines();
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let cpu = 0.01 * scrape as f64;
            let body = format!("process_cpu_seconds_total {cpu}\n");
            let status = if scrape < answers {
                "200 OK"
            } else {
                "503 Busy"
            };
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n");
            let _ = write!(stream, "{head}Connection: close\r\n\r\n{body}");
        }
    });
    url
}

#[test]
fn metrics_that_fail_at_the_end_cost_a_line_and_not_the_report() {
    let server = StandIn::with(Hub::broadcast);
    for (answers, has_server) in [(1, false), (2, true)] {
        let url = metrics(answers);
        let load = format!("--clients 2 --rate 100 --duration 200 --warmup 0 --metrics-url {url}");
        let (code, report) = report(&server.url, &load);
        assert_eq!((code, number(&report, "/delivered")), (0, 40.0));
        let finding = &report["findings"][0];
        assert_eq!(finding["kind"], "no_metrics", "{report:#}");
        assert!(
            finding["text"]
                .as_str()
                .is_some_and(|text| text.contains("503"))
        );
        assert_eq!(report["server"].is_object(), has_server, "{report:#}");
    }
}

#[test]
fn the_servers_share_is_that_of_the_measured_time() {
    let server = StandIn::with(|hub, message| {
        for client in hub.clients() {
            hub.deliver_later(Duration::from_secs(1), client, message);
        }
    });
    let load = "--clients 2 --rate 100 --duration 200 --warmup 0 --metrics-url";
    let (code, report) = report(&server.url, &format!("{load} {}", metrics(3)));
    assert_eq!(code, 0, "{report:#}");
    // 10 ms until the end of the measured time, and 10 ms in a drain of a second.
    assert_eq!(number(&report, "/server/cpu_ms").round(), 20.0);
    let share = number(&report, "/server/cpu_share");
    assert!(share > 0.02, "{share}: the drain is in it");
    assert!(number(&report, "/server/between_ms") >= 1000.0);
}

#[test]
fn messages_name_the_times_at_which_they_were_due() {
    let (due, dues) = std::sync::mpsc::channel();
    let server = StandIn::with(move |hub, message| {
        let bytes = message.payload[24..32].try_into();
        let due_ns = u64::from_le_bytes(bytes.expect("eight bytes"));
        let _ = due.send((due_ns, message.phase(), message.publisher()));
        hub.broadcast(message);
    });
    let load = "--clients 4 --rate 400 --duration 300 --warmup 100ms";
    let (code, report) = report(&server.url, load);
    assert_eq!(code, 0, "{report:#}");
    let mut dues: Vec<_> = dues.try_iter().collect();
    dues.sort_unstable();
    assert_eq!(dues.len(), 160);
    let gaps = dues.windows(2).map(|pair| pair[1].0 - pair[0].0);
    assert!(gaps.clone().all(|gap| gap == 2_500_000), "{dues:?}");
    let phases: Vec<_> = dues.iter().map(|one| one.1).collect();
    assert_eq!(phases, [vec![0; 40], vec![1; 120]].concat());
    let in_turn = dues.iter().zip((0..4).cycle());
    assert!(
        in_turn
            .into_iter()
            .all(|(one, publisher)| one.2 == publisher)
    );
}
