//! The order of a room: its tickets, and the shards that have members of it.
//!
//! A publisher takes tickets, fences, and then reads the set of shards. A shard that gets its first
//! member enters the set, fences, and then reads the next ticket, which is the first that it
//! accepts. Each side writes one variable and reads the other's, and with a sequentially consistent
//! fence in between at least one of them sees the other's write. So a frame either precedes the
//! join (its ticket is lower, and the shard ignores it) or is sent to the shard. Without the fences
//! both could miss each other: the shard would then wait for a ticket whose frame is never sent to
//! it, and the room would stand still there. The crate `tests/model` checks this under loom.

use crate::sync::{AtomicU64, Ordering, fence};

/// Words of the bitmap, for 256 shards.
const WORDS: usize = 4;

/// A set of shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ShardSet([u64; WORDS]);

impl ShardSet {
    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    /// Whether `shard` is in the set.
    pub fn contains(&self, shard: u16) -> bool {
        self.0[usize::from(shard) / 64] & bit(shard) != 0
    }

    /// Adds `shard`.
    pub fn insert(&mut self, shard: u16) {
        self.0[usize::from(shard) / 64] |= bit(shard);
    }

    /// Adds all shards of `other`.
    pub fn add(&mut self, other: ShardSet) {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
    }

    /// Removes `shard`.
    pub fn remove(&mut self, shard: u16) {
        self.0[usize::from(shard) / 64] &= !bit(shard);
    }

    /// Removes and returns the first shard of the set.
    pub fn take_first(&mut self) -> Option<u16> {
        let first = self.iter().next()?;
        self.remove(first);
        Some(first)
    }

    /// The shards of the set, in order.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        self.0.into_iter().enumerate().flat_map(|(word, mut bits)| {
            std::iter::from_fn(move || {
                let lowest = bits.trailing_zeros();
                bits &= bits.wrapping_sub(1);
                (lowest < 64).then(|| (word * 64) as u16 + lowest as u16)
            })
        })
    }
}

/// The order of one room, shared by all shards.
#[derive(Debug)]
pub struct Tickets {
    next: AtomicU64,
    shards: [AtomicU64; WORDS],
}

impl Default for Tickets {
    fn default() -> Self {
        Tickets {
            next: AtomicU64::new(0),
            shards: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Tickets {
    /// Takes `count` consecutive tickets. Returns the first of them, and the shards that must get
    /// the frames. The tickets are taken before the set is read: see the module.
    pub fn take(&self, count: u64) -> (u64, ShardSet) {
        let first = self.next.fetch_add(count, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        (first, self.shards())
    }

    /// The ticket that will be taken next.
    pub fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Adds `shard` and returns the first ticket whose frame it gets. The set is written before the
    /// ticket is read: see the module.
    pub fn enter(&self, shard: u16) -> u64 {
        self.shards[usize::from(shard) / 64].fetch_or(bit(shard), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.next.load(Ordering::Relaxed)
    }

    /// Removes `shard`. Returns whether that was the last one.
    pub fn leave(&self, shard: u16) -> bool {
        self.shards[usize::from(shard) / 64].fetch_and(!bit(shard), Ordering::Relaxed);
        self.shards().is_empty()
    }

    /// The shards that have members.
    pub fn shards(&self) -> ShardSet {
        ShardSet(std::array::from_fn(|word| {
            self.shards[word].load(Ordering::Relaxed)
        }))
    }
}

fn bit(shard: u16) -> u64 {
    1 << (shard % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_lists_the_shards_that_entered() {
        let tickets = Tickets::default();
        for shard in [0, 1, 63, 64, 200, 255] {
            tickets.enter(shard);
        }
        let (first, mut set) = tickets.take(3);
        assert_eq!(first, 0);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 1, 63, 64, 200, 255]);
        set.remove(64);
        assert!(!set.contains(64) && set.contains(63));
        assert_eq!(tickets.enter(7), 3);
    }

    #[test]
    fn the_last_shard_to_leave_is_told_so() {
        let tickets = Tickets::default();
        tickets.enter(3);
        tickets.enter(130);
        assert!(!tickets.leave(3));
        assert!(tickets.leave(130));
    }
}
