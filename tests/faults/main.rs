//! The fault table: what clients, networks and machines do to a relay, one test a row.
//!
//! Every row has a [`stage::Stage`]: the binary as a process of its own, and a witness: a publisher
//! and members on all shards that exchange numbered messages all the time. A row injects its fault
//! and ends with [`stage::Stage::end`], which checks the same for all rows:
//!
//! - the process survives: it keeps relaying, and exits with 0 on request;
//! - the others' deliveries are complete: every member of the witness got every message in order;
//! - the reason is counted: the faults in `/metrics` are exactly those that the row expects;
//! - resources are released: connections, rooms, partial messages, buffers, open files.
//!
//! A row that lacks a permission or a program prints a line that begins with `skipped:`, bypassing
//! the test harness, so that it is visible even if all tests pass.

mod cost;
mod doors;
mod files;
mod frames;
mod guard;
mod handshakes;
mod kills;
mod machine;
mod memory;
mod namespace;
mod network;
mod nostr_store;
mod refusals;
mod slow;
mod stage;
mod storms;
mod system_calls;
mod tls;
mod witness;
mod work;

use corecast_test as support;
use corecast_test::{certificates, tls_client};
