//! Where and when a comparison was made: figures mean nothing without it.

use std::fs;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::awake;
use crate::process::{Cpus, pause};
use crate::procfs;

/// A higher load means that something else was running before the run.
const LOAD_AVERAGE_MAX: f64 = 0.5;
/// Cores that others may use while the run itself is idle: a machine's own housekeeping.
const OTHERS_MAX: f64 = 0.1;
/// Share of the machine's time. A higher value means that a host has given it to others.
const STOLEN_MAX: f64 = 0.01;
/// How long the machine is watched before each round, while nothing is measured.
const WATCHED: Duration = Duration::from_millis(100);

/// The machine and the state of the sources.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// UTC.
    pub(crate) date: String,
    /// Threads that wanted a CPU in the minute before.
    pub(crate) load_average: f64,
    pub(crate) commit: String,
    /// How server and generator are separated.
    pub(crate) pinning: String,
    /// It is a virtual machine, and its CPUs were kept busy.
    #[serde(default)]
    pub(crate) is_kept_awake: bool,
}

/// The activity of others on the machine during a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Quiet {
    /// Cores that were busy before each round, when the run itself was idle.
    pub(crate) others_cores: Vec<f64>,
    /// Share of the machine's time that its host gave to others, over all readings that were kept.
    pub(crate) stolen_share: f64,
    /// Readings that were repeated because the host took too much of their time.
    #[serde(default)]
    pub(crate) taken_again: u32,
    #[serde(skip)]
    kept: (Duration, Duration),
}

/// Measures how much of the machine's time its host gives to others during its lifetime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StolenTime {
    began: Instant,
    stolen: Duration,
}

impl StolenTime {
    pub(crate) fn start() -> Result<Self> {
        Ok(Self {
            began: Instant::now(),
            stolen: procfs::machine_time()?.stolen,
        })
    }

    /// The stolen time and the total.
    pub(crate) fn end(self, cores: usize) -> Result<Stolen> {
        Ok(Stolen {
            stolen: procfs::machine_time()?.stolen.saturating_sub(self.stolen),
            of: self.began.elapsed() * cores as u32,
        })
    }
}

/// A part of the machine's time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stolen {
    stolen: Duration,
    of: Duration,
}

impl Stolen {
    pub(crate) fn share(self) -> f64 {
        self.stolen.as_secs_f64() / self.of.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    pub(crate) fn is_too_much(self) -> bool {
        self.share() > STOLEN_MAX
    }
}

impl Quiet {
    /// Watches the machine for a moment. The run itself must be idle.
    pub(crate) fn watch(&mut self, interrupt: &AtomicBool) -> Result<()> {
        let began = (Instant::now(), procfs::machine_time()?);
        while began.0.elapsed() < WATCHED {
            pause(interrupt)?;
        }
        let busy = procfs::machine_time()?.busy.saturating_sub(began.1.busy);
        let cores = busy.as_secs_f64() / began.0.elapsed().as_secs_f64();
        // Two decimals: a tick is a hundredth of a second.
        self.others_cores.push((cores * 100.0).round() / 100.0);
        Ok(())
    }

    /// Counts the stolen time of a reading that is kept.
    pub(crate) fn keep(&mut self, stolen: Stolen) {
        self.kept.0 += stolen.stolen;
        self.kept.1 += stolen.of;
        let (stolen, of) = self.kept;
        self.stolen_share = Stolen { stolen, of }.share();
    }

    fn others_mean(&self) -> f64 {
        self.others_cores.iter().sum::<f64>() / self.others_cores.len().max(1) as f64
    }

    /// The disturbance of the run, in words; none if there was none.
    pub(crate) fn disturbance(&self, machine: &Machine) -> Option<String> {
        let (others, stolen) = (self.others_mean(), self.stolen_share);
        let causes = [
            (
                machine.load_average > LOAD_AVERAGE_MAX,
                format!("load average {:.2} at the start", machine.load_average),
            ),
            (
                others > OTHERS_MAX,
                format!(
                    "other programs used {others:.2} of {} cores between the readings",
                    machine.cores
                ),
            ),
            (
                stolen > STOLEN_MAX,
                format!("the host took {:.1} % of the time", 100.0 * stolen),
            ),
        ];
        let causes = causes.into_iter().filter(|(applies, _)| *applies);
        let causes: Vec<String> = causes.map(|(_, cause)| cause).collect();
        (!causes.is_empty()).then(|| causes.join(", "))
    }
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Machine {
    pub(crate) fn describe(cpus: &Cpus) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let unknown = || "unknown".to_owned();
        Self {
            cpu: procfs::parse_cpu_model(&cpuinfo).unwrap_or_else(unknown),
            cores: cores(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| unknown(), |text| text.trim().to_owned()),
            date: output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]).unwrap_or_else(unknown),
            load_average: fs::read_to_string("/proc/loadavg")
                .ok()
                .and_then(|text| text.split(' ').next()?.parse().ok())
                .unwrap_or(0.0),
            // On a machine without the repository, the environment names the commit.
            commit: (std::env::var("BENCH_COMMIT").ok())
                .or_else(|| output("git", &["describe", "--always", "--dirty", "--abbrev=12"]))
                .unwrap_or_else(unknown),
            is_kept_awake: awake::is_possible(),
            pinning: match cpus.pair {
                Some((server, generator)) => {
                    format!("server on CPU {server}, generator on CPU {generator}")
                }
                None => "NOT pinned: there is one CPU, and both share it".to_owned(),
            },
        }
    }

    /// Two lines.
    pub(crate) fn text(&self) -> String {
        let Self {
            cpu,
            cores,
            kernel,
            date,
            commit,
            pinning,
            load_average,
            is_kept_awake,
        } = self;
        let awake = if *is_kept_awake { ", kept awake" } else { "" };
        format!(
            "{cpu}, {cores} cores{awake}, Linux {kernel}\n{date}, commit {commit}, {pinning}, \
             load average {load_average:.2} at the start"
        )
    }
}

fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| output.status.success() && !text.is_empty())
}

/// A machine for tests.
#[cfg(test)]
pub(crate) fn sample(load_average: f64) -> Machine {
    Machine {
        cpu: "a CPU".to_owned(),
        cores: 2,
        kernel: "6.18".to_owned(),
        date: "2026-11-21 12:00 UTC".to_owned(),
        load_average,
        commit: "0123456789ab".to_owned(),
        pinning: "server on CPU 1, generator on CPU 0".to_owned(),
        is_kept_awake: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_is_reported_as_disturbed() {
        let quiet = |others_cores: &[f64], stolen_share| Quiet {
            others_cores: others_cores.to_vec(),
            stolen_share,
            ..Quiet::default()
        };
        assert_eq!(quiet(&[0.0, 0.1, 0.0], 0.0).disturbance(&sample(0.1)), None);
        assert_eq!(Quiet::default().disturbance(&sample(0.0)), None);
        let said = |quiet: Quiet, load| quiet.disturbance(&sample(load)).unwrap_or_default();
        assert!(said(quiet(&[1.0, 0.6], 0.0), 0.0).contains("0.80 of 2 cores"));
        assert!(said(quiet(&[0.0], 0.05), 0.0).contains("5.0 %"));
        assert!(said(quiet(&[0.0], 0.0), 3.0).contains("load average 3.00"));
    }

    #[test]
    fn stolen_time_covers_all_kept_readings() {
        let stolen = |millis| Stolen {
            stolen: Duration::from_millis(millis),
            of: Duration::from_secs(1),
        };
        assert!(stolen(11).is_too_much() && !stolen(10).is_too_much());
        let mut quiet = Quiet::default();
        for millis in [0, 50, 10] {
            quiet.keep(stolen(millis));
        }
        assert!((quiet.stolen_share - 0.02).abs() < 1e-9);
        assert!(quiet.disturbance(&sample(0.0)).is_some());
    }
}
