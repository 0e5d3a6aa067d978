//! Messages with a client's own head and a shared body, over real sockets: whole and in order,
//! however much the socket accepts at a time and whatever comes between.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use corecast::engine::{
    Deflate, EndpointSettings, Keepalive, Listen, Settings, SlowAction, SlowClient, SlowPolicy,
};
use corecast::limits::SHARED_BODY_BYTES_MIN;
use rustls::version::TLS13;

use crate::certificates::{Authority, Folder, tls_of};
use crate::press::{
    ANSWERED, EVENT, LAST_WORDS, Press, ROOM_AND_BEHIND, TO_ROOM, UNANSWERED, head_told,
};
use crate::support::client::{Client, Frame, PING, PONG, TEXT, frame};
use crate::support::{Server, eventually, settings};
use crate::tls_client::{self, client_config};

/// A press on so many shards, whose sends are cut to pieces.
fn press(shards: usize, endpoint: EndpointSettings) -> Server {
    let settings = Settings {
        shards,
        send_buffer_bytes: Some(16 * 1024),
        ..settings()
    };
    Server::start(settings, |builder| {
        let press = builder.endpoint(endpoint, Press);
        builder.route("/**", press).expect("a path");
    })
}

fn command(what: u8, payload: &str) -> Vec<u8> {
    frame(TEXT, &[&[what], payload.as_bytes()].concat())
}

/// A client, and the head of its events.
fn reader(mut client: Client) -> (Client, String) {
    let head = head_told(&client.expect_text());
    (client, head)
}

/// The body of that number: sizes around every limit, and some larger than a socket accepts.
fn body(number: usize) -> String {
    let bytes = match number % 6 {
        0 => 10,
        1 => SHARED_BODY_BYTES_MIN - 8,
        2 => SHARED_BODY_BYTES_MIN - 7,
        3 => 600,
        4 => 5_000,
        _ => 70_000,
    };
    format!(
        "{number:06} {}",
        "all the same ".repeat(bytes / 13 + 1).split_at(bytes).0
    )
}

fn room_text(number: usize) -> String {
    format!("room {number:06}")
}

/// A client's messages: events and frames of the room, each whole and in order.
#[derive(Default)]
struct Got {
    events: usize,
    of_room: usize,
}

impl Got {
    fn take(&mut self, text: &str, head: &str) {
        match text.strip_prefix(head) {
            Some(event) => {
                assert!(event == body(self.events), "event {}", self.events);
                self.events += 1;
            }
            None => {
                assert_eq!(text, room_text(self.of_room));
                self.of_room += 1;
            }
        }
    }
}

const EVENTS: usize = 120;

/// Sends events and frames to the room alternately.
fn publish(publisher: &mut Client) {
    for number in 0..EVENTS {
        publisher.send(&command(EVENT, &body(number)));
        publisher.send(&command(TO_ROOM, &room_text(number)));
    }
}

/// Reads everything, while sending pings that must be answered.
fn read_all(mut client: Client, head: &str) -> Client {
    let (mut got, mut pings, mut pongs) = (Got::default(), 0, 0);
    while got.events < EVENTS || got.of_room < EVENTS || pongs < pings {
        if got.events % 7 == 3 && pings == pongs {
            client.send(&frame(PING, b"in between"));
            pings += 1;
        }
        let Frame { opcode, payload } = client.frame();
        match opcode {
            TEXT => got.take(std::str::from_utf8(&payload).expect("UTF-8"), head),
            PONG => {
                assert_eq!(payload, b"in between");
                pongs += 1;
            }
            PING => client.send(&frame(PONG, &payload)),
            other => panic!("opcode {other}"),
        }
    }
    assert!(pings > 0);
    client
}

fn deflating() -> EndpointSettings {
    EndpointSettings {
        deflate: Deflate {
            enabled: true,
            min_bytes: 64,
            level: 1,
        },
        keepalive: Keepalive {
            ping: Duration::from_millis(100),
            pong: Duration::from_secs(60),
        },
        slow_client: SlowClient {
            outbox_bytes: 1 << 30,
            ..SlowClient::default()
        },
        ..EndpointSettings::default()
    }
}

#[test]
fn mixed_frames_stay_whole_on_all_kinds_of_connections() {
    let authority = Authority::new("the server's");
    let folder = Folder::new(&authority.server(2100));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let secure = Listen {
        tls: true,
        ..any.into()
    };
    let mut settings = settings();
    settings.shards = 2;
    settings.send_buffer_bytes = Some(16 * 1024);
    settings.listen = vec![secure, any.into()];
    let server = Server::start(settings, |builder| {
        builder.tls(tls_of(&folder.files()));
        let press = builder.endpoint(deflating(), Press);
        builder.route("/**", press).expect("a path");
    });
    let plain = server.engine().addresses()[1];
    // The publisher inflates, so bodies are deflated. It reads nothing until it has sent
    // everything.
    let (mut publisher, head) = reader(Client::connect(plain).deflating("/", ""));
    let narrow = || Client::connect_narrow(plain, 8 * 1024);
    let readers = [
        reader(narrow().upgraded("/")),
        reader(narrow().deflating("/", "")),
        reader(narrow().deflating("/", "; server_max_window_bits=9")),
        reader(Client::open(plain, "/")),
        reader(Client::connect(plain).deflating("/", "")),
    ];
    let config = Arc::new(client_config(&authority, &TLS13, None));
    let secure = [(); 3].map(|()| {
        let mut client = tls_client::Client::open(server.address, &config, "/");
        let head = head_told(&client.expect_text());
        (client, head)
    });
    std::thread::scope(|scope| {
        for (client, head) in readers {
            let is_deflating = client.deflated_frames.is_some();
            scope.spawn(move || {
                let client = read_all(client, &head);
                assert_eq!(
                    client.deflated_frames.is_some_and(|frames| frames > 20),
                    is_deflating
                );
            });
        }
        for (mut client, head) in secure {
            scope.spawn(move || {
                let mut got = Got::default();
                while got.events < EVENTS || got.of_room < EVENTS {
                    got.take(&client.expect_text(), &head);
                }
            });
        }
        publish(&mut publisher);
        read_all(publisher, &head);
    });
    assert!(server.sum(|stats| stats.deflate_saved_bytes.get()) > 1_000_000);
    assert_eq!(server.sum(|stats| stats.dropped_frames.get()), 0);
    let deflated = server.sum(|stats| stats.deflated.get()) as usize;
    assert!(deflated < 2 * EVENTS, "once for all clients: {deflated}");
}

/// A client that does not read, while a publisher sends events that it reads itself.
fn stalled(slow_client: SlowClient, events: usize) -> (Server, Client, String) {
    let endpoint = EndpointSettings {
        message_bytes: 16 * 1024,
        slow_client,
        ..EndpointSettings::default()
    };
    let server = press(1, endpoint);
    let (stalled, head) = reader(Client::connect_narrow(server.address, 16 * 1024).upgraded("/"));
    let (mut publisher, own_head) = reader(Client::open(server.address, "/"));
    for number in 0..events {
        publisher.send(&command(EVENT, &numbered(number)));
        assert_eq!(
            publisher.expect_text(),
            own_head.clone() + &numbered(number)
        );
    }
    (server, stalled, head)
}

fn numbered(number: usize) -> String {
    format!("{number:06} {}", "x".repeat(1_000 + number % 100))
}

#[test]
fn policies_cut_between_whole_messages() {
    const EVENTS: usize = 500;
    for policy in [
        SlowPolicy::DropOldest,
        SlowPolicy::DropNewest,
        SlowPolicy::LatestOnly,
        SlowPolicy::Disconnect,
    ] {
        let slow_client = SlowClient {
            policy,
            outbox_bytes: 64 * 1024,
            outbox_age: Duration::ZERO,
        };
        let (server, mut client, head) = stalled(slow_client, EVENTS);
        let dropped = server.sum(|stats| stats.dropped_frames.get()) as usize;
        // Under drop_newest the last event is one that found room.
        if policy == SlowPolicy::DropNewest {
            client.send(&command(ANSWERED, "after all"));
        }
        let (numbers, is_closed) = numbers_of(&mut client, &head, EVENTS - 1);
        let is_disconnected = matches!(policy, SlowPolicy::LatestOnly | SlowPolicy::Disconnect);
        assert_eq!(is_closed, is_disconnected, "{policy:?}");
        assert_eq!(numbers[0], 0);
        if !is_disconnected {
            assert!(dropped > 100, "{policy:?}: {dropped}");
            assert_eq!(numbers.len() + dropped, EVENTS, "{policy:?}");
        }
        let actions = server.sum(|stats| stats.slow_actions[SlowAction::Disconnect as usize].get());
        assert_eq!(actions, u64::from(is_disconnected));
    }
}

/// The numbers of the remaining events: up to the last, to another text, or to the Close.
fn numbers_of(client: &mut Client, head: &str, last: usize) -> (Vec<usize>, bool) {
    let mut all = Vec::new();
    while all.last() != Some(&last) {
        let Frame { opcode, payload } = client.frame();
        if opcode != TEXT {
            return (all, true);
        }
        let text = String::from_utf8(payload).expect("UTF-8");
        if text == "after all" {
            return (all, false);
        }
        let event = text.strip_prefix(head).expect("its own head");
        let number = event[..6].parse().expect("a number");
        assert!(event == numbered(number), "event {number}");
        assert!(all.last().is_none_or(|before| *before < number), "order");
        all.push(number);
    }
    (all, false)
}

#[test]
fn a_shared_body_is_copied_once_and_freed_with_its_last_user() {
    const READERS: usize = 40;
    const EVENTS: usize = 30;
    const BODY_BYTES: usize = 100_000;
    let endpoint = EndpointSettings {
        slow_client: SlowClient {
            outbox_bytes: 1 << 30,
            ..SlowClient::default()
        },
        ..EndpointSettings::default()
    };
    let server = press(2, endpoint);
    let narrow = || Client::connect_narrow(server.address, 16 * 1024).upgraded("/");
    let readers: Vec<_> = (0..READERS).map(|_| reader(narrow())).collect();
    let (mut publisher, head) = reader(Client::open(server.address, "/"));
    let before = server.view.live_bytes();
    let body = "b".repeat(BODY_BYTES);
    for _ in 0..EVENTS {
        publisher.send(&command(EVENT, &body));
        assert_eq!(publisher.expect_text().len(), head.len() + BODY_BYTES);
    }
    eventually("all wait for most of it", || {
        let waiting = server.sum(|stats| stats.outbox_bytes.get()) as usize;
        waiting > READERS * EVENTS * BODY_BYTES / 2
    });
    let held = server.view.live_bytes() - before;
    assert!(
        held > EVENTS * BODY_BYTES / 2,
        "they are waited for: {held}"
    );
    assert!(
        held < EVENTS * BODY_BYTES * 5 / 4,
        "each is there once: {held}"
    );
    drop(readers);
    eventually("all of it is free", || server.view.live_bytes() <= before);
}

#[test]
fn messages_sent_before_a_close_precede_it() {
    let server = press(1, EndpointSettings::default());
    let (mut client, head) = reader(Client::open(server.address, "/"));
    let body = "b".repeat(1_000);
    client.send(&command(LAST_WORDS, &body));
    let (texts, code, reason) = client.until_close();
    assert_eq!(texts, ["first".to_owned(), head + &body]);
    assert_eq!((code, &*reason), (4000, "said"));
}

#[test]
fn a_shared_body_follows_what_was_published_before() {
    let server = press(2, EndpointSettings::default());
    let mut clients: Vec<_> = (0..4)
        .map(|_| reader(Client::open(server.address, "/")))
        .collect();
    for number in 0..50 {
        let body = numbered(number);
        let publisher = number % clients.len();
        clients[publisher].0.send(&command(ROOM_AND_BEHIND, &body));
        for (client, _) in &mut clients {
            assert_eq!(client.expect_text(), body);
        }
        let (client, head) = &mut clients[publisher];
        assert_eq!(client.expect_text(), head.clone() + &body);
        assert_eq!(client.expect_text(), "behind both");
    }
}

#[test]
fn many_answers_of_a_turn_come_in_order_and_pongs_among_them() {
    let server = press(1, EndpointSettings::default());
    let (mut client, _) = reader(Client::open(server.address, "/"));
    let mut bytes = Vec::new();
    for number in 0..3_000 {
        bytes.extend(command(ANSWERED, &number.to_string()));
        if number % 10 == 0 {
            bytes.extend(frame(PING, number.to_string().as_bytes()));
        }
    }
    // Larger than the shared answer buffer, and than a socket accepts.
    let large = "l".repeat(200_000);
    bytes.extend(command(ANSWERED, &large));
    bytes.extend(command(ANSWERED, "last"));
    let mut stream = client.stream.try_clone().expect("a socket");
    let (mut next, mut last_pong) = (0, None);
    std::thread::scope(|scope| {
        scope.spawn(move || stream.write_all(&bytes).expect("the server reads"));
        while next < 3_000 {
            let Frame { opcode, payload } = client.frame();
            let text = String::from_utf8(payload).expect("UTF-8");
            match opcode {
                PONG => {
                    let number = text.parse::<usize>().expect("a number");
                    assert!(last_pong < Some(number), "pongs in order");
                    last_pong = Some(number);
                }
                _ => {
                    assert_eq!(text, next.to_string());
                    next += 1;
                }
            }
        }
        assert!(client.expect_text() == large);
        assert_eq!(client.expect_text(), "last");
    });
    assert!(last_pong.is_some());
}

/// Delayed acknowledgements of the whole machine, as counted by its kernel.
#[cfg(target_os = "linux")]
fn delayed_acknowledgements() -> Option<u64> {
    let table = std::fs::read_to_string("/proc/net/netstat").ok()?;
    let mut lines = table.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut both = names.split_whitespace().zip(values.split_whitespace());
    both.find(|(name, _)| *name == "DelayedACKs")?
        .1
        .parse()
        .ok()
}

/// Sends a message without an answer and one with, repeatedly: returns the number of delayed
/// acknowledgements.
#[cfg(target_os = "linux")]
fn query(client: &mut Client, rounds: u64, unanswered: &[u8]) -> Option<u64> {
    let before = delayed_acknowledgements()?;
    for _ in 0..rounds {
        client.send(unanswered);
        // With Nagle's algorithm it is not sent before the other one is acknowledged.
        client.send(&command(ANSWERED, "query"));
        assert_eq!(client.expect_text(), "query");
    }
    Some(delayed_acknowledgements()? - before)
}

#[cfg(target_os = "linux")]
#[test]
fn unanswered_messages_cause_no_delayed_acknowledgement() {
    const ROUNDS: u64 = 100;
    let server = press(1, EndpointSettings::default());
    let (mut client, _) = reader(Client::open(server.address, "/"));
    client.stream.set_nodelay(false).expect("a socket");
    let acknowledged = command(UNANSWERED, "close");
    let Some(delayed) = query(&mut client, ROUNDS, &acknowledged) else {
        return;
    };
    assert!(
        delayed < ROUNDS / 2,
        "{delayed} of {ROUNDS} waited to the end"
    );
    // An empty message causes neither: wait in each round until the kernel no longer delays.
    let delayed = query(&mut client, 5, &frame(TEXT, b""));
    assert!(
        delayed >= Some(5),
        "what is tested is not there: {delayed:?}"
    );
}
