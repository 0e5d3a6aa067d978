//! What the dashboard shows: one value a second, as JSON.
//!
//! The page, `corecast top` and scripts read the same. `docs/dashboard.md` explains the fields to
//! its users; [`FORMAT`] grows where one of them changes its meaning or goes away, not where one
//! is added.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The version of this form.
pub const FORMAT: u32 = 1;

/// The relay at one moment, and what has happened in the second before it.
#[derive(Clone, Serialize, Deserialize, PartialEq, Debug)]
pub struct Snapshot {
    /// [`FORMAT`].
    pub format: u32,
    /// The relay's version.
    pub version: Cow<'static, str>,
    /// The commit that it was built from.
    pub commit: Cow<'static, str>,
    /// When this is from, in milliseconds since 1970 (UTC).
    pub at_unix_ms: u64,
    /// How long the relay has been running, in seconds.
    pub uptime_s: f64,
    /// Whether it wants new connections.
    pub ready: bool,
    /// When the config that is in effect was taken, in seconds since 1970 (UTC).
    pub config_unix_s: u64,
    /// The time that `rates`, `latency` and `frames_per_send` are about, in seconds: about one.
    pub window_s: f64,
    /// What there is now.
    pub now: Now,
    /// Counted since the start.
    pub totals: Totals,
    /// Counted in the window, by second.
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
    /// Why connections ended: the reasons that there were.
    pub closes: Vec<Reason>,
    /// Why connections were refused: likewise.
    pub refusals: Vec<Reason>,
    /// The process.
    pub process: Process,
}

/// An endpoint of the kind `nostr`: what there is now, and what was counted in the window, by
/// second.
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
    /// Events that were stored or sent on.
    pub accepted: f64,
    /// Events that were refused, or that were known already.
    pub refused: f64,
    /// Queries that began.
    pub queries: f64,
    /// Events that were sent to subscriptions as they came.
    pub deliveries: f64,
}

/// What there is now.
#[derive(Clone, Serialize, Deserialize, PartialEq, Debug)]
pub struct Now {
    /// WebSockets that are open.
    pub clients: u64,
    /// Connections of all kinds.
    pub connections: u64,
    /// Rooms that have members.
    pub rooms: usize,
    /// Memory of all that waits to be sent, in bytes.
    pub live_bytes: usize,
    /// Memory of messages received in part, in bytes.
    pub inbound_bytes: usize,
}

/// What is counted, of all shards together.
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

/// Latency in the window. Every figure is the upper bound of the bucket that it is in, so at most a
/// quarter too large; there are none where nothing was sent.
#[derive(Clone, Serialize, Deserialize, PartialEq, Debug, Default)]
pub struct Latency {
    /// Of half of the messages, in microseconds.
    pub p50_us: Option<f64>,
    /// Of 90 % of them.
    pub p90_us: Option<f64>,
    /// Of 99 %.
    pub p99_us: Option<f64>,
    /// Of 99.9 %.
    pub p999_us: Option<f64>,
    /// The highest.
    pub max_us: Option<f64>,
    /// Messages by latency, without empty buckets.
    pub buckets: Vec<Bucket>,
}

/// A bucket of a histogram.
#[derive(Clone, Copy, Serialize, Deserialize, PartialEq, Debug)]
pub struct Bucket {
    /// Its upper bound; the last has none.
    pub below: Option<u64>,
    /// What is in it.
    pub count: u64,
}

/// How many messages one send carried.
#[derive(Clone, Serialize, Deserialize, PartialEq, Debug, Default)]
pub struct FramesPerSend {
    /// On average; `None` where nothing was sent.
    pub mean: Option<f64>,
    /// Sends by how many messages they carried at the most, without empty buckets.
    pub buckets: Vec<Bucket>,
}

/// A relaying shard.
#[derive(Clone, Copy, Serialize, Deserialize, PartialEq, Debug)]
pub struct Shard {
    /// Share of its last whole second that it has worked, 0 to 1.
    pub busy: f64,
    /// Connections of all kinds.
    pub connections: u32,
    /// Bytes that wait in outboxes.
    pub outbox_bytes: u64,
    /// Age of the oldest message for a client that does not read, in milliseconds.
    pub outbox_age_ms: u64,
    /// Mails of other shards that wait for it.
    pub mailbox: usize,
    /// Other shards that it had to wake, by second.
    pub wakes: f64,
    /// Messages received, by second.
    pub messages: f64,
    /// Messages sent, by second.
    pub deliveries: f64,
    /// How long ago its loop last began a turn, in milliseconds.
    pub turn_age_ms: u64,
}

/// A client that reads too slowly.
#[derive(Clone, Serialize, Deserialize, PartialEq, Debug)]
pub struct SlowClient {
    /// The connection's id, as the API for back ends has it.
    pub connection: String,
    /// Its address, where `admin.addresses` is true.
    pub address: Option<String>,
    /// The name of its endpoint.
    pub endpoint: String,
    /// How long the oldest of what waits for it has waited, in milliseconds.
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
    /// Cores that it kept busy in the window.
    pub cpu_cores: f64,
    /// Memory in RAM, in bytes, where the operating system tells.
    pub resident_bytes: Option<u64>,
}
