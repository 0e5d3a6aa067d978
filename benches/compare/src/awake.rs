//! Keeps the CPUs of a virtual machine awake while something is measured.
//!
//! A CPU with nothing to do is given back to the host, and when it is wanted again it has to wait
//! for the host's scheduler: where other machines want that core too, for longer than what is
//! measured takes. A program that computes for nothing leaves no such gap. In the scheduling class
//! `SCHED_IDLE` it gives way to everybody else at once (sched(7)), and CPU time is accounted to who
//! used it, so nothing measured includes it.

use std::fs;
use std::hint::black_box;
use std::process::{Command, Stdio};

use rustix::process::getppid;

use crate::process::{Cpus, Interrupt, Running};

/// The name of the command that computes for nothing.
pub(crate) const COMMAND: &str = "spin";
/// So many steps take some milliseconds.
const STEPS: u32 = 1 << 22;

/// The CPUs stay awake until this is dropped.
pub(crate) struct Awake {
    _running: Vec<Running>,
}

impl Awake {
    /// Does nothing on a machine that is not virtual, where computing for nothing would take clock
    /// and shared units from what is measured, and where there is no `chrt` (util-linux).
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

/// There is a host beneath, and the program that is needed.
pub(crate) fn is_possible() -> bool {
    fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| has_hypervisor(&text))
        && Command::new("chrt").arg("--version").output().is_ok()
}

fn has_hypervisor(cpuinfo: &str) -> bool {
    let mut flags = cpuinfo.lines().filter(|line| line.starts_with("flags"));
    flags.any(|line| line.split_whitespace().any(|flag| flag == "hypervisor"))
}

/// Computes for nothing until it is ended, or whoever started it is gone. Without the instruction
/// for busy waiting, which tells a host to take the CPU away.
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
