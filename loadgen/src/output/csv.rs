//! The report as one table (RFC 4180): the column `row` says what a row is about.
//!
//! `run` is the whole run; `second` a second of it, `drain` the time after it, `step` a step of a
//! walk over rates, `repeat` one of several runs. A cell without a value for its row is empty.
//! Every row begins with the columns that identify the run, so tables of several runs can be
//! concatenated.

use crate::report::{Deliveries, HandshakeReport, Head, Quantiles, RelayReport, Report, Second};
use crate::report::{Step, Summary};

const COLUMNS: [&str; 34] = [
    "row",
    "started_at",
    "scenario",
    "label",
    "url",
    "at_ms",
    "for_ms",
    "rate",
    "sent",
    "expected",
    "delivered",
    "lost",
    "repeated",
    "reordered",
    "damaged",
    "misrouted",
    "early",
    "messages_per_second",
    "deliveries_per_second",
    "received_bytes",
    "connected",
    "latency_count",
    "latency_min_ns",
    "latency_mean_ns",
    "latency_p50_ns",
    "latency_p90_ns",
    "latency_p99_ns",
    "latency_p99_9_ns",
    "latency_p99_99_ns",
    "latency_max_ns",
    "lateness_p99_ns",
    "receive_lag_p99_ns",
    "valid",
    "right",
];

/// The report as a table with a head.
pub(super) fn render(report: &Report) -> String {
    let mut table = Table(COLUMNS.join(",") + "\r\n");
    match report {
        Report::Relay(report) => relay(&mut table, report),
        Report::Handshakes(report) => handshakes(&mut table, report),
    }
    table.0
}

fn relay(table: &mut Table, report: &RelayReport) {
    let row = |kind| Row::of(kind, &report.head, &report.config.url);
    table.push(&whole(row("run"), report));
    for second in &report.timeline {
        table.push(&one_second(row("second"), second));
    }
    if report.drain.received > 0 {
        table.push(&one_second(row("drain"), &report.drain));
    }
    for step in report.walk.iter().flat_map(|walk| &walk.steps) {
        let Step { summary, met, .. } = step;
        table.push(&short(row("step"), summary).set("right", &(*met && summary.right)));
    }
    for run in report.repeats.iter().flat_map(|repeats| &repeats.runs) {
        table.push(&short(row("repeat"), run));
    }
}

fn whole(row: Row, report: &RelayReport) -> Row {
    let lag = &report.receive_lag_ns.quantiles;
    let receive_lag = (lag.count > 0).then_some(lag.p99);
    deliveries(row, &report.measured)
        .set("for_ms", &report.measured_ms)
        .set_some("rate", report.config.rate)
        .set(
            "messages_per_second",
            &report.throughput.messages_per_second,
        )
        .set(
            "deliveries_per_second",
            &report.throughput.deliveries_per_second,
        )
        .set("received_bytes", &report.wire.received_bytes)
        .set("connected", &report.connect_ns.quantiles.count)
        .latency(&report.latency_ns)
        .set("lateness_p99_ns", &report.lateness_ns.quantiles.p99)
        .set_some("receive_lag_p99_ns", receive_lag)
        .set("valid", &report.valid)
        .set("right", &report.right)
}

fn one_second(row: Row, second: &Second) -> Row {
    let per_second = |count: u64| count as f64 * 1e3 / second.for_ms.max(1) as f64;
    row.set("at_ms", &second.at_ms)
        .set("for_ms", &second.for_ms)
        .set("sent", &second.sent)
        .set("delivered", &second.received)
        .set("messages_per_second", &per_second(second.sent))
        .set("deliveries_per_second", &per_second(second.received))
        .set("received_bytes", &second.received_bytes)
        .set("connected", &second.connected)
        .latency(&second.latency.quantiles)
        .set("lateness_p99_ns", &second.lateness_ns.p99)
}

fn short(row: Row, summary: &Summary) -> Row {
    deliveries(row, &summary.measured)
        .set_some("rate", summary.rate)
        .set("messages_per_second", &summary.messages_per_second)
        .set("deliveries_per_second", &summary.deliveries_per_second)
        .latency(&summary.latency_ns)
        .set("lateness_p99_ns", &summary.lateness_ns.p99)
        .set("valid", &summary.valid)
        .set("right", &summary.right)
}

fn deliveries(row: Row, sums: &Deliveries) -> Row {
    row.set("sent", &sums.sent)
        .set("expected", &sums.expected)
        .set("delivered", &sums.delivered)
        .set("lost", &sums.lost)
        .set("repeated", &sums.repeated)
        .set("reordered", &sums.reordered)
        .set("damaged", &sums.damaged)
        .set("misrouted", &sums.misrouted)
        .set("early", &sums.early)
}

/// A run of handshakes puts connections in the columns of messages, and connect times in those of
/// latency.
fn handshakes(table: &mut Table, report: &HandshakeReport) {
    let row = Row::of("run", &report.head, &report.url)
        .set("for_ms", &report.elapsed_ms)
        .set("connected", &report.completed)
        .latency(&report.connect_ns.quantiles);
    table.push(&row);
}

struct Table(String);

impl Table {
    fn push(&mut self, row: &Row) {
        self.0.push_str(&row.0.join(","));
        self.0.push_str("\r\n");
    }
}

/// One cell for each column.
struct Row([String; COLUMNS.len()]);

impl Row {
    fn of(kind: &str, head: &Head, url: &str) -> Self {
        Self(std::array::from_fn(|_| String::new()))
            .set("row", &kind)
            .set("started_at", &quoted(&head.started_at))
            .set("scenario", &quoted(&head.scenario))
            .set("label", &quoted(head.label.as_deref().unwrap_or_default()))
            .set("url", &quoted(url))
    }

    fn set(mut self, column: &str, value: &impl ToString) -> Self {
        let at = COLUMNS.iter().position(|name| *name == column);
        debug_assert!(at.is_some(), "no column {column}");
        if let Some(at) = at {
            self.0[at] = value.to_string();
        }
        self
    }

    fn set_some(self, column: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.set(column, &value),
            None => self,
        }
    }

    /// Quantiles; empty if there are none.
    fn latency(self, of: &Quantiles) -> Self {
        let row = self.set("latency_count", &of.count);
        if of.count == 0 {
            return row;
        }
        row.set("latency_min_ns", &of.min)
            .set("latency_mean_ns", &of.mean.round())
            .set("latency_p50_ns", &of.p50)
            .set("latency_p90_ns", &of.p90)
            .set("latency_p99_ns", &of.p99)
            .set("latency_p99_9_ns", &of.p99_9)
            .set("latency_p99_99_ns", &of.p99_99)
            .set("latency_max_ns", &of.max)
    }
}

/// A text, quoted if needed.
fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_with_commas_quotes_or_line_breaks_is_quoted() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("say \"a\"\r\n"), "\"say \"\"a\"\"\r\n\"");
    }
}
