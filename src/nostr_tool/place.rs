//! Which store a tool works on.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use corecast_nostr::{PrivateKinds, RelayUrls};

use crate::config::{Config, NostrConfig};

/// The store: by default that of the only Nostr endpoint with one.
#[derive(Debug, Default, Args)]
pub(super) struct Which {
    /// The folder of the store [default: that of the endpoint]
    #[arg(long, value_name = "DIR", conflicts_with = "endpoint")]
    store: Option<PathBuf>,

    /// The endpoint whose store it is [default: the only Nostr endpoint with a store]
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
}

/// A store's folder, with the settings of its endpoint.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) folder: PathBuf,
    pub(super) settings: NostrConfig,
}

impl Found {
    /// The URLs of the relay.
    pub(super) fn urls(&self) -> RelayUrls {
        RelayUrls::new(self.settings.urls.iter().map(ToString::to_string).collect())
    }

    /// The kinds whose events are private.
    pub(super) fn private(&self) -> PrivateKinds {
        self.settings.auth.private_kinds.iter().copied().collect()
    }
}

impl Which {
    /// Finds the store in the config.
    ///
    /// # Errors
    ///
    /// No endpoint has one, or several have.
    pub(super) fn find(&self, config: &Config) -> anyhow::Result<Found> {
        let endpoints = config.endpoints.iter();
        let nostr = endpoints.filter_map(|(name, endpoint)| Some((name, endpoint.nostr()?)));
        let mut stored =
            nostr.filter_map(|(name, settings)| Some((name, settings, folder_of(settings)?)));
        if let Some(folder) = &self.store {
            let settings = stored.find(|(_, _, other)| is_same(other, folder));
            let settings = settings.map(|(_, settings, _)| settings.clone());
            return Ok(Found {
                folder: folder.clone(),
                settings: settings.unwrap_or_default(),
            });
        }
        if let Some(name) = &self.endpoint {
            let endpoint = config.endpoints.get(name.as_str());
            let endpoint = endpoint.with_context(|| format!("endpoint {name:?} does not exist"))?;
            let settings = endpoint.nostr();
            let settings =
                settings.with_context(|| format!("endpoint {name:?} is not of the kind nostr"))?;
            let folder = folder_of(settings).with_context(|| {
                format!("endpoint {name:?} keeps its events in memory; set nostr.store")
            })?;
            return Ok(Found {
                folder: folder.to_owned(),
                settings: settings.clone(),
            });
        }
        let stored: Vec<_> = stored.collect();
        match &*stored {
            [(_, settings, folder)] => Ok(Found {
                folder: (*folder).to_owned(),
                settings: (*settings).clone(),
            }),
            [] => bail!(
                "the config has no Nostr endpoint with a store: set endpoints.<name>.nostr.store, \
                 or use --store"
            ),
            several => {
                let names: Vec<&str> = several.iter().map(|(name, ..)| name.as_str()).collect();
                let names = names.join(", ");
                bail!("several endpoints have a store ({names}): choose one with --endpoint")
            }
        }
    }
}

fn folder_of(settings: &NostrConfig) -> Option<&Path> {
    settings.store.as_deref()
}

/// Whether both paths lead to the same folder.
fn is_same(one: &Path, other: &Path) -> bool {
    one == other
        || one
            .canonicalize()
            .is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigFile, load};

    const NOSTR: &str = "kind: nostr, path: ";

    fn config(endpoints: &str) -> Config {
        let text = format!("endpoints: {{{endpoints}}}");
        let file = ConfigFile {
            name: "c.yaml",
            text: &text,
        };
        load(Some(file), [], &[]).expect("a config")
    }

    fn found(
        config: &Config,
        store: Option<&str>,
        endpoint: Option<&str>,
    ) -> Result<Found, String> {
        let which = Which {
            store: store.map(PathBuf::from),
            endpoint: endpoint.map(str::to_owned),
        };
        which.find(config).map_err(|error| error.to_string())
    }

    #[test]
    fn the_only_store_needs_no_name() {
        let one =
            format!("a: {{{NOSTR}/a}}, b: {{{NOSTR}/b, nostr: {{store: s, memory_events: 9}}}}");
        let one = config(&one);
        for (store, endpoint) in [(None, None), (None, Some("b")), (Some("s"), None)] {
            let found = found(&one, store, endpoint).expect("a store");
            assert_eq!(found.folder, Path::new("s"));
            assert_eq!(found.settings.memory_events, 9, "{store:?} {endpoint:?}");
        }
        let other = found(&one, Some("other"), None).expect("a store");
        assert_eq!(other.settings, NostrConfig::default());
    }

    #[test]
    fn a_store_that_is_not_clear_is_an_error() {
        let several = format!(
            "a: {{{NOSTR}/a, nostr: {{store: s}}}}, b: {{{NOSTR}/b, nostr: {{store: t}}}}, \
             c: {{{NOSTR}/c}}"
        );
        let several = config(&several);
        let told = |config: &Config, endpoint| found(config, None, endpoint).expect_err("an error");
        let expected = "several endpoints have a store (a, b): choose one with --endpoint";
        assert_eq!(told(&several, None), expected);
        let expected = "endpoint \"c\" keeps its events in memory; set nostr.store";
        assert_eq!(told(&several, Some("c")), expected);
        let expected = "endpoint \"hub\" is not of the kind nostr";
        assert_eq!(told(&several, Some("hub")), expected);
        assert_eq!(told(&several, Some("x")), "endpoint \"x\" does not exist");
        let none = told(&Config::default(), None);
        assert!(none.contains("no Nostr endpoint with a store"), "{none}");
    }
}
