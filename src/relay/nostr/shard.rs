//! An endpoint's state on a shard: its clients, their subscriptions, and events that wait.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};

use corecast_nostr::{Bytes32, Challenge, Event, SubscriptionId, Viewer, reply};
use crossbeam_channel::Sender;

use super::deliveries::Deliveries;
use super::mail::{Job, Letter, Mail, Submission};
use super::manage::{Seen, Write};
use super::settings::NostrSettings;
use super::stats::ShardDurations;
use super::syncs::Syncs;
use super::table::Subscriptions;
use super::threads::Common;
use super::waiting::Ingest;
use crate::engine::{Client, Handle, Local, OnShard};
use crate::fanout::ConnectionId;
use crate::wire::frame::MessageKind;

/// Most queries of a client that may be in progress. At this number, the client is not read.
const JOBS_PER_CLIENT_MAX: usize = 64;

/// State that all shards of an endpoint share.
pub(super) struct Shared {
    pub(super) settings: NostrSettings,
    pub(super) common: Arc<Common>,
    pub(super) jobs: Sender<Job>,
    pub(super) submissions: Sender<Submission>,
    pub(super) writes: Sender<Write>,
    /// The engine, once it has started.
    pub(super) engine: OnceLock<Handle>,
}

/// A client, from its first message on.
#[derive(Default)]
pub(super) struct ClientState {
    /// The text that it is to sign, if the challenge was sent.
    pub(super) challenge: Option<Challenge>,
    pub(super) viewer: Viewer,
    /// Its address, if hooks may ask for it.
    pub(super) ip: Option<IpAddr>,
    pub(super) subscriptions: HashMap<SubscriptionId, u32>,
    /// Queries that its shard awaits answers to.
    pub(super) jobs: usize,
    /// Jobs that wait until its outbox is nearly empty.
    pub(super) later: Vec<Job>,
    /// Whether it is not read until some of its queries are done.
    pub(super) is_held: bool,
}

impl ClientState {
    pub(super) fn has_key(&self, key: &Bytes32) -> bool {
        self.viewer.keys.contains(key)
    }
}

/// Actions for the client whose message was handled.
#[derive(Default)]
pub(super) struct Effects {
    replies: Vec<String>,
    /// The client is not to be read until it is released.
    pub(super) holds: bool,
    /// An answer comes soon, but not in this call.
    pub(super) is_answered_later: bool,
    /// The shard's turn has work to do.
    pub(super) wants_turn: bool,
    /// Nanoseconds of this thread that were spent in addition to the parsing.
    pub(super) spent_ns: u64,
}

impl Effects {
    pub(super) fn reply(&mut self, reply: String) {
        self.replies.push(reply);
    }

    /// Applies the actions to the client.
    pub(super) fn apply(self, client: &mut Client<'_>) {
        // No reply is sent now that could carry the acknowledgement of TCP.
        if self.replies.is_empty() && !self.is_answered_later {
            client.acknowledge();
        }
        for reply in &self.replies {
            client.send(MessageKind::Text, reply.as_bytes());
        }
        client.spend(self.spent_ns);
        if self.holds {
            client.hold();
        }
    }
}

/// The state of a shard, once it has begun.
#[derive(Default)]
pub struct NostrShard(pub(super) Option<Box<Inner>>);

pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    pub(super) durations: Arc<ShardDurations>,
    pub(super) clients: HashMap<ConnectionId, ClientState>,
    pub(super) subscriptions: Subscriptions,
    pub(super) syncs: Syncs,
    pub(super) ingest: Ingest,
    pub(super) deliveries: Deliveries,
    pub(super) seen: Seen,
    /// Where the search for clients with a blocked address continues.
    pub(super) looks_at: Option<usize>,
}

impl Inner {
    pub(super) fn new(shared: Arc<Shared>) -> Inner {
        Inner {
            durations: shared.common.stats.add_shard(),
            seen: Seen::new(&shared.common.desk),
            looks_at: None,
            shared,
            clients: HashMap::new(),
            subscriptions: Subscriptions::default(),
            syncs: Syncs::default(),
            ingest: Ingest::default(),
            deliveries: Deliveries::default(),
        }
    }

    /// The challenge message for a client, which is created at the first call.
    pub(super) fn challenge(&mut self, client: ConnectionId) -> Option<String> {
        let client = self.clients.entry(client).or_default();
        if client.challenge.is_none() {
            client.challenge = Challenge::random();
        }
        client
            .challenge
            .as_ref()
            .map(|challenge| reply::auth(challenge.as_str()))
    }

    /// Removes a client that has closed or is closing.
    pub(super) fn forget(&mut self, id: ConnectionId) {
        let Some(client) = self.clients.remove(&id) else {
            return;
        };
        for slot in client.subscriptions.into_values() {
            self.end_subscription(slot);
        }
        self.end_syncs(id);
    }

    /// Starts the postponed jobs of a client whose outbox is nearly empty.
    pub(super) fn drained(&mut self, id: ConnectionId) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        for job in std::mem::take(&mut client.later) {
            self.start(job);
        }
    }

    /// Passes a job to a thread.
    pub(super) fn start(&mut self, job: Job) {
        let Some(client) = self.clients.get_mut(&job.client) else {
            return;
        };
        client.jobs += 1;
        // The threads end only when the engine does.
        let _ = self.shared.jobs.send(job);
    }

    /// Whether the client has so many queries in progress that it is not read.
    pub(super) fn holds_for_jobs(&mut self, id: ConnectionId) -> bool {
        let Some(client) = self.clients.get_mut(&id) else {
            return false;
        };
        client.is_held |= client.jobs >= JOBS_PER_CLIENT_MAX;
        client.is_held
    }

    /// A query of the client was answered.
    fn job_done(&mut self, shard: &mut OnShard<'_, NostrShard>, id: ConnectionId) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.jobs = client.jobs.saturating_sub(1);
        if client.is_held && client.jobs <= JOBS_PER_CLIENT_MAX / 2 {
            client.is_held = false;
            if !self.ingest.holds(id)
                && let Some(mut client) = shard.client(id)
            {
                client.release();
            }
        }
    }
}

impl Local for NostrShard {
    type Mail = Mail;

    fn mail(&mut self, shard: &mut OnShard<'_, Self>, mail: &Arc<Mail>) {
        let Some(inner) = &mut self.0 else {
            return;
        };
        match &mail.0 {
            Letter::Batch(batch) => {
                inner.settle(shard, batch);
                inner.deliver_later(shard, mail);
                shard.ask_for_turn();
            }
            Letter::AddressBlocked => inner.look_for_blocked(shard),
            Letter::Answer(answer) => {
                let mut answer = answer.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(answer) = answer.take() {
                    inner.job_done(shard, answer.client);
                    inner.take_answer(shard, answer);
                }
            }
        }
    }

    fn turn(&mut self, shard: &mut OnShard<'_, Self>) -> bool {
        let Some(inner) = &mut self.0 else {
            return false;
        };
        let has_unverified = inner.verify(shard);
        let has_undelivered = inner.deliver(shard);
        let has_unseen = inner.close_blocked(shard);
        has_unverified || has_undelivered || has_unseen
    }

    fn tick(&mut self, shard: &mut OnShard<'_, Self>) {
        if let Some(inner) = &mut self.0 {
            inner.end_idle_syncs(shard);
        }
    }
}

/// A number that is unique in the process.
pub(super) fn next_generation() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Sends an event to a subscription, as it is stored.
pub(super) fn send_stored(client: &mut Client<'_>, head: &str, event: &Event, text: &mut Vec<u8>) {
    text.clear();
    text.extend_from_slice(head.as_bytes());
    text.extend_from_slice(event.body());
    client.send(MessageKind::Text, text);
}
