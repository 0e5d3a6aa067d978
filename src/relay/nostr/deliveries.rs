//! The events that a shard has yet to deliver, and how far it has got.

use std::collections::VecDeque;
use std::sync::Arc;

use super::mail::Mail;

/// Events that are yet to be delivered.
#[derive(Default)]
pub(super) struct Deliveries {
    pub(super) batches: VecDeque<Arc<Mail>>,
    /// The event of the first batch that is under way.
    pub(super) event: usize,
    /// The subscriptions that this event is for, and the next of them. Empty: they are yet to be
    /// found.
    pub(super) found: Option<Vec<u32>>,
    pub(super) next: usize,
    /// Its number on this shard: it is for subscriptions that are older.
    pub(super) number: u64,
    /// Subscriptions of clients that are behind: they get it when what the others got is sent.
    pub(super) behind: Vec<u32>,
    /// Whether it is their turn.
    pub(super) serves_behind: bool,
    /// Kept for its capacity.
    pub(super) spare: Vec<u32>,
}
