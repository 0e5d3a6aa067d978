//! Patterns in who received whose messages.

use std::collections::BTreeMap;

use super::evidence::{Evidence, Publisher, finding, moment, named};
use crate::plan::{Expect, Pace};
use crate::report::{Culprit, Deliveries, Finding, FindingKind};
use crate::thread_result::ClientOutcome;
use crate::units::{grouped, time};

/// A client that lacks fewer messages than this at the end has lost some, but is not silent.
const TAIL_MIN: u64 = 3;
/// A client that gets nothing for this long, while the others do, is silent.
const SILENT_NS_MIN: u64 = 250_000_000;
/// Deliveries are batched if a batch has this many on average, …
const BATCH_MIN: f64 = 4.0;
/// … each client got at least this many batches, …
const BATCHES_MIN: u64 = 4;
/// … the pauses between them are this long on average, …
const BATCH_PAUSE_NS_MIN: f64 = 20e6;
/// … the pauses take up this share of the time, …
const BATCH_PAUSES_SHARE_MIN: f64 = 0.5;
/// … and no delivery takes longer than this many pauses; otherwise it waited for something else.
const BATCH_PAUSES_MAX: f64 = 3.0;

pub(super) fn findings(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    // A run without faults needs no explanation, and comparing many clients is expensive.
    if evidence.report.wrong_deliveries() > 0 {
        let who = Who::of(evidence);
        match nothing_came(evidence) {
            Some(nothing) => found.push(nothing),
            None => {
                found.extend(echo(evidence, &who).or_else(|| split(evidence)));
                found.extend(part_dead(evidence));
            }
        }
        found.extend(wrong_room(evidence));
    }
    found.extend(batched(evidence));
    found
}

/// A summary of who received whose messages.
struct Who {
    /// Publishers that read and stayed connected.
    publishers: u64,
    /// Of these: they received their own messages.
    heard_own: u64,
    /// Some client received messages of another one.
    heard_others: bool,
    /// Some client should receive messages of another one.
    has_others: bool,
}

impl Who {
    fn of(evidence: &Evidence<'_>) -> Self {
        let mut who = Self {
            publishers: 0,
            heard_own: 0,
            heard_others: false,
            has_others: false,
        };
        let publishers: Vec<_> = evidence.publishers().collect();
        for client in evidence.readers().filter(|client| client.end.is_none()) {
            for publisher in &publishers {
                let is_heard = evidence.heard(client, publisher.number) > 0;
                if publisher.index == client.index {
                    who.publishers += 1;
                    who.heard_own += u64::from(is_heard || client.echoed > 0);
                } else if evidence.should_hear(client, publisher) {
                    who.has_others = true;
                    who.heard_others |= is_heard;
                }
            }
        }
        who
    }
}

fn nothing_came(evidence: &Evidence<'_>) -> Option<Finding> {
    let report = evidence.report;
    let sums = [&report.warmup, &report.measured];
    let came = |of: &Deliveries| of.delivered + of.damaged + of.repeated + of.misrouted + of.early;
    let sent: u64 = sums.iter().map(|of| of.sent).sum();
    let expected: u64 = sums.iter().map(|of| of.expected).sum();
    let is_silent = sums.iter().all(|of| came(of) == 0);
    if !is_silent || sent == 0 || expected == 0 || evidence.course.deserted.is_some() {
        return None;
    }
    let clients = evidence.readers().count();
    let foreign = match report.foreign {
        0 => "",
        _ => ", only messages of others",
    };
    let text = format!(
        "{} messages were sent and none came back to {clients} clients{foreign}: perhaps another \
            path, or a server that does not answer (--expect nobody)",
        grouped(sent)
    );
    Some(finding(FindingKind::NothingCame, Culprit::Options, text))
}

/// Whether publishers get their own messages, compared with whether they should.
fn echo(evidence: &Evidence<'_>, who: &Who) -> Option<Finding> {
    let echoed: u64 = evidence.readers().map(|client| client.echoed).sum();
    let (kind, text) = match evidence.relay.expect {
        Expect::All if who.publishers > 0 && who.heard_own == 0 && who.heard_others => (
            FindingKind::NoEcho,
            "publishers do not get their own messages: that is --no-echo".to_owned(),
        ),
        Expect::All | Expect::Others
            if who.has_others
                && !who.heard_others
                && who.publishers > 0
                && who.heard_own == who.publishers =>
        {
            (
                FindingKind::OnlyEcho,
                "only its publisher gets a message: that is --expect self".to_owned(),
            )
        }
        Expect::Others if echoed > 0 => (
            FindingKind::Echo,
            format!(
                "publishers get their own messages ({}): without --no-echo that is expected",
                grouped(echoed)
            ),
        ),
        _ => return None,
    };
    Some(finding(kind, Culprit::Options, text))
}

/// Groups of clients that only receive messages of their own group.
fn split(evidence: &Evidence<'_>) -> Option<Finding> {
    let publishers: Vec<_> = evidence.publishers().collect();
    let mut groups: BTreeMap<(u32, Vec<bool>), Vec<u32>> = BTreeMap::new();
    for client in evidence.readers().filter(|client| client.end.is_none()) {
        let heard: Vec<_> = publishers
            .iter()
            .map(|publisher| evidence.heard(client, publisher.number) > 0)
            .collect();
        if heard.contains(&true) {
            let group = groups.entry((client.room, heard)).or_default();
            group.push(client.index);
        }
    }
    let mut rooms: Vec<u32> = groups.keys().map(|(room, _)| *room).collect();
    rooms.dedup();
    let is_apart = (0..publishers.len()).all(|at| {
        let hears = groups.keys().filter(|(_, heard)| heard[at]);
        hears.count() <= 1
    });
    if groups.len() <= rooms.len() || !is_apart {
        return None;
    }
    let named: Vec<_> = groups
        .values()
        .map(|group| named("client", group))
        .collect();
    let text = format!(
        "clients of one room do not receive each other's messages (disconnected shards?): {}",
        named.join("; ")
    );
    Some(finding(FindingKind::Split, Culprit::Relay, text))
}

/// How many messages `client` lacks after the last one that it got of each publisher.
fn tail<'a>(
    evidence: &Evidence<'_>,
    client: &ClientOutcome,
    publishers: impl Iterator<Item = &'a Publisher>,
) -> u64 {
    let lacks = |publisher: &Publisher| {
        let heard = evidence.heard(client, publisher.number);
        publisher.sent.saturating_sub(heard)
    };
    publishers
        .filter(|publisher| evidence.should_hear(client, publisher))
        .map(lacks)
        .sum()
}

/// The clients that fell silent while the others went on.
struct Silence {
    /// Clients that got nothing more, and since when.
    clients: Vec<u32>,
    since_ns: Option<u64>,
    /// Publishers whose last messages reached nobody.
    unheard: Vec<Publisher>,
    /// Some earlier message of theirs reached somebody.
    was_heard: bool,
    /// Everybody's last messages are missing, so no client stands out.
    is_of_all: bool,
}

impl Silence {
    fn of(evidence: &Evidence<'_>, open: &[&ClientOutcome], publishers: &[Publisher]) -> Self {
        let last_read_ns = open.iter().map(|client| client.last_read_ns).max();
        let is_silent = |client: &&&ClientOutcome| {
            Some(client.last_read_ns + SILENT_NS_MIN) < last_read_ns
                && tail(evidence, client, publishers.iter()) >= TAIL_MIN
        };
        let silent: Vec<_> = open.iter().filter(is_silent).collect();
        let is_lost =
            |publisher: &&Publisher| publisher.is_open && is_unheard(evidence, open, publisher);
        let unheard: Vec<_> = publishers.iter().filter(is_lost).copied().collect();
        let mut heard = unheard
            .iter()
            .flat_map(|one| open.iter().map(|client| evidence.heard(client, one.number)));
        Self {
            clients: silent.iter().map(|client| client.index).collect(),
            since_ns: silent.iter().map(|client| client.last_read_ns).max(),
            was_heard: heard.any(|heard| heard > 0),
            is_of_all: unheard.len() == publishers.len(),
            unheard,
        }
    }

    /// The silent clients are the same as the publishers that nobody received.
    fn is_part(&self, publishers: &[Publisher]) -> bool {
        let is_silent = |publisher: &Publisher| self.clients.contains(&publisher.index);
        let is_unheard = |index: u32| self.unheard.iter().any(|one| one.index == index);
        !self.unheard.is_empty()
            && self.unheard.iter().all(is_silent)
            && publishers
                .iter()
                .filter(|one| is_silent(one))
                .all(|one| is_unheard(one.index))
    }
}

/// Clients that fell silent, and publishers whose messages stopped arriving.
fn part_dead(evidence: &Evidence<'_>) -> Option<Finding> {
    let publishers: Vec<_> = evidence.publishers().collect();
    let open: Vec<_> = evidence
        .readers()
        .filter(|client| client.end.is_none())
        .collect();
    let silence = Silence::of(evidence, &open, &publishers);
    let from_ms = silence
        .since_ns
        .filter(|since_ns| *since_ns > 0)
        .map(|since_ns| evidence.at_ms(since_ns));
    let since = from_ms.map_or("from the beginning on".to_owned(), |from_ms| {
        format!("after {}", moment(from_ms).trim_start_matches("at "))
    });
    let clients = named("client", &silence.clients);
    let (kind, at_ms, text) = if silence.is_part(&publishers) {
        let text = format!(
            "{clients} got nothing {since}, and their messages reached nobody: a part of the \
                relay is dead (a shard?)"
        );
        (FindingKind::PartDead, from_ms, text)
    } else if !silence.clients.is_empty() {
        let text = format!("{clients} got nothing {since}");
        (FindingKind::ClientsSilent, from_ms, text)
    } else if !silence.unheard.is_empty() && !silence.is_of_all {
        let unheard: Vec<_> = silence.unheard.iter().map(|one| one.index).collect();
        let since = match silence.was_heard {
            true => " from some time on",
            false => "",
        };
        let whose = named("client", &unheard);
        let text = format!("messages of {whose} reached nobody{since}");
        (FindingKind::PublishersLost, None, text)
    } else {
        return tail_missing(evidence, &open, &publishers);
    };
    Some(Finding {
        at_ms,
        ..finding(kind, Culprit::Relay, text)
    })
}

/// Whether the last messages of this publisher reached nobody else.
fn is_unheard(evidence: &Evidence<'_>, open: &[&ClientOutcome], publisher: &Publisher) -> bool {
    let others = open.iter().filter(|client| {
        client.index != publisher.index && evidence.should_hear(client, publisher)
    });
    let heard = others.map(|client| evidence.heard(client, publisher.number));
    heard
        .max()
        .is_some_and(|heard| publisher.sent.saturating_sub(heard) >= TAIL_MIN)
}

/// The run ended before its last deliveries arrived.
fn tail_missing(
    evidence: &Evidence<'_>,
    open: &[&ClientOutcome],
    publishers: &[Publisher],
) -> Option<Finding> {
    // A publisher that was never received is not a missing tail.
    let lacks = |client: &&ClientOutcome| {
        let is_heard = |one: &&Publisher| evidence.heard(client, one.number) > 0;
        tail(evidence, client, publishers.iter().filter(is_heard))
    };
    let lacking: u64 = open.iter().map(lacks).sum();
    let is_cut = evidence.course.gave_up && lacking > 0;
    let text = format!(
        "the last {} deliveries were still missing after two seconds without any: they count as \
            lost, and no latency includes them",
        grouped(lacking)
    );
    is_cut.then(|| finding(FindingKind::DrainGaveUp, Culprit::Relay, text))
}

fn wrong_room(evidence: &Evidence<'_>) -> Option<Finding> {
    let report = evidence.report;
    let misrouted = report.measured.misrouted + report.warmup.misrouted;
    if misrouted == 0 {
        return None;
    }
    let at: Vec<u32> = evidence
        .readers()
        .filter(|client| client.counts.iter().any(|counts| counts.misrouted > 0))
        .map(|client| client.index)
        .collect();
    let is_everywhere = at.len() == evidence.relay.full() as usize;
    let text = match (evidence.relay.expect, is_everywhere) {
        (Expect::Own, true) => {
            "messages reach others than their publisher: that is --expect all".to_owned()
        }
        (_, true) => {
            "the relay does not separate the rooms: every client gets messages of other rooms"
                .to_owned()
        }
        (_, false) => format!(
            "{} got {} messages of rooms that they are not in",
            named("client", &at),
            grouped(misrouted)
        ),
    };
    Some(finding(FindingKind::WrongRoom, Culprit::Relay, text))
}

/// Many deliveries arrive together, with pauses between, although they were sent one by one.
fn batched(evidence: &Evidence<'_>) -> Option<Finding> {
    let report = evidence.report;
    if !matches!(evidence.relay.pace, Pace::Open { .. }) {
        return None;
    }
    let readers: Vec<_> = evidence
        .readers()
        .filter(|client| client.bursts > 0)
        .collect();
    let sum = |of: fn(&ClientOutcome) -> u64| readers.iter().map(|client| of(client)).sum::<u64>();
    let batches = sum(|client| client.bursts);
    let arrived = sum(|client| client.counts.iter().map(|counts| counts.delivered).sum());
    let pauses_ns = sum(|client| client.pauses_ns) as f64;
    let count = readers.len() as u64;
    let before = evidence.relay.ramp + evidence.relay.warmup;
    let lasted_ns = report.measured_ms * 1e6 + before.as_nanos() as f64;
    let batch = arrived as f64 / batches.max(1) as f64;
    let pause_ns = pauses_ns / batches.saturating_sub(count).max(1) as f64;
    let is_batched = batch >= BATCH_MIN
        && batches >= BATCHES_MIN * count
        && pause_ns >= BATCH_PAUSE_NS_MIN
        && pauses_ns >= BATCH_PAUSES_SHARE_MIN * lasted_ns * count as f64
        && (report.latency_ns.max as f64) < BATCH_PAUSES_MAX * pause_ns;
    let text = format!(
        "deliveries come in batches, about {batch:.0} at a time every {}: something between \
         buffers (a proxy, or Nagle's algorithm)",
        time(pause_ns)
    );
    is_batched.then(|| finding(FindingKind::Batched, Culprit::Relay, text))
}
