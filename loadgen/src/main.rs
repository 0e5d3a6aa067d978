//! The `loadgen` binary: read the command line, run, report.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use loadgen::cli::Cli;
use loadgen::run::run;
use loadgen::snapshot::Snapshot;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

const USAGE_OR_CONNECTION: u8 = 2;
const WRONG_DELIVERIES: u8 = 3;
const SECOND_SIGNAL: i32 = 130;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match load(&cli) {
        Ok(code) => code,
        Err(error) => {
            // Where stderr is gone there is nobody to tell.
            let _ = writeln!(io::stderr(), "loadgen: {error:#}");
            ExitCode::from(USAGE_OR_CONNECTION)
        }
    }
}

fn load(cli: &Cli) -> anyhow::Result<ExitCode> {
    let plan = cli.run.plan()?;
    cli.forms.check()?;
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
    cli.forms.tell(&report, &[])?;
    Ok(ExitCode::from(if report.is_right() {
        0
    } else {
        WRONG_DELIVERIES
    }))
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
