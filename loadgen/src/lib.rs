//! Loads a WebSocket relay and checks every delivery.
//!
//! ```text
//! args ─▶ plan ─▶ run ─▶ coordinator ─▶ worker (one a thread) ─▶ thread_result ─▶ gather ─▶ report
//!                  │          │              │   client: connect, upgrade, bytes in and out
//!                  │          │              │   receive: frames ─▶ stamp ─▶ check ─▶ latency
//!                  │          │              └   pacing: when to send
//!                  │          └ watch: snapshots, the timeline, conditions that end the run
//!                  └ search: the next rate of a walk
//! pairs: run against two servers in turn ─▶ stats: whether they differ
//!
//! thread_result ─▶ findings ─▶ gather: explanations of the counts
//! snapshot ─▶ live        report ─▶ output: text, json, csv, markdown, hdr, page ─▶ history
//! ```
//!
//! Three rules make its figures reliable. Messages are sent when they are due, no matter how the
//! relay responds, and latency counts from that time (no coordinated omission). A thread sleeps
//! between messages and takes no CPU from the relay. The generator also measures itself: if it was
//! the bottleneck, the report says so.

#![warn(missing_docs)]

pub mod args;
pub mod cli;
pub mod condition;
pub mod history;
pub mod live;
pub mod output;
pub mod pairs;
pub mod plan;
pub mod push;
pub mod report;
pub mod run;
pub mod snapshot;

mod arrival;
mod backlog;
mod check;
mod client;
mod clock;
mod control;
mod coordinator;
mod error;
mod findings;
mod first_last;
mod frames;
mod gather;
mod handshake;
mod handshakes;
mod histogram;
mod inflate;
mod interval;
mod judge;
mod limits;
mod measures;
mod nostr;
mod pacing;
mod page;
mod payload_json;
mod phrases;
mod priority;
mod receive;
mod scrape;
mod search;
mod stamp;
mod stats;
mod thread_result;
mod tls;
mod units;
mod watch;
mod worker;

pub use error::RunError;
