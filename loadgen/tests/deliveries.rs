//! Planted faults are found and counted exactly.

mod common;

use common::{Behaviour, number, report, serve};

#[test]
fn a_faultless_server_is_found_right() {
    let url = serve(Behaviour::default());
    let (code, report) = report(&url, "--clients 5 --rate 500 --duration 400 --warmup 100ms");
    assert_eq!(number(&report, "/sent"), 200.0, "{report:#}");
    assert_eq!(number(&report, "/delivered"), 1000.0, "{report:#}");
    assert_eq!(code, 0, "{report:#}");
}
