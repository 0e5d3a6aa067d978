//! The answers of a Nostr relay, besides the deliveries.

use serde::{Deserialize, Serialize};

use super::Distribution;

/// The requested load of Nostr events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NostrConfig {
    /// Subscriptions of each client; 0 if clients publish and subscribe to nothing.
    pub subscriptions: u32,
    /// The filters: `mixed`, `all`, `kinds`, `authors` or `tags`.
    pub filters: String,
    /// Keys that sign events.
    pub keys: u32,
    /// Keys of a filter that has authors.
    pub authors: u32,
    /// Events that are queried or synchronized; absent for other loads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<u32>,
    /// The limit of a query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u32>,
    /// Events that share a `created_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_second: Option<u32>,
    /// Events by which a client's set differs from the stored one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differences: Option<u32>,
}

/// The answers of a Nostr relay, warm-up included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NostrFigures {
    /// Subscriptions of all clients.
    pub subscriptions: u64,
    /// Distinct filters of these.
    pub filters: u64,
    /// Events that were signed before the run.
    pub signed: u64,
    /// Of the signed: sent.
    pub sent: u64,
    /// Of the sent: answered with OK true.
    pub accepted: u64,
    /// Answered with OK false, by the prefix of the reason.
    pub refused: Vec<Reason>,
    /// Not answered.
    pub unanswered: u64,
    /// From due to the answer, of measured events; for queries, of the events that are stored
    /// first.
    pub ok_ns: Distribution,
    /// Subscriptions or queries that the relay closed, by the prefix of the reason.
    pub closed: Vec<Reason>,
    /// NOTICEs.
    pub notices: u64,
    /// The first texts of NOTICE, CLOSED and OK false.
    pub texts: Vec<String>,
    /// A closed loop ended early because no signed event was left.
    pub ran_out: bool,
    /// Whether acknowledged events are stored; absent if the relay was not asked.
    pub stored: Option<Stored>,
    /// The messages of synchronizations; absent for other loads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syncs: Option<SyncFigures>,
    /// The answers to queries; absent unless clients query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queries: Option<QueryFigures>,
}

/// The messages of all synchronizations (NIP-77) of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncFigures {
    /// Messages of the relay, each the answer to one of a client.
    pub rounds: u64,
    /// Hexadecimal digits that clients sent.
    pub bytes_sent: u64,
    /// Hexadecimal digits that the relay sent.
    pub bytes_received: u64,
}

impl SyncFigures {
    pub(crate) fn add(&mut self, other: &SyncFigures) {
        self.rounds += other.rounds;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
    }
}

/// The answers to queries of stored events, warm-up included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueryFigures {
    /// Queries that were answered with EOSE.
    pub answered: u64,
    /// Of these: with a fault in their rows.
    pub wrong: u64,
    /// Rows that the answers should have.
    pub expected_rows: u64,
    /// Rows that came.
    pub rows: u64,
    /// Of the measured time.
    pub rows_per_second: f64,
    /// Rows that match and did not come.
    pub missing_rows: u64,
    /// Rows that do not belong to their answer.
    pub unasked_rows: u64,
    /// Rows that came again in the same answer.
    pub repeated_rows: u64,
    /// Rows behind one that belongs behind them: the newest come first, of the same second the
    /// lowest id (NIP-01).
    pub reordered_rows: u64,
    /// Rows with another content.
    pub damaged_rows: u64,
}

/// A kind of answer, and its count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The word before the colon (NIP-01); `none` if it is absent.
    pub prefix: String,
    /// How often.
    pub count: u64,
}

/// The result of the query at the end, by the tag of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// `count` (NIP-45) or `query`; `nothing` if the relay answered neither.
    pub by: String,
    /// Events that were acknowledged.
    pub accepted: u64,
    /// Events of the run that were found.
    pub found: u64,
    /// Of the acknowledged: certainly missing; a query does not return all events.
    pub missing: u64,
}

impl NostrFigures {
    /// Whether every event was accepted and every subscription lasted.
    pub fn is_right(&self) -> bool {
        self.errors().iter().all(|(_, count)| *count == 0)
    }

    /// Errors besides deliveries, by kind.
    pub(crate) fn errors(&self) -> Vec<(&'static str, u64)> {
        let sum = |all: &[Reason]| all.iter().map(|one| one.count).sum();
        // Without subscriptions a missing answer already counts as a lost delivery.
        let unanswered = match self.subscriptions {
            0 => 0,
            _ => self.unanswered,
        };
        let rows = self.queries.iter().flat_map(|queries| {
            [
                ("missing_rows", queries.missing_rows),
                ("unasked_rows", queries.unasked_rows),
                ("repeated_rows", queries.repeated_rows),
                ("reordered_rows", queries.reordered_rows),
                ("damaged_rows", queries.damaged_rows),
            ]
        });
        let answers = [
            ("refused", sum(&self.refused)),
            ("unanswered", unanswered),
            ("closed", sum(&self.closed)),
            (
                "missing",
                self.stored.as_ref().map_or(0, |stored| stored.missing),
            ),
        ];
        answers.into_iter().chain(rows).collect()
    }
}
