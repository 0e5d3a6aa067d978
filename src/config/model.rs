//! The [`Config`]: all sections together.

use std::collections::BTreeMap;
use std::net::IpAddr;

use corecast_engine::with_defaults;

use super::admin::AdminConfig;
use super::api::ApiConfig;
use super::auth::{AuthConfig, Need};
use super::endpoint::{EndpointConfig, built_in_endpoints};
use super::sections::{
    CorsConfig, EngineConfig, HealthConfig, LimitsConfig, LoggingConfig, MetricsConfig,
    PagesConfig, RateConfig, ServerConfig, SlowClientConfig,
};
use crate::engine::{Deflate, Keepalive, Networks, Shutdown, Timeouts};
use crate::guard::Origins;

with_defaults! {
    /// Everything an operator can decide, checked. `Config::default()` is what runs without a
    /// file: the documented defaults, chosen for the open internet.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Config {
        /// Where the relay listens.
        pub server: ServerConfig = ServerConfig::default(),
        /// Threads and socket buffers.
        pub engine: EngineConfig = EngineConfig::default(),
        /// The endpoints by name. The built-in ones are always present, enabled or not.
        pub endpoints: BTreeMap<String, EndpointConfig> = built_in_endpoints(),
        /// Networks that may connect.
        pub networks: Networks = Networks::default(),
        /// Pages that may connect.
        pub origins: Origins = Origins::default(),
        /// Credentials that clients need.
        pub auth: AuthConfig = AuthConfig::default(),
        /// Bounds on what clients can make the relay hold.
        pub limits: LimitsConfig = LimitsConfig::default(),
        /// Bounds and policy for clients that read more slowly than messages arrive.
        pub slow_client: SlowClientConfig = SlowClientConfig::default(),
        /// How much a client may send.
        pub rate: RateConfig = RateConfig::default(),
        /// Pings, and when a silent client is closed.
        pub keepalive: Keepalive = Keepalive::default(),
        /// Compression of messages.
        pub deflate: Deflate = Deflate::default(),
        /// Deadlines of a connection's phases.
        pub timeouts: Timeouts = Timeouts::default(),
        /// Shutdown of the process.
        pub shutdown: Shutdown = Shutdown::default(),
        /// The admin listener.
        pub metrics: MetricsConfig = MetricsConfig::default(),
        /// The dashboard.
        pub admin: AdminConfig = AdminConfig::default(),
        /// Contents of `/health`.
        pub health: HealthConfig = HealthConfig::default(),
        /// Which web pages may read answers.
        pub cors: CorsConfig = CorsConfig::default(),
        /// The HTTP API for back ends.
        pub api: ApiConfig = ApiConfig::default(),
        /// The demo pages.
        pub pages: PagesConfig = PagesConfig::default(),
        /// The log.
        pub logging: LoggingConfig = LoggingConfig::default(),
    }
}

impl Config {
    /// The address of the admin listener: `metrics.host`, else `server.host`.
    pub fn metrics_host(&self) -> IpAddr {
        self.metrics.host.unwrap_or(self.server.host)
    }

    /// Whether clients of `endpoint` need a key or a token.
    pub fn needs_auth(&self, endpoint: &EndpointConfig) -> bool {
        self.need_of(endpoint) == Need::Credentials
    }

    /// Whether `/health` of the main listener lists the users of `endpoint`.
    pub fn tells_users_of(&self, endpoint: &EndpointConfig) -> bool {
        self.health.users.unwrap_or(!self.needs_auth(endpoint))
    }

    /// Whether `/health` of the admin listener lists the users of `endpoint`. The admin listener
    /// also answers clients that `networks` or `server.tls.client_ca_file` exclude elsewhere.
    pub fn tells_admins_users_of(&self, endpoint: &EndpointConfig) -> bool {
        let is_open_to_all =
            self.networks == Networks::default() && self.server.tls.client_ca_file.is_none();
        let is_told = || is_open_to_all && !self.needs_auth(endpoint);
        self.health.users.unwrap_or_else(is_told)
    }
}
