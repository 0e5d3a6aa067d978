//! Requests that never become a WebSocket.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use crate::stage::Stage;
use crate::support::client::{Client, TEXT, frame, upgrade, upgrade_with};

/// The pause between two bytes.
const SECOND: Duration = Duration::from_secs(1);

/// Sends `bytes` one by one, one a second, until the relay answers; then reads on as usual.
fn drip(client: &mut Client, bytes: &[u8]) {
    let patience = client.stream.read_timeout().expect("a socket");
    client
        .stream
        .set_read_timeout(Some(SECOND))
        .expect("a socket");
    for byte in bytes {
        client.send(&[*byte]);
        match client.stream.peek(&mut [0]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            answered => {
                answered.expect("an answer");
                return client.stream.set_read_timeout(patience).expect("a socket");
            }
        }
    }
    panic!("the relay waited for all of it");
}

#[test]
fn half_a_handshake_and_silence() {
    let stage = Stage::start(&["timeouts.handshake=1s"]);
    let mut silent = stage.connect();
    let mut half = stage.connect();
    let request = upgrade("/");
    half.send(&request.as_bytes()[..request.len() / 2]);
    assert_eq!(half.answer().status, 408);
    half.expect_end();
    silent.expect_end();
    stage.end(&[("refused handshake_timeout", 1)]);
}

#[test]
fn one_byte_a_second_of_a_request() {
    let stage = Stage::start(&["timeouts.handshake=3s"]);
    let mut client = stage.connect();
    drip(&mut client, upgrade("/").as_bytes());
    assert_eq!(client.answer().status, 408);
    client.expect_end();
    stage.end(&[("refused handshake_timeout", 1)]);
}

#[test]
fn one_byte_a_second_of_a_message() {
    let stage = Stage::start(&["timeouts.message=3s"]);
    let mut client = stage.open("/");
    drip(&mut client, &frame(TEXT, &[b'x'; 100]));
    client.expect_close(1008);
    client.expect_end();
    stage.end(&[("closed message_timeout", 1)]);
}

#[test]
fn headers_of_64_kib() {
    let stage = Stage::start(&[]);
    let long = format!("X-Long: {}\r\n", "x".repeat(64 * 1024));
    let many = "X-Short: x\r\n".repeat(64 * 1024 / 12);
    for headers in [&long, &many] {
        let mut client = stage.connect();
        client.send(upgrade_with("/", headers).as_bytes());
        assert_eq!(client.answer().status, 431);
        client.expect_end();
    }
    stage.end(&[("refused bad_request", 2)]);
}

#[test]
fn a_body_longer_than_it_said() {
    let stage = Stage::start(&[]);
    let mut client = stage.connect();
    // The surplus is the beginning of the next request, which is invalid.
    client
        .send(b"GET / HTTP/1.1\r\nHost: relay\r\nContent-Length: 3\r\n\r\nbody, and more\r\n\r\n");
    assert_eq!(client.answer().status, 426);
    assert_eq!(client.answer().status, 400);
    client.expect_end();
    stage.end(&[("refused bad_request", 1)]);
}

#[test]
fn a_body_of_more_than_anybody_may_send() {
    let stage = Stage::start(&[]);
    let mut client = stage.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: relay\r\nContent-Length: 9223372036854775807\r\n\r\n");
    assert_eq!(client.answer().status, 413);
    client.expect_end();
    stage.end(&[("refused bad_request", 1)]);
}

#[test]
fn garbage_instead_of_a_request() {
    let stage = Stage::start(&[]);
    // The beginning of a TLS handshake, binary data, and a line that never ends.
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3];
    let noise: Vec<u8> = (0..4_096_u32)
        .map(|each| (each * 167 % 256) as u8)
        .collect();
    let endless = [b'G'; 64 * 1024];
    for garbage in [&hello[..], &noise, &endless] {
        let mut client = stage.connect();
        client.send(garbage);
        let status = client.answer().status;
        assert!((400..500).contains(&status), "{status}");
        // Some of it may not have been read: then the end is a reset.
        let mut rest = Vec::new();
        let _ = client.stream.read_to_end(&mut rest);
        assert!(rest.is_empty());
    }
    stage.end(&[("refused bad_request", 3)]);
}
