//! Finds the subscriptions that an event matches, without examining the others.
//!
//! Each filter is in one list, or in a few of one kind: of its ids, else of a value that it
//! requires (NIP-91), of the tag with the fewest values, of its authors, of its kinds, or of the
//! filters without any of these. An event's fields
//! name the lists to search, and only the filters in those are compared with it. Keys, ids and
//! values are interned: a list of 500 authors takes 4 bytes for each, no matter how many
//! subscriptions have them. Equal filters are stored once.

mod interner;

use std::collections::{BTreeMap, HashMap};

use slab::Slab;

use self::interner::Interner;
use crate::event::Event;
use crate::filter::Filter;
use crate::hex::Bytes32;

/// A tag's letter and value.
type TagValue = (u8, Box<str>);

/// The filters of a shard's subscriptions. Subscriptions are small numbers that the caller assigns
/// and reuses.
#[derive(Default)]
pub struct LiveIndex {
    ids: Interner<Bytes32>,
    authors: Interner<Bytes32>,
    values: Interner<TagValue>,
    kinds: BTreeMap<u16, Vec<u32>>,
    others: Vec<u32>,
    filters: Slab<Listed>,
    numbers: HashMap<Interned, u32>,
    /// The filters of each subscription.
    subscriptions: HashMap<u32, Box<[u32]>>,
    /// For each subscription, the last event that was found for it, so that it gets an event once.
    marks: Vec<u64>,
    events: u64,
}

/// A filter, in interned numbers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Interned {
    ids: Option<Box<[u32]>>,
    authors: Option<Box<[u32]>>,
    kinds: Option<Box<[u16]>>,
    tags: Box<[(u8, Box<[u32]>)]>,
    /// Values that an event must have, all of them (NIP-91).
    required: Box<[u32]>,
    since: Option<u64>,
    until: Option<u64>,
}

struct Listed {
    filter: Interned,
    subscriptions: Vec<u32>,
}

/// An event, in interned numbers, as far as its values are interned.
struct Known {
    id: Option<u32>,
    author: Option<u32>,
    values: Vec<(u8, u32)>,
}

/// The field under which a filter is listed.
enum Field {
    Ids,
    /// One of the values that an event must have: the one with this index.
    Required(usize),
    Tag(usize),
    Authors,
    Kinds,
    Others,
}

impl LiveIndex {
    /// Adds a subscription with these filters: one event may match several.
    pub fn insert<'f>(&mut self, subscription: u32, filters: impl IntoIterator<Item = &'f Filter>) {
        self.remove(subscription);
        let place = subscription as usize;
        if self.marks.len() <= place {
            self.marks.resize(place + 1, 0);
        }
        let mut numbers: Vec<u32> = Vec::new();
        for filter in filters.into_iter().filter(|filter| !filter.is_empty()) {
            let number = self.enter(filter);
            match numbers.contains(&number) {
                true => {}
                false => {
                    numbers.push(number);
                    if let Some(listed) = self.filters.get_mut(number as usize) {
                        listed.subscriptions.push(subscription);
                    }
                }
            }
        }
        self.subscriptions.insert(subscription, numbers.into());
    }

    /// Removes a subscription.
    pub fn remove(&mut self, subscription: u32) {
        for number in self
            .subscriptions
            .remove(&subscription)
            .into_iter()
            .flatten()
        {
            let Some(listed) = self.filters.get_mut(number as usize) else {
                continue;
            };
            take_out(&mut listed.subscriptions, subscription);
            if listed.subscriptions.is_empty() {
                self.forget(number);
            }
        }
        if self.subscriptions.is_empty() {
            *self = LiveIndex::default();
        }
    }

    /// The number of subscriptions.
    pub fn len(&self) -> usize {
        self.subscriptions.len()
    }

    /// Whether there are no subscriptions.
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    /// Calls `found` once with each subscription that the event matches. Returns the number of
    /// filters that were compared.
    pub fn find(&mut self, event: &Event, mut found: impl FnMut(u32)) -> usize {
        self.events += 1;
        let known = Known::of(event, self);
        let empty: &[u32] = &[];
        let by_id = known.id.map_or(empty, |id| self.ids.listed(id));
        let by_author = known
            .author
            .map_or(empty, |author| self.authors.listed(author));
        let by_kind = self.kinds.get(&event.kind()).map_or(empty, |listed| listed);
        let by_value = known
            .values
            .iter()
            .flat_map(|(_, value)| self.values.listed(*value));
        let candidates = by_id.iter().chain(by_author).chain(by_kind).chain(by_value);
        let mut compared = 0;
        for number in candidates.chain(&self.others) {
            let Some(listed) = self.filters.get(*number as usize) else {
                continue;
            };
            compared += 1;
            if !listed.filter.matches(event, &known) {
                continue;
            }
            for subscription in &listed.subscriptions {
                let mark = &mut self.marks[*subscription as usize];
                if *mark != self.events {
                    *mark = self.events;
                    found(*subscription);
                }
            }
        }
        compared
    }

    /// The number of a filter; lists it if it is new.
    fn enter(&mut self, filter: &Filter) -> u32 {
        let interned = self.intern(filter);
        if let Some(number) = self.numbers.get(&interned) {
            let number = *number;
            self.release(&interned);
            return number;
        }
        let listed = Listed {
            filter: interned.clone(),
            subscriptions: Vec::new(),
        };
        let number = self.filters.insert(listed) as u32;
        self.each_list(&interned, |list| list.push(number));
        self.numbers.insert(interned, number);
        number
    }

    /// Removes a filter that no subscription uses any more.
    fn forget(&mut self, number: u32) {
        let Some(Listed { filter, .. }) = self.filters.try_remove(number as usize) else {
            return;
        };
        self.numbers.remove(&filter);
        self.each_list(&filter, |list| take_out(list, number));
        if let Some(kinds) = &filter.kinds {
            for kind in kinds {
                if let std::collections::btree_map::Entry::Occupied(list) = self.kinds.entry(*kind)
                    && list.get().is_empty()
                {
                    list.remove();
                }
            }
        }
        self.release(&filter);
    }

    fn each_list(&mut self, filter: &Interned, mut act: impl FnMut(&mut Vec<u32>)) {
        match filter.field() {
            Field::Ids => self.ids.each_list(filter.ids.as_deref(), act),
            Field::Required(index) => {
                let one = filter.required.get(index..=index);
                self.values.each_list(one, act);
            }
            Field::Tag(index) => self.values.each_list(Some(&filter.tags[index].1), act),
            Field::Authors => self.authors.each_list(filter.authors.as_deref(), act),
            Field::Kinds => {
                for kind in filter.kinds.iter().flatten() {
                    act(self.kinds.entry(*kind).or_default());
                }
            }
            Field::Others => act(&mut self.others),
        }
    }

    fn intern(&mut self, filter: &Filter) -> Interned {
        let tags = filter.tags.iter().map(|(letter, values)| {
            let values = values
                .iter()
                .map(|value| self.values.intern((*letter, value.clone())));
            (*letter, sorted(values))
        });
        let tags = tags.collect();
        let required = filter.all_tags.iter().flat_map(|(letter, values)| {
            let values = values.iter();
            values.map(|value| (*letter, value.clone()))
        });
        let required = sorted(required.map(|value| self.values.intern(value)));
        let ids = filter.ids.as_deref();
        let authors = filter.authors.as_deref();
        Interned {
            ids: ids.map(|ids| sorted(ids.iter().map(|id| self.ids.intern(*id)))),
            authors: authors.map(|each| sorted(each.iter().map(|key| self.authors.intern(*key)))),
            kinds: filter.kinds.clone(),
            tags,
            required,
            since: filter.since,
            until: filter.until,
        }
    }

    fn release(&mut self, filter: &Interned) {
        filter
            .ids
            .iter()
            .flatten()
            .for_each(|id| self.ids.release(*id));
        filter
            .authors
            .iter()
            .flatten()
            .for_each(|key| self.authors.release(*key));
        let values = filter.tags.iter().flat_map(|(_, values)| values);
        let values = values.chain(&filter.required);
        values.for_each(|value| self.values.release(*value));
    }
}

impl Known {
    fn of(event: &Event, index: &LiveIndex) -> Known {
        let mut values: Vec<(u8, u32)> = Vec::new();
        if !index.values.is_empty() {
            for (letter, value) in event.single_letter_tags() {
                let number = index.values.number(&(letter, Box::from(value)));
                values.extend(number.map(|number| (letter, number)));
            }
            values.sort_unstable();
            values.dedup();
        }
        Known {
            id: index.ids.number(event.id()),
            author: index.authors.number(event.pubkey()),
            values,
        }
    }
}

impl Interned {
    fn field(&self) -> Field {
        let tags = self.tags.iter().enumerate();
        let tag = tags.min_by_key(|(_, (_, values))| values.len());
        match (&self.ids, tag, &self.authors, &self.kinds) {
            (Some(_), ..) => Field::Ids,
            _ if !self.required.is_empty() => Field::Required(0),
            (_, Some((index, _)), ..) => Field::Tag(index),
            (_, _, Some(_), _) => Field::Authors,
            (.., Some(_)) => Field::Kinds,
            (.., None) => Field::Others,
        }
    }

    fn matches(&self, event: &Event, known: &Known) -> bool {
        let is_in = |list: &Option<Box<[u32]>>, value: Option<u32>| {
            let has = |list: &[u32]| value.is_some_and(|value| list.binary_search(&value).is_ok());
            list.as_ref().is_none_or(|list| has(list))
        };
        let kinds = self.kinds.as_ref();
        self.since.is_none_or(|since| event.created_at() >= since)
            && self.until.is_none_or(|until| event.created_at() <= until)
            && kinds.is_none_or(|kinds| kinds.binary_search(&event.kind()).is_ok())
            && is_in(&self.authors, known.author)
            && is_in(&self.ids, known.id)
            && self.tags.iter().all(|(letter, wanted)| {
                let mut values = known.values.iter();
                values.any(|(other, value)| other == letter && wanted.binary_search(value).is_ok())
            })
            && self.required.iter().all(|wanted| {
                let mut values = known.values.iter();
                values.any(|(_, value)| value == wanted)
            })
    }
}

fn sorted(numbers: impl Iterator<Item = u32>) -> Box<[u32]> {
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.sort_unstable();
    numbers.into()
}

fn take_out(list: &mut Vec<u32>, number: u32) {
    if let Some(place) = list.iter().position(|each| *each == number) {
        list.swap_remove(place);
        if list.len() * 4 < list.capacity() {
            list.shrink_to(list.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests;
