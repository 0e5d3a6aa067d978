//! `admin`: the dashboard on the admin listener, and who may see it.

use corecast_engine::with_defaults;

use super::ApiKey;

with_defaults! {
    /// `admin`: the dashboard.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct AdminConfig {
        /// Whether it is served; it needs `metrics.enabled`.
        pub dashboard: bool = true,
        /// The token that opens it. `None`: open on a loopback address, closed on any other.
        pub token: Option<ApiKey> = None,
        /// Whether it shows the addresses of slow clients.
        pub addresses: bool = false,
    }
}
