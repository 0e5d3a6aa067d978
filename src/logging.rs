//! The log of the process.
//!
//! A thread of its own writes the lines, so that a slow disk or terminal never delays a shard; if
//! that thread cannot keep up, or the disk is full, lines are lost rather than connections. Failed
//! writes are counted, since the log itself cannot report them. Payloads, header values and secrets
//! are never logged.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

use crate::config::{LogFormat, LogLevel, LogOutput, LoggingConfig};

/// The permissions of a new log file: it contains addresses of clients, and programs that collect
/// logs are in its group. An existing file keeps its own.
const MODE: u32 = 0o640;

/// Failed writes. It is global since a process has one log.
static ERRORS: AtomicU64 = AtomicU64::new(0);

/// The number of lines that could not be written, or only in part.
pub fn errors() -> u64 {
    ERRORS.load(Ordering::Relaxed)
}

/// The log of the process. Dropping it writes all remaining lines.
pub struct Log {
    level: reload::Handle<LevelFilter, Registry>,
    _guard: WorkerGuard,
}

impl Log {
    /// From now on, logs events of this level and of higher severity.
    pub fn set_level(&self, level: LogLevel) {
        // It fails only if the subscriber is gone, which lives as long as the process.
        let _ = self.level.reload(filter(level));
    }
}

/// Starts the log.
///
/// # Errors
///
/// The file cannot be opened.
pub fn start(config: &LoggingConfig) -> io::Result<Log> {
    let (is_terminal, output): (bool, Box<dyn Write + Send>) = match &config.output {
        LogOutput::Stderr => (io::stderr().is_terminal(), Box::new(io::stderr())),
        LogOutput::Stdout => (io::stdout().is_terminal(), Box::new(io::stdout())),
        LogOutput::File(path) => {
            let mut options = OpenOptions::new();
            let file = options.create(true).append(true).mode(MODE).open(path);
            let named = |error| io::Error::other(format!("{}: {error}", path.display()));
            (false, Box::new(file.map_err(named)?))
        }
    };
    let (writer, guard) = NonBlocking::new(Counted(output));
    let (filter, level) = reload::Layer::new(filter(config.level));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(is_terminal && !is_colour_unwanted())
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

/// Whether `NO_COLOR` is set and not empty (<https://no-color.org>).
fn is_colour_unwanted() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// An output that counts its errors.
struct Counted(Box<dyn Write + Send>);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes);
        if written
            .as_ref()
            .is_err_and(|error| error.kind() != io::ErrorKind::Interrupted)
        {
            ERRORS.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
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
