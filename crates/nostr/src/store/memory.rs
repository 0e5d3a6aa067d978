//! A store in memory: the reference for every other store.

mod tombstones;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, hash_map};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::tombstones::Tombstones;
use super::deletion::{self, Target};
use super::{DeletionRule, Outcome, Store, StoreError};
use crate::event::{Event, EventAddress};
use crate::filter::Filter;
use crate::hex::Bytes32;
use crate::kind::VANISH;
use crate::query::{Page, Position, Query, Seq};

/// Rows that a page examines under one lock.
const ROWS_LOOKED_AT_MAX: usize = 4_096;

/// Events that are removed under one lock: expired ones, and those of authors who have vanished.
const TIDIED_PER_LOCK: usize = 1_024;

/// Holds up to a fixed number of events; the oldest are removed first.
///
/// A deletion (NIP-09) holds for as long as it is stored. If it expires, or its signer vanishes,
/// its effect stays, and is remembered in tables of its own. Each of these tables has at most as
/// many entries as the store has events, and forgets the oldest first; so does the table of keys
/// that have vanished (NIP-62).
pub struct MemoryStore {
    events_max: usize,
    tables: RwLock<Tables>,
}

/// An event with the number of its change.
#[derive(Clone)]
struct Row {
    seq: Seq,
    event: Arc<Event>,
}

type Rows = BTreeMap<Position, Row>;

/// A list of events with a common value.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Author(Bytes32),
    Kind(u16),
    AuthorKind(Bytes32, u16),
    Tag(u8, Box<str>),
    /// Deletions of the event with that id.
    DeletionOf(Bytes32),
    /// Deletions of the address with that hash.
    DeletionOfAddress(Bytes32),
    /// Wraps for that recipient.
    WrapFor(Bytes32),
}

struct Tables {
    last_seq: Seq,
    bytes: usize,
    all: Rows,
    by_id: HashMap<Bytes32, Row>,
    by_seq: BTreeMap<Seq, Arc<Event>>,
    by_key: HashMap<Key, Rows>,
    by_address: HashMap<EventAddress, Arc<Event>>,
    by_expiry: BTreeSet<(u64, Position)>,
    tombstones: Tombstones,
    /// Keys that have vanished, and until when, whose events are hidden but not all removed yet.
    vanishing: BTreeMap<Bytes32, u64>,
    notes: BTreeMap<String, Vec<u8>>,
}

impl MemoryStore {
    /// An empty store of up to `events_max` events.
    pub fn new(events_max: usize) -> MemoryStore {
        MemoryStore {
            events_max,
            tables: RwLock::new(Tables::new(events_max)),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn commit(
        &self,
        events: &[Arc<Event>],
        rule: &dyn DeletionRule,
    ) -> Result<Vec<Outcome>, StoreError> {
        let mut tables = self.write();
        let outcomes = events.iter().map(|event| tables.store(event, rule));
        let outcomes = outcomes.collect();
        while tables.all.len() > self.events_max {
            tables.remove_oldest();
        }
        Ok(outcomes)
    }

    fn last_seq(&self) -> Seq {
        self.read().last_seq
    }

    fn page(
        &self,
        query: &mut Query,
        rows: usize,
        bytes: usize,
        now: u64,
    ) -> Result<Page, StoreError> {
        Ok(self.read().page(query, rows, bytes, now))
    }

    fn since(&self, after: Seq, rows: usize) -> Result<(Vec<(Seq, Arc<Event>)>, Seq), StoreError> {
        let tables = self.read();
        let later = tables
            .by_seq
            .range((Bound::Excluded(after), Bound::Unbounded));
        let found: Vec<_> = later
            .filter(|(_, event)| !tables.is_hidden(event))
            .take(rows)
            .map(|(seq, event)| (*seq, Arc::clone(event)))
            .collect();
        let end = match found.last() {
            Some((seq, _)) if found.len() == rows => *seq,
            _ => tables.last_seq.max(after),
        };
        Ok((found, end))
    }

    fn tidy(&self, now: u64) -> Result<usize, StoreError> {
        let mut tables = self.write();
        let expired = tables.remove_expired(now, TIDIED_PER_LOCK);
        Ok(expired + tables.remove_vanished(TIDIED_PER_LOCK - expired))
    }

    fn size(&self) -> (usize, usize) {
        let tables = self.read();
        (tables.all.len(), tables.bytes)
    }

    fn notes(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let tables = self.read();
        let notes = tables.notes.iter();
        Ok(notes
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect())
    }

    fn set_note(&self, name: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
        let mut tables = self.write();
        match value {
            Some(value) => tables.notes.insert(name.to_owned(), value.to_vec()),
            None => tables.notes.remove(name),
        };
        Ok(())
    }
}

/// The lists that an event is in.
fn keys_of(event: &Event) -> impl Iterator<Item = Key> {
    let tags: BTreeSet<(u8, &str)> = event.single_letter_tags().collect();
    let tags = tags
        .into_iter()
        .map(|(letter, value)| Key::Tag(letter, value.into()));
    let (author, kind) = (*event.pubkey(), event.kind());
    [
        Key::Author(author),
        Key::Kind(kind),
        Key::AuthorKind(author, kind),
    ]
    .into_iter()
    .chain(tags)
    .chain(deletion::targets(event).map(|target| match target {
        Target::Id(id) => Key::DeletionOf(id),
        Target::Address(address) => Key::DeletionOfAddress(deletion::address_hash(&address)),
    }))
    .chain(deletion::recipients(event).map(Key::WrapFor))
}

impl Tables {
    fn new(events_max: usize) -> Tables {
        Tables {
            last_seq: 0,
            bytes: 0,
            all: Rows::new(),
            by_id: HashMap::new(),
            by_seq: BTreeMap::new(),
            by_key: HashMap::new(),
            by_address: HashMap::new(),
            by_expiry: BTreeSet::new(),
            tombstones: Tombstones::new(events_max),
            vanishing: BTreeMap::new(),
            notes: BTreeMap::new(),
        }
    }

    fn store(&mut self, event: &Arc<Event>, rule: &dyn DeletionRule) -> Outcome {
        if self.tombstones.is_vanished(event) {
            self.delete_targets(event, rule);
            self.tombstones.bury_targets(event);
            return Outcome::Vanished;
        }
        if self.by_id.contains_key(event.id()) {
            return Outcome::Duplicate;
        }
        let is_deleted = self.is_deleted(event, rule);
        let is_superseded = event.address().is_some_and(|address| {
            let newest = self.newest_of(&address);
            let is_superseded = deletion::is_superseded(Position::of(event), newest);
            if !is_superseded {
                // Even if this version is refused, it ends the older one.
                self.remove_version(&address);
            }
            is_superseded
        });
        if is_deleted {
            self.tombstones.bury_version(event);
            return Outcome::Deleted;
        }
        if is_superseded {
            return Outcome::Superseded;
        }
        self.delete_targets(event, rule);
        if let Some((key, until)) = deletion::vanish_of(event) {
            self.vanish(key, until);
        }
        self.insert(event)
    }

    /// Whether a deletion that came before applies to an event that comes now.
    fn is_deleted(&self, event: &Event, rule: &dyn DeletionRule) -> bool {
        let of = |key| self.by_key.get(&key).into_iter().flat_map(Rows::values);
        let mut by_id = of(Key::DeletionOf(*event.id()));
        if by_id.any(|row| deletion::deletes_by_id(&row.event, event, rule)) {
            return true;
        }
        let address = event
            .address()
            .map(|address| deletion::address_hash(&address));
        let mut by_address = address
            .into_iter()
            .flat_map(|hash| of(Key::DeletionOfAddress(hash)));
        by_address.any(|row| deletion::deletes_by_address(&row.event, event, rule))
            || self.tombstones.holds(event)
    }

    /// The newest version of an address that was ever given, as far as it is remembered.
    fn newest_of(&self, address: &EventAddress) -> Option<Position> {
        let stored = self
            .by_address
            .get(address)
            .map(|other| Position::of(other));
        let buried = self.tombstones.version_of(address);
        stored.into_iter().chain(buried).min()
    }

    fn remove_version(&mut self, address: &EventAddress) {
        let stored = self
            .by_address
            .get(address)
            .map(|other| Position::of(other));
        if let Some(position) = stored {
            self.remove(&position);
        }
    }

    /// Removes the stored events that a deletion names; other events have no effect.
    fn delete_targets(&mut self, deletion: &Event, rule: &dyn DeletionRule) {
        for target in deletion::targets(deletion) {
            let due = match &target {
                Target::Id(id) => {
                    let row = self.by_id.get(id).map(|row| Arc::clone(&row.event));
                    row.filter(|event| deletion::deletes_by_id(deletion, event, rule))
                }
                Target::Address(address) => {
                    let version = self.by_address.get(address).map(Arc::clone);
                    version.filter(|event| deletion::deletes_by_address(deletion, event, rule))
                }
            };
            if let Some(event) = due {
                self.tombstones.bury_version(&event);
                self.remove(&Position::of(&event));
            }
        }
    }

    /// Hides the events of a key up to that time.
    fn vanish(&mut self, key: Bytes32, until: u64) {
        let until = self.tombstones.vanish(key, until);
        if self.vanished(&key, until).next().is_some() {
            self.vanishing.insert(key, until);
        }
    }

    /// Whether an event is of a key that has vanished. It is removed soon.
    fn is_hidden(&self, event: &Event) -> bool {
        !self.vanishing.is_empty()
            && deletion::is_vanished(event, |key| self.vanishing.get(key).copied())
    }

    /// The stored events that a key's request to vanish covers.
    fn vanished(&self, key: &Bytes32, until: u64) -> impl Iterator<Item = Position> {
        let covered = |key| {
            let rows = self.by_key.get(&key).into_iter();
            rows.flat_map(move |rows| rows.range(Position::first_of(until)..))
        };
        let of_author = covered(Key::Author(*key));
        let rows = of_author.chain(covered(Key::WrapFor(*key)));
        let rows = rows.filter(|(_, row)| row.event.kind() != VANISH);
        rows.map(|(position, _)| *position)
    }

    /// Removes up to `most` events of keys that have vanished. Returns how many.
    fn remove_vanished(&mut self, most: usize) -> usize {
        let mut removed = 0;
        while removed < most
            && let Some((key, until)) = self.vanishing.first_key_value()
        {
            let (key, until) = (*key, *until);
            let some: Vec<Position> = self.vanished(&key, until).take(most - removed).collect();
            if some.is_empty() {
                self.vanishing.remove(&key);
            }
            some.iter()
                .for_each(|position| self.bury_and_remove(position));
            removed += some.len();
        }
        removed
    }

    /// Removes up to `most` expired events. Returns how many.
    fn remove_expired(&mut self, now: u64, most: usize) -> usize {
        let expired = self.by_expiry.iter().take_while(|(end, _)| *end <= now);
        let expired = expired.take(most).map(|(_, position)| *position);
        let expired: Vec<Position> = expired.collect();
        for position in &expired {
            self.bury_and_remove(position);
        }
        expired.len()
    }

    /// Removes an event whose effect stays: that of a deletion on its targets, and that of a
    /// version on older ones.
    fn bury_and_remove(&mut self, position: &Position) {
        if let Some(row) = self.all.get(position) {
            self.tombstones.bury_targets(&row.event);
            self.tombstones.bury_version(&row.event);
            self.remove(position);
        }
    }

    fn insert(&mut self, event: &Arc<Event>) -> Outcome {
        self.last_seq += 1;
        self.bytes += event.held_bytes();
        let position = Position::of(event);
        if let Some(address) = event.address() {
            self.by_address.insert(address, Arc::clone(event));
        }
        let row = Row {
            seq: self.last_seq,
            event: Arc::clone(event),
        };
        for key in keys_of(event) {
            self.by_key
                .entry(key)
                .or_default()
                .insert(position, row.clone());
        }
        if let Some(end) = event.expires_at() {
            self.by_expiry.insert((end, position));
        }
        self.by_seq.insert(row.seq, Arc::clone(event));
        self.by_id.insert(*event.id(), row.clone());
        self.all.insert(position, row);
        Outcome::Stored(self.last_seq)
    }

    fn remove_oldest(&mut self) {
        if let Some((oldest, _)) = self.all.last_key_value() {
            let oldest = *oldest;
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, position: &Position) {
        let Some(Row { seq, event }) = self.all.remove(position) else {
            return;
        };
        self.bytes -= event.held_bytes();
        self.by_id.remove(event.id());
        self.by_seq.remove(&seq);
        if let Some(end) = event.expires_at() {
            self.by_expiry.remove(&(end, *position));
        }
        if let Some(address) = event.address() {
            self.by_address.remove(&address);
        }
        for key in keys_of(&event) {
            if let hash_map::Entry::Occupied(mut rows) = self.by_key.entry(key) {
                rows.get_mut().remove(position);
                if rows.get().is_empty() {
                    rows.remove();
                }
            }
        }
    }

    fn page(&self, query: &mut Query, rows: usize, bytes: usize, now: u64) -> Page {
        let mut page = Page::default();
        let mut bytes_left = bytes;
        let mut sources = self.sources(query);
        let mut heads = BinaryHeap::new();
        for (index, (_, source)) in sources.iter_mut().enumerate() {
            heads.extend(
                source
                    .next()
                    .map(|(position, row)| Reverse(Head(*position, index, row))),
            );
        }
        let mut last_offered = None;
        while let Some(Reverse(Head(position, index, row))) = heads.pop() {
            let (part, source) = &mut sources[index];
            let since = query.parts[*part].filter.since.unwrap_or(0);
            let is_live = !query.parts[*part].is_done() && position.created_at() >= since;
            if is_live {
                let is_full = page.rows.len() == rows || bytes_left == 0;
                let is_next = query.cursor != Some(position);
                if is_next && (is_full || page.looked_at >= ROWS_LOOKED_AT_MAX) {
                    return page;
                }
                heads.extend(
                    source
                        .next()
                        .map(|(at, row)| Reverse(Head(*at, index, row))),
                );
                page.looked_at += 1;
                query.cursor = Some(position);
                // Two lists of one filter may both contain it.
                if last_offered != Some((position, *part)) {
                    last_offered = Some((position, *part));
                    let is_known = page
                        .rows
                        .last()
                        .is_some_and(|last| Position::of(last) == position);
                    if !self.is_hidden(&row.event)
                        && query.offer(*part, &row.event, row.seq, now)
                        && !is_known
                    {
                        bytes_left = bytes_left.saturating_sub(row.event.body().len());
                        page.rows.push(Arc::clone(&row.event));
                    }
                }
            }
            if query.is_done() {
                break;
            }
        }
        page.is_last = true;
        page
    }

    /// Lists that together contain all events that the query's filters can match, each from where
    /// the query continues.
    fn sources<'t>(&'t self, query: &Query) -> Vec<(usize, Source<'t>)> {
        let mut sources = Vec::new();
        for (index, part) in query.parts.iter().enumerate() {
            if part.is_done() {
                continue;
            }
            let from = match (query.cursor, part.filter.until.map(Position::first_of)) {
                (Some(cursor), Some(until)) if until > cursor => Bound::Included(until),
                (Some(cursor), _) => Bound::Excluded(cursor),
                (None, Some(until)) => Bound::Included(until),
                (None, None) => Bound::Unbounded,
            };
            self.sources_of(&part.filter, from, |source| sources.push((index, source)));
        }
        sources
    }

    /// The shortest lists for one filter.
    fn sources_of<'t>(
        &'t self,
        filter: &Filter,
        from: Bound<Position>,
        mut add: impl FnMut(Source<'t>),
    ) {
        let range = (from, Bound::Unbounded);
        if let Some(ids) = &filter.ids {
            let rows = ids.iter().filter_map(|id| self.by_id.get(id));
            let rows = rows.map(|row| (Position::of(&row.event), row));
            let is_ahead = |position: &Position| match from {
                Bound::Included(from) => *position >= from,
                Bound::Excluded(from) => *position > from,
                Bound::Unbounded => true,
            };
            return rows
                .filter(|(position, _)| is_ahead(position))
                .for_each(|(position, _)| {
                    add(self
                        .all
                        .range((Bound::Included(position), Bound::Included(position))));
                });
        }
        let Some(keys) = self.plan(filter) else {
            return add(self.all.range(range));
        };
        let lists = keys.into_iter().filter_map(|key| self.by_key.get(&key));
        lists.for_each(|rows| add(rows.range(range)));
    }

    /// The keys of the lists with the fewest rows, among those that suffice. `None`: all rows.
    fn plan(&self, filter: &Filter) -> Option<Vec<Key>> {
        let tags = filter.tags.iter().map(|(letter, values)| {
            let keys = values.iter().map(|value| Key::Tag(*letter, value.clone()));
            keys.collect::<Vec<_>>()
        });
        let required = filter.all_tags.iter().flat_map(|(letter, values)| {
            let values = values.iter();
            values.map(|value| vec![Key::Tag(*letter, value.clone())])
        });
        let authors = filter
            .authors
            .as_deref()
            .map(|authors| match &filter.kinds {
                Some(kinds) if authors.len() * kinds.len() <= 1_000 => authors
                    .iter()
                    .flat_map(|author| kinds.iter().map(|kind| Key::AuthorKind(*author, *kind)))
                    .collect(),
                _ => authors
                    .iter()
                    .map(|author| Key::Author(*author))
                    .collect::<Vec<_>>(),
            });
        let kinds = filter.kinds.as_deref();
        let kinds = kinds.map(|kinds| kinds.iter().map(|kind| Key::Kind(*kind)).collect());
        let rows = |keys: &Vec<Key>| -> usize {
            keys.iter()
                .filter_map(|key| self.by_key.get(key))
                .map(BTreeMap::len)
                .sum()
        };
        let tags = tags.chain(required);
        tags.chain(authors).chain(kinds).min_by_key(rows)
    }
}

type Source<'t> = std::collections::btree_map::Range<'t, Position, Row>;

/// The next row of a list, and the list's number.
struct Head<'t>(Position, usize, &'t Row);

impl Head<'_> {
    fn order(&self) -> (Position, usize) {
        (self.0, self.1)
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Head<'_> {}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

#[cfg(test)]
mod tests;
