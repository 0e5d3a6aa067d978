//! The report of `--handshakes`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Distribution, Head};
use crate::handshakes::HandshakeOutcome;
use crate::histogram;
use crate::plan::{Handshakes, Plan};

/// The result of `--handshakes`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HandshakeReport {
    /// What every report begins with.
    #[serde(flatten)]
    pub head: Head,
    /// Target.
    pub url: String,
    /// Connections in flight.
    pub concurrency: u32,
    /// Threads.
    pub threads: u32,
    /// Asked for.
    pub handshakes: u32,
    /// Opened, upgraded and closed.
    pub completed: u64,
    /// Of these: the server did not finish the closing handshake within a second.
    pub not_closed: u64,
    /// From the first connect to the last close.
    pub elapsed_ms: f64,
    /// Completed over elapsed.
    pub handshakes_per_second: f64,
    /// From connect to upgraded.
    pub connect_ns: Distribution,
    /// CPU time of the process over wall time: 1.0 is one core.
    pub cpu_share: f64,
}

impl HandshakeReport {
    pub(crate) fn new(
        plan: &Plan,
        work: Handshakes,
        outcomes: &[HandshakeOutcome],
        elapsed: Duration,
        cpu: Duration,
    ) -> Self {
        let mut connect = histogram::new();
        for outcome in outcomes {
            histogram::merge(&mut connect, &outcome.connect_times);
        }
        let completed = outcomes.iter().map(|outcome| outcome.completed).sum();
        let seconds = elapsed.as_secs_f64().max(1e-9);
        Self {
            head: Head::of(plan),
            url: plan.target.url.clone(),
            concurrency: work.concurrency,
            threads: plan.threads,
            handshakes: work.count,
            completed,
            not_closed: outcomes.iter().map(|outcome| outcome.not_closed).sum(),
            elapsed_ms: seconds * 1e3,
            handshakes_per_second: completed as f64 / seconds,
            connect_ns: Distribution::of(&connect),
            cpu_share: cpu.as_secs_f64() / seconds,
        }
    }
}
