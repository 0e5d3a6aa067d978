//! `api`: the keys by which back ends show that they may use the HTTP API.

use std::path::PathBuf;

use super::ApiKey;

/// `api`: the HTTP API for back ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiConfig {
    /// Whether the rooms API is there.
    pub enabled: bool,
    /// Keys that are good; with those of `keys_file`. `None`: none are written.
    pub keys: Option<Vec<ApiKey>>,
    /// A file with a key a line, relative to the working directory.
    pub keys_file: Option<PathBuf>,
}

impl Default for ApiConfig {
    fn default() -> ApiConfig {
        ApiConfig {
            enabled: true,
            keys: None,
            keys_file: None,
        }
    }
}
