//! The engine from outside: real sockets, and clients that are careless, slow or gone.

mod deflate;
mod embedding;
mod handshake;
mod keepalive;
mod lifecycle;
mod limits;
mod messages;
mod order;
mod shards;
mod shutdown;
mod slow_clients;

#[path = "../support/mod.rs"]
mod support;
