//! The results of a run: figures and a verdict.
//!
//! The structs are the JSON report, field by field: `docs/loadgen-report.md` describes them, and
//! their version is [`VERSION`]. Everything that shows a run (text, pages, tables, a history) is
//! made from them alone, so a report that was read from a file ([`Report::read`]) looks the same.
//! This module does not know plans or threads: `gather.rs`, above both, makes the reports.

mod compare;
mod deliveries;
mod finding;
mod handshakes;
mod head;
mod latency;
mod machine;
mod mark;
mod nostr;
mod pairs;
mod relay;
mod series;
mod server;
mod timeline;
mod verdict;

use serde::{Deserialize, Serialize};

pub use deliveries::Deliveries;
pub use finding::{Culprit, Finding, FindingKind};
pub use handshakes::HandshakeReport;
pub use head::{Head, VERSION};
pub use latency::{ByReceiver, Distribution, Latency, Quantiles};
pub use machine::Machine;
pub use mark::{Mark, MarkCause};
pub use nostr::{NostrConfig, NostrFigures, QueryFigures, Reason, Stored, SyncFigures};
pub(crate) use pairs::Tally;
pub use pairs::{Pair, PairsReport, Side};
pub(crate) use relay::DISCONNECTS_LISTED_MAX;
pub use relay::{
    Churn, ClientFigures, Clients, Disconnect, Disconnects, ErrorCount, Generator, Order,
    RelayConfig, RelayReport, Storm, Throughput, Unsent, Wire,
};
pub use series::{
    Aborted, Baseline, Bound, Change, Compared, Comparison, Repeated, Repeats, Step, Summary, Walk,
};
pub use server::{Part, Server};
pub use timeline::Second;

/// The report of either kind of run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Report {
    /// Of messages.
    Relay(Box<RelayReport>),
    /// Of `--handshakes`.
    Handshakes(Box<HandshakeReport>),
}

impl Report {
    /// As JSON, for programs: one object, ending with a line break.
    ///
    /// # Errors
    /// None is known: JSON can represent any report.
    pub fn json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Reads the output of [`Report::json`].
    ///
    /// # Errors
    /// Not such a report, or another version, described for the user.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        let report: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        match report.head().version {
            VERSION => Ok(report),
            version => Err(format!("the report's version is {version}, not {VERSION}")),
        }
    }

    /// The head, which both kinds have.
    pub fn head(&self) -> &Head {
        match self {
            Self::Relay(report) => &report.head,
            Self::Handshakes(report) => &report.head,
        }
    }

    /// Whether every delivery was right.
    pub fn is_right(&self) -> bool {
        match self {
            Self::Relay(report) => report.right,
            Self::Handshakes(_) => true,
        }
    }
}
