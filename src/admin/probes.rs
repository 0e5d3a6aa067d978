//! `/livez` and `/readyz`: is every event loop running, and are new connections wanted? Both are
//! answered even if the relay is full, by the main listener too.

use std::fmt::Write;

use super::page::{Page, Running};
use crate::engine::Request;
use crate::limits::TURN_AGE_MAX;
use crate::relay::nostr::NamedStats;
use crate::wire::http::Response;

/// 200 while the event loop of every relaying shard runs, else 503 with the shards that are stuck.
///
/// During a shutdown it is always 200, since shards end when their last connection is closed.
/// `shutdown.timeout` bounds that time.
pub(super) struct Livez;

impl Page for Livez {
    const IS_PROBE: bool = true;

    fn answer(&self, _request: &Request<'_>, running: &Running) -> Response {
        let late = late_shards(running.view.turn_ages_ns());
        if late.is_empty() || !running.view.is_ready() {
            Response::text(200, "alive\n")
        } else {
            Response::text(503, late)
        }
    }
}

/// 200 while the relay wants new connections and its stores can be written, else 503.
pub(super) struct Readyz {
    pub(super) nostr: Vec<NamedStats>,
}

impl Page for Readyz {
    const IS_PROBE: bool = true;

    fn answer(&self, _request: &Request<'_>, running: &Running) -> Response {
        let mut failing = self
            .nostr
            .iter()
            .filter(|(_, stats)| stats.is_store_failing());
        if !running.view.is_ready() {
            Response::text(503, "not ready: starting or shutting down\n")
        } else if let Some((name, _)) = failing.next() {
            let told = format!("not ready: the store of endpoint {name} cannot be written\n");
            Response::text(503, told)
        } else {
            Response::text(200, "ready\n")
        }
    }
}

/// A line for every shard that has not begun a turn lately.
fn late_shards(turn_ages_ns: impl Iterator<Item = u64>) -> String {
    let mut lines = String::new();
    for (shard, age_ns) in turn_ages_ns.enumerate() {
        if u128::from(age_ns) > TURN_AGE_MAX.as_nanos() {
            let seconds = age_ns / 1_000_000_000;
            // A write to a `String` cannot fail.
            let _ = writeln!(lines, "shard {shard}: event loop stuck for {seconds} s");
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_whose_event_loop_is_stuck_is_named() {
        let max_ns = TURN_AGE_MAX.as_nanos() as u64;
        assert_eq!(late_shards([0, max_ns].into_iter()), "");
        assert_eq!(
            late_shards([0, max_ns + 1, 5, 90_500_000_000].into_iter()),
            "shard 1: event loop stuck for 5 s\nshard 3: event loop stuck for 90 s\n"
        );
    }
}
