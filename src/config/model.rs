//! All sections together: the [`Config`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::admin::AdminConfig;
use super::api::ApiConfig;
use super::auth::{AuthConfig, Need};
use super::endpoint::{EndpointConfig, built_in_endpoints};
use super::quantity::{KIB, MIB};
use super::sections::{
    CorsConfig, DeflateConfig, EngineConfig, HealthConfig, KeepaliveConfig, LimitsConfig,
    LogFormat, LogLevel, LogOutput, LoggingConfig, MetricsConfig, PagesConfig, RateConfig,
    ServerConfig, Shards, ShutdownConfig, SlowClientConfig, SlowClientPolicy, TimeoutsConfig,
    TlsConfig,
};
use crate::engine::Networks;
use crate::guard::Origins;

/// Everything an operator can decide, checked. `Config::default()` is what runs without a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the relay listens.
    pub server: ServerConfig,
    /// Threads and socket buffers.
    pub engine: EngineConfig,
    /// What the paths do, by name. The built-in ones are always here, enabled or not.
    pub endpoints: BTreeMap<String, EndpointConfig>,
    /// Whose connections are taken.
    pub networks: Networks,
    /// Pages that may connect.
    pub origins: Origins,
    /// Keys and tokens that let a client in.
    pub auth: AuthConfig,
    /// Bounds on what clients can make the relay hold.
    pub limits: LimitsConfig,
    /// What happens to a client that does not read as fast as it is sent to.
    pub slow_client: SlowClientConfig,
    /// How much a client may send.
    pub rate: RateConfig,
    /// Pings, and when a silent client is given up.
    pub keepalive: KeepaliveConfig,
    /// Compression of messages.
    pub deflate: DeflateConfig,
    /// Deadlines of a connection's phases.
    pub timeouts: TimeoutsConfig,
    /// The end of the process.
    pub shutdown: ShutdownConfig,
    /// The admin listener.
    pub metrics: MetricsConfig,
    /// The dashboard.
    pub admin: AdminConfig,
    /// What `/health` tells.
    pub health: HealthConfig,
    /// Which web pages may read answers.
    pub cors: CorsConfig,
    /// The HTTP API for back ends.
    pub api: ApiConfig,
    /// Pages to try the relay with.
    pub pages: PagesConfig,
    /// The log.
    pub logging: LoggingConfig,
}

impl Default for Config {
    /// The documented defaults, chosen for the open internet; `config.yaml` spells them out.
    fn default() -> Config {
        Config {
            server: ServerConfig {
                host: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                port: 8443,
                listen: Vec::new(),
                unix_mode: 0o660,
                trusted_proxies: Vec::new(),
                proxy_protocol: false,
                tls: TlsConfig::default(),
            },
            engine: EngineConfig {
                shards: Shards::Auto,
                pin: false,
                spin_us: 0,
                read_buffer_bytes: 256 * KIB,
                send_buffer_bytes: None,
            },
            endpoints: built_in_endpoints(),
            networks: Networks::default(),
            origins: Origins::default(),
            auth: AuthConfig::default(),
            limits: LimitsConfig::default(),
            slow_client: SlowClientConfig {
                policy: SlowClientPolicy::Disconnect,
                outbox_bytes: 64 * MIB,
                outbox_age: Some(Duration::from_secs(10)),
                process_bytes: 512 * MIB,
            },
            rate: RateConfig::default(),
            keepalive: KeepaliveConfig {
                ping: Some(Duration::from_secs(30)),
                pong: Some(Duration::from_secs(60)),
            },
            deflate: DeflateConfig {
                enabled: false,
                min_bytes: 128,
                level: 1,
            },
            timeouts: TimeoutsConfig {
                handshake: Duration::from_secs(10),
                message: Duration::from_secs(60),
                close: Duration::from_secs(5),
            },
            shutdown: ShutdownConfig {
                delay: Duration::ZERO,
                timeout: Duration::from_secs(10),
            },
            metrics: MetricsConfig {
                enabled: true,
                host: None,
                port: 9090,
            },
            admin: AdminConfig::default(),
            health: HealthConfig {
                status_word: "healthy".to_owned(),
                users: None,
            },
            cors: CorsConfig::default(),
            api: ApiConfig::default(),
            pages: PagesConfig::default(),
            logging: LoggingConfig {
                level: LogLevel::Info,
                format: LogFormat::Text,
                output: LogOutput::Stderr,
            },
        }
    }
}

impl Config {
    /// The address of the admin listener: `metrics.host`, else `server.host`.
    pub fn metrics_host(&self) -> IpAddr {
        self.metrics.host.unwrap_or(self.server.host)
    }

    /// Whether only a key or a token lets a client in at `endpoint`.
    pub fn needs_auth(&self, endpoint: &EndpointConfig) -> bool {
        self.need_of(endpoint) == Need::Credentials
    }

    /// Whether `/health` lists the users of `endpoint`: to whoever may come in there.
    pub fn tells_users_of(&self, endpoint: &EndpointConfig) -> bool {
        self.health.users.unwrap_or(!self.needs_auth(endpoint))
    }

    /// The same for `/health` of the admin listener, which takes whom `networks` and
    /// `server.tls.client_ca_file` keep out elsewhere.
    pub fn tells_admins_users_of(&self, endpoint: &EndpointConfig) -> bool {
        let is_open_to_all =
            self.networks == Networks::default() && self.server.tls.client_ca_file.is_none();
        let is_told = || is_open_to_all && !self.needs_auth(endpoint);
        self.health.users.unwrap_or_else(is_told)
    }
}
