//! What holds for one endpoint: its overrides, else the common settings.

use std::time::Duration;

use super::endpoint::{EndpointConfig, EndpointKind};
use super::model::Config;
use super::overrides::{CorsOverride, RateOverride};
use super::sections::{CorsConfig, DeflateConfig, RateConfig, SlowClientPolicy};

/// What holds for the connections of one endpoint, its overrides applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointSettings {
    /// Largest message, bytes.
    pub message_bytes: usize,
    /// Largest frame, bytes; at most `message_bytes`.
    pub frame_bytes: usize,
    /// What happens to a client that does not keep up.
    pub policy: SlowClientPolicy,
    /// Most that waits for one client, bytes.
    pub outbox_bytes: usize,
    /// Longest that a frame waits for a client that takes nothing; `None` means no such bound.
    pub outbox_age: Option<Duration>,
    /// Interval between pings; `None` means none are sent.
    pub ping: Option<Duration>,
    /// Longest silence before the connection is closed; `None` means any.
    pub pong: Option<Duration>,
    /// Compression of messages.
    pub deflate: DeflateConfig,
    /// How much a connection may send.
    pub rate: RateConfig,
}

impl Config {
    /// What the answers of `endpoint` tell browsers: its overrides, else the common ones.
    pub fn cors_of(&self, endpoint: &EndpointConfig) -> CorsConfig {
        let CorsOverride {
            origin,
            methods,
            headers,
        } = endpoint.cors.clone();
        let common = &self.cors;
        CorsConfig {
            origin: origin.unwrap_or_else(|| common.origin.clone()),
            methods: methods.unwrap_or_else(|| common.methods.clone()),
            headers: headers.unwrap_or_else(|| common.headers.clone()),
        }
    }

    /// What holds for the connections of `endpoint`: its overrides, else the common settings.
    ///
    /// A common `limits.frame_bytes` over the endpoint's own smaller message limit counts as
    /// that limit.
    pub fn settings_of(&self, endpoint: &EndpointConfig) -> EndpointSettings {
        let message_bytes = endpoint
            .limits
            .message_bytes
            .unwrap_or(self.limits.message_bytes);
        let frame_bytes = endpoint
            .limits
            .frame_bytes
            .unwrap_or(self.limits.frame_bytes);
        EndpointSettings {
            message_bytes,
            frame_bytes: frame_bytes.unwrap_or(message_bytes).min(message_bytes),
            policy: self.policy_of(endpoint),
            outbox_bytes: endpoint
                .slow_client
                .outbox_bytes
                .unwrap_or(self.slow_client.outbox_bytes),
            outbox_age: endpoint
                .slow_client
                .outbox_age
                .unwrap_or(self.slow_client.outbox_age),
            ping: endpoint.keepalive.ping.unwrap_or(self.keepalive.ping),
            pong: endpoint.keepalive.pong.unwrap_or(self.keepalive.pong),
            deflate: DeflateConfig {
                enabled: endpoint.deflate.enabled.unwrap_or(self.deflate.enabled),
                min_bytes: endpoint.deflate.min_bytes.unwrap_or(self.deflate.min_bytes),
                level: endpoint.deflate.level.unwrap_or(self.deflate.level),
            },
            rate: self.rate_of(&endpoint.rate),
        }
    }

    /// Whatever is written, a relay for Nostr leaves out nothing: its clients could not know.
    fn policy_of(&self, endpoint: &EndpointConfig) -> SlowClientPolicy {
        let own = endpoint.slow_client.policy;
        match endpoint.kind {
            EndpointKind::Nostr => SlowClientPolicy::Disconnect,
            _ => own.unwrap_or(self.slow_client.policy),
        }
    }

    fn rate_of(&self, endpoint: &RateOverride) -> RateConfig {
        let common = &self.rate;
        RateConfig {
            policy: endpoint.policy.unwrap_or(common.policy),
            messages: endpoint.messages.unwrap_or(common.messages),
            messages_burst: endpoint.messages_burst.unwrap_or(common.messages_burst),
            bytes: endpoint.bytes.unwrap_or(common.bytes),
            bytes_burst: endpoint.bytes_burst.unwrap_or(common.bytes_burst),
        }
    }
}
