//! One reading of one relay: a fresh server and store, and all loads one after the other.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::contenders::{Contender, Durability};
use crate::load::{RelayReport, strings};
use crate::measure::{Lab, micros};
use crate::process::{Server, free_port, pause};
use crate::procfs;

/// Events that are signed for a closed loop of 1 or 8 clients, and of more.
const EVENTS: [&str; 2] = ["10000", "20000"];
/// Arbitrary: it decides keys and events of the queries, the same for all.
const SEED: &str = "11";
/// A relay may take so long to store the events that are queried.
const STORE_PATIENCE: Duration = Duration::from_secs(120);
const FANOUT_AT_LEAST: Duration = Duration::from_secs(2);
/// Subscribers that are too many for every round.
pub(super) const LARGE: u32 = 5_000;
/// An event's JSON.
const EVENT_BYTES: usize = 600;

/// The loads of a reading.
pub(super) struct Wanted {
    /// Stored events that are queried.
    pub(super) events: u32,
    /// Numbers of subscribers, with the events a second that go to them.
    pub(super) fanouts: Vec<(u32, &'static str)>,
    /// The server on one CPU, and the generator on another.
    pub(super) is_pinned: bool,
}

/// The measurements of one round, and the faults that the load generator found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Reading {
    /// By the measure's name.
    pub(super) values: BTreeMap<String, f64>,
    /// Loads whose answers or deliveries were not all right, with what was wrong.
    pub(super) faults: BTreeMap<String, String>,
    /// Loads in which the generator was the bottleneck.
    pub(super) limited: Vec<String>,
}

impl Reading {
    fn set(&mut self, name: impl Into<String>, value: f64) {
        self.values.insert(name.into(), value);
    }

    fn extend(&mut self, other: Self) {
        self.values.extend(other.values);
        self.faults.extend(other.faults);
        self.limited.extend(other.limited);
    }

    fn note(&mut self, load: &str, report: &RelayReport) {
        if !report.right {
            let errors = report.errors.iter();
            let mut told: Vec<_> = errors
                .map(|one| format!("{} {}", one.count, one.error))
                .collect();
            let texts = report.nostr.iter().flat_map(|nostr| &nostr.texts);
            told.extend(texts.take(1).map(|text| format!("\"{text}\"")));
            self.faults.insert(load.to_owned(), told.join(", "));
        }
        if !report.invalid_reasons.is_empty() {
            self.limited.push(load.to_owned());
        }
    }
}

/// A running relay, and where it keeps its data.
struct Stand<'a> {
    lab: &'a Lab,
    wanted: &'a Wanted,
    server: Server,
    url: String,
    reading: Reading,
    /// Events that it has acknowledged.
    stored: u64,
}

/// Starts the relay, measures, and stops it.
///
/// # Errors
/// It does not start, or a load failed altogether.
pub(super) fn read(lab: &Lab, contender: &Contender, wanted: &Wanted) -> Result<Reading> {
    let data = tempfile::tempdir_in(&lab.folder).context("a folder for its data")?;
    let mut stand = Stand::new(lab, contender, wanted, data.path())?;
    // With few stored events: a relay that ignores a limit of 0 sends them to every subscriber.
    let (large, small): (Vec<_>, Vec<_>) = wanted
        .fanouts
        .iter()
        .partition(|(count, _)| *count >= LARGE);
    for (subscribers, rate) in small {
        if let Err(error) = stand.fanout(subscribers, rate) {
            // A relay that does not answer a limit of 0 with EOSE can do all else.
            pause(&lab.generator.interrupt)?;
            let told = format!("no subscription with a limit of 0: {error:#}");
            let faults = &mut stand.reading.faults;
            faults.insert(format!("fanout-{subscribers}"), told);
        }
    }
    let can_fan_out = stand.reading.faults.is_empty();
    for clients in [1, 8, 128] {
        stand.publish(clients)?;
    }
    stand.queries()?;
    let peak = stand.peak()?;
    stand.reading.set("memory", peak);
    if contender.durability == Durability::Disk {
        let bytes = disk_bytes(data.path())?;
        let each = bytes as f64 / stand.stored.max(1) as f64;
        stand.reading.set("disk", each);
    }
    let mut reading = stand.finish();
    for (subscribers, rate) in large.into_iter().filter(|_| can_fan_out) {
        // On a server of their own, so that the memory above is without them.
        let data = tempfile::tempdir_in(&lab.folder).context("a folder for its data")?;
        let mut stand = Stand::new(lab, contender, wanted, data.path())?;
        stand.fanout(subscribers, rate)?;
        reading.extend(stand.finish());
    }
    Ok(reading)
}

impl<'a> Stand<'a> {
    /// Starts a relay with its data in `data`.
    fn new(lab: &'a Lab, contender: &Contender, wanted: &'a Wanted, data: &Path) -> Result<Self> {
        let port = free_port()?;
        let command = contender.command(data, port)?;
        let generator = &lab.generator;
        let cpu = generator.cpus.pair.filter(|_| wanted.is_pinned);
        let cpu = cpu.map(|(server, _)| server);
        let server = Server::start_at(
            port,
            contender.name,
            &command,
            &lab.folder,
            &generator.cpus,
            cpu.as_slice(),
            &generator.interrupt,
        )?;
        Ok(Self {
            url: format!("{}{}", server.url("ws"), contender.path()),
            lab,
            wanted,
            server,
            reading: Reading::default(),
            stored: 0,
        })
    }

    /// Stops the relay.
    fn finish(self) -> Reading {
        self.reading
    }

    /// The most memory that it ever had, in MiB.
    fn peak(&self) -> Result<f64> {
        let bytes = procfs::peak_bytes(self.server.pid()).context("reading VmHWM")?;
        Ok(bytes as f64 / f64::from(1 << 20))
    }
}

impl Stand<'_> {
    /// Loads the relay for `window`, and adds `patience` for what goes before.
    fn load(&mut self, args: &[&str], window: Duration, patience: Duration) -> Result<RelayReport> {
        let time = format!("{}ms", window.as_millis());
        let args = strings(&[&["--duration", &time], args].concat());
        let is_pinned = self.wanted.is_pinned;
        let mut running = self.lab.generator.start(&self.url, &args, is_pinned)?;
        let report = self
            .lab
            .generator
            .relay_report(&mut running, window + patience)?;
        self.stored += report.nostr.as_ref().map_or(0, |nostr| nostr.accepted);
        Ok(report)
    }

    fn publish(&mut self, clients: u32) -> Result<()> {
        let load = format!("publish-{clients}");
        let count = clients.to_string();
        let events = EVENTS[usize::from(clients > 8)];
        let args = [
            "--scenario",
            "nostr-publish",
            "--clients",
            &count,
            "--events",
            events,
        ];
        let args = [&args[..], &["--warmup", "100ms"]].concat();
        let before = self.lab.settled_cpu(&self.server)?;
        let report = self.load(&args, self.lab.window, Duration::ZERO)?;
        let cpu = self.lab.settled_cpu(&self.server)?.saturating_sub(before);
        let reading = &mut self.reading;
        reading.note(&load, &report);
        let latency = &report.latency_ns;
        reading.set(format!("{load}-p50"), latency.p50 as f64 / 1e3);
        reading.set(format!("{load}-p99"), latency.p99 as f64 / 1e3);
        reading.set(
            format!("{load}-rate"),
            report.throughput.deliveries_per_second,
        );
        let accepted = report.nostr.as_ref().map_or(0, |nostr| nostr.accepted);
        ensure!(accepted > 0, "{load}: no event was accepted");
        reading.set(format!("{load}-cpu"), micros(cpu) / accepted as f64);
        Ok(())
    }

    /// All queries ask for the same events, which are stored first.
    fn queries(&mut self) -> Result<()> {
        let events = self.wanted.events.to_string();
        let common = [
            "--scenario",
            "nostr-query",
            "--seed",
            SEED,
            "--events",
            &events,
            "--keys",
            "100",
            // Relays differ in the order of events of the same second.
            "--same-second",
            "1",
            "--rate",
            "max",
            "--warmup",
            "100ms",
        ];
        let store = ["--clients", "8", "--rows", "1"];
        let report = self.load(
            &[&common[..], &store].concat(),
            Duration::from_millis(100),
            STORE_PATIENCE,
        )?;
        self.reading.note("store", &report);
        let shapes = [("20", "mixed"), ("500", "authors")];
        for (rows, filters) in shapes {
            let shape = ["--stored", "--rows", rows, "--filters", filters];
            for (clients, more) in [("1", &[][..]), ("1", &["--nagle"]), ("8", &[])] {
                let is_slow = !more.is_empty();
                if is_slow && rows != "20" {
                    continue;
                }
                let args = [&common[..], &shape, &["--clients", clients], more].concat();
                self.query(rows, clients, is_slow, &args)?;
            }
        }
        Ok(())
    }

    fn query(&mut self, rows: &str, clients: &str, is_nagle: bool, args: &[&str]) -> Result<()> {
        let load = match (clients, is_nagle) {
            ("1", false) => format!("query-{rows}"),
            ("1", true) => format!("query-{rows}-nagle"),
            _ => format!("rows-{rows}"),
        };
        let before = self.lab.settled_cpu(&self.server)?;
        let report = self.load(args, self.lab.window, Duration::ZERO)?;
        let cpu = self.lab.settled_cpu(&self.server)?.saturating_sub(before);
        let queries = report
            .nostr
            .as_ref()
            .and_then(|nostr| nostr.queries.as_ref());
        let queries = queries.context("the report has no queries")?;
        self.reading.note(&load, &report);
        if clients == "1" {
            let latency = &report.latency_ns;
            self.reading
                .set(format!("{load}-p50"), latency.p50 as f64 / 1e3);
            self.reading
                .set(format!("{load}-p99"), latency.p99 as f64 / 1e3);
        } else {
            self.reading
                .set(format!("{load}-rate"), queries.rows_per_second);
            let cpu = micros(cpu) / queries.rows.max(1) as f64;
            self.reading.set(format!("{load}-cpu"), cpu);
        }
        Ok(())
    }

    fn fanout(&mut self, subscribers: u32, rate: &str) -> Result<()> {
        let load = format!("fanout-{subscribers}");
        let clients = subscribers.to_string();
        let common = [
            "--scenario",
            "nostr-fanout",
            "--filters",
            "all",
            "--clients",
            &clients,
            "--warmup",
            "0",
            "--keys",
            "100",
        ];
        let before = self.lab.settled_cpu(&self.server)?;
        // Only connects and subscribes: that is subtracted.
        let only = [
            &common[..],
            &["--publishers", "0", "--rate", "max", "--events", "1"],
        ];
        self.load(&only.concat(), Duration::from_millis(50), STORE_PATIENCE)?;
        let connected = self.lab.settled_cpu(&self.server)?;
        let events = [&common[..], &["--publishers", "1", "--rate", rate]].concat();
        let window = self.lab.window.max(FANOUT_AT_LEAST);
        let report = self.load(&events, window, STORE_PATIENCE)?;
        let end = self.lab.settled_cpu(&self.server)?;
        let connecting = connected.saturating_sub(before);
        let cpu = end.saturating_sub(connected).saturating_sub(connecting);
        let reading = &mut self.reading;
        reading.note(&load, &report);
        ensure!(report.delivered > 0, "{load}: nothing was delivered");
        reading.set(format!("{load}-cpu"), micros(cpu) / report.delivered as f64);
        reading.set(format!("{load}-p99"), report.latency_ns.p99 as f64 / 1e3);
        let peak = self.peak()?;
        self.reading.set(format!("{load}-memory"), peak);
        Ok(())
    }
}

/// The bytes that the files below `folder` occupy.
fn disk_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).context("reading the folder of its data")? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += match meta.is_dir() {
            true => disk_bytes(&entry.path())?,
            false => meta.blocks() * 512,
        };
    }
    Ok(bytes)
}

/// The floor of a durable OK: the bytes of an event appended and synced, again and again for
/// `window`.
///
/// # Errors
/// The file cannot be written.
pub(super) fn read_floor(lab: &Lab) -> Result<Reading> {
    let file = tempfile::tempfile_in(&lab.folder).context("a file for the floor")?;
    let event = [b'x'; EVENT_BYTES];
    let (mut times, mut at) = (Vec::new(), 0);
    let began = Instant::now();
    while began.elapsed() < lab.window {
        let from = Instant::now();
        file.write_all_at(&event, at)?;
        file.sync_data()?;
        times.push(micros(from.elapsed()));
        at += EVENT_BYTES as u64;
    }
    times.sort_by(f64::total_cmp);
    let mut reading = Reading::default();
    reading.set("publish-1-p50", times[times.len() / 2]);
    reading.set("publish-1-p99", times[times.len() * 99 / 100]);
    Ok(reading)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_folder_include_those_of_folders_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("inner")).expect("a folder");
        fs::write(folder.path().join("inner/file"), [1; 9_000]).expect("a file");
        let bytes = disk_bytes(folder.path()).expect("readable");
        assert!((9_000..20_000).contains(&bytes), "{bytes}");
    }
}
