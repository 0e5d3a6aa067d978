//! The checks and their verdicts.

use super::finding::{Finding, Level};
use super::machine::Machine;
use crate::config::{Config, ConnectionLimit, Shards};
use crate::engine::{FileBudget, FileNeeds};
use crate::limits::{LISTEN_BACKLOG, SHARDS_MAX};
use crate::relay::file_needs;

/// The number of open files that should be allowed; with fewer, `limits.connections` is small.
const OPEN_FILES: u64 = 65_536;

/// Kernel memory of a connection with data in flight, in bytes: the default send buffer.
const SOCKET_BYTES: u64 = 16 * 1024;

/// The buffer of a socket that a connection of 100 Mbit/s and 100 ms needs, in bytes.
const SOCKET_BUFFER_BYTES: u64 = 1024 * 1024;

/// Ports for outgoing connections: Linux's default.
const PORTS: u64 = 28_232;

/// All checks, the most common obstacles first.
pub(super) fn all(config: &Config, machine: &Machine) -> Vec<Finding> {
    let files = machine.open_files_max();
    let needs = file_needs(config, started_shards(config, machine) as usize);
    let checks = [
        open_files(config, &needs, files),
        process_files(machine, files),
        backlog(machine, "somaxconn", "net/core/somaxconn"),
        backlog(machine, "syn_backlog", "net/ipv4/tcp_max_syn_backlog"),
        ports(config, machine),
        own_ports(config, machine),
        tcp_memory(machine, connections(config, &needs, files)),
        socket_buffers(machine, "tcp_wmem", "net/ipv4/tcp_wmem"),
        socket_buffers(machine, "tcp_rmem", "net/ipv4/tcp_rmem"),
        send_buffer(config, machine),
        conntrack(machine, connections(config, &needs, files)),
        cores(config, machine),
        quota(config, machine),
    ];
    checks.into_iter().flatten().collect()
}

fn ok(check: &'static str, found: String) -> Option<Finding> {
    Some(Finding {
        check,
        level: Level::Ok,
        found,
        advice: None,
        command: None,
    })
}

fn bad(
    check: &'static str,
    level: Level,
    found: String,
    advice: &str,
    command: Option<String>,
) -> Option<Finding> {
    Some(Finding {
        check,
        level,
        found,
        advice: Some(advice.to_owned()),
        command,
    })
}

/// The command that writes a file of `/proc/sys`.
fn sysctl(path: &str, value: impl std::fmt::Display) -> Option<String> {
    Some(format!("sysctl -w {}=\"{value}\"", path.replace('/', ".")))
}

/// The number of connections that the config asks for; `None`: as many as fit.
fn wanted(config: &Config) -> Option<u64> {
    match config.limits.connections {
        ConnectionLimit::Count(count) => Some(count as u64),
        ConnectionLimit::Auto | ConnectionLimit::Unlimited => None,
    }
}

/// The number of connections that this limit on open files allows.
fn fit(files: u64, needs: &FileNeeds) -> u64 {
    let files_max = usize::try_from(files).unwrap_or(usize::MAX);
    FileBudget::of(files_max, needs).connections_max as u64
}

/// The number of connections that the config asks for, reduced to what the limit on open files
/// allows; `None` if the config does not ask for a number.
fn connections(config: &Config, needs: &FileNeeds, files: Option<u64>) -> Option<u64> {
    let wanted = wanted(config)?;
    Some(files.map_or(wanted, |files| wanted.min(fit(files, needs))))
}

fn open_files(config: &Config, needs: &FileNeeds, files: Option<u64>) -> Option<Finding> {
    const CHECK: &str = "open_files";
    let files = files?;
    let fit = fit(files, needs);
    let least = |connections: u64| FileBudget::files_for(connections as usize, needs);
    let raise = "raise the hard limit where the relay is started: LimitNOFILE= in its unit, \
                 --ulimit nofile= of the container";
    match wanted(config) {
        _ if fit == 0 => bad(
            CHECK,
            Level::Fail,
            format!(
                "{files} open files, too few for {} shards: nobody could connect",
                needs.shards
            ),
            raise,
            Some(format!("ulimit -Hn {}", least(wanted(config).unwrap_or(1)))),
        ),
        Some(wanted) if wanted > fit => bad(
            CHECK,
            Level::Fail,
            format!(
                "{files} open files: {fit} connections, too few for limits.connections: {wanted}"
            ),
            raise,
            Some(format!("ulimit -Hn {}", least(wanted))),
        ),
        None if files < OPEN_FILES => bad(
            CHECK,
            Level::Warn,
            format!("{files} open files: at most {fit} connections"),
            raise,
            Some(format!("ulimit -Hn {}", 16 * OPEN_FILES)),
        ),
        _ => ok(
            CHECK,
            format!("{files} open files: room for {fit} connections"),
        ),
    }
}

/// Open files of all processes together.
fn process_files(machine: &Machine, files: Option<u64>) -> Option<Finding> {
    const CHECK: &str = "file_max";
    let (all, files) = (machine.number("fs/file-max")?, files?);
    match all < files.min(OPEN_FILES) {
        true => bad(
            CHECK,
            Level::Warn,
            format!("{all} open files for the whole machine, less than for one process"),
            "raise it; a file in /etc/sysctl.d/ keeps the setting",
            sysctl("fs/file-max", files.max(OPEN_FILES)),
        ),
        false => ok(CHECK, format!("{all} open files for the whole machine")),
    }
}

/// Connections that wait to be accepted.
fn backlog(machine: &Machine, check: &'static str, path: &str) -> Option<Finding> {
    let (has, wants) = (machine.number(path)?, LISTEN_BACKLOG as u64);
    match has < wants {
        true => bad(
            check,
            Level::Warn,
            format!("{has} connections may wait to be accepted; the relay asks for {wants}"),
            "if many clients reconnect at once, some have to retry; raise it; a file in \
             /etc/sysctl.d/ keeps the setting",
            sysctl(path, wants),
        ),
        false => ok(check, format!("{has} connections may wait to be accepted")),
    }
}

/// A proxy on this machine needs a port for each of its connections to the relay.
fn ports(config: &Config, machine: &Machine) -> Option<Finding> {
    const CHECK: &str = "port_range";
    let range = machine.sysctl("net/ipv4/ip_local_port_range")?;
    let (first, last) = (*range.first()?, *range.get(1)?);
    let ports = last.saturating_add(1).saturating_sub(first);
    let has_proxy = !config.server.trusted_proxies.is_empty();
    let needed = wanted(config).filter(|_| has_proxy).unwrap_or(PORTS);
    match ports < needed {
        true => bad(
            CHECK,
            Level::Warn,
            format!("{ports} ports for outgoing connections, such as a proxy's to the relay"),
            "a proxy or load generator on this machine needs one for each connection; widen the \
             range, or let the proxy use a Unix socket (server.listen)",
            sysctl("net/ipv4/ip_local_port_range", "1024 65535"),
        ),
        false => ok(CHECK, format!("{ports} ports for outgoing connections")),
    }
}

/// Warns if an outgoing connection could occupy a port of the relay before it starts.
fn own_ports(config: &Config, machine: &Machine) -> Option<Finding> {
    const CHECK: &str = "own_ports";
    let range = machine.sysctl("net/ipv4/ip_local_port_range")?;
    let (first, last) = (*range.first()?, *range.get(1)?);
    let own = [config.server.port, config.metrics.port];
    let at_risk = own
        .into_iter()
        .find(|port| (first..=last).contains(&u64::from(*port)) && !machine.reserves_port(*port));
    match at_risk {
        Some(port) => bad(
            CHECK,
            Level::Warn,
            format!("port {port} is in the range of outgoing connections ({first} to {last})"),
            "it may be in use when the relay restarts; reserve it, besides those reserved now",
            sysctl("net/ipv4/ip_local_reserved_ports", port),
        ),
        None => ok(
            CHECK,
            "outgoing connections cannot occupy the relay's ports".to_owned(),
        ),
    }
}

/// Above the second of the three numbers the kernel shrinks the buffers of all sockets.
fn tcp_memory(machine: &Machine, needed: Option<u64>) -> Option<Finding> {
    const CHECK: &str = "tcp_mem";
    let pages = machine.sysctl("net/ipv4/tcp_mem")?;
    let page_bytes = rustix::param::page_size() as u64;
    let (pressure, high) = (*pages.get(1)?, *pages.get(2)?);
    let bytes = pressure.saturating_mul(page_bytes);
    let (holds, mib) = (bytes / SOCKET_BYTES, bytes >> 20);
    let found = format!("{mib} MiB for TCP: about {holds} busy connections");
    match needed.filter(|needed| *needed > holds) {
        Some(needed) => {
            let pages = needed * SOCKET_BYTES / page_bytes;
            let high = high.max(pages * 3 / 2);
            bad(
                CHECK,
                Level::Warn,
                format!("{found}, fewer than limits.connections: {needed}"),
                "above it the kernel shrinks every socket's buffers; raise it as far as memory \
                 allows; a file in /etc/sysctl.d/ keeps the setting",
                sysctl(
                    "net/ipv4/tcp_mem",
                    format!("{} {pages} {high}", pages * 3 / 4),
                ),
            )
        }
        None => ok(CHECK, found),
    }
}

/// The largest buffer of a socket, the last of three numbers: minimum, default and maximum.
fn socket_buffers(machine: &Machine, check: &'static str, path: &str) -> Option<Finding> {
    let bytes = machine.sysctl(path)?;
    let (least, default, most) = (*bytes.first()?, *bytes.get(1)?, *bytes.get(2)?);
    match most < SOCKET_BUFFER_BYTES {
        true => bad(
            check,
            Level::Warn,
            format!("socket buffers grow to only {} KiB", most >> 10),
            "distant clients cannot use the full bandwidth of their connection; raise it; a file \
             in /etc/sysctl.d/ keeps the setting",
            sysctl(
                path,
                format!("{least} {default} {}", 4 * SOCKET_BUFFER_BYTES),
            ),
        ),
        false => ok(check, format!("socket buffers grow to {} KiB", most >> 10)),
    }
}

/// The kernel silently reduces a requested buffer to the machine's maximum.
fn send_buffer(config: &Config, machine: &Machine) -> Option<Finding> {
    const CHECK: &str = "wmem_max";
    let wanted = config.engine.send_buffer_bytes? as u64;
    let max = machine.number("net/core/wmem_max")?;
    match wanted > max {
        true => bad(
            CHECK,
            Level::Warn,
            format!("{max} bytes, less than engine.send_buffer_bytes: {wanted}"),
            "the kernel reduces the buffers to that; raise it; a file in /etc/sysctl.d/ keeps the \
             setting",
            sysctl("net/core/wmem_max", wanted),
        ),
        false => ok(
            CHECK,
            format!("{max} bytes, enough for engine.send_buffer_bytes"),
        ),
    }
}

/// A stateful firewall drops new connections if its table is full.
fn conntrack(machine: &Machine, needed: Option<u64>) -> Option<Finding> {
    const CHECK: &str = "conntrack";
    let max = machine.number("net/netfilter/nf_conntrack_max")?;
    match needed.filter(|needed| *needed > max) {
        Some(needed) => bad(
            CHECK,
            Level::Warn,
            format!(
                "the firewall tracks {max} connections, fewer than limits.connections: {needed}"
            ),
            "above it the firewall silently drops new connections; raise it; a file in \
             /etc/sysctl.d/ keeps the setting",
            sysctl("net/netfilter/nf_conntrack_max", needed * 2),
        ),
        None => ok(CHECK, format!("the firewall tracks {max} connections")),
    }
}

/// The number of shards that the relay starts, from the cores and CPU time that it may use.
fn started_shards(config: &Config, machine: &Machine) -> u64 {
    let cores = machine.cpu_set().map_or(1.0, |cores| cores as f64);
    let cores = machine.cpu_quota().map_or(cores, |quota| cores.min(quota));
    shards(config, cores).min(SHARDS_MAX as u64 - 1)
}

/// The number of shards that the relay starts on this number of cores.
fn shards(config: &Config, cores: f64) -> u64 {
    match config.engine.shards {
        Shards::Count(count) => u64::from(count),
        Shards::Auto => (cores as u64).max(1),
    }
}

fn cores(config: &Config, machine: &Machine) -> Option<Finding> {
    const CHECK: &str = "cpu_set";
    let cores = machine.cpu_set()?;
    let shards = shards(config, cores as f64);
    match shards > cores {
        true => bad(
            CHECK,
            Level::Warn,
            format!("{cores} cores for {shards} shards: sharing cores increases latency"),
            "run one shard for each core, or give the relay more cores (CPUAffinity= in its unit, \
             --cpuset-cpus of the container)",
            Some("corecast --shards auto".to_owned()),
        ),
        false => ok(CHECK, format!("{cores} cores for {shards} shards")),
    }
}

fn quota(config: &Config, machine: &Machine) -> Option<Finding> {
    const CHECK: &str = "cpu_quota";
    let (quota, cores) = (machine.cpu_quota()?, machine.cpu_set()?);
    let shards = shards(config, quota.min(cores as f64));
    match shards as f64 > quota {
        true => bad(
            CHECK,
            Level::Warn,
            format!(
                "CPU quota of {quota:.1} cores for {shards} shards: all stop when it is used up"
            ),
            "raise the quota (CPUQuota= in its unit, --cpus of the container), or run fewer shards",
            Some(format!("corecast --shards {}", (quota as u64).max(1))),
        ),
        false => ok(
            CHECK,
            format!("CPU quota of {quota:.1} cores for {shards} shards"),
        ),
    }
}
