//! Pages: one report with its charts, and the dashboard over a history.
//!
//! A page is one file: styles and drawings are within it, there is no script, and its policy
//! forbids every request. It follows the light or dark colours of the system, fits a phone, and a
//! report prints on one sheet.

mod chart;
mod connect;
pub(crate) mod dashboard;
mod run;
mod scale;
mod series;
mod text;

use crate::report::{HandshakeReport, Head, RelayReport, Report};
use crate::units::{amount, grouped, time};
use crate::words::{self, Mood};
use text::escape;

const STYLE: &str = include_str!("style.css");

/// The report as a page.
pub(crate) fn render(report: &Report, earlier: &[RelayReport]) -> String {
    match report {
        Report::Relay(report) => run::render(report, earlier),
        Report::Handshakes(report) => handshakes(report),
    }
}

/// A whole page around its body. One of class `sheet` prints on one.
fn document(class: &str, title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\
         <meta name=\"color-scheme\" content=\"light dark\"/>\
         <title>{}</title>\n<style>{STYLE}</style></head>\n\
         <body><div class=\"{class}\">\n{body}</div></body></html>\n",
        escape(title)
    )
}

/// What a page begins with: name, verdicts, and where the figures come from.
fn header(head: &Head, url: &str, verdicts: &[words::Verdict]) -> String {
    let mut pills = String::new();
    for verdict in verdicts {
        pills += &format!(
            "<li class=\"pill {}\">{}</li>",
            class(verdict.mood),
            escape(&verdict.text)
        );
    }
    let scenario = match &head.label {
        Some(_) => format!("{} against ", escape(&head.scenario)),
        None => "against ".to_owned(),
    };
    format!(
        "<header><h1>{title}</h1><ul class=\"pills\">{pills}</ul>\
         <p>{scenario}<code>{url}</code> · <time datetime=\"{at}\">{when}</time> · {program}<br/>\
         {machine}</p></header>\n",
        title = escape(title(head)),
        url = escape(url),
        at = escape(&head.started_at),
        when = escape(&when(&head.started_at)),
        program = escape(&head.program),
        machine = escape(&words::machine(&head.machine)),
    )
}

/// What a run is called.
fn title(head: &Head) -> &str {
    head.label.as_deref().unwrap_or(&head.scenario)
}

/// `2026-11-21 10:30:00 UTC`, of RFC 3339.
fn when(started_at: &str) -> String {
    started_at.replace('T', " ").replace('Z', " UTC")
}

fn class(mood: Mood) -> &'static str {
    match mood {
        Mood::Good => "good",
        Mood::Neutral => "neutral",
        Mood::Doubtful => "doubtful",
        Mood::Bad => "bad",
    }
}

/// A figure that is read from afar.
struct Card {
    name: &'static str,
    value: String,
    below: String,
    mood: Mood,
}

impl Card {
    fn new(name: &'static str, value: String, below: impl Into<String>) -> Self {
        Self {
            name,
            value,
            below: below.into(),
            mood: Mood::Neutral,
        }
    }

    fn in_mood(self, mood: Mood) -> Self {
        Self { mood, ..self }
    }

    fn html(&self) -> String {
        format!(
            "<div class=\"card {}\"><dt>{}</dt><dd>{}<small>{}</small></dd></div>",
            class(self.mood),
            escape(self.name),
            escape(&self.value),
            escape(&self.below)
        )
    }
}

fn cards(cards: &[Card]) -> String {
    let all: String = cards.iter().map(Card::html).collect();
    format!("<dl class=\"cards\">{all}</dl>\n")
}

/// A part of a page; a wide one takes the whole width.
fn panel(is_wide: bool, title: &str, body: &str) -> String {
    let width = if is_wide { " full" } else { "" };
    let heading = match title {
        "" => String::new(),
        _ => format!("<h2>{}</h2>", escape(title)),
    };
    format!("<section class=\"panel{width}\">{heading}{body}</section>\n")
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
