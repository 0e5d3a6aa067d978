//! The sessions of synchronization of a shard.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corecast_nostr::{SubscriptionId, SyncSet};

use super::sync_step::Step;
use crate::fanout::ConnectionId;

/// The sessions of a shard's clients.
#[derive(Default)]
pub(super) struct Syncs(pub(super) HashMap<ConnectionId, Vec<Session>>);

/// A session.
pub(super) struct Session {
    pub(super) name: SubscriptionId,
    /// The generation of its NEG-OPEN.
    pub(super) generation: u64,
    pub(super) state: State,
    /// Whether the NEG-OPEN was answered.
    pub(super) is_open: bool,
    pub(super) used_at: Instant,
}

/// Whose turn it is.
pub(super) enum State {
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
    pub(super) fn of(&self, client: ConnectionId) -> &[Session] {
        self.0.get(&client).map_or(&[], Vec::as_slice)
    }

    pub(super) fn named(
        &mut self,
        client: ConnectionId,
        name: &SubscriptionId,
    ) -> Option<&mut Session> {
        let mut sessions = self.0.get_mut(&client)?.iter_mut();
        sessions.find(|session| session.name == *name)
    }

    pub(super) fn at(&mut self, client: ConnectionId, generation: u64) -> Option<&mut Session> {
        let mut sessions = self.0.get_mut(&client)?.iter_mut();
        sessions.find(|session| session.generation == generation)
    }

    pub(super) fn remove(&mut self, client: ConnectionId, generation: u64) -> Option<Session> {
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
    pub(super) fn idle(&self, now: Instant, idle: Duration) -> Vec<(ConnectionId, u64)> {
        let all = self.0.iter();
        let all = all.flat_map(|(client, sessions)| sessions.iter().map(|each| (*client, each)));
        let idle = all.filter(|(_, session)| session.is_idle(now, idle));
        idle.map(|(client, session)| (client, session.generation))
            .collect()
    }
}

impl Session {
    /// The step that answers a message.
    pub(super) fn next(&mut self, message: Vec<u8>) -> Result<(u64, Step), String> {
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
