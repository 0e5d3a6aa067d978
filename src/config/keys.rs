//! The tables of keys. Reading, printing, environment names, suggestions, reloads, `config.yaml`,
//! `docs/configuration.md` and the JSON Schema all depend on them.
//!
//! A key is a row here and a field of [`Config`] with the same path. Its default is the field's
//! value in [`Config::default`].
//!
//! # A new key
//!
//! 1. A row: `key!` in the file of its section, `overridable!` if endpoints can override it, or
//!    `option!` if it is an option of some kinds of endpoints.
//! 2. The field with its default, in `sections.rs`, in the options of the kind, or in the engine's
//!    settings.
//! 3. If endpoints can override it, the field in `overrides.rs`.
//! 4. Its use.
//!
//! Then a sample in `tests/config/samples.rs`, without which a test fails, and the files that are
//! made from the rows: `cargo run -- --print-config > config.yaml`, `cargo run -- config --page >
//! docs/configuration.md` and `cargo run -- config --schema > config.schema.json`.

mod admin;
pub(super) mod codecs;
mod doors;
mod endpoints;
mod limits;
mod nostr;
mod row;
mod sections;
mod server;

use std::sync::LazyLock;

use serde_yaml::{Mapping, Value};

use super::{Config, EndpointConfig};

pub use self::row::Key;
pub(super) use self::sections::{EXAMPLES, section_text};

/// The prefix of the names of our environment variables.
pub const ENVIRONMENT_PREFIX: &str = "CORECAST_";

/// The rows of all keys except those of endpoints, in the order of `config.yaml`.
const GROUPS: &[&[Key<Config>]] = &[
    server::SERVER,
    server::ENGINE,
    server::NETWORKS_AND_ORIGINS,
    doors::AUTH,
    limits::MESSAGES,
    limits::LIMITS,
    limits::SLOW_CLIENT,
    limits::ALL_CLIENTS,
    limits::RATE,
    limits::KEEPALIVE_AND_DEFLATE,
    limits::TIMEOUTS_AND_SHUTDOWN,
    admin::ADMIN,
    doors::API,
    admin::PAGES_AND_LOGGING,
];

/// Every key except those of endpoints, in the order of `config.yaml`.
pub static KEYS: LazyLock<Vec<&'static Key<Config>>> =
    LazyLock::new(|| GROUPS.iter().copied().flatten().collect());

/// The keys below `endpoints.<name>`.
pub static ENDPOINT_KEYS: LazyLock<Vec<&'static Key<EndpointConfig>>> = LazyLock::new(|| {
    let groups = [
        endpoints::COMMON,
        endpoints::OPTIONS,
        nostr::NOSTR,
        endpoints::DOORS,
        limits::MESSAGES_OF_ENDPOINT,
        limits::SLOW_CLIENT_OF_ENDPOINT,
        limits::RATE_OF_ENDPOINT,
        limits::KEEPALIVE_AND_DEFLATE_OF_ENDPOINT,
    ];
    groups.into_iter().flatten().collect()
});

/// Names without prefix that set a key of an endpoint.
pub static PLAIN_ENDPOINT_ENVIRONMENT: &[(&str, &str)] = &[
    // The earlier relay had a single limit.
    ("MAX_MESSAGE_SIZE", "endpoints.named.limits.message_bytes"),
    ("WS_PATH", "endpoints.push.path"),
    ("PUSH_PATH", "endpoints.push.push_path"),
];

/// Top-level keys in the file of an earlier relay, and the paths that they set here. An empty one
/// counts as missing.
pub static FLAT_KEYS: &[(&str, &str)] = &[
    ("port", "server.port"),
    ("api_key", "api.keys"),
    ("ws_path", "endpoints.push.path"),
    ("push_path", "endpoints.push.push_path"),
];

/// The meaning of a path.
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

/// The path of the key that an environment variable sets, if there is one.
///
/// `deflate.enabled` of one endpoint has the same variable as `enabled` of another whose name ends
/// in `_deflate`. The endpoint that exists is meant (`is_there`), or else the longer key.
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

/// Whether a name has lower-case letters, digits and `_` only, a letter first, so that it fits the
/// name of a variable.
pub(super) fn is_endpoint_name(name: &str) -> bool {
    const BYTES_MAX: usize = 32;
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= BYTES_MAX
        && name.chars().all(letters)
}

/// Every path that can be suggested: keys and sections, including those of these endpoints.
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

/// Names with our prefix that do not name a key: Cargo passes the build script's variables to the
/// programs that it runs.
static NOT_KEYS: LazyLock<[String; 2]> =
    LazyLock::new(|| ["COMMIT", "BUILD_DATE"].map(|name| format!("{ENVIRONMENT_PREFIX}{name}")));

/// Whether a variable with our prefix belongs to another program.
///
/// Kubernetes sets variables in every pod for every service: for a service named `corecast` it sets
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
    /// The config as YAML that loads to the same config. Secrets are hidden. Keys of an endpoint
    /// that have neither an override nor a default of its kind are left out, and so are options
    /// of other kinds.
    pub fn to_yaml(&self) -> String {
        let mut root = Mapping::new();
        for key in KEYS.iter() {
            insert(&mut root, key.path, key.show(self));
        }
        for (name, endpoint) in &self.endpoints {
            let default = EndpointConfig::new(endpoint.kind.which(), &endpoint.path);
            for key in ENDPOINT_KEYS.iter() {
                let value = key.show(endpoint);
                if !value.is_null() || key.differs(endpoint, &default) {
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
    fn every_path_is_found_and_has_its_own_variable() {
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
    fn an_ambiguous_variable_means_the_endpoint_that_exists() {
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
        let word = KEYS.iter().find(|key| key.path == "health.status_word");
        let word = word.expect("a key");
        let secret = Key {
            secret: true,
            ..**word
        };
        let mut config = Config::default();
        config.health.status_word = "hunter2".to_owned();
        assert_eq!(secret.show(&config), Value::from("(hidden)"));
        let error = secret
            .read(&mut config, &Value::from("much too long ".repeat(9)))
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
