//! Compares Corecast with the bare-socket floor and with peers, in one interleaved run.
//!
//! ```text
//! cases ──▶ each round: each contender ──▶ measure ──▶ stats ──▶ table | NAME.json ──▶ report
//!                                            │
//!                       process (server, load generator) · procfs (CPU time, memory)
//! ```
//!
//! Contenders take turns, round by round, so that a disturbance of the machine affects all of them;
//! ratios are taken within a round, and their median is the figure. This program builds nothing:
//! `scripts/bench` builds the programs and calls it. See `benches/README.md`.

mod awake;
mod cases;
mod comparison;
mod fairness;
mod load;
mod machine;
mod measure;
mod nostr;
mod process;
mod procfs;
mod programs;
mod report;
mod results;
mod scaling;
mod stats;
mod syscalls;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::cases::Tier;
use crate::comparison::Plan;
use crate::programs::Places;
use crate::results::parse_name;

const MISSED: u8 = 1;

/// Compares Corecast with the bare-socket floor and with other relays.
///
/// Exit codes: 0 every target reached, 1 a target missed or an error.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    comparison: Comparison,
    #[command(flatten)]
    folders: Folders,
}

#[derive(Subcommand)]
enum Command {
    /// Write the report of earlier results: Markdown, HTML, a picture, the table of
    /// docs/benchmarks.md
    Report {
        /// The run [default: comparison, else quick]
        #[arg(long, value_name = "NAME", value_parser = parse_name)]
        name: Option<String>,
    },
    /// Measure 1, 2, 4, … shards against generators on the remaining cores
    Scaling(ScalingArgs),
    /// Measure this relay beside other Nostr relays
    Nostr(nostr::Args),
    /// Measure a well-behaved pair beside possible disturbances, and the memory that clients make a
    /// relay hold
    Fairness(FairnessArgs),
    /// The pair of `fairness`
    #[command(hide = true, name = fairness::PAIR)]
    Pair(fairness::PairArgs),
    /// A disturbance of `fairness`
    #[command(hide = true, name = fairness::DISTURB)]
    Disturb(fairness::DisturbArgs),
    /// The control of `fairness`
    #[command(hide = true, name = fairness::BURN)]
    Burn(fairness::BurnArgs),
    /// Keep a CPU busy, as the comparison does on a virtual machine
    #[command(hide = true, name = awake::COMMAND)]
    Spin,
}

#[derive(clap::Args)]
struct ScalingArgs {
    /// Rounds of each step
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Load of one reading in milliseconds
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(100..))]
    window_ms: u64,
    /// Count every hardware thread as a core [default: one thread of each core]
    #[arg(long)]
    all_threads: bool,
    /// Keep all readings in the results as NAME.json [default: scaling-N-cores]
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    name: Option<String>,
}

#[derive(clap::Args)]
struct FairnessArgs {
    /// Shorter readings, for a first look
    #[arg(long)]
    quick: bool,
    /// Only this row; may be given several times. `--list` shows the names
    #[arg(long = "row", value_name = "NAME")]
    rows: Vec<String>,
    /// List the rows and exit
    #[arg(long)]
    list: bool,
    /// Another relay's program, which takes turns with this one
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Keep all results as NAME.json [default: fairness, with --quick fairness-quick; with --row
    /// none]
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    name: Option<String>,
}

#[derive(clap::Args)]
struct Folders {
    /// Directory of the peers that npm and Go installed
    #[arg(long, default_value = ".tools/peers", global = true)]
    peers: PathBuf,
    /// Directory of the programs [default: that of this one]
    #[arg(long, value_name = "FOLDER", global = true)]
    programs: Option<PathBuf>,
    /// Directory where servers run and leave their logs
    #[arg(
        long,
        default_value = "target/compare",
        value_name = "FOLDER",
        global = true
    )]
    folder: PathBuf,
    /// Directory of all readings, which the report is made from
    #[arg(
        long,
        default_value = "target/bench",
        value_name = "FOLDER",
        global = true
    )]
    results: PathBuf,
    /// Directory of the report
    #[arg(
        long,
        default_value = "benches/results",
        value_name = "FOLDER",
        global = true
    )]
    report: PathBuf,
    /// A text file that gets the report's table between its two markers
    #[arg(
        long,
        default_value = "docs/benchmarks.md",
        value_name = "FILE",
        global = true
    )]
    page: PathBuf,
}

#[derive(clap::Args)]
struct Comparison {
    /// Rounds of each case [default: 7, with --quick 3, with --full 9]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Load of one reading in milliseconds [default: 1000, with --quick 400, with --full 2000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..))]
    window_ms: Option<u64>,
    /// Few cases, rounds and milliseconds: for a first look, not for publication
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Every case, and longer readings: takes hours
    #[arg(long)]
    full: bool,
    /// Only this case; may be given several times. `--list` shows the names
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// List the cases with the smallest run that includes them, and exit
    #[arg(long)]
    list: bool,
    /// One more server; `{port}` in its command is the port to listen on, on 127.0.0.1
    #[arg(long = "server", value_name = "NAME=CMD", value_parser = parse_server)]
    servers: Vec<(String, Vec<String>)>,
    /// Another build of the relay, which takes turns with this one: each case shows whether this
    /// one is worse
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// No peers but those of --server
    #[arg(long)]
    no_peers: bool,
    /// Keep all readings in the results as NAME.json [default: comparison, with --quick quick, with
    /// --against against, with --case none]
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    name: Option<String>,
    /// Write all readings here too, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table here, as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.command {
        None => compare(&args.comparison, &args.folders),
        Some(Command::Report { name }) => {
            make_report(&args.folders, name.as_deref()).map(|()| true)
        }
        Some(Command::Spin) => {
            awake::spin();
            Ok(true)
        }
        Some(Command::Nostr(wanted)) => compare_nostr(wanted, &args.folders),
        Some(Command::Fairness(wanted)) => be_fair(wanted, &args.folders),
        Some(Command::Pair(args)) => fairness::pair(args).map(|()| true),
        Some(Command::Disturb(args)) => fairness::disturb(args).map(|()| true),
        Some(Command::Burn(args)) => {
            fairness::burn(args);
            Ok(true)
        }
        Some(Command::Scaling(wanted)) => scale(wanted, &args.folders).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(MISSED),
        Err(error) => {
            eprintln!("compare: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Folders {
    fn places(&self) -> Places<'_> {
        Places {
            programs: self.programs.as_deref(),
            peers: &self.peers,
        }
    }
}

impl Comparison {
    fn plan(&self, folders: &Folders) -> Plan {
        let (tier, rounds, window_ms, default_name) = match (self.quick, self.full) {
            (true, _) => (Tier::Quick, 3, 400, "quick"),
            (_, true) => (Tier::Full, 9, 2_000, "comparison"),
            _ => (Tier::Default, 7, 1_000, "comparison"),
        };
        let default_name = match self.against {
            Some(_) => "against",
            None => default_name,
        };
        let name = self.name.as_deref();
        let name = name.or(self.cases.is_empty().then_some(default_name));
        Plan {
            tier,
            names: self.cases.clone(),
            rounds: self.rounds.unwrap_or(rounds),
            window: Duration::from_millis(self.window_ms.unwrap_or(window_ms)),
            file: name.map(|name| folders.results.join(format!("{name}.json"))),
        }
    }
}

/// True if every target was reached.
fn compare(args: &Comparison, folders: &Folders) -> Result<bool> {
    let places = folders.places();
    let mut programs = places.all(!args.no_peers, &args.servers)?;
    programs.against = args.against.as_deref().map(absolute).transpose()?;
    let plan = args.plan(folders);
    if args.list {
        println!("{}", comparison::list(&programs.cases(args.quick)));
        return Ok(true);
    }
    let lab = comparison::lab(places.own("loadgen")?, &folders.folder, plan.window)?;
    fs::create_dir_all(&folders.results).context("creating the folder for results")?;
    let run = comparison::run(&lab, &programs, &plan)?;
    // A quick run or one against another build is not for publication: it does not replace the
    // report.
    if plan.names.is_empty() && !args.quick && args.against.is_none() {
        make_report(folders, None)?;
    }
    if let Some(file) = &args.json {
        run.write(file)?;
    }
    if let Some(file) = &args.markdown {
        results::write_whole(file, &table::markdown(&run))?;
    }
    Ok(run.is_ok())
}

fn scale(args: &ScalingArgs, folders: &Folders) -> Result<()> {
    let places = folders.places();
    let programs = places.all(false, &[])?;
    let window = Duration::from_millis(args.window_ms);
    let lab = comparison::lab(places.own("loadgen")?, &folders.folder, window)?;
    fs::create_dir_all(&folders.results).context("creating the folder for results")?;
    let plan = scaling::Plan {
        rounds: args.rounds,
        all_threads: args.all_threads,
    };
    let scaling = scaling::run(&lab, &programs, &plan)?;
    let name = args.name.clone().unwrap_or_else(|| scaling.default_name());
    let file = folders.results.join(format!("{name}.json"));
    scaling.write(&file)?;
    println!("wrote {}", file.display());
    Ok(())
}

/// True if every target was reached.
fn compare_nostr(args: &nostr::Args, folders: &Folders) -> Result<bool> {
    let places = folders.places();
    let window = Duration::from_millis(args.window_ms);
    let lab = comparison::lab(places.own("loadgen")?, &folders.folder, window)?;
    let plan = args.plan(places.own("corecast")?, &folders.results)?;
    nostr::run(&lab, &plan)
}

/// True if every figure is within its limit.
fn be_fair(args: &FairnessArgs, folders: &Folders) -> Result<bool> {
    if args.list {
        println!("{}", fairness::list());
        return Ok(true);
    }
    let places = folders.places();
    let default_name = match args.quick {
        true => "fairness-quick",
        false => "fairness",
    };
    let name = args.name.as_deref();
    let name = name.or(args.rows.is_empty().then_some(default_name));
    let plan = fairness::Plan {
        relay: places.own("corecast")?,
        against: args.against.as_deref().map(absolute).transpose()?,
        rows: args.rows.clone(),
        is_quick: args.quick,
        file: name.map(|name| folders.results.join(format!("{name}.json"))),
    };
    let lab = comparison::lab(places.own("loadgen")?, &folders.folder, Duration::ZERO)?;
    fs::create_dir_all(&folders.results).context("creating the folder for results")?;
    fairness::run(&lab, &plan)
}

/// Absolute, because servers run in another folder.
fn absolute(program: &Path) -> Result<PathBuf> {
    let found = program.canonicalize();
    found.with_context(|| format!("there is no {}", program.display()))
}

fn make_report(folders: &Folders, name: Option<&str>) -> Result<()> {
    let request = report::Request {
        folder: &folders.results,
        report: &folders.report,
        name,
        page: Some(&folders.page),
    };
    for file in report::write(&request)? {
        println!("wrote {}", file.display());
    }
    Ok(())
}

fn parse_server(text: &str) -> Result<(String, Vec<String>), String> {
    let (name, command) = text.split_once('=').ok_or("expected NAME=CMD")?;
    if !command.contains("{port}") {
        return Err("the command must say {port} where the port goes".to_owned());
    }
    Ok((
        name.to_owned(),
        command.split_whitespace().map(str::to_owned).collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::strings;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn a_server_needs_a_name_and_a_port() {
        let parsed = parse_server("mine=./relay --port {port}").expect("a good one");
        assert_eq!(
            parsed,
            ("mine".to_owned(), strings(&["./relay", "--port", "{port}"]))
        );
        assert!(parse_server("./relay").is_err() && parse_server("mine=./relay").is_err());
    }

    #[test]
    fn single_cases_are_stored_only_on_request() {
        let file = |line: &[&str]| {
            let args = Args::parse_from([&["compare"], line].concat());
            let file = args.comparison.plan(&args.folders).file;
            file.map(|file| file.to_string_lossy().into_owned())
        };
        let kept = |name: &str| Some(format!("target/bench/{name}.json"));
        assert_eq!(file(&[]), kept("comparison"));
        assert_eq!(file(&["--full"]), kept("comparison"));
        assert_eq!(file(&["--quick"]), kept("quick"));
        assert_eq!(file(&["--quick", "--against", "old"]), kept("against"));
        assert_eq!(file(&["--case", "idle"]), None);
        assert_eq!(file(&["--case", "idle", "--name", "a-b"]), kept("a-b"));
        assert!(parse_name("../x").is_err() && parse_name(".x").is_err());
    }
}
