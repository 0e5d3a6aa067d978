//! Authentication within an open connection.
//!
//! `cargo run --example hooks_login`, then connect to `ws://127.0.0.1:8080/`. Everybody may listen;
//! to speak, a client sends `login ada-secret` first, and is Ada from then on. The end of standard
//! input ends the program.

use std::net::SocketAddr;

use corecast::engine::{Client, EndpointSettings, Engine, Settings, StartError};
use corecast::hooks::{Hooks, Verdict};
use corecast::relay::hub::Hub;
use corecast::wire::decoder::Message;
use corecast::wire::frame::MessageKind;

/// The identity that a connection has proven.
struct User(String);

fn let_users_speak(client: &mut Client<'_>, message: Message<'_>) -> Verdict {
    let Ok(text) = std::str::from_utf8(message.payload) else {
        return Verdict::Drop;
    };
    if let Some(token) = text.strip_prefix("login ") {
        log_in(client, token);
        return Verdict::Drop;
    }
    match client.attached::<User>() {
        Some(User(name)) => Verdict::Text(format!("{name}: {text}")),
        None => {
            client.send(MessageKind::Text, b"Log in first: login NAME-secret");
            Verdict::Drop
        }
    }
}

/// An asynchronous lookup would answer through a [`corecast::engine::Handle`]; this one is
/// immediate.
fn log_in(client: &mut Client<'_>, token: &str) {
    let Some(name) = token.strip_suffix("-secret") else {
        return client.close(1008, "auth: nobody knows you");
    };
    client.attach(User(name.to_owned()));
    client.send(MessageKind::Text, format!("Welcome, {name}").as_bytes());
}

/// Starts it on `listen`.
pub fn start(listen: SocketAddr) -> Result<Engine, StartError> {
    let hub = Hooks::around(Hub { echo: true })
        .on_connect(|client, _| client.send(MessageKind::Text, b"Who are you?"))
        .on_message(let_users_speak);
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
