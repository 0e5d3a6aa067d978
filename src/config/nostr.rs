//! `endpoints.<name>.nostr`: the settings of a relay for Nostr.

mod check;
mod policies;
mod values;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use corecast_engine::with_defaults;

use super::quantity::KIB;
use crate::guard::Origin;

pub(super) use self::check::{conflicts, defaults_beside, shared_store, warnings};
pub use self::policies::{NostrKinds, NostrPolicy, NostrPolicyError, NostrRate};
pub(super) use self::values::{
    ADMINS, AGE, BITS, CHALLENGE, CONTENT_CHARS, COUNTED, EVENT_KINDS, FILTERS, HEX_KEY, INFO_TEXT,
    KEYS, MEMORY_EVENTS, OFF_OR_AGE, POLICIES, PRIVATE_KINDS, PROSE, READERS, RELAY_URLS, ROWS,
    SUBSCRIPTIONS, SYNC_IDLE, SYNC_SESSIONS, SYNCED, TAGS, VALUES,
};

with_defaults! {
    /// `endpoints.<name>.nostr`; only endpoints of this kind have it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct NostrConfig {
        /// The URLs by which clients know the relay; the first is the canonical one. Empty: clients
        /// cannot prove that they have a key (NIP-42).
        pub urls: Vec<RelayUrl> = Vec::new(),
        /// Keys that may manage the relay (NIP-86), 64 lower-case hexadecimal digits each.
        pub admins: Vec<String> = Vec::new(),
        /// The folder of the events; `None`: they are in memory.
        pub store: Option<PathBuf> = None,
        /// Events that are kept in memory; if there are more, the oldest are dropped first.
        pub memory_events: usize = 100_000,
        /// The relay's description of itself.
        pub info: NostrInfoConfig = NostrInfoConfig::default(),
        /// Actions that need proof of a key.
        pub auth: NostrAuthConfig = NostrAuthConfig::default(),
        /// The events that are accepted.
        pub events: NostrEventsConfig = NostrEventsConfig::default(),
        /// Bounds on queries.
        pub queries: NostrQueriesConfig = NostrQueriesConfig::default(),
        /// Bounds on synchronization.
        pub sync: NostrSyncConfig = NostrSyncConfig::default(),
        /// Threads that answer queries; `None` leaves it to the relay.
        pub readers: Option<usize> = None,
        /// Policies for events, filters and connections, in order.
        pub policies: Vec<NostrPolicy> = Vec::new(),
    }
}

/// `nostr.info`: the relay's description of itself (NIP-11). `None` is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NostrInfoConfig {
    /// The relay's name.
    pub name: Option<String>,
    /// The relay's purpose, in paragraphs.
    pub description: Option<String>,
    /// The URL of a small picture.
    pub icon: Option<String>,
    /// The URL of a wide picture.
    pub banner: Option<String>,
    /// The operator's public key, 64 lower-case hexadecimal digits.
    pub pubkey: Option<String>,
    /// `nostr.info.self`: the relay's own public key, 64 lower-case hexadecimal digits.
    pub self_key: Option<String>,
    /// Another way to reach the operator.
    pub contact: Option<String>,
    /// The URL of the terms of service.
    pub terms_of_service: Option<String>,
    /// The URL of the page for payments.
    pub payments_url: Option<String>,
}

with_defaults! {
    /// `nostr.auth`: actions that need proof of a key (NIP-42).
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct NostrAuthConfig {
        /// When a client gets its challenge.
        pub challenge: NostrChallenge = NostrChallenge::Demand,
        /// Whether queries need a key.
        pub read: bool = false,
        /// Whether events are accepted only from clients that have proven a key.
        pub write: bool = false,
        /// Kinds whose events go only to the keys that they name.
        pub private_kinds: Vec<u16> = vec![4, 1_059, 21_059],
        /// Keys that one connection can prove.
        pub keys: usize = 16,
    }
}

/// `nostr.auth.challenge`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NostrChallenge {
    /// When it asks for something that needs a key.
    #[default]
    Demand,
    /// When it connects.
    Connect,
}

with_defaults! {
    /// `nostr.events`: the events that are accepted.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct NostrEventsConfig {
        /// Largest event, bytes of JSON; at most the endpoint's `limits.message_bytes`.
        pub bytes: usize = 256 * KIB,
        /// Most tags.
        pub tags: usize = 5_000,
        /// Most characters of the content; `None` means no separate bound.
        pub content_chars: Option<usize> = None,
        /// How far `created_at` may be ahead of the relay's clock, in whole seconds.
        pub future: Duration = Duration::from_secs(15 * 60),
        /// How long ago `created_at` may be; `None` means any time.
        pub past: Option<Duration> = None,
        /// Leading zero bits that an id must have (NIP-13).
        pub pow: u8 = 0,
        /// The kinds that are accepted; `None` means all.
        pub kinds: Option<Vec<u16>> = None,
    }
}

with_defaults! {
    /// `nostr.queries`: bounds on queries.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct NostrQueriesConfig {
        /// Filters of one REQ.
        pub filters: usize = 100,
        /// Subscriptions of one connection.
        pub subscriptions: usize = 200,
        /// Items of all lists of one REQ together.
        pub values: usize = 10_000,
        /// Most stored events that a filter gets, even if it asks for more.
        pub limit: usize = 5_000,
        /// Stored events for a filter without a limit; at most `limit`.
        pub limit_default: usize = 500,
        /// Events that a COUNT reads. If there are more, its answer is approximate.
        pub count: usize = 1_000_000,
        /// Whether filters may ask for events that have all of several tags (NIP-91).
        pub and_tags: bool = false,
    }
}

with_defaults! {
    /// `nostr.sync`: bounds on synchronization (NIP-77).
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct NostrSyncConfig {
        /// Most events of one session; `None` means that clients cannot synchronize.
        pub events: Option<usize> = Some(1_000_000),
        /// Sessions of one connection.
        pub sessions: usize = 8,
        /// A session ends after this time without a message.
        pub idle: Duration = Duration::from_secs(2 * 60),
    }
}

/// A URL by which clients know the relay, as configured: `ws://` or `wss://`, a host, optionally a
/// port and a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayUrl(String);

/// Why a text is not the URL of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RelayUrlError {
    /// The scheme is `http` or `https`.
    #[error(
        "is the URL of a page; write wss:// in place of https://, and ws:// in place of http://"
    )]
    Scheme,
    /// It has a query or a fragment, even if that is empty.
    #[error("has a query or a fragment; the URL of a relay has neither")]
    Query,
    /// It is anything else, or too long.
    #[error(
        "is not the URL of a relay; write wss://relay.example.com or \
         wss://relay.example.com:8443/nostr"
    )]
    Form,
}

impl RelayUrl {
    const BYTES_MAX: usize = KIB;

    /// The URL as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RelayUrl {
    type Err = RelayUrlError;

    fn from_str(text: &str) -> Result<RelayUrl, RelayUrlError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").ok_or(RelayUrlError::Form)?;
        let is_plain = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(c);
        if text.len() > RelayUrl::BYTES_MAX || !text.chars().all(is_plain) {
            return Err(RelayUrlError::Form);
        }
        match &*scheme.to_ascii_lowercase() {
            "ws" | "wss" => {}
            "http" | "https" => return Err(RelayUrlError::Scheme),
            _ => return Err(RelayUrlError::Form),
        }
        if rest.contains(['?', '#']) {
            return Err(RelayUrlError::Query);
        }
        let authority = rest.split('/').next().unwrap_or_default();
        // The part before the path must be an origin: a host, optionally a port, without a user.
        match format!("{scheme}://{authority}").parse() {
            Ok(Origin::Exact(_)) => Ok(RelayUrl(text.to_owned())),
            _ => Err(RelayUrlError::Form),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_url_has_a_scheme_a_host_and_optionally_a_path() {
        for good in [
            "wss://relay.example.com",
            "WS://Relay.Example.com:8443/",
            "ws://127.0.0.1:8080/nostr",
            "wss://[::1]:443/a/b%20c",
            "ws://localhost",
        ] {
            let read: Result<RelayUrl, _> = good.parse();
            assert_eq!(read.map(|url| url.to_string()), Ok(good.to_owned()));
        }
        for (bad, error) in [
            ("https://relay.example.com", RelayUrlError::Scheme),
            ("HTTP://relay.example.com", RelayUrlError::Scheme),
            ("wss://relay.example.com/?a=b", RelayUrlError::Query),
            ("wss://relay.example.com#", RelayUrlError::Query),
            ("", RelayUrlError::Form),
            ("relay.example.com", RelayUrlError::Form),
            ("wss://", RelayUrlError::Form),
            ("wss:///nostr", RelayUrlError::Form),
            ("wss://:443/nostr", RelayUrlError::Form),
            ("wss://user@relay.example.com", RelayUrlError::Form),
            ("wss://*.example.com", RelayUrlError::Form),
            ("wss://relay.example.com:99999", RelayUrlError::Form),
            ("wss://relay example.com", RelayUrlError::Form),
            ("wss://relay.example.com/ü", RelayUrlError::Form),
            ("wss://relay.example.com/a b", RelayUrlError::Form),
            ("ftp://relay.example.com", RelayUrlError::Form),
        ] {
            assert_eq!(bad.parse::<RelayUrl>(), Err(error), "{bad}");
        }
        let long = format!("wss://relay.example.com/{}", "x".repeat(KIB));
        assert_eq!(long.parse::<RelayUrl>(), Err(RelayUrlError::Form));
    }
}
