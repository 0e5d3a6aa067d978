//! The `loadgen` binary: read the command line, run, report.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{CommandFactory as _, Parser};
use loadgen::args::Ab;
use loadgen::cli::{Cli, Command};
use loadgen::history::Store;
use loadgen::live::Live;
use loadgen::pairs::run_pairs;
use loadgen::report::{Change, Report};
use loadgen::run::run;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

const USAGE_OR_CONNECTION: u8 = 2;
/// A delivery was wrong, or a condition of `--abort-if` held.
const WRONG_DELIVERIES: u8 = 3;
/// Worse than the report of `--compare`, or B worse than A.
const WORSE: u8 = 4;
/// No reader or no publisher was left.
const RELAY_GONE: u8 = 5;
const SECOND_SIGNAL: i32 = 130;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Some(Command::Ab(ab)) => compare(ab),
        Some(Command::History(history)) => history.run().map(|()| ExitCode::SUCCESS),
        Some(Command::Dashboard(dashboard)) => dashboard.run().map(|()| ExitCode::SUCCESS),
        Some(Command::Describe(what)) => Ok(what.run(Cli::command())),
        None => load(&cli),
    };
    done.unwrap_or_else(|error| {
        // If stderr is gone there is nobody to report to.
        let _ = writeln!(io::stderr(), "loadgen: {error:#}");
        ExitCode::from(USAGE_OR_CONNECTION)
    })
}

fn load(cli: &Cli) -> anyhow::Result<ExitCode> {
    let plan = cli.run.plan()?;
    cli.forms.check()?;
    let mut history = cli.history.as_deref().map(Store::open).transpose()?;
    let interrupt = interrupt_on_signals()?;
    let mut live = Live::new(cli.no_live);
    let report = run(&plan, &interrupt, &mut |snapshot| live.show(snapshot));
    drop(live);
    let report = report?;
    let earlier = history.as_ref().map(|history| history.earlier(&report));
    cli.forms
        .tell(&report, &earlier.transpose()?.unwrap_or_default())?;
    if let Some(history) = &mut history {
        history.add(&report)?;
    }
    Ok(ExitCode::from(exit_code(&report)))
}

fn compare(ab: &Ab) -> anyhow::Result<ExitCode> {
    let plan = ab.plan()?;
    ab.forms.check_pairs()?;
    let interrupt = interrupt_on_signals()?;
    let mut live = Live::new(ab.no_live);
    let report = run_pairs(&plan, &interrupt, &mut |snapshot| live.show(snapshot));
    drop(live);
    let report = report?;
    ab.forms.tell_pairs(&report)?;
    Ok(ExitCode::from(match report.verdict {
        _ if report.gone.is_some() => RELAY_GONE,
        _ if !report.right || report.aborted.is_some() => WRONG_DELIVERIES,
        Change::Worse => WORSE,
        _ => 0,
    }))
}

/// A flag that the first signal sets. The second signal ends the process and restores the terminal.
fn interrupt_on_signals() -> anyhow::Result<Arc<AtomicBool>> {
    let interrupt = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupt);
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for _ in signals.forever() {
                if flag.swap(true, Ordering::Relaxed) {
                    Live::restore();
                    std::process::exit(SECOND_SIGNAL);
                }
            }
        })?;
    Ok(interrupt)
}

fn exit_code(report: &Report) -> u8 {
    match report {
        Report::Relay(report) if report.is_gone() => RELAY_GONE,
        Report::Relay(report) if !report.right || report.aborted.is_some() => WRONG_DELIVERIES,
        Report::Relay(report) => match &report.comparison {
            Some(comparison) if comparison.verdict == Change::Worse => WORSE,
            _ => 0,
        },
        Report::Handshakes(_) => 0,
    }
}
