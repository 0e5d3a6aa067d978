//! Conditions on the figures of a run: `p99<5ms`, `lost>0`.

use crate::report::{Deliveries, Quantiles, RelayReport};

/// One condition of `--abort-if` or `--find-max`, which take a list separated by commas.
#[derive(Clone, Debug)]
pub struct Condition {
    text: String,
    figure: Figure,
    relation: Relation,
    /// In nanoseconds if it is a time.
    value: f64,
}

/// Picks one of a distribution's quantiles.
type QuantileOf = fn(&Quantiles) -> f64;

/// The figure that a condition tests.
#[derive(Clone, Copy, Debug)]
enum Figure {
    Latency(QuantileOf),
    Lateness(QuantileOf),
    Count(fn(&Deliveries) -> u64),
    /// Clients that saw another order than most.
    Order,
    Unsent,
    Disconnects,
    /// All faults of deliveries, including the warm-up's.
    Errors,
    DeliveriesPerSecond,
    MessagesPerSecond,
    /// Of the storm that took longest.
    Recovery,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
}

/// The quantiles of a time, by name.
const QUANTILES: [(&str, QuantileOf); 8] = [
    ("min", |times| times.min as f64),
    ("mean", |times| times.mean),
    ("p50", |times| times.p50 as f64),
    ("p90", |times| times.p90 as f64),
    ("p99", |times| times.p99 as f64),
    ("p99.9", |times| times.p99_9 as f64),
    ("p99.99", |times| times.p99_99 as f64),
    ("max", |times| times.max as f64),
];

/// The other figures, by name.
const FIGURES: [(&str, Figure); 13] = [
    ("lost", Figure::Count(|sums| sums.lost)),
    ("repeated", Figure::Count(|sums| sums.repeated)),
    ("reordered", Figure::Count(|sums| sums.reordered)),
    ("damaged", Figure::Count(|sums| sums.damaged)),
    ("misrouted", Figure::Count(|sums| sums.misrouted)),
    ("early", Figure::Count(|sums| sums.early)),
    ("order", Figure::Order),
    ("unsent", Figure::Unsent),
    ("disconnects", Figure::Disconnects),
    ("errors", Figure::Errors),
    ("deliveries/s", Figure::DeliveriesPerSecond),
    ("messages/s", Figure::MessagesPerSecond),
    ("recovery", Figure::Recovery),
];

/// Longer ones first, so that `<=` is not read as `<`.
const RELATIONS: [(&str, Relation); 5] = [
    ("<=", Relation::AtMost),
    (">=", Relation::AtLeast),
    ("<", Relation::Below),
    (">", Relation::Above),
    ("=", Relation::Equal),
];

const UNITS: [(&str, f64); 5] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
];

/// The figures that are known during a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    pub(crate) latency: Quantiles,
    pub(crate) lateness: Quantiles,
    /// Repeated, reordered, damaged, misrouted and early.
    pub(crate) faults: u64,
}

impl Condition {
    /// Parses conditions separated by commas.
    ///
    /// # Errors
    /// The first invalid condition, described for the user.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        text.split(',').map(|one| Self::parse(one.trim())).collect()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let relation = RELATIONS
            .iter()
            .filter_map(|(sign, relation)| Some((text.find(sign)?, *sign, *relation)))
            .min_by_key(|(at, sign, _)| (*at, usize::MAX - sign.len()));
        let Some((at, sign, relation)) = relation else {
            return Err(format!(
                "invalid condition `{text}`; expected for example p99<5ms"
            ));
        };
        let (name, value) = (text[..at].trim(), text[at + sign.len()..].trim());
        let figure = figure(name)?;
        let is_time = figure.is_time();
        let value = if is_time { time(value) } else { number(value) };
        Ok(Self {
            text: text.to_owned(),
            figure,
            relation,
            value: value.ok_or_else(|| match is_time {
                true => format!("`{text}` needs a time: 5ms, 300us"),
                false => format!("`{text}` needs a number"),
            })?,
        })
    }

    /// As it was typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A value of its figure, formatted for people.
    pub(crate) fn show(&self, seen: f64) -> String {
        match self.figure.is_time() {
            true if seen.is_infinite() => "not all came back".to_owned(),
            true => crate::units::time(seen),
            false => format!("{seen:.0}"),
        }
    }

    /// Whether it applies only to runs with storms.
    pub(crate) fn is_of_storms(&self) -> bool {
        matches!(self.figure, Figure::Recovery)
    }

    /// Whether it holds for a whole run, and the value that was tested.
    pub(crate) fn check(&self, report: &RelayReport) -> (bool, f64) {
        let seen = match self.figure {
            Figure::Latency(of) => of(&report.latency_ns),
            Figure::Lateness(of) => of(&report.lateness_ns.quantiles),
            Figure::Count(of) => of(&report.measured) as f64,
            Figure::Order => report.order.differing as f64,
            Figure::Unsent => report.unsent as f64,
            Figure::Disconnects => report.disconnects.reading as f64,
            Figure::Errors => report.wrong_deliveries() as f64,
            Figure::DeliveriesPerSecond => report.throughput.deliveries_per_second,
            Figure::MessagesPerSecond => report.throughput.messages_per_second,
            Figure::Recovery => report.recovery_ns().unwrap_or(0.0),
        };
        (self.relation.holds(seen, self.value), seen)
    }

    /// The observed value if the condition already holds during a run. A figure that is known only
    /// at the end never holds here.
    pub(crate) fn holds_while(&self, running: &Running) -> Option<f64> {
        let seen = match self.figure {
            Figure::Latency(of) if running.latency.count > 0 => of(&running.latency),
            Figure::Lateness(of) if running.lateness.count > 0 => of(&running.lateness),
            Figure::Errors => running.faults as f64,
            _ => return None,
        };
        self.relation.holds(seen, self.value).then_some(seen)
    }
}

impl Figure {
    fn is_time(self) -> bool {
        matches!(self, Self::Latency(_) | Self::Lateness(_) | Self::Recovery)
    }
}

impl Relation {
    fn holds(self, seen: f64, value: f64) -> bool {
        match self {
            Self::Below => seen < value,
            Self::AtMost => seen <= value,
            Self::Above => seen > value,
            Self::AtLeast => seen >= value,
            Self::Equal => seen == value,
        }
    }
}

fn figure(name: &str) -> Result<Figure, String> {
    if let Some((_, figure)) = FIGURES.iter().find(|known| known.0 == name) {
        return Ok(*figure);
    }
    let late = name.strip_prefix("late-");
    let quantile = QUANTILES
        .iter()
        .find(|known| known.0 == late.unwrap_or(name));
    match (quantile, late) {
        (Some((_, of)), Some(_)) => Ok(Figure::Lateness(*of)),
        (Some((_, of)), None) => Ok(Figure::Latency(*of)),
        (None, _) => {
            let times = QUANTILES.iter().map(|known| known.0);
            let names: Vec<_> = times.chain(FIGURES.iter().map(|known| known.0)).collect();
            Err(format!(
                "unknown figure `{name}`; known are {} and, for the lateness, late-p99 and so on",
                names.join(", ")
            ))
        }
    }
}

fn time(text: &str) -> Option<f64> {
    let from = text.find(|c: char| c.is_alphabetic())?;
    let (value, unit) = text.split_at(from);
    let (_, scale) = UNITS.iter().find(|known| known.0 == unit)?;
    number(value).map(|value| value * scale)
}

fn number(text: &str) -> Option<f64> {
    let value: f64 = text.trim().parse().ok()?;
    (value.is_finite() && value >= 0.0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(p99: u64, faults: u64) -> Running {
        Running {
            latency: Quantiles {
                count: 10,
                p99,
                ..Quantiles::default()
            },
            lateness: Quantiles::default(),
            faults,
        }
    }

    #[test]
    fn conditions_parse_with_units_and_compare_correctly() {
        let all = Condition::parse_all("p99>5ms, errors>=2,late-p50<=10us,lost>0").expect("four");
        let holds = |running: Running| {
            all.iter()
                .map(|one| one.holds_while(&running).is_some())
                .collect::<Vec<_>>()
        };
        // Lateness has no values yet, and losses are known only at the end.
        assert_eq!(holds(running(5_000_000, 1)), [false, false, false, false]);
        assert_eq!(holds(running(5_000_001, 2)), [true, true, false, false]);
        assert_eq!(all[0].text(), "p99>5ms");
    }

    #[test]
    fn an_unknown_condition_is_refused_with_the_known_ones() {
        for bad in [
            "",
            "p99",
            "p99<5",
            "p99<-1ms",
            "lost>many",
            "p98<1ms",
            "p99<5 parsecs",
        ] {
            assert!(Condition::parse_all(bad).is_err(), "{bad}");
        }
        let told = Condition::parse_all("speed>1").unwrap_err();
        assert!(
            told.contains("p99.9") && told.contains("deliveries/s"),
            "{told}"
        );
    }
}
