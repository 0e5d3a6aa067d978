//! When the kernel had what a read brings: its receive times, on the run's clock.
//!
//! A socket that was asked for them before it connects ([`ask_for_times`]) gives with each read the
//! time at which the last segment of what was read arrived (`SO_TIMESTAMPNS`): behind the network
//! card, or on the loopback interface at the end of the sender's `send`. Of what one read takes
//! together, the earlier parts lay there for longer than that says.
//!
//! The kernel tells the time of day. How far that is ahead of the run's clock is measured every few
//! milliseconds ([`TimeOfDay`]): the two run at the same pace, and only setting the clock moves
//! one of them. What was read while the two were apart is clamped between sent and received.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use rustix::net::{RecvFlags, recv};
use rustix::time::{ClockId, clock_gettime};

use crate::clock::Clock;

/// One time of the kernel takes 32 bytes.
const CONTROL_BYTES: usize = 64;
/// How often the time of day is held against the run's clock.
const LOOK_NS: u64 = 10_000_000;
/// Tries of one look: a thread that was held up between two clocks has read neither together.
const TRIES: usize = 3;
/// The clock was set if the time of day has moved by more than this, and than the looks are exact.
const STEP_NS_MIN: u64 = 5_000;

/// Room for control messages, aligned as they are.
#[repr(align(8))]
struct Control([u8; CONTROL_BYTES]);

/// Has the kernel tell when data arrived; before it does. False: it will not.
pub(crate) fn ask_for_times(socket: &impl AsFd) -> bool {
    setsockopt(socket, ReceiveTimestampns, &true).is_ok()
}

/// Reads once, and takes no time.
///
/// The system call is inlined: where a call of a function returns after it, the processor has
/// forgotten where to, which costs a good part of a short call.
///
/// # Errors
/// Those of the socket, `WouldBlock` among them.
#[inline(always)]
pub(crate) fn read(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let (count, _) = recv(socket, buffer, RecvFlags::empty())?;
    Ok(count)
}

/// Reads once. Gives back how many bytes, and the kernel's time of the last ones, in nanoseconds
/// since 1970; `None` where it was not asked for, and at the end.
///
/// # Errors
/// Those of the socket, `WouldBlock` among them.
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

/// Which reads take a receive time: a read that does costs a tenth more.
///
/// After a pause all do, so that none is missed of what came while the thread was not there; while
/// there is much to do, one in four by chance. Each stands for as many as it was chosen from, so
/// that no kind of read counts for more than it should.
#[derive(Debug)]
pub(crate) struct Choice {
    random: u32,
    last_turn_ns: u64,
    is_after_pause: bool,
}

/// Turns that begin so long after the last one come after a pause.
const PAUSE_NS: u64 = 1_000_000;
/// Otherwise one read in so many takes a time; a power of two.
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

    /// For how many reads the next one stands; `None`: it takes no time.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<u64> {
        if self.is_after_pause {
            return Some(1);
        }
        // The linear congruence of Numerical Recipes: its highest bits are good enough.
        self.random = self
            .random
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        (self.random < u32::MAX / CHOSEN_FROM).then_some(CHOSEN_FROM.into())
    }
}

/// How far the time of day is ahead of a run's clock.
#[derive(Debug)]
pub(crate) struct TimeOfDay {
    clock: Clock,
    ahead_ns: u64,
    /// So much the last look may be wrong.
    within_ns: u64,
    look_next_ns: u64,
    /// How often somebody has set the clock.
    pub(crate) steps: u64,
}

impl TimeOfDay {
    /// Looks for the first time.
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

    /// Looks again if it is time to, at `now_ns` of the run's clock.
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

    /// How far ahead the time of day is, and how exact that is.
    fn read_both(&self) -> (u64, u64) {
        let before_ns = self.clock.now_ns();
        let at = clock_gettime(ClockId::Realtime);
        let after_ns = self.clock.now_ns();
        let at_ns = at.tv_sec as u64 * 1_000_000_000 + at.tv_nsec as u64;
        let between_ns = before_ns + (after_ns - before_ns) / 2;
        (at_ns.wrapping_sub(between_ns), after_ns - before_ns)
    }

    /// Takes a look: what is more exact than before, or so far off that the clock was set.
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

    /// A time of day on the run's clock.
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
        // The kernel begins to take times some moments after somebody has asked for the first one.
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
    fn after_a_pause_all_reads_take_a_time_and_else_a_part_that_stands_for_all() {
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
        // What is less exact says nothing new.
        day.note((5_000_004_000, 4000));
        assert_eq!((day.ahead_ns, day.steps), (5_000_000_000, 0));
        day.note((5_000_000_010, 60));
        assert_eq!((day.ahead_ns, day.steps), (5_000_000_010, 0));
        for (set_to_ns, steps) in [(9_000_000_000, 1), (1_000_000_000, 2)] {
            day.note((set_to_ns, 300));
            assert_eq!((day.ahead_ns, day.steps), (set_to_ns, steps));
            assert_eq!(arrived_ns(&day, set_to_ns + 42), 42);
        }
        // Of before it was set back.
        assert_eq!(arrived_ns(&day, 900), 0);
    }
}
