//! What an endpoint may have instead of the common settings.

use std::path::PathBuf;
use std::time::Duration;

use super::sections::SlowClientPolicy;
use crate::engine::RatePolicy;
use crate::guard::{ApiKey, Origin, Secret};

/// A setting of one endpoint; `None` (null or absent in the file) means as for everybody.
pub type Override<T> = Option<T>;

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

/// `endpoints.<name>.origins`; see [`super::Origins`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OriginsOverride {
    /// Pages that may connect.
    pub allow: Override<Vec<Origin>>,
    /// Whether who sends no origin may.
    pub allow_missing: Override<bool>,
}

/// `endpoints.<name>.auth`; see [`super::AuthConfig`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthOverride {
    /// Whether keys and tokens are needed; `Some(None)`: where there are any.
    pub enabled: Override<Option<bool>>,
    /// API keys.
    pub keys: Override<Vec<ApiKey>>,
    /// More of them.
    pub keys_file: Override<PathBuf>,
    /// Tokens.
    pub jwt: JwtOverride,
}

/// `endpoints.<name>.auth.jwt`; see [`super::JwtConfig`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JwtOverride {
    /// The secret of HS256.
    pub secret: Override<Secret>,
    /// Public keys.
    pub keys_file: Override<PathBuf>,
    /// What `iss` has to be.
    pub issuer: Override<String>,
    /// What `aud` has to be or to hold.
    pub audience: Override<String>,
}

impl AuthOverride {
    /// Whether it has keys of its own.
    pub(super) fn has_keys(&self) -> bool {
        let is_listed = self.keys.as_ref().is_some_and(|keys| !keys.is_empty());
        let jwt = &self.jwt;
        is_listed || self.keys_file.is_some() || jwt.secret.is_some() || jwt.keys_file.is_some()
    }
}
