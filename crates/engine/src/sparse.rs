//! Containers that give memory back after a peak.

use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, Hash};

use indexmap::IndexMap;

/// Capacity for so few entries is not given back.
const KEPT: usize = 3;

/// A container that keeps the capacity of its largest size unless it is told otherwise.
pub trait Sparse {
    /// The number of entries.
    fn entries(&self) -> usize;

    /// The capacity, in entries.
    fn room(&self) -> usize;

    /// Moves all entries to memory for about `entries` of them.
    fn shrink_room(&mut self, entries: usize);

    /// Gives capacity back if less than a quarter of it is used. Each time fewer entries are moved
    /// than were removed since the last time, so calling this after every removal takes constant
    /// time on average; the longest single call moves a quarter of the largest size.
    fn shrink_sparse(&mut self) {
        if self.room() > KEPT && self.entries() < self.room() / 4 {
            self.shrink_room(2 * self.entries());
        }
    }
}

/// These three have the same method names.
macro_rules! sparse {
    ($($container:ty: [$($parameters:tt)*];)*) => {$(
        impl<$($parameters)*> Sparse for $container {
            fn entries(&self) -> usize {
                self.len()
            }

            fn room(&self) -> usize {
                self.capacity()
            }

            fn shrink_room(&mut self, entries: usize) {
                self.shrink_to(entries);
            }
        }
    )*};
}

sparse! {
    Vec<T>: [T];
    VecDeque<T>: [T];
    BinaryHeap<T>: [T: Ord];
    HashMap<K, V, S>: [K: Eq + Hash, V, S: BuildHasher];
    HashSet<K, S>: [K: Eq + Hash, S: BuildHasher];
    IndexMap<K, V, S>: [K: Eq + Hash, V, S: BuildHasher];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_shrinks_with_the_entries_unless_it_is_small() {
        let mut map: HashMap<u32, u32> = (0..100_000).map(|number| (number, number)).collect();
        let mut shrunk = 0;
        for number in 0..100_000 {
            map.remove(&number);
            let before = map.capacity();
            map.shrink_sparse();
            shrunk += usize::from(map.capacity() < before);
            assert!(map.capacity() <= (8 * map.len()).max(2 * KEPT));
        }
        assert!((5..20).contains(&shrunk), "{shrunk} times");
        let mut small = Vec::<u8>::with_capacity(KEPT);
        small.shrink_sparse();
        assert_eq!(small.capacity(), KEPT);
    }
}
