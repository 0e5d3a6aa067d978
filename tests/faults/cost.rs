//! Rooms in great number that are created and removed.

use crate::stage::Stage;
use crate::support::client::{TEXT, frame};
use crate::support::eventually;

const SUBSCRIBERS: usize = 4;
const ROOMS_EACH: usize = 25_000;
const RESIDENT: &str = "process_resident_memory_bytes";

/// A stage with an endpoint for many rooms on one connection.
fn stage() -> Stage {
    Stage::start(&[
        "endpoints.pubsub.kind=pubsub",
        "endpoints.pubsub.path=/pubsub",
        "limits.rooms_per_connection=100000",
    ])
}

#[test]
fn a_hundred_thousand_rooms_that_come_and_go() {
    let stage = stage();
    let before = stage.metrics();
    let mut clients: Vec<_> = (0..SUBSCRIBERS).map(|_| stage.open("/pubsub")).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let subscribe = |room| format!(r#"{{"type":"subscribe","room":"{number}/{room}"}}"#);
        let requests = (0..ROOMS_EACH).map(|room| frame(TEXT, subscribe(room).as_bytes()));
        client.send(&requests.flatten().collect::<Vec<u8>>());
        client.text(r#"{"type":"ping","id":1}"#);
        client.expect_text();
    }
    let rooms = stage.metrics().value("corecast_rooms") - before.value("corecast_rooms");
    assert_eq!(rooms, (SUBSCRIBERS * ROOMS_EACH) as f64);
    stage.witness.goes_on();
    // It stays after them, with a room that came last.
    let stays = stage.open("/stays");
    for client in clients {
        stage.leave(client);
    }
    stage.witness.goes_on();
    let most = 2.0 * before.value(RESIDENT);
    eventually("the memory of the rooms is given back", || {
        stage.metrics().value(RESIDENT) <= most
    });
    stage.leave(stays);
    stage.end(&[]);
}
