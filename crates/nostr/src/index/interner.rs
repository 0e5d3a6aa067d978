//! Small numbers for values that many filters share.

use std::collections::HashMap;
use std::hash::Hash;

use slab::Slab;

struct Entry<K> {
    key: K,
    /// The number of filters that have it.
    users: u32,
    /// The filters that are listed under it.
    listed: Vec<u32>,
}

/// Numbers for values of filters, with the filters that are listed under each.
pub(super) struct Interner<K> {
    numbers: HashMap<K, u32>,
    entries: Slab<Entry<K>>,
}

impl<K> Default for Interner<K> {
    fn default() -> Interner<K> {
        Interner {
            numbers: HashMap::new(),
            entries: Slab::default(),
        }
    }
}

impl<K: Clone + Eq + Hash> Interner<K> {
    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// The number of a value; adds one user.
    pub(super) fn intern(&mut self, key: K) -> u32 {
        if let Some(number) = self.numbers.get(&key) {
            let number = *number;
            if let Some(entry) = self.entries.get_mut(number as usize) {
                entry.users += 1;
            }
            return number;
        }
        let entry = Entry {
            key: key.clone(),
            users: 1,
            listed: Vec::new(),
        };
        let number = self.entries.insert(entry) as u32;
        self.numbers.insert(key, number);
        number
    }

    /// Removes one user of a value.
    pub(super) fn release(&mut self, number: u32) {
        let Some(entry) = self.entries.get_mut(number as usize) else {
            return;
        };
        entry.users -= 1;
        if entry.users == 0
            && let Some(entry) = self.entries.try_remove(number as usize)
        {
            debug_assert!(entry.listed.is_empty(), "a list that nobody has");
            self.numbers.remove(&entry.key);
            // Shrink sparse tables: a peak of subscriptions must not hold memory for ever.
            if self.numbers.len() * 4 < self.numbers.capacity() {
                self.numbers.shrink_to(self.numbers.len() * 2);
            }
        }
    }

    pub(super) fn number(&self, key: &K) -> Option<u32> {
        self.numbers.get(key).copied()
    }

    pub(super) fn listed(&self, number: u32) -> &[u32] {
        self.entries
            .get(number as usize)
            .map_or(&[], |entry| &entry.listed)
    }

    pub(super) fn each_list(
        &mut self,
        numbers: Option<&[u32]>,
        mut act: impl FnMut(&mut Vec<u32>),
    ) {
        for number in numbers.unwrap_or_default() {
            if let Some(entry) = self.entries.get_mut(*number as usize) {
                act(&mut entry.listed);
            }
        }
    }
}
