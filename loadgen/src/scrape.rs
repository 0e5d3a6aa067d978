//! A server's metrics in Prometheus' text format: two scrapes and what lies between them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::report::{Culprit, Finding, FindingKind, Part, Quantiles, RelayReport, Server};

const PATIENCE: Duration = Duration::from_secs(3);
/// More than any relay reports.
const BYTES_MAX: u64 = 16 << 20;

const CPU: &str = "process_cpu_seconds_total";
const RESIDENT: &str = "process_resident_memory_bytes";
const DELIVERIES: &str = "corecast_deliveries_total";
const LATENCY: &str = "corecast_relay_latency_seconds";

/// All samples at one time, by name and labels as they are written.
#[derive(Clone, Debug)]
pub(crate) struct Scrape {
    at: Instant,
    samples: BTreeMap<String, f64>,
    /// Names that were declared as counters, histograms or summaries: they only grow.
    growing: Vec<String>,
}

impl Scrape {
    /// Fetches the metrics from `url`.
    ///
    /// # Errors
    /// No answer within three seconds, or one that is not a success.
    pub(crate) fn of(url: &str) -> Result<Self, String> {
        let bad = |error: ureq::Error| format!("--metrics-url {url}: {error}");
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE));
        let agent: ureq::Agent = config.build().into();
        let mut answer = agent.get(url).call().map_err(bad)?;
        let body = answer.body_mut().with_config().limit(BYTES_MAX);
        Ok(Self::read(&body.read_to_string().map_err(bad)?))
    }

    fn read(text: &str) -> Self {
        let mut scrape = Self {
            at: Instant::now(),
            samples: BTreeMap::new(),
            growing: Vec::new(),
        };
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                if let Some((name, "counter" | "histogram" | "summary")) = kind.split_once(' ') {
                    scrape.growing.push(name.to_owned());
                }
                continue;
            }
            // A label's value may contain blanks: the name ends with its brace.
            let end = line.rfind('}').map(|at| at + 1).or_else(|| line.find(' '));
            let Some((name, rest)) = end
                .filter(|_| !line.starts_with('#'))
                .map(|at| line.split_at(at))
            else {
                continue;
            };
            let value = rest.split_ascii_whitespace().next().map(str::parse);
            if let Some(Ok(value)) = value {
                scrape.samples.insert(name.to_owned(), value);
            }
        }
        scrape
    }

    fn sum(&self, name: &str) -> Option<f64> {
        let of = self.samples.iter().filter(|(key, _)| family(key) == name);
        of.map(|(_, value)| *value).reduce(|sum, value| sum + value)
    }

    fn is_growing(&self, key: &str) -> bool {
        let name = family(key);
        let whole = |ending| name.strip_suffix(ending).unwrap_or(name);
        ["_bucket", "_sum", "_count", ""]
            .iter()
            .any(|ending| self.growing.iter().any(|known| known == whole(ending)))
    }
}

/// All scrapes of a run.
#[derive(Debug, Default)]
pub(crate) struct Scrapes {
    /// When the measurement began.
    pub(crate) before: Option<Scrape>,
    /// At its end.
    pub(crate) at_end: Option<Result<Scrape, String>>,
    /// When the last delivery had arrived.
    pub(crate) after: Option<Result<Scrape, String>>,
}

impl Scrapes {
    /// Adds the metrics of `url` to `report`. A server that does not answer at the end becomes a
    /// finding, and affects only its own part of the report.
    pub(crate) fn tell(self, url: &str, report: &mut RelayReport) {
        let (Some(before), Some(at_end), Some(after)) = (self.before, self.at_end, self.after)
        else {
            return;
        };
        let problem = [&at_end, &after]
            .iter()
            .find_map(|one| one.as_ref().err().cloned());
        if let Some(why) = problem {
            report.findings.push(Finding {
                kind: FindingKind::NoMetrics,
                culprit: Culprit::Relay,
                text: format!("the metrics could not be read at the end: {why}"),
                at_ms: None,
            });
        }
        // Either of the two can stand for both.
        let (at_end, after) = (at_end.ok(), after.ok());
        if let Some(last) = after.as_ref().or(at_end.as_ref()) {
            let window = at_end.as_ref().unwrap_or(last);
            let server = Server::between(url, &before, window, last, report);
            report.server = Some(server);
        }
    }
}

/// A sample's name without its labels.
fn family(key: &str) -> &str {
    key.split('{').next().unwrap_or(key)
}

impl Server {
    /// The changes between two scrapes of `url`, around the run of `report`; its measured time
    /// ended with that of `at_end`.
    fn between(
        url: &str,
        before: &Scrape,
        at_end: &Scrape,
        after: &Scrape,
        report: &RelayReport,
    ) -> Self {
        let grown = |name: &str| Some(after.sum(name)? - before.sum(name).unwrap_or(0.0));
        let between = after.at.duration_since(before.at);
        let window = at_end.at.duration_since(before.at);
        let cpu_in_window = at_end.sum(CPU).unwrap_or(0.0) - before.sum(CPU).unwrap_or(0.0);
        let cpu_seconds = grown(CPU).unwrap_or(0.0);
        let delivered = grown(DELIVERIES).unwrap_or(report.measured.delivered as f64);
        let latency = buckets(before, after);
        let parts = match &latency {
            Some(latency) => parts(latency.mean, report),
            None => Vec::new(),
        };
        let counters = after.samples.iter().filter_map(|(key, now)| {
            let was = before.samples.get(key).copied().unwrap_or(0.0);
            (after.is_growing(key) && *now != was).then(|| (key.clone(), now - was))
        });
        Self {
            url: url.to_owned(),
            between_ms: between.as_secs_f64() * 1e3,
            cpu_ms: cpu_seconds * 1e3,
            cpu_share: cpu_in_window / window.as_secs_f64().max(1e-9),
            cpu_ns_per_delivery: match delivered >= 1.0 {
                true => cpu_seconds * 1e9 / delivered,
                false => 0.0,
            },
            resident_bytes: after.sum(RESIDENT).unwrap_or(0.0) as u64,
            relay_latency_ns: latency,
            parts,
            counters: counters.collect(),
        }
    }
}

/// The quantiles of the server's own latency, each at the upper bound of its bucket.
fn buckets(before: &Scrape, after: &Scrape) -> Option<Quantiles> {
    let name = format!("{LATENCY}_bucket");
    let mut bounds: BTreeMap<u64, f64> = BTreeMap::new();
    for (key, now) in after.samples.iter().filter(|(key, _)| family(key) == name) {
        let Some(bound) = key
            .split("le=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
        else {
            continue;
        };
        // `+Inf` parses as a number; the largest finite bound replaces it below.
        let bound_ns = bound
            .parse::<f64>()
            .map_or(u64::MAX, |bound| (bound * 1e9).round() as u64);
        let was = before.samples.get(key).copied().unwrap_or(0.0);
        *bounds.entry(bound_ns).or_default() += now - was;
    }
    let grown = |ending: &str| {
        let name = format!("{LATENCY}_{ending}");
        Some(after.sum(&name)? - before.sum(&name).unwrap_or(0.0))
    };
    let (count, sum) = (grown("count")?, grown("sum")?);
    if count < 1.0 {
        return None;
    }
    let finite_max = bounds
        .keys()
        .copied()
        .filter(|bound| *bound < u64::MAX)
        .max()?;
    let at = |share: f64| {
        let bound = bounds.iter().find(|(_, below)| **below >= share * count);
        bound.map_or(finite_max, |(bound_ns, _)| (*bound_ns).min(finite_max))
    };
    Some(Quantiles {
        count: count as u64,
        min: at(f64::MIN_POSITIVE),
        mean: sum * 1e9 / count,
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p99_9: at(0.999),
        p99_99: at(0.9999),
        max: at(1.0),
    })
}

/// Splits the mean time of a delivery.
fn parts(server_ns: f64, report: &RelayReport) -> Vec<Part> {
    let all_ns = report.latency_ns.mean;
    if report.latency_ns.count == 0 || all_ns <= 0.0 {
        return Vec::new();
    }
    let client_ns = report.lateness_ns.quantiles.mean;
    let lag_ns = report.receive_lag_ns.quantiles.mean;
    [
        ("client", client_ns),
        ("server", server_ns),
        ("receive", lag_ns),
        ("rest", all_ns - client_ns - server_ns - lag_ns),
    ]
    .map(|(name, mean_ns)| Part {
        name: name.to_owned(),
        mean_ns,
        share: mean_ns / all_ns,
    })
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "\
# HELP x some text } with a brace
# TYPE corecast_relay_latency_seconds histogram
corecast_relay_latency_seconds_bucket{le=\"0.001\"} 10
corecast_relay_latency_seconds_bucket{le=\"+Inf\"} 10
corecast_relay_latency_seconds_sum 0.005
corecast_relay_latency_seconds_count 10
# TYPE clients gauge
clients 5
# TYPE closed_total counter
closed_total{reason=\"a b\"} 1
";

    const AFTER: &str = "\
# TYPE corecast_relay_latency_seconds histogram
corecast_relay_latency_seconds_bucket{le=\"0.001\"} 100
corecast_relay_latency_seconds_bucket{le=\"0.002\"} 109
corecast_relay_latency_seconds_bucket{le=\"+Inf\"} 110
corecast_relay_latency_seconds_sum 0.055
corecast_relay_latency_seconds_count 110
# TYPE clients gauge
clients 9
# TYPE closed_total counter
closed_total{reason=\"a b\"} 4
";

    #[test]
    fn the_difference_of_scrapes_gives_counters_and_quantiles() {
        let (before, after) = (Scrape::read(BEFORE), Scrape::read(AFTER));
        let latency = buckets(&before, &after).expect("latencies");
        assert_eq!((latency.count, latency.mean as u64), (100, 500_000));
        assert_eq!(
            (latency.p50, latency.p99, latency.max),
            (1_000_000, 2_000_000, 2_000_000)
        );
        let key = "closed_total{reason=\"a b\"}";
        assert_eq!(after.samples.get(key), Some(&4.0));
        assert!(after.is_growing(key) && !after.is_growing("clients"));
    }

    #[test]
    fn an_unreachable_server_is_reported_with_the_option() {
        let told = Scrape::of("http://127.0.0.1:1/metrics").expect_err("nobody there");
        assert!(told.contains("--metrics-url"), "{told}");
    }
}
