//! Checks across keys: values that are valid alone but contradict each other.

use super::error::Conflict;
use super::nostr;
use super::quantity::{show_duration, show_size};
use super::{AuthOverride, Config, EndpointConfig, EndpointKind, Listener, Need};
use crate::engine::{EndpointSettings, Keepalive};

/// The longest header of a frame to a client (RFC 6455 §5.2: no mask in that direction), bytes.
const HEADER_BYTES_MAX: usize = 10;

/// Paths of the main listener that the relay answers itself; endpoints cannot use them.
pub const PAGE_PATHS: [&str; 4] = ["/health", "/livez", "/readyz", "/test/benchmark"];

/// Paths of the rooms API on the main listener; free for endpoints if `api.enabled` is false.
pub const API_PATHS: [&str; 5] = [
    "/api/publish",
    "/api/rooms",
    "/api/members",
    "/api/disconnect",
    "/api/info",
];
/// Paths of the demo pages; endpoints cannot use these patterns while the pages are served.
pub const DEMO_PATHS: [&str; 2] = ["/demo", "/demo/**"];

/// All conflicts of a config, in the order of `config.yaml`.
pub(super) fn conflicts(config: &Config) -> Vec<Conflict> {
    let mut found = Vec::new();
    check_server(config, &mut found);
    check_paths(config, &mut found);
    check_push(config, &mut found);
    // The common settings are those of an endpoint that overrides nothing.
    let common = EndpointConfig::new(EndpointKind::Hub, "/");
    let enabled = config.endpoints.iter().filter(|(_, each)| each.enabled);
    let named = enabled.map(|(name, endpoint)| (Some(name.as_str()), endpoint));
    for (name, endpoint) in std::iter::once((None, &common)).chain(named) {
        let settings = config.settings_of(endpoint);
        found.extend(
            name.into_iter()
                .flat_map(|name| nostr::conflicts(name, endpoint, &settings)),
        );
        found.extend(
            Subject {
                config,
                name,
                endpoint,
                settings,
            }
            .conflicts(),
        );
    }
    found.extend(nostr::shared_store(&config.endpoints));
    found
}

fn check_server(config: &Config, found: &mut Vec<Conflict>) {
    let tls = &config.server.tls;
    if tls.enabled && (tls.cert_file.is_none() || tls.key_file.is_none()) {
        found.push(Conflict {
            paths: ["enabled", "cert_file", "key_file"]
                .map(|key| format!("server.tls.{key}"))
                .to_vec(),
            message: "TLS needs a certificate and its key; set server.tls.cert_file and \
                      server.tls.key_file, or set server.tls.enabled to false"
                .to_owned(),
        });
    }
    let has_tls = |each: &Listener| matches!(each, Listener::Tcp { tls: true, .. });
    if config.server.listen.iter().any(has_tls)
        && (tls.cert_file.is_none() || tls.key_file.is_none())
    {
        found.push(Conflict {
            paths: [
                "server.listen",
                "server.tls.cert_file",
                "server.tls.key_file",
            ]
            .map(str::to_owned)
            .to_vec(),
            message: "a listener with https needs a certificate; set server.tls.cert_file and \
                      server.tls.key_file"
                .to_owned(),
        });
    }
    if config.server.proxy_protocol && config.server.trusted_proxies.is_empty() {
        found.push(Conflict {
            paths: ["server.proxy_protocol", "server.trusted_proxies"]
                .map(str::to_owned)
                .to_vec(),
            message: "only trusted proxies may send PROXY headers, and none is configured; list \
                      their networks in server.trusted_proxies"
                .to_owned(),
        });
    }
    let (host, metrics_host) = (config.server.host, config.metrics_host());
    let hosts_meet = host == metrics_host || host.is_unspecified() || metrics_host.is_unspecified();
    let port = config.server.port;
    if config.metrics.enabled && port != 0 && port == config.metrics.port && hosts_meet {
        found.push(Conflict {
            paths: vec!["metrics.port".to_owned(), "server.port".to_owned()],
            message: format!(
                "server.port and metrics.port are both {port}; give them different ports, or set \
                 metrics.enabled to false"
            ),
        });
    }
}

fn check_paths(config: &Config, found: &mut Vec<Conflict>) {
    let enabled: Vec<_> = config
        .endpoints
        .iter()
        .filter(|(_, at)| at.enabled)
        .collect();
    for (index, (name, endpoint)) in enabled.iter().enumerate() {
        if PAGE_PATHS.contains(&endpoint.path.as_str()) {
            found.push(Conflict {
                paths: vec![format!("endpoints.{name}.path")],
                message: format!(
                    "{} is a status page of the relay itself; choose another path",
                    endpoint.path
                ),
            });
        }
        if endpoint.kind == EndpointKind::Named && !endpoint.path.ends_with('}') {
            found.push(Conflict {
                paths: vec![format!("endpoints.{name}.path")],
                message: format!(
                    "{} has no parameter for the user's name; write it as the last part, as in \
                     /ws/{{username}}",
                    endpoint.path
                ),
            });
        }
        if config.api.enabled && API_PATHS.contains(&endpoint.path.as_str()) {
            found.push(Conflict {
                paths: vec![format!("endpoints.{name}.path")],
                message: format!(
                    "{} belongs to the API for back ends; choose another path, or set api.enabled \
                     to false",
                    endpoint.path
                ),
            });
        }
        if config.pages.enabled && DEMO_PATHS.contains(&endpoint.path.as_str()) {
            found.push(Conflict {
                paths: vec![format!("endpoints.{name}.path"), "pages.enabled".to_owned()],
                message: format!(
                    "{} is where the pages are; choose another path, or set pages.enabled to false",
                    endpoint.path
                ),
            });
        }
        let earlier = enabled[..index]
            .iter()
            .find(|(_, other)| pattern_of(&other.path) == pattern_of(&endpoint.path));
        if let Some((other, _)) = earlier {
            found.push(Conflict {
                paths: [name, other]
                    .map(|name| format!("endpoints.{name}.path"))
                    .to_vec(),
                message: format!(
                    "endpoints {other} and {name} have the same path {}; move one, or set its \
                     enabled to false",
                    endpoint.path
                ),
            });
        }
    }
}

/// Whether one message of the largest size fits `inbound_bytes`.
pub(super) fn message_fits(config: &Config, endpoint: &EndpointConfig) -> bool {
    let settings = config.settings_of(endpoint);
    let framed_bytes = settings.message_bytes.saturating_add(HEADER_BYTES_MAX);
    settings.slow_client.outbox_bytes >= framed_bytes
        && config.limits.inbound_bytes >= settings.message_bytes
}

/// A path without the name of its parameter: paths that differ only in that name conflict.
fn pattern_of(path: &str) -> &str {
    path.find('{').map_or(path, |at| &path[..=at])
}

/// Rooms of a connection while it changes groups: that of all connections, the old group's and the
/// new group's.
const PUSH_ROOMS: usize = 3;

fn check_push(config: &Config, found: &mut Vec<Conflict>) {
    let enabled = config.endpoints.iter().filter(|(_, at)| at.enabled);
    let pushes: Vec<_> = enabled
        .filter(|(_, at)| at.kind == EndpointKind::Push)
        .collect();
    let Some((name, _)) = pushes.first() else {
        return;
    };
    if config.limits.rooms_per_connection < PUSH_ROOMS {
        found.push(Conflict {
            paths: vec!["limits.rooms_per_connection".to_owned()],
            message: format!(
                "a client of a push endpoint needs {PUSH_ROOMS} rooms; raise it, or set \
                 endpoints.{name}.enabled to false"
            ),
        });
    }
    for (index, (name, endpoint)) in pushes.iter().enumerate() {
        check_push_path(config, name, endpoint, found);
        let journal = |each: &EndpointConfig| each.push()?.journal.clone();
        let same = |other: &EndpointConfig| {
            let own = journal(endpoint);
            own.is_some() && journal(other) == own
        };
        if let Some((other, _)) = pushes[..index].iter().find(|(_, other)| same(other)) {
            found.push(Conflict {
                paths: [name, other]
                    .map(|name| format!("endpoints.{name}.journal"))
                    .to_vec(),
                message: "two endpoints cannot share a journal; give each a file of its own"
                    .to_owned(),
            });
        }
    }
}

/// Checks that the paths of a push API do not collide with any other path.
fn check_push_path(
    config: &Config,
    name: &str,
    endpoint: &EndpointConfig,
    found: &mut Vec<Conflict>,
) {
    let Some(path) = endpoint.push().and_then(|push| push.push_path.as_ref()) else {
        return;
    };
    let own = format!("endpoints.{name}.push_path");
    if path.ends_with('/') || path.contains(['*', '{']) {
        found.push(Conflict {
            paths: vec![own],
            message: format!("{path} is not an exact path; write one such as /api/push"),
        });
        return;
    }
    let mut taken: Vec<(&str, String)> = Vec::new();
    for (other, at) in config.endpoints.iter().filter(|(_, at)| at.enabled) {
        taken.push((&at.path, format!("endpoints.{other}.path")));
        let push_path = at.push().and_then(|push| push.push_path.as_deref());
        let push_path = push_path.filter(|_| other.as_str() < name);
        taken.extend(push_path.map(|path| (path, format!("endpoints.{other}.push_path"))));
    }
    taken.extend(PAGE_PATHS.map(|path| (path, "the relay's own pages".to_owned())));
    if config.api.enabled {
        taken.extend(API_PATHS.map(|path| (path, "the API for back ends".to_owned())));
    }
    if config.pages.enabled {
        taken.extend(DEMO_PATHS.map(|path| (path, "the pages".to_owned())));
    }
    let pending = format!("{path}/pending");
    let one = format!("{pending}/{{id}}");
    let own_paths = [path.as_str(), &pending, &one].map(pattern_of);
    for (other, whose) in taken {
        if own_paths.contains(&pattern_of(other)) || format!("{other}/pending") == *path {
            found.push(Conflict {
                paths: vec![own.clone(), whose.clone()],
                message: format!("{other} is already used by {whose}; change one of them"),
            });
        }
    }
}

/// The settings of one endpoint, or the common ones.
struct Subject<'a> {
    config: &'a Config,
    /// The endpoint's name; `None` for the common settings.
    name: Option<&'a str>,
    endpoint: &'a EndpointConfig,
    settings: EndpointSettings,
}

impl Subject<'_> {
    fn conflicts(&self) -> impl Iterator<Item = Conflict> {
        [
            self.frame(),
            self.inbound(),
            self.outbox(),
            self.process(),
            self.silence(),
            self.auth(),
            self.token_keys(),
        ]
        .into_iter()
        .flatten()
    }

    /// A conflict of these common keys or of their overrides. Conflicts of settings that an
    /// endpoint does not override (`overridden` is false) are reported once, for the common ones.
    fn conflict(&self, overridden: bool, paths: &[&str], message: String) -> Option<Conflict> {
        let common = paths.iter().map(|path| (*path).to_owned());
        let paths = match self.name {
            None => common.collect(),
            Some(_) if !overridden => return None,
            Some(name) => paths
                .iter()
                .map(|path| format!("endpoints.{name}.{path}"))
                .chain(common)
                .collect(),
        };
        let message = match self.name {
            None => message,
            Some(name) => format!("endpoint {name}: {message}"),
        };
        Some(Conflict { paths, message })
    }

    fn overrides_message(&self) -> bool {
        self.endpoint.limits.message_bytes.is_some()
    }

    fn overrides_outbox(&self) -> bool {
        self.endpoint.slow_client.outbox_bytes.is_some()
    }

    fn frame(&self) -> Option<Conflict> {
        let overridden = self.endpoint.limits.frame_bytes;
        let frame_bytes = overridden.unwrap_or(self.config.limits.frame_bytes)?;
        if frame_bytes <= self.settings.message_bytes {
            return None;
        }
        let message = format!(
            "a frame of {} would be larger than the largest message, {}; lower frame_bytes (0: as \
             the message) or raise message_bytes",
            show_size(frame_bytes),
            show_size(self.settings.message_bytes)
        );
        let paths = ["limits.frame_bytes", "limits.message_bytes"];
        self.conflict(overridden.is_some(), &paths, message)
    }

    fn inbound(&self) -> Option<Conflict> {
        let inbound_bytes = self.config.limits.inbound_bytes;
        if inbound_bytes >= self.settings.message_bytes {
            return None;
        }
        let message = format!(
            "inbound_bytes, {}, bounds all partly received messages together and must hold at \
             least one of {}; raise it",
            show_size(inbound_bytes),
            show_size(self.settings.message_bytes)
        );
        let paths = ["limits.inbound_bytes", "limits.message_bytes"];
        self.conflict(self.overrides_message(), &paths, message)
    }

    fn outbox(&self) -> Option<Conflict> {
        let outbox_bytes = self.settings.slow_client.outbox_bytes;
        let message_bytes = self.settings.message_bytes;
        if outbox_bytes >= message_bytes.saturating_add(HEADER_BYTES_MAX) {
            return None;
        }
        let message = format!(
            "an outbox of {} does not hold one message of {} with its header of \
             {HEADER_BYTES_MAX} bytes; raise outbox_bytes or lower message_bytes",
            show_size(outbox_bytes),
            show_size(message_bytes)
        );
        let paths = ["slow_client.outbox_bytes", "limits.message_bytes"];
        self.conflict(
            self.overrides_outbox() || self.overrides_message(),
            &paths,
            message,
        )
    }

    fn process(&self) -> Option<Conflict> {
        let process_bytes = self.config.slow_client.process_bytes;
        let outbox_bytes = self.settings.slow_client.outbox_bytes;
        if process_bytes >= outbox_bytes {
            return None;
        }
        let message = format!(
            "process_bytes, {}, is for all clients together, but smaller than outbox_bytes, {}, \
             which is for one; raise it",
            show_size(process_bytes),
            show_size(outbox_bytes)
        );
        let paths = ["slow_client.process_bytes", "slow_client.outbox_bytes"];
        self.conflict(self.overrides_outbox(), &paths, message)
    }

    fn auth(&self) -> Option<Conflict> {
        let auth = self.config.auth_of(self.endpoint);
        let is_shut_elsewhere = self.config.auth.need() == Need::Credentials;
        if is_shut_elsewhere && auth.need() == Need::Nothing && auth.enabled.is_none() {
            let message = "an empty list of keys would let anybody connect, although auth requires \
                           credentials; write enabled: false here if that is meant, and keys: \
                           null for those of auth";
            return self.conflict(true, &["auth.keys", "auth.enabled"], message.to_owned());
        }
        if auth.enabled != Some(true) || auth.has_keys() {
            return None;
        }
        let message = "nobody could connect: enabled is true, and neither a key nor a secret is \
                       configured; set keys, keys_file, jwt.secret or jwt.keys_file";
        let overridden = self.endpoint.auth != AuthOverride::default();
        self.conflict(
            overridden,
            &["auth.enabled", "auth.keys"],
            message.to_owned(),
        )
    }

    fn token_keys(&self) -> Option<Conflict> {
        let auth = self.config.auth_of(self.endpoint);
        let asks = auth.jwt.issuer.is_some() || auth.jwt.audience.is_some();
        if !asks || auth.has_token_keys() {
            return None;
        }
        let message = "issuer and audience apply to tokens, and no key to verify tokens is \
                       configured; set jwt.secret or jwt.keys_file";
        let own = &self.endpoint.auth.jwt;
        let overridden = own.issuer.is_some() || own.audience.is_some();
        let paths = ["auth.jwt.issuer", "auth.jwt.audience", "auth.jwt.keys_file"];
        self.conflict(overridden, &paths, message.to_owned())
    }

    fn silence(&self) -> Option<Conflict> {
        let Keepalive { ping, pong } = self.settings.keepalive;
        if ping.is_zero() || pong.is_zero() || pong > ping {
            return None;
        }
        let message = format!(
            "pong, {}, must be longer than ping, {}: a client that answers every ping would still \
             be closed",
            show_duration(pong),
            show_duration(ping)
        );
        let overrides = &self.endpoint.keepalive;
        let overridden = overrides.ping.is_some() || overrides.pong.is_some();
        self.conflict(overridden, &["keepalive.pong", "keepalive.ping"], message)
    }
}
