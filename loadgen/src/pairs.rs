//! Runs two plans in pairs, in an order drawn by lot for each pair.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::RunError;
use crate::plan::{Pace, Pairs, Plan, Work};
use crate::report::{Head, Pair, PairsReport, Report, Side, Summary, Tally};
use crate::run::run;
use crate::snapshot::{Snapshot, Turn};
use crate::stats;

/// A comparison in progress.
struct Course<'a> {
    plan: &'a Pairs,
    interrupt: &'a AtomicBool,
    observe: &'a mut dyn FnMut(&Snapshot),
    /// Runs so far.
    runs: u32,
    /// Of the first run.
    head: Option<Head>,
    tally: Tally,
}

/// Runs all pairs, or until `interrupt` is set: then it still reports, but without a verdict.
///
/// `observe` is called four times a second on this thread, see [`Snapshot`].
///
/// # Errors
/// A connection or handshake failed, or the system refused threads or descriptors.
pub fn run_pairs(
    plan: &Pairs,
    interrupt: &AtomicBool,
    observe: &mut dyn FnMut(&Snapshot),
) -> Result<PairsReport, RunError> {
    let mut course = Course {
        plan,
        interrupt,
        observe,
        runs: 0,
        head: None,
        tally: Tally::default(),
    };
    let mut pairs = Vec::new();
    for is_b_first in stats::orders(plan.count as usize, plan.a.seed) {
        match course.valid_pair(is_b_first)? {
            Some(pair) => pairs.push(pair),
            None => break,
        }
    }
    let head = course.head.ok_or_else(|| RunError::new("nothing ran"))?;
    let urls = [&plan.a.target.url[..], &plan.b.target.url];
    let tolerance = plan.tolerance;
    Ok(PairsReport::of(head, urls, pairs, tolerance, course.tally))
}

impl Course<'_> {
    /// A void pair says nothing about either side, so the order of its replacement is free. `None`
    /// after too many void pairs, or if the run ended early.
    fn valid_pair(&mut self, is_b_first: bool) -> Result<Option<Pair>, RunError> {
        loop {
            let Some(pair) = self.pair(is_b_first)? else {
                let caveat = match self.tally.gone {
                    Some(Side::A) => "A is gone",
                    Some(Side::B) => "B is gone",
                    None => "ended early",
                };
                self.tally.caveats.push(caveat.to_owned());
                return Ok(None);
            };
            if pair.a.valid && pair.b.valid {
                return Ok(Some(pair));
            }
            if self.tally.run_again == self.plan.count {
                let void = self.plan.count + 1;
                let text = format!("the generator was the bottleneck of {void} pairs");
                self.tally.caveats.push(text);
                return Ok(None);
            }
            self.tally.run_again += 1;
        }
    }

    /// `None` if the run ended early.
    fn pair(&mut self, is_b_first: bool) -> Result<Option<Pair>, RunError> {
        let (first, other) = match is_b_first {
            true => (Side::B, Side::A),
            false => (Side::A, Side::B),
        };
        let Some(one) = self.run(first)? else {
            return Ok(None);
        };
        let Some(two) = self.run(other)? else {
            return Ok(None);
        };
        let (a, b) = if is_b_first { (two, one) } else { (one, two) };
        Ok(Some(Pair { first, a, b }))
    }

    fn run(&mut self, side: Side) -> Result<Option<Summary>, RunError> {
        let plan = match side {
            Side::A => &self.plan.a,
            Side::B => &self.plan.b,
        };
        self.runs += 1;
        let turn = Some(Turn {
            number: self.runs,
            of: Some(2 * (self.plan.count + self.tally.run_again)),
            rate: rate_of(plan),
        });
        let report = run(plan, self.interrupt, &mut |snapshot| {
            (self.observe)(&Snapshot {
                turn,
                ..snapshot.clone()
            });
        })?;
        let Report::Relay(report) = report else {
            return Err(RunError::new("reports of handshakes cannot be compared"));
        };
        self.head.get_or_insert_with(|| report.head.clone());
        self.tally.wrong_deliveries[side as usize] += report.wrong_deliveries();
        self.tally.is_wrong |= !report.right;
        self.tally.aborted.clone_from(&report.aborted);
        self.tally.gone = report.is_gone().then_some(side);
        let is_over =
            report.aborted.is_some() || report.is_gone() || self.interrupt.load(Ordering::Relaxed);
        Ok((!is_over).then(|| Summary::of(&report)))
    }
}

fn rate_of(plan: &Plan) -> Option<f64> {
    match plan.work {
        Work::Relay(relay) => match relay.pace {
            Pace::Open { per_second, .. } => Some(per_second),
            Pace::Closed { .. } => None,
        },
        Work::Handshakes(_) => None,
    }
}
