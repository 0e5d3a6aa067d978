//! A demanding client does not starve one that wants little: the work done before a bystander's
//! message is bounded, for every kind of work that others cause.
//!
//! The shard is blocked in a callback until all competing input is in its sockets. So the order of
//! handling depends only on the shard, not on a clock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use corecast::engine::{
    Answer, CloseReason, Endpoint, EndpointSettings, HandleError, Request, Responder, Service,
    Session, TurnPhase,
};
use corecast::fanout::room::EndpointId;
use corecast::fanout::{ConnectionId, Recipients};
use corecast::limits::CONTROL_MAILBOX_BYTES_MAX;
use corecast::wire::decoder::Message;
use corecast::wire::frame::MessageKind;
use corecast::wire::http::Response;

use crate::support::client::{Client, TEXT, frame, upgrade};
use crate::support::{Server, eventually, settings};

const ROOMS: usize = 64;

/// The handled input, one letter each.
#[derive(Default)]
struct Log {
    handled: Mutex<Vec<u8>>,
    is_open: Mutex<bool>,
    opened: Condvar,
    is_held: AtomicBool,
}

impl Log {
    fn note(&self, letter: u8) {
        self.handled.lock().unwrap().push(letter);
    }

    fn hold(&self) {
        self.is_held.store(true, Ordering::Release);
        let is_open = self.is_open.lock().unwrap();
        drop(
            self.opened
                .wait_while(is_open, |is_open| !*is_open)
                .unwrap(),
        );
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn count(&self, letter: u8) -> usize {
        let handled = self.handled.lock().unwrap();
        handled.iter().filter(|each| **each == letter).count()
    }

    fn position(&self, letter: u8) -> Option<usize> {
        let handled = self.handled.lock().unwrap();
        handled.iter().position(|each| *each == letter)
    }
}

/// Records the first letter of each message, `c` for a closed client and `r` for a request; `h`
/// blocks the shard. Paths below `/rooms` join many rooms.
struct Noted(Arc<Log>);

impl Endpoint for Noted {
    type State = ();
    type Local = ();

    fn opened(&self, session: &mut Session<'_>, request: &Request<'_>) {
        if request.head.path == "/rooms" {
            for room in 0..ROOMS {
                session.join(&format!("/{room}")).expect("a room");
            }
        }
    }

    fn message(&self, _: &mut Session<'_>, message: Message<'_>) {
        match message.payload[0] {
            b'h' => self.0.hold(),
            letter => self.0.note(letter),
        }
    }

    fn closed(&self, _: &mut Session<'_>, _: &CloseReason) {
        self.0.note(b'c');
    }
}

impl Service for Noted {
    fn request(&self, _: &Request<'_>, _: &mut Responder<'_>) -> Answer {
        self.0.note(b'r');
        Answer::Now(Response::text(200, "ok\n"))
    }
}

struct Scene {
    server: Server,
    log: Arc<Log>,
}

impl Scene {
    fn new() -> Scene {
        let log = Arc::new(Log::default());
        let noted = Noted(Arc::clone(&log));
        let server = Server::start(settings(), |builder| {
            let noted = builder.endpoint_and_service(EndpointSettings::default(), noted);
            builder.route("/**", noted).expect("a path");
        });
        Scene { server, log }
    }

    /// The work that was handled before a bystander's message that comes after all that `compete`
    /// sends.
    fn handled_before_a_bystander(&self, compete: impl FnOnce()) -> usize {
        let mut keeper = self.server.open("/");
        let mut bystander = self.server.open("/");
        bystander.round_trip();
        keeper.text("hold");
        eventually("the shard is held", || {
            self.log.is_held.load(Ordering::Acquire)
        });
        compete();
        bystander.text("bystander");
        self.log.open();
        eventually("it is handled", || self.log.position(b'b').is_some());
        self.log.position(b'b').expect("it is there")
    }

    fn cuts(&self, phase: TurnPhase) -> u64 {
        self.server
            .sum(|stats| stats.turn_cut[phase as usize].get())
    }
}

#[test]
fn tiny_messages_without_end_leave_room_for_a_bystander() {
    let scene = Scene::new();
    let mut flooder = scene.server.open("/");
    let flood = frame(TEXT, b"x").repeat(100_000);
    let before = scene.handled_before_a_bystander(|| flooder.send(&flood));
    assert!((1..10_000).contains(&before), "{before} of 100,000");
    eventually("all is handled", || scene.log.count(b'x') == 100_000);
}

#[test]
fn requests_in_a_row_leave_room_for_a_bystander() {
    let scene = Scene::new();
    let mut flooder = Client::connect(scene.server.address);
    let flood = "GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(800);
    let before = scene.handled_before_a_bystander(|| flooder.send(flood.as_bytes()));
    assert!((1..200).contains(&before), "{before} of 800");
    // The rest is still answered, as far as the client reads the answers.
    for _ in 0..200 {
        assert_eq!(flooder.answer().status, 200);
    }
}

#[test]
fn many_who_go_leave_room_for_a_bystander() {
    let scene = Scene::new();
    let goers: Vec<Client> = (0..300).map(|_| scene.server.open("/rooms")).collect();
    eventually("all are members", || scene.server.view.rooms() == ROOMS);
    let before = scene.handled_before_a_bystander(|| drop(goers));
    assert!(before < 150, "{before} of 300");
    scene.server.expect_empty();
    assert_eq!(scene.log.count(b'c'), 302);
    assert!(scene.cuts(TurnPhase::Read) + scene.cuts(TurnPhase::Close) > 0);
}

#[test]
fn mail_of_handles_is_bounded_in_bytes() {
    let scene = Scene::new();
    let mut keeper = scene.server.open("/");
    let mut member = scene.server.open("/rooms");
    keeper.text("hold");
    eventually("the shard is held", || {
        scene.log.is_held.load(Ordering::Acquire)
    });
    let handle = scene.server.engine().handle();
    let payload = vec![b'x'; CONTROL_MAILBOX_BYTES_MAX / 4];
    let publish = || {
        let (room, kind, payload) = ("/1", MessageKind::Binary, payload.clone());
        handle.publish(EndpointId(0), room, Recipients::All, kind, payload)
    };
    let taken = (0..100).take_while(|_| publish().is_ok()).count();
    assert_eq!(taken, 4, "of a quarter each");
    assert_eq!(publish(), Err(HandleError::Busy));
    // Messages without a payload get through, and everything accepted is sent.
    assert_eq!(handle.leave(nobody(), EndpointId(0), "/1"), Ok(()));
    scene.log.open();
    for _ in 0..4 {
        assert_eq!(member.frame().payload.len(), payload.len());
    }
    eventually("there is room again", || publish().is_ok());
}

/// A connection that does not exist on the first shard.
fn nobody() -> ConnectionId {
    ConnectionId {
        index: 0,
        generation: 0,
        shard: 0,
    }
}

#[test]
fn upgrades_and_messages_in_one_packet_are_all_handled() {
    let scene = Scene::new();
    let mut client = Client::connect(scene.server.address);
    let requests = "GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    let messages = frame(TEXT, b"x").repeat(2_000);
    let all = [requests.as_bytes(), upgrade("/").as_bytes(), &messages].concat();
    let before = scene.handled_before_a_bystander(|| client.send(&all));
    assert!(before < 1_000, "{before} of 2,100");
    for _ in 0..100 {
        assert_eq!(client.answer().status, 200);
    }
    assert_eq!(client.answer().status, 101);
    eventually("all is handled", || scene.log.count(b'x') == 2_000);
}
