//! A snapshot as text, one figure on each line.

use std::fmt::Write as _;

use super::numbers::{bytes, count, micros, span};
use super::words::{ends, who};
use crate::admin::dashboard::Snapshot;

/// A name and its value.
type Figure = (&'static str, String);

pub(super) fn text(snapshot: &Snapshot) -> String {
    let mut lines = figures(snapshot);
    lines.extend(latencies(snapshot));
    lines.extend(lists(snapshot));
    lines.iter().fold(String::new(), |mut text, (name, value)| {
        // A write to a `String` cannot fail.
        let _ = writeln!(text, "{name:<17} {value}");
        text
    })
}

fn figures(snapshot: &Snapshot) -> Vec<Figure> {
    let (now, rates, totals) = (&snapshot.now, &snapshot.rates, &snapshot.totals);
    let (version, commit) = (&snapshot.version, &snapshot.commit);
    let of = |rate: f64, total: u64| format!("{}/s, {total} in all", count(rate));
    let mean = snapshot.frames_per_send.mean;
    let cpu_percent = snapshot.process.cpu_cores * 100.0;
    let resident = snapshot.process.resident_bytes;
    let figures = [
        ("version", format!("{version} ({commit})")),
        ("uptime", span(snapshot.uptime_s)),
        (
            "ready",
            if snapshot.ready { "yes" } else { "no" }.to_owned(),
        ),
        ("clients", count(now.clients as f64)),
        ("connections", count(now.connections as f64)),
        ("rooms", count(now.rooms as f64)),
        ("messages", of(rates.messages, totals.messages)),
        ("deliveries", of(rates.deliveries, totals.deliveries)),
        ("received", format!("{}/s", bytes(rates.message_bytes))),
        ("sent", format!("{}/s", bytes(rates.sent_bytes))),
        (
            "frames per send",
            mean.map_or_else(|| "–".to_owned(), count),
        ),
        ("queued to be sent", bytes(now.live_bytes as f64)),
        ("CPU", format!("{cpu_percent:.1} %")),
    ];
    let resident = resident.map(|resident| ("memory", bytes(resident as f64)));
    figures.into_iter().chain(resident).collect()
}

fn latencies(snapshot: &Snapshot) -> [Figure; 5] {
    let latency = &snapshot.latency;
    [
        ("latency p50", latency.p50_us),
        ("latency p90", latency.p90_us),
        ("latency p99", latency.p99_us),
        ("latency p99.9", latency.p999_us),
        ("latency max", latency.max_us),
    ]
    .map(|(name, us)| (name, micros(us)))
}

fn lists(snapshot: &Snapshot) -> Vec<Figure> {
    let shards = snapshot.shards.iter().enumerate().map(|(place, shard)| {
        let figures = format!(
            "{place}: {:.1} % busy, {} connections, {} in outboxes, {} wakes/s",
            shard.busy * 100.0,
            count(f64::from(shard.connections)),
            bytes(shard.outbox_bytes as f64),
            count(shard.wakes),
        );
        ("shard", figures)
    });
    let slow = snapshot.slow_clients.iter().map(|client| {
        let behind = micros(Some(client.age_ms as f64 * 1e3));
        let waits = bytes(client.outbox_bytes as f64);
        let (who, endpoint) = (who(client), &client.endpoint);
        let figures = format!("{who} ({endpoint}): {behind} behind, {waits}");
        ("slow client", figures)
    });
    let ends = ends(snapshot).into_iter();
    let ends = ends.map(|(word, reason)| (word, format!("{}: {}", reason.reason, reason.total)));
    shards.chain(slow).chain(ends).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const SNAPSHOT: &str = r#"{"format":1,"version":"0.1.0","commit":"abc","at_unix_ms":1,
        "uptime_s":3661.0,"ready":true,"config_unix_s":0,"window_s":1.0,
        "now":{"clients":1200,"connections":1201,"rooms":3,"live_bytes":2048,"inbound_bytes":0},
        "totals":{"messages":7,"message_bytes":7,"deliveries":14,"sent_bytes":9,"sends":2,
            "opened":1,"closed":1,"refused":4,"dropped":0},
        "rates":{"messages":50.0,"message_bytes":2048.0,"deliveries":60000.0,"sent_bytes":4e6,
            "sends":10.0,"opened":0.0,"closed":0.0,"refused":0.0,"dropped":0.0},
        "latency":{"p50_us":40.0,"p90_us":80.0,"p99_us":1500.0,"p999_us":1500.0,"max_us":1500.0,
            "buckets":[{"below":40000,"count":90},{"below":1500000,"count":10}]},
        "frames_per_send":{"mean":2.5,"buckets":[{"below":4,"count":10}]},
        "shards":[{"busy":0.25,"connections":600,"outbox_bytes":0,"outbox_age_ms":0,"mailbox":0,
            "wakes":12.0,"messages":25.0,"deliveries":30000.0,"turn_age_ms":1},
            {"busy":0.0,"connections":601,"outbox_bytes":4096,"outbox_age_ms":9,"mailbox":0,
            "wakes":0.0,"messages":25.0,"deliveries":30000.0,"turn_age_ms":9000}],
        "slow_clients_total":12,"slow_clients":[{"connection":"0-7-1","address":null,
            "endpoint":"hub","age_ms":2500,"outbox_bytes":65536}],
        "closes":[{"reason":"slow_age","total":3,"recent":1}],
        "refusals":[{"reason":"bad_key","total":4,"recent":0}],
        "process":{"cpu_cores":0.42,"resident_bytes":1048576}}"#;

    pub(in crate::top) fn snapshot() -> Snapshot {
        serde_json::from_str(SNAPSHOT).expect("a snapshot")
    }

    #[test]
    fn text_has_one_figure_on_each_line() {
        let text = text(&snapshot());
        for line in [
            "clients           1,200",
            "messages          50/s, 7 in all",
            "latency p99       1.5 ms",
            "shard             0: 25.0 % busy, 600 connections, 0 B in outboxes, 12 wakes/s",
            "slow client       0-7-1 (hub): 2.5 s behind, 64.0 KiB",
            "closed            slow_age: 3",
        ] {
            assert!(text.lines().any(|each| each == line), "{line}:\n{text}");
        }
    }
}
