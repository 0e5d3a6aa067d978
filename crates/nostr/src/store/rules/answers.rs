//! The answers of a store to queries, beside those of ten lines that match.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::Fresh;
use crate::filter::Filter;
use crate::hex::Bytes32;
use crate::oracle::{events, filters, is_match};
use crate::query::{Position, Query, QueryLimits};
use crate::store::{Nip09, Outcome, Store};
use crate::visibility::{PrivateKinds, Viewer};

const LIMITS: QueryLimits = QueryLimits {
    limit_max: 6,
    limit_default: 4,
    second_max: 2,
};

/// As for COUNT.
const UNLIMITED: QueryLimits = QueryLimits {
    limit_max: u64::MAX,
    limit_default: u64::MAX,
    second_max: 0,
};

/// The order in which events come, the filters of a query, and the rows of a page.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    order: Vec<usize>,
    filters: Vec<Filter>,
    rows: usize,
}

pub(crate) fn any_case() -> impl Strategy<Value = Case> {
    let order = Just((0..24).collect::<Vec<usize>>()).prop_shuffle();
    let filters = vec(filters(&events()), 1..4);
    (order, filters, 1..5_usize).prop_map(|(order, filters, rows)| Case {
        order,
        filters,
        rows,
    })
}

/// Page by page, a query returns the events that the filters match, newest first, and knows
/// whether there are more. Their places are the same, and a count has each event once.
pub(crate) fn a_query_has_what_the_filters_say(fresh: Fresh<'_>, case: &Case) {
    let store = fresh();
    let events = events();
    let all: Vec<_> = case.order.iter().map(|i| Arc::clone(&events[*i])).collect();
    let outcomes = store.commit(&all, &Nip09).expect("a commit");
    let is_stored = |outcome: &Outcome| matches!(outcome, Outcome::Stored(_));
    assert!(outcomes.iter().all(is_stored));

    let (due, has_more) = due(&case.filters);
    let mut query = query(&*store, &case.filters, &LIMITS);
    assert_eq!(
        pages(&*store, query.clone(), case.rows),
        (due.clone(), has_more)
    );
    let mut places = Vec::new();
    loop {
        let items = store.items(&mut query, case.rows, 0).expect("items");
        assert!(items.items.len() <= case.rows);
        places.extend(items.items.iter().map(|item| item.id));
        if items.is_last {
            break;
        }
    }
    assert_eq!((places, query.has_more()), (due, has_more));

    let unlimited = |filter: &Filter| Filter {
        limit: None,
        ..filter.clone()
    };
    let filters: Vec<Filter> = case.filters.iter().map(unlimited).collect();
    let counted = pages(
        &*store,
        self::query(&*store, &filters, &UNLIMITED),
        case.rows,
    );
    let is_due = |event: &&Arc<_>| filters.iter().any(|filter| is_match(filter, event));
    assert_eq!(counted.0.len(), events.iter().filter(is_due).count());
}

fn query(store: &dyn Store, filters: &[Filter], limits: &QueryLimits) -> Query {
    Query::new(
        filters.iter().map(|filter| Arc::new(filter.clone())),
        limits,
        store.last_seq(),
        Viewer::default(),
        Arc::new(PrivateKinds::default()),
    )
}

fn pages(store: &dyn Store, mut query: Query, rows: usize) -> (Vec<Bytes32>, bool) {
    let mut ids = Vec::new();
    loop {
        let page = store.page(&mut query, rows, usize::MAX, 0).expect("a page");
        assert!(page.rows.len() <= rows);
        ids.extend(page.rows.iter().map(|event| *event.id()));
        if page.is_last {
            return (ids, query.has_more());
        }
    }
}

fn due(filters: &[Filter]) -> (Vec<Bytes32>, bool) {
    let events = events();
    let mut due: BTreeMap<Position, Bytes32> = BTreeMap::new();
    let mut has_more = false;
    for filter in filters {
        let found = events.iter().filter(|each| is_match(filter, each));
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(|event| Position::of(event));
        let asked = filter.limit.unwrap_or(u64::MAX);
        let ours = asked.min(if filter.limit.is_some() { 6 } else { 4 });
        let mut end = found.len().min(ours as usize);
        if ours < asked && end > 0 {
            let second = found[end - 1].created_at();
            let rest = found[end..].iter();
            let rest = rest.take_while(|event| event.created_at() == second);
            end += rest.count().min(2);
        }
        has_more |= end < found.len();
        due.extend(
            found[..end]
                .iter()
                .map(|event| (Position::of(event), *event.id())),
        );
    }
    (due.into_values().collect(), has_more)
}
