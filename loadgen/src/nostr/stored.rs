//! The query at the end of a run: are the acknowledged events stored?

use serde_json::{Value, json};

use super::bits::Bits;
use super::script::Script;
use super::text::append_text;

/// The name of the query's subscription.
pub(super) const NAME: &str = "stored";
/// A query asks for this many events: relays return no more.
const LIMIT: usize = 5000;

/// A query in progress.
#[derive(Debug)]
pub(crate) struct Question {
    by: By,
    found: u64,
    seen: Bits,
    is_approximate: bool,
    is_over: bool,
}

/// How the relay is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// COUNT (NIP-45).
    Count,
    /// REQ, because it does not support COUNT.
    Query,
}

impl Question {
    /// A query, and the frame that sends it.
    pub(super) fn new(script: &Script) -> (Self, Vec<u8>) {
        let question = Self {
            by: By::Count,
            found: 0,
            seen: Bits::new(script.events.len()),
            is_approximate: false,
            is_over: false,
        };
        let count = json!(["COUNT", NAME, {"#t": [script.run]}]);
        (question, framed(script, &count))
    }

    /// Whether the query is finished.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Handles the answer to COUNT.
    pub(super) fn counted(&mut self, answer: &Value) {
        if self.by == By::Count {
            self.found = answer["count"].as_u64().unwrap_or(0);
            self.is_approximate = answer["approximate"].as_bool().unwrap_or(false);
            self.is_over = true;
        }
    }

    /// The relay does not support this query. Returns the next one to try.
    pub(super) fn refused(&mut self, script: &Script) -> Vec<u8> {
        if self.is_over || self.by == By::Query {
            self.is_over = true;
            return Vec::new();
        }
        self.by = By::Query;
        let limit = script.events.len().min(LIMIT);
        let query = json!(["REQ", NAME, {"#t": [script.run], "limit": limit}]);
        framed(script, &query)
    }

    /// Records an event of the run.
    pub(super) fn came(&mut self, number: u32) {
        self.found += u64::from(self.by == By::Query && self.seen.add(number));
    }

    /// Handles the end of a query's events.
    pub(super) fn ended(&mut self) {
        self.is_over |= self.by == By::Query;
    }

    /// For the report: how it was answered, how many events were found, and how many acknowledged
    /// ones are certainly missing.
    pub(super) fn told(&self, accepted: u64) -> (&'static str, u64, u64) {
        let missing = accepted.saturating_sub(self.found);
        match (self.is_over, self.by) {
            (false, _) => ("nothing", self.found, 0),
            (true, By::Count) if self.is_approximate => ("count", self.found, 0),
            (true, By::Count) => ("count", self.found, missing),
            // Limits of the relay may hold back all but some.
            (true, By::Query) if self.found > 0 => ("query", self.found, 0),
            (true, By::Query) => ("query", self.found, missing),
        }
    }
}

fn framed(script: &Script, message: &Value) -> Vec<u8> {
    let mut frame = Vec::new();
    append_text(&mut frame, script.mask(), &[message.to_string().as_bytes()]);
    frame
}
