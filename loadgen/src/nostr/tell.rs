//! Computes the figures of the report from the listeners' results.

use std::collections::BTreeMap;

use super::listener::NostrOutcome;
use super::querying::QueryOutcome;
use super::script::Script;
use crate::check::Counts;
use crate::histogram;
use crate::report::{
    Deliveries, Distribution, NostrFigures, Order, QueryFigures, Reason, Stored, SyncFigures,
};
use crate::thread_result::ClientOutcome;

/// Texts of the relay that are reported.
const TEXTS_MAX: usize = 10;

/// Deliveries in the warm-up and in the measured time; for a run without subscriptions, the
/// positive answers.
pub(crate) fn counts(
    script: &Script,
    outcomes: &[NostrOutcome],
    clients: &[ClientOutcome],
) -> [Deliveries; 2] {
    let is_fanout = script.per_client > 0;
    let refusals = outcomes.iter().flat_map(|one| [&one.refused, &one.closed]);
    let refused: u64 = refusals.flat_map(std::collections::BTreeMap::values).sum();
    let mut all = [0, 1].map(|phase| {
        let mut sums = Counts::default();
        clients
            .iter()
            .for_each(|client| sums.add(&client.counts[phase]));
        let sum = |of: fn(&NostrOutcome) -> [u64; 2]| -> u64 {
            outcomes.iter().map(|one| of(one)[phase]).sum()
        };
        let sent = clients.iter().map(|client| client.sent[phase]).sum();
        let unasked = sum(|one| one.refused_delivered);
        Deliveries {
            sent,
            expected: sum(|one| one.expected),
            delivered: sums.delivered.saturating_sub(unasked),
            lost: sum(|one| one.lost),
            repeated: sums.repeated,
            reordered: sums.reordered,
            damaged: sums.damaged,
            misrouted: sums.misrouted + unasked,
            early: sums.early,
        }
    });
    if !is_fanout {
        let mut refused = refused;
        for phase in &mut all {
            // Refusals are reported by kind, not by phase.
            let wrong = if script.syncs.is_some() {
                phase.damaged
            } else {
                0
            };
            phase.lost = phase.sent.saturating_sub(phase.delivered + wrong);
            let of_these = refused.min(phase.lost);
            refused -= of_these;
            phase.lost -= of_these;
            phase.expected = phase.sent - of_these;
        }
    }
    all
}

/// Whether all subscriptions with the same filter saw the same order.
pub(crate) fn order(outcomes: &[NostrOutcome]) -> Order {
    let mut all: Vec<(u32, u64)> = outcomes.iter().flat_map(|one| one.orders.clone()).collect();
    all.sort_unstable();
    let mut order = Order::default();
    // A filter with a single subscription has nothing to compare.
    let filters = all.chunk_by(|one, next| one.0 == next.0);
    for filter in filters.filter(|filter| filter.len() > 1) {
        let same = filter.chunk_by(|one, next| one == next);
        let agreeing = same.map(<[_]>::len).max().unwrap_or(0);
        order.compared += filter.len() as u64;
        order.differing += (filter.len() - agreeing) as u64;
    }
    order
}

/// Measured events that at least one subscription should get.
pub(crate) fn awaited(script: &Script, measure_ns: u64) -> u64 {
    let is_awaited = |event: &&super::script::Signed| {
        let is_measured = event.sending().is_some_and(|one| one.due_ns >= measure_ns);
        is_measured && (event.receivers > 0 || script.per_client == 0)
    };
    script.events.iter().filter(is_awaited).count() as u64
}

impl NostrFigures {
    pub(crate) fn of(
        script: &Script,
        is_closed: bool,
        measured_ms: f64,
        outcomes: Vec<NostrOutcome>,
    ) -> Self {
        let mut figures = Self {
            subscriptions: script.subscriptions.len() as u64,
            filters: script.filters.len() as u64,
            signed: script.signed(),
            syncs: script.syncs.is_some().then(SyncFigures::default),
            ..Self::default()
        };
        let (mut refused, mut closed) = (BTreeMap::new(), BTreeMap::new());
        let (mut ok_times, mut questions) = (histogram::new(), Vec::new());
        figures.queries = script
            .has_queries()
            .then(|| QueryFigures::of(&outcomes, measured_ms));
        for outcome in outcomes {
            add(&mut refused, outcome.refused);
            add(&mut closed, outcome.closed);
            figures.notices += outcome.notices;
            questions.extend(outcome.question);
            if let Some(syncs) = &mut figures.syncs {
                syncs.add(&outcome.syncs);
            }
            figures.texts.extend(outcome.texts);
            if let Some(times) = &outcome.ok_times {
                histogram::merge(&mut ok_times, times);
            }
        }
        figures.texts.truncate(TEXTS_MAX);
        for event in script
            .events
            .iter()
            .filter(|event| event.sending().is_some())
        {
            figures.sent += 1;
            figures.accepted += u64::from(event.is_answered() && !event.is_refused());
            figures.unanswered += u64::from(!event.is_answered());
        }
        figures.stored = questions.first().map(|question| {
            let (by, found, missing) = question.told(figures.accepted);
            Stored {
                by: by.to_owned(),
                accepted: figures.accepted,
                found,
                missing,
            }
        });
        let is_publishing = !script.has_queries();
        let is_used_up = figures.sent == script.events.len() as u64;
        figures.ran_out = is_publishing && is_closed && is_used_up;
        figures.refused = reasons(refused);
        figures.closed = reasons(closed);
        figures.ok_ns = Distribution::of(&ok_times);
        figures
    }
}

impl QueryFigures {
    fn of(outcomes: &[NostrOutcome], measured_ms: f64) -> Self {
        let sum = |of: fn(&QueryOutcome) -> u64| outcomes.iter().map(|one| of(&one.queries)).sum();
        let measured: u64 = sum(|one| one.rows[1]);
        Self {
            answered: sum(|one| one.answered),
            wrong: sum(|one| one.wrong),
            expected_rows: sum(|one| one.expected),
            rows: sum(|one| one.rows[0] + one.rows[1]),
            rows_per_second: measured as f64 * 1e3 / measured_ms.max(1.0),
            missing_rows: sum(|one| one.faults.missing),
            unasked_rows: sum(|one| one.faults.unasked),
            repeated_rows: sum(|one| one.faults.repeated),
            reordered_rows: sum(|one| one.faults.reordered),
            damaged_rows: sum(|one| one.faults.damaged),
        }
    }
}

fn add(sums: &mut BTreeMap<String, u64>, counts: BTreeMap<String, u64>) {
    for (prefix, count) in counts {
        *sums.entry(prefix).or_default() += count;
    }
}

fn reasons(counts: BTreeMap<String, u64>) -> Vec<Reason> {
    let each = counts.into_iter();
    each.map(|(prefix, count)| Reason { prefix, count })
        .collect()
}
