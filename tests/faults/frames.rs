//! Frames that a client must not send, and ends in the middle of frames.

use std::fs;
use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;

use crate::stage::Stage;
use crate::support::client::{
    BINARY, CONTINUATION, Client, FIN, PING, PONG, RSV1, TEXT, compressed, fragment, frame,
    raw_frame,
};

/// Half a frame: its header and part of the announced payload.
fn half_a_frame() -> Vec<u8> {
    let mut bytes = frame(BINARY, &[7; 60_000]);
    bytes.truncate(30_000);
    bytes
}

/// Waits until the relay holds half a message.
fn wait_for_half(stage: &Stage) {
    crate::support::eventually("half a message is held", || {
        stage.metrics().value("corecast_inbound_bytes") > 0.0
    });
}

/// Expects that `offence` closes a connection with `code`.
fn expect_offence(stage: &Stage, offence: &[u8], code: u16) {
    let mut client = stage.open("/");
    client.send(offence);
    client.expect_close(code);
    client.expect_end();
}

#[test]
fn a_reset_in_the_middle_of_a_frame() {
    let stage = Stage::start(&[]);
    let mut client = stage.open("/");
    client.send(&half_a_frame());
    wait_for_half(&stage);
    SockRef::from(&client.stream)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket");
    drop(client);
    stage.end(&[("closed client_gone", 1)]);
}

#[test]
fn the_end_of_the_stream_without_a_close() {
    let stage = Stage::start(&[]);
    let mut between = stage.open("/");
    let mut within = stage.open("/");
    within.send(&half_a_frame());
    wait_for_half(&stage);
    for client in [&mut between, &mut within] {
        client.stream.shutdown(Shutdown::Write).expect("a socket");
        client.expect_end();
    }
    stage.end(&[("closed client_gone", 2)]);
}

#[test]
fn a_flood_of_pings() {
    const PINGS: u32 = 100_000;
    let stage = Stage::start(&["engine.send_buffer_bytes=16KiB"]);
    let mut client = Client::connect_narrow(stage.address(), 4_096).upgraded("/flood");
    for number in 0..PINGS {
        client.send(&frame(PING, &number.to_be_bytes()));
    }
    // It has read nothing: pongs were left out, but not the last one.
    let mut answered = 0;
    let last = loop {
        let pong = client.frame();
        assert_eq!(pong.opcode, PONG);
        let number = u32::from_be_bytes(pong.payload.try_into().expect("as sent"));
        answered += 1;
        if number == PINGS - 1 {
            break number;
        }
    };
    assert!(answered <= last, "{answered} pongs: nobody flooded");
    client.text("still welcome");
    assert_eq!(client.expect_text(), "still welcome");
    stage.leave(client);
    stage.end(&[]);
}

#[test]
fn ten_thousand_fragments_of_one_byte() {
    const FRAGMENTS: usize = 10_000;
    let stage = Stage::start(&[]);
    let mut client = stage.open("/fragments");
    let mut bytes = fragment(TEXT, b"x");
    for _ in 0..FRAGMENTS - 2 {
        bytes.extend(fragment(CONTINUATION, b"x"));
    }
    bytes.extend(fragment(FIN | CONTINUATION, b"x"));
    client.send(&bytes);
    assert!(client.expect_text() == "x".repeat(FRAGMENTS));
    stage.leave(client);
    stage.end(&[]);
}

#[test]
fn a_header_that_claims_2_to_the_63_bytes() {
    let stage = Stage::start(&[]);
    // The most significant bit must be 0 (RFC 6455 §5.2); one less is only too much.
    for (bytes, code) in [(1_u64 << 63, 1002), ((1 << 63) - 1, 1009)] {
        let mut header = vec![FIN | BINARY, 0xFF];
        header.extend(bytes.to_be_bytes());
        header.extend([1, 2, 3, 4]);
        assert_eq!(header.len(), 14);
        expect_offence(&stage, &header, code);
    }
    stage.end(&[("closed protocol_error", 1), ("closed too_big", 1)]);
}

/// The most memory that the relay has ever had, in bytes.
fn peak_memory_bytes(stage: &Stage) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", stage.relay.id()));
    let status = status.expect("the relay lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .expect("a number")
        * 1_024
}

#[test]
fn a_deflate_bomb() {
    const INFLATED_BYTES: usize = 100 << 20;
    let stage = Stage::start(&["deflate.enabled=true"]);
    let bomb = compressed(&vec![b'x'; INFLATED_BYTES]);
    assert!(bomb.len() < INFLATED_BYTES / 500);
    let mut client = stage.connect().deflating("/bomb", "");
    client.send(&raw_frame(
        FIN | RSV1 | TEXT,
        &compressed(b"harmless"),
        true,
    ));
    assert_eq!(client.expect_text(), "harmless");
    let before = peak_memory_bytes(&stage);
    client.send(&raw_frame(FIN | RSV1 | TEXT, &bomb, true));
    client.expect_close(1009);
    client.expect_end();
    // Also in a thousand fragments. It may be refused before the last of them.
    let mut client = stage.connect().deflating("/bomb", "");
    let (last, pieces) = bomb.split_last().expect("a bomb");
    let _ = client.try_send(&fragment(RSV1 | TEXT, &[]));
    for piece in pieces.chunks(bomb.len() / 1_000) {
        let _ = client.try_send(&fragment(CONTINUATION, piece));
    }
    let _ = client.try_send(&fragment(FIN | CONTINUATION, &[*last]));
    client.expect_close(1009);
    client.expect_end();
    // A message of the largest size and the memory to inflate it, not a hundred times that.
    let grown = peak_memory_bytes(&stage) - before;
    assert!(grown < INFLATED_BYTES as u64 / 4, "{grown} bytes");
    stage.end(&[
        ("closed too_big", 2),
        ("inflations_refused message_too_big", 2),
    ]);
}

#[test]
fn unmasked_frames() {
    let stage = Stage::start(&[]);
    for opcode in [TEXT, BINARY, PING] {
        expect_offence(&stage, &raw_frame(FIN | opcode, b"bare", false), 1002);
    }
    stage.end(&[("closed protocol_error", 3)]);
}

#[test]
fn reserved_bits_and_opcodes() {
    let stage = Stage::start(&[]);
    let bits = [0x40, 0x20, 0x10, 0x70].map(|bit| FIN | bit | TEXT);
    let opcodes = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map(|opcode| FIN | opcode);
    for first in bits.into_iter().chain(opcodes) {
        expect_offence(&stage, &raw_frame(first, b"reserved", true), 1002);
    }
    stage.end(&[("closed protocol_error", 14)]);
}

#[test]
fn invalid_utf_8_split_over_fragments() {
    let stage = Stage::start(&[]);
    // An overlong form, a surrogate, a character cut short by the end of the message: split at
    // every position.
    let texts: [&[u8]; 3] = [b"ab\xC0\xAFcd", b"ab\xED\xA0\x80cd", b"abcd\xF0\x9F\x98"];
    let mut offences = 0;
    for text in texts {
        for at in 1..text.len() {
            let (head, tail) = text.split_at(at);
            let mut client = stage.open("/");
            // It may be refused before the rest is sent, and the rest meets a closed socket.
            client.send(&[fragment(TEXT, head), fragment(FIN | CONTINUATION, tail)].concat());
            client.expect_close(1007);
            client.expect_end();
            offences += 1;
        }
    }
    stage.end(&[("closed invalid_data", offences)]);
}
