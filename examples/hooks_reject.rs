//! Admission: a hook that rejects connections before they are WebSockets.
//!
//! `cargo run --example hooks_reject`, then connect to `ws://127.0.0.1:8080/` with any client.
//! Clients that send the header `X-Bot`, in upper or lower case, get a 403; beyond ten guests,
//! clients get the default: 429 with `Retry-After`. The end of standard input ends the program.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corecast::engine::{EndpointSettings, Engine, Refused, Settings, StartError};
use corecast::hooks::{Hooks, rejection};
use corecast::relay::hub::Hub;

/// Starts it on `listen` with room for this many guests.
pub fn start(listen: SocketAddr, guests_max: usize) -> Result<Engine, StartError> {
    let guests = Arc::new(AtomicUsize::new(0));
    let (inside, comes, goes) = (Arc::clone(&guests), Arc::clone(&guests), guests);
    let hub = Hooks::around(Hub { echo: true })
        .reject_connection(|request| match request.head.header("x-bot") {
            Some(_) => Err(Refused::new(403, "no_bots", "People only.")),
            None => Ok(()),
        })
        .reject_connection(move |_| {
            if inside.load(Ordering::Relaxed) < guests_max {
                return Ok(());
            }
            Err(rejection("All seats are taken."))
        })
        .on_connect(move |_, _| {
            comes.fetch_add(1, Ordering::Relaxed);
        })
        .on_disconnect(move |_, _| {
            goes.fetch_sub(1, Ordering::Relaxed);
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
    let engine = start(SocketAddr::from(([127, 0, 0, 1], 8080)), 10)?;
    println!("ws://{}/", engine.addresses()[0]);
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    engine.stop();
    Ok(())
}
