//! The evidence for findings: who read, who published, and who received whose messages.

use crate::plan::{Expect, Relay, Role};
use crate::report::{Culprit, Finding, FindingKind, RelayReport};
use crate::thread_result::{ClientOutcome, Course};
use crate::units::time;

/// At most this many clients are named one by one.
const NAMED_MAX: usize = 8;

/// A finished run.
pub(crate) struct Evidence<'a> {
    pub(crate) relay: &'a Relay,
    pub(crate) clients: &'a [ClientOutcome],
    pub(crate) course: &'a Course,
    pub(crate) report: &'a RelayReport,
    /// The timeline was too short for the whole measured time.
    pub(crate) is_timeline_full: bool,
    /// How often the system's clock was set.
    pub(crate) clock_steps: u64,
    /// Deliveries whose receive time was clamped because of that.
    pub(crate) clamped: u64,
}

/// A publisher that sent at least one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Publisher {
    pub(super) number: u32,
    /// Index of its connection.
    pub(super) index: u32,
    pub(super) sent: u64,
    pub(super) is_open: bool,
}

impl Evidence<'_> {
    /// Clients that read all the time.
    pub(super) fn readers(&self) -> impl Iterator<Item = &ClientOutcome> {
        let clients = self.clients.iter();
        clients.filter(|client| client.role == Role::Full)
    }

    pub(super) fn publishers(&self) -> impl Iterator<Item = Publisher> {
        self.clients.iter().filter_map(|client| {
            let sent = client.sent.iter().sum();
            Some(Publisher {
                number: self.relay.publisher_at(client.index)?,
                index: client.index,
                sent,
                is_open: client.end.is_none(),
            })
            .filter(|publisher| publisher.sent > 0)
        })
    }

    /// One more than the number of this publisher's last message that came to `client`.
    pub(super) fn heard(&self, client: &ClientOutcome, publisher: u32) -> u64 {
        let rooms = self.relay.rooms_apart();
        let is_here = self.relay.room_of(publisher) == client.room;
        let heard = client.heard.get((publisher / rooms) as usize);
        heard.filter(|_| is_here).copied().map_or(0, u64::from)
    }

    /// Whether messages of this publisher should reach `client`.
    pub(super) fn should_hear(&self, client: &ClientOutcome, publisher: &Publisher) -> bool {
        self.relay.room_of(publisher.number) == client.room
            && match self.relay.expect {
                Expect::Nobody => false,
                Expect::Others => publisher.index != client.index,
                Expect::All | Expect::Own => true,
            }
    }

    /// Milliseconds after the start of the measurement.
    pub(super) fn at_ms(&self, at_ns: u64) -> f64 {
        (at_ns as f64 - self.course.measure_ns as f64) / 1e6
    }
}

/// A finding without a time.
pub(super) fn finding(kind: FindingKind, culprit: Culprit, text: String) -> Finding {
    Finding {
        kind,
        culprit,
        text,
        at_ms: None,
    }
}

/// A time of the run, formatted for people.
pub(super) fn moment(at_ms: f64) -> String {
    match at_ms < 0.0 {
        true => format!("{} before the measurement", time(-at_ms * 1e6)),
        false => format!("at {}", time(at_ms * 1e6)),
    }
}

/// `client 3`, `clients 3, 5 and 7`, `20 clients (1, 2 … 9)`.
pub(super) fn named(what: &str, numbers: &[u32]) -> String {
    let list = |numbers: &[u32]| {
        let numbers: Vec<_> = numbers.iter().map(u32::to_string).collect();
        numbers.join(", ")
    };
    match numbers {
        [one] => format!("{what} {one}"),
        _ if numbers.len() <= NAMED_MAX => format!("{what}s {}", list(numbers)),
        _ => format!(
            "{} {what}s ({} …)",
            numbers.len(),
            list(&numbers[..NAMED_MAX])
        ),
    }
}
