//! The relay's system calls in steady state, counted by strace.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::load::strings;
use crate::measure::{Contender, Lab, Load};
use crate::process::{Running, pause};

/// Calls are counted for this long, in the middle of a load.
const COUNTED: Duration = Duration::from_secs(2);
/// From the start of the generator until its load is steady.
const LEAD: Duration = Duration::from_millis(800);
const CLIENTS: u32 = 50;
const RATE: u32 = 1_000;

/// Calls by name, and the work they did.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) shards: u32,
    pub(crate) calls: BTreeMap<String, u64>,
    /// Deliveries at the given rate in the time counted.
    pub(crate) deliveries: u64,
}

impl Counts {
    fn of(&self, names: &[&str]) -> u64 {
        names.iter().filter_map(|name| self.calls.get(*name)).sum()
    }

    /// True without epoll_ctl, with at most one send per delivery and one wake per shard and turn.
    pub(crate) fn is_ok(&self) -> bool {
        // The rate is exact, but the two seconds are only approximate.
        let sends_max = self.deliveries + self.deliveries / 5;
        self.of(&["epoll_ctl"]) == 0
            && self.sends() > 0
            && self.sends() <= sends_max
            && self.wakes() <= self.turns() * u64::from(self.shards - 1)
    }

    fn sends(&self) -> u64 {
        self.of(&["sendto", "sendmsg", "writev"])
    }

    /// A shard is woken by a write to its eventfd. Logs and connections use other calls.
    fn wakes(&self) -> u64 {
        self.of(&["write"])
    }

    fn turns(&self) -> u64 {
        self.of(&["epoll_wait", "epoll_pwait", "epoll_pwait2"])
    }

    /// For a terminal of 100 columns.
    pub(crate) fn text(&self) -> String {
        let Self {
            shards,
            deliveries,
            calls,
        } = self;
        let verdict = if self.is_ok() { "ok" } else { "MISSED" };
        let all: Vec<String> = calls
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        format!(
            "  {shards} shard(s): {} sends for about {deliveries} deliveries, {} epoll_ctl, \
             {} wakes in {} turns  {verdict}\n    {}",
            self.sends(),
            self.of(&["epoll_ctl"]),
            self.wakes(),
            self.turns(),
            all.join(", "),
        )
    }
}

/// Counts the calls of the relay, started by `command` with this many shards.
///
/// # Errors
/// strace is missing or may not attach to a process.
pub(crate) fn count(lab: &Lab, command: Vec<String>, shards: u32) -> Result<Counts> {
    let (clients, rate) = (CLIENTS.to_string(), RATE.to_string());
    let time = format!("{}ms", (LEAD + COUNTED + LEAD).as_millis());
    let args = strings(&[
        "--clients",
        &clients,
        "--rate",
        &rate,
        "--size",
        "128",
        "--duration",
        &time,
    ]);
    let load = Load::Deliveries(args.clone());
    let name = format!("corecast-{shards}-strace");
    let server = lab.serve(&Contender {
        name,
        command: Ok(command),
        pinned: false,
        scheme: "ws",
        load,
    })?;
    let _generator = lab.generator.start(&server.url("ws"), &args, false)?;
    let interrupt = &lab.generator.interrupt;
    wait(interrupt, LEAD)?;
    let file = lab.folder.join("strace.txt");
    let mut strace = Command::new("strace");
    strace
        .args(["-c", "-f", "-q", "-p", &server.pid().to_string(), "-o"])
        .arg(&file);
    strace
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut strace = Running::start(strace, &lab.generator.cpus, &[], interrupt)?;
    wait(interrupt, COUNTED)?;
    // It detaches and writes its table.
    strace.signal(Signal::INT);
    strace.wait(Duration::from_secs(5))?;
    let table = std::fs::read_to_string(&file).context("strace wrote nothing")?;
    let calls = parse(&table);
    ensure!(
        !calls.is_empty(),
        "strace counted nothing; may it attach to a process here?"
    );
    let seconds = COUNTED.as_secs();
    let deliveries = u64::from(CLIENTS) * u64::from(RATE) * seconds;
    Ok(Counts {
        shards,
        calls,
        deliveries,
    })
}

fn wait(interrupt: &std::sync::atomic::AtomicBool, time: Duration) -> Result<()> {
    let deadline = std::time::Instant::now() + time;
    while std::time::Instant::now() < deadline {
        pause(interrupt)?;
    }
    Ok(())
}

/// Lines of `% time, seconds, usecs/call, calls, [errors,] syscall` between two rules.
fn parse(table: &str) -> BTreeMap<String, u64> {
    let entry = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let name = fields.last().filter(|name| **name != "total")?;
        fields[0].parse::<f64>().ok()?;
        Some(((*name).to_owned(), fields.get(3)?.parse().ok()?))
    };
    table.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 97.42    0.301113           3     99950           sendto
  1.50    0.004641           2      1999           recvfrom
  1.00    0.003100           1      2003         4 epoll_wait
  0.08    0.000010          10         1           write
------ ----------- ----------- --------- --------- ----------------
100.00    0.308864           2    103953         4 total
";

    fn counts(table: &str, shards: u32) -> Counts {
        Counts {
            shards,
            calls: parse(table),
            deliveries: 100_000,
        }
    }

    #[test]
    fn straces_table_is_parsed_without_its_total() {
        let calls = parse(TABLE);
        assert_eq!(
            (calls["sendto"], calls["epoll_wait"], calls.len()),
            (99_950, 2003, 4)
        );
    }

    #[test]
    fn a_registration_a_second_send_or_a_needless_wake_is_a_miss() {
        assert!(counts(TABLE, 2).is_ok());
        // One shard has no other to wake.
        assert!(!counts(TABLE, 1).is_ok());
        let registers = TABLE.replace("recvfrom", "epoll_ctl");
        assert!(!counts(&registers, 2).is_ok());
        assert!(!counts(&TABLE.replace("99950", "199950"), 2).is_ok());
        assert!(
            !counts(
                &TABLE.replace("     1           write", "  5000           write"),
                2
            )
            .is_ok()
        );
        assert!(!counts("", 2).is_ok());
    }
}
