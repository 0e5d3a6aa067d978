//! Loads for a Nostr relay (NIP-01): events that were signed before the run, and their deliveries;
//! or synchronizations of sets of events (NIP-77).
//!
//! ```text
//! draw: keys, filters, events ─▶ script: signed, and who is to get what ─▶ listener: who got it
//!                                                                          └▶ tell: the figures
//! ```
//! If the clients query stored events, `queries` has the right answers, `asking` stores the events
//! and asks, and `answers` compares. Everything else (connections, pacing, times, the report) is
//! shared with other runs.

mod answers;
mod asking;
mod bits;
mod draw;
mod listener;
mod neg;
mod queries;
mod querying;
mod script;
mod stored;
mod sync;
mod tell;
mod text;
mod upload;

pub(crate) use listener::{Listener, NostrOutcome};
pub(crate) use script::{EVENTS_MAX, Script};
pub(crate) use tell::{awaited, counts, order};
pub(crate) use upload::upload;
