//! Corecast: a thread-per-core WebSocket relay.

pub mod admin;
pub mod config;
pub mod engine;
pub mod fanout;
pub mod limits;
pub mod logging;
pub mod relay;
mod sync;
pub mod wire;
