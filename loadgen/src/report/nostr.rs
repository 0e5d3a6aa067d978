//! What a Nostr relay said, beside the deliveries.

use serde::{Deserialize, Serialize};

use super::Distribution;

/// What was asked for, of a load of Nostr events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NostrConfig {
    /// Subscriptions of each client; 0 if clients publish and subscribe to nothing.
    pub subscriptions: u32,
    /// What they ask for: `mixed`, `all`, `kinds`, `authors` or `tags`.
    pub filters: String,
    /// Keys that sign events.
    pub keys: u32,
    /// Keys of a filter that has authors.
    pub authors: u32,
}

/// What a Nostr relay said, warm-up included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NostrFigures {
    /// Subscriptions of all clients.
    pub subscriptions: u64,
    /// Different filters of these.
    pub filters: u64,
    /// Events that were signed before the run.
    pub signed: u64,
    /// Of these, sent.
    pub sent: u64,
    /// Of these, answered with OK true.
    pub accepted: u64,
    /// Answered with OK false, by the prefix of the reason.
    pub refused: Vec<Reason>,
    /// Not answered.
    pub unanswered: u64,
    /// From due to the answer, of measured events.
    pub ok_ns: Distribution,
    /// Subscriptions that the relay closed, by the prefix of the reason.
    pub closed: Vec<Reason>,
    /// NOTICEs.
    pub notices: u64,
    /// The first texts of NOTICE, CLOSED and OK false.
    pub texts: Vec<String>,
    /// A closed loop ended before its time because no event was left.
    pub ran_out: bool,
    /// Whether events that were acknowledged are there; absent if that was not asked.
    pub stored: Option<Stored>,
}

/// Something that a relay said, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The word before the colon (NIP-01); `none` if there is none.
    pub prefix: String,
    /// How often.
    pub count: u64,
}

/// What was asked for at the end by the tag of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// `count` (NIP-45) or `query`; `nothing` if the relay answered neither.
    pub by: String,
    /// Events that were acknowledged.
    pub accepted: u64,
    /// Events of the run that were found.
    pub found: u64,
    /// Of these, missing for sure: a query does not give back all.
    pub missing: u64,
}

impl NostrFigures {
    /// Every event was taken and every subscription lasted.
    pub fn is_right(&self) -> bool {
        self.errors().iter().all(|(_, count)| *count == 0)
    }

    /// What went wrong beside deliveries, by kind.
    pub(crate) fn errors(&self) -> [(&'static str, u64); 4] {
        let sum = |all: &[Reason]| all.iter().map(|one| one.count).sum();
        // Without subscriptions an answer that did not come is a delivery that is lost.
        let unanswered = match self.subscriptions {
            0 => 0,
            _ => self.unanswered,
        };
        [
            ("refused", sum(&self.refused)),
            ("unanswered", unanswered),
            ("closed", sum(&self.closed)),
            (
                "missing",
                self.stored.as_ref().map_or(0, |stored| stored.missing),
            ),
        ]
    }
}
