//! `corecast nostr`: moves the events of a Nostr endpoint in and out, and examines them.
//!
//! Called by [`crate::config::cli`], in a process that does nothing else. It opens the store as the
//! relay does, so the relay must not be running. `import` and `export` go on where a signal has
//! stopped them.

mod export;
mod import;
mod interrupt;
mod lines;
mod place;
mod position;
mod progress;
mod refused;
mod stats;
mod verify;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use corecast_nostr::{BulkLoader, CheckReport, DiskOptions, DiskStore, OpenError, Store as _};

use self::export::{Exported, Exporter};
use self::import::{Source, Target, import};
use self::interrupt::{EXIT_INTERRUPTED, Interrupt};
use self::place::{Found, Which};
use self::progress::{Progress, counted, grouped};
use self::stats::Stats;
use self::verify::Rules;
use crate::config::Config;

/// The exit code of an import that has refused lines.
const EXIT_REFUSED: u8 = 3;

/// The events of a Nostr endpoint, while the relay is stopped
#[derive(Debug, Subcommand)]
pub enum NostrCommand {
    /// Read events from a file into the store
    ///
    /// The file has a JSON object per line, as `strfry export` and `corecast nostr export` write
    /// it. Each event is verified. Lines that are not valid events are refused, and reported with
    /// their reasons; events that are stored already, are expired, or have been replaced or deleted
    /// are skipped. If it is interrupted, the same command goes on where it stopped. The settings
    /// `events.kinds`, `.past`, `.future` and `.pow` of the endpoint do not apply.
    ///
    /// Exit codes: 0 success; 1 failure; 3 success, but some lines were refused; 130 interrupted by
    /// a signal.
    Import(Import),

    /// Write all events to a file, in the order in which they were stored
    ///
    /// The file has a JSON object per line; `corecast nostr import` makes the same store from it.
    /// Deleted and expired events are not in it; requests to delete and to vanish are, and so are
    /// private events. It gets its name when it is complete. If the export is interrupted, the
    /// same command goes on where it stopped.
    ///
    /// Exit codes: 0 success; 1 failure; 130 interrupted by a signal.
    Export(Export),

    /// Compare the index of a store with its records
    ///
    /// Exit codes: 0 they agree; 1 they differ, or the store cannot be read.
    Check(Check),

    /// Print the number of events, by kind, and the sizes of a store
    Stats(StatsArguments),
}

/// `corecast nostr import`
#[derive(Debug, Args)]
pub struct Import {
    /// The file; - reads standard input, and cannot go on where it stopped
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Do not verify ids and signatures, for a file of events that your own relay has verified. If
    /// it has more events than the store, all of them are loaded at the end, or none
    #[arg(long)]
    trusted: bool,

    /// Begin with the first line, even if an earlier import of this file was interrupted
    #[arg(long)]
    anew: bool,

    #[command(flatten)]
    which: Which,
}

/// `corecast nostr export`
#[derive(Debug, Args)]
pub struct Export {
    /// The file, which is replaced if it exists; - writes to standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    which: Which,
}

/// `corecast nostr check`
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    which: Which,
}

/// `corecast nostr stats`
#[derive(Debug, Args)]
pub struct StatsArguments {
    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    which: Which,
}

impl NostrCommand {
    /// Runs the subcommand with this config.
    pub(crate) fn run(&self, config: &Config) -> ExitCode {
        let result = match self {
            NostrCommand::Import(import) => import.run(config),
            NostrCommand::Export(export) => export.run(config),
            NostrCommand::Check(check) => check.run(config),
            NostrCommand::Stats(stats) => stats.run(config),
        };
        result.unwrap_or_else(|error| {
            // If the reader of the pipe has gone, the error has no receiver.
            let is_pipe = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
            if error
                .chain()
                .any(|cause| cause.downcast_ref().is_some_and(is_pipe))
            {
                return ExitCode::SUCCESS;
            }
            let _ = writeln!(io::stderr(), "corecast: {error:#}");
            ExitCode::FAILURE
        })
    }
}

impl Import {
    fn run(&self, config: &Config) -> anyhow::Result<ExitCode> {
        let found = self.which.find(config)?;
        let named = || self.file.display().to_string();
        let source = Source::open(&self.file).with_context(named)?;
        let interrupt = Interrupt::on_signals()?;
        let rules = Rules {
            event_bytes_max: found.settings.events.bytes,
            is_trusted: self.trusted,
            urls: found.urls(),
            now: unix_now(),
        };
        let mut store = Some(open(&found, true)?);
        // Merging a large store with a small file would take longer than one commit after another.
        let has_less = |store: &DiskStore| store.size().0 as u64 <= source.events_about();
        let is_bulk = self.trusted && store.as_ref().is_some_and(has_less);
        if is_bulk {
            drop(store.take());
        }
        let target = match &store {
            Some(store) => Target::Store(store),
            None => {
                let loader = BulkLoader::open(&found.folder, &DiskOptions::default());
                Target::Bulk(Box::new(loader.map_err(in_use)?))
            }
        };
        let tally = import(target, source, self.anew, &rules, &interrupt).with_context(named)?;
        write!(io::stdout(), "{}", tally.report())?;
        if interrupt.has_come() {
            match is_bulk {
                true => eprintln!("interrupted: nothing was imported"),
                false => {
                    let line = grouped(tally.end.lines);
                    eprintln!("interrupted after line {line}; run the same command to go on");
                }
            }
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        }
        Ok(match tally.refused.count() {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::from(EXIT_REFUSED),
        })
    }
}

impl Export {
    fn run(&self, config: &Config) -> anyhow::Result<ExitCode> {
        let found = self.which.find(config)?;
        let interrupt = Interrupt::on_signals()?;
        let store = open(&found, false)?;
        let exporter = Exporter {
            store: &store,
            name: &found.folder.canonicalize()?,
            private: &found.private(),
            now: unix_now(),
            interrupt: &interrupt,
        };
        let exported = match self.file.to_str() {
            Some("-") => {
                let exported = exporter.to_stream(io::stdout().lock())?;
                (!interrupt.has_come()).then_some(exported)
            }
            _ => exporter.to_file(&self.file)?,
        };
        let Some(Exported {
            events, private, ..
        }) = exported
        else {
            eprintln!("interrupted; run the same command again to go on");
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        };
        let note = match private {
            0 => String::new(),
            private => format!(", {} of them private: protect the file", grouped(private)),
        };
        // Not on standard output, which may be the file.
        let _ = writeln!(io::stderr(), "{}{note}", counted(events, "event"));
        Ok(ExitCode::SUCCESS)
    }
}

impl Check {
    fn run(&self, config: &Config) -> anyhow::Result<ExitCode> {
        let found = self.which.find(config)?;
        let store = open(&found, false)?;
        let events = store.size().0 as u64;
        let mut progress = Progress::on_stderr(Some(events), 0);
        let report = store.check(&mut |done, _| progress.show(done, done, Instant::now()));
        progress.clear();
        let report = report?;
        let (events, keys) = (counted(report.events, "event"), grouped(report.keys));
        writeln!(io::stdout(), "{events}, {keys} keys of the index")?;
        for problem in problems(&report) {
            let _ = writeln!(io::stderr(), "{}: {problem}", found.folder.display());
        }
        Ok(match report.is_ok() {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }
}

/// The differences between index and records, each with advice.
fn problems(report: &CheckReport) -> Vec<String> {
    let mut problems = Vec::new();
    let (missing, surplus) = (report.missing, report.surplus);
    if missing + surplus + report.uncounted > 0 {
        problems.push(format!(
            "the index differs from the records: {} missing or wrong, {} too many, the number of \
             events is {} off; remove index.redb, and the next start builds it again",
            counted(missing, "key"),
            grouped(surplus),
            grouped(report.uncounted)
        ));
    }
    if report.doubled + report.unreadable > 0 {
        problems.push(format!(
            "the records are damaged: {} cannot be read, {} are there twice; restore the folder \
             from a backup, or export what can be read and import it into a new folder",
            grouped(report.unreadable),
            grouped(report.doubled)
        ));
    }
    problems
}

impl StatsArguments {
    fn run(&self, config: &Config) -> anyhow::Result<ExitCode> {
        let found = self.which.find(config)?;
        let interrupt = Interrupt::on_signals()?;
        let store = open(&found, false)?;
        let Some(mut stats) = Stats::of(&store, &interrupt)? else {
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        };
        stats.add_files(&found.folder)?;
        let text = match self.json {
            true => serde_json::to_string_pretty(&stats)? + "\n",
            false => stats.report(),
        };
        io::stdout().write_all(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Opens the store; a new one only if it `may_be_new`.
fn open(found: &Found, may_be_new: bool) -> anyhow::Result<DiskStore> {
    let folder = &found.folder;
    anyhow::ensure!(
        may_be_new || folder.exists(),
        "{}: this folder does not exist",
        folder.display()
    );
    DiskStore::open(folder, &DiskOptions::default()).map_err(in_use)
}

/// The error, with advice if the relay is running.
fn in_use(error: OpenError) -> anyhow::Error {
    match error {
        OpenError::InUse(_) => anyhow::anyhow!(
            "{error}: stop the relay first. While it runs, clients can read and write its events"
        ),
        error => error.into(),
    }
}

fn unix_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}
