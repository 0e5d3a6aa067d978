//! Keys that are good no more, and who came in by them.
//!
//! An admitted client has a [`Door`] as its authorizer: it knows the current guard, and so whether
//! the client's credential would still be accepted. When keys are removed, by a reload or by a file
//! that has changed, a thread has all open connections rechecked ([`Handle::recheck`]); those that
//! may not stay are closed with 1008, a bounded number in each turn of their shards.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use super::identity::{By, Identity};
use super::judge::{Auth, Guard};
use super::keys::Scope;
use super::settings::CloseRevoked;
use crate::engine::{Authorizer, Handle, Terms};

/// How long all shards may take at the most, and how often it is tried.
const TIME_MAX: Duration = Duration::from_secs(30);
const TRIES_MAX: usize = 10;

/// A guard's place in front of an endpoint: another guard may take it.
pub(super) struct Door(RwLock<Arc<Guard>>);

impl Door {
    pub(super) fn new(guard: Arc<Guard>) -> Door {
        Door(RwLock::new(guard))
    }

    pub(super) fn guard(&self) -> Arc<Guard> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the one that was there.
    pub(super) fn replace(&self, guard: Arc<Guard>) -> Arc<Guard> {
        let mut place = self.0.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *place, guard)
    }

    /// The terms of an admitted client, with this as the authorizer if there is anything to keep.
    pub(super) fn keep(self: &Arc<Door>, terms: Terms) -> Terms {
        let authorizer = terms.context.is_some().then(|| Arc::clone(self) as Arc<_>);
        Terms {
            authorizer,
            ..terms
        }
    }
}

impl Authorizer for Door {
    fn still_allows(&self, terms: &Terms) -> bool {
        let context = terms.context.as_deref();
        let identity = context.and_then(|context| context.downcast_ref::<Identity>());
        identity.is_none_or(|identity| self.guard().still_allows(identity.by))
    }
}

impl Guard {
    /// Whether who came in by this may stay.
    pub(super) fn still_allows(&self, by: By) -> bool {
        let Some(auth) = &self.auth else {
            return true;
        };
        match (by, auth.settings.close_revoked) {
            (By::Other, _) | (_, CloseRevoked::Off) | (By::Token(_), CloseRevoked::Keys) => true,
            (By::Key(key), _) => auth.keys().api.opens(key, Scope::Connect),
            (By::Token(key), CloseRevoked::All) => {
                let keys = auth.keys();
                keys.token.keys.fingerprints().any(|each| each == key)
            }
        }
    }

    /// Has those closed who came in by what `before` knew, and this guard does not.
    pub(super) fn recheck_after(self: &Arc<Guard>, before: &Guard, handle: &Handle) {
        let had = before.auth.as_ref().map(Auth::all);
        if !had.into_iter().flatten().all(|by| self.still_allows(by)) {
            self.recheck(handle);
        }
    }

    /// Has everybody judged again, by a thread. Endpoints that share the guard may all ask for it:
    /// each time somebody is judged after that, and hardly more often.
    pub(super) fn recheck(self: &Arc<Guard>, handle: &Handle) {
        if self.rechecks.fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        let (guard, handle) = (Arc::clone(self), handle.clone());
        let recheck = move || {
            loop {
                let asked = guard.rechecks.load(Ordering::Acquire);
                recheck_all(&handle);
                if guard.rechecks.fetch_sub(asked, Ordering::AcqRel) == asked {
                    return;
                }
            }
        };
        let spawned = thread::Builder::new()
            .name("revoking".to_owned())
            .spawn(recheck);
        if let Err(error) = spawned {
            self.rechecks.store(0, Ordering::Release);
            tracing::error!(%error, "connections whose key is gone stay open");
        }
    }
}

impl Auth {
    /// All that somebody may have come in by.
    pub(super) fn all(&self) -> Vec<By> {
        let keys = self.keys();
        let api = keys.api.fingerprints().map(By::Key);
        let tokens = keys.token.keys.fingerprints().map(By::Token);
        api.chain(tokens).collect()
    }
}

/// Has everybody judged again, by a thread: what lets in has changed.
pub(crate) fn recheck_soon(handle: &Handle) {
    let handle = handle.clone();
    let spawned = thread::Builder::new()
        .name("revoking".to_owned())
        .spawn(move || recheck_all(&handle));
    if let Err(error) = spawned {
        tracing::error!(%error, "connections whose key is gone stay open");
    }
}

fn recheck_all(handle: &Handle) {
    for _ in 0..TRIES_MAX {
        match handle.recheck(Instant::now() + TIME_MAX) {
            Ok(0) => return,
            Ok(closed) => {
                return tracing::info!(
                    closed,
                    "connections are closed that came in by what is good no more"
                );
            }
            Err(error) => {
                tracing::warn!(%error, "some connections whose key is gone are still open");
            }
        }
    }
}
