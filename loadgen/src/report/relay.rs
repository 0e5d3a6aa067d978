//! The report of a relay run: figures and verdict.

use serde::{Deserialize, Serialize};

use super::{
    Aborted, Comparison, Deliveries, Distribution, Finding, FindingKind, Head, Latency, Mark,
    NostrConfig, NostrFigures, Quantiles, Repeats, Second, Server, Walk,
};

/// The result of a relay run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RelayReport {
    /// The head of every report.
    #[serde(flatten)]
    pub head: Head,
    /// The requested load.
    pub config: RelayConfig,
    /// Measured time; shorter than requested after an interrupt.
    pub measured_ms: f64,
    /// Ended by a signal.
    pub interrupted: bool,
    /// Counted after the warm-up.
    #[serde(flatten)]
    pub measured: Deliveries,
    /// Of the warm-up.
    pub warmup: Deliveries,
    /// Messages that were due but could not be sent.
    pub unsent: u64,
    /// The number by cause.
    #[serde(default)]
    pub unsent_by: Unsent,
    /// Measured messages that were late because the relay's socket accepted no more bytes.
    pub held_up: u64,
    /// Messages that were not of this run.
    pub foreign: u64,
    /// Whether all clients saw the same order.
    pub order: Order,
    /// Connections that ended before the run did.
    pub disconnects: Disconnects,
    /// Per second.
    pub throughput: Throughput,
    /// Cost of the deliveries in bytes.
    pub wire: Wire,
    /// Errors by kind: `lost`, `repeated`, `reordered`, `damaged`, `misrouted`, `early`, `order`,
    /// `unsent`, `disconnected`, `protocol`, and for a Nostr relay `refused`, `unanswered`,
    /// `closed`, `missing`, `missing_rows`, `unasked_rows`, `repeated_rows`, `reordered_rows`,
    /// `damaged_rows`. Kinds that did not occur are omitted.
    pub errors: Vec<ErrorCount>,
    /// Explanations of these errors, and of faults that could not be counted.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// From connect to upgraded.
    pub connect_ns: Distribution,
    /// From connect to the established TCP connection.
    pub tcp_connect_ns: Quantiles,
    /// From due to received: `latency.corrected.each` without its histogram.
    pub latency_ns: Quantiles,
    /// From due to sent.
    pub lateness_ns: Distribution,
    /// From when the kernel had a delivery to when the generator handled it; empty if the system
    /// gives no receive times.
    #[serde(default)]
    pub receive_lag_ns: Distribution,
    /// Quantiles of the latency of which more than a tenth is the generator's own.
    #[serde(default)]
    pub marks: Vec<Mark>,
    /// Corrected and uncorrected, of the first, each and the last receiver.
    pub latency: Latency,
    /// Second by second.
    pub timeline: Vec<Second>,
    /// From the end of the measured time until the last delivery arrived.
    #[serde(default)]
    pub drain: Second,
    /// How evenly the clients were served.
    pub clients: Clients,
    /// For a Nostr relay: its answers besides the deliveries.
    #[serde(default)]
    pub nostr: Option<NostrFigures>,
    /// Of `--churn` and `--storm-every`.
    pub churn: Option<Churn>,
    /// Of `--metrics-url`.
    pub server: Option<Server>,
    /// Of `--rate-steps` and `--find-max`.
    pub walk: Option<Walk>,
    /// Of `--repeat`.
    pub repeats: Option<Repeats>,
    /// Of `--compare`.
    pub comparison: Option<Comparison>,
    /// The condition of `--abort-if` that ended the run, if one did.
    pub aborted: Option<Aborted>,
    /// Resources of the generator.
    pub generator: Generator,
    /// False if the generator was the bottleneck.
    pub valid: bool,
    /// Why the run is not valid.
    pub invalid_reasons: Vec<String>,
    /// False in a closed loop, because latency is the time spent in the window's own queue.
    pub latency_comparable: bool,
    /// Every delivery was right.
    pub right: bool,
}

/// The requested load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RelayConfig {
    /// Target.
    pub url: String,
    /// Connections.
    pub clients: u32,
    /// Of these, never reading.
    pub stalled: u32,
    /// Of these, reading slowly.
    pub slow_readers: u32,
    /// Of these, replaced by new connections all the time.
    pub churning: u32,
    /// Connections replaced a second; 0 without `--churn`.
    pub churn_per_second: f64,
    /// From one storm to the next; 0 without `--storm-every`.
    #[serde(default)]
    pub storm_every_ms: u64,
    /// Clients that publish.
    pub publishers: u32,
    /// Rooms that the clients are spread over.
    pub rooms: u32,
    /// The receivers of a message: `all`, `others`, `self` or `nobody`.
    pub expect: String,
    /// Messages go in over HTTP, to this URL.
    pub push_url: Option<String>,
    /// Threads.
    pub threads: u32,
    /// Messages a second; absent in a closed loop.
    pub rate: Option<f64>,
    /// `constant` or `poisson`; absent in a closed loop.
    pub arrivals: Option<String>,
    /// The rate rises from zero over this time, before the warm-up.
    pub ramp_ms: u64,
    /// Messages in flight for each publisher; absent in an open loop.
    pub window: Option<u32>,
    /// Payload.
    pub size_bytes: usize,
    /// `text` or `binary`.
    pub opcode: String,
    /// `pattern` or `json`.
    pub payload: String,
    /// permessage-deflate was offered.
    pub deflate: bool,
    /// Nagle's algorithm was left on.
    #[serde(default)]
    pub nagle: bool,
    /// The relay also sends to the publisher.
    pub echo: bool,
    /// Addresses that the clients connect from in turn; empty if the system chooses.
    pub source_ips: Vec<String>,
    /// Requested warm-up.
    pub warmup_ms: u64,
    /// Requested duration.
    pub duration_ms: u64,
    /// The seed of the payloads.
    pub seed: u64,
    /// Of a Nostr relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nostr: Option<NostrConfig>,
}

impl RelayConfig {
    /// The part that must be equal in two runs that are compared: all but the target, the duration
    /// and the seed.
    pub(super) fn load(&self) -> Self {
        Self {
            url: String::new(),
            push_url: None,
            source_ips: Vec::new(),
            warmup_ms: 0,
            duration_ms: 0,
            seed: 0,
            ..self.clone()
        }
    }
}

/// Messages that were due but could not be sent, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsent {
    /// The publisher's connection was gone.
    pub disconnected: u64,
    /// The relay accepted no more bytes.
    pub held: u64,
    /// Neither: the generator's own fault.
    pub own: u64,
}

/// Comparison of the whole order of messages, over all publishers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Clients that got everything; without echo only those that do not publish.
    pub compared: u64,
    /// Of these, clients that saw another order than most.
    pub differing: u64,
}

/// Connections that ended early.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Disconnects {
    /// Of reading clients and of connections that push: these count as errors.
    pub reading: u64,
    /// Of these: the generator closed because the relay broke the protocol.
    #[serde(default)]
    pub protocol: u64,
    /// Of stalled clients, which a relay may disconnect.
    pub stalled: u64,
    /// Of slow readers, likewise.
    pub slow: u64,
    /// The first ones.
    pub listed: Vec<Disconnect>,
}

/// The most early ends that are listed.
pub(crate) const DISCONNECTS_LISTED_MAX: usize = 10;

impl Disconnects {
    /// Adds those of another run.
    pub(super) fn add(&mut self, other: &Self) {
        self.reading += other.reading;
        self.protocol += other.protocol;
        self.stalled += other.stalled;
        self.slow += other.slow;
        let room = DISCONNECTS_LISTED_MAX.saturating_sub(self.listed.len());
        self.listed.extend(other.listed.iter().take(room).cloned());
    }
}

/// One connection that ended early.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Disconnect {
    /// Number of the client.
    pub client: u32,
    /// In a few words.
    pub reason: String,
    /// Milliseconds after the start of the measurement, negative in the warm-up.
    #[serde(default)]
    pub at_ms: f64,
}

/// Rates over the measured time.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Throughput {
    /// Messages published.
    pub messages_per_second: f64,
    /// Deliveries that arrived in the measured time, including late messages of the warm-up.
    pub deliveries_per_second: f64,
    /// Payload bytes of these.
    pub delivered_bytes_per_second: f64,
}

/// Bytes that the reading clients read from their sockets, from the upgrade to the end of the run.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Wire {
    /// Including frame headers and the overhead of TLS, but not TCP's own headers.
    pub received_bytes: u64,
    /// The same per delivery, including the warm-up's.
    pub bytes_per_delivery: f64,
    /// Deliveries that came compressed, including the warm-up's.
    pub compressed: u64,
}

/// Resources of the machine that the generator used while it measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Generator {
    /// CPU time of the process over wall time: 1.0 is one core.
    pub cpu_share: f64,
    /// The same for its busiest thread.
    pub busiest_thread_share: f64,
    /// The same for each thread.
    pub thread_shares: Vec<f64>,
    /// All threads had real-time scheduling.
    #[serde(default)]
    pub is_realtime: bool,
}

/// An error and its count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCount {
    /// Its kind.
    pub error: String,
    /// How often.
    pub count: u64,
}

/// How evenly the clients that read all the time were served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Clients {
    /// Over the clients: the mean latency of each.
    pub mean_ns: Quantiles,
    /// Over the clients: the largest latency of each.
    pub max_ns: Quantiles,
    /// Over the clients: the deliveries to each.
    pub delivered: Quantiles,
    /// The clients one by one; if there are more than a thousand, every n-th.
    pub listed: Vec<ClientFigures>,
}

/// One client's figures for the measured messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientFigures {
    /// Its number.
    pub client: u32,
    /// Messages that arrived intact.
    pub delivered: u64,
    /// Bytes read from the socket since the upgrade, warm-up included.
    pub received_bytes: u64,
    /// Mean latency, from due to received.
    pub mean_ns: f64,
    /// Largest latency.
    pub max_ns: u64,
}

/// Results of the connections of `--churn` and `--storm-every`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Churn {
    /// Replacements that were due.
    #[serde(default)]
    pub due: u64,
    /// Of these: the old connection was closed, and the new one is open.
    pub replaced: u64,
    /// Of the due: skipped, because the previous replacement was not connected yet.
    #[serde(default)]
    pub skipped: u64,
    /// Connections that failed to reconnect.
    pub failed: u64,
    /// The first reasons for that.
    pub reasons: Vec<String>,
    /// Deliveries to these clients. They are checked for damage, repeats and order between their
    /// first and last message, not for completeness.
    pub delivered: u64,
    /// From when a connection was due to be replaced until it was upgraded again.
    pub connect_ns: Distribution,
    /// Of `--storm-every`, one by one.
    #[serde(default)]
    pub storms: Vec<Storm>,
}

impl RelayReport {
    /// Whether the run ended early because no client was left, or because a later one of several
    /// runs could not connect.
    pub fn is_gone(&self) -> bool {
        let mut kinds = self.findings.iter().map(|finding| finding.kind);
        kinds.any(|kind| matches!(kind, FindingKind::RelayGone | FindingKind::NotRun))
    }

    /// Faulty deliveries of both phases, plus clients that saw another order.
    pub fn wrong_deliveries(&self) -> u64 {
        self.measured.errors() + self.warmup.errors() + self.order.differing
    }

    /// Nanoseconds until all connections of a storm were back, for the slowest storm; infinite if
    /// they never were, `None` without storms.
    pub fn recovery_ns(&self) -> Option<f64> {
        let storms = &self.churn.as_ref()?.storms;
        let recovery_ns = |storm: &Storm| match storm.back < storm.dropped {
            true => f64::INFINITY,
            false => storm.recovery_ns as f64,
        };
        storms.iter().map(recovery_ns).reduce(f64::max)
    }
}

/// Connections that were dropped at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storm {
    /// Number of connections dropped.
    pub dropped: u64,
    /// Of these, upgraded again before the next storm or the end of the run.
    pub back: u64,
    /// Until the last of these was upgraded.
    pub recovery_ns: u64,
}
