//! Stores of events.

mod memory;

use std::sync::Arc;

pub use self::memory::MemoryStore;
use crate::event::Event;
use crate::query::{Page, Query, Seq};

/// An event, and its number.
pub type Numbered = (Seq, Arc<Event>);

/// The result of storing an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is stored.
    Stored(Seq),
    /// It was already stored.
    Duplicate,
    /// A newer version is stored: of the same key and kind, or address (NIP-01).
    Superseded,
}

/// A store failed, for example for lack of space.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the store: {0}")]
pub struct StoreError(pub String);

/// Keeps events. One thread writes ([`Store::commit`], [`Store::remove_expired`]) and several read;
/// none of them is a shard's thread, so all of these may block.
pub trait Store: Send + Sync + 'static {
    /// Stores events in this order, and returns the outcome of each. They are durable, as far as
    /// the store ever is, when this returns.
    ///
    /// # Errors
    ///
    /// None of them is stored.
    fn commit(&self, events: &[Arc<Event>]) -> Result<Vec<Outcome>, StoreError>;

    /// The number of the last change that can be read.
    fn last_seq(&self) -> Seq;

    /// Continues a query: up to `rows` events or `bytes` of their JSON, at least one event, with a
    /// bounded number of rows examined.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    fn page(
        &self,
        query: &mut Query,
        rows: usize,
        bytes: usize,
        now: u64,
    ) -> Result<Page, StoreError>;

    /// Events with numbers above `after`, in order, up to `rows`; removed ones are omitted. Also
    /// returns the number up to which it has looked.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    fn since(&self, after: Seq, rows: usize) -> Result<(Vec<Numbered>, Seq), StoreError>;

    /// Removes expired events (NIP-40), a bounded number. Returns how many.
    fn remove_expired(&self, now: u64) -> usize;

    /// The number of events and their bytes.
    fn size(&self) -> (usize, usize);
}
