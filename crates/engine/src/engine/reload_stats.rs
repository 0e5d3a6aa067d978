//! Counters of reloads.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::engine::tls::Tls;

/// Counters of reloads, and the expiry of the certificate in use.
#[derive(Debug, Default)]
pub(super) struct ReloadStats {
    pub(super) applied: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) last_unix_s: AtomicU64,
    pub(super) unusable_key_files: AtomicU64,
    pub(super) certificate_not_after_unix_s: AtomicI64,
}

impl ReloadStats {
    /// Records the settings that apply from now on.
    pub(super) fn note(&self, tls: Option<&Tls>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_s = now.unwrap_or_default().as_secs();
        self.last_unix_s.store(now_s, Ordering::Relaxed);
        if let Some(not_after_unix_s) = tls.and_then(Tls::not_after_unix_s) {
            self.certificate_not_after_unix_s
                .store(not_after_unix_s, Ordering::Relaxed);
        }
    }
}
