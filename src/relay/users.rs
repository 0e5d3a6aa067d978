//! The names of one endpoint's users, across all shards, and the connections that hold them.
//!
//! An endpoint claims a name when it admits a connection ([`Users::claim`]) and keeps the [`Claim`]
//! as the connection's state ([`Accept::state`]). The name is released when the claim is dropped,
//! which happens exactly once however the connection ends: after [`Endpoint::closed`], or with the
//! [`Accept`] that carries it if the connection is never opened (a wrapper refuses it, code panics,
//! the client leaves while the answer is awaited).
//!
//! A claim is identified by its holder and not by its name, so a late release never frees the name
//! of a newer holder. Every decision is made under the lock of the name's part: of any number of
//! connections that claim a name at once, on any shards, exactly one gets it.
//!
//! [`Endpoint::closed`]: crate::engine::Endpoint::closed
//! [`Accept`]: crate::engine::Accept
//! [`Accept::state`]: crate::engine::Accept::state

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use corecast_engine::sparse::Sparse as _;

use crate::config::OnDuplicate;
use crate::fanout::ConnectionId;
use crate::limits::CONNECTIONS_PER_USER_MAX;

/// Locks that share the names between them.
const PARTS: usize = 64;

/// The reason why a claim failed. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClaimError {
    /// The name has a holder, or as many as may share it ([`CONNECTIONS_PER_USER_MAX`]).
    #[error("the name is taken")]
    Taken,
    /// Its holder could not be told to close. The claim may be retried.
    #[error("the name's holder could not be told to close")]
    Busy,
}

/// A connection that holds a name.
#[derive(Debug)]
struct Holder {
    name: Arc<str>,
    connection: ConnectionId,
    is_replaced: AtomicBool,
}

type Part = HashMap<Arc<str>, Vec<Arc<Holder>>>;

/// All names of an endpoint. The hasher is the standard one, since clients choose the names.
#[derive(Debug)]
pub struct Users {
    parts: [Mutex<Part>; PARTS],
    hasher: RandomState,
}

impl Default for Users {
    fn default() -> Self {
        Users {
            parts: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        }
    }
}

impl Users {
    /// Gives `name` to `connection`. To replace a holder, `evict` tells it to close and returns
    /// whether it could. It is called under the lock and must not wait. As soon as this returns,
    /// only the new connection holds the name ([`Claim::is_replaced`]).
    ///
    /// # Errors
    ///
    /// The name has a holder that keeps it.
    pub fn claim(
        self: &Arc<Users>,
        name: &str,
        connection: ConnectionId,
        on_duplicate: OnDuplicate,
        mut evict: impl FnMut(ConnectionId) -> bool,
    ) -> Result<Claim, ClaimError> {
        let name: Arc<str> = name.into();
        let holder = Arc::new(Holder {
            name: Arc::clone(&name),
            connection,
            is_replaced: AtomicBool::new(false),
        });
        let mut part = self.part(&name);
        let holders = part.entry(name).or_default();
        debug_assert!(holders.len() <= CONNECTIONS_PER_USER_MAX);
        match on_duplicate {
            _ if holders.is_empty() => {}
            OnDuplicate::Refuse => return Err(ClaimError::Taken),
            OnDuplicate::Share if holders.len() >= CONNECTIONS_PER_USER_MAX => {
                return Err(ClaimError::Taken);
            }
            OnDuplicate::Share => {}
            OnDuplicate::Replace => {
                if !holders.iter().all(|older| evict(older.connection)) {
                    return Err(ClaimError::Busy);
                }
                for older in holders.drain(..) {
                    older.is_replaced.store(true, Ordering::Release);
                }
            }
        }
        holders.push(Arc::clone(&holder));
        drop(part);
        Ok(Claim {
            users: Arc::clone(self),
            holder,
        })
    }

    /// Whether the name has a holder.
    pub fn is_held(&self, name: &str) -> bool {
        self.part(name).contains_key(name)
    }

    /// The connections that have the name, the oldest first.
    pub fn connections_of(&self, name: &str) -> Vec<ConnectionId> {
        let part = self.part(name);
        let holders = part.get(name).map_or(&[][..], Vec::as_slice);
        holders.iter().map(|holder| holder.connection).collect()
    }

    /// The number of names that have holders.
    pub fn count(&self) -> usize {
        self.parts.iter().map(|part| lock(part).len()).sum()
    }

    /// Names that have holders, in no particular order: at most `names_max`, and as many as fit
    /// into `bytes_left` as a JSON list. Their size is subtracted from `bytes_left`.
    pub fn names(&self, names_max: usize, bytes_left: &mut usize) -> Vec<String> {
        let mut names = Vec::new();
        for part in &self.parts {
            for name in lock(part).keys() {
                let is_escaped = |byte: &u8| matches!(byte, b'"' | b'\\');
                let escapes = name.bytes().filter(|byte| is_escaped(byte)).count();
                let bytes = name.len() + escapes + "\"\",".len();
                if names.len() == names_max || bytes > *bytes_left {
                    return names;
                }
                *bytes_left -= bytes;
                names.push(name.to_string());
            }
        }
        names
    }

    fn release(&self, holder: &Arc<Holder>) {
        let mut part = self.part(&holder.name);
        let Entry::Occupied(mut entry) = part.entry(Arc::clone(&holder.name)) else {
            debug_assert!(holder.is_replaced.load(Ordering::Relaxed));
            return;
        };
        let holders = entry.get_mut();
        if let Some(at) = holders.iter().position(|each| Arc::ptr_eq(each, holder)) {
            holders.remove(at);
        }
        if holders.is_empty() {
            entry.remove();
            part.shrink_sparse();
        }
    }

    fn part(&self, name: &str) -> MutexGuard<'_, Part> {
        lock(&self.parts[self.hasher.hash_one(name) as usize % PARTS])
    }
}

/// Holds a name until it is dropped.
#[derive(Debug)]
pub struct Claim {
    users: Arc<Users>,
    holder: Arc<Holder>,
}

impl Claim {
    /// The name.
    pub fn name(&self) -> &str {
        &self.holder.name
    }

    /// Whether a newer connection has taken over the name. This one has been told to close, and may
    /// no longer send in the user's name.
    pub fn is_replaced(&self) -> bool {
        self.holder.is_replaced.load(Ordering::Acquire)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.users.release(&self.holder);
    }
}

/// A map stays consistent even if a thread panics under its lock, since all foreign code is called
/// before anything changes. So a poisoned lock is taken as it is.
fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicU32;
    use std::thread;

    use super::OnDuplicate::{Refuse, Replace, Share};
    use super::*;

    fn id(index: u32) -> ConnectionId {
        ConnectionId {
            index,
            generation: 1,
            shard: 0,
        }
    }

    fn unasked(_: ConnectionId) -> bool {
        panic!("no connection must be told to close")
    }

    fn claim(users: &Arc<Users>, index: u32, how: OnDuplicate) -> Result<Claim, ClaimError> {
        users.claim("ada", id(index), how, |_| true)
    }

    #[test]
    fn a_name_has_one_holder_until_it_is_released() {
        let users = Arc::<Users>::default();
        let first = users.claim("ada", id(1), Refuse, unasked).expect("free");
        let second = users.claim("ada", id(2), Refuse, unasked);
        assert_eq!(second.err(), Some(ClaimError::Taken));
        let other = users.claim("bob", id(2), Refuse, unasked).expect("free");
        assert_eq!((users.count(), other.name()), (2, "bob"));
        drop(first);
        assert!(!users.is_held("ada") && users.is_held("bob"));
        claim(&users, 3, Refuse).expect("free again");
    }

    #[test]
    fn a_replaced_holder_does_not_release_the_name() {
        let users = Arc::<Users>::default();
        let older = claim(&users, 1, Replace).expect("free");
        let mut told = Vec::new();
        let tell = |connection| {
            told.push(connection);
            true
        };
        let newer = users.claim("ada", id(2), Replace, tell).expect("replaced");
        assert_eq!(told, [id(1)]);
        assert!(older.is_replaced() && !newer.is_replaced());
        assert_eq!(users.connections_of("ada"), [id(2)]);
        drop(older);
        assert_eq!(users.connections_of("ada"), [id(2)]);
        drop(newer);
        assert_eq!(users.count(), 0);
    }

    #[test]
    fn a_holder_that_cannot_be_told_to_close_keeps_the_name() {
        let users = Arc::<Users>::default();
        let older = claim(&users, 1, Replace).expect("free");
        let refused = users.claim("ada", id(2), Replace, |_| false);
        assert_eq!(refused.err(), Some(ClaimError::Busy));
        assert!(!older.is_replaced());
        assert_eq!(users.connections_of("ada"), [id(1)]);
    }

    #[test]
    fn devices_share_a_name_up_to_a_bound() {
        let users = Arc::<Users>::default();
        let max = CONNECTIONS_PER_USER_MAX as u32;
        let mut devices: Vec<Claim> = (0..max)
            .map(|index| claim(&users, index, Share).expect("shared"))
            .collect();
        assert_eq!(claim(&users, max, Share).err(), Some(ClaimError::Taken));
        assert_eq!(users.count(), 1);
        devices.remove(1);
        let left = users.connections_of("ada");
        assert_eq!((left.len(), left[1]), (devices.len(), id(2)));
        devices.clear();
        assert_eq!(users.count(), 0);
    }

    #[test]
    fn names_are_listed_up_to_a_bound() {
        let users = Arc::<Users>::default();
        let claims: Vec<Claim> = (0..500)
            .map(|index| users.claim(&index.to_string(), id(index), Refuse, unasked))
            .collect::<Result<_, _>>()
            .expect("all are free");
        let names = |names_max, mut bytes: usize| users.names(names_max, &mut bytes);
        assert_eq!(names(499, usize::MAX).len(), 499);
        for bytes in [0, 3, 100, 1_000] {
            let json = serde_json::to_string(&names(500, bytes)).expect("texts");
            assert!(json.len() <= bytes + 2 && json.len() + 8 >= bytes, "{json}");
        }
        let mut names = users.names(1_000, &mut usize::MAX.clone());
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), users.count()), (500, 500));
        drop(claims);
        assert!(users.names(1_000, &mut usize::MAX.clone()).is_empty());
    }

    /// Threads claim and release a name as fast as they can, and count its holders.
    #[test]
    fn a_name_never_has_two_holders() {
        let (users, inside) = (Arc::<Users>::default(), AtomicU32::new(0));
        let claim_often = |index| {
            let mut claims = 0;
            while claims < 5_000 {
                let Ok(claim) = claim(&users, index, Refuse) else {
                    continue;
                };
                assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                claims += 1;
                // Long enough for the others to try.
                (0..200).for_each(|_| std::hint::spin_loop());
                inside.fetch_sub(1, Ordering::Relaxed);
                drop(claim);
            }
        };
        thread::scope(|scope| {
            for index in 0..4 {
                scope.spawn(move || claim_often(index));
            }
        });
        assert_eq!(users.count(), 0, "every claim was released");
    }

    #[test]
    fn of_many_that_replace_each_other_at_once_one_stays() {
        const THREADS: u32 = 8;
        let (users, barrier) = (Arc::<Users>::default(), Barrier::new(THREADS as usize));
        let stayed = AtomicU32::new(0);
        let replace = |index| {
            for round in 1..=500 {
                barrier.wait();
                let claim = claim(&users, index, Replace).expect("all can be told");
                barrier.wait();
                stayed.fetch_add(u32::from(!claim.is_replaced()), Ordering::Relaxed);
                barrier.wait();
                assert_eq!(stayed.load(Ordering::Relaxed), round);
            }
        };
        thread::scope(|scope| {
            for index in 0..THREADS {
                scope.spawn(move || replace(index));
            }
        });
        assert_eq!(users.count(), 0, "every claim was released");
    }
}
