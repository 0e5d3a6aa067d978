//! File, environment and flags become one checked [`Config`].
//!
//! The binary calls [`cli`]; an embedder builds a [`Config`] in code (`Config::default()` and
//! struct update) or calls [`load()`] with texts of its own. The rules of this module:
//!
//! - The path of a field is the path of its key: `config.limits.message_bytes` is
//!   `limits.message_bytes` in the file, `CORECAST_LIMITS_MESSAGE_BYTES` in the environment and
//!   `--set limits.message_bytes=…` on the command line.
//! - One row of a table ([`keys`]) describes a key; reading, printing, environment names,
//!   suggestions, `config.yaml`, `docs/configuration.md`, the JSON Schema and what a reload changes
//!   all come from it. Sections that the engine also has are the engine's own types.
//! - Values are parsed, not merely validated: durations are [`Duration`]s, sizes are bytes, "no
//!   limit" is `None`. For durations that can be off, zero means off, as in the engine.
//! - Loading is a pure function of the texts that it is given, and reports every problem at once.
//!
//! [`Duration`]: std::time::Duration

mod admin;
mod api;
mod auth;
mod check;
pub mod command;
mod endpoint;
mod error;
mod form;
mod guard;
pub mod keys;
mod listener;
mod load;
mod model;
mod nostr;
mod overrides;
mod print;
mod quantity;
mod recognize;
mod reference;
mod reload;
mod schema;
mod sections;
mod settings;
mod texts;
pub mod token;
mod tree;
mod value;
mod warnings;

pub use self::admin::AdminConfig;
pub use self::api::ApiConfig;
pub use self::auth::{AuthConfig, JwtConfig, Need};
pub use self::check::{API_PATHS, DEMO_PATHS, PAGE_PATHS};
pub use self::endpoint::{
    EndpointConfig, EndpointKind, HubOptions, Kind, NamedOptions, OnDuplicate, PubSubOptions,
    PushOptions,
};
pub use self::error::{ConfigError, Problem};
pub use self::listener::{Listener, ListenerError, TrustedProxy, TrustedProxyError};
pub use self::load::{ConfigFile, FlagValue, load};
pub use self::model::Config;
pub use self::nostr::{
    NostrAuthConfig, NostrChallenge, NostrConfig, NostrEventsConfig, NostrInfoConfig, NostrKinds,
    NostrPolicy, NostrPolicyError, NostrQueriesConfig, NostrRate, NostrSyncConfig, RelayUrl,
    RelayUrlError,
};
pub use self::overrides::{
    AuthOverride, CorsOverride, DeflateOverride, EndpointLimits, JwtOverride, KeepaliveOverride,
    OriginsOverride, Override, RateOverride, SlowClientOverride,
};
pub use self::print::print_config;
pub use self::quantity::{KIB, MIB};
pub(crate) use self::recognize::is_config;
pub use self::reference::{explain, overview, reference_page};
pub use self::reload::{Change, Reloaded};
pub use self::schema::json_schema;
pub use self::sections::{
    ConnectionLimit, ConnectsConfig, CorsConfig, EngineConfig, HealthConfig, LimitsConfig,
    LogFormat, LogLevel, LogOutput, LoggingConfig, MetricsConfig, PagesConfig, RateConfig,
    ServerConfig, Shards, SlowClientConfig, TlsConfig,
};
pub use crate::engine::{Network, NetworkError, Networks, RatePolicy, SlowPolicy};
pub use crate::guard::{ApiKey, ApiKeyError, CloseRevoked, Origin, OriginError, Origins};

/// The command line: parses the arguments, then loads the config with file and environment.
///
/// `main` calls [`start`](cli::start) and gets a checked config, or the exit code if the process
/// has nothing more to do.
pub mod cli {
    pub use crate::cli::{Arguments, Command, DEFAULT_FILE, EXIT_CONFIG, Loaded, Started, start};
}
