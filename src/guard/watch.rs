//! A guard's files: a thread polls them and applies their changes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::files::{Files, Watched, spawn_poller, taken};
use super::judge::{Guard, api_keys, token_half};
use super::token::TokenKeys;
use crate::engine::Handle;

impl Guard {
    /// Starts to poll the files, until the guard is dropped. Endpoints that share the guard may all
    /// call this; only the first call has an effect.
    pub(super) fn watch(self: &Arc<Guard>, handle: &Handle) {
        let files = self.auth.as_ref().map(|auth| auth.settings.files.clone());
        let Some(files) = files.filter(|files| *files != Files::default()) else {
            return;
        };
        if self.is_watched.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut watched = Watched::since(files, self.stamps);
        let (guard, handle) = (Arc::downgrade(self), handle.clone());
        spawn_poller(move || {
            let Some(guard) = guard.upgrade() else {
                return false;
            };
            if watched.must_read() {
                watched.note(guard.read_again(&handle));
            }
            true
        });
    }

    /// Returns whether all files can be used.
    fn read_again(self: &Arc<Guard>, handle: &Handle) -> bool {
        let Some(auth) = &self.auth else { return true };
        let (settings, had) = (&auth.settings, auth.all());
        let files = &settings.files;
        let of_keys = taken(&files.keys, files.read_keys(), Vec::is_empty, handle);
        let of_tokens = taken(
            &files.tokens,
            files.read_tokens(),
            TokenKeys::is_empty,
            handle,
        );
        let is_usable = of_keys.is_some() && of_tokens.is_some();
        let mut keys = auth.keys();
        if let Some(of_keys) = of_keys {
            keys.api = api_keys(of_keys, settings);
        }
        if let Some(of_tokens) = of_tokens.filter(|_| files.tokens.is_some()) {
            keys.token = token_half(of_tokens, settings);
        }
        *auth.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        if is_usable {
            tracing::info!("reloaded the key files after a change");
        }
        if !had.into_iter().all(|by| self.still_allows(by)) {
            self.recheck(handle);
        }
        is_usable
    }
}
