//! What arrives is counted in the time in which it belongs, and what was due is not forgotten.

mod common;
mod stand_in;

use std::time::Duration;

use common::{number, report};
use stand_in::{Plan, StandIn, stall};

#[test]
fn handshakes_count_from_when_they_were_due() {
    // One of ten at a time takes half a second, and so holds up the others.
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
    // A hundred came due meanwhile; ten of them were under way.
    let due = number(&report, "/connect_ns/p50");
    let from_connect = number(&report, "/uncorrected_connect_ns/p50");
    assert!(due >= 100e6 && from_connect < due / 2.0, "{report:#}");
    assert_eq!(number(&report, "/uncorrected_connect_ns/count"), 120.0);
}
