//! From what the threads hand in to the report of a relay run.

use super::relay::{
    Clients, Deliveries, Disconnect, Disconnects, ErrorCount, Generator, Order, RelayConfig,
    RelayReport, Throughput, Wire,
};
use super::text::time;
use super::{Distribution, Head, Latency, Quantiles};
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
        let (mut shares, mut last_arrival_ns, mut clients) = (Vec::new(), 0, Vec::new());
        let mut compressed = 0;
        for outcome in outcomes {
            histogram::merge(&mut latency, &outcome.latency);
            histogram::merge(&mut lateness, &outcome.lateness);
            histogram::merge(&mut connect, &outcome.connect_times);
            shares.push(outcome.busy);
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
            head: Head::of(plan),
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
            errors: Vec::new(),
            connect_ns: Distribution::of(&connect),
            tcp_connect_ns: Quantiles::default(),
            latency_ns: Quantiles::of(&latency),
            lateness_ns: Distribution::of(&lateness),
            latency: Latency::default(),
            timeline: Vec::new(),
            clients: Clients::default(),
            churn: None,
            server: None,
            walk: None,
            repeats: None,
            comparison: None,
            aborted: None,
            generator: Generator::of(cpu_share, shares),
            valid: true,
            invalid_reasons: Vec::new(),
            latency_comparable: matches!(relay.pace, Pace::Open { .. }),
            right: true,
        };
        report.latency.corrected.each = Distribution::of(&latency);
        report.errors = report.errors();
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

    /// What went wrong, by kind.
    fn errors(&self) -> Vec<ErrorCount> {
        let mut kinds = [
            ("lost", self.measured.lost + self.warmup.lost),
            ("repeated", self.measured.repeated + self.warmup.repeated),
            ("reordered", self.measured.reordered + self.warmup.reordered),
            ("damaged", self.measured.damaged + self.warmup.damaged),
            ("misrouted", self.measured.misrouted + self.warmup.misrouted),
            ("unsent", self.unsent),
            ("disconnected", self.disconnects.reading),
        ]
        .map(|(error, count)| ErrorCount {
            error: error.to_owned(),
            count,
        })
        .to_vec();
        kinds.retain(|kind| kind.count > 0);
        kinds
    }

    fn bottlenecks(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let late_ns = self.lateness_ns.quantiles.p99;
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

impl Generator {
    fn of(cpu_share: f64, thread_shares: Vec<f64>) -> Self {
        Self {
            cpu_share,
            busiest_thread_share: thread_shares.iter().copied().fold(0.0, f64::max),
            thread_shares,
        }
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
            slow_readers: 0,
            churning: 0,
            churn_per_second: 0.0,
            publishers: relay.publishers,
            rooms: 1,
            expect: if relay.echo { "all" } else { "others" }.to_owned(),
            push_url: None,
            threads: plan.threads,
            rate,
            arrivals: rate.map(|_| "constant".to_owned()),
            ramp_ms: 0,
            window,
            size_bytes: plan.size,
            opcode: match plan.form.is_text() {
                true => "text".to_owned(),
                false => "binary".to_owned(),
            },
            payload: match plan.form {
                Form::Json => "json".to_owned(),
                Form::Binary | Form::Text => "pattern".to_owned(),
            },
            deflate: plan.deflate,
            echo: relay.echo,
            source_ips: Vec::new(),
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
