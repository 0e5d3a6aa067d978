//! An embedder's own endpoint: deferred answers, panics, filters, and the handle.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corecast::engine::{
    Accept, Admission, Answer, CloseReason, DeferredAdmission, DeferredResponse, Endpoint,
    EndpointSettings, HandleError, Keepalive, Local, Refused, Request, Responder, Service, Session,
    Settings, SlowClient, SlowPolicy,
};
use corecast::fanout::room::EndpointId;
use corecast::fanout::{ConnectionId, Recipients};
use corecast::limits::CONTROL_MAILBOX_MAX;
use corecast::wire::decoder::Message;
use corecast::wire::frame::MessageKind;
use corecast::wire::http::Response;

use crate::support::client::{Client, FIN, TEXT, frame, raw_frame, upgrade};
use crate::support::{Server, eventually, settings};

#[path = "../../examples/embed.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the example's own main runs outside of a test"
)]
mod embed;

/// The calls of an endpoint, and the tokens that it was given.
#[derive(Default)]
struct Notes {
    ids: Vec<(String, ConnectionId)>,
    closed: Vec<(String, &'static str)>,
    admissions: Vec<DeferredAdmission<String>>,
    responses: Vec<DeferredResponse>,
}

/// Acts on the last segment of the path, which is also a connection's name, or on a message.
struct Lab {
    notes: Arc<Mutex<Notes>>,
    /// A message `wait` blocks on this.
    release: Mutex<Receiver<()>>,
}

impl Lab {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(session: &mut Session<'_, String>) -> String {
    session.state().clone()
}

impl Endpoint for Lab {
    type State = String;
    type Local = ();

    fn admit(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Admission<String> {
        let name = request.parameter.expect("a name");
        let timeout = match name {
            "refused" => return Admission::Refuse(Refused::new(403, "stranger", "not you")),
            "panic-admit" => panic!("as asked"),
            "deferred" | "dropped" => Duration::from_secs(60),
            "overdue" => Duration::from_millis(100),
            name => return Admission::Accept(Accept::new().state(name.to_owned())),
        };
        let (admission, token) = responder.admission(timeout);
        if name != "dropped" {
            self.notes().admissions.push(token);
        }
        admission
    }

    fn opened(&self, session: &mut Session<'_, String>, _request: &Request<'_>) {
        let name = name(session);
        session.join("lab").expect("a room");
        assert_ne!(name, "panic-opened");
        self.notes().ids.push((name, session.id()));
    }

    fn message(&self, session: &mut Session<'_, String>, message: Message<'_>) {
        let text = std::str::from_utf8(message.payload).expect("text");
        let recipients = match text.split_once(' ') {
            None if text == "panic" => panic!("as asked"),
            None if text == "wait" => {
                let release = self.release.lock().unwrap_or_else(PoisonError::into_inner);
                return release.recv().expect("a release");
            }
            Some(("close", code)) => {
                return session.close(code.parse().expect("a code"), "as asked");
            }
            Some(("veto", vetoed)) => {
                let vetoed = vetoed.to_owned();
                Recipients::If(Arc::new(move |recipient| {
                    let name = recipient.state::<String>();
                    assert_ne!(name.map(String::as_str), Some("panic-filter"));
                    name != Some(&vetoed)
                }))
            }
            _ => Recipients::Except(session.id()),
        };
        session.publish_to("lab", recipients, message.kind, message.payload);
    }

    fn closed(&self, session: &mut Session<'_, String>, reason: &CloseReason) {
        let name = name(session);
        let panics = name == "panic-closed";
        self.notes().closed.push((name, reason.label()));
        assert!(!panics, "as asked");
    }
}

impl Service for Lab {
    fn methods(&self) -> &'static [&'static str] {
        &["GET", "POST"]
    }

    fn request(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Answer {
        let timeout = match request.parameter {
            Some("panic") => panic!("as asked"),
            Some("overdue") => Duration::from_millis(100),
            Some(_) => Duration::from_secs(60),
            None => return Answer::Now(Response::text(200, "now")),
        };
        let (answer, token) = responder.response(timeout);
        if request.parameter != Some("dropped") {
            self.notes().responses.push(token);
        }
        answer
    }
}

struct Rig {
    notes: Arc<Mutex<Notes>>,
    release: Sender<()>,
    id: EndpointId,
    server: Server,
}

impl Rig {
    fn new(settings: Settings, endpoint: EndpointSettings) -> Rig {
        let notes = Arc::<Mutex<Notes>>::default();
        let (release, released) = channel();
        let mut id = None;
        let server = Server::start(settings, |builder| {
            let lab = Lab {
                notes: Arc::clone(&notes),
                release: Mutex::new(released),
            };
            let lab = builder.endpoint_and_service(endpoint, lab);
            builder.route("/lab/{name}", lab).unwrap();
            builder.route("/now", lab).unwrap();
            id = Some(lab);
        });
        Rig {
            notes,
            release,
            id: id.unwrap(),
            server,
        }
    }

    fn default() -> Rig {
        Rig::new(settings(), EndpointSettings::default())
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, name: &str) -> Client {
        self.server.open(&format!("/lab/{name}"))
    }

    fn id_of(&self, name: &str) -> ConnectionId {
        let mut id = None;
        eventually("it is open", || {
            let notes = self.notes();
            id = notes
                .ids
                .iter()
                .find(|(other, _)| other == name)
                .map(|(_, id)| *id);
            id.is_some()
        });
        id.unwrap()
    }

    /// Sends a request for the path and returns its connection.
    fn ask(&self, request: &str) -> Client {
        let mut client = Client::connect(self.server.address);
        client.send(request.as_bytes());
        client
    }

    fn take_admission(&self) -> DeferredAdmission<String> {
        eventually("an admission", || !self.notes().admissions.is_empty());
        self.notes().admissions.remove(0)
    }

    fn take_response(&self) -> DeferredResponse {
        eventually("a request", || !self.notes().responses.is_empty());
        self.notes().responses.remove(0)
    }

    fn panics(&self) -> u64 {
        self.server.sum(|stats| stats.endpoint_panics.get())
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[test]
fn an_admission_may_be_accepted_or_refused_later() {
    let rig = Rig::default();
    let mut client = rig.ask(&upgrade("/lab/deferred"));
    client.send(&frame(TEXT, b"came with the request"));
    let token = rig.take_admission();
    let mut other = rig.open("other");
    other.round_trip();
    token.accept(Accept::new().state("late".to_owned()));
    assert_eq!(client.answer().status, 101);
    assert_eq!(other.expect_text(), "came with the request");
    let mut refused = rig.ask(&upgrade("/lab/deferred"));
    rig.take_admission().refuse(Refused::new(403, "no", "no"));
    assert_eq!(refused.answer().status, 403);
    assert_eq!(rig.ask(&upgrade("/lab/refused")).answer().status, 403);
    // The same connection may ask again.
    refused.send(upgrade("/lab/again").as_bytes());
    assert_eq!(refused.answer().status, 101);
}

#[test]
fn an_answer_that_does_not_come_is_503() {
    let rig = Rig::default();
    for name in ["dropped", "overdue"] {
        let path = format!("/lab/{name}");
        for request in [upgrade(&path), get(&path)] {
            let answer = rig.ask(&request).answer();
            assert_eq!(answer.status, 503, "{request}");
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
    }
    // Tokens that come too late, and those of clients that are gone, reach no connection.
    rig.take_admission()
        .accept(Accept::new().state("late".to_owned()));
    let gone = rig.ask(&upgrade("/lab/deferred"));
    let token = rig.take_admission();
    drop(gone);
    token.accept(Accept::new().state("gone".to_owned()));
    rig.take_response().respond(Response::text(200, "late"));
    rig.open("other").round_trip();
    rig.server.expect_empty();
}

#[test]
fn pipelined_requests_wait_for_a_deferred_answer() {
    let rig = Rig::default();
    let mut client = rig.ask(&(get("/lab/a") + &get("/now") + &get("/lab/b")));
    rig.take_response().respond(Response::text(200, "first"));
    assert_eq!(client.answer().body, b"first");
    assert_eq!(client.answer().body, b"now");
    rig.take_response().respond(Response::text(200, "second"));
    assert_eq!(client.answer().body, b"second");
    let chunked = "POST /lab/c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\nabc\r\n0\r\n\r\n";
    client.send((chunked.to_owned() + &get("/now")).as_bytes());
    rig.take_response().respond(Response::text(201, "third"));
    assert_eq!(client.answer().status, 201);
    assert_eq!(client.answer().body, b"now");
}

#[test]
fn a_panic_in_any_callback_ends_that_connection_alone() {
    let rig = Rig::default();
    let mut bystander = rig.open("bystander");
    assert_eq!(rig.ask(&upgrade("/lab/panic-admit")).answer().status, 500);
    assert_eq!(rig.ask(&get("/lab/panic")).answer().status, 500);
    assert_eq!(rig.panics(), 2);
    rig.open("panic-opened").expect_close(1011);
    let mut messenger = rig.open("messenger");
    messenger.text("panic");
    assert_eq!(messenger.expect_close(1011), "internal: endpoint failed");
    let mut closer = rig.open("panic-closed");
    closer.close(1000);
    closer.expect_close(1000);
    assert_eq!(rig.panics(), 5);
    let mut filtered = rig.open("panic-filter");
    bystander.text("veto nobody");
    filtered.expect_close(1011);
    assert_eq!(bystander.expect_text(), "veto nobody");
    assert_eq!(rig.panics(), 6);
    let closed = rig.notes().closed.clone();
    let of = |name: &str| -> Vec<&str> {
        let mine = closed.iter().filter(|(other, _)| other == name);
        mine.map(|(_, label)| *label).collect()
    };
    for name in ["panic-opened", "messenger", "panic-filter"] {
        assert_eq!(of(name), ["endpoint_panic"], "{name}");
    }
    assert_eq!(of("panic-closed"), ["client_closed"]);
    drop((bystander, messenger, closer, filtered));
    rig.server.expect_empty();
}

/// Limits that a client reaches soon: on its messages, its outbox and its silence.
fn impatient() -> EndpointSettings {
    EndpointSettings {
        message_bytes: 16 * 1024,
        slow_client: SlowClient {
            policy: SlowPolicy::Disconnect,
            outbox_bytes: 64 * 1024,
            outbox_age: Duration::ZERO,
        },
        keepalive: Keepalive {
            ping: Duration::ZERO,
            pong: Duration::from_secs(3),
        },
        ..EndpointSettings::default()
    }
}

#[test]
fn closed_is_called_exactly_once_however_it_ended() {
    let mut settings = settings();
    settings.send_buffer_bytes = Some(16 * 1024);
    let rig = Rig::new(settings, impatient());
    let handle = rig.server.engine().handle();
    let mut closes = rig.open("closes");
    closes.close(1000);
    closes.expect_close(1000);
    let resets = rig.open("resets");
    let linger = socket2::SockRef::from(&resets.stream);
    linger.set_linger(Some(Duration::ZERO)).unwrap();
    drop(resets);
    drop(rig.open("vanishes"));
    let mut breaks = rig.open("breaks");
    breaks.send(&raw_frame(FIN | TEXT, b"", false));
    breaks.expect_close(1002);
    let mut asks = rig.open("asks");
    asks.text("close 4000");
    assert_eq!(asks.expect_close(4000), "as asked");
    let mut bad_code = rig.open("bad-code");
    bad_code.text("close 1006");
    bad_code.expect_close(1005);
    let mut kicked = rig.open("kicked");
    handle.close(rig.id_of("kicked"), 4001, "out").unwrap();
    assert_eq!(kicked.expect_close(4001), "out");
    // The closing handshake continues, and nothing that comes in it counts as another end.
    kicked.text("panic");
    kicked.close(4001);
    kicked.expect_end();
    let narrow = Client::connect_narrow(rig.server.address, 16 * 1024);
    let slow = narrow.upgraded("/lab/slow");
    let mut floods = rig.open("floods");
    for _ in 0..500 {
        floods.text(&"x".repeat(1_000));
    }
    floods.round_trip();
    let silent = rig.open("silent");
    eventually("the silent one is closed", || {
        floods.round_trip();
        rig.notes().closed.iter().any(|(name, _)| name == "silent")
    });
    let Rig { notes, server, .. } = rig;
    let stopping = std::thread::spawn(move || server.stop());
    floods.expect_close(1001);
    drop((slow, silent, breaks, asks, bad_code));
    floods.close(1001);
    assert!(stopping.join().unwrap());
    let mut closed = notes.lock().unwrap().closed.clone();
    closed.sort_unstable();
    let expected = [
        ("asks", "endpoint"),
        ("bad-code", "endpoint"),
        ("breaks", "protocol_error"),
        ("closes", "client_closed"),
        ("floods", "shutdown"),
        ("kicked", "endpoint"),
        ("resets", "client_gone"),
        ("silent", "ping_timeout"),
        ("slow", "slow_bytes"),
        ("vanishes", "client_gone"),
    ];
    assert_eq!(
        closed,
        expected.map(|(name, label)| (name.to_owned(), label))
    );
}

#[test]
fn a_handle_reaches_connections_of_every_shard() {
    let mut settings = settings();
    settings.shards = 2;
    let rig = Rig::new(settings, EndpointSettings::default());
    let names = ["a", "b", "c", "d"];
    let mut clients = names.map(|name| rig.open(name));
    let ids = names.map(|name| rig.id_of(name));
    assert!(ids.iter().any(|id| id.shard != ids[0].shard), "{ids:?}");
    let handle = rig.server.engine().handle();
    let publish = |room: &str, recipients, text: &'static str| {
        let sent = handle.publish(rig.id, room, recipients, MessageKind::Text, text);
        sent.expect("not busy");
    };
    publish("lab", Recipients::All, "to all");
    publish("lab", Recipients::Except(ids[0]), "to all but a");
    publish("nobody", Recipients::All, "to nobody");
    for (client, id) in clients.iter_mut().zip(ids) {
        assert_eq!(client.expect_text(), "to all");
        if id != ids[0] {
            assert_eq!(client.expect_text(), "to all but a");
        }
        let text = format!("to {id}");
        handle.send(id, MessageKind::Text, text.clone()).unwrap();
        assert_eq!(client.expect_text(), text);
    }
    for id in &ids[..2] {
        handle.join(*id, rig.id, "two").unwrap();
        handle.leave(*id, rig.id, "lab").unwrap();
    }
    eventually("they have joined and left", || rig.server.view.rooms() == 2);
    clients.iter_mut().for_each(Client::round_trip);
    publish("two", Recipients::All, "to two");
    publish("lab", Recipients::All, "to the others");
    for (at, client) in clients.iter_mut().enumerate() {
        let expected = if at < 2 { "to two" } else { "to the others" };
        assert_eq!(client.expect_text(), expected);
    }
    for (client, id) in clients.iter_mut().zip(ids) {
        handle.close(id, 4002, "enough").unwrap();
        assert_eq!(client.expect_close(4002), "enough");
        client.close(4002);
        client.expect_end();
    }
    // Ids of closed connections reach no connection.
    let mut next = rig.open("next");
    for id in ids {
        handle.send(id, MessageKind::Text, "late").unwrap();
        handle.close(id, 4003, "late").unwrap();
    }
    next.round_trip();
}

#[test]
fn a_flooded_shard_is_busy_and_loses_nothing_that_it_took() {
    let rig = Rig::default();
    let mut blocker = rig.open("blocker");
    let mut member = rig.open("member");
    let handle = rig.server.engine().handle();
    let id = rig.id_of("member");
    blocker.text("wait");
    let mut taken = 0;
    let mut refused = 0;
    eventually("it is busy", || {
        match handle.send(id, MessageKind::Text, format!("{taken}")) {
            Ok(()) => taken += 1,
            Err(HandleError::Busy) => refused += 1,
            Err(error) => unreachable!("{error}"),
        }
        refused > 0 && taken >= CONTROL_MAILBOX_MAX
    });
    rig.release.send(()).unwrap();
    for number in 0..taken {
        assert_eq!(member.expect_text(), number.to_string());
    }
    member.round_trip();
}

#[test]
fn a_handle_says_what_no_second_try_can_mend() {
    let rig = Rig::default();
    let _member = rig.open("member");
    let handle = rig.server.engine().handle();
    let id = rig.id_of("member");
    let elsewhere = ConnectionId { shard: 77, ..id };
    let sent = handle.send(elsewhere, MessageKind::Text, "nobody");
    assert_eq!(sent, Err(HandleError::NoShard));
    assert!(rig.server.stop());
    let sent = handle.send(id, MessageKind::Text, "too late");
    assert_eq!(sent, Err(HandleError::Ended));
}

#[test]
fn a_full_mailbox_slows_publishers_down_and_loses_nothing() {
    const MESSAGES: usize = 26;
    let mut settings = settings();
    settings.shards = 2;
    let mut endpoint = EndpointSettings::default();
    endpoint.slow_client.outbox_bytes = 256 << 20;
    let rig = Rig::new(settings, endpoint);
    let names = ["a", "b", "c", "d"];
    let mut clients: Vec<(ConnectionId, Client)> = names
        .iter()
        .map(|name| (rig.open(name), rig.id_of(name)))
        .map(|(client, id)| (id, client))
        .collect();
    clients.sort_by_key(|(id, _)| id.shard);
    let (_, mut blocker) = clients.pop().unwrap();
    assert_eq!(clients[0].0.shard, 0);
    assert_eq!(clients[2].0.shard, 1);
    blocker.text("wait");
    let (_, mut sender) = clients.remove(0);
    let message = |number: usize| format!("{number:03}{}", "m".repeat(1_000_000));
    let sending = std::thread::spawn(move || {
        (0..MESSAGES).for_each(|number| sender.text(&message(number)));
        sender
    });
    let receiving: Vec<_> = clients
        .into_iter()
        .map(|(_, mut client)| {
            std::thread::spawn(move || {
                for number in 0..MESSAGES {
                    assert!(client.expect_text() == message(number), "message {number}");
                }
                client
            })
        })
        .collect();
    eventually("the mailbox is full", || {
        rig.server.sum(|stats| stats.exchange.blocked.get()) > 0
    });
    let live = rig.server.view.live_bytes();
    assert!(
        live < 20 << 20,
        "{live} bytes wait for a shard that stands still"
    );
    assert!(!sending.is_finished(), "TCP slows it down");
    rig.release.send(()).unwrap();
    for client in receiving {
        client.join().unwrap().round_trip();
    }
    sending.join().unwrap().round_trip();
    for number in 0..MESSAGES {
        assert!(blocker.expect_text() == message(number));
    }
}

#[test]
fn a_veto_holds_for_the_vetoed_alone_on_every_shard() {
    let mut settings = settings();
    settings.shards = 2;
    let rig = Rig::new(settings, EndpointSettings::default());
    let names = ["ada", "bob", "cyd", "dan", "eve"];
    let mut clients = names.map(|name| rig.open(name));
    for round in 0..names.len() {
        for vetoed in names {
            clients[round].text(&format!("veto {vetoed}"));
        }
        for (client, name) in clients.iter_mut().zip(names) {
            for vetoed in names.iter().filter(|vetoed| **vetoed != name) {
                assert_eq!(client.expect_text(), format!("veto {vetoed}"), "{name}");
            }
        }
    }
    clients.iter_mut().for_each(Client::round_trip);
}

#[test]
fn the_example_chats() {
    let (engine, handle) = embed::start(([127, 0, 0, 1], 0).into()).unwrap();
    let address = engine.addresses()[0];
    let ask = |path: &str| {
        let mut client = Client::connect(address);
        client.send(upgrade(path).as_bytes());
        client.answer().status
    };
    assert_eq!(ask("/chat"), 401);
    assert_eq!(ask("/chat?token=wrong"), 403);
    assert_eq!(ask("/elsewhere"), 404);
    let mut ada = Client::open(address, "/chat?token=ada-secret");
    let mut bob = Client::open(address, "/chat?token=bob-secret");
    assert_eq!(ada.expect_text(), "bob: joined");
    let mut cyd = Client::open(address, "/chat?token=cyd-secret");
    assert_eq!(ada.expect_text(), "cyd: joined");
    assert_eq!(bob.expect_text(), "cyd: joined");
    cyd.text("hello");
    cyd.text("@ada psst");
    cyd.text("bye");
    for text in ["cyd: hello", "psst", "cyd: bye"] {
        assert_eq!(ada.expect_text(), text);
    }
    for text in ["cyd: hello", "cyd: bye"] {
        assert_eq!(bob.expect_text(), text);
    }
    let mut plain = Client::connect(address);
    plain.send(get("/chat").as_bytes());
    assert_eq!(plain.answer().body, b"{\"users\":3}\n");
    drop(cyd);
    assert_eq!(bob.expect_text(), "cyd: left (client_gone)");
    let id = EndpointId(0);
    handle
        .publish(id, "everybody", Recipients::All, MessageKind::Text, "news")
        .unwrap();
    assert_eq!(bob.expect_text(), "news");
    drop((ada, bob, plain));
    assert!(engine.stop());
}

/// Reports how many messages came from the client and on its shard; the shard's counter is not
/// `Send`.
struct Counting;

/// The number of messages on a shard.
#[derive(Default)]
struct Messages(Rc<Cell<u32>>);

impl Local for Messages {
    type Mail = ();
}

type Counted<'c> = Session<'c, u32, Messages>;

impl Endpoint for Counting {
    type State = u32;
    type Local = Messages;

    fn message(&self, session: &mut Counted<'_>, message: Message<'_>) {
        let (own, Messages(all)) = session.state_and_local();
        *own += 1;
        all.set(all.get() + 1);
        let counts = (*own, all.get());
        let text = format!("{} {} {}", session.id().shard, counts.0, counts.1);
        session.send(message.kind, text.as_bytes());
    }
}

#[test]
fn an_endpoints_shard_state_is_typed_and_stays_there() {
    let mut settings = settings();
    settings.shards = 2;
    let server = Server::start(settings, |builder| {
        let id = builder.endpoint(EndpointSettings::default(), Counting);
        builder.route("/", id).expect("a path");
    });
    let mut clients: Vec<_> = (0..4).map(|_| server.open("/")).collect();
    let mut of_shards = [0_u32; 2];
    for round in 1..=2 {
        for client in &mut clients {
            client.text("count");
            let text = client.expect_text();
            let shard = usize::from(text.starts_with('1'));
            of_shards[shard] += 1;
            assert_eq!(text, format!("{shard} {round} {}", of_shards[shard]));
        }
    }
    assert_eq!(of_shards, [4, 4], "both shards have two clients");
}
