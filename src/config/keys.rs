//! The table of keys. Reading, printing, environment names and suggestions all come from it.
//!
//! A key is a line here and a field of [`Config`] with the same path. `config.yaml` in the
//! repository explains each key to operators; a test holds the two together.

use std::marker::PhantomData;
use std::sync::LazyLock;
use std::time::Duration;

use serde_yaml::{Mapping, Value};

use super::nostr;
use super::value::{
    Address, ApiKeys, Codec, Count, File, FileMode, Hidden, List, Mapped, OneKey, Or, OrNull,
    Output, Port, Size, Span, Switch, Text, UrlPath, Word, describe,
};
use super::{
    CloseRevoked, Config, ConnectionLimit, EndpointConfig, EndpointKind, KIB, Listener, LogFormat,
    LogLevel, MIB, Network, OnDuplicate, Origin, RatePolicy, Shards, SlowClientPolicy,
    TrustedProxy,
};
use crate::guard::HIDDEN;

/// What the name of every environment variable of ours starts with.
pub const ENVIRONMENT_PREFIX: &str = "CORECAST_";

/// One key of `S`: of the whole [`Config`], or of one [`EndpointConfig`].
pub struct Key<S: 'static> {
    /// The path with dots; for a key of an endpoint the part after `endpoints.<name>.`.
    pub path: &'static str,
    /// A name without prefix that works too, for configs of earlier relays.
    pub plain_environment: Option<&'static str>,
    /// Whether its value must not be shown: not by `--check`, not in an error.
    pub secret: bool,
    /// Whether its errors say nothing of its value.
    is_discreet: bool,
    read: fn(&mut S, &Value) -> Result<(), String>,
    show: fn(&S) -> Value,
}

/// A key, its path taken from the field that it sets.
macro_rules! key {
    ($first:ident $(. $rest:ident)*, $codec:expr $(; or $plain:literal)?) => {
        Key {
            path: concat!(stringify!($first) $(, ".", stringify!($rest))*),
            plain_environment: <[&str]>::first(&[$($plain)?]).copied(),
            secret: false,
            is_discreet: false,
            read: |scope, value| {
                scope.$first $(. $rest)* = $codec.read(value)?;
                Ok(())
            },
            show: |scope| $codec.show(&scope.$first $(. $rest)*),
        }
    };
}

/// The same key, its value hidden.
const fn secret<S>(mut key: Key<S>) -> Key<S> {
    key.secret = true;
    key
}

/// The same of a key whose codec says nothing of the value in its errors, so that they are told.
const fn discreet<S>(mut key: Key<S>) -> Key<S> {
    key.is_discreet = true;
    secret(key)
}

/// The same key under a path that is no field's, since `self` cannot be one.
const fn at<S>(path: &'static str, mut key: Key<S>) -> Key<S> {
    key.path = path;
    key
}

/// Every key except those of endpoints, in the order of `config.yaml`.
pub static KEYS: &[Key<Config>] = &[
    key!(server.host, Address),
    key!(server.port, Port; or "PORT"),
    key!(server.listen, LISTENERS),
    key!(server.unix_mode, FileMode),
    key!(server.trusted_proxies, TRUSTED_PROXIES),
    key!(server.proxy_protocol, Switch),
    key!(server.tls.enabled, Switch),
    key!(server.tls.cert_file, OrNull(File)),
    key!(server.tls.key_file, OrNull(File)),
    key!(server.tls.client_ca_file, OrNull(File)),
    key!(engine.shards, SHARDS),
    key!(engine.pin, Switch),
    key!(engine.spin_us, SPIN_US),
    key!(engine.read_buffer_bytes, BUFFER_BYTES; or "READ_BUFFER_SIZE"),
    key!(engine.send_buffer_bytes, Or(&["auto"], BUFFER_BYTES); or "WRITE_BUFFER_SIZE"),
    key!(networks.allow, NETWORKS),
    key!(networks.deny, NETWORKS),
    key!(origins.allow, ORIGINS),
    key!(origins.allow_missing, Switch),
    key!(auth.enabled, AUTH_ENABLED),
    discreet(key!(auth.keys, OrNull(ApiKeys))),
    key!(auth.keys_file, OrNull(File)),
    key!(auth.close_revoked, CLOSE_REVOKED),
    discreet(key!(auth.jwt.secret, OrNull(JWT_SECRET))),
    key!(auth.jwt.keys_file, OrNull(File)),
    key!(auth.jwt.issuer, OrNull(CLAIM)),
    key!(auth.jwt.audience, OrNull(CLAIM)),
    key!(auth.jwt.leeway, LEEWAY),
    key!(limits.message_bytes, MESSAGE_BYTES; or "MAX_MESSAGE_SIZE"),
    key!(limits.frame_bytes, FRAME_BYTES),
    key!(limits.head_bytes, HEAD_BYTES),
    key!(limits.connections, CONNECTIONS),
    key!(limits.connections_per_ip, Or(&["0", "off"], COUNT)),
    key!(limits.connects_per_ip.rate, Or(&["0", "off"], PER_SECOND)),
    key!(limits.connects_per_ip.burst, Or(&["auto"], PER_SECOND)),
    key!(limits.exempt_networks, NETWORKS),
    key!(limits.inbound_bytes, MEMORY_BYTES),
    key!(limits.rooms_per_connection, ROOMS),
    key!(limits.room_name_bytes, ROOM_NAME_BYTES),
    key!(slow_client.policy, POLICY),
    key!(slow_client.outbox_bytes, MEMORY_BYTES),
    key!(slow_client.outbox_age, OFF_OR_SPAN),
    key!(slow_client.process_bytes, MEMORY_BYTES),
    key!(rate.policy, RATE_POLICY),
    key!(rate.messages, Or(&["0", "off"], PER_SECOND)),
    key!(rate.messages_burst, Or(&["auto"], PER_SECOND)),
    key!(rate.bytes, Or(&["0", "off"], MESSAGE_BYTES)),
    key!(rate.bytes_burst, Or(&["auto"], MESSAGE_BYTES)),
    key!(keepalive.ping, OFF_OR_SPAN),
    key!(keepalive.pong, OFF_OR_SPAN),
    key!(deflate.enabled, Switch),
    key!(deflate.min_bytes, DEFLATE_BYTES),
    key!(deflate.level, DEFLATE_LEVEL),
    key!(timeouts.handshake, SPAN),
    key!(timeouts.message, SPAN),
    key!(timeouts.close, SPAN),
    key!(shutdown.delay, SPAN_OR_ZERO),
    key!(shutdown.timeout, SPAN_OR_ZERO),
    key!(metrics.enabled, Switch),
    key!(metrics.host, OrNull(Address)),
    key!(metrics.port, Port),
    key!(admin.dashboard, Switch),
    discreet(key!(admin.token, OrNull(OneKey { bytes_min: 16 }))),
    key!(admin.addresses, Switch),
    key!(health.status_word, Text { bytes_max: 64 }),
    key!(health.users, AUTO_OR_SWITCH),
    key!(cors.origin, ORIGIN),
    key!(cors.methods, HEADER_VALUE),
    key!(cors.headers, HEADER_VALUE),
    key!(api.enabled, Switch),
    discreet(key!(api.keys, OrNull(ApiKeys); or "RELAY_API_KEY")),
    key!(api.keys_file, OrNull(File)),
    key!(pages.enabled, Switch),
    key!(logging.level, LEVEL),
    key!(logging.format, FORMAT),
    key!(logging.output, Output),
];

/// The keys below `endpoints.<name>`.
pub static ENDPOINT_KEYS: &[Key<EndpointConfig>] = &[
    key!(kind, Word(EndpointKind::ALL)),
    key!(path, UrlPath),
    key!(enabled, Switch),
    key!(echo, Switch),
    key!(binary_out, Switch),
    key!(on_duplicate, ON_DUPLICATE),
    key!(cors.origin, OrNull(ORIGIN)),
    key!(cors.methods, OrNull(HEADER_VALUE)),
    key!(cors.headers, OrNull(HEADER_VALUE)),
    key!(push_path, OrNull(UrlPath)),
    key!(broadcast_fallback, Switch),
    key!(journal, OrNull(File)),
    key!(pending_max, PENDING),
    key!(pending_bytes, MEMORY_BYTES),
    key!(delay_max, SPAN),
    key!(nostr.urls, nostr::RELAY_URLS),
    key!(nostr.memory_events, nostr::MEMORY_EVENTS),
    key!(nostr.info.name, OrNull(nostr::INFO_TEXT)),
    key!(nostr.info.description, OrNull(nostr::PROSE)),
    key!(nostr.info.icon, OrNull(nostr::INFO_TEXT)),
    key!(nostr.info.banner, OrNull(nostr::INFO_TEXT)),
    key!(nostr.info.pubkey, OrNull(nostr::HEX_KEY)),
    at(
        "nostr.info.self",
        key!(nostr.info.self_key, OrNull(nostr::HEX_KEY)),
    ),
    key!(nostr.info.contact, OrNull(nostr::INFO_TEXT)),
    key!(nostr.info.terms_of_service, OrNull(nostr::INFO_TEXT)),
    key!(nostr.info.payments_url, OrNull(nostr::INFO_TEXT)),
    key!(nostr.auth.challenge, nostr::CHALLENGE),
    key!(nostr.auth.read, Switch),
    key!(nostr.auth.write, Switch),
    key!(nostr.auth.private_kinds, nostr::PRIVATE_KINDS),
    key!(nostr.auth.keys, nostr::KEYS),
    key!(nostr.events.bytes, MESSAGE_BYTES),
    key!(nostr.events.tags, nostr::TAGS),
    key!(nostr.events.content_chars, nostr::CONTENT_CHARS),
    key!(nostr.events.future, nostr::AGE),
    key!(nostr.events.past, nostr::OFF_OR_AGE),
    key!(nostr.events.pow, nostr::BITS),
    key!(nostr.events.kinds, nostr::EVENT_KINDS),
    key!(nostr.queries.filters, nostr::FILTERS),
    key!(nostr.queries.subscriptions, nostr::SUBSCRIPTIONS),
    key!(nostr.queries.values, nostr::VALUES),
    key!(nostr.queries.limit, nostr::ROWS),
    key!(nostr.queries.limit_default, nostr::ROWS),
    key!(nostr.queries.count, nostr::COUNTED),
    key!(nostr.readers, nostr::READERS),
    key!(origins.allow, OrNull(ORIGINS)),
    key!(origins.allow_missing, OrNull(Switch)),
    key!(auth.enabled, OrNull(AUTH_ENABLED)),
    discreet(key!(auth.keys, OrNull(ApiKeys))),
    key!(auth.keys_file, OrNull(File)),
    discreet(key!(auth.jwt.secret, OrNull(JWT_SECRET))),
    key!(auth.jwt.keys_file, OrNull(File)),
    key!(auth.jwt.issuer, OrNull(CLAIM)),
    key!(auth.jwt.audience, OrNull(CLAIM)),
    key!(limits.message_bytes, OrNull(MESSAGE_BYTES)),
    key!(limits.frame_bytes, OrNull(FRAME_BYTES)),
    key!(slow_client.policy, OrNull(POLICY)),
    key!(slow_client.outbox_bytes, OrNull(MEMORY_BYTES)),
    key!(slow_client.outbox_age, OrNull(OFF_OR_SPAN)),
    key!(rate.policy, OrNull(RATE_POLICY)),
    key!(rate.messages, OrNull(Or(&["0", "off"], PER_SECOND))),
    key!(rate.messages_burst, OrNull(Or(&["auto"], PER_SECOND))),
    key!(rate.bytes, OrNull(Or(&["0", "off"], MESSAGE_BYTES))),
    key!(rate.bytes_burst, OrNull(Or(&["auto"], MESSAGE_BYTES))),
    key!(keepalive.ping, OrNull(OFF_OR_SPAN)),
    key!(keepalive.pong, OrNull(OFF_OR_SPAN)),
    key!(deflate.enabled, OrNull(Switch)),
    key!(deflate.min_bytes, OrNull(DEFLATE_BYTES)),
    key!(deflate.level, OrNull(DEFLATE_LEVEL)),
];

/// Plain names that set a key of an endpoint too.
pub static PLAIN_ENDPOINT_ENVIRONMENT: &[(&str, &str)] = &[
    // The relay that it comes from had one limit.
    ("MAX_MESSAGE_SIZE", "endpoints.named.limits.message_bytes"),
    ("WS_PATH", "endpoints.push.path"),
    ("PUSH_PATH", "endpoints.push.push_path"),
];

const ON_DUPLICATE: Word<OnDuplicate> = Word(&[
    ("refuse", OnDuplicate::Refuse),
    ("replace", OnDuplicate::Replace),
    ("share", OnDuplicate::Share),
]);

const HEADER_VALUE: Text = Text { bytes_max: 256 };
const ORIGIN: Or<Text> = Or(&["off"], HEADER_VALUE);

/// Keys at the top of the file of an earlier relay, and what they are here. One that is empty
/// counts as one that is not there.
pub static FLAT_KEYS: &[(&str, &str)] = &[
    ("port", "server.port"),
    ("api_key", "api.keys"),
    ("ws_path", "endpoints.push.path"),
    ("push_path", "endpoints.push.push_path"),
];

const PENDING: Count = Count {
    min: 1,
    max: 10_000_000,
};
const NETWORKS: List<Network> = List("networks", PhantomData);
const LISTENERS: List<Listener> = List("listeners", PhantomData);
const ORIGINS: List<Origin> = List("origins", PhantomData);
const CLOSE_REVOKED: Word<CloseRevoked> = Word(&[
    ("keys", CloseRevoked::Keys),
    ("all", CloseRevoked::All),
    ("off", CloseRevoked::Off),
]);
const AUTH_ENABLED: Or<Switch> = Or(&["auto"], Switch);
const AUTO_OR_SWITCH: Or<Switch> = Or(&["auto"], Switch);
const JWT_SECRET: Hidden = Hidden {
    bytes_min: 32,
    bytes_max: KIB,
};
const CLAIM: Text = Text { bytes_max: 256 };
const LEEWAY: Span = Span {
    min: Duration::ZERO,
    max: Duration::from_secs(300),
};
const TRUSTED_PROXIES: List<TrustedProxy> = List("networks", PhantomData);

const SPAN_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
const SPAN: Span = Span {
    min: Duration::from_millis(10),
    max: SPAN_MAX,
};
const SPAN_OR_ZERO: Span = Span {
    min: Duration::ZERO,
    max: SPAN_MAX,
};
const OFF_OR_SPAN: Or<Span> = Or(&["off", "0", "0s"], SPAN);

const BUFFER_BYTES: Size = Size {
    min: 4 * KIB,
    max: 64 * MIB,
};
const MESSAGE_BYTES: Size = Size {
    min: 1,
    max: KIB * MIB,
};
const FRAME_BYTES: Or<Size> = Or(&["0", "off"], MESSAGE_BYTES);
const MEMORY_BYTES: Size = Size {
    min: KIB,
    max: KIB * KIB * MIB,
};
const HEAD_BYTES: Size = Size { min: KIB, max: MIB };
const ROOM_NAME_BYTES: Size = Size {
    min: 1,
    max: 64 * KIB,
};
const ROOMS: Count = Count {
    min: 1,
    max: 1_000_000,
};
const COUNT: Count = Count {
    min: 1,
    max: 100_000_000,
};

/// Of connects and messages; as many as a token bucket can hold.
const PER_SECOND: Count = Count {
    min: 1,
    max: 1 << 30,
};
const DEFLATE_BYTES: Size = Size {
    min: 0,
    max: KIB * MIB,
};
const DEFLATE_LEVEL: Mapped<Count, u8> = Mapped {
    codec: Count { min: 1, max: 9 },
    from: |level| level as u8,
    into: |level| usize::from(*level),
};

const SPIN_US: Mapped<Count, u32> = Mapped {
    codec: Count {
        min: 0,
        max: 1_000_000,
    },
    from: |count| count as u32,
    into: |spin_us| *spin_us as usize,
};

const SHARDS: Mapped<Or<Count>, Shards> = Mapped {
    codec: Or(&["auto"], Count { min: 1, max: 255 }),
    from: |count| count.map_or(Shards::Auto, |count| Shards::Count(count as u16)),
    into: |shards| match shards {
        Shards::Auto => None,
        Shards::Count(count) => Some(usize::from(*count)),
    },
};

const CONNECTIONS: Mapped<Or<Or<Count>>, ConnectionLimit> = Mapped {
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

const POLICY: Word<SlowClientPolicy> = Word(&[
    ("disconnect", SlowClientPolicy::Disconnect),
    ("drop_oldest", SlowClientPolicy::DropOldest),
    ("drop_newest", SlowClientPolicy::DropNewest),
    ("latest_only", SlowClientPolicy::LatestOnly),
]);

const RATE_POLICY: Word<RatePolicy> = Word(&[
    ("delay", RatePolicy::Delay),
    ("drop", RatePolicy::Drop),
    ("close", RatePolicy::Close),
]);

/// `warning` is what some earlier relays call it.
const LEVEL: Word<LogLevel> = Word(&[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("warning", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
]);

const FORMAT: Word<LogFormat> = Word(&[("text", LogFormat::Text), ("json", LogFormat::Json)]);

impl Key<EndpointConfig> {
    /// Whether it says something to an endpoint of this kind. Of the other keys of one kind there
    /// are few, and they are shown for all.
    fn is_for(&self, kind: EndpointKind) -> bool {
        kind == EndpointKind::Nostr || !self.has_prefix("nostr")
    }
}

impl<S> Key<S> {
    /// Sets the key's field, or says what is wrong with the value.
    pub(super) fn read(&self, scope: &mut S, value: &Value) -> Result<(), String> {
        (self.read)(scope, value).map_err(|message| {
            if !self.secret {
                return message;
            }
            let what = match value {
                Value::Mapping(_) | Value::Sequence(_) => describe(value),
                _ => "what is there".to_owned(),
            };
            let hidden = "is not a valid value, and is not shown, since it is secret";
            match self.is_discreet {
                true => format!("{what} {hidden}: {message}"),
                false => format!("{what} {hidden}"),
            }
        })
    }

    /// The field's value as an operator would write it; a secret one that is set is hidden.
    pub(super) fn show(&self, scope: &S) -> Value {
        match (self.show)(scope) {
            Value::Sequence(items) if items.is_empty() => Value::Sequence(items),
            value if self.secret && !value.is_null() => Value::from(HIDDEN),
            value => value,
        }
    }

    /// Whether two scopes differ in the key's field.
    pub(super) fn differs(&self, one: &S, other: &S) -> bool {
        (self.show)(one) != (self.show)(other)
    }

    /// Gives the key's field of `to` the value that it has in `from`.
    pub(super) fn copy(&self, from: &S, to: &mut S) {
        let copied = (self.read)(to, &(self.show)(from));
        debug_assert_eq!(copied, Ok(()), "{}: what is shown can be read", self.path);
    }

    fn has_prefix(&self, section: &str) -> bool {
        self.path
            .strip_prefix(section)
            .is_some_and(|rest| rest.starts_with('.'))
    }
}

/// What a path names.
pub(super) enum Found {
    /// A key of the whole config.
    Key(&'static Key<Config>),
    /// A key of one endpoint, which need not exist yet.
    EndpointKey(String, &'static Key<EndpointConfig>),
    /// A mapping that has keys below it.
    Section,
    /// Nothing.
    Nothing,
}

/// Looks a path up, such as `server.port`, `endpoints.hub.echo` or `limits`.
pub(super) fn find(path: &str) -> Found {
    if let Some(key) = KEYS.iter().find(|key| key.path == path) {
        return Found::Key(key);
    }
    if path == "endpoints" || KEYS.iter().any(|key| key.has_prefix(path)) {
        return Found::Section;
    }
    let Some(below) = path.strip_prefix("endpoints.") else {
        return Found::Nothing;
    };
    let (name, rest) = below.split_once('.').unwrap_or((below, ""));
    if !is_endpoint_name(name) {
        return Found::Nothing;
    }
    match ENDPOINT_KEYS.iter().find(|key| key.path == rest) {
        Some(key) => Found::EndpointKey(name.to_owned(), key),
        None if rest.is_empty() || ENDPOINT_KEYS.iter().any(|key| key.has_prefix(rest)) => {
            Found::Section
        }
        None => Found::Nothing,
    }
}

/// Whether a path names a key whose value is secret.
pub(super) fn is_secret(path: &str) -> bool {
    match find(path) {
        Found::Key(key) => key.secret,
        Found::EndpointKey(_, key) => key.secret,
        Found::Section | Found::Nothing => false,
    }
}

/// The path of the key that an environment variable sets, if one does.
///
/// `deflate.enabled` of one endpoint is written as `enabled` of another whose name ends in
/// `_deflate`: the one that is there is meant, by `is_there`, and else the one with the longer key.
pub(super) fn path_of_environment(
    variable: &str,
    is_there: impl Fn(&str) -> bool,
) -> Option<String> {
    if let Some(key) = KEYS
        .iter()
        .find(|key| environment_name(key.path) == variable)
    {
        return Some(key.path.to_owned());
    }
    let below = variable.strip_prefix("CORECAST_ENDPOINTS_")?;
    let named = ENDPOINT_KEYS.iter().filter_map(|key| {
        let name = below.strip_suffix(&upper(key.path))?.strip_suffix('_')?;
        let name = Some(name.to_ascii_lowercase()).filter(|name| is_endpoint_name(name))?;
        (name.to_ascii_uppercase() == below[..name.len()]).then_some((name, key))
    });
    let (name, key) = named.max_by_key(|(name, key)| (is_there(name), key.path.len()))?;
    Some(format!("endpoints.{name}.{}", key.path))
}

/// The environment variable of a path: `server.port` is `CORECAST_SERVER_PORT`.
pub fn environment_name(path: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", upper(path))
}

fn upper(path: &str) -> String {
    path.replace('.', "_").to_ascii_uppercase()
}

/// Lower-case letters, digits and `_`, a letter first: what also fits an environment name.
pub(super) fn is_endpoint_name(name: &str) -> bool {
    const BYTES_MAX: usize = 32;
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= BYTES_MAX
        && name.chars().all(letters)
}

/// Every path that somebody could have meant: keys and sections, with those of these endpoints.
pub(super) fn all_paths<'a>(endpoints: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut paths: Vec<String> = Vec::from(["endpoints".to_owned()]);
    let mut add = |path: String| {
        let sections = path
            .match_indices('.')
            .map(|(end, _)| path[..end].to_owned());
        for candidate in sections.chain([path.clone()]) {
            if !paths.contains(&candidate) {
                paths.push(candidate);
            }
        }
    };
    KEYS.iter().for_each(|key| add(key.path.to_owned()));
    for name in endpoints {
        ENDPOINT_KEYS
            .iter()
            .for_each(|key| add(format!("endpoints.{name}.{}", key.path)));
    }
    paths
}

/// Names in our prefix that are no keys. Cargo hands what the build script found out to the
/// programs that it runs.
static NOT_KEYS: LazyLock<[String; 2]> =
    LazyLock::new(|| ["COMMIT", "BUILD_DATE"].map(|name| format!("{ENVIRONMENT_PREFIX}{name}")));

/// Whether a variable in our prefix is somebody else's.
///
/// Kubernetes puts variables into every pod for every service: one that is called `corecast` makes
/// `CORECAST_SERVICE_HOST`, `CORECAST_PORT=tcp://10.0.0.1:8443`, `CORECAST_PORT_8443_TCP_ADDR`.
pub(super) fn is_foreign(variable: &str, value: &str) -> bool {
    let is_link = value.starts_with("tcp://") || value.starts_with("udp://");
    let port_part = variable.split_once("_PORT_").map_or("", |(_, rest)| rest);
    NOT_KEYS.iter().any(|name| name == variable)
        || variable.ends_with("_SERVICE_HOST")
        || variable.ends_with("_SERVICE_PORT")
        || variable.contains("_SERVICE_PORT_")
        || variable.ends_with("_PORT") && is_link
        || port_part.starts_with(|c: char| c.is_ascii_digit())
}

impl Config {
    /// The config as YAML that loads to the same config. Secrets are hidden. What an endpoint does
    /// not override is left out if its kind does not either, and so is what is for another kind.
    pub fn to_yaml(&self) -> String {
        let mut root = Mapping::new();
        for key in KEYS {
            insert(&mut root, key.path, key.show(self));
        }
        for (name, endpoint) in &self.endpoints {
            let default = EndpointConfig::new(endpoint.kind, &endpoint.path);
            for key in ENDPOINT_KEYS {
                let value = key.show(endpoint);
                let is_told = !value.is_null() && key.is_for(endpoint.kind);
                if is_told || key.differs(endpoint, &default) {
                    insert(&mut root, &format!("endpoints.{name}.{}", key.path), value);
                }
            }
        }
        serde_yaml::to_string(&root).unwrap_or_default()
    }
}

/// Puts a value into nested mappings at a path with dots.
fn insert(mapping: &mut Mapping, path: &str, value: Value) {
    let Some((section, rest)) = path.split_once('.') else {
        mapping.insert(Value::from(path), value);
        return;
    };
    let below = mapping
        .entry(Value::from(section))
        .or_insert(Value::Mapping(Mapping::new()));
    if let Value::Mapping(below) = below {
        insert(below, rest, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_found_and_has_a_name_of_its_own_in_the_environment() {
        let mut names = Vec::new();
        let keys = KEYS.iter().map(|key| key.path.to_owned());
        let endpoint_keys = ENDPOINT_KEYS
            .iter()
            .map(|key| format!("endpoints.a_b.{}", key.path));
        for path in keys.chain(endpoint_keys) {
            assert!(
                matches!(find(&path), Found::Key(_) | Found::EndpointKey(..)),
                "{path}"
            );
            let name = environment_name(&path);
            assert_eq!(path_of_environment(&name, |_| false), Some(path));
            assert!(!names.contains(&name), "{name}");
            names.push(name);
        }
        for path in [
            "",
            "server",
            "server.",
            "endpoints.Hub.echo",
            "endpoints..echo",
            "port",
        ] {
            assert!(
                !matches!(find(path), Found::Key(_) | Found::EndpointKey(..)),
                "{path}"
            );
        }
        for name in [
            "CORECAST_ENDPOINTS_ECHO",
            "CORECAST_ENDPOINTS_hub_ECHO",
            "CORECAST_",
        ] {
            assert_eq!(path_of_environment(name, |_| true), None);
        }
    }

    #[test]
    fn a_variable_that_can_be_read_twice_is_about_the_endpoint_that_is_there() {
        for (variable, there, path) in [
            ("A_DEFLATE_ENABLED", "a", "a.deflate.enabled"),
            ("A_DEFLATE_ENABLED", "a_deflate", "a_deflate.enabled"),
            ("A_NOSTR_AUTH_KEYS", "a", "a.nostr.auth.keys"),
            ("A_NOSTR_AUTH_KEYS", "a_nostr", "a_nostr.auth.keys"),
        ] {
            let variable = format!("CORECAST_ENDPOINTS_{variable}");
            let read = path_of_environment(&variable, |name| name == there);
            assert_eq!(read, Some(format!("endpoints.{path}")));
        }
    }

    #[test]
    fn a_secret_is_neither_shown_nor_repeated_in_an_error() {
        let mut secret: Key<Config> = key!(health.status_word, Text { bytes_max: 8 });
        secret.secret = true;
        let mut config = Config::default();
        config.health.status_word = "hunter2".to_owned();
        assert_eq!(secret.show(&config), Value::from("(hidden)"));
        let error = secret
            .read(&mut config, &Value::from("much too long"))
            .unwrap_err();
        assert!(!error.contains("long"), "{error}");
    }

    #[test]
    fn variables_of_an_orchestrator_are_left_alone() {
        for (name, value) in [
            ("CORECAST_SERVICE_HOST", "10.0.0.1"),
            ("CORECAST_SERVICE_PORT_HTTP", "8443"),
            ("CORECAST_METRICS_PORT", "tcp://10.0.0.1:9090"),
            ("CORECAST_PORT_8443_TCP_ADDR", "10.0.0.1"),
        ] {
            assert!(is_foreign(name, value), "{name}");
        }
        assert!(!is_foreign("CORECAST_METRICS_PORT", "9090"));
        assert!(!is_foreign("CORECAST_SERVER_PROT", "1"));
    }
}
