//! What a config says of a push API.

use std::path::PathBuf;
use std::time::Duration;

/// What an operator decides about one push API.
#[derive(Clone, Debug)]
pub struct PushSettings {
    /// Its path, without wildcards.
    pub path: String,
    /// Whether a token that names no user stands for everybody; else it is refused.
    pub broadcast_fallback: bool,
    /// The file that keeps delayed pushes over a restart.
    pub journal: Option<PathBuf>,
    /// Most delayed pushes that wait.
    pub pending_max: usize,
    /// Most memory of those, in bytes.
    pub pending_bytes: usize,
    /// The longest delay.
    pub delay_max: Duration,
}
