//! `api`: the keys by which back ends show that they may use the HTTP API.

use std::path::PathBuf;

use corecast_engine::with_defaults;

use super::ApiKey;

with_defaults! {
    /// `api`: the HTTP API for back ends.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ApiConfig {
        /// Whether the rooms API is there.
        pub enabled: bool = true,
        /// Keys that are good; with those of `keys_file`. `None`: none are written.
        pub keys: Option<Vec<ApiKey>> = None,
        /// A file with a key a line, relative to the working directory.
        pub keys_file: Option<PathBuf> = None,
    }
}
