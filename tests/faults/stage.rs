//! The stage of a row: a relay, its witness, and its metrics.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::client::Client;
use crate::support::relay::Relay;
use crate::support::{eventually, polled};
use crate::witness::Witness;

/// The families of metrics that count faults.
const FAULTS: [&str; 9] = [
    "accept_errors",
    "closed",
    "dropped_frames",
    "endpoint_panics",
    "inflations_refused",
    "log_errors",
    "refused",
    "send_errors",
    "slow_client_actions",
];

/// Members of a witness, beside the publisher.
const MEMBERS: usize = 4;

/// The values of `/metrics`, by series.
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    pub(crate) fn of(relay: &Relay) -> Metrics {
        let mut client = Client::connect(relay.admin);
        let request = "GET /metrics HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n";
        client.send(request.as_bytes());
        let answer = client.answer();
        assert_eq!(answer.status, 200, "{}", answer.head);
        let text = String::from_utf8(answer.body).expect("UTF-8");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let values = lines.map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            (series.to_owned(), value.parse().expect("a number"))
        });
        Metrics(values.collect())
    }

    /// The value of a series that must exist.
    pub(crate) fn value(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("no {series}"))
    }

    /// Connections in a state.
    pub(crate) fn connections(&self, state: &str) -> f64 {
        self.value(&format!("corecast_connections{{state=\"{state}\"}}"))
    }

    /// The faults that were counted, by family and label: `closed slow_bytes`, `accept_errors`. A
    /// client that closes properly is not a fault.
    pub(crate) fn faults(&self) -> BTreeMap<String, u64> {
        let named = self.0.iter().filter_map(|(series, value)| {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let family = name.strip_prefix("corecast_")?.strip_suffix("_total")?;
            let label = labels.split('"').nth(1).unwrap_or_default();
            let fault = format!("{family} {label}").trim_end().to_owned();
            let is_fault = FAULTS.contains(&family) && fault != "closed client_closed";
            (is_fault && *value > 0.0).then_some((fault, *value as u64))
        });
        named.collect()
    }
}

/// A relay with a witness.
pub(crate) struct Stage {
    pub(crate) relay: Relay,
    pub(crate) witness: Witness,
    files_before: usize,
}

impl Stage {
    /// A relay on two shards with these further settings, each `key=value`.
    pub(crate) fn start(settings: &[&str]) -> Stage {
        Stage::start_by(&[], settings)
    }

    /// The same through another program, whose arguments come first.
    pub(crate) fn start_by(by: &[&str], settings: &[&str]) -> Stage {
        Stage::on(Relay::start_by(by, &arguments(settings)))
    }

    /// Gathers the witness.
    pub(crate) fn on(relay: Relay) -> Stage {
        let files_before = open_files(&relay);
        let connect = || TcpStream::connect(relay.address).expect("a connection");
        let witness = Witness::gather((0..=MEMBERS).map(|_| connect()));
        let metrics = Metrics::of(&relay);
        for shard in 0..2 {
            let of_shard = format!("corecast_shard_connections{{shard=\"{shard}\"}}");
            assert!(metrics.value(&of_shard) >= 2.0, "nobody on shard {shard}");
        }
        witness.goes_on();
        Stage {
            relay,
            witness,
            files_before,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.relay.address
    }

    /// A connection that has sent nothing.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.relay.address)
    }

    /// A WebSocket at `path`.
    pub(crate) fn open(&self, path: &str) -> Client {
        Client::open(self.relay.address, path)
    }

    /// A client's proper end.
    pub(crate) fn leave(&self, mut client: Client) {
        client.close(1000);
        client.expect_close(1000);
        client.expect_end();
    }

    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::of(&self.relay)
    }

    /// How often a fault was counted.
    pub(crate) fn count(&self, fault: &str) -> u64 {
        let faults = self.metrics().faults();
        faults.get(fault).copied().unwrap_or_default()
    }

    /// Waits until a fault has this count.
    pub(crate) fn wait_for(&self, fault: &str, count: u64) {
        eventually(fault, || self.count(fault) >= count);
    }

    /// The end of a row: no other client was harmed, all resources were released, exactly these
    /// faults were counted, and the relay exits on request.
    pub(crate) fn end(self, expected: &[(&str, u64)]) {
        self.end_with(|_| expected.to_vec());
    }

    /// The same with a count that is known only when the relay is idle.
    pub(crate) fn end_with<'f>(self, expected: impl Fn(&Relay) -> Vec<(&'f str, u64)>) {
        self.witness.goes_on();
        self.witness.end();
        expect_rest(&self.relay, self.files_before);
        let expected = expected(&self.relay).into_iter();
        let expected: BTreeMap<String, u64> = expected
            .map(|(fault, count)| (fault.to_owned(), count))
            .collect();
        assert_eq!(Metrics::of(&self.relay).faults(), expected);
        self.relay.signal(Signal::TERM);
        assert_eq!(self.relay.exit_code(), Some(0));
    }
}

/// The command line: two shards, and nothing by itself except for `settings`.
pub(crate) fn arguments<'a>(settings: &[&'a str]) -> Vec<&'a str> {
    let common = ["engine.shards=2", "keepalive.ping=0", "keepalive.pong=0"];
    let all = common.iter().chain(settings);
    all.flat_map(|setting| ["--set", setting]).collect()
}

fn open_files(relay: &Relay) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", relay.id()));
    files.expect("the relay lives").count()
}

/// Metrics that are zero in an idle relay.
const OF_CONNECTIONS: [&str; 7] = [
    "corecast_connections{state=\"open\"}",
    "corecast_connections{state=\"closing\"}",
    "corecast_connections{state=\"connecting\"}",
    "corecast_rooms",
    "corecast_inbound_bytes",
    "corecast_live_batch_bytes",
    "corecast_outbox_bytes",
];

/// Waits until an idle relay has released everything.
fn expect_rest(relay: &Relay, files_before: usize) {
    let mut left = Vec::new();
    let is_over = polled(|| {
        // First, because the scrape's own connection is still open when its answer has come.
        let files = open_files(relay);
        let metrics = Metrics::of(relay);
        left = OF_CONNECTIONS
            .map(|series| (series, metrics.value(series)))
            .to_vec();
        left.push(("files", files as f64 - files_before as f64));
        left.retain(|(_, value)| *value != 0.0);
        left.is_empty()
    });
    assert!(is_over, "it never came back: {left:?}");
}

/// Reports that a row is skipped, and why, bypassing the capture of passing tests.
pub(crate) fn skip(why: &str) {
    let row = thread::current();
    let row = row.name().unwrap_or("a row").to_owned();
    let _ = writeln!(std::io::stderr(), "skipped: {row}: {why}");
}

/// Whether a command can be run here and succeeds.
pub(crate) fn succeeds(command: &[&str]) -> bool {
    let output = Command::new(command[0]).args(&command[1..]).output();
    output.is_ok_and(|output| output.status.success())
}

/// Waits, for rows about something that lasts this long.
pub(crate) fn hold(duration: Duration) {
    thread::sleep(duration);
}

/// Rows with thousands of connections run one after the other: together they would exceed the files
/// of a process and starve the machine.
pub(crate) fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
