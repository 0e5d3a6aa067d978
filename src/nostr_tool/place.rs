//! Which store a tool works on.

use std::path::PathBuf;

use clap::Args;
use corecast_nostr::{PrivateKinds, RelayUrls};

use crate::config::{Config, NostrConfig};

/// The store.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The folder of the store
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
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
    /// None so far.
    pub(super) fn find(&self, config: &Config) -> anyhow::Result<Found> {
        let settings = config
            .endpoints
            .values()
            .find_map(|endpoint| endpoint.nostr());
        Ok(Found {
            folder: self.store.clone(),
            settings: settings.cloned().unwrap_or_default(),
        })
    }
}
