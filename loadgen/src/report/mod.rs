//! What a run found, as figures and as a verdict.
//!
//! The structs are the JSON report, field by field: `docs/loadgen-report.md` describes them, and
//! their version is [`VERSION`]. Everything that shows a run (text, pages, tables, a history) is
//! made of them alone, so a report that was read from a file ([`Report::read`]) shows the same.

mod build;
mod handshakes;
mod latency;
mod machine;
mod relay;
mod series;
mod server;
mod text;
mod timeline;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::plan::Plan;

pub(crate) use build::Gathered;
pub use handshakes::HandshakeReport;
pub use latency::{ByReceiver, Distribution, Latency, Quantiles};
pub use machine::Machine;
pub use relay::{
    Churn, ClientFigures, Clients, Deliveries, Disconnect, Disconnects, ErrorCount, Generator,
    Order, RelayConfig, RelayReport, Storm, Throughput, Wire,
};
pub use series::{
    Aborted, Baseline, Change, Compared, Comparison, Repeated, Repeats, Step, Summary, Walk,
};
pub use server::{Part, Server};
pub use timeline::Second;

/// Version of the report. It grows when a field changes its meaning or goes away; a new field does
/// not change it.
pub const VERSION: u32 = 1;

/// The report of either kind of run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Report {
    /// Of messages.
    Relay(Box<RelayReport>),
    /// Of `--handshakes`.
    Handshakes(Box<HandshakeReport>),
}

/// What every report begins with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Head {
    /// [`VERSION`].
    pub version: u32,
    /// Name and version of the program that ran: `loadgen 0.1.0`.
    pub program: String,
    /// `--scenario`; `broadcast` where none was named, `handshakes` with `--handshakes`.
    pub scenario: String,
    /// `--label`: what the user calls this run.
    pub label: Option<String>,
    /// When it began, RFC 3339 in UTC.
    pub started_at: String,
    /// The same in milliseconds since 1970.
    pub started_at_ms: u64,
    /// Where the generator ran.
    pub machine: Machine,
}

impl Head {
    /// Of a run of `plan` that begins now.
    pub(crate) fn of(plan: &Plan) -> Self {
        let now = OffsetDateTime::now_utc();
        let started_at_ms = now.unix_timestamp_nanos() / 1_000_000;
        Self {
            version: VERSION,
            program: concat!("loadgen ", env!("CARGO_PKG_VERSION")).to_owned(),
            scenario: plan.scenario.clone(),
            label: plan.label.clone(),
            started_at: now
                .truncate_to_second()
                .format(&Rfc3339)
                .unwrap_or_default(),
            started_at_ms: started_at_ms as u64,
            machine: Machine::of_this_process(),
        }
    }
}

impl Report {
    /// For people: lines of at most 80 columns.
    pub fn text(&self) -> String {
        match self {
            Self::Relay(report) => report.text(),
            Self::Handshakes(report) => report.text(),
        }
    }

    /// For programs: one object, with a line break at the end.
    ///
    /// # Errors
    /// None that is known: there is nothing in a report that JSON cannot say.
    pub fn json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Reads what [`Report::json`] wrote.
    ///
    /// # Errors
    /// Not such a report, or one of another version, in words.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        let report: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        match report.head().version {
            VERSION => Ok(report),
            version => Err(format!("the report's version is {version}, not {VERSION}")),
        }
    }

    /// What both kinds begin with.
    pub fn head(&self) -> &Head {
        match self {
            Self::Relay(report) => &report.head,
            Self::Handshakes(report) => &report.head,
        }
    }

    /// True where every delivery was right.
    pub fn is_right(&self) -> bool {
        match self {
            Self::Relay(report) => report.right,
            Self::Handshakes(_) => true,
        }
    }
}
