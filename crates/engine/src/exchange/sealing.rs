//! A batch on its way from its publishers to everybody who must get it, step by step.
//!
//! Every other shard may go on between two steps, so each state is one that the others may see.
//! The steps are in the order in which they have to come: tickets, then mail, then wakes, so that
//! the cores work side by side while this shard takes its own part.

use std::sync::Arc;

use crate::fanout::batch::Batch;
use crate::fanout::tickets::ShardSet;

/// What is done next.
pub(super) enum Sealing {
    /// Tickets for the run at `next`.
    Tickets {
        batch: Batch,
        next: usize,
        shards: ShardSet,
    },
    /// Mail to the first of `left`.
    Mail {
        batch: Arc<Batch>,
        shards: ShardSet,
        left: ShardSet,
    },
    /// A wake for the first of `left`.
    Wakes { batch: Arc<Batch>, left: ShardSet },
    /// Our own part.
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
