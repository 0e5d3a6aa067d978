//! Messages over TLS: of every size, in any pieces, to everybody in one order.

use std::io::{Read, Write};
use std::sync::Arc;

use corecast::engine::{CloseReason, EndpointSettings, Limits, Settings};
use tungstenite::Message;

use crate::Secure;
use crate::client::{BOTH_VERSIONS, Client, client_config, read_to_end, session, stream, tcp};
use crate::support::{self, client as raw, eventually};

#[test]
fn messages_of_every_size_come_back_as_they_were() {
    let secure = Secure::on_shards(1);
    for version in BOTH_VERSIONS {
        let config = Arc::new(client_config(&secure.authority, version, None));
        let mut client = Client::open(secure.server.address, &config, "/");
        for size in [
            0, 1, 125, 126, 16_000, 16_384, 16_385, 65_536, 300_000, 1_000_000,
        ] {
            let message: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
            client.binary(message.clone());
            assert_eq!(client.message(), Message::binary(message), "{size}");
        }
    }
}

#[test]
fn many_small_messages_at_once_come_back_in_order() {
    let secure = Secure::on_shards(1);
    let mut client = secure.open("/");
    for number in 0..5_000 {
        let message = Message::text(number.to_string());
        client.0.write(message).expect("the server reads");
    }
    client.0.flush().expect("the server reads");
    for number in 0..5_000 {
        assert_eq!(client.expect_text(), number.to_string());
    }
}

#[test]
fn plain_and_encrypted_members_on_two_shards_see_one_order() {
    let secure = Secure::on_shards(2);
    let mut encrypted: Vec<Client> = (0..4).map(|_| secure.open("/")).collect();
    let mut plain: Vec<raw::Client> = (0..4)
        .map(|_| raw::Client::open(secure.plain, "/"))
        .collect();
    let shards = [0, 1].map(|shard| secure.server.view.shard_connections(shard));
    assert_eq!(shards, [4, 4]);
    for number in 0..100 {
        for client in &mut encrypted {
            client.text(&format!("encrypted {number}"));
        }
        for client in &mut plain {
            client.text(&format!("plain {number}"));
        }
    }
    let order: Vec<String> = (0..800).map(|_| plain[0].expect_text()).collect();
    for client in &mut plain[1..] {
        assert!(order.iter().all(|text| client.expect_text() == *text));
    }
    for client in &mut encrypted {
        assert!(order.iter().all(|text| client.expect_text() == *text));
    }
}

#[test]
fn a_client_that_sends_byte_by_byte_is_understood() {
    let secure = Secure::on_shards(1);
    for version in BOTH_VERSIONS {
        let config = Arc::new(client_config(&secure.authority, version, None));
        let (mut tls, mut socket) = (session(&config), tcp(secure.server.address));
        let upgrade = raw::upgrade("/");
        let frame = raw::frame(raw::TEXT, b"in pieces");
        tls.writer().write_all(upgrade.as_bytes()).expect("a queue");
        tls.writer().write_all(&frame).expect("a queue");
        let mut received = Vec::new();
        while !received.ends_with(b"in pieces") {
            let mut records = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut records).expect("memory");
            }
            for byte in records {
                socket.write_all(&[byte]).expect("the server reads");
            }
            tls.read_tls(&mut socket).expect("an answer in time");
            tls.process_new_packets().expect("records");
            // Usually nothing has come yet.
            let _ = tls.reader().read_to_end(&mut received);
        }
        assert!(received.starts_with(b"HTTP/1.1 101 "));
    }
}

#[test]
fn frames_with_the_end_of_the_tls_handshake_wait() {
    let secure = Secure::on_shards(1);
    // Long enough for some ticks of the shard's timers.
    for _ in 0..50 {
        let mut client = stream(secure.server.address, &secure.config());
        while client.conn.is_handshaking() {
            if client.conn.wants_write() {
                client
                    .conn
                    .write_tls(&mut client.sock)
                    .expect("the server reads");
            }
            client
                .conn
                .read_tls(&mut client.sock)
                .expect("an answer in time");
            client.conn.process_new_packets().expect("records");
        }
        // The end of the handshake is still here: everything goes in one piece.
        let mut queue = client.conn.writer();
        queue
            .write_all(raw::upgrade("/").as_bytes())
            .expect("a queue");
        queue
            .write_all(&raw::frame(raw::TEXT, b"early"))
            .expect("a queue");
        let close = raw::frame(raw::CLOSE, &raw::close_payload(1000, ""));
        queue.write_all(&close).expect("a queue");
        let mut records = Vec::new();
        while client.conn.wants_write() {
            client.conn.write_tls(&mut records).expect("memory");
        }
        client.sock.write_all(&records).expect("the server reads");
        let (received, _) = read_to_end(&mut client);
        assert!(received.starts_with(b"HTTP/1.1 101 "));
        assert!(
            received.ends_with(b"\x81\x05early\x88\x02\x03\xE8"),
            "{received:?}"
        );
    }
}

#[test]
fn keys_can_be_renewed_at_any_time() {
    let secure = Secure::on_shards(1);
    let mut client = secure.open("/");
    for number in 0..10 {
        client.tls().conn.refresh_traffic_keys().expect("TLS 1.3");
        client.text(&number.to_string());
        assert_eq!(client.expect_text(), number.to_string());
    }
}

#[test]
fn a_turns_output_for_a_client_is_one_send() {
    let settings = Settings {
        shards: 1,
        ..support::settings()
    };
    let secure = Secure::start(settings, EndpointSettings::default());
    let mut members: Vec<Client> = (0..8).map(|_| secure.open("/")).collect();
    let sends = || secure.server.sum(|stats| stats.sends.get());
    let deliveries = || secure.server.sum(|stats| stats.deliveries.get());
    eventually("handshakes are over", || {
        secure.server.sum(|stats| stats.open.get()) == 8
    });
    for member in &mut members {
        member.text("here");
    }
    for member in &mut members {
        (0..8).for_each(|_| assert_eq!(member.expect_text(), "here"));
    }
    // Sending is counted slightly later.
    eventually("all is counted", || deliveries() == 64);
    let before = sends();
    for number in 0..100 {
        members[0].text(&number.to_string());
        for member in &mut members {
            assert_eq!(member.expect_text(), number.to_string());
        }
    }
    eventually("all is counted", || deliveries() == 864);
    assert_eq!(sends() - before, 800);
}

#[test]
fn partial_tls_records_count_and_the_largest_is_closed() {
    const RECORD_BYTES: usize = 15_000;
    let settings = Settings {
        limits: Limits {
            inbound_bytes: 200_000,
            ..Limits::default()
        },
        ..support::settings()
    };
    let secure = Secure::start(settings, EndpointSettings::default());
    let view = &secure.server.view;
    let idle = secure.open("/");
    let mut clients: Vec<Client> = (0..20).map(|_| secure.open("/")).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let tls = client.tls();
        let payload = vec![7; RECORD_BYTES + number * 10];
        tls.conn.writer().write_all(&payload).expect("room");
        let mut records = Vec::new();
        tls.conn.write_tls(&mut records).expect("a buffer");
        let part = &records[..records.len() - 1];
        tls.sock.write_all(part).expect("the relay reads");
    }
    // Thirteen of them are within the limit, and the others are closed.
    let index = CloseReason::InboundBudget.label_index();
    let closed = || secure.server.sum(|stats| stats.closed[index].get());
    eventually("those that are too much are closed", || closed() == 7);
    eventually("it is within the bound", || {
        (12 * RECORD_BYTES..200_000).contains(&view.inbound_bytes())
    });
    drop((clients, idle));
    secure.server.expect_empty();
}
