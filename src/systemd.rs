//! The service manager: the sockets that it passes (socket activation), and what it is told.
//!
//! Called by the binary alone. Without a service manager, which means without its variables in the
//! environment, nothing here does anything.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use listenfd::ListenFd;

use crate::engine::{Inherited, View};
use crate::limits::TURN_AGE_MAX;

/// Names of the sockets, separated by colons: `FileDescriptorName=` of the socket's unit.
const FD_NAMES: &str = "LISTEN_FDNAMES";
/// Where notifications go: the path of a Unix socket, or an abstract name behind `@`.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
/// How often the process has to say that it lives, at the least.
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
/// Which process has to.
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// The sockets that were passed to this process, and whether their clients speak TLS, as those do
/// whose name has `tls` in it.
///
/// Called before any other thread is there: the variables are removed, so that no child takes the
/// sockets for its own.
///
/// # Errors
///
/// What is passed is neither TCP nor a Unix stream socket.
pub fn inherited() -> io::Result<Vec<(Inherited, bool)>> {
    let names = std::env::var(FD_NAMES).unwrap_or_default();
    let mut names = names.split(':');
    let mut passed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..passed.len() {
        let tls = names.next().unwrap_or_default().contains("tls");
        let socket = match passed.take_tcp_listener(index) {
            Ok(listener) => listener.map(Inherited::Tcp),
            Err(_) => passed.take_unix_listener(index)?.map(Inherited::Unix),
        };
        sockets.extend(socket.map(|socket| (socket, tls)));
    }
    Ok(sockets)
}

/// Tells the service manager how it goes (`sd_notify(3)`).
pub struct Notifier {
    socket: Option<UnixDatagram>,
}

impl Notifier {
    /// The notifier of this process. Where there is no service manager it says nothing to nobody.
    pub fn from_env() -> Notifier {
        let name = std::env::var(NOTIFY_SOCKET).ok();
        let socket = name.filter(|name| !name.is_empty()).and_then(|name| {
            let connected = connect(&name);
            let tell = |error: &io::Error| tracing::warn!(%error, name, "cannot notify");
            connected.inspect_err(tell).ok()
        });
        Notifier { socket }
    }

    /// Everything listens.
    pub fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// The configuration is being read again; [`Notifier::ready`] follows.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now_us = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.say(&format!(
            "RELOADING=1\nMONOTONIC_USEC={now_us}\nSTATUS=reloading"
        ));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=shutting down");
    }

    fn say(&self, lines: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(lines.as_bytes())
        {
            tracing::warn!(%error, "the service manager could not be told");
        }
    }

    /// Where the service manager wants that, tells it from a thread of its own that the process
    /// lives, for as long as the loop of every shard turns. During a shutdown, which has a deadline
    /// of its own, shards may be gone.
    pub fn watch(view: View) -> io::Result<()> {
        let variable = |name| std::env::var(name).ok();
        let pid = std::process::id().to_string();
        let is_meant = variable(WATCHDOG_PID).is_none_or(|meant| meant == pid);
        let interval_us = variable(WATCHDOG_USEC).and_then(|us| us.parse::<u64>().ok());
        let Some(interval_us) = interval_us.filter(|us| is_meant && *us > 0) else {
            return Ok(());
        };
        let notifier = Notifier::from_env();
        if notifier.socket.is_none() {
            return Ok(());
        }
        // Half of the interval is what sd_watchdog_enabled(3) recommends.
        let interval = Duration::from_micros(interval_us) / 2;
        let thread = std::thread::Builder::new().name("watchdog".to_owned());
        thread.spawn(move || {
            loop {
                if is_turning(&view) {
                    notifier.say("WATCHDOG=1");
                }
                std::thread::sleep(interval);
            }
        })?;
        Ok(())
    }
}

fn is_turning(view: &View) -> bool {
    let is_recent = |age_ns| u128::from(age_ns) <= TURN_AGE_MAX.as_nanos();
    !view.is_ready() || view.turn_ages_ns().all(is_recent)
}

fn connect(name: &str) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    // A service manager that is stuck must not hold anything up.
    socket.set_write_timeout(Some(Duration::from_secs(1)))?;
    match name.strip_prefix('@') {
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            use std::os::unix::net::SocketAddr;
            socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
        }
        _ => socket.connect(name)?,
    }
    Ok(socket)
}

/// A status is one line.
fn one_line(status: &str) -> String {
    status.replace(char::is_control, " ")
}
