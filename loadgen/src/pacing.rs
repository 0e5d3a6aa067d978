//! When messages are sent. Pure: the time is an argument.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use rand_distr::{Distribution, Exp1};
use rand_pcg::Pcg64Mcg;

use crate::plan::{Arrivals, Pace, Relay};

/// The state of a client that publishes.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    pub(crate) number: u32,
    /// Sequence number of the next message.
    pub(crate) seq: u64,
    /// Open loop: messages that have become due so far.
    pub(crate) scheduled: u64,
    /// Closed loop: messages in flight.
    pub(crate) outstanding: u32,
    /// `[warm-up, measured]`.
    pub(crate) sent: [u64; 2],
    /// The socket accepted no more bytes when something was to be sent.
    pub(crate) is_held: bool,
    /// Measured messages that were late because of that.
    pub(crate) held_up: u64,
}

/// One thread's side of the plan's [`Pace`].
#[derive(Debug)]
pub(crate) enum Pacing {
    /// Nobody publishes.
    Idle,
    Constant(Constant),
    Poisson(Poisson),
    Closed {
        window: u32,
    },
}

impl Pacing {
    /// For thread number `thread` of `threads`, which has every connection whose number leaves that
    /// remainder.
    pub(crate) fn new(relay: &Relay, seed: u64, thread: u32, threads: u32) -> Self {
        let own: Vec<u32> = (0..relay.publishers)
            .filter(|publisher| relay.index_of(*publisher) % threads == thread)
            .collect();
        match relay.pace {
            _ if own.is_empty() => Self::Idle,
            Pace::Open {
                per_second,
                arrivals: Arrivals::Constant,
            } => {
                let ramp = Ramp::new(relay.ramp);
                Self::Constant(Constant::new(per_second, ramp, relay.publishers, own))
            }
            Pace::Open {
                per_second,
                arrivals: Arrivals::Poisson,
            } => {
                let each_per_second = per_second / f64::from(relay.publishers);
                Self::Poisson(Poisson::new(
                    each_per_second,
                    Ramp::new(relay.ramp),
                    seed,
                    &own,
                ))
            }
            Pace::Closed { window } => Self::Closed { window },
        }
    }

    /// Open loop: when this thread's next message is due, in nanoseconds after the start.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        match self {
            Self::Constant(schedule) => schedule.peek().map(|(due_ns, _)| due_ns),
            Self::Poisson(schedule) => schedule.peek(),
            _ => None,
        }
    }

    /// Open loop: takes the next message off the schedule if it is due before `before_ns`, in
    /// nanoseconds after the start. Returns its publisher.
    pub(crate) fn take_due(&mut self, before_ns: u64) -> Option<u32> {
        if self.next_ns()? >= before_ns {
            return None;
        }
        match self {
            Self::Constant(schedule) => schedule.take(),
            Self::Poisson(schedule) => schedule.take(),
            _ => None,
        }
    }

    /// The due time of the message that `publisher` may send at `now_ns`, on the run's clock.
    /// `None`: it has to wait. The caller must then send it.
    pub(crate) fn permit(
        &mut self,
        publisher: &mut Publisher,
        start_ns: u64,
        now_ns: u64,
        end_ns: u64,
    ) -> Option<u64> {
        match self {
            Self::Idle => None,
            Self::Constant(schedule) => (publisher.seq < publisher.scheduled)
                .then(|| start_ns + schedule.due_ns(publisher.number, publisher.seq)),
            Self::Poisson(schedule) => {
                let due_ns = schedule.pending(publisher.number)?;
                Some(start_ns + due_ns)
            }
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

/// A rate that rises from zero: it delays the messages that the full rate would have had at the
/// start.
#[derive(Clone, Copy, Debug)]
struct Ramp {
    ns: f64,
}

impl Ramp {
    fn new(ramp: Duration) -> Self {
        Self {
            ns: ramp.as_nanos() as f64,
        }
    }

    /// During the ramp the rate rises in proportion to the time, so half a ramp's messages are
    /// missing at its end: `t² / 2r` of the full rate's are due by `t`, then `t - r / 2`.
    fn stretch(self, full_rate_ns: f64) -> u64 {
        let stretched = if full_rate_ns < self.ns / 2.0 {
            (2.0 * self.ns * full_rate_ns).sqrt()
        } else {
            full_rate_ns + self.ns / 2.0
        };
        stretched as u64
    }
}

/// Constant arrivals: message `n` of the whole run is due at `start + n / rate`, and publisher `n %
/// publishers` sends it. A thread handles its own publishers' share.
#[derive(Debug)]
pub(crate) struct Constant {
    interval_ns: f64,
    ramp: Ramp,
    publishers: u64,
    /// Publishers of this thread, ascending.
    own: Vec<u32>,
    round: u64,
    position: usize,
}

impl Constant {
    /// The schedule of the thread with the publishers `own`, of `publishers` in all.
    fn new(per_second: f64, ramp: Ramp, publishers: u32, own: Vec<u32>) -> Self {
        Self {
            interval_ns: 1e9 / per_second,
            ramp,
            publishers: publishers.into(),
            own,
            round: 0,
            position: 0,
        }
    }

    /// When message `seq` of `publisher` is due, in nanoseconds after the start.
    fn due_ns(&self, publisher: u32, seq: u64) -> u64 {
        let number = seq * self.publishers + u64::from(publisher);
        self.ramp.stretch(number as f64 * self.interval_ns)
    }

    /// The next message of this thread: when it is due after the start, and its publisher.
    fn peek(&self) -> Option<(u64, u32)> {
        let publisher = *self.own.get(self.position)?;
        Some((self.due_ns(publisher, self.round), publisher))
    }

    /// Advances past the next message, and returns its publisher.
    fn take(&mut self) -> Option<u32> {
        let publisher = *self.own.get(self.position)?;
        self.position += 1;
        if self.position == self.own.len() {
            self.position = 0;
            self.round += 1;
        }
        Some(publisher)
    }
}

/// Poisson arrivals: each publisher is a Poisson process of its own, and together they are one with
/// the sum of their rates.
#[derive(Debug)]
pub(crate) struct Poisson {
    mean_ns: f64,
    ramp: Ramp,
    /// The next message of each publisher of this thread, the earliest on top.
    next: BinaryHeap<Reverse<(u64, u32)>>,
    /// By publisher.
    processes: HashMap<u32, Process>,
}

#[derive(Debug)]
struct Process {
    random: Pcg64Mcg,
    /// When the next message would be due without a ramp.
    at_ns: f64,
    /// Messages that were due but not sent.
    pending: VecDeque<u64>,
}

impl Process {
    fn advance(&mut self, mean_ns: f64) -> f64 {
        let gap: f64 = Exp1.sample(&mut self.random);
        self.at_ns += gap * mean_ns;
        self.at_ns
    }
}

impl Poisson {
    fn new(each_per_second: f64, ramp: Ramp, seed: u64, own: &[u32]) -> Self {
        let mut schedule = Self {
            mean_ns: 1e9 / each_per_second,
            ramp,
            next: BinaryHeap::with_capacity(own.len()),
            processes: HashMap::with_capacity(own.len()),
        };
        for publisher in own {
            // Each publisher has its own generator, so that the number of threads changes nothing.
            let state = (u128::from(seed) << 64) | u128::from(*publisher);
            let mut process = Process {
                random: Pcg64Mcg::new(state.wrapping_mul(STATE_FACTOR)),
                at_ns: 0.0,
                pending: VecDeque::new(),
            };
            let due_ns = schedule.ramp.stretch(process.advance(schedule.mean_ns));
            schedule.processes.insert(*publisher, process);
            schedule.next.push(Reverse((due_ns, *publisher)));
        }
        schedule
    }

    fn peek(&self) -> Option<u64> {
        self.next.peek().map(|Reverse((due_ns, _))| *due_ns)
    }

    fn take(&mut self) -> Option<u32> {
        let mut top = self.next.peek_mut()?;
        let Reverse((due_ns, publisher)) = *top;
        let process = self.processes.get_mut(&publisher)?;
        process.pending.push_back(due_ns);
        top.0.0 = self.ramp.stretch(process.advance(self.mean_ns));
        Some(publisher)
    }

    fn pending(&mut self, publisher: u32) -> Option<u64> {
        self.processes.get_mut(&publisher)?.pending.pop_front()
    }
}

/// Spreads neighbouring seeds over all bits of a generator's state (the multiplier of PCG's 128-bit
/// congruential generator).
const STATE_FACTOR: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Expect;
    use crate::plan::tests::relay;

    /// The messages due in the first tenth of a second, of all threads together.
    fn due(relay: &Relay, seed: u64, threads: u32) -> Vec<(u64, u32)> {
        let mut due = Vec::new();
        for thread in 0..threads {
            let mut pacing = Pacing::new(relay, seed, thread, threads);
            while let Some(at_ns) = pacing.next_ns().filter(|at_ns| *at_ns < 100_000_000) {
                let publisher = pacing.take_due(at_ns + 1).expect("due");
                due.push((at_ns, publisher));
            }
        }
        due.sort_unstable();
        due
    }

    fn of(arrivals: Arrivals, ramp_ms: u64) -> Relay {
        Relay {
            pace: Pace::Open {
                per_second: 1000.0,
                arrivals,
            },
            ramp: Duration::from_millis(ramp_ms),
            ..relay(8, Expect::All)
        }
    }

    #[test]
    fn threads_share_one_schedule_without_gap_or_overlap() {
        let expected: Vec<_> = (0..100).map(|n| (n * 1_000_000, (n % 8) as u32)).collect();
        assert_eq!(due(&of(Arrivals::Constant, 0), 1, 3), expected);
    }

    #[test]
    fn the_seed_repeats_poisson_arrivals_for_any_threads() {
        let relay = of(Arrivals::Poisson, 0);
        let one = due(&relay, 7, 1);
        assert_eq!(one, due(&relay, 7, 3));
        assert_ne!(one, due(&relay, 8, 1));
        // A tenth of a second at 1,000 a second has 100 messages, with a standard deviation of ten.
        assert!((50..150).contains(&one.len()), "{}", one.len());
        let gaps: Vec<_> = one.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        let short = gaps.iter().filter(|gap| **gap < 500_000).count();
        // 39 % of the gaps are shorter than half of the mean; with even spacing none are.
        assert!(short > one.len() / 5, "{gaps:?}");
    }

    #[test]
    fn a_due_message_is_permitted_once_with_its_due_time() {
        let relay = of(Arrivals::Poisson, 0);
        let mut pacing = Pacing::new(&relay, 7, 0, 1);
        let at_ns = pacing.next_ns().expect("a message");
        let publisher = pacing.take_due(u64::MAX).expect("due");
        let mut state = Publisher {
            number: publisher,
            ..Publisher::default()
        };
        let mut permit = || pacing.permit(&mut state, 50, 0, 0);
        assert_eq!((permit(), permit()), (Some(50 + at_ns), None));
    }

    #[test]
    fn over_a_ramp_the_rate_rises_in_proportion() {
        for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
            let due = due(&of(arrivals, 100), 3, 1);
            // Half of the 100 messages, three quarters of them in the second half.
            let early = due.iter().filter(|one| one.0 < 50_000_000).count();
            assert!((25..85).contains(&due.len()), "{due:?}");
            assert!(early * 2 < due.len(), "{early} of {}", due.len());
        }
        assert_eq!(due(&of(Arrivals::Constant, 100), 3, 1).len(), 50);
    }
}
