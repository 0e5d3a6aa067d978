//! Queries for stored events, each with the answer that NIP-01 demands.

use std::collections::HashMap;

use super::draw::{Draws, Traits, Wish};
use crate::plan::Query;

/// Distinct queries of a run, which are asked in turn.
const DISTINCT: u32 = 1024;

/// The queries of a run.
#[derive(Debug)]
pub(super) struct Queries {
    all: Vec<Asking>,
    /// The events are stored already.
    pub(super) is_stored: bool,
}

/// A filter, and its answer.
#[derive(Debug)]
pub(super) struct Asking {
    /// JSON of the filter.
    pub(super) filter: String,
    /// Numbers of events: the newest first, of the same second the lowest id first (NIP-01).
    pub(super) rows: Box<[u32]>,
}

impl Queries {
    /// Draws the queries for events with these ids, in hex by number.
    pub(super) fn new(draws: &Draws, query: Query, ids: &[&str]) -> Self {
        let stored = Stored::new(draws, ids);
        let limit = query.rows as usize;
        let wishes = draws.queries(DISTINCT, ids.len() as u32, query.rows);
        let all = wishes.iter().map(|wish| Asking {
            filter: draws.query(wish, query.rows, ids),
            rows: stored.newest(wish, limit),
        });
        Self {
            all: all.collect(),
            is_stored: query.is_stored,
        }
    }

    /// The query with this number; they come round again.
    pub(super) fn get(&self, number: u32) -> &Asking {
        &self.all[number as usize % self.all.len()]
    }
}

/// The stored events by what filters match on, each list the newest first.
struct Stored {
    all: Vec<u32>,
    /// By number: its place among all.
    places: Vec<u32>,
    by_key: HashMap<u32, Vec<u32>>,
    by_kind: HashMap<u16, Vec<u32>>,
    by_topic: HashMap<u64, Vec<u32>>,
}

impl Stored {
    fn new(draws: &Draws, ids: &[&str]) -> Self {
        let mut all: Vec<u32> = (0..ids.len() as u32).collect();
        all.sort_unstable_by_key(|number| {
            let newest = std::cmp::Reverse(draws.created_at(*number));
            (newest, ids[*number as usize])
        });
        let mut places = vec![0; all.len()];
        for (place, number) in (0..).zip(&all) {
            places[*number as usize] = place;
        }
        let mut stored = Self {
            places,
            by_key: HashMap::new(),
            by_kind: HashMap::new(),
            by_topic: HashMap::new(),
            all: Vec::new(),
        };
        for number in &all {
            let Traits { key, kind, topic } = draws.traits(*number);
            stored.by_key.entry(key).or_default().push(*number);
            stored.by_kind.entry(kind).or_default().push(*number);
            stored.by_topic.entry(topic).or_default().push(*number);
        }
        stored.all = all;
        stored
    }

    /// The newest `limit` events that match.
    fn newest(&self, wish: &Wish, limit: usize) -> Box<[u32]> {
        let mut lists: Vec<&[u32]> = Vec::new();
        match wish {
            Wish::All => lists.push(&self.all),
            Wish::Kinds(kinds) => {
                let of = kinds.iter().filter_map(|kind| self.by_kind.get(kind));
                lists.extend(of.map(Vec::as_slice));
            }
            Wish::Authors(keys) => {
                let of = keys.iter().filter_map(|key| self.by_key.get(key));
                lists.extend(of.map(Vec::as_slice));
            }
            Wish::Topic(topic) => lists.extend(self.by_topic.get(topic).map(Vec::as_slice)),
            Wish::Ids(numbers) => lists.push(numbers),
        }
        // Lists of ids are not in order, and as long as the limit.
        let each = lists.iter().flat_map(|list| list.iter().take(limit));
        let mut rows: Vec<u32> = each.copied().collect();
        rows.sort_unstable_by_key(|number| self.places[*number as usize]);
        rows.truncate(limit);
        rows.into()
    }
}

#[cfg(test)]
mod tests {
    use corecast_nostr::Filter;

    use super::super::draw::tests::NOSTR;
    use super::*;
    use crate::plan::{Filters, Nostr};

    #[test]
    fn expected_rows_are_what_the_filter_says_in_nip_01_order() {
        const SHAPES: [Filters; 6] = [
            Filters::Authors,
            Filters::Kinds,
            Filters::Tags,
            Filters::Ids,
            Filters::All,
            Filters::Mixed,
        ];
        for filters in SHAPES {
            let query = Query {
                rows: 9,
                is_stored: false,
                same_second: 3,
            };
            let nostr = Nostr {
                filters,
                query: Some(query),
                ..NOSTR
            };
            let draws = Draws::new(nostr, 5, 600, 1_700_000_000, "loadgen-1");
            let mut events: Vec<_> = (0..200).map(|number| draws.sign(number)).collect();
            let ids: Vec<_> = events
                .iter()
                .map(|one| corecast_nostr::to_hex(one.id()))
                .collect();
            let ids: Vec<_> = ids.iter().map(|id| &**id).collect();
            let queries = Queries::new(&draws, query, &ids);
            events.sort_by_key(|event| (std::cmp::Reverse(event.created_at()), *event.id()));
            let mut count = 0;
            for number in 0..50 {
                let asking = queries.get(number);
                let filter = Filter::parse(&asking.filter).expect("a filter");
                let matching = events.iter().filter(|event| filter.matches(event));
                let wanted: Vec<_> = matching
                    .take(9)
                    .map(|event| corecast_nostr::to_hex(event.id()))
                    .collect();
                let rows: Vec<_> = asking.rows.iter().map(|row| ids[*row as usize]).collect();
                assert_eq!(rows, wanted, "{}", asking.filter);
                count += rows.len();
            }
            assert!(count > 50, "{count}");
        }
    }
}
