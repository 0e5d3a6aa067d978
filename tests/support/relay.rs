//! The binary, as a process of its own on a free port.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use super::eventually;

/// The binary on a free port.
pub(crate) struct Relay {
    child: Child,
    pub(crate) address: std::net::SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Relay {
    /// Starts it with these arguments behind those that every test needs.
    pub(crate) fn start(arguments: &[&str]) -> Relay {
        Relay::start_by(&[], arguments)
    }

    /// The same by way of another program, whose arguments come first.
    pub(crate) fn start_by(by: &[&str], arguments: &[&str]) -> Relay {
        let binary = env!("CARGO_BIN_EXE_corecast");
        let mut command = Command::new(by.first().unwrap_or(&binary));
        if let [_, arguments @ ..] = by {
            command.args(arguments).arg(binary);
        }
        let mut child = command
            .args(["--host", "127.0.0.1", "--port", "0"])
            .args(["--set", "metrics.port=0"])
            .args(arguments)
            .env_clear()
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .filter(|line| line.contains(" listening "))
            .find_map(|line| line.split_once("address=")?.1.parse().ok())
            .expect("it says where it listens");
        let log = Arc::new(Mutex::new(Vec::new()));
        let relay = Relay {
            child,
            address,
            log: Arc::clone(&log),
        };
        // Whoever does not read its log must not hold it up.
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                log.lock().expect("a log").push(line);
            }
        });
        relay
    }

    /// How many lines of its log have `text` in them, those before it listened aside.
    pub(crate) fn logged(&self, text: &str) -> usize {
        let log = self.log.lock().expect("a log");
        log.iter().filter(|line| line.contains(text)).count()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it runs");
    }

    pub(crate) fn exit_code(mut self) -> Option<i32> {
        let mut status = None;
        eventually("the process ends", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
