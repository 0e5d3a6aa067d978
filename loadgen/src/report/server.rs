//! What the relay said of itself: its metrics before and after the measured time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Quantiles;

/// The server's share of the run, from the difference of scrapes of `--metrics-url`. They are taken
/// when the measurement begins, when it ends, and when the last delivery is in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// `--metrics-url`.
    pub url: String,
    /// Time between the first scrape and the last.
    pub between_ms: f64,
    /// CPU time of the server's process between these two.
    pub cpu_ms: f64,
    /// CPU time over time while it was measured, without what came after: 1.0 is one core.
    pub cpu_share: f64,
    /// CPU time for each delivery, in nanoseconds, by the server's own count of deliveries where it
    /// has one.
    pub cpu_ns_per_delivery: f64,
    /// Memory of the process at the end, in bytes.
    pub resident_bytes: u64,
    /// From the receipt of a message to the end of the send, by the server's own measurement;
    /// within the steps of its buckets. Absent where it does not tell.
    pub relay_latency_ns: Option<Quantiles>,
    /// A delivery's way from due to received, on average, by whose it is. Absent without the
    /// server's own latency.
    pub parts: Vec<Part>,
    /// By how much each counter grew, by its name and labels.
    pub counters: BTreeMap<String, f64>,
}

/// One part of the way of a delivery. The means of all parts add up to the mean latency.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// `client` (from due to sent), `server` (from received to sent), or `rest` (sockets, network,
    /// scheduler).
    pub name: String,
    /// Nanoseconds on average.
    pub mean_ns: f64,
    /// Of the mean latency, from 0 to 1.
    pub share: f64,
}
