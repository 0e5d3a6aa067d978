//! A cache of recently verified tokens, by their hash: their signatures are not verified again
//! while the keys stay the same, and they pass even if their address has sent too many invalid
//! ones. The claims of a token are checked each time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use ring::digest::{SHA256, digest};

use super::keys::Fingerprint;
use crate::limits::KNOWN_TOKENS_MAX;

/// Locks that share the tokens between them.
const PARTS: usize = 16;

/// Tokens of one part.
const PART_MAX: usize = KNOWN_TOKENS_MAX / PARTS;

/// Half of a hash, 128 bits: enough that no one can make a token with the hash of another one.
pub(super) type TokenHash = [u8; 16];

/// Tokens whose signatures were valid.
#[derive(Debug, Default)]
pub(super) struct GoodTokens([Mutex<HashMap<TokenHash, Good>>; PARTS]);

#[derive(Debug)]
struct Good {
    /// The key that signed it.
    key: Fingerprint,
    /// After this time the entry is useless.
    expires: SystemTime,
}

pub(super) fn hash_of(token: &str) -> TokenHash {
    let hash = digest(&SHA256, token.as_bytes());
    let half = hash.as_ref().first_chunk().copied();
    half.unwrap_or_default()
}

impl GoodTokens {
    /// The key that signed it, if it is in the cache.
    pub(super) fn find(&self, token: &TokenHash) -> Option<Fingerprint> {
        self.part(token).get(token).map(|good| good.key)
    }

    /// Remembers a token. A full part drops its expired entries first, then any others until a
    /// quarter is free.
    pub(super) fn remember(
        &self,
        token: TokenHash,
        key: Fingerprint,
        expires: SystemTime,
        now: SystemTime,
    ) {
        const FREE: usize = PART_MAX / 4;
        let mut part = self.part(&token);
        if part.len() >= PART_MAX {
            part.retain(|_, good| good.expires > now);
            let mut excess = (part.len() + FREE).saturating_sub(PART_MAX);
            part.retain(|_, _| {
                let stays = excess == 0;
                excess = excess.saturating_sub(1);
                stays
            });
        }
        part.insert(token, Good { key, expires });
    }

    fn part(&self, token: &TokenHash) -> MutexGuard<'_, HashMap<TokenHash, Good>> {
        let part = &self.0[usize::from(token[0]) % PARTS];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn verified_tokens_are_remembered_in_bounded_memory() {
        let (good, now) = (GoodTokens::default(), UNIX_EPOCH);
        let key = Fingerprint::of(&[b"key"]);
        let later = now + Duration::from_secs(1);
        let first = hash_of("first");
        assert_eq!(good.find(&first), None);
        good.remember(first, key, later, now);
        assert_eq!(good.find(&first), Some(key));
        for number in 0..3 * KNOWN_TOKENS_MAX {
            let hash = hash_of(&number.to_string());
            good.remember(hash, key, later, now);
            assert_eq!(good.find(&hash), Some(key), "the newest is known");
        }
        let known = |good: &GoodTokens| -> usize {
            let parts = good.0.iter();
            parts.map(|part| part.lock().expect("a part").len()).sum()
        };
        assert!((KNOWN_TOKENS_MAX / 2..=KNOWN_TOKENS_MAX).contains(&known(&good)));
        // Expired entries are dropped first.
        for number in 0..64 * PARTS {
            good.remember(hash_of(&format!("later {number}")), key, later, later);
        }
        assert!(known(&good) <= KNOWN_TOKENS_MAX);
    }
}
