//! The report of a relay run: figures and verdict.

use serde::Serialize;

use super::text::time;
use super::{Quantiles, SCHEMA};
use crate::check::Counts;
use crate::control::Times;
use crate::histogram;
use crate::outcome::{ClientOutcome, Outcome};
use crate::plan::{Pace, Plan, Relay};
use crate::stamp::Form;

/// Lost connections that are listed one by one.
const DISCONNECTS_LISTED_MAX: usize = 10;
/// A thread that is busy for a larger share of the time is a bottleneck.
const BUSY_SHARE_MAX: f64 = 0.95;
/// Lateness at p99 above this makes an open loop's run invalid.
const LATENESS_NS_MAX: u64 = 1_000_000;
/// So does lateness at p99 above this share of the latency at p99.
const LATENESS_SHARE_MAX: f64 = 0.1;
/// But not where it is below this: so long a kernel may take to wake a thread that sleeps.
const LATENESS_NS_NEGLIGIBLE: u64 = 100_000;

/// The result of a relay run.
#[derive(Clone, Debug, Serialize)]
pub struct RelayReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `relay`.
    pub kind: &'static str,
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
    /// From connect to upgraded.
    pub connect_ns: Quantiles,
    /// From due to received.
    pub latency_ns: Quantiles,
    /// From due to sent.
    pub lateness_ns: Quantiles,
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
#[derive(Clone, Debug, Serialize)]
pub struct RelayConfig {
    /// Target.
    pub url: String,
    /// Connections.
    pub clients: u32,
    /// Of these, never reading.
    pub stalled: u32,
    /// Clients that publish.
    pub publishers: u32,
    /// Threads.
    pub threads: u32,
    /// Messages a second; absent in a closed loop.
    pub rate: Option<f64>,
    /// Messages under way for each publisher; absent in an open loop.
    pub window: Option<u32>,
    /// Payload.
    pub size_bytes: usize,
    /// `text` or `binary`.
    pub opcode: &'static str,
    /// `pattern` or `json`.
    pub payload: &'static str,
    /// permessage-deflate was offered.
    pub deflate: bool,
    /// The relay sends to the publisher too.
    pub echo: bool,
    /// Asked for.
    pub warmup_ms: u64,
    /// Asked for.
    pub duration_ms: u64,
    /// Repeats the payloads.
    pub seed: u64,
}

/// Deliveries of one phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Deliveries {
    /// Messages published.
    pub sent: u64,
    /// Deliveries that they should come to: delivered + damaged + lost.
    pub expected: u64,
    /// Arrived intact, each counted once for a receiver.
    pub delivered: u64,
    /// Never arrived.
    pub lost: u64,
    /// Arrived once more.
    pub repeated: u64,
    /// Arrived behind a later message of the same publisher.
    pub reordered: u64,
    /// Arrived changed.
    pub damaged: u64,
}

impl Deliveries {
    /// Nothing lost, repeated, reordered or damaged.
    pub(super) fn is_right(&self) -> bool {
        self.lost + self.repeated + self.reordered + self.damaged == 0
    }

    fn add(&mut self, expected: u64, counts: &Counts) {
        self.expected += expected;
        self.delivered += counts.delivered;
        self.repeated += counts.repeated;
        self.reordered += counts.reordered;
        self.damaged += counts.damaged;
        self.lost += expected.saturating_sub(counts.delivered + counts.damaged);
    }
}

/// Comparison of the whole order of messages, over all publishers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Order {
    /// Clients that got everything; without echo only those that do not publish.
    pub compared: u64,
    /// Of these, with another order than most.
    pub differing: u64,
}

/// Connections that ended early.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Disconnects {
    /// Of reading clients: an error.
    pub reading: u64,
    /// Of stalled clients: what a relay may do with them.
    pub stalled: u64,
    /// The first ones.
    pub listed: Vec<Disconnect>,
}

/// One connection that ended early.
#[derive(Clone, Debug, Serialize)]
pub struct Disconnect {
    /// Number of the client.
    pub client: u32,
    /// In a few words.
    pub reason: String,
}

/// Rates over the measured time.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Throughput {
    /// Messages published.
    pub messages_per_second: f64,
    /// Deliveries, until the last one arrived.
    pub deliveries_per_second: f64,
    /// Payload bytes of the deliveries.
    pub delivered_bytes_per_second: f64,
}

/// What the reading clients took off their sockets, from the upgrade to the end of the run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Wire {
    /// Frame headers and what TLS adds included, TCP's own headers not.
    pub received_bytes: u64,
    /// The same for each delivery, of the warm-up too.
    pub bytes_per_delivery: f64,
    /// Deliveries that came compressed, of the warm-up too.
    pub compressed: u64,
}

/// What the generator took of the machine while it measured.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Generator {
    /// CPU time of the process over wall time: 1.0 is one core.
    pub cpu_share: f64,
    /// The same of its busiest thread.
    pub busiest_thread_share: f64,
}

impl RelayReport {
    pub(crate) fn new(
        plan: &Plan,
        relay: Relay,
        outcomes: Vec<Outcome>,
        times: &Times,
        cpu_share: f64,
        interrupted: bool,
    ) -> Self {
        let (mut latency, mut lateness, mut connect) =
            (histogram::new(), histogram::new(), histogram::new());
        let (mut busiest, mut last_arrival_ns, mut clients) = (0.0_f64, 0, Vec::new());
        let mut compressed = 0;
        for outcome in outcomes {
            histogram::merge(&mut latency, &outcome.latency);
            histogram::merge(&mut lateness, &outcome.lateness);
            histogram::merge(&mut connect, &outcome.connect_times);
            busiest = busiest.max(outcome.busy);
            last_arrival_ns = last_arrival_ns.max(outcome.last_arrival_ns);
            compressed += outcome.compressed;
            clients.extend(outcome.clients);
        }
        let [warmup, measured] = deliveries(&clients, relay.echo);
        let measured_ns = times.end_ns().saturating_sub(times.measure_ns());
        let until_last_ns = last_arrival_ns
            .saturating_sub(times.measure_ns())
            .max(measured_ns);
        let mut report = Self {
            schema: SCHEMA,
            kind: "relay",
            config: RelayConfig::of(plan, relay),
            measured_ms: measured_ns as f64 / 1e6,
            interrupted,
            measured,
            warmup,
            unsent: clients.iter().map(|client| client.unsent).sum(),
            held_up: clients.iter().map(|client| client.held_up).sum(),
            foreign: clients.iter().map(|client| client.foreign).sum(),
            order: order(&clients, &[warmup, measured], relay.echo),
            disconnects: disconnects(&clients),
            throughput: throughput(&measured, plan.size, measured_ns, until_last_ns),
            wire: wire(&clients, compressed, warmup.delivered + measured.delivered),
            connect_ns: Quantiles::of(&connect),
            latency_ns: Quantiles::of(&latency),
            lateness_ns: Quantiles::of(&lateness),
            generator: Generator {
                cpu_share,
                busiest_thread_share: busiest,
            },
            valid: true,
            invalid_reasons: Vec::new(),
            latency_comparable: matches!(relay.pace, Pace::Open { .. }),
            right: true,
        };
        report.judge();
        report
    }

    fn judge(&mut self) {
        self.right = self.measured.is_right()
            && self.warmup.is_right()
            && self.order.differing == 0
            && self.disconnects.reading == 0;
        // A closed loop is meant to keep somebody busy all the time.
        if self.latency_comparable {
            self.invalid_reasons = self.bottlenecks();
            self.valid = self.invalid_reasons.is_empty();
        }
    }

    fn bottlenecks(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let late_ns = self.lateness_ns.p99;
        let latency_ns = self.latency_ns.p99;
        if late_ns > LATENESS_NS_MAX {
            reasons.push(format!("it sent {} late at p99", time(late_ns as f64)));
        } else if late_ns > LATENESS_NS_NEGLIGIBLE
            && late_ns as f64 > LATENESS_SHARE_MAX * latency_ns as f64
        {
            reasons.push(format!(
                "it sent {} late at p99, more than a tenth of the latency",
                time(late_ns as f64)
            ));
        }
        if self.generator.busiest_thread_share > BUSY_SHARE_MAX {
            let share = self.generator.busiest_thread_share * 100.0;
            reasons.push(format!("a thread was busy {share:.0} % of the time"));
        }
        if self.unsent > 0 {
            reasons.push(format!(
                "the schedule could not be kept, {} messages were not sent",
                self.unsent
            ));
        }
        reasons
    }
}

impl RelayConfig {
    fn of(plan: &Plan, relay: Relay) -> Self {
        let (rate, window) = match relay.pace {
            Pace::Open { per_second } => (Some(per_second), None),
            Pace::Closed { window } => (None, Some(window)),
        };
        Self {
            url: plan.target.url.clone(),
            clients: relay.clients,
            stalled: relay.stalled,
            publishers: relay.publishers,
            threads: plan.threads,
            rate,
            window,
            size_bytes: plan.size,
            opcode: match plan.form.is_text() {
                true => "text",
                false => "binary",
            },
            payload: match plan.form {
                Form::Json => "json",
                Form::Binary | Form::Text => "pattern",
            },
            deflate: plan.deflate,
            echo: relay.echo,
            warmup_ms: relay.warmup.as_millis() as u64,
            duration_ms: relay.duration.as_millis() as u64,
            seed: plan.seed,
        }
    }
}

/// Adds up `[warm-up, measured]` over all reading clients.
fn deliveries(clients: &[ClientOutcome], echo: bool) -> [Deliveries; 2] {
    [0, 1].map(|phase| {
        let sent = clients.iter().map(|client| client.sent[phase]).sum();
        let mut sums = Deliveries {
            sent,
            ..Deliveries::default()
        };
        for client in clients.iter().filter(|client| !client.stalled) {
            let own = if echo { 0 } else { client.sent[phase] };
            sums.add(sent - own, &client.counts[phase]);
        }
        sums
    })
}

/// Compares the order at all clients that got everything.
fn order(clients: &[ClientOutcome], phases: &[Deliveries; 2], echo: bool) -> Order {
    let sent: u64 = phases.iter().map(|phase| phase.sent).sum();
    let got_all = |client: &&ClientOutcome| {
        let arrived: u64 = client
            .counts
            .iter()
            .map(|counts| counts.delivered + counts.damaged)
            .sum();
        let publishes = client.sent != [0, 0];
        !client.stalled && arrived == sent && sent > 0 && (echo || !publishes)
    };
    let mut hashes: Vec<u64> = clients
        .iter()
        .filter(got_all)
        .map(|client| client.order_hash)
        .collect();
    hashes.sort_unstable();
    let most = hashes
        .chunk_by(|one, next| one == next)
        .map(<[u64]>::len)
        .max()
        .unwrap_or(0);
    Order {
        compared: hashes.len() as u64,
        differing: (hashes.len() - most) as u64,
    }
}

fn disconnects(clients: &[ClientOutcome]) -> Disconnects {
    let mut sums = Disconnects::default();
    for client in clients {
        let Some(reason) = &client.closed else {
            continue;
        };
        if client.stalled {
            sums.stalled += 1;
        } else {
            sums.reading += 1;
        }
        if sums.listed.len() < DISCONNECTS_LISTED_MAX {
            sums.listed.push(Disconnect {
                client: client.index,
                reason: reason.clone(),
            });
        }
    }
    sums
}

fn throughput(sums: &Deliveries, size: usize, sent_ns: u64, received_ns: u64) -> Throughput {
    let per_second = |count: u64, over_ns: u64| count as f64 * 1e9 / over_ns.max(1) as f64;
    let deliveries_per_second = per_second(sums.delivered, received_ns);
    Throughput {
        messages_per_second: per_second(sums.sent, sent_ns),
        deliveries_per_second,
        delivered_bytes_per_second: deliveries_per_second * size as f64,
    }
}

fn wire(clients: &[ClientOutcome], compressed: u64, delivered: u64) -> Wire {
    let reading = clients.iter().filter(|client| !client.stalled);
    let received_bytes = reading.map(|client| client.received_bytes).sum::<u64>();
    Wire {
        received_bytes,
        bytes_per_delivery: received_bytes as f64 / delivered.max(1) as f64,
        compressed,
    }
}
