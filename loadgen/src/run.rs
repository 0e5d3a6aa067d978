//! Runs a plan: one run, or several for a walk over rates or for repeats.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::rand::GetRandomFlags;

use crate::clock::process_cpu;
use crate::control::Shared;
use crate::coordinator::Coordinator;
use crate::error::{RunError, joined};
use crate::nostr::{Script, upload};
use crate::plan::{Handshakes, Nostr, Pace, Plan, Relay, Series, Work};
use crate::report::{
    Aborted, Comparison, Culprit, Finding, FindingKind, HandshakeReport, RelayReport, Report,
};
use crate::search::Search;
use crate::snapshot::{Snapshot, Turn};
use crate::{handshakes, limits};

/// Runs a plan to its end, or until `interrupt` is set: then it still reports.
///
/// `observe` is called four times a second on this thread, see [`Snapshot`].
///
/// # Errors
/// A connection or handshake failed, or the system refused threads or descriptors.
pub fn run(
    plan: &Plan,
    interrupt: &AtomicBool,
    observe: &mut dyn FnMut(&Snapshot),
) -> Result<Report, RunError> {
    match plan.work {
        Work::Relay(relay) => {
            limits::raise_open_files(u64::from(relay.connections()))?;
            let mut report = match &plan.series {
                Series::Once => run_relay(plan, relay, None, interrupt, observe)?,
                Series::Repeat(times) => repeat(plan, relay, *times, interrupt, observe)?,
                Series::Walk(walk) => {
                    let search = Search::new(walk.clone());
                    run_search(plan, relay, search, interrupt, observe)?
                }
            };
            let aborted = report.aborted.take();
            report.aborted = aborted.or_else(|| aborted_at_end(plan, &report));
            report.comparison = plan
                .baseline
                .as_ref()
                .map(|baseline| Comparison::of(baseline, &report, plan.tolerance));
            Ok(Report::Relay(Box::new(report)))
        }
        Work::Handshakes(work) => {
            limits::raise_open_files(u64::from(work.concurrency))?;
            let report = run_handshakes(plan, work, interrupt)?;
            Ok(Report::Handshakes(Box::new(report)))
        }
    }
}

fn shared(plan: &Plan, nostr: Option<(&Relay, Nostr)>) -> Result<Arc<Shared>, RunError> {
    let address = plan.target.resolve();
    let address = address.map_err(|error| RunError::new(error.to_string()))?;
    let run_id = random_id()?;
    let mut shared = Shared::new(plan, address, run_id);
    if let Some((relay, nostr)) = nostr {
        let mask = shared.payloads.mask();
        let script = Script::new(relay, nostr, plan.seed, plan.size, run_id, mask)?;
        shared.nostr = Some(script);
    }
    Ok(Arc::new(shared))
}

/// 64 bits from the system, so that no two runs have the same.
fn random_id() -> Result<u64, RunError> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|error| RunError::new(format!("no random number: {error}")))?;
    Ok(u64::from_ne_bytes(bytes))
}

fn run_relay(
    plan: &Plan,
    relay: Relay,
    turn: Option<Turn>,
    interrupt: &AtomicBool,
    observe: &mut dyn FnMut(&Snapshot),
) -> Result<RelayReport, RunError> {
    let shared = shared(plan, relay.nostr.map(|nostr| (&relay, nostr)))?;
    if let Some(script) = &shared.nostr {
        upload(&shared, script.stored(), interrupt)?;
    }
    Coordinator::start(plan, shared, relay, turn, observe)?.run(interrupt)
}

/// The condition of `--abort-if` that holds for the whole run, if one does.
fn aborted_at_end(plan: &Plan, report: &RelayReport) -> Option<Aborted> {
    plan.abort_if.iter().find_map(|condition| {
        let (holds, observed) = condition.check(report);
        holds.then(|| Aborted {
            condition: condition.text().to_owned(),
            observed,
            at_ms: report.measured_ms as u64,
        })
    })
}

fn rate_of(relay: &Relay) -> Option<f64> {
    match relay.pace {
        Pace::Open { per_second, .. } => Some(per_second),
        Pace::Closed { .. } => None,
    }
}

/// Whether this is the last run.
fn is_over(report: &RelayReport, interrupt: &AtomicBool) -> bool {
    report.aborted.is_some() || report.is_gone() || interrupt.load(Ordering::Relaxed)
}

/// The finding that run `number` of several failed.
fn not_run(number: u32, error: &RunError) -> Finding {
    Finding {
        kind: FindingKind::NotRun,
        culprit: Culprit::Relay,
        text: format!("run {number} and later ones failed: {error}"),
        at_ms: None,
    }
}

/// The same run several times. An interrupt or a condition of `--abort-if` ends all of them.
fn repeat(
    plan: &Plan,
    relay: Relay,
    times: u32,
    interrupt: &AtomicBool,
    observe: &mut dyn FnMut(&Snapshot),
) -> Result<RelayReport, RunError> {
    let mut reports = Vec::new();
    for number in 1..=times {
        let turn = Turn {
            number,
            of: Some(times),
            rate: rate_of(&relay),
        };
        match run_relay(plan, relay, Some(turn), interrupt, observe) {
            Ok(report) => reports.push(report),
            Err(error) => {
                // Keep the results so far.
                let last: &mut RelayReport = reports.last_mut().ok_or_else(|| error.clone())?;
                last.findings.push(not_run(number, &error));
                last.right = false;
                break;
            }
        }
        if reports.last().is_some_and(|last| is_over(last, interrupt)) {
            break;
        }
    }
    RelayReport::of_repeats(reports).ok_or_else(|| RunError::new("nothing ran"))
}

/// A walk over rates.
fn run_search(
    plan: &Plan,
    relay: Relay,
    mut search: Search,
    interrupt: &AtomicBool,
    observe: &mut dyn FnMut(&Snapshot),
) -> Result<RelayReport, RunError> {
    let (mut number, mut ends) = (0, Vec::new());
    while let Some(rate) = search.next() {
        number += 1;
        let turn = Turn {
            number,
            of: search.count(),
            rate: Some(rate),
        };
        let step = relay.at_rate(rate);
        let report = match run_relay(plan, step, Some(turn), interrupt, observe) {
            Ok(report) => report,
            Err(error) if number == 1 => return Err(error),
            Err(error) => {
                ends.push(not_run(number, &error));
                break;
            }
        };
        let is_over = is_over(&report, interrupt);
        if report.is_gone() {
            // The report that is returned may be that of another step.
            ends.extend(report.findings.iter().map(|finding| Finding {
                text: format!("at {rate:.0} messages/s: {}", finding.text),
                ..finding.clone()
            }));
        }
        search.took(report);
        if is_over {
            break;
        }
    }
    let mut report = search
        .finish()
        .ok_or_else(|| RunError::new("nothing ran"))?;
    report.right &= ends.is_empty();
    report.findings.extend(ends);
    Ok(report)
}

fn run_handshakes(
    plan: &Plan,
    work: Handshakes,
    interrupt: &AtomicBool,
) -> Result<HandshakeReport, RunError> {
    let shared = &shared(plan, None)?;
    let cpu_before = process_cpu();
    let from = Instant::now();
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.threads)
            .map(|thread| scope.spawn(move || handshakes::run(shared, work, thread, interrupt)))
            .collect();
        threads
            .into_iter()
            .map(|thread| joined(thread.join()))
            .collect::<Vec<_>>()
    });
    let elapsed = from.elapsed();
    let outcomes = results
        .into_iter()
        .collect::<Result<Result<Vec<_>, _>, _>>()??;
    let cpu = process_cpu().saturating_sub(cpu_before);
    Ok(HandshakeReport::new(plan, work, &outcomes, elapsed, cpu))
}
