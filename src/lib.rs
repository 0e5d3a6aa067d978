//! Corecast: a thread-per-core WebSocket relay.

pub mod config;
pub mod wire;
