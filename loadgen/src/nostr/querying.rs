//! The state of clients that query stored events, which they publish before the run.

use super::answers::{Answers, Faults};
use super::script::Script;
use crate::stamp::Stamp;

/// Events of one client that are not answered yet, while they are stored.
const WINDOW: u32 = 16;

/// One client's queries.
#[derive(Debug, Default)]
pub(super) struct Querying {
    pub(super) storing: Option<Storing>,
    pub(super) answers: Answers,
}

/// A client's share of the events, which it publishes before the run.
#[derive(Debug)]
pub(super) struct Storing {
    pub(super) publisher: u32,
    /// Its next event.
    next: u32,
    /// Events without an answer.
    pub(super) waiting: u32,
}

/// One thread's results.
#[derive(Debug, Default)]
pub(super) struct QueryOutcome {
    /// `[warm-up, measured]`.
    pub(super) rows: [u64; 2],
    pub(super) expected: u64,
    pub(super) answered: u64,
    pub(super) wrong: u64,
    pub(super) faults: Faults,
}

impl Storing {
    /// The share of a publisher, with the frames of its first events.
    pub(super) fn begin(
        publisher: u32,
        script: &Script,
        now_ns: u64,
        frames: &mut Vec<u8>,
    ) -> Self {
        let mut storing = Self {
            publisher,
            next: publisher,
            waiting: 0,
        };
        while storing.waiting < WINDOW && storing.go_on(script, now_ns, frames) {}
        storing
    }

    /// Appends the next event. False if none is left.
    pub(super) fn go_on(&mut self, script: &Script, now_ns: u64, frames: &mut Vec<u8>) -> bool {
        if self.next as usize >= script.events.len() {
            return false;
        }
        let stamp = Stamp {
            measured: false,
            publisher: self.publisher,
            seq: self.next,
            due_ns: now_ns,
            sent_ns: now_ns,
            is_held: false,
        };
        script.append(frames, &stamp);
        self.next = self.next.saturating_add(script.publishers());
        self.waiting += 1;
        true
    }
}
