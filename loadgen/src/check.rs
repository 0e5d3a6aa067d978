//! Checks the deliveries to one receiver: order, gaps, repeats and content, message by message.
//!
//! The sequence numbers of a publisher run through warm-up and measurement without a break. A
//! number above the next one leaves a gap; a message that fills a gap later is *reordered*; any
//! other old number is *repeated*. A message that never arrives is *lost*, which is known only at
//! the end, from the number that was sent.

use crate::stamp::{Reading, Stamp};

/// Gaps that a receiver remembers. If more are open at once, the oldest is forgotten, and a message
/// that would have filled it counts as repeated.
const GAPS_MAX: usize = 4096;

/// Deliveries of one phase, by fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Arrived intact; each message counts once.
    pub(crate) delivered: u64,
    /// Arrived again.
    pub(crate) repeated: u64,
    /// Of the delivered and damaged: arrived after a later message of the same publisher.
    pub(crate) reordered: u64,
    /// Arrived changed.
    pub(crate) damaged: u64,
    /// Arrived in a room that it was not sent to.
    pub(crate) misrouted: u64,
    /// Arrived before it was due, so it cannot have been sent yet.
    pub(crate) early: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.repeated += other.repeated;
        self.reordered += other.reordered;
        self.damaged += other.damaged;
        self.misrouted += other.misrouted;
        self.early += other.early;
    }

    /// All arrivals: each message is in one of these counts.
    pub(crate) fn seen(&self) -> u64 {
        self.delivered + self.damaged + self.faults_beside()
    }

    /// Sum of repeated, reordered, damaged, misrouted and early.
    pub(crate) fn faults(&self) -> u64 {
        self.reordered + self.damaged + self.faults_beside()
    }

    /// Whether a fault was counted since `before`.
    #[inline]
    pub(crate) fn has_more_faults(&self, before: &Self) -> bool {
        let all_but_delivered = |counts: &Self| Self {
            delivered: 0,
            ..*counts
        };
        all_but_delivered(self) != all_but_delivered(before)
    }

    /// Faults that are not first arrivals.
    fn faults_beside(&self) -> u64 {
        self.repeated + self.misrouted + self.early
    }
}

/// The messages that a receiver should get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// The publisher whose own messages must not come back, if the server does not echo.
    pub(crate) silent_publisher: Option<u32>,
    /// Rooms whose messages do not mix: publisher `n` sends to room `n % rooms`.
    pub(crate) rooms: u32,
    /// The receiver's own room.
    pub(crate) room: u32,
    /// It joins late: its first message of each publisher is the beginning.
    pub(crate) joins_late: bool,
    /// It should get nothing.
    pub(crate) is_nothing: bool,
}

impl Default for Share {
    /// Everything.
    fn default() -> Self {
        Self {
            silent_publisher: None,
            rooms: 1,
            room: 0,
            joins_late: false,
            is_nothing: false,
        }
    }
}

/// Two reads at least this far apart have a pause between them.
const PAUSE_NS_MIN: u64 = 5_000_000;
/// In place of a sequence number: none was seen yet.
const UNKNOWN: u32 = u32::MAX;

/// The record of one receiver.
#[derive(Debug, Default)]
pub(crate) struct Receiver {
    share: Share,
    /// By publisher, in its room: the next sequence number. Grows with the publishers seen.
    next_seq: Vec<u32>,
    gaps: Vec<Gap>,
    /// `[warm-up, measured]`.
    pub(crate) counts: [Counts; 2],
    /// Messages that were not of this run.
    pub(crate) foreign: u64,
    /// Of the damaged: those that cannot be identified.
    pub(crate) unplaced: u64,
    /// Of the repeated: the publisher's own messages, which the server should not echo.
    pub(crate) echoed: u64,
    /// Gaps that were forgotten, see [`GAPS_MAX`].
    pub(crate) gaps_forgotten: u64,
    /// Hash over all first arrivals in order: two receivers that got everything have the same hash
    /// if and only if they saw the same order (barring a collision of 64 bits).
    pub(crate) order_hash: u64,
    /// Reads that completed a message; those without a pause between them count as one.
    pub(crate) bursts: u64,
    /// Sum of the pauses between these.
    pub(crate) pauses_ns: u64,
    /// Time of the last read that completed a message.
    pub(crate) last_read_ns: u64,
    /// Sum over the measured messages, from due to received.
    pub(crate) latency_sum_ns: u64,
    /// The largest of them.
    pub(crate) latency_max_ns: u64,
}

/// Sequence numbers `from..until` of a publisher have not come yet.
#[derive(Clone, Copy, Debug)]
struct Gap {
    publisher: u32,
    from: u32,
    until: u32,
}

/// How a sequence number relates to those already seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Next,
    Late,
    Again,
}

impl Receiver {
    /// A receiver that should get `share`.
    pub(crate) fn new(share: Share) -> Self {
        Self {
            share,
            ..Self::default()
        }
    }

    /// Records the latency of `count` messages that were accepted.
    #[inline]
    pub(crate) fn note_latency(&mut self, latency_ns: u64, count: u64) {
        self.latency_sum_ns += latency_ns * count;
        self.latency_max_ns = self.latency_max_ns.max(latency_ns);
    }

    /// By publisher, in its room: one more than the last sequence number that was seen, 0 for a
    /// publisher of which nothing arrived. The list ends with the last publisher that was seen.
    pub(crate) fn heard(self) -> Vec<u32> {
        self.next_seq
    }

    /// Records a message that came before it was due.
    #[cold]
    pub(crate) fn early(&mut self, stamp: &Stamp) {
        self.counts[usize::from(stamp.measured)].early += 1;
    }

    /// Records a read that completed a message.
    pub(crate) fn note_read(&mut self, now_ns: u64) {
        let pause_ns = now_ns - self.last_read_ns;
        if pause_ns >= PAUSE_NS_MIN {
            // The length of the pause before the first burst is unknown.
            self.pauses_ns += if self.bursts > 0 { pause_ns } else { 0 };
            self.bursts += 1;
        }
        self.last_read_ns = now_ns;
    }

    /// Records an arrival. Returns the stamp of a message that arrived for the first time and
    /// intact. `measuring` is the phase by the clock, used if the message has lost its stamp.
    #[inline]
    pub(crate) fn accept(
        &mut self,
        reading: Reading,
        publishers: u32,
        measuring: bool,
    ) -> Option<Stamp> {
        if self.share.is_nothing {
            self.foreign += 1;
            return None;
        }
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
                self.unplaced += 1;
                None
            }
            Reading::Foreign => {
                self.foreign += 1;
                None
            }
        }
    }

    /// Returns true for a first arrival.
    #[inline]
    fn arrived(&mut self, stamp: &Stamp, checksum: u64, damaged: bool) -> bool {
        let rooms = self.share.rooms;
        let (in_room, room) = match rooms {
            1 => (stamp.publisher, 0),
            _ => (stamp.publisher / rooms, stamp.publisher % rooms),
        };
        if room != self.share.room {
            self.counts[usize::from(stamp.measured)].misrouted += 1;
            return false;
        }
        let place = if self.share.silent_publisher == Some(stamp.publisher) {
            self.echoed += 1;
            Place::Again
        } else {
            self.place(in_room, stamp.seq)
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
            let first = if self.share.joins_late { UNKNOWN } else { 0 };
            self.next_seq.resize(at + 1, first);
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
        if next == UNKNOWN && self.share.joins_late {
            self.next_seq[publisher as usize] = seq.wrapping_add(1);
            return Place::Next;
        }
        if seq > next {
            if self.gaps.len() == GAPS_MAX {
                self.gaps.remove(0);
                self.gaps_forgotten += 1;
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

/// An odd constant with well-mixed bits (the multiplier of FxHash).
const ORDER_FACTOR: u64 = 0x517c_c1b7_2722_0a95;

#[cfg(test)]
mod tests {
    use super::*;

    fn give(receiver: &mut Receiver, publisher: u32, seq: u32) -> bool {
        let stamp = Stamp {
            measured: true,
            publisher,
            seq,
            due_ns: 0,
            sent_ns: 0,
            is_held: false,
        };
        let checksum = u64::from(publisher) << 32 | u64::from(seq);
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
    fn each_late_message_in_a_gap_counts_as_reordered_once() {
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
        let mut receiver = Receiver::new(Share {
            silent_publisher: Some(2),
            ..Share::default()
        });
        assert!(!give(&mut receiver, 2, 0) && give(&mut receiver, 1, 0));
        assert_eq!(receiver.counts[1].repeated, 1);
    }

    #[test]
    fn a_message_of_another_room_is_misrouted_and_nothing_else() {
        let mut receiver = Receiver::new(Share {
            rooms: 3,
            room: 1,
            ..Share::default()
        });
        assert!(give(&mut receiver, 1, 0) && give(&mut receiver, 7, 0));
        assert!(!give(&mut receiver, 2, 0) && !give(&mut receiver, 3, 0));
        let expected = Counts {
            delivered: 2,
            misrouted: 2,
            ..Counts::default()
        };
        assert_eq!(receiver.counts[1], expected);
    }

    #[test]
    fn a_late_joiner_still_detects_repeats_and_gaps() {
        let mut receiver = Receiver::new(Share {
            joins_late: true,
            ..Share::default()
        });
        for (seq, first) in [(70, true), (71, true), (71, false), (74, true), (72, true)] {
            assert_eq!(give(&mut receiver, 4, seq), first, "{seq}");
        }
        let counts = receiver.counts[1];
        assert_eq!((counts.repeated, counts.reordered), (1, 1));
    }

    #[test]
    fn without_expected_receivers_all_messages_are_foreign() {
        let mut receiver = Receiver::new(Share {
            is_nothing: true,
            ..Share::default()
        });
        assert!(!give(&mut receiver, 0, 0));
        assert_eq!((receiver.foreign, receiver.counts[1].delivered), (1, 0));
    }

    #[test]
    fn a_publisher_that_does_not_exist_is_damage() {
        let mut receiver = Receiver::default();
        assert!(!give(&mut receiver, 10, 0));
        assert_eq!(receiver.counts[1].damaged, 1);
    }
}
