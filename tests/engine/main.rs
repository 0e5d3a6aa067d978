//! The engine from outside: real sockets, and clients that are careless, slow or gone.

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
mod proxies;
mod rates;
mod refusals;
mod seams;
mod service_manager;
mod shards;
mod shared_bodies;
mod shutdown;
mod slow_clients;

use corecast_test as support;
use corecast_test::{certificates, press, tls_client};
