//! A peak leaves nothing behind: rooms, connections, addresses and users come in great number and
//! go, and the process holds as much as before.
//!
//! It is a test binary of its own because it replaces the allocator of the process.

use std::alloc::System;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use corecast::engine::{EndpointSettings, Keepalive, Limits, Settings, TokenRate};
use corecast::relay::named::{Named, NamedSettings};
use corecast::relay::pubsub::PubSub;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use corecast_test::client::{Client, TEXT, frame};
use corecast_test::{Server, eventually, polled, settings};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SUBSCRIBERS: u32 = 400;
const ROOMS_EACH: u32 = 256;
const USERS: u32 = 1_200;

/// The memory of the process, in bytes.
fn held() -> usize {
    let stats = GLOBAL.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Both ends of every connection are in this process.
fn raise_open_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let wanted = 3 * u64::from(SUBSCRIBERS + USERS);
    assert!(maximum.is_none_or(|files| files >= wanted), "too few files");
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("the hard limit is allowed");
}

fn start() -> Server {
    let settings = Settings {
        shards: 2,
        connections_per_ip_max: Some(1_000),
        connects_per_ip: Some(TokenRate::new(1_000, 1_000)),
        limits: Limits {
            rooms_per_connection: 2 * ROOMS_EACH as usize,
            ..Limits::default()
        },
        ..settings()
    };
    // Nothing may be sent without a request.
    let endpoint = EndpointSettings {
        keepalive: Keepalive {
            ping: Duration::ZERO,
            pong: Duration::ZERO,
        },
        ..EndpointSettings::default()
    };
    Server::start(settings, |builder| {
        let pubsub = builder.endpoint(endpoint, PubSub { echo: true });
        builder.route("/pubsub", pubsub).expect("a path");
        let named = builder.endpoint(endpoint, Named::new(NamedSettings::default()));
        builder.route("/ws/{name}", named).expect("a path");
    })
}

/// Connects from an address of its own.
fn connect(address: SocketAddr, number: u32) -> Client {
    let own = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + 256 + number);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let own = SocketAddr::from((own, 0));
    socket.bind(&own.into()).expect("an address of loopback");
    socket.connect(&address.into()).expect("a connection");
    Client::from(TcpStream::from(socket))
}

/// Subscribes to this many rooms, the first of which is `first`, and to half of them only for a
/// moment.
fn subscribe(client: &mut Client, first: u32, rooms: u32) {
    let request = |kind: &str, room: u32| {
        let request = format!(r#"{{"type":"{kind}","room":"room {room}"}}"#);
        frame(TEXT, request.as_bytes())
    };
    let rooms = first..first + rooms;
    let joins = rooms.clone().flat_map(|room| request("subscribe", room));
    let leaves = rooms
        .step_by(2)
        .flat_map(|room| request("unsubscribe", room));
    client.send(&joins.chain(leaves).collect::<Vec<u8>>());
    client.text(r#"{"type":"ping","id":1}"#);
    client.expect_text();
}

/// Every `nth` comes; then `latecomer` comes and stays; then the others leave.
fn peak(server: &Server, latecomer: u32, nth: u32) -> Client {
    let before = server.view.connections();
    let mut clients: Vec<Client> = (0..SUBSCRIBERS / nth)
        .map(|number| connect(server.address, number).upgraded("/pubsub"))
        .collect();
    for (number, client) in (0..).zip(&mut clients) {
        subscribe(client, number * ROOMS_EACH, ROOMS_EACH);
    }
    let users = (0..USERS / nth).map(|number| {
        let client = connect(server.address, SUBSCRIBERS + number);
        client.upgraded(&format!("/ws/user{number}"))
    });
    clients.extend(users);
    let mut stays = connect(server.address, latecomer).upgraded("/pubsub");
    subscribe(&mut stays, u32::MAX - 2 * latecomer, 2);
    let rooms = (SUBSCRIBERS / nth * ROOMS_EACH / 2) as usize;
    assert!(server.view.rooms() > rooms, "{}", server.view.rooms());
    drop(clients);
    eventually("they are gone", || server.view.connections() == before + 1);
    stays
}

#[test]
fn memory_is_released_with_rooms_and_connections() {
    raise_open_files();
    let server = start();
    // A few, so that every shard has its permanent state.
    let mut stay = vec![peak(&server, 1, 100), peak(&server, 2, 100)];
    eventually("every shard has served", || {
        server.view.shards().all(|stats| stats.opened.get() > 2)
    });
    stay.iter_mut().for_each(Client::round_trip);
    let before = held();
    for latecomer in 3..=4 {
        stay.push(peak(&server, latecomer, 1));
        let most = before + before / 5;
        let returns = polled(|| held() <= most);
        let after = held();
        println!("{before} bytes before, {after} after peak {latecomer}");
        assert!(
            returns,
            "{after} bytes after peak {latecomer}, {before} before"
        );
    }
    for client in &mut stay {
        client.round_trip();
    }
}
