//! Every limit from outside: input over it is refused, and input within it is not affected.

use std::time::Duration;

use corecast::engine::{Endpoint, EndpointSettings, JoinError, Network, Refusal, Session};
use corecast::wire::decoder::Message;

use crate::support::client::{BINARY, Client, FIN, TEXT, fragment, frame, upgrade};
use crate::support::{Server, eventually, settings};

fn refused(server: &Server, refusal: Refusal) -> u64 {
    server.sum(|stats| stats.refused.get(refusal))
}

#[test]
fn connections_over_the_limit_get_503_before_the_upgrade() {
    for shards in [1, 2] {
        let mut settings = settings();
        settings.shards = shards;
        settings.connections_max = Some(4);
        let server = Server::hub(settings, EndpointSettings::default());
        let mut members: Vec<Client> = (0..4).map(|_| server.open("/")).collect();
        let mut fifth = Client::connect(server.address);
        fifth.send(upgrade("/").as_bytes());
        let answer = fifth.answer();
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("retry-after"), Some("5"));
        fifth.expect_end();
        assert_eq!(refused(&server, Refusal::Connections), 1);
        drop((members.pop(), fifth));
        eventually("a place is free", || server.view.connections() == 3);
        members.push(server.open("/"));
        members[0].text("to all");
        for member in &mut members {
            assert_eq!(member.expect_text(), "to all");
        }
    }
}

#[test]
fn over_the_limit_of_an_address_the_answer_is_429() {
    let mut settings = settings();
    settings.connections_per_ip_max = Some(2);
    let server = Server::hub(settings, EndpointSettings::default());
    let members = [server.open("/"), server.open("/")];
    let mut third = Client::connect(server.address);
    third.send(upgrade("/").as_bytes());
    let answer = third.answer();
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(refused(&server, Refusal::ConnectionsPerAddress), 1);
    drop((members, third));
    eventually("they are gone", || server.view.connections() == 0);
    server.open("/").round_trip();
}

#[test]
fn the_limit_of_an_address_does_not_hold_for_exempt_networks() {
    let mut settings = settings();
    settings.connections_per_ip_max = Some(1);
    settings.exempt_networks = vec![Network::LOOPBACK_V4];
    let server = Server::hub(settings, EndpointSettings::default());
    let mut members: Vec<Client> = (0..4).map(|_| server.open("/")).collect();
    for member in &mut members {
        member.round_trip();
    }
}

#[test]
fn a_path_that_is_too_long_for_a_room_is_1008() {
    let mut settings = settings();
    settings.limits.room_name_bytes = 8;
    let server = Server::hub(settings, EndpointSettings::default());
    server.open("/1234567").round_trip();
    let reason = server.open("/12345678").expect_close(1008);
    assert_eq!(reason, "room: the room's name is too long");
    server.expect_empty();
}

/// Joins the room that a message names, and reports the result.
struct Joiner;

impl Endpoint for Joiner {
    type State = ();
    type Local = ();

    fn message(&self, session: &mut Session<'_>, message: Message<'_>) {
        let name = String::from_utf8_lossy(message.payload);
        let answer = match name.strip_prefix('-') {
            Some(_) => {
                let first = session.rooms().next();
                first.into_iter().for_each(|room| session.leave(room));
                "left"
            }
            None => match session.join(&name) {
                Ok(_) => "joined",
                Err(JoinError::TooManyRooms) => "too many",
                Err(_) => "refused",
            },
        };
        session.send(message.kind, answer.as_bytes());
    }
}

#[test]
fn a_connection_has_so_many_rooms_and_no_more() {
    let mut settings = settings();
    settings.limits.rooms_per_connection = 2;
    let server = Server::start(settings, |builder| {
        let id = builder.endpoint(EndpointSettings::default(), Joiner);
        builder.route("/", id).unwrap();
    });
    let mut client = server.open("/");
    let script = [
        ("a", "joined"),
        ("b", "joined"),
        ("b", "joined"),
        ("c", "too many"),
        ("-", "left"),
        ("c", "joined"),
        ("d", "too many"),
    ];
    for (name, answer) in script {
        client.text(name);
        assert_eq!(client.expect_text(), answer, "{name}");
    }
    assert_eq!(server.view.rooms(), 2);
    drop(client);
    server.expect_empty();
}

#[test]
fn over_the_partial_message_limit_the_largest_is_closed() {
    let mut settings = settings();
    settings.limits.inbound_bytes = 400_000;
    let server = Server::hub(settings, EndpointSettings::default());
    let mut small = server.open("/small");
    small.send(&fragment(TEXT, &[b's'; 1_000]));
    small.round_trip();
    // Closing clients keep their end of the stream open: they must not count any more.
    let mut gone = Vec::new();
    for round in 0..4 {
        let mut medium = server.open("/medium");
        medium.send(&fragment(BINARY, &[0; 40_000]));
        medium.round_trip();
        let mut largest = server.open("/largest");
        largest.send(&fragment(BINARY, &[0; 500_000]));
        let reason = largest.expect_close(1009);
        assert_eq!(reason, "memory: too many partial messages", "round {round}");
        eventually("the memory is given back at once", || {
            server.view.inbound_bytes() < 100_000
        });
        medium.send(&fragment(FIN, b"end"));
        assert_eq!(medium.frame().payload.len(), 40_003, "round {round}");
        gone.push(largest);
    }
    assert_eq!(
        server.sum(|stats| stats.closing.get()),
        4,
        "all of them linger"
    );
    small.send(&fragment(FIN, b"end"));
    assert_eq!(small.frame().payload.len(), 1_003);
}

#[test]
fn a_message_that_is_not_finished_in_time_is_1008() {
    let mut settings = settings();
    settings.timeouts.message = Duration::from_millis(300);
    let server = Server::hub(settings, EndpointSettings::default());
    let mut idle = server.open("/");
    for unfinished in [&fragment(TEXT, b"a")[..], &frame(TEXT, b"abc")[..5]] {
        let mut client = server.open("/");
        client.send(unfinished);
        assert_eq!(client.expect_close(1008), "timeout: message not finished");
        client.expect_end();
    }
    // Nor is a client closed that has completed its message.
    idle.text("done");
    assert_eq!(idle.expect_text(), "done");
    idle.round_trip();
}
