//! Hooks that allow, drop and change messages.
//!
//! `cargo run --example hooks_messages`, then connect some clients to `ws://127.0.0.1:8080/`. A
//! repeated message is dropped, `darn` becomes `****`, and everything else is passed on unchanged.
//! The end of standard input ends the program.

use std::net::SocketAddr;

use corecast::engine::{Client, EndpointSettings, Engine, Settings, StartError};
use corecast::hooks::{Hooks, Verdict};
use corecast::relay::hub::Hub;
use corecast::wire::decoder::Message;

/// The last message of a connection.
struct Said(Vec<u8>);

fn drop_repetitions(client: &mut Client<'_>, message: Message<'_>) -> Verdict {
    let said = client.attached::<Said>();
    if said.is_some_and(|said| said.0 == message.payload) {
        return Verdict::Drop;
    }
    client.attach(Said(message.payload.to_vec()));
    Verdict::Allow
}

fn mind_the_language(_client: &mut Client<'_>, message: Message<'_>) -> Verdict {
    match std::str::from_utf8(message.payload) {
        Ok(text) if text.contains("darn") => Verdict::Text(text.replace("darn", "****")),
        _ => Verdict::Allow,
    }
}

/// Starts it on `listen`.
pub fn start(listen: SocketAddr) -> Result<Engine, StartError> {
    let hub = Hooks::around(Hub { echo: true })
        .on_message(drop_repetitions)
        .on_message(mind_the_language);
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
    println!("ws://{}/", engine.addresses()[0]);
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    engine.stop();
    Ok(())
}
