//! The relay's side of a synchronization (NIP-77): the set of events that match a filter, and the
//! answers to the messages of a client that reconciles its own set with it.
//!
//! A set is collected in steps, in the order of [`Store::items`](crate::Store::items), and does not
//! change after that. It takes [`ITEM_BYTES`] for each event; [`SyncMemory`] bounds all sets
//! together. An answer depends on the set and the client's message only, so nothing else is kept.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use negentropy::{Bound, Error, Id, Negentropy, NegentropyStorageBase};

use crate::hex;
use crate::json::Text;
use crate::store::Item;

/// Memory of an event in a set, in bytes.
pub const ITEM_BYTES: usize = 40;
const _: () = assert!(size_of::<negentropy::Item>() == ITEM_BYTES);

/// The longest answer, in bytes; its hexadecimal form is twice as long.
pub const SYNC_ANSWER_BYTES_MAX: usize = 60_000;

/// Items of a block. A set grows by blocks, so that it is never copied as a whole.
const BLOCK_ITEMS: usize = 1 << 12;

/// Why a synchronization was refused. The text begins with the prefix that NIP-77 asks for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SyncError {
    /// More events match than this.
    #[error("blocked: more than {0} events match")]
    TooMany(usize),
    /// The sets in use take all the memory that is allowed.
    #[error("blocked: too many events are being synchronized at the moment; try again later")]
    Full,
    /// A message is not a hexadecimal string.
    #[error("invalid: the message is not a string of hexadecimal digits")]
    Hex,
    /// A message does not follow the protocol.
    #[error("invalid: {0}")]
    Message(String),
}

impl From<Error> for SyncError {
    fn from(error: Error) -> SyncError {
        SyncError::Message(error.to_string())
    }
}

/// The bytes of a message, from the JSON string with its hexadecimal digits.
///
/// # Errors
///
/// It is not such a string.
pub fn sync_message(json: &str) -> Result<Vec<u8>, SyncError> {
    let text: Text<'_> = serde_json::from_str(json).map_err(|_| SyncError::Hex)?;
    hex::parse_any(&text.0).ok_or(SyncError::Hex)
}

/// The memory that all sets of a relay may take together, counted in items.
#[derive(Clone, Debug)]
pub struct SyncMemory(Arc<Items>);

#[derive(Debug)]
struct Items {
    used: AtomicUsize,
    max: usize,
}

impl SyncMemory {
    /// Room for `items_max` items.
    pub fn new(items_max: usize) -> SyncMemory {
        SyncMemory(Arc::new(Items {
            used: AtomicUsize::new(0),
            max: items_max,
        }))
    }

    /// Items of all sets.
    pub fn items(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }
}

/// A part of the memory, which is given back when this is dropped.
#[derive(Debug)]
struct Share {
    memory: SyncMemory,
    items: usize,
}

impl Share {
    fn add(&mut self, items: usize) -> Result<(), SyncError> {
        let Items { used, max } = &*self.memory.0;
        let grown = |used: usize| used.checked_add(items).filter(|used| used <= max);
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown)
            .map_err(|_| SyncError::Full)?;
        self.items += items;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.0.used.fetch_sub(self.items, Ordering::Relaxed);
    }
}

/// The events that match a filter, by time and id.
#[derive(Debug)]
pub struct SyncSet {
    items: Blocks,
    _share: Share,
}

impl SyncSet {
    /// A set to which events are to be added, at most `events_max`.
    pub fn collect(events_max: usize, memory: &SyncMemory) -> SyncCollector {
        SyncCollector {
            events_max,
            items: Blocks::default(),
            second_begin: 0,
            share: Share {
                memory: memory.clone(),
                items: 0,
            },
        }
    }

    /// The number of events.
    pub fn len(&self) -> usize {
        self.items.len
    }

    /// Whether no event matches.
    pub fn is_empty(&self) -> bool {
        self.items.len == 0
    }

    /// The answer to a message. The work is bounded by a few times the size of the set, and the
    /// answer by [`SYNC_ANSWER_BYTES_MAX`]. A message of another version of the protocol gets the
    /// version that is supported, 0x61, as its answer.
    ///
    /// # Errors
    ///
    /// The message does not follow the protocol.
    pub fn answer(&self, message: &[u8]) -> Result<Vec<u8>, SyncError> {
        let limit = SYNC_ANSWER_BYTES_MAX as u64;
        Ok(Negentropy::borrowed(&self.items, limit)?.reconcile(message)?)
    }
}

/// Collects a [`SyncSet`].
#[derive(Debug)]
pub struct SyncCollector {
    events_max: usize,
    items: Blocks,
    /// The number of items before the current second.
    second_begin: usize,
    share: Share,
}

impl SyncCollector {
    /// Adds events, in the order of answers: newest first, then the lower id.
    ///
    /// # Errors
    ///
    /// There are too many of them. The set is of no use then.
    pub fn add(&mut self, items: &[Item]) -> Result<(), SyncError> {
        if items.len() > self.events_max - self.items.len {
            return Err(SyncError::TooMany(self.events_max));
        }
        self.share.add(items.len())?;
        for item in items {
            let id = Id::from_byte_array(item.id);
            self.push(negentropy::Item::with_timestamp_and_id(item.created_at, id));
        }
        Ok(())
    }

    fn push(&mut self, item: negentropy::Item) {
        if let Some(last) = self.items.newest_first(self.items.len.wrapping_sub(1)) {
            let place = |item: &negentropy::Item| (Reverse(item.timestamp), item.id);
            debug_assert!(
                place(last) < place(&item),
                "newest first, then the lower id"
            );
            if last.timestamp != item.timestamp {
                self.end_second();
            }
        }
        self.items.push(item);
    }

    /// Reverses the events of the second that ends: with that, the whole is in the reverse of the
    /// protocol's order, in which the lower id comes first within a second.
    fn end_second(&mut self) {
        let (mut from, mut to) = (self.second_begin, self.items.len);
        while from + 1 < to {
            to -= 1;
            self.items.swap(from, to);
            from += 1;
        }
        self.second_begin = self.items.len;
    }

    /// Ends the collection.
    pub fn finish(mut self) -> SyncSet {
        self.end_second();
        self.items.shrink();
        SyncSet {
            items: self.items,
            _share: self.share,
        }
    }
}

/// Items in blocks, newest first. The protocol numbers them from the oldest.
#[derive(Debug, Default)]
struct Blocks {
    blocks: Vec<Vec<negentropy::Item>>,
    len: usize,
}

impl Blocks {
    fn push(&mut self, item: negentropy::Item) {
        match self.blocks.last_mut() {
            Some(block) if block.len() < BLOCK_ITEMS => block.push(item),
            _ => self.blocks.push(vec![item]),
        }
        self.len += 1;
    }

    fn shrink(&mut self) {
        self.blocks.shrink_to_fit();
        if let Some(last) = self.blocks.last_mut() {
            last.shrink_to_fit();
        }
    }

    fn newest_first(&self, index: usize) -> Option<&negentropy::Item> {
        let block = self.blocks.get(index / BLOCK_ITEMS)?;
        block.get(index % BLOCK_ITEMS)
    }

    fn oldest_first(&self, index: usize) -> Option<&negentropy::Item> {
        self.newest_first(self.len.checked_sub(index + 1)?)
    }

    fn swap(&mut self, one: usize, other: usize) {
        let (Some(first), Some(second)) = (self.newest_first(one), self.newest_first(other)) else {
            return;
        };
        let (first, second) = (*first, *second);
        self.blocks[one / BLOCK_ITEMS][one % BLOCK_ITEMS] = second;
        self.blocks[other / BLOCK_ITEMS][other % BLOCK_ITEMS] = first;
    }
}

impl NegentropyStorageBase for Blocks {
    fn size(&self) -> Result<usize, Error> {
        Ok(self.len)
    }

    fn get_item(&self, index: usize) -> Result<Option<negentropy::Item>, Error> {
        Ok(self.oldest_first(index).copied())
    }

    fn iterate(
        &self,
        begin: usize,
        end: usize,
        each: &mut dyn FnMut(negentropy::Item, usize) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        for index in begin..end {
            let item = self.oldest_first(index).ok_or(Error::BadRange)?;
            if !each(*item, index)? {
                break;
            }
        }
        Ok(())
    }

    fn find_lower_bound(&self, first: usize, last: usize, bound: &Bound) -> usize {
        let (mut from, mut to) = (first, last);
        while from < to {
            let middle = from + (to - from) / 2;
            match self.oldest_first(middle) {
                Some(item) if *item < bound.item => from = middle + 1,
                _ => to = middle,
            }
        }
        from
    }
}

#[cfg(test)]
mod tests;
