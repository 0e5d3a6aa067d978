//! Synchronization (NIP-77): a client finds out which events only it has, and which only the relay
//! has, without a list of all.
//!
//! NEG-OPEN begins a session. A reading thread collects the set of events that match its filter, in
//! steps, so that a large set does not hold up other clients' queries; then it answers the client's
//! messages from that set, one at a time. The shard keeps the session between two steps, so one
//! that has ended meanwhile goes no further.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corecast_nostr::{
    Query, QueryLimits, StoreError, SubscriptionId, SyncCollector, SyncError, SyncMemory, SyncSet,
    reply, sync_message, to_hex,
};

use super::clock::unix_now;
use super::hooks::Operation;
use super::mail::{Job, Request, Task};
use super::settings::SyncSettings;
use super::shard::{Effects, Inner, NostrShard, next_generation};
use super::stats::{NostrStats, QueryResult};
use super::subscriptions::Refused;
use super::threads::{Common, query};
use crate::engine::OnShard;
use crate::fanout::ConnectionId;
use crate::wire::frame::MessageKind;

/// Rows of a step of the collection.
const COLLECTED_ROWS: usize = 4_096;

/// All sessions of a relay together have room for this many sets of the largest size.
const LARGEST_SETS_MAX: usize = 4;

/// An answer is kept back while the client's outbox has more than this.
const UNREAD_BYTES_MAX: usize = 64 << 10;

/// The memory of all sessions.
pub(super) fn memory(settings: &SyncSettings) -> SyncMemory {
    let events_max = settings.events_max.unwrap_or(0);
    SyncMemory::new(events_max.saturating_mul(LARGEST_SETS_MAX))
}

/// A step for a reading thread. The generation is that of the session's NEG-OPEN.
pub(super) struct SyncTask {
    generation: u64,
    step: Step,
}

enum Step {
    /// Begins to collect the set.
    Begin {
        request: Box<Request>,
        message: Vec<u8>,
    },
    /// Continues.
    Collect(Box<Collection>),
    /// Answers a message.
    Answer { set: Arc<SyncSet>, message: Vec<u8> },
    /// Hands an answer back that was kept until the client had read others.
    Send { set: Arc<SyncSet>, hex: String },
}

/// A set that is not complete, and the message that waits for it.
struct Collection {
    query: Query,
    collector: SyncCollector,
    message: Vec<u8>,
}

/// The result of a [`SyncTask`].
pub(super) struct SyncTold {
    generation: u64,
    result: Result<Progress, Failure>,
}

enum Progress {
    Collecting(Box<Collection>),
    Answered { set: Arc<SyncSet>, hex: String },
}

enum Failure {
    Sync(SyncError),
    Store(StoreError),
}

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Failure {
        Failure::Sync(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::Store(error)
    }
}

/// Does a step, on a reading thread.
pub(super) fn work(common: &Common, task: SyncTask) -> SyncTold {
    let SyncTask { generation, step } = task;
    let result = match step {
        Step::Begin { request, message } => collect(common, begin(common, &request, message)),
        Step::Collect(collection) => collect(common, *collection),
        Step::Answer { set, message } => answer(set, &message),
        Step::Send { set, hex } => Ok(Progress::Answered { set, hex }),
    };
    SyncTold { generation, result }
}

fn begin(common: &Common, request: &Request, message: Vec<u8>) -> Collection {
    let all = QueryLimits {
        limit_max: u64::MAX,
        limit_default: u64::MAX,
        second_max: 0,
    };
    Collection {
        query: query(common, request, &all),
        collector: SyncSet::collect(common.sync_events_max, &common.sync_memory),
        message,
    }
}

fn collect(common: &Common, mut collection: Collection) -> Result<Progress, Failure> {
    let query = &mut collection.query;
    let found = common.store.items(query, COLLECTED_ROWS, unix_now())?;
    common.stats.rows_read.add(found.looked_at as u64);
    collection.collector.add(&found.items)?;
    if !found.is_last {
        return Ok(Progress::Collecting(Box::new(collection)));
    }
    answer(Arc::new(collection.collector.finish()), &collection.message)
}

fn answer(set: Arc<SyncSet>, message: &[u8]) -> Result<Progress, Failure> {
    let hex = to_hex(&set.answer(message)?);
    Ok(Progress::Answered { set, hex })
}

/// The sessions of a shard's clients.
#[derive(Default)]
pub(super) struct Syncs(HashMap<ConnectionId, Vec<Session>>);

struct Session {
    name: SubscriptionId,
    /// The generation of its NEG-OPEN.
    generation: u64,
    state: State,
    /// Whether the NEG-OPEN was answered.
    is_open: bool,
    used_at: Instant,
}

enum State {
    /// A thread works for it.
    Working,
    /// Its answer is kept back until the client has read others.
    Unread,
    /// It is the client's turn.
    Ready(Arc<SyncSet>),
}

impl Session {
    fn is_idle(&self, now: Instant, idle: Duration) -> bool {
        let is_working = matches!(self.state, State::Working);
        !is_working && now.duration_since(self.used_at) >= idle
    }
}

impl Syncs {
    fn of(&self, client: ConnectionId) -> &[Session] {
        self.0.get(&client).map_or(&[], Vec::as_slice)
    }

    fn named(&mut self, client: ConnectionId, name: &SubscriptionId) -> Option<&mut Session> {
        let mut sessions = self.0.get_mut(&client)?.iter_mut();
        sessions.find(|session| session.name == *name)
    }

    fn at(&mut self, client: ConnectionId, generation: u64) -> Option<&mut Session> {
        let mut sessions = self.0.get_mut(&client)?.iter_mut();
        sessions.find(|session| session.generation == generation)
    }

    fn remove(&mut self, client: ConnectionId, generation: u64) -> Option<Session> {
        let sessions = self.0.get_mut(&client)?;
        let mut each = sessions.iter();
        let index = each.position(|session| session.generation == generation)?;
        let session = sessions.swap_remove(index);
        if sessions.is_empty() {
            self.0.remove(&client);
        }
        Some(session)
    }

    /// The sessions for which no message has come for this long.
    fn idle(&self, now: Instant, idle: Duration) -> Vec<(ConnectionId, u64)> {
        let all = self.0.iter();
        let all = all.flat_map(|(client, sessions)| sessions.iter().map(|each| (*client, each)));
        let idle = all.filter(|(_, session)| session.is_idle(now, idle));
        idle.map(|(client, session)| (client, session.generation))
            .collect()
    }
}

impl Inner {
    /// Handles a NEG-OPEN.
    pub(super) fn open_sync(
        &mut self,
        client: ConnectionId,
        name: SubscriptionId,
        parts: &[&str],
        effects: &mut Effects,
    ) {
        // It ends the earlier session of that name, even if it is refused itself.
        self.close_sync(client, &name);
        let requested = self.requested_sync(client, parts);
        let requested = requested.and_then(|(request, message)| {
            let operation = (Operation::Sync, &name);
            self.filter_by_hooks(client, operation, request, effects)
                .map(|request| (request, message))
                .map_err(Refused::Reason)
        });
        match requested {
            Ok((request, message)) => {
                effects.is_answered_later = true;
                self.begin_sync(client, name, request, message);
                effects.holds |= self.holds_for_jobs(client);
            }
            Err(refused) => {
                count(&self.shared.common.stats, QueryResult::Refused);
                let reason = self.reason(client, refused, effects);
                effects.reply(reply::neg_err(&name, &reason, None));
            }
        }
    }

    fn requested_sync(
        &self,
        client: ConnectionId,
        parts: &[&str],
    ) -> Result<(Request, Vec<u8>), Refused> {
        let refused = |reason: &str| Refused::Reason(reason.to_owned());
        let settings = &self.shared.settings.sync;
        if settings.events_max.is_none() {
            return Err(refused("blocked: this relay does not synchronize"));
        }
        let [filter, message] = parts else {
            return Err(refused(
                "invalid: NEG-OPEN has a name, a filter and a message",
            ));
        };
        let message = sync_message(message).map_err(|error| refused(&error.to_string()))?;
        let request = self.requested(client, &[filter])?;
        let most = settings.sessions_max;
        match self.syncs.of(client).len() < most {
            true => Ok((request, message)),
            false => Err(refused(&format!(
                "blocked: a connection has at most {most} synchronizations"
            ))),
        }
    }

    fn begin_sync(
        &mut self,
        client: ConnectionId,
        name: SubscriptionId,
        request: Request,
        message: Vec<u8>,
    ) {
        let generation = next_generation();
        self.clients.entry(client).or_default();
        self.syncs.0.entry(client).or_default().push(Session {
            name,
            generation,
            state: State::Working,
            is_open: false,
            used_at: Instant::now(),
        });
        self.shared.common.stats.syncs.add(1);
        let request = Box::new(request);
        let step = Step::Begin { request, message };
        self.start(job(client, generation, step));
    }

    /// Handles a NEG-MSG.
    pub(super) fn go_on_sync(
        &mut self,
        client: ConnectionId,
        name: &SubscriptionId,
        parts: &[&str],
        effects: &mut Effects,
    ) {
        let message = match parts {
            [message] => sync_message(message).map_err(|error| error.to_string()),
            _ => Err("invalid: NEG-MSG has a name and a message".to_owned()),
        };
        let next = match self.syncs.named(client, name) {
            None => Err("closed: this synchronization is not open".to_owned()),
            Some(session) => message.and_then(|message| session.next(message)),
        };
        match next {
            Ok((generation, step)) => {
                effects.is_answered_later = true;
                self.start(job(client, generation, step));
                effects.holds |= self.holds_for_jobs(client);
            }
            Err(reason) => {
                self.close_sync(client, name);
                effects.reply(reply::neg_err(name, &reason, None));
            }
        }
    }

    /// Ends the client's session of that name, if it has one.
    pub(super) fn close_sync(&mut self, client: ConnectionId, name: &SubscriptionId) {
        let session = self.syncs.named(client, name);
        if let Some(generation) = session.map(|session| session.generation) {
            self.end_sync(client, generation);
        }
    }

    fn end_sync(&mut self, client: ConnectionId, generation: u64) -> Option<Session> {
        let session = self.syncs.remove(client, generation)?;
        self.shared.common.stats.syncs.sub(1);
        if let Some(client) = self.clients.get_mut(&client) {
            client.later.retain(|job| !is_of(job, generation));
        }
        Some(session)
    }

    /// Ends all sessions of a client that has gone.
    pub(super) fn end_syncs(&mut self, client: ConnectionId) {
        let sessions = self.syncs.0.remove(&client).unwrap_or_default();
        self.shared.common.stats.syncs.sub(sessions.len() as u64);
    }

    /// Ends the sessions for which no message has come for long.
    pub(super) fn end_idle_syncs(&mut self, shard: &mut OnShard<'_, NostrShard>) {
        let idle = self.shared.settings.sync.idle;
        for (client, generation) in self.syncs.idle(Instant::now(), idle) {
            let reason = format!("closed: no message for {} s", idle.as_secs());
            self.fail_sync(shard, client, generation, &reason, None);
        }
    }

    /// Handles the result of a step.
    pub(super) fn take_sync(
        &mut self,
        shard: &mut OnShard<'_, NostrShard>,
        client: ConnectionId,
        told: SyncTold,
    ) {
        let SyncTold { generation, result } = told;
        let Some(session) = self.syncs.at(client, generation) else {
            return;
        };
        match result {
            Ok(Progress::Collecting(collection)) => {
                self.start(job(client, generation, Step::Collect(collection)));
            }
            Ok(Progress::Answered { set, hex }) => {
                let Some(mut to) = shard.client(client) else {
                    return;
                };
                if to.outbox_bytes() > UNREAD_BYTES_MAX {
                    session.state = State::Unread;
                    let step = Step::Send { set, hex };
                    return self.go_on(to, job(client, generation, step));
                }
                session.state = State::Ready(set);
                session.used_at = Instant::now();
                let text = reply::neg_msg(&session.name, &hex);
                to.send(MessageKind::Text, text.as_bytes());
                if !std::mem::replace(&mut session.is_open, true) {
                    count(&self.shared.common.stats, QueryResult::Answered);
                }
            }
            Err(Failure::Sync(error)) => {
                let bound = match error {
                    SyncError::TooMany(most) => Some(most),
                    _ => None,
                };
                self.fail_sync(shard, client, generation, &error.to_string(), bound);
            }
            Err(Failure::Store(error)) => {
                tracing::error!(%error, "a synchronization was not answered");
                let reason = "error: the store cannot be read at the moment";
                self.fail_sync(shard, client, generation, reason, None);
            }
        }
    }

    fn fail_sync(
        &mut self,
        shard: &mut OnShard<'_, NostrShard>,
        client: ConnectionId,
        generation: u64,
        reason: &str,
        bound: Option<usize>,
    ) {
        let Some(session) = self.end_sync(client, generation) else {
            return;
        };
        if !session.is_open {
            count(&self.shared.common.stats, QueryResult::Refused);
        }
        if let Some(mut client) = shard.client(client) {
            let text = reply::neg_err(&session.name, reason, bound);
            client.send(MessageKind::Text, text.as_bytes());
        }
    }
}

impl Session {
    /// The step that answers a message.
    fn next(&mut self, message: Vec<u8>) -> Result<(u64, Step), String> {
        match std::mem::replace(&mut self.state, State::Working) {
            State::Ready(set) => {
                self.used_at = Instant::now();
                Ok((self.generation, Step::Answer { set, message }))
            }
            State::Working | State::Unread => {
                Err("invalid: the last message has not been answered yet".to_owned())
            }
        }
    }
}

fn job(client: ConnectionId, generation: u64, step: Step) -> Job {
    let task = Task::Sync(SyncTask { generation, step });
    Job { client, task }
}

fn is_of(job: &Job, generation: u64) -> bool {
    matches!(&job.task, Task::Sync(task) if task.generation == generation)
}

fn count(stats: &NostrStats, result: QueryResult) {
    stats.negs[result as usize].add(1);
}
