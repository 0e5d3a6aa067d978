//! The engine from outside: real sockets, and clients that are careless, slow or gone.

mod embedding;
mod handshake;
mod keepalive;
mod limits;
mod messages;
mod shutdown;
mod slow_clients;

#[path = "../support/mod.rs"]
mod support;
