//! A walk over rates: which one is next, and where the knee is. Runs nothing itself.

use crate::condition::Condition;
use crate::plan::Rates;
use crate::report::{RelayReport, Step, Summary, Walk};

/// Steps of a search, at most.
const STEPS_MAX: usize = 60;
/// A rate has failed when it failed so many times in a row: a machine hiccups.
const TRIES: u32 = 3;
/// A search ends when the lowest rate that failed is so near to the highest that met the target.
const NEAR: f64 = 1.05;
/// It does not go below this, in messages a second.
const RATE_MIN: f64 = 1.0;

/// A walk under way.
pub(crate) struct Search {
    rates: Rates,
    steps: Vec<Step>,
    /// The highest rate that met the target below all that failed.
    met: Option<f64>,
    /// The lowest rate that failed.
    failed: Option<f64>,
    /// A rate that is tried again before its failing counts, and how many times it failed.
    again: Option<(f64, u32)>,
    /// The report to give back in the end.
    best: Option<RelayReport>,
}

impl Search {
    pub(crate) fn new(rates: Rates) -> Self {
        Self {
            rates,
            steps: Vec::new(),
            met: None,
            failed: None,
            again: None,
            best: None,
        }
    }

    /// How many steps there are; `None` where that depends.
    pub(crate) fn count(&self) -> Option<u32> {
        match self.rates.listed.len() {
            0 => None,
            count => Some(count as u32),
        }
    }

    /// The rate of the next step; `None` at the end.
    pub(crate) fn next(&self) -> Option<f64> {
        if !self.rates.listed.is_empty() {
            return self.rates.listed.get(self.steps.len()).copied();
        }
        if self.steps.len() == STEPS_MAX {
            return None;
        }
        match (self.met, self.failed) {
            _ if self.again.is_some() => self.again.map(|(rate, _)| rate),
            (None, None) => Some(self.rates.first),
            (Some(met), None) => Some(met * 2.0),
            (None, Some(failed)) => Some(failed / 2.0).filter(|rate| *rate >= RATE_MIN),
            (Some(met), Some(failed)) if failed / met > NEAR => Some((met * failed).sqrt()),
            (Some(_), Some(_)) => None,
        }
    }

    /// A step is over.
    pub(crate) fn took(&mut self, report: RelayReport) {
        let summary = Summary::of(&report);
        let rate = summary.rate.unwrap_or(0.0);
        let reasons = self.reasons(&report);
        let met = reasons.is_empty();
        self.steps.push(Step {
            summary,
            met,
            reasons,
        });
        if self.judge(rate, met) || self.best.is_none() {
            self.best = Some(report);
        }
    }

    /// Takes note of how a step went. True where it is the best so far.
    fn judge(&mut self, rate: f64, met: bool) -> bool {
        let failures = self.again.take().map_or(0, |(_, failures)| failures) + u32::from(!met);
        if met {
            let is_best = self.failed.is_none_or(|failed| rate < failed)
                && self.met.is_none_or(|met| rate > met);
            self.met = if is_best { Some(rate) } else { self.met };
            return is_best;
        }
        if failures < TRIES && self.rates.listed.is_empty() {
            self.again = Some((rate, failures));
        } else {
            self.failed = Some(self.failed.map_or(rate, |failed| failed.min(rate)));
            // A higher rate that met its target by luck is no knee.
            self.met = self.met.filter(|met| *met < rate);
        }
        false
    }

    /// Why a step did not meet the target.
    fn reasons(&self, report: &RelayReport) -> Vec<String> {
        let mut reasons = Vec::new();
        for condition in &self.rates.target {
            let (holds, seen) = condition.check(report);
            if !holds {
                reasons.push(format!("{}: {}", condition.text(), condition.show(seen)));
            }
        }
        if !report.right {
            reasons.push("deliveries were wrong".to_owned());
        }
        // A generator that is late makes the latency longer and never shorter: a target that was
        // met all the same was met.
        let is_met_anyway =
            reasons.is_empty() && report.unsent == 0 && !self.rates.target.is_empty();
        if !report.valid && !is_met_anyway {
            let why = report.invalid_reasons.join(", ");
            reasons.push(format!("the generator was the bottleneck: {why}"));
        }
        if report.interrupted {
            reasons.push("interrupted".to_owned());
        }
        reasons
    }

    /// The report of the best step, with all steps in it.
    pub(crate) fn finish(self) -> Option<RelayReport> {
        let target: Vec<_> = self.rates.target.iter().map(Condition::text).collect();
        let mut report = self.best?;
        report.walk = Some(Walk {
            target: (!target.is_empty()).then(|| target.join(",")),
            steps: self.steps,
            knee: self.met,
        });
        Some(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(first: f64) -> Search {
        Search::new(Rates {
            listed: Vec::new(),
            first,
            target: Vec::new(),
        })
    }

    #[test]
    fn the_knee_is_found_where_every_third_step_fails_for_no_reason() {
        for (first, knee) in [(50.0, 3000.0), (64_000.0, 3000.0), (1000.0, 1010.0)] {
            let mut search = search(first);
            let mut steps = 0;
            while let Some(rate) = search.next() {
                steps += 1;
                assert!(steps <= STEPS_MAX);
                search.judge(rate, rate <= knee && steps % 3 != 0);
            }
            let found = search.met.expect("a rate that met the target");
            assert!(found <= knee && found * NEAR > knee, "{found} for {knee}");
        }
    }

    #[test]
    fn a_search_ends_where_nothing_meets_the_target() {
        let mut search = search(8.0);
        let mut rates = Vec::new();
        while let Some(rate) = search.next() {
            rates.push(rate);
            search.judge(rate, false);
        }
        let of_each = TRIES as usize;
        assert_eq!(rates.len(), 4 * of_each);
        assert_eq!((rates[0], rates[3 * of_each]), (8.0, 1.0));
        assert_eq!(search.met, None);
    }
}
