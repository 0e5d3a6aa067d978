//! The events that a shard has yet to deliver, and its progress.

use std::collections::VecDeque;
use std::sync::Arc;

use super::mail::Mail;

/// Events that are yet to be delivered.
#[derive(Default)]
pub(super) struct Deliveries {
    pub(super) batches: VecDeque<Arc<Mail>>,
    /// The index of the current event in the first batch.
    pub(super) event: usize,
    /// The subscriptions that match this event, and the index of the next one. `None`: they have
    /// not been looked up yet.
    pub(super) found: Option<Vec<u32>>,
    pub(super) next: usize,
    /// The number of the event on this shard. Only older subscriptions get it.
    pub(super) number: u64,
    /// Subscriptions of clients that are behind. They get the event after the sends to the others.
    pub(super) behind: Vec<u32>,
    /// Whether the clients that are behind are served now.
    pub(super) serves_behind: bool,
    /// An empty list that is kept for its capacity.
    pub(super) spare: Vec<u32>,
}
