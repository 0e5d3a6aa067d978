//! A name is released exactly once, however its connection ends: even if it never becomes a
//! WebSocket because a wrapper refuses it, code panics, or the client is gone.

use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use corecast::config::OnDuplicate;
use corecast::engine::{
    Accept, Admission, CloseReason, DeferredAdmission, Endpoint, EndpointError, EndpointSettings,
    Handle, Refused, Request, Responder, Session,
};
use corecast::relay::named::{Named, NamedSettings};
use corecast::relay::users::Users;
use corecast::wire::decoder::Message;

use crate::support::client::{Client, TEXT, frame, upgrade};
use crate::support::{Server, eventually, settings};

/// A failure around an endpoint of named users.
enum Fault {
    None,
    RefusesAfterwards,
    PanicsAfterwards,
    PanicsWhenOpened,
    PanicsAtMessages,
    PanicsWhenClosed,
    /// Every admission waits this long for the test's decision.
    Defers(Sender<Deferred>, Duration),
    /// A message "hold it" blocks its shard until the test releases it.
    Holds(Sender<()>, Receiver<()>),
    /// The engine has not told it how to reach its connections.
    HasNoHandle,
}

/// A deferred admission, and the endpoint's decision.
type State = <Named as Endpoint>::State;
type Deferred = (DeferredAdmission<State>, Option<Accept<State>>);

struct Around {
    inner: Named,
    fault: Mutex<Fault>,
}

impl Around {
    fn panic_if(&self, is_at_fault: fn(&Fault) -> bool) {
        let fault = self.fault.lock();
        let panics = is_at_fault(&fault.unwrap_or_else(PoisonError::into_inner));
        assert!(!panics, "on purpose");
    }
}

impl Endpoint for Around {
    type State = <Named as Endpoint>::State;
    type Local = ();

    fn started(&self, handle: &Handle) -> Result<(), EndpointError> {
        match *self.fault.lock().expect("no panic yet") {
            Fault::HasNoHandle => Ok(()),
            _ => self.inner.started(handle),
        }
    }

    fn admit(
        &self,
        request: &Request<'_>,
        responder: &mut Responder<'_>,
    ) -> Admission<Self::State> {
        let admission = self.inner.admit(request, responder);
        self.panic_if(|fault| matches!(fault, Fault::PanicsAfterwards));
        match &*self.fault.lock().expect("no panic") {
            Fault::RefusesAfterwards => {
                assert!(matches!(admission, Admission::Accept(_)));
                Admission::Refuse(Refused::new(403, "closed", "Not today."))
            }
            Fault::Defers(tokens, timeout) => {
                let (pending, token) = responder.admission(*timeout);
                let accept = match admission {
                    Admission::Accept(accept) => Some(accept),
                    _ => None,
                };
                let sent = tokens.send((token, accept));
                assert!(sent.is_ok(), "the test waits for it");
                pending
            }
            _ => admission,
        }
    }

    fn opened(&self, session: &mut Session<'_, Self::State>, request: &Request<'_>) {
        self.inner.opened(session, request);
        self.panic_if(|fault| matches!(fault, Fault::PanicsWhenOpened));
    }

    fn message(&self, session: &mut Session<'_, Self::State>, message: Message<'_>) {
        self.panic_if(|fault| matches!(fault, Fault::PanicsAtMessages));
        if message.payload == b"hold it"
            && let Fault::Holds(holds, go_on) = &*self.fault.lock().expect("no panic")
        {
            holds.send(()).expect("the test waits for it");
            go_on.recv().expect("the test lets it go on");
        }
        self.inner.message(session, message);
    }

    fn closed(&self, session: &mut Session<'_, Self::State>, reason: &CloseReason) {
        self.panic_if(|fault| matches!(fault, Fault::PanicsWhenClosed));
        self.inner.closed(session, reason);
    }
}

/// One shard with an endpoint at `/ws/{name}`, and its users.
fn start(fault: Fault, on_duplicate: OnDuplicate) -> (Server, Arc<Users>) {
    let inner = Named::new(NamedSettings {
        on_duplicate,
        ..NamedSettings::default()
    });
    let users = Arc::clone(inner.users());
    let around = Around {
        inner,
        fault: fault.into(),
    };
    let server = Server::start(settings(), |builder| {
        let around = builder.endpoint(EndpointSettings::default(), around);
        builder.route("/ws/{name}", around).expect("a path");
    });
    (server, users)
}

/// Requests the name. Returns the status.
fn status(client: &mut Client) -> u16 {
    client.send(upgrade("/ws/ada").as_bytes());
    client.answer().status
}

#[test]
fn a_wrapper_that_refuses_afterwards_leaves_the_name_free() {
    let (server, users) = start(Fault::RefusesAfterwards, OnDuplicate::Refuse);
    let mut client = Client::connect(server.address);
    // The wrapper asserts that the name was free each time.
    for _ in 0..3 {
        assert_eq!(status(&mut client), 403);
        assert_eq!(users.count(), 0);
    }
}

#[test]
fn a_panic_after_the_claim_leaves_the_name_free() {
    let (server, users) = start(Fault::PanicsAfterwards, OnDuplicate::Refuse);
    for _ in 0..2 {
        assert_eq!(status(&mut Client::connect(server.address)), 500);
        assert_eq!(users.count(), 0);
    }
}

#[test]
fn a_panicking_callback_closes_and_frees_the_name() {
    for fault in [Fault::PanicsWhenOpened, Fault::PanicsAtMessages] {
        let (server, users) = start(fault, OnDuplicate::Refuse);
        for _ in 0..2 {
            let mut client = server.open("/ws/ada");
            // If it is closed already this may not arrive.
            let _ = client.try_send(&frame(TEXT, b"x"));
            assert_eq!(client.expect_close(1011), "internal: endpoint failed");
            assert_eq!(users.count(), 0);
        }
    }
    let (server, users) = start(Fault::PanicsWhenClosed, OnDuplicate::Refuse);
    let mut client = server.open("/ws/ada");
    client.close(1000);
    drop(client);
    eventually("the name is free", || users.count() == 0);
}

#[test]
fn every_end_of_a_connection_frees_its_name() {
    let (server, users) = start(Fault::None, OnDuplicate::Refuse);
    type End = fn(&mut Client);
    let ends: [(&str, End); 4] = [
        ("a Close", |client| client.close(1000)),
        ("a protocol error", |client| client.send(&[0xFF, 0x80])),
        ("the end of the stream", |client| {
            let ended = client.stream.shutdown(Shutdown::Write);
            ended.expect("it is open");
        }),
        ("a reset", |client| {
            let linger = socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO));
            linger.expect("a socket");
            // The old stream is dropped with everything that was not sent.
            let peer = client.stream.peer_addr().expect("it is open");
            client.stream = TcpStream::connect(peer).expect("a connection");
        }),
    ];
    for (end, act) in ends {
        let mut client = server.open("/ws/ada");
        assert_eq!(users.connections_of("ada").len(), 1, "{end}");
        act(&mut client);
        eventually(end, || users.count() == 0);
    }
    let _closed = server.open("/ws/ada");
    let connection = users.connections_of("ada")[0];
    let handle = server.engine().handle();
    handle.close(connection, 1008, "out").expect("it takes it");
    eventually("a Close by a handle", || users.count() == 0);
    let _open = server.open("/ws/ada");
    server.stop();
    assert_eq!(users.count(), 0, "the shutdown");
}

#[test]
fn a_deferred_admission_holds_the_name_until_it_fails() {
    let (tokens, asked) = channel();
    let fault = Fault::Defers(tokens, Duration::from_secs(60));
    let (server, users) = start(fault, OnDuplicate::Refuse);
    let request = upgrade("/ws/ada");
    let next = || asked.recv().expect("an admission");

    // Granted late: until then the name is in use.
    let mut first = Client::connect(server.address);
    first.send(request.as_bytes());
    let (token, accept) = next();
    let mut second = Client::connect(server.address);
    second.send(request.as_bytes());
    let (refused, nothing) = next();
    assert!(nothing.is_none(), "the name is held");
    refused.refuse(Refused::new(409, "taken", "Taken."));
    assert_eq!(second.answer().status, 409);
    token.accept(accept.expect("it was free"));
    assert_eq!(first.answer().status, 101);
    first.close(1000);
    eventually("the first is gone", || users.count() == 0);

    // Refused late, and not answered at all.
    second.send(request.as_bytes());
    let (token, accept) = next();
    token.refuse(Refused::new(403, "no", "No."));
    assert_eq!(second.answer().status, 403);
    drop(accept);
    second.send(request.as_bytes());
    drop(next());
    assert_eq!(second.answer().status, 503);
    assert_eq!(users.count(), 0);

    // The client is gone when the answer comes.
    second.send(request.as_bytes());
    let (token, accept) = next();
    assert_eq!(users.count(), 1);
    drop(second);
    token.accept(accept.expect("it was free"));
    eventually("nobody was there to have it", || users.count() == 0);
}

#[test]
fn an_answer_that_comes_after_its_time_frees_the_name() {
    let (tokens, asked) = channel();
    let fault = Fault::Defers(tokens, Duration::ZERO);
    let (server, users) = start(fault, OnDuplicate::Refuse);
    assert_eq!(status(&mut Client::connect(server.address)), 503);
    let (token, accept) = asked.recv().expect("an admission");
    assert_eq!(users.count(), 1, "the wrapper still has it");
    token.accept(accept.expect("it was free"));
    assert_eq!(users.count(), 0, "nobody takes that answer any more");
}

#[test]
fn a_newcomer_retries_if_the_older_one_cannot_be_closed() {
    let (server, users) = start(Fault::HasNoHandle, OnDuplicate::Replace);
    let mut older = server.open("/ws/ada");
    let mut newer = Client::connect(server.address);
    newer.send(upgrade("/ws/ada").as_bytes());
    let answer = newer.answer();
    assert_eq!(
        (answer.status, answer.header("Retry-After")),
        (503, Some("1"))
    );
    older.round_trip();
    assert_eq!(users.connections_of("ada").len(), 1);
}

/// The only shard is blocked while two messages are sent to it. It handles them in the order in
/// which they came.
#[test]
fn a_replaced_client_cannot_send_even_before_its_close() {
    let ((holds, held), (go, go_on)) = (channel(), channel());
    let (server, users) = start(Fault::Holds(holds, go_on), OnDuplicate::Replace);
    let (mut older, mut bob) = (server.open("/ws/ada"), server.open("/ws/bob"));
    let mut newer = Client::connect(server.address);
    newer.send(b"GET /ws/ada HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(
        newer.answer().status,
        426,
        "it is accepted, and asks for nothing yet"
    );
    bob.text("hold it");
    held.recv().expect("it is held");
    newer.send(upgrade("/ws/ada").as_bytes());
    older.text("too late");
    go.send(()).expect("it waits");
    assert_eq!(newer.answer().status, 101);
    let (texts, code, reason) = older.until_close();
    assert_eq!((code, texts), (4001, vec!["hold it".to_owned()]));
    assert_eq!(reason, "replaced: a newer connection has this name");
    newer.text("I am ada");
    let mut heard = bob.expect_text();
    assert_eq!(heard, "I am ada");
    drop(older);
    eventually("the older one is gone", || server.view.connections() == 2);
    assert_eq!(users.connections_of("ada").len(), 1);
    newer.text("and still here");
    heard = bob.expect_text();
    assert_eq!(heard, "and still here");
}
