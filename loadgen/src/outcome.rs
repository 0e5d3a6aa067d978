//! What a thread hands in at the end.

use hdrhistogram::Histogram;

use crate::check::Counts;
use crate::client::{Client, Phase};
use crate::plan::Role;
use crate::report::Storm;
use crate::spread::Ends;

/// One thread's part of the result.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) clients: Vec<ClientOutcome>,
    /// Nanoseconds from sent to received.
    pub(crate) uncorrected: Histogram<u64>,
    /// First and last receivers.
    pub(crate) ends: Ends,
    /// Nanoseconds from connect to upgraded.
    pub(crate) connect_times: Histogram<u64>,
    /// Nanoseconds from connect to connected.
    pub(crate) tcp_connect_times: Histogram<u64>,
    pub(crate) churn: ChurnOutcome,
    /// When the last measured message arrived, 0 for never.
    pub(crate) last_arrival_ns: u64,
    /// Messages that came compressed, in both phases.
    pub(crate) compressed: u64,
    /// CPU time over wall time while measuring.
    pub(crate) busy: f64,
}

/// What became of one thread's clients that come and go.
#[derive(Debug)]
pub(crate) struct ChurnOutcome {
    pub(crate) replaced: u64,
    pub(crate) failed: u64,
    pub(crate) reasons: Vec<String>,
    /// Of connections that are gone: `[warm-up, measured]`.
    pub(crate) counts: [Counts; 2],
    /// Nanoseconds from when a connection was due to be replaced until it was upgraded again.
    pub(crate) connect_times: Histogram<u64>,
    pub(crate) storms: Vec<Storm>,
}

/// One client's part.
#[derive(Debug)]
pub(crate) struct ClientOutcome {
    pub(crate) index: u32,
    pub(crate) role: Role,
    pub(crate) room: u32,
    /// `[warm-up, measured]`.
    pub(crate) sent: [u64; 2],
    /// Due, and not sent because the connection was gone or blocked.
    pub(crate) unsent: u64,
    /// Measured messages that were late because the socket took no more.
    pub(crate) held_up: u64,
    /// `[warm-up, measured]`.
    pub(crate) counts: [Counts; 2],
    pub(crate) foreign: u64,
    pub(crate) order_hash: u64,
    /// Of measured messages, from due to received.
    pub(crate) latency_sum_ns: u64,
    pub(crate) latency_max_ns: u64,
    /// Taken off the socket since the upgrade.
    pub(crate) received_bytes: u64,
    /// Why the connection ended before the run did.
    pub(crate) closed: Option<String>,
}

impl ClientOutcome {
    pub(crate) fn of(client: Client) -> Self {
        let publisher = client.publisher.unwrap_or_default();
        Self {
            index: client.index,
            role: client.role,
            room: client.room,
            sent: publisher.sent,
            unsent: publisher.scheduled.saturating_sub(publisher.seq),
            held_up: publisher.held_up,
            counts: client.receiver.counts,
            foreign: client.receiver.foreign,
            order_hash: client.receiver.order_hash,
            latency_sum_ns: client.receiver.latency_sum_ns,
            latency_max_ns: client.receiver.latency_max_ns,
            received_bytes: client.received_bytes,
            closed: match client.phase {
                Phase::Closed(reason) => Some(reason),
                _ => None,
            },
        }
    }
}
