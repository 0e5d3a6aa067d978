//! Finds the largest holder of memory over all shards. When the process exceeds a bound, the
//! connections that hold most must give way, whichever shard they are on, and no other.
//!
//! Each shard publishes an upper bound of what its largest holder has. It is raised at once if a
//! holder grows ([`Holders::grown`]), and made exact whenever the shard examines its holders
//! ([`Holders::relief`]). While the process is over its bound, a shard closes its own largest
//! holder only if no other shard's is larger; otherwise it wakes that shard. If a published bound
//! is too high, its shard corrects it and passes the turn on. So the turn always ends with the
//! shard that has the largest holder of all.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

/// An upper bound of what the largest holder of each shard has, in bytes.
pub(super) struct Holders(Box<[CachePadded<AtomicUsize>]>);

/// The next step of a shard while the process is over its bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn<K> {
    /// Close its own largest holder, which is the largest of all.
    Own(K),
    /// Wake this shard, which has a larger one.
    Other(u16),
    /// Nothing, since there are no holders.
    Nobody,
}

impl Holders {
    pub(super) fn new(shards: usize) -> Holders {
        Holders((0..shards).map(|_| CachePadded::default()).collect())
    }

    /// Records that one of the shard's holders has grown to `bytes` bytes.
    #[inline]
    pub(super) fn grown(&self, shard: u16, bytes: usize) {
        let largest = &self.0[usize::from(shard)];
        if bytes > largest.load(Ordering::Relaxed) {
            largest.store(bytes, Ordering::Relaxed);
        }
    }

    /// Records that the shard has ended and has no holders.
    pub(super) fn ended(&self, shard: u16) {
        self.0[usize::from(shard)].store(0, Ordering::Relaxed);
    }

    /// The shard whose turn it is by the published bounds; `None` if there are no holders.
    pub(super) fn turn(&self) -> Option<u16> {
        let bytes = |shard: &usize| self.0[*shard].load(Ordering::Relaxed);
        let first = (0..self.0.len()).rev().max_by_key(bytes)?;
        (bytes(&first) > 0).then_some(first as u16)
    }

    /// Examines the shard's holders, each with its bytes.
    pub(super) fn relief<K: Copy>(
        &self,
        shard: u16,
        mut holders: Vec<(usize, K)>,
    ) -> Relief<'_, K> {
        holders.sort_by_key(|(bytes, _)| *bytes);
        let relief = Relief {
            all: self,
            shard,
            holders,
        };
        relief.publish();
        relief
    }
}

/// One shard's examination of its holders.
pub(super) struct Relief<'h, K> {
    all: &'h Holders,
    shard: u16,
    /// The largest is last.
    holders: Vec<(usize, K)>,
}

impl<K: Copy> Relief<'_, K> {
    /// The next step. Called for as long as the process is over its bound.
    pub(super) fn next(&mut self) -> Turn<K> {
        self.publish();
        match self.all.turn() {
            None => Turn::Nobody,
            Some(other) if other != self.shard => Turn::Other(other),
            Some(_) => match self.holders.pop() {
                Some((_, key)) => Turn::Own(key),
                None => Turn::Nobody,
            },
        }
    }
}

impl<K> Relief<'_, K> {
    fn publish(&self) {
        let largest = self.holders.last().map_or(0, |(bytes, _)| *bytes);
        self.all.0[usize::from(self.shard)].store(largest, Ordering::Relaxed);
    }
}

impl<K> Drop for Relief<'_, K> {
    fn drop(&mut self) {
        self.publish();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHARDS: usize = 4;

    /// Shards with the bytes of their holders, and a bound for the sum.
    struct World {
        holders: Holders,
        held: Vec<Vec<usize>>,
        max: usize,
        gone: Vec<usize>,
    }

    impl World {
        fn total(&self) -> usize {
            self.held.iter().flatten().sum()
        }

        /// Takes one shard's turn. Returns the shard that it wakes.
        fn run(&mut self, shard: usize) -> Option<u16> {
            if self.total() <= self.max {
                return None;
            }
            if let Some(other) = self.holders.turn()
                && usize::from(other) != shard
            {
                return Some(other);
            }
            let keys = self.held[shard].iter().copied().zip(0..).collect();
            let mut relief = self.holders.relief(shard as u16, keys);
            while self.held.iter().flatten().sum::<usize>() > self.max {
                match relief.next() {
                    Turn::Own(key) => {
                        let bytes = std::mem::take(&mut self.held[shard][key]);
                        self.gone.push(bytes);
                    }
                    Turn::Other(other) => return Some(other),
                    Turn::Nobody => return None,
                }
            }
            None
        }
    }

    proptest! {
        #[test]
        fn the_largest_holder_goes_first_and_none_needlessly(
            held in prop::collection::vec(prop::collection::vec(0_usize..100, 0..6), SHARDS),
            too_high in prop::collection::vec(0_usize..150, SHARDS),
            first in 0..SHARDS,
            share in 0_usize..=100,
        ) {
            let mut in_order: Vec<usize> = held.iter().flatten().copied().collect();
            in_order.sort_by_key(|bytes| std::cmp::Reverse(*bytes));
            let total: usize = in_order.iter().sum();
            let holders = Holders::new(SHARDS);
            for (shard, (held, more)) in held.iter().zip(&too_high).enumerate() {
                held.iter().for_each(|bytes| holders.grown(shard as u16, *bytes));
                holders.grown(shard as u16, *more);
            }
            let max = total * share / 100;
            let mut world = World { holders, held, max, gone: Vec::new() };
            let mut next = Some(first as u16);
            let mut turns = 0;
            while let Some(shard) = next {
                next = world.run(usize::from(shard));
                turns += 1;
                prop_assert!(turns < 100, "the turn goes round and round");
            }
            prop_assert!(world.total() <= max, "it ended too early");
            prop_assert_eq!(&world.gone[..], &in_order[..world.gone.len()]);
            let last = world.gone.last().copied().unwrap_or_default();
            prop_assert!(world.gone.is_empty() || world.total() + last > max, "one in vain");
        }
    }

    #[test]
    fn one_that_is_gone_is_nobody_s_largest() {
        let holders = Holders::new(2);
        holders.grown(0, 5);
        holders.grown(1, 9);
        assert_eq!(holders.turn(), Some(1));
        let mut relief = holders.relief(1, vec![(9, 'a'), (2, 'b')]);
        assert_eq!(relief.next(), Turn::Own('a'));
        assert_eq!(relief.next(), Turn::Other(0));
        drop(relief);
        holders.ended(0);
        assert_eq!(holders.turn(), Some(1), "the one with two");
        holders.ended(1);
        assert_eq!(holders.turn(), None);
    }
}
