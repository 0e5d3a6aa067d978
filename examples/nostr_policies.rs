//! A Nostr relay with khatru's usual policies, in about a page.
//!
//! `cargo run --example nostr_policies`, then use `ws://127.0.0.1:8080/` in any Nostr client. The
//! relay takes profiles, notes and reactions of a sensible size, and answers filters that name
//! somebody. Clients on other machines may not be too busy. The end of standard input ends the
//! program.

use std::net::SocketAddr;
use std::time::Duration;

use corecast::engine::{Engine, Settings, StartError};
use corecast::hooks::policies::khatru;
use corecast::relay::nostr::policies::{self, Rate};
use corecast::relay::nostr::{self, HookList, Nostr, NostrSettings};

/// The hooks, in the order in which they are called.
fn hooks() -> HookList {
    let day = Duration::from_secs(24 * 3_600);
    HookList::new()
        // No media in base64, no complex filters, and limits for each address.
        .with_all(policies::sane_defaults())
        .reject_event(policies::restrict_to_specified_kinds(
            true,
            [0, 1, 3, 5, 7, 10_002],
        ))
        .reject_event(policies::validate_kind)
        .reject_event(policies::prevent_too_many_indexable_tags(10, [3], []))
        .reject_event(policies::prevent_large_tags(120))
        .reject_event(policies::prevent_large_content(16 << 10))
        .reject_event(policies::prevent_timestamps_in_the_past(365 * day))
        .with(policies::event_pubkey_rate_limiter(Rate::new(500, day, 50)))
        .overwrite_filter(policies::remove_all_but_tags(['a', 'd', 'e', 'p', 't']))
        .reject_filter(policies::no_empty_filters)
        .reject_filter(policies::anti_sync_bots)
        // Any function will do as a policy.
        .reject_event(|_, event| match event.content().contains("buy now") {
            true => Err("no advertising here".into()),
            false => Ok(()),
        })
}

/// Starts the relay on `listen`.
pub fn start(listen: SocketAddr) -> Result<Engine, StartError> {
    let relay = Nostr::new(NostrSettings {
        hooks: hooks(),
        ..NostrSettings::default()
    });
    let mut builder = Engine::builder().settings(Settings {
        listen: vec![listen.into()],
        ..Settings::default()
    });
    let id = builder.endpoint_and_service(khatru(), relay);
    builder.render_refusals(id, nostr::rendered);
    builder.route("/", id)?;
    builder.start()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = start(SocketAddr::from(([127, 0, 0, 1], 8080)))?;
    println!("ws://{}/", engine.addresses()[0]);
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    engine.stop();
    Ok(())
}
