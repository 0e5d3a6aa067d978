//! Listeners, shards and the cost of the loop: addresses, hand-over, wakes, system calls.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use corecast::engine::{
    Durations, EndpointSettings, Engine, Listen, ListenAddress, Settings, StartError,
};

use tempfile::TempDir;

use crate::support::client::{Client, TEXT, frame};
use crate::support::relay::Relay;
use crate::support::{Server, eventually, settings};

#[test]
fn an_ipv6_listener_serves() {
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    if TcpListener::bind(address).is_err() {
        return eprintln!("skipped: this machine has no ::1");
    }
    let mut settings = settings();
    settings.listen.push(address.into());
    let server = Server::hub(settings, EndpointSettings::default());
    let addresses = server.engine().addresses();
    assert!(addresses[1].is_ipv6() && addresses[1].port() != 0);
    let mut six = Client::open(addresses[1], "/");
    let mut four = server.open("/");
    six.text("over IPv6");
    assert_eq!(four.expect_text(), "over IPv6");
}

#[test]
fn unix_socket_clients_are_spread_over_the_shards() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let mut settings = settings();
    settings.shards = 2;
    settings.connections_per_ip_max = Some(1);
    settings.listen.push(Listen {
        address: ListenAddress::Unix(path.clone()),
        tls: false,
    });
    let server = Server::hub(settings, EndpointSettings::default());
    let open = || {
        let stream = UnixStream::connect(&path).expect("somebody listens");
        let (socket, _) = tungstenite::client("ws://relay/", stream).expect("an upgrade");
        socket
    };
    let mut clients: Vec<_> = (0..4).map(|_| open()).collect();
    let mut by_port = server.open("/");
    eventually("two connections or more on each shard", || {
        (0..2).all(|shard| server.view.shard_connections(shard) >= 2)
    });
    by_port.text("hello");
    for client in &mut clients {
        assert_eq!(client.read().expect("a message").into_data(), "hello");
    }
}

#[test]
fn a_second_engine_on_the_same_port_is_an_error() {
    let server = Server::default_hub();
    for shards in [1, 2] {
        let settings = Settings {
            listen: vec![server.address.into()],
            shards,
            ..settings()
        };
        let second = Engine::builder().settings(settings).start();
        assert!(matches!(second, Err(StartError::Listen { .. })));
    }
    // The port is free again as soon as the engine is stopped.
    let mut settings = settings();
    settings.listen = vec![server.address.into()];
    server.stop();
    Server::hub(settings, EndpointSettings::default())
        .open("/")
        .round_trip();
}

#[test]
fn connections_go_to_the_least_loaded_shard() {
    const SHARDS: usize = 3;
    let mut settings = settings();
    settings.shards = SHARDS;
    let server = Server::hub(settings, EndpointSettings::default());
    let loads = || -> Vec<u32> {
        (0..SHARDS)
            .map(|shard| server.view.shard_connections(shard))
            .collect()
    };
    let mut clients: Vec<Client> = (0..30).map(|_| server.open("/")).collect();
    assert_eq!(loads(), [10; SHARDS]);
    clients.drain(5..20);
    eventually("they are gone", || server.view.connections() == 15);
    clients.extend((0..15).map(|_| server.open("/")));
    assert_eq!(loads(), [10; SHARDS]);
    // They are members on their shards: one message reaches all of them.
    clients[0].text("to all");
    for client in &mut clients {
        assert_eq!(client.expect_text(), "to all");
    }
    drop(clients);
    server.expect_empty();
}

#[test]
fn pinned_and_spinning_shards_relay_and_stop() {
    let settings = Settings {
        shards: 2,
        pin: true,
        spin: Duration::from_micros(200),
        ..settings()
    };
    let server = Server::hub(settings, EndpointSettings::default());
    let mut clients: Vec<Client> = (0..4).map(|_| server.open("/")).collect();
    for round in 0..50 {
        let text = format!("round {round}");
        clients[round % 4].text(&text);
        for client in &mut clients {
            assert_eq!(client.expect_text(), text);
        }
    }
    drop(clients);
    server.expect_empty();
    assert!(server.stop());
}

#[test]
fn a_spinning_shard_need_not_be_woken() {
    for (spin, wakes) in [(Duration::ZERO, true), (Duration::from_secs(60), false)] {
        let settings = Settings {
            shards: 2,
            spin,
            ..settings()
        };
        let server = Server::hub(settings, EndpointSettings::default());
        let mut clients: Vec<Client> = (0..2).map(|_| server.open("/")).collect();
        for round in 0..20 {
            clients[round % 2].text("look");
            for client in &mut clients {
                assert_eq!(client.expect_text(), "look");
            }
        }
        let sent = server.sum(|stats| stats.exchange.wakes_sent.get());
        assert_eq!(sent > 0, wakes, "{sent} wakes with {spin:?}");
        drop(clients);
        server.expect_empty();
        assert!(server.stop());
    }
}

#[test]
fn a_shard_reads_no_more_at_once_than_its_buffer_holds() {
    for (set, bytes) in [("16KiB", 16 << 10), ("1MiB", 1 << 20)] {
        let set = format!("engine.read_buffer_bytes={set}");
        let arguments = ["--shards", "1", "--set", &set];
        let Some((relay, directory)) = traced("read,recvfrom", &arguments) else {
            return;
        };
        let mut client = Client::open(relay.address, "/");
        client.text("read");
        assert_eq!(client.expect_text(), "read");
        // The message has 10 bytes: recvfrom(7, "…", 16384, 0, NULL, NULL) = 10
        let reads = lines(&directory, ") = 10");
        let read = reads.last().expect("the message was read");
        let length = read
            .split([',', ')'])
            .filter_map(|each| each.trim().parse().ok());
        let length: usize = length.max().expect("a length");
        assert!((bytes..bytes + 8192).contains(&length), "{read}");
    }
}

#[test]
fn a_shard_wakes_another_at_most_once_a_turn() {
    let mut settings = settings();
    settings.shards = 2;
    let server = Server::hub(settings, EndpointSettings::default());
    let mut clients: Vec<Client> = (0..4).map(|_| server.open("/")).collect();
    for round in 0..200 {
        // Several messages in one packet are usually one turn.
        let burst: Vec<u8> = (0..8).flat_map(|_| frame(TEXT, b"burst")).collect();
        clients[round % 4].send(&burst);
        for client in &mut clients {
            (0..8).for_each(|_| assert_eq!(client.expect_text(), "burst"));
        }
    }
    let count = |turns: &Durations| turns.buckets().map(|(_, count)| count).sum::<u64>();
    for shard in server.view.shards() {
        let wakes = shard.exchange.wakes_sent.get() + shard.exchange.wakes_elided.get();
        assert!(wakes > 0 && wakes <= count(&shard.turns), "{wakes} wakes");
    }
    let messages = server.sum(|stats| stats.messages.get());
    let wakes =
        server.sum(|stats| stats.exchange.wakes_sent.get() + stats.exchange.wakes_elided.get());
    assert_eq!(messages, 1_600);
    assert!(
        wakes < messages / 2,
        "{wakes} wakes for {messages} messages"
    );
}

/// A relay under strace, which writes a line for each of these calls to the file `trace` of the
/// directory. None if strace does not work.
fn traced(calls: &str, arguments: &[&str]) -> Option<(Relay, TempDir)> {
    let directory = tempfile::tempdir().expect("a directory");
    let trace = directory.path().join("trace");
    let trace = trace.to_str().expect("UTF-8");
    let of = format!("trace={calls}");
    // -D: the relay is the child, so that ending it leaves nothing behind.
    let strace = ["strace", "-D", "-f", "-e", &of, "-o", trace];
    let works = std::process::Command::new("strace")
        .args(&strace[1..])
        .arg("true")
        .output();
    if !works.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: strace does not work here");
        return None;
    }
    Some((Relay::start_by(&strace, arguments), directory))
}

/// The lines of the trace that contain this.
fn lines(directory: &TempDir, wanted: &str) -> Vec<String> {
    let trace = directory.path().join("trace");
    let text = std::fs::read_to_string(trace).unwrap_or_default();
    let lines = text.lines().filter(|line| line.contains(wanted));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_message_costs_no_epoll_ctl() {
    let Some((relay, directory)) = traced("epoll_ctl", &["--shards", "2"]) else {
        return;
    };
    let mut clients: Vec<Client> = (0..4).map(|_| Client::open(relay.address, "/")).collect();
    let mut round = |text: &str| {
        for sender in 0..clients.len() {
            clients[sender].text(text);
            for client in &mut clients {
                assert_eq!(client.expect_text(), text);
            }
        }
    };
    round("first");
    let calls = || lines(&directory, "epoll_ctl(").len();
    let before = calls();
    assert!(before >= 4, "every connection is registered: {before}");
    for _ in 0..50 {
        round("steady");
    }
    assert_eq!(calls(), before);
}

/// The log of a relay that may open so many files, and cannot listen: it ends by itself.
fn log_with_files(files: &str) -> String {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let script = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
    let output = std::process::Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_corecast")])
        .args(["--host", "127.0.0.1", "--port", &port, "--shards", "1"])
        .args(["--set", "metrics.port=0"])
        .env_clear()
        .output()
        .expect("the binary runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn a_relay_with_few_open_files_says_so_and_what_to_type() {
    let expect_advice = |log: &str| {
        for advice in ["ulimit -n ", "LimitNOFILE=", "--ulimit nofile="] {
            assert!(log.contains(advice), "{advice}: {log}");
        }
    };
    let none = log_with_files("16");
    expect_advice(&none);
    // "… need at least N open files …"
    let (_, needed) = none.split_once("at least ").expect("how many it needs");
    let needed = needed.split(' ').next().expect("a number");
    let one = log_with_files(needed);
    assert!(one.contains("room for very few connections"), "{one}");
    assert!(one.contains(" allowed=1 "), "{one}");
    expect_advice(&one);
    let many = log_with_files("1024");
    assert!(!many.contains("open files"), "{many}");
}

#[test]
fn accepting_continues_after_files_were_exhausted() {
    let limited = ["sh", "-c", "ulimit -n 48; exec \"$0\" \"$@\""];
    let arguments = ["--shards", "1", "--set", "limits.connections=off"];
    let relay = Relay::start_by(&limited, &arguments);
    let mut first = Client::open(relay.address, "/");
    let ask = || {
        let mut client = Client::connect(relay.address);
        client.send(crate::support::client::upgrade("/").as_bytes());
        (client.answer().status, client)
    };
    // The relay does not have enough files for all of them.
    let (members, refused): (Vec<_>, Vec<_>) = (0..80)
        .map(|_| ask())
        .partition(|(status, _)| *status == 101);
    assert!(members.len() >= 20 && refused.len() >= 20);
    assert!(refused.iter().all(|(status, _)| *status == 503));
    first.round_trip();
    // When admitted clients leave, others are admitted.
    drop(members);
    for _ in 0..20 {
        eventually("there are files again", || ask().0 == 101);
    }
    first.text("still here");
    while first.expect_text() != "still here" {}
    relay.signal(rustix::process::Signal::TERM);
    first.expect_close(1001);
    first.close(1001);
    assert_eq!(relay.exit_code(), Some(0));
}
