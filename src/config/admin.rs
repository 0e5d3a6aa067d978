//! `admin`: the dashboard on the admin listener, and who may see it.

use super::ApiKey;

/// `admin`: the dashboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Whether it is served, where `metrics` is enabled.
    pub dashboard: bool,
    /// What opens it; `None`: on a loopback address nothing is needed, and elsewhere nobody may
    /// see it.
    pub token: Option<ApiKey>,
    /// Whether it shows the addresses of slow clients.
    pub addresses: bool,
}

impl Default for AdminConfig {
    fn default() -> AdminConfig {
        AdminConfig {
            dashboard: true,
            token: None,
            addresses: false,
        }
    }
}
