//! Messages between the shards of an endpoint and its threads.

use std::sync::{Arc, Mutex};

use corecast_nostr::{Event, Outcome, Query, Seq, StoreError};
use crossbeam_channel::Sender;

use super::count::{Counted, Counting};
pub(super) use super::request::Request;
use super::sync_step::{SyncTask, SyncTold};
use crate::fanout::ConnectionId;
use crate::fanout::shared_body::SharedBody;

/// An event on its way to the store, and its sender.
pub(super) struct Submission {
    pub(super) event: Arc<Event>,
    pub(super) from: Origin,
}

/// The sender of an event, and its answer.
pub(super) enum Origin {
    /// A client, which is answered by its shard.
    Client(ConnectionId),
    /// A handle.
    Handle(Sender<Fate>),
    /// A handle, too, but the event is not stored.
    Broadcast,
}

/// An event that subscriptions may match.
pub(super) struct Live {
    pub(super) event: Arc<Event>,
    /// Its number in the store; `None` for an event that is not stored.
    pub(super) seq: Option<Seq>,
    pub(super) body: SharedBody,
}

/// The result of a submission.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Stored,
    Duplicate,
    Superseded,
    Deleted,
    Vanished,
    Failed,
}

impl From<Outcome> for Fate {
    fn from(outcome: Outcome) -> Fate {
        match outcome {
            Outcome::Stored(_) => Fate::Stored,
            Outcome::Duplicate => Fate::Duplicate,
            Outcome::Superseded => Fate::Superseded,
            Outcome::Deleted => Fate::Deleted,
            Outcome::Vanished => Fate::Vanished,
        }
    }
}

/// The answer that a submission is owed.
pub(super) struct Owed {
    pub(super) event: Arc<Event>,
    pub(super) from: ConnectionId,
    pub(super) fate: Fate,
}

/// The results of one commit, in the order of the store.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) live: Vec<Live>,
    pub(super) owed: Vec<Owed>,
    /// The number of removals before this commit.
    pub(super) removals: u64,
}

/// A subscription of a shard: its slot, and the generation of its REQ, since a later REQ may reuse
/// the slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) slot: u32,
    pub(super) generation: u64,
}

/// A job for a thread that reads the store. Each gets one answer.
pub(super) struct Job {
    pub(super) client: ConnectionId,
    pub(super) task: Task,
}

pub(super) enum Task {
    /// Starts the query of a new subscription, and reads its first page.
    Begin { place: Place, request: Box<Request> },
    /// Reads the next page.
    Go { place: Place, query: Box<Query> },
    /// Reads the events stored after a number.
    Later {
        place: Place,
        after: Seq,
        request: Box<Request>,
    },
    /// Begins to count. The answer contains the name of the subscription, as JSON.
    Count {
        subscription: Box<str>,
        request: Box<Request>,
    },
    /// Counts another part.
    CountOn(Box<Counting>),
    /// A step of a synchronization.
    Sync(SyncTask),
}

/// The answer to a [`Job`].
pub(super) struct Answer {
    pub(super) client: ConnectionId,
    pub(super) what: Told,
}

pub(super) enum Told {
    /// A page of rows.
    Page {
        place: Place,
        rows: Vec<Arc<Event>>,
        query: Box<Query>,
        is_last: bool,
    },
    /// Events that were stored later, up to `end`. If `is_level`, the store had no more then.
    Later {
        place: Place,
        rows: Vec<Arc<Event>>,
        end: Seq,
        is_level: bool,
    },
    /// A count that is not over.
    Counting(Box<Counting>),
    /// The number of matching events.
    Counted {
        subscription: Box<str>,
        counted: Counted,
    },
    /// The result of a step of a synchronization.
    Sync(SyncTold),
    /// The store failed.
    Failed {
        place: Option<Place>,
        subscription: Box<str>,
        error: StoreError,
    },
}

/// Mail to a shard.
pub struct Mail(pub(super) Letter);

pub(super) enum Letter {
    Batch(Batch),
    /// An address was blocked: clients with it are to be closed.
    AddressBlocked,
    /// The recipient takes it out: mail is shared, but an answer has only one recipient.
    Answer(Mutex<Option<Answer>>),
}

impl Mail {
    pub(super) fn batch(batch: Batch) -> Arc<Mail> {
        Arc::new(Mail(Letter::Batch(batch)))
    }

    pub(super) fn answer(answer: Answer) -> Arc<Mail> {
        Arc::new(Mail(Letter::Answer(Mutex::new(Some(answer)))))
    }

    pub(super) fn address_blocked() -> Arc<Mail> {
        Arc::new(Mail(Letter::AddressBlocked))
    }

    /// The events of a batch.
    pub(super) fn live(&self) -> &[Live] {
        match &self.0 {
            Letter::Batch(batch) => &batch.live,
            Letter::Answer(_) | Letter::AddressBlocked => &[],
        }
    }
}
