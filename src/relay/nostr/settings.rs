//! Settings of a [`Nostr`](super::Nostr).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use corecast_nostr::{Bytes32, EventLimits, FilterSyntax, PrivateKinds, QueryLimits, RelayUrls};

use super::hooks::HookList;
use crate::config::NostrInfoConfig;
use crate::engine::Deflate;

/// Settings of a relay.
#[derive(Clone, Debug)]
pub struct NostrSettings {
    /// Its own URLs; without any, clients cannot prove keys (NIP-42).
    pub urls: RelayUrls,
    /// The keys that may manage the relay (NIP-86); this needs a URL, too.
    pub admins: Vec<Bytes32>,
    /// The folder of the events; `None`: they are in memory.
    pub store: Option<PathBuf>,
    /// Most events in memory; past them the oldest go first.
    pub memory_events: usize,
    /// Its description of itself (NIP-11).
    pub info: NostrInfoConfig,
    /// Whether the challenge is sent to each client that connects, or only if a key is needed.
    pub challenges_all: bool,
    /// Whether queries need a key.
    pub auth_read: bool,
    /// Whether events are accepted only from clients with a proven key.
    pub auth_write: bool,
    /// Kinds whose events are sent only to the recipients that an event names.
    pub private: Arc<PrivateKinds>,
    /// Most keys of one connection.
    pub keys_max: usize,
    /// Bounds on accepted events.
    pub events: EventLimits,
    /// Most filters of a REQ.
    pub filters_max: usize,
    /// Most subscriptions of a connection.
    pub subscriptions_max: usize,
    /// Most items of the lists of a REQ.
    pub values_max: usize,
    /// Bounds on the answers to a REQ.
    pub queries: QueryLimits,
    /// Most rows that a COUNT reads.
    pub count_max: u64,
    /// Optional parts of the syntax of filters.
    pub filter_syntax: FilterSyntax,
    /// Bounds on synchronization.
    pub sync: SyncSettings,
    /// Threads that answer queries.
    pub readers: usize,
    /// Compression of messages to several clients.
    pub deflate: Deflate,
    /// The largest message of a client, in bytes.
    pub message_bytes: usize,
    /// Code of the relay's owner, and policies.
    pub hooks: HookList,
}

/// Bounds on synchronization (NIP-77).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SyncSettings {
    /// Most events of one session; `None` means that clients cannot synchronize.
    pub events_max: Option<usize>,
    /// Most sessions of a connection.
    pub sessions_max: usize,
    /// A session ends after this time without a message.
    pub idle: Duration,
}

impl Default for SyncSettings {
    /// The documented defaults.
    fn default() -> SyncSettings {
        SyncSettings {
            events_max: Some(1_000_000),
            sessions_max: 8,
            idle: Duration::from_secs(2 * 60),
        }
    }
}

impl NostrSettings {
    /// Whether clients can prove keys at all.
    pub(super) fn has_auth(&self) -> bool {
        !self.urls.is_empty()
    }

    /// Whether the relay can be managed over HTTP.
    pub(super) fn has_management(&self) -> bool {
        self.has_auth() && !self.admins.is_empty()
    }
}

impl Default for NostrSettings {
    /// The documented defaults.
    fn default() -> NostrSettings {
        NostrSettings {
            urls: RelayUrls::default(),
            admins: Vec::new(),
            store: None,
            memory_events: 100_000,
            info: NostrInfoConfig::default(),
            challenges_all: false,
            auth_read: false,
            auth_write: false,
            private: Arc::new([4, 1_059, 21_059].into_iter().collect()),
            keys_max: 16,
            events: EventLimits {
                bytes: 256 << 10,
                tags: 5_000,
                content_chars: None,
                future_s: 15 * 60,
                past_s: None,
                pow: 0,
                kinds: None,
            },
            filters_max: 100,
            subscriptions_max: 200,
            values_max: 10_000,
            queries: QueryLimits {
                limit_max: 5_000,
                limit_default: 500,
                second_max: 500,
            },
            count_max: 1_000_000,
            filter_syntax: FilterSyntax::default(),
            sync: SyncSettings::default(),
            readers: 2,
            deflate: Deflate::default(),
            message_bytes: 512_000,
            hooks: HookList::default(),
        }
    }
}
