//! The rows: the disturbance beside the pair, the limits of its figures, and the memory rows.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use serde::Serialize;

use super::stand::{Reading, Relay, Scene, Stand};
use crate::awake::Awake;
use crate::load::strings;

/// The p99 may be this many times that of the control.
const CONTROL_RATIO: f64 = 3.0;
const PUBSUB: [&str; 2] = [
    "endpoints.pubsub.kind=pubsub",
    "endpoints.pubsub.path=/pubsub",
];
const NO_ECHO: &str = "endpoints.hub.echo=false";
const SAMPLE_INTERVAL: Duration = Duration::from_millis(400);
const ROOMS_PATIENCE: Duration = Duration::from_secs(60);
const MIB: f64 = (1 << 20) as f64;
/// The pair's key, if other clients have none.
pub(super) const API_KEY: &str = "of-the-pair-4c1f0d8e7b2a9563";
/// In the folder where relays run.
pub(super) const PUBLIC_KEYS: &str = "es256.pem";

/// One row.
pub(super) struct Row {
    /// The name that `--row` selects.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) measure: fn(&Stand<'_>) -> Result<Outcome>,
}

pub(super) const ALL: [Row; 12] = [
    row("quiet", "the pair alone", quiet),
    row(
        "pings",
        "3 MB/s of empty pings, against 1-byte texts",
        pings,
    ),
    row("flood", "60 flooding publishers in other rooms", flood),
    row(
        "pongs",
        "200 connections that send pongs without pause",
        pongs,
    ),
    row("fragments", "200 that send empty fragments", fragments),
    row("tokens", "200 with bad tokens, 8 ES256 keys", tokens),
    row("broadcast", "1 MB a second to 300 members", broadcast),
    row("vanish", "900 clients in 64 rooms each vanish", vanish),
    row("rooms", "1,000,000 rooms: idle, then gone", rooms),
    row(
        "reader",
        "a fast reader of 2,000 rooms, outbox 2 MiB",
        reader,
    ),
    row("tls", "48 TLS readers of one room, outbox 16 MiB", tls),
    row(
        "stalled",
        "400 stalled, 8,000 tiny messages/s, 64 MiB",
        stalled,
    ),
];

const fn row(
    name: &'static str,
    title: &'static str,
    measure: fn(&Stand<'_>) -> Result<Outcome>,
) -> Row {
    Row {
        name,
        title,
        measure,
    }
}

/// The result of one row with one relay.
#[derive(Debug, Default, Serialize)]
pub(super) struct Outcome {
    pub(super) figures: Vec<Figure>,
    pub(super) invalid: Vec<String>,
    /// All readings, by their companion.
    readings: Vec<(&'static str, Reading)>,
}

/// One figure, and its limit.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figure {
    pub(super) what: &'static str,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    pub(super) limit: Limit,
}

/// The limit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Limit {
    Told,
    AtMost(f64),
    /// At least that of the relay it is compared with, less this share.
    NoLessThanBefore(f64),
}

impl Outcome {
    fn tell(&mut self, what: &'static str, value: f64, unit: &'static str, limit: Limit) {
        self.figures.push(Figure {
            what,
            value,
            unit,
            limit,
        });
    }

    fn keep(&mut self, what: &'static str, reading: Reading) {
        let invalid = reading.invalid.iter();
        (self.invalid).extend(invalid.map(|why| format!("{what}: {why}")));
        self.readings.push((what, reading));
    }

    /// Adds the figures of every reading of the pair.
    fn pair(&mut self, reading: &Reading, p50: Limit, p99: Limit) {
        self.tell("p50", reading.pair.p50_ms, "ms", p50);
        self.tell("p99", reading.pair.p99_ms, "ms", p99);
        self.tell("CPU", 100.0 * reading.relay_cpu, "%", Limit::Told);
    }

    /// A turn is only known by its bucket, so it may have been as short as the lower bound.
    fn longest_turn(&mut self, reading: &Reading, limit: Limit) {
        let (least, most) = reading.longest_turn_ms;
        self.tell("longest turn, at least", least, "ms", limit);
        self.tell("at most", most, "ms", Limit::Told);
    }
}

fn load(words: &[&str]) -> Vec<String> {
    strings(words)
}

fn quiet(stand: &Stand<'_>) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let reading = stand.quiet()?;
    outcome.pair(&reading, Limit::Told, Limit::Told);
    outcome.longest_turn(&reading, Limit::Told);
    outcome.keep("quiet", reading);
    Ok(outcome)
}

/// The pair beside a disturbance, and beside its control.
fn beside(stand: &Stand<'_>, scene: &Scene, p50: Limit, p99: Limit) -> Result<(Outcome, Reading)> {
    let disturbed = stand.play(scene)?;
    let control = stand.control(scene, &disturbed)?;
    let mut outcome = Outcome::default();
    outcome.pair(&disturbed, p50, p99);
    outcome.longest_turn(&disturbed, Limit::Told);
    let ratio = disturbed.pair.p99_ms / control.pair.p99_ms.max(0.001);
    outcome.tell("control p99", control.pair.p99_ms, "ms", Limit::Told);
    let limit = Limit::AtMost(CONTROL_RATIO);
    outcome.tell("p99 to the control", ratio, "×", limit);
    outcome.keep("disturbed", disturbed.clone());
    outcome.keep("control", control);
    Ok((outcome, disturbed))
}

/// Texts are echoed just as pings are answered, so both cost the relay the same work.
fn pings(stand: &Stand<'_>) -> Result<Outcome> {
    let scene = |kind| Scene {
        load: load(&[kind, "--rate", "3000000"]),
        ..Scene::default()
    };
    let texts = stand.play(&scene("texts"))?;
    let pings = stand.play(&scene("pings"))?;
    let mut outcome = Outcome::default();
    outcome.pair(&pings, Limit::Told, Limit::Told);
    outcome.longest_turn(&pings, Limit::Told);
    let rate = |reading: &Reading| reading.load.bytes as f64 / reading.load.seconds.max(0.001);
    let own = stand.quiet()?.relay_cpu;
    let cost =
        |reading: &Reading| 1e9 * (reading.relay_cpu - own).max(0.0) / rate(reading).max(1.0);
    let limit = Limit::AtMost(CONTROL_RATIO);
    outcome.tell("sent", rate(&pings) / 1e6, "MB/s", Limit::Told);
    outcome.tell("CPU a byte", cost(&pings), "ns", Limit::Told);
    outcome.tell("of texts", cost(&texts), "ns", Limit::Told);
    let ratio = cost(&pings) / cost(&texts).max(0.001);
    outcome.tell("CPU a byte to texts", ratio, "×", limit);
    outcome.tell("p99 beside texts", texts.pair.p99_ms, "ms", Limit::Told);
    let ratio = pings.pair.p99_ms / texts.pair.p99_ms.max(0.001);
    outcome.tell("p99 to texts", ratio, "×", limit);
    outcome.keep("pings", pings);
    outcome.keep("texts", texts);
    Ok(outcome)
}

fn flood(stand: &Stand<'_>) -> Result<Outcome> {
    let scene = Scene {
        keys: vec![NO_ECHO],
        load: load(&["flood", "--clients", "60"]),
        ..Scene::default()
    };
    let (mut outcome, disturbed) = beside(stand, &scene, Limit::AtMost(12.0), Limit::Told)?;
    let taken = disturbed.received_bytes_per_s / MIB;
    let limit = Limit::NoLessThanBefore(0.05);
    outcome.tell("taken in", taken, "MiB/s", limit);
    Ok(outcome)
}

fn pongs(stand: &Stand<'_>) -> Result<Outcome> {
    controls(stand, "pongs")
}

fn fragments(stand: &Stand<'_>) -> Result<Outcome> {
    controls(stand, "fragments")
}

fn controls(stand: &Stand<'_>, kind: &str) -> Result<Outcome> {
    let scene = Scene {
        load: load(&[kind, "--clients", "200"]),
        ..Scene::default()
    };
    Ok(beside(stand, &scene, Limit::Told, Limit::AtMost(20.0))?.0)
}

/// The pair has an address of its own, so that the limits on the others' address do not delay it.
fn tokens(stand: &Stand<'_>) -> Result<Outcome> {
    let scene = Scene {
        keys: vec![
            "auth.jwt.keys_file=es256.pem",
            "auth.keys=of-the-pair-4c1f0d8e7b2a9563",
            "limits.exempt_networks=[]",
        ],
        load: load(&["bad-tokens", "--clients", "200"]),
        pair: vec!["--from", "127.0.0.2", "--key", API_KEY],
        asks_livez: true,
        ..Scene::default()
    };
    let (mut outcome, disturbed) = beside(stand, &scene, Limit::Told, Limit::AtMost(50.0))?;
    let failures = disturbed.livez_failures as f64;
    outcome.tell("/livez failed", failures, "times", Limit::AtMost(0.0));
    Ok(outcome)
}

/// The kernel accepts a whole message for each member, so a turn has to send all of it.
fn broadcast(stand: &Stand<'_>) -> Result<Outcome> {
    let scene = Scene {
        keys: vec!["engine.send_buffer_bytes=4MiB"],
        load: load(&["broadcast", "--clients", "300", "--size", "1000000"]),
        ..Scene::default()
    };
    Ok(beside(stand, &scene, Limit::Told, Limit::AtMost(15.0))?.0)
}

fn vanish(stand: &Stand<'_>) -> Result<Outcome> {
    let scene = Scene {
        keys: PUBSUB.to_vec(),
        load: load(&["rooms", "--clients", "900", "--rooms", "64"]),
        vanishes: true,
        ..Scene::default()
    };
    let reading = stand.play(&scene)?;
    let mut outcome = Outcome::default();
    outcome.pair(&reading, Limit::Told, Limit::Told);
    outcome.longest_turn(&reading, Limit::AtMost(10.0));
    outcome.keep("disturbed", reading);
    Ok(outcome)
}

/// The clients are silent, so all CPU time is the relay's own.
fn rooms(stand: &Stand<'_>) -> Result<Outcome> {
    let (clients, rooms) = if stand.is_quick {
        (10, 10_000)
    } else {
        (20, 50_000)
    };
    let mut keys = PUBSUB.to_vec();
    keys.push("limits.rooms_per_connection=1000000");
    let relay = stand.relay(&keys)?;
    stand.wait(Duration::from_secs(1))?;
    let before = relay.resident_mib()?;
    let [clients, each] = [clients, rooms].map(|number: u32| number.to_string());
    let holders = load(&["rooms", "--clients", &clients, "--rooms", &each]);
    let holders = stand.load(&relay, &holders, 0)?;
    let held = relay.metrics()?.sum("corecast_rooms");
    let idle = idle_cpu(stand, &relay)?;
    let with = relay.resident_mib()?;
    let began = Instant::now();
    holders.signal(Signal::KILL);
    drop(holders);
    while relay.metrics()?.sum("corecast_rooms") > 0.0 {
        ensure!(began.elapsed() < ROOMS_PATIENCE, "the rooms stay");
        stand.wait(Duration::from_millis(100))?;
    }
    let gone = began.elapsed();
    let after_cpu = idle_cpu(stand, &relay)?;
    let after = relay.resident_mib()?;
    let mut outcome = Outcome::default();
    outcome.tell("rooms", held, "", Limit::Told);
    outcome.tell("idle CPU", 100.0 * idle, "%", Limit::AtMost(1.0));
    let limit = Limit::AtMost(0.3);
    outcome.tell("CPU when gone", 100.0 * after_cpu, "%", limit);
    outcome.tell("gone after", gone.as_secs_f64(), "s", Limit::Told);
    outcome.tell("resident before", before, "MiB", Limit::Told);
    outcome.tell("resident with them", with, "MiB", Limit::Told);
    outcome.tell("resident after", after, "MiB", Limit::Told);
    let limit = Limit::AtMost(2.0);
    outcome.tell("after to before", after / before, "×", limit);
    Ok(outcome)
}

/// The share of a CPU that an idle relay uses, once it has settled.
fn idle_cpu(stand: &Stand<'_>, relay: &Relay) -> Result<f64> {
    stand.wait(Duration::from_secs(2))?;
    let window = if stand.is_quick { 3 } else { 10 };
    let (began, before) = (Instant::now(), relay.cpu_time()?);
    stand.wait(Duration::from_secs(window))?;
    let cpu = relay.cpu_time()?.saturating_sub(before);
    Ok(cpu.as_secs_f64() / began.elapsed().as_secs_f64())
}

/// Peaks of memory under load.
#[derive(Default)]
struct Most {
    /// Resident memory beyond the initial value.
    growth_mib: f64,
    outbox_mib: f64,
    /// Buffers that the relay counts.
    live_mib: f64,
}

/// Loads a relay for this long, and samples it meanwhile.
fn watch(
    stand: &Stand<'_>,
    keys: &[&str],
    words: &[&str],
    seconds: u64,
) -> Result<(Most, Relay, super::disturb::Report)> {
    let generator = &stand.lab.generator;
    let _awake = Awake::start(&generator.cpus, &generator.interrupt);
    let relay = stand.relay(keys)?;
    stand.wait(Duration::from_millis(500))?;
    let before = relay.resident_mib()?;
    let running = stand.load(&relay, &load(words), 0)?;
    let mut most = Most::default();
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        stand.wait(SAMPLE_INTERVAL)?;
        let metrics = relay.metrics()?;
        let mib = |name| metrics.sum(name) / MIB;
        most.growth_mib = most.growth_mib.max(relay.resident_mib()? - before);
        most.outbox_mib = most.outbox_mib.max(mib("corecast_outbox_bytes"));
        most.live_mib = most.live_mib.max(mib("corecast_live_batch_bytes"));
    }
    Ok((most, relay, stand.end(running)?))
}

fn seconds(stand: &Stand<'_>, whole: u64) -> u64 {
    if stand.is_quick { whole / 3 } else { whole }
}

fn reader(stand: &Stand<'_>) -> Result<Outcome> {
    let mut keys = PUBSUB.to_vec();
    keys.extend([
        "limits.rooms_per_connection=100000",
        "limits.message_bytes=64KiB",
        "endpoints.named.limits.message_bytes=64KiB",
        "slow_client.outbox_bytes=2MiB",
        "slow_client.process_bytes=1GiB",
    ]);
    let words = ["fast-reader", "--rooms", "2000"];
    let (most, relay, report) = watch(stand, &keys, &words, seconds(stand, 8))?;
    let mut outcome = Outcome::default();
    outcome.tell("outbox", most.outbox_mib, "MiB", Limit::AtMost(4.0));
    outcome.tell("resident", most.growth_mib, "MiB more", Limit::Told);
    let rate = report.bytes as f64 / report.seconds / MIB;
    outcome.tell("published", rate, "MiB/s", Limit::Told);
    let actions = relay.metrics()?.sum("corecast_slow_client_actions_total");
    outcome.tell("slow client actions", actions, "", Limit::Told);
    Ok(outcome)
}

fn tls(stand: &Stand<'_>) -> Result<Outcome> {
    const READERS: f64 = 48.0;
    let keys = [
        "server.tls.enabled=true",
        "server.tls.cert_file=cert.pem",
        "server.tls.key_file=key.pem",
        "server.listen=http://127.0.0.1:{plain}",
        NO_ECHO,
        "endpoints.named.limits.message_bytes=1MiB",
        "slow_client.outbox_bytes=16MiB",
        "slow_client.process_bytes=1GiB",
    ];
    let words = ["tls-readers", "--clients", "48", "--size", "65536"];
    let (most, relay, report) = watch(stand, &keys, &words, seconds(stand, 8))?;
    let mut outcome = Outcome::default();
    let limit = Limit::AtMost(20.0);
    outcome.tell("outbox", most.outbox_mib / READERS, "MiB each", limit);
    let actions = relay.metrics()?.sum("corecast_slow_client_actions_total");
    outcome.tell("slow client actions", actions, "", Limit::AtMost(0.0));
    let rate = report.bytes as f64 / report.seconds / MIB;
    outcome.tell("published", rate, "MiB/s", Limit::Told);
    outcome.tell("resident", most.growth_mib, "MiB more", Limit::Told);
    outcome.tell("live", most.live_mib, "MiB counted", Limit::Told);
    Ok(outcome)
}

/// The policy by age is off: this row measures the memory that the clients hold until it would act.
fn stalled(stand: &Stand<'_>) -> Result<Outcome> {
    let keys = [
        NO_ECHO,
        "slow_client.outbox_age=off",
        "slow_client.outbox_bytes=32MiB",
        "slow_client.process_bytes=64MiB",
    ];
    let words = ["stalled", "--clients", "400", "--rate", "8000"];
    let (most, relay, report) = watch(stand, &keys, &words, seconds(stand, 16))?;
    let mut outcome = Outcome::default();
    let limit = Limit::AtMost(80.0);
    outcome.tell("resident", most.growth_mib, "MiB more", limit);
    outcome.tell("live", most.live_mib, "MiB counted", Limit::Told);
    outcome.tell("outboxes", most.outbox_mib, "MiB", Limit::Told);
    let sent = report.messages as f64 / report.seconds;
    outcome.tell("published", sent, "messages/s", Limit::Told);
    let actions = relay.metrics()?.sum("corecast_slow_client_actions_total");
    outcome.tell("slow client actions", actions, "", Limit::Told);
    if report.behind_s > 1.0 && report.closed == 0 {
        let why = format!("the publisher was {:.1} s behind", report.behind_s);
        outcome.invalid.push(why);
    }
    Ok(outcome)
}
