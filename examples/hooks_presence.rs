//! Presence: hooks for the start and the end of a connection, each called exactly once.
//!
//! `cargo run --example hooks_presence`, then connect some clients to `ws://127.0.0.1:8080/lobby`
//! or any other path, with `?name=ada`. Everybody in the room is told who joins and who leaves, and
//! why. The name is context of the connection: it ends with it. The end of standard input ends the
//! program.

use std::net::SocketAddr;

use corecast::engine::{Client, EndpointSettings, Engine, Settings, StartError};
use corecast::fanout::Recipients;
use corecast::hooks::Hooks;
use corecast::relay::hub::Hub;
use corecast::wire::frame::MessageKind;

/// A connection's user and room.
#[derive(Clone)]
struct Guest {
    name: String,
    room: String,
}

fn tell_others(client: &mut Client<'_>, guest: &Guest, what: &str) {
    let line = format!("{} {what}", guest.name);
    let others = Recipients::Except(client.id());
    client.publish_to(&guest.room, others, MessageKind::Text, line.as_bytes());
}

/// Starts it on `listen`.
pub fn start(listen: SocketAddr) -> Result<Engine, StartError> {
    let hub = Hooks::around(Hub { echo: true })
        .on_connect(|client, request| {
            let query = request.head.query.unwrap_or_default();
            let guest = Guest {
                name: query.strip_prefix("name=").unwrap_or("somebody").to_owned(),
                room: request.head.path.to_owned(),
            };
            tell_others(client, &guest, "is here");
            client.attach(guest);
        })
        .on_disconnect(|client, reason| {
            if let Some(guest) = client.attached::<Guest>().cloned() {
                tell_others(client, &guest, &format!("has gone: {}", reason.label()));
            }
        });
    let mut builder = Engine::builder().settings(Settings {
        listen: vec![listen.into()],
        ..Settings::default()
    });
    let id = builder.endpoint(EndpointSettings::default(), hub);
    builder.route("/**", id)?;
    builder.start()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = start(SocketAddr::from(([127, 0, 0, 1], 8080)))?;
    println!("ws://{}/lobby?name=ada", engine.addresses()[0]);
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    engine.stop();
    Ok(())
}
