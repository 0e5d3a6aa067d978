//! The data of the dashboard: one JSON value each second.
//!
//! The page, `corecast top` and scripts read the same value. `docs/dashboard.md` explains the
//! fields; [`FORMAT`] grows if a field changes its meaning or is removed, not if one is added.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The version of the format.
pub const FORMAT: u32 = 1;

/// The state of the relay at one moment, and the events of the second before it.
#[derive(Clone, Serialize, Deserialize, PartialEq, Debug)]
pub struct Snapshot {
    /// [`FORMAT`].
    pub format: u32,
    /// The relay's version.
    pub version: Cow<'static, str>,
    /// The commit that it was built from.
    pub commit: Cow<'static, str>,
    /// The time of the snapshot, in milliseconds since 1970 (UTC).
    pub at_unix_ms: u64,
    /// How long the relay has been running, in seconds.
    pub uptime_s: f64,
    /// Whether the relay wants new connections.
    pub ready: bool,
    /// When the config in effect was loaded, in seconds since 1970 (UTC).
    pub config_unix_s: u64,
    /// The window of `rates`, `latency` and `frames_per_send`, in seconds: about one.
    pub window_s: f64,
    /// The current state.
    pub now: Now,
    /// Counted since the start.
    pub totals: Totals,
    /// Counted in the window, per second.
    pub rates: Totals<f64>,
    /// From the end of a frame's receipt to the end of the send that carried it, in the window.
    pub latency: Latency,
    /// Messages that one send carried, in the window.
    pub frames_per_send: FramesPerSend,
    /// Each relaying shard, in order.
    pub shards: Vec<Shard>,
    /// Each relay for Nostr. Left out if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nostr: Vec<NostrRelay>,
    /// Clients whose last send would have blocked, in all.
    pub slow_clients_total: usize,
    /// Those of them that have waited longest, at most ten.
    pub slow_clients: Vec<SlowClient>,
    /// Why connections ended: the reasons that have occurred.
    pub closes: Vec<Reason>,
    /// Why connections were refused: the reasons that have occurred.
    pub refusals: Vec<Reason>,
    /// The process.
    pub process: Process,
}

/// An endpoint of the kind `nostr`: its current state, and counts of the window per second.
#[derive(Clone, Serialize, Deserialize, PartialEq, Debug)]
pub struct NostrRelay {
    /// The endpoint's name.
    pub endpoint: String,
    /// Subscriptions that are open.
    pub subscriptions: u64,
    /// Events in its store.
    pub store_events: u64,
    /// Memory that they take, in bytes.
    pub store_bytes: u64,
    /// Events that wait for their signatures to be verified.
    pub verify_queue: u64,
    /// Events that were stored or forwarded.
    pub accepted: f64,
    /// Events that were refused, or that were known already.
    pub refused: f64,
    /// Queries that began.
    pub queries: f64,
    /// Events that were sent to subscriptions as they came.
    pub deliveries: f64,
}

/// The current state.
#[derive(Clone, Serialize, Deserialize, PartialEq, Debug)]
pub struct Now {
    /// WebSockets that are open.
    pub clients: u64,
    /// Connections of all kinds.
    pub connections: u64,
    /// Rooms that have members.
    pub rooms: usize,
    /// Memory of everything that waits to be sent, in bytes.
    pub live_bytes: usize,
    /// Memory of partially received messages, in bytes.
    pub inbound_bytes: usize,
}

/// Counters over all shards.
#[derive(Clone, Copy, Default, Serialize, Deserialize, PartialEq, Debug)]
pub struct Totals<N = u64> {
    /// Messages received.
    pub messages: N,
    /// Their payload, in bytes.
    pub message_bytes: N,
    /// Messages sent to clients, each recipient counted.
    pub deliveries: N,
    /// Bytes sent to clients, headers and control frames included.
    pub sent_bytes: N,
    /// `send` calls.
    pub sends: N,
    /// WebSockets that were opened.
    pub opened: N,
    /// WebSockets that ended.
    pub closed: N,
    /// Connections that were refused before they were open.
    pub refused: N,
    /// Messages that slow clients did not get.
    pub dropped: N,
}

/// Latency in the window. Every figure is the upper bound of its bucket, so at most a quarter too
/// large. They are missing if nothing was sent.
#[derive(Clone, Serialize, Deserialize, PartialEq, Debug, Default)]
pub struct Latency {
    /// Median, in microseconds.
    pub p50_us: Option<f64>,
    /// 90th percentile, in microseconds.
    pub p90_us: Option<f64>,
    /// 99th percentile, in microseconds.
    pub p99_us: Option<f64>,
    /// 99.9th percentile, in microseconds.
    pub p999_us: Option<f64>,
    /// Maximum, in microseconds.
    pub max_us: Option<f64>,
    /// Messages by latency, without empty buckets.
    pub buckets: Vec<Bucket>,
}

/// A bucket of a histogram.
#[derive(Clone, Copy, Serialize, Deserialize, PartialEq, Debug)]
pub struct Bucket {
    /// The upper bound; `None` in the last bucket.
    pub below: Option<u64>,
    /// The number of values in it.
    pub count: u64,
}

/// How many messages one send carried.
#[derive(Clone, Serialize, Deserialize, PartialEq, Debug, Default)]
pub struct FramesPerSend {
    /// The average; `None` if nothing was sent.
    pub mean: Option<f64>,
    /// Sends by the largest number of messages that they carried, without empty buckets.
    pub buckets: Vec<Bucket>,
}

/// A relaying shard.
#[derive(Clone, Copy, Serialize, Deserialize, PartialEq, Debug)]
pub struct Shard {
    /// Share of its last full second that it worked, 0 to 1.
    pub busy: f64,
    /// Connections of all kinds.
    pub connections: u32,
    /// Bytes that wait in outboxes.
    pub outbox_bytes: u64,
    /// Age of the oldest message for a client that does not read, in milliseconds.
    pub outbox_age_ms: u64,
    /// Batches from other shards that wait for it.
    pub mailbox: usize,
    /// Other shards that it had to wake, per second.
    pub wakes: f64,
    /// Messages received, per second.
    pub messages: f64,
    /// Messages sent, per second.
    pub deliveries: f64,
    /// Time since its event loop last began a turn, in milliseconds.
    pub turn_age_ms: u64,
}

/// A client that reads too slowly.
#[derive(Clone, Serialize, Deserialize, PartialEq, Debug)]
pub struct SlowClient {
    /// The connection's id, as in the API for back ends.
    pub connection: String,
    /// Its address, if `admin.addresses` is true.
    pub address: Option<String>,
    /// The name of its endpoint.
    pub endpoint: String,
    /// Age of the oldest message that waits for it, in milliseconds.
    pub age_ms: u64,
    /// Bytes that wait for it.
    pub outbox_bytes: usize,
}

/// How often something happened for one reason.
#[derive(Clone, Serialize, Deserialize, PartialEq, Debug)]
pub struct Reason {
    /// The label, as in the metrics.
    pub reason: Cow<'static, str>,
    /// Since the start.
    pub total: u64,
    /// In the window.
    pub recent: u64,
}

/// The process.
#[derive(Clone, Copy, Serialize, Deserialize, PartialEq, Debug)]
pub struct Process {
    /// Cores that the process kept busy in the window.
    pub cpu_cores: f64,
    /// Memory in RAM, in bytes, if the operating system reports it.
    pub resident_bytes: Option<u64>,
}
