//! The settings of one endpoint: its overrides, else the common settings.

use super::endpoint::{EndpointConfig, EndpointKind};
use super::model::Config;
use super::sections::RateConfig;
use crate::engine::{EndpointSettings, Rate, SlowPolicy, TokenRate};

impl Config {
    /// The settings for connections of `endpoint`: its overrides, else the common settings.
    ///
    /// A common `limits.frame_bytes` above the endpoint's own message limit is reduced to it.
    pub fn settings_of(&self, endpoint: &EndpointConfig) -> EndpointSettings {
        let limits = endpoint.limits.over(&self.limits);
        let frame_bytes = limits.frame_bytes.unwrap_or(limits.message_bytes);
        let mut slow_client = endpoint.slow_client.over(&self.slow_client);
        // A Nostr relay must not drop events, even if the common policy does: its clients could
        // not know that they missed any.
        if endpoint.kind == EndpointKind::Nostr {
            slow_client.policy = SlowPolicy::Disconnect;
        }
        EndpointSettings {
            message_bytes: limits.message_bytes,
            frame_bytes: frame_bytes.min(limits.message_bytes) as u64,
            slow_client,
            keepalive: endpoint.keepalive.over(&self.keepalive),
            deflate: endpoint.deflate.over(&self.deflate),
            rate: rate(&endpoint.rate.over(&self.rate)),
        }
    }
}

fn rate(config: &RateConfig) -> Rate {
    let bucket = |rate: Option<usize>, burst: Option<usize>| {
        let rate = rate? as u64;
        Some(TokenRate::new(
            rate,
            burst.map_or(rate, |burst| burst as u64),
        ))
    };
    Rate {
        messages: bucket(config.messages, config.messages_burst),
        bytes: bucket(config.bytes, config.bytes_burst),
        policy: config.policy,
    }
}
