//! The head of every report.

use serde::{Deserialize, Serialize};

use super::Machine;

/// Version of the report format. It grows if a field changes its meaning or is removed; a new field
/// does not change it.
pub const VERSION: u32 = 1;

/// The head of every report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Head {
    /// [`VERSION`].
    pub version: u32,
    /// Name and version of the program that ran: `loadgen 0.1.0`.
    pub program: String,
    /// `--scenario`; `broadcast` if none was named, `handshakes` with `--handshakes`.
    pub scenario: String,
    /// `--label`: the user's name for this run.
    pub label: Option<String>,
    /// When it began, RFC 3339 in UTC.
    pub started_at: String,
    /// The same in milliseconds since 1970.
    pub started_at_ms: u64,
    /// The machine that the generator ran on.
    pub machine: Machine,
}
