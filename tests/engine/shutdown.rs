//! The end: under load, with connecting clients, with clients that do not answer, and by the
//! binary's signals.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use corecast::engine::{EndpointSettings, Settings};
use rustix::process::Signal;

use crate::support::client::{CLOSE, Client, TEXT, close_payload, frame, upgrade};
use crate::support::relay::Relay;
use crate::support::{DEADLINE, Server, eventually, settings};

/// Longer than any clean end.
fn patient(shards: usize) -> Settings {
    let mut settings = Settings {
        shards,
        shutdown_timeout: DEADLINE,
        ..settings()
    };
    settings.timeouts.close = DEADLINE * 2;
    settings.timeouts.handshake = DEADLINE * 2;
    settings
}

/// Publishes as fast as the server takes it until told otherwise, then answers the Close.
fn publish(mut stream: std::net::TcpStream, publisher: usize, is_over: &AtomicBool) {
    let mut number = 0_usize;
    while !is_over.load(Ordering::Relaxed) {
        let mut burst = Vec::new();
        for _ in 0..16 {
            burst.extend(frame(TEXT, format!("{publisher} {number}").as_bytes()));
            number += 1;
        }
        stream.write_all(&burst).expect("the server reads on");
    }
    stream
        .write_all(&frame(CLOSE, &close_payload(1001, "")))
        .expect("the server reads on");
}

#[test]
fn under_load_all_clients_get_the_same_frames_and_then_1001() {
    const PUBLISHERS: usize = 4;
    const MEMBERS: usize = 10;
    let server = Server::hub(patient(2), EndpointSettings::default());
    let members: Vec<Client> = (0..MEMBERS).map(|_| server.open("/")).collect();
    let mut readers = Vec::new();
    for (index, mut member) in members.into_iter().enumerate() {
        let is_over = Arc::new(AtomicBool::new(false));
        let writer = (index < PUBLISHERS).then(|| {
            let stream = member.stream.try_clone().unwrap();
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || publish(stream, index, &is_over))
        });
        readers.push(thread::spawn(move || {
            let (texts, code, reason) = member.until_close();
            is_over.store(true, Ordering::Relaxed);
            match writer {
                Some(writer) => writer.join().unwrap(),
                None => member.close(1001),
            }
            member.expect_end();
            assert_eq!((code, &*reason), (1001, "shutdown: going away"));
            texts
        }));
    }
    eventually("some load", || {
        server.sum(|stats| stats.deliveries.get()) > 20_000
    });
    let view = server.view.clone();
    assert!(server.stop(), "in time");
    let streams: Vec<Vec<String>> = readers
        .into_iter()
        .map(|reader| reader.join().unwrap())
        .collect();
    let longest = streams.iter().max_by_key(|stream| stream.len()).unwrap();
    let mut next = [0; PUBLISHERS];
    for text in longest {
        let (publisher, number) = text.split_once(' ').unwrap();
        let next = &mut next[publisher.parse::<usize>().unwrap()];
        assert_eq!(number.parse(), Ok(*next), "of publisher {publisher}");
        *next += 1;
    }
    for stream in &streams {
        assert!(longest.starts_with(stream), "another order, or a gap");
    }
    assert_eq!(view.connections(), 0);
    assert!(!view.is_ready());
    eventually("all buffers gone", || view.live_bytes() == 0);
}

#[test]
fn connections_on_their_way_in_get_an_answer_or_an_end() {
    for shards in [1, 2] {
        let server = Server::hub(patient(shards), EndpointSettings::default());
        let address = server.address;
        let silent = Client::connect(address);
        let is_over = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let is_over = Arc::clone(&is_over);
                thread::spawn(move || {
                    let mut outcomes = [0; 3];
                    while !is_over.load(Ordering::Relaxed) {
                        outcomes[try_to_open(address)] += 1;
                    }
                    outcomes
                })
            })
            .collect();
        eventually("a storm of connections", || {
            server.sum(|stats| stats.opened.get()) > 200
        });
        assert!(server.stop(), "in time");
        is_over.store(true, Ordering::Relaxed);
        let mut silent = silent;
        silent.expect_end();
        for client in clients {
            let outcomes = client.join().expect("none hangs, none gets half an answer");
            assert!(outcomes[0] > 0);
        }
    }
}

/// Opens a WebSocket and closes it: returns 0 on success, 1 if it is refused with 503, 2 if the
/// connection ends.
fn try_to_open(address: std::net::SocketAddr) -> usize {
    let Ok(stream) = std::net::TcpStream::connect(address) else {
        return 2;
    };
    let mut client = Client::from(stream);
    if client.stream.write_all(upgrade("/").as_bytes()).is_err() {
        return 2;
    }
    match client.try_answer() {
        None => 2,
        Some(answer) if answer.status == 503 => {
            assert!(answer.header("retry-after").is_some());
            1
        }
        Some(answer) => {
            assert_eq!(answer.status, 101);
            let _ = client
                .stream
                .write_all(&frame(CLOSE, &close_payload(1000, "")));
            while client.try_frame().is_some() {}
            0
        }
    }
}

#[test]
fn a_client_that_does_not_answer_is_cut() {
    let mut settings = patient(2);
    settings.shutdown_timeout = Duration::from_millis(300);
    let server = Server::hub(settings, EndpointSettings::default());
    let mut clients = [server.open("/"), server.open("/")];
    assert!(!server.stop());
    for client in &mut clients {
        client.expect_close(1001);
        client.expect_end();
    }
}

#[test]
fn a_half_open_message_does_not_hold_up_the_end() {
    let server = Server::hub(patient(1), EndpointSettings::default());
    let mut client = server.open("/");
    let message = frame(TEXT, &[b'x'; 1_000]);
    client.send(&message[..500]);
    client.send(b"");
    let stopping = thread::spawn(move || server.stop());
    client.expect_close(1001);
    client.send(&message[500..]);
    client.close(1001);
    client.expect_end();
    assert!(stopping.join().unwrap());
}

#[test]
fn a_signal_ends_the_binary_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let relay = Relay::start(&["--set", "shutdown.timeout=1m"]);
        let mut client = Client::open(relay.address, "/");
        client.text("before");
        assert_eq!(client.expect_text(), "before");
        relay.signal(signal);
        client.expect_close(1001);
        client.close(1001);
        client.expect_end();
        assert_eq!(relay.exit_code(), Some(0));
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let relay = Relay::start(&[
        "--set",
        "shutdown.timeout=10m",
        "--set",
        "timeouts.close=10m",
    ]);
    let mut client = Client::open(relay.address, "/");
    relay.signal(Signal::TERM);
    client.expect_close(1001);
    relay.signal(Signal::TERM);
    assert_eq!(relay.exit_code(), Some(128 + 15));
    client.expect_end();
}
