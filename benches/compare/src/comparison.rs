//! The run: all rounds of all chosen cases, stored on disk as it progresses.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::awake::Awake;
use crate::cases::{Case, Programs, Tier};
use crate::load::Generator;
use crate::machine::{Machine, Quiet, Stolen, StolenTime};
use crate::measure::{Contender, Lab, Reading};
use crate::process::{self, Cpus};
use crate::results::{CaseResult, Readings, Run};
use crate::syscalls::{self, Counts};
use crate::table;

/// The name of the one case that is not a ratio.
const SYSCALLS: &str = "syscalls";

/// The cases to run.
pub(crate) struct Plan {
    pub(crate) tier: Tier,
    /// Only these, in any tier; if empty, all of the tier.
    pub(crate) names: Vec<String>,
    pub(crate) rounds: u32,
    pub(crate) window: Duration,
    /// The file for all readings.
    pub(crate) file: Option<PathBuf>,
}

impl Plan {
    /// The cases to run, in their order.
    ///
    /// # Errors
    /// A name that no case has.
    pub(crate) fn cases(&self, programs: &Programs) -> Result<Vec<Case>> {
        let all = programs.cases(self.tier == Tier::Quick);
        let is_known =
            |name: &String| name == SYSCALLS || all.iter().any(|case| case.name == *name);
        let unknown = self.names.iter().find(|name| !is_known(name));
        ensure!(
            unknown.is_none(),
            "no case {:?}; --list names them",
            unknown.map_or("", |name| name)
        );
        let is_chosen = |case: &Case| match &self.names[..] {
            [] => case.tier <= self.tier,
            names => names.contains(&case.name),
        };
        Ok(all.into_iter().filter(is_chosen).collect())
    }

    fn wants_syscalls(&self) -> bool {
        match &self.names[..] {
            [] => self.tier >= Tier::Default,
            names => names.iter().any(|name| name == SYSCALLS),
        }
    }
}

/// Names and titles of all cases, for `--list`.
pub(crate) fn list(cases: &[Case]) -> String {
    let mut lines: Vec<String> = cases
        .iter()
        .map(|case| format!("{:<22} {:<8} {}", case.name, case.tier.name(), case.title))
        .collect();
    lines.push(format!(
        "{SYSCALLS:<22} {:<8} system calls in steady state",
        Tier::Default.name()
    ));
    lines.join("\n")
}

/// Measures, prints and stores the readings.
///
/// # Errors
/// An interrupt, or a file that cannot be written. Earlier readings are kept.
pub(crate) fn run(lab: &Lab, programs: &Programs, plan: &Plan) -> Result<Run> {
    let cases = plan.cases(programs)?;
    let machine = Machine::describe(&lab.generator.cpus);
    let mut run = Run::new(machine, plan.rounds, plan.window.as_millis() as u64);
    let began = Instant::now();
    println!(
        "{}\n{} rounds of {:?}\n\n{}",
        run.machine.text(),
        plan.rounds,
        lab.window,
        table::head()
    );
    for case in &cases {
        let result = measure_case(lab, case, plan.rounds, &mut run.quiet)?;
        println!("{}", table::text(&result));
        run.cases.push(result);
        run.seconds = began.elapsed().as_secs();
        keep(&run, plan)?;
    }
    if plan.wants_syscalls() {
        run.syscalls = count_syscalls(lab, programs);
    }
    run.is_finished = true;
    run.seconds = began.elapsed().as_secs();
    keep(&run, plan)?;
    if programs.against.is_some() {
        println!("\n{}", table::against(&run));
    }
    if let Some(causes) = run.quiet.disturbance(&run.machine) {
        println!("\nDISTURBED, figures are rough: {causes}");
    }
    Ok(run)
}

fn keep(run: &Run, plan: &Plan) -> Result<()> {
    plan.file.as_ref().map_or(Ok(()), |file| run.write(file))
}

/// State for all measurements: `generator` is the load generator's program.
///
/// # Errors
/// The generator is missing, or the folder cannot be created.
pub(crate) fn lab(generator: PathBuf, folder: &Path, window: Duration) -> Result<Lab> {
    let interrupt = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupt))?;
    }
    process::raise_open_files();
    fs::create_dir_all(folder).context("creating the folder for logs")?;
    write_certificate(folder)?;
    ensure!(generator.exists(), "{} is not built", generator.display());
    Ok(Lab {
        generator: Generator {
            program: generator,
            cpus: Cpus::of_this_process()?,
            interrupt,
        },
        folder: folder.canonicalize()?,
        window,
    })
}

/// The certificate of servers over TLS: `cert.pem` and `key.pem` in the folder where they run.
fn write_certificate(folder: &Path) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    fs::write(folder.join("cert.pem"), made.cert.pem())?;
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())?;
    Ok(())
}

/// All rounds of one case. A contender that fails twice in a row is left out of the rest.
fn measure_case(lab: &Lab, case: &Case, rounds: u32, quiet: &mut Quiet) -> Result<CaseResult> {
    let rounds = case.rounds_max.map_or(rounds, |max| max.min(rounds));
    let mut readings: Vec<Readings> = case.contenders.iter().map(|_| (Vec::new(), None)).collect();
    for round in 1..=rounds {
        quiet.watch(&lab.generator.interrupt)?;
        for index in order(round, case.contenders.len()) {
            let contender = &case.contenders[index];
            let (all, unavailable) = &mut readings[index];
            progress(&format!(
                "{} {round}/{rounds}: {}",
                case.name, contender.name
            ));
            all.push(match failures(all) {
                2.. => None,
                _ => read(lab, contender, unavailable, quiet)?,
            });
        }
    }
    progress("");
    Ok(CaseResult::new(case, readings))
}

/// The order of the contenders: each round begins with another one, and every second round goes
/// backwards. So the after-effects of a server (a CPU at another clock, a host that has given time
/// to others) do not always affect the same successor.
pub(crate) fn order(round: u32, contenders: usize) -> Vec<usize> {
    let first = round as usize / 2;
    let mut order: Vec<usize> = (0..contenders)
        .map(|at| (first + at) % contenders)
        .collect();
    if round.is_multiple_of(2) {
        order.reverse();
    }
    order
}

/// On a terminal: the progress, in a line that is overwritten.
pub(crate) fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r{text}\x1b[K");
    }
}

/// The number of rounds that failed in a row up to now.
fn failures<T>(readings: &[Option<T>]) -> usize {
    readings
        .iter()
        .rev()
        .take_while(|reading| reading.is_none())
        .count()
}

/// One reading. If the host gave too much of its time to others, it is repeated once, and the less
/// disturbed of the two is kept.
fn read(
    lab: &Lab,
    contender: &Contender,
    unavailable: &mut Option<String>,
    quiet: &mut Quiet,
) -> Result<Option<Reading>> {
    let (mut reading, mut stolen) = read_once(lab, contender, unavailable)?;
    if reading.is_some() && stolen.is_too_much() {
        quiet.taken_again += 1;
        let (again, stolen_again) = read_once(lab, contender, unavailable)?;
        if again.is_some() && stolen_again.share() < stolen.share() {
            (reading, stolen) = (again, stolen_again);
        }
    }
    quiet.keep(stolen);
    Ok(reading)
}

fn read_once(
    lab: &Lab,
    contender: &Contender,
    unavailable: &mut Option<String>,
) -> Result<(Option<Reading>, Stolen)> {
    let _awake = Awake::start(&lab.generator.cpus, &lab.generator.interrupt);
    let stolen = StolenTime::start()?;
    let reading = match lab.read(contender) {
        Ok(reading) => Some(reading),
        Err(error) if lab.generator.interrupt.load(Ordering::Relaxed) => return Err(error),
        Err(error) => {
            *unavailable = Some(format!("{error:#}"));
            None
        }
    };
    Ok((reading, stolen.end(crate::machine::cores())?))
}

fn count_syscalls(lab: &Lab, programs: &Programs) -> Vec<Counts> {
    println!("system calls in steady state: 50 clients, 1,000 messages/s [{SYSCALLS}]");
    let mut all = Vec::new();
    for shards in [1, 2] {
        match syscalls::count(lab, programs.relay_command(shards, &[]), shards) {
            Ok(counts) => {
                println!("{}", counts.text());
                all.push(counts);
            }
            Err(error) => println!("  {shards} shard(s): not available: {error:#}"),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::strings;

    #[test]
    fn no_contender_always_follows_the_same_one() {
        assert_eq!(order(1, 3), [0, 1, 2]);
        assert_eq!(order(2, 3), [0, 2, 1]);
        assert_eq!(order(3, 3), [1, 2, 0]);
        for contenders in 2..8 {
            for first in 0..contenders {
                let firsts = (1..=2 * contenders as u32).map(|round| order(round, contenders)[0]);
                assert_eq!(firsts.filter(|one| *one == first).count(), 2);
            }
        }
    }

    #[test]
    fn failures_are_counted_from_the_last_success() {
        assert_eq!(failures(&[None, Some(1), None, None]), 2);
        assert_eq!(failures(&[Some(1)]), 0);
        assert_eq!(failures::<u8>(&[]), 0);
    }

    #[test]
    fn cases_are_chosen_by_name_or_by_cumulative_tier() {
        let programs = Programs {
            relay: "corecast".into(),
            floor: "floor".into(),
            peers: Vec::new(),
            against: None,
        };
        let plan = |tier, names: &[&str]| Plan {
            tier,
            names: strings(names),
            rounds: 1,
            window: Duration::from_secs(1),
            file: None,
        };
        let count = |tier| {
            plan(tier, &[])
                .cases(&programs)
                .map(|cases| cases.len())
                .ok()
        };
        assert!(count(Tier::Quick) < count(Tier::Default));
        assert!(count(Tier::Default) < count(Tier::Full));
        let chosen = plan(Tier::Quick, &["closed-64", SYSCALLS]);
        let names = chosen.cases(&programs).expect("known names");
        assert_eq!(names.len(), 1);
        assert!(chosen.wants_syscalls() && !plan(Tier::Quick, &["idle"]).wants_syscalls());
        assert!(plan(Tier::Full, &["nonsense"]).cases(&programs).is_err());
    }
}
