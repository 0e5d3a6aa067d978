//! COUNT (NIP-45): counted in steps, so that a large count does not hold up other queries.

use std::sync::Arc;

use corecast_nostr::{Filter, Hll, Query, QueryLimits, Store, StoreError};

use super::clock::unix_now;
use super::stats::NostrStats;

/// Rows that a step reads at most.
const STEP_ROWS: usize = 4_096;

/// The limits of a query that is counted.
pub(super) const UNLIMITED: QueryLimits = QueryLimits {
    limit_max: u64::MAX,
    limit_default: u64::MAX,
    second_max: 0,
};

/// A count in progress.
pub(super) struct Counting {
    /// The name of the query, as JSON.
    pub(super) subscription: Box<str>,
    query: Query,
    count: u64,
    looked_at: u64,
    hll: Option<Hll>,
}

/// The result of a count.
pub(super) struct Counted {
    pub(super) count: u64,
    /// Whether there were too many rows to read all of them.
    pub(super) is_approximate: bool,
    /// Its HyperLogLog value as hexadecimal digits, if it has one.
    pub(super) hll: Option<String>,
}

impl Counting {
    /// Counts the events of a query without limits ([`UNLIMITED`]), each once.
    pub(super) fn new(subscription: Box<str>, query: Query, filters: &[Arc<Filter>]) -> Counting {
        Counting {
            subscription,
            query,
            count: 0,
            looked_at: 0,
            hll: Hll::for_query(filters),
        }
    }

    /// Counts another part. `None`: it is not over. If `count_max` rows are reached, the result
    /// covers the rows read until then.
    pub(super) fn step(
        &mut self,
        store: &dyn Store,
        stats: &NostrStats,
        count_max: u64,
    ) -> Result<Option<Counted>, StoreError> {
        let page = store.page(&mut self.query, STEP_ROWS, usize::MAX, unix_now())?;
        if let Some(hll) = &mut self.hll {
            page.rows.iter().for_each(|event| hll.add(event.pubkey()));
        }
        self.count += page.rows.len() as u64;
        self.looked_at += page.looked_at as u64;
        stats.rows_read.add(page.looked_at as u64);
        let is_over = page.is_last || self.looked_at >= count_max;
        let hll = self.hll.as_ref().filter(|_| page.is_last);
        Ok(is_over.then(|| Counted {
            count: self.count,
            is_approximate: !page.is_last,
            hll: hll.map(Hll::to_hex),
        }))
    }
}
