//! One reading of one contender: start its server, load it, and read the kernel's accounting.
//!
//! **CPU per delivery.** The server's CPU time is read before a run of the load generator and after
//! it, when the server is idle again; so the exact ends of the interval do not matter. The cost of
//! the connections alone, measured by a run that only opens and closes them, is subtracted from the
//! difference, and the rest is divided by the deliveries, all of which the run counts. A short load
//! before both warms up buffers, caches and just-in-time compilers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::load::{Generator, RelayReport, strings};
use crate::process::{Server, pause};
use crate::procfs;

/// Load before a measurement.
const WARMUP: Duration = Duration::from_millis(400);
/// Connections are held this long to measure their own cost.
const CONNECTED: Duration = Duration::from_millis(50);
/// After a run the server handles closed connections for about this long.
const SETTLE: Duration = Duration::from_millis(60);
const IDLE_PATIENCE: Duration = Duration::from_secs(30);
/// Allocators keep the memory of handshakes for about a second before they return it.
const GIVEN_BACK: Duration = Duration::from_secs(2);
/// Connections that are opened and closed before those that are measured.
const HANDSHAKES_WARMUP: u32 = 1_000;
/// Time for the load to connect and start before the storm.
const BEFORE_STORM: Duration = Duration::from_millis(500);
/// Connections of a storm that are opened at a time.
const STORM_CONCURRENCY: &str = "256";

/// A server and its treatment.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    /// Its name in the table.
    pub(crate) name: String,
    /// Its command, or why it is unavailable.
    pub(crate) command: Result<Vec<String>, String>,
    /// The server on one CPU and the generator on another, or both left to the scheduler.
    pub(crate) pinned: bool,
    /// `ws`, or `wss` if it uses TLS.
    pub(crate) scheme: &'static str,
    pub(crate) load: Load,
}

/// The kind of measurement.
#[derive(Clone, Debug)]
pub(crate) enum Load {
    /// Server CPU time per delivery in microseconds.
    Deliveries(Vec<String>),
    /// Server CPU time in microseconds per connection that is opened, upgraded and closed.
    Handshakes(u32),
    /// Bytes of resident memory per idle connection: the slope between two numbers of connections.
    Idle { few: u32, many: u32 },
    /// Latency in microseconds.
    Latency {
        args: Vec<String>,
        quantile: Quantile,
        /// The shortest load, even if a run's readings are shorter.
        at_least: Duration,
    },
    /// p99 of the latency in microseconds, while this many connections are opened, upgraded and
    /// closed in other rooms.
    Storm { args: Vec<String>, connects: u32 },
}

/// A quantile of the latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantile {
    P50,
    P99,
}

/// One reading, and remarks on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reading {
    pub(crate) value: f64,
    /// Every delivery was right. The figure of a server that loses some is meaningless.
    pub(crate) is_right: bool,
    /// Deliveries, handshakes or connections that it was made of.
    pub(crate) count: u64,
    /// Other measurements, by name.
    pub(crate) beside: BTreeMap<String, f64>,
    pub(crate) notes: Vec<String>,
}

impl Reading {
    fn of_report(value: f64, report: &RelayReport) -> Self {
        let notes = [
            (
                !report.invalid_reasons.is_empty(),
                "the generator was late or busy",
            ),
            (
                report.delivered < report.expected,
                "deliveries were lost or damaged",
            ),
            (report.order.differing > 0, "clients saw different orders"),
            (!report.right, "not every delivery was right"),
        ];
        let notes = notes.into_iter().filter(|(applies, _)| *applies);
        let notes = notes.map(|(_, note)| note.to_owned()).collect();
        Self {
            value,
            is_right: report.right,
            count: report.delivered,
            beside: BTreeMap::new(),
            notes,
        }
        .beside(P50, report.latency_ns.p50 as f64 / 1e3)
        .beside(P99, report.latency_ns.p99 as f64 / 1e3)
        .beside(RATE, report.throughput.deliveries_per_second)
        .beside(WIRE_BYTES, report.wire.bytes_per_delivery)
        .beside(GENERATOR, 100.0 * report.generator.cpu_share)
    }

    fn beside(mut self, what: &str, figure: f64) -> Self {
        self.beside.insert(what.to_owned(), figure);
        self
    }
}

/// Measurements besides a value, as they are shown after the figure.
pub(crate) const P50: &str = "µs at p50";
pub(crate) const P99: &str = "µs at p99";
pub(crate) const RATE: &str = "deliveries/s";
pub(crate) const CPU: &str = "µs of server CPU per delivery";
pub(crate) const PEAK: &str = "MiB of memory at most";
/// The bytes that clients read from their sockets.
pub(crate) const WIRE_BYTES: &str = "bytes on the wire per delivery";
pub(crate) const GENERATOR: &str = "% of a core: the generator";
pub(crate) const CONNECTS: &str = "connects/s";
pub(crate) const CONNECTS_BEFORE: &str = "connects/s before the storm";
pub(crate) const CONNECTS_STORM: &str = "connects/s in the storm";
pub(crate) const GENERATOR_STORM: &str = "% of a core: the storm's generator";

/// State for all measurements.
pub(crate) struct Lab {
    pub(crate) generator: Generator,
    /// Directory where servers run and leave their logs. It contains no configuration file.
    pub(crate) folder: PathBuf,
    /// How long one reading loads the server.
    pub(crate) window: Duration,
}

impl Lab {
    /// Starts the contender's server, takes one reading and stops the server.
    pub(crate) fn read(&self, contender: &Contender) -> Result<Reading> {
        let server = &self.serve(contender)?;
        let url = &server.url(contender.scheme);
        match &contender.load {
            Load::Deliveries(args) => self.deliveries(server, url, args),
            Load::Handshakes(count) => self.handshakes(server, url, *count),
            Load::Idle { few, many } => self.idle(server, url, *few, *many),
            Load::Latency {
                args,
                quantile,
                at_least,
            } => {
                let window = self.window.max(*at_least);
                self.latency(server, url, args, (*quantile, window), contender.pinned)
            }
            Load::Storm { args, connects } => self.storm(url, args, *connects, contender.pinned),
        }
    }

    pub(crate) fn serve(&self, contender: &Contender) -> Result<Server> {
        let Generator {
            cpus, interrupt, ..
        } = &self.generator;
        let command = contender
            .command
            .as_ref()
            .map_err(|why| anyhow::anyhow!("{why}"))?;
        let cpu = cpus
            .pair
            .filter(|_| contender.pinned)
            .map(|(server, _)| server);
        Server::start(
            &contender.name,
            command,
            &self.folder,
            cpus,
            cpu.as_slice(),
            interrupt,
        )
    }

    fn deliveries(&self, server: &Server, url: &str, args: &[String]) -> Result<Reading> {
        self.generator.relay(url, args, WARMUP, true)?;
        let start = self.settled_cpu(server)?;
        self.generator
            .relay(url, &connections_only(args), CONNECTED, true)?;
        let connected = self.settled_cpu(server)?;
        let window = window_for(clients_in(args), self.window);
        let report = self.generator.relay(url, args, window, true)?;
        let end = self.settled_cpu(server)?;
        let cpu = (end - connected).saturating_sub(connected - start);
        ensure!(report.delivered > 0, "nothing was delivered");
        ensure!(
            !cpu.is_zero(),
            "connecting took more CPU time than connecting and all messages"
        );
        let value = micros(cpu) / report.delivered as f64;
        let mut reading = Reading::of_report(value, &report)
            .beside(CPU, value)
            .beside(PEAK, self.peak(server)?);
        if connected - start > cpu {
            let note = "connecting took more than the messages, so the figure is rough";
            reading.notes.push(note.to_owned());
        }
        if args.iter().any(|arg| arg == "--deflate") && report.wire.compressed == 0 {
            reading.notes.push("nothing came compressed".to_owned());
        }
        Ok(reading)
    }

    fn handshakes(&self, server: &Server, url: &str, count: u32) -> Result<Reading> {
        self.generator.handshakes(url, HANDSHAKES_WARMUP)?;
        let start = self.settled_cpu(server)?;
        let report = self.generator.handshakes(url, count)?;
        let cpu = self.settled_cpu(server)?.saturating_sub(start);
        ensure!(report.completed > 0, "no handshake was completed");
        let mut notes = Vec::new();
        if report.not_closed > 0 {
            notes.push(format!(
                "{} closing handshakes not finished",
                report.not_closed
            ));
        }
        let value = micros(cpu) / report.completed as f64;
        let reading = Reading {
            value,
            is_right: report.not_closed == 0,
            count: report.completed,
            beside: BTreeMap::new(),
            notes,
        };
        Ok(reading
            .beside(CONNECTS, report.handshakes_per_second)
            .beside(GENERATOR, 100.0 * report.cpu_share)
            .beside(PEAK, self.peak(server)?))
    }

    /// Most memory that the server ever had.
    fn peak(&self, server: &Server) -> Result<f64> {
        let bytes = procfs::peak_bytes(server.pid()).context("reading VmHWM")?;
        Ok(bytes as f64 / f64::from(1 << 20))
    }

    fn idle(&self, server: &Server, url: &str, few: u32, many: u32) -> Result<Reading> {
        let low = self.resident_with(server, url, few)?;
        let high = self.resident_with(server, url, many)?;
        let value = (high as f64 - low as f64) / f64::from(many - few);
        Ok(Reading {
            value,
            is_right: true,
            count: many.into(),
            beside: BTreeMap::new(),
            notes: Vec::new(),
        })
    }

    /// Resident memory while `clients` idle connections are held.
    fn resident_with(&self, server: &Server, url: &str, clients: u32) -> Result<u64> {
        // The connection that tested whether the server listens must be gone.
        self.idle_again(server)?;
        let before = procfs::open_files(server.pid())?;
        let clients_text = clients.to_string();
        let args = strings(&[
            "--publishers",
            "0",
            "--clients",
            &clients_text,
            "--duration",
            "10m",
        ]);
        let holder = self.generator.start(url, &args, true)?;
        let deadline = Instant::now() + IDLE_PATIENCE;
        while procfs::open_files(server.pid())? < before + clients as usize {
            pause(&self.generator.interrupt)?;
            ensure!(Instant::now() < deadline, "{clients} connections failed");
        }
        // The last ones are accepted, but not upgraded yet.
        self.idle_again(server)?;
        let given_back_at = Instant::now() + GIVEN_BACK;
        while Instant::now() < given_back_at {
            pause(&self.generator.interrupt)?;
        }
        let resident = procfs::resident_bytes(server.pid()).context("reading VmRSS")?;
        holder.signal(Signal::TERM);
        drop(holder);
        while procfs::open_files(server.pid())? > before {
            pause(&self.generator.interrupt)?;
            ensure!(
                Instant::now() < deadline,
                "the connections were not given back"
            );
        }
        Ok(resident)
    }

    fn latency(
        &self,
        server: &Server,
        url: &str,
        args: &[String],
        (quantile, window): (Quantile, Duration),
        pinned: bool,
    ) -> Result<Reading> {
        self.generator.relay(url, args, WARMUP, pinned)?;
        let start = self.settled_cpu(server)?;
        let report = self.generator.relay(url, args, window, pinned)?;
        let cpu = self.settled_cpu(server)?.saturating_sub(start);
        let latency_ns = match quantile {
            Quantile::P50 => report.latency_ns.p50,
            Quantile::P99 => report.latency_ns.p99,
        };
        let mut reading = Reading::of_report(latency_ns as f64 / 1e3, &report)
            .beside(CPU, micros(cpu) / report.delivered.max(1) as f64)
            .beside(PEAK, self.peak(server)?);
        let order = &report.order;
        if order.differing == 0 {
            reading
                .notes
                .push(format!("one order at {} clients", order.compared));
        }
        if report.disconnects.stalled > 0 {
            reading
                .notes
                .push("clients that never read were disconnected".to_owned());
        }
        Ok(reading)
    }

    /// The storm is a process with the lowest priority: if it shares a CPU with the generator of
    /// the messages, that one goes first. The messages last as long as this many handshakes take on
    /// an idle machine, so that p99 is that of the storm.
    fn storm(&self, url: &str, args: &[String], connects: u32, pinned: bool) -> Result<Reading> {
        self.generator.relay(url, args, WARMUP, pinned)?;
        let quiet = self.generator.handshakes(url, HANDSHAKES_WARMUP)?;
        ensure!(
            quiet.handshakes_per_second > 0.0,
            "no handshake was completed"
        );
        let takes = Duration::from_secs_f64(f64::from(connects) / quiet.handshakes_per_second);
        let before = format!("{}ms", BEFORE_STORM.as_millis());
        let time = format!("{}ms", takes.as_millis());
        let mut all = strings(&["--warmup", &before, "--duration", &time]);
        all.extend_from_slice(args);
        let mut messages = self.generator.start(url, &all, pinned)?;
        let begin = Instant::now() + BEFORE_STORM;
        while Instant::now() < begin {
            pause(&self.generator.interrupt)?;
        }
        let count = connects.to_string();
        let storm = ["--handshakes", &count, "--concurrency", STORM_CONCURRENCY];
        let storm = strings(&storm);
        let mut storm = self
            .generator
            .start_nice(&format!("{url}storm"), &storm, pinned)?;
        let report = self.generator.relay_report(&mut messages, takes)?;
        let storm = self.generator.handshake_report(&mut storm)?;
        Ok(
            Reading::of_report(report.latency_ns.p99 as f64 / 1e3, &report)
                .beside(CONNECTS_BEFORE, quiet.handshakes_per_second)
                .beside(CONNECTS_STORM, storm.handshakes_per_second)
                .beside(GENERATOR_STORM, 100.0 * storm.cpu_share),
        )
    }

    /// The server's CPU time once it is idle.
    pub(crate) fn settled_cpu(&self, server: &Server) -> Result<Duration> {
        self.idle_again(server)?;
        procfs::cpu_time(server.pid()).context("reading the server's CPU time")
    }

    fn idle_again(&self, server: &Server) -> Result<()> {
        let mut before = procfs::cpu_time(server.pid())?;
        let mut deadline = Instant::now() + SETTLE;
        let patience = Instant::now() + IDLE_PATIENCE;
        while Instant::now() < deadline && Instant::now() < patience {
            pause(&self.generator.interrupt)?;
            let now = procfs::cpu_time(server.pid())?;
            // A server's own timers may tick; a busy server uses more than this.
            if now - before > Duration::from_micros(500) {
                deadline = Instant::now() + SETTLE;
            }
            before = now;
        }
        Ok(())
    }
}

/// The arguments of a load that opens the same connections and sends nothing.
fn connections_only(args: &[String]) -> Vec<String> {
    let clients = clients_in(args).to_string();
    let mut only = strings(&["--clients", &clients, "--publishers", "0"]);
    only.extend(args.iter().filter(|arg| *arg == "--deflate").cloned());
    only
}

fn clients_in(args: &[String]) -> u32 {
    let at = args.iter().position(|arg| arg == "--clients");
    let clients = at.and_then(|at| args.get(at + 1)?.parse().ok());
    clients.unwrap_or(50)
}

/// How long messages are sent: longer with many clients, so that they cost more than connecting,
/// which is subtracted.
fn window_for(clients: u32, window: Duration) -> Duration {
    window * clients.div_ceil(2_500)
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_that_only_connects_has_as_many_clients() {
        let args = strings(&["--rate", "100", "--clients", "1000"]);
        let expected = strings(&["--clients", "1000", "--publishers", "0"]);
        assert_eq!(connections_only(&args), expected);
        assert_eq!(connections_only(&[])[1], "50");
        assert!(connections_only(&strings(&["--deflate"])).contains(&"--deflate".to_owned()));
    }

    #[test]
    fn many_clients_get_a_longer_window() {
        let second = Duration::from_secs(1);
        let windows = [50, 1_000, 10_000].map(|clients| window_for(clients, second));
        assert_eq!(windows, [second, second, 4 * second]);
    }
}
