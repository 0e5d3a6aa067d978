//! Explains what was counted: how the run went, and which pattern the counts have.
//!
//! Nothing in here counts anything. A finding is told where it is sure: one that needs a guess
//! about the relay is worded as one.

mod course;
mod evidence;
mod patterns;

pub(crate) use evidence::Evidence;

use crate::report::Finding;

/// All that there is to say, the most important first.
pub(crate) fn findings(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut found = course::findings(evidence);
    // Who hears whom depends on what was asked for, and not on rooms.
    if evidence.relay.nostr.is_none() {
        found.extend(patterns::findings(evidence));
    }
    found.extend(course::held_up(evidence));
    found
}
