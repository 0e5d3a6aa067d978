//! Waiting by polling: the only sleep that most tests have.

use std::time::{Duration, Instant};

/// For whatever a test waits for: reached only where something is wrong.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Polls until `holds`; the failure names `what`.
pub fn eventually(what: &str, holds: impl FnMut() -> bool) {
    assert!(polled(holds), "not in time: {what}");
}

/// Polls until `holds`. Returns whether that happened in time.
pub fn polled(mut holds: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !holds() {
        if began.elapsed() >= DEADLINE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}
