//! Revoked keys, and the connections that were opened with them.
//!
//! An admitted client has a [`CurrentGuard`] as its authorizer: it knows the guard in force, and so
//! whether the client's credential would still be accepted. When keys are removed, by a reload or
//! by a file that has changed, a thread has all open connections rechecked ([`Handle::recheck`]);
//! those that may not stay are closed with 1008, a bounded number in each turn of their shards.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use super::identity::{By, Identity};
use super::judge::{Auth, Guard};
use super::keys::Scope;
use super::settings::CloseRevoked;
use crate::engine::{Authorizer, Handle, Terms};

/// Time limit of one attempt to recheck all shards, and the number of attempts.
const TIME_MAX: Duration = Duration::from_secs(30);
const TRIES_MAX: usize = 10;

/// The guard in front of an endpoint, which a reload replaces.
pub(super) struct CurrentGuard(RwLock<Arc<Guard>>);

impl CurrentGuard {
    pub(super) fn new(guard: Arc<Guard>) -> CurrentGuard {
        CurrentGuard(RwLock::new(guard))
    }

    pub(super) fn guard(&self) -> Arc<Guard> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the previous guard.
    pub(super) fn replace(&self, guard: Arc<Guard>) -> Arc<Guard> {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, guard)
    }

    /// The terms of an admitted client, with this as the authorizer if the client has an identity
    /// that could be revoked.
    pub(super) fn authorize(self: &Arc<CurrentGuard>, terms: Terms) -> Terms {
        let authorizer = terms.context.is_some().then(|| Arc::clone(self) as Arc<_>);
        Terms {
            authorizer,
            ..terms
        }
    }
}

impl Authorizer for CurrentGuard {
    fn still_allows(&self, terms: &Terms) -> bool {
        let context = terms.context.as_deref();
        let identity = context.and_then(|context| context.downcast_ref::<Identity>());
        identity.is_none_or(|identity| self.guard().still_allows(identity.by))
    }
}

impl Guard {
    /// Whether a client that was admitted by this credential may stay.
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

    /// Has connections closed whose credential `before` accepted and this guard does not.
    pub(super) fn recheck_after(self: &Arc<Guard>, before: &Guard, handle: &Handle) {
        let had = before.auth.as_ref().map(Auth::all);
        if !had.into_iter().flatten().all(|by| self.still_allows(by)) {
            self.recheck(handle);
        }
    }

    /// Has all connections rechecked on a thread. Endpoints that share the guard may all call this:
    /// a full check follows each call, and calls during a check share the next one.
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
            tracing::error!(%error, "connections with a revoked key stay open");
        }
    }
}

impl Auth {
    /// All credentials that may have admitted a client.
    pub(super) fn all(&self) -> Vec<By> {
        let keys = self.keys();
        let api = keys.api.fingerprints().map(By::Key);
        let tokens = keys.token.keys.fingerprints().map(By::Token);
        api.chain(tokens).collect()
    }
}

/// Has all connections rechecked on a thread, after the credentials have changed.
pub(crate) fn recheck_soon(handle: &Handle) {
    let handle = handle.clone();
    let spawned = thread::Builder::new()
        .name("revoking".to_owned())
        .spawn(move || recheck_all(&handle));
    if let Err(error) = spawned {
        tracing::error!(%error, "connections with a revoked key stay open");
    }
}

fn recheck_all(handle: &Handle) {
    for _ in 0..TRIES_MAX {
        match handle.recheck(Instant::now() + TIME_MAX) {
            Ok(0) => return,
            Ok(closed) => {
                return tracing::info!(closed, "closed connections whose key was revoked");
            }
            Err(error) => {
                tracing::warn!(%error, "some connections with a revoked key are still open");
            }
        }
    }
}
