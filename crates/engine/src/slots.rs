//! Values that keep their slot for as long as they exist, in memory proportional to their number.
//!
//! A value is found by its slot, and never moves. The lowest vacant slot is used first, so that
//! high slots become vacant and the memory at the end can be given back.

use std::ops::{Index, IndexMut};

use crate::sparse::Sparse as _;

/// A set of numbers whose lowest is found without visiting many others.
#[derive(Debug, Default)]
struct Bits {
    words: Vec<u64>,
    /// The words that are not 0.
    summary: Vec<u64>,
}

impl Bits {
    fn insert(&mut self, number: usize) {
        set(&mut self.words, number);
        set(&mut self.summary, number / 64);
    }

    fn remove(&mut self, number: usize) {
        let Some(word) = self.words.get_mut(number / 64) else {
            return;
        };
        *word &= !bit(number);
        if *word == 0 {
            self.summary[number / 4096] &= !bit(number / 64);
        }
    }

    fn lowest(&self) -> Option<usize> {
        let lowest = |words: &[u64], at: usize| at * 64 + words[at].trailing_zeros() as usize;
        let at = self.summary.iter().position(|word| *word != 0)?;
        Some(lowest(&self.words, lowest(&self.summary, at)))
    }

    /// Gives back the memory for numbers from `end` on, none of which may be in the set.
    fn truncate(&mut self, end: usize) {
        self.words.truncate(end.div_ceil(64));
        self.words.shrink_sparse();
        self.summary.truncate(end.div_ceil(4096));
        self.summary.shrink_sparse();
    }
}

fn bit(number: usize) -> u64 {
    1 << (number % 64)
}

fn set(words: &mut Vec<u64>, number: usize) {
    if words.len() <= number / 64 {
        words.resize(number / 64 + 1, 0);
    }
    words[number / 64] |= bit(number);
}

/// The number of slots that are allocated together.
const PAGE: usize = 64;

/// Consecutive slots with their values. Its memory exists while one of them is in use.
#[derive(Debug)]
struct Page<T> {
    things: Option<Box<[Option<T>; PAGE]>>,
    /// One bit for each slot in use.
    taken: u64,
}

/// Allocated on the heap directly, since a page may be too large for the stack.
fn vacant_page<T>() -> Box<[Option<T>; PAGE]> {
    let things: Box<[Option<T>]> = (0..PAGE).map(|_| None).collect();
    let Ok(things) = things.try_into() else {
        unreachable!("as many as there are places")
    };
    things
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Page {
            things: None,
            taken: 0,
        }
    }
}

/// Values by slot. Slots are allocated in pages, so a value in a high slot keeps only its own page.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    pages: Vec<Page<T>>,
    /// The pages with a vacant slot. The last page is never empty.
    vacant: Bits,
    len: usize,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots {
            pages: Vec::new(),
            vacant: Bits::default(),
            len: 0,
        }
    }
}

/// The slot of the next value.
pub(crate) struct VacantSlot<'p, T> {
    slots: &'p mut Slots<T>,
    place: usize,
}

impl<'p, T> VacantSlot<'p, T> {
    pub(crate) fn key(&self) -> usize {
        self.place
    }

    pub(crate) fn insert(self, thing: T) -> &'p mut T {
        let VacantSlot { slots, place } = self;
        let (number, at) = (place / PAGE, place % PAGE);
        if number == slots.pages.len() {
            slots.pages.push(Page::default());
            slots.vacant.insert(number);
        }
        let page = &mut slots.pages[number];
        page.taken |= bit(at);
        if page.taken == u64::MAX {
            slots.vacant.remove(number);
        }
        slots.len += 1;
        page.things.get_or_insert_with(vacant_page)[at].insert(thing)
    }
}

impl<T> Slots<T> {
    /// The number of values.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(crate) fn get(&self, place: usize) -> Option<&T> {
        let page = self.pages.get(place / PAGE)?;
        page.things.as_ref()?[place % PAGE].as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        let page = self.pages.get_mut(place / PAGE)?;
        page.things.as_mut()?[place % PAGE].as_mut()
    }

    /// The lowest vacant slot.
    pub(crate) fn vacant_entry(&mut self) -> VacantSlot<'_, T> {
        let number = self.vacant.lowest().unwrap_or(self.pages.len());
        let taken = self.pages.get(number).map_or(0, |page| page.taken);
        VacantSlot {
            place: number * PAGE + taken.trailing_ones() as usize,
            slots: self,
        }
    }

    /// Puts a value into the lowest vacant slot. Returns the slot.
    pub(crate) fn insert(&mut self, thing: T) -> usize {
        let entry = self.vacant_entry();
        let place = entry.key();
        entry.insert(thing);
        place
    }

    /// Removes the value in slot `place`, which must be in use.
    pub(crate) fn remove(&mut self, place: usize) -> T {
        let (number, at) = (place / PAGE, place % PAGE);
        let page = &mut self.pages[number];
        let thing = page.things.as_mut().and_then(|things| things[at].take());
        page.taken &= !bit(at);
        if page.taken == 0 {
            page.things = None;
        }
        self.vacant.insert(number);
        self.len -= 1;
        self.give_back();
        thing.expect("something is there")
    }

    /// Gives back empty pages at the end.
    fn give_back(&mut self) {
        let pages = self.pages.len();
        while self.pages.last().is_some_and(|page| page.taken == 0) {
            self.pages.pop();
            self.vacant.remove(self.pages.len());
        }
        if self.pages.len() < pages {
            self.pages.shrink_sparse();
            self.vacant.truncate(self.pages.len());
        }
    }

    /// The first slot in use from `from` on. 64 vacant slots are skipped in one step.
    pub(crate) fn next_from(&self, from: usize) -> Option<usize> {
        let mut mask = u64::MAX << (from % PAGE);
        for (number, page) in self.pages.iter().enumerate().skip(from / PAGE) {
            let taken = page.taken & mask;
            if taken != 0 {
                return Some(number * PAGE + taken.trailing_zeros() as usize);
            }
            mask = u64::MAX;
        }
        None
    }

    /// All values with their slots, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let pages = self.pages.iter().enumerate();
        pages.flat_map(|(number, page)| {
            let things = page.things.iter().flat_map(|things| things.iter());
            things
                .enumerate()
                .filter_map(move |(at, thing)| Some((number * PAGE + at, thing.as_ref()?)))
        })
    }
}

impl<T> Index<usize> for Slots<T> {
    type Output = T;

    fn index(&self, place: usize) -> &T {
        self.get(place).expect("something is there")
    }
}

impl<T> IndexMut<usize> for Slots<T> {
    fn index_mut(&mut self, place: usize) -> &mut T {
        self.get_mut(place).expect("something is there")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::iter;

    use proptest::prelude::*;

    use super::*;

    /// Inserts for even numbers; for odd ones removes the value at that fraction of them.
    fn behaves_like_a_map(steps: &[u32]) -> (Slots<u32>, BTreeMap<usize, u32>) {
        let (mut slots, mut model) = (Slots::default(), BTreeMap::new());
        for (thing, step) in steps.iter().enumerate() {
            let thing = thing as u32;
            if step % 2 == 0 || model.is_empty() {
                let lowest = (0..).find(|place| !model.contains_key(place));
                let place = slots.insert(thing);
                assert_eq!(Some(place), lowest);
                model.insert(place, thing);
            } else {
                let nth = *step as usize % model.len();
                let place = *model.keys().nth(nth).expect("it is below the length");
                assert_eq!(model.remove(&place), Some(slots.remove(place)));
            }
            assert_eq!(slots.len(), model.len());
        }
        let last = model.keys().next_back().map_or(0, |last| last + 1);
        for place in 0..last + 2 * PAGE {
            assert_eq!(slots.get(place), model.get(&place));
            assert_eq!(slots.get_mut(place).copied(), model.get(&place).copied());
        }
        (slots, model)
    }

    proptest! {
        #[test]
        fn values_keep_their_slots_and_the_lowest_vacant_one_is_next(
            steps in proptest::collection::vec(any::<u32>(), 0..600),
        ) {
            let (slots, model) = behaves_like_a_map(&steps);
            let all: Vec<(usize, u32)> = slots.iter().map(|(at, thing)| (at, *thing)).collect();
            prop_assert!(all.iter().copied().eq(model.clone()));
            let first = slots.next_from(0);
            let walked = iter::successors(first, |place| slots.next_from(place + 1));
            prop_assert!(walked.eq(model.into_keys()));
        }
    }

    fn filled(things: usize) -> Slots<usize> {
        let mut slots = Slots::default();
        (0..things).for_each(|thing| {
            slots.insert(thing);
        });
        slots
    }

    #[test]
    fn memory_shrinks_even_if_the_last_value_stays() {
        const MANY: usize = 200_000;
        let mut slots = filled(MANY + 1);
        (0..MANY).for_each(|place| {
            slots.remove(place);
        });
        assert_eq!(slots.get(MANY), Some(&MANY));
        let pages = slots.pages.iter().filter(|page| page.things.is_some());
        assert_eq!((slots.len(), pages.count()), (1, 1));
        assert_eq!(slots.next_from(0), Some(MANY));
        slots.remove(MANY);
        let left = [slots.pages.capacity(), slots.vacant.words.capacity()];
        assert!(left.iter().all(|capacity| *capacity <= 4), "{left:?}");
    }

    #[test]
    fn a_walk_is_as_long_as_there_are_things_when_many_have_gone() {
        let mut slots = filled(15_003);
        for place in 3..15_003 {
            slots.remove(place);
        }
        assert_eq!(slots.pages.len(), 1, "a walk ends here");
        assert_eq!(slots.iter().count(), 3);
    }
}
