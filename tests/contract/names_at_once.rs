//! Hundreds of clients that request one name at the same moment, on all shards.

use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use corecast::config::OnDuplicate;
use corecast::engine::EndpointSettings;
use corecast::relay::named::{Named, NamedSettings};
use corecast::relay::users::Users;

use crate::support::client::{CLOSE, Client, PING, frame, upgrade};
use crate::support::{Server, config, eventually, settings};

const SHARDS: usize = 4;
const THREADS: usize = 8;
const CLIENTS: usize = 200;

/// An endpoint of named users on several shards, and its users.
fn start(on_duplicate: OnDuplicate) -> (Server, Arc<Users>) {
    let mut settings = settings();
    settings.shards = SHARDS;
    let named = Named::new(NamedSettings {
        on_duplicate,
        ..NamedSettings::default()
    });
    let users = Arc::clone(named.users());
    let server = Server::start(settings, |builder| {
        let named = builder.endpoint(EndpointSettings::default(), named);
        builder.route("/ws/{name}", named).expect("a path");
    });
    (server, users)
}

/// Clients that are connected on all shards but have sent nothing.
fn crowd(server: &Server) -> Vec<Client> {
    let crowd = (0..CLIENTS).map(|_| Client::connect(server.address));
    let crowd = crowd.collect();
    eventually("every shard has its part", || {
        let of_shard = |shard| server.view.shard_connections(shard) as usize;
        (0..SHARDS).all(|shard| of_shard(shard) >= CLIENTS / SHARDS / 2)
    });
    crowd
}

/// All of them request the name at once. Returns each with its status.
fn storm(crowd: Vec<Client>) -> Vec<(u16, Client)> {
    let (barrier, answered) = (Barrier::new(THREADS), Mutex::new(Vec::new()));
    let mut parts: Vec<Vec<Client>> = (0..THREADS).map(|_| Vec::new()).collect();
    for (number, client) in crowd.into_iter().enumerate() {
        parts[number % THREADS].push(client);
    }
    thread::scope(|scope| {
        for mut part in parts {
            let (barrier, answered) = (&barrier, &answered);
            scope.spawn(move || {
                let request = upgrade("/ws/ada");
                barrier.wait();
                for client in &mut part {
                    client.send(request.as_bytes());
                }
                let part = part.into_iter().map(|mut client| {
                    let answer = client.answer();
                    if answer.status == 409 {
                        assert_eq!(answer.body, b"Username already connected\n");
                    }
                    (answer.status, client)
                });
                let part: Vec<_> = part.collect();
                answered.lock().expect("no panic").extend(part);
            });
        }
    });
    answered.into_inner().expect("no panic")
}

#[test]
fn of_200_simultaneous_clients_exactly_one_gets_the_name() {
    let (server, users) = start(OnDuplicate::Refuse);
    let mut losers = crowd(&server);
    for round in 0..100 {
        let (winners, others): (Vec<_>, Vec<_>) = storm(losers)
            .into_iter()
            .partition(|(status, _)| *status == 101);
        assert_eq!((winners.len(), others.len()), (1, CLIENTS - 1), "{round}");
        assert!(others.iter().all(|(status, _)| *status == 409), "{round}");
        assert_eq!(users.connections_of("ada").len(), 1, "{round}");
        // The answer to its Close means that the name is free.
        for (_, mut winner) in winners {
            winner.close(1000);
            assert_eq!(winner.frame().opcode, CLOSE);
        }
        assert_eq!(users.count(), 0, "{round}");
        losers = others.into_iter().map(|(_, client)| client).collect();
        losers.push(Client::connect(server.address));
    }
    drop(losers);
    server.expect_empty();
}

#[test]
fn of_200_replacing_clients_one_stays_and_the_rest_are_closed() {
    let (server, users) = start(OnDuplicate::Replace);
    for _ in 0..5 {
        let crowd = storm(crowd(&server));
        assert!(crowd.iter().all(|(status, _)| *status == 101));
        assert_eq!(users.connections_of("ada").len(), 1);
        let mut staying = 0;
        for (_, mut client) in crowd {
            client.send(&frame(PING, b"still there?"));
            let frame = client.frame();
            if frame.opcode == CLOSE {
                assert_eq!(frame.payload[..2], 4001_u16.to_be_bytes());
                assert!(frame.payload[2..].starts_with(b"replaced: "), "{frame:?}");
            } else {
                staying += 1;
            }
        }
        assert_eq!(staying, 1);
        server.expect_empty();
        assert_eq!(users.count(), 0);
    }
}

#[test]
fn devices_that_share_a_name_get_each_others_messages() {
    let mut config = config(2);
    let named = config.endpoints.get_mut("named").expect("built in");
    let named = named.named_mut().expect("its options");
    named.on_duplicate = OnDuplicate::Share;
    let server = Server::relay(&config);
    let mut devices = [server.open("/ws/ada"), server.open("/ws/ada")];
    let mut bob = server.open("/ws/bob");
    devices[0].text("from my phone");
    assert_eq!(devices[1].expect_text(), "from my phone");
    assert_eq!(bob.expect_text(), "from my phone");
    // It does not get its own message: the next one is bob's.
    bob.text("to all of ada");
    for device in &mut devices {
        assert_eq!(device.expect_text(), "to all of ada");
    }
}
