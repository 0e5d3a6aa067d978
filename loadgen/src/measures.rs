//! The generator's own share of each latency: how late it sent, and how late it received.

use hdrhistogram::Histogram;

use crate::histogram::Buckets;

/// A receive time this far outside the possible range was clamped because the clock was set, not
/// for the microsecond or so by which the clocks differ.
const EXACT_NS: u64 = 50_000;

/// One thread's measurements of measured messages, in nanoseconds.
#[derive(Debug)]
pub(crate) struct Measures {
    /// From sent to received, of messages that were sent as soon as the generator got to it.
    sent: Buckets,
    /// The same for messages that had waited for the socket, and from when these were due.
    held_sent: Buckets,
    held_due: Buckets,
    /// From the kernel's receive time to when the data was handled.
    lag: Buckets,
    /// From due to the kernel's receive time.
    arrived: Buckets,
    /// Deliveries whose receive time lay before they were sent or after they were handled: the
    /// clock was set.
    pub(crate) clamped: u64,
}

/// When data arrived, and when it was handled, on the run's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// When `recv` returned.
    pub(crate) now_ns: u64,
    /// The kernel's receive time; `None` if it gave none.
    pub(crate) arrived_ns: Option<u64>,
    /// How many reads this one stands for, if it has a receive time.
    pub(crate) stands_for: u64,
}

/// Messages that were due and sent together: within one read they have the same latency.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Burst {
    pub(crate) due_ns: u64,
    pub(crate) sent_ns: u64,
    /// They had waited for the socket.
    pub(crate) is_held: bool,
    pub(crate) count: u64,
}

impl Measures {
    pub(crate) fn new() -> Self {
        Self {
            sent: Buckets::new(),
            held_sent: Buckets::new(),
            held_due: Buckets::new(),
            lag: Buckets::new(),
            arrived: Buckets::new(),
            clamped: 0,
        }
    }

    /// Records messages that arrived together.
    #[inline]
    pub(crate) fn record(&mut self, burst: &Burst, moment: &Moment) {
        let Burst {
            due_ns,
            sent_ns,
            is_held,
            count,
        } = *burst;
        let now_ns = moment.now_ns;
        let from_sent_ns = now_ns.saturating_sub(sent_ns);
        if is_held {
            self.held_sent.record(from_sent_ns, count);
            self.held_due.record(now_ns.saturating_sub(due_ns), count);
        } else {
            self.sent.record(from_sent_ns, count);
        }
        if let Some(told_ns) = moment.arrived_ns {
            let count = count * moment.stands_for;
            let arrived_ns = told_ns.max(sent_ns).min(now_ns);
            if told_ns.abs_diff(arrived_ns) > EXACT_NS {
                self.clamped += count;
            }
            self.lag.record(now_ns - arrived_ns, count);
            self.arrived
                .record(arrived_ns.saturating_sub(due_ns), count);
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.sent.add(&other.sent);
        self.held_sent.add(&other.held_sent);
        self.held_due.add(&other.held_due);
        self.lag.add(&other.lag);
        self.arrived.add(&other.arrived);
        self.clamped += other.clamped;
    }

    /// From sent to received.
    pub(crate) fn uncorrected(&self) -> Histogram<u64> {
        let mut all = self.sent.clone();
        all.add(&self.held_sent);
        all.histogram()
    }

    /// The latency as it would be if the generator had always sent in time: messages that waited
    /// for the socket count from when they were due, all others from when they were sent.
    pub(crate) fn in_time(&self) -> Histogram<u64> {
        let mut all = self.sent.clone();
        all.add(&self.held_due);
        all.histogram()
    }

    /// From the kernel's receive time to when the data was handled.
    pub(crate) fn lag(&self) -> Histogram<u64> {
        self.lag.histogram()
    }

    /// From due to the kernel's receive time.
    pub(crate) fn arrived(&self) -> Histogram<u64> {
        self.arrived.histogram()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(is_held: bool, arrived_ns: Option<u64>) -> Measures {
        let mut measures = Measures::new();
        let burst = Burst {
            due_ns: 1_000_000,
            sent_ns: 3_000_000,
            is_held,
            count: 2,
        };
        let moment = Moment {
            now_ns: 9_000_000,
            arrived_ns,
            stands_for: 1,
        };
        measures.record(&burst, &moment);
        measures
    }

    /// The only value, to the three digits of a histogram, and its count.
    fn value(histogram: &Histogram<u64>) -> (f64, u64) {
        let ms = histogram.max() as f64 / 1e6;
        ((ms * 100.0).round() / 100.0, histogram.len())
    }

    #[test]
    fn waiting_for_the_socket_is_not_lateness() {
        let (own, held) = (measured(false, None), measured(true, None));
        assert_eq!(value(&own.uncorrected()), (6.0, 2));
        assert_eq!(value(&own.in_time()), (6.0, 2));
        assert_eq!(value(&held.uncorrected()), (6.0, 2));
        assert_eq!(value(&held.in_time()), (8.0, 2));
        assert_eq!((own.lag().len(), own.arrived().len()), (0, 0));
    }

    #[test]
    fn the_lag_lies_between_sending_and_handling() {
        let lag_of = |arrived_ns| {
            let measures = measured(false, Some(arrived_ns));
            let (lag, arrived) = (value(&measures.lag()), value(&measures.arrived()));
            (lag.0, arrived.0, measures.clamped)
        };
        assert_eq!(lag_of(7_000_000), (2.0, 6.0, 0));
        // Within the precision of the clocks.
        assert_eq!(lag_of(9_000_900), (0.0, 8.0, 0));
        assert_eq!(lag_of(2_999_100), (6.0, 2.0, 0));
        // The clock was set.
        assert_eq!(lag_of(60_000_000_000), (0.0, 8.0, 2));
        assert_eq!(lag_of(0), (6.0, 2.0, 2));
    }
}
