//! The common sections, except those that have a file of their own.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::time::SystemTime;

use corecast_engine::with_defaults;

use super::error::{ConfigError, Problem};
use super::listener::{Listener, TrustedProxy};
use crate::engine::{
    EndpointSettings, Limits, Network, RatePolicy, Settings, SlowClient, Tls, TlsFiles,
};

with_defaults! {
    /// `server`: where the relay listens.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ServerConfig {
        /// Address to listen on. The default `::` means every address, including IPv4.
        pub host: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        /// TCP port; 0 asks the system for a free one.
        pub port: u16 = 8443,
        /// Further listeners.
        pub listen: Vec<Listener> = Vec::new(),
        /// Permissions of the files of Unix sockets.
        pub unix_mode: u32 = 0o660,
        /// Proxies whose statements about their clients' addresses are trusted.
        pub trusted_proxies: Vec<TrustedProxy> = Vec::new(),
        /// Whether connections of trusted proxies begin with a header of the PROXY protocol.
        pub proxy_protocol: bool = false,
        /// TLS on the relay's port.
        pub tls: TlsConfig = TlsConfig::default(),
    }
}

/// `server.tls`: if enabled, the relay's port accepts TLS only. The admin port never speaks TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// If this is true in a checked config, both files are set.
    pub enabled: bool,
    /// Certificate chain, PEM, relative to the working directory.
    pub cert_file: Option<PathBuf>,
    /// Private key, PEM, relative to the working directory.
    pub key_file: Option<PathBuf>,
    /// Authorities of client certificates, PEM; `None` means that clients need no certificate.
    pub client_ca_file: Option<PathBuf>,
}

with_defaults! {
    /// `engine`: threads and buffers.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct EngineConfig {
        /// Number of shards (threads that relay).
        pub shards: Shards = Shards::Auto,
        /// Bind each shard to a core of its own.
        pub pin: bool = false,
        /// How long a shard polls before it sleeps, µs; 0 sleeps at once.
        pub spin_us: u32 = 0,
        /// Size of a shard's one receive buffer, bytes.
        pub read_buffer_bytes: usize = Settings::default().read_buffer_bytes,
        /// Send buffer of each client's socket (`SO_SNDBUF`), bytes; `None` leaves it to the
        /// kernel.
        pub send_buffer_bytes: Option<usize> = None,
    }
}

/// `engine.shards`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shards {
    /// As many as there are cores in the CPU set, within the cgroup's quota.
    Auto,
    /// 1 to 255: a room's shard bitmap has 256 bits and one belongs to the admin shard.
    Count(u16),
}

with_defaults! {
    /// `limits`: bounds on what clients can make the relay hold.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct LimitsConfig {
        /// Largest message from a client, bytes; a larger one closes the connection (1009).
        pub message_bytes: usize = EndpointSettings::default().message_bytes,
        /// Largest single frame of a message, bytes; `None` means as large as the message.
        pub frame_bytes: Option<usize> = None,
        /// Connections at a time in the whole process; further ones get status 503.
        pub connections: ConnectionLimit = ConnectionLimit::Auto,
        /// Connections at a time from one address; further ones get 429. `None` means no limit.
        pub connections_per_ip: Option<usize> = Some(256),
        /// How often one address may connect; more often gets status 429.
        pub connects_per_ip: ConnectsConfig = ConnectsConfig::default(),
        /// Networks to which `connections_per_ip` and `connects_per_ip` do not apply.
        pub exempt_networks: Vec<Network> = vec![Network::LOOPBACK_V4, Network::LOOPBACK_V6],
        /// The keys that the engine has too, in its own type.
        pub shared: Limits = Limits::default(),
    }
}

impl Deref for LimitsConfig {
    type Target = Limits;

    fn deref(&self) -> &Limits {
        &self.shared
    }
}

impl DerefMut for LimitsConfig {
    fn deref_mut(&mut self) -> &mut Limits {
        &mut self.shared
    }
}

/// `limits.connects_per_ip`: a token bucket for each address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectsConfig {
    /// Connects a second, on average; `None` means no limit.
    pub rate: Option<usize>,
    /// Connects at once; `None` means as many as in two seconds.
    pub burst: Option<usize>,
}

/// `rate`: token buckets for what one connection sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateConfig {
    /// The action for clients that send more.
    pub policy: RatePolicy,
    /// Messages a second, on average; `None` means any number.
    pub messages: Option<usize>,
    /// Messages at once; `None` means as many as in one second.
    pub messages_burst: Option<usize>,
    /// Bytes of payload a second, on average; `None` means any number.
    pub bytes: Option<usize>,
    /// Bytes at once; `None` means as many as in one second.
    pub bytes_burst: Option<usize>,
}

/// `limits.connections`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionLimit {
    /// Derived from the open-file limit, less what the process needs for itself.
    Auto,
    /// No limit except the system's own.
    Unlimited,
    /// At most this many, at least 1.
    Count(usize),
}

with_defaults! {
    /// `slow_client`: bounds on the data that waits for one client, and for all clients together.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct SlowClientConfig {
        /// Memory for everything that waits to be sent in the whole process, including buffers and
        /// queues, bytes.
        pub process_bytes: usize = Settings::default().process_bytes_max,
        /// The keys that the engine has too, in its own type.
        pub shared: SlowClient = SlowClient::default(),
    }
}

impl Deref for SlowClientConfig {
    type Target = SlowClient;

    fn deref(&self) -> &SlowClient {
        &self.shared
    }
}

impl DerefMut for SlowClientConfig {
    fn deref_mut(&mut self) -> &mut SlowClient {
        &mut self.shared
    }
}

with_defaults! {
    /// `metrics`: the admin listener (`/metrics`, `/health`, `/livez`, `/readyz`).
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct MetricsConfig {
        /// Whether the admin listener exists.
        pub enabled: bool = true,
        /// Address of the admin listener; `None` means `server.host`.
        pub host: Option<IpAddr> = None,
        /// TCP port; 0 asks the system for a free one.
        pub port: u16 = 9090,
    }
}

with_defaults! {
    /// `health`: contents of `/health`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct HealthConfig {
        /// The value of `status` while all is well.
        pub status_word: String = "healthy".to_owned(),
        /// Whether it lists the users of named endpoints. `None`: only of endpoints to which
        /// everybody who can read `/health` may connect.
        pub users: Option<bool> = None,
    }
}

with_defaults! {
    /// `cors`: headers in the answers of `/health`, `/test/benchmark` and named endpoints.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct CorsConfig {
        /// `Access-Control-Allow-Origin`: the origin whose pages may read the answers. `None`: the
        /// header is not sent, so that only pages of the relay's own origin may.
        pub origin: Option<String> = Some("*".to_owned()),
        /// `Access-Control-Allow-Methods`.
        pub methods: String = "GET, POST, OPTIONS".to_owned(),
        /// `Access-Control-Allow-Headers`.
        pub headers: String = "Content-Type".to_owned(),
    }
}

/// `pages`: a chat, an audio room and a push console below `/demo/`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PagesConfig {
    /// Whether the pages are served.
    pub enabled: bool,
}

with_defaults! {
    /// `logging`: the log.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct LoggingConfig {
        /// The least important events that are logged.
        pub level: LogLevel = LogLevel::Info,
        /// Text for people or JSON for machines.
        pub format: LogFormat = LogFormat::Text,
        /// The destination of the log.
        pub output: LogOutput = LogOutput::Stderr,
    }
}

/// `logging.level`, most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Only problems that need an operator.
    Error,
    /// Also problems that may need one soon.
    Warn,
    /// Also starts, stops and reloads.
    Info,
    /// Also each connection.
    Debug,
    /// Everything.
    Trace,
}

/// `logging.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line for each event.
    Text,
    /// One JSON object for each event.
    Json,
}

/// `logging.output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// A file to append to; a relative path starts at the working directory.
    File(PathBuf),
}

impl ServerConfig {
    /// Whether any listener may speak TLS: that of host and port, a further one, or one that the
    /// service manager passes.
    fn may_speak_tls(&self) -> bool {
        let has_tls =
            |each: &Listener| matches!(each, Listener::Tcp { tls: true, .. } | Listener::Systemd);
        self.tls.enabled || self.listen.iter().any(has_tls)
    }

    /// Reads the files of `tls` if any listener may need them, and checks them as of `now`.
    ///
    /// # Errors
    ///
    /// A file that cannot be used, with the key that names it as its place.
    pub fn load_tls(&self, now: SystemTime) -> Result<Option<Tls>, ConfigError> {
        let tls = &self.tls;
        let (true, Some(cert_file), Some(key_file)) =
            (self.may_speak_tls(), &tls.cert_file, &tls.key_file)
        else {
            return Ok(None);
        };
        let files = TlsFiles {
            cert_file: cert_file.clone(),
            key_file: key_file.clone(),
            client_ca_file: tls.client_ca_file.clone(),
        };
        Tls::load(&files, now).map(Some).map_err(|error| {
            let key = match error.file() {
                Some(path) if *path == files.key_file => "server.tls.key_file",
                Some(path) if Some(path) == tls.client_ca_file.as_ref() => {
                    "server.tls.client_ca_file"
                }
                Some(_) => "server.tls.cert_file",
                None => "server.tls",
            };
            let problem = Problem {
                place: key.to_owned(),
                message: error.to_string(),
            };
            ConfigError {
                problems: vec![problem],
            }
        })
    }
}
