//! Calls the load generator and reads its report.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::process::{Cpus, Interrupt, Running};

/// The supported version of the report.
const VERSION: u32 = 1;
/// A run that exceeds its planned time by this much is stuck.
const PATIENCE: Duration = Duration::from_secs(60);
/// The generator's exit code for wrong deliveries, which come with a report.
const WRONG_DELIVERIES: i32 = 3;

/// How to call the load generator.
pub(crate) struct Generator {
    pub(crate) program: PathBuf,
    pub(crate) cpus: Cpus,
    pub(crate) interrupt: Interrupt,
}

/// The fields used of a report of messages. Times are in nanoseconds.
#[derive(Debug, Deserialize)]
pub(crate) struct RelayReport {
    version: u32,
    pub(crate) delivered: u64,
    pub(crate) expected: u64,
    /// Messages of other generators.
    #[serde(default)]
    pub(crate) foreign: u64,
    pub(crate) order: Order,
    pub(crate) disconnects: Disconnects,
    pub(crate) wire: Wire,
    pub(crate) generator: Share,
    pub(crate) throughput: Throughput,
    pub(crate) latency_ns: Quantiles,
    pub(crate) right: bool,
    pub(crate) invalid_reasons: Vec<String>,
    /// By kind.
    #[serde(default)]
    pub(crate) errors: Vec<Count>,
    /// Of a Nostr relay.
    #[serde(default)]
    pub(crate) nostr: Option<Answers>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Count {
    pub(crate) error: String,
    pub(crate) count: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Answers {
    /// Events that were answered with OK true.
    pub(crate) accepted: u64,
    /// Its texts when it refused something.
    pub(crate) texts: Vec<String>,
    #[serde(default)]
    pub(crate) queries: Option<Queries>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Queries {
    pub(crate) rows: u64,
    pub(crate) rows_per_second: f64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Order {
    pub(crate) compared: u64,
    pub(crate) differing: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Disconnects {
    pub(crate) stalled: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Wire {
    pub(crate) bytes_per_delivery: f64,
    pub(crate) compressed: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Share {
    pub(crate) cpu_share: f64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Throughput {
    pub(crate) deliveries_per_second: f64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
}

/// The fields used of a report of handshakes.
#[derive(Debug, Deserialize)]
pub(crate) struct HandshakeReport {
    version: u32,
    pub(crate) completed: u64,
    pub(crate) not_closed: u64,
    pub(crate) handshakes_per_second: f64,
    pub(crate) cpu_share: f64,
}

impl Generator {
    /// Loads `url` with messages for `duration`, without warm-up, so that every delivery counts.
    pub(crate) fn relay(
        &self,
        url: &str,
        args: &[String],
        duration: Duration,
        pinned: bool,
    ) -> Result<RelayReport> {
        let time = format!("{}ms", duration.as_millis());
        let mut all = strings(&["--warmup", "0", "--duration", &time]);
        all.extend_from_slice(args);
        let mut running = self.start(url, &all, pinned)?;
        self.relay_report(&mut running, duration)
    }

    /// The report of a load that was started and takes at most `duration` from now.
    pub(crate) fn relay_report(
        &self,
        running: &mut Running,
        duration: Duration,
    ) -> Result<RelayReport> {
        let report: RelayReport = Self::report(running, duration)?;
        ensure!(
            report.version == VERSION,
            "the report's version is {}",
            report.version
        );
        Ok(report)
    }

    /// Opens, upgrades and closes `count` connections.
    pub(crate) fn handshakes(&self, url: &str, count: u32) -> Result<HandshakeReport> {
        let count = count.to_string();
        let args = strings(&["--handshakes", &count, "--concurrency", "32"]);
        let mut running = self.start(url, &args, true)?;
        self.handshake_report(&mut running)
    }

    /// The report of handshakes that were started.
    pub(crate) fn handshake_report(&self, running: &mut Running) -> Result<HandshakeReport> {
        let report: HandshakeReport = Self::report(running, Duration::ZERO)?;
        ensure!(
            report.version == VERSION,
            "the report's version is {}",
            report.version
        );
        Ok(report)
    }

    /// Starts the generator and leaves it running.
    pub(crate) fn start(&self, url: &str, args: &[String], pinned: bool) -> Result<Running> {
        self.start_on(url, args, self.own_cpu(pinned).as_slice())
    }

    /// The same on these CPUs.
    pub(crate) fn start_on(&self, url: &str, args: &[String], on: &[usize]) -> Result<Running> {
        self.spawn(Command::new(&self.program), url, args, on)
    }

    /// The same with the lowest priority: other processes on its CPU go first.
    pub(crate) fn start_nice(&self, url: &str, args: &[String], pinned: bool) -> Result<Running> {
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(&self.program);
        let mut all = strings(&["--priority", "normal"]);
        all.extend_from_slice(args);
        self.spawn(command, url, &all, self.own_cpu(pinned).as_slice())
    }

    fn own_cpu(&self, pinned: bool) -> Option<usize> {
        let pair = self.cpus.pair.filter(|_| pinned);
        pair.map(|(_, generator)| generator)
    }

    fn spawn(
        &self,
        mut command: Command,
        url: &str,
        args: &[String],
        on: &[usize],
    ) -> Result<Running> {
        command.args(["--url", url, "--output", "json"]).args(args);
        if url.starts_with("wss:") {
            // The cost of verification is not the server's.
            command.arg("--insecure");
        }
        command.stdin(Stdio::null());
        Running::start_for_output(command, &self.cpus, on, &self.interrupt)
    }

    fn report<Report: for<'a> Deserialize<'a>>(
        running: &mut Running,
        duration: Duration,
    ) -> Result<Report> {
        let status = running.wait(duration + PATIENCE)?;
        if !status.success() && status.code() != Some(WRONG_DELIVERIES) {
            bail!("the load generator ended with {status}");
        }
        serde_json::from_str(&running.output()?).context("reading the load generator's report")
    }
}

/// Owned copies of `words`.
pub(crate) fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_with_more_fields_than_are_used_is_read() {
        let text = r#"{"version":1,"kind":"relay","delivered":100,"expected":100,"lost":0,
            "order":{"compared":50,"differing":0},"disconnects":{"reading":0,"stalled":1},
            "wire":{"received_bytes":130,"bytes_per_delivery":130.5,"compressed":0},
            "generator":{"cpu_share":0.25,"busiest_thread_share":0.25},
            "throughput":{"messages_per_second":2.0,"deliveries_per_second":100.0},
            "latency_ns":{"count":1,"p50":200000,"p90":1,"p99":900000},"right":true,
            "valid":true,"invalid_reasons":[]}"#;
        let report: RelayReport = serde_json::from_str(text).expect("a report");
        assert_eq!((report.delivered, report.disconnects.stalled), (100, 1));
        assert_eq!(
            (report.latency_ns.p50, report.latency_ns.p99),
            (200_000, 900_000)
        );
    }
}
