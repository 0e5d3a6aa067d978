//! Comparisons of runs: a run with an earlier one, two servers in pairs of runs.

use super::{
    Baseline, Change, Compared, Comparison, Head, Pair, PairsReport, RelayReport, Side, Summary,
    Tally,
};
use crate::stats::{Judged, Metric, RUNS_MIN, Verdict, median, of_pairs, of_samples};

/// In one run this is the worst of some ten thousand deliveries, so it is chance.
const TOO_RARE: &str = "latency max";

/// A figure that both sides have in every run.
struct Figure {
    name: &'static str,
    unit: &'static str,
    metric: Metric,
}

impl Figure {
    /// The figures by which two sides can be compared. In a closed loop latency is the window's own
    /// queue, so throughput decides.
    fn all(a: &[Summary], b: &[Summary]) -> Vec<Self> {
        let is_closed = a.iter().chain(b).any(|run| run.rate.is_none());
        let names = a.first().map_or_else(Vec::new, Summary::figures);
        names
            .into_iter()
            .filter(|(name, ..)| *name != TOO_RARE && !(is_closed && name.starts_with("latency")))
            .filter_map(|(name, unit, lower_is_better, _)| {
                Some(Self {
                    name,
                    unit,
                    metric: Metric {
                        a: values(a, name)?,
                        b: values(b, name)?,
                        lower_is_better,
                    },
                })
            })
            .collect()
    }

    fn compared(&self, judged: Option<&Judged>) -> Compared {
        let (before, after) = (median(&self.metric.a), median(&self.metric.b));
        Compared {
            name: self.name.to_owned(),
            unit: self.unit.to_owned(),
            lower_is_better: self.metric.lower_is_better,
            before,
            after,
            ratio: Some(judged.map_or(after / before, |one| one.shift.ratio)),
            interval: judged.map(|one| [one.shift.low, one.shift.high]),
            change: judged.map_or(Change::Undecided, |one| one.verdict.into()),
        }
    }
}

/// The figure of each run; `None` if a run lacks it or has no values for it.
fn values(runs: &[Summary], name: &str) -> Option<Vec<f64>> {
    let value = |run: &Summary| {
        let figures = run.figures();
        let value = figures.iter().find(|figure| figure.0 == name)?.3;
        (value.is_finite() && value > 0.0).then_some(value)
    };
    runs.iter().map(value).collect()
}

impl From<Verdict> for Change {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Better => Self::Better,
            Verdict::Same => Self::Same,
            Verdict::Worse => Self::Worse,
            Verdict::Undecided => Self::Undecided,
        }
    }
}

/// Of all figures together.
fn overall(figures: &[Compared]) -> Change {
    let any = |change| figures.iter().any(|figure| figure.change == change);
    match any(Change::Undecided) || figures.is_empty() {
        _ if any(Change::Worse) => Change::Worse,
        _ if any(Change::Better) => Change::Better,
        true => Change::Undecided,
        false => Change::Same,
    }
}

/// Withdraws every verdict that the caveats invalidate.
fn doubt(figures: &mut [Compared], caveats: &[String]) {
    if !caveats.is_empty() {
        for figure in figures {
            figure.change = Change::Undecided;
        }
    }
}

impl Comparison {
    /// Compares `now` with `then`, by the repeats of both. A figure is the same if it moved by no
    /// more than `tolerance` (0.1 is 10 %).
    pub(crate) fn of(then: &RelayReport, now: &RelayReport, tolerance: f64) -> Self {
        let (before, after) = (runs(then), runs(now));
        let caveats = caveats((then, &before), (now, &after));
        let figures = Figure::all(&before, &after);
        let metrics: Vec<_> = figures.iter().map(|figure| figure.metric.clone()).collect();
        let judged = match before.len().min(after.len()) < RUNS_MIN {
            true => Vec::new(),
            false => of_samples(&metrics, tolerance),
        };
        let compared = figures.iter().enumerate();
        let mut figures: Vec<_> = compared
            .map(|(at, figure)| figure.compared(judged.get(at)))
            .collect();
        doubt(&mut figures, &caveats);
        let wrong = |report: &RelayReport| report.wrong_deliveries() as f64;
        figures.push(wrong_deliveries(wrong(then), wrong(now)));
        Self {
            baseline: Baseline {
                label: then.head.label.clone(),
                started_at: then.head.started_at.clone(),
                program: then.head.program.clone(),
            },
            verdict: match caveats.is_empty() {
                true => overall(&figures),
                false => Change::Undecided,
            },
            caveats,
            figures,
        }
    }
}

/// Faults are not noise: one more is worse.
fn wrong_deliveries(before: f64, after: f64) -> Compared {
    Compared {
        name: "wrong deliveries".to_owned(),
        unit: "deliveries".to_owned(),
        lower_is_better: true,
        before,
        after,
        ratio: (before > 0.0).then(|| after / before),
        interval: None,
        change: match after.total_cmp(&before) {
            std::cmp::Ordering::Less => Change::Better,
            std::cmp::Ordering::Equal => Change::Same,
            std::cmp::Ordering::Greater => Change::Worse,
        },
    }
}

/// All runs of a report, in short.
fn runs(report: &RelayReport) -> Vec<Summary> {
    match &report.repeats {
        Some(repeats) if !repeats.runs.is_empty() => repeats.runs.clone(),
        _ => vec![Summary::of(report)],
    }
}

/// Reasons why two runs cannot be compared.
fn caveats(then: (&RelayReport, &[Summary]), now: (&RelayReport, &[Summary])) -> Vec<String> {
    let mut caveats = Vec::new();
    if then.0.head.machine != now.0.head.machine {
        caveats.push("the machines differ".to_owned());
    }
    if then.0.config.load() != now.0.config.load() {
        caveats.push("the loads differ".to_owned());
    }
    if then.0.generator.is_realtime != now.0.generator.is_realtime {
        caveats.push("one generator had real-time scheduling".to_owned());
    }
    for ((report, runs), name) in [(then, "the earlier run"), (now, "this run")] {
        if !report.valid || runs.iter().any(|run| !run.valid) {
            caveats.push(format!("the generator was the bottleneck of {name}"));
        }
        if report.interrupted || report.aborted.is_some() {
            caveats.push(format!("{name} ended early"));
        }
        let count = runs.len();
        if count < RUNS_MIN {
            let text = format!("{name} has {count} of the {RUNS_MIN} repeats that are needed");
            caveats.push(format!("{text}: --repeat 5, or loadgen ab"));
        }
    }
    caveats
}

impl PairsReport {
    /// For pairs that ran in the order that was drawn for them.
    pub(crate) fn of(
        head: Head,
        urls: [&str; 2],
        pairs: Vec<Pair>,
        tolerance: f64,
        tally: Tally,
    ) -> Self {
        let mut caveats = tally.caveats;
        let side = |of: fn(&Pair) -> &Summary| pairs.iter().map(of).cloned().collect::<Vec<_>>();
        let (a, b) = (side(|pair| &pair.a), side(|pair| &pair.b));
        if caveats.is_empty() && pairs.len() < RUNS_MIN {
            caveats.push(format!(
                "{} of the {RUNS_MIN} pairs that are needed",
                pairs.len()
            ));
        }
        let order: Vec<bool> = pairs.iter().map(|pair| pair.first == Side::B).collect();
        let figures = Figure::all(&a, &b);
        let metrics: Vec<_> = figures.iter().map(|figure| figure.metric.clone()).collect();
        let judged = match pairs.len() < RUNS_MIN {
            true => Vec::new(),
            false => of_pairs(&metrics, &order, tolerance),
        };
        let compared = figures.iter().enumerate();
        let mut figures: Vec<_> = compared
            .map(|(at, figure)| figure.compared(judged.get(at)))
            .collect();
        doubt(&mut figures, &caveats);
        Self {
            kind: Self::KIND.to_owned(),
            head,
            a: urls[0].to_owned(),
            b: urls[1].to_owned(),
            tolerance,
            right: !tally.is_wrong,
            verdict: overall(&figures),
            pairs,
            run_again: tally.run_again,
            wrong_deliveries: tally.wrong_deliveries,
            aborted: tally.aborted,
            gone: tally.gone,
            caveats,
            figures,
        }
    }
}
