//! The steps of a synchronization on a reading thread: a part of the set, or an answer from it.

use std::sync::Arc;

use corecast_nostr::{
    Query, Store, StoreError, SyncCollector, SyncError, SyncMemory, SyncSet, to_hex,
};

use super::clock::unix_now;
use super::request::Request;
use super::settings::SyncSettings;
use super::stats::NostrStats;

/// Rows of a step of the collection.
const COLLECTED_ROWS: usize = 4_096;

/// All sessions of a relay together have room for this many sets of the largest size.
const LARGEST_SETS_MAX: usize = 4;

/// The memory of all sessions.
pub(super) fn memory(settings: &SyncSettings) -> SyncMemory {
    let events_max = settings.events_max.unwrap_or(0);
    SyncMemory::new(events_max.saturating_mul(LARGEST_SETS_MAX))
}

/// A step for a reading thread. The generation is that of the session's NEG-OPEN.
pub(super) struct SyncTask {
    pub(super) generation: u64,
    pub(super) step: Step,
}

/// The step itself.
pub(super) enum Step {
    /// Begins to collect the set.
    Begin {
        request: Box<Request>,
        message: Vec<u8>,
    },
    /// Continues.
    Collect(Box<Collection>),
    /// Answers a message.
    Answer { set: Arc<SyncSet>, message: Vec<u8> },
    /// Hands an answer back that was kept until the client had read others.
    Send { set: Arc<SyncSet>, hex: String },
}

/// A set that is not complete, and the message that waits for it.
pub(super) struct Collection {
    query: Query,
    collector: SyncCollector,
    message: Vec<u8>,
}

/// The result of a [`SyncTask`].
pub(super) struct SyncTold {
    pub(super) generation: u64,
    pub(super) result: Result<Progress, Failure>,
}

/// A step that was done.
pub(super) enum Progress {
    Collecting(Box<Collection>),
    Answered { set: Arc<SyncSet>, hex: String },
}

/// Why a step failed.
pub(super) enum Failure {
    Sync(SyncError),
    Store(StoreError),
}

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Failure {
        Failure::Sync(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::Store(error)
    }
}

/// The means for a step.
pub(super) struct Means<'c> {
    pub(super) store: &'c dyn Store,
    pub(super) stats: &'c NostrStats,
    pub(super) events_max: usize,
    pub(super) memory: &'c SyncMemory,
    /// Makes the query of a request, without limits.
    pub(super) query: &'c dyn Fn(&Request) -> Query,
}

/// Does a step, on a reading thread.
pub(super) fn work(means: &Means<'_>, task: SyncTask) -> SyncTold {
    let SyncTask { generation, step } = task;
    let result = match step {
        Step::Begin { request, message } => {
            let collection = Collection {
                query: (means.query)(&request),
                collector: SyncSet::collect(means.events_max, means.memory),
                message,
            };
            collect(means, collection)
        }
        Step::Collect(collection) => collect(means, *collection),
        Step::Answer { set, message } => answer(set, &message),
        Step::Send { set, hex } => Ok(Progress::Answered { set, hex }),
    };
    SyncTold { generation, result }
}

fn collect(means: &Means<'_>, mut collection: Collection) -> Result<Progress, Failure> {
    let query = &mut collection.query;
    let found = means.store.items(query, COLLECTED_ROWS, unix_now())?;
    means.stats.rows_read.add(found.looked_at as u64);
    collection.collector.add(&found.items)?;
    if !found.is_last {
        return Ok(Progress::Collecting(Box::new(collection)));
    }
    answer(Arc::new(collection.collector.finish()), &collection.message)
}

fn answer(set: Arc<SyncSet>, message: &[u8]) -> Result<Progress, Failure> {
    let hex = to_hex(&set.answer(message)?);
    Ok(Progress::Answered { set, hex })
}
