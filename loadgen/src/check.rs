//! What one receiver saw: order, gaps, repeats and content, each message on its own.
//!
//! Sequence numbers of a publisher run through warm-up and measurement without a break. A number
//! above the next one leaves a gap; one that fills a gap later is *reordered*; one that is neither
//! is *repeated*. What never comes is *lost*; that is known only at the end, from what was sent.

use crate::stamp::{Reading, Stamp};

/// Gaps that a receiver remembers. With more than these open at once the oldest is forgotten:
/// what would have filled it counts as repeated then.
const GAPS_MAX: usize = 4096;

/// Deliveries of one phase, by what was wrong with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Arrived intact, each message once.
    pub(crate) delivered: u64,
    /// Came again.
    pub(crate) repeated: u64,
    /// Of the delivered and damaged: came after a later message of the same publisher.
    pub(crate) reordered: u64,
    /// Arrived changed.
    pub(crate) damaged: u64,
    /// Arrived in a room that it was not sent to.
    pub(crate) misrouted: u64,
}

/// The record of one receiver.
#[derive(Debug, Default)]
pub(crate) struct Receiver {
    /// By publisher: the sequence number that is due next. Grows with the publishers seen.
    next_seq: Vec<u32>,
    gaps: Vec<Gap>,
    /// `[warm-up, measured]`.
    pub(crate) counts: [Counts; 2],
    /// Messages that were not of this run.
    pub(crate) foreign: u64,
    /// Hash over all first arrivals in their order: two receivers with everything have the same
    /// hash if and only if they saw the same order (but for a collision of 64 bits).
    pub(crate) order_hash: u64,
    /// The publisher whose own messages must not come back, where the server does not echo.
    silent_publisher: Option<u32>,
}

/// Sequence numbers `from..until` of a publisher have not come yet.
#[derive(Clone, Copy, Debug)]
struct Gap {
    publisher: u32,
    from: u32,
    until: u32,
}

/// Where a sequence number lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Next,
    Late,
    Again,
}

impl Receiver {
    /// A receiver; `silent_publisher` is its own number where the server does not echo.
    pub(crate) fn new(silent_publisher: Option<u32>) -> Self {
        Self {
            silent_publisher,
            ..Self::default()
        }
    }

    /// Takes note of an arrival. Gives back the stamp of a message that arrived for the first time
    /// and intact. `measuring` says which phase it is by the clock, for what has lost its stamp.
    #[inline]
    pub(crate) fn accept(
        &mut self,
        reading: Reading,
        publishers: u32,
        measuring: bool,
    ) -> Option<Stamp> {
        match reading {
            Reading::Intact(stamp, checksum) if stamp.publisher < publishers => {
                self.arrived(&stamp, checksum, false).then_some(stamp)
            }
            Reading::BodyDamaged(stamp, checksum) if stamp.publisher < publishers => {
                self.arrived(&stamp, checksum, true);
                None
            }
            Reading::Intact(..) | Reading::BodyDamaged(..) | Reading::StampDamaged => {
                self.counts[usize::from(measuring)].damaged += 1;
                None
            }
            Reading::Foreign => {
                self.foreign += 1;
                None
            }
        }
    }

    /// First arrivals so far, damaged ones included.
    pub(crate) fn arrivals(&self) -> u64 {
        self.counts
            .iter()
            .map(|counts| counts.delivered + counts.damaged)
            .sum()
    }

    /// True for a first arrival.
    #[inline]
    fn arrived(&mut self, stamp: &Stamp, checksum: u64, damaged: bool) -> bool {
        let place = if self.silent_publisher == Some(stamp.publisher) {
            Place::Again
        } else {
            self.place(stamp.publisher, stamp.seq as u32)
        };
        let counts = &mut self.counts[usize::from(stamp.measured)];
        if place == Place::Again {
            counts.repeated += 1;
            return false;
        }
        if place == Place::Late {
            counts.reordered += 1;
        }
        if damaged {
            counts.damaged += 1;
        } else {
            counts.delivered += 1;
        }
        self.order_hash = (self.order_hash.rotate_left(5) ^ checksum).wrapping_mul(ORDER_FACTOR);
        true
    }

    #[inline]
    fn place(&mut self, publisher: u32, seq: u32) -> Place {
        let at = publisher as usize;
        if at >= self.next_seq.len() {
            self.next_seq.resize(at + 1, 0);
        }
        let next = self.next_seq[at];
        if seq == next {
            self.next_seq[at] = seq.wrapping_add(1);
            return Place::Next;
        }
        self.out_of_line(publisher, seq)
    }

    #[cold]
    fn out_of_line(&mut self, publisher: u32, seq: u32) -> Place {
        let next = self.next_seq[publisher as usize];
        if seq > next {
            if self.gaps.len() == GAPS_MAX {
                self.gaps.remove(0);
            }
            self.gaps.push(Gap {
                publisher,
                from: next,
                until: seq,
            });
            self.next_seq[publisher as usize] = seq.wrapping_add(1);
            return Place::Next;
        }
        let holds = |gap: &Gap| gap.publisher == publisher && (gap.from..gap.until).contains(&seq);
        let Some(found) = self.gaps.iter().position(holds) else {
            return Place::Again;
        };
        let gap = self.gaps.remove(found);
        let rest = [
            Gap { until: seq, ..gap },
            Gap {
                from: seq + 1,
                ..gap
            },
        ];
        self.gaps
            .extend(rest.into_iter().filter(|gap| gap.from < gap.until));
        Place::Late
    }
}

/// An odd constant with its bits well mixed (the multiplier of FxHash).
const ORDER_FACTOR: u64 = 0x517c_c1b7_2722_0a95;

#[cfg(test)]
mod tests {
    use super::*;

    fn give(receiver: &mut Receiver, publisher: u32, seq: u64) -> bool {
        let stamp = Stamp {
            measured: true,
            publisher,
            seq,
            due_ns: 0,
        };
        let checksum = u64::from(publisher) << 32 | seq;
        receiver
            .accept(Reading::Intact(stamp, checksum), 10, true)
            .is_some()
    }

    #[test]
    fn a_straight_run_has_no_faults() {
        let mut receiver = Receiver::default();
        for seq in 0..100 {
            assert!(give(&mut receiver, 0, seq) && give(&mut receiver, 3, seq));
        }
        assert_eq!(
            receiver.counts[1],
            Counts {
                delivered: 200,
                ..Counts::default()
            }
        );
    }

    #[test]
    fn a_gap_that_is_filled_counts_as_reordered_once_for_each_late_message() {
        let mut receiver = Receiver::default();
        for seq in [0, 4, 2, 1, 3, 5] {
            assert!(give(&mut receiver, 0, seq), "{seq} came for the first time");
        }
        let expected = Counts {
            delivered: 6,
            reordered: 3,
            ..Counts::default()
        };
        assert_eq!(receiver.counts[1], expected);
        assert!(receiver.gaps.is_empty());
    }

    #[test]
    fn a_second_arrival_is_a_repeat_also_when_the_first_was_late() {
        let mut receiver = Receiver::default();
        for (seq, first) in [
            (0, true),
            (0, false),
            (2, true),
            (1, true),
            (1, false),
            (2, false),
        ] {
            assert_eq!(give(&mut receiver, 0, seq), first, "{seq}");
        }
        assert_eq!(receiver.counts[1].repeated, 3);
    }

    #[test]
    fn the_order_hash_tells_two_interleavings_apart() {
        let (mut one, mut other) = (Receiver::default(), Receiver::default());
        for publisher in [0, 1] {
            give(&mut one, publisher, 0);
            give(&mut other, 1 - publisher, 0);
        }
        assert_eq!(one.counts, other.counts);
        assert_ne!(one.order_hash, other.order_hash);
    }

    #[test]
    fn an_own_message_that_comes_back_without_echo_is_a_repeat() {
        let mut receiver = Receiver::new(Some(2));
        assert!(!give(&mut receiver, 2, 0) && give(&mut receiver, 1, 0));
        assert_eq!(receiver.counts[1].repeated, 1);
    }

    #[test]
    fn a_publisher_that_does_not_exist_is_damage() {
        let mut receiver = Receiver::default();
        assert!(!give(&mut receiver, 10, 0));
        assert_eq!(receiver.counts[1].damaged, 1);
    }
}
