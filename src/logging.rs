//! The log: where the events of the whole process go.
//!
//! Lines are written by a thread of their own, so that a slow disk or terminal never holds up a
//! shard; when that thread cannot keep up, lines are lost and not connections. Payloads, header
//! values and secrets are never logged.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write};

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

use crate::config::{LogFormat, LogLevel, LogOutput, LoggingConfig};

/// The log of the process. What was logged is written when it is dropped.
pub struct Log {
    level: reload::Handle<LevelFilter, Registry>,
    _guard: WorkerGuard,
}

impl Log {
    /// Logs events of this level and more important ones from now on.
    pub fn set_level(&self, level: LogLevel) {
        // It lives as long as the process does.
        let _ = self.level.reload(filter(level));
    }
}

/// Begins to log.
///
/// # Errors
///
/// The file cannot be opened.
pub fn start(config: &LoggingConfig) -> io::Result<Log> {
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
    let (filter, level) = reload::Layer::new(filter(config.level));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(is_terminal)
        .with_target(false);
    let subscriber = tracing_subscriber::registry().with(filter);
    match config.format {
        LogFormat::Text => subscriber.with(lines).init(),
        LogFormat::Json => subscriber.with(lines.json().flatten_event(true)).init(),
    }
    Ok(Log {
        level,
        _guard: guard,
    })
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
