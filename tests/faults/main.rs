//! The fault table: what clients, networks and machines do to a relay, one test a row.
//!
//! Every row has a [`stage::Stage`]: the binary as a process of its own, and a witness, which is a
//! publisher and members on all shards that exchange numbered messages all the time. A row does
//! its harm and ends with [`stage::Stage::end`], which shows for all of them alike:
//!
//! - the process lives: it relays on, and ends with 0 when it is asked to;
//! - the others' deliveries are complete: every member of the witness got every message in order;
//! - the reason is counted: what `/metrics` says about faults is exactly what the row expects;
//! - what the fault took comes back: connections, rooms, partial messages, buffers, open files.
//!
//! A row that needs a right or a program which is not there says so in a line that begins with
//! `skipped:`, past the test harness, so that it is seen where all tests pass.

mod cost;
mod doors;
mod files;
mod frames;
mod guard;
mod handshakes;
mod machine;
mod memory;
mod namespace;
mod network;
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
