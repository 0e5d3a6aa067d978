//! The counters of a shard: relaxed atomics that only the shard writes and the admin shard reads.

use std::sync::Arc;

use strum::VariantNames;

use crate::counter::Counter;
use crate::engine::close_reason::CloseReason;
use crate::engine::refusal::Refusals;
use crate::engine::settings::RatePolicy;
use crate::exchange::ExchangeStats;
use crate::wire::deflate::InflateError;
use crate::work::TurnPhase;

/// Buckets for each power of two of a [`Durations`].
const SUB_BUCKETS: usize = 4;
const SUB_BITS: u32 = SUB_BUCKETS.trailing_zeros();
/// 2^9 ns: all shorter durations are in the first bucket.
const FIRST_EXPONENT: u32 = 9;
/// 2^34 ns, 17 s: all longer durations are in the last bucket.
const LAST_EXPONENT: u32 = 34;
const BUCKETS: usize = (LAST_EXPONENT - FIRST_EXPONENT) as usize * SUB_BUCKETS + 2;

/// Durations in log-linear buckets, four for each power of two, from half a microsecond to 17 s,
/// so that a recorded value is accurate to 25 %.
#[derive(Debug)]
pub struct Durations {
    buckets: [Counter; BUCKETS],
    sum_ns: Counter,
}

impl Default for Durations {
    fn default() -> Self {
        Durations {
            buckets: std::array::from_fn(|_| Counter::default()),
            sum_ns: Counter::default(),
        }
    }
}

impl Durations {
    /// Counts `times` durations of `ns` nanoseconds.
    pub fn record(&self, ns: u64, times: u64) {
        self.buckets[bucket_of(ns)].add(times);
        self.sum_ns.add(ns.saturating_mul(times));
    }

    /// The sum of all durations, in nanoseconds.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns.get()
    }

    /// Each bucket's upper bound in nanoseconds (exclusive; the last has none) and its count.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        self.buckets
            .iter()
            .enumerate()
            .map(|(index, count)| (upper_bound_ns(index), count.get()))
    }
}

fn bucket_of(ns: u64) -> usize {
    let exponent = ns.max(1).ilog2();
    if exponent < FIRST_EXPONENT {
        return 0;
    }
    if exponent >= LAST_EXPONENT {
        return BUCKETS - 1;
    }
    let sub = (ns >> (exponent - SUB_BITS)) as usize & (SUB_BUCKETS - 1);
    1 + (exponent - FIRST_EXPONENT) as usize * SUB_BUCKETS + sub
}

fn upper_bound_ns(bucket: usize) -> Option<u64> {
    if bucket == 0 {
        return Some(1 << FIRST_EXPONENT);
    }
    if bucket == BUCKETS - 1 {
        return None;
    }
    let exponent = FIRST_EXPONENT + ((bucket - 1) / SUB_BUCKETS) as u32;
    let sub = ((bucket - 1) % SUB_BUCKETS) as u64;
    Some((1 << exponent) + (sub + 1) * (1 << (exponent - SUB_BITS)))
}

/// Powers of two from 1 to 1,024, and more.
const COUNT_BUCKETS: usize = 12;

/// Counts in buckets, one for each power of two.
#[derive(Debug, Default)]
pub struct Counts {
    buckets: [Counter; COUNT_BUCKETS],
    sum: Counter,
}

impl Counts {
    /// Counts one value.
    pub(crate) fn record(&self, value: u64) {
        let bucket = value.max(1).next_power_of_two().trailing_zeros() as usize;
        self.buckets[bucket.min(COUNT_BUCKETS - 1)].add(1);
        self.sum.add(value);
    }

    /// The sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }

    /// Each bucket's upper bound (inclusive; the last has none) and its count.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bound = |index| (index < COUNT_BUCKETS - 1).then(|| 1_u64 << index);
        self.buckets
            .iter()
            .enumerate()
            .map(move |(index, count)| (bound(index), count.get()))
    }
}

/// An action against a client that reads too slowly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, VariantNames)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum SlowAction {
    /// It was disconnected.
    Disconnect,
    /// Frames that had waited longest were dropped.
    DropOldest,
    /// New frames were not queued.
    DropNewest,
    /// All but each room's latest frame were dropped.
    LatestOnly,
    /// Its waiting frames were copied, so that they no longer keep larger buffers alive.
    CopyOut,
}

impl SlowAction {
    /// The labels in the metrics.
    pub const LABELS: &'static [&'static str] = Self::VARIANTS;
}

/// The counters of one shard. Aligned so that no two shards write to the same cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
#[non_exhaustive]
pub struct ShardStats {
    /// Connections that were accepted, of all kinds.
    pub accepted: Counter,
    /// Errors of `accept`, such as no free file descriptors.
    pub accept_errors: Counter,
    /// Connections of the admin shard that had to make room for another one.
    pub evicted: Counter,
    /// WebSocket connections that were opened.
    pub opened: Counter,
    /// WebSocket connections that ended, by [`CloseReason::label_index`].
    pub closed: [Counter; CloseReason::LABELS.len()],
    /// Connections refused before they were open, by [`Refusal`](super::Refusal).
    pub refused: Refusals,
    /// TLS handshakes that were finished: in full, and by a ticket.
    pub tls_handshakes: [Counter; 2],
    /// Requests of trusted proxies whose `Forwarded` or `X-Forwarded-For` is malformed.
    pub forwarded_malformed: Counter,
    /// Requests of trusted proxies whose headers name different clients.
    pub forwarded_conflicts: Counter,
    /// Plain HTTP requests that were answered.
    pub requests: Counter,
    /// Connections now that are in or before the handshake, or speak plain HTTP.
    pub connecting: Counter,
    /// WebSocket connections now that are open.
    pub open: Counter,
    /// WebSocket connections now that are open, by endpoint, in the order of their numbers.
    pub endpoint_open: Box<[Counter]>,
    /// Connections now that are being closed.
    pub closing: Counter,
    /// Messages received.
    pub messages: Counter,
    /// Their payload, in bytes.
    pub message_bytes: Counter,
    /// Ping frames received.
    pub pings: Counter,
    /// Frames sent to clients, control frames excepted.
    pub deliveries: Counter,
    /// Bytes sent to clients, headers and control frames included.
    pub sent_bytes: Counter,
    /// `send` and `writev` calls.
    pub sends: Counter,
    /// Sends that failed because the kernel was short of memory, and are retried.
    pub send_errors: Counter,
    /// Frames completed by each send.
    pub frames_per_send: Counts,
    /// From the end of a frame's `recv` to the end of the `send` that carried it. Frames sent
    /// together count with the age of the oldest.
    pub relay_latency: Durations,
    /// How long turns took, without the wait for events.
    pub turns: Durations,
    /// Phases of turns that ended while more was waiting, and connections that were not read
    /// further in a turn because they had used their share, by [`TurnPhase`].
    pub turn_cut: [Counter; TurnPhase::LABELS.len()],
    /// Time spent waiting for events, in nanoseconds.
    pub idle_ns: Counter,
    /// Share of the last whole second that was spent in turns, in parts per million.
    pub busy_ppm: Counter,
    /// Bytes that wait in outboxes, as of the last sweep.
    pub outbox_bytes: Counter,
    /// Age of the oldest frame in an outbox whose last send would have blocked, in milliseconds.
    pub outbox_age_ms: Counter,
    /// Actions against slow clients, by [`SlowAction`].
    pub slow_actions: [Counter; SlowAction::LABELS.len()],
    /// Frames that slow clients did not get.
    pub dropped_frames: Counter,
    /// Actions against connections that sent more than they may, by `RatePolicy`.
    pub rate_actions: [Counter; RatePolicy::LABELS.len()],
    /// Open WebSocket connections now that agreed to permessage-deflate.
    pub deflate_open: Counter,
    /// Messages that were deflated, each once for all its recipients.
    pub deflated: Counter,
    /// Messages that compression did not make smaller, and that were sent uncompressed.
    pub deflated_in_vain: Counter,
    /// Bytes that compression saved, over all recipients.
    pub deflate_saved_bytes: Counter,
    /// Compressed messages received.
    pub inflated: Counter,
    /// Compressed messages that were refused, by [`InflateError`].
    pub inflations_refused: [Counter; InflateError::LABELS.len()],
    /// Its exchange with the other shards.
    pub exchange: Arc<ExchangeStats>,
    /// Endpoint code that panicked.
    pub endpoint_panics: Counter,
    /// When the loop last began a turn, in nanoseconds of the process's clock.
    pub last_turn_ns: Counter,
}

/// The endpoints and reasons that an engine counts apart.
pub(super) struct Counted {
    pub(super) endpoints: usize,
    /// Reasons of endpoints to refuse clients.
    pub(super) reasons: Arc<[&'static str]>,
}

impl ShardStats {
    pub(super) fn new(counted: &Counted) -> ShardStats {
        ShardStats {
            refused: Refusals::new(Arc::clone(&counted.reasons)),
            endpoint_open: (0..counted.endpoints).map(|_| Counter::default()).collect(),
            ..ShardStats::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_bucket_whose_bounds_hold_it() {
        for ns in [
            0,
            1,
            511,
            512,
            640,
            1_000,
            4_095,
            4_096,
            123_456_789,
            10_000_000_000,
            u64::MAX,
        ] {
            let bucket = bucket_of(ns);
            assert!(
                upper_bound_ns(bucket).is_none_or(|bound| ns < bound),
                "{ns}"
            );
            assert!(bucket == 0 || upper_bound_ns(bucket - 1).is_some_and(|bound| bound <= ns));
        }
    }

    #[test]
    fn bounds_grow_and_cover_one_microsecond_to_ten_seconds() {
        let bounds: Vec<u64> = (0..BUCKETS).filter_map(upper_bound_ns).collect();
        assert!(bounds.is_sorted());
        assert!(bounds[0] < 1_000 && *bounds.last().unwrap() > 10_000_000_000);
    }

    #[test]
    fn a_count_is_in_the_bucket_of_the_next_power_of_two() {
        let counts = Counts::default();
        for value in [1, 2, 3, 64, 5_000] {
            counts.record(value);
        }
        let filled: Vec<_> = counts.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(
            filled,
            [
                (Some(1), 1),
                (Some(2), 1),
                (Some(4), 1),
                (Some(64), 1),
                (None, 1)
            ]
        );
        assert_eq!(counts.sum(), 5_070);
    }
}
