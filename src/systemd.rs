//! The service manager: the sockets that it passes (socket activation), and the notifications that
//! it gets.
//!
//! Only the binary calls this. Without the variables of a service manager in the environment,
//! nothing here has an effect.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use listenfd::ListenFd;

use crate::engine::{Inherited, View};
use crate::limits::TURN_AGE_MAX;

/// Names of the sockets, separated by colons: `FileDescriptorName=` of the socket's unit.
const FD_NAMES: &str = "LISTEN_FDNAMES";
/// The socket for notifications: a path, or an abstract name after `@`.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
/// Longest interval between two notifications of the watchdog, in microseconds.
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
/// The process that must send them.
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// The sockets that were passed to this process, and whether their clients speak TLS: they do if
/// the name of the socket contains `tls`.
///
/// Call this before other threads exist: it removes the variables from the environment, so that a
/// child process does not use the sockets.
///
/// # Errors
///
/// A socket is neither a TCP nor a Unix stream socket.
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

/// Notifies the service manager (`sd_notify(3)`).
pub struct Notifier {
    socket: Option<UnixDatagram>,
}

impl Notifier {
    /// The notifier of this process. Without a service manager it does nothing.
    pub fn from_env() -> Notifier {
        let name = std::env::var(NOTIFY_SOCKET).ok();
        let socket = name.filter(|name| !name.is_empty()).and_then(|name| {
            let connected = connect(&name);
            let tell = |error: &io::Error| {
                tracing::warn!(%error, name, "cannot connect to the service manager");
            };
            connected.inspect_err(tell).ok()
        });
        Notifier { socket }
    }

    /// All listeners are open.
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

    /// The shutdown has begun.
    pub fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=shutting down");
    }

    fn say(&self, lines: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(lines.as_bytes())
        {
            tracing::warn!(%error, "cannot notify the service manager");
        }
    }

    /// If the service manager has a watchdog, a thread notifies it for as long as the loops of all
    /// shards turn. During a shutdown, which has a deadline of its own, shards may be gone.
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
        // sd_watchdog_enabled(3) recommends half of the interval.
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
    // A service manager that hangs must not block the relay.
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

/// A status must be a single line.
fn one_line(status: &str) -> String {
    status.replace(char::is_control, " ")
}
