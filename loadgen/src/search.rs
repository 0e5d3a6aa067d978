//! A walk over rates: chooses the next rate, and finds the knee. It runs nothing itself.
//!
//! A search has two parts. The first part finds the region of the knee with few runs, so it is
//! easily misled, usually upward: of many rates tried near the knee, the highest that was lucky
//! stands out. The second part therefore takes fresh runs at that rate, and goes down until one
//! rate met the target in each of them. Only such a rate is reported as the knee.

use crate::condition::Condition;
use crate::plan::Rates;
use crate::report::{Bound, RelayReport, Step, Summary, Walk};

/// The most steps before the confirmation.
const STEPS_MAX: usize = 100;
/// A rate has failed after this many failures: one may be an outlier of the machine.
const FAILURES: u32 = 2;
/// Below a rate that failed, a rate must meet the target this many times.
const SUCCESSES: u32 = 2;
/// A search ends when the lowest rate that failed is within this factor of the highest that met the
/// target.
const NEAR: f64 = 1.05;
/// Fresh runs that must all meet the target to confirm a rate. A rate at which four runs of five do
/// passes them in one case of six.
const CONFIRMATIONS: u32 = 8;
/// Factor from a rate that was not confirmed down to the next candidate.
const DOWN: f64 = 1.1;
/// The most rates that are tried for confirmation, one after the other.
const CANDIDATES_MAX: u32 = 20;
/// Bounds of the search, in messages a second.
const RATE_MIN: f64 = 1.0;
const RATE_MAX: f64 = 1e8;

/// A walk in progress.
pub(crate) struct Search {
    rates: Rates,
    steps: Vec<Step>,
    /// The highest rate that met the target below all that failed.
    met: Option<f64>,
    /// The lowest rate that failed.
    failed: Option<f64>,
    /// Why that rate missed the target.
    bound: Bound,
    tries: Tries,
    part: Part,
    /// The report to return in the end.
    best: Option<RelayReport>,
}

/// The part that a walk is in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    /// Narrowing the knee down, or walking over the listed rates.
    Narrowing,
    /// Confirming this rate, the `nth` candidate; `met` of its runs met the target so far.
    Confirming { rate: f64, met: u32, nth: u32 },
    /// This rate was confirmed, or none.
    Confirmed(Option<f64>),
}

/// The tries so far at the current rate.
#[derive(Clone, Copy, Debug, Default)]
struct Tries {
    rate: Option<f64>,
    met: u32,
    missed: u32,
    /// Of these: because the generator was the bottleneck.
    held_back: u32,
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Met,
    Missed,
    /// Missed the target, and the generator was the bottleneck.
    HeldBack,
}

impl Tries {
    fn add(&mut self, rate: f64, outcome: Outcome) {
        if self.rate != Some(rate) {
            *self = Self {
                rate: Some(rate),
                ..Self::default()
            };
        }
        self.met += u32::from(outcome == Outcome::Met);
        self.missed += u32::from(outcome != Outcome::Met);
        self.held_back += u32::from(outcome == Outcome::HeldBack);
    }

    /// Why the rate failed. The relay's own failures count, even if the generator was a bottleneck
    /// too.
    fn bound(&self) -> Bound {
        match self.held_back == self.missed {
            true => Bound::Generator,
            false => Bound::Target,
        }
    }
}

impl Search {
    pub(crate) fn new(rates: Rates) -> Self {
        Self {
            rates,
            steps: Vec::new(),
            met: None,
            failed: None,
            bound: Bound::Target,
            tries: Tries::default(),
            part: Part::Narrowing,
            best: None,
        }
    }

    /// The number of steps; `None` if it depends on their results.
    pub(crate) fn count(&self) -> Option<u32> {
        match self.rates.listed.len() {
            0 => None,
            _ if self.confirms() => None,
            count => Some(count as u32),
        }
    }

    /// A list of rates without a target has no knee to confirm.
    fn confirms(&self) -> bool {
        self.rates.listed.is_empty() || !self.rates.target.is_empty()
    }

    /// The rate of the next step; `None` at the end.
    pub(crate) fn next(&self) -> Option<f64> {
        match self.part {
            Part::Narrowing => self.narrowing(),
            Part::Confirming { rate, .. } => Some(rate),
            Part::Confirmed(_) => None,
        }
    }

    fn narrowing(&self) -> Option<f64> {
        if !self.rates.listed.is_empty() {
            return self.rates.listed.get(self.steps.len()).copied();
        }
        if self.steps.len() >= STEPS_MAX {
            return None;
        }
        match (self.met, self.failed) {
            _ if self.tries.rate.is_some() => self.tries.rate,
            (None, None) => Some(self.rates.first),
            (Some(met), None) => Some(met * 2.0).filter(|rate| *rate <= RATE_MAX),
            (None, Some(failed)) => Some(failed / 2.0).filter(|rate| *rate >= RATE_MIN),
            (Some(met), Some(failed)) if failed / met > NEAR => Some((met * failed).sqrt()),
            (Some(_), Some(_)) => None,
        }
    }

    /// Records the report of a finished step.
    pub(crate) fn took(&mut self, report: RelayReport) {
        let summary = Summary::of(&report);
        let rate = summary.rate.unwrap_or(0.0);
        let reasons = self.reasons(&report);
        let outcome = match reasons.is_empty() {
            true => Outcome::Met,
            false if report.valid || !report.right || report.interrupted => Outcome::Missed,
            false => Outcome::HeldBack,
        };
        self.steps.push(Step {
            summary,
            met: outcome == Outcome::Met,
            reasons,
            confirms: self.part != Part::Narrowing,
        });
        if self.judge(rate, outcome) || self.best.is_none() {
            self.best = Some(report);
        }
    }

    /// Records the result of a step. True if it is the best so far.
    fn judge(&mut self, rate: f64, outcome: Outcome) -> bool {
        match self.part {
            Part::Narrowing => {
                let is_best = self.narrow(rate, outcome);
                if self.narrowing().is_none() && self.confirms() {
                    self.part = self.candidate(self.met, 1);
                }
                is_best
            }
            Part::Confirming { rate, met, nth } => {
                self.confirm(rate, met, nth, outcome);
                outcome == Outcome::Met
            }
            Part::Confirmed(_) => false,
        }
    }

    fn narrow(&mut self, rate: f64, outcome: Outcome) -> bool {
        let is_listed = !self.rates.listed.is_empty();
        self.tries.add(rate, outcome);
        let tries = self.tries;
        // On the way up, the next rates expose one that was lucky.
        let successes = match self.failed {
            Some(_) if !is_listed => SUCCESSES,
            _ => 1,
        };
        let failures = if is_listed { 1 } else { FAILURES };
        if tries.met < successes && tries.missed < failures {
            return false;
        }
        self.tries = Tries::default();
        if tries.met >= successes {
            let is_best = self.failed.is_none_or(|failed| rate < failed)
                && self.met.is_none_or(|met| rate > met);
            self.met = if is_best { Some(rate) } else { self.met };
            return is_best;
        }
        self.fail(rate, tries.bound());
        // A higher rate that met its target by luck is not a knee.
        self.met = self.met.filter(|met| *met < rate);
        false
    }

    fn fail(&mut self, rate: f64, bound: Bound) {
        if self.failed.is_none_or(|failed| rate <= failed) {
            self.failed = Some(rate);
            self.bound = bound;
        }
    }

    fn confirm(&mut self, rate: f64, met: u32, nth: u32, outcome: Outcome) {
        if outcome == Outcome::Met {
            let met = met + 1;
            self.part = match met == CONFIRMATIONS {
                true => Part::Confirmed(Some(rate)),
                false => Part::Confirming { rate, met, nth },
            };
            return;
        }
        self.fail(
            rate,
            match outcome {
                Outcome::HeldBack => Bound::Generator,
                _ => Bound::Target,
            },
        );
        self.part = self.candidate(self.lower(rate), nth + 1);
    }

    /// The next candidate if this rate was not confirmed.
    fn lower(&self, rate: f64) -> Option<f64> {
        if self.rates.listed.is_empty() {
            return Some(rate / DOWN).filter(|rate| *rate >= RATE_MIN);
        }
        let lower = self.rates.listed.iter().copied();
        lower.filter(|one| *one < rate).reduce(f64::max)
    }

    fn candidate(&self, rate: Option<f64>, nth: u32) -> Part {
        match rate.filter(|_| nth <= CANDIDATES_MAX) {
            Some(rate) => Part::Confirming { rate, met: 0, nth },
            None => Part::Confirmed(None),
        }
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
        // A late generator makes the latency longer and never shorter: a target that was met in
        // spite of it was met.
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
        let (knee, bound) = (self.knee(), self.bound());
        let target: Vec<_> = self.rates.target.iter().map(Condition::text).collect();
        let is_confirmed = matches!(self.part, Part::Confirmed(Some(_)));
        let mut report = self.best?;
        report.walk = Some(Walk {
            target: (!target.is_empty()).then(|| target.join(",")),
            steps: self.steps,
            knee,
            confirmed_by: if is_confirmed { CONFIRMATIONS } else { 0 },
            bound,
        });
        Some(report)
    }

    fn knee(&self) -> Option<f64> {
        match self.part {
            Part::Confirmed(rate) => rate,
            Part::Narrowing if !self.confirms() => self.met,
            Part::Narrowing | Part::Confirming { .. } => None,
        }
    }

    fn bound(&self) -> Bound {
        match (self.next(), self.failed) {
            (Some(_), _) => Bound::Unfinished,
            (None, None) => Bound::HighestTried,
            (None, Some(_)) => self.bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution, StandardUniform};
    use rand_pcg::Pcg64Mcg;

    use super::*;

    fn search(first: f64, listed: &[f64]) -> Search {
        Search::new(Rates {
            listed: listed.to_vec(),
            first,
            target: match listed {
                [] => Vec::new(),
                _ => Condition::parse_all("p99<5ms").expect("a condition"),
            },
        })
    }

    fn outcome(is_met: bool) -> Outcome {
        if is_met {
            Outcome::Met
        } else {
            Outcome::Missed
        }
    }

    /// Runs to the end; returns the knee and the number of steps.
    fn walk(search: &mut Search, mut run: impl FnMut(f64) -> Outcome) -> (Option<f64>, usize) {
        let mut count = 0;
        while let Some(rate) = search.next() {
            count += 1;
            assert!(count <= STEPS_MAX + (CANDIDATES_MAX * CONFIRMATIONS) as usize);
            // Bounds a search by its own length.
            search.steps.push(Step::default());
            search.judge(rate, run(rate));
        }
        (search.knee(), count)
    }

    #[test]
    fn a_sharp_knee_is_found_despite_random_failures() {
        for (first, knee) in [(50.0, 3000.0), (64_000.0, 3000.0), (1000.0, 1010.0)] {
            let mut search = search(first, &[]);
            let mut count = 0;
            let (found, _) = walk(&mut search, |rate| {
                count += 1;
                outcome(rate <= knee && count % 20 != 0)
            });
            let found = found.expect("a rate that met the target");
            assert!(
                found <= knee && found * NEAR * DOWN > knee,
                "{found} for {knee}"
            );
            assert_eq!(search.bound(), Bound::Target);
        }
    }

    #[test]
    fn a_search_ends_if_no_rate_meets_the_target() {
        let mut search = search(8.0, &[]);
        let mut rates = Vec::new();
        let (knee, count) = walk(&mut search, |rate| {
            rates.push(rate);
            Outcome::Missed
        });
        let of_each = FAILURES as usize;
        assert_eq!((knee, count), (None, 4 * of_each));
        assert_eq!((rates[0], rates[3 * of_each]), (8.0, 1.0));
        assert_eq!(search.bound(), Bound::Target);
    }

    /// The share of runs that meet the target: 95 % at 7,449 messages a second, half at 10,000.
    fn chance(rate: f64) -> f64 {
        1.0 / (1.0 + (rate / 10_000.0).powi(10))
    }

    #[test]
    fn the_reported_knee_meets_the_target_in_four_of_five_runs() {
        let mut random = Pcg64Mcg::new(0x5eed_0f5e_a2c4_0000_0000_0000_0000_0001);
        let mut run = |rate: f64| {
            let drawn: f64 = StandardUniform.sample(&mut random);
            outcome(drawn < chance(rate))
        };
        let (mut fresh, mut named, mut steps, mut kept) = (0, Vec::new(), 0, 0);
        const SEARCHES: usize = 1000;
        const FRESH: usize = 10;
        for nth in 0..SEARCHES {
            let first = [100.0, 1000.0, 3000.0, 50_000.0][nth % 4];
            let (knee, count) = walk(&mut search(first, &[]), &mut run);
            let Some(knee) = knee else { continue };
            fresh += (0..FRESH).filter(|_| run(knee) == Outcome::Met).count();
            kept += usize::from(chance(knee) >= 0.8);
            named.push(knee);
            steps += count;
        }
        named.sort_by(f64::total_cmp);
        let passed = fresh as f64 / (named.len() * FRESH) as f64;
        let kept = kept as f64 / named.len() as f64;
        let (median, steps) = (named[named.len() / 2], steps as f64 / named.len() as f64);
        println!("knee {median:.0}, {passed:.3} of fresh runs, {kept:.3} at 0.8, {steps:.1} runs");
        assert!(named.len() > SEARCHES * 99 / 100);
        assert!(passed >= 0.85, "{passed}");
        assert!(kept >= 0.85, "{kept}");
        assert!((7000.0..8500.0).contains(&median), "{median}");
    }

    #[test]
    fn a_relay_that_fails_now_and_then_at_every_rate_has_no_knee() {
        let mut count = 0;
        let (knee, _) = walk(&mut search(1000.0, &[]), |rate| {
            count += 1;
            outcome(rate < 5000.0 && count % 5 != 0)
        });
        assert_eq!(knee, None);
    }

    #[test]
    fn without_failures_the_highest_rate_is_a_lower_bound() {
        let listed = [100.0, 200.0, 400.0];
        let mut all = search(100.0, &listed);
        let (knee, count) = walk(&mut all, |_| Outcome::Met);
        assert_eq!((knee, all.bound()), (Some(400.0), Bound::HighestTried));
        assert_eq!(count, listed.len() + CONFIRMATIONS as usize);
        // The highest one was lucky once.
        let mut tries = 0;
        let mut lucky = search(100.0, &listed);
        let (knee, _) = walk(&mut lucky, |rate| {
            tries += u32::from(rate > 300.0);
            outcome(rate < 300.0 || tries == 1)
        });
        assert_eq!((knee, lucky.bound()), (Some(200.0), Bound::Target));
    }

    #[test]
    fn a_generator_that_was_the_bottleneck_is_named_as_the_bound() {
        let above = |is_mixed: bool| {
            let mut count = 0;
            let mut search = search(100.0, &[]);
            let (knee, _) = walk(&mut search, |rate| {
                count += 1;
                match rate > 3000.0 {
                    true if is_mixed && count % 2 == 0 => Outcome::Missed,
                    true => Outcome::HeldBack,
                    false => Outcome::Met,
                }
            });
            assert!(knee.is_some_and(|knee| knee <= 3000.0));
            search.bound()
        };
        assert_eq!(above(false), Bound::Generator);
        assert_eq!(above(true), Bound::Target);
    }

    #[test]
    fn a_walk_that_was_cut_short_names_no_rate() {
        let mut search = search(100.0, &[]);
        for outcome in [Outcome::Met, Outcome::Met, Outcome::Missed] {
            let rate = search.next().expect("more to try");
            search.judge(rate, outcome);
        }
        assert_eq!((search.knee(), search.bound()), (None, Bound::Unfinished));
    }
}
