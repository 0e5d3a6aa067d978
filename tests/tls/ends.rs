//! Ends: `close_notify`, streams that are cut, records that are broken, slow clients.

use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use corecast::engine::{CloseReason, EndpointSettings, SlowClient, SlowPolicy};
use rustls::StreamOwned;
use socket2::{Domain, Socket, Type};
use tungstenite::Message;

use crate::Secure;
use crate::client::{BOTH_VERSIONS, Client, End, client_config, read_to_end, session, stream};
use crate::support::{self, DEADLINE, client as raw, eventually};

fn closed(secure: &Secure, reason: &CloseReason) -> u64 {
    let place = reason.label_index();
    secure.server.sum(|stats| stats.closed[place].get())
}

#[test]
fn after_our_close_comes_close_notify() {
    let mut settings = support::settings();
    settings.shutdown.timeout = DEADLINE;
    let secure = Secure::start(settings, EndpointSettings::default());
    let clients = BOTH_VERSIONS.map(|version| {
        let config = Arc::new(client_config(&secure.authority, version, None));
        Client::open(secure.server.address, &config, "/")
    });
    let server = secure.server;
    let stopping = thread::spawn(move || server.stop());
    for mut client in clients {
        client.expect_close(1001);
        // This also sends its answer.
        client.0.flush().expect("the server reads");
        let (rest, end) = read_to_end(client.tls());
        assert_eq!((rest.len(), end), (0, End::CloseNotify));
    }
    assert!(stopping.join().expect("an end"), "everybody went in time");
}

#[test]
fn after_the_clients_close_comes_close_notify() {
    let secure = Secure::on_shards(1);
    let mut client = secure.open("/");
    client.0.close(None).expect("the server reads");
    assert!(matches!(client.0.read(), Ok(Message::Close(_))));
    let (rest, end) = read_to_end(client.tls());
    assert_eq!((rest.len(), end), (0, End::CloseNotify));
    eventually("it is counted", || {
        closed(&secure, &CloseReason::ClientClosed(None)) == 1
    });
    secure.server.expect_empty();
}

#[test]
fn a_client_that_ends_its_side_still_gets_its_answer() {
    let secure = Secure::on_shards(1);
    let mut client = stream(secure.server.address, &secure.config());
    client
        .conn
        .complete_io(&mut client.sock)
        .expect("a handshake");
    client
        .conn
        .writer()
        .write_all(b"GET /chat HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("a queue");
    client.conn.send_close_notify();
    let mut records = Vec::new();
    while client.conn.wants_write() {
        client.conn.write_tls(&mut records).expect("memory");
    }
    client.sock.write_all(&records).expect("the server reads");
    let (answer, end) = read_to_end(&mut client);
    assert!(answer.starts_with(b"HTTP/1.1 426 "));
    assert_eq!(end, End::CloseNotify);
}

#[test]
fn a_cut_stream_counts_as_a_closed_client() {
    let secure = Secure::on_shards(1);
    for (number, end) in [Shutdown::Write, Shutdown::Both].into_iter().enumerate() {
        let mut client = secure.open("/");
        client.tls().sock.shutdown(end).expect("a socket");
        eventually("it is counted", || {
            closed(&secure, &CloseReason::ClientGone) == number as u64 + 1
        });
    }
    secure.server.expect_empty();
}

#[test]
fn a_broken_record_ends_its_connection_alone() {
    let secure = Secure::on_shards(1);
    let (mut other, mut client) = (secure.open("/"), secure.open("/"));
    client.text("before");
    assert_eq!(client.expect_text(), "before");
    let record = [&[23, 3, 3, 0, 32][..], &[0x5A; 32]].concat();
    client
        .tls()
        .sock
        .write_all(&record)
        .expect("the server reads");
    let error = client.0.read().expect_err("an alert");
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    eventually("it is counted", || closed(&secure, &CloseReason::Tls) == 1);
    other.text("after");
    assert_eq!(
        [other.expect_text(), other.expect_text()],
        ["before", "after"]
    );
}

/// A client with small kernel buffers.
fn narrow(secure: &Secure) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket
        .set_recv_buffer_size(8 * 1024)
        .expect("a small buffer");
    let address = secure.server.address;
    socket.connect(&address.into()).expect("a connection");
    socket.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let session = session(&secure.config());
    Client::upgraded(StreamOwned::new(session, socket.into()), "/")
}

const MESSAGES: usize = 200;

/// A slow client, a fast one, and the server.
struct Stage {
    slow: Client,
    fast: raw::Client,
    secure: Secure,
}

impl Stage {
    /// Publishes [`MESSAGES`] of 16 KiB, while the slow client reads nothing.
    fn published(policy: SlowPolicy) -> Stage {
        let mut settings = support::settings();
        settings.send_buffer_bytes = Some(16 * 1024);
        // A client that is closed while the others still publish reads up to its Close in the end.
        settings.timeouts.close = DEADLINE;
        let endpoint = EndpointSettings {
            slow_client: SlowClient {
                policy,
                outbox_bytes: 256 * 1024,
                outbox_age: Duration::ZERO,
            },
            message_bytes: 64 * 1024,
            ..EndpointSettings::default()
        };
        let secure = Secure::start(settings, endpoint);
        let mut stage = Stage {
            slow: narrow(&secure),
            fast: raw::Client::open(secure.plain, "/"),
            secure,
        };
        (0..MESSAGES).for_each(|number| stage.publish(number));
        stage
    }

    fn publish(&mut self, number: usize) {
        let text = format!("{number:>16384}");
        self.fast.text(&text);
        assert_eq!(self.fast.expect_text(), text);
    }

    fn dropped(&self) -> usize {
        self.secure.server.sum(|stats| stats.dropped_frames.get()) as usize
    }

    /// The slow client's messages up to `last` or a Close.
    fn numbers_until(&mut self, last: usize) -> (Vec<usize>, Option<u16>) {
        let mut numbers = Vec::new();
        while numbers.last() != Some(&last) {
            match self.slow.message() {
                Message::Text(text) => numbers.push(text.trim().parse().expect("a number")),
                Message::Close(frame) => return (numbers, frame.map(|each| each.code.into())),
                other => panic!("neither text nor Close: {other:?}"),
            }
        }
        (numbers, None)
    }
}

#[test]
fn a_slow_client_is_disconnected() {
    let mut stage = Stage::published(SlowPolicy::Disconnect);
    let (numbers, code) = stage.numbers_until(MESSAGES);
    assert_eq!(code, Some(1013));
    assert!(numbers.len() < MESSAGES / 2 && numbers.iter().copied().eq(0..numbers.len()));
    // This also sends its answer.
    stage.slow.0.flush().expect("the server reads");
    let (_, end) = read_to_end(stage.slow.tls());
    assert_eq!(end, End::CloseNotify);
}

#[test]
fn a_slow_client_misses_the_oldest_or_all_but_the_latest() {
    for policy in [SlowPolicy::DropOldest, SlowPolicy::LatestOnly] {
        let mut stage = Stage::published(policy);
        let dropped = stage.dropped();
        let (numbers, code) = stage.numbers_until(MESSAGES - 1);
        assert_eq!(
            (numbers.len(), code),
            (MESSAGES - dropped, None),
            "{policy:?}"
        );
        assert!(dropped > MESSAGES / 4 && numbers.is_sorted(), "{policy:?}");
    }
}

#[test]
fn a_slow_client_misses_the_newest() {
    let mut stage = Stage::published(SlowPolicy::DropNewest);
    let kept = MESSAGES - stage.dropped();
    assert!(kept < MESSAGES * 3 / 4);
    let (numbers, _) = stage.numbers_until(kept - 1);
    assert!(numbers.into_iter().eq(0..kept));
    stage.publish(MESSAGES);
    assert_eq!(stage.numbers_until(MESSAGES), (vec![MESSAGES], None));
}
