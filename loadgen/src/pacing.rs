//! When messages are sent. Pure: the time is an argument.

use crate::plan::{Pace, Relay};

/// What a client publishes.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    /// Sequence number of the next message.
    pub(crate) seq: u64,
    /// Open loop: messages up to here have come due.
    pub(crate) scheduled: u64,
    /// Closed loop: messages under way.
    pub(crate) outstanding: u32,
    /// `[warm-up, measured]`.
    pub(crate) sent: [u64; 2],
    /// The socket took no more when something was to be sent.
    pub(crate) is_held: bool,
    /// Measured messages that were late because of that.
    pub(crate) held_up: u64,
}

/// One thread's side of the plan's [`Pace`].
#[derive(Clone, Debug)]
pub(crate) enum Pacing {
    /// Nobody publishes.
    Idle,
    Open(Schedule),
    Closed {
        window: u32,
    },
}

impl Pacing {
    /// For the thread `thread` of `threads`, which has every client whose number leaves that rest.
    pub(crate) fn new(relay: &Relay, thread: u32, threads: u32) -> Self {
        match relay.pace {
            _ if relay.publishers <= thread => Self::Idle,
            Pace::Open { per_second } => {
                let own = (thread..relay.publishers)
                    .step_by(threads as usize)
                    .collect();
                Self::Open(Schedule::new(per_second, relay.publishers, own))
            }
            Pace::Closed { window } => Self::Closed { window },
        }
    }

    /// Open loop: when this thread's next message is due, in nanoseconds after the start.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        match self {
            Self::Open(schedule) => schedule.peek().map(|(due_ns, _)| due_ns),
            _ => None,
        }
    }

    /// Open loop: takes the next message off the schedule if it is due before `before_ns`, in
    /// nanoseconds after the start. Gives back whose it is.
    pub(crate) fn take_due(&mut self, before_ns: u64) -> Option<u32> {
        let Self::Open(schedule) = self else {
            return None;
        };
        let (_, publisher) = schedule.peek().filter(|(due_ns, _)| *due_ns < before_ns)?;
        schedule.advance();
        Some(publisher)
    }

    /// The due time of the message that publisher number `index` may send at `now_ns`, on the run's
    /// clock. `None`: it has to wait. The caller sends what it asked for.
    pub(crate) fn permit(
        &self,
        index: u32,
        publisher: &mut Publisher,
        start_ns: u64,
        now_ns: u64,
        end_ns: u64,
    ) -> Option<u64> {
        match self {
            Self::Idle => None,
            Self::Open(schedule) => (publisher.seq < publisher.scheduled)
                .then(|| start_ns + schedule.due_ns(index, publisher.seq)),
            Self::Closed { window } => {
                if publisher.outstanding >= *window || now_ns >= end_ns {
                    return None;
                }
                publisher.outstanding += 1;
                Some(now_ns)
            }
        }
    }
}

/// Constant arrivals: message `n` of the whole run is due at `start + n / rate`, and it is
/// publisher `n % publishers` that sends it. A thread asks for its own publishers' share.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    interval_ns: f64,
    publishers: u64,
    /// Publishers of this thread, ascending.
    own: Vec<u32>,
    round: u64,
    position: usize,
}

impl Schedule {
    /// The schedule of the thread that has the publishers `own`, of `publishers` in all.
    fn new(per_second: f64, publishers: u32, own: Vec<u32>) -> Self {
        let interval_ns = 1e9 / per_second;
        Self {
            interval_ns,
            publishers: publishers.into(),
            own,
            round: 0,
            position: 0,
        }
    }

    /// When message `seq` of `publisher` is due, in nanoseconds after the start.
    fn due_ns(&self, publisher: u32, seq: u64) -> u64 {
        ((seq * self.publishers + u64::from(publisher)) as f64 * self.interval_ns) as u64
    }

    /// The next message of this thread: when it is due after the start, and whose it is.
    fn peek(&self) -> Option<(u64, u32)> {
        let publisher = *self.own.get(self.position)?;
        Some((self.due_ns(publisher, self.round), publisher))
    }

    /// Goes on to the message after the next.
    fn advance(&mut self) {
        self.position += 1;
        if self.position == self.own.len() {
            self.position = 0;
            self.round += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_one_schedule_without_gap_or_overlap() {
        let mut due = Vec::new();
        for thread in 0..3 {
            let own = (0..8).filter(|publisher| publisher % 3 == thread).collect();
            let mut schedule = Schedule::new(1000.0, 8, own);
            while let Some((at_ns, publisher)) = schedule.peek().filter(|next| next.0 < 100_000_000)
            {
                due.push((at_ns, publisher));
                schedule.advance();
            }
        }
        due.sort_unstable();
        let expected: Vec<_> = (0..100).map(|n| (n * 1_000_000, (n % 8) as u32)).collect();
        assert_eq!(due, expected);
    }
}
