//! Notation and bounds of the values of keys.

use std::marker::PhantomData;
use std::time::Duration;

use crate::config::value::{Count, Hidden, List, Mapped, Or, Size, Span, Switch, Text, Word};
use crate::config::{
    CloseRevoked, ConnectionLimit, KIB, Listener, LogFormat, LogLevel, MIB, Network, OnDuplicate,
    Origin, RatePolicy, Shards, TrustedProxy,
};
use crate::engine::SlowPolicy;

pub(in crate::config) const ON_DUPLICATE: Word<OnDuplicate> = Word(&[
    ("refuse", OnDuplicate::Refuse),
    ("replace", OnDuplicate::Replace),
    ("share", OnDuplicate::Share),
]);

pub(in crate::config) const HEADER_VALUE: Text = Text { bytes_max: 256 };
pub(in crate::config) const ORIGIN: Or<Text> = Or(&["off"], HEADER_VALUE);

pub(in crate::config) const PENDING: Count = Count {
    min: 1,
    max: 10_000_000,
};
pub(in crate::config) const NETWORKS: List<Network> = List("networks", PhantomData);
pub(in crate::config) const LISTENERS: List<Listener> = List("listeners", PhantomData);
pub(in crate::config) const ORIGINS: List<Origin> = List("origins", PhantomData);
pub(in crate::config) const CLOSE_REVOKED: Word<CloseRevoked> = Word(&[
    ("keys", CloseRevoked::Keys),
    ("all", CloseRevoked::All),
    ("off", CloseRevoked::Off),
]);
pub(in crate::config) const AUTH_ENABLED: Or<Switch> = Or(&["auto"], Switch);
pub(in crate::config) const AUTO_OR_SWITCH: Or<Switch> = Or(&["auto"], Switch);
pub(in crate::config) const JWT_SECRET: Hidden = Hidden {
    bytes_min: 32,
    bytes_max: KIB,
};
pub(in crate::config) const CLAIM: Text = Text { bytes_max: 256 };
pub(in crate::config) const LEEWAY: Span = Span {
    min: Duration::ZERO,
    max: Duration::from_secs(300),
};
pub(in crate::config) const TRUSTED_PROXIES: List<TrustedProxy> = List("networks", PhantomData);

pub(in crate::config) const SPAN_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
pub(in crate::config) const SPAN: Span = Span {
    min: Duration::from_millis(10),
    max: SPAN_MAX,
};
pub(in crate::config) const SPAN_OR_ZERO: Span = Span {
    min: Duration::ZERO,
    max: SPAN_MAX,
};
pub(in crate::config) const OFF_OR_SPAN: Mapped<Or<Span>, Duration> = Mapped {
    codec: Or(&["off", "0", "0s"], SPAN),
    from: Option::unwrap_or_default,
    into: |span| Some(*span).filter(|span| !span.is_zero()),
};

pub(in crate::config) const BUFFER_BYTES: Size = Size {
    min: 4 * KIB,
    max: 64 * MIB,
};
pub(in crate::config) const MESSAGE_BYTES: Size = Size {
    min: 1,
    max: KIB * MIB,
};
pub(in crate::config) const FRAME_BYTES: Or<Size> = Or(&["0", "off"], MESSAGE_BYTES);
pub(in crate::config) const MEMORY_BYTES: Size = Size {
    min: KIB,
    max: KIB * KIB * MIB,
};
pub(in crate::config) const HEAD_BYTES: Size = Size { min: KIB, max: MIB };
pub(in crate::config) const ROOM_NAME_BYTES: Size = Size {
    min: 1,
    max: 64 * KIB,
};
pub(in crate::config) const ROOMS: Count = Count {
    min: 1,
    max: 1_000_000,
};
pub(in crate::config) const COUNT: Count = Count {
    min: 1,
    max: 100_000_000,
};

/// Connects or messages per second; the most that a token bucket can hold.
pub(in crate::config) const PER_SECOND: Count = Count {
    min: 1,
    max: 1 << 30,
};
pub(in crate::config) const DEFLATE_BYTES: Size = Size {
    min: 0,
    max: KIB * MIB,
};
pub(in crate::config) const DEFLATE_LEVEL: Mapped<Count, u8> = Mapped {
    codec: Count { min: 1, max: 9 },
    from: |level| level as u8,
    into: |level| usize::from(*level),
};

pub(in crate::config) const SPIN_US: Mapped<Count, u32> = Mapped {
    codec: Count {
        min: 0,
        max: 1_000_000,
    },
    from: |count| count as u32,
    into: |spin_us| *spin_us as usize,
};

pub(in crate::config) const SHARDS: Mapped<Or<Count>, Shards> = Mapped {
    codec: Or(&["auto"], Count { min: 1, max: 255 }),
    from: |count| count.map_or(Shards::Auto, |count| Shards::Count(count as u16)),
    into: |shards| match shards {
        Shards::Auto => None,
        Shards::Count(count) => Some(usize::from(*count)),
    },
};

pub(in crate::config) const CONNECTIONS: Mapped<Or<Or<Count>>, ConnectionLimit> = Mapped {
    codec: Or(&["auto"], Or(&["0", "off"], COUNT)),
    from: |limit| match limit {
        None => ConnectionLimit::Auto,
        Some(None) => ConnectionLimit::Unlimited,
        Some(Some(count)) => ConnectionLimit::Count(count),
    },
    into: |limit| match limit {
        ConnectionLimit::Auto => None,
        ConnectionLimit::Unlimited => Some(None),
        ConnectionLimit::Count(count) => Some(Some(*count)),
    },
};

pub(in crate::config) const POLICY: Word<SlowPolicy> = Word(&[
    ("disconnect", SlowPolicy::Disconnect),
    ("drop_oldest", SlowPolicy::DropOldest),
    ("drop_newest", SlowPolicy::DropNewest),
    ("latest_only", SlowPolicy::LatestOnly),
]);

pub(in crate::config) const RATE_POLICY: Word<RatePolicy> = Word(&[
    ("delay", RatePolicy::Delay),
    ("drop", RatePolicy::Drop),
    ("close", RatePolicy::Close),
]);

/// Some earlier relays write `warning` for `warn`.
pub(in crate::config) const LEVEL: Word<LogLevel> = Word(&[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("warning", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
]);

pub(in crate::config) const FORMAT: Word<LogFormat> =
    Word(&[("text", LogFormat::Text), ("json", LogFormat::Json)]);
