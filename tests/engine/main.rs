//! The engine from outside: real sockets, and clients that are careless, slow or gone.

#[path = "../tls/certificates.rs"]
#[allow(dead_code, reason = "shared with the tests of TLS")]
mod certificates;
mod deflate;
mod embedding;
mod fairness;
mod handshake;
mod http;
mod keepalive;
mod lifecycle;
mod limits;
mod listeners;
mod locals;
mod memory;
mod messages;
mod order;
mod paced_endpoints;
mod ports;
#[path = "../support/press.rs"]
mod press;
mod proxies;
mod rates;
mod refusals;
mod seams;
mod service_manager;
mod shards;
mod shared_bodies;
mod shutdown;
mod slow_clients;
#[path = "../tls/client.rs"]
#[allow(dead_code, reason = "shared with the tests of TLS")]
mod tls_client;

#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared with tests that need more of it")]
mod support;
