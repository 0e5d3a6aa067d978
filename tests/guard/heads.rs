//! Decisions based on the head of a plain request are made before its body is read, and only once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corecast::engine::{
    Answer, Endpoint, EndpointSettings, HeadVerdict, Request, Responder, Service, Session,
};
use corecast::guard::{self, Guard, GuardSettings, Guarded, Identity};
use corecast::hooks::Hooks;
use corecast::wire::decoder::Message;
use corecast::wire::http::Response;

use super::support::client::Client;
use super::support::{Server, settings};
use super::{bearer, plain_token, refused, secret_auth, signed};

/// Answers with the user's name and the length of the body. Counts its calls.
#[derive(Clone, Default)]
struct Reader {
    heads: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Endpoint for Reader {
    type State = ();
    type Local = ();

    fn message(&self, _session: &mut Session<'_>, _message: Message<'_>) {}
}

impl Service for Reader {
    fn methods(&self) -> &'static [&'static str] {
        &["POST"]
    }

    fn check_head(&self, request: &Request<'_>, _: &mut Responder<'_>) -> HeadVerdict {
        self.heads.fetch_add(1, Ordering::Relaxed);
        match request.head.path {
            "/gone" => HeadVerdict::Answered(Answer::Now(Response::text(410, "gone\n"))),
            _ => HeadVerdict::Open,
        }
    }

    fn request(&self, request: &Request<'_>, _responder: &mut Responder<'_>) -> Answer {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let user = request.context::<Identity>();
        let user = user.and_then(|identity| identity.user.as_deref());
        let text = format!("{} {}", user.unwrap_or("nobody"), request.body.len());
        Answer::Now(Response::text(200, text))
    }
}

fn server(reader: &Reader) -> Server {
    let guard = Guard::new(GuardSettings {
        auth: Some(secret_auth()),
        ..GuardSettings::default()
    });
    Server::start(settings(), |builder| {
        let inner = Hooks::around(reader.clone());
        let guarded = Guarded::new(inner, guard.expect("no files"));
        let id = builder.endpoint_and_service(EndpointSettings::default(), guarded);
        builder.route("/**", id).expect("a path");
    })
}

fn post(path: &str, headers: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n")
}

#[test]
fn without_credentials_no_body_is_waited_for() {
    let reader = Reader::default();
    let server = server(&reader);
    for length in [
        "Content-Length: 1000000\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        for headers in ["", "Expect: 100-continue\r\n"] {
            let mut client = Client::connect(server.address);
            client.send(post("/", &format!("{length}{headers}")).as_bytes());
            assert_eq!(client.answer().status, 401, "{length}{headers}");
            // Further input is ignored.
            let _ = client.try_send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n");
            client.expect_end();
        }
    }
    assert_eq!(refused(&server, guard::NO_CREDENTIALS), 4);
    assert_eq!(reader.heads.load(Ordering::Relaxed), 0);
    // A body changes nothing: there is no second attempt on the connection.
    for body in [
        "Content-Length: 4\r\n\r\nbody",
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let head = post("/", "");
        let mut client = Client::connect(server.address);
        client.send(format!("{}{body}", head.strip_suffix("\r\n").expect("an end")).as_bytes());
        assert_eq!(client.answer().status, 401);
        client.expect_end();
    }
    assert_eq!(refused(&server, guard::NO_CREDENTIALS), 6);
}

#[test]
fn a_head_is_judged_once_in_whatever_pieces_its_body_comes() {
    let reader = Reader::default();
    let server = server(&reader);
    let token = bearer(&signed(&plain_token()));
    let mut client = Client::connect(server.address);
    let lengths = [
        ("Content-Length: 10\r\n", "0123456789"),
        (
            "Transfer-Encoding: chunked\r\n",
            "4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n",
        ),
    ];
    let (mut heads, mut requests) = (0, 0);
    for (length, body) in lengths {
        for in_pieces in [true, false] {
            let head = post("/", &format!("{token}{length}"));
            if in_pieces {
                let waits = format!("{token}{length}Expect: 100-continue\r\n");
                client.send(post("/", &waits).as_bytes());
                assert_eq!(client.answer().status, 100, "{length}");
                for byte in body.bytes() {
                    client.send(&[byte]);
                }
            } else {
                client.send(format!("{head}{body}").as_bytes());
            }
            assert_eq!(client.answer().body, b"ada 10", "{length}");
            requests += 1;
            // A request that comes as a whole is not judged early.
            heads += usize::from(in_pieces);
            assert_eq!(reader.heads.load(Ordering::Relaxed), heads);
            assert_eq!(reader.requests.load(Ordering::Relaxed), requests);
        }
    }
    // The guard admits it, and the endpoint answers by the head.
    client.send(post("/gone", &format!("{token}Content-Length: 1000\r\n")).as_bytes());
    assert_eq!(client.answer().status, 410);
    client.expect_end();
    assert_eq!(reader.requests.load(Ordering::Relaxed), requests);
}
