//! Keeps the CPUs of a virtual machine awake during a measurement.
//!
//! An idle CPU is given back to the host, and when it is needed again it has to wait for the host's
//! scheduler: if other machines want that core too, for longer than the measured interval. A
//! program that computes for nothing avoids such gaps. In the scheduling class `SCHED_IDLE` it
//! yields to every other thread at once (sched(7)), and CPU time is accounted per process, so no
//! measurement includes it.

use std::fs;
use std::hint::black_box;
use std::process::{Command, Stdio};

use rustix::process::getppid;

use crate::process::{Cpus, Interrupt, Running};

/// The name of the command that keeps a CPU busy.
pub(crate) const COMMAND: &str = "spin";
/// This many steps take some milliseconds.
const STEPS: u32 = 1 << 22;

/// The CPUs stay awake until this is dropped.
pub(crate) struct Awake {
    _running: Vec<Running>,
}

impl Awake {
    /// Does nothing on a machine that is not virtual, where a busy loop would take clock speed and
    /// shared units from the measurement, and without `chrt` (util-linux).
    pub(crate) fn start(cpus: &Cpus, interrupt: &Interrupt) -> Self {
        let wanted = if is_possible() { cpus.usable() } else { vec![] };
        let spin = |cpu: usize| {
            let mut command = Command::new("chrt");
            command
                .args(["--idle", "0"])
                .arg(std::env::current_exe().ok()?);
            command
                .arg(COMMAND)
                .stdin(Stdio::null())
                .stdout(Stdio::null());
            Running::start(command, cpus, &[cpu], interrupt).ok()
        };
        Self {
            _running: wanted.into_iter().filter_map(spin).collect(),
        }
    }
}

/// Whether the machine is virtual and the program that it needs is installed.
pub(crate) fn is_possible() -> bool {
    fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| has_hypervisor(&text))
        && Command::new("chrt").arg("--version").output().is_ok()
}

fn has_hypervisor(cpuinfo: &str) -> bool {
    let mut flags = cpuinfo.lines().filter(|line| line.starts_with("flags"));
    flags.any(|line| line.split_whitespace().any(|flag| flag == "hypervisor"))
}

/// Computes for nothing until it is ended or its parent is gone. It avoids the instruction for busy
/// waiting, which tells a host to take the CPU away.
pub(crate) fn spin() {
    let parent = getppid();
    while getppid() == parent {
        for step in 0..STEPS {
            black_box(step);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_machine_is_known_by_its_cpus_flags() {
        assert!(has_hypervisor(
            "model name\t: X\nflags\t\t: fpu hypervisor lahf_lm\n"
        ));
        assert!(!has_hypervisor(
            "model name\t: hypervisor\nflags\t\t: fpu lahf_lm\n"
        ));
    }
}
