//! The relay's binary, started on a free port of 127.0.0.1.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Longest wait for anything: a bound for failures, not a measure.
pub const DEADLINE: Duration = Duration::from_secs(30);
const STARTS_MAX: usize = 5;

/// A running relay, which ends with this.
pub struct Relay {
    child: Child,
    /// Its URL, which clients sign.
    pub url: String,
}

impl Relay {
    /// Starts one. If another process takes its port meanwhile, another port is tried.
    pub fn start() -> Relay {
        let started = (0..STARTS_MAX).find_map(|_| Relay::start_once());
        started.expect("a relay that starts")
    }

    fn start_once() -> Option<Relay> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        drop(listener);
        let url = format!("ws://127.0.0.1:{port}/nostr");
        let binary = std::env::var("CORECAST_BIN").expect("CORECAST_BIN");
        let mut command = Command::new(binary);
        command.args(["--port", &port.to_string()]);
        for setting in [
            "metrics.port=0",
            "server.host=127.0.0.1",
            "engine.shards=2",
            "endpoints.nostr.kind=nostr",
            "endpoints.nostr.path=/nostr",
            &format!("endpoints.nostr.nostr.urls=[{url}]"),
        ] {
            command.args(["--set", setting]);
        }
        // The test's other variables would be settings.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command
            .current_dir("/")
            .spawn()
            .expect("the relay's binary");
        let log = BufReader::new(child.stderr.take().expect("its log"));
        let (found, address) = mpsc::channel();
        // To the end, so that the relay never blocks on its log.
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if line.contains(" listening address=") {
                    let _ = found.send(());
                } else if line.contains("ERROR") || line.contains("WARN") {
                    eprintln!("The relay says: {line}");
                }
            }
        });
        let relay = Relay { child, url };
        // A relay that ends without an address has closed its log.
        address.recv_timeout(DEADLINE).is_ok().then_some(relay)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
