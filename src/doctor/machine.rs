//! Settings of a machine, from its `/proc` and `/sys`. Settings that cannot be read are `None`.

use std::fs;
use std::path::{Path, PathBuf};

/// A machine, given by the folder that contains its `/proc` and `/sys`.
pub(super) struct Machine {
    root: PathBuf,
}

impl Machine {
    pub(super) fn new(root: &Path) -> Machine {
        Machine {
            root: root.to_owned(),
        }
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }

    /// The numbers of a file of `/proc/sys`, such as `net/core/somaxconn`.
    pub(super) fn sysctl(&self, path: &str) -> Option<Vec<u64>> {
        let text = self.text(&format!("proc/sys/{path}"))?;
        let numbers = text.split_whitespace().map(str::parse);
        let numbers = numbers.collect::<Result<Vec<u64>, _>>().ok()?;
        (!numbers.is_empty()).then_some(numbers)
    }

    /// The first number of a file of `/proc/sys`.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        Some(self.sysctl(path)?[0])
    }

    /// The hard limit on open files, to which the relay raises its own limit.
    pub(super) fn open_files_max(&self) -> Option<u64> {
        let text = self.text("proc/self/limits")?;
        let limits = text
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"));
        match limits?.split_whitespace().nth(1)? {
            "unlimited" => Some(u64::MAX),
            hard => hard.parse().ok(),
        }
    }

    /// The number of cores that the process may run on.
    pub(super) fn cpu_set(&self) -> Option<u64> {
        let text = self.text("proc/self/status")?;
        let list = text
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        cores_in(list.trim())
    }

    /// The CPU quota of the control group, in cores; `None` also if there is no quota.
    pub(super) fn cpu_quota(&self) -> Option<f64> {
        let group = self.text("proc/self/cgroup")?;
        let path = group.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let text = self
            .text(&format!("sys/fs/cgroup/{path}/cpu.max"))
            .or_else(|| self.text("sys/fs/cgroup/cpu.max"))?;
        let mut words = text.split_whitespace();
        let (quota, period): (f64, f64) =
            (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        (period > 0.0).then_some(quota / period)
    }

    /// Whether the port is reserved, so that outgoing connections do not get it.
    pub(super) fn reserves_port(&self, port: u16) -> bool {
        let text = self.text("proc/sys/net/ipv4/ip_local_reserved_ports");
        let text = text.unwrap_or_default();
        let mut ranges = text.trim().split(',').filter_map(range);
        ranges.any(|(first, last)| (first..=last).contains(&u64::from(port)))
    }
}

/// Parses `3` or `0-7`.
fn range(text: &str) -> Option<(u64, u64)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
}

/// The number of cores in a list such as `0-3,7`.
fn cores_in(list: &str) -> Option<u64> {
    let mut ranges = list.split(',').map(range);
    ranges.try_fold(0_u64, |cores, range| {
        let (first, last) = range?;
        let length = last.checked_sub(first)?.checked_add(1)?;
        cores.checked_add(length)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_counted() {
        assert_eq!(cores_in("0"), Some(1));
        assert_eq!(cores_in("0-3,8,10-11"), Some(7));
        for bad in ["", "3-1", "0-18446744073709551615", "a", "1,,2"] {
            assert_eq!(cores_in(bad), None, "{bad}");
        }
    }
}
