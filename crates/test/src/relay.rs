//! The binary, as a process of its own on free ports.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::{binary, eventually};

/// The binary on free ports.
pub struct Relay {
    child: Child,
    pub address: SocketAddr,
    /// Where its metrics are.
    pub admin: SocketAddr,
    /// All addresses, in the order of the configuration.
    pub addresses: Vec<SocketAddr>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Relay {
    /// Starts it with these arguments behind those that every test needs.
    pub fn start(arguments: &[&str]) -> Relay {
        Relay::start_by(&[], arguments)
    }

    /// The same by way of another program, whose arguments come first.
    pub fn start_by(by: &[&str], arguments: &[&str]) -> Relay {
        let mut child = spawn(by, arguments);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut log = String::new();
        let mut more = lines.by_ref().map_while(Result::ok);
        let addresses = loop {
            log += &more.next().expect("it says where it listens");
            log.push('\n');
            if let Some(addresses) = addresses_in(&log) {
                break addresses;
            }
        };
        let relay = Relay::new(child, addresses);
        // A test that does not read its log must not block it.
        let log = Arc::clone(&relay.log);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                log.lock().expect("a log").push(line);
            }
        });
        relay
    }

    /// The same, with a log that goes elsewhere: `log` reads what there is of it.
    pub fn start_logging_to(by: &[&str], arguments: &[&str], log: impl Fn(u32) -> String) -> Relay {
        let child = spawn(by, arguments);
        let mut addresses = None;
        eventually("it says where it listens", || {
            addresses = addresses_in(&log(child.id()));
            addresses.is_some()
        });
        Relay::new(child, addresses.unwrap())
    }

    fn new(child: Child, (addresses, admin): (Vec<SocketAddr>, SocketAddr)) -> Relay {
        Relay {
            child,
            address: addresses[0],
            admin,
            addresses,
            log: Arc::default(),
        }
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How many lines of its log have `text` in them, those before it listened aside.
    pub fn logged(&self, text: &str) -> usize {
        let log = self.log.lock().expect("a log");
        log.iter().filter(|line| line.contains(text)).count()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it runs");
    }

    pub fn exit_code(mut self) -> Option<i32> {
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

fn spawn(by: &[&str], arguments: &[&str]) -> Child {
    let binary = binary("corecast");
    let mut command = match by {
        [] => Command::new(binary),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary);
            command
        }
    };
    command
        .args(["--set", "server.host=127.0.0.1", "--set", "server.port=0"])
        .args(["--set", "metrics.port=0"])
        .args(arguments)
        .env_clear()
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs")
}

/// The addresses on which a relay listens, except for Unix sockets, and that of its metrics, which
/// it logs last.
fn addresses_in(log: &str) -> Option<(Vec<SocketAddr>, SocketAddr)> {
    let addresses = |of: &str| -> Vec<SocketAddr> {
        let lines = log.split_inclusive('\n').filter(|line| line.contains(of));
        // A line without an end is not complete yet.
        let places = lines.filter_map(|line| line.strip_suffix('\n')?.split_once("address="));
        places.filter_map(|(_, place)| place.parse().ok()).collect()
    };
    let admin = *addresses(" metrics and health ").first()?;
    Some((addresses(" listening "), admin))
}
