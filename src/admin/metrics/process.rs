//! The `process_*` metrics.

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::row::{Group, Row};
use crate::admin::process::{open_files, status};

pub(super) const PROCESS: Group = Group {
    title: "The process",
    about: "On Linux. The names are those of Prometheus' own client libraries.",
    rows: &[
        Row::counter(
            "process_cpu_seconds_total",
            "CPU time used by the process, user and system, in seconds.",
            |_| {
                let cpu = clock_gettime(ClockId::ProcessCPUTime);
                Some(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9)
            },
        ),
        Row::gauge(
            "process_max_fds",
            "Largest number of open file descriptors that the process is allowed.",
            |_| Some(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) as f64),
        ),
        Row::gauge("process_open_fds", "Open file descriptors.", |_| {
            open_files()
        }),
        Row::gauge(
            "process_start_time_seconds",
            "Start of the process, in seconds since 1970 (UTC).",
            |it| it.relay.process_started,
        ),
        Row::gauge(
            "process_resident_memory_bytes",
            "Memory of the process that is in RAM, in bytes.",
            |_| status("VmRSS").map(|kib| kib * 1024.0),
        ),
        Row::gauge(
            "process_virtual_memory_bytes",
            "Address space of the process, in bytes.",
            |_| status("VmSize").map(|kib| kib * 1024.0),
        ),
        Row::gauge("process_threads", "Threads of the process.", |_| {
            status("Threads")
        }),
    ],
};
