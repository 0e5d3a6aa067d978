//! Kernel receive times of reads, converted to the run's clock.
//!
//! If a socket asks for them before it connects ([`ask_for_times`]), each read reports when the
//! last segment of its data arrived (`SO_TIMESTAMPNS`): at the network card's driver, or on the
//! loopback interface at the end of the sender's `send`. Earlier data in the same read arrived
//! earlier than that.
//!
//! The kernel reports the time of day. Its offset from the run's clock is measured every few
//! milliseconds ([`TimeOfDay`]): both run at the same pace, and only setting the clock moves one of
//! them. A read between such a step and the next measurement is clamped to the time between sent
//! and received.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use rustix::net::{RecvFlags, recv};
use rustix::time::{ClockId, clock_gettime};

use crate::clock::Clock;

/// One timestamp of the kernel takes 32 bytes.
const CONTROL_BYTES: usize = 64;
/// How often the time of day is compared with the run's clock.
const LOOK_NS: u64 = 10_000_000;
/// Tries per measurement: a thread that is preempted between reading the two clocks gets a useless
/// pair.
const TRIES: usize = 3;
/// The clock was set if the time of day moved by more than this and by more than the precision of
/// the measurements.
const STEP_NS_MIN: u64 = 5_000;

/// A buffer for control messages, with their alignment.
#[repr(align(8))]
struct Control([u8; CONTROL_BYTES]);

/// Asks the kernel for receive times; call it before the socket connects. Returns false if the
/// kernel does not support them.
pub(crate) fn ask_for_times(socket: &impl AsFd) -> bool {
    setsockopt(socket, ReceiveTimestampns, &true).is_ok()
}

/// Reads once, without a receive time.
///
/// The system call is inlined: returning from a function call after it would be mispredicted, which
/// costs a good part of a short call.
///
/// # Errors
/// Those of the socket, including `WouldBlock`.
#[inline(always)]
pub(crate) fn read(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let (count, _) = recv(socket, buffer, RecvFlags::empty())?;
    Ok(count)
}

/// Reads once. Returns the number of bytes and the kernel's time of the last of them, in
/// nanoseconds since 1970; `None` if it was not asked for, and at the end of the stream.
///
/// # Errors
/// Those of the socket, including `WouldBlock`.
pub(crate) fn read_timed(
    socket: &impl AsRawFd,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<u64>)> {
    let mut control = Control([0; CONTROL_BYTES]);
    let mut into = [IoSliceMut::new(buffer)];
    let (fd, none) = (socket.as_raw_fd(), MsgFlags::empty());
    let message = recvmsg::<()>(fd, &mut into, Some(&mut control.0), none)?;
    let at_ns = match message.cmsgs()?.next() {
        Some(ControlMessageOwned::ScmTimestampns(at)) => {
            Some(at.tv_sec() as u64 * 1_000_000_000 + at.tv_nsec() as u64)
        }
        _ => None,
    };
    Ok((message.bytes, at_ns))
}

/// Chooses the reads that take a receive time, because such a read costs a tenth more.
///
/// After a pause all reads do, so that none of the data that came during the pause is missed; under
/// load, a random quarter does. Each stands for as many reads as it was chosen from, so that every
/// kind of read has its correct weight.
#[derive(Debug)]
pub(crate) struct Choice {
    random: u32,
    last_turn_ns: u64,
    is_after_pause: bool,
}

/// A turn that begins this long after the last one comes after a pause.
const PAUSE_NS: u64 = 1_000_000;
/// Otherwise one of this many reads takes a time; a power of two.
const CHOSEN_FROM: u32 = 4;

impl Choice {
    pub(crate) fn new(seed: u32) -> Self {
        Self {
            random: seed,
            last_turn_ns: 0,
            is_after_pause: true,
        }
    }

    /// A turn begins at `now_ns`.
    #[inline]
    pub(crate) fn turn(&mut self, now_ns: u64) {
        self.is_after_pause = now_ns - self.last_turn_ns >= PAUSE_NS;
        self.last_turn_ns = now_ns;
    }

    /// The number of reads that the next one stands for; `None`: it takes no time.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<u64> {
        if self.is_after_pause {
            return Some(1);
        }
        // The linear congruential generator of Numerical Recipes: its highest bits are good enough.
        self.random = self
            .random
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        (self.random < u32::MAX / CHOSEN_FROM).then_some(CHOSEN_FROM.into())
    }
}

/// The offset of the time of day from a run's clock.
#[derive(Debug)]
pub(crate) struct TimeOfDay {
    clock: Clock,
    ahead_ns: u64,
    /// The possible error of the last measurement.
    within_ns: u64,
    look_next_ns: u64,
    /// How often the clock was set.
    pub(crate) steps: u64,
}

impl TimeOfDay {
    /// Takes the first measurement.
    pub(crate) fn new(clock: Clock) -> Self {
        let mut first = Self {
            clock,
            ahead_ns: 0,
            within_ns: u64::MAX,
            look_next_ns: 0,
            steps: 0,
        };
        first.keep_up(0);
        first
    }

    /// Measures again if it is time to, at `now_ns` of the run's clock.
    #[inline]
    pub(crate) fn keep_up(&mut self, now_ns: u64) {
        if now_ns >= self.look_next_ns {
            self.look_next_ns = now_ns + LOOK_NS;
            self.look();
        }
    }

    #[cold]
    fn look(&mut self) {
        let mut best = self.read_both();
        for _ in 1..TRIES {
            let next = self.read_both();
            if next.1 < best.1 {
                best = next;
            }
        }
        self.note(best);
    }

    /// The offset of the time of day, and its possible error.
    fn read_both(&self) -> (u64, u64) {
        let before_ns = self.clock.now_ns();
        let at = clock_gettime(ClockId::Realtime);
        let after_ns = self.clock.now_ns();
        let at_ns = at.tv_sec as u64 * 1_000_000_000 + at.tv_nsec as u64;
        let between_ns = before_ns + (after_ns - before_ns) / 2;
        (at_ns.wrapping_sub(between_ns), after_ns - before_ns)
    }

    /// Adopts a measurement that is more precise than the last one, or so different that the clock
    /// was set.
    fn note(&mut self, (ahead_ns, within_ns): (u64, u64)) {
        let is_first = self.within_ns == u64::MAX;
        let apart_ns = ahead_ns.abs_diff(self.ahead_ns);
        let is_step = !is_first
            && apart_ns
                > STEP_NS_MIN
                    .saturating_add(self.within_ns)
                    .saturating_add(within_ns);
        self.steps += u64::from(is_step);
        if is_step || within_ns < self.within_ns {
            (self.ahead_ns, self.within_ns) = (ahead_ns, within_ns);
        }
    }

    /// Converts a time of day to the run's clock.
    #[inline]
    pub(crate) fn on_run_clock(&self, at_ns: u64) -> u64 {
        at_ns.saturating_sub(self.ahead_ns)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn pair() -> (TcpStream, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        assert!(ask_for_times(&socket));
        let address = listener.local_addr().expect("bound");
        socket.connect(&address.into()).expect("connected");
        (listener.accept().expect("a peer").0, socket)
    }

    #[test]
    fn a_read_says_when_its_last_bytes_arrived() {
        let clock = Clock::new();
        let (mut peer, socket) = pair();
        let day = TimeOfDay::new(clock);
        let mut buffer = [0; 64];
        let until_ns = clock.now_ns() + 30_000_000_000;
        // The kernel starts to take times shortly after the first socket asks for them.
        let (range, at_ns) = loop {
            assert!(clock.now_ns() < until_ns, "no time came");
            peer.write_all(b"one").expect("sent");
            let before_ns = clock.now_ns();
            peer.write_all(b"two two").expect("sent");
            let sent_ns = clock.now_ns();
            while clock.now_ns() < sent_ns + 10_000_000 {
                std::hint::spin_loop();
            }
            let (count, at_ns) = read_timed(&socket, &mut buffer).expect("read");
            assert_eq!(&buffer[..count], b"onetwo two");
            if let Some(at_ns) = at_ns {
                break (before_ns..=sent_ns, at_ns);
            }
        };
        let at_ns = day.on_run_clock(at_ns);
        let exact_ns = day.within_ns + 1000;
        let range = range.start() - exact_ns..=range.end() + exact_ns;
        assert!(range.contains(&at_ns), "{at_ns} in {range:?}");
        drop(peer);
        let end = read_timed(&socket, &mut buffer).expect("the end");
        assert_eq!(end, (0, None));
    }

    #[test]
    fn reads_are_timed_fully_after_a_pause_and_else_sampled() {
        let mut choice = Choice::new(7);
        let told = |choice: &mut Choice| -> u64 {
            let each = (0..4000).map(|_| choice.next());
            each.flatten().sum()
        };
        choice.turn(5_000_000);
        assert_eq!(told(&mut choice), 4000);
        choice.turn(5_900_000);
        let chosen = (0..4000).filter(|_| choice.next().is_some()).count();
        assert!((900..1100).contains(&chosen), "{chosen}");
        assert!((3600..4400).contains(&told(&mut choice)));
        choice.turn(6_900_000);
        assert_eq!(told(&mut choice), 4000);
    }

    #[test]
    fn setting_the_clock_moves_what_follows_and_is_counted() {
        let mut day = TimeOfDay::new(Clock::new());
        (day.ahead_ns, day.within_ns) = (5_000_000_000, 100);
        let arrived_ns = |day: &TimeOfDay, of_day_ns| day.on_run_clock(of_day_ns);
        assert_eq!(arrived_ns(&day, 5_000_000_700), 700);
        // A less precise measurement adds nothing.
        day.note((5_000_004_000, 4000));
        assert_eq!((day.ahead_ns, day.steps), (5_000_000_000, 0));
        day.note((5_000_000_010, 60));
        assert_eq!((day.ahead_ns, day.steps), (5_000_000_010, 0));
        for (set_to_ns, steps) in [(9_000_000_000, 1), (1_000_000_000, 2)] {
            day.note((set_to_ns, 300));
            assert_eq!((day.ahead_ns, day.steps), (set_to_ns, steps));
            assert_eq!(arrived_ns(&day, set_to_ns + 42), 42);
        }
        // A time from before the clock was set back.
        assert_eq!(arrived_ns(&day, 900), 0);
    }
}
