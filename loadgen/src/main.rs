//! The `loadgen` binary: read the command line, run, report.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use loadgen::args::{Args, Output};
use loadgen::report::{Change, Report};
use loadgen::run::run;
use loadgen::snapshot::Snapshot;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

const USAGE_OR_CONNECTION: u8 = 2;
/// Wrong deliveries, or a condition of `--abort-if`.
const WRONG_DELIVERIES: u8 = 3;
/// Than the report of `--compare`.
const WORSE: u8 = 4;
const SECOND_SIGNAL: i32 = 130;

fn main() -> ExitCode {
    let args = Args::parse();
    match load(&args) {
        Ok(code) => code,
        Err(error) => {
            // Where stderr is gone there is nobody to tell.
            let _ = writeln!(io::stderr(), "loadgen: {error:#}");
            ExitCode::from(USAGE_OR_CONNECTION)
        }
    }
}

fn load(args: &Args) -> anyhow::Result<ExitCode> {
    let plan = args.plan()?;
    let interrupt = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the first signal finds the flag unset, and sets it.
        flag::register_conditional_shutdown(signal, SECOND_SIGNAL, Arc::clone(&interrupt))?;
        flag::register(signal, Arc::clone(&interrupt))?;
    }
    let progress = ProgressLine::new();
    let report = run(&plan, &interrupt, &mut |snapshot| progress.show(snapshot));
    progress.clear();
    let report = report?;
    let text = match args.output {
        Output::Text => report.text(),
        Output::Json => report.json()?,
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::from(exit_code(&report)))
}

fn exit_code(report: &Report) -> u8 {
    match report {
        Report::Relay(report) if !report.right || report.aborted.is_some() => WRONG_DELIVERIES,
        Report::Relay(report) => match &report.comparison {
            Some(comparison) if comparison.verdict == Change::Worse => WORSE,
            _ => 0,
        },
        Report::Handshakes(_) => 0,
    }
}

/// The progress line, where stderr is a terminal.
struct ProgressLine {
    is_shown: bool,
}

impl ProgressLine {
    fn new() -> Self {
        Self {
            is_shown: io::stderr().is_terminal(),
        }
    }

    fn show(&self, now: &Snapshot) {
        if self.is_shown {
            let phase = match now.remaining_ms {
                Some(left_ms) => format!("{}, {} s left", now.phase, left_ms.div_ceil(1000)),
                None => now.phase.to_string(),
            };
            let Snapshot {
                connected,
                sent,
                received,
                ..
            } = now;
            // Carriage return, text, clear to the end of the line.
            let _ = write!(
                io::stderr(),
                "\r{phase} · {connected} connected · {sent} sent · {received} delivered\x1b[K"
            );
        }
    }

    fn clear(&self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
