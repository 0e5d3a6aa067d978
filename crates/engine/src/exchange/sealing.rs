//! Sealing: the steps by which a batch gets from its publisher to every shard that must get it.
//!
//! Other shards may run between any two steps, so each state is one that they may see. The order of
//! the steps matters. Tickets come first, since mail is ordered by them. Mail to all shards comes
//! before the wakes, and the wakes before this shard's own part, so that the other cores work on
//! the batch at the same time as this one.

use std::sync::Arc;

use crate::fanout::batch::Batch;
use crate::fanout::tickets::ShardSet;

/// The next step.
pub(super) enum Sealing {
    /// Take tickets for the run at `next`.
    Tickets {
        batch: Batch,
        next: usize,
        shards: ShardSet,
    },
    /// Push mail to the first of `left`.
    Mail {
        batch: Arc<Batch>,
        shards: ShardSet,
        left: ShardSet,
    },
    /// Wake the first of `left`.
    Wakes { batch: Arc<Batch>, left: ShardSet },
    /// Accept this shard's own part.
    Own { batch: Arc<Batch> },
}

impl Sealing {
    pub(super) fn new(batch: Batch) -> Sealing {
        Sealing::Tickets {
            batch,
            next: 0,
            shards: ShardSet::default(),
        }
    }
}
