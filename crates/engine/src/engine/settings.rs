//! The settings of an engine. The builder checks them; the shards share them, read-only.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use strum::VariantNames;

use crate::engine::network::{Network, Networks};
use crate::engine::rate::TokenRate;
use crate::limits::{ADMIN_CONNECTIONS_MAX, REFUSING_MAX};
use crate::peer::Peer;

/// Declares structs with the defaults beside their fields, so that each number has one place.
#[doc(hidden)]
#[macro_export]
macro_rules! with_defaults {
    ($(
        $(#[$of_struct:meta])*
        pub struct $name:ident {
            $($(#[$of_field:meta])* pub $field:ident: $type:ty = $default:expr,)*
        }
    )*) => {$(
        $(#[$of_struct])*
        pub struct $name {
            $($(#[$of_field])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> $name {
                $name {
                    $($field: $default,)*
                }
            }
        }
    )*};
}

/// The policy for clients that read too slowly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SlowPolicy {
    /// Close it with 1013.
    #[default]
    Disconnect,
    /// Drop the frames that have waited the longest.
    DropOldest,
    /// Do not queue new frames while the outbox is full.
    DropNewest,
    /// Keep only the latest frame of each room.
    LatestOnly,
}

with_defaults! {
    /// Bounds of one connection's outbox, and the policy if it exceeds them.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct SlowClient {
        /// The action if a bound is exceeded.
        pub policy: SlowPolicy = SlowPolicy::Disconnect,
        /// Bytes that may wait for a client whose last send would have blocked. It must hold a
        /// frame of the largest size.
        pub outbox_bytes: usize = 64 * 1024 * 1024,
        /// How long the oldest frame may wait for such a client. Zero: no limit.
        pub outbox_age: Duration = Duration::from_secs(10),
    }
}

with_defaults! {
    /// When a silent client is pinged, and when it is closed.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Keepalive {
        /// Interval of pings. Zero: none are sent.
        pub ping: Duration = Duration::from_secs(30),
        /// A client that has sent nothing for this long is closed. Zero: never.
        pub pong: Duration = Duration::from_secs(60),
    }
}

with_defaults! {
    /// Compression (permessage-deflate, RFC 7692). No context is kept from one message to the next.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Deflate {
        /// Whether it is negotiated if a client offers it.
        pub enabled: bool = false,
        /// Messages with fewer bytes of payload are sent uncompressed.
        pub min_bytes: usize = 128,
        /// Level, from 1 (fastest) to 9 (smallest).
        pub level: u8 = 1,
    }
}

/// The policy for connections that send more than they may.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum RatePolicy {
    /// It is not read until it may send again: nothing is lost, and TCP slows the client down. Its
    /// deadlines do not run meanwhile.
    #[default]
    Delay,
    /// The excess messages are dropped.
    Drop,
    /// It is closed with 1008.
    Close,
}

impl RatePolicy {
    /// The labels in the metrics, in the order of the variants.
    pub const LABELS: &'static [&'static str] = Self::VARIANTS;
}

/// How much one connection may send. A message passes if at least one token of each kind is left.
/// It takes one for itself and one for each byte of its payload, even if fewer are left
/// ([`super::TokenBucket`]). A compressed message counts with its inflated size. A ping or pong
/// counts as a message with its payload, and each fragment except the last as a message without
/// payload, but these are never dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rate {
    /// Messages. `None`: any number.
    pub messages: Option<TokenRate>,
    /// Bytes of payload. `None`: any number.
    pub bytes: Option<TokenRate>,
    /// The action if the connection sends more.
    pub policy: RatePolicy,
}

impl Rate {
    /// Whether any bound is set.
    pub fn is_on(&self) -> bool {
        self.messages.is_some() || self.bytes.is_some()
    }
}

with_defaults! {
    /// The settings for the connections of one endpoint.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct EndpointSettings {
        /// The largest message, in bytes of payload.
        pub message_bytes: usize = 1024 * 1024,
        /// The largest frame, in bytes of payload.
        pub frame_bytes: u64 = 1024 * 1024,
        /// Slow clients.
        pub slow_client: SlowClient = SlowClient::default(),
        /// Keep-alive.
        pub keepalive: Keepalive = Keepalive::default(),
        /// Compression.
        pub deflate: Deflate = Deflate::default(),
        /// How much a connection may send.
        pub rate: Rate = Rate::default(),
    }
}

with_defaults! {
    /// Deadlines.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Timeouts {
        /// For a request to arrive, counted from the moment when its first byte may come.
        pub handshake: Duration = Duration::from_secs(10),
        /// For a message to be completed, from its first byte. Zero: no limit.
        pub message: Duration = Duration::from_secs(60),
        /// For the client's Close after ours, and then for the end of the stream.
        pub close: Duration = Duration::from_secs(5),
    }
}

with_defaults! {
    /// Bounds on what clients can make the engine hold.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Limits {
        /// The largest head of a request, in bytes; a larger one gets 431.
        pub head_bytes: usize = 16 * 1024,
        /// Bytes of partial messages, requests and TLS records in the process.
        pub inbound_bytes: usize = 256 * 1024 * 1024,
        /// Rooms that one connection can be in.
        pub rooms_per_connection: usize = 64,
        /// Longest name of a room, in bytes.
        pub room_name_bytes: usize = 512,
    }

    /// The shutdown of the process.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Shutdown {
        /// From the moment when `is_ready` turns false to the end of accepting.
        pub delay: Duration = Duration::ZERO,
        /// Latest end of the process, counted from the end of `delay`.
        pub timeout: Duration = Duration::from_secs(10),
    }
}

/// The address of a listener.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ListenAddress {
    /// TCP; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A Unix socket at this path. Its file is removed at the end, and also at the start if no
    /// process listens on it any more.
    Unix(PathBuf),
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ListenAddress::Tcp(address) => write!(f, "{address}"),
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// The address.
    pub address: ListenAddress,
    /// Whether it accepts TLS only, which needs [`super::Builder::tls`]; otherwise it never accepts
    /// TLS.
    pub tls: bool,
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Listen {
        Listen {
            address: ListenAddress::Tcp(address),
            tls: false,
        }
    }
}

/// The peers whose statements about their clients' addresses are trusted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrustedProxies {
    /// Networks of proxies.
    pub networks: Vec<Network>,
    /// Whether every peer at a Unix socket is trusted.
    pub unix: bool,
}

impl TrustedProxies {
    /// Whether this peer is trusted.
    pub fn contains(&self, peer: Peer) -> bool {
        let mut networks = self.networks.iter();
        match peer.ip() {
            Some(address) => networks.any(|network| network.contains(address)),
            None => self.unix,
        }
    }
}

with_defaults! {
    /// The settings of an engine.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct Settings {
        /// The listeners of the relaying shards.
        pub listen: Vec<Listen> = vec![SocketAddr::from(([127, 0, 0, 1], 0)).into()],
        /// Permissions of the files of Unix sockets.
        pub unix_mode: u32 = 0o660,
        /// The listeners of the admin shard; empty: there is no admin shard.
        pub admin_listen: Vec<Listen> = Vec::new(),
        /// Relaying shards, 1 to 255.
        pub shards: usize = 1,
        /// Whether every shard is bound to a core of its own.
        pub pin: bool = false,
        /// How long a shard polls before it sleeps.
        pub spin: Duration = Duration::ZERO,
        /// A shard's receive buffer, in bytes.
        pub read_buffer_bytes: usize = 256 * 1024,
        /// The sockets' send buffer in bytes; `None`: the operating system decides.
        pub send_buffer_bytes: Option<usize> = None,
        /// Bounds on what clients can make the engine hold.
        pub limits: Limits = Limits::default(),
        /// Connections of the process; `None`: no limit.
        pub connections_max: Option<usize> = None,
        /// Connections over a limit that are kept until their refusal is sent, or that linger after
        /// it; at most 16 of one address. They do not count towards other limits. If there are
        /// more, the oldest are refused and closed at once. [`super::FileBudget`] says how many
        /// fit.
        pub refusing_max: usize = REFUSING_MAX,
        /// Connections of the admin shard, at most half of them of one address. If there are more,
        /// the least important one is closed.
        pub admin_connections_max: usize = ADMIN_CONNECTIONS_MAX,
        /// Connections of one address (IPv6: of one /64); `None`: no limit.
        pub connections_per_ip_max: Option<usize> = None,
        /// The networks whose connections the relaying shards accept. A change does not affect open
        /// connections.
        pub networks: Networks = Networks::default(),
        /// How often one address (IPv6: one /64) may connect; `None`: no limit.
        pub connects_per_ip: Option<TokenRate> = None,
        /// Networks that the limits for one address do not apply to.
        pub exempt_networks: Vec<Network> = Vec::new(),
        /// Proxies whose statements about their clients' addresses are trusted.
        pub trusted_proxies: TrustedProxies = TrustedProxies::default(),
        /// Whether connections of trusted proxies to the relaying shards begin with a header of the
        /// PROXY protocol, before TLS and HTTP. Other connections never do.
        pub proxy_protocol: bool = false,
        /// Memory for everything that waits to be sent in the process, in bytes, including buffers,
        /// queues, TLS and compression.
        pub process_bytes_max: usize = 512 * 1024 * 1024,
        /// Deadlines.
        pub timeouts: Timeouts = Timeouts::default(),
        /// The shutdown of the process.
        pub shutdown: Shutdown = Shutdown::default(),
    }
}

impl Settings {
    /// Whether a listener covers all of IPv4 on this port. Port 0 never does, since each use gets
    /// another port.
    pub(super) fn has_all_of_ipv4(&self, port: u16) -> bool {
        let all = ListenAddress::Tcp((std::net::Ipv4Addr::UNSPECIFIED, port).into());
        let mut listeners = self.listen.iter().chain(&self.admin_listen);
        port != 0 && listeners.any(|listen| listen.address == all)
    }
}
