//! The corecast binary: read the command line, load, start, wait for signals.

use std::process::ExitCode;
use std::thread;

use anyhow::Context as _;
use corecast::config::cli::{self, Loaded};
use corecast::config::{Config, Listener};
use corecast::engine::{Engine, Inherited, Listen};
use corecast::systemd::{self, Notifier};
use corecast::{logging, relay};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

fn main() -> ExitCode {
    let loaded = match cli::start() {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    match run(&loaded) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            eprintln!("corecast: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(loaded: &Loaded) -> anyhow::Result<()> {
    // Before there are threads: the environment is changed.
    let inherited = inherited(&loaded.config)?;
    let _log = logging::start(&loaded.config.logging).context("cannot write the log")?;
    tracing::info!("{}", loaded.notice);
    // Before anything is accepted: a signal that comes early must not end the process unheard.
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot handle signals")?;
    let notifier = Notifier::from_env();
    let mut builder = relay::builder(&loaded.config, raise_open_files())?;
    for (socket, tls) in inherited {
        builder.inherit(socket, tls);
    }
    let engine = builder.start()?;
    for Listen { address, tls } in engine.listening() {
        match tls {
            true => tracing::info!(tls, %address, "listening"),
            false => tracing::info!(%address, "listening"),
        }
    }
    for address in engine.admin_addresses() {
        tracing::info!(%address, "metrics and health");
    }
    Notifier::watch(engine.view()).context("cannot start the watchdog")?;
    notifier.ready(&status(&engine));
    signals.forever().next();
    notifier.stopping();
    tracing::info!("shutting down; a second signal ends the process at once");
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            std::process::exit(128 + signal);
        }
    });
    if engine.stop() {
        tracing::info!("all connections are closed");
    } else {
        tracing::warn!("the time for a graceful shutdown is over: connections were cut");
    }
    Ok(())
}

/// The sockets of the service manager, where the config names them.
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

/// One line for the service manager.
fn status(engine: &Engine) -> String {
    let places: Vec<String> = engine
        .listening()
        .iter()
        .map(|each| each.address.to_string())
        .collect();
    format!("listening on {}", places.join(", "))
}

/// Raises the soft limit on open files to the hard one. Returns the limit that holds now.
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
