//! The settings of a Nostr endpoint, from its configuration.

use std::sync::Arc;
use std::thread::available_parallelism;

use corecast_nostr::{EventLimits, FilterSyntax, QueryLimits, RelayUrls, from_hex};

use crate::config::{NostrChallenge, NostrConfig, NostrEventsConfig};
use crate::engine::EndpointSettings;
use crate::relay::nostr::{NostrSettings, SyncSettings, policies};

/// Most threads that answer queries by default: more of them would only wait for each other.
const READERS_AUTO_MAX: usize = 4;

/// If our own bound ends the rows of a query, the second in which it ends is completed with at most
/// so many rows.
const SECOND_ROWS_MAX: u64 = 500;

/// The settings of an endpoint.
pub(super) fn settings(config: &NostrConfig, endpoint: &EndpointSettings) -> NostrSettings {
    let urls = config.urls.iter().map(ToString::to_string).collect();
    NostrSettings {
        urls: RelayUrls::new(urls),
        // The configuration has keys in this form only.
        admins: config
            .admins
            .iter()
            .filter_map(|key| from_hex(key))
            .collect(),
        store: config.store.clone(),
        memory_events: config.memory_events,
        info: config.info.clone(),
        challenges_all: config.auth.challenge == NostrChallenge::Connect,
        auth_read: config.auth.read,
        auth_write: config.auth.write,
        private: Arc::new(config.auth.private_kinds.iter().copied().collect()),
        keys_max: config.auth.keys,
        events: events(&config.events),
        filters_max: config.queries.filters,
        subscriptions_max: config.queries.subscriptions,
        values_max: config.queries.values,
        queries: QueryLimits {
            limit_max: config.queries.limit as u64,
            limit_default: config.queries.limit_default as u64,
            second_max: SECOND_ROWS_MAX,
        },
        count_max: config.queries.count as u64,
        filter_syntax: FilterSyntax {
            and_tags: config.queries.and_tags,
        },
        sync: SyncSettings {
            events_max: config.sync.events,
            sessions_max: config.sync.sessions,
            idle: config.sync.idle,
        },
        readers: config.readers.unwrap_or_else(readers),
        deflate: endpoint.deflate,
        message_bytes: endpoint.message_bytes,
        hooks: policies::named(&config.policies),
    }
}

fn readers() -> usize {
    let cores = available_parallelism().map_or(1, std::num::NonZero::get);
    cores.min(READERS_AUTO_MAX)
}

fn events(config: &NostrEventsConfig) -> EventLimits {
    EventLimits {
        bytes: config.bytes,
        tags: config.tags,
        content_chars: config.content_chars,
        future_s: config.future.as_secs(),
        past_s: config.past.map(|past| past.as_secs()),
        pow: config.pow,
        kinds: config
            .kinds
            .as_ref()
            .map(|kinds| kinds.iter().copied().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_endpoint() {
        let config = NostrConfig {
            readers: Some(2),
            ..NostrConfig::default()
        };
        let endpoint = EndpointSettings {
            message_bytes: 512_000,
            ..EndpointSettings::default()
        };
        let made = settings(&config, &endpoint);
        let default = NostrSettings::default();
        assert_eq!(format!("{made:?}"), format!("{default:?}"));
    }
}
