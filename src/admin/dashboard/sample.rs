//! The shards' counters at one moment; two such samples make a [`Snapshot`].

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use super::snapshot::{
    Bucket, FORMAT, FramesPerSend, Latency, NostrRelay, Now, Process, Reason, Shard, SlowClient,
    Snapshot, Totals,
};
use crate::engine::{CloseReason, Counter, ShardStats, View};
use crate::fanout::room::EndpointId;
use crate::relay::nostr::{NamedStats, NostrTotals};

/// Upper bounds, each with the number of values between it and the previous bound.
type Buckets = Vec<(Option<u64>, u64)>;

/// The counters at one moment.
pub(super) struct Sample {
    at: Instant,
    cpu: Duration,
    totals: Totals,
    /// Wakes, messages and deliveries of each shard.
    shards: Vec<[u64; 3]>,
    latency: Buckets,
    frames_per_send: Buckets,
    closes: Vec<(&'static str, u64)>,
    refusals: Vec<(&'static str, u64)>,
    /// The totals of each Nostr relay.
    nostr: Vec<NostrTotals>,
}

impl Sample {
    pub(super) fn read(view: &View, nostr: &[NamedStats]) -> Sample {
        let sum = |of: fn(&ShardStats) -> &Counter| -> u64 {
            view.shards().map(|stats| of(stats).get()).sum()
        };
        let closes = sum_each(view, |stats| &stats.closed);
        let closes = CloseReason::LABELS
            .iter()
            .copied()
            .zip(closes)
            .collect::<Vec<_>>();
        let refusals = view.refusals();
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Sample {
            at: Instant::now(),
            cpu: Duration::new(cpu.tv_sec as u64, cpu.tv_nsec as u32),
            totals: Totals {
                messages: sum(|stats| &stats.messages),
                message_bytes: sum(|stats| &stats.message_bytes),
                deliveries: sum(|stats| &stats.deliveries),
                sent_bytes: sum(|stats| &stats.sent_bytes),
                sends: sum(|stats| &stats.sends),
                opened: sum(|stats| &stats.opened),
                closed: closes.iter().map(|(_, count)| count).sum(),
                refused: refusals.iter().map(|(_, count)| count).sum(),
                dropped: sum(|stats| &stats.dropped_frames),
            },
            shards: view
                .shards()
                .map(|stats| {
                    [
                        &stats.exchange.wakes_sent,
                        &stats.messages,
                        &stats.deliveries,
                    ]
                    .map(Counter::get)
                })
                .collect(),
            latency: merged(view.shards().map(|stats| stats.relay_latency.buckets())),
            frames_per_send: merged(view.shards().map(|stats| stats.frames_per_send.buckets())),
            closes,
            refusals,
            nostr: nostr.iter().map(|(_, stats)| stats.totals()).collect(),
        }
    }

    /// The time since it was taken.
    pub(super) fn age(&self) -> Duration {
        self.at.elapsed()
    }

    /// The snapshot of the time between `before` and this sample. `name_of` names endpoints; the
    /// addresses of slow clients are included if `shows_addresses` is true.
    pub(super) fn since(
        &self,
        before: &Sample,
        view: &View,
        nostr: &[NamedStats],
        name_of: impl Fn(EndpointId) -> String,
        shows_addresses: bool,
    ) -> Snapshot {
        let window_s = (self.at - before.at).as_secs_f64().max(1e-3);
        let rate = |now: u64, before: u64| rounded(now.wrapping_sub(before) as f64 / window_s);
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let (slow_clients_total, slow) = view.lagging();
        let slow_clients = slow.into_iter().map(|client| SlowClient {
            connection: client.connection.to_string(),
            address: shows_addresses.then(|| client.peer.to_string()),
            endpoint: name_of(client.endpoint),
            age_ms: client.age.as_millis() as u64,
            outbox_bytes: client.outbox_bytes,
        });
        let frames = difference(&self.frames_per_send, &before.frames_per_send);
        let sends: u64 = frames.iter().map(|bucket| bucket.count).sum();
        let deliveries = self.totals.deliveries - before.totals.deliveries;
        Snapshot {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            commit: env!("CORECAST_COMMIT").into(),
            at_unix_ms: since_1970.unwrap_or_default().as_millis() as u64,
            uptime_s: rounded(view.started().elapsed().as_secs_f64()),
            ready: view.is_ready(),
            config_unix_s: view.last_reload_unix_s(),
            window_s: (window_s * 1e3).round() / 1e3,
            now: now(view),
            totals: self.totals,
            rates: self.totals.rates(&before.totals, rate),
            latency: latency(difference(&self.latency, &before.latency)),
            frames_per_send: FramesPerSend {
                mean: (sends > 0).then(|| rounded(deliveries as f64 / sends as f64)),
                buckets: frames,
            },
            shards: self.shards(before, view, rate),
            nostr: self.nostr(before, nostr, rate),
            slow_clients_total,
            slow_clients: slow_clients.collect(),
            closes: reasons(&self.closes, &before.closes),
            refusals: reasons(&self.refusals, &before.refusals),
            process: Process {
                cpu_cores: rounded_to(
                    (self.cpu.saturating_sub(before.cpu)).as_secs_f64() / window_s,
                    1e3,
                ),
                resident_bytes: resident_bytes(),
            },
        }
    }

    fn shards(&self, before: &Sample, view: &View, rate: impl Fn(u64, u64) -> f64) -> Vec<Shard> {
        let counted = self.shards.iter().zip(&before.shards);
        let shards = view.shards().zip(view.turn_ages_ns()).enumerate();
        shards
            .zip(counted)
            .map(|((place, (stats, turn_age_ns)), (now, before))| Shard {
                busy: rounded_to(stats.busy_ppm.get() as f64 / 1e6, 1e4),
                connections: view.shard_connections(place),
                outbox_bytes: stats.outbox_bytes.get(),
                outbox_age_ms: stats.outbox_age_ms.get(),
                mailbox: view.mailbox_depth(place),
                wakes: rate(now[0], before[0]),
                messages: rate(now[1], before[1]),
                deliveries: rate(now[2], before[2]),
                turn_age_ms: turn_age_ns / 1_000_000,
            })
            .collect()
    }
}

impl Sample {
    fn nostr(
        &self,
        before: &Sample,
        nostr: &[NamedStats],
        rate: impl Fn(u64, u64) -> f64,
    ) -> Vec<NostrRelay> {
        let counted = self.nostr.iter().zip(&before.nostr);
        let relays = nostr.iter().zip(counted);
        relays
            .map(|((name, stats), (now, before))| {
                let (store_events, store_bytes) = stats.store_size();
                NostrRelay {
                    endpoint: name.clone(),
                    subscriptions: stats.open_subscriptions(),
                    store_events,
                    store_bytes,
                    verify_queue: stats.waiting.get(),
                    accepted: rate(now.accepted, before.accepted),
                    refused: rate(now.refused, before.refused),
                    queries: rate(now.queries, before.queries),
                    deliveries: rate(now.deliveries, before.deliveries),
                }
            })
            .collect()
    }
}

impl Totals {
    fn rates(&self, before: &Totals, rate: impl Fn(u64, u64) -> f64) -> Totals<f64> {
        Totals {
            messages: rate(self.messages, before.messages),
            message_bytes: rate(self.message_bytes, before.message_bytes),
            deliveries: rate(self.deliveries, before.deliveries),
            sent_bytes: rate(self.sent_bytes, before.sent_bytes),
            sends: rate(self.sends, before.sends),
            opened: rate(self.opened, before.opened),
            closed: rate(self.closed, before.closed),
            refused: rate(self.refused, before.refused),
            dropped: rate(self.dropped, before.dropped),
        }
    }
}

fn now(view: &View) -> Now {
    Now {
        clients: view.shards().map(|stats| stats.open.get()).sum(),
        connections: view.connections(),
        rooms: view.rooms(),
        live_bytes: view.live_bytes(),
        inbound_bytes: view.inbound_bytes(),
    }
}

/// The counters of each label, summed over all shards.
fn sum_each<const N: usize>(view: &View, of: fn(&ShardStats) -> &[Counter; N]) -> Vec<u64> {
    let mut sums = vec![0; N];
    for stats in view.shards() {
        for (sum, counter) in sums.iter_mut().zip(of(stats)) {
            *sum += counter.get();
        }
    }
    sums
}

/// Merges the histograms of all shards.
fn merged(histograms: impl Iterator<Item = impl Iterator<Item = (Option<u64>, u64)>>) -> Buckets {
    let mut sum = Buckets::new();
    for histogram in histograms {
        for (place, (below, count)) in histogram.enumerate() {
            match sum.get_mut(place) {
                Some((_, sum)) => *sum += count,
                None => sum.push((below, count)),
            }
        }
    }
    sum
}

fn difference(now: &Buckets, before: &Buckets) -> Vec<Bucket> {
    let both = now.iter().zip(before);
    let buckets = both.map(|((below, now), (_, before))| Bucket {
        below: *below,
        count: now.wrapping_sub(*before),
    });
    buckets.filter(|bucket| bucket.count > 0).collect()
}

fn latency(buckets: Vec<Bucket>) -> Latency {
    let total: u64 = buckets.iter().map(|bucket| bucket.count).sum();
    let share = |of: f64| {
        let wanted = ((total as f64 * of).ceil() as u64).max(1);
        let mut seen = 0;
        let reached = buckets.iter().find(|bucket| {
            seen += bucket.count;
            seen >= wanted
        });
        // The last bucket has no upper bound; the longest bound is a lower bound of its values.
        reached.map(|bucket| bucket.below.unwrap_or(1 << 34) as f64 / 1e3)
    };
    Latency {
        p50_us: share(0.5),
        p90_us: share(0.9),
        p99_us: share(0.99),
        p999_us: share(0.999),
        max_us: share(1.0),
        buckets,
    }
}

/// The reasons that have occurred since the start.
fn reasons(now: &[(&'static str, u64)], before: &[(&'static str, u64)]) -> Vec<Reason> {
    let counts = now.iter().zip(before);
    let reasons = counts.map(|((label, now), (_, before))| Reason {
        reason: (*label).into(),
        total: *now,
        recent: now - before,
    });
    reasons.filter(|reason| reason.total > 0).collect()
}

#[cfg(target_os = "linux")]
fn resident_bytes() -> Option<u64> {
    crate::admin::process::resident_bytes()
}

#[cfg(not(target_os = "linux"))]
fn resident_bytes() -> Option<u64> {
    None
}

fn rounded(number: f64) -> f64 {
    rounded_to(number, 10.0)
}

fn rounded_to(number: f64, steps: f64) -> f64 {
    (number * steps).round() / steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(below: u64, count: u64) -> Bucket {
        Bucket {
            below: Some(below),
            count,
        }
    }

    #[test]
    fn percentiles_are_upper_bounds_of_the_buckets_that_they_are_in() {
        let latency = latency(vec![
            bucket(10_000, 989),
            bucket(20_000, 10),
            bucket(80_000, 1),
        ]);
        assert_eq!(latency.p50_us, Some(10.0));
        assert_eq!(latency.p99_us, Some(20.0));
        assert_eq!(latency.p999_us, Some(20.0));
        assert_eq!(latency.max_us, Some(80.0));
    }

    #[test]
    fn percentiles_of_no_message_are_missing_and_of_one_its_own() {
        assert_eq!(latency(Vec::new()), Latency::default());
        let one = latency(vec![bucket(640, 1)]);
        assert_eq!((one.p50_us, one.max_us), (Some(0.64), Some(0.64)));
        let endless = Bucket {
            below: None,
            count: 1,
        };
        let longest = latency(vec![endless]).max_us.expect("a figure");
        assert!(longest > 17e6, "{longest}");
    }

    #[test]
    fn only_what_was_counted_since_is_in_the_difference() {
        let before = vec![(Some(1), 5), (Some(2), 0), (None, 1)];
        let now = vec![(Some(1), 5), (Some(2), 3), (None, 2)];
        let endless = Bucket {
            below: None,
            count: 1,
        };
        assert_eq!(difference(&now, &before), [bucket(2, 3), endless]);
        let reasons = reasons(
            &[("a", 2), ("b", 0), ("c", 7)],
            &[("a", 1), ("b", 0), ("c", 7)],
        );
        let counts: Vec<_> = reasons
            .iter()
            .map(|each| (&*each.reason, each.total, each.recent))
            .collect();
        assert_eq!(counts, [("a", 2, 1), ("c", 7, 0)]);
    }
}
