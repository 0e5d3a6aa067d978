//! The question at the end of a run: whether the events that were acknowledged are there.

use serde_json::{Value, json};

use super::bits::Bits;
use super::script::{Script, append_text};

/// The name of the question.
pub(super) const NAME: &str = "stored";
/// A query asks for so many events: relays give back no more.
const LIMIT: usize = 5000;

/// A question under way.
#[derive(Debug)]
pub(crate) struct Question {
    by: By,
    found: u64,
    seen: Bits,
    is_approximate: bool,
    is_over: bool,
}

/// How a relay is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// COUNT (NIP-45).
    Count,
    /// REQ, since it knows no COUNT.
    Query,
}

impl Question {
    /// A question, and the frame that asks it.
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

    /// Nothing more is to be heard.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// The answer to COUNT.
    pub(super) fn counted(&mut self, answer: &Value) {
        if self.by == By::Count {
            self.found = answer["count"].as_u64().unwrap_or(0);
            self.is_approximate = answer["approximate"].as_bool().unwrap_or(false);
            self.is_over = true;
        }
    }

    /// The relay does not answer that. Gives back what to ask instead.
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

    /// An event of the run came.
    pub(super) fn came(&mut self, number: u32) {
        self.found += u64::from(self.by == By::Query && self.seen.add(number));
    }

    /// All that a query gives back has come.
    pub(super) fn ended(&mut self) {
        self.is_over |= self.by == By::Query;
    }

    /// In the report's words: how it was answered, how many were found, and of those that were
    /// acknowledged how many are missing for sure.
    pub(super) fn told(&self, accepted: u64) -> (&'static str, u64, u64) {
        let missing = accepted.saturating_sub(self.found);
        match (self.is_over, self.by) {
            (false, _) => ("nothing", self.found, 0),
            (true, By::Count) if self.is_approximate => ("count", self.found, 0),
            (true, By::Count) => ("count", self.found, missing),
            // Bounds of the relay may keep back all but some.
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
