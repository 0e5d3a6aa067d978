//! What an engine is started with. The builder checks it; the shards share it, read-only.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use strum::VariantNames;

use crate::engine::network::{Network, Networks};
use crate::engine::rate::TokenRate;
use crate::limits::{ADMIN_CONNECTIONS_MAX, REFUSING_MAX};
use crate::peer::Peer;

/// Structs whose defaults stand beside their fields, so that a number has one place.
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

/// What to do about a client that reads too slowly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SlowPolicy {
    /// Close it with 1013.
    #[default]
    Disconnect,
    /// Drop the frames that have waited longest.
    DropOldest,
    /// Do not queue new frames while the outbox is full.
    DropNewest,
    /// Keep of every room the latest frame alone.
    LatestOnly,
}

with_defaults! {
    /// Bounds of one connection's outbox, and what happens past them.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct SlowClient {
        /// What happens past the bounds.
        pub policy: SlowPolicy = SlowPolicy::Disconnect,
        /// Bytes that may wait for a client whose last send would have blocked. It must hold a
        /// frame of the largest size.
        pub outbox_bytes: usize = 64 * 1024 * 1024,
        /// How long the oldest frame may wait for such a client. Zero: no limit.
        pub outbox_age: Duration = Duration::from_secs(10),
    }
}

with_defaults! {
    /// When a client that says nothing is asked whether it lives, and given up.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Keepalive {
        /// Interval of pings. Zero: none are sent.
        pub ping: Duration = Duration::from_secs(30),
        /// A client of which nothing was heard for so long is closed. Zero: never.
        pub pong: Duration = Duration::from_secs(60),
    }
}

with_defaults! {
    /// Whether and what is compressed (permessage-deflate, RFC 7692). Context is never taken over.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Deflate {
        /// Whether it is agreed to where a client offers it.
        pub enabled: bool = false,
        /// Smaller messages are sent as they are, in bytes of payload.
        pub min_bytes: usize = 128,
        /// 1 (fastest) to 9 (smallest).
        pub level: u8 = 1,
    }
}

/// What happens to a connection that sends more than it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum RatePolicy {
    /// It is not read until it may send again: nothing is lost, and TCP slows the client down. None
    /// of its deadlines runs meanwhile.
    #[default]
    Delay,
    /// The messages that are too much are dropped.
    Drop,
    /// It is closed with 1008.
    Close,
}

impl RatePolicy {
    /// The labels in the metrics, in the order of the variants.
    pub const LABELS: &'static [&'static str] = Self::VARIANTS;
}

/// How much one connection may send. A message gets through while there is a token for it of each
/// kind, and takes one for itself and one for each byte of its payload, also where that is more
/// than there are ([`super::TokenBucket`]). Of a compressed message the bytes count that it
/// inflates to. A ping or a pong counts as a message of its payload, and each fragment but the last
/// as one without any, except that they are never dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rate {
    /// Messages. `None`: any number.
    pub messages: Option<TokenRate>,
    /// Bytes of payload. `None`: any number.
    pub bytes: Option<TokenRate>,
    /// What happens to what is more.
    pub policy: RatePolicy,
}

impl Rate {
    /// Whether there is any bound.
    pub fn is_on(&self) -> bool {
        self.messages.is_some() || self.bytes.is_some()
    }
}

with_defaults! {
    /// What one endpoint's connections may do.
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
        /// For a request to arrive, from the first byte that may come.
        pub handshake: Duration = Duration::from_secs(10),
        /// For a message to be finished that was begun. Zero: no limit.
        pub message: Duration = Duration::from_secs(60),
        /// For the client's Close after ours, and for the end of the stream after that.
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

    /// How the process ends.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Shutdown {
        /// From the moment when `is_ready` turns false to the end of accepting.
        pub delay: Duration = Duration::ZERO,
        /// Latest end of the process, counted from the end of `delay`.
        pub timeout: Duration = Duration::from_secs(10),
    }
}

/// Where a listener is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ListenAddress {
    /// TCP; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A Unix socket at this path. Its file is removed at the end, and at the start where no
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
    /// Where it is.
    pub address: ListenAddress,
    /// Whether its clients speak TLS, and nothing else. [`super::Builder::tls`] has to be there.
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

/// Who is believed when it says on whose behalf it connects or asks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrustedProxies {
    /// Networks of proxies.
    pub networks: Vec<Network>,
    /// Whether whoever connects to a Unix socket is one.
    pub unix: bool,
}

impl TrustedProxies {
    /// Whether this peer is one.
    pub fn contains(&self, peer: Peer) -> bool {
        let mut networks = self.networks.iter();
        match peer.ip() {
            Some(address) => networks.any(|network| network.contains(address)),
            None => self.unix,
        }
    }
}

with_defaults! {
    /// What an engine is started with.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct Settings {
        /// Where the relaying shards listen.
        pub listen: Vec<Listen> = vec![SocketAddr::from(([127, 0, 0, 1], 0)).into()],
        /// Permissions of the files of Unix sockets.
        pub unix_mode: u32 = 0o660,
        /// Where the admin shard listens; empty: there is none.
        pub admin_listen: Vec<Listen> = Vec::new(),
        /// Relaying shards, 1 to 255.
        pub shards: usize = 1,
        /// Whether every shard is bound to a core of its own.
        pub pin: bool = false,
        /// How long a shard polls before it sleeps.
        pub spin: Duration = Duration::ZERO,
        /// A shard's receive buffer, in bytes.
        pub read_buffer_bytes: usize = 256 * 1024,
        /// The sockets' send buffer in bytes; `None` leaves it to the operating system.
        pub send_buffer_bytes: Option<usize> = None,
        /// Bounds on what clients can make it hold.
        pub limits: Limits = Limits::default(),
        /// Connections of the process; `None`: no limit.
        pub connections_max: Option<usize> = None,
        /// Connections that are over a limit and are kept until they were told so, or that linger,
        /// having been told all; 16 of one address. They count towards no other limit. If there are
        /// more, those that came first are told at once, and closed. [`super::FileBudget`] says how
        /// many fit.
        pub refusing_max: usize = REFUSING_MAX,
        /// Connections of the admin shard, half of them for one address; one more takes the place
        /// of the one that is missed least.
        pub admin_connections_max: usize = ADMIN_CONNECTIONS_MAX,
        /// Connections of one address (IPv6: of one /64); `None`: no limit.
        pub connections_per_ip_max: Option<usize> = None,
        /// Whose connections the relaying shards take. Open ones stay when this changes.
        pub networks: Networks = Networks::default(),
        /// How often one address (IPv6: one /64) may connect; `None`: as often as it likes.
        pub connects_per_ip: Option<TokenRate> = None,
        /// Networks that the limits for one address do not apply to.
        pub exempt_networks: Vec<Network> = Vec::new(),
        /// Proxies whose word about their clients' addresses counts.
        pub trusted_proxies: TrustedProxies = TrustedProxies::default(),
        /// Whether connections of trusted proxies to the relaying shards begin with a header of the
        /// PROXY protocol, before TLS and HTTP. Those of everybody else never do.
        pub proxy_protocol: bool = false,
        /// Bytes of all that waits to be sent in the process, and of what it takes to send it:
        /// buffers, queues, TLS, compression.
        pub process_bytes_max: usize = 512 * 1024 * 1024,
        /// Deadlines.
        pub timeouts: Timeouts = Timeouts::default(),
        /// The end of the process.
        pub shutdown: Shutdown = Shutdown::default(),
    }
}

impl Settings {
    /// Whether a listener takes all of IPv4 on this port; port 0 is never the same one twice.
    pub(super) fn has_all_of_ipv4(&self, port: u16) -> bool {
        let all = ListenAddress::Tcp((std::net::Ipv4Addr::UNSPECIFIED, port).into());
        let mut listeners = self.listen.iter().chain(&self.admin_listen);
        port != 0 && listeners.any(|listen| listen.address == all)
    }
}
