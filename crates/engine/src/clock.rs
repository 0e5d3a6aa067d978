//! The clocks of a shard.
//!
//! Latency is measured in real nanoseconds. Ages and deadlines use a clock that is read once a turn
//! and advances by a bounded step, so that they do not all expire at once after a stall of the
//! whole process. Deadlines that depend on reading use a third clock, which stops while the shard
//! does not read because a mailbox is full or too much has yet to be delivered.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::limits::{CLOCK_STEP_MAX, TICK};

/// The unit of deadlines. 2^32 ticks are 13 years.
pub(crate) type Tick = u32;

const TICK_NS: u64 = nanoseconds(TICK);

/// The clocks of a shard. They are read for every send, so they are kept in nanoseconds; 64 bits
/// hold 584 years.
pub(crate) struct Clock {
    /// The start of the process's nanoseconds, on the system's clock.
    origin_ns: u64,
    turn_ns: u64,
    elapsed_ns: u64,
    reading_ns: u64,
}

impl Clock {
    /// A clock whose nanoseconds count from `origin`, which must be the same for all shards.
    pub(crate) fn new(origin: Instant) -> Clock {
        Clock {
            origin_ns: monotonic_ns().saturating_sub(nanoseconds(origin.elapsed())),
            turn_ns: 0,
            elapsed_ns: 0,
            reading_ns: 0,
        }
    }

    /// Advances to the current time, by a bounded step. Called once a turn.
    pub(crate) fn advance(&mut self, is_reading: bool) {
        self.advance_to(self.now_ns(), is_reading);
    }

    fn advance_to(&mut self, now_ns: u64, is_reading: bool) {
        let step_ns = now_ns.saturating_sub(self.turn_ns);
        let step_ns = step_ns.min(nanoseconds(CLOCK_STEP_MAX));
        self.turn_ns = now_ns;
        self.elapsed_ns += step_ns;
        if is_reading {
            self.reading_ns += step_ns;
        }
    }

    /// Real nanoseconds since the origin, read from the operating system now.
    #[inline]
    pub(crate) fn now_ns(&self) -> u64 {
        monotonic_ns().saturating_sub(self.origin_ns)
    }

    /// Real nanoseconds since the origin at the start of the turn.
    pub(crate) fn turn_ns(&self) -> u64 {
        self.turn_ns
    }

    /// The tick of this turn, for ages and deadlines.
    pub(crate) fn tick(&self) -> Tick {
        (self.elapsed_ns / TICK_NS) as Tick
    }

    /// The tick of this turn, for deadlines that depend on reading.
    pub(crate) fn reading_tick(&self) -> Tick {
        (self.reading_ns / TICK_NS) as Tick
    }

    /// The time until the next tick.
    pub(crate) fn until_next_tick(&self) -> Duration {
        Duration::from_nanos(TICK_NS - self.elapsed_ns % TICK_NS)
    }
}

/// The system's monotonic clock. The standard library reads the same one, but subtracting its
/// values takes longer than reading it.
#[inline]
fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Whole ticks in `duration`, rounded up, so that a deadline is never early.
pub(crate) fn ticks_of(duration: Duration) -> Tick {
    let ticks = duration.as_nanos().div_ceil(TICK.as_nanos());
    Tick::try_from(ticks)
        .unwrap_or(Tick::MAX / 2)
        .min(Tick::MAX / 2)
}

const fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_stall_counts_as_one_bounded_step() {
        let mut clock = Clock::new(Instant::now());
        clock.advance_to(250 * MS, true);
        assert_eq!(clock.tick(), 2);
        assert_eq!(clock.until_next_tick(), Duration::from_millis(50));
        clock.advance_to(3_600_000 * MS, true);
        assert_eq!(clock.tick(), 12);
        assert_eq!(clock.turn_ns(), 3_600_000 * MS);
    }

    #[test]
    fn the_reading_clock_stands_while_nothing_is_read() {
        let mut clock = Clock::new(Instant::now());
        clock.advance_to(300 * MS, false);
        assert_eq!((clock.tick(), clock.reading_tick()), (3, 0));
    }

    #[test]
    fn it_agrees_with_the_standard_clock() {
        let origin = Instant::now();
        let clock = Clock::new(origin);
        let before = nanoseconds(origin.elapsed());
        let now_ns = clock.now_ns();
        // At most the time between the two readings that fixed the origin is missing.
        assert!(now_ns + 1_000 * MS >= before);
        assert!(now_ns <= nanoseconds(origin.elapsed()) + 1_000 * MS);
    }

    #[test]
    fn a_deadline_is_never_early() {
        assert_eq!(ticks_of(Duration::from_millis(101)), 2);
        assert_eq!(ticks_of(Duration::MAX), Tick::MAX / 2);
    }
}
