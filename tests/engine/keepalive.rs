//! Pings, and silent clients.

use std::time::{Duration, Instant};

use corecast::engine::{CloseReason, EndpointSettings, Keepalive};

use crate::support::client::{Client, Frame, PING, PONG, TEXT, frame};
use crate::support::{Server, eventually, settings};

fn hub(ping_ms: u64, pong_ms: u64) -> Server {
    let endpoint = EndpointSettings {
        keepalive: Keepalive {
            ping: Duration::from_millis(ping_ms),
            pong: Duration::from_millis(pong_ms),
        },
        ..EndpointSettings::default()
    };
    Server::hub(settings(), endpoint)
}

#[test]
fn pings_come_again_and_again_spread_over_the_interval() {
    let server = hub(1_000, 0);
    let mut clients: Vec<Client> = (0..32).map(|_| server.open("/")).collect();
    let began = Instant::now();
    let mut first: Vec<u128> = Vec::new();
    for client in &mut clients {
        client.stream.set_nonblocking(true).unwrap();
    }
    let mut pings = vec![0; clients.len()];
    eventually("two pings for everybody", || {
        for (client, pings) in clients.iter_mut().zip(&mut pings) {
            let mut bytes = [0; 2];
            if let Ok(2) = std::io::Read::read(&mut client.stream, &mut bytes) {
                assert_eq!(bytes, [0x80 | PING, 0]);
                if *pings == 0 {
                    first.push(began.elapsed().as_millis() / 100);
                }
                *pings += 1;
            }
        }
        pings.iter().all(|pings| *pings >= 2)
    });
    first.dedup();
    assert!(first.len() > 2, "all at once: {first:?}");
}

#[test]
fn silence_is_closed_and_said_to_be_so() {
    let server = hub(100, 400);
    let mut silent = server.open("/");
    let mut alive = server.open("/");
    alive
        .stream
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let mut pongs = 0;
    eventually("the silent one is closed", || {
        let mut bytes = [0; 2];
        if let Ok(2) = std::io::Read::read(&mut alive.stream, &mut bytes) {
            assert_eq!(bytes, [0x80 | PING, 0]);
            alive.send(&frame(PONG, b""));
            pongs += 1;
        }
        server.sum(|stats| stats.closed[CloseReason::PingTimeout.label_index()].get()) == 1
            && pongs > 8
    });
    assert_eq!(silent.expect_close(1001), "timeout: nothing heard");
    silent.expect_end();
    assert_eq!(server.sum(|stats| stats.open.get()), 1);
}

#[test]
fn any_frame_is_a_sign_of_life() {
    // No pings at all: only the client's own messages keep it.
    let server = hub(0, 500);
    let mut talks = server.open("/talks");
    let mut pongs = server.open("/pongs");
    let mut silent = server.open("/silent");
    let mut said = 0_u32;
    eventually("the silent one is closed", || {
        talks.send(&frame(TEXT, b"x"));
        assert_eq!(talks.expect_text(), "x");
        pongs.send(&frame(PONG, b""));
        said += 1;
        server.sum(|stats| stats.closed[CloseReason::PingTimeout.label_index()].get()) == 1
    });
    silent.expect_close(1001);
    talks.round_trip();
    pongs.round_trip();
    assert!(said > 0 && server.sum(|stats| stats.open.get()) == 2);
}

#[test]
fn a_part_of_a_frame_is_a_sign_of_life_too() {
    let server = hub(0, 500);
    let mut slow = server.open("/");
    let mut silent = server.open("/silent");
    let message = frame(TEXT, &[b'x'; 100_000]);
    let mut bytes = message.chunks(8);
    eventually("the silent one is closed", || {
        slow.send(bytes.next().expect("enough to say"));
        server.sum(|stats| stats.closed[CloseReason::PingTimeout.label_index()].get()) == 1
    });
    silent.expect_close(1001);
    for rest in bytes {
        slow.send(rest);
    }
    assert_eq!(
        slow.frame(),
        Frame {
            opcode: TEXT,
            payload: vec![b'x'; 100_000]
        }
    );
}
