//! Ready-made policies with khatru's numbers: three lines instead of a configuration.
//!
//! `cargo run --example hooks_policies`, then connect to `ws://127.0.0.1:8080/` with any client.
//! Ten connections a second and twenty at once from one address; five messages at once, of at most
//! 1,000 bytes, text only; under `/listen/` clients only listen. The end of standard input ends the
//! program.

use std::net::SocketAddr;

use corecast::engine::{Engine, Settings, StartError, TokenRate};
use corecast::hooks::Hooks;
use corecast::hooks::policies::{
    ConnectRate, Excess, MessageBytes, MessageRate, ReadOnly, TextOnly, khatru,
};
use corecast::relay::hub::Hub;

/// Starts it on `listen`.
pub fn start(listen: SocketAddr) -> Result<Engine, StartError> {
    let hub = Hooks::around(Hub { echo: true })
        .with(ConnectRate::default())
        .with(ReadOnly::paths(|path| path.starts_with("/listen/")))
        .with(TextOnly)
        .with(MessageBytes {
            max: 1_000,
            excess: Excess::Close,
        })
        .with(MessageRate::new(TokenRate::new(1, 5), Excess::Drop));
    let mut builder = Engine::builder().settings(Settings {
        listen: vec![listen.into()],
        ..Settings::default()
    });
    let id = builder.endpoint(khatru(), hub);
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
