//! Quantiles of the latency that the generator itself made larger.

use serde::{Deserialize, Serialize};

use super::Quantiles;

/// A quantile is marked if the generator's own share exceeds this.
const OWN_SHARE_MAX: f64 = 0.1;

/// Picks one of a distribution's quantiles.
type QuantileOf = fn(&Quantiles) -> u64;

/// The quantiles that are judged, by name.
const JUDGED: [(&str, QuantileOf); 6] = [
    ("p50", |times| times.p50),
    ("p90", |times| times.p90),
    ("p99", |times| times.p99),
    ("p99.9", |times| times.p99_9),
    ("p99.99", |times| times.p99_99),
    ("max", |times| times.max),
];
/// A run is not valid if one of these is marked.
const DECISIVE: [&str; 2] = ["p50", "p99"];

/// A quantile of the latency of which more than a tenth is the generator's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// `p50`, `p90`, `p99`, `p99.9`, `p99.99` or `max`.
    pub quantile: String,
    /// How the generator made it larger.
    pub cause: MarkCause,
    /// The generator's part of the quantile, from 0 to 1.
    pub share: f64,
}

/// How the generator made latencies longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkCause {
    /// It sent messages late: the quantile is smaller by this share if messages count from when
    /// they were sent. Messages that waited for the relay count from when they were due.
    Lateness,
    /// It handled data late: the quantile is smaller by this share without the receive lag.
    ReceiveLag,
}

impl Mark {
    /// Whether it makes the whole run invalid.
    pub fn is_decisive(&self) -> bool {
        DECISIVE.contains(&self.quantile.as_str())
    }
}

impl Mark {
    /// Compares latencies with the same as if messages were sent in time, and with the same without
    /// the receive lag, if that is known.
    pub(crate) fn all_of(
        latency: &Quantiles,
        in_time: &Quantiles,
        arrived: &Quantiles,
    ) -> Vec<Self> {
        let arrived = if arrived.count > 0 { arrived } else { latency };
        let mut marks = Vec::new();
        for (name, of) in JUDGED {
            let all_ns = of(latency);
            for (cause, without) in [
                (MarkCause::Lateness, in_time),
                (MarkCause::ReceiveLag, arrived),
            ] {
                let own_ns = all_ns.saturating_sub(of(without));
                let share = own_ns as f64 / all_ns.max(1) as f64;
                if share > OWN_SHARE_MAX {
                    marks.push(Self {
                        quantile: name.to_owned(),
                        cause,
                        share: share.min(1.0),
                    });
                }
            }
        }
        marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantiles(p50: u64, p90: u64, p99: u64, max: u64) -> Quantiles {
        Quantiles {
            count: 1000,
            p50,
            p90,
            p99,
            p99_9: max,
            p99_99: max,
            max,
            ..Quantiles::default()
        }
    }

    fn told(marks: &[Mark]) -> Vec<(&str, MarkCause, u32)> {
        let percent = |mark: &Mark| (mark.share * 100.0).round() as u32;
        let each = marks.iter();
        each.map(|mark| (mark.quantile.as_str(), mark.cause, percent(mark)))
            .collect()
    }

    #[test]
    fn quantiles_are_marked_separately_for_lateness_and_lag() {
        let latency = quantiles(200, 400, 1000, 9000);
        let none = Quantiles::default();
        assert_eq!(Mark::all_of(&latency, &latency, &none), []);
        // A tenth is allowed.
        let least = quantiles(180, 360, 900, 8100);
        assert_eq!(Mark::all_of(&latency, &least, &least), []);
        let (in_time, arrived) = (
            quantiles(150, 300, 900, 8100),
            quantiles(150, 360, 900, 8100),
        );
        let marks = Mark::all_of(&latency, &in_time, &arrived);
        let expected = [
            ("p50", MarkCause::Lateness, 25),
            ("p50", MarkCause::ReceiveLag, 25),
            ("p90", MarkCause::Lateness, 25),
        ];
        assert_eq!(told(&marks), expected);
        let decisive: Vec<_> = marks.iter().map(Mark::is_decisive).collect();
        assert_eq!(decisive, [true, true, false]);
    }

    #[test]
    fn without_measurements_nothing_is_marked() {
        let none = Quantiles::default();
        assert_eq!(Mark::all_of(&none, &none, &none), []);
    }
}
