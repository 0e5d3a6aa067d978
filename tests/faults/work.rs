//! Clients that demand a whole shard: floods of frames that are cheap to send, large messages to
//! many, readers of very many rooms, departures of many at once. Each has a bounded share of a
//! turn, so phases of turns are cut and other clients continue.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;

use crate::stage::Stage;
use crate::support::client::{CONTINUATION, Client, FIN, PONG, TEXT, fragment, frame};

/// Frames of each flood, in each of its pieces.
const FRAMES: usize = 100_000;
const PUBSUB: [&str; 2] = [
    "endpoints.pubsub.kind=pubsub",
    "endpoints.pubsub.path=/pubsub",
];

/// How often a phase of a turn ended while more waited.
fn cuts(stage: &Stage, phase: &str) -> f64 {
    let series = format!("corecast_turn_cut_total{{phase=\"{phase}\"}}");
    stage.metrics().value(&series)
}

/// Eight clients send `pieces` of such a flood each; expects that turns are cut for it.
fn flood(first: &[u8], piece: &[u8], last: &[u8]) {
    let stage = Stage::start(&[]);
    thread::scope(|scope| {
        for number in 0..8 {
            let mut client = stage.open(&format!("/flood/{number}"));
            let stage = &stage;
            scope.spawn(move || {
                client.send(first);
                (0..4).for_each(|_| client.send(piece));
                client.send(last);
                assert_eq!(client.expect_text(), "end");
                stage.leave(client);
            });
        }
        stage.witness.goes_on();
    });
    assert!(cuts(&stage, "read") > 0.0);
    stage.end(&[]);
}

#[test]
fn pongs_without_pause() {
    flood(&[], &frame(PONG, b"").repeat(FRAMES), &frame(TEXT, b"end"));
}

#[test]
fn empty_fragments_without_pause() {
    flood(
        &fragment(TEXT, b"e"),
        &fragment(CONTINUATION, b"").repeat(FRAMES),
        &fragment(FIN | CONTINUATION, b"nd"),
    );
}

#[test]
fn publishers_that_send_all_they_can_in_rooms_of_their_own() {
    // The relay is stopped until each publisher has sent its first messages, which fit into any
    // socket, but are more work than one connection gets in a turn.
    const PUBLISHERS: usize = 12;
    const FIRST: usize = 3_000;
    const MESSAGES: usize = 20_000;
    const BYTES: usize = 10;
    let stage = Stage::start(&[]);
    let message = frame(TEXT, &[b'x'; BYTES]);
    let mut publishers: Vec<Client> = (0..PUBLISHERS)
        .map(|number| stage.open(&format!("/alone/{number}")))
        .collect();
    stage.relay.signal(Signal::STOP);
    for publisher in &mut publishers {
        publisher.send(&message.repeat(FIRST));
    }
    stage.relay.signal(Signal::CONT);
    thread::scope(|scope| {
        for mut publisher in publishers {
            let (stage, message) = (&stage, &message);
            scope.spawn(move || {
                let mut own = publisher.stream.try_clone().expect("a socket");
                let reading = scope.spawn(move || {
                    let mut left = MESSAGES * (2 + BYTES);
                    let mut buffer = vec![0; 64 * 1024];
                    while left > 0 {
                        let most = left.min(buffer.len());
                        left -= own.read(&mut buffer[..most]).expect("it goes on");
                    }
                });
                publisher.send(&message.repeat(MESSAGES - FIRST));
                reading.join().expect("all of its own messages");
                stage.leave(publisher);
            });
        }
        stage.witness.goes_on();
    });
    assert!(cuts(&stage, "read") > 0.0);
    stage.end(&[]);
}

#[test]
fn a_megabyte_to_two_hundred_members() {
    let stage = Stage::start(&["limits.message_bytes=2MiB"]);
    let large = "x".repeat(1 << 20);
    let mut members: Vec<Client> = (0..200).map(|_| stage.open("/large")).collect();
    let mut publisher = stage.open("/large");
    thread::scope(|scope| {
        for member in &mut members {
            scope.spawn(|| assert!(member.expect_text() == large));
        }
        publisher.text(&large);
        assert!(publisher.expect_text() == large);
        stage.witness.goes_on();
    });
    assert!(cuts(&stage, "deliver") > 0.0);
    members.push(publisher);
    members.into_iter().for_each(|member| stage.leave(member));
    stage.end(&[]);
}

#[test]
fn many_who_are_in_many_rooms_vanish_at_once() {
    const GOERS: u64 = 300;
    let stage = Stage::start(&PUBSUB);
    let subscribe = |room: usize| {
        let request = format!("{{\"type\":\"subscribe\",\"room\":\"{room}\"}}");
        frame(TEXT, request.as_bytes())
    };
    let subscriptions: Vec<u8> = (0..64).flat_map(subscribe).collect();
    let mut goers: Vec<Client> = (0..GOERS).map(|_| stage.open("/pubsub")).collect();
    for goer in &mut goers {
        goer.send(&subscriptions);
        goer.round_trip();
    }
    // The relay hears of all of them at once.
    stage.relay.signal(Signal::STOP);
    drop(goers);
    stage.relay.signal(Signal::CONT);
    stage.wait_for("closed client_gone", GOERS);
    stage.witness.goes_on();
    assert!(cuts(&stage, "read") + cuts(&stage, "close") > 0.0);
    stage.end(&[("closed client_gone", GOERS)]);
}

#[test]
fn a_reader_of_a_thousand_rooms_that_keeps_up() {
    const ROOMS: usize = 1_000;
    const OUTBOX_BYTES: f64 = 2.0 * 1024.0 * 1024.0;
    let bounds = [
        "limits.rooms_per_connection=10000",
        "limits.message_bytes=64KiB",
        "endpoints.named.limits.message_bytes=64KiB",
        "slow_client.outbox_bytes=2MiB",
    ];
    let stage = Stage::start(&[&PUBSUB[..], &bounds].concat());
    let mut reader = stage.open("/pubsub");
    let mut publisher = stage.open("/pubsub");
    for room in 0..ROOMS {
        reader.text(&format!("{{\"type\":\"subscribe\",\"room\":\"{room}\"}}"));
    }
    reader.round_trip();
    let publish = |room: usize| {
        let request =
            format!("{{\"type\":\"publish\",\"room\":\"{room}\",\"data\":\"some data\"}}");
        frame(TEXT, request.as_bytes())
    };
    let to_all: Vec<u8> = (0..ROOMS).flat_map(publish).collect();
    let is_over = AtomicBool::new(false);
    let mut stream = reader.stream.try_clone().expect("a socket");
    thread::scope(|scope| {
        let is_over = &is_over;
        scope.spawn(move || {
            let mut buffer = vec![0; 1 << 20];
            while !is_over.load(Ordering::Relaxed) {
                let received = stream.read(&mut buffer);
                assert!(received.is_ok_and(|bytes| bytes > 0), "the stream goes on");
            }
        });
        for _ in 0..50 {
            publisher.send(&to_all);
            let waiting = stage.metrics().value("corecast_live_batch_bytes");
            assert!(waiting < 4.0 * OUTBOX_BYTES, "{waiting} bytes wait");
        }
        publisher.round_trip();
        // It is in no room, so only a pong comes to it.
        is_over.store(true, Ordering::Relaxed);
        reader.send(&frame(TEXT, b"{\"type\":\"ping\",\"id\":1}"));
    });
    drop(reader);
    stage.leave(publisher);
    stage.wait_for("closed client_gone", 1);
    stage.end(&[("closed client_gone", 1)]);
}
