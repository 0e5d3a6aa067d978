//! What a path does: the endpoints of a config.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::nostr::NostrConfig;
use super::overrides::{
    AuthOverride, CorsOverride, DeflateOverride, EndpointLimits, KeepaliveOverride,
    OriginsOverride, RateOverride, SlowClientOverride,
};
use super::quantity::MIB;
use super::sections::SlowClientPolicy;

/// `endpoints.<name>`: one path and what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointConfig {
    /// What it does with its connections.
    pub kind: EndpointKind,
    /// Where it is: an exact path, one with a parameter (`/ws/{username}`), or all below one
    /// (`/**`, `/chat/**`).
    pub path: String,
    /// Whether it is there at all.
    pub enabled: bool,
    /// Hub, named and pubsub: whether a sender gets its own messages back.
    pub echo: bool,
    /// Named: whether every message goes out as binary, whatever it came as.
    pub binary_out: bool,
    /// Named: what happens to somebody whose name is taken.
    pub on_duplicate: OnDuplicate,
    /// Named: instead of `cors`.
    pub cors: CorsOverride,
    /// Push: where back ends push, an exact path; `None` means nowhere.
    pub push_path: Option<String>,
    /// Push: whether a token that names no user stands for everybody; else it is refused.
    pub broadcast_fallback: bool,
    /// Push: the file that keeps delayed pushes over a restart; `None` means that they are lost.
    pub journal: Option<PathBuf>,
    /// Push: most delayed pushes that wait.
    pub pending_max: usize,
    /// Push: most memory of those, bytes.
    pub pending_bytes: usize,
    /// Push: the longest delay.
    pub delay_max: Duration,
    /// Nostr: the relay.
    pub nostr: NostrConfig,
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

/// The built-in kinds of endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointKind {
    /// The path is the room, and every message goes to everybody in it.
    Hub,
    /// The path's last segment is the user's name, and every message goes to everybody else.
    Named,
    /// Clients wait for what back ends push to their token.
    Push,
    /// One connection, many rooms, by JSON messages.
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
    /// Both have it: one user on several devices, which get each other's messages.
    Share,
}

impl EndpointKind {
    /// Every kind with its name in a config. A new kind is a line here and its keys in the table.
    pub const ALL: &'static [(&'static str, EndpointKind)] = &[
        ("hub", EndpointKind::Hub),
        ("named", EndpointKind::Named),
        ("push", EndpointKind::Push),
        ("pubsub", EndpointKind::PubSub),
        ("nostr", EndpointKind::Nostr),
    ];
}

/// The endpoints that exist without being written down.
pub(super) fn built_in_endpoints() -> BTreeMap<String, EndpointConfig> {
    let endpoint = |name: &str, kind, path| (name.to_owned(), EndpointConfig::new(kind, path));
    BTreeMap::from([
        endpoint("hub", EndpointKind::Hub, "/**"),
        endpoint("named", EndpointKind::Named, "/ws/{username}"),
        endpoint("push", EndpointKind::Push, "/ws"),
    ])
}

impl EndpointConfig {
    /// An enabled endpoint of this kind at this path, with the kind's defaults.
    pub fn new(kind: EndpointKind, path: &str) -> EndpointConfig {
        let common = EndpointConfig {
            kind,
            path: path.to_owned(),
            enabled: true,
            echo: true,
            binary_out: false,
            on_duplicate: OnDuplicate::Refuse,
            cors: CorsOverride::default(),
            push_path: None,
            broadcast_fallback: true,
            journal: None,
            pending_max: 100_000,
            pending_bytes: 64 * MIB,
            delay_max: Duration::from_secs(7 * 24 * 3_600),
            nostr: NostrConfig::default(),
            origins: OriginsOverride::default(),
            auth: AuthOverride::default(),
            limits: EndpointLimits::default(),
            slow_client: SlowClientOverride::default(),
            keepalive: KeepaliveOverride::default(),
            deflate: DeflateOverride::default(),
            rate: RateOverride::default(),
        };
        match kind {
            EndpointKind::Hub | EndpointKind::PubSub => common,
            // As the relay that it replaces.
            EndpointKind::Named => EndpointConfig {
                echo: false,
                limits: EndpointLimits {
                    message_bytes: Some(10 * MIB),
                    frame_bytes: None,
                },
                keepalive: KeepaliveOverride {
                    ping: Some(Some(Duration::from_secs(54))),
                    pong: Some(Some(Duration::from_secs(60))),
                },
                ..common
            },
            EndpointKind::Push => EndpointConfig {
                push_path: Some("/api/push".to_owned()),
                ..common
            },
            // Clients rely on getting every event that they subscribe to, or being closed.
            EndpointKind::Nostr => EndpointConfig {
                limits: EndpointLimits {
                    message_bytes: Some(512_000),
                    frame_bytes: None,
                },
                slow_client: SlowClientOverride {
                    policy: Some(SlowClientPolicy::Disconnect),
                    ..SlowClientOverride::default()
                },
                ..common
            },
        }
    }
}
