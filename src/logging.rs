//! The log: where the events of the whole process go.
//!
//! Lines are written by a thread of their own, so that a slow disk or terminal never holds up a
//! shard; when that thread cannot keep up, lines are lost and not connections. Payloads, header
//! values and secrets are never logged.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write};

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};

use crate::config::{LogFormat, LogLevel, LogOutput, LoggingConfig};

/// Begins to log. What was logged is written when the guard is dropped.
///
/// # Errors
///
/// The file cannot be opened.
pub fn start(config: &LoggingConfig) -> io::Result<WorkerGuard> {
    let (is_terminal, output): (bool, Box<dyn Write + Send>) = match &config.output {
        LogOutput::Stderr => (io::stderr().is_terminal(), Box::new(io::stderr())),
        LogOutput::Stdout => (io::stdout().is_terminal(), Box::new(io::stdout())),
        LogOutput::File(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            let named = |error| io::Error::other(format!("{}: {error}", path.display()));
            (false, Box::new(file.map_err(named)?))
        }
    };
    let (writer, guard) = NonBlocking::new(output);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level(config.level))
        .with_writer(writer)
        .with_ansi(is_terminal)
        .with_target(false);
    match config.format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
    Ok(guard)
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
