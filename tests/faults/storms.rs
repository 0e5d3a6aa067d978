//! Thousands of clients at once.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use socket2::{Domain, SockRef, Socket, Type};

use crate::stage::{Stage, one_at_a_time, skip};
use crate::support::client::{CLOSE, Client, close_payload, frame, upgrade};
use crate::support::eventually;

const CROWD: usize = 5_000;

/// Whether this process and the relay may each have that many connections, and some more.
fn may_crowd() -> bool {
    let maximum = getrlimit(Resource::Nofile).maximum;
    if maximum.is_some_and(|files| files < 2 * CROWD as u64) {
        skip("open files are limited to fewer than 10000");
        return false;
    }
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("the hard limit is allowed");
    true
}

/// Starts all connections before any is established, and opens their WebSockets.
fn burst(address: SocketAddr) -> Vec<Client> {
    let connecting: Vec<Socket> = (0..CROWD)
        .map(|_| {
            let domain = Domain::for_address(address);
            let socket = Socket::new(domain, Type::STREAM, None).expect("a socket");
            socket.set_nonblocking(true).expect("a socket");
            // It is in progress, so the result is meaningless.
            let _ = socket.connect(&address.into());
            socket
        })
        .collect();
    let mut clients: Vec<Client> = connecting
        .into_iter()
        .map(|socket| {
            socket.set_nonblocking(false).expect("a socket");
            // A send waits until the connection is established.
            let mut client = Client::from(TcpStream::from(socket));
            client.send(upgrade("/crowd").as_bytes());
            client
        })
        .collect();
    for client in &mut clients {
        assert_eq!(client.answer().status, 101);
    }
    clients
}

#[test]
fn five_thousand_connects_in_a_burst() {
    let _turn = one_at_a_time();
    if !may_crowd() {
        return;
    }
    let stage = Stage::start(&[]);
    let before = stage.metrics().connections("open");
    let mut crowd = burst(stage.address());
    stage.witness.goes_on();
    let open = stage.metrics().connections("open");
    assert_eq!(open, before + CROWD as f64);
    for client in &mut crowd {
        client.close(1000);
    }
    for mut client in crowd {
        client.expect_close(1000);
        client.expect_end();
    }
    stage.end(&[]);
}

#[test]
fn five_thousand_abrupt_disconnects_while_new_clients_connect() {
    let _turn = one_at_a_time();
    if !may_crowd() {
        return;
    }
    let stage = Stage::start(&[]);
    let crowd = burst(stage.address());
    let is_over = AtomicBool::new(false);
    // In the crowd's room: their messages go to all clients that are still there.
    let newcomers = || {
        let mut count = 0;
        while !is_over.load(Ordering::Relaxed) {
            let mut client = stage.open("/crowd");
            let text = format!("newcomer {count}");
            client.text(&text);
            assert_eq!(client.expect_text(), text);
            stage.leave(client);
            count += 1;
        }
        count
    };
    let arrived = thread::scope(|scope| {
        let arriving = scope.spawn(newcomers);
        for client in crowd {
            let socket = SockRef::from(&client.stream);
            socket.set_linger(Some(Duration::ZERO)).expect("a socket");
        }
        stage.wait_for("closed client_gone", CROWD as u64);
        stage.witness.goes_on();
        is_over.store(true, Ordering::Relaxed);
        arriving.join().expect("all newcomers are served")
    });
    assert!(arrived > 0);
    stage.end(&[("closed client_gone", CROWD as u64)]);
}

/// The result of an attempt to connect.
#[derive(Clone, Copy)]
enum Outcome {
    Opened,
    /// With 503 and `Retry-After`.
    TurnedAway,
    /// The connection ended, or was not established.
    Ended,
}

/// Opens a WebSocket and closes it again.
fn visit(address: SocketAddr) -> Outcome {
    let Ok(stream) = TcpStream::connect(address) else {
        return Outcome::Ended;
    };
    let mut client = Client::from(stream);
    if client.try_send(upgrade("/storm").as_bytes()).is_err() {
        return Outcome::Ended;
    }
    match client.try_answer() {
        None => Outcome::Ended,
        Some(answer) if answer.status == 503 => {
            assert!(answer.header("retry-after").is_some());
            Outcome::TurnedAway
        }
        Some(answer) => {
            assert_eq!(answer.status, 101);
            // The relay's own Close may already be on its way.
            let _ = client.try_send(&frame(CLOSE, &close_payload(1000, "")));
            while client.try_frame().is_some() {}
            Outcome::Opened
        }
    }
}

#[test]
fn a_connect_storm_during_shutdown() {
    let stage = Stage::start(&["shutdown.timeout=1m", "timeouts.close=1m"]);
    let address = stage.address();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let storm = || {
            let mut outcomes = [0; 3];
            while !is_over.load(Ordering::Relaxed) {
                outcomes[visit(address) as usize] += 1;
            }
            outcomes
        };
        let storms: Vec<_> = (0..8).map(|_| scope.spawn(storm)).collect();
        eventually("a storm", || {
            stage.metrics().value("corecast_opened_total") > 500.0
        });
        assert!(stage.metrics().faults().is_empty());
        stage.relay.signal(Signal::TERM);
        // No accepted message was missed, and it ends for all clients at the same message.
        stage.witness.end_by_shutdown();
        assert_eq!(stage.relay.exit_code(), Some(0));
        is_over.store(true, Ordering::Relaxed);
        for storm in storms {
            let outcomes = storm.join().expect("none hangs, none gets half an answer");
            assert!(outcomes[Outcome::Opened as usize] > 0, "{outcomes:?}");
        }
    });
}
