//! The results that a thread returns at the end.

use std::io::ErrorKind;

use hdrhistogram::Histogram;

use crate::check::Counts;
use crate::client::{Client, End, Phase};
use crate::first_last::Ends;
use crate::measures::Measures;
use crate::nostr::NostrOutcome;
use crate::plan::Role;
use crate::report::Storm;
use crate::watch::Span;

/// The course of a run as a whole. Times are on the run's clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Course {
    pub(crate) measure_ns: u64,
    /// Ended by a signal.
    pub(crate) interrupted: bool,
    /// Ended because no reader or no publisher was left.
    pub(crate) deserted: Option<Deserted>,
    /// The longest time in which messages were sent and none arrived.
    pub(crate) silence: Option<Span>,
    /// The drain ended before everything had arrived.
    pub(crate) gave_up: bool,
}

/// No reader or no publisher was left.
#[derive(Clone, Debug)]
pub(crate) struct Deserted {
    pub(crate) at_ns: u64,
    /// Messages until then, the warm-up's included.
    pub(crate) sent: u64,
    /// The outcome of the test connection that followed.
    pub(crate) probe: Result<(), ErrorKind>,
}

/// One thread's results.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) clients: Vec<ClientOutcome>,
    /// The generator's own share of the latency.
    pub(crate) measures: Measures,
    /// How often the system's clock was set.
    pub(crate) clock_steps: u64,
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
    /// Present for a Nostr relay.
    pub(crate) nostr: Option<NostrOutcome>,
    /// CPU time over wall time while measuring.
    pub(crate) busy: f64,
    /// It had real-time scheduling.
    pub(crate) is_realtime: bool,
}

/// Results of one thread's clients that reconnect.
#[derive(Debug)]
pub(crate) struct ChurnOutcome {
    /// Replacements that were due.
    pub(crate) due: u64,
    /// Of these, upgraded again.
    pub(crate) replaced: u64,
    /// Of the due: skipped, because the previous replacement was not connected yet.
    pub(crate) skipped: u64,
    pub(crate) failed: u64,
    pub(crate) reasons: Vec<String>,
    /// Of connections that have ended: `[warm-up, measured]`.
    pub(crate) counts: [Counts; 2],
    /// Messages to them that were not of this run.
    pub(crate) foreign: u64,
    /// Nanoseconds from when a connection was due to be replaced until it was upgraded again.
    pub(crate) connect_times: Histogram<u64>,
    pub(crate) storms: Vec<Storm>,
}

/// One client's results.
#[derive(Debug)]
pub(crate) struct ClientOutcome {
    pub(crate) index: u32,
    pub(crate) role: Role,
    pub(crate) room: u32,
    /// `[warm-up, measured]`.
    pub(crate) sent: [u64; 2],
    /// Due but not sent.
    pub(crate) unsent: u64,
    /// At the end the socket accepted no more bytes.
    pub(crate) is_blocked: bool,
    /// Measured messages that were late because the socket accepted no more bytes.
    pub(crate) held_up: u64,
    /// `[warm-up, measured]`.
    pub(crate) counts: [Counts; 2],
    pub(crate) foreign: u64,
    /// Of the damaged: those that cannot be identified.
    pub(crate) unplaced: u64,
    /// Of the repeated: its own messages, which the server should not echo.
    pub(crate) echoed: u64,
    /// Gaps that its receiver has forgotten.
    pub(crate) gaps_forgotten: u64,
    /// By publisher, in its room: one more than the last sequence number that came; the list ends
    /// with the last publisher of which something came.
    pub(crate) heard: Vec<u32>,
    /// Reads that completed a message, those without a pause between them counted as one; the sum
    /// of the pauses; and the time of the last one.
    pub(crate) bursts: u64,
    pub(crate) pauses_ns: u64,
    pub(crate) last_read_ns: u64,
    pub(crate) order_hash: u64,
    /// Of measured messages, from due to received.
    pub(crate) latency_sum_ns: u64,
    pub(crate) latency_max_ns: u64,
    /// Bytes read from the socket since the upgrade.
    pub(crate) received_bytes: u64,
    /// Why the connection ended before the run did.
    pub(crate) end: Option<End>,
}

impl ClientOutcome {
    pub(crate) fn of(client: Client) -> Self {
        let is_blocked = client.is_blocked() || client.is_held();
        let publisher = client.publisher.unwrap_or_default();
        let receiver = client.receiver;
        Self {
            index: client.index,
            role: client.role,
            room: client.room,
            sent: publisher.sent,
            unsent: publisher.scheduled.saturating_sub(publisher.seq),
            is_blocked,
            held_up: publisher.held_up,
            counts: receiver.counts,
            foreign: receiver.foreign,
            unplaced: receiver.unplaced,
            echoed: receiver.echoed,
            gaps_forgotten: receiver.gaps_forgotten,
            bursts: receiver.bursts,
            pauses_ns: receiver.pauses_ns,
            last_read_ns: receiver.last_read_ns,
            order_hash: receiver.order_hash,
            latency_sum_ns: receiver.latency_sum_ns,
            latency_max_ns: receiver.latency_max_ns,
            heard: receiver.heard(),
            received_bytes: client.received_bytes,
            end: match client.phase {
                Phase::Closed(end) => Some(end),
                _ => None,
            },
        }
    }
}
