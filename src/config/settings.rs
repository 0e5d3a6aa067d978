//! What holds for one endpoint: its overrides, else the common settings.

use super::endpoint::{EndpointConfig, EndpointKind};
use super::model::Config;
use super::sections::RateConfig;
use crate::engine::{EndpointSettings, Keepalive, Rate, SlowClient, SlowPolicy, TokenRate};

impl Config {
    /// What holds for the connections of `endpoint`: its overrides, else the common settings.
    ///
    /// A common `limits.frame_bytes` over the endpoint's own smaller message limit counts as
    /// that limit.
    pub fn settings_of(&self, endpoint: &EndpointConfig) -> EndpointSettings {
        let limits = endpoint.limits.over(&self.limits);
        let slow_client = endpoint.slow_client.over(&self.slow_client);
        let keepalive = endpoint.keepalive.over(&self.keepalive);
        let frame_bytes = limits.frame_bytes.unwrap_or(limits.message_bytes);
        EndpointSettings {
            message_bytes: limits.message_bytes,
            frame_bytes: frame_bytes.min(limits.message_bytes) as u64,
            slow_client: SlowClient {
                // Whatever is written, a relay for Nostr leaves out nothing: its clients could not
                // know.
                policy: match endpoint.kind.which() {
                    EndpointKind::Nostr => SlowPolicy::Disconnect,
                    _ => slow_client.policy,
                },
                outbox_bytes: slow_client.outbox_bytes,
                outbox_age: slow_client.outbox_age.unwrap_or_default(),
            },
            keepalive: Keepalive {
                ping: keepalive.ping.unwrap_or_default(),
                pong: keepalive.pong.unwrap_or_default(),
            },
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
