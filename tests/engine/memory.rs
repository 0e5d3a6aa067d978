//! The limits on the process's memory: the client that holds most is closed, on any shard, and no
//! other.

use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use corecast::engine::{
    Answer, CloseReason, Endpoint, EndpointSettings, HandleError, Request, Responder, Service,
    Session, Settings, SlowAction, SlowClient, SlowPolicy,
};
use corecast::fanout::room::EndpointId;
use corecast::fanout::{ConnectionId, Recipients};
use corecast::wire::decoder::Message;
use corecast::wire::frame::MessageKind;
use corecast::wire::http::Response;

use crate::support::client::{BINARY, CLOSE, Client, PING, TEXT, fragment, frame};
use crate::support::{DEADLINE, Server, eventually, settings};

const SHARDS: usize = 4;

/// The path is a room, and a new client is told its connection's number. A message blocks the shard
/// until the test releases it.
struct Rooms {
    gate: Mutex<Receiver<()>>,
}

impl Endpoint for Rooms {
    type State = ();
    type Local = ();

    fn opened(&self, session: &mut Session<'_>, request: &Request<'_>) {
        session.join(request.head.path).expect("a room");
        let id = session.id().to_string();
        session.send(MessageKind::Text, id.as_bytes());
    }

    fn message(&self, _session: &mut Session<'_>, _message: Message<'_>) {
        let gate = self.gate.lock().expect("no test has failed");
        let _ = gate.recv_timeout(DEADLINE);
    }
}

/// An engine with rooms.
struct Stage {
    server: Server,
    rooms: EndpointId,
    /// Releases a shard.
    gate: Sender<()>,
}

impl Stage {
    fn start(change: impl FnOnce(&mut Settings)) -> Stage {
        let mut settings = settings();
        settings.shards = SHARDS;
        settings.send_buffer_bytes = Some(16 * 1024);
        settings.timeouts.close = DEADLINE;
        change(&mut settings);
        let (gate, receiver) = mpsc::channel();
        let mut rooms = None;
        let server = Server::start(settings, |builder| {
            let endpoint = EndpointSettings {
                message_bytes: 8 << 20,
                slow_client: SlowClient {
                    policy: SlowPolicy::Disconnect,
                    outbox_bytes: 64 << 20,
                    outbox_age: Duration::ZERO,
                },
                ..EndpointSettings::default()
            };
            let gate = Mutex::new(receiver);
            let id = builder.endpoint(endpoint, Rooms { gate });
            builder.route("/**", id).expect("a path");
            rooms = Some(id);
        });
        let rooms = rooms.expect("an endpoint");
        Stage {
            server,
            rooms,
            gate,
        }
    }

    /// A client in a room of its own name, with its shard.
    fn open(&self, path: &str) -> (Client, usize) {
        let (client, id) = self.open_as(path);
        (client, usize::from(id.shard))
    }

    /// The same, with the connection's number.
    fn open_as(&self, path: &str) -> (Client, ConnectionId) {
        let mut client = Client::connect_narrow(self.server.address, 4_096).upgraded(path);
        let id = client.expect_text().parse().expect("a number");
        (client, id)
    }

    /// A client on each shard, in the order of the shards, with its room.
    fn one_on_each_shard(&self, prefix: &str) -> Vec<(Client, String)> {
        let mut found: Vec<Option<(Client, String)>> = (0..SHARDS).map(|_| None).collect();
        let mut others = Vec::new();
        while found.iter().any(Option::is_none) {
            assert!(
                others.len() < 100,
                "connections are not spread over the shards"
            );
            let taken = found.iter().flatten().count() + others.len();
            let room = format!("{prefix}{taken}");
            let (client, shard) = self.open(&room);
            match &mut found[shard] {
                free @ None => *free = Some((client, room)),
                // It stays for now, so that the next one goes to another shard.
                Some(_) => others.push(client),
            }
        }
        found.into_iter().flatten().collect()
    }

    /// Publishes one message.
    fn publish(&self, room: &str, bytes: usize) {
        let handle = self.server.engine().handle();
        let payload = vec![b'x'; bytes];
        eventually("there is room", || {
            let kind = MessageKind::Binary;
            let sent = handle.publish(self.rooms, room, Recipients::All, kind, payload.clone());
            sent != Err(HandleError::Busy)
        });
    }

    fn closed(&self, reason: &CloseReason) -> u64 {
        let index = reason.label_index();
        self.server.sum(|stats| stats.closed[index].get())
    }

    fn disconnects(&self) -> u64 {
        let index = SlowAction::Disconnect as usize;
        self.server.sum(|stats| stats.slow_actions[index].get())
    }

    fn outbox_bytes(&self) -> u64 {
        self.server.sum(|stats| stats.outbox_bytes.get())
    }
}

#[test]
fn the_largest_partial_message_is_closed_on_any_shard() {
    const HOG_BYTES: usize = 900_000;
    let stage = Stage::start(|settings| settings.limits.inbound_bytes = 1 << 20);
    for hog_shard in 0..SHARDS {
        let mut small = stage.one_on_each_shard("/small/");
        for (client, _) in &mut small {
            client.send(&fragment(TEXT, &[b's'; 10_000]));
        }
        let (mut hog, _) = stage.one_on_each_shard("/hog/").remove(hog_shard);
        hog.send(&fragment(BINARY, &[0; HOG_BYTES]));
        eventually("all of it is held", || {
            stage.server.view.inbound_bytes() >= SHARDS * 10_000 + HOG_BYTES
        });
        // Then a client on each of the other shards sends slightly more than the limit allows.
        for (shard, (client, _)) in small.iter_mut().enumerate() {
            if shard != hog_shard {
                client.send(&fragment(0, &[b's'; 120_000]));
            }
        }
        let reason = hog.expect_close(1009);
        assert_eq!(reason, "memory: too many partial messages");
        for (client, _) in &mut small {
            client.round_trip();
        }
        let closed = stage.closed(&CloseReason::InboundBudget);
        assert_eq!(closed, hog_shard as u64 + 1, "somebody else went");
        drop((small, hog));
        eventually("all of it came back", || {
            stage.server.view.inbound_bytes() == 0
        });
    }
}

#[test]
fn one_overflow_of_partial_messages_closes_one() {
    const SMALL: usize = 100;
    let stage = Stage::start(|settings| {
        settings.shards = 1;
        settings.limits.inbound_bytes = 4 << 20;
    });
    let mut large: Vec<Client> = (0..4).map(|_| stage.open("/large").0).collect();
    for client in &mut large {
        client.send(&fragment(BINARY, &[0; 1_000_000]));
        client.round_trip();
    }
    let mut small: Vec<Client> = (0..SMALL).map(|_| stage.open("/small").0).collect();
    // All of these are read in one turn.
    let (mut blocker, _) = stage.open("/blocker");
    blocker.text("stop");
    for client in &mut small {
        client.send(&fragment(BINARY, &[0; 5_000]));
    }
    stage.gate.send(()).expect("the shard waits");
    eventually("one goes", || stage.closed(&CloseReason::InboundBudget) > 0);
    for client in &mut small {
        client.round_trip();
    }
    assert_eq!(stage.closed(&CloseReason::InboundBudget), 1);
    assert!(stage.server.view.inbound_bytes() > 3_000_000);
}

#[test]
fn input_during_a_close_counts_and_is_released() {
    let stage = Stage::start(|settings| {
        settings.shards = 1;
        settings.limits.inbound_bytes = 1 << 20;
    });
    let (mut hog, id) = stage.open_as("/hog");
    let handle = stage.server.engine().handle();
    handle.close(id, 4000, "enough").expect("there is room");
    hog.expect_close(4000);
    // It does not answer the Close.
    hog.send(&fragment(BINARY, &[0; 1_000_000]));
    eventually("it is held", || {
        stage.server.view.inbound_bytes() > 1_000_000
    });
    let (mut small, _) = stage.open("/small");
    small.send(&fragment(BINARY, &[0; 100_000]));
    small.round_trip();
    assert_eq!(
        stage.closed(&CloseReason::InboundBudget),
        0,
        "the small one went"
    );
    assert!(stage.server.view.inbound_bytes() < 200_000);
}

/// Every client is in many rooms.
struct ManyRooms;

const MANY: usize = 400;

impl Endpoint for ManyRooms {
    type State = ();
    type Local = ();

    fn opened(&self, session: &mut Session<'_>, _request: &Request<'_>) {
        for room in 0..MANY {
            session.join(&room.to_string()).expect("a room");
        }
    }

    fn message(&self, session: &mut Session<'_>, message: Message<'_>) {
        for room in 0..MANY {
            let room = room.to_string();
            session.publish_to(&room, Recipients::All, message.kind, message.payload);
        }
    }
}

#[test]
fn the_latest_of_many_rooms_are_too_much_close_to_the_bound() {
    const BYTES: usize = 100;
    let slice_bytes = BYTES + 2 + 24;
    for (percent, is_closed) in [(75, false), (93, true)] {
        let mut settings = settings();
        settings.send_buffer_bytes = Some(16 * 1024);
        settings.limits.rooms_per_connection = MANY;
        let server = Server::start(settings, |builder| {
            let endpoint = EndpointSettings {
                message_bytes: 8 * 1024,
                slow_client: SlowClient {
                    policy: SlowPolicy::LatestOnly,
                    // The share of the limit that the latest frames take alone.
                    outbox_bytes: MANY * slice_bytes * 100 / percent,
                    outbox_age: Duration::ZERO,
                },
                ..EndpointSettings::default()
            };
            let id = builder.endpoint(endpoint, ManyRooms);
            builder.route("/**", id).expect("a path");
        });
        let _stalled = Client::connect_narrow(server.address, 4_096).upgraded("/");
        let mut sender = server.open("/");
        for _ in 0..40 {
            sender.send(&frame(BINARY, &[7; BYTES]));
            for _ in 0..MANY {
                assert_eq!(sender.frame().payload.len(), BYTES);
            }
        }
        assert!(server.sum(|stats| stats.dropped_frames.get()) > 0);
        let index = CloseReason::SlowBytes.label_index();
        let closed = server.sum(|stats| stats.closed[index].get());
        assert_eq!(closed, u64::from(is_closed), "{percent} %");
    }
}

/// A closed client's messages and its end.
fn ends(client: &mut Client) -> bool {
    loop {
        match client.try_frame() {
            Some(frame) if frame.opcode == CLOSE => return true,
            Some(_) => {}
            None => return true,
        }
    }
}

#[test]
fn the_client_with_most_waiting_output_is_closed_on_any_shard() {
    const MAX: usize = 8 << 20;
    const ROUNDS: usize = 18;
    for hog_shard in 0..SHARDS {
        let stage = Stage::start(|settings| settings.process_bytes_max = MAX);
        let (mut hog, hog_room) = stage.one_on_each_shard("/hog/").remove(hog_shard);
        let small = stage.one_on_each_shard("/small/");
        // The small ones lag first: theirs are the oldest messages.
        for (_, room) in &small {
            stage.publish(room, 300_000);
        }
        eventually("all lag behind", || stage.outbox_bytes() > 500_000);
        for _ in 0..12 {
            stage.publish(&hog_room, 500_000);
        }
        eventually("the hog has most", || stage.outbox_bytes() > 5_000_000);
        assert_eq!(stage.disconnects(), 0);
        // Slightly more on the other shards exceeds the limit, no matter how much the kernel
        // accepts. Without the hog it does not.
        for _ in 0..ROUNDS {
            for (shard, (_, room)) in small.iter().enumerate() {
                if shard != hog_shard {
                    stage.publish(room, 100_000);
                }
            }
        }
        assert!(ends(&mut hog));
        let (held, waiting) = (stage.server.view.process_bytes(), stage.outbox_bytes());
        let closed = stage.closed(&CloseReason::SlowMemory);
        assert_eq!(closed, 1, "{held} bytes are held, {waiting} wait");
        assert_eq!(stage.disconnects(), 1, "one close is counted once");
        for (shard, (mut client, _)) in small.into_iter().enumerate() {
            let messages = if shard == hog_shard { 1 } else { 1 + ROUNDS };
            for _ in 0..messages {
                assert!(client.frame().payload.len() >= 100_000);
            }
        }
    }
}

#[test]
fn shared_waiting_bytes_count_for_each_client_by_share() {
    const MAX: usize = 6 << 20;
    for hog_shard in 0..SHARDS {
        let stage = Stage::start(|settings| settings.process_bytes_max = MAX);
        let (mut hog, hog_room) = stage.one_on_each_shard("/hog/").remove(hog_shard);
        // Each of these has more to receive than the hog, but they share it.
        let mut sharers: Vec<Client> = (0..20).map(|_| stage.open("/shared").0).collect();
        for _ in 0..6 {
            stage.publish("/shared", 500_000);
        }
        for _ in 0..5 {
            stage.publish(&hog_room, 500_000);
        }
        eventually("all lag behind", || {
            stage.outbox_bytes() > 20 * 2_500_000 + 2_000_000
        });
        assert_eq!(stage.disconnects(), 0);
        // The kernel accepts a varying amount: add one at a time until the limit is exceeded.
        let mut shared = 6;
        while stage.closed(&CloseReason::SlowMemory) == 0 && shared < 12 {
            let before = stage.outbox_bytes();
            stage.publish("/shared", 500_000);
            shared += 1;
            eventually("they wait for it, or it was too much", || {
                stage.outbox_bytes() > before + 9_000_000
                    || stage.closed(&CloseReason::SlowMemory) > 0
            });
        }
        assert!(ends(&mut hog));
        for client in &mut sharers {
            for _ in 0..shared {
                assert_eq!(client.frame().payload.len(), 500_000);
            }
        }
        assert_eq!(stage.closed(&CloseReason::SlowMemory), 1);
    }
}

#[test]
fn clients_that_are_being_closed_are_not_counted_again() {
    const MAX: usize = 4 << 20;
    let stage = Stage::start(|settings| {
        settings.shards = 2;
        settings.process_bytes_max = MAX;
    });
    let mut stalled: Vec<Client> = (0..24)
        .map(|number| stage.open(&format!("/{number}")).0)
        .collect();
    for _ in 0..20 {
        for number in 0..stalled.len() {
            stage.publish(&format!("/{number}"), 60_000);
        }
    }
    // Each of them would hold a megabyte.
    eventually("most are closed", || {
        stage.closed(&CloseReason::SlowMemory) >= 18
    });
    eventually("what waits is within its bound", || {
        stage.server.view.process_bytes() <= MAX
    });
    let closed = stage.closed(&CloseReason::SlowMemory);
    assert!(stage.disconnects() <= closed.max(24));
    stalled.clear();
    stage.server.expect_empty();
}

#[test]
fn small_waiting_messages_cost_little_more_than_their_bytes() {
    const STALLED: usize = 50;
    let stage = Stage::start(|settings| settings.shards = 1);
    let mut stalled: Vec<Client> = (0..STALLED).map(|_| stage.open("/room").0).collect();
    for _ in 0..4 {
        stage.publish("/room", 200_000);
    }
    eventually("all lag behind", || {
        stage.outbox_bytes() > STALLED as u64 * 500_000
    });
    let before = stage.server.view.process_bytes();
    let (mut publisher, _) = stage.open("/publisher");
    let mut published = 0;
    // One message a turn, over a few ticks: the worst case.
    for _ in 0..3_000 {
        stage.publish("/room", 4);
        published += 1;
        publisher.round_trip();
    }
    // 24 bytes for each slice of each client would be 3.4 MiB at least.
    let bytes = published * 6;
    eventually("they are merged", || {
        stage.server.view.process_bytes() < before + 8 * bytes + STALLED * 4_096
    });
    // And they are the messages that were sent.
    let mut first = stalled.remove(0);
    for _ in 0..4 {
        assert_eq!(first.frame().payload.len(), 200_000);
    }
    for number in 0..published {
        assert_eq!(first.frame().payload, b"xxxx", "message {number}");
    }
}

#[test]
fn unread_answers_to_requests_count_and_go() {
    const MAX: usize = 2 << 20;
    let mut settings = settings();
    settings.send_buffer_bytes = Some(16 * 1024);
    settings.process_bytes_max = MAX;
    settings.timeouts.close = DEADLINE;
    let server = Server::start(settings, |builder| {
        let id = builder.endpoint_and_service(EndpointSettings::default(), Large);
        builder.route("/**", id).expect("a path");
    });
    let mut clients = Vec::new();
    for _ in 0..32 {
        let mut client = Client::connect_narrow(server.address, 4_096);
        client.send(b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n");
        clients.push(client);
    }
    eventually("some go", || {
        let index = SlowAction::Disconnect as usize;
        server.sum(|stats| stats.slow_actions[index].get()) > 0
    });
    eventually("what waits is within its bound", || {
        server.view.process_bytes() <= MAX
    });
    assert!(server.view.connections() > 0, "those go that are too much");
}

/// Answers with far more than a socket accepts.
struct Large;

impl Endpoint for Large {
    type State = ();
    type Local = ();

    fn message(&self, _session: &mut Session<'_>, _message: Message<'_>) {}
}

impl Service for Large {
    fn request(&self, _request: &Request<'_>, _responder: &mut Responder<'_>) -> Answer {
        Answer::Now(Response::text(200, "y".repeat(500_000)))
    }
}

#[test]
fn a_ping_waits_at_most_once() {
    let mut settings = settings();
    settings.send_buffer_bytes = Some(16 * 1024);
    let server = Server::hub(settings, EndpointSettings::default());
    let mut stalled = Client::connect_narrow(server.address, 4_096).upgraded("/");
    let mut sender = server.open("/");
    let text = "z".repeat(100_000);
    for _ in 0..10 {
        sender.text(&text);
        assert!(sender.expect_text() == text);
    }
    let before = server.view.process_bytes();
    let pings: Vec<u8> = (0..10_000).flat_map(|_| frame(PING, b"")).collect();
    stalled.send(&pings);
    stalled.text("read");
    while sender.expect_text() != "read" {}
    let more = server.view.process_bytes().saturating_sub(before);
    assert!(more < 100_000, "{more} bytes for pongs");
}
