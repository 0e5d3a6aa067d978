//! The parts of a page: the document, its header, cards and panels.

use super::text::escape;
use crate::phrases::{self, Mood};
use crate::report::Head;

const STYLE: &str = include_str!("style.css");

/// A whole page around its body. One of class `sheet` prints on one.
pub(super) fn document(class: &str, title: &str, body: &str) -> String {
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

/// The top of a page: name, verdicts, and the machine of the run.
pub(super) fn header(head: &Head, url: &str, verdicts: &[phrases::Verdict]) -> String {
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
        machine = escape(&phrases::machine(&head.machine)),
    )
}

/// The title of a run.
pub(super) fn title(head: &Head) -> &str {
    head.label.as_deref().unwrap_or(&head.scenario)
}

/// `2026-11-21 10:30:00 UTC`, of RFC 3339.
pub(super) fn when(started_at: &str) -> String {
    started_at.replace('T', " ").replace('Z', " UTC")
}

pub(super) fn class(mood: Mood) -> &'static str {
    match mood {
        Mood::Good => "good",
        Mood::Neutral => "neutral",
        Mood::Doubtful => "doubtful",
        Mood::Bad => "bad",
    }
}

/// A figure to be read at a glance.
pub(super) struct Card {
    name: &'static str,
    value: String,
    below: String,
    mood: Mood,
}

impl Card {
    pub(super) fn new(name: &'static str, value: String, below: impl Into<String>) -> Self {
        Self {
            name,
            value,
            below: below.into(),
            mood: Mood::Neutral,
        }
    }

    pub(super) fn in_mood(self, mood: Mood) -> Self {
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

pub(super) fn cards(cards: &[Card]) -> String {
    let all: String = cards.iter().map(Card::html).collect();
    format!("<dl class=\"cards\">{all}</dl>\n")
}

/// A part of a page; a wide one takes the whole width.
pub(super) fn panel(is_wide: bool, title: &str, body: &str) -> String {
    let width = if is_wide { " full" } else { "" };
    let heading = match title {
        "" => String::new(),
        _ => format!("<h2>{}</h2>", escape(title)),
    };
    format!("<section class=\"panel{width}\">{heading}{body}</section>\n")
}
