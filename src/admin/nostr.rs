//! The metrics of Nostr endpoints, of all of them together.

use std::sync::Arc;

use super::families::Families;
use crate::relay::count::Count;
use crate::relay::nostr::{EventResult, NostrStats, QueryResult};

/// Adds them, if there are such endpoints.
pub(super) fn nostr(families: &mut Families, endpoints: &[Arc<NostrStats>]) {
    if endpoints.is_empty() {
        return;
    }
    events(families, endpoints);
    queries(families, endpoints);
    deliveries(families, endpoints);
    store(families, endpoints);
}

type Each = fn(&NostrStats) -> &Count;

fn sum(endpoints: &[Arc<NostrStats>], each: Each) -> f64 {
    endpoints.iter().map(|stats| each(stats).get()).sum::<u64>() as f64
}

fn by_label<const N: usize>(
    endpoints: &[Arc<NostrStats>],
    labels: &'static [&'static str],
    each: fn(&NostrStats) -> &[Count; N],
) -> impl Iterator<Item = (&'static str, f64)> {
    labels
        .iter()
        .copied()
        .enumerate()
        .map(move |(index, label)| {
            let counts = endpoints.iter().map(|stats| each(stats)[index].get());
            (label, counts.sum::<u64>() as f64)
        })
}

fn events(families: &mut Families, endpoints: &[Arc<NostrStats>]) {
    families.counters(
        "corecast_nostr_events_total",
        "Events that clients sent, by what became of them.",
        "result",
        by_label(endpoints, EventResult::LABELS, |stats| &stats.events),
    );
    families.counters(
        "corecast_nostr_auth_total",
        "Proofs of keys that clients sent (NIP-42), by what became of them.",
        "result",
        by_label(endpoints, &["taken", "refused"], |stats| &stats.auths),
    );
    families.counter(
        "corecast_nostr_notices_total",
        "Messages of clients that were none, and got a NOTICE.",
        sum(endpoints, |stats| &stats.notices),
    );
    families.gauge(
        "corecast_nostr_verify_queue",
        "Events that wait for their signatures to be verified.",
        sum(endpoints, |stats| &stats.waiting),
    );
    let shards: Vec<_> = endpoints.iter().flat_map(|stats| stats.shards()).collect();
    families.durations(
        "corecast_nostr_verify_seconds",
        "How long it took to verify the signature of an event.",
        shards.iter().map(|shard| &shard.verify),
    );
}

fn queries(families: &mut Families, endpoints: &[Arc<NostrStats>]) {
    let reqs = by_label(endpoints, QueryResult::LABELS, |stats| &stats.reqs);
    let counts = by_label(endpoints, QueryResult::LABELS, |stats| &stats.counts);
    let reqs = reqs.map(|(result, count)| (["req", result], count));
    let counts = counts.map(|(result, count)| (["count", result], count));
    families.counters_by_two(
        "corecast_nostr_queries_total",
        "REQs and COUNTs of clients, by what became of them.",
        ["op", "result"],
        reqs.chain(counts),
    );
    families.counter(
        "corecast_nostr_rows_read_total",
        "Stored events that queries looked at.",
        sum(endpoints, |stats| &stats.rows_read),
    );
    let shards: Vec<_> = endpoints.iter().flat_map(|stats| stats.shards()).collect();
    families.durations(
        "corecast_nostr_query_seconds",
        "From a REQ to its EOSE.",
        shards.iter().map(|shard| &shard.query),
    );
}

fn deliveries(families: &mut Families, endpoints: &[Arc<NostrStats>]) {
    families.gauge(
        "corecast_nostr_subscriptions",
        "Subscriptions that are open.",
        sum(endpoints, |stats| &stats.subscriptions),
    );
    families.counter(
        "corecast_nostr_deliveries_total",
        "Events that were sent to subscriptions as they came.",
        sum(endpoints, |stats| &stats.deliveries),
    );
    families.counter(
        "corecast_nostr_catch_up_overflows_total",
        "Subscriptions for which more came than is kept while they get what is stored: they got \
         the rest from the store.",
        sum(endpoints, |stats| &stats.catch_up_overflows),
    );
}

fn store(families: &mut Families, endpoints: &[Arc<NostrStats>]) {
    families.gauge(
        "corecast_nostr_store_events",
        "Events in the stores.",
        sum(endpoints, |stats| &stats.store_events),
    );
    families.gauge(
        "corecast_nostr_store_bytes",
        "Bytes that these take.",
        sum(endpoints, |stats| &stats.store_bytes),
    );
    families.gauge(
        "corecast_nostr_writer_queue",
        "Events that are on their way to the store, or back.",
        sum(endpoints, |stats| &stats.writing),
    );
    families.durations(
        "corecast_nostr_commit_seconds",
        "How long the store took for what was submitted meanwhile.",
        endpoints.iter().map(|stats| &stats.commit),
    );
}
