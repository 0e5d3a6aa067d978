//! `/test/benchmark`: a report of the relay's work so far, for people or for programs.
//!
//! The earlier relay's page of that name ran a load test inside the relay. This one reports the
//! counters of the real load; `loadgen` generates load.

use std::fmt::Write;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use serde::Serialize;

use super::health::{Metrics, rate, rfc_3339};
use super::kept::Kept;
use super::page::{Page, Running};
use crate::engine::{Durations, Request, View};
use crate::relay::cors::Cors;
use crate::wire::http::{Head, Response};

/// The page. The report is made at most once a second, in all its forms, since shards that relay
/// serve it. It holds only numbers, and no client's name or address.
pub(super) struct Benchmark {
    cors: Cors,
    report: Kept<Forms>,
}

/// The report in each of its forms.
#[derive(Clone)]
struct Forms {
    json: Bytes,
    markdown: Bytes,
    html: Bytes,
}

impl Benchmark {
    pub(super) fn new(cors: Cors) -> Benchmark {
        Benchmark {
            cors,
            report: Kept::default(),
        }
    }
}

impl Page for Benchmark {
    const METHODS: &'static [&'static str] = &["GET", "HEAD", "POST", "OPTIONS"];

    fn cors(&self) -> &Cors {
        &self.cors
    }

    fn answer(&self, request: &Request<'_>, running: &Running) -> Response {
        if request.head.method == "OPTIONS" {
            return Response::new(200);
        }
        let forms = self.report.at(Instant::now(), || Forms::read(running));
        let (media_type, body) = match Format::accepted(request.head) {
            Format::Markdown => ("text/markdown; charset=utf-8", forms.markdown),
            Format::Html => ("text/html; charset=utf-8", forms.html),
            Format::Json => ("application/json", forms.json),
        };
        let response = Response {
            body,
            ..Response::new(200).with_header("Content-Type", media_type)
        };
        response.with_header("Vary", "Accept")
    }
}

impl Forms {
    fn read(running: &Running) -> Forms {
        let results = Results::read(running);
        let report = Report {
            report_markdown: results.markdown(),
            report_html: results.html(),
            results,
        };
        let json = serde_json::to_string(&report);
        debug_assert!(json.is_ok(), "numbers and texts always have a form");
        Forms {
            json: json.unwrap_or_default().into(),
            markdown: report.report_markdown.into(),
            html: report.report_html.into(),
        }
    }
}

/// The formats of a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    Json,
    Markdown,
    Html,
}

impl Format {
    /// The format that the client prefers (RFC 9110 §12.5.1): the first of those with equal
    /// weight, or JSON if it names none.
    fn accepted(head: &Head<'_>) -> Format {
        let values = head.headers_named("Accept");
        let mut best = (Format::Json, 0.0);
        for range in values.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let format = match parts
                .next()
                .unwrap_or_default()
                .to_ascii_lowercase()
                .as_str()
            {
                "text/markdown" => Format::Markdown,
                "text/html" => Format::Html,
                "application/json" | "application/*" | "*/*" => Format::Json,
                _ => continue,
            };
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
            let weight: f64 = weight.unwrap_or(1.0);
            if weight > best.1 {
                best = (format, weight);
            }
        }
        best.0
    }
}

/// The report in all its forms, for programs.
#[derive(Serialize)]
struct Report {
    results: Results,
    report_markdown: String,
    report_html: String,
}

/// The counters. Totals and averages are since the start.
#[derive(Serialize, Default)]
struct Results {
    timestamp: String,
    duration_seconds: u64,
    connected_clients: u64,
    total_connections: u64,
    total_messages: u64,
    total_bytes_relayed: u64,
    messages_per_second: f64,
    bandwidth_mbps: f64,
    total_deliveries: u64,
    deliveries_per_second: f64,
    dropped_deliveries: u64,
    /// From the end of the read of a message to the end of the write of a delivery, inside the
    /// relay, accurate to 25 %; zero if nothing was delivered.
    latency_avg_ms: f64,
    latency_min_ms: f64,
    latency_p50_ms: f64,
    latency_p99_ms: f64,
    latency_max_ms: f64,
    /// Nested as in the earlier relay, for scripts that read its answer.
    server: NestedServer,
    metrics: NestedMetrics,
    /// The earlier relay's time of measurement.
    test_duration_ms: u64,
}

/// `results.server` of the earlier relay.
#[derive(Serialize, Default)]
struct NestedServer {
    version: &'static str,
    uptime_seconds: f64,
    connected_users: u64,
}

/// `results.metrics` of the earlier relay, and `connected_users`, which its own scripts expected
/// but the earlier relay did not send.
#[derive(Serialize, Default)]
struct NestedMetrics {
    total_messages: u64,
    total_bytes: u64,
    messages_per_second: f64,
    bandwidth_mbps: f64,
    connected_users: u64,
}

impl Results {
    fn read(running: &Running) -> Results {
        let view = &running.view;
        let uptime = view.started().elapsed();
        let metrics = Metrics::read(view, uptime, &[]);
        let mut results = Results {
            timestamp: rfc_3339(SystemTime::now()),
            duration_seconds: uptime.as_secs(),
            connected_clients: metrics.connected_users,
            total_connections: metrics.total_connections,
            total_messages: metrics.total_messages,
            total_bytes_relayed: metrics.total_bytes_relayed,
            messages_per_second: metrics.messages_per_second,
            bandwidth_mbps: metrics.bandwidth_mbps,
            server: NestedServer {
                version: env!("CARGO_PKG_VERSION"),
                uptime_seconds: uptime.as_secs_f64(),
                connected_users: metrics.connected_users,
            },
            metrics: NestedMetrics {
                total_messages: metrics.total_messages,
                total_bytes: metrics.total_bytes_relayed,
                messages_per_second: metrics.messages_per_second,
                bandwidth_mbps: metrics.bandwidth_mbps,
                connected_users: metrics.connected_users,
            },
            ..Results::default()
        };
        for stats in view.shards() {
            results.total_deliveries += stats.deliveries.get();
            results.dropped_deliveries += stats.dropped_frames.get();
        }
        results.deliveries_per_second = rate(results.total_deliveries as f64, uptime);
        let latency = Latency::read(view);
        results.latency_avg_ms = latency.average_ms();
        results.latency_min_ms = latency.at(0.0);
        results.latency_p50_ms = latency.at(0.5);
        results.latency_p99_ms = latency.at(0.99);
        results.latency_max_ms = latency.at(1.0);
        results
    }

    /// The names and values of the report.
    fn rows(&self) -> [(&'static str, String); 13] {
        let ms = |value: f64| format!("{value:.3} ms");
        [
            ("Duration", format!("{} s", self.duration_seconds)),
            ("Connected clients", self.connected_clients.to_string()),
            ("Connections", self.total_connections.to_string()),
            ("Messages", self.total_messages.to_string()),
            (
                "Throughput",
                format!("{:.1} messages/s", self.messages_per_second),
            ),
            ("Bandwidth", format!("{:.3} Mbit/s", self.bandwidth_mbps)),
            ("Deliveries", self.total_deliveries.to_string()),
            ("Deliveries dropped", self.dropped_deliveries.to_string()),
            ("Latency, average", ms(self.latency_avg_ms)),
            ("Latency, minimum", ms(self.latency_min_ms)),
            ("Latency, median", ms(self.latency_p50_ms)),
            ("Latency, P99", ms(self.latency_p99_ms)),
            ("Latency, maximum", ms(self.latency_max_ms)),
        ]
    }

    fn markdown(&self) -> String {
        let mut out = format!(
            "# Corecast: report\n\n{}\n\n| | |\n|---|---|\n",
            self.timestamp
        );
        for (name, value) in self.rows() {
            // A write to a `String` cannot fail.
            let _ = writeln!(out, "| {name} | {value} |");
        }
        out
    }

    /// A whole page. It holds no text from clients, so nothing needs to be escaped.
    fn html(&self) -> String {
        let mut rows = String::new();
        for (name, value) in self.rows() {
            let _ = writeln!(
                rows,
                "<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>"
            );
        }
        let timestamp = &self.timestamp;
        format!(
            include_str!("benchmark.html"),
            timestamp = timestamp,
            rows = rows
        )
    }
}

/// The relay's own latencies, over all shards.
#[derive(Default)]
struct Latency {
    /// Upper bounds in nanoseconds, in order, with their counts.
    buckets: Vec<(u64, u64)>,
    sum_ns: u64,
    count: u64,
}

impl Latency {
    fn read(view: &View) -> Latency {
        let mut latency = Latency::default();
        for stats in view.shards() {
            latency.add(&stats.relay_latency);
        }
        latency
    }

    fn add(&mut self, durations: &Durations) {
        self.sum_ns = self.sum_ns.wrapping_add(durations.sum_ns());
        for (index, (bound_ns, count)) in durations.buckets().enumerate() {
            if index == self.buckets.len() {
                let last_ns = self.buckets.last().map_or(0, |(bound_ns, _)| *bound_ns);
                self.buckets.push((bound_ns.unwrap_or(last_ns), 0));
            }
            self.buckets[index].1 += count;
            self.count += count;
        }
    }

    fn average_ms(&self) -> f64 {
        to_ms(self.sum_ns as f64 / self.count.max(1) as f64)
    }

    /// The quantile of this share: an upper bound in milliseconds.
    fn at(&self, share: f64) -> f64 {
        let rank = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let reached = self.buckets.iter().find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        reached.map_or(0.0, |(bound_ns, _)| to_ms(*bound_ns as f64))
    }
}

/// Milliseconds, to the microsecond.
fn to_ms(ns: f64) -> f64 {
    (ns / 1e3).round() / 1e3
}
