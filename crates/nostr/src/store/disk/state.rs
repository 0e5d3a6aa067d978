//! The state in memory that readers and the writer share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::log::BatchNumber;
use super::tables::{Checkpoint, Sums};
use super::view::SharedLayer;
use crate::event::Event;
use crate::hex::Bytes32;
use crate::query::Seq;
use crate::store::deletion;

/// Keys that have vanished (NIP-62), and until when, whose events are hidden but not all removed
/// yet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Vanishing(Arc<BTreeMap<Bytes32, u64>>);

impl Vanishing {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an event is hidden.
    pub(super) fn hides(&self, event: &Event) -> bool {
        !self.is_empty() && deletion::is_vanished(event, |key| self.0.get(key).copied())
    }

    pub(super) fn first(&self) -> Option<(Bytes32, u64)> {
        self.0.first_key_value().map(|(key, until)| (*key, *until))
    }

    pub(super) fn set(&mut self, key: Bytes32, until: Option<u64>) {
        let keys = Arc::make_mut(&mut self.0);
        match until {
            Some(until) => keys.insert(key, until),
            None => keys.remove(&key),
        };
    }
}

/// A layer on its way into the tables.
#[derive(Clone)]
pub(super) struct Flushing {
    pub(super) layer: SharedLayer,
    pub(super) checkpoint: Checkpoint,
    /// The first batch that comes after it.
    pub(super) next: BatchNumber,
}

/// The state after the last commit.
#[derive(Default)]
pub(super) struct State {
    /// The changes since the last checkpoint was begun.
    pub(super) active: SharedLayer,
    pub(super) flushing: Option<Flushing>,
    pub(super) last_seq: Seq,
    pub(super) sums: Sums,
    pub(super) vanishing: Vanishing,
    /// Why nothing can be written.
    pub(super) failure: Option<String>,
    pub(super) last_change: Option<Instant>,
    /// Whether the store is being closed.
    pub(super) is_closing: bool,
}

impl State {
    /// The layers, newest first.
    pub(super) fn layers(&self) -> Vec<SharedLayer> {
        let flushing = self.flushing.iter().map(|flushing| &flushing.layer);
        [&self.active]
            .into_iter()
            .chain(flushing)
            .map(Arc::clone)
            .collect()
    }
}
