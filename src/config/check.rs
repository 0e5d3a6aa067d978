//! What holds between keys: each value is fine by itself, but not with another one.

use super::value::{show_duration, show_size};
use super::{Config, EndpointConfig};

/// The longest header of a frame to a client (RFC 6455 §5.2: no mask in that direction), bytes.
pub const HEADER_BYTES_MAX: usize = 10;

/// Keys that do not go together.
pub(super) struct Conflict {
    /// Their paths, the one to change first.
    pub(super) paths: Vec<String>,
    /// What is wrong and what to do.
    pub(super) message: String,
}

/// All conflicts of a config, in the order of `config.yaml`.
pub(super) fn conflicts(config: &Config) -> Vec<Conflict> {
    let mut found = Vec::new();
    check_server(config, &mut found);
    check_paths(config, &mut found);
    // The common settings are those of an endpoint that overrides nothing.
    let common = EndpointConfig::new(super::EndpointKind::Hub, "/");
    check_settings(config, None, &common, &mut found);
    for (name, endpoint) in &config.endpoints {
        check_settings(config, Some(name), endpoint, &mut found);
    }
    found
}

fn check_server(config: &Config, found: &mut Vec<Conflict>) {
    if config.server.tls.enabled {
        found.push(Conflict {
            paths: vec!["server.tls.enabled".to_owned()],
            message: "this version has no TLS; set it to false and let a proxy in front \
                      terminate TLS"
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
        let earlier = enabled[..index]
            .iter()
            .find(|(_, other)| other.path == endpoint.path);
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

/// The settings of one endpoint, or the common ones; of an endpoint only what it overrides.
fn check_settings(
    config: &Config,
    name: Option<&str>,
    endpoint: &EndpointConfig,
    found: &mut Vec<Conflict>,
) {
    let settings = config.settings_of(endpoint);
    let own = |path: &str| name.map(|name| format!("endpoints.{name}.{path}"));
    let mut conflict = |overridden: bool, paths: &[&str], message: String| {
        if name.is_none() || overridden {
            let common = paths.iter().map(|path| (*path).to_owned());
            let paths = paths
                .iter()
                .filter_map(|path| own(path))
                .chain(common)
                .collect();
            found.push(Conflict { paths, message });
        }
    };
    let message = settings.message_bytes;
    let frame = endpoint
        .limits
        .frame_bytes
        .unwrap_or(config.limits.frame_bytes)
        .unwrap_or(0);
    let own_message = endpoint.limits.message_bytes.is_some();
    let own_outbox = endpoint.slow_client.outbox_bytes.is_some();
    let own_keepalive = endpoint.keepalive.ping.is_some() || endpoint.keepalive.pong.is_some();
    if frame > message {
        conflict(
            endpoint.limits.frame_bytes.is_some(),
            &["limits.frame_bytes", "limits.message_bytes"],
            format!(
                "a frame of {} would be larger than the largest message, {}; lower frame_bytes (0: \
                 as the message) or raise message_bytes",
                show_size(frame),
                show_size(message)
            ),
        );
    }
    if config.limits.inbound_bytes < message {
        conflict(
            own_message,
            &["limits.inbound_bytes", "limits.message_bytes"],
            format!(
                "inbound_bytes, {}, is all that may be partly received, and less than one message \
                 of {}; raise it",
                show_size(config.limits.inbound_bytes),
                show_size(message)
            ),
        );
    }
    if settings.outbox_bytes < message.saturating_add(HEADER_BYTES_MAX) {
        conflict(
            own_message || own_outbox,
            &["slow_client.outbox_bytes", "limits.message_bytes"],
            format!(
                "an outbox of {} does not hold one message of {} with its header of \
                 {HEADER_BYTES_MAX} bytes; raise outbox_bytes or lower message_bytes",
                show_size(settings.outbox_bytes),
                show_size(message)
            ),
        );
    }
    if config.slow_client.process_bytes < settings.outbox_bytes {
        conflict(
            own_outbox,
            &["slow_client.process_bytes", "slow_client.outbox_bytes"],
            format!(
                "process_bytes, {}, is for all clients together and less than outbox_bytes, {}, of \
                 one; raise it",
                show_size(config.slow_client.process_bytes),
                show_size(settings.outbox_bytes)
            ),
        );
    }
    if let (Some(ping), Some(pong)) = (settings.ping, settings.pong)
        && pong <= ping
    {
        conflict(
            own_keepalive,
            &["keepalive.pong", "keepalive.ping"],
            format!(
                "pong, {}, must be longer than ping, {}: a client that answers every ping would \
                 still be closed",
                show_duration(pong),
                show_duration(ping)
            ),
        );
    }
}
