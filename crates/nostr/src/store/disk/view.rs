//! Reading a store: the layers in memory over the tables on disk, newest first.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::keys::{self, Row, TAIL};
use super::layer::{Layer, Space};
use super::tables::{Reading, Stored, failed, parsed};
use crate::event::Event;
use crate::query::{Position, Seq};
use crate::store::{Numbered, StoreError};

/// A layer that is read while it may still grow.
pub(super) type SharedLayer = Arc<RwLock<Layer>>;

pub(super) fn read(layer: &SharedLayer) -> RwLockReadGuard<'_, Layer> {
    layer.read().unwrap_or_else(PoisonError::into_inner)
}

/// Rows that are taken from a layer under one lock: a few at first, since most queries of many
/// lists need few rows of each.
const ROWS_FIRST: usize = 2;
const ROWS_THEN: usize = 64;

/// The store at one moment. The layers must have been taken before the tables were opened: what is
/// in a layer may be in the tables too, and then it is the same.
pub(super) struct View {
    pub(super) layers: Vec<SharedLayer>,
    pub(super) tables: Reading,
}

/// Key and value.
pub(super) type Pair = (Box<[u8]>, Box<[u8]>);

impl View {
    pub(super) fn get(&self, space: Space, key: &[u8]) -> Result<Option<Box<[u8]>>, StoreError> {
        for layer in &self.layers {
            if let Some(value) = read(layer).of(space).get(key) {
                return Ok(value.clone());
            }
        }
        self.tables.get(space, key)
    }

    /// The event with that number, if it is stored.
    pub(super) fn event(&self, seq: Seq) -> Result<Option<Arc<Event>>, StoreError> {
        for layer in &self.layers {
            if let Some(event) = read(layer).events.get(&seq) {
                return Ok(event.clone());
            }
        }
        Ok(self.tables.event(seq)?.map(Arc::new))
    }

    /// Up to `rows` pairs from `from` until before `end`, in order.
    pub(super) fn scan(
        &self,
        space: Space,
        from: &[u8],
        end: &[u8],
        rows: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        let mut changed = BTreeMap::new();
        for layer in self.layers.iter().rev() {
            let layer = read(layer);
            let range = (Bound::Included(from), Bound::Excluded(end));
            let pairs = layer.of(space).range::<[u8], _>(range);
            changed.extend(pairs.map(|(key, value)| (key.clone(), value.clone())));
        }
        let mut stored = self
            .tables
            .range(space, (Bound::Included(from), Bound::Excluded(end)))?;
        let mut next_stored = || -> Result<Option<Pair>, StoreError> {
            let pair = stored.next().transpose().map_err(failed)?;
            Ok(pair.map(|(key, value)| (key.value().into(), value.value().into())))
        };
        let mut found = Vec::new();
        let mut changed = changed.into_iter().peekable();
        let mut head = next_stored()?;
        while found.len() < rows {
            let is_changed = match (changed.peek(), &head) {
                (Some((key, _)), Some((stored, _))) => {
                    let is_first = key <= stored;
                    if key == stored {
                        head = next_stored()?;
                    }
                    is_first
                }
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => break,
            };
            if !is_changed {
                found.extend(head.take());
                head = next_stored()?;
            } else if let Some((key, Some(value))) = changed.next() {
                found.push((key, value));
            }
        }
        Ok(found)
    }

    /// Pairs whose keys begin with `prefix`.
    pub(super) fn with_prefix(&self, space: Space, prefix: &[u8]) -> Result<Vec<Pair>, StoreError> {
        self.scan(space, prefix, &end_of(prefix), usize::MAX)
    }

    /// Up to `rows` events above number `after` that are wanted, in order.
    pub(super) fn events_after(
        &self,
        after: Seq,
        rows: usize,
        is_wanted: impl Fn(&Event) -> bool,
    ) -> Result<Vec<Numbered>, StoreError> {
        let mut changed = BTreeMap::new();
        for layer in self.layers.iter().rev() {
            let layer = read(layer);
            let later = layer
                .events
                .range((Bound::Excluded(after), Bound::Unbounded));
            changed.extend(later.map(|(seq, event)| (*seq, event.clone())));
        }
        let mut found = Vec::new();
        let add = |found: &mut Vec<Numbered>, seq, event: Option<Arc<Event>>| {
            let event = event.filter(|event| is_wanted(event));
            found.extend(event.map(|event| (seq, event)));
        };
        let mut stored = self.tables.records_after(after)?;
        while found.len() < rows {
            let Some(record) = stored.next() else {
                changed
                    .into_iter()
                    .for_each(|(seq, event)| add(&mut found, seq, event));
                break;
            };
            let (seq, json) = record.map_err(failed)?;
            let (seq, json) = (seq.value(), json.value());
            let later = changed.split_off(&seq);
            let before = std::mem::replace(&mut changed, later);
            before
                .into_iter()
                .for_each(|(seq, event)| add(&mut found, seq, event));
            if !changed.contains_key(&seq) {
                add(&mut found, seq, Some(Arc::new(parsed(seq, json)?)));
            }
        }
        found.truncate(rows);
        Ok(found)
    }

    /// The rows of a list from a position on, down to the second `since`.
    pub(super) fn list(
        &self,
        list: &[u8],
        from: Bound<Position>,
        since: u64,
    ) -> Result<Rows, StoreError> {
        let key = |position: &Position| [list, &keys::tail(position)].concat();
        let from = match &from {
            Bound::Included(position) => Bound::Included(key(position)),
            Bound::Excluded(position) => Bound::Excluded(key(position)),
            Bound::Unbounded => Bound::Included(list.to_vec()),
        };
        // The end is the first position of the second before.
        let end = match since.checked_sub(1) {
            Some(before) => key(&Position::first_of(before)),
            None => end_of(list),
        };
        let bound = as_bytes(&from);
        let is_empty = match bound {
            Bound::Included(key) | Bound::Excluded(key) => *key >= *end,
            Bound::Unbounded => false,
        };
        let stored = match is_empty {
            true => None,
            false => Some(
                self.tables
                    .range(Space::Index, (bound, Bound::Excluded(&end)))?,
            ),
        };
        let tails = self.layers.iter().filter(|_| !is_empty);
        let tails = tails.map(|layer| Tail {
            layer: Arc::clone(layer),
            from: from.clone(),
            ahead: VecDeque::new(),
            rows: ROWS_FIRST,
            is_done: false,
        });
        let mut rows = Rows {
            tails: tails.collect(),
            stored,
            stored_head: None,
            end,
        };
        rows.advance_stored()?;
        Ok(rows)
    }
}

fn as_bytes(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// The first key after all keys with this prefix, which has a byte below 255.
pub(super) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// The rest of a list in one layer.
struct Tail {
    layer: SharedLayer,
    from: Bound<Vec<u8>>,
    ahead: VecDeque<(Position, Option<Row>)>,
    rows: usize,
    is_done: bool,
}

impl Tail {
    /// The next row, which stays where it is.
    fn peek(&mut self, end: &[u8]) -> Option<&(Position, Option<Row>)> {
        if self.ahead.is_empty() && !self.is_done {
            let layer = read(&self.layer);
            let range = (as_bytes(&self.from), Bound::Excluded(end));
            let mut pairs = layer.index.range::<[u8], _>(range);
            let mut last = None;
            for (key, value) in pairs.by_ref().take(self.rows) {
                let row = value.as_deref().map(Row::parse);
                self.ahead
                    .extend(keys::position_at_end(key).map(|at| (at, row.flatten())));
                last = Some(key.to_vec());
            }
            self.is_done = self.ahead.len() < self.rows;
            self.rows = ROWS_THEN;
            if let Some(last) = last {
                self.from = Bound::Excluded(last);
            }
        }
        self.ahead.front()
    }
}

/// The rest of a list.
pub(super) struct Rows {
    /// Newest layer first.
    tails: Vec<Tail>,
    stored: Option<Stored>,
    stored_head: Option<(Position, Row)>,
    end: Vec<u8>,
}

impl Rows {
    fn advance_stored(&mut self) -> Result<(), StoreError> {
        self.stored_head = None;
        let next = self.stored.as_mut().and_then(Iterator::next);
        if let Some((key, value)) = next.transpose().map_err(failed)? {
            let row = keys::position_at_end(key.value()).zip(Row::parse(value.value()));
            let damaged = || StoreError("a row of the index is damaged".to_owned());
            self.stored_head = Some(row.ok_or_else(damaged)?);
        }
        Ok(())
    }

    /// The next row.
    pub(super) fn next(&mut self) -> Result<Option<(Position, Row)>, StoreError> {
        loop {
            let mut first = self.stored_head.as_ref().map(|(position, _)| *position);
            for tail in &mut self.tails {
                let head = tail.peek(&self.end).map(|(position, _)| *position);
                first = match (first, head) {
                    (Some(first), Some(head)) => Some(first.min(head)),
                    (first, head) => first.or(head),
                };
            }
            let Some(first) = first else {
                return Ok(None);
            };
            // The newest layer that has it decides; the older ones are passed over.
            let mut decided = None;
            for tail in &mut self.tails {
                if tail.ahead.front().is_some_and(|(at, _)| *at == first) {
                    let (_, row) = tail.ahead.pop_front().unwrap_or((first, None));
                    decided = decided.or(Some(row));
                }
            }
            if let Some((at, row)) = self.stored_head
                && at == first
            {
                decided = decided.or(Some(Some(row)));
                self.advance_stored()?;
            }
            if let Some(Some(row)) = decided {
                return Ok(Some((first, row)));
            }
        }
    }
}

const _: () = assert!(TAIL == 5 + 32);
