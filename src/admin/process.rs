//! Figures of this process from `/proc`.

use std::fs;

/// Memory of this process that is in RAM, in bytes.
pub(super) fn resident_bytes() -> Option<u64> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let resident: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    Some(resident * rustix::param::page_size() as u64)
}

/// Files and sockets that the process has open.
pub(super) fn open_files() -> Option<f64> {
    let listed = fs::read_dir("/proc/self/fd").ok()?.count();
    // Listing the folder opens a file too.
    Some(listed.saturating_sub(1) as f64)
}

/// A number of `/proc/self/status`.
pub(super) fn status(name: &str) -> Option<f64> {
    status_field(&fs::read_to_string("/proc/self/status").ok()?, name)
}

/// The number in a line such as `VmRSS:     1234 kB`.
fn status_field(status: &str, name: &str) -> Option<f64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    let number = rest.strip_prefix(':')?.split_whitespace().next()?;
    number.parse().ok()
}

/// When the process was started, in seconds since 1970.
pub(super) fn start_time_seconds() -> Option<f64> {
    let ticks = start_ticks(&fs::read_to_string("/proc/self/stat").ok()?)?;
    let boot = boot_seconds(&fs::read_to_string("/proc/stat").ok()?)?;
    Some(boot + ticks / rustix::param::clock_ticks_per_second() as f64)
}

/// The 22nd field: clock ticks from boot to the start of the process. The second field is the name
/// of the command in parentheses, which may itself contain spaces and parentheses.
fn start_ticks(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(22 - 3)?.parse().ok()
}

fn boot_seconds(stat: &str) -> Option<f64> {
    let time = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    time.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_the_command_is_called() {
        let fields: Vec<String> = (4..=52).map(|field| field.to_string()).collect();
        let stat = format!("17 (a) b (c) S {}\n", fields.join(" "));
        assert_eq!(start_ticks(&stat), Some(22.0));
        assert_eq!(start_ticks("17 (a"), None);
    }

    #[test]
    fn a_field_of_the_status_is_its_whole_name() {
        let status = "VmPeak:\t  9 kB\nVmSize:\t  12 kB\nThreads:\t3\n";
        assert_eq!(status_field(status, "VmSize"), Some(12.0));
        assert_eq!(status_field(status, "Threads"), Some(3.0));
        assert_eq!(status_field(status, "Vm"), None);
        assert_eq!(boot_seconds("cpu 1 2\nbtime 1700000000\n"), Some(1.7e9));
    }
}
