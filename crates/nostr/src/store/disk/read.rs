//! Answers to queries: the lists that suffice for each filter, merged by position.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Bound;
use std::sync::Arc;

use super::keys::{self, Row};
use super::layer::Space;
use super::state::Vanishing;
use super::view::{Rows, View};
use crate::event::Event;
use crate::filter::Filter;
use crate::query::{Page, Position, Query, Seq};
use crate::store::{Item, Items, Numbered, StoreError};

/// Rows that a page examines.
const ROWS_LOOKED_AT_MAX: usize = 4_096;

/// Rows that are examined for items at a time.
const ITEMS_LOOKED_AT_MAX: usize = 65_536;

/// Most lists of a query whose next rows are remembered from page to page.
const HEADS_MAX: usize = 2_000;

/// Most lists of pairs: of a key and a kind, or a kind and a tag.
const PAIRS_MAX: usize = 1_000;

/// Lists that together contain all events that a filter can match.
enum Plan {
    /// Each has one row.
    Ids(Vec<Vec<u8>>),
    Lists {
        lists: Vec<Vec<u8>>,
        /// Whether every row with a kind of the filter matches, but for its time.
        is_exact: bool,
    },
}

fn plan(filter: &Filter) -> Plan {
    if let Some(ids) = &filter.ids {
        return Plan::Ids(ids.iter().map(keys::id).collect());
    }
    let authors = filter.authors.as_deref();
    let kinds = filter.kinds.as_deref();
    let pairs = |ones: usize| kinds.filter(|kinds| ones * kinds.len() <= PAIRS_MAX);
    // The letter with the fewest values is likely to have the fewest rows.
    let tags = filter
        .tags
        .iter()
        .map(|(letter, values)| (letter, &**values));
    // Of values that an event must have all of, one is enough (NIP-91).
    let required = filter.all_tags.iter();
    let required = required.filter_map(|(letter, values)| Some((letter, values.get(..1)?)));
    let tag = tags.chain(required).min_by_key(|(_, values)| values.len());
    let lists = match (tag, authors, kinds) {
        (Some((letter, values)), _, _) => match pairs(values.len()) {
            Some(kinds) => pairs_of(kinds, values, |kind, value| {
                keys::kind_tag(*kind, *letter, value)
            }),
            None => values
                .iter()
                .map(|value| keys::tag(*letter, value))
                .collect(),
        },
        (None, Some(authors), _) => match pairs(authors.len()) {
            Some(kinds) => pairs_of(authors, kinds, |key, kind| keys::author_kind(key, *kind)),
            None => authors.iter().map(keys::author).collect(),
        },
        (None, None, Some(kinds)) => kinds.iter().map(|kind| keys::kind(*kind)).collect(),
        (None, None, None) => vec![keys::all()],
    };
    // Values of tags are hashed in keys, so those rows are compared with the event.
    Plan::Lists {
        lists,
        is_exact: tag.is_none(),
    }
}

fn pairs_of<A, B>(ones: &[A], others: &[B], key: impl Fn(&A, &B) -> Vec<u8>) -> Vec<Vec<u8>> {
    let pairs = ones
        .iter()
        .flat_map(|one| others.iter().map(move |other| (one, other)));
    pairs.map(|(one, other)| key(one, other)).collect()
}

/// Rows of one filter: a list, or the row of an id.
enum Source {
    /// It is opened when its turn comes: with the list, and the time at which it ends.
    Closed(Vec<u8>, u64),
    List(Rows),
    Once(Option<(Position, Row)>),
}

impl Source {
    fn next(&mut self) -> Result<Option<(Position, Row)>, StoreError> {
        match self {
            Source::Closed(..) => Ok(None),
            Source::List(rows) => rows.next(),
            Source::Once(row) => Ok(row.take()),
        }
    }
}

/// The lists of a query from where it continues, merged.
struct Merge<'q> {
    view: &'q View,
    sources: Vec<(Place, Source)>,
    /// The next row of each, by position and number of the source.
    heads: BinaryHeap<Reverse<Head>>,
}

/// The numbers of a filter and of its list.
type Place = (usize, usize);

/// A row; `None` if the source is still to be opened there.
struct Head(Position, usize, Option<Row>);

impl Head {
    fn order(&self) -> (Position, usize) {
        (self.0, self.1)
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl<'q> Merge<'q> {
    fn new(view: &'q View, query: &Query, plans: &[Plan]) -> Result<Merge<'q>, StoreError> {
        let mut merge = Merge {
            view,
            sources: Vec::new(),
            heads: BinaryHeap::new(),
        };
        for (part, plan) in plans.iter().enumerate() {
            if query.parts[part].is_done() {
                continue;
            }
            let filter = &query.parts[part].filter;
            let from = match (query.cursor, filter.until.map(Position::first_of)) {
                (Some(cursor), Some(until)) if until > cursor => Bound::Included(until),
                (Some(cursor), _) => Bound::Excluded(cursor),
                (None, Some(until)) => Bound::Included(until),
                (None, None) => Bound::Unbounded,
            };
            match plan {
                Plan::Ids(ids) => merge.add_ids(view, part, ids, from)?,
                Plan::Lists { lists, .. } => {
                    let since = filter.since.unwrap_or(0);
                    let known = query.heads.get(part);
                    for (number, list) in lists.iter().enumerate() {
                        if let Some(heads) = known {
                            merge.add_closed((part, number), heads[number], list, since);
                        } else {
                            let rows = view.list(list, from, since)?;
                            merge.add((part, number), Source::List(rows))?;
                        }
                    }
                }
            }
        }
        Ok(merge)
    }

    fn add_ids(
        &mut self,
        view: &View,
        part: usize,
        ids: &[Vec<u8>],
        from: Bound<Position>,
    ) -> Result<(), StoreError> {
        for id in ids {
            let Some(place) = view.get(Space::Index, id)? else {
                continue;
            };
            let row = keys::position_at_end(&place).zip(Row::parse(&place));
            let is_ahead = |position: &Position| match from {
                Bound::Included(from) => *position >= from,
                Bound::Excluded(from) => *position > from,
                Bound::Unbounded => true,
            };
            let row = row.filter(|(position, _)| is_ahead(position));
            self.add((part, 0), Source::Once(row))?;
        }
        Ok(())
    }

    fn add(&mut self, place: Place, mut source: Source) -> Result<(), StoreError> {
        if let Some((position, row)) = source.next()? {
            let head = Head(position, self.sources.len(), Some(row));
            self.heads.push(Reverse(head));
            self.sources.push((place, source));
        }
        Ok(())
    }

    fn add_closed(&mut self, place: Place, head: Option<Position>, list: &[u8], since: u64) {
        if let Some(position) = head {
            self.heads
                .push(Reverse(Head(position, self.sources.len(), None)));
            self.sources
                .push((place, Source::Closed(list.to_vec(), since)));
        }
    }

    /// The next row, and the filter whose list it is from.
    fn peek(&mut self) -> Result<Option<(usize, Position)>, StoreError> {
        while let Some(Reverse(Head(position, index, row))) = self.heads.peek() {
            let (position, index) = (*position, *index);
            let ((part, _), source) = &mut self.sources[index];
            match source {
                Source::Closed(list, since) if row.is_none() => {
                    *source =
                        Source::List(self.view.list(list, Bound::Included(position), *since)?);
                    self.heads.pop();
                    self.push_next(index)?;
                }
                _ => return Ok(Some((*part, position))),
            }
        }
        Ok(None)
    }

    fn push_next(&mut self, index: usize) -> Result<(), StoreError> {
        if let Some((position, row)) = self.sources[index].1.next()? {
            self.heads.push(Reverse(Head(position, index, Some(row))));
        }
        Ok(())
    }

    /// Takes the next row. Without `goes_on` its list ends here.
    fn take(&mut self, goes_on: bool) -> Result<Option<Row>, StoreError> {
        let Some(Reverse(Head(_, index, row))) = self.heads.pop() else {
            return Ok(None);
        };
        if goes_on {
            self.push_next(index)?;
        }
        Ok(row)
    }

    /// The next row of each list, for the next page.
    fn heads(&self, plans: &[Plan]) -> Vec<Vec<Option<Position>>> {
        let count = |plan: &Plan| match plan {
            Plan::Ids(_) => 0,
            Plan::Lists { lists, .. } => lists.len(),
        };
        // Ids are looked up again, and so many lists would take too much memory.
        let is_kept = plans
            .iter()
            .all(|plan| (1..=HEADS_MAX).contains(&count(plan)));
        if !is_kept || plans.iter().map(count).sum::<usize>() > HEADS_MAX {
            return Vec::new();
        }
        let mut heads: Vec<_> = plans.iter().map(|plan| vec![None; count(plan)]).collect();
        for Reverse(Head(position, index, _)) in &self.heads {
            let (part, list) = self.sources[*index].0;
            heads[part][list] = Some(*position);
        }
        heads
    }
}

/// What a query takes rows for.
trait Target {
    fn is_full(&self) -> bool;

    /// Takes a row, with its event if that was needed to decide on it.
    fn push(&mut self, position: Position, event: Option<Arc<Event>>);

    fn last(&self) -> Option<Position>;

    /// Whether it needs the event of each row.
    fn needs_event(&self) -> bool;
}

struct Events {
    page: Page,
    rows: usize,
    bytes_left: usize,
}

impl Target for Events {
    fn is_full(&self) -> bool {
        self.page.rows.len() == self.rows || self.bytes_left == 0
    }

    fn push(&mut self, _position: Position, event: Option<Arc<Event>>) {
        if let Some(event) = event {
            self.bytes_left = self.bytes_left.saturating_sub(event.body().len());
            self.page.rows.push(event);
        }
    }

    fn last(&self) -> Option<Position> {
        self.page.rows.last().map(|event| Position::of(event))
    }

    fn needs_event(&self) -> bool {
        true
    }
}

struct Places {
    items: Vec<Item>,
    rows: usize,
}

impl Target for Places {
    fn is_full(&self) -> bool {
        self.items.len() == self.rows
    }

    fn push(&mut self, position: Position, _event: Option<Arc<Event>>) {
        self.items.push(Item {
            created_at: position.created_at(),
            id: *position.id(),
        });
    }

    fn last(&self) -> Option<Position> {
        self.items
            .last()
            .map(|item| Position::at(item.created_at, item.id))
    }

    fn needs_event(&self) -> bool {
        false
    }
}

/// A reader of one page.
pub(super) struct Reader<'r> {
    pub(super) view: &'r View,
    pub(super) vanishing: &'r Vanishing,
    pub(super) now: u64,
}

impl Reader<'_> {
    pub(super) fn page(
        &self,
        query: &mut Query,
        rows: usize,
        bytes: usize,
    ) -> Result<Page, StoreError> {
        let mut events = Events {
            page: Page::default(),
            rows,
            bytes_left: bytes,
        };
        let (looked_at, is_last) = self.fill(query, &mut events, ROWS_LOOKED_AT_MAX)?;
        Ok(Page {
            rows: events.page.rows,
            looked_at,
            is_last,
        })
    }

    pub(super) fn items(&self, query: &mut Query, rows: usize) -> Result<Items, StoreError> {
        let mut places = Places {
            items: Vec::new(),
            rows,
        };
        let (looked_at, is_last) = self.fill(query, &mut places, ITEMS_LOOKED_AT_MAX)?;
        Ok(Items {
            items: places.items,
            looked_at,
            is_last,
        })
    }

    /// Events above number `after`, in order, and the number up to which it has looked.
    pub(super) fn since(
        &self,
        after: Seq,
        rows: usize,
        last_seq: Seq,
    ) -> Result<(Vec<Numbered>, Seq), StoreError> {
        let found = self
            .view
            .events_after(after, rows, |event| !self.vanishing.hides(event))?;
        let end = match found.last() {
            Some((seq, _)) if found.len() == rows => *seq,
            // An event that came meanwhile may have been found already.
            last => last_seq.max(after).max(last.map_or(0, |(seq, _)| *seq)),
        };
        Ok((found, end))
    }

    /// Fills a target. Returns the number of rows examined, and whether these were the last.
    fn fill(
        &self,
        query: &mut Query,
        target: &mut impl Target,
        looked_at_max: usize,
    ) -> Result<(usize, bool), StoreError> {
        let plans: Vec<Plan> = query.parts.iter().map(|part| plan(&part.filter)).collect();
        let mut merge = Merge::new(self.view, query, &plans)?;
        let mut looked_at = 0;
        let mut last_offered = None;
        let mut loaded: Option<(Position, Option<Arc<Event>>)> = None;
        while let Some((part, position)) = merge.peek()? {
            let since = query.parts[part].filter.since.unwrap_or(0);
            if query.parts[part].is_done() || position.created_at() < since {
                merge.take(false)?;
                continue;
            }
            let is_next = query.cursor != Some(position);
            if is_next && (target.is_full() || looked_at >= looked_at_max) {
                query.heads = merge.heads(&plans);
                return Ok((looked_at, false));
            }
            let Some(row) = merge.take(true)? else {
                break;
            };
            looked_at += 1;
            query.cursor = Some(position);
            // Two lists of one filter may both contain it.
            if last_offered == Some((position, part)) {
                continue;
            }
            last_offered = Some((position, part));
            let filter = &query.parts[part].filter;
            if row.seq > query.snapshot || !has_kind(filter, row.kind) {
                continue;
            }
            let needs_event = target.needs_event() || self.is_open(query, &plans[part], &row);
            let mut event = None;
            if needs_event {
                if loaded.as_ref().is_none_or(|(at, _)| *at != position) {
                    loaded = Some((position, self.view.event(row.seq)?));
                }
                event = loaded.as_ref().and_then(|(_, event)| event.clone());
            }
            let is_taken = match &event {
                Some(event) => {
                    !self.vanishing.hides(event) && query.offer(part, event, row.seq, self.now)
                }
                // It was removed a moment ago.
                None if needs_event => false,
                None => query.offer_matching(part, position.created_at()),
            };
            if is_taken && target.last() != Some(position) {
                target.push(position, event);
            }
            if query.is_done() {
                break;
            }
        }
        Ok((looked_at, true))
    }

    /// Whether the index alone cannot decide on a row.
    fn is_open(&self, query: &Query, plan: &Plan, row: &Row) -> bool {
        let is_exact = matches!(plan, Plan::Lists { is_exact: true, .. });
        !is_exact
            || row.expires
            || query.private.contains(row.kind)
            || query.hides_any()
            || !self.vanishing.is_empty()
    }
}

fn has_kind(filter: &Filter, kind: u16) -> bool {
    let kinds = filter.kinds.as_ref();
    kinds.is_none_or(|kinds| kinds.binary_search(&kind).is_ok())
}
