//! What a run looks like while it runs: for a live view.
//!
//! The coordinator calls the observer that [`run`](crate::run::run) was given four times a second,
//! on its own thread: an observer that takes long delays the next snapshot and nothing else.

use crate::report::{Quantiles, Second};

/// A look at a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// What it is doing.
    pub phase: Phase,
    /// Which of several runs this is, where there are several.
    pub turn: Option<Turn>,
    /// Milliseconds since the run began to connect.
    pub elapsed_ms: u64,
    /// Milliseconds until the phase ends, where that is known.
    pub remaining_ms: Option<u64>,
    /// Connections that are open.
    pub connected: u64,
    /// Connections that there are to be.
    pub clients: u64,
    /// Messages sent since the begin, warm-up included.
    pub sent: u64,
    /// Deliveries since the begin, warm-up included.
    pub received: u64,
    /// Messages a second since the last snapshot.
    pub sent_per_second: f64,
    /// Deliveries a second since the last snapshot.
    pub received_per_second: f64,
    /// Bytes a second off the sockets since the last snapshot.
    pub received_bytes_per_second: f64,
    /// From due to received, of what arrived since the last snapshot.
    pub latency_ns: Quantiles,
    /// The same since the measurement began.
    pub latency_so_far_ns: Quantiles,
    /// From due to sent, of what was sent since the last snapshot.
    pub lateness_ns: Quantiles,
    /// Deliveries that were repeated, reordered, damaged or misrouted so far. What is lost is known
    /// at the end only.
    pub faults: u64,
    /// CPU time of the generator over wall time since the last snapshot.
    pub cpu_share: f64,
    /// The second of the measured time that ended since the last snapshot.
    pub second: Option<Second>,
}

/// What a run is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Opening connections.
    #[default]
    Connecting,
    /// Load that is not measured.
    WarmUp,
    /// Load that is measured.
    Measuring,
    /// Waiting for what is still under way.
    Draining,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Connecting => "connecting",
            Self::WarmUp => "warm-up",
            Self::Measuring => "measuring",
            Self::Draining => "draining",
        })
    }
}

/// Which of several runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Turn {
    /// From 1.
    pub number: u32,
    /// How many there are; absent where that depends on how they go.
    pub of: Option<u32>,
    /// Messages a second that this one is asked for; absent in a closed loop.
    pub rate: Option<f64>,
}
