//! Every transition of `LIFECYCLE.md` beside the engine, one test each: the table there names it.

use std::net::Shutdown;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use corecast::engine::{
    Accept, Admission, Answer, CloseReason, DeferredAdmission, Endpoint, EndpointSettings, Refused,
    Request, Responder, Service, Session, Settings, ShardStats,
};
use corecast::wire::decoder::Message;
use corecast::wire::http::Response;
use socket2::SockRef;

use crate::support::client::{Client, FIN, PING, TEXT, raw_frame, upgrade};
use crate::support::{DEADLINE, Server, eventually, settings};

/// More than the kernel keeps for a client that does not read.
const LARGE_BYTES: usize = 32 << 20;

type Tokens = Arc<Mutex<Vec<DeferredAdmission>>>;

/// Defers the upgrades of `/later`, closes clients on request, and echoes everything else.
struct Stage {
    tokens: Tokens,
}

impl Endpoint for Stage {
    type State = ();
    type Local = ();

    fn admit(&self, request: &Request<'_>, responder: &mut Responder<'_>) -> Admission {
        if request.head.path != "/later" {
            return Admission::Accept(Accept::new());
        }
        let (admission, token) = responder.admission(DEADLINE);
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.push(token);
        admission
    }

    fn message(&self, session: &mut Session<'_>, message: Message<'_>) {
        match message.payload {
            b"close" => session.close(4000, "as asked"),
            payload => session.send(message.kind, payload),
        }
    }
}

impl Service for Stage {
    fn request(&self, request: &Request<'_>, _responder: &mut Responder<'_>) -> Answer {
        Answer::Now(match request.head.path {
            "/large" => Response::text(200, "x".repeat(LARGE_BYTES)),
            path => Response::text(200, path.to_owned()),
        })
    }
}

/// Deadlines that no test reaches, so that each connection ends for the reason under test.
fn patient() -> Settings {
    let mut settings = settings();
    settings.timeouts.handshake = DEADLINE * 2;
    settings.timeouts.close = DEADLINE * 2;
    settings
}

fn hasty() -> Settings {
    let mut settings = patient();
    settings.timeouts.close = Duration::from_millis(200);
    settings
}

struct Scene {
    server: Server,
    tokens: Tokens,
}

impl Scene {
    fn new(settings: Settings) -> Scene {
        let tokens = Tokens::default();
        let stage = Stage {
            tokens: Arc::clone(&tokens),
        };
        let server = Server::start(settings, |builder| {
            let id = builder.endpoint_and_service(EndpointSettings::default(), stage);
            builder.route("/**", id).expect("a path");
        });
        Scene { server, tokens }
    }

    fn connect(&self) -> Client {
        Client::connect(self.server.address)
    }

    /// A client whose upgrade waits for its answer.
    fn deferred(&self) -> Client {
        let mut client = self.connect();
        client.send(upgrade("/later").as_bytes());
        eventually("it is deferred", || !self.tokens.lock().unwrap().is_empty());
        self.expect(1, 0, 0);
        client
    }

    /// A client that is sent a large answer, does not read it, and will get nothing after it.
    fn draining(&self) -> Client {
        let mut client = Client::connect_narrow(self.server.address, 4_096);
        client.send(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        self.expect(0, 0, 1);
        client
    }

    /// A client that was sent a Close and has not answered.
    fn closing(&self) -> Client {
        let mut client = self.server.open("/");
        client.text("close");
        client.expect_close(4000);
        self.expect(0, 0, 1);
        client
    }

    /// A client that has received everything and has not ended its side.
    fn lingering(&self) -> Client {
        let mut client = self.connect();
        client.send(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(client.answer().body, b"/a");
        client.expect_end();
        self.expect(0, 0, 1);
        client
    }

    /// Waits until this many connections are connecting, open, and closing.
    fn expect(&self, connecting: u64, open: u64, closing: u64) {
        let wanted = (connecting, open, closing);
        eventually(&format!("connections are {wanted:?}"), || {
            let sum = |each: fn(&ShardStats) -> u64| self.server.sum(each);
            let found = (
                sum(|stats| stats.connecting.get()),
                sum(|stats| stats.open.get()),
                sum(|stats| stats.closing.get()),
            );
            found == wanted
        });
    }
}

/// Ends the connection by a reset.
fn reset(client: Client) {
    let linger = SockRef::from(&client.stream).set_linger(Some(Duration::ZERO));
    linger.expect("a socket");
    drop(client);
}

#[test]
fn request_to_deferred_if_the_endpoint_answers_later() {
    let scene = Scene::new(patient());
    let mut client = scene.deferred();
    // Later input waits: not even its error is answered.
    client.send(b"nonsense\r\n\r\n");
    scene.server.open("/").round_trip();
    assert!(client.arrived().is_empty());
}

#[test]
fn deferred_to_request_when_the_answer_comes() {
    let scene = Scene::new(patient());
    let mut client = scene.deferred();
    client.send(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    let token = scene.tokens.lock().unwrap().pop().expect("a token");
    token.refuse(Refused::new(403, "no", "no"));
    assert_eq!(client.answer().status, 403);
    assert_eq!(client.answer().body, b"/next", "the next request is read");
    scene.expect(1, 0, 0);
}

#[test]
fn deferred_to_draining_on_shutdown() {
    let scene = Scene::new(patient());
    let mut client = scene.deferred();
    let stopping = std::thread::spawn(|| scene.server.stop());
    assert_eq!(client.answer().status, 503);
    client.expect_end();
    drop(client);
    assert!(stopping.join().expect("no panic"), "in time");
}

#[test]
fn deferred_to_dead_when_what_waits_cannot_be_sent() {
    let scene = Scene::new(patient());
    let mut client = Client::connect_narrow(scene.server.address, 4_096);
    client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send(upgrade("/later").as_bytes());
    eventually("it is deferred", || {
        !scene.tokens.lock().unwrap().is_empty()
    });
    reset(client);
    scene.expect(0, 0, 0);
}

#[test]
fn request_to_open_on_an_upgrade() {
    let scene = Scene::new(patient());
    let mut client = scene.server.open("/");
    scene.expect(0, 1, 0);
    client.text("hello");
    assert_eq!(client.expect_text(), "hello");
}

#[test]
fn request_to_draining_on_an_answer_that_is_the_last() {
    let scene = Scene::new(patient());
    let mut client = scene.connect();
    client.send(b"nonsense\r\n\r\n");
    assert_eq!(client.answer().status, 400);
    client.expect_end();
    drop(client);
    scene.server.expect_empty();
}

#[test]
fn request_to_dead_when_the_client_leaves() {
    let scene = Scene::new(patient());
    let client = scene.connect();
    scene.expect(1, 0, 0);
    drop(client);
    scene.server.expect_empty();
}

#[test]
fn open_to_closing_when_the_endpoint_closes() {
    let scene = Scene::new(patient());
    let mut client = scene.closing();
    // Its data is ignored now, and so are its pings.
    client.text("too late");
    client.send(&raw_frame(FIN | PING, b"too late", true));
    scene.server.open("/").round_trip();
    assert!(client.arrived().is_empty());
    scene.expect(0, 0, 1);
}

#[test]
fn open_to_draining_on_the_clients_close() {
    let scene = Scene::new(patient());
    let mut client = scene.server.open("/");
    client.close(3000);
    client.expect_close(3000);
    client.expect_end();
    drop(client);
    scene.server.expect_empty();
}

#[test]
fn open_to_draining_on_a_failure() {
    let scene = Scene::new(patient());
    let mut client = scene.server.open("/");
    client.send(&raw_frame(FIN | TEXT, b"not masked", false));
    client.expect_close(1002);
    client.expect_end();
    scene.expect(0, 0, 1);
    drop(client);
    scene.server.expect_empty();
}

#[test]
fn open_to_dead_when_the_client_is_gone() {
    let scene = Scene::new(patient());
    drop(scene.server.open("/"));
    reset(scene.server.open("/"));
    eventually("both are counted", || {
        scene
            .server
            .sum(|stats| stats.closed[CloseReason::ClientGone.label_index()].get())
            == 2
    });
    scene.server.expect_empty();
}

#[test]
fn closing_to_draining_on_the_clients_close() {
    let scene = Scene::new(patient());
    let mut client = scene.closing();
    client.close(4000);
    client.expect_end();
    drop(client);
    scene.server.expect_empty();
}

#[test]
fn closing_to_dead_when_the_client_is_gone() {
    let scene = Scene::new(patient());
    drop(scene.closing());
    scene.server.expect_empty();
}

#[test]
fn closing_to_dead_after_the_close_timeout() {
    let scene = Scene::new(hasty());
    let mut client = scene.closing();
    client.expect_end();
    scene.server.expect_empty();
}

#[test]
fn draining_to_lingering_when_all_is_sent() {
    let scene = Scene::new(patient());
    let mut client = scene.draining();
    assert_eq!(client.answer().body.len(), LARGE_BYTES);
    // Our direction has ended; the connection itself still exists.
    client.expect_end();
    scene.expect(0, 0, 1);
}

#[test]
fn draining_to_dead_when_the_client_has_ended_its_side() {
    let scene = Scene::new(patient());
    let mut client = scene.draining();
    client.stream.shutdown(Shutdown::Write).expect("a socket");
    assert_eq!(client.answer().body.len(), LARGE_BYTES);
    scene.server.expect_empty();
}

#[test]
fn draining_to_dead_after_the_close_timeout() {
    let scene = Scene::new(hasty());
    let _client = scene.draining();
    scene.server.expect_empty();
}

#[test]
fn lingering_to_dead_when_the_client_ends_its_side() {
    let scene = Scene::new(patient());
    drop(scene.lingering());
    scene.server.expect_empty();
}

#[test]
fn lingering_to_dead_after_the_close_timeout() {
    let scene = Scene::new(hasty());
    let _client = scene.lingering();
    scene.server.expect_empty();
}
