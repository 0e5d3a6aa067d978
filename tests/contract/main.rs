//! Promises to users of earlier relays, row by row: clients, scripts and pages that were written
//! for one of them, and the bytes that they expect.

mod claims;
mod named;
mod names_at_once;

#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "each test crate uses its part")]
mod support;
