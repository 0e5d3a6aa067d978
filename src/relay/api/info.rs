//! `GET /api/info`: the relay's version, its totals and its endpoints.

use serde::Serialize;

use super::error::ApiError;
use super::query::Query;
use super::{Api, ok};
use crate::config::EndpointKind;
use crate::engine::Request;
use crate::wire::http::Response;

#[derive(Serialize)]
struct Info<'i> {
    version: &'static str,
    uptime_seconds: u64,
    /// Seconds since 1970 (UTC).
    started: u64,
    shards: usize,
    /// Open WebSockets.
    connections: u64,
    rooms: usize,
    /// Messages received since the start.
    messages: u64,
    /// Messages sent to their recipients since the start.
    deliveries: u64,
    endpoints: Vec<EndpointInfo<'i>>,
}

#[derive(Serialize)]
struct EndpointInfo<'i> {
    name: &'i str,
    kind: &'static str,
    path: &'i str,
}

impl Api {
    pub(super) fn info(&self, request: &Request<'_>) -> Result<Response, ApiError> {
        Query::parse(request, &[])?;
        let running = self.running()?;
        let view = &running.view;
        let started = running.since.duration_since(std::time::UNIX_EPOCH);
        let endpoints = self.targets.iter().map(|target| EndpointInfo {
            name: &target.name,
            kind: word(target.kind),
            path: &target.path,
        });
        Ok(ok(&Info {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: view.started().elapsed().as_secs(),
            started: started.unwrap_or_default().as_secs(),
            shards: view.shards().count(),
            connections: view.shards().map(|shard| shard.open.get()).sum(),
            rooms: view.rooms(),
            messages: view.shards().map(|shard| shard.messages.get()).sum(),
            deliveries: view.shards().map(|shard| shard.deliveries.get()).sum(),
            endpoints: endpoints.collect(),
        }))
    }
}

/// The kind as it is written in a config.
fn word(kind: EndpointKind) -> &'static str {
    let known = EndpointKind::ALL.iter().find(|(_, each)| *each == kind);
    known.map_or("", |(word, _)| word)
}
