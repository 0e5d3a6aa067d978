//! The course of the run: who disconnected, what stalled, and limits of the generator itself.

use std::io::ErrorKind;

use super::evidence::{Evidence, finding, moment, named};
use crate::client::{Cause, End};
use crate::histogram;
use crate::plan::Role;
use crate::report::{Culprit, Distribution, Finding, FindingKind};
use crate::thread_result::{ClientOutcome, Deserted};
use crate::units::{grouped, time};

/// Sending for this long without any delivery is a stall.
const STALL_NS_MIN: u64 = 1_000_000_000;
/// The generator is reported as held up if it was late by this much.
const HELD_UP_NS_MIN: u64 = 20_000_000;
/// The Close code "policy violation" (RFC 6455 §7.4.1).
const POLICY: u16 = 1008;

pub(super) fn findings(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(gone(evidence));
    found.extend(protocol(evidence));
    found.extend(denied(evidence));
    found.extend(disconnected(evidence));
    found.extend(stalled(evidence));
    found.extend(held_back(evidence));
    found.extend(churn_missed(evidence));
    found.extend(clamped(evidence));
    found
}

/// The connections that ended although they should have lasted, the earliest end first.
fn ends<'a>(evidence: &'a Evidence<'_>) -> Vec<(&'a ClientOutcome, &'a End)> {
    let lasting = evidence
        .clients
        .iter()
        .filter(|client| matches!(client.role, Role::Full | Role::Pusher | Role::Publisher));
    let mut ends: Vec<_> = lasting
        .filter_map(|client| Some((client, client.end.as_ref()?)))
        .collect();
    ends.sort_by_key(|(_, end)| end.at_ns);
    ends
}

fn is_gone(evidence: &Evidence<'_>) -> bool {
    let ends = ends(evidence);
    let is_offence = |(_, end): &(_, &End)| end.cause == Cause::Offence;
    evidence.course.deserted.is_some() && !ends.iter().all(is_offence)
}

fn gone(evidence: &Evidence<'_>) -> Option<Finding> {
    let deserted = evidence.course.deserted.as_ref()?;
    let ends = ends(evidence);
    let (_, last) = ends.last().filter(|_| is_gone(evidence))?;
    let Deserted { at_ns, sent, probe } = deserted;
    let at_ms = evidence.at_ms(last.at_ns.min(*at_ns));
    let now = match probe {
        Ok(()) => "it accepts connections again",
        Err(ErrorKind::ConnectionRefused) => "nothing listens there any more",
        Err(_) => "it does not answer a new connection",
    };
    let who = match evidence.readers().all(|client| client.end.is_some()) {
        true => "the relay went away",
        false => "the last publisher lost its connection",
    };
    let (when, sent) = (moment(at_ms), grouped(*sent));
    let text = format!(
        "{who} {when}, after {sent} messages ({}); {now}",
        last.reason
    );
    Some(Finding {
        at_ms: Some(at_ms),
        ..finding(FindingKind::RelayGone, Culprit::Relay, text)
    })
}

/// A summary of the ends that `is_of` selects: `N of M clients, first at 1.2s: reason`.
fn told(
    evidence: &Evidence<'_>,
    kind: FindingKind,
    what: &str,
    is_of: impl Fn(Cause) -> bool,
) -> Option<Finding> {
    let ends = ends(evidence);
    let mut of = ends.iter().filter(|(_, end)| is_of(end.cause));
    let (client, first) = of.next()?;
    let count = 1 + of.count();
    let lasting = evidence.relay.full() + evidence.relay.connections() - evidence.relay.clients;
    let at_ms = evidence.at_ms(first.at_ns);
    let (when, index, reason) = (moment(at_ms), client.index, &first.reason);
    let text = format!(
        "{what} {count} of {lasting} connections, first of client {index} {when}: {reason}"
    );
    Some(Finding {
        at_ms: Some(at_ms),
        ..finding(kind, Culprit::Relay, text)
    })
}

fn protocol(evidence: &Evidence<'_>) -> Option<Finding> {
    let what = "the relay broke the protocol on";
    let is_of = |cause| cause == Cause::Offence;
    told(evidence, FindingKind::ProtocolError, what, is_of)
}

fn denied(evidence: &Evidence<'_>) -> Option<Finding> {
    let what = "the relay may not admit the clients (a key, a token, a limit?): it closed";
    told(evidence, FindingKind::AccessDenied, what, is_denial)
}

fn is_denial(cause: Cause) -> bool {
    matches!(cause, Cause::Closed(POLICY | 4000..=4999))
}

fn disconnected(evidence: &Evidence<'_>) -> Option<Finding> {
    if is_gone(evidence) {
        return None;
    }
    let is_of = |cause| {
        !is_denial(cause) && matches!(cause, Cause::Closed(_) | Cause::Broken | Cause::Refused)
    };
    told(
        evidence,
        FindingKind::Disconnected,
        "the relay ended",
        is_of,
    )
}

fn stalled(evidence: &Evidence<'_>) -> Option<Finding> {
    let silence = evidence.course.silence?;
    let arrived = evidence.readers().any(|client| client.bursts > 0);
    let length_ns = silence.until_ns - silence.from_ns;
    if length_ns < STALL_NS_MIN || !arrived {
        return None;
    }
    let at_ms = evidence.at_ms(silence.from_ns);
    let (from, length) = (moment(at_ms), time(length_ns as f64));
    let text = match silence.is_over {
        true => {
            format!("nothing arrived for {length}, from {from} on, although messages were sent")
        }
        false => format!("nothing arrived after {from}, although messages were sent"),
    };
    Some(Finding {
        at_ms: Some(at_ms),
        ..finding(
            FindingKind::Stalled,
            Culprit::Relay,
            text.replace("from at", "from"),
        )
    })
}

fn held_back(evidence: &Evidence<'_>) -> Option<Finding> {
    let held = evidence.report.unsent_by.held;
    let is_held = |client: &&ClientOutcome| client.is_blocked && client.end.is_none();
    let blocked: Vec<u32> = evidence
        .clients
        .iter()
        .filter(is_held)
        .filter(|client| client.unsent > 0)
        .map(|client| client.index)
        .collect();
    let text = format!(
        "the relay no longer reads from {}: {} messages were held back",
        named("client", &blocked),
        grouped(held)
    );
    (held > 0).then(|| finding(FindingKind::HeldBack, Culprit::Relay, text))
}

fn churn_missed(evidence: &Evidence<'_>) -> Option<Finding> {
    let churn = evidence.report.churn.as_ref()?;
    if churn.skipped + churn.failed == 0 {
        return None;
    }
    let [due, skipped, failed] = [churn.due, churn.skipped, churn.failed].map(grouped);
    let text = format!(
        "of {due} replacements {skipped} were skipped because the connection was not open again \
            yet, and {failed} connections failed"
    );
    Some(finding(FindingKind::ChurnMissed, Culprit::Relay, text))
}

/// Values that exceeded the generator's own bounds.
fn clamped(evidence: &Evidence<'_>) -> Option<Finding> {
    let report = evidence.report;
    let over = |of: &Distribution| of.histogram().map_or(0, |all| histogram::clamped(&all));
    let mut cut = Vec::new();
    for (name, of) in [
        ("latencies", &report.latency.corrected.each),
        ("times of sending", &report.lateness_ns),
        ("receive lags", &report.receive_lag_ns),
        ("times of connecting", &report.connect_ns),
    ] {
        match over(of) {
            0 => {}
            count => cut.push(format!(
                "{} {name} were a minute or longer and count as one",
                grouped(count)
            )),
        }
    }
    let gaps = evidence.clients.iter().map(|client| client.gaps_forgotten);
    match gaps.sum::<u64>() {
        0 => {}
        count => cut.push(format!(
            "{} gaps in the numbering were forgotten: late messages in them count as repeated, \
                not as reordered",
            grouped(count)
        )),
    }
    if evidence.clock_steps > 0 || evidence.clamped > 0 {
        cut.push(format!(
            "the system's clock was set {} times, and {} receive times were clamped between sent \
             and received",
            evidence.clock_steps,
            grouped(evidence.clamped)
        ));
    }
    if evidence.is_timeline_full {
        cut.push("the timeline is limited to a day".to_owned());
    }
    let text = format!("limits of the generator: {}", cut.join("; "));
    (!cut.is_empty()).then(|| finding(FindingKind::Clamped, Culprit::Generator, text))
}

/// The generator itself stopped, or other work took so much of its cores that the effect is the
/// same.
pub(super) fn held_up(evidence: &Evidence<'_>) -> Option<Finding> {
    let report = evidence.report;
    let late_ns = report.lateness_ns.quantiles.max;
    let lag_ns = report.receive_lag_ns.quantiles.max;
    let (late, lag) = (time(late_ns as f64), time(lag_ns as f64));
    let text = format!(
        "the generator itself was held up: it sent up to {late} late, and handled deliveries up to \
         {lag} after they had arrived"
    );
    (late_ns.max(lag_ns) >= HELD_UP_NS_MIN)
        .then(|| finding(FindingKind::GeneratorHeldUp, Culprit::Generator, text))
}
