//! Settings that an endpoint can override.

use std::path::PathBuf;
use std::time::Duration;

use super::sections::{CorsConfig, LimitsConfig, RateConfig};
use crate::engine::{Deflate, Keepalive, RatePolicy, SlowClient, SlowPolicy};
use crate::guard::{ApiKey, Origin, Secret};

/// A setting of one endpoint; `None` (null or absent in the file) means the common setting.
pub type Override<T> = Option<T>;

/// Settings of one endpoint in place of a common section, and a function that applies them.
macro_rules! overrides {
    ($(
        $(#[$of_struct:meta])*
        pub struct $name:ident of $common:ty {
            $($(#[$of_field:meta])* pub $field:ident: $type:ty,)*
        }
    )*) => {$(
        $(#[$of_struct])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$of_field])* pub $field: Override<$type>,)*
        }

        impl $name {
            /// The common settings with these overrides applied.
            pub fn over(&self, common: &$common) -> $common {
                let mut settings = Clone::clone(common);
                $(if let Some(own) = &self.$field {
                    settings.$field.clone_from(own);
                })*
                settings
            }
        }
    )*};
}

overrides! {
    /// `endpoints.<name>.cors`; see [`CorsConfig`]. `Some(None)` means off.
    pub struct CorsOverride of CorsConfig {
        /// The origin whose pages may read the answers.
        pub origin: Option<String>,
        /// The methods that these pages may use.
        pub methods: String,
        /// The headers that these pages may send.
        pub headers: String,
    }

    /// `endpoints.<name>.limits`; see [`LimitsConfig`].
    pub struct EndpointLimits of LimitsConfig {
        /// Largest message, bytes.
        pub message_bytes: usize,
        /// Largest frame, bytes; `Some(None)` means as large as the message.
        pub frame_bytes: Option<usize>,
    }

    /// `endpoints.<name>.slow_client`; see [`SlowClient`].
    pub struct SlowClientOverride of SlowClient {
        /// The action when a bound is reached.
        pub policy: SlowPolicy,
        /// Most bytes that wait for one client.
        pub outbox_bytes: usize,
        /// Longest time that a frame waits; zero means no such bound.
        pub outbox_age: Duration,
    }

    /// `endpoints.<name>.keepalive`; see [`Keepalive`]. Zero means off.
    pub struct KeepaliveOverride of Keepalive {
        /// Interval between pings.
        pub ping: Duration,
        /// Longest silence.
        pub pong: Duration,
    }

    /// `endpoints.<name>.deflate`; see [`Deflate`].
    pub struct DeflateOverride of Deflate {
        /// Whether messages are compressed.
        pub enabled: bool,
        /// Smallest message that is compressed, bytes.
        pub min_bytes: usize,
        /// Level, from 1 (fastest) to 9 (smallest).
        pub level: u8,
    }

    /// `endpoints.<name>.rate`; see [`RateConfig`]. `Some(None)` means no bound, or a burst of one
    /// second.
    pub struct RateOverride of RateConfig {
        /// The action for clients that send more.
        pub policy: RatePolicy,
        /// Messages per second.
        pub messages: Option<usize>,
        /// Messages at once.
        pub messages_burst: Option<usize>,
        /// Bytes per second.
        pub bytes: Option<usize>,
        /// Bytes at once.
        pub bytes_burst: Option<usize>,
    }
}

/// `endpoints.<name>.origins`; see [`super::Origins`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OriginsOverride {
    /// Pages that may connect.
    pub allow: Override<Vec<Origin>>,
    /// Whether requests without an Origin are accepted.
    pub allow_missing: Override<bool>,
}

/// `endpoints.<name>.auth`; see [`super::AuthConfig`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthOverride {
    /// Whether credentials are required; `Some(None)`: if any is configured.
    pub enabled: Override<Option<bool>>,
    /// API keys.
    pub keys: Override<Vec<ApiKey>>,
    /// A file with further API keys.
    pub keys_file: Override<PathBuf>,
    /// JSON Web Tokens.
    pub jwt: JwtOverride,
}

/// `endpoints.<name>.auth.jwt`; see [`super::JwtConfig`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JwtOverride {
    /// The secret of HS256.
    pub secret: Override<Secret>,
    /// Public keys.
    pub keys_file: Override<PathBuf>,
    /// The required value of the claim `iss`.
    pub issuer: Override<String>,
    /// The value that the claim `aud` must have or contain.
    pub audience: Override<String>,
}

impl AuthOverride {
    /// Whether it configures keys of its own.
    pub(super) fn has_keys(&self) -> bool {
        let is_listed = self.keys.as_ref().is_some_and(|keys| !keys.is_empty());
        let jwt = &self.jwt;
        is_listed || self.keys_file.is_some() || jwt.secret.is_some() || jwt.keys_file.is_some()
    }
}
