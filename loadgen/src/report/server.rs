//! The relay's own metrics before and after the measured time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Quantiles;

/// The server's side of the run, from the difference of scrapes of `--metrics-url`. They are taken
/// when the measurement begins, when it ends, and when the last delivery has arrived.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// `--metrics-url`.
    pub url: String,
    /// Time between the first scrape and the last.
    pub between_ms: f64,
    /// CPU time of the server's process between these scrapes.
    pub cpu_ms: f64,
    /// CPU time over wall time during the measurement only: 1.0 is one core.
    pub cpu_share: f64,
    /// CPU time per delivery in nanoseconds, by the server's own count of deliveries if it has one.
    pub cpu_ns_per_delivery: f64,
    /// Memory of the process at the end, in bytes.
    pub resident_bytes: u64,
    /// From the receipt of a message to the end of the send, by the server's own measurement, to
    /// the precision of its buckets. Absent if the server does not report it.
    pub relay_latency_ns: Option<Quantiles>,
    /// The mean time from due to received, split by where it is spent. Absent without the server's
    /// own latency.
    pub parts: Vec<Part>,
    /// The growth of each counter, by its name and labels.
    pub counters: BTreeMap<String, f64>,
}

/// One part of a delivery's time. The means of all parts add up to the mean latency.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// `client` (from due to sent), `server` (from received to sent), or `rest` (sockets, network,
    /// scheduler).
    pub name: String,
    /// Nanoseconds on average.
    pub mean_ns: f64,
    /// Share of the mean latency, from 0 to 1.
    pub share: f64,
}
