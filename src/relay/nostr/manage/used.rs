//! Authorizations that were used: each one proves only one request.

use std::collections::BTreeSet;

use corecast_nostr::{Bytes32, RequestProof};

/// Most of them within the two minutes in which they could be used again.
const USED_MAX: usize = 10_000;

/// Why an authorization cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unusable {
    /// It was used before.
    Used,
    /// It may have been used before: it is older than the relay's memory.
    TooOld,
    /// Too many are remembered already.
    Full,
}

/// The authorizations that could be used again, by the last second at which they would hold.
pub(super) struct Used {
    ids: BTreeSet<(u64, Bytes32)>,
    started_at: u64,
    /// The latest time that was seen: the clock may be set back, but what is forgotten stays void.
    latest: u64,
}

impl Used {
    pub(super) fn new(started_at: u64) -> Used {
        Used {
            ids: BTreeSet::new(),
            started_at,
            latest: started_at,
        }
    }

    /// Uses an authorization up. `now` is in seconds since 1970.
    pub(super) fn take(&mut self, proof: &RequestProof, now: u64) -> Result<(), Unusable> {
        self.latest = self.latest.max(now);
        self.ids = self.ids.split_off(&(self.latest, [0; 32]));
        if proof.created_at < self.started_at || proof.ends_at() < self.latest {
            return Err(Unusable::TooOld);
        }
        let entry = (proof.ends_at(), proof.id);
        if self.ids.contains(&entry) {
            return Err(Unusable::Used);
        }
        if self.ids.len() >= USED_MAX {
            return Err(Unusable::Full);
        }
        self.ids.insert(entry);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_700_000_000;

    fn proof(number: u64, created_at: u64) -> RequestProof {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        RequestProof {
            key: [1; 32],
            id,
            created_at,
        }
    }

    #[test]
    fn each_is_used_once_and_forgotten_when_it_ends() {
        let mut used = Used::new(START);
        let first = proof(1, START);
        assert_eq!(used.take(&first, START), Ok(()));
        for now in [START, START + 60] {
            assert_eq!(used.take(&first, now), Err(Unusable::Used));
        }
        assert_eq!(used.take(&proof(2, START + 61), START + 61), Ok(()));
        assert_eq!(used.ids.len(), 1);
        for now in [START + 61, START] {
            assert_eq!(used.take(&first, now), Err(Unusable::TooOld));
        }
    }

    #[test]
    fn those_from_before_the_start_are_void() {
        let mut used = Used::new(START);
        let early = used.take(&proof(1, START - 1), START);
        assert_eq!(early, Err(Unusable::TooOld));
    }

    #[test]
    fn their_number_is_bounded() {
        let mut used = Used::new(START);
        let most = USED_MAX as u64;
        assert!((0..most).all(|number| used.take(&proof(number, START), START).is_ok()));
        assert_eq!(used.take(&proof(most, START), START), Err(Unusable::Full));
        let later = START + 61;
        assert_eq!(used.take(&proof(most, later), later), Ok(()));
    }
}
