//! The directory: which rooms exist. Touched when a shard gets its first member of a room or loses
//! its last one, and when somebody publishes to a room that the shard has no member of.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::room::{EndpointId, Room, RoomKey};

/// Locks that share the names between them.
const PARTS: usize = 64;

type Part = HashMap<RoomKey, Arc<Room>>;

/// All rooms of a process. The hasher is the standard one, since clients choose the names.
#[derive(Debug)]
pub struct Directory {
    parts: [Mutex<Part>; PARTS],
    hasher: RandomState,
    next_epoch: AtomicU64,
}

impl Default for Directory {
    fn default() -> Self {
        Directory {
            parts: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            next_epoch: AtomicU64::new(0),
        }
    }
}

impl Directory {
    /// Enters `shard` into the room, which is made where it does not exist. Returns the room and
    /// the ticket from which on the shard gets every frame.
    pub fn enter(&self, key: &RoomKey, shard: u16) -> (Arc<Room>, u64) {
        let mut part = self.part(key);
        let room = part.entry(key.clone()).or_insert_with(|| {
            let epoch = self.next_epoch.fetch_add(1, Ordering::Relaxed);
            Arc::new(Room::new(key.clone(), epoch))
        });
        let first = room.tickets.enter(shard);
        (Arc::clone(room), first)
    }

    /// Takes `shard` out of the room, and the room out of the directory where that was the last.
    pub fn leave(&self, room: &Arc<Room>, shard: u16) {
        let mut part = self.part(&room.key);
        if room.tickets.leave(shard) {
            let removed = part.remove(&room.key);
            debug_assert!(removed.is_some_and(|removed| removed.epoch == room.epoch));
        }
    }

    /// The room of that name, where it has members.
    pub fn find(&self, key: &RoomKey) -> Option<Arc<Room>> {
        self.part(key).get(key).cloned()
    }

    /// The first `limit` rooms of an endpoint in the byte order of their names, those behind
    /// `after`. One lock at a time is held, for a walk over its part.
    pub fn rooms_after(
        &self,
        endpoint: EndpointId,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<Arc<Room>> {
        let mut page: BTreeMap<Box<str>, Arc<Room>> = BTreeMap::new();
        for part in &self.parts {
            for (key, room) in lock(part).iter() {
                let is_behind = after.is_none_or(|after| *key.name > *after);
                if key.endpoint != endpoint || !is_behind {
                    continue;
                }
                let last = page.last_key_value();
                if page.len() < limit || last.is_some_and(|(last, _)| key.name < *last) {
                    page.insert(key.name.clone(), Arc::clone(room));
                }
                if page.len() > limit {
                    page.pop_last();
                }
            }
        }
        page.into_values().collect()
    }

    /// Rooms that have members.
    pub fn rooms(&self) -> usize {
        self.parts.iter().map(|part| lock(part).len()).sum()
    }

    fn part(&self, key: &RoomKey) -> MutexGuard<'_, Part> {
        lock(&self.parts[self.hasher.hash_one(key) as usize % PARTS])
    }
}

/// A map stays whole whatever a thread that held its lock did: nothing in here runs foreign code.
fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(endpoint: u16, name: &str) -> RoomKey {
        RoomKey {
            endpoint: EndpointId(endpoint),
            name: name.into(),
        }
    }

    #[test]
    fn a_room_lives_while_some_shard_has_members() {
        let directory = Directory::default();
        let (room, first) = directory.enter(&key(0, "/a"), 0);
        assert_eq!(first, 0);
        room.tickets.take(5);
        let (same, start) = directory.enter(&key(0, "/a"), 1);
        assert!(Arc::ptr_eq(&room, &same));
        assert_eq!(start, 5);
        directory.leave(&room, 0);
        assert!(directory.find(&key(0, "/a")).is_some());
        directory.leave(&room, 1);
        assert!(directory.find(&key(0, "/a")).is_none());
        assert_eq!(directory.rooms(), 0);
    }

    #[test]
    fn a_room_made_anew_has_a_new_epoch() {
        let directory = Directory::default();
        let (old, _) = directory.enter(&key(0, "/a"), 0);
        directory.leave(&old, 0);
        let (new, _) = directory.enter(&key(0, "/a"), 0);
        assert_ne!(old.epoch, new.epoch);
    }

    #[test]
    fn pages_of_rooms_are_in_order_and_leave_none_out() {
        let directory = Directory::default();
        let names: Vec<String> = (0..100).map(|number| format!("/{number:02}")).collect();
        for name in names.iter().rev() {
            directory.enter(&key(0, name), 0);
            directory.enter(&key(1, &format!("{name}x")), 0);
        }
        for limit in [1, 7, 100, 1_000] {
            let mut listed: Vec<String> = Vec::new();
            loop {
                let after = listed.last().map(String::as_str);
                let page = directory.rooms_after(EndpointId(0), after, limit);
                assert!(page.len() <= limit);
                listed.extend(page.iter().map(|room| room.key.name.to_string()));
                if page.len() < limit {
                    break;
                }
            }
            assert_eq!(listed, names, "pages of {limit}");
        }
    }

    #[test]
    fn rooms_of_two_endpoints_never_meet() {
        let directory = Directory::default();
        let (hub, _) = directory.enter(&key(0, "/a"), 0);
        let (push, _) = directory.enter(&key(1, "/a"), 0);
        assert!(!Arc::ptr_eq(&hub, &push));
    }
}
