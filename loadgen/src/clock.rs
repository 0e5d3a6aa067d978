//! Time: the clock of a run, the timer that wakes a sleeping thread, and CPU time.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

/// Nanoseconds since one common origin, on a clock that never goes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose origin is now.
    pub(crate) fn new() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// Nanoseconds since the origin.
    #[inline]
    pub(crate) fn now_ns(self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }
}

/// Wakes a poll at a time given in nanoseconds: `poll` itself knows whole milliseconds only.
///
/// It is registered edge-triggered and never read: setting it again clears it. It fires earlier by
/// the usual latency of a wake-up; the caller spins for the rest.
#[derive(Debug)]
pub(crate) struct Timer {
    fd: OwnedFd,
    armed_for_ns: u64,
    waking: Waking,
}

/// The time to wake a sleeping thread, exceeded once in four.
#[derive(Clone, Copy, Debug, Default)]
struct Waking {
    ns: u64,
}

impl Waking {
    const STEP_NS: u64 = 200;
    /// A longer delay is caused by other work on the core, so it must not prolong the spinning.
    const NS_MAX: u64 = 60_000;

    /// Records that a thread woke up this late. Steps up and down balance if one value in four
    /// lies above.
    fn note(&mut self, took_ns: u64) {
        self.ns = match took_ns > self.ns {
            true => (self.ns + 3 * Self::STEP_NS).min(Self::NS_MAX),
            false => self.ns.saturating_sub(Self::STEP_NS),
        };
    }
}

impl Timer {
    /// A timer that is registered under `token`.
    pub(crate) fn new(registry: &Registry, token: Token) -> std::io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self {
            fd,
            armed_for_ns: u64::MAX,
            waking: Waking::default(),
        })
    }

    /// It fires this much before the requested time.
    pub(crate) fn early_ns(&self) -> u64 {
        self.waking.ns
    }

    /// Records that it has fired and the thread woke at `now_ns`.
    pub(crate) fn woke(&mut self, now_ns: u64) {
        let fired_ns = self.armed_for_ns.saturating_sub(self.waking.ns);
        if let Some(took_ns) = now_ns.checked_sub(fired_ns) {
            self.waking.note(took_ns);
        }
        self.armed_for_ns = u64::MAX;
    }

    /// Fires once, in time for `at_ns`, which lies after `now_ns`.
    pub(crate) fn arm(&mut self, at_ns: u64, now_ns: u64) -> std::io::Result<()> {
        if self.armed_for_ns == at_ns {
            return Ok(());
        }
        let wait_ns = at_ns.saturating_sub(now_ns + self.waking.ns).max(1);
        let once = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: (wait_ns / 1_000_000_000) as i64,
                tv_nsec: (wait_ns % 1_000_000_000) as _,
            },
        };
        timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &once)?;
        self.armed_for_ns = at_ns;
        Ok(())
    }
}

/// CPU time that the calling thread has used.
pub(crate) fn thread_cpu() -> Duration {
    duration(clock_gettime(ClockId::ThreadCPUTime))
}

/// CPU time that the process has used.
pub(crate) fn process_cpu() -> Duration {
    duration(clock_gettime(ClockId::ProcessCPUTime))
}

fn duration(time: Timespec) -> Duration {
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use mio::{Events, Poll};

    use super::*;

    #[test]
    fn a_timer_wakes_a_poll_each_time_and_never_early() {
        let mut poll = Poll::new().expect("a poll");
        let mut timer = Timer::new(poll.registry(), Token(7)).expect("a timer");
        let mut events = Events::with_capacity(4);
        let clock = Clock::new();
        for _ in 0..3 {
            let now_ns = clock.now_ns();
            let at_ns = now_ns + 300_000;
            timer.arm(at_ns, now_ns).expect("armed");
            poll.poll(&mut events, Some(Duration::from_secs(10)))
                .expect("polled");
            assert_eq!(
                events
                    .iter()
                    .map(|event| event.token().0)
                    .collect::<Vec<_>>(),
                [7]
            );
            let woken_ns = clock.now_ns();
            assert!(woken_ns + timer.early_ns() >= at_ns);
            timer.woke(woken_ns);
        }
    }

    #[test]
    fn the_wakeup_time_settles_at_the_third_quartile() {
        let mut waking = Waking::default();
        for number in 0..4000_u64 {
            // From 10 to 50 us, in no order.
            waking.note(10_000 + number * 7919 % 40_000);
        }
        assert!((35_000..45_000).contains(&waking.ns), "{}", waking.ns);
        for _ in 0..1000 {
            waking.note(5_000_000);
        }
        assert_eq!(waking.ns, Waking::NS_MAX);
    }

    #[test]
    fn cpu_time_counts_work() {
        let (thread, process) = (thread_cpu(), process_cpu());
        while thread_cpu() <= thread {
            std::hint::spin_loop();
        }
        assert!(process_cpu() > process);
    }
}
