//! Compares Corecast with the bare-socket floor and with peers, in one interleaved run.
//!
//! ```text
//! cases ──▶ each round: each contender ──▶ measure ──▶ stats ──▶ table | JSON | Markdown
//!                                            │
//!                       process (server, load generator) · procfs (CPU time, memory)
//! ```
//!
//! Contenders take turns, round by round, so that what disturbs the machine for a while disturbs
//! all of them; ratios are taken within a round, and their median is the figure. This program
//! builds nothing: `scripts/bench` does, and calls it. See `benches/README.md`.

mod cases;
mod load;
mod machine;
mod measure;
mod process;
mod procfs;
mod stats;
mod syscalls;
mod table;

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cases::{Case, Programs};
use crate::load::{Generator, strings};
use crate::machine::Machine;
use crate::measure::{Contender, Lab};
use crate::process::Cpus;
use crate::syscalls::Counts;
use crate::table::{CaseResult, Readings};

/// The name of the one case that is no ratio.
const SYSCALLS: &str = "syscalls";
const MISSED: u8 = 1;

/// Compares Corecast with the bare-socket floor and with other relays.
///
/// Exit codes: 0 every target reached, 1 a target missed or an error.
#[derive(Parser)]
struct Args {
    /// Rounds of each case [default: 9, with --quick 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Load of one reading in milliseconds [default: 2000, with --quick 600]
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..))]
    window_ms: Option<u64>,
    /// Fewer rounds and shorter readings: for a first look, not for publication
    #[arg(long)]
    quick: bool,
    /// Only this case; may be given several times. `--list` names them
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Name the cases and end
    #[arg(long)]
    list: bool,
    /// One more server; `{port}` in its command is the port to listen on, on 127.0.0.1
    #[arg(long = "server", value_name = "NAME=CMD", value_parser = parse_server)]
    servers: Vec<(String, Vec<String>)>,
    /// No peers but those of --server
    #[arg(long)]
    no_peers: bool,
    /// Where npm installed the peers
    #[arg(long, default_value = ".tools/peers")]
    peers: PathBuf,
    /// Where the programs are [default: beside this one]
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Where servers run and leave their logs
    #[arg(long, default_value = "target/compare", value_name = "FOLDER")]
    folder: PathBuf,
    /// Write all readings here, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table here, as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// All that `--json` writes.
#[derive(Serialize)]
struct Report {
    schema: u32,
    machine: Machine,
    rounds: u32,
    window_ms: u64,
    cases: Vec<CaseResult>,
    syscalls: Vec<Counts>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(MISSED),
        Err(error) => {
            eprintln!("compare: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True where every target was reached.
fn run(args: &Args) -> Result<bool> {
    let programs = programs(args)?;
    let cases = programs.cases(args.quick);
    if args.list {
        cases
            .iter()
            .for_each(|case| println!("{:<20} {}", case.name, case.title));
        println!("{SYSCALLS:<20} system calls in steady state");
        return Ok(true);
    }
    let is_known = |name: &String| name == SYSCALLS || cases.iter().any(|case| case.name == name);
    let unknown = args.cases.iter().find(|name| !is_known(name));
    ensure!(
        unknown.is_none(),
        "no case {:?}; --list names them",
        unknown.map_or("", |name| name)
    );
    let is_chosen = |name: &str| args.cases.is_empty() || args.cases.iter().any(|one| one == name);

    let (lab, machine) = lab(args)?;
    let rounds = args.rounds.unwrap_or(if args.quick { 3 } else { 9 });
    println!(
        "{}\n{rounds} rounds of {:?}\n\n{}",
        machine.text(),
        lab.window,
        table::head()
    );
    let mut results = Vec::new();
    for case in cases.iter().filter(|case| is_chosen(case.name)) {
        let result = measure_case(&lab, case, rounds)?;
        println!("{}", table::text(&result));
        results.push(result);
    }
    let syscalls = match is_chosen(SYSCALLS) {
        true => count_syscalls(&lab, &programs),
        false => Vec::new(),
    };
    let is_ok = results.iter().all(CaseResult::is_ok) && syscalls.iter().all(Counts::is_ok);
    write_markdown(args, &machine, &results)?;
    let window_ms = lab.window.as_millis() as u64;
    let report = Report {
        schema: 1,
        machine,
        rounds,
        window_ms,
        cases: results,
        syscalls,
    };
    write(args.json.as_deref(), || {
        Ok(serde_json::to_string_pretty(&report)? + "\n")
    })?;
    Ok(is_ok)
}

fn lab(args: &Args) -> Result<(Lab, Machine)> {
    let interrupt = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupt))?;
    }
    process::raise_open_files();
    fs::create_dir_all(&args.folder).context("making the folder for logs")?;
    write_certificate(&args.folder)?;
    let cpus = Cpus::of_this_process()?;
    let window_ms = args
        .window_ms
        .unwrap_or(if args.quick { 600 } else { 2_000 });
    let program = program(args, "loadgen")?;
    ensure!(program.exists(), "{} is not built", program.display());
    let lab = Lab {
        generator: Generator {
            program,
            cpus,
            interrupt,
        },
        folder: args.folder.canonicalize()?,
        window: Duration::from_millis(window_ms),
    };
    Ok((lab, Machine::describe(&cpus)))
}

/// What servers over TLS present: `cert.pem` and `key.pem` in the folder where they run.
fn write_certificate(folder: &Path) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    fs::write(folder.join("cert.pem"), made.cert.pem())?;
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())?;
    Ok(())
}

/// A program of this workspace: servers run in another folder, so the path is absolute.
fn program(args: &Args, name: &str) -> Result<PathBuf> {
    let folder = match &args.programs {
        Some(folder) => folder.canonicalize().context("--programs")?,
        None => std::env::current_exe()?
            .parent()
            .context("no folder")?
            .to_owned(),
    };
    Ok(folder.join(name))
}

fn programs(args: &Args) -> Result<Programs> {
    let mut peers = Vec::new();
    if !args.no_peers {
        let tokio = program(args, "peer-tokio-tungstenite")?;
        peers.push(("tokio-tungstenite", command(&tokio, &["{port}"])));
        peers.push(("npm ws", npm_peer(&args.peers, "ws.js", Path::new("node"))));
        let bun = bun(&args.peers);
        peers.push((
            "Bun publish",
            bun.and_then(|bun| npm_peer(&args.peers, "bun.js", &bun)),
        ));
    }
    let named = |(name, command): (&str, _)| (name.to_owned(), command);
    let mut peers: Vec<_> = peers.into_iter().map(named).collect();
    peers.extend(
        args.servers
            .iter()
            .map(|(name, command)| (name.clone(), Ok(command.clone()))),
    );
    let (relay, floor) = (program(args, "corecast")?, program(args, "floor")?);
    Ok(Programs {
        relay,
        floor,
        peers,
    })
}

/// The command of a program with `args`, or why there is none.
fn command(program: &Path, args: &[&str]) -> Result<Vec<String>, String> {
    let all = [strings(&[&program.to_string_lossy()]), strings(args)].concat();
    match program.components().count() == 1 || program.exists() {
        true => Ok(all),
        false => Err(format!("{} is not there", program.display())),
    }
}

/// A peer's script in the folder where npm installed what it needs.
fn npm_peer(folder: &Path, script: &str, runtime: &Path) -> Result<Vec<String>, String> {
    let script = folder.join(script).canonicalize();
    let script = script.map_err(|_| "npm did not install it (see scripts/bench)".to_owned())?;
    command(runtime, &[&script.to_string_lossy(), "{port}"])
}

/// Bun's program, in the package for this platform: its own installation script need not have run.
fn bun(folder: &Path) -> Result<PathBuf, String> {
    let platforms = fs::read_dir(folder.join("node_modules/@oven"))
        .into_iter()
        .flatten();
    let programs = platforms
        .flatten()
        .map(|platform| platform.path().join("bin/bun"));
    let found = programs
        .filter_map(|program| program.canonicalize().ok())
        .next();
    found.ok_or_else(|| "npm did not install Bun (see scripts/bench)".to_owned())
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

/// All rounds of one case. A contender that fails twice running is left out of the rest.
fn measure_case(lab: &Lab, case: &Case, rounds: u32) -> Result<CaseResult> {
    let mut readings: Vec<Readings> = case.contenders.iter().map(|_| (Vec::new(), None)).collect();
    for round in 1..=rounds {
        for index in order(round, case.contenders.len()) {
            let contender = &case.contenders[index];
            let (all, unavailable) = &mut readings[index];
            progress(&format!(
                "{} {round}/{rounds}: {}",
                case.name, contender.name
            ));
            all.push(match failures(all) {
                2.. => None,
                _ => read(lab, contender, unavailable)?,
            });
        }
    }
    progress("");
    Ok(CaseResult::new(case, readings))
}

/// Whose turn it is, one after the other: each round begins with another contender, and every other
/// one goes backwards. What a server leaves behind (a CPU at another clock, a host that has given
/// time to others) then does not always meet the same successor.
fn order(round: u32, contenders: usize) -> Vec<usize> {
    let first = round as usize / 2;
    let mut order: Vec<usize> = (0..contenders)
        .map(|at| (first + at) % contenders)
        .collect();
    if round.is_multiple_of(2) {
        order.reverse();
    }
    order
}

/// On a terminal: what is going on, in a line that is written over.
fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r{text}\x1b[K");
    }
}

/// Rounds that failed, up to now, one after the other.
fn failures<T>(readings: &[Option<T>]) -> usize {
    readings
        .iter()
        .rev()
        .take_while(|reading| reading.is_none())
        .count()
}

fn read(
    lab: &Lab,
    contender: &Contender,
    unavailable: &mut Option<String>,
) -> Result<Option<measure::Reading>> {
    match lab.read(contender) {
        Ok(reading) => Ok(Some(reading)),
        Err(error) if lab.generator.interrupt.load(Ordering::Relaxed) => Err(error),
        Err(error) => {
            *unavailable = Some(format!("{error:#}"));
            Ok(None)
        }
    }
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

fn write_markdown(args: &Args, machine: &Machine, results: &[CaseResult]) -> Result<()> {
    write(args.markdown.as_deref(), || {
        Ok(table::markdown(&machine.text(), results))
    })
}

fn write(file: Option<&Path>, text: impl FnOnce() -> Result<String>) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    fs::write(file, text()?).with_context(|| format!("writing {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn nobody_always_comes_after_the_same() {
        assert_eq!(order(1, 3), [0, 1, 2]);
        assert_eq!(order(2, 3), [0, 2, 1]);
        assert_eq!(order(3, 3), [1, 2, 0]);
        for contenders in 2..6 {
            for first in 0..contenders {
                let firsts = (1..=2 * contenders as u32).map(|round| order(round, contenders)[0]);
                assert_eq!(firsts.filter(|one| *one == first).count(), 2);
            }
        }
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
    fn failures_are_counted_from_the_last_success() {
        assert_eq!(failures(&[None, Some(1), None, None]), 2);
        assert_eq!(failures(&[None, Some(1)]), 0);
        assert_eq!(failures::<i32>(&[]), 0);
    }
}
