//! The report of a relay run: figures and verdict.

use serde::{Deserialize, Serialize};

use super::{
    Aborted, Comparison, Deliveries, Distribution, Finding, FindingKind, Head, Latency, Mark,
    NostrConfig, NostrFigures, Quantiles, Repeats, Second, Server, Walk,
};

/// The result of a relay run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RelayReport {
    /// What every report begins with.
    #[serde(flatten)]
    pub head: Head,
    /// What was asked for.
    pub config: RelayConfig,
    /// Time that was measured; shorter than asked for after an interrupt.
    pub measured_ms: f64,
    /// Ended by a signal.
    pub interrupted: bool,
    /// Counted after the warm-up.
    #[serde(flatten)]
    pub measured: Deliveries,
    /// Of the warm-up.
    pub warmup: Deliveries,
    /// Messages that came due and could not be sent.
    pub unsent: u64,
    /// Whose doing that was.
    #[serde(default)]
    pub unsent_by: Unsent,
    /// Measured messages that were late because the relay's socket took no more.
    pub held_up: u64,
    /// Messages that were not of this run.
    pub foreign: u64,
    /// One order for everybody?
    pub order: Order,
    /// Connections that ended before the run did.
    pub disconnects: Disconnects,
    /// Per second.
    pub throughput: Throughput,
    /// What the deliveries took.
    pub wire: Wire,
    /// What went wrong, by kind: `lost`, `repeated`, `reordered`, `damaged`, `misrouted`, `early`,
    /// `order`, `unsent`, `disconnected`, `protocol`, and of a Nostr relay `refused`, `unanswered`,
    /// `closed`, `missing`. Kinds that did not happen are left out.
    pub errors: Vec<ErrorCount>,
    /// What that comes from, and what could not be counted.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// From connect to upgraded.
    pub connect_ns: Distribution,
    /// From connect to the connection of TCP.
    pub tcp_connect_ns: Quantiles,
    /// From due to received: `latency.corrected.each` without its histogram.
    pub latency_ns: Quantiles,
    /// From due to sent.
    pub lateness_ns: Distribution,
    /// From when the kernel had a delivery to when the generator handled it; empty if the system
    /// tells no receive times.
    #[serde(default)]
    pub receive_lag_ns: Distribution,
    /// Quantiles of the latency of which more than a tenth is the generator's own.
    #[serde(default)]
    pub marks: Vec<Mark>,
    /// Corrected and uncorrected, of the first, each and the last receiver.
    pub latency: Latency,
    /// Second by second.
    pub timeline: Vec<Second>,
    /// From the end of the measured time until the last delivery was in.
    #[serde(default)]
    pub drain: Second,
    /// How evenly the clients were served.
    pub clients: Clients,
    /// Of a Nostr relay: what it said beside the deliveries.
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
    /// Of `--abort-if`, where it came to that.
    pub aborted: Option<Aborted>,
    /// What the generator took.
    pub generator: Generator,
    /// False where the generator was the bottleneck.
    pub valid: bool,
    /// Why not.
    pub invalid_reasons: Vec<String>,
    /// False in a closed loop, where latency is the time spent in the window's own queue.
    pub latency_comparable: bool,
    /// Every delivery right.
    pub right: bool,
}

/// What was asked for.
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
    /// Who gets a message: `all`, `others`, `self` or `nobody`.
    pub expect: String,
    /// Messages go in over HTTP, to this URL.
    pub push_url: Option<String>,
    /// Threads.
    pub threads: u32,
    /// Messages a second; absent in a closed loop.
    pub rate: Option<f64>,
    /// `constant` or `poisson`; absent in a closed loop.
    pub arrivals: Option<String>,
    /// The rate rises from nothing over this time, within the warm-up.
    pub ramp_ms: u64,
    /// Messages under way for each publisher; absent in an open loop.
    pub window: Option<u32>,
    /// Payload.
    pub size_bytes: usize,
    /// `text` or `binary`.
    pub opcode: String,
    /// `pattern` or `json`.
    pub payload: String,
    /// permessage-deflate was offered.
    pub deflate: bool,
    /// The relay sends to the publisher too.
    pub echo: bool,
    /// Addresses that the clients connect from in turn; empty: the system chooses.
    pub source_ips: Vec<String>,
    /// Asked for.
    pub warmup_ms: u64,
    /// Asked for.
    pub duration_ms: u64,
    /// Repeats the payloads.
    pub seed: u64,
    /// Of a Nostr relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nostr: Option<NostrConfig>,
}

impl RelayConfig {
    /// What has to be alike in two runs that are compared: all but where, for how long, and the
    /// seed.
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

/// Messages that came due and could not be sent, by whose doing that was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsent {
    /// The publisher's connection was gone.
    pub disconnected: u64,
    /// The relay took no more bytes.
    pub held: u64,
    /// Neither: the generator's own.
    pub own: u64,
}

/// Comparison of the whole order of messages, over all publishers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Clients that got everything; without echo only those that do not publish.
    pub compared: u64,
    /// Of these, with another order than most.
    pub differing: u64,
}

/// Connections that ended early.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Disconnects {
    /// Of reading clients and of connections that push: an error.
    pub reading: u64,
    /// Of these: the generator closed, because the relay broke the protocol.
    #[serde(default)]
    pub protocol: u64,
    /// Of stalled clients: what a relay may do with them.
    pub stalled: u64,
    /// Of slow readers: likewise.
    pub slow: u64,
    /// The first ones.
    pub listed: Vec<Disconnect>,
}

/// Of those that ended early, so many are listed.
pub(crate) const DISCONNECTS_LISTED_MAX: usize = 10;

impl Disconnects {
    /// Those of another run come to these.
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
    /// Milliseconds after the begin of the measurement, negative in the warm-up.
    #[serde(default)]
    pub at_ms: f64,
}

/// Rates over the measured time.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Throughput {
    /// Messages published.
    pub messages_per_second: f64,
    /// Deliveries that arrived in the measured time, those of late messages of the warm-up too.
    pub deliveries_per_second: f64,
    /// Payload bytes of these.
    pub delivered_bytes_per_second: f64,
}

/// What the reading clients took off their sockets, from the upgrade to the end of the run.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Wire {
    /// Frame headers and what TLS adds included, TCP's own headers not.
    pub received_bytes: u64,
    /// The same for each delivery, of the warm-up too.
    pub bytes_per_delivery: f64,
    /// Deliveries that came compressed, of the warm-up too.
    pub compressed: u64,
}

/// What the generator took of the machine while it measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Generator {
    /// CPU time of the process over wall time: 1.0 is one core.
    pub cpu_share: f64,
    /// The same of its busiest thread.
    pub busiest_thread_share: f64,
    /// The same of each thread.
    pub thread_shares: Vec<f64>,
    /// All threads had real-time scheduling.
    #[serde(default)]
    pub is_realtime: bool,
}

/// Something that went wrong, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCount {
    /// What it was.
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
    /// One by one; where there are more than a thousand, every n-th.
    pub listed: Vec<ClientFigures>,
}

/// One client's part, of the measured messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientFigures {
    /// Its number.
    pub client: u32,
    /// Messages that arrived intact.
    pub delivered: u64,
    /// Taken off the socket since the upgrade, warm-up included.
    pub received_bytes: u64,
    /// Mean latency, from due to received.
    pub mean_ns: f64,
    /// Largest latency.
    pub max_ns: u64,
}

/// What became of the connections of `--churn` and `--storm-every`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Churn {
    /// Replacements that came due.
    #[serde(default)]
    pub due: u64,
    /// Of these: the old connection was closed, and the new one is up.
    pub replaced: u64,
    /// Of the due: not made, because the connection had not come up since the last time.
    #[serde(default)]
    pub skipped: u64,
    /// Connections that did not come up again.
    pub failed: u64,
    /// The first reasons for that.
    pub reasons: Vec<String>,
    /// Deliveries to these clients. They are checked for damage, repeats and order between their
    /// first and last message, not for completeness.
    pub delivered: u64,
    /// Until they were upgraded again: from when they were due to be replaced.
    pub connect_ns: Distribution,
    /// Of `--storm-every`, one by one.
    #[serde(default)]
    pub storms: Vec<Storm>,
}

impl RelayReport {
    /// The run ended early because nobody was left, or a later one of several could not connect.
    pub fn is_gone(&self) -> bool {
        let mut kinds = self.findings.iter().map(|finding| finding.kind);
        kinds.any(|kind| matches!(kind, FindingKind::RelayGone | FindingKind::NotRun))
    }

    /// Deliveries of both phases that were not right, clients with another order included.
    pub fn wrong_deliveries(&self) -> u64 {
        self.measured.errors() + self.warmup.errors() + self.order.differing
    }

    /// Nanoseconds until all connections of a storm were back, of the storm that took longest;
    /// infinite where they never were, `None` without storms.
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
    /// How many.
    pub dropped: u64,
    /// Of these, upgraded again before the next storm or the end of the run.
    pub back: u64,
    /// Until the last of these was.
    pub recovery_ns: u64,
}
