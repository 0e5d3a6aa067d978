//! What a run found, as figures and as a verdict.
//!
//! The structs are the JSON report: their fields are described in `loadgen/README.md`, and their
//! version is [`SCHEMA`]. The module `text` renders the same figures for people.

mod handshakes;
mod relay;
mod text;

use hdrhistogram::Histogram;
use serde::Serialize;

pub use handshakes::HandshakeReport;
pub use relay::{
    Deliveries, Disconnect, Disconnects, Generator, Order, RelayConfig, RelayReport, Throughput,
    Wire,
};

/// Version of the JSON report. It grows when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// The report of either kind of run.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Report {
    /// Of messages.
    Relay(Box<RelayReport>),
    /// Of `--handshakes`.
    Handshakes(Box<HandshakeReport>),
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

    /// True where every delivery was right.
    pub fn is_right(&self) -> bool {
        match self {
            Self::Relay(report) => report.right,
            Self::Handshakes(_) => true,
        }
    }
}

/// A distribution of times.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Quantiles {
    /// Values.
    pub count: u64,
    /// Smallest.
    pub min: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p99_9: u64,
    /// 99.99 %.
    pub p99_99: u64,
    /// Largest.
    pub max: u64,
}

impl Quantiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            count: histogram.len(),
            min: histogram.min(),
            mean: histogram.mean(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p99_9: histogram.value_at_quantile(0.999),
            p99_99: histogram.value_at_quantile(0.9999),
            max: histogram.max(),
        }
    }
}
