//! The report for people: at most 80 columns.

use std::fmt::Write;

mod nostr;
mod page;
mod pairs;
mod series;

use crate::phrases::{hint, marks, scheduling};
use crate::report::{Deliveries, HandshakeReport, Quantiles, RelayReport, Report, Unsent};
use crate::units::{grouped, time};
use page::Page;

impl Report {
    /// For people: lines of at most 80 columns.
    pub fn text(&self) -> String {
        match self {
            Self::Relay(report) => report.text(),
            Self::Handshakes(report) => report.text(),
        }
    }
}

impl RelayReport {
    /// The report as text, with a line break at the end.
    pub fn text(&self) -> String {
        let mut out = Page::default();
        self.setup(&mut out);
        out.blank();
        if self.config.publishers > 0 {
            self.messages(&mut out);
            out.blank();
        }
        self.times(&mut out);
        series::all(&mut out, self);
        out.blank();
        self.verdict(&mut out);
        out.0
    }

    /// Latencies from when messages were due, and below them from when they were sent.
    fn times(&self, out: &mut Page) {
        let (corrected, uncorrected) = (&self.latency.corrected, &self.latency.uncorrected);
        let answers = crate::phrases::answers(self);
        out.row("", &table_head());
        for (name, of) in [
            ("latency", &self.latency_ns),
            ("  first", &corrected.first.quantiles),
            ("  last", &corrected.last.quantiles),
            ("uncorrected", &uncorrected.each.quantiles),
            ("answer", &answers),
            ("lateness", &self.lateness_ns.quantiles),
            ("receive lag", &self.receive_lag_ns.quantiles),
            ("without lag", &self.latency.arrived.quantiles),
        ] {
            if of.count > 0 {
                out.row(name, &table_row(of));
            }
        }
        if self.latency_ns.count > 0 && self.receive_lag_ns.quantiles.count == 0 {
            out.row("receive lag", "unknown: the system gives no receive times");
        }
        out.row("connect", &table_row(&self.connect_ns.quantiles));
    }

    fn setup(&self, out: &mut Page) {
        let config = &self.config;
        out.row("target", &config.url);
        let mut clients = format!(
            "{} connected, {} publish",
            config.clients, config.publishers
        );
        if config.stalled > 0 {
            let _ = write!(clients, ", {} never read", config.stalled);
        }
        out.row("clients", &clients);
        let seconds = self.measured_ms / 1e3;
        let warmup = config.warmup_ms as f64 / 1e3;
        let pace = match (config.publishers, config.rate, config.window) {
            (0, ..) => "idle".to_owned(),
            (_, Some(rate), _) => format!("open loop, {rate} messages/s"),
            (_, _, window) => format!("closed loop, window {}", window.unwrap_or_default()),
        };
        out.row(
            "load",
            &format!("{pace}, {seconds:.1} s after {warmup:.1} s of warm-up"),
        );
        if config.publishers > 0 {
            out.row(
                "payload",
                &format!(
                    "{} bytes, {}, {}",
                    config.size_bytes, config.opcode, config.payload
                ),
            );
        }
    }

    fn messages(&self, out: &mut Page) {
        let sums = &self.measured;
        let mut sent = grouped(sums.sent);
        if self.held_up > 0 {
            let _ = write!(sent, "   held up by the relay {}", grouped(self.held_up));
        }
        out.row("sent", &sent);
        if self.unsent > 0 {
            let Unsent {
                disconnected,
                held,
                own,
            } = self.unsent_by;
            let [disconnected, held, own] = [disconnected, held, own].map(grouped);
            out.row(
                "unsent",
                &format!(
                    "disconnected {disconnected}   held back by the relay {held}   other {own}"
                ),
            );
        }
        let (expected, delivered) = (grouped(sums.expected), grouped(sums.delivered));
        out.row("expected", &format!("{expected}   delivered {delivered}"));
        out.row("faults", &faults(sums));
        if !self.warmup.is_right() {
            out.row("in warm-up", &faults(&self.warmup));
        }
        if let Some(nostr) = &self.nostr {
            nostr::rows(out, nostr);
        }
        if self.foreign > 0 {
            out.row(
                "foreign",
                &format!("{} messages of others", grouped(self.foreign)),
            );
        }
        out.row("order", &self.order_line());
        let rates = &self.throughput;
        out.row(
            "throughput",
            &format!(
                "{} messages/s   {} deliveries/s   {:.1} MB/s",
                grouped(rates.messages_per_second.round() as u64),
                grouped(rates.deliveries_per_second.round() as u64),
                rates.delivered_bytes_per_second / 1e6,
            ),
        );
        if self.drain.received > 0 {
            let (count, lasted) = (grouped(self.drain.received), self.drain.for_ms as f64 * 1e6);
            out.row(
                "drain",
                &format!("{count} deliveries in {} after that", time(lasted)),
            );
        }
        let mut wire = format!("{:.0} bytes a delivery", self.wire.bytes_per_delivery);
        if self.config.deflate {
            let _ = write!(wire, "   compressed {}", grouped(self.wire.compressed));
        }
        out.row("on the wire", &wire);
    }

    fn order_line(&self) -> String {
        let order = &self.order;
        match (order.compared, order.differing) {
            (0, _) if self.nostr.is_some() => "not compared".to_owned(),
            (0, _) => "not compared (no client got everything that was sent)".to_owned(),
            (compared, 0) if self.nostr.is_some() => {
                format!("the same at all {compared} subscriptions with the same filter")
            }
            (compared, 0) => format!("the same at all {compared} clients that were compared"),
            (compared, differing) => {
                let what = match self.nostr {
                    Some(_) => "subscriptions",
                    None => "clients",
                };
                format!("DIFFERS at {differing} of {compared} {what}")
            }
        }
    }

    fn verdict(&self, out: &mut Page) {
        let generator = &self.generator;
        let own = format!(
            "{:.1} % of a core, busiest of {} thread(s) {:.1} %, {} scheduling",
            generator.cpu_share * 100.0,
            self.config.threads,
            generator.busiest_thread_share * 100.0,
            scheduling(generator)
        );
        out.row("generator", &own);
        let lost = &self.disconnects;
        if lost.reading + lost.stalled + lost.slow > 0 {
            out.row(
                "disconnects",
                &format!(
                    "{} of reading, {} of stalled, {} of slow clients",
                    lost.reading, lost.stalled, lost.slow
                ),
            );
        }
        for one in &lost.listed {
            out.wrapped("", &format!("client {}: {}", one.client, one.reason));
        }
        if self.interrupted {
            out.row("note", "ended early by a signal");
        }
        if let Some(aborted) = &self.aborted {
            let at = time(aborted.at_ms as f64 * 1e6);
            out.row("ABORTED", &format!("after {at}: {}", aborted.condition));
        }
        if !self.latency_comparable && self.config.publishers > 0 {
            out.row(
                "note",
                "closed loop: throughput is what generator and relay reach together,",
            );
            out.row(
                "",
                "latency is mostly the window's own queue; do not compare it",
            );
        }
        let right = if self.right {
            "every delivery right"
        } else {
            "WRONG DELIVERIES"
        };
        out.row(
            "verdict",
            if self.config.publishers == 0 && self.right {
                "held"
            } else {
                right
            },
        );
        for finding in &self.findings {
            out.wrapped("", &format!("! {}", finding.text));
        }
        if let Some(marks) = marks(self) {
            out.wrapped("", &format!("! {marks}"));
        }
        if !self.valid {
            out.row("", "INVALID: the generator was the bottleneck:");
        }
        for reason in &self.invalid_reasons {
            out.row("", &format!("- {reason}"));
        }
        if let Some(hint) = hint(self) {
            out.wrapped("", &hint);
        }
    }
}

impl HandshakeReport {
    /// The report as text, with a line break at the end.
    pub fn text(&self) -> String {
        let mut out = Page::default();
        out.row("target", &self.url);
        out.row(
            "handshakes",
            &format!(
                "{} of {} in {:.2} s, {} at a time",
                grouped(self.completed),
                grouped(self.handshakes.into()),
                self.elapsed_ms / 1e3,
                self.concurrency
            ),
        );
        if self.not_closed > 0 {
            out.row(
                "not closed",
                &format!("{} by the server in time", grouped(self.not_closed)),
            );
        }
        let rate = grouped(self.handshakes_per_second.round() as u64);
        out.row("throughput", &format!("{rate} handshakes/s"));
        out.blank();
        out.row("", &table_head());
        out.row("connect", &table_row(&self.connect_ns.quantiles));
        out.row(
            "uncorrected",
            &table_row(&self.uncorrected_connect_ns.quantiles),
        );
        out.blank();
        out.row(
            "generator",
            &format!("{:.1} % of a core", self.cpu_share * 100.0),
        );
        out.0
    }
}

fn faults(sums: &Deliveries) -> String {
    let mut all = format!(
        "lost {}   repeated {}   reordered {}   damaged {}",
        grouped(sums.lost),
        grouped(sums.repeated),
        grouped(sums.reordered),
        grouped(sums.damaged)
    );
    for (name, count) in [("misrouted", sums.misrouted), ("early", sums.early)] {
        if count > 0 {
            let _ = write!(all, "   {name} {}", grouped(count));
        }
    }
    all
}

fn table_head() -> String {
    ["min", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"]
        .map(|name| format!("{name:>8}"))
        .concat()
}

fn table_row(times: &Quantiles) -> String {
    [
        times.min as f64,
        times.mean,
        times.p50 as f64,
        times.p90 as f64,
        times.p99 as f64,
        times.p99_9 as f64,
        times.p99_99 as f64,
        times.max as f64,
    ]
    .map(|ns| format!("{:>8}", time(ns)))
    .concat()
}
