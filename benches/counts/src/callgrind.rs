//! Counting by callgrind: this program runs itself under it and reads its output.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use crate::frozen::Counts;
use crate::turns::{self, Turns};
use crate::work;

/// Runs of a kind of turn; the smallest counts.
const RUNS: usize = 6;
/// The number of the main thread.
const DRIVER: u32 = 1;

pub(crate) fn is_there() -> bool {
    let version = Command::new("valgrind").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// Instructions of one repetition of a work in memory.
pub(crate) fn count_work(name: &str) -> Result<u64> {
    let toggled = ["--collect-atstart=no", "--toggle-collect=*measured_part*"];
    let file = ["--callgrind-out-file=/dev/null"];
    let output = run(&[&toggled[..], &file].concat(), &[name])?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = parse_collected(&said);
    let collected = collected.with_context(|| format!("valgrind printed no count:\n{said}"))?;
    ensure!(collected > 0, "nothing was counted for {name}");
    Ok(collected / work::REPEATS)
}

/// Instructions that the shard's thread needs for one thing of each kind.
pub(crate) fn count_turns() -> Result<Counts> {
    let idle = count_things(&turns::IDLE, 0)?;
    let mut counts = Counts::from([(turns::IDLE.name.to_owned(), idle)]);
    for turns in &turns::BUSY {
        counts.insert(turns.name.to_owned(), count_things(turns, idle)?);
    }
    Ok(counts)
}

/// One kind, given the cost of a tick's turn; 0 if that cost is to be measured.
fn count_things(turns: &Turns, tick: u64) -> Result<u64> {
    let (few, many) = (runs(turns.name, turns.few)?, runs(turns.name, turns.many)?);
    let things = turns.many - turns.few;
    let count = |known: u64| {
        let (few, many) = (least(&few, known)?, least(&many, known)?);
        let is_more = many.instructions > few.instructions && many.turns > few.turns;
        ensure!(is_more, "{} took less for more", turns.name);
        Ok(of_one_thing(&few, &many, things, tick))
    };
    match tick {
        // The least disturbed run is only known once the cost of a tick is approximately known.
        0 => count(count(0)?),
        tick => count(tick),
    }
}

/// The cost of a run with this many turns.
#[derive(Clone, Copy, Debug)]
struct Run {
    instructions: u64,
    turns: u64,
}

impl Run {
    /// The cost beyond that of its turns if each were a tick's.
    fn beyond_ticks(&self, tick: u64) -> i64 {
        self.instructions as i64 - (tick * self.turns) as i64
    }
}

/// A thing takes a whole number of turns; the others are ticks and are subtracted.
fn of_one_thing(few: &Run, many: &Run, things: u64, tick: u64) -> u64 {
    let instructions = many.instructions - few.instructions;
    let turns = many.turns - few.turns;
    if tick == 0 {
        return instructions / turns;
    }
    let each = ((turns as f64 / things as f64).round() as u64).max(1);
    let ticks = turns as i64 - (each * things) as i64;
    (instructions as i64 - ticks * tick as i64).max(0) as u64 / things
}

/// The run with the lowest cost beyond its ticks: disturbances only add.
fn least(runs: &[Run], tick: u64) -> Result<Run> {
    let least = runs.iter().min_by_key(|run| run.beyond_ticks(tick));
    least.copied().context("no run")
}

/// Some runs in parallel, because they wait more than they compute.
fn runs(name: &str, times: u64) -> Result<Vec<Run>> {
    thread::scope(|scope| {
        let start = |_| scope.spawn(|| run_turns(name, times));
        let runs: Vec<_> = (0..RUNS).map(start).collect();
        let runs = runs.into_iter().map(|run| {
            run.join()
                .unwrap_or_else(|_| bail!("a run of {name} failed"))
        });
        runs.collect()
    })
}

/// The shard's thread from its start to its end.
fn run_turns(name: &str, times: u64) -> Result<Run> {
    let folder = tempfile::tempdir().context("making a folder for callgrind's files")?;
    let file = format!(
        "--callgrind-out-file={}",
        folder.path().join("out").display()
    );
    let threads = ["--separate-threads=yes", "--fair-sched=try", &file];
    let output = run(&threads, &[name, &times.to_string()])?;
    let instructions = busiest_thread(folder.path())?;
    Ok(Run {
        instructions: instructions.context("callgrind wrote no count of a thread")?,
        turns: String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse()
            .context("no number of turns")?,
    })
}

/// The largest count of one thread other than the main thread, which is the driver.
fn busiest_thread(folder: &Path) -> Result<Option<u64>> {
    let mut most = None;
    for file in fs::read_dir(folder)? {
        let text = fs::read_to_string(file?.path())?;
        let thread = parse_thread(&text).filter(|(thread, _)| *thread != DRIVER);
        most = most.max(thread.map(|(_, total)| total));
    }
    Ok(most)
}

fn run(options: &[&str], args: &[&str]) -> Result<Output> {
    let program = std::env::current_exe().context("asking for this program")?;
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .args(options)
        .arg(program)
        .arg("run")
        .args(args)
        .output()
        .context("starting valgrind")?;
    if !output.status.success() {
        bail!(
            "{args:?} under valgrind ended with {}:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(output)
}

/// The number of `==123== Collected : 4567`.
fn parse_collected(said: &str) -> Option<u64> {
    let line = said
        .lines()
        .find_map(|line| line.split_once("Collected : "))?;
    line.1.split_whitespace().next()?.parse().ok()
}

/// The number of a thread and its instructions, from a file of one.
fn parse_thread(text: &str) -> Option<(u32, u64)> {
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let thread = value("thread: ")?.trim().parse().ok()?;
    let total = value("totals: ").or_else(|| value("summary: "))?;
    Some((thread, total.split_whitespace().next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_what_valgrind_says() {
        let said = "==7== Events    : Ir\n==7== Collected : 281543\n==7==\n";
        assert_eq!(parse_collected(said), Some(281_543));
        assert_eq!(parse_collected("==7== Collected :\n"), None);
    }

    #[test]
    fn turns_of_ticks_are_taken_off_whatever_a_thing_takes() {
        let run = |instructions, turns| Run {
            instructions,
            turns,
        };
        let (few, many) = (run(10_000, 20), run(10_000 + 200 * 500 + 3 * 70, 20 + 403));
        assert_eq!(of_one_thing(&few, &many, 200, 70), 500);
        let many = run(10_000 + 83 * 70, 20 + 83);
        assert_eq!(of_one_thing(&few, &many, 80, 0), 70);
    }

    #[test]
    fn the_driver_is_not_counted_and_of_the_others_the_busiest() {
        let folder = tempfile::tempdir().expect("a folder");
        for (thread, total) in [(1, 9_000), (2, 300), (3, 20)] {
            let text = format!("version: 1\nthread: {thread}\nevents: Ir\n\ntotals: {total}\n");
            fs::write(folder.path().join(format!("out-0{thread}")), text).expect("a file");
        }
        fs::write(folder.path().join("out"), "version: 1\n").expect("a file");
        assert_eq!(busiest_thread(folder.path()).expect("a folder"), Some(300));
    }
}
