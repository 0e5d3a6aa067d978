//! The state of a run, for a live view.
//!
//! The coordinator calls the observer that [`run`](crate::run::run) was given four times a second,
//! on its own thread: a slow observer delays only the next snapshot.

use crate::report::{Quantiles, Second};

/// The state of a run at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The phase of the run.
    pub phase: Phase,
    /// Which of several runs this is; absent for a single run.
    pub turn: Option<Turn>,
    /// Milliseconds since the run began to connect.
    pub elapsed_ms: u64,
    /// Milliseconds until the phase ends, if that is known.
    pub remaining_ms: Option<u64>,
    /// Connections that are open.
    pub connected: u64,
    /// Connections that should be open.
    pub clients: u64,
    /// Messages sent since the start, warm-up included.
    pub sent: u64,
    /// Deliveries since the start, warm-up included.
    pub received: u64,
    /// Messages a second since the last snapshot.
    pub sent_per_second: f64,
    /// Deliveries a second since the last snapshot.
    pub received_per_second: f64,
    /// Bytes a second read from the sockets since the last snapshot.
    pub received_bytes_per_second: f64,
    /// From due to received, for arrivals since the last snapshot.
    pub latency_ns: Quantiles,
    /// The same since the measurement began.
    pub latency_so_far_ns: Quantiles,
    /// From due to sent, for messages sent since the last snapshot.
    pub lateness_ns: Quantiles,
    /// Deliveries that were repeated, reordered, damaged or misrouted so far. Losses are known only
    /// at the end.
    pub faults: u64,
    /// CPU time of the generator over wall time since the last snapshot.
    pub cpu_share: f64,
    /// The second of the measured time that ended since the last snapshot.
    pub second: Option<Second>,
}

/// The phase of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Opening connections.
    #[default]
    Connecting,
    /// Sending without measuring.
    WarmUp,
    /// Sending and measuring.
    Measuring,
    /// Waiting for deliveries in flight.
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

/// One of several runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Turn {
    /// From 1.
    pub number: u32,
    /// The number of runs; absent if it depends on their results.
    pub of: Option<u32>,
    /// Requested messages a second of this run; absent in a closed loop.
    pub rate: Option<f64>,
}
