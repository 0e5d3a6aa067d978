//! Clients that read too slowly, for each policy: their messages are whole, in order and counted,
//! and the others are not affected.

use std::collections::BTreeSet;
use std::time::Duration;

use corecast::engine::{
    CloseReason, Endpoint, EndpointSettings, Request, Session, SlowAction, SlowClient, SlowPolicy,
};
use corecast::fanout::Recipients;
use corecast::wire::decoder::Message;

use crate::support::client::{CLOSE, Client, Frame, PING, PONG, TEXT, frame};
use crate::support::{DEADLINE, Server, eventually, settings};

const DISCONNECT: SlowClient = SlowClient {
    policy: SlowPolicy::Disconnect,
    outbox_bytes: 64 * 1024,
    outbox_age: Duration::ZERO,
};

/// Enough messages to exceed the kernel's buffers and an outbox by far.
const MESSAGES: usize = 500;

/// A sender and a fast member, which never miss a message, and a member that does not read.
struct Stage {
    sender: Client,
    fast: Client,
    stalled: Client,
    sent: usize,
    /// After the clients: it is stopped when they are gone.
    server: Server,
}

fn text(number: usize) -> String {
    format!("{number:06} {}", "x".repeat(1_000 + number % 100))
}

fn number(frame: &Frame) -> usize {
    let payload = std::str::from_utf8(&frame.payload).expect("UTF-8");
    let number = payload[..6].parse().expect("a number");
    assert!(payload == text(number), "a frame that was not sent");
    number
}

impl Stage {
    fn new(slow_client: SlowClient) -> Stage {
        // A client that is closed while the others still publish reads up to its Close in the end.
        Stage::with_close_timeout(slow_client, DEADLINE)
    }

    fn with_close_timeout(slow_client: SlowClient, close_timeout: Duration) -> Stage {
        let mut settings = settings();
        settings.timeouts.close = close_timeout;
        settings.send_buffer_bytes = Some(16 * 1024);
        let endpoint = EndpointSettings {
            message_bytes: 16 * 1024,
            slow_client,
            ..EndpointSettings::default()
        };
        let server = Server::hub(settings, endpoint);
        Stage {
            sender: server.open("/"),
            fast: server.open("/"),
            stalled: Client::connect_narrow(server.address, 16 * 1024).upgraded("/"),
            server,
            sent: 0,
        }
    }

    /// Publishes `count` messages. Both reading clients get each of them at once.
    fn publish(&mut self, count: usize) {
        for number in self.sent..self.sent + count {
            self.sender.text(&text(number));
            assert_eq!(self.fast.expect_text(), text(number));
            assert_eq!(self.sender.expect_text(), text(number));
        }
        self.sent += count;
    }

    /// The stalled member's messages up to `last`, and the control frames in between.
    fn read_until(&mut self, last: usize) -> (Vec<usize>, Vec<Frame>) {
        let (mut numbers, mut controls) = (Vec::new(), Vec::new());
        while numbers.last() != Some(&last) {
            let frame = self.stalled.frame();
            match frame.opcode {
                TEXT => numbers.push(number(&frame)),
                _ => controls.push(frame),
            }
        }
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        (numbers, controls)
    }

    fn dropped(&self) -> usize {
        self.server.sum(|stats| stats.dropped_frames.get()) as usize
    }

    fn actions(&self, action: SlowAction) -> u64 {
        let index = action as usize;
        self.server.sum(|stats| stats.slow_actions[index].get())
    }

    fn closed(&self, reason: &CloseReason) -> u64 {
        self.server
            .sum(|stats| stats.closed[reason.label_index()].get())
    }
}

/// The runs of numbers in a row.
fn runs(numbers: &[usize]) -> Vec<&[usize]> {
    numbers.chunk_by(|a, b| a + 1 == *b).collect()
}

#[test]
fn disconnect_closes_with_1013_after_whole_frames() {
    let mut stage = Stage::new(DISCONNECT);
    stage.publish(MESSAGES);
    let (texts, code, reason) = stage.stalled.until_close();
    assert_eq!((code, &*reason), (1013, "slow: too many bytes waiting"));
    for (expected, found) in texts.iter().enumerate() {
        assert!(*found == text(expected), "message {expected}");
    }
    assert!(!texts.is_empty() && texts.len() < MESSAGES);
    assert_eq!(stage.actions(SlowAction::Disconnect), 1);
    assert_eq!(stage.closed(&CloseReason::SlowBytes), 1);
    stage.stalled.close(1013);
    stage.stalled.expect_end();
    assert_eq!(stage.server.sum(|stats| stats.open.get()), 2);
}

#[test]
fn drop_oldest_keeps_the_newest() {
    let mut stage = Stage::new(SlowClient {
        policy: SlowPolicy::DropOldest,
        ..DISCONNECT
    });
    stage.publish(MESSAGES);
    stage.stalled.send(&frame(PING, b"ping"));
    stage.sender.round_trip();
    let (numbers, controls) = stage.read_until(MESSAGES - 1);
    // The messages sent before, then a gap, then the newest without a gap.
    let runs = runs(&numbers);
    assert_eq!((runs.len(), runs[0][0]), (2, 0), "{runs:?}");
    assert_eq!(numbers.len() + stage.dropped(), MESSAGES);
    assert!(runs[1].len() * 1_000 <= DISCONNECT.outbox_bytes && runs[1].len() > 50);
    let pong = Frame {
        opcode: PONG,
        payload: b"ping".to_vec(),
    };
    assert_eq!(controls, [pong]);
    assert!(stage.actions(SlowAction::DropOldest) > 0);
    assert_eq!(stage.actions(SlowAction::Disconnect), 0);
    stage.publish(3);
    assert_eq!(
        stage.read_until(MESSAGES + 2).0.len(),
        3,
        "it keeps up again"
    );
}

#[test]
fn drop_newest_keeps_the_oldest() {
    let mut stage = Stage::new(SlowClient {
        policy: SlowPolicy::DropNewest,
        ..DISCONNECT
    });
    stage.publish(MESSAGES);
    stage.sender.round_trip();
    let kept = MESSAGES - stage.dropped();
    assert!(kept < MESSAGES && kept > 50, "{kept} kept");
    let (numbers, _) = stage.read_until(kept - 1);
    assert_eq!(runs(&numbers).len(), 1);
    assert!(stage.actions(SlowAction::DropNewest) > 0);
    // It has read everything, and gets all messages published from now on.
    stage.stalled.round_trip();
    stage.publish(3);
    assert_eq!(
        stage.read_until(MESSAGES + 2).0,
        [MESSAGES, MESSAGES + 1, MESSAGES + 2]
    );
    assert_eq!(stage.actions(SlowAction::Disconnect), 0);
}

#[test]
fn latest_only_keeps_the_latest() {
    let mut stage = Stage::new(SlowClient {
        policy: SlowPolicy::LatestOnly,
        ..DISCONNECT
    });
    stage.publish(MESSAGES);
    let (numbers, _) = stage.read_until(MESSAGES - 1);
    assert_eq!(numbers.len() + stage.dropped(), MESSAGES);
    assert!(stage.dropped() > 100 && stage.actions(SlowAction::LatestOnly) > 0);
    assert_eq!(stage.actions(SlowAction::Disconnect), 0);
}

/// Every client is in two rooms; the first byte of a message selects one.
struct TwoRooms;

impl Endpoint for TwoRooms {
    type State = ();
    type Local = ();

    fn opened(&self, session: &mut Session<'_>, _request: &Request<'_>) {
        for room in ["a", "b"] {
            session.join(room).expect("a room");
        }
    }

    fn message(&self, session: &mut Session<'_>, message: Message<'_>) {
        let room = if message.payload[0] == b'a' { "a" } else { "b" };
        session.publish_to(room, Recipients::All, message.kind, message.payload);
    }
}

#[test]
fn latest_only_keeps_the_latest_of_each_room() {
    let mut settings = settings();
    settings.send_buffer_bytes = Some(16 * 1024);
    let server = Server::start(settings, |builder| {
        let endpoint = EndpointSettings {
            message_bytes: 16 * 1024,
            slow_client: SlowClient {
                policy: SlowPolicy::LatestOnly,
                ..DISCONNECT
            },
            ..EndpointSettings::default()
        };
        let id = builder.endpoint(endpoint, TwoRooms);
        builder.route("/", id).unwrap();
    });
    let mut stalled = Client::connect_narrow(server.address, 16 * 1024).upgraded("/");
    let mut sender = server.open("/");
    let mut publish = |text: String| {
        sender.text(&text);
        assert_eq!(sender.expect_text(), text);
    };
    for number in 0..MESSAGES {
        if number == 200 {
            publish("b the only one".to_owned());
        }
        publish(format!("a{number:06}{}", "x".repeat(1_000)));
    }
    publish("a the end".to_owned());
    let mut has_b = 0;
    loop {
        match stalled.expect_text() {
            text if text == "b the only one" => has_b += 1,
            text if text == "a the end" => break,
            _ => {}
        }
    }
    assert_eq!(has_b, 1);
    assert!(server.sum(|stats| stats.dropped_frames.get()) > 100);
}

#[test]
fn a_client_that_is_too_far_behind_is_closed_by_age() {
    let mut stage = Stage::new(SlowClient {
        outbox_bytes: 64 << 20,
        outbox_age: Duration::from_millis(300),
        ..DISCONNECT
    });
    stage.publish(200);
    eventually("it is closed", || stage.closed(&CloseReason::SlowAge) == 1);
    let (texts, code, reason) = stage.stalled.until_close();
    assert_eq!((code, &*reason), (1013, "slow: too far behind"));
    for (expected, found) in texts.iter().enumerate() {
        assert!(*found == text(expected), "message {expected}");
    }
    assert!(texts.len() < 200 && stage.dropped() > 0);
    stage.publish(1);
}

#[test]
fn the_other_policies_drop_by_age_and_wait_for_the_client() {
    let policies = [
        (SlowPolicy::DropOldest, SlowAction::DropOldest),
        (SlowPolicy::DropNewest, SlowAction::DropNewest),
        (SlowPolicy::LatestOnly, SlowAction::LatestOnly),
    ];
    for (policy, action) in policies {
        let mut stage = Stage::new(SlowClient {
            policy,
            outbox_bytes: 64 << 20,
            outbox_age: Duration::from_millis(200),
        });
        stage.publish(200);
        eventually("frames are dropped", || stage.actions(action) > 0);
        // It keeps stalling for much longer than that: a frame is stuck half-way.
        for _ in 0..5 {
            let turns = stage.dropped();
            stage.publish(10);
            eventually("more are dropped", || stage.dropped() > turns);
        }
        let mut numbers = Vec::new();
        eventually("it gets new frames again", || {
            stage.publish(1);
            numbers.extend(stage.stalled.arrived().iter().map(number));
            numbers.last().is_some_and(|last| *last >= 250)
        });
        assert!(
            numbers.is_sorted_by(|a, b| a < b),
            "{policy:?}: {numbers:?}"
        );
        assert_eq!(stage.actions(SlowAction::Disconnect), 0, "{policy:?}");
    }
}

#[test]
fn over_the_control_budget_only_the_newest_pong_is_kept() {
    const PINGS: usize = 20_000;
    let mut stage = Stage::new(SlowClient {
        policy: SlowPolicy::DropOldest,
        ..DISCONNECT
    });
    stage.publish(MESSAGES);
    let pings: Vec<u8> = (0..PINGS)
        .flat_map(|number| frame(PING, number.to_string().as_bytes()))
        .collect();
    stage.stalled.send(&pings);
    stage.stalled.text(&text(MESSAGES));
    assert_eq!(
        stage.fast.expect_text(),
        text(MESSAGES),
        "after all pings were read"
    );
    let (numbers, controls) = stage.read_until(MESSAGES);
    assert!(numbers.len() < MESSAGES);
    let pongs: Vec<usize> = controls
        .iter()
        .map(|pong| std::str::from_utf8(&pong.payload).unwrap().parse().unwrap())
        .collect();
    assert!(pongs.len() < 1_000, "{} pongs were kept", pongs.len());
    assert!(
        pongs.is_sorted() && pongs.last() == Some(&(PINGS - 1)),
        "{pongs:?}"
    );
}

#[test]
fn over_the_memory_of_the_process_those_go_that_hold_it() {
    const MAX: usize = 1 << 20;
    let mut settings = settings();
    settings.timeouts.close = DEADLINE;
    settings.send_buffer_bytes = Some(16 * 1024);
    settings.process_bytes_max = MAX;
    let endpoint = EndpointSettings {
        message_bytes: 64 * 1024,
        slow_client: SlowClient {
            outbox_bytes: 64 << 20,
            ..DISCONNECT
        },
        ..EndpointSettings::default()
    };
    let server = Server::hub(settings, endpoint);
    let narrow = || Client::connect_narrow(server.address, 16 * 1024).upgraded("/");
    let mut stalled = [narrow(), narrow(), narrow()];
    let mut sender = server.open("/");
    let mut fast = server.open("/");
    let mut live_max = 0;
    let text = |number: usize| format!("{number:06}{}", "y".repeat(20_000));
    for number in 0..300 {
        sender.text(&text(number));
        assert!(fast.expect_text() == text(number), "message {number}");
        assert!(sender.expect_text() == text(number), "message {number}");
        live_max = live_max.max(server.view.live_bytes());
    }
    assert!(
        live_max > MAX / 2 && live_max < MAX + 100_000,
        "{live_max} bytes"
    );
    for client in &mut stalled {
        let (texts, code, reason) = client.until_close();
        assert_eq!((code, &*reason), (1013, "slow: relay short of memory"));
        assert!(
            texts
                .iter()
                .enumerate()
                .all(|(at, found)| *found == text(at))
        );
    }
    let index = CloseReason::SlowMemory.label_index();
    assert_eq!(server.sum(|stats| stats.closed[index].get()), 3);
    eventually("the memory comes back", || {
        server.view.live_bytes() < 100_000
    });
}

#[test]
fn shared_waiting_messages_count_once() {
    let mut settings = settings();
    settings.send_buffer_bytes = Some(16 * 1024);
    settings.process_bytes_max = 1 << 20;
    let endpoint = EndpointSettings {
        message_bytes: 128 * 1024,
        slow_client: SlowClient {
            outbox_bytes: 64 << 20,
            ..DISCONNECT
        },
        ..EndpointSettings::default()
    };
    let server = Server::hub(settings, endpoint);
    // Each of them gets stuck at another place of the first message.
    let mut stalled: Vec<Client> = (0..16)
        .map(|index| Client::connect_narrow(server.address, 4_096 + index * 2_048).upgraded("/"))
        .collect();
    let mut sender = server.open("/");
    let text = |number: usize| format!("{number:06}{}", "z".repeat(128 * 1024 - 6));
    for number in 0..5 {
        sender.text(&text(number));
        assert!(sender.expect_text() == text(number));
        let live = server.view.live_bytes();
        assert!(live < 1 << 20, "{live} bytes for {} messages", number + 1);
    }
    for client in &mut stalled {
        for number in 0..5 {
            assert!(client.expect_text() == text(number), "message {number}");
        }
    }
    assert_eq!(server.sum(|stats| stats.dropped_frames.get()), 0);
}

#[test]
fn a_stalled_client_that_was_closed_is_cut_in_the_end() {
    let mut stage = Stage::with_close_timeout(DISCONNECT, Duration::from_millis(500));
    stage.publish(MESSAGES);
    // It neither reads nor answers: the close timeout ends it.
    eventually("it is gone", || stage.server.view.connections() == 2);
    stage.publish(1);
    let mut opcodes = BTreeSet::new();
    // Data in the kernel's buffers is whole or cut by the end of the stream, never damaged.
    for frame in stage.stalled.arrived() {
        opcodes.insert(frame.opcode);
    }
    assert!(
        opcodes.is_subset(&BTreeSet::from([TEXT, CLOSE])),
        "{opcodes:?}"
    );
}
