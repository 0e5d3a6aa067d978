//! Filtering: a veto for each recipient, before a frame is queued for it.
//!
//! `cargo run --example hooks_veto`, then connect some clients to `ws://127.0.0.1:8080/?name=ada`,
//! each with a name of its own. A client that sends `/block bob` no longer gets Bob's messages; the
//! others still do. The end of standard input ends the program.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use corecast::engine::{Client, EndpointSettings, Engine, Settings, StartError};
use corecast::fanout::Filter;
use corecast::hooks::{Hooks, Verdict};
use corecast::relay::hub::Hub;
use corecast::wire::decoder::Message;

/// A user, and the users whose messages it has blocked.
struct Guest {
    name: String,
    blocked: HashSet<String>,
}

fn take_commands(client: &mut Client<'_>, message: Message<'_>) -> Verdict {
    let Some(name) = message.payload.strip_prefix(b"/block ") else {
        return Verdict::Allow;
    };
    let name = String::from_utf8_lossy(name).into_owned();
    if let Some(guest) = client.attached::<Guest>() {
        guest.blocked.insert(name);
    }
    Verdict::Drop
}

/// Called for each recipient on its own shard, so it sees the recipient's current block list.
fn not_to_who_blocked_it(client: &mut Client<'_>, _message: Message<'_>) -> Option<Filter> {
    let sender = client.attached::<Guest>()?.name.clone();
    Some(Arc::new(move |recipient| {
        let guest = recipient.attached::<Guest>();
        guest.is_none_or(|guest| !guest.blocked.contains(&sender))
    }))
}

/// Starts it on `listen`.
pub fn start(listen: SocketAddr) -> Result<Engine, StartError> {
    let hub = Hooks::around(Hub { echo: true })
        .on_connect(|client, request| {
            let query = request.head.query.unwrap_or_default();
            client.attach(Guest {
                name: query.strip_prefix("name=").unwrap_or("somebody").to_owned(),
                blocked: HashSet::new(),
            });
        })
        .on_message(take_commands)
        .veto(not_to_who_blocked_it);
    let mut builder = Engine::builder().settings(Settings {
        listen: vec![listen.into()],
        shards: 2,
        ..Settings::default()
    });
    let id = builder.endpoint(EndpointSettings::default(), hub);
    builder.route("/**", id)?;
    builder.start()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = start(SocketAddr::from(([127, 0, 0, 1], 8080)))?;
    println!("ws://{}/?name=ada", engine.addresses()[0]);
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    engine.stop();
    Ok(())
}
