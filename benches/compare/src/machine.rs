//! Where and when a comparison was made: figures without it are worth nothing.

use std::fs;
use std::process::Command;

use serde::Serialize;

use crate::process::Cpus;
use crate::procfs;

/// The machine and the state of the sources.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// UTC.
    pub(crate) date: String,
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

    /// One line for each two facts.
    pub(crate) fn text(&self) -> String {
        let Self {
            cpu,
            cores,
            kernel,
            date,
            commit,
            pinning,
        } = self;
        format!("{cpu}, {cores} cores, Linux {kernel}\n{date}, commit {commit}, {pinning}")
    }
}

fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| output.status.success() && !text.is_empty())
}
