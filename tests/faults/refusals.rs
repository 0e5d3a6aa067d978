//! Refused clients, full relays, exhausted file descriptors: other clients are not affected, and
//! health checks are answered.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::stage::{Metrics, Stage, arguments, one_at_a_time};
use crate::support::client::{Client, upgrade};
use crate::support::eventually;
use crate::support::relay::Relay;

/// This process holds its ends of all connections.
fn raise_own_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("the hard limit is allowed");
}

/// The command that runs a relay with this many files.
fn with_files(files: usize) -> [String; 4] {
    let script = format!("ulimit -n {files}; exec \"$@\"");
    ["sh", "-c", &script, "sh"].map(str::to_owned)
}

fn start_with_files(files: usize, settings: &[&str]) -> Relay {
    let by = with_files(files);
    let by: Vec<&str> = by.iter().map(String::as_str).collect();
    Relay::start_by(&by, &arguments(settings))
}

/// The status of `/livez`, on a connection of its own.
fn livez(address: SocketAddr) -> u16 {
    let mut client = Client::connect(address);
    client.send(b"GET /livez HTTP/1.1\r\nHost: relay\r\n\r\n");
    client.answer().status
}

/// Every probe of the admin listener is answered.
fn expect_probes(relay: &Relay) {
    for _ in 0..10 {
        assert_eq!(livez(relay.admin), 200);
    }
    let url = format!("http://{}/livez", relay.admin);
    let mut command = Command::new(env!("CARGO_BIN_EXE_corecast"));
    command.args(["--health-check", &url]).env_clear();
    let output = command.output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// The counted faults, of those that mean that the relay could not accept more clients.
fn counted<'f>(relay: &Relay, names: &[&'f str]) -> Vec<(&'f str, u64)> {
    let faults = Metrics::of(relay).faults();
    let count = |name: &&'f str| Some((*name, *faults.get(*name)?));
    names.iter().filter_map(count).collect()
}

fn leave_all(clients: Vec<Client>) {
    for mut client in clients {
        client.close(1000);
        client.expect_close(1000);
        client.expect_end();
    }
}

#[test]
fn sixty_four_shards_with_1024_files_admit_700_clients() {
    let _turn = one_at_a_time();
    raise_own_files();
    let relay = start_with_files(1_024, &["engine.shards=64"]);
    let mut members = Vec::new();
    let ask = || {
        let mut client = Client::connect(relay.address);
        client.send(upgrade("/").as_bytes());
        (client.answer().status, client)
    };
    loop {
        match ask() {
            (101, client) => members.push(client),
            (status, _) => break assert_eq!(status, 503),
        }
    }
    assert!(members.len() >= 700, "{} clients", members.len());
    // On any shard.
    for _ in 0..200 {
        assert_eq!(ask().0, 503);
    }
    expect_probes(&relay);
    assert_eq!(livez(relay.address), 200);
    assert_eq!(
        Metrics::of(&relay).value("corecast_accept_errors_total"),
        0.0
    );
    members.pop();
    eventually("a place is free", || ask().0 == 101);
    for client in &mut members {
        client.round_trip();
    }
}

#[test]
fn a_flood_of_one_address_over_its_limit() {
    const FLOOD: usize = 300;
    const OF_ADDRESS: usize = 10;
    let _turn = one_at_a_time();
    raise_own_files();
    let stage = Stage::start(&[
        "limits.connections=40",
        "limits.connections_per_ip=10",
        "limits.exempt_networks=[]",
    ]);
    let flood = (0..FLOOD).map(|_| Client::connect_from(2, stage.address()));
    let flood: Vec<Client> = flood.collect();
    let refused = (FLOOD - OF_ADDRESS) as u64;
    stage.wait_for("refused connections_per_ip", refused);
    for last in 3..6 {
        let guests = (0..5).map(|_| Client::connect_from(last, stage.address()).upgraded("/guest"));
        let mut guests: Vec<Client> = guests.collect();
        guests[0].text("hello");
        for guest in &mut guests {
            assert_eq!(guest.expect_text(), "hello");
        }
        stage.witness.goes_on();
        leave_all(guests);
    }
    expect_probes(&stage.relay);
    assert!(stage.relay.logged("over a limit") <= 2, "a line for each");
    drop(flood);
    stage.end(&[("refused connections_per_ip", refused)]);
}

#[test]
fn more_silent_clients_than_files() {
    const CROWD: usize = 720;
    let _turn = one_at_a_time();
    raise_own_files();
    let stage = Stage::on(start_with_files(700, &["timeouts.handshake=1m"]));
    let crowd = (0..CROWD).map(|_| Client::connect(stage.address()));
    let crowd: Vec<Client> = crowd.collect();
    stage.wait_for("refused connections", 1);
    expect_probes(&stage.relay);
    stage.witness.goes_on();
    // A refused client is answered and gone in a moment; then there is room for a request here as
    // well.
    eventually("a probe of the main listener", || {
        let mut client = Client::connect(stage.address());
        let probe = client.try_send(b"GET /livez HTTP/1.1\r\nHost: relay\r\n\r\n");
        probe.is_ok()
            && client
                .try_answer()
                .is_some_and(|answer| answer.status == 200)
    });
    assert_eq!(stage.count("accept_errors"), 0);
    assert!(
        stage.relay.logged("the relay is full") <= 2,
        "a line for each"
    );
    drop(crowd);
    stage.end_with(|relay| counted(relay, &["refused connections"]));
}

#[test]
fn files_are_used_up() {
    let _turn = one_at_a_time();
    raise_own_files();
    let settings = ["limits.connections=off", "limits.connections_per_ip=off"];
    let stage = Stage::on(start_with_files(150, &settings));
    let mut crowd = Vec::new();
    crowd_in(&stage, &mut crowd, 1);
    expect_probes(&stage.relay);
    // No client hangs: without a free file it is refused. A few are admitted, if others have left.
    let before = crowd.len();
    crowd_in(&stage, &mut crowd, 100);
    assert!(crowd.len() < before + 10, "{before}, then {}", crowd.len());
    expect_probes(&stage.relay);
    assert!(stage.count("accept_errors") > 0);
    stage.witness.goes_on();
    let lines = stage.relay.logged("cannot accept a connection");
    assert!((1..4).contains(&lines), "{lines} lines");
    for client in &mut crowd {
        client.round_trip();
    }
    leave_all(crowd);
    eventually("there are files again", || {
        let mut more = Vec::new();
        let is_in = try_in(&stage, &mut more);
        leave_all(more);
        is_in
    });
    stage.end_with(|relay| counted(relay, &["accept_errors", "refused connections"]));
}

/// Admits clients until this many were refused because the relay is full.
fn crowd_in(stage: &Stage, crowd: &mut Vec<Client>, refused: usize) {
    let mut told = 0;
    while told < refused {
        told += usize::from(!try_in(stage, crowd));
        assert!(crowd.len() < 1_000, "there are always more files");
    }
}

/// Whether one more client was admitted; otherwise it was refused because the relay is full.
fn try_in(stage: &Stage, crowd: &mut Vec<Client>) -> bool {
    let mut client = stage.connect();
    client.send(upgrade("/crowd").as_bytes());
    let status = client.answer().status;
    if status == 101 {
        crowd.push(client);
        return true;
    }
    assert_eq!(status, 503);
    false
}

#[test]
fn the_admin_listener_is_held_open() {
    let _turn = one_at_a_time();
    raise_own_files();
    let stage = Stage::start(&[]);
    let hold = |said: &str| {
        let mut client = Client::connect(stage.relay.admin);
        client.send(said.as_bytes());
        client
    };
    let probe = "GET /livez HTTP/1.1\r\nHost: relay\r\n\r\n";
    let idle: Vec<Client> = (0..300).map(|_| hold(probe)).collect();
    expect_probes(&stage.relay);
    let silent: Vec<Client> = (0..300).map(|_| hold("")).collect();
    expect_probes(&stage.relay);
    let halves: Vec<Client> = (0..300).map(|_| hold("GET /met")).collect();
    expect_probes(&stage.relay);
    let scrapes = "GET /metrics HTTP/1.1\r\nHost: relay\r\n\r\n".repeat(50);
    let slow: Vec<Client> = (0..20).map(|_| hold(&scrapes)).collect();
    expect_probes(&stage.relay);
    assert!(stage.relay.logged("closed an idle") <= 5, "a line for each");
    let evicted = stage.metrics().value("corecast_admin_evicted_total");
    assert!(evicted >= 600.0, "{evicted}");
    drop((idle, silent, halves, slow));
    stage.end(&[]);
}

#[test]
fn a_relay_with_too_few_files_for_its_shards_says_so() {
    let by = with_files(100);
    let mut command = Command::new(&by[0]);
    command.args(&by[1..]).arg(env!("CARGO_BIN_EXE_corecast"));
    command.args(["--set", "engine.shards=64", "--set", "server.port=0"]);
    command.args(["--set", "metrics.port=0"]).env_clear();
    let child = command.stderr(Stdio::piped()).spawn();
    let output = child.and_then(std::process::Child::wait_with_output);
    let output = output.expect("the binary runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(said.contains("64 shards need at least "), "{said}");
    assert!(said.contains(" open files, and the limit is 100"), "{said}");
}
