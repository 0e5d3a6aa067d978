//! Pages: one report with its charts, and the dashboard over a history.
//!
//! A page is one file: styles and drawings are within it, scripts are not used, and its policy
//! forbids every request. It follows the light or dark colours of the system, fits a phone, and a
//! report prints on one sheet.

mod chart;
mod connect;
pub(crate) mod dashboard;
mod parts;
mod run;
mod scale;
mod series;
mod text;

use crate::report::{HandshakeReport, RelayReport, Report};
use crate::units::{amount, grouped, time};
use parts::{Card, cards, document, header, panel, title};

/// The report as a page.
pub(crate) fn render(report: &Report, earlier: &[RelayReport]) -> String {
    match report {
        Report::Relay(report) => run::render(report, earlier),
        Report::Handshakes(report) => handshakes(report),
    }
}

fn handshakes(report: &HandshakeReport) -> String {
    let times = &report.connect_ns.quantiles;
    let mut body = header(&report.head, &report.url, &[]);
    body += "<main>";
    body += &cards(&[
        Card::new(
            "handshakes a second",
            amount(report.handshakes_per_second, "1/s"),
            format!("{} at a time", grouped(report.concurrency.into())),
        ),
        Card::new(
            "completed",
            grouped(report.completed),
            format!("of {}", grouped(report.handshakes.into())),
        ),
        Card::new("median", time(times.p50 as f64), "from connect to upgraded"),
        Card::new(
            "99 %",
            time(times.p99 as f64),
            format!("at most {}", time(times.max as f64)),
        ),
    ]);
    let charts = [
        connect::chart(&report.connect_ns, None),
        run::spectrum(
            &[("s1", "connect", &report.connect_ns)],
            "Connect times by percentile",
        ),
    ];
    let panels: String = charts
        .iter()
        .flatten()
        .map(|chart| panel(true, "", chart))
        .collect();
    body += &format!("<div class=\"panels\">{panels}</div></main>\n");
    document(
        "sheet",
        &format!("{}: handshakes", title(&report.head)),
        &body,
    )
}
