//! Events from the relay's own program.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use corecast_nostr::{Class, Event, ParsedEvent, reply};
use crossbeam_channel::{Receiver, bounded};

use super::clock::unix_now;
use super::hooks::{Context, Prefix, Rejection};
use super::ingest::verdict;
use super::mail::{Fate, Origin, Submission};
use super::shard::Shared;
use crate::engine::HandleError;
use crate::fanout::ConnectionId;
use crate::wire::frame::MessageKind;

/// Most events of all handles of a relay that may be on their way to the writing thread.
pub(super) const HANDLE_EVENTS_MAX: usize = 1_024;

/// Publishes events of the relay's own program, from any thread. No method but [`Adding::wait`]
/// waits, so hooks may use it as well. It does not keep the relay alive.
#[derive(Clone, Debug)]
pub struct NostrHandle {
    shared: Weak<Shared>,
}

/// The result of an event that was added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Added {
    /// It is stored, and subscribers get it.
    Stored,
    /// It is ephemeral, and subscribers get it.
    Ephemeral,
    /// It was stored before.
    Duplicate,
}

/// Why an event was not added or broadcast.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddError {
    /// A hook or the store refuses it.
    #[error("{0}")]
    Refused(Rejection),
    /// 1,024 events of handles wait already. Nothing has happened.
    #[error("too many events wait to be added")]
    Busy,
    /// The relay has ended.
    #[error("the relay has ended")]
    Ended,
}

/// An event on its way to the store. It is added even if this is dropped.
#[derive(Debug)]
#[must_use = "the event is refused without a word unless the result is read"]
pub struct Adding(Progress);

#[derive(Debug)]
enum Progress {
    Done(Added),
    Waits(Receiver<Fate>),
}

impl Adding {
    /// Waits for the commit, so it must not be called in a hook.
    ///
    /// # Errors
    ///
    /// The store refuses the event, or the relay has ended.
    pub fn wait(self) -> Result<Added, AddError> {
        let fate = match self.0 {
            Progress::Done(added) => return Ok(added),
            Progress::Waits(fate) => fate.recv().map_err(|_| AddError::Ended)?,
        };
        match (&fate, verdict(&fate)) {
            (Fate::Stored, _) => Ok(Added::Stored),
            (Fate::Duplicate, _) => Ok(Added::Duplicate),
            (_, (_, _, reason)) => Err(AddError::Refused(reason.into())),
        }
    }
}

impl NostrHandle {
    pub(super) fn new(shared: &Arc<Shared>) -> NostrHandle {
        NostrHandle {
            shared: Arc::downgrade(shared),
        }
    }

    /// Stores an event and sends it to subscribers, as if a client had published it: hooks may
    /// refuse it, and are told of it. [`reject_event`](super::NostrHooks::reject_event) is called
    /// on this thread, [`on_event_saved`](super::NostrHooks::on_event_saved) on the one that writes
    /// the store. The bounds of `nostr.events` are for clients only.
    ///
    /// # Errors
    ///
    /// A hook refuses it, it has expired, it is a request to vanish from other relays (NIP-62), too
    /// many events wait, or the relay has ended.
    pub fn add_event(&self, event: Arc<Event>) -> Result<Adding, AddError> {
        let shared = self.shared.upgrade().ok_or(AddError::Ended)?;
        let hooks = &shared.common.hooks;
        let context = Context::new(None, None);
        if event.is_expired(unix_now()) {
            let told = Rejection::new(Prefix::Invalid, "the event has expired");
            return Err(AddError::Refused(told));
        }
        check_vanish(&shared, &event)?;
        hooks
            .check_event(&context, &event)
            .map_err(AddError::Refused)?;
        if event.class() == Class::Ephemeral {
            hooks.ephemeral(&context, &event);
            submit(&shared, event, Origin::Broadcast)?;
            return Ok(Adding(Progress::Done(Added::Ephemeral)));
        }
        let (sender, fate) = bounded(1);
        submit(&shared, event, Origin::Handle(sender))?;
        Ok(Adding(Progress::Waits(fate)))
    }

    /// Sends an event to the subscribers whose filters match it. It is not stored, and hooks can
    /// only prevent or change its delivery.
    ///
    /// # Errors
    ///
    /// Too many events wait, or the relay has ended.
    pub fn broadcast_event(&self, event: Arc<Event>) -> Result<(), AddError> {
        let shared = self.shared.upgrade().ok_or(AddError::Ended)?;
        submit(&shared, event, Origin::Broadcast)
    }

    /// The number of open subscriptions.
    pub fn subscriptions(&self) -> u64 {
        let shared = self.shared.upgrade();
        shared.map_or(0, |shared| shared.common.stats.open_subscriptions())
    }

    /// Sends a NOTICE to a client. If it has left, nothing happens.
    ///
    /// # Errors
    ///
    /// Its shard has too much to do, or the relay has not begun or has ended.
    pub fn send_notice(&self, to: ConnectionId, text: &str) -> Result<(), HandleError> {
        let shared = self.shared.upgrade().ok_or(HandleError::Ended)?;
        let engine = shared.engine.get().ok_or(HandleError::Ended)?;
        engine.send(to, MessageKind::Text, reply::notice(text))
    }
}

/// A request to vanish for other relays must not remove events of this one (NIP-62).
fn check_vanish(shared: &Shared, event: &Event) -> Result<(), AddError> {
    if !event.may_remove_others() {
        return Ok(());
    }
    let parsed = ParsedEvent::parse(event.json());
    let checked = parsed.and_then(|parsed| shared.settings.urls.check_vanish(&parsed));
    checked.map_err(|error| AddError::Refused(error.to_string().into()))
}

fn submit(shared: &Shared, event: Arc<Event>, from: Origin) -> Result<(), AddError> {
    let waiting = &shared.common.by_handles;
    if waiting.fetch_add(1, Ordering::Relaxed) >= HANDLE_EVENTS_MAX {
        waiting.fetch_sub(1, Ordering::Relaxed);
        return Err(AddError::Busy);
    }
    // The queue has capacity for all events of handles.
    let sent = shared.submissions.try_send(Submission { event, from });
    sent.map_err(|_| AddError::Ended)
}
