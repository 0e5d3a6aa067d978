//! The engine from outside: real sockets, and clients that are careless, slow or gone.

mod deflate;
mod embedding;
mod handshake;
mod http;
mod keepalive;
mod lifecycle;
mod limits;
mod listeners;
mod messages;
mod order;
mod proxies;
mod service_manager;
mod shards;
mod shutdown;
mod slow_clients;

#[path = "../support/mod.rs"]
mod support;
