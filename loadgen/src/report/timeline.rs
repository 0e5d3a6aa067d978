//! The measured time, second by second.

use serde::{Deserialize, Serialize};

use super::{Distribution, Quantiles};

/// One second of the measured time, or the rest of it at the end; or the time after it, until the
/// last delivery arrived.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Milliseconds from the start of the measurement to the start of this second.
    pub at_ms: u64,
    /// Its length: 1000, except for the last one and the time after it.
    pub for_ms: u64,
    /// Messages handed to sockets.
    pub sent: u64,
    /// Deliveries that arrived; in the first second some may be late messages of the warm-up.
    pub received: u64,
    /// Bytes that were read from the sockets, including headers and the overhead of TLS.
    pub received_bytes: u64,
    /// Connections that were open at its end.
    pub connected: u64,
    /// From due to received, for deliveries that arrived in it.
    pub latency: Distribution,
    /// From due to sent, for messages that were sent in it.
    pub lateness_ns: Quantiles,
}
