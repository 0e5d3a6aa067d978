//! The text report's sections on the server and on several runs.

use super::page::Page;
use crate::phrases::{change, interval, knee, storms};
use crate::report::{Change, Churn, Compared, Comparison, RelayReport, Repeats, Server, Walk};
use crate::units::{amount, bytes, grouped, ratio, time};

/// All sections that the run has, each after a blank line.
pub(super) fn all(out: &mut Page, report: &RelayReport) {
    if let Some(churn) = &report.churn {
        out.blank();
        self::churn(out, churn);
    }
    if let Some(server) = &report.server {
        out.blank();
        self::server(out, server);
    }
    if let Some(walk) = &report.walk {
        out.blank();
        self::walk(out, walk);
    }
    if let Some(repeats) = &report.repeats {
        out.blank();
        self::repeats(out, repeats);
    }
    if let Some(comparison) = &report.comparison {
        out.blank();
        self::comparison(out, comparison);
    }
}

fn churn(out: &mut Page, churn: &Churn) {
    let (due, replaced) = (grouped(churn.due), grouped(churn.replaced));
    let (skipped, failed) = (grouped(churn.skipped), grouped(churn.failed));
    out.row(
        "churn",
        &format!("{replaced} of {due} connections replaced, {skipped} skipped, {failed} failed"),
    );
    for reason in &churn.reasons {
        out.row("", reason);
    }
    for row in storms(&churn.storms) {
        let [number, dropped, back, median, max] = &row[..] else {
            continue;
        };
        out.row(
            "storms",
            &format!("{number}, {dropped} connections dropped, {back} back"),
        );
        out.row("", &format!("after {median} (median), {max} (max)"));
    }
}

fn server(out: &mut Page, server: &Server) {
    let share = server.cpu_share * 100.0;
    let each = time(server.cpu_ns_per_delivery);
    let memory = bytes(server.resident_bytes);
    out.row(
        "server",
        &format!("{share:.1} % of a core, {each} a delivery, {memory}"),
    );
    for part in &server.parts {
        let (mean, share) = (time(part.mean_ns), part.share * 100.0);
        out.row(
            "",
            &format!("{:8}{mean:>8}{share:>8.1} % of a delivery", part.name),
        );
    }
}

fn walk(out: &mut Page, walk: &Walk) {
    let target = walk.target.as_deref().unwrap_or("right and valid");
    out.row(
        "rates",
        &format!(
            "{:>10}{:>14}{:>9}{:>9}  {target}",
            "rate", "deliveries/s", "p50", "p99"
        ),
    );
    for step in &walk.steps {
        let summary = &step.summary;
        let met = match step.met {
            true => "met".to_owned(),
            false => format!("missed: {}", step.reasons.join("; ")),
        };
        let rate = summary
            .rate
            .map_or("max".to_owned(), |rate| amount(rate, "1/s"));
        out.row(
            "",
            &format!(
                "{rate:>10}{:>14}{:>9}{:>9}  {met}",
                amount(summary.deliveries_per_second, "1/s"),
                time(summary.latency_ns.p50 as f64),
                time(summary.latency_ns.p99 as f64),
            ),
        );
    }
    out.row("knee", &knee(walk));
}

fn repeats(out: &mut Page, repeats: &Repeats) {
    let head = format!(
        "{:18}{:>10}{:>10}{:>10}{:>9}",
        "", "median", "min", "max", "spread"
    );
    out.row(&format!("{} runs", repeats.runs.len()), &head);
    for figure in &repeats.figures {
        let [median, min, max] =
            [figure.median, figure.min, figure.max].map(|value| amount(value, &figure.unit));
        let (name, spread) = (&figure.name, figure.spread * 100.0);
        out.row(
            "",
            &format!("{name:18}{median:>10}{min:>10}{max:>10}{spread:>7.1} %"),
        );
    }
}

fn comparison(out: &mut Page, comparison: &Comparison) {
    let baseline = &comparison.baseline;
    let label = baseline.label.as_deref().unwrap_or(&baseline.program);
    out.row(
        "compared",
        &format!("with {label} of {}", baseline.started_at),
    );
    compared(out, &comparison.figures);
    judged(out, "", comparison.verdict, &comparison.caveats);
}

/// Figures of two sides, one per line.
pub(super) fn compared(out: &mut Page, figures: &[Compared]) {
    for figure in figures {
        let value = |value| amount(value, &figure.unit);
        let (before, after) = (value(figure.before), value(figure.after));
        let (name, ratio) = (&figure.name, ratio(figure.ratio));
        let (interval, change) = (interval(figure.interval), change(figure.change));
        let line = format!("{name:22}{before:>10}{after:>10}{ratio:>10}{interval:>17}  {change}");
        out.line(&line);
    }
}

/// The verdict of a comparison, and why it is undecided.
pub(super) fn judged(out: &mut Page, label: &str, verdict: Change, caveats: &[String]) {
    let colon = if caveats.is_empty() { "" } else { ":" };
    out.row(label, &format!("{}{colon}", change(verdict)));
    for caveat in caveats {
        out.row("", &format!("- {caveat}"));
    }
}

impl Comparison {
    /// Figure by figure, ending with a line break.
    pub fn text(&self) -> String {
        let mut out = Page::default();
        comparison(&mut out, self);
        out.0
    }
}
