//! The report of `--handshakes`.

use serde::{Deserialize, Serialize};

use super::{Distribution, Head};

/// The result of `--handshakes`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HandshakeReport {
    /// The head of every report.
    #[serde(flatten)]
    pub head: Head,
    /// Target.
    pub url: String,
    /// Connections in flight.
    pub concurrency: u32,
    /// Threads.
    pub threads: u32,
    /// Requested number.
    pub handshakes: u32,
    /// Opened, upgraded and closed.
    pub completed: u64,
    /// Of the completed: the server did not finish the closing handshake within a second.
    pub not_closed: u64,
    /// From the first connect to the last close.
    pub elapsed_ms: f64,
    /// Completed over elapsed.
    pub handshakes_per_second: f64,
    /// Until upgraded: from when the connection was due with `--per-second`, otherwise from
    /// connect.
    pub connect_ns: Distribution,
    /// From connect to upgraded.
    #[serde(default)]
    pub uncorrected_connect_ns: Distribution,
    /// CPU time of the process over wall time: 1.0 is one core.
    pub cpu_share: f64,
}
