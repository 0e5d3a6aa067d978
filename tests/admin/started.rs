//! Output of the binary at its start: in the log, and only on the terminal.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::http::{Client, DEADLINE, Reply, poll};
use crate::try_join;

/// The binary with free ports and these arguments, which later ones override.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corecast"));
    command
        .args(["--set", "server.port=0", "--set", "metrics.port=0"])
        .args(["--set", "engine.shards=1"])
        .args(arguments)
        .env_clear();
    if !arguments.contains(&"--config-file") {
        // Not what may be in the working directory.
        command.args(["--config-file", "/dev/null"]);
    }
    command
}

/// A process that ends with the test.
struct Relay(Child);

impl Relay {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("it runs");
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the binary, has `visit` look at it once it listens, ends it, and returns its log.
fn log_of(arguments: &[&str], visit: impl FnOnce(SocketAddr)) -> String {
    let child = command(arguments).stderr(Stdio::piped()).spawn();
    let mut relay = Relay(child.expect("the binary runs"));
    let mut lines = BufReader::new(relay.0.stderr.take().expect("a pipe"));
    let mut log = String::new();
    while !log.contains("metrics and health") {
        let read = lines.read_line(&mut log).expect("UTF-8");
        assert!(read > 0, "it ended: {log}");
    }
    let mut listening = log.lines().filter(|line| line.contains("listening"));
    let line = listening.next().expect("where it listens");
    let port = line.trim_end_matches(['"', '}']).rsplit(':').next();
    let port = port.and_then(|port| port.parse::<u16>().ok());
    visit(([127, 0, 0, 1], port.expect("a port")).into());
    relay.signal(Signal::TERM);
    lines.read_to_string(&mut log).expect("UTF-8");
    log
}

const LOCAL: [&str; 2] = ["--host", "127.0.0.1"];
const OPEN: &str = "nobody needs a key or a token";
const CLOSED: &str = "the dashboard is closed";

fn local(arguments: &[&str]) -> String {
    log_of(&[&LOCAL[..], arguments].concat(), |_| {})
}

#[test]
fn the_log_at_the_start_has_version_addresses_and_paths() {
    let log = local(&[]);
    for part in [
        concat!(
            "corecast version=\"",
            env!("CARGO_PKG_VERSION"),
            "\" commit="
        ),
        env!("CORECAST_COMMIT"),
        "clients connect here url=ws://localhost:",
        "the dashboard is here url=http://localhost:",
        "endpoint name=\"hub\" kind=\"hub\" path=/** needs_key=false",
        "endpoint name=\"named\" kind=\"named\" path=/ws/{username} needs_key=false",
        "endpoint name=\"push\" kind=\"push\" path=/ws push_path=/api/push needs_key=false",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(!log.contains("WARN"), "{log}");
    let first = log.lines().next().expect("a line");
    assert!(first.contains("corecast version="), "{log}");
}

#[test]
fn the_same_lines_are_structured_in_json() {
    let log = local(&["--set", "logging.format=json"]);
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let of = |message: &str| {
        let mut lines = lines.iter();
        let found = lines.find(|line| line["message"] == message);
        found.unwrap_or_else(|| panic!("{message}: {log}"))
    };
    assert_eq!(of("corecast")["version"], env!("CARGO_PKG_VERSION"));
    let url = of("clients connect here")["url"].as_str().expect("a URL");
    assert!(url.starts_with("ws://localhost:"), "{url}");
    assert_eq!(of("endpoint")["needs_key"], false);
}

#[test]
fn a_relay_that_others_can_reach_without_a_key_is_warned_of() {
    let public = |arguments: &[&str]| log_of(arguments, |_| {});
    assert!(public(&[]).contains(OPEN));
    assert!(public(&["--host", "0.0.0.0"]).contains(OPEN));
    assert!(!local(&[]).contains(OPEN));
    for set in [
        "auth.keys=a-key-of-0123456789",
        "endpoints.hub.auth.keys=a-key-of-0123456789",
        "networks.allow=10.0.0.0/8",
    ] {
        let log = public(&["--set", set]);
        assert!(!log.contains(OPEN), "{set}: {log}");
    }
    let keyed = public(&["--set", "auth.keys=a-key-of-0123456789"]);
    assert!(keyed.contains("path=/** needs_key=true"), "{keyed}");
}

#[test]
fn a_pattern_that_shuts_out_its_own_base_is_in_the_log() {
    let log = local(&[
        "--set",
        "auth.keys=a-key-of-0123456789",
        "--set",
        "endpoints.lobby.kind=hub",
        "--set",
        "endpoints.lobby.path=/lobby/**",
        "--set",
        "endpoints.lobby.auth.enabled=false",
    ]);
    assert!(log.contains("/lobby/** does not cover /lobby"), "{log}");
}

#[test]
fn a_dashboard_that_is_closed_is_told_with_how_to_open_it() {
    let log = log_of(&[], |_| {});
    assert!(log.contains(CLOSED), "{log}");
    assert!(
        log.contains("admin.token") && log.contains("metrics.host"),
        "{log}"
    );
    assert!(
        !log.contains("dashboard/open"),
        "there is no terminal: {log}"
    );
    for set in [
        "admin.token=a-token-of-0123456789",
        "metrics.host=127.0.0.1",
        "admin.dashboard=false",
    ] {
        let log = log_of(&["--set", set], |_| {});
        assert!(!log.contains(CLOSED), "{set}: {log}");
    }
}

#[test]
fn a_private_address_over_its_limit_is_reported_once_as_a_proxy() {
    let arguments = [
        &LOCAL[..],
        &["--set", "limits.exempt_networks=[]"],
        &["--set", "limits.connections_per_ip=1"],
    ];
    let log = log_of(&arguments.concat(), |address| {
        let _one = try_join(address, "/").expect("a WebSocket");
        for _ in 0..3 {
            assert_eq!(try_join(address, "/").err(), Some(429));
        }
    });
    assert_eq!(log.matches("it is probably a proxy").count(), 1, "{log}");
    assert!(log.contains("server.trusted_proxies"), "{log}");
    let exempt = log_of(&[&LOCAL[..], arguments[2]].concat(), |address| {
        let _one = try_join(address, "/").expect("a WebSocket");
        let _two = try_join(address, "/").expect("a WebSocket");
    });
    assert!(!exempt.contains("probably a proxy"), "{exempt}");
}

/// A relay whose standard error is a terminal, and what it has written there up to its link.
struct OnTerminal {
    relay: Relay,
    /// Kept open: without it the terminal is gone.
    _screen: File,
    pieces: Receiver<Vec<u8>>,
    shown: String,
    admin: SocketAddr,
    target: String,
}

impl OnTerminal {
    /// Reads on until the terminal shows this.
    fn read_until(&mut self, text: &str) {
        while !self.shown.contains(text) {
            self.shown += &next_piece(&self.pieces, &self.shown);
        }
    }
}

fn next_piece(pieces: &Receiver<Vec<u8>>, shown: &str) -> String {
    let piece = pieces.recv_timeout(DEADLINE);
    let piece = piece.unwrap_or_else(|_| panic!("nothing more came: {shown}"));
    String::from_utf8_lossy(&piece).into_owned()
}

fn on_terminal(arguments: &[&str]) -> OnTerminal {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&terminal).expect("granted");
    unlockpt(&terminal).expect("unlocked");
    let name = ptsname(&terminal, Vec::new()).expect("its name");
    let name = name.into_string().expect("UTF-8");
    let end = File::options().read(true).write(true).open(name);
    let child = command(arguments)
        .stderr(end.expect("its other end"))
        .spawn();
    let relay = Relay(child.expect("the binary runs"));
    let screen = File::from(terminal);
    let mut reader = screen.try_clone().expect("the same terminal");
    let (sender, pieces) = channel();
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        // Ends with an error (EIO) when the relay is gone.
        while let Ok(read) = reader.read(&mut piece)
            && sender.send(piece[..read].to_vec()).is_ok()
        {}
    });
    let mut shown = String::new();
    let url = loop {
        // The log may go on behind it.
        let link = shown.split_once("minutes:\r\n  http://localhost:");
        if let Some((url, _)) = link.and_then(|(_, link)| link.split_once("\r\n")) {
            break url.to_owned();
        }
        shown += &next_piece(&pieces, &shown);
    };
    let (port, target) = url.split_once('/').expect("a path");
    let port: u16 = port.parse().expect("a port");
    OnTerminal {
        relay,
        _screen: screen,
        pieces,
        admin: ([127, 0, 0, 1], port).into(),
        target: format!("/{target}"),
        shown,
    }
}

fn ask(to: SocketAddr, method: &str, target: &str, headers: &str) -> Reply {
    let mut client = Client::connect(to);
    let request = format!("{method} {target} HTTP/1.1\r\nHost: relay:9090\r\n{headers}\r\n");
    client.send(request.as_bytes());
    client.reply(method)
}

#[test]
fn a_link_on_the_terminal_works_once_and_is_never_logged() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("relay.log");
    let output = format!("logging.output={}", log.display());
    let relay = on_terminal(&["--set", &output, "--set", "logging.level=trace"]);
    let (admin, target) = (relay.admin, relay.target.as_str());
    assert!(target.starts_with("/dashboard/open?link="), "{target}");
    let status = |target: &str, headers: &str| ask(admin, "GET", target, headers).status;
    for path in ["/", "/dashboard/snapshot", "/dashboard/config"] {
        assert_eq!(status(path, ""), 403, "{path}");
    }
    // HEAD and prefetching do not use the link up, and a guessed secret is refused.
    assert_eq!(ask(admin, "HEAD", target, "").status, 503);
    assert_eq!(status(target, "Sec-Purpose: prefetch;prerender\r\n"), 503);
    assert_eq!(status("/dashboard/open?link=a-guess", ""), 403);
    assert_eq!(status("/dashboard/open", ""), 403);
    let opened = ask(admin, "GET", target, "");
    assert_eq!((opened.status, opened.header("Location")), (303, Some("/")));
    assert_eq!(opened.header("Referrer-Policy"), Some("no-referrer"));
    assert_eq!(opened.header("Cache-Control"), Some("no-store"));
    let cookie = opened.header("Set-Cookie").expect("a cookie");
    assert!(
        cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().expect("a pair"));
    for path in [
        "/",
        "/dashboard/page.js",
        "/dashboard/snapshot",
        "/dashboard/config",
    ] {
        assert_eq!(status(path, &cookie), 200, "{path}");
        assert_eq!(status(path, ""), 403, "{path}: it is for one browser");
    }
    // A second use fails.
    let again = ask(admin, "GET", target, "");
    assert_eq!((again.status, again.header("Set-Cookie")), (403, None));
    let (_, secret) = target.split_once('=').expect("a secret");
    let logged = || std::fs::read_to_string(&log).expect("a log");
    poll(logged, |log| log.contains(CLOSED), "the log is written");
    assert!(!logged().contains(secret) && !logged().contains("dashboard/open"));
    assert!(
        !relay.shown.contains("metrics and health"),
        "{}",
        relay.shown
    );
}

#[test]
fn a_log_on_the_same_terminal_has_no_link_in_it() {
    let mut relay = on_terminal(&["--set", "logging.format=json"]);
    relay.read_until(CLOSED);
    let lines = relay.shown.lines();
    let logged: Vec<&str> = lines.filter(|line| line.starts_with('{')).collect();
    assert!(logged.len() > 3, "{}", relay.shown);
    for line in logged {
        assert!(!line.contains("link"), "{line}");
    }
}

#[test]
fn a_reload_keeps_what_the_link_opened_until_a_token_is_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, "logging: {level: info}\n").expect("a file");
    let path = file.to_str().expect("UTF-8");
    let relay = on_terminal(&["--config-file", path]);
    let opened = ask(relay.admin, "GET", &relay.target, "");
    let cookie = opened.header("Set-Cookie").expect("a cookie");
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().expect("a pair"));
    let reloads = |count: usize| {
        relay.relay.signal(Signal::HUP);
        let scrape = || ask(relay.admin, "GET", "/metrics", "").body;
        let line = format!("corecast_config_reloads_total{{result=\"applied\"}} {count}\n");
        poll(scrape, |body| body.contains(&line), "it is reloaded");
    };
    reloads(1);
    let status = |headers: &str| ask(relay.admin, "GET", "/dashboard/config", headers).status;
    assert_eq!(status(&cookie), 200);
    let token = "a-token-of-0123456789";
    std::fs::write(&file, format!("admin: {{token: {token}}}\n")).expect("a file");
    reloads(2);
    assert_eq!(status(&cookie), 401);
    assert_eq!(status(&format!("Authorization: Bearer {token}\r\n")), 200);
    assert_eq!(ask(relay.admin, "GET", &relay.target, "").status, 404);
}
