//! Ports: members of rooms that are not connections.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::thread;
use std::time::Instant;

use corecast::engine::{
    Delivery, EndpointSettings, Engine, OpenError, Port, PortError, PortTurn, Seat, Settings,
    Shutdown, StartError,
};
use corecast::fanout::room::EndpointId;
use corecast::fanout::{ConnectionId, Recipients};
use corecast::limits::MAILBOX_BATCHES_MAX;
use corecast::relay::hub::Hub;
use corecast::wire::frame::MessageKind;

use crate::support::client::{Client, TEXT, frame};
use crate::support::{DEADLINE, Server, eventually, settings};

const ROOM: &str = "/";
/// Messages of each publisher.
const MESSAGES: usize = 500;

/// A hub, and a port that is still to be opened.
struct Rig {
    server: Server,
    hub: EndpointId,
    seat: Seat,
    woken: Receiver<()>,
}

fn rig(shards: usize) -> Rig {
    let (waker, woken) = sync_channel(1);
    let mut parts = None;
    let settings = Settings {
        shards,
        shutdown: Shutdown {
            timeout: DEADLINE,
            ..Shutdown::default()
        },
        ..settings()
    };
    let server = Server::start(settings, |builder| {
        let hub = builder.endpoint(EndpointSettings::default(), Hub { echo: true });
        builder.route("/**", hub).expect("a path");
        parts = Some((hub, builder.port(waker)));
    });
    let (hub, seat) = parts.expect("it was built");
    Rig {
        server,
        hub,
        seat,
        woken,
    }
}

/// A port that is driven until it has received everything.
struct Driven {
    port: Port,
    woken: Receiver<()>,
    got: Vec<String>,
    /// Of those, its own messages.
    own: Vec<String>,
    next_ticket: Option<u64>,
}

impl Driven {
    fn open(seat: Seat, woken: Receiver<()>) -> Driven {
        Driven {
            port: seat.open().expect("a running engine"),
            woken,
            got: Vec::new(),
            own: Vec::new(),
            next_ticket: None,
        }
    }

    /// One turn. Frames of one room follow each other by their tickets.
    fn turn(&mut self) -> PortTurn {
        let Driven {
            got,
            own,
            next_ticket,
            ..
        } = self;
        self.port.turn(|delivery| {
            let first = delivery.first_ticket();
            assert_eq!(next_ticket.unwrap_or(first), first, "a gap or a repeat");
            let before = got.len();
            got.extend(texts(delivery));
            *next_ticket = Some(first + (got.len() - before) as u64);
            if delivery.is_own() {
                own.extend_from_slice(&got[before..]);
            }
        })
    }

    fn park(&self) {
        self.port.park(|| {
            let woken = self.woken.recv_timeout(DEADLINE);
            woken.expect("something to do before the deadline");
        });
    }

    fn until(&mut self, frames: usize) {
        while self.got.len() < frames {
            let turn = self.turn();
            assert_ne!(turn, PortTurn::Ended);
            if turn == PortTurn::Idle && self.got.len() < frames {
                self.park();
            }
        }
    }
}

fn texts(delivery: Delivery<'_>) -> impl Iterator<Item = String> {
    let text = |payload: &[u8]| String::from_utf8(payload.to_vec()).expect("a text");
    delivery.frames().map(move |frame| text(frame.payload))
}

/// Publishes in bursts, then reads until this many messages have come. Returns them.
fn publish(mut client: Client, name: &str, total: usize) -> Vec<String> {
    for burst in 0..MESSAGES / 10 {
        let numbers = burst * 10..burst * 10 + 10;
        let frames = numbers.flat_map(|number| frame(TEXT, format!("{name} {number}").as_bytes()));
        client.send(&frames.collect::<Vec<u8>>());
    }
    (0..total).map(|_| client.expect_text()).collect()
}

#[test]
fn a_port_and_clients_on_two_shards_see_one_order() {
    let Rig {
        server,
        hub,
        seat,
        woken,
    } = rig(2);
    let (joined, has_joined) = channel();
    let (told, is_told) = channel::<()>();
    let port = thread::spawn(move || {
        let mut driven = Driven::open(seat, woken);
        assert!(driven.port.join(hub, ROOM) && !driven.port.join(hub, ROOM));
        joined.send(()).expect("the test waits");
        driven.until(2 * MESSAGES);
        is_told.recv_timeout(DEADLINE).expect("the test goes on");
        driven.got
    });
    has_joined.recv_timeout(DEADLINE).expect("a port");
    let clients = ["a", "b"].map(|name| (name, server.open(ROOM)));
    assert_eq!(server.view.shard_connections(0), 1, "one on each shard");
    let publishers =
        clients.map(|(name, client)| thread::spawn(move || publish(client, name, 2 * MESSAGES)));
    let [one, other] = publishers.map(|each| each.join().expect("a publisher"));
    assert!(one == other, "clients see one order");
    // The port is a member, but not a client.
    let mut stays = server.open(ROOM);
    stays.round_trip();
    let handle = server.engine().handle();
    eventually("the others have left", || {
        handle.member_count(hub, ROOM) == 1
    });
    let deadline = Instant::now() + DEADLINE;
    let members = handle.members(hub, ROOM, None, 9, deadline, |member| member.id);
    assert_eq!(members.expect("an answer").len(), 1);
    let closed = handle.close_members(hub, ROOM, 4000, "out", deadline);
    assert_eq!(closed, Ok(1));
    stays.expect_close(4000);
    told.send(()).expect("a port");
    assert!(port.join().expect("a port") == one, "and so does the port");
    drop(stays);
    server.expect_empty();
}

#[test]
fn a_ports_messages_reach_all_members_in_one_order() {
    let Rig {
        server,
        hub,
        seat,
        woken,
    } = rig(2);
    let mut driven = Driven::open(seat, woken);
    driven.port.join(hub, ROOM);
    let total = 3 * MESSAGES;
    let clients = ["a", "b"].map(|name| (name, server.open(ROOM)));
    let publishers =
        clients.map(|(name, client)| thread::spawn(move || publish(client, name, total)));
    let mut said = Vec::new();
    while said.len() < MESSAGES {
        let text = format!("port {}", said.len());
        let (all, kind) = (Recipients::All, MessageKind::Text);
        match driven.port.publish(hub, ROOM, all, kind, text.as_bytes()) {
            Ok(()) => said.push(text),
            Err(error) => {
                assert_eq!(error, PortError::Busy);
                if driven.turn() == PortTurn::Idle {
                    driven.park();
                }
            }
        }
        // Some of them are sent together.
        if said.len() % 7 == 0 {
            driven.turn();
        }
    }
    driven.until(total);
    for publisher in publishers {
        let got = publisher.join().expect("a publisher");
        assert!(got == driven.got, "another order, a gap or a repeat");
    }
    assert!(driven.own == said, "it knows its own frames");
    drop(driven);
    server.expect_empty();
}

/// Sends one message a turn until the shard waits for the port. Returns how many came back.
fn fill(server: &Server, client: &mut Client) -> usize {
    let is_blocked = || server.sum(|stats| stats.exchange.blocked.get()) > 0;
    let mut sent = 0;
    while !is_blocked() {
        client.text(&sent.to_string());
        assert_eq!(client.expect_text(), sent.to_string());
        sent += 1;
        assert!(sent <= MAILBOX_BATCHES_MAX + 1, "the port blocks nobody");
    }
    sent
}

#[test]
fn a_port_that_does_not_read_blocks_publishers() {
    let Rig {
        server,
        hub,
        seat,
        woken,
    } = rig(1);
    let mut driven = Driven::open(seat, woken);
    driven.port.join(hub, ROOM);
    let mut client = server.open(ROOM);
    let sent = fill(&server, &mut client);
    client.text("waits");
    assert_eq!(client.arrived(), [], "it is not read");
    driven.until(sent + 1);
    assert_eq!(client.expect_text(), "waits");
    assert_eq!(driven.got.last().map(String::as_str), Some("waits"));
    drop((driven, client));
    server.expect_empty();
}

#[test]
fn a_port_that_is_dropped_lets_go_of_those_who_wait_for_it() {
    let Rig {
        server,
        hub,
        seat,
        woken,
    } = rig(1);
    let mut driven = Driven::open(seat, woken);
    driven.port.join(hub, ROOM);
    driven.port.join(hub, "/another");
    let mut client = server.open(ROOM);
    fill(&server, &mut client);
    client.text("waits");
    drop(driven);
    assert_eq!(client.expect_text(), "waits");
    for _ in 0..2 * MAILBOX_BATCHES_MAX {
        client.text("on");
        assert_eq!(client.expect_text(), "on");
    }
    drop(client);
    server.expect_empty();
}

#[test]
fn a_port_can_be_dropped_after_a_panicking_visit() {
    let Rig {
        server, hub, seat, ..
    } = rig(1);
    let mut port = seat.open().expect("a running engine");
    port.join(hub, ROOM);
    let mut client = server.open(ROOM);
    client.text("one");
    assert_eq!(client.expect_text(), "one");
    let mut turn = || catch_unwind(AssertUnwindSafe(|| port.turn(|_| panic!("as asked"))));
    eventually("the frame comes", || turn().is_err());
    drop(port);
    client.text("two");
    assert_eq!(client.expect_text(), "two");
    drop(client);
    server.expect_empty();
}

#[test]
fn a_room_that_only_a_port_is_in_exists_and_has_no_members() {
    let Rig {
        server,
        hub,
        seat,
        woken,
    } = rig(2);
    let mut port = seat.open().expect("a running engine");
    assert!(port.join(hub, "/keeper"));
    let handle = server.engine().handle();
    let rooms = handle.rooms(hub, None, 9);
    let rooms: Vec<_> = rooms
        .iter()
        .map(|room| (room.name.as_str(), room.members))
        .collect();
    assert_eq!(rooms, [("/keeper", 0)]);
    let nobody = ConnectionId {
        index: 0,
        generation: 0,
        shard: 0,
    };
    for (recipients, kind, payload) in [
        (Recipients::All, MessageKind::Text, "x".repeat(200)),
        (
            Recipients::Except(nobody),
            MessageKind::Binary,
            String::new(),
        ),
    ] {
        let published = handle.publish(hub, "/keeper", recipients, kind, payload);
        published.expect("room in a mailbox");
    }
    let mut got = Vec::new();
    while got.len() < 2 {
        let turn = port.turn(|delivery| {
            assert_eq!((delivery.endpoint(), delivery.room()), (hub, "/keeper"));
            assert!(delivery.received_ns() > 0 && !delivery.is_own());
            let frames = delivery.frames();
            got.extend(frames.map(|each| (each.kind, each.payload.len(), each.is_restricted)));
        });
        if turn == PortTurn::Idle && got.len() < 2 {
            port.park(|| woken.recv_timeout(DEADLINE).expect("a wake"));
        }
    }
    assert_eq!(
        got,
        [
            (MessageKind::Text, 200, false),
            (MessageKind::Binary, 0, true)
        ]
    );
    assert!(port.leave(hub, "/keeper") && !port.leave(hub, "/keeper"));
    server.expect_empty();
}

#[test]
fn an_engine_stops_with_a_port_that_takes_its_mail() {
    let Rig {
        server,
        hub,
        seat,
        woken,
    } = rig(2);
    let (joined, has_joined) = channel();
    let port = thread::spawn(move || {
        let mut driven = Driven::open(seat, woken);
        driven.port.join(hub, ROOM);
        joined.send(()).expect("the test waits");
        loop {
            match driven.turn() {
                PortTurn::More => {}
                PortTurn::Idle => driven.park(),
                PortTurn::Ended => break,
            }
        }
        let late = driven
            .port
            .publish(hub, ROOM, Recipients::All, MessageKind::Text, b"late");
        assert_eq!(late, Err(PortError::Ended));
        driven.got
    });
    has_joined.recv_timeout(DEADLINE).expect("a port");
    let client = server.open(ROOM);
    let closer = thread::spawn(move || {
        let mut client = client;
        client.text("last");
        let (texts, code, _) = client.until_close();
        client.close(code);
        texts
    });
    eventually("it was read", || {
        server.sum(|stats| stats.messages.get()) == 1
    });
    assert!(server.stop());
    assert_eq!(closer.join().expect("a client"), ["last"]);
    assert_eq!(port.join().expect("a port"), ["last"]);
}

#[test]
fn an_engine_stops_with_a_port_that_takes_nothing() {
    let Rig {
        server,
        hub,
        seat,
        woken,
    } = rig(1);
    let mut driven = Driven::open(seat, woken);
    driven.port.join(hub, ROOM);
    let mut client = server.open(ROOM);
    fill(&server, &mut client);
    drop(client);
    let began = Instant::now();
    assert!(server.stop(), "it waits for the port");
    assert!(began.elapsed() < DEADLINE / 2, "it waited for the port");
    assert_eq!(driven.turn(), PortTurn::Ended);
    assert_eq!(driven.got, [""; 0], "what comes after a gap does not come");
}

#[test]
fn a_seat_is_of_use_while_its_engine_runs() {
    let (waker, _woken) = sync_channel(1);
    let mut builder = Engine::builder().settings(settings());
    let seat = builder.port(waker.clone());
    let unopened = builder.port(waker.clone());
    let Err(OpenError::NotStarted(seat)) = seat.open() else {
        panic!("a port of an engine that has not started");
    };
    let engine = builder.start().expect("an engine");
    let mut port = seat.open().expect("a running engine");
    assert_eq!(port.turn(|_| ()), PortTurn::Idle);
    assert!(engine.stop());
    assert_eq!(port.turn(|_| ()), PortTurn::Ended);
    assert!(matches!(unopened.open(), Err(OpenError::Ended)));

    let mut builder = Engine::builder().settings(Settings {
        shards: 2,
        ..settings()
    });
    for _ in 0..255 {
        builder.port(waker.clone());
    }
    let too_many = builder.start().err();
    assert!(matches!(
        too_many,
        Some(StartError::Ports {
            shards: 2,
            ports: 255
        })
    ));
}
