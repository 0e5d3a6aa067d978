//! A shard's time.
//!
//! Latency is measured in real nanoseconds. Ages and deadlines run on a clock that is read once a
//! turn and advances by a bounded step, so that a stall of the whole process does not let all of
//! them expire at once. Deadlines that depend on reading run on a third one, which stands still
//! while the shard does not read because a mailbox is full or too much is yet to be delivered.

use std::time::{Duration, Instant};

use crate::limits::{CLOCK_STEP_MAX, TICK};

/// Deadlines are kept in these: 2^32 of them are 13 years.
pub(crate) type Tick = u32;

/// A shard's time.
pub(crate) struct Clock {
    origin: Instant,
    last: Instant,
    elapsed: Duration,
    reading: Duration,
}

impl Clock {
    /// A clock whose nanoseconds count from `origin`, the same for all shards.
    pub(crate) fn new(origin: Instant) -> Clock {
        Clock {
            origin,
            last: origin,
            elapsed: Duration::ZERO,
            reading: Duration::ZERO,
        }
    }

    /// Advances to now, by a bounded step. Called once a turn.
    pub(crate) fn advance(&mut self, is_reading: bool) {
        self.advance_to(Instant::now(), is_reading);
    }

    fn advance_to(&mut self, now: Instant, is_reading: bool) {
        let step = now.saturating_duration_since(self.last).min(CLOCK_STEP_MAX);
        self.last = now;
        self.elapsed += step;
        if is_reading {
            self.reading += step;
        }
    }

    /// Real nanoseconds since the origin, read from the operating system at this moment.
    pub(crate) fn now_ns(&self) -> u64 {
        nanoseconds(self.origin.elapsed())
    }

    /// Real nanoseconds since the origin at the start of the turn.
    pub(crate) fn turn_ns(&self) -> u64 {
        nanoseconds(self.last.saturating_duration_since(self.origin))
    }

    /// The tick of this turn, for ages and deadlines.
    pub(crate) fn tick(&self) -> Tick {
        ticks(self.elapsed)
    }

    /// The tick of this turn, for deadlines that depend on reading.
    pub(crate) fn reading_tick(&self) -> Tick {
        ticks(self.reading)
    }

    /// How long until the next tick.
    pub(crate) fn until_next_tick(&self) -> Duration {
        TICK - Duration::from_nanos(nanoseconds(self.elapsed) % nanoseconds(TICK))
    }
}

/// Whole ticks in `duration`, rounded up: a deadline is never early.
pub(crate) fn ticks_of(duration: Duration) -> Tick {
    let ticks = duration.as_nanos().div_ceil(TICK.as_nanos());
    Tick::try_from(ticks)
        .unwrap_or(Tick::MAX / 2)
        .min(Tick::MAX / 2)
}

fn ticks(elapsed: Duration) -> Tick {
    (nanoseconds(elapsed) / nanoseconds(TICK)) as Tick
}

/// 64 bits of them are 584 years, and are divided by an instruction instead of a function.
const fn nanoseconds(elapsed: Duration) -> u64 {
    elapsed.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_counts_as_one_bounded_step() {
        let origin = Instant::now();
        let mut clock = Clock::new(origin);
        clock.advance_to(origin + Duration::from_millis(250), true);
        assert_eq!(clock.tick(), 2);
        clock.advance_to(origin + Duration::from_secs(3600), true);
        assert_eq!(clock.tick(), 12);
        assert!(clock.turn_ns() >= 3_600_000_000_000);
    }

    #[test]
    fn the_reading_clock_stands_while_nothing_is_read() {
        let origin = Instant::now();
        let mut clock = Clock::new(origin);
        clock.advance_to(origin + Duration::from_millis(300), false);
        assert_eq!((clock.tick(), clock.reading_tick()), (3, 0));
    }

    #[test]
    fn a_deadline_is_never_early() {
        assert_eq!(ticks_of(Duration::from_millis(101)), 2);
        assert_eq!(ticks_of(Duration::MAX), Tick::MAX / 2);
    }
}
