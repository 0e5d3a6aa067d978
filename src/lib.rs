//! Corecast: a thread-per-core WebSocket relay.

pub mod wire;
