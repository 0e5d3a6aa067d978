//! A config that replaces another one while the relay runs: which keys change and which do not.
//!
//! Pure, as the rest of the config: the caller applies the outcome to the engine.

use std::fmt;

use serde_yaml::Value;

use super::keys::{ENDPOINT_KEYS, KEYS, Key};
use super::{Config, ConfigError, Need, Problem};

/// The outcome of reading the config again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// The config in effect from now on: the new values of live keys, the old ones of all others.
    pub config: Config,
    /// Every key whose value differs, in the order of `config.yaml`.
    pub changes: Vec<Change>,
}

/// A key whose value differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub path: String,
    /// Its value in the running config.
    pub from: String,
    /// Its value in the new config.
    pub to: String,
    /// Whether the old value stays in effect until a restart.
    pub needs_restart: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { path, from, to, .. } = self;
        write!(f, "{path}: {from} becomes {to}")
    }
}

impl Config {
    /// Applies `wanted`, the config that was read again, to this running one.
    ///
    /// Endpoints that are added, removed or moved wait for a restart. So does all of `server.tls`
    /// if TLS is switched on or off.
    ///
    /// # Errors
    ///
    /// An endpoint, the dashboard or TLS that requires a credential would require none, and no key
    /// says that this is intended.
    pub fn reloaded(&self, wanted: Config) -> Result<Reloaded, ConfigError> {
        let mut reloaded = Reloaded {
            config: wanted,
            changes: Vec::new(),
        };
        let tls_stays = self.server.tls.enabled == reloaded.config.server.tls.enabled;
        for key in KEYS.iter() {
            let is_live = key.is_live && (tls_stays || !key.path.starts_with("server.tls."));
            let prefix = String::new();
            reloaded
                .changes
                .extend(take_over(key, &prefix, is_live, self, &mut reloaded.config));
        }
        self.take_over_endpoints(&mut reloaded);
        let problems = self.opened_by(&reloaded.config);
        match problems.is_empty() {
            true => Ok(reloaded),
            false => Err(ConfigError { problems }),
        }
    }

    /// A problem for each endpoint or port that requires a credential now and would require none
    /// with `next`, only because keys were removed: perhaps they were meant to be revoked.
    fn opened_by(&self, next: &Config) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut add = |place: String, message: &str| {
            let message = message.to_owned();
            problems.push(Problem { place, message });
        };
        for (name, endpoint) in next.endpoints.iter().filter(|(_, each)| each.enabled) {
            let was_shut = self
                .endpoints
                .get(name)
                .is_some_and(|running| self.need_of(running) == Need::Credentials);
            let auth = next.auth_of(endpoint);
            if was_shut && auth.need() == Need::Nothing && auth.enabled != Some(false) {
                add(
                    format!("endpoints.{name}.auth"),
                    "clients need a key or a token now, and would need none: write auth.enabled: \
                     false to open it, or auth.enabled: true and another key",
                );
            }
        }
        let has_dashboard = next.metrics.enabled && next.admin.dashboard;
        let is_local = next.metrics_host().is_loopback();
        let is_gone = self.admin.token.is_some() && next.admin.token.is_none();
        if has_dashboard && is_local && is_gone {
            add(
                "admin.token".to_owned(),
                "the dashboard needs a token now, and would need none on this machine: restart \
                 the relay if that is intended, or set another token",
            );
        }
        let (tls, next_tls) = (&self.server.tls, &next.server.tls);
        if tls.client_ca_file.is_some() && next_tls.client_ca_file.is_none() {
            add(
                "server.tls.client_ca_file".to_owned(),
                "clients need a certificate now, and would need none: restart the relay if that \
                 is intended",
            );
        }
        problems
    }

    fn take_over_endpoints(&self, reloaded: &mut Reloaded) {
        let mut wanted = std::mem::take(&mut reloaded.config.endpoints);
        for (name, running) in &self.endpoints {
            let Some(mut endpoint) = wanted.remove(name) else {
                let change = presence(name, "there", "gone");
                reloaded.changes.push(change);
                reloaded
                    .config
                    .endpoints
                    .insert(name.clone(), running.clone());
                continue;
            };
            let prefix = format!("endpoints.{name}.");
            for key in ENDPOINT_KEYS.iter() {
                let change = take_over(key, &prefix, key.is_live, running, &mut endpoint);
                let is_another_kind = change.is_some() && key.path == "kind";
                reloaded.changes.extend(change);
                // The options change with the kind; listing them one by one would not help.
                if is_another_kind {
                    endpoint.kind.clone_from(&running.kind);
                }
            }
            reloaded.config.endpoints.insert(name.clone(), endpoint);
        }
        let added = wanted
            .keys()
            .map(|name| presence(name, "not there", "there"));
        reloaded.changes.extend(added);
    }
}

/// Compares one key. If it is not live, `wanted` gets the value of `running`.
fn take_over<S>(
    key: &Key<S>,
    prefix: &str,
    is_live: bool,
    running: &S,
    wanted: &mut S,
) -> Option<Change> {
    if !key.differs(running, wanted) {
        return None;
    }
    let change = Change {
        path: format!("{prefix}{}", key.path),
        from: text(&key.show(running)),
        to: text(&key.show(wanted)),
        needs_restart: !is_live,
    };
    if !is_live {
        key.copy(running, wanted);
    }
    Some(change)
}

fn presence(name: &str, from: &str, to: &str) -> Change {
    Change {
        path: format!("endpoints.{name}"),
        from: from.to_owned(),
        to: to.to_owned(),
        needs_restart: true,
    }
}

fn text(value: &Value) -> String {
    serde_yaml::to_string(value)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EndpointConfig, EndpointKind, LogLevel};

    #[test]
    fn live_keys_change_and_the_others_wait_for_a_restart() {
        let running = Config::default();
        let mut wanted = running.clone();
        wanted.logging.level = LogLevel::Debug;
        wanted.limits.message_bytes = 1_000;
        wanted.server.port = 1;
        let Reloaded { config, changes } = running.reloaded(wanted).expect("no door opens");
        assert_eq!(config.logging.level, LogLevel::Debug);
        assert_eq!(config.limits.message_bytes, 1_000);
        assert_eq!(config.server.port, running.server.port);
        let shown: Vec<_> = changes
            .iter()
            .map(|change| (change.to_string(), change.needs_restart))
            .collect();
        let expected = [
            ("server.port: 8443 becomes 1", true),
            ("limits.message_bytes: 1MiB becomes 1000", false),
            ("logging.level: info becomes debug", false),
        ];
        assert_eq!(
            shown,
            expected.map(|(text, restart)| (text.to_owned(), restart))
        );
    }

    #[test]
    fn endpoints_keep_their_places_and_may_change_their_limits() {
        let running = Config::default();
        let mut wanted = running.clone();
        let lobby = EndpointConfig::new(EndpointKind::Hub, "/lobby");
        wanted.endpoints.insert("lobby".to_owned(), lobby);
        let hub = wanted.endpoints.get_mut("hub").expect("the built-in one");
        hub.path = "/elsewhere".to_owned();
        hub.limits.message_bytes = Some(7);
        let Reloaded { config, changes } = running.reloaded(wanted).expect("no door opens");
        assert_eq!(config.endpoints.len(), running.endpoints.len());
        assert_eq!(config.endpoints["hub"].path, "/**");
        assert_eq!(config.endpoints["hub"].limits.message_bytes, Some(7));
        let waiting: Vec<&str> = changes
            .iter()
            .filter(|change| change.needs_restart)
            .map(|change| change.path.as_str())
            .collect();
        assert_eq!(waiting, ["endpoints.hub.path", "endpoints.lobby"]);
        let built_in = running.endpoints.len();
        let Reloaded { config, changes } = config
            .reloaded(Config {
                endpoints: Default::default(),
                ..running
            })
            .expect("no door opens");
        assert_eq!(config.endpoints.len(), built_in);
        assert_eq!(changes[0].to_string(), "endpoints.hub: there becomes gone");
    }

    #[test]
    fn tls_is_not_switched_without_a_restart() {
        let mut running = Config::default();
        running.server.tls.enabled = true;
        running.server.tls.cert_file = Some("a.pem".into());
        let mut wanted = running.clone();
        wanted.server.tls.cert_file = Some("b.pem".into());
        let live = running.reloaded(wanted.clone()).expect("no door opens");
        assert_eq!(live.config.server.tls, wanted.server.tls);
        assert!(live.changes.iter().all(|change| !change.needs_restart));
        wanted.server.tls.enabled = false;
        let restart = running.reloaded(wanted).expect("no door opens");
        assert_eq!(restart.config.server.tls, running.server.tls);
        assert!(restart.changes.iter().all(|change| change.needs_restart));
    }
}
