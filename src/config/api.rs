//! `api`: the HTTP API for back ends, and the keys that it accepts.

use std::path::PathBuf;

use corecast_engine::with_defaults;

use super::ApiKey;

with_defaults! {
    /// `api`: the HTTP API for back ends.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ApiConfig {
        /// Whether the rooms API is served.
        pub enabled: bool = true,
        /// Valid keys, in addition to those of `keys_file`. `None`: not configured.
        pub keys: Option<Vec<ApiKey>> = None,
        /// A file with one key on each line; its path is relative to the working directory.
        pub keys_file: Option<PathBuf> = None,
    }
}
