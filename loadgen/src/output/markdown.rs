//! The report as Markdown with GitHub's tables.

use std::fmt::Write;

use crate::phrases::verdicts;
use crate::report::{
    Compared, Comparison, HandshakeReport, Head, PairsReport, Quantiles, RelayReport, Repeats,
    Report, Walk,
};
use crate::units::{amount, grouped, ratio, time};

pub(super) fn render(report: &Report) -> String {
    let mut out = Page(String::new());
    match report {
        Report::Relay(report) => relay(&mut out, report),
        Report::Handshakes(report) => handshakes(&mut out, report),
    }
    out.0
}

fn relay(out: &mut Page, report: &RelayReport) {
    head(out, &report.head, &report.config.url);
    for verdict in verdicts(report) {
        out.line(&format!("- **{}**", escape(&verdict.text)));
    }
    out.line("");
    out.table(&["figure", "value"], &figures(report));
    out.heading("Latency");
    out.table(&QUANTILES, &latencies(report));
    if let Some(churn) = report
        .churn
        .as_ref()
        .filter(|churn| !churn.storms.is_empty())
    {
        let storms = crate::phrases::storms(&churn.storms);
        out.heading("Storms");
        out.table(&crate::phrases::STORMS, &storms);
    }
    if let Some(walk) = &report.walk {
        steps(out, walk);
    }
    if let Some(repeats) = &report.repeats {
        repeated(out, repeats);
    }
    if let Some(comparison) = &report.comparison {
        compared(out, comparison);
    }
    out.heading("Load");
    out.table(&["option", "value"], &crate::phrases::load(report));
}

fn head(out: &mut Page, head: &Head, url: &str) {
    let title = head.label.as_deref().unwrap_or(&head.scenario);
    out.line(&format!("# {}", escape(title)));
    out.line("");
    out.line(&format!(
        "`{}` by {}, {}, on {}.",
        url.replace('`', "'"),
        head.program,
        head.started_at,
        escape(&crate::phrases::machine(&head.machine)),
    ));
    out.line("");
}

fn figures(report: &RelayReport) -> Vec<Vec<String>> {
    let (sums, rates) = (&report.measured, &report.throughput);
    let mut rows = vec![
        ("sent", grouped(sums.sent)),
        ("expected", grouped(sums.expected)),
        ("delivered", grouped(sums.delivered)),
        ("lost", grouped(sums.lost)),
        ("repeated", grouped(sums.repeated)),
        ("reordered", grouped(sums.reordered)),
        ("damaged", grouped(sums.damaged)),
        ("misrouted", grouped(sums.misrouted)),
        ("early", grouped(sums.early)),
        ("messages/s", amount(rates.messages_per_second, "1/s")),
        ("deliveries/s", amount(rates.deliveries_per_second, "1/s")),
        (
            "payload",
            format!("{:.1} MB/s", rates.delivered_bytes_per_second / 1e6),
        ),
        (
            "generator's CPU",
            format!("{:.1} % of a core", report.generator.cpu_share * 100.0),
        ),
    ];
    if let Some(figures) = &report.nostr {
        rows.extend(crate::phrases::nostr(figures));
    }
    if let Some(server) = &report.server {
        rows.push((
            "server's CPU for a delivery",
            time(server.cpu_ns_per_delivery),
        ));
    }
    let pair = |(name, value): (&str, String)| vec![name.to_owned(), value];
    rows.into_iter().map(pair).collect()
}

const QUANTILES: [&str; 10] = [
    "", "count", "min", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max",
];

fn latencies(report: &RelayReport) -> Vec<Vec<String>> {
    let rows = crate::phrases::distributions(report);
    rows.iter().map(|(name, of)| quantiles(name, of)).collect()
}

fn quantiles(name: &str, of: &Quantiles) -> Vec<String> {
    let times = [
        of.min as f64,
        of.mean,
        of.p50 as f64,
        of.p90 as f64,
        of.p99 as f64,
        of.p99_9 as f64,
        of.p99_99 as f64,
        of.max as f64,
    ];
    let mut row = vec![name.to_owned(), grouped(of.count)];
    row.extend(times.map(time));
    row
}

fn steps(out: &mut Page, walk: &Walk) {
    out.heading("Rates");
    let target = walk.target.as_deref().unwrap_or("right and valid");
    let knee = crate::phrases::knee(walk);
    out.line(&format!(
        "Target {}; the highest rate that met it: {knee}.",
        escape(target)
    ));
    out.line("");
    let rows: Vec<_> = walk
        .steps
        .iter()
        .map(|step| {
            vec![
                step.summary
                    .rate
                    .map_or("max".to_owned(), |rate| amount(rate, "1/s")),
                amount(step.summary.deliveries_per_second, "1/s"),
                time(step.summary.latency_ns.p50 as f64),
                time(step.summary.latency_ns.p99 as f64),
                time(step.summary.latency_ns.max as f64),
                if step.met { "yes" } else { "no" }.to_owned(),
                step.reasons.join("; "),
            ]
        })
        .collect();
    out.table(
        &[
            "rate",
            "deliveries/s",
            "p50",
            "p99",
            "max",
            "met",
            "why not",
        ],
        &rows,
    );
}

fn repeated(out: &mut Page, repeats: &Repeats) {
    out.heading(&format!("{} runs", repeats.runs.len()));
    let rows: Vec<_> = repeats
        .figures
        .iter()
        .map(|figure| {
            let value = |value| amount(value, &figure.unit);
            vec![
                figure.name.clone(),
                value(figure.median),
                value(figure.min),
                value(figure.max),
                format!("{:.1} %", figure.spread * 100.0),
            ]
        })
        .collect();
    out.table(&["figure", "median", "min", "max", "spread"], &rows);
}

fn compared(out: &mut Page, comparison: &Comparison) {
    out.heading("Compared");
    let baseline = &comparison.baseline;
    let label = baseline.label.as_deref().unwrap_or("an earlier run");
    out.line(&format!(
        "**{}** against {} of {}.",
        crate::phrases::change(comparison.verdict),
        escape(label),
        baseline.started_at
    ));
    out.line("");
    for caveat in &comparison.caveats {
        out.line(&format!("- {}", escape(caveat)));
    }
    out.line("");
    out.table(
        &["figure", "before", "after", "change", "interval", "verdict"],
        &rows(&comparison.figures),
    );
}

fn rows(figures: &[Compared]) -> Vec<Vec<String>> {
    let row = |figure: &Compared| {
        vec![
            figure.name.clone(),
            amount(figure.before, &figure.unit),
            amount(figure.after, &figure.unit),
            ratio(figure.ratio),
            crate::phrases::interval(figure.interval),
            crate::phrases::change(figure.change).to_owned(),
        ]
    };
    figures.iter().map(row).collect()
}

/// A comparison of two servers.
pub(super) fn pairs(report: &PairsReport) -> String {
    let mut out = Page(String::new());
    head(&mut out, &report.head, &report.a);
    let verdict = crate::phrases::change(report.verdict);
    out.line(&format!(
        "**{verdict}**: B, `{}`, against A in {} pairs of runs.",
        report.b.replace('`', "'"),
        report.pairs.len()
    ));
    out.line("");
    for caveat in &report.caveats {
        out.line(&format!("- {}", escape(caveat)));
    }
    out.line("");
    out.table(
        &["figure", "A", "B", "B over A", "interval", "verdict"],
        &rows(&report.figures),
    );
    out.0
}

fn handshakes(out: &mut Page, report: &HandshakeReport) {
    head(out, &report.head, &report.url);
    let pair = |(name, value): (&str, String)| vec![name.to_owned(), value];
    let rows = [
        ("asked for", grouped(report.handshakes.into())),
        ("completed", grouped(report.completed)),
        ("not closed by the server", grouped(report.not_closed)),
        ("handshakes/s", amount(report.handshakes_per_second, "1/s")),
        ("at a time", grouped(report.concurrency.into())),
        (
            "generator's CPU",
            format!("{:.1} % of a core", report.cpu_share * 100.0),
        ),
    ];
    out.table(&["figure", "value"], &rows.map(pair));
    out.heading("Connect times");
    out.table(
        &QUANTILES,
        &[quantiles("connect", &report.connect_ns.quantiles)],
    );
}

struct Page(String);

impl Page {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn heading(&mut self, text: &str) {
        self.line(&format!("\n## {text}\n"));
    }

    fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        self.line(&format!("| {} |", head.join(" | ")));
        self.line(&format!("|{}", "---|".repeat(head.len())));
        for row in rows {
            self.0.push('|');
            for cell in row {
                let _ = write!(self.0, " {} |", escape(cell));
            }
            self.0.push('\n');
        }
    }
}

/// Escapes a text, so that it contains no markup and ends neither the cell nor the line.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            letter if letter.is_control() => out.push(' '),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '#' | '!' => out.extend(['\\', letter]),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_leave_its_cell() {
        assert_eq!(escape("a|b\nc"), "a\\|b c");
        assert_eq!(escape("<img src=x>"), "&lt;img src=x&gt;");
        assert_eq!(escape("[x](y)"), "\\[x\\](y)");
    }
}
