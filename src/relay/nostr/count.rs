//! COUNT (NIP-45): counted in steps, so that a large count does not hold up other queries.

use corecast_nostr::{Hll, Page, Query, QueryLimits, StoreError};

use super::clock::unix_now;
use super::mail::{Request, Told};
use super::threads::{Common, query};

/// Rows that a step reads at most.
const STEP_ROWS: usize = 4_096;

/// A count in progress.
pub(super) struct Counting {
    /// The name of the query, as JSON.
    subscription: Box<str>,
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

/// Begins to count the events that match the filters, each once.
pub(super) fn begin(common: &Common, subscription: Box<str>, request: &Request) -> Told {
    let all = QueryLimits {
        limit_max: u64::MAX,
        limit_default: u64::MAX,
        second_max: 0,
    };
    let counting = Counting {
        subscription,
        query: query(common, request, &all),
        count: 0,
        looked_at: 0,
        hll: Hll::for_query(&request.filters),
    };
    go_on(common, Box::new(counting))
}

/// Counts another part. If the bound on rows is reached, the result covers the rows read until
/// then.
pub(super) fn go_on(common: &Common, mut counting: Box<Counting>) -> Told {
    match counting.step(common) {
        Ok(None) => Told::Counting(counting),
        Ok(Some(counted)) => Told::Counted {
            subscription: counting.subscription,
            counted,
        },
        Err(error) => Told::Failed {
            place: None,
            subscription: counting.subscription,
            error,
        },
    }
}

impl Counting {
    fn step(&mut self, common: &Common) -> Result<Option<Counted>, StoreError> {
        let Page {
            rows,
            looked_at,
            is_last,
        } = common
            .store
            .page(&mut self.query, STEP_ROWS, usize::MAX, unix_now())?;
        if let Some(hll) = &mut self.hll {
            rows.iter().for_each(|event| hll.add(event.pubkey()));
        }
        self.count += rows.len() as u64;
        self.looked_at += looked_at as u64;
        common.stats.rows_read.add(looked_at as u64);
        let is_over = is_last || self.looked_at >= common.count_max;
        Ok(is_over.then(|| Counted {
            count: self.count,
            is_approximate: !is_last,
            hll: self.hll.as_ref().filter(|_| is_last).map(Hll::to_hex),
        }))
    }
}
