//! The measured time, second by second.

use serde::{Deserialize, Serialize};

use super::{Distribution, Quantiles};

/// One second of the measured time, or what is left of it at the end; or the time after it, until
/// the last delivery was in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Milliseconds from the begin of the measurement to the begin of this second.
    pub at_ms: u64,
    /// How long it is: 1000, but for the last one and the time after it.
    pub for_ms: u64,
    /// Messages handed to sockets in it.
    pub sent: u64,
    /// Deliveries that arrived in it; in the first one some may be of late messages of the warm-up.
    pub received: u64,
    /// Bytes that came off the sockets in it, headers and what TLS adds included.
    pub received_bytes: u64,
    /// Connections that were open at its end.
    pub connected: u64,
    /// From due to received, of what arrived in it.
    pub latency: Distribution,
    /// From due to sent, of what was sent in it.
    pub lateness_ns: Quantiles,
}
