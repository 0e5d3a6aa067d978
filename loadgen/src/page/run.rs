//! The page of one relay run.

use super::chart::{Chart, Points};
use super::parts::{Card, cards, document, header, panel, title};
use super::scale::Scale;
use super::text::{escape, table};
use super::{connect, series};
use crate::phrases::{self, Mood};
use crate::report::{ClientFigures, Distribution, Quantiles, RelayReport, Second, Server};
use crate::units::{amount, bytes, grouped, short, tick, time};

/// Points of a curve over the percentiles.
const SPECTRUM_POINTS: u32 = 240;
/// At most this many clients have their figures in tooltips.
const CLIENTS_TOLD_MAX: usize = 250;

/// The whole page.
pub(super) fn render(report: &RelayReport, earlier: &[RelayReport]) -> String {
    let mut body = header(&report.head, &report.config.url, &phrases::verdicts(report));
    body += "<main>";
    body += &cards(&figures(report));
    body += "<div class=\"panels\">";
    if let Some(chart) = latencies(report) {
        body += &panel(true, "", &chart);
    }
    for chart in [rates(report), latency_over_time(report)].iter().flatten() {
        body += &panel(false, "", chart);
    }
    if let Some(chart) = clients(report) {
        body += &panel(false, "", &chart);
    }
    if let Some(chart) = connects(report) {
        let is_alone = report.config.publishers == 0;
        body += &panel(is_alone, "", &chart);
    }
    if let Some(churn) = report
        .churn
        .as_ref()
        .filter(|churn| !churn.storms.is_empty())
    {
        let storms = phrases::storms(&churn.storms);
        body += &panel(false, "Storms", &table(&phrases::STORMS, &storms));
    }
    if let Some(figures) = &report.nostr {
        let pair = |(name, value): (&str, String)| vec![name.to_owned(), value];
        let said: Vec<_> = phrases::nostr(figures).into_iter().map(pair).collect();
        body += &panel(false, "Answers of the relay", &table(&["", ""], &said));
    }
    if let Some(server) = &report.server {
        body += &panel(false, "Where the time goes", &split(server));
    }
    if let Some(walk) = &report.walk {
        body += &panel(false, "", &series::walk(walk));
    }
    if let Some(repeats) = &report.repeats {
        body += &panel(false, "All runs of this series", &series::repeats(repeats));
    }
    if let Some(comparison) = &report.comparison {
        body += &panel(
            false,
            "Compared with the earlier run",
            &series::comparison(comparison),
        );
    }
    if !earlier.is_empty() {
        body += &panel(true, "", &series::trend(earlier, report));
    }
    body += &panel(true, "Distributions", &distributions(report));
    if let Some(faults) = faults(report) {
        body += &panel(true, "Faults", &faults);
    }
    body += &panel(true, "Load", &options(report));
    body += "</div></main>\n";
    document(
        "sheet",
        &format!("{}: load report", title(&report.head)),
        &body,
    )
}

fn figures(report: &RelayReport) -> Vec<Card> {
    let (rates, sums, latency) = (&report.throughput, &report.measured, &report.latency_ns);
    if report.config.publishers == 0 {
        return idle(report);
    }
    let faults: u64 = report.errors.iter().map(|kind| kind.count).sum();
    let mut all = vec![
        Card::new(
            "deliveries a second",
            amount(rates.deliveries_per_second, "1/s"),
            format!(
                "{} messages/s · {}/s",
                amount(rates.messages_per_second, "1/s"),
                bytes(rates.delivered_bytes_per_second as u64)
            ),
        ),
        Card::new(
            "median latency",
            time(latency.p50 as f64),
            "from due to received",
        ),
        Card::new(
            "99 %",
            time(latency.p99 as f64),
            format!("99.9 %: {}", time(latency.p99_9 as f64)),
        ),
        Card::new(
            "slowest",
            time(latency.max as f64),
            format!("of {}", grouped(latency.count)),
        ),
        Card::new(
            "faults",
            grouped(faults),
            format!("of {} deliveries", grouped(sums.expected)),
        )
        .in_mood(if report.right { Mood::Good } else { Mood::Bad }),
        Card::new(
            "generator",
            format!("{:.0} %", report.generator.cpu_share * 100.0),
            format!(
                "of a core · {} late at 99 %",
                time(report.lateness_ns.quantiles.p99 as f64)
            ),
        )
        .in_mood(if report.valid {
            Mood::Neutral
        } else {
            Mood::Doubtful
        }),
    ];
    if let Some(server) = &report.server {
        all.push(Card::new(
            "server, each delivery",
            time(server.cpu_ns_per_delivery),
            format!(
                "of CPU · {:.0} % of a core · {}",
                server.cpu_share * 100.0,
                bytes(server.resident_bytes)
            ),
        ));
    }
    all
}

/// For connections that were only held.
fn idle(report: &RelayReport) -> Vec<Card> {
    let open = &report.connect_ns.quantiles;
    vec![
        Card::new("connections", grouped(open.count), "held"),
        Card::new("median connect", time(open.p50 as f64), "to upgraded"),
        Card::new("slowest connect", time(open.max as f64), "to upgraded"),
        Card::new(
            "measured",
            time(report.measured_ms * 1e6),
            "without messages",
        ),
    ]
}

fn latencies(report: &RelayReport) -> Option<String> {
    let latency = &report.latency;
    spectrum(
        &[
            ("s1", "each receiver", &latency.corrected.each),
            ("s2", "first receiver", &latency.corrected.first),
            ("s3", "last receiver", &latency.corrected.last),
            ("s5 dash", "each, uncorrected", &latency.uncorrected.each),
        ],
        "Latency by percentile",
    )
}

/// Distributions over their percentiles; `None` if the first one is empty.
pub(super) fn spectrum(all: &[(&'static str, &str, &Distribution)], title: &str) -> Option<String> {
    let main = all.first()?.2.quantiles;
    let known: Vec<_> = all
        .iter()
        .filter_map(|(series, name, of)| Some((*series, *name, of.histogram()?)))
        .collect();
    if main.count == 0 || known.is_empty() {
        return None;
    }
    let x = Scale::nines(main.count);
    let least = known.iter().map(|(.., of)| of.min()).min().unwrap_or(1);
    let most = known.iter().map(|(.., of)| of.max()).max().unwrap_or(1);
    let y = Scale::log(least as f64, most as f64, tick);
    let steps = 0..=SPECTRUM_POINTS;
    let quantiles: Vec<f64> = steps
        .map(|step| x.quantile_at(f64::from(step) / f64::from(SPECTRUM_POINTS)))
        .collect();
    let said = format!(
        "Half within {}, 99 % within {}, all within {}.",
        time(main.p50 as f64),
        time(main.p99 as f64),
        time(main.max as f64)
    );
    let mut chart = Chart::new(title, &said, x, y);
    // The first is drawn last, on top.
    for (series, name, of) in known.iter().rev() {
        let last = 1.0 - 1.0 / of.len().max(2) as f64;
        let value = |quantile: f64| of.value_at_quantile(quantile) as f64;
        let mut points: Points = Vec::new();
        for quantile in &quantiles {
            if *quantile > last {
                points.push((last, of.max() as f64));
                break;
            }
            points.push((*quantile, value(*quantile)));
        }
        chart.line(series, name, &points);
    }
    chart.turn_legend();
    let told: Vec<_> = quantiles
        .windows(6)
        .step_by(5)
        .map(|window| {
            let (from, to) = (window[0], window[window.len() - 1]);
            let mut text = format!("{} %", percent(to));
            for (_, name, of) in &known {
                text += &format!("\n{name}: {}", time(of.value_at_quantile(to) as f64));
            }
            (from, to, text)
        })
        .collect();
    chart.tell(&told);
    Some(chart.html())
}

/// As many digits as there are nines.
fn percent(quantile: f64) -> String {
    let nines = (-(1.0 - quantile).max(1e-9).log10()).floor() as usize;
    format!("{:.*}", nines.saturating_sub(1), quantile * 100.0)
}

/// The points of a line that stays level during each second.
fn level(timeline: &[Second], value: impl Fn(&Second) -> f64) -> Points {
    timeline
        .iter()
        .flat_map(|second| {
            let (from, to) = (second.at_ms, second.at_ms + second.for_ms);
            [from, to].map(|at_ms| (at_ms as f64 / 1e3, value(second)))
        })
        .collect()
}

fn time_axis(timeline: &[Second]) -> Scale {
    let end_ms = timeline.last().map_or(0, |last| last.at_ms + last.for_ms);
    Scale::between(0.0, end_ms as f64 / 1e3, |seconds| {
        format!("{} s", short(seconds))
    })
}

fn told_by_second(timeline: &[Second]) -> Vec<(f64, f64, String)> {
    let told = |second: &Second| {
        let Second { at_ms, for_ms, .. } = second;
        let latency = &second.latency.quantiles;
        let text = format!(
            "{} s: {} messages, {} deliveries, {} connected\np50 {}, p99 {}, max {}",
            short(*at_ms as f64 / 1e3),
            grouped(second.sent),
            grouped(second.received),
            grouped(second.connected),
            time(latency.p50 as f64),
            time(latency.p99 as f64),
            time(latency.max as f64)
        );
        (*at_ms as f64 / 1e3, (at_ms + for_ms) as f64 / 1e3, text)
    };
    timeline.iter().map(told).collect()
}

fn rates(report: &RelayReport) -> Option<String> {
    let timeline = &report.timeline;
    let per_second = |count: u64, second: &Second| count as f64 * 1e3 / second.for_ms.max(1) as f64;
    let received = |second: &Second| per_second(second.received, second);
    let most = timeline.iter().map(received).fold(0.0, f64::max);
    if most == 0.0 {
        return None;
    }
    let said = format!(
        "Deliveries a second over time, at most {}.",
        amount(most, "1/s")
    );
    let x = time_axis(timeline);
    let mut chart = Chart::new(
        "Deliveries a second",
        &said,
        x,
        Scale::from_zero(most, short),
    );
    chart.area("s1", "", &level(timeline, received));
    chart.tell(&told_by_second(timeline));
    Some(chart.html())
}

fn latency_over_time(report: &RelayReport) -> Option<String> {
    let timeline = &report.timeline;
    let with_values = timeline
        .iter()
        .filter(|second| second.latency.quantiles.count > 0);
    let all: Vec<Second> = with_values.cloned().collect();
    let least = all
        .iter()
        .map(|second| second.latency.quantiles.p50)
        .min()?;
    let most = all
        .iter()
        .map(|second| second.latency.quantiles.max)
        .max()?;
    let said = "Median, 99 % and largest latency of each second.";
    let y = Scale::log(least as f64, most as f64, tick);
    let mut chart = Chart::new("Latency over time", said, time_axis(timeline), y);
    let of = |value: fn(&Quantiles) -> u64| {
        level(&all, |second| value(&second.latency.quantiles) as f64)
    };
    chart.line("s3", "max", &of(|times| times.max));
    chart.line("s1", "99 %", &of(|times| times.p99));
    chart.line("s2", "median", &of(|times| times.p50));
    chart.tell(&told_by_second(timeline));
    Some(chart.html())
}

fn clients(report: &RelayReport) -> Option<String> {
    let mut all: Vec<ClientFigures> = report.clients.listed.clone();
    all.retain(|client| client.delivered > 0);
    all.sort_by(|one, other| one.mean_ns.total_cmp(&other.mean_ns));
    let (first, last) = (all.first()?, all.last()?);
    let most = all.iter().map(|client| client.max_ns).max()?;
    let said = format!(
        "Mean latency of each client from {} to {}, deliveries from {} to {}.",
        time(first.mean_ns),
        time(last.mean_ns),
        grouped(report.clients.delivered.min),
        grouped(report.clients.delivered.max)
    );
    let x = Scale::between(0.0, all.len() as f64, short);
    let y = Scale::log(first.mean_ns, most as f64, tick);
    let title = "Clients, from the best served to the worst";
    let mut chart = Chart::new(title, &said, x, y);
    let points = |value: &dyn Fn(&ClientFigures) -> f64| -> Points {
        let ranks = all.iter().enumerate();
        ranks
            .map(|(rank, client)| (rank as f64 + 0.5, value(client)))
            .collect()
    };
    chart.dots("s3", "largest", &points(&|client| client.max_ns as f64));
    chart.line("s1", "mean latency", &points(&|client| client.mean_ns));
    if all.len() <= CLIENTS_TOLD_MAX {
        let told: Vec<_> = all
            .iter()
            .enumerate()
            .map(|(rank, client)| {
                let text = format!(
                    "client {}: mean {}, max {}, {} deliveries, {}",
                    client.client,
                    time(client.mean_ns),
                    time(client.max_ns as f64),
                    grouped(client.delivered),
                    bytes(client.received_bytes)
                );
                (rank as f64, rank as f64 + 1.0, text)
            })
            .collect();
        chart.tell(&told);
    }
    Some(chart.html())
}

fn connects(report: &RelayReport) -> Option<String> {
    let tcp = Some(&report.tcp_connect_ns).filter(|tcp| tcp.count > 0);
    connect::chart(&report.connect_ns, tcp)
}

/// Splits the mean time of a delivery by whose it is, and shows the server's resources.
fn split(server: &Server) -> String {
    let mut bar = String::new();
    let mut rows = Vec::new();
    for (part, series) in server.parts.iter().zip(["s2", "s1", "s5", "s4"]) {
        bar += &format!(
            "<span class=\"{series}\" style=\"flex-grow:{:.4}\" title=\"{name}\"></span>",
            part.share.max(0.0),
            name = escape(&part.name)
        );
        rows.push(vec![
            part.name.clone(),
            time(part.mean_ns),
            format!("{:.1} %", part.share * 100.0),
        ]);
    }
    let facts = [
        (
            "server's CPU",
            format!("{:.1} % of a core", server.cpu_share * 100.0),
        ),
        ("for each delivery", time(server.cpu_ns_per_delivery)),
        ("its memory", bytes(server.resident_bytes)),
    ];
    rows.extend(facts.map(|(name, value)| vec![name.to_owned(), value, String::new()]));
    let bar = match bar.is_empty() {
        true => bar,
        false => format!("<div class=\"split\" aria-hidden=\"true\">{bar}</div>"),
    };
    bar + &table(&["on average", "", ""], &rows)
}

fn distributions(report: &RelayReport) -> String {
    let head = [
        "", "count", "min", "mean", "50 %", "90 %", "99 %", "99.9 %", "99.99 %", "max",
    ];
    let rows: Vec<_> = phrases::distributions(report)
        .iter()
        .map(|(name, of)| {
            let times = [
                of.min,
                of.mean as u64,
                of.p50,
                of.p90,
                of.p99,
                of.p99_9,
                of.p99_99,
            ];
            let mut row = vec![(*name).to_owned(), grouped(of.count)];
            row.extend(times.map(|ns| time(ns as f64)));
            row.push(time(of.max as f64));
            row
        })
        .collect();
    table(&head, &rows)
}

/// The errors; `None` if there were none.
fn faults(report: &RelayReport) -> Option<String> {
    let mut items: Vec<String> = report
        .errors
        .iter()
        .map(|kind| format!("{} {}", grouped(kind.count), kind.error))
        .collect();
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for one in &report.disconnects.listed {
        let client = one.client.to_string();
        match reasons.iter_mut().find(|(reason, _)| *reason == one.reason) {
            Some((_, clients)) => clients.push(client),
            None => reasons.push((&one.reason, vec![client])),
        }
    }
    let disconnect =
        |(reason, clients): (&str, Vec<String>)| format!("client {}: {reason}", clients.join(", "));
    items.extend(reasons.into_iter().map(disconnect));
    let churn = report.churn.iter().flat_map(|churn| &churn.reasons);
    items.extend(churn.map(|reason| format!("churn: {reason}")));
    let items: String = items
        .iter()
        .map(|item| format!("<li>{}</li>", escape(item)))
        .collect();
    (!items.is_empty()).then(|| format!("<ul>{items}</ul>"))
}

fn options(report: &RelayReport) -> String {
    let rows = phrases::load(report);
    let pairs: String = rows
        .iter()
        .map(|row| {
            format!(
                "<div><dt>{}</dt><dd>{}</dd></div>",
                escape(&row[0]),
                escape(&row[1])
            )
        })
        .collect();
    format!("<dl class=\"options\">{pairs}</dl>")
}
