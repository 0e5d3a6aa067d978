//! The metrics of all Nostr endpoints together.

use super::histogram::Histogram;
use super::row::{Group, Row};
use super::source::Source;
use crate::engine::Durations;
use crate::relay::count::Count;
use crate::relay::nostr::{EventResult, ManagementResult, NostrStats, QueryResult, ShardDurations};

pub(super) const NOSTR: Group = Group {
    title: "Nostr",
    about: "Only if the config has an endpoint of the kind `nostr`; all such endpoints together. \
            See [nostr.md](nostr.md).",
    rows: &[
        Row::counters(
            "corecast_nostr_events_total",
            "EVENT messages from clients, by result.",
            &[("result", EventResult::LABELS)],
            |it| it.nostr_each(|stats| &stats.events),
        ),
        Row::counters(
            "corecast_nostr_auth_total",
            "AUTH messages from clients (NIP-42), by result.",
            &[("result", &["taken", "refused"])],
            |it| it.nostr_each(|stats| &stats.auths),
        ),
        Row::counters(
            "corecast_nostr_management_total",
            "Calls of the management API (NIP-86), by result; refused are those that no admin has \
             signed.",
            &[("result", ManagementResult::LABELS)],
            |it| it.nostr_each(|stats| &stats.management),
        ),
        Row::counter(
            "corecast_nostr_notices_total",
            "Malformed messages from clients, each answered with a NOTICE.",
            |it| it.nostr_sum(|stats| &stats.notices),
        ),
        Row::gauge(
            "corecast_nostr_verify_queue",
            "Events whose signature waits to be verified.",
            |it| it.nostr_sum(|stats| &stats.waiting),
        ),
        Row::histogram(
            "corecast_nostr_verify_seconds",
            "Duration of the verification of an event's signature.",
            |it| it.nostr_durations(|shard| &shard.verify),
        ),
        Row::counters(
            "corecast_nostr_queries_total",
            "REQ, COUNT and NEG-OPEN messages from clients, by result.",
            &[
                ("op", &["req", "count", "neg"]),
                ("result", QueryResult::LABELS),
            ],
            |it| {
                let reqs = it.nostr_each(|stats| &stats.reqs);
                let counts = it.nostr_each(|stats| &stats.counts);
                let negs = it.nostr_each(|stats| &stats.negs);
                [reqs, counts, negs].concat()
            },
        ),
        Row::counter(
            "corecast_nostr_rows_read_total",
            "Stored events that queries examined.",
            |it| it.nostr_sum(|stats| &stats.rows_read),
        ),
        Row::histogram(
            "corecast_nostr_query_seconds",
            "Time from a REQ to its EOSE.",
            |it| it.nostr_durations(|shard| &shard.query),
        ),
        Row::gauge(
            "corecast_nostr_subscriptions",
            "Open subscriptions.",
            |it| it.nostr_sum(|stats| &stats.subscriptions),
        ),
        Row::gauge(
            "corecast_nostr_neg_sessions",
            "Open sessions of synchronization (NIP-77).",
            |it| it.nostr_sum(|stats| &stats.syncs),
        ),
        Row::counter(
            "corecast_nostr_deliveries_total",
            "Events sent to subscriptions as they arrived.",
            |it| it.nostr_sum(|stats| &stats.deliveries),
        ),
        Row::counter(
            "corecast_nostr_catch_up_overflows_total",
            "Subscriptions that received more new events than the relay keeps while it sends the \
             stored ones; the rest came from the store.",
            |it| it.nostr_sum(|stats| &stats.catch_up_overflows),
        ),
        Row::counter(
            "corecast_nostr_hook_failures_total",
            "Hooks that panicked, or returned an event that is not JSON.",
            |it| it.nostr_sum(|stats| &stats.hook_failures),
        ),
        Row::gauge(
            "corecast_nostr_store_events",
            "Events in the stores.",
            |it| it.nostr_sum(|stats| &stats.store_events),
        ),
        Row::gauge(
            "corecast_nostr_store_bytes",
            "Bytes of the events in the stores: of their JSON on disk, or of memory.",
            |it| it.nostr_sum(|stats| &stats.store_bytes),
        ),
        Row::gauge(
            "corecast_nostr_store_failing",
            "Stores that cannot be written at the moment.",
            |it| it.nostr_sum(|stats| &stats.store_failing),
        ),
        Row::histogram(
            "corecast_nostr_checkpoint_seconds",
            "Duration of a checkpoint of a store on disk. Events are stored meanwhile.",
            |it| {
                let checkpoints = it.relay.nostr.iter().map(|stats| &stats.checkpoint);
                it.if_nostr(Histogram::seconds(checkpoints))
            },
        ),
        Row::gauge(
            "corecast_nostr_writer_queue",
            "Events on their way to the store, and results on their way back.",
            |it| it.nostr_sum(|stats| &stats.writing),
        ),
        Row::histogram(
            "corecast_nostr_commit_seconds",
            "Duration of a batch of writes to the store.",
            |it| {
                let commits = it.relay.nostr.iter().map(|stats| &stats.commit);
                it.if_nostr(Histogram::seconds(commits))
            },
        ),
    ],
};

impl Source<'_> {
    /// `None` without Nostr endpoints.
    fn nostr_sum(&self, of: impl Fn(&NostrStats) -> &Count) -> Option<f64> {
        let endpoints = &self.relay.nostr;
        let total = endpoints.iter().map(|stats| of(stats).get()).sum::<u64>();
        self.if_nostr(total as f64)
    }

    fn if_nostr<T>(&self, value: T) -> Option<T> {
        (!self.relay.nostr.is_empty()).then_some(value)
    }

    /// Counts in the order of their labels; none without Nostr endpoints.
    fn nostr_each(&self, of: impl Fn(&NostrStats) -> &[Count]) -> Vec<f64> {
        let len = self.relay.nostr.first().map_or(0, |stats| of(stats).len());
        (0..len)
            .filter_map(|index| self.nostr_sum(|stats| &of(stats)[index]))
            .collect()
    }

    fn nostr_durations(&self, of: impl Fn(&ShardDurations) -> &Durations) -> Option<Histogram> {
        let shards: Vec<_> = self
            .relay
            .nostr
            .iter()
            .flat_map(|stats| stats.shards())
            .collect();
        self.if_nostr(Histogram::seconds(shards.iter().map(|shard| of(shard))))
    }
}
