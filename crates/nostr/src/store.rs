//! Stores of events.

mod deletion;
mod disk;
mod memory;
#[cfg(test)]
mod rules;

use std::sync::Arc;
use std::time::Duration;

pub use self::disk::{
    BulkLoader, BulkReport, CheckReport, DiskOptions, DiskStore, OpenError, Statistics,
};
pub use self::memory::MemoryStore;
use crate::event::Event;
use crate::hex::Bytes32;
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
    /// It was deleted before it came (NIP-09). It is not stored.
    Deleted,
    /// Its author has asked to vanish, and it is not newer than that (NIP-62). It is not stored.
    Vanished,
}

/// Decides whether a deletion applies to an event (NIP-09).
pub trait DeletionRule: Send + Sync {
    /// Whether `deletion` may delete `target`; `is_due` says what NIP-09 has decided.
    fn may_delete(&self, target: &Event, deletion: &Event, is_due: bool) -> bool;
}

/// The rule of NIP-09 itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nip09;

impl DeletionRule for Nip09 {
    fn may_delete(&self, _target: &Event, _deletion: &Event, is_due: bool) -> bool {
        is_due
    }
}

/// The place of an event without its content, for synchronization and counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item {
    /// Seconds since 1970.
    pub created_at: u64,
    /// Its id.
    pub id: Bytes32,
}

/// Some items of a query's answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Items {
    /// Items, newest first.
    pub items: Vec<Item>,
    /// Rows that were examined.
    pub looked_at: usize,
    /// Whether these were the last.
    pub is_last: bool,
}

/// A store failed, for example for lack of space.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the store: {0}")]
pub struct StoreError(pub String);

/// Keeps events. One thread writes ([`Store::commit`], [`Store::tidy`], [`Store::set_note`]) and
/// several read; none of them is a shard's thread, so all of these may block.
pub trait Store: Send + Sync + 'static {
    /// Opens the store, if that is not done yet. Called when the relay starts, before all others.
    ///
    /// # Errors
    ///
    /// The store cannot be used.
    fn open(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Stores events in this order, and returns the outcome of each. They are durable, as far as
    /// the store ever is, when this returns. A deletion (NIP-09) removes events as far as `rule`
    /// agrees. A request to vanish (NIP-62) applies whatever relay it names: the caller stores only
    /// those that are for this relay.
    ///
    /// # Errors
    ///
    /// None of them is stored.
    fn commit(
        &self,
        events: &[Arc<Event>],
        rule: &dyn DeletionRule,
    ) -> Result<Vec<Outcome>, StoreError>;

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

    /// Continues a query like [`Store::page`], but returns only the place of each event. A store
    /// that can answer from its index alone does.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    fn items(&self, query: &mut Query, rows: usize, now: u64) -> Result<Items, StoreError> {
        let page = self.page(query, rows, usize::MAX, now)?;
        let item = |event: &Arc<Event>| Item {
            created_at: event.created_at(),
            id: *event.id(),
        };
        Ok(Items {
            items: page.rows.iter().map(item).collect(),
            looked_at: page.looked_at,
            is_last: page.is_last,
        })
    }

    /// Removes what must not be kept, a bounded number at a time: expired events (NIP-40), and
    /// those of authors who have vanished (NIP-62), which are hidden until then. Returns how many;
    /// 0 means that nothing is left to do.
    ///
    /// # Errors
    ///
    /// The store cannot be written.
    fn tidy(&self, now: u64) -> Result<usize, StoreError>;

    /// The number of events and their bytes.
    fn size(&self) -> (usize, usize);

    /// All notes: small values that the relay keeps beside the events, such as lists of banned
    /// keys.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    fn notes(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError>;

    /// Sets a note, or removes it (`None`). It is durable when this returns.
    ///
    /// # Errors
    ///
    /// The store cannot be written.
    fn set_note(&self, name: &str, value: Option<&[u8]>) -> Result<(), StoreError>;

    /// The durations of the checkpoints that were made since the last call, if the store makes any.
    fn take_checkpoints(&self) -> Vec<Duration> {
        Vec::new()
    }

    /// Tries to make a store usable again whose last write has failed. Called about once a second
    /// until it succeeds.
    ///
    /// # Errors
    ///
    /// It still cannot be written.
    fn recover(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
