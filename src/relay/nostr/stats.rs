//! Counters of a Nostr endpoint, for the metrics.

use std::sync::{Arc, Mutex, PoisonError};

use strum::VariantNames;

use crate::engine::Durations;
use crate::relay::count::Count;

/// The result of an EVENT.
#[derive(Clone, Copy, PartialEq, Eq, Debug, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum EventResult {
    Stored,
    Ephemeral,
    Duplicate,
    Superseded,
    Invalid,
    Blocked,
    AuthRequired,
    Error,
}

impl EventResult {
    pub(crate) const LABELS: &'static [&'static str] = Self::VARIANTS;

    /// The result that a reason stands for, by its prefix.
    pub(super) fn of_reason(reason: &str) -> EventResult {
        match reason.split(':').next() {
            Some("invalid" | "pow") => EventResult::Invalid,
            Some("auth-required" | "restricted") => EventResult::AuthRequired,
            Some("error") => EventResult::Error,
            _ => EventResult::Blocked,
        }
    }
}

/// The result of a REQ, a COUNT or a NEG-OPEN.
#[derive(Clone, Copy, PartialEq, Eq, Debug, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum QueryResult {
    Answered,
    Refused,
}

impl QueryResult {
    pub(crate) const LABELS: &'static [&'static str] = Self::VARIANTS;
}

/// The result of a call of the management API.
#[derive(Clone, Copy, PartialEq, Eq, Debug, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum ManagementResult {
    Done,
    Failed,
    Refused,
}

impl ManagementResult {
    pub(crate) const LABELS: &'static [&'static str] = Self::VARIANTS;
}

/// A Nostr endpoint's name in the configuration, and its counters.
pub type NamedStats = (String, Arc<NostrStats>);

/// Sums since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct NostrTotals {
    /// Events that were stored or forwarded.
    pub(crate) accepted: u64,
    /// All others.
    pub(crate) refused: u64,
    /// REQs and COUNTs that were answered.
    pub(crate) queries: u64,
    /// Live events that were sent to subscriptions.
    pub(crate) deliveries: u64,
}

/// Counters of all shards and threads. Deliveries are summed per event before they are added here.
#[derive(Debug, Default)]
pub struct NostrStats {
    /// EVENTs, by [`EventResult`].
    pub(crate) events: [Count; EventResult::LABELS.len()],
    /// REQs, by [`QueryResult`].
    pub(crate) reqs: [Count; QueryResult::LABELS.len()],
    /// COUNTs, likewise.
    pub(crate) counts: [Count; QueryResult::LABELS.len()],
    /// NEG-OPENs, likewise.
    pub(crate) negs: [Count; QueryResult::LABELS.len()],
    /// Proofs of keys: accepted and refused.
    pub(crate) auths: [Count; 2],
    /// Calls of the management API, by [`ManagementResult`].
    pub(crate) management: [Count; ManagementResult::LABELS.len()],
    /// Invalid messages, each of which got a NOTICE.
    pub(crate) notices: Count,
    /// Hooks that panicked or returned something unusable.
    pub(crate) hook_failures: Count,
    /// Events that wait for their signatures to be verified.
    pub(crate) waiting: Count,
    /// Events that are on their way to the store, or back.
    pub(crate) writing: Count,
    /// Subscriptions.
    pub(crate) subscriptions: Count,
    /// Sessions of synchronization.
    pub(crate) syncs: Count,
    /// Live events that were sent to subscriptions.
    pub(crate) deliveries: Count,
    /// Rows that queries read.
    pub(crate) rows_read: Count,
    /// Subscriptions that got more live events while they caught up than could be kept.
    pub(crate) catch_up_overflows: Count,
    /// Events in the stores.
    pub(crate) store_events: Count,
    /// Bytes of those events: of their JSON on disk, or of memory.
    pub(crate) store_bytes: Count,
    /// 1 while the store cannot be written.
    pub(crate) store_failing: Count,
    /// Durations of the store's checkpoints; only its writer updates them.
    pub(crate) checkpoint: Durations,
    /// Durations of the store for a batch; only its writer updates them.
    pub(crate) commit: Durations,
    shards: Mutex<Vec<Arc<ShardDurations>>>,
}

impl NostrStats {
    pub(super) fn count_event(&self, result: EventResult) {
        self.events[result as usize].add(1);
    }

    /// Subscriptions that are open.
    pub fn open_subscriptions(&self) -> u64 {
        self.subscriptions.get()
    }

    /// Sessions of synchronization that are open.
    pub fn open_syncs(&self) -> u64 {
        self.syncs.get()
    }

    /// Subscriptions that got more live events while they caught up than could be kept.
    pub fn overflows(&self) -> u64 {
        self.catch_up_overflows.get()
    }

    /// Hooks that panicked or returned something unusable.
    pub fn hook_failures(&self) -> u64 {
        self.hook_failures.get()
    }

    /// Events in the store, and the memory that they take, in bytes.
    pub fn store_size(&self) -> (u64, u64) {
        (self.store_events.get(), self.store_bytes.get())
    }

    /// Whether the store cannot be written.
    pub fn is_store_failing(&self) -> bool {
        self.store_failing.get() > 0
    }

    /// The sums for the dashboard.
    pub(crate) fn totals(&self) -> NostrTotals {
        let of = |result: EventResult| self.events[result as usize].get();
        let accepted = of(EventResult::Stored) + of(EventResult::Ephemeral);
        let all: u64 = self.events.iter().map(Count::get).sum();
        let answered = QueryResult::Answered as usize;
        NostrTotals {
            accepted,
            refused: all.saturating_sub(accepted),
            queries: self.reqs[answered].get() + self.counts[answered].get(),
            deliveries: self.deliveries.get(),
        }
    }

    /// The durations of a shard that has begun.
    pub(super) fn add_shard(&self) -> Arc<ShardDurations> {
        let shard = Arc::default();
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        shards.push(Arc::clone(&shard));
        shard
    }

    /// Those of all shards.
    pub(crate) fn shards(&self) -> Vec<Arc<ShardDurations>> {
        self.shards
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn set_store_size(&self, (events, bytes): (usize, usize)) {
        self.store_events.set(events as u64);
        self.store_bytes.set(bytes as u64);
    }

    pub(super) fn count_management(&self, result: ManagementResult) {
        self.management[result as usize].add(1);
    }

    pub(super) fn count_auth(&self, is_taken: bool) {
        self.auths[usize::from(!is_taken)].add(1);
    }
}

/// Durations that one shard measures; only that shard updates them.
#[derive(Debug, Default)]
pub(crate) struct ShardDurations {
    /// Durations of verifying a signature.
    pub(crate) verify: Durations,
    /// Durations from a REQ to its EOSE, including the time that a slow client took to read.
    pub(crate) query: Durations,
}
