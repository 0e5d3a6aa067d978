//! Things that keep their place while they are there, in memory that follows how many there are.
//!
//! A thing is found by its place, and never moves. The lowest place that is vacant is given out
//! first, so that the high ones become vacant, and what is vacant at the end is given back.

use std::ops::{Index, IndexMut};

use crate::sparse::Sparse as _;

/// A set of numbers that finds its lowest one without looking at many others.
#[derive(Debug, Default)]
struct Bits {
    words: Vec<u64>,
    /// The words that have any.
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

    /// Those of the 64 numbers from `64 * word` on, a bit each.
    fn word(&self, word: usize) -> u64 {
        self.words.get(word).copied().unwrap_or_default()
    }

    /// Gives back the room of numbers from `end` on, of which there are none.
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

/// Things by place. A place costs a pointer; each thing is allocated by itself, so that the ones
/// that stay do not hold the memory of those that have gone.
#[derive(Debug)]
pub(super) struct Places<T> {
    places: Vec<Option<Box<T>>>,
    /// Those of them with nothing in it. The last one is never among them.
    vacant: Bits,
    len: usize,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Places {
            places: Vec::new(),
            vacant: Bits::default(),
            len: 0,
        }
    }
}

/// The place of the thing that comes next.
pub(super) struct VacantPlace<'p, T> {
    places: &'p mut Places<T>,
    place: usize,
}

impl<'p, T> VacantPlace<'p, T> {
    pub(super) fn key(&self) -> usize {
        self.place
    }

    pub(super) fn insert(self, thing: T) -> &'p mut T {
        let VacantPlace { places, place } = self;
        if place == places.places.len() {
            places.places.push(None);
        } else {
            places.vacant.remove(place);
        }
        places.len += 1;
        places.places[place].insert(Box::new(thing))
    }
}

impl<T> Places<T> {
    /// How many things there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn get(&self, place: usize) -> Option<&T> {
        self.places.get(place)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.places.get_mut(place)?.as_deref_mut()
    }

    /// The lowest place that is vacant.
    pub(super) fn vacant_entry(&mut self) -> VacantPlace<'_, T> {
        let place = self.vacant.lowest().unwrap_or(self.places.len());
        VacantPlace {
            places: self,
            place,
        }
    }

    /// Puts a thing at the lowest vacant place. Returns that.
    pub(super) fn insert(&mut self, thing: T) -> usize {
        let entry = self.vacant_entry();
        let place = entry.key();
        entry.insert(thing);
        place
    }

    /// Takes out what is at `place`, where something has to be.
    pub(super) fn remove(&mut self, place: usize) -> T {
        let thing = self.places[place].take().expect("something is there");
        self.len -= 1;
        if place + 1 < self.places.len() {
            self.vacant.insert(place);
        } else {
            self.give_back();
        }
        *thing
    }

    /// Gives back the vacant places at the end.
    fn give_back(&mut self) {
        while let Some(None) = self.places.last() {
            self.places.pop();
            self.vacant.remove(self.places.len());
        }
        self.places.shrink_sparse();
        self.vacant.truncate(self.places.len());
    }

    /// The first place from `from` on with something in it. Of vacant ones 64 are one step.
    pub(super) fn next_from(&self, from: usize) -> Option<usize> {
        let mut mask = u64::MAX << (from % 64);
        for word in from / 64..self.places.len().div_ceil(64) {
            let taken = !self.vacant.word(word) & mask;
            if taken != 0 {
                let place = word * 64 + taken.trailing_zeros() as usize;
                return (place < self.places.len()).then_some(place);
            }
            mask = u64::MAX;
        }
        None
    }

    /// All things and their places, in the order of places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let places = self.places.iter().enumerate();
        places.filter_map(|(place, thing)| Some((place, thing.as_deref()?)))
    }
}

impl<T> Index<usize> for Places<T> {
    type Output = T;

    fn index(&self, place: usize) -> &T {
        self.get(place).expect("something is there")
    }
}

impl<T> IndexMut<usize> for Places<T> {
    fn index_mut(&mut self, place: usize) -> &mut T {
        self.get_mut(place).expect("something is there")
    }
}

/// Places that share a page.
const PAGE: usize = 64;

#[derive(Debug)]
struct Page<T> {
    things: [Option<Box<T>>; PAGE],
    /// Which of them are there, a bit each.
    taken: u64,
}

/// The same for a million things, most of which may go: pages come and go, so that one thing at a
/// high place keeps its page alone.
#[derive(Debug)]
pub(super) struct PagedPlaces<T> {
    pages: Places<Page<T>>,
    /// The pages with a vacant place.
    vacant: Bits,
    len: usize,
}

impl<T> Default for PagedPlaces<T> {
    fn default() -> Self {
        PagedPlaces {
            pages: Places::default(),
            vacant: Bits::default(),
            len: 0,
        }
    }
}

impl<T> PagedPlaces<T> {
    /// How many things there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, place: usize) -> Option<&T> {
        self.pages.get(place / PAGE)?.things[place % PAGE].as_deref()
    }

    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.pages.get_mut(place / PAGE)?.things[place % PAGE].as_deref_mut()
    }

    /// Puts a thing at the lowest vacant place. Returns that.
    pub(super) fn insert(&mut self, thing: T) -> usize {
        let number = self.vacant.lowest().unwrap_or_else(|| self.add_page());
        let page = &mut self.pages[number];
        let at = page.taken.trailing_ones() as usize;
        page.things[at] = Some(Box::new(thing));
        page.taken |= bit(at);
        if page.taken == u64::MAX {
            self.vacant.remove(number);
        }
        self.len += 1;
        number * PAGE + at
    }

    fn add_page(&mut self) -> usize {
        let number = self.pages.insert(Page {
            things: [const { None }; PAGE],
            taken: 0,
        });
        self.vacant.insert(number);
        number
    }

    /// Takes out what is at `place`, where something has to be.
    pub(super) fn remove(&mut self, place: usize) -> T {
        let (number, at) = (place / PAGE, place % PAGE);
        let page = &mut self.pages[number];
        let thing = page.things[at].take().expect("something is there");
        page.taken &= !bit(at);
        self.len -= 1;
        if page.taken != 0 {
            self.vacant.insert(number);
        } else {
            self.vacant.remove(number);
            self.pages.remove(number);
            self.vacant.truncate(self.pages.places.len());
        }
        *thing
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::iter;

    use proptest::prelude::*;

    use super::*;

    /// What both kinds can do.
    trait Kind: Default {
        fn put(&mut self, thing: u32) -> usize;
        fn take(&mut self, place: usize) -> u32;
        fn at(&mut self, place: usize) -> Option<u32>;
        fn count(&self) -> usize;
    }

    impl Kind for Places<u32> {
        fn put(&mut self, thing: u32) -> usize {
            self.insert(thing)
        }
        fn take(&mut self, place: usize) -> u32 {
            self.remove(place)
        }
        fn at(&mut self, place: usize) -> Option<u32> {
            let (shared, exclusive) = (self.get(place).copied(), self.get_mut(place).copied());
            assert_eq!(shared, exclusive);
            shared
        }
        fn count(&self) -> usize {
            self.len()
        }
    }

    impl Kind for PagedPlaces<u32> {
        fn put(&mut self, thing: u32) -> usize {
            self.insert(thing)
        }
        fn take(&mut self, place: usize) -> u32 {
            self.remove(place)
        }
        fn at(&mut self, place: usize) -> Option<u32> {
            let (shared, exclusive) = (self.get(place).copied(), self.get_mut(place).copied());
            assert_eq!(shared, exclusive);
            shared
        }
        fn count(&self) -> usize {
            self.len()
        }
    }

    /// Puts where a number is even, and takes the one at that fraction of them where it is odd.
    fn behaves_like_a_map<P: Kind>(steps: &[u32]) -> (P, BTreeMap<usize, u32>) {
        let (mut places, mut model) = (P::default(), BTreeMap::new());
        for (thing, step) in steps.iter().enumerate() {
            let thing = thing as u32;
            if step % 2 == 0 || model.is_empty() {
                let lowest = (0..).find(|place| !model.contains_key(place));
                let place = places.put(thing);
                assert_eq!(Some(place), lowest);
                model.insert(place, thing);
            } else {
                let nth = *step as usize % model.len();
                let place = *model.keys().nth(nth).expect("it is below the length");
                assert_eq!(model.remove(&place), Some(places.take(place)));
            }
            assert_eq!(places.count(), model.len());
        }
        let last = model.keys().next_back().map_or(0, |last| last + 1);
        for place in 0..last + 2 * PAGE {
            assert_eq!(places.at(place), model.get(&place).copied());
        }
        (places, model)
    }

    proptest! {
        #[test]
        fn each_keeps_its_place_and_the_lowest_vacant_one_is_next(
            steps in proptest::collection::vec(any::<u32>(), 0..600),
        ) {
            let (places, model) = behaves_like_a_map::<Places<u32>>(&steps);
            let all: Vec<(usize, u32)> = places.iter().map(|(at, thing)| (at, *thing)).collect();
            prop_assert!(all.iter().copied().eq(model.clone()));
            let first = places.next_from(0);
            let walked = iter::successors(first, |place| places.next_from(place + 1));
            prop_assert!(walked.eq(model.into_keys()));
            behaves_like_a_map::<PagedPlaces<u32>>(&steps);
        }
    }

    #[test]
    fn memory_follows_what_is_there_even_where_the_last_one_stays() {
        const MANY: usize = 200_000;
        let mut places = Places::default();
        let mut paged = PagedPlaces::default();
        for number in 0..=MANY {
            places.insert(number);
            paged.insert(number);
        }
        for place in 0..MANY {
            paged.remove(place);
        }
        assert_eq!(paged.get(MANY), Some(&MANY));
        let pages = paged.pages.places.iter().flatten().count();
        assert_eq!((paged.len(), pages), (1, 1));
        for place in (0..=MANY).rev() {
            places.remove(place);
        }
        paged.remove(MANY);
        let left = [
            places.places.capacity(),
            places.vacant.words.capacity(),
            paged.pages.places.capacity(),
            paged.vacant.words.capacity(),
        ];
        assert!(left.iter().all(|capacity| *capacity <= 128), "{left:?}");
    }

    fn filled(things: u32) -> Places<u32> {
        let mut places = Places::default();
        for thing in 0..things {
            places.insert(thing);
        }
        places
    }

    #[test]
    fn a_walk_is_as_long_as_there_are_things_when_many_have_gone() {
        let mut places = filled(15_003);
        for place in 3..15_003 {
            places.remove(place);
        }
        assert_eq!(places.places.len(), 3, "a walk ends here");
        assert_eq!(places.iter().count(), 3);
    }

    #[test]
    fn a_walk_over_many_vacant_places_finds_the_one_that_stays() {
        let mut places = filled(10_001);
        for place in 0..10_000 {
            places.remove(place);
        }
        assert_eq!(places.next_from(0), Some(10_000));
        assert_eq!(places.next_from(10_000), Some(10_000));
        assert_eq!(places.next_from(10_001), None);
    }
}
