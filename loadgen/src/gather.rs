//! Builds the report of a run from the results of its threads.

use std::time::Duration;

use hdrhistogram::Histogram;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::check::Counts;
use crate::client::Cause;
use crate::findings::{Evidence, findings};
use crate::first_last::Ends;
use crate::handshakes::HandshakeOutcome;
use crate::histogram;
use crate::interval::Recorder;
use crate::measures::Measures;
use crate::nostr::{self, NostrOutcome, Script};
use crate::plan::{self, Expect, Handshakes, Pace, Plan, Relay, Role};
use crate::report::{
    ByReceiver, Churn, ClientFigures, Clients, DISCONNECTS_LISTED_MAX, Deliveries, Disconnect,
    Disconnects, Distribution, ErrorCount, Generator, HandshakeReport, Head, Latency, Machine,
    NostrConfig, NostrFigures, Order, Quantiles, RelayConfig, RelayReport, Second, Storm,
    Throughput, Unsent, VERSION, Wire,
};
use crate::stamp::Form;
use crate::thread_result::{ClientOutcome, Course, Outcome};

/// Clients that are listed one by one; if there are more, every n-th is listed.
const CLIENTS_LISTED_MAX: usize = 1000;
/// Reasons for failed connections that are kept.
const REASONS_MAX: usize = 10;
/// Everything that a finished run has measured.
#[derive(Debug)]
pub(crate) struct Gathered<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) relay: Relay,
    pub(crate) head: Head,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) recorder: Recorder,
    /// Deliveries after the measured time.
    pub(crate) drain: Second,
    pub(crate) measured_ns: u64,
    pub(crate) cpu_share: f64,
    /// For a Nostr relay: the events that were to be sent.
    pub(crate) script: Option<&'a Script>,
    pub(crate) course: Course,
}

struct Sums {
    clients: Vec<ClientOutcome>,
    connect: Histogram<u64>,
    tcp_connect: Histogram<u64>,
    measures: Measures,
    clock_steps: u64,
    ends: Ends,
    shares: Vec<f64>,
    /// Threads that had real-time scheduling.
    realtime: usize,
    compressed: u64,
    nostr: Vec<NostrOutcome>,
    churn: Churned,
}

/// The sums over all clients that reconnect.
struct Churned {
    due: u64,
    replaced: u64,
    skipped: u64,
    failed: u64,
    reasons: Vec<String>,
    connect: Histogram<u64>,
    storms: Vec<Storm>,
    counts: [Counts; 2],
    foreign: u64,
}

impl Sums {
    fn of(outcomes: Vec<Outcome>) -> Self {
        let mut sums = Self {
            clients: Vec::new(),
            connect: histogram::new(),
            tcp_connect: histogram::new(),
            measures: Measures::new(),
            clock_steps: 0,
            ends: Ends::new(),
            shares: Vec::new(),
            realtime: 0,
            compressed: 0,
            nostr: Vec::new(),
            churn: Churned {
                due: 0,
                replaced: 0,
                skipped: 0,
                failed: 0,
                reasons: Vec::new(),
                connect: histogram::new(),
                storms: Vec::new(),
                counts: [Counts::default(); 2],
                foreign: 0,
            },
        };
        for outcome in outcomes {
            sums.add(outcome);
        }
        sums
    }

    fn add(&mut self, outcome: Outcome) {
        histogram::merge(&mut self.connect, &outcome.connect_times);
        histogram::merge(&mut self.tcp_connect, &outcome.tcp_connect_times);
        self.measures.add(&outcome.measures);
        // All threads saw the same steps of the clock.
        self.clock_steps = self.clock_steps.max(outcome.clock_steps);
        self.ends.merge(&outcome.ends);
        self.shares.push(outcome.busy);
        self.realtime += usize::from(outcome.is_realtime);
        self.compressed += outcome.compressed;
        self.nostr.extend(outcome.nostr);
        let churn = &mut self.churn;
        churn.due += outcome.churn.due;
        churn.replaced += outcome.churn.replaced;
        churn.skipped += outcome.churn.skipped;
        churn.foreign += outcome.churn.foreign;
        churn.failed += outcome.churn.failed;
        churn.reasons.extend(outcome.churn.reasons);
        histogram::merge(&mut churn.connect, &outcome.churn.connect_times);
        churn.add_storms(&outcome.churn.storms);
        add_counts(&mut churn.counts, &outcome.churn.counts);
        for client in outcome.clients {
            if client.role == Role::Churning {
                add_counts(&mut churn.counts, &client.counts);
            }
            self.clients.push(client);
        }
    }
}

impl Churned {
    /// Adds the storms of one thread: all threads have the same storms.
    fn add_storms(&mut self, storms: &[Storm]) {
        let count = self.storms.len().max(storms.len());
        self.storms.resize(count, Storm::default());
        for (sum, one) in self.storms.iter_mut().zip(storms) {
            sum.dropped += one.dropped;
            sum.back += one.back;
            sum.recovery_ns = sum.recovery_ns.max(one.recovery_ns);
        }
    }
}

fn add_counts(sums: &mut [Counts; 2], counts: &[Counts; 2]) {
    for (sum, counts) in sums.iter_mut().zip(counts) {
        sum.add(counts);
    }
}

impl Head {
    /// For a run of `plan` that begins now.
    pub(crate) fn of(plan: &Plan) -> Self {
        let now = OffsetDateTime::now_utc();
        let started_at_ms = now.unix_timestamp_nanos() / 1_000_000;
        Self {
            version: VERSION,
            program: concat!("loadgen ", env!("CARGO_PKG_VERSION")).to_owned(),
            scenario: plan.scenario.clone(),
            label: plan.label.clone(),
            started_at: now
                .truncate_to_second()
                .format(&Rfc3339)
                .unwrap_or_default(),
            started_at_ms: started_at_ms as u64,
            machine: Machine::of_this_process(),
        }
    }
}

impl RelayReport {
    pub(crate) fn new(gathered: Gathered<'_>) -> Self {
        let Gathered { plan, relay, .. } = gathered;
        let mut sums = Sums::of(gathered.outcomes);
        let latency = Distribution::of(&gathered.recorder.total.latency.histogram());
        let ([warmup, measured], order) = counted(gathered.script, &sums, &relay);
        let unsent_by = unsent(&sums.clients);
        let is_timeline_full = gathered.recorder.is_full();
        let count = |of: fn(&ClientOutcome) -> u64| sums.clients.iter().map(of).sum();
        let mut report = Self {
            head: gathered.head,
            config: RelayConfig::of(plan, relay),
            measured_ms: gathered.measured_ns as f64 / 1e6,
            interrupted: gathered.course.interrupted,
            measured,
            warmup,
            unsent: count(|client| client.unsent),
            unsent_by,
            held_up: count(|client| client.held_up),
            foreign: count(|client| client.foreign) + sums.churn.foreign,
            order,
            disconnects: disconnects(&sums.clients, gathered.course.measure_ns),
            errors: Vec::new(),
            findings: Vec::new(),
            throughput: throughput(
                measured.sent,
                gathered.recorder.received_in_window,
                plan.size,
                gathered.measured_ns,
            ),
            wire: wire(&sums, warmup.delivered + measured.delivered),
            connect_ns: Distribution::of(&sums.connect),
            tcp_connect_ns: Quantiles::of(&sums.tcp_connect),
            latency_ns: latency.quantiles,
            lateness_ns: Distribution::of(&gathered.recorder.total.lateness),
            receive_lag_ns: Distribution::of(&sums.measures.lag()),
            marks: Vec::new(),
            latency: Latency::of(latency, &sums, &relay),
            timeline: gathered.recorder.seconds,
            drain: gathered.drain,
            clients: Clients::of(&sums.clients),
            nostr: None,
            churn: (relay.churning > 0).then(|| Churn::of(&mut sums.churn)),
            server: None,
            walk: None,
            repeats: None,
            comparison: None,
            aborted: None,
            generator: Generator::of(gathered.cpu_share, sums.shares, sums.realtime),
            valid: true,
            invalid_reasons: Vec::new(),
            latency_comparable: matches!(relay.pace, Pace::Open { .. }),
            right: true,
        };
        if let Some(script) = gathered.script {
            report.add_nostr(script, gathered.course.measure_ns, sums.nostr);
        }
        report.errors = report.errors();
        report.judge();
        report.findings = findings(&Evidence {
            relay: &relay,
            clients: &sums.clients,
            course: &gathered.course,
            report: &report,
            is_timeline_full,
            clock_steps: sums.clock_steps,
            clamped: sums.measures.clamped,
        });
        report
    }

    /// Adds the answers of a Nostr relay.
    fn add_nostr(&mut self, script: &Script, measure_ns: u64, outcomes: Vec<NostrOutcome>) {
        let last = self.latency.corrected.last.quantiles.count;
        self.latency.untracked = nostr::awaited(script, measure_ns).saturating_sub(last);
        let is_closed = self.config.window.is_some();
        let measured_ms = self.measured_ms;
        self.nostr = Some(NostrFigures::of(script, is_closed, measured_ms, outcomes));
    }

    /// Errors by kind.
    fn errors(&self) -> Vec<ErrorCount> {
        let mut kinds = [
            ("lost", self.measured.lost + self.warmup.lost),
            ("repeated", self.measured.repeated + self.warmup.repeated),
            ("reordered", self.measured.reordered + self.warmup.reordered),
            ("damaged", self.measured.damaged + self.warmup.damaged),
            ("misrouted", self.measured.misrouted + self.warmup.misrouted),
            ("early", self.measured.early + self.warmup.early),
            ("order", self.order.differing),
            ("unsent", self.unsent),
            ("disconnected", self.disconnects.reading),
            ("protocol", self.disconnects.protocol),
        ]
        .map(|(error, count)| ErrorCount {
            error: error.to_owned(),
            count,
        })
        .to_vec();
        let said = self.nostr.iter().flat_map(NostrFigures::errors);
        kinds.extend(said.map(|(error, count)| ErrorCount {
            error: error.to_owned(),
            count,
        }));
        kinds.retain(|kind| kind.count > 0);
        kinds
    }
}

impl Generator {
    fn of(cpu_share: f64, thread_shares: Vec<f64>, realtime: usize) -> Self {
        Self {
            cpu_share,
            is_realtime: realtime == thread_shares.len(),
            busiest_thread_share: thread_shares.iter().copied().fold(0.0, f64::max),
            thread_shares,
        }
    }
}

impl Latency {
    fn of(each: Distribution, sums: &Sums, relay: &Relay) -> Self {
        let has_receivers = |publisher: &u32| relay.receivers_of(*publisher) > 0;
        let sent = sums.clients.iter().filter_map(|client| {
            let publisher = relay.publisher_at(client.index).filter(has_receivers);
            publisher.map(|_| client.sent[1])
        });
        Self {
            corrected: ByReceiver {
                first: Distribution::of(&sums.ends.first),
                each,
                last: Distribution::of(&sums.ends.last),
            },
            uncorrected: ByReceiver {
                first: Distribution::of(&sums.ends.first_uncorrected),
                each: Distribution::of(&sums.measures.uncorrected()),
                last: Distribution::of(&sums.ends.last_uncorrected),
            },
            in_time: Distribution::of(&sums.measures.in_time()),
            arrived: Distribution::of(&sums.measures.arrived()),
            untracked: sent.sum::<u64>().saturating_sub(sums.ends.last.len()),
        }
    }
}

impl Clients {
    fn of(clients: &[ClientOutcome]) -> Self {
        let (mut mean, mut max, mut delivered) =
            (histogram::new(), histogram::new(), histogram::of_counts());
        let full = clients.iter().filter(|client| client.role == Role::Full);
        let mut listed: Vec<_> = full
            .map(|client| {
                let count = client.counts[1].delivered;
                let mean_ns = client.latency_sum_ns as f64 / count.max(1) as f64;
                histogram::record(&mut delivered, count);
                if count > 0 {
                    histogram::record(&mut mean, mean_ns as u64);
                    histogram::record(&mut max, client.latency_max_ns);
                }
                ClientFigures {
                    client: client.index,
                    delivered: count,
                    received_bytes: client.received_bytes,
                    mean_ns,
                    max_ns: client.latency_max_ns,
                }
            })
            .collect();
        listed.sort_unstable_by_key(|client| client.client);
        let step = listed.len().div_ceil(CLIENTS_LISTED_MAX).max(1);
        Self {
            mean_ns: Quantiles::of(&mean),
            max_ns: Quantiles::of(&max),
            delivered: Quantiles::of(&delivered),
            listed: listed.into_iter().step_by(step).collect(),
        }
    }
}

impl Churn {
    fn of(churned: &mut Churned) -> Self {
        let mut reasons = std::mem::take(&mut churned.reasons);
        reasons.truncate(REASONS_MAX);
        Self {
            due: churned.due,
            replaced: churned.replaced,
            skipped: churned.skipped,
            failed: churned.failed,
            reasons,
            delivered: churned.counts[1].delivered,
            connect_ns: Distribution::of(&churned.connect),
            storms: std::mem::take(&mut churned.storms),
        }
    }
}

impl RelayConfig {
    fn of(plan: &Plan, relay: Relay) -> Self {
        let (rate, arrivals, window) = match relay.pace {
            Pace::Open {
                per_second,
                arrivals,
            } => (Some(per_second), Some(arrivals.name().to_owned()), None),
            Pace::Closed { window } => (None, None, Some(window)),
        };
        let opcode = if plan.form.is_text() {
            "text"
        } else {
            "binary"
        };
        let payload = match plan.form {
            _ if relay.nostr.is_some() => "event",
            Form::Json => "json",
            Form::Binary | Form::Text => "pattern",
        };
        Self {
            url: plan.target.url.clone(),
            clients: relay.clients,
            stalled: relay.stalled,
            slow_readers: relay.slow,
            churning: relay.churning,
            churn_per_second: match relay.churn {
                Some(plan::Churn::Steady { per_second }) => per_second,
                _ => 0.0,
            },
            storm_every_ms: match relay.churn {
                Some(plan::Churn::Storms { every }) => every.as_millis() as u64,
                _ => 0,
            },
            publishers: relay.publishers,
            rooms: relay.rooms,
            expect: relay.expect.name().to_owned(),
            push_url: plan.push.as_ref().map(|push| {
                let scheme = if plan.tls.is_some() { "https" } else { "http" };
                format!("{scheme}://{}{}", plan.target.authority(), push.path)
            }),
            threads: plan.threads,
            rate,
            arrivals,
            ramp_ms: relay.ramp.as_millis() as u64,
            window,
            size_bytes: plan.size,
            opcode: opcode.to_owned(),
            payload: payload.to_owned(),
            deflate: plan.deflate,
            nagle: plan.nagle,
            echo: matches!(relay.expect, Expect::All | Expect::Own),
            source_ips: plan.source_ips.iter().map(ToString::to_string).collect(),
            warmup_ms: relay.warmup.as_millis() as u64,
            duration_ms: relay.duration.as_millis() as u64,
            seed: plan.seed,
            nostr: relay.nostr.map(|nostr| NostrConfig {
                subscriptions: nostr.subscriptions,
                filters: nostr.filters.name(),
                keys: nostr.keys,
                authors: nostr.authors,
                events: (nostr.query.is_some() || nostr.sync.is_some()).then_some(nostr.events),
                rows: nostr.query.map(|query| query.rows),
                same_second: nostr.query.map(|query| query.same_second),
                differences: nostr.sync.map(|sync| sync.differences),
            }),
        }
    }
}

/// Messages that the publishers of each room have sent: `[warm-up, measured]`.
fn sent_by_room(clients: &[ClientOutcome], relay: &Relay) -> Vec<[u64; 2]> {
    let mut rooms = vec![[0; 2]; relay.rooms_apart() as usize];
    for client in clients {
        let Some(publisher) = relay.publisher_at(client.index) else {
            continue;
        };
        let room = &mut rooms[relay.room_of(publisher) as usize];
        for (sum, sent) in room.iter_mut().zip(client.sent) {
            *sum += sent;
        }
    }
    rooms
}

impl Deliveries {
    fn add_client(&mut self, expected: u64, counts: &Counts) {
        self.expected += expected;
        self.delivered += counts.delivered;
        self.repeated += counts.repeated;
        self.reordered += counts.reordered;
        self.damaged += counts.damaged;
        self.misrouted += counts.misrouted;
        self.early += counts.early;
        self.lost += expected.saturating_sub(counts.delivered + counts.damaged);
    }
}

/// Deliveries `[warm-up, measured]` and their order.
fn counted(script: Option<&Script>, sums: &Sums, relay: &Relay) -> ([Deliveries; 2], Order) {
    match script {
        Some(script) => (
            nostr::counts(script, &sums.nostr, &sums.clients),
            nostr::order(&sums.nostr),
        ),
        None => (deliveries(sums, relay), order(&sums.clients, relay)),
    }
}

/// Adds up `[warm-up, measured]` over all clients that read all the time, and adds the faults of
/// those that reconnect or read slowly.
fn deliveries(sums: &Sums, relay: &Relay) -> [Deliveries; 2] {
    let rooms = sent_by_room(&sums.clients, relay);
    [0, 1].map(|phase| {
        let mut all = Deliveries {
            sent: rooms.iter().map(|room| room[phase]).sum(),
            ..Deliveries::default()
        };
        for client in sums
            .clients
            .iter()
            .filter(|client| client.role == Role::Full)
        {
            let sent = rooms[client.room as usize][phase];
            let expected = match relay.expect {
                Expect::All | Expect::Own => sent,
                Expect::Others => sent - client.sent[phase],
                Expect::Nobody => 0,
            };
            all.add_client(expected, &client.counts[phase]);
        }
        let slow = sums
            .clients
            .iter()
            .filter(|client| client.role == Role::Slow);
        let others = slow.map(|client| client.counts[phase]);
        for counts in others.chain([sums.churn.counts[phase]]) {
            let faults = Counts {
                delivered: 0,
                ..counts
            };
            all.add_client(0, &faults);
        }
        all
    })
}

/// Compares the order at all clients that got everything, room by room.
fn order(clients: &[ClientOutcome], relay: &Relay) -> Order {
    let rooms = sent_by_room(clients, relay);
    let got_all = |client: &&ClientOutcome| {
        let arrived: u64 = client
            .counts
            .iter()
            .map(|counts| counts.delivered + counts.damaged)
            .sum();
        let sent: u64 = rooms[client.room as usize].iter().sum();
        let own: u64 = client.sent.iter().sum();
        // Messages that lost their stamp have no known place in the order.
        client.role == Role::Full
            && arrived - client.unplaced == sent
            && sent > 0
            && (relay.expect != Expect::Others || own == 0)
    };
    let mut hashes: Vec<(u32, u64)> = clients
        .iter()
        .filter(got_all)
        .map(|client| (client.room, client.order_hash))
        .collect();
    hashes.sort_unstable();
    let agreeing: usize = hashes
        .chunk_by(|one, next| one.0 == next.0)
        .map(|room| {
            let same = room.chunk_by(|one, next| one == next);
            same.map(<[_]>::len).max().unwrap_or(0)
        })
        .sum();
    Order {
        compared: hashes.len() as u64,
        differing: (hashes.len() - agreeing) as u64,
    }
}

/// Messages that were not sent, by cause.
fn unsent(clients: &[ClientOutcome]) -> Unsent {
    let mut sums = Unsent::default();
    for client in clients {
        let sum = match (&client.end, client.is_blocked) {
            (Some(_), _) => &mut sums.disconnected,
            (None, true) => &mut sums.held,
            (None, false) => &mut sums.own,
        };
        *sum += client.unsent;
    }
    sums
}

fn disconnects(clients: &[ClientOutcome], measure_ns: u64) -> Disconnects {
    let mut sums = Disconnects::default();
    for client in clients {
        let Some(end) = &client.end else {
            continue;
        };
        match client.role {
            Role::Full | Role::Pusher | Role::Publisher => {
                sums.reading += 1;
                sums.protocol += u64::from(end.cause == Cause::Offence);
            }
            Role::Slow => sums.slow += 1,
            Role::Stalled => sums.stalled += 1,
            // These clients are reported separately.
            Role::Churning => continue,
        }
        if sums.listed.len() < DISCONNECTS_LISTED_MAX {
            sums.listed.push(Disconnect {
                client: client.index,
                reason: end.reason.clone(),
                at_ms: (end.at_ns as f64 - measure_ns as f64) / 1e6,
            });
        }
    }
    sums
}

fn throughput(sent: u64, received: u64, size: usize, measured_ns: u64) -> Throughput {
    let per_second = |count: u64| count as f64 * 1e9 / measured_ns.max(1) as f64;
    let deliveries_per_second = per_second(received);
    Throughput {
        messages_per_second: per_second(sent),
        deliveries_per_second,
        delivered_bytes_per_second: deliveries_per_second * size as f64,
    }
}

fn wire(sums: &Sums, delivered: u64) -> Wire {
    let full = sums
        .clients
        .iter()
        .filter(|client| client.role == Role::Full);
    let received_bytes = full.map(|client| client.received_bytes).sum::<u64>();
    Wire {
        received_bytes,
        bytes_per_delivery: received_bytes as f64 / delivered.max(1) as f64,
        compressed: sums.compressed,
    }
}

impl HandshakeReport {
    pub(crate) fn new(
        plan: &Plan,
        work: Handshakes,
        outcomes: &[HandshakeOutcome],
        elapsed: Duration,
        cpu: Duration,
    ) -> Self {
        let (mut connect, mut uncorrected) = (histogram::new(), histogram::new());
        for outcome in outcomes {
            histogram::merge(&mut connect, &outcome.connect_times);
            histogram::merge(&mut uncorrected, &outcome.uncorrected_connect_times);
        }
        let completed = outcomes.iter().map(|outcome| outcome.completed).sum();
        let seconds = elapsed.as_secs_f64().max(1e-9);
        Self {
            head: Head::of(plan),
            url: plan.target.url.clone(),
            concurrency: work.concurrency,
            threads: plan.threads,
            handshakes: work.count,
            completed,
            not_closed: outcomes.iter().map(|outcome| outcome.not_closed).sum(),
            elapsed_ms: seconds * 1e3,
            handshakes_per_second: completed as f64 / seconds,
            connect_ns: Distribution::of(&connect),
            uncorrected_connect_ns: Distribution::of(&uncorrected),
            cpu_share: cpu.as_secs_f64() / seconds,
        }
    }
}
