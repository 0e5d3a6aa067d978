//! A run never accepts another run's messages, even if the two have options in common.

use std::collections::VecDeque;
use std::thread;

use corecast_test::generator::{number, report};
use corecast_test::stand_in::{self, Plan, StandIn, expect};

const LOAD: &str = "--clients 4 --rate 200 --duration 400 --warmup 100ms";

/// Messages that a server keeps for new clients.
const KEPT: usize = 50;

#[test]
fn stored_messages_of_an_earlier_run_are_foreign() {
    let (kept, keeps) = std::sync::mpsc::channel();
    let mut history = VecDeque::new();
    let server = StandIn::new(Plan {
        mode: Box::new(move |hub, message| {
            let _ = kept.send(message.frame());
            hub.broadcast(message);
        }),
        joined: Box::new(move |hub, client| {
            history.extend(keeps.try_iter());
            history.drain(..history.len().saturating_sub(KEPT));
            for frame in &history {
                hub.send_foreign(client, frame);
            }
        }),
        ..Plan::default()
    });
    for run in [0, 1] {
        let (code, report) = report(&server.url, &format!("{LOAD} --seed 7"));
        assert_eq!(code, 0, "{report:#}");
        assert_eq!(number(&report, "/foreign"), f64::from(200 * run));
    }
    let (code, report) = report(&server.url, &format!("{LOAD} --seed 7 --repeat 2"));
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(server.truth().foreign, 600);
}

#[test]
fn two_generators_with_one_seed_are_foreign_to_each_other() {
    let server = StandIn::with(stand_in::Hub::broadcast);
    let load = format!("{LOAD} --seed 7");
    let reports = thread::scope(|scope| {
        let one = scope.spawn(|| report(&server.url, &load));
        let other = report(&server.url, &load);
        [one.join().expect("a report"), other]
    });
    for (code, report) in &reports {
        assert_eq!(*code, 0, "{report:#}");
        assert_eq!(number(report, "/delivered"), 320.0, "{report:#}");
        assert_eq!(number(report, "/warmup/delivered"), 80.0, "{report:#}");
        assert!(number(report, "/latency_ns/min") > 0.0, "{report:#}");
    }
    let foreign = reports.map(|(_, report)| number(&report, "/foreign"));
    assert!(foreign.iter().sum::<f64>() > 0.0, "they met: {foreign:?}");
}

/// The stamp's own checksum: this server can make one.
fn checksum(stamp: &[u8]) -> u64 {
    let words = stamp.chunks_exact(8).take(4);
    words.fold(0x5851_f42d_4c95_7f2d, |sum, word| {
        let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
        let mixed = (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    })
}

#[test]
fn a_message_that_comes_before_it_is_due_is_an_error() {
    let server = StandIn::with(|hub, message| {
        if message.number.is_multiple_of(10) {
            let mut payload = message.payload.clone();
            // An hour later than it was due.
            let due = u64::from_le_bytes(payload[24..32].try_into().expect("eight bytes"));
            payload[24..32].copy_from_slice(&(due + 3_600_000_000_000).to_le_bytes());
            let checksum = checksum(&payload);
            payload[32..40].copy_from_slice(&checksum.to_le_bytes());
            for client in hub.clients() {
                hub.fault(message);
                hub.send(client, &message.with(payload.clone()).frame());
            }
        }
        hub.broadcast(message);
    });
    let (code, report) = report(&server.url, &format!("{LOAD} --size 40"));
    let truth = server.truth();
    let counts = [("delivered", truth.deliveries), ("early", truth.faults)];
    expect(&report, &truth, 4, &counts);
    assert_eq!((code, truth.faults), (3, [8, 32]), "{report:#}");
}
