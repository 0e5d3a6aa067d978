//! The machine that the generator ran on.

use std::fs;

use serde::{Deserialize, Serialize};

/// A machine, as far as it affects figures. Its name is omitted because reports are shared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Operating system: `linux`.
    pub os: String,
    /// Release of its kernel.
    pub kernel: String,
    /// Architecture: `x86_64`.
    pub arch: String,
    /// Model of the processor.
    pub cpu: String,
    /// Cores that the process may run on.
    pub cores: u32,
    /// Main memory in bytes.
    pub memory_bytes: u64,
}

impl Machine {
    /// This machine. Unknown values are `unknown` or 0.
    pub(crate) fn of_this_process() -> Self {
        let name = rustix::system::uname();
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        Self {
            os: std::env::consts::OS.to_owned(),
            kernel: name.release().to_string_lossy().into_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: cores as u32,
            memory_bytes: memory_bytes().unwrap_or(0),
        }
    }
}

/// The value of a line `name : value`.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_bytes() -> Option<u64> {
    let kibibytes = field("/proc/meminfo", "MemTotal")?;
    let number: u64 = kibibytes.split(' ').next()?.parse().ok()?;
    Some(number * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_core_and_memory() {
        let machine = Machine::of_this_process();
        assert!(machine.cores > 0 && machine.memory_bytes > 1 << 20);
        assert!(!machine.kernel.is_empty() && !machine.cpu.is_empty());
    }
}
