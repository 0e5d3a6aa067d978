//! The kernel's accounting of a process: CPU time, resident memory, open files.
//!
//! CPU time is the sum of `/proc/PID/task/*/schedstat`: user and system time in nanoseconds, exact
//! for sleeping threads such as those of an idle server. `/proc/PID/stat` counts the same in
//! hundredths of a second and is the fallback for kernels without schedstat.

use std::fs;
use std::io;
use std::time::Duration;

/// `USER_HZ`, the unit of `/proc/PID/stat`, is 100 on every architecture that Linux runs on today.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of all threads of `pid`, user and system.
///
/// # Errors
/// The process or /proc does not exist.
pub(crate) fn cpu_time(pid: u32) -> io::Result<Duration> {
    let mut sum = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
            return cpu_time_in_ticks(pid);
        };
        sum += parse_schedstat(&text).ok_or_else(|| unreadable("schedstat"))?;
    }
    Ok(sum)
}

fn cpu_time_in_ticks(pid: u32) -> io::Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&text).ok_or_else(|| unreadable("stat"))
}

/// Resident memory of `pid` in bytes.
///
/// # Errors
/// The process or /proc does not exist.
pub(crate) fn resident_bytes(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    parse_memory(&text, "VmRSS:").ok_or_else(|| unreadable("status"))
}

/// The peak of the resident memory of `pid`, in bytes.
///
/// # Errors
/// The process or /proc does not exist.
pub(crate) fn peak_bytes(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    parse_memory(&text, "VmHWM:").ok_or_else(|| unreadable("status"))
}

/// Time of all CPUs of the machine since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MachineTime {
    /// Time in use. Includes `stolen`.
    pub(crate) busy: Duration,
    /// Time for which the host gave a CPU to another machine, although this one wanted it.
    pub(crate) stolen: Duration,
}

/// The time of all CPUs since the machine was started.
///
/// # Errors
/// /proc does not exist.
pub(crate) fn machine_time() -> io::Result<MachineTime> {
    let text = fs::read_to_string("/proc/stat")?;
    parse_machine_time(&text).ok_or_else(|| unreadable("stat"))
}

/// `cpu user nice system idle iowait irq softirq steal …`, in hundredths of a second.
fn parse_machine_time(text: &str) -> Option<MachineTime> {
    let fields: Vec<u32> = (text
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace())
    .map_while(|field| field.parse().ok())
    .collect();
    let &[user, nice, system, _, _, irq, softirq, steal, ..] = &fields[..] else {
        return None;
    };
    let busy = [nice, system, irq, softirq, steal];
    let busy = busy
        .iter()
        .try_fold(user, |sum, one| sum.checked_add(*one))?;
    Some(MachineTime {
        busy: TICK * busy,
        stolen: TICK * steal,
    })
}

/// Open file descriptors of `pid`.
///
/// # Errors
/// The process or /proc does not exist.
pub(crate) fn open_files(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// The CPU's name, from the text of `/proc/cpuinfo`.
pub(crate) fn parse_cpu_model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The first of three figures: nanoseconds on a CPU.
fn parse_schedstat(text: &str) -> Option<Duration> {
    text.split_whitespace()
        .next()?
        .parse()
        .ok()
        .map(Duration::from_nanos)
}

/// Fields 14 and 15, counted from the end of the name, which may itself contain blanks and
/// brackets.
fn parse_stat(text: &str) -> Option<Duration> {
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * user.checked_add(system)?)
}

fn parse_memory(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn unreadable(file: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("/proc/PID/{file} has an unknown form"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedstat_starts_with_nanoseconds_on_a_cpu() {
        let parsed = parse_schedstat("689862345 67754 5\n");
        assert_eq!(parsed, Some(Duration::from_nanos(689_862_345)));
        assert_eq!(parse_schedstat(""), None);
        assert_eq!(parse_schedstat("x 1 2"), None);
    }

    #[test]
    fn stat_is_read_behind_a_name_with_blanks_and_brackets() {
        let text = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 0 0 0 150 25 7 8 20 0 1 0 100 0 0";
        assert_eq!(parse_stat(text), Some(Duration::from_millis(1750)));
        assert_eq!(parse_stat("42 (a) S 1 2"), None);
    }

    #[test]
    fn resident_memory_is_read_from_its_own_line() {
        let text = "Name:\tfloor\nVmHWM:\t    9000 kB\nVmRSS:\t    2148 kB\nThreads:\t1\n";
        assert_eq!(parse_memory(text, "VmRSS:"), Some(2148 * 1024));
        assert_eq!(parse_memory(text, "VmHWM:"), Some(9000 * 1024));
        assert_eq!(parse_memory("Name:\tkthreadd\n", "VmRSS:"), None);
    }

    #[test]
    fn busy_time_includes_stolen_but_not_waiting_time() {
        let text = "cpu  100 10 50 9000 77 3 7 30 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        let time = parse_machine_time(text).expect("a line");
        assert_eq!(time.busy, Duration::from_secs(2));
        assert_eq!(time.stolen, Duration::from_millis(300));
        assert_eq!(parse_machine_time("cpu  1 2 3\n"), None);
    }

    #[test]
    fn the_cpu_model_is_read_from_cpuinfo() {
        let text = "processor\t: 0\nmodel name\t: A CPU: fast @ 2.50GHz\n";
        assert_eq!(
            parse_cpu_model(text).as_deref(),
            Some("A CPU: fast @ 2.50GHz")
        );
        assert_eq!(parse_cpu_model("processor\t: 0\n"), None);
    }

    #[test]
    fn this_process_has_used_cpu_time_and_memory_and_holds_files() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).expect("this process is there") > 0);
        assert!(open_files(pid).expect("this process is there") >= 3);
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while cpu_time(pid).expect("this process is there").is_zero() {
            assert!(
                std::time::Instant::now() < deadline,
                "no CPU time was ever accounted"
            );
        }
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(cpu_time(u32::MAX).is_err() && resident_bytes(u32::MAX).is_err());
    }
}
