//! A relay of the crate `nostr-relay-builder`, with its store in memory: `PROGRAM PORT`.

use std::net::{IpAddr, Ipv4Addr};

use nostr_relay_builder::builder::{RateLimit, RelayBuilder};
use nostr_relay_builder::prelude::{LocalRelay, MemoryDatabase, MemoryDatabaseOptions, Result};

/// More than any load of the comparison has.
const PLENTY: usize = 10_000_000;

#[tokio::main]
async fn main() -> Result<()> {
    let port = std::env::args().nth(1).ok_or("usage: PROGRAM PORT")?;
    let database = MemoryDatabase::with_opts(MemoryDatabaseOptions {
        events: true,
        max_events: Some(PLENTY),
    });
    let relay = LocalRelay::new(
        RelayBuilder::default()
            .addr(IpAddr::V4(Ipv4Addr::LOCALHOST))
            .port(port.parse()?)
            .rate_limit(RateLimit {
                max_reqs: PLENTY,
                notes_per_minute: PLENTY as u32,
            })
            .database(database),
    );
    relay.run().await?;
    // It serves from tasks of its own, until the process is ended.
    std::future::pending().await
}
