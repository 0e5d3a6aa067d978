//! A refused client takes nothing from the others: neither a slot nor much time.
//!
//! The deadlines of the settings are a minute, so an earlier end comes from the rules for refused
//! connections.

use std::time::Duration;

use corecast::engine::{
    Answer, Endpoint, EndpointSettings, Refusal, Request, Responder, Service, Session, Settings,
};
use corecast::wire::decoder::Message;
use corecast::wire::http::Response;

use crate::support::client::{Client, upgrade};
use crate::support::{Server, eventually, settings};

const PLAIN: &str = "GET /x HTTP/1.1\r\nHost: test\r\n\r\n";

/// A hub with very long deadlines.
fn server(change: impl FnOnce(&mut Settings)) -> Server {
    let mut settings = settings();
    settings.timeouts.handshake = Duration::from_secs(60);
    settings.timeouts.close = Duration::from_secs(60);
    change(&mut settings);
    Server::hub(settings, EndpointSettings::default())
}

fn refused(server: &Server, refusal: Refusal) -> u64 {
    server.sum(|stats| stats.refused.get(refusal))
}

/// Connections before and without a WebSocket.
fn connecting(server: &Server) -> u64 {
    server.sum(|stats| stats.connecting.get())
}

#[test]
#[cfg(target_os = "linux")]
fn connections_over_an_addresss_limit_do_not_affect_others() {
    for shards in [1, 2] {
        let server = server(|settings| {
            settings.shards = shards;
            settings.connections_max = Some(4);
            settings.connections_per_ip_max = Some(2);
            settings.refusing_max = 64;
        });
        let mut members = [server.open("/"), server.open("/")];
        let mut greedy: Vec<Client> = (0..200).map(|_| Client::connect(server.address)).collect();
        eventually("all of them are judged", || {
            refused(&server, Refusal::ConnectionsPerAddress) == 200
        });
        assert_eq!(server.view.connections(), 2);
        for last in [2, 3] {
            let mut other = Client::connect_from(last, server.address);
            other.send(upgrade("/").as_bytes());
            assert_eq!(other.answer().status, 101);
            other.text("to all");
            for member in &mut members {
                assert_eq!(member.expect_text(), "to all");
            }
            drop(other);
        }
        // All get an answer, even without a request.
        for client in &mut greedy {
            assert_eq!(client.answer().status, 429);
            client.expect_end();
        }
    }
}

#[test]
fn past_the_places_for_the_refused_the_answer_comes_unasked() {
    for shards in [1, 2] {
        let server = server(|settings| {
            settings.shards = shards;
            settings.connections_max = Some(1);
            settings.refusing_max = 2;
        });
        let mut member = server.open("/");
        let mut crowd: Vec<Client> = (0..100).map(|_| Client::connect(server.address)).collect();
        eventually("all are judged", || {
            refused(&server, Refusal::Connections) == 100
        });
        assert!(connecting(&server) <= 2);
        for client in &mut crowd {
            let answer = client.answer();
            assert_eq!(answer.status, 503);
            assert_eq!(answer.header("retry-after"), Some("5"));
            client.expect_end();
        }
        assert_eq!(refused(&server, Refusal::Connections), 100);
        member.round_trip();
    }
}

/// Answers with its own text, and answers probes even if the relay is full.
struct Probe;

impl Endpoint for Probe {
    type State = ();
    type Local = ();

    fn message(&self, _session: &mut Session<'_>, _message: Message<'_>) {}
}

impl Service for Probe {
    fn is_probe(&self) -> bool {
        true
    }

    fn request(&self, _request: &Request<'_>, _responder: &mut Responder<'_>) -> Answer {
        Answer::Now(Response::text(200, "alive\n"))
    }
}

#[test]
fn requests_are_answered_despite_many_silent_clients() {
    let mut settings = settings();
    settings.timeouts.handshake = Duration::from_secs(60);
    settings.connections_max = Some(1);
    settings.refusing_max = 8;
    let server = Server::start(settings, |builder| {
        let probe = builder.endpoint_and_service(EndpointSettings::default(), Probe);
        builder.render_refusals(probe, |refused| {
            refused.to_text().with_header("Code", refused.code)
        });
        builder.route("/**", probe).expect("a path");
    });
    let mut member = server.open("/");
    for count in 1..20 {
        let silent: Vec<Client> = (0..4).map(|_| Client::connect(server.address)).collect();
        eventually("they are judged", || {
            refused(&server, Refusal::Connections) >= 6 * count - 2
        });
        // The turn in which they came is over.
        member.round_trip();
        let mut probe = Client::connect(server.address);
        probe.send(PLAIN.as_bytes());
        let answer = probe.answer();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("connection"), Some("close"));
        member.round_trip();
        let mut client = Client::connect(server.address);
        client.send(upgrade("/").as_bytes());
        let answer = client.answer();
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("code"), Some("connections"));
        drop(silent);
    }
    member.round_trip();
}

#[test]
fn a_silent_refused_client_is_answered_soon_and_counted_once() {
    let server = server(|settings| settings.connections_max = Some(1));
    let mut member = server.open("/");
    for sent in ["", "GET /half HTTP/1.1\r\nHost"] {
        let before = refused(&server, Refusal::Connections);
        let mut client = Client::connect(server.address);
        client.send(sent.as_bytes());
        let answer = client.answer();
        assert_eq!(answer.status, 503, "{sent:?}");
        client.expect_end();
        assert_eq!(refused(&server, Refusal::Connections), before + 1);
    }
    assert_eq!(refused(&server, Refusal::HandshakeTimeout), 0);
    member.round_trip();
}

#[test]
fn a_refused_client_that_stays_is_dropped_soon() {
    let server = server(|settings| settings.connections_max = Some(1));
    let mut member = server.open("/");
    let mut client = Client::connect(server.address);
    client.send(PLAIN.as_bytes());
    assert_eq!(client.answer().status, 503);
    client.expect_end();
    // It keeps its side open.
    eventually("it does not linger", || {
        server.sum(|stats| stats.closing.get()) == 0
    });
    member.round_trip();
}

#[test]
fn a_freed_slot_goes_to_the_next_client_despite_refusals() {
    let server = server(|settings| {
        settings.shards = 2;
        settings.connections_max = Some(3);
    });
    let mut members: Vec<Client> = (0..3).map(|_| server.open("/")).collect();
    let mut refusing = Vec::new();
    for round in 0..10 {
        refusing.extend((0..8).map(|_| Client::connect(server.address)));
        eventually("they are judged", || {
            refused(&server, Refusal::Connections) >= 8 * (round + 1)
        });
        members.remove(0);
        eventually("a place is free", || server.view.connections() == 2);
        members.push(server.open("/"));
    }
    for member in &mut members {
        member.round_trip();
    }
}

#[test]
fn lingering_connections_have_slots_of_their_own() {
    let server = server(|settings| {
        settings.connections_max = Some(1);
        settings.refusing_max = 1;
    });
    let linger = || {
        let mut client = Client::connect(server.address);
        client.send(b"GET /x HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        assert_eq!(client.answer().status, 426);
        client.expect_end();
        client
    };
    let first = linger();
    eventually("its place is free", || server.view.connections() == 0);
    let second = linger();
    assert_eq!(server.view.connections(), 1, "it keeps its own");
    // A client that is still to be refused gets the slot of one that has its answer.
    for _ in 0..3 {
        let mut client = Client::connect(server.address);
        client.send(PLAIN.as_bytes());
        assert_eq!(client.answer().status, 503);
    }
    eventually("the first is let go", || {
        server.sum(|stats| stats.closing.get()) == 1
    });
    drop(second);
    eventually("its place is free", || server.view.connections() == 0);
    let mut member = server.open("/");
    member.round_trip();
    drop((first, member));
    server.expect_empty();
}
