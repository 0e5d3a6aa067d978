//! Turns a [`Config`] into an engine with the relay's endpoints and the pages of the admin
//! listener.

mod nostr;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use crate::admin;
use crate::admin::dashboard::{DashboardSettings, Link};
use crate::config::{
    Config, ConfigError, ConnectionLimit, ConnectsConfig, CorsConfig, DEMO_PATHS, EndpointConfig,
    HubOptions, Kind, Listener, NamedOptions, PubSubOptions, PushOptions, Shards, TrustedProxy,
};
use crate::engine::{
    Builder, EndpointSettings, Engine, FileBudget, FileNeeds, Listen, ListenAddress, PatternError,
    Settings, TokenRate, TrustedProxies,
};
use crate::fanout::room::EndpointId;
use crate::guard::{Guard, Guarded};
use crate::relay::api_keys::ApiKeys;
use crate::relay::cors::{Cors, CorsHeaders};
use crate::relay::named::{Named, NamedSettings};
use crate::relay::nostr::{self as relay_nostr, Nostr, NostrStats};
use crate::relay::push::{Push, PushApi, PushSettings};
use crate::relay::signpost::Signpost;
use crate::relay::{api, hub, json_error, named, pages, pubsub, push, users};

/// Instructions to raise the limit on open files.
const RAISE_FILES: &str = "ulimit -n 65536 in the shell that starts it, LimitNOFILE= of the unit, \
                           --ulimit nofile= of the container";

/// Files that a store on disk has open, with those that it opens now and then.
const STORE_FILES: usize = 8;

/// A relay with capacity for fewer connections than this warns when it starts.
const FEW_CONNECTIONS: usize = 100;

/// The reason why no engine can be built from a config.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A path cannot be used; a checked config has no such path.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A file that the config names cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The process may open too few files for a single connection.
    #[error(
        "{shards} shards need at least {needed} open files, and the limit is {files_max}: raise it \
         ({RAISE_FILES}), or run fewer shards"
    )]
    Files {
        /// Relaying shards.
        shards: usize,
        /// The limit on open files.
        files_max: usize,
        /// The smallest sufficient limit.
        needed: usize,
    },
}

/// The engine that `config` describes, ready to be started. `files_max` is the limit on open files,
/// which bounds the connections; an automatic limit on connections is derived from it.
///
/// # Errors
///
/// Files of keys that cannot be read; paths that cannot be used; a limit on open files that is too
/// small for the shards.
pub fn builder(config: &Config, files_max: usize) -> Result<Builder, BuildError> {
    builder_with_link(config, files_max, None)
}

/// The same with a link that opens the dashboard once.
///
/// # Errors
///
/// As [`builder`].
pub fn builder_with_link(
    config: &Config,
    files_max: usize,
    link: Option<Arc<Link>>,
) -> Result<Builder, BuildError> {
    let budget = checked_budget(config, files_max)?;
    let mut builder = Engine::builder().settings(settings(config, &budget));
    builder.render_other_refusals(json_error::rendered);
    let signpost = Signpost::new(config);
    builder.intercept(move |request| signpost.answer(request));
    let keys = ApiKeys::load(&config.api)?;
    let mut pages = admin::Pages {
        status_word: config.health.status_word.clone(),
        users: Vec::new(),
        endpoints: Vec::new(),
        cors: cors(&config.cors),
        push: Arc::default(),
        nostr: Vec::new(),
        dashboard: (config.admin.dashboard).then(|| DashboardSettings::new(config)),
        link,
    };
    let mut targets = Vec::new();
    for (name, guard) in config.guards()? {
        let endpoint = &config.endpoints[name];
        let settings = config.settings_of(endpoint);
        let added = add_endpoint(&mut builder, config, endpoint, settings, guard);
        let Added { id, users, nostr } = added;
        let named = nostr.map(|stats| (name.to_owned(), stats));
        pages.nostr.extend(named);
        builder.route(&endpoint.path, id)?;
        if let Kind::Push(options) = &endpoint.kind
            && let Some(path) = &options.push_path
        {
            let (settings, stats) = (push_settings(options, path), Arc::clone(&pages.push));
            let api = PushApi::new(settings, id, keys.clone(), stats);
            add_push_api(&mut builder, path, api)?;
        }
        pages.endpoints.push((name.to_owned(), id));
        targets.push(api::Target {
            name: name.to_owned(),
            kind: endpoint.kind.which(),
            path: endpoint.path.clone(),
            id,
            message_bytes: settings.message_bytes,
            binary_out: matches!(&endpoint.kind, Kind::Named(named) if named.binary_out),
            users: users.clone().map(|users| users as Arc<dyn api::UserNames>),
        });
        let listed = users.map(|users| listed_users(config, name, endpoint, users));
        pages.users.extend(listed);
    }
    if config.api.enabled {
        api::routes(&mut builder, keys, targets)?;
    }
    admin::routes(&mut builder, pages)?;
    if config.pages.enabled {
        let served = builder.service(pages::Pages::default());
        builder.render_refusals(served, json_error::rendered);
        for path in DEMO_PATHS {
            builder.route(path, served)?;
        }
    }
    Ok(builder)
}

/// An endpoint that was added, and the data of its kind that the pages show.
struct Added {
    id: EndpointId,
    /// Its users, if they have names.
    users: Option<Arc<users::Users>>,
    nostr: Option<Arc<NostrStats>>,
}

impl From<EndpointId> for Added {
    fn from(id: EndpointId) -> Added {
        Added {
            id,
            users: None,
            nostr: None,
        }
    }
}

/// Adds an endpoint behind its guard.
fn add_endpoint(
    builder: &mut Builder,
    config: &Config,
    endpoint: &EndpointConfig,
    settings: EndpointSettings,
    guard: Arc<Guard>,
) -> Added {
    let id = match &endpoint.kind {
        Kind::Named(options) => {
            let cors = cors(&options.cors.over(&config.cors));
            let named = named_of(options, cors.clone());
            let users = Some(Arc::clone(named.users()));
            let id = builder.endpoint_and_service(settings, Guarded::new(named, guard));
            builder.render_refusals(id, move |refused| named::rendered(refused, &cors));
            return Added { users, ..id.into() };
        }
        Kind::Nostr(options) => {
            let relay = Nostr::new(nostr::settings(options, &settings));
            let nostr = Some(Arc::clone(relay.stats()));
            let id = builder.endpoint_and_service(settings, Guarded::new(relay, guard));
            builder.render_refusals(id, relay_nostr::rendered);
            return Added { nostr, ..id.into() };
        }
        Kind::Hub(HubOptions { echo }) => {
            let echo = *echo;
            builder.endpoint_and_service(settings, Guarded::new(hub::Hub { echo }, guard))
        }
        Kind::Push(_) => builder.endpoint_and_service(settings, Guarded::new(Push, guard)),
        Kind::PubSub(PubSubOptions { echo }) => {
            let pubsub = pubsub::PubSub { echo: *echo };
            builder.endpoint_and_service(settings, Guarded::new(pubsub, guard))
        }
    };
    builder.render_refusals(id, json_error::rendered);
    id.into()
}

/// The names of an endpoint's users, and the pages that may show them.
fn listed_users(
    config: &Config,
    name: &str,
    endpoint: &EndpointConfig,
    users: Arc<users::Users>,
) -> admin::ListedUsers {
    if config.health.users == Some(true) && config.needs_auth(endpoint) {
        tracing::warn!(
            endpoint = name,
            "health.users is true: /health shows the names of its users to everyone, although the \
             endpoint requires a key or a token; auto hides them"
        );
    }
    admin::ListedUsers {
        users,
        is_told: config.tells_users_of(endpoint),
        is_told_to_admins: config.tells_admins_users_of(endpoint),
    }
}

fn named_of(options: &NamedOptions, cors: Cors) -> Named {
    Named::new(NamedSettings {
        on_duplicate: options.on_duplicate,
        echo: options.echo,
        binary_out: options.binary_out,
        cors,
    })
}

fn cors(config: &CorsConfig) -> Cors {
    Cors(config.origin.clone().map(|origin| CorsHeaders {
        origin,
        methods: config.methods.clone(),
        headers: config.headers.clone(),
    }))
}

fn push_settings(config: &PushOptions, path: &str) -> PushSettings {
    PushSettings {
        path: path.to_owned(),
        broadcast_fallback: config.broadcast_fallback,
        journal: config.journal.clone(),
        pending_max: config.pending_max,
        pending_bytes: config.pending_bytes,
        delay_max: config.delay_max,
    }
}

fn add_push_api(builder: &mut Builder, path: &str, api: PushApi) -> Result<(), PatternError> {
    let api = builder.service(api);
    builder.render_refusals(api, push::rendered);
    for path in PushApi::paths(path) {
        builder.route(&path, api)?;
    }
    Ok(())
}

fn connects_per_ip(config: &ConnectsConfig) -> Option<TokenRate> {
    let rate = config.rate? as u64;
    let burst = config.burst.map_or(2 * rate, |burst| burst as u64);
    Some(TokenRate::new(rate, burst))
}

/// The files that a relay with this config and so many shards needs in addition to its connections.
pub fn file_needs(config: &Config, shards: usize) -> FileNeeds {
    let listeners = listeners(config);
    let is_shared = |each: &&Listen| matches!(each.address, ListenAddress::Tcp(_));
    let shared_listeners = listeners.iter().filter(is_shared).count();
    let pushes = config.endpoints.values().filter_map(EndpointConfig::push);
    let journals = pushes.filter(|push| push.journal.is_some()).count();
    let relays = config.endpoints.values().filter_map(EndpointConfig::nostr);
    let stores = relays.filter(|nostr| nostr.store.is_some()).count();
    FileNeeds {
        shards,
        shared_listeners,
        single_listeners: listeners.len() - shared_listeners,
        admin_listeners: usize::from(config.metrics.enabled),
        journals: journals + stores * STORE_FILES,
    }
}

/// The connections that the limit on open files allows, which must be at least one.
fn checked_budget(config: &Config, files_max: usize) -> Result<FileBudget, BuildError> {
    let shards = shards(config);
    let needs = file_needs(config, shards);
    let budget = FileBudget::of(files_max, &needs);
    let allowed = budget.connections_max;
    if allowed == 0 {
        return Err(BuildError::Files {
            shards,
            files_max,
            needed: FileBudget::files_for(1, &needs),
        });
    }
    if let ConnectionLimit::Count(wanted) = config.limits.connections
        && wanted > allowed
    {
        let needed = FileBudget::files_for(wanted, &needs);
        tracing::warn!(
            wanted,
            allowed,
            files_max,
            needed,
            "the limit on open files is too small for limits.connections: fewer are accepted; \
             raise it ({RAISE_FILES})"
        );
    } else if allowed < FEW_CONNECTIONS {
        tracing::warn!(
            allowed,
            files_max,
            "the limit on open files leaves room for very few connections: raise it \
             ({RAISE_FILES})"
        );
    }
    Ok(budget)
}

fn shards(config: &Config) -> usize {
    match config.engine.shards {
        Shards::Auto => cores(),
        Shards::Count(count) => usize::from(count),
    }
}

fn settings(config: &Config, budget: &FileBudget) -> Settings {
    let at = |host: IpAddr, port| SocketAddr::new(reachable(host), port);
    let admin = at(config.metrics_host(), config.metrics.port);
    Settings {
        listen: listeners(config),
        unix_mode: config.server.unix_mode,
        admin_listen: config
            .metrics
            .enabled
            .then_some(admin.into())
            .into_iter()
            .collect(),
        shards: shards(config),
        pin: config.engine.pin,
        spin: Duration::from_micros(config.engine.spin_us.into()),
        read_buffer_bytes: config.engine.read_buffer_bytes,
        send_buffer_bytes: config.engine.send_buffer_bytes,
        limits: config.limits.shared,
        connections_max: match config.limits.connections {
            ConnectionLimit::Auto => Some(budget.connections_max),
            ConnectionLimit::Unlimited => None,
            // Above the limit on files, the relay could not even accept a connection to refuse it.
            ConnectionLimit::Count(count) => Some(count.min(budget.connections_max)),
        },
        refusing_max: budget.refusing_max,
        admin_connections_max: budget.admin_connections_max,
        connections_per_ip_max: config.limits.connections_per_ip,
        networks: config.networks.clone(),
        connects_per_ip: connects_per_ip(&config.limits.connects_per_ip),
        exempt_networks: config.limits.exempt_networks.clone(),
        trusted_proxies: trusted_proxies(config),
        proxy_protocol: config.server.proxy_protocol,
        process_bytes_max: config.slow_client.process_bytes,
        timeouts: config.timeouts,
        shutdown: config.shutdown,
    }
}

/// The addresses that the relaying shards listen on, without inherited sockets, which replace host
/// and port.
fn listeners(config: &Config) -> Vec<Listen> {
    let server = &config.server;
    let own = SocketAddr::new(reachable(server.host), server.port);
    let own = Listen {
        address: ListenAddress::Tcp(own),
        tls: server.tls.enabled,
    };
    let further = server.listen.iter().filter_map(|listener| match listener {
        Listener::Tcp { address, tls } => Some(Listen {
            address: ListenAddress::Tcp(*address),
            tls: *tls,
        }),
        Listener::Unix(path) => Some(Listen {
            address: ListenAddress::Unix(path.clone()),
            tls: false,
        }),
        Listener::Systemd => None,
    });
    let own = (!server.listen.contains(&Listener::Systemd)).then_some(own);
    own.into_iter().chain(further).collect()
}

fn trusted_proxies(config: &Config) -> TrustedProxies {
    let mut trusted = TrustedProxies::default();
    for proxy in &config.server.trusted_proxies {
        match proxy {
            TrustedProxy::Network(network) => trusted.networks.push(*network),
            TrustedProxy::Unix => trusted.unix = true,
        }
    }
    trusted
}

/// The cores that the process may use: within its CPU set and the quota of its control group.
fn cores() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cores.min(crate::limits::SHARDS_MAX - 1)
}

/// Replaces `::` by `0.0.0.0` on a machine without IPv6, since both mean all of its addresses.
fn reachable(host: IpAddr) -> IpAddr {
    let is_any = host.is_ipv6() && host.is_unspecified();
    if is_any && TcpListener::bind((host, 0)).is_err() {
        return Ipv4Addr::UNSPECIFIED.into();
    }
    host
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EndpointKind;

    /// An embedder's engine has the documented defaults, except for the settings that an embedder
    /// decides: the addresses to listen on, the number of shards, and the limit on connections per
    /// address, which would hurt an embedder behind a proxy.
    #[test]
    fn the_defaults_of_the_engine_are_the_documented_ones() {
        let config = Config::default();
        let budget = checked_budget(&config, 1 << 20).expect("enough files");
        let documented = settings(&config, &budget);
        let engine = Settings::default();
        let expected = Settings {
            listen: documented.listen.clone(),
            admin_listen: documented.admin_listen.clone(),
            shards: documented.shards,
            connections_max: documented.connections_max,
            refusing_max: documented.refusing_max,
            admin_connections_max: documented.admin_connections_max,
            connections_per_ip_max: Some(256),
            exempt_networks: config.limits.exempt_networks.clone(),
            ..engine
        };
        assert_eq!(documented, expected);
        let hub = EndpointConfig::new(EndpointKind::Hub, "/");
        assert_eq!(config.settings_of(&hub), EndpointSettings::default());
    }
}
