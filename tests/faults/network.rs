//! Networks that lose packets and connections, or are slow.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::namespace::Namespace;
use crate::stage::{Stage, hold, skip, succeeds};
use crate::support::client::{BINARY, Client, frame, upgrade};
use crate::support::eventually;
use crate::witness;

/// A relay that listens on all addresses.
fn stage(settings: &[&str]) -> Stage {
    let everywhere = ["server.host=0.0.0.0", "metrics.host=127.0.0.1"];
    Stage::start(&[&everywhere[..], settings].concat())
}

#[test]
fn clients_vanish_without_a_fin() {
    let Some(namespace) = Namespace::new() else {
        return;
    };
    let stage = stage(&[
        "keepalive.ping=1s",
        "keepalive.pong=6s",
        "timeouts.handshake=5s",
        "timeouts.close=1s",
    ]);
    let port = stage.address().port();
    let idle = namespace.open(port, "/idle");
    let busy = namespace.open(port, witness::ROOM);
    let mut speaking = namespace.open(port, "/idle");
    speaking.send(&frame(BINARY, &[7; 50_000])[..25_000]);
    let mut asking = Client::from(namespace.connect(port));
    asking.send(&upgrade("/idle").as_bytes()[..40]);
    eventually("half a message is held", || {
        stage.metrics().value("corecast_inbound_bytes") > 0.0
    });
    namespace.cut();
    stage.wait_for("closed ping_timeout", 3);
    stage.wait_for("refused handshake_timeout", 1);
    stage.end(&[("closed ping_timeout", 3), ("refused handshake_timeout", 1)]);
    drop((idle, busy, speaking, asking));
}

/// Two of a hundred packets are dropped, in either direction.
const LOSS: &str = "table inet loss {
    counter dropped { }
    chain arriving {
        type filter hook input priority 0;
        numgen random mod 100 < 2 counter name dropped drop
    }
    chain leaving {
        type filter hook output priority 0;
        numgen random mod 100 < 2 counter name dropped drop
    }
}";

/// How many packets were dropped inside.
fn dropped(namespace: &Namespace) -> u64 {
    let listed = namespace.run(&["nft", "list", "counter", "inet", "loss", "dropped"]);
    let listed = listed.expect("a counter");
    let mut words = listed.split_whitespace();
    words.find(|word| *word == "packets").expect("a count");
    words
        .next()
        .and_then(|count| count.parse().ok())
        .expect("a number")
}

#[test]
fn two_of_a_hundred_packets_are_lost() {
    let Some(namespace) = Namespace::new() else {
        return;
    };
    let mut stage = stage(&[]);
    let port = stage.address().port();
    if namespace.run(&["nft", LOSS]).is_none() {
        return skip("nft cannot drop packets here");
    }
    for _ in 0..3 {
        stage.witness.join(witness::timely(namespace.connect(port)));
    }
    let mut client = namespace.open(port, "/lossy");
    let before = dropped(&namespace);
    let mut number = 0;
    while dropped(&namespace) < before + 30 {
        let text = format!("{number} {}", "x".repeat(10_000));
        client.text(&text);
        assert!(client.expect_text() == text, "message {number}");
        number += 1;
    }
    stage.witness.goes_on();
    stage.leave(client);
    stage.end(&[]);
}

/// A proxy that delays each direction by `delay`. Every client of the returned address is connected
/// through `connect`.
fn delay_proxy(delay: Duration, clients: usize, connect: impl Fn() -> TcpStream) -> Vec<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    let client = |_| {
        let near = TcpStream::connect(address).expect("a connection");
        let (accepted, _) = listener.accept().expect("a connection");
        let far = connect();
        let clone = |stream: &TcpStream| stream.try_clone().expect("a socket");
        delayed(clone(&accepted), clone(&far), delay);
        delayed(far, accepted, delay);
        near
    };
    (0..clients).map(client).collect()
}

/// Copies from one stream to another, `delay` later, up to the end.
fn delayed(from: TcpStream, to: TcpStream, delay: Duration) {
    to.set_nodelay(true).expect("a socket");
    let (pieces, arriving) = sync_channel(256);
    thread::spawn(move || take_in(from, &pieces, delay));
    thread::spawn(move || give_out(to, &arriving));
}

fn take_in(mut from: TcpStream, pieces: &SyncSender<(Instant, Vec<u8>)>, delay: Duration) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let piece = (Instant::now() + delay, buffer[..count].to_vec());
        if pieces.send(piece).is_err() {
            return;
        }
    }
}

fn give_out(mut to: TcpStream, arriving: &Receiver<(Instant, Vec<u8>)>) {
    for (due, piece) in arriving {
        hold(due.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            return;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}

#[test]
fn a_link_of_2_mbit_and_200_ms_of_delay() {
    const DELAY: Duration = Duration::from_millis(200);
    const MESSAGES: usize = 50;
    let Some(namespace) = Namespace::new() else {
        return;
    };
    let mut stage = stage(&["slow_client.outbox_age=0"]);
    let port = stage.address().port();
    let thin = ["tbf", "rate", "2mbit", "burst", "16kb", "latency", "400ms"];
    let add = ["tc", "qdisc", "add", "dev", &namespace.outside, "root"];
    if !succeeds(&[&add[..], &thin].concat()) {
        return skip("tc cannot limit a link here");
    }
    let mut far = delay_proxy(DELAY, 2, || namespace.connect(port)).into_iter();
    let member = witness::timely(far.next().expect("a member"));
    stage.witness.join(member);
    let mut far = Client::from(far.next().expect("a client")).upgraded("/far");
    let began = Instant::now();
    far.round_trip();
    assert!(began.elapsed() >= 2 * DELAY);
    // A megabyte takes the link four seconds, and near clients hardly any time.
    let mut near = stage.open("/far");
    let text = |number: usize| format!("{number} {}", "x".repeat(20_000));
    for number in 0..MESSAGES {
        near.text(&text(number));
        assert!(near.expect_text() == text(number));
    }
    stage.witness.goes_on();
    for number in 0..MESSAGES {
        assert!(far.expect_text() == text(number), "message {number}");
    }
    let shown = Command::new("tc")
        .args(["-s", "qdisc", "show", "dev", &namespace.outside])
        .output()
        .expect("tc");
    let shown = String::from_utf8(shown.stdout).expect("UTF-8");
    assert!(
        !shown.contains("overlimits 0 "),
        "the link was wide: {shown}"
    );
    stage.leave(near);
    stage.leave(far);
    stage.end(&[]);
}
