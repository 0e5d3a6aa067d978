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
    /// It was there before.
    Duplicate,
    /// A newer version of it is there: of the same key and kind, or address (NIP-01).
    Superseded,
}

/// A store cannot do what it is for, for example for want of space.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the store: {0}")]
pub struct StoreError(pub String);

/// Keeps events. One thread writes ([`Store::commit`], [`Store::remove_expired`]), several read,
/// and none of them is a shard's: all of this may wait.
pub trait Store: Send + Sync + 'static {
    /// Stores events, in this order, and says what became of each. It is durable, as far as the
    /// store ever is, when this returns.
    ///
    /// # Errors
    ///
    /// None of them is stored.
    fn commit(&self, events: &[Arc<Event>]) -> Result<Vec<Outcome>, StoreError>;

    /// The number of the last change that is there to be read.
    fn last_seq(&self) -> Seq;

    /// Goes on with a query: up to `rows` events or `bytes` of their JSON, one event at least, and
    /// a bounded number of rows looked at.
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

    /// Events with numbers above `after`, in the order of these, up to `rows`; those that are gone
    /// again are left out. Returns also up to which number it has looked.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    fn since(&self, after: Seq, rows: usize) -> Result<(Vec<Numbered>, Seq), StoreError>;

    /// Removes what has expired (NIP-40), a bounded number. Returns how many that were.
    fn remove_expired(&self, now: u64) -> usize;

    /// How many events there are, and how many bytes they take.
    fn size(&self) -> (usize, usize);
}
