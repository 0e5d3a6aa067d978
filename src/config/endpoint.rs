//! The endpoints of a config: paths, their kinds and options.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use corecast_engine::with_defaults;

use super::nostr::NostrConfig;
use super::overrides::{
    AuthOverride, CorsOverride, DeflateOverride, EndpointLimits, KeepaliveOverride,
    OriginsOverride, RateOverride, SlowClientOverride,
};
use super::quantity::MIB;
use crate::engine::SlowPolicy;

/// `endpoints.<name>`: one path and what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointConfig {
    /// The kind, with its options.
    pub kind: Kind,
    /// The path: exact, with a parameter (`/ws/{username}`), or everything below a prefix (`/**`,
    /// `/chat/**`).
    pub path: String,
    /// Whether the endpoint is served.
    pub enabled: bool,
    /// Instead of `origins`.
    pub origins: OriginsOverride,
    /// Instead of `auth`.
    pub auth: AuthOverride,
    /// Instead of `limits`.
    pub limits: EndpointLimits,
    /// Instead of `slow_client`.
    pub slow_client: SlowClientOverride,
    /// Instead of `keepalive`.
    pub keepalive: KeepaliveOverride,
    /// Instead of `deflate`.
    pub deflate: DeflateOverride,
    /// Instead of `rate`.
    pub rate: RateOverride,
}

/// The kind of an endpoint with the options of that kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// See [`EndpointKind::Hub`].
    Hub(HubOptions),
    /// See [`EndpointKind::Named`].
    Named(NamedOptions),
    /// See [`EndpointKind::Push`].
    Push(PushOptions),
    /// See [`EndpointKind::PubSub`].
    PubSub(PubSubOptions),
    /// See [`EndpointKind::Nostr`].
    Nostr(Box<NostrConfig>),
}

with_defaults! {
    /// Options of a hub.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct HubOptions {
        /// Whether a sender gets its own messages back.
        pub echo: bool = true,
    }
}

with_defaults! {
    /// Options of a `named` endpoint.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct NamedOptions {
        /// Whether a sender gets its own messages back.
        pub echo: bool = false,
        /// Whether every message is sent as binary, even if it was received as text.
        pub binary_out: bool = false,
        /// The treatment of a client whose name is already connected.
        pub on_duplicate: OnDuplicate = OnDuplicate::Refuse,
        /// Overrides of the common `cors`.
        pub cors: CorsOverride = CorsOverride::default(),
    }
}

with_defaults! {
    /// Options of a `push` endpoint.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct PushOptions {
        /// The exact path of the push API; `None`: it is not served.
        pub push_path: Option<String> = Some("/api/push".to_owned()),
        /// Whether a token without a user addresses everybody; otherwise it is refused.
        pub broadcast_fallback: bool = true,
        /// The file that keeps delayed pushes across a restart; `None`: they are lost.
        pub journal: Option<PathBuf> = None,
        /// The largest number of pending delayed pushes.
        pub pending_max: usize = 100_000,
        /// The largest total memory of pending delayed pushes, bytes.
        pub pending_bytes: usize = 64 * MIB,
        /// The longest delay.
        pub delay_max: Duration = Duration::from_secs(7 * 24 * 3_600),
    }
}

with_defaults! {
    /// Options of a `pubsub` endpoint.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct PubSubOptions {
        /// Whether a sender gets its own messages back.
        pub echo: bool = true,
    }
}

/// The built-in kinds of endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointKind {
    /// The path is the room, and every message goes to everybody in it.
    Hub,
    /// The path's last segment is the user's name, and every message goes to everybody else.
    Named,
    /// Clients wait for messages that back ends push to their token.
    Push,
    /// One connection subscribes to many rooms by JSON messages.
    PubSub,
    /// A relay for clients of Nostr.
    Nostr,
}

/// `endpoints.<name>.on_duplicate`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnDuplicate {
    /// The newcomer is refused (409).
    #[default]
    Refuse,
    /// The newcomer gets the name, and the older connection is closed (4001).
    Replace,
    /// Both keep the name: one user on several devices, which get each other's messages.
    Share,
}

impl Kind {
    /// This kind with the defaults of its options.
    pub fn new(kind: EndpointKind) -> Kind {
        match kind {
            EndpointKind::Hub => Kind::Hub(HubOptions::default()),
            EndpointKind::Named => Kind::Named(NamedOptions::default()),
            EndpointKind::Push => Kind::Push(PushOptions::default()),
            EndpointKind::PubSub => Kind::PubSub(PubSubOptions::default()),
            EndpointKind::Nostr => Kind::Nostr(Box::default()),
        }
    }

    /// The kind without its options.
    pub fn which(&self) -> EndpointKind {
        match self {
            Kind::Hub(_) => EndpointKind::Hub,
            Kind::Named(_) => EndpointKind::Named,
            Kind::Push(_) => EndpointKind::Push,
            Kind::PubSub(_) => EndpointKind::PubSub,
            Kind::Nostr(_) => EndpointKind::Nostr,
        }
    }
}

impl PartialEq<EndpointKind> for Kind {
    fn eq(&self, other: &EndpointKind) -> bool {
        self.which() == *other
    }
}

impl EndpointKind {
    /// The kind's name in a config.
    pub fn name(self) -> &'static str {
        let named = EndpointKind::ALL.iter().find(|(_, kind)| *kind == self);
        named.map_or("", |(name, _)| name)
    }

    /// Every kind with its name in a config.
    pub const ALL: &'static [(&'static str, EndpointKind)] = &[
        ("hub", EndpointKind::Hub),
        ("named", EndpointKind::Named),
        ("push", EndpointKind::Push),
        ("pubsub", EndpointKind::PubSub),
        ("nostr", EndpointKind::Nostr),
    ];
}

/// The endpoints that exist without being configured.
pub(super) fn built_in_endpoints() -> BTreeMap<String, EndpointConfig> {
    let endpoint = |name: &str, kind, path| (name.to_owned(), EndpointConfig::new(kind, path));
    BTreeMap::from([
        endpoint("hub", EndpointKind::Hub, "/**"),
        endpoint("named", EndpointKind::Named, "/ws/{username}"),
        endpoint("push", EndpointKind::Push, "/ws"),
    ])
}

impl EndpointConfig {
    /// The options of a push endpoint, if it is one.
    pub fn push(&self) -> Option<&PushOptions> {
        match &self.kind {
            Kind::Push(options) => Some(options),
            _ => None,
        }
    }

    /// The options of a push endpoint for changing, if it is one.
    pub fn push_mut(&mut self) -> Option<&mut PushOptions> {
        match &mut self.kind {
            Kind::Push(options) => Some(options),
            _ => None,
        }
    }

    /// The options of a `named` endpoint for changing, if it is one.
    pub fn named_mut(&mut self) -> Option<&mut NamedOptions> {
        match &mut self.kind {
            Kind::Named(options) => Some(options),
            _ => None,
        }
    }

    /// The options of a Nostr relay, if it is one.
    pub fn nostr(&self) -> Option<&NostrConfig> {
        match &self.kind {
            Kind::Nostr(options) => Some(options),
            _ => None,
        }
    }

    /// An enabled endpoint of this kind at this path, with the kind's defaults.
    pub fn new(kind: EndpointKind, path: &str) -> EndpointConfig {
        let common = EndpointConfig {
            kind: Kind::new(kind),
            path: path.to_owned(),
            enabled: true,
            origins: OriginsOverride::default(),
            auth: AuthOverride::default(),
            limits: EndpointLimits::default(),
            slow_client: SlowClientOverride::default(),
            keepalive: KeepaliveOverride::default(),
            deflate: DeflateOverride::default(),
            rate: RateOverride::default(),
        };
        match kind {
            EndpointKind::Hub | EndpointKind::PubSub | EndpointKind::Push => common,
            // The defaults of the relay that this kind replaces.
            EndpointKind::Named => EndpointConfig {
                limits: EndpointLimits {
                    message_bytes: Some(10 * MIB),
                    frame_bytes: None,
                },
                keepalive: KeepaliveOverride {
                    ping: Some(Duration::from_secs(54)),
                    pong: Some(Duration::from_secs(60)),
                },
                ..common
            },
            // Clients rely on getting every event that they subscribe to, or being closed.
            EndpointKind::Nostr => EndpointConfig {
                limits: EndpointLimits {
                    message_bytes: Some(512_000),
                    frame_bytes: None,
                },
                slow_client: SlowClientOverride {
                    policy: Some(SlowPolicy::Disconnect),
                    ..SlowClientOverride::default()
                },
                ..common
            },
        }
    }
}
