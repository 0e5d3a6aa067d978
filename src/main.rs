//! The corecast binary: read the command line, load, start, wait for signals.

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use anyhow::Context as _;
use corecast::admin::dashboard::Link;
use corecast::config::cli::{self, Arguments, Started};
use corecast::config::{Config, Listener, Reloaded};
use corecast::engine::{Builder, Engine, Inherited, Tls};
use corecast::logging::{self, Log};
use corecast::relay;
use corecast::start_log;
use corecast::systemd::{self, Notifier};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
#[cfg(target_env = "gnu")]
use tikv_jemallocator::Jemalloc;

/// jemalloc returns memory to the operating system after a peak, even if a small allocation of the
/// peak stays: the C library's allocator keeps all memory below such an allocation.
#[cfg(target_env = "gnu")]
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let started = match cli::start() {
        Ok(started) => started,
        Err(code) => return code,
    };
    match run(started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            eprintln!("corecast: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(started: Started) -> anyhow::Result<()> {
    let config = started.loaded.config;
    // Before any thread exists, since it changes the environment.
    let inherited = inherited(&config)?;
    let log = logging::start(&config.logging).context("cannot write the log")?;
    start_log::version();
    tracing::info!("{}", started.loaded.notice);
    if let Some(warning) = &started.loaded.warning {
        tracing::warn!("{warning}");
    }
    warn(&config);
    // Before the first connection is accepted: an early signal must not end the process at once.
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("cannot handle signals")?;
    let files_max = raise_open_files();
    let link = start_log::terminal_link(&config);
    let to_open = link.as_ref().map(|link| Arc::clone(&link.link));
    let mut builder = builder(&config, started.tls, files_max, to_open)?;
    for (socket, tls) in inherited {
        builder.inherit(socket, tls);
    }
    let engine = builder.start()?;
    start_log::started(&config, &engine, link);
    Notifier::watch(engine.view()).context("cannot start the watchdog")?;
    let notifier = Notifier::from_env();
    notifier.ready(&status(&engine));
    let mut running = Running {
        arguments: started.arguments,
        config,
        engine,
        log,
        files_max,
    };
    while signals.forever().next() == Some(SIGHUP) {
        notifier.reloading();
        running.reload();
        notifier.ready(&status(&running.engine));
    }
    notifier.stopping();
    let Running {
        engine, log: _log, ..
    } = running;
    tracing::info!("shutting down; a second signal ends the process at once");
    thread::spawn(move || {
        if let Some(signal) = signals.forever().find(|signal| *signal != SIGHUP) {
            std::process::exit(128 + signal);
        }
    });
    if engine.stop() {
        tracing::info!("all connections are closed");
    } else {
        tracing::warn!("shutdown timed out; remaining connections were dropped");
    }
    Ok(())
}

/// The sockets of the service manager, if the config names them.
fn inherited(config: &Config) -> anyhow::Result<Vec<(Inherited, bool)>> {
    if !config.server.listen.contains(&Listener::Systemd) {
        return Ok(Vec::new());
    }
    let sockets = systemd::inherited().context("cannot use a socket of the service manager")?;
    anyhow::ensure!(
        !sockets.is_empty(),
        "server.listen names systemd, and the service manager passed no sockets"
    );
    Ok(sockets)
}

/// Logs the warnings about a config that takes effect now.
fn warn(config: &Config) {
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
}

/// The status line for the service manager.
fn status(engine: &Engine) -> String {
    let places: Vec<String> = engine
        .listening()
        .iter()
        .map(|each| each.address.to_string())
        .collect();
    format!("listening on {}", places.join(", "))
}

fn builder(
    config: &Config,
    tls: Option<Tls>,
    files_max: usize,
    link: Option<Arc<Link>>,
) -> anyhow::Result<Builder> {
    let mut builder = relay::builder_with_link(config, files_max, link)?;
    if let Some(tls) = tls {
        builder.tls(tls);
    }
    Ok(builder)
}

/// The relay, and the data that it needs to reload its config.
struct Running {
    arguments: Arguments,
    config: Config,
    engine: Engine,
    log: Log,
    files_max: usize,
}

impl Running {
    /// Reloads config and certificates. If there is any problem with them, nothing changes.
    fn reload(&mut self) {
        match self.try_reload() {
            Ok(Reloaded { config, changes }) => {
                self.log.set_level(config.logging.level);
                self.config = config;
                warn(&self.config);
                for change in &changes {
                    if change.needs_restart {
                        tracing::warn!("{change} (takes effect after a restart)");
                    } else {
                        tracing::info!("{change}");
                    }
                }
                tracing::info!(
                    changes = changes.len(),
                    "config and certificates are reloaded"
                );
            }
            Err(error) => {
                self.engine.count_failed_reload();
                // A config may have several problems, one per line.
                for line in format!("{error:#}").lines() {
                    tracing::error!("not reloaded, the old config stays: {line}");
                }
            }
        }
    }

    fn try_reload(&mut self) -> anyhow::Result<Reloaded> {
        let reloaded = self.config.reloaded(self.arguments.reload()?.config)?;
        let tls = reloaded.config.server.load_tls(SystemTime::now())?;
        let builder = builder(&reloaded.config, tls, self.files_max, None)?;
        self.engine.reload(builder)?;
        Ok(reloaded)
    }
}

/// Raises the soft limit on open files to the hard one. Returns the limit in force.
fn raise_open_files() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let holds = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit on open files");
            current
        }
    };
    holds.map_or(usize::MAX, |files| {
        usize::try_from(files).unwrap_or(usize::MAX)
    })
}
