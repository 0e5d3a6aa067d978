//! The sections that hold for everybody, those with a file of their own aside.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::error::{ConfigError, Problem};
use super::listener::{Listener, TrustedProxy};
use super::quantity::{KIB, MIB};
use crate::engine::{Network, RatePolicy, Tls, TlsFiles};

/// `server`: where the relay listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Address to listen on. The default `::` stands for every address, IPv4 included.
    pub host: IpAddr,
    /// TCP port; 0 asks the system for a free one.
    pub port: u16,
    /// Further listeners.
    pub listen: Vec<Listener>,
    /// Permissions of the files of Unix sockets.
    pub unix_mode: u32,
    /// Proxies whose word about their clients' addresses counts.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// Whether connections of trusted proxies begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// Whether its clients speak TLS, and with what.
    pub tls: TlsConfig,
}

/// `server.tls`: with it the relay's port speaks TLS, and nothing else. The admin port never does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// In a checked config both files are there where this is true.
    pub enabled: bool,
    /// Certificate chain, PEM, relative to the working directory.
    pub cert_file: Option<PathBuf>,
    /// Private key, PEM, relative to the working directory.
    pub key_file: Option<PathBuf>,
    /// Authorities whose certificates clients have to show, PEM; `None` means that they need none.
    pub client_ca_file: Option<PathBuf>,
}

/// `engine`: threads and buffers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// Number of shards (threads that relay).
    pub shards: Shards,
    /// Bind each shard to a core of its own.
    pub pin: bool,
    /// How long a shard polls before it sleeps, µs; 0 sleeps at once.
    pub spin_us: u32,
    /// Size of a shard's one receive buffer, bytes.
    pub read_buffer_bytes: usize,
    /// Send buffer of each client's socket (`SO_SNDBUF`), bytes; `None` leaves it to the kernel.
    pub send_buffer_bytes: Option<usize>,
}

/// `engine.shards`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shards {
    /// As many as there are cores in the CPU set, within the cgroup's quota.
    Auto,
    /// 1 to 255: a room's shard bitmap has 256 bits and one belongs to the admin shard.
    Count(u16),
}

/// `limits`: nothing a client does is unbounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Largest message from a client, bytes; one byte more is close code 1009.
    pub message_bytes: usize,
    /// Largest single frame of a message, bytes; `None` means as large as the message.
    pub frame_bytes: Option<usize>,
    /// Largest HTTP request head, bytes; more is status 431.
    pub head_bytes: usize,
    /// Connections at a time in the whole process; more is status 503.
    pub connections: ConnectionLimit,
    /// Connections at a time from one address; more is status 429. `None` means no limit.
    pub connections_per_ip: Option<usize>,
    /// How often one address may connect; more is status 429.
    pub connects_per_ip: ConnectsConfig,
    /// Networks to which `connections_per_ip` and `connects_per_ip` do not apply.
    pub exempt_networks: Vec<Network>,
    /// Partly received messages of all clients together, bytes; over it the largest goes (1009).
    pub inbound_bytes: usize,
    /// Rooms that one connection can be in.
    pub rooms_per_connection: usize,
    /// Longest name of a room, bytes.
    pub room_name_bytes: usize,
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
    /// What happens to what is more.
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
    /// No limit but the system's own.
    Unlimited,
    /// At most this many, at least 1.
    Count(usize),
}

/// `slow_client`: bounds of what waits for one client, and of all that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowClientConfig {
    /// What happens at a bound.
    pub policy: SlowClientPolicy,
    /// Most that waits for one client, bytes; holds at least one message of the largest size.
    pub outbox_bytes: usize,
    /// Longest that a frame waits for a client that takes nothing; `None` means no such bound.
    pub outbox_age: Option<Duration>,
    /// Memory of all that waits to be sent and of what it takes to send it, process-wide, bytes.
    pub process_bytes: usize,
}

/// What happens to a client whose outbox is full or too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowClientPolicy {
    /// Close with 1013, so that it comes back and knows that it missed something.
    Disconnect,
    /// The oldest frames go; the client sees a gap and then the newest.
    DropOldest,
    /// New frames are not queued; the client sees the old ones and then a gap.
    DropNewest,
    /// Only the latest frame of each room is kept.
    LatestOnly,
}

/// `keepalive`: `None` switches the half off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepaliveConfig {
    /// Interval between pings to one client.
    pub ping: Option<Duration>,
    /// A client from which nothing at all was heard for so long is closed.
    pub pong: Option<Duration>,
}

/// `deflate`: compression of messages (permessage-deflate, RFC 7692), without context takeover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflateConfig {
    /// Whether it is agreed to where a client offers it.
    pub enabled: bool,
    /// Smaller messages are sent as they are, bytes.
    pub min_bytes: usize,
    /// 1 (fastest) to 9 (smallest).
    pub level: u8,
}

/// `timeouts`: deadlines of a connection's phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeoutsConfig {
    /// From accept to the end of the HTTP request head.
    pub handshake: Duration,
    /// From a message's first byte to its last.
    pub message: Duration,
    /// From our Close to the client's answer.
    pub close: Duration,
}

/// `shutdown`: what happens after SIGINT or SIGTERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownConfig {
    /// Between `/readyz` turning 503 and the end of accepting.
    pub delay: Duration,
    /// Latest exit, counted from the end of `delay`.
    pub timeout: Duration,
}

/// `metrics`: the admin listener (`/metrics`, `/health`, `/livez`, `/readyz`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Whether anything listens on the admin port.
    pub enabled: bool,
    /// Address of the admin listener; `None` means `server.host`.
    pub host: Option<IpAddr>,
    /// TCP port; 0 asks the system for a free one.
    pub port: u16,
}

/// `health`: what `/health` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthConfig {
    /// The value of `status` while all is well.
    pub status_word: String,
    /// Whether it lists the users of named endpoints. `None`: of those that anybody may come in at
    /// who can ask.
    pub users: Option<bool>,
}

/// `cors`: what `/health`, `/test/benchmark` and named endpoints tell browsers with every answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsConfig {
    /// `Access-Control-Allow-Origin`: pages of which origin may read the answers. `None` means that
    /// nothing is said, so that only pages of the relay's own origin may.
    pub origin: Option<String>,
    /// `Access-Control-Allow-Methods`.
    pub methods: String,
    /// `Access-Control-Allow-Headers`.
    pub headers: String,
}

/// `pages`: a chat, an audio room and a push console below `/demo/`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PagesConfig {
    /// Whether they are served.
    pub enabled: bool,
}

/// `logging`: the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggingConfig {
    /// The least important events that are written.
    pub level: LogLevel,
    /// Lines for people or for machines.
    pub format: LogFormat,
    /// Where they go.
    pub output: LogOutput,
}

/// `logging.level`, most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Only what needs somebody.
    Error,
    /// Also what may soon.
    Warn,
    /// Also starts, stops and changes.
    Info,
    /// Also each connection.
    Debug,
    /// Everything.
    Trace,
}

/// `logging.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line an event.
    Text,
    /// One JSON object an event.
    Json,
}

/// `logging.output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// A file that is appended to; a relative path starts at the working directory.
    File(PathBuf),
}

impl Default for CorsConfig {
    fn default() -> CorsConfig {
        CorsConfig {
            origin: Some("*".to_owned()),
            methods: "GET, POST, OPTIONS".to_owned(),
            headers: "Content-Type".to_owned(),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> LimitsConfig {
        LimitsConfig {
            message_bytes: MIB,
            frame_bytes: None,
            head_bytes: 16 * KIB,
            connections: ConnectionLimit::Auto,
            connections_per_ip: Some(256),
            connects_per_ip: ConnectsConfig::default(),
            exempt_networks: vec![Network::LOOPBACK_V4, Network::LOOPBACK_V6],
            inbound_bytes: 256 * MIB,
            rooms_per_connection: 64,
            room_name_bytes: 512,
        }
    }
}

impl ServerConfig {
    /// Whether any listener may speak TLS: host and port, a further one, or one that the service
    /// manager passes.
    fn may_speak_tls(&self) -> bool {
        let has_tls =
            |each: &Listener| matches!(each, Listener::Tcp { tls: true, .. } | Listener::Systemd);
        self.tls.enabled || self.listen.iter().any(has_tls)
    }

    /// Reads the files of `tls`, where any listener may need them, and checks them as of `now`.
    ///
    /// # Errors
    ///
    /// A file that cannot be used, under the key that names it.
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
