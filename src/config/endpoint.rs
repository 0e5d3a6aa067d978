//! What a path does: the endpoints of a config, and what each of them overrides.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::{
    AuthOverride, Config, CorsConfig, DeflateConfig, MIB, OriginsOverride, RateConfig, RatePolicy,
    SlowClientPolicy,
};

/// A setting of one endpoint; `None` (null or absent in the file) means as for everybody.
pub type Override<T> = Option<T>;

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

/// `endpoints.<name>.cors`; see [`super::CorsConfig`]. `Some(None)` means off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CorsOverride {
    /// Pages of which origin may read the answers.
    pub origin: Override<Option<String>>,
    /// The methods that they may use.
    pub methods: Override<String>,
    /// The headers that they may send.
    pub headers: Override<String>,
}

/// `endpoints.<name>.limits`; see [`super::LimitsConfig`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointLimits {
    /// Largest message, bytes.
    pub message_bytes: Override<usize>,
    /// Largest frame, bytes; `Some(None)` means as large as the message.
    pub frame_bytes: Override<Option<usize>>,
}

/// `endpoints.<name>.slow_client`; see [`super::SlowClientConfig`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlowClientOverride {
    /// What happens at a bound.
    pub policy: Override<SlowClientPolicy>,
    /// Most that waits for one client, bytes.
    pub outbox_bytes: Override<usize>,
    /// Longest that a frame waits; `Some(None)` means no such bound.
    pub outbox_age: Override<Option<Duration>>,
}

/// `endpoints.<name>.keepalive`; see [`super::KeepaliveConfig`]. `Some(None)` means off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeepaliveOverride {
    /// Interval between pings.
    pub ping: Override<Option<Duration>>,
    /// Longest silence.
    pub pong: Override<Option<Duration>>,
}

/// `endpoints.<name>.deflate`; see [`super::DeflateConfig`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeflateOverride {
    /// Whether messages are compressed.
    pub enabled: Override<bool>,
    /// Smallest message that is, bytes.
    pub min_bytes: Override<usize>,
    /// 1 (fastest) to 9 (smallest).
    pub level: Override<u8>,
}

/// `endpoints.<name>.rate`; see [`super::RateConfig`]. `Some(None)` means no bound, or a burst of
/// one second.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RateOverride {
    /// What happens to what is more.
    pub policy: Override<RatePolicy>,
    /// Messages a second.
    pub messages: Override<Option<usize>>,
    /// Messages at once.
    pub messages_burst: Override<Option<usize>>,
    /// Bytes a second.
    pub bytes: Override<Option<usize>>,
    /// Bytes at once.
    pub bytes_burst: Override<Option<usize>>,
}

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

impl EndpointKind {
    /// Every kind with its name in a config. A new kind is a line here and its keys in the table.
    pub const ALL: &'static [(&'static str, EndpointKind)] = &[
        ("hub", EndpointKind::Hub),
        ("named", EndpointKind::Named),
        ("push", EndpointKind::Push),
        ("pubsub", EndpointKind::PubSub),
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
        }
    }
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
            policy: endpoint
                .slow_client
                .policy
                .unwrap_or(self.slow_client.policy),
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
