//! The settings of a push API.

use std::path::PathBuf;
use std::time::Duration;

/// The settings of one push API.
#[derive(Clone, Debug)]
pub struct PushSettings {
    /// Its path, without wildcards.
    pub path: String,
    /// Whether a push whose token names no user goes to all clients; otherwise it is refused.
    pub broadcast_fallback: bool,
    /// The file that keeps delayed pushes over a restart.
    pub journal: Option<PathBuf>,
    /// Most delayed pushes that may be pending.
    pub pending_max: usize,
    /// Most memory of the pending pushes, in bytes.
    pub pending_bytes: usize,
    /// The longest delay.
    pub delay_max: Duration,
}
