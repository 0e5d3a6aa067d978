//! Synchronization (NIP-77): a client finds out which events only it has, and which only the relay
//! has, without a list of all.
//!
//! NEG-OPEN begins a session. A reading thread collects the set of events that match its filter, in
//! steps, so that a large set does not hold up other clients' queries; then it answers the client's
//! messages from that set, one at a time. The shard keeps the session between two steps, so one
//! that has ended meanwhile goes no further.

use std::time::Instant;

use corecast_nostr::{SubscriptionId, SyncError, reply, sync_message};

use super::hooks::Operation;
use super::mail::{Job, Request, Task};
use super::shard::{Effects, Inner, NostrShard, next_generation};
use super::stats::{NostrStats, QueryResult};
use super::subscriptions::Refused;
use super::sync_step::{Failure, Progress, Step, SyncTask, SyncTold};
use super::syncs::{Session, State};
use crate::engine::OnShard;
use crate::fanout::ConnectionId;
use crate::wire::frame::MessageKind;

/// An answer is kept back while the client's outbox has more than this.
const UNREAD_BYTES_MAX: usize = 64 << 10;

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
