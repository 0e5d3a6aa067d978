//! Explains the counts: the course of the run, and the pattern of the faults.
//!
//! Nothing in this module counts. A finding is reported if it is certain; one that needs a guess
//! about the relay is worded as a guess.

mod course;
mod evidence;
mod patterns;

pub(crate) use evidence::Evidence;

use crate::report::Finding;

/// All findings, the most important first.
pub(crate) fn findings(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut found = course::findings(evidence);
    // For Nostr the filters decide who gets a message, not the rooms.
    if evidence.relay.nostr.is_none() {
        found.extend(patterns::findings(evidence));
    }
    found.extend(course::held_up(evidence));
    found
}
