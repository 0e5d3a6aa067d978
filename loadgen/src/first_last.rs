//! Times at which the first and the last receiver got each message.
//!
//! A thread keeps the messages in flight in a ring, by their number in the run. A message that all
//! receivers of this thread have is finished here; with several threads it is then merged into a
//! shared ring: one lock per message and thread, none per delivery.

use std::sync::{Mutex, PoisonError};

use hdrhistogram::Histogram;

use crate::histogram;
use crate::plan::{Expect, Relay};
use crate::stamp::Stamp;

/// Messages in flight that a thread tracks, at least and at most.
const SLOTS: std::ops::RangeInclusive<u64> = 1 << 12..=1 << 18;
/// Seconds of an open loop's load that may be in flight and are still tracked.
const SECONDS_UNDER_WAY: f64 = 1.0;
/// Locks of the shared ring.
const STRIPES: u64 = 64;

/// Latencies of the first and of the last receivers, in nanoseconds.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) first: Histogram<u64>,
    pub(crate) last: Histogram<u64>,
    pub(crate) first_uncorrected: Histogram<u64>,
    pub(crate) last_uncorrected: Histogram<u64>,
}

impl Ends {
    pub(crate) fn new() -> Self {
        Self {
            first: histogram::new(),
            last: histogram::new(),
            first_uncorrected: histogram::new(),
            last_uncorrected: histogram::new(),
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        histogram::merge(&mut self.first, &other.first);
        histogram::merge(&mut self.last, &other.last);
        histogram::merge(&mut self.first_uncorrected, &other.first_uncorrected);
        histogram::merge(&mut self.last_uncorrected, &other.last_uncorrected);
    }

    /// Records a message for which no more deliveries are awaited.
    fn record(&mut self, slot: &Slot, is_complete: bool) {
        let record = |histogram, at_ns: u64, from_ns| {
            histogram::record(histogram, at_ns.saturating_sub(from_ns));
        };
        record(&mut self.first, slot.first_ns, slot.due_ns);
        record(&mut self.first_uncorrected, slot.first_ns, slot.sent_ns);
        if is_complete {
            record(&mut self.last, slot.last_ns, slot.due_ns);
            record(&mut self.last_uncorrected, slot.last_ns, slot.sent_ns);
        }
    }
}

/// A message, or one thread's part of it.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Its number in the run; `u64::MAX` for an empty slot.
    number: u64,
    due_ns: u64,
    sent_ns: u64,
    first_ns: u64,
    last_ns: u64,
    receivers: u32,
}

const EMPTY: Slot = Slot {
    number: u64::MAX,
    due_ns: 0,
    sent_ns: 0,
    first_ns: u64::MAX,
    last_ns: 0,
    receivers: 0,
};

/// State shared by all threads of a run.
#[derive(Debug)]
pub(crate) struct Joint {
    stripes: Vec<Mutex<Vec<Slot>>>,
}

impl Joint {
    /// For a run of several threads; `None` for one.
    pub(crate) fn new(relay: &Relay, threads: u32) -> Option<Self> {
        let each = (slots(relay) / STRIPES).max(1) as usize;
        let stripes = (0..STRIPES)
            .map(|_| Mutex::new(vec![EMPTY; each]))
            .collect();
        (threads > 1).then_some(Self { stripes })
    }

    /// Merges one thread's part of a message, of which `expected` receivers are awaited in all.
    fn fold(&self, part: &Slot, expected: u32, ends: &mut Ends) {
        let stripe = &self.stripes[(part.number % STRIPES) as usize];
        // A thread that panicked ends the run elsewhere.
        let mut slots = stripe.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (part.number / STRIPES) as usize % slots.len();
        let slot = &mut slots[at];
        if slot.number != part.number {
            if slot.number != u64::MAX {
                if slot.number > part.number {
                    return;
                }
                ends.record(slot, false);
            }
            *slot = Slot {
                number: part.number,
                due_ns: part.due_ns,
                sent_ns: part.sent_ns,
                ..EMPTY
            };
        }
        slot.first_ns = slot.first_ns.min(part.first_ns);
        slot.last_ns = slot.last_ns.max(part.last_ns);
        slot.receivers += part.receivers;
        if slot.receivers == expected {
            ends.record(slot, true);
            *slot = EMPTY;
        }
    }

    /// At the end: the remaining messages have not reached everybody.
    pub(crate) fn finish(&self, ends: &mut Ends) {
        for stripe in &self.stripes {
            let mut slots = stripe.lock().unwrap_or_else(PoisonError::into_inner);
            for slot in slots.iter_mut().filter(|slot| slot.number != u64::MAX) {
                ends.record(slot, false);
                *slot = EMPTY;
            }
        }
    }
}

/// One thread's ring.
///
/// A delivery touches eight bytes of it; the rest of a message's state is written for its first
/// receiver and read for its last one.
#[derive(Debug)]
pub(crate) struct Spread {
    relay: Relay,
    awaited: Vec<Awaited>,
    begun: Vec<Begun>,
    /// The ring has two to the power of this many slots.
    slot_bits: u32,
    publishers: u64,
    /// By room, or the only one: receivers in this thread, the publisher itself included.
    here: Vec<u32>,
    thread: u32,
    threads: u32,
    pub(crate) ends: Ends,
}

/// The deliveries that the message of a slot still awaits.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    /// Its number without the bits that select the slot; [`NO_LAP`] for an empty slot.
    lap: u32,
    receivers: u32,
}

/// No message of a run reaches this: its number would be at least 2^44.
const NO_LAP: u32 = u32::MAX;

const NOTHING_AWAITED: Awaited = Awaited {
    lap: NO_LAP,
    receivers: 0,
};

/// The state of a slot's message since its first receiver got it.
#[derive(Clone, Copy, Debug, Default)]
struct Begun {
    due_ns: u64,
    sent_ns: u64,
    first_ns: u64,
}

impl Spread {
    pub(crate) fn new(relay: &Relay, thread: u32, threads: u32) -> Self {
        let count = slots(relay);
        let mut here = vec![0; relay.rooms_apart() as usize];
        for index in (thread..relay.full()).step_by(threads as usize) {
            here[relay.room_of(index) as usize] += 1;
        }
        Self {
            relay: *relay,
            awaited: vec![NOTHING_AWAITED; count as usize],
            begun: vec![Begun::default(); count as usize],
            slot_bits: count.trailing_zeros(),
            publishers: relay.publishers.into(),
            here,
            thread,
            threads,
            ends: Ends::new(),
        }
    }

    /// A measured message arrived at one more receiver of this thread, by `now_ns`.
    #[inline]
    pub(crate) fn note(&mut self, stamp: &Stamp, now_ns: u64, joint: Option<&Joint>) {
        let number = u64::from(stamp.seq) * self.publishers + u64::from(stamp.publisher);
        let at = (number & (self.awaited.len() as u64 - 1)) as usize;
        let lap = (number >> self.slot_bits) as u32;
        let awaited = &mut self.awaited[at];
        if awaited.lap == lap && awaited.receivers > 1 {
            awaited.receivers -= 1;
        } else {
            self.first_or_last(at, lap, stamp, now_ns, joint);
        }
    }

    /// Handles the first receiver of this thread, or its last.
    fn first_or_last(
        &mut self,
        at: usize,
        lap: u32,
        stamp: &Stamp,
        now_ns: u64,
        joint: Option<&Joint>,
    ) {
        let before = self.awaited[at];
        if before.lap != lap {
            if before.lap != NO_LAP {
                if before.lap > lap {
                    // A later message has taken the slot.
                    return;
                }
                self.done(at, None, joint);
            }
            self.begun[at] = Begun {
                due_ns: stamp.due_ns,
                sent_ns: stamp.sent_ns,
                first_ns: now_ns,
            };
            let receivers = self.receivers_here(stamp.publisher);
            self.awaited[at] = Awaited { lap, receivers };
        }
        let awaited = &mut self.awaited[at];
        awaited.receivers = awaited.receivers.saturating_sub(1);
        if awaited.receivers == 0 {
            self.done(at, Some(now_ns), joint);
        }
    }

    fn receivers_here(&self, publisher: u32) -> u32 {
        let own = self.relay.expect == Expect::Others
            && self.relay.index_of(publisher) % self.threads == self.thread;
        self.here[self.relay.room_of(publisher) as usize].saturating_sub(u32::from(own))
    }

    /// No more deliveries of this message are awaited in this thread; `last_ns` is when its last
    /// receiver here got it, `None` if some did not.
    fn done(&mut self, at: usize, last_ns: Option<u64>, joint: Option<&Joint>) {
        let awaited = std::mem::replace(&mut self.awaited[at], NOTHING_AWAITED);
        let begun = self.begun[at];
        let number = u64::from(awaited.lap) << self.slot_bits | at as u64;
        let publisher = (number % self.publishers) as u32;
        let slot = Slot {
            number,
            due_ns: begun.due_ns,
            sent_ns: begun.sent_ns,
            first_ns: begun.first_ns,
            last_ns: last_ns.unwrap_or(begun.first_ns),
            receivers: self
                .receivers_here(publisher)
                .saturating_sub(awaited.receivers),
        };
        match joint {
            Some(joint) => joint.fold(&slot, self.relay.receivers_of(publisher), &mut self.ends),
            None => self.ends.record(&slot, last_ns.is_some()),
        }
    }

    /// At the end: the remaining messages have not reached everybody here.
    pub(crate) fn finish(mut self, joint: Option<&Joint>) -> Ends {
        for at in 0..self.awaited.len() {
            if self.awaited[at].lap != NO_LAP {
                self.done(at, None, joint);
            }
        }
        self.ends
    }
}

/// The most messages that may be in flight, as a power of two.
fn slots(relay: &Relay) -> u64 {
    let under_way = match relay.pace {
        crate::plan::Pace::Open { per_second, .. } => (per_second * SECONDS_UNDER_WAY) as u64,
        crate::plan::Pace::Closed { window } => 2 * u64::from(window) * u64::from(relay.publishers),
    };
    under_way
        .clamp(*SLOTS.start(), *SLOTS.end())
        .next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::relay;

    fn stamp(publisher: u32, seq: u32) -> Stamp {
        Stamp {
            measured: true,
            publisher,
            seq,
            due_ns: 1_000_000,
            sent_ns: 2_000_000,
            is_held: false,
        }
    }

    #[test]
    fn first_and_last_are_known_after_all_deliveries() {
        let relay = relay(3, Expect::All);
        let mut spread = Spread::new(&relay, 0, 1);
        for at_ns in [3_000_000, 5_000_000, 9_000_000] {
            assert_eq!(spread.ends.last.len(), 0);
            spread.note(&stamp(0, 0), at_ns, None);
        }
        let near = |value: u64, ns: u64| value.abs_diff(ns) < ns / 100;
        assert!(near(spread.ends.first.max(), 2_000_000));
        assert!(near(spread.ends.last.max(), 8_000_000));
        assert!(near(spread.ends.first_uncorrected.max(), 1_000_000));
        assert!(near(spread.ends.last_uncorrected.max(), 7_000_000));
    }

    #[test]
    fn a_partly_lost_message_has_a_first_but_no_last_receiver() {
        let relay = relay(3, Expect::Others);
        let mut spread = Spread::new(&relay, 0, 1);
        spread.note(&stamp(1, 0), 3_000_000, None);
        let ends = spread.finish(None);
        assert_eq!((ends.first.len(), ends.last.len()), (1, 0));
    }

    #[test]
    fn threads_find_the_last_of_all_their_receivers() {
        let relay = relay(4, Expect::Others);
        let joint = Joint::new(&relay, 2).expect("two threads");
        let mut threads = [0, 1].map(|thread| Spread::new(&relay, thread, 2));
        // Publisher 0 is in thread 0, which has one more receiver; thread 1 has two.
        threads[1].note(&stamp(0, 0), 4_000_000, Some(&joint));
        threads[1].note(&stamp(0, 0), 6_000_000, Some(&joint));
        threads[0].note(&stamp(0, 0), 3_000_000, Some(&joint));
        let [one, other] = threads.map(|thread| thread.finish(Some(&joint)));
        let mut ends = one;
        ends.merge(&other);
        joint.finish(&mut ends);
        assert_eq!((ends.first.len(), ends.last.len()), (1, 1));
        assert!(ends.first.max() < 2_100_000 && ends.last.max() > 4_900_000);
    }
}
