//! Connections that wait for their turn, in two lanes: those that want little and those that want
//! much.
//!
//! The lanes are served alternately, each in the order of arrival. A connection that wants little
//! waits for those before it that want little, and for as many of the others, however many of these
//! exist. The others have at least half of all turns.

use std::collections::VecDeque;

use crate::engine::ids::Key;
use crate::sparse::Sparse as _;

/// Entries that may be served before the rest moves up.
const SERVED_MAX: usize = 1_024;

/// The two lanes.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    light: Vec<Key>,
    /// The index of the first entry of `light` that was not served.
    light_from: usize,
    heavy: VecDeque<Key>,
    /// The lane that was served last.
    was_heavy: bool,
}

impl Lanes {
    /// Queues a connection that wants little, as far as is known.
    #[inline]
    pub(super) fn push(&mut self, key: Key) {
        self.light.push(key);
    }

    /// Queues a connection that wants more than others should wait for.
    pub(super) fn push_heavy(&mut self, key: Key) {
        self.heavy.push_back(key);
    }

    /// Removes and returns the next one.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Key> {
        if (self.was_heavy || self.heavy.is_empty())
            && let Some(key) = self.pop_light()
        {
            self.was_heavy = false;
            return Some(key);
        }
        self.pop_heavy()
    }

    #[inline]
    fn pop_light(&mut self) -> Option<Key> {
        let key = *self.light.get(self.light_from)?;
        self.light_from += 1;
        if self.light_from == self.light.len() {
            self.light.clear();
            self.light_from = 0;
        } else if self.light_from >= SERVED_MAX && self.light_from * 2 > self.light.len() {
            self.light.drain(..self.light_from);
            self.light_from = 0;
        }
        Some(key)
    }

    fn pop_heavy(&mut self) -> Option<Key> {
        let key = self.heavy.pop_front();
        self.was_heavy = key.is_some();
        key.or_else(|| self.pop_light())
    }

    /// Gives back memory that grew under load.
    pub(super) fn shrink_sparse(&mut self) {
        self.light.shrink_sparse();
        self.heavy.shrink_sparse();
    }

    pub(super) fn contains(&self, key: Key) -> bool {
        self.light[self.light_from..].contains(&key) || self.heavy.contains(&key)
    }

    pub(super) fn len(&self) -> usize {
        self.light.len() - self.light_from + self.heavy.len()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.light.is_empty() && self.heavy.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32) -> Key {
        Key {
            index,
            generation: 0,
        }
    }

    fn indexes(lanes: &mut Lanes) -> Vec<u32> {
        std::iter::from_fn(|| lanes.pop())
            .map(|key| key.index)
            .collect()
    }

    #[test]
    fn the_lanes_take_turns_and_each_is_in_order() {
        let mut lanes = Lanes::default();
        (0..3).for_each(|index| lanes.push_heavy(key(100 + index)));
        (0..2).for_each(|index| lanes.push(key(index)));
        assert_eq!(lanes.len(), 5);
        assert_eq!(indexes(&mut lanes), [100, 0, 101, 1, 102]);
        assert!(lanes.is_empty());
    }

    #[test]
    fn a_newcomer_that_wants_little_waits_for_one_that_wants_much() {
        let mut lanes = Lanes::default();
        (0..1_000).for_each(|index| lanes.push_heavy(key(100 + index)));
        for _ in 0..10 {
            lanes.pop();
            lanes.push(key(1));
            let next = [lanes.pop(), lanes.pop()].map(|key| key.map(|key| key.index));
            assert!(next.contains(&Some(1)), "{next:?}");
        }
    }

    #[test]
    fn served_entries_are_freed() {
        let mut lanes = Lanes::default();
        lanes.push(key(0));
        for index in 1..100_000 {
            lanes.push(key(index));
            assert_eq!(lanes.pop(), Some(key(index - 1)));
            assert_eq!(lanes.len(), 1);
        }
        assert!(lanes.light.capacity() <= 4 * SERVED_MAX);
    }

    #[test]
    fn one_lane_alone_is_served_without_pause() {
        let mut lanes = Lanes::default();
        (0..3).for_each(|index| lanes.push(key(index)));
        assert_eq!(indexes(&mut lanes), [0, 1, 2]);
        (0..3).for_each(|index| lanes.push_heavy(key(index)));
        assert_eq!(indexes(&mut lanes), [0, 1, 2]);
    }
}
