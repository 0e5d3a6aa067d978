//! The answers of a Nostr relay.

use super::page::Page;
use crate::phrases::nostr;
use crate::report::NostrFigures;
use crate::units::grouped;

/// Rows of a report: answers, subscriptions, stored events, and other messages of the relay.
pub(super) fn rows(out: &mut Page, figures: &NostrFigures) {
    for (label, text) in nostr(figures) {
        out.wrapped(label, &text);
    }
    for text in &figures.texts {
        out.wrapped("", &format!("\"{text}\""));
    }
    if figures.ran_out {
        let signed = grouped(figures.signed);
        let text = format!("all {signed} events were sent, and the run ended: --events");
        out.wrapped("note", &text);
    }
}
