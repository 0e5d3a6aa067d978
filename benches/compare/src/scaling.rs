//! 1, 2, 4, … shards against load generators on the remaining cores: the throughput of a machine
//! with many cores. Needs only the built programs.
//!
//! Each generator is a process on its own core with its own room (`rooms`), or all share one room,
//! so that every message goes to the clients of all (`one-room`). If the relay and the generators
//! have to share cores, the result says so: such a figure measures the machine.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::awake::Awake;
use crate::cases::Programs;
use crate::load::{RelayReport, strings};
use crate::machine::{Machine, Quiet};
use crate::measure::Lab;
use crate::process::{Running, Server, pause};
use crate::procfs;
use crate::results::write_whole;
use crate::stats::Figure;
use crate::table::digits;

const VERSION: u32 = 1;
const KIND: &str = "scaling";
/// A core that is busy for longer than this is the bottleneck.
const BUSY: f64 = 0.9;

/// The load of every generator: 50 clients each, of which eight publish.
const WORKLOADS: [(&str, &str, bool, &[&str]); 3] = [
    (
        "rooms",
        "saturated, 512 B, a room of 50 for each generator",
        false,
        &["--rate", "max", "--window", "8"],
    ),
    (
        "one-room",
        "saturated, 512 B, one room for all generators",
        true,
        &["--rate", "max", "--window", "2"],
    ),
    (
        "latency",
        "200 messages/s of 512 B in each generator's room of 50",
        false,
        &["--rate", "200"],
    ),
];

/// A whole scaling run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Scaling {
    version: u32,
    kind: String,
    pub(crate) machine: Machine,
    pub(crate) quiet: Quiet,
    /// The CPUs that were used: one for each core, even if a core has several threads.
    pub(crate) cpus: Vec<usize>,
    pub(crate) window_ms: u64,
    pub(crate) steps: Vec<Step>,
}

/// One workload with one number of shards.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) workload: String,
    pub(crate) title: String,
    pub(crate) shards: usize,
    pub(crate) generators: usize,
    /// Relay and generators have the same cores.
    pub(crate) is_shared: bool,
    pub(crate) rounds: Vec<Round>,
}

/// The result of one round, of all generators together.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Round {
    pub(crate) deliveries_per_second: f64,
    /// Including connecting.
    pub(crate) server_cpu_us_per_delivery: f64,
    /// Used share of the shards' cores.
    pub(crate) server_busy: f64,
    /// Used share of the busiest generator's core.
    pub(crate) generator_busy: f64,
    /// The worst generator's.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) is_right: bool,
}

/// The parameters of a run.
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    /// Every hardware thread counts as a core.
    pub(crate) all_threads: bool,
}

/// Measures every step, prints it, and returns all results.
///
/// # Errors
/// An interrupt, a program that is missing, or a relay that does not start.
pub(crate) fn run(lab: &Lab, programs: &Programs, plan: &Plan) -> Result<Scaling> {
    let cpus = cores(&lab.generator.cpus.usable(), plan.all_threads);
    let mut machine = Machine::describe(&lab.generator.cpus);
    machine.pinning = format!("shards on the last of CPUs {cpus:?}, generators on the others");
    let mut scaling = Scaling {
        version: VERSION,
        kind: KIND.to_owned(),
        machine,
        quiet: Quiet::default(),
        window_ms: lab.window.as_millis() as u64,
        steps: Vec::new(),
        cpus,
    };
    println!("{}\n", scaling.machine.text());
    for (workload, title, is_one_room, args) in WORKLOADS {
        println!("{title} [{workload}]");
        for layout in layouts(&scaling.cpus) {
            let mut rounds = Vec::new();
            for _ in 0..plan.rounds {
                scaling.quiet.watch(&lab.generator.interrupt)?;
                let _awake = Awake::start(&lab.generator.cpus, &lab.generator.interrupt);
                rounds.push(round(lab, programs, &layout, (is_one_room, args))?);
            }
            let step = Step {
                workload: workload.to_owned(),
                title: title.to_owned(),
                shards: layout.shards,
                generators: layout.generators.len(),
                is_shared: layout.is_shared,
                rounds,
            };
            println!("  {}", step.text());
            scaling.steps.push(step);
        }
    }
    if let Some(causes) = scaling.quiet.disturbance(&scaling.machine) {
        println!("\nDISTURBED, figures are rough: {causes}");
    }
    Ok(scaling)
}

/// The CPUs of the relay and the generators.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    shards: usize,
    server: Vec<usize>,
    /// The CPU of each.
    generators: Vec<usize>,
    is_shared: bool,
}

/// Powers of two that leave a CPU to a generator, and finally all CPUs shared by both.
fn layouts(cpus: &[usize]) -> Vec<Layout> {
    let count = cpus.len();
    let steps = (0..).map(|power| 1_usize << power);
    let mut all: Vec<Layout> = steps
        .take_while(|shards| *shards < count)
        .map(|shards| Layout {
            shards,
            server: cpus[count - shards..].to_vec(),
            generators: cpus[..count - shards].to_vec(),
            is_shared: false,
        })
        .collect();
    all.push(Layout {
        shards: count,
        server: cpus.to_vec(),
        generators: cpus[..count.div_ceil(2)].to_vec(),
        is_shared: true,
    });
    all
}

/// One CPU for each core, because two threads of one core do not count as two; all of them if
/// requested, or if there would be only one.
fn cores(usable: &[usize], all_threads: bool) -> Vec<usize> {
    let is_first = |cpu: &usize| {
        let file = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        let siblings = fs::read_to_string(file).unwrap_or_default();
        first_of_list(&siblings).is_none_or(|first| first == *cpu)
    };
    let first: Vec<usize> = usable.iter().copied().filter(is_first).collect();
    match all_threads || first.len() < 2 {
        true => usable.to_vec(),
        false => first,
    }
}

/// `0` of `0,8` and of `0-1`.
fn first_of_list(list: &str) -> Option<usize> {
    list.split([',', '-']).next()?.trim().parse().ok()
}

fn round(
    lab: &Lab,
    programs: &Programs,
    layout: &Layout,
    (is_one_room, args): (bool, &[&str]),
) -> Result<Round> {
    let interrupt = &lab.generator.interrupt;
    let command = programs.relay_command(layout.shards as u32, &[]);
    let name = format!("corecast-{}-shards", layout.shards);
    let cpus = &lab.generator.cpus;
    let server = Server::start(
        &name,
        &command,
        &lab.folder,
        cpus,
        &layout.server,
        interrupt,
    )?;
    let time = format!("{}ms", lab.window.as_millis());
    let fixed = ["--clients", "50", "--publishers", "8", "--size", "512"];
    let times = ["--warmup", "0", "--duration", &time];
    let args = strings(&[&fixed[..], &times, args].concat());
    let before = (Instant::now(), procfs::cpu_time(server.pid())?);
    let started = layout.generators.iter().enumerate();
    let running: Result<Vec<Running>> = started
        .map(|(number, cpu)| {
            let room = if is_one_room { 0 } else { number };
            let url = format!("{}room-{room}", server.url("ws"));
            let on = if layout.is_shared { &[][..] } else { &[*cpu] };
            lab.generator.start_on(&url, &args, on)
        })
        .collect();
    while before.0.elapsed() < lab.window {
        pause(interrupt)?;
    }
    let cpu = procfs::cpu_time(server.pid())?.saturating_sub(before.1);
    let busy = cpu.as_secs_f64() / before.0.elapsed().as_secs_f64() / layout.shards as f64;
    let mut reports = Vec::new();
    for mut one in running? {
        reports.push(lab.generator.relay_report(&mut one, lab.window)?);
    }
    let all_cpu = procfs::cpu_time(server.pid())?.saturating_sub(before.1);
    Round::of(&reports, all_cpu, busy)
}

impl Round {
    fn of(reports: &[RelayReport], cpu: Duration, server_busy: f64) -> Result<Self> {
        let worst = |each: fn(&RelayReport) -> f64| reports.iter().map(each).fold(0.0, f64::max);
        // In a shared room, each generator's clients also get the messages of the others.
        let rate = |one: &RelayReport| {
            let all = (one.delivered + one.foreign) as f64 / one.delivered.max(1) as f64;
            one.throughput.deliveries_per_second * all
        };
        let delivered: u64 = reports.iter().map(|one| one.delivered + one.foreign).sum();
        ensure!(delivered > 0, "nothing was delivered");
        Ok(Self {
            deliveries_per_second: reports.iter().map(rate).sum(),
            server_cpu_us_per_delivery: cpu.as_secs_f64() * 1e6 / delivered as f64,
            server_busy,
            generator_busy: worst(|one| one.generator.cpu_share),
            p50_us: worst(|one| one.latency_ns.p50 as f64 / 1e3),
            p99_us: worst(|one| one.latency_ns.p99 as f64 / 1e3),
            is_right: reports.iter().all(|one| one.right),
        })
    }
}

impl Step {
    /// The median of a figure over the rounds.
    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        let values: Vec<_> = self.rounds.iter().map(|round| Some(of(round))).collect();
        Figure::of(&values).map_or(0.0, |figure| figure.median)
    }

    /// The bottleneck.
    fn limit(&self) -> &'static str {
        let server = self.median(|round| round.server_busy) > BUSY;
        let generator = self.median(|round| round.generator_busy) > BUSY;
        match (self.is_shared, server, generator) {
            (true, ..) => "relay and generators share cores",
            (_, true, _) => "the relay",
            (_, _, true) => "the generators",
            _ => "neither: the load itself",
        }
    }

    /// For a table, under [`Scaling::HEAD`].
    pub(crate) fn cells(&self) -> [String; 9] {
        let median = |of: fn(&Round) -> f64| digits(self.median(of));
        [
            self.title.clone(),
            self.shards.to_string(),
            self.generators.to_string(),
            median(|round| round.deliveries_per_second),
            median(|round| round.server_cpu_us_per_delivery),
            median(|round| round.p50_us),
            median(|round| round.p99_us),
            format!("{:.0} %", 100.0 * self.median(|round| round.server_busy)),
            self.limit().to_owned(),
        ]
    }

    fn text(&self) -> String {
        let wrong = match self.rounds.iter().all(|round| round.is_right) {
            true => "",
            false => ", WRONG deliveries",
        };
        format!(
            "{:>3} shards, {:>2} generators: {:>9} deliveries/s, {} µs CPU each, p50 {} µs, \
             p99 {} µs; limit: {}{wrong}",
            self.shards,
            self.generators,
            digits(self.median(|round| round.deliveries_per_second)),
            digits(self.median(|round| round.server_cpu_us_per_delivery)),
            digits(self.median(|round| round.p50_us)),
            digits(self.median(|round| round.p99_us)),
            self.limit()
        )
    }
}

impl Scaling {
    fn read(file: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let scaling: Self =
            serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()))?;
        ensure!(
            scaling.version == VERSION && scaling.kind == KIND,
            "{} is not a result of scaling",
            file.display()
        );
        Ok(scaling)
    }

    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        write_whole(file, &(serde_json::to_string_pretty(self)? + "\n"))
    }

    /// All scaling results in a folder, the smallest machine first.
    pub(crate) fn read_all(folder: &Path) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(folder).context("reading the folder of results")? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("scaling-") && name.ends_with(".json") {
                all.push(Self::read(&path)?);
            }
        }
        all.sort_by_key(|one| one.cpus.len());
        Ok(all)
    }

    /// The name of its file, by the machine's size.
    pub(crate) fn default_name(&self) -> String {
        format!("scaling-{}-cores", self.cpus.len())
    }

    /// The heads of [`Step::cells`].
    pub(crate) const HEAD: [&str; 9] = [
        "load",
        "shards",
        "generators",
        "deliveries/s",
        "µs CPU each",
        "p50 µs",
        "p99 µs",
        "relay's cores used",
        "limit",
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_double_while_a_core_is_left_and_then_share_all() {
        let cpus: Vec<usize> = (0..16).collect();
        let layouts = layouts(&cpus);
        let shards: Vec<usize> = layouts.iter().map(|one| one.shards).collect();
        assert_eq!(shards, [1, 2, 4, 8, 16]);
        assert_eq!(layouts[2].server, [12, 13, 14, 15]);
        assert_eq!(layouts[2].generators.len(), 12);
        assert!(layouts[4].is_shared && !layouts[3].is_shared);
        for one in layouts.iter().filter(|one| !one.is_shared) {
            assert!(one.server.iter().all(|cpu| !one.generators.contains(cpu)));
        }
    }

    #[test]
    fn two_cores_have_a_separate_and_a_shared_step() {
        let two = layouts(&[0, 1]);
        assert_eq!(
            (two.len(), two[0].is_shared, two[1].is_shared),
            (2, false, true)
        );
        let one = layouts(&[3]);
        assert_eq!((one.len(), one[0].is_shared), (1, true));
        assert_eq!(one[0].generators, [3]);
    }

    #[test]
    fn of_a_core_with_several_threads_the_first_counts() {
        assert_eq!(first_of_list("0,8\n"), Some(0));
        assert_eq!(first_of_list("2-3\n"), Some(2));
        assert_eq!(first_of_list(""), None);
        assert_eq!(cores(&[0, 1], true), [0, 1]);
    }
}
