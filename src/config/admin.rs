//! `admin`: the dashboard on the admin listener, and who may see it.

use corecast_engine::with_defaults;

use super::ApiKey;

with_defaults! {
    /// `admin`: the dashboard.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct AdminConfig {
        /// Whether it is served, where `metrics` is enabled.
        pub dashboard: bool = true,
        /// What opens it; `None`: on a loopback address nothing is needed, and elsewhere nobody may
        /// see it.
        pub token: Option<ApiKey> = None,
        /// Whether it shows the addresses of slow clients.
        pub addresses: bool = false,
    }
}
