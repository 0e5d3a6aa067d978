//! Shared code of the workspace's tests. The product never depends on it: it is a dev-dependency
//! of `corecast` and of `loadgen`, only for their tests from outside.
//!
//! - An engine in this process ([`Server`]), the binary as a process of its own ([`relay`]), and
//!   waiting by polling ([`eventually`]). Nothing here sleeps for a fixed time.
//! - Clients that send exactly the bytes that a test wants ([`client`], [`tls_client`]), and the
//!   certificates for them ([`certificates`]).
//! - A program on a terminal of its own ([`pty`]), and its completions and manual ([`describe`]).
//! - An endpoint for tests of shared bodies ([`press`]).
//! - The load generator as a process ([`generator`]), and servers with planted faults for it
//!   ([`generator`], [`stand_in`]).
//!
//! Cargo compiles the library twice for unit tests of `corecast`, once for them and once for this
//! crate, so types of one do not fit the other: unit tests cannot use it.

#![allow(
    missing_docs,
    reason = "helpers whose names say what they do; only tests read them"
)]

mod binary;
pub mod certificates;
pub mod client;
pub mod describe;
pub mod generator;
pub mod press;
pub mod pty;
pub mod relay;
mod server;
pub mod stand_in;
pub mod tls_client;
mod waiting;

pub use binary::binary;
pub use server::{Server, assert_tests, config, settings};
pub use waiting::{DEADLINE, eventually, polled};
