//! Where and when a comparison was made: figures without it are worth nothing.

use std::fs;
use std::process::Command;

use serde::Serialize;

use crate::process::Cpus;
use crate::procfs;

/// Above this somebody else is at work.
const LOAD_AVERAGE_MAX: f64 = 0.5;

/// The machine and the state of the sources.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// UTC.
    pub(crate) date: String,
    /// Threads that wanted a CPU in the minute before.
    pub(crate) load_average: f64,
    pub(crate) commit: String,
    /// How server and generator are kept apart.
    pub(crate) pinning: String,
}

impl Machine {
    pub(crate) fn describe(cpus: &Cpus) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let unknown = || "unknown".to_owned();
        Self {
            cpu: procfs::parse_cpu_model(&cpuinfo).unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| unknown(), |text| text.trim().to_owned()),
            date: output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]).unwrap_or_else(unknown),
            load_average: fs::read_to_string("/proc/loadavg")
                .ok()
                .and_then(|text| text.split(' ').next()?.parse().ok())
                .unwrap_or(0.0),
            commit: output("git", &["describe", "--always", "--dirty", "--abbrev=12"])
                .unwrap_or_else(unknown),
            pinning: match cpus.pair {
                Some((server, generator)) => {
                    format!("server on CPU {server}, generator on CPU {generator}")
                }
                None => "NOT pinned: there is one CPU, and both share it".to_owned(),
            },
        }
    }

    /// Two lines, and a third where other programs were at work.
    pub(crate) fn text(&self) -> String {
        let Self {
            cpu,
            cores,
            kernel,
            date,
            commit,
            pinning,
            load_average,
        } = self;
        let busy = match *load_average > LOAD_AVERAGE_MAX {
            true => format!(
                "\nload average {load_average:.2} at the start: other programs were at work, \
                 figures are rough"
            ),
            false => String::new(),
        };
        format!("{cpu}, {cores} cores, Linux {kernel}\n{date}, commit {commit}, {pinning}{busy}")
    }
}

fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| output.status.success() && !text.is_empty())
}
