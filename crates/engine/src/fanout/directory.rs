//! The directory of rooms. It is used when a shard gets its first member of a room or loses its
//! last one, and when a shard publishes to a room that it has no member of.
//!
//! Its parts are trees: they never move many entries at once, neither when they grow nor when they
//! become empty, and the rooms after a name are found without visiting the others.

use std::borrow::Borrow;
use std::cmp::{Ordering as Order, Reverse};
use std::collections::{BTreeSet, BinaryHeap};
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::IntoIter;

use super::room::{EndpointId, Room, RoomKey};
use crate::limits::ROOMS_PER_LOCK;

/// The number of locks, each for a share of the names.
const PARTS: usize = 64;

/// A room that is compared by its key alone.
#[derive(Debug)]
struct Named(Arc<Room>);

impl Borrow<RoomKey> for Named {
    fn borrow(&self) -> &RoomKey {
        &self.0.key
    }
}

impl Ord for Named {
    fn cmp(&self, other: &Named) -> Order {
        self.0.key.cmp(&other.0.key)
    }
}

impl PartialOrd for Named {
    fn partial_cmp(&self, other: &Named) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Named) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for Named {}

type Part = BTreeSet<Named>;

/// All rooms of a process. The hasher is the standard, seeded one, since clients choose the names.
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
    /// Adds `shard` to the room, which is created if it does not exist. Returns the room and the
    /// first ticket whose frame the shard gets.
    pub fn enter(&self, key: &RoomKey, shard: u16) -> (Arc<Room>, u64) {
        let mut part = self.part(key);
        if let Some(Named(room)) = part.get(key) {
            return (Arc::clone(room), room.tickets.enter(shard));
        }
        let epoch = self.next_epoch.fetch_add(1, Ordering::Relaxed);
        let room = Arc::new(Room::new(key.clone(), epoch));
        let first = room.tickets.enter(shard);
        part.insert(Named(Arc::clone(&room)));
        (room, first)
    }

    /// Removes `shard` from the room, and the room from the directory if that was its last shard.
    pub fn leave(&self, room: &Arc<Room>, shard: u16) {
        let mut part = self.part(&room.key);
        if room.tickets.leave(shard) {
            let removed = part.take(&room.key);
            debug_assert!(removed.is_some_and(|Named(removed)| removed.epoch == room.epoch));
        }
    }

    /// The room of this name, if it has members.
    pub fn find(&self, key: &RoomKey) -> Option<Arc<Room>> {
        let part = self.part(key);
        part.get(key).map(|Named(room)| Arc::clone(room))
    }

    /// Up to `limit` rooms of an endpoint, in the byte order of their names, after the name
    /// `after`. A caller that asks for page after page sees every room exactly once that exists all
    /// the time. It visits about as many rooms as it returns, and at most [`ROOMS_PER_LOCK`] under
    /// one lock.
    pub fn rooms_after(
        &self,
        endpoint: EndpointId,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<Arc<Room>> {
        // Names are spread evenly over the parts, so one visit of each usually suffices.
        let some = limit.div_ceil(PARTS).saturating_add(2).min(ROOMS_PER_LOCK);
        let mut walks = self.parts.each_ref().map(|part| {
            let first = after.map_or_else(
                || Bound::Included(name(endpoint, "")),
                |after| Bound::Excluded(name(endpoint, after)),
            );
            Walk::new(part, first, some)
        });
        let next = walks.iter_mut().enumerate();
        let next = next.filter_map(|(part, walk)| Some(Reverse((walk.next()?, part))));
        let mut next: BinaryHeap<Reverse<(Named, usize)>> = next.collect();
        let mut page = Vec::new();
        while page.len() < limit
            && let Some(Reverse((Named(room), part))) = next.pop()
        {
            page.push(room);
            next.extend(walks[part].next().map(|room| Reverse((room, part))));
        }
        page
    }

    /// The number of rooms that have members.
    pub fn rooms(&self) -> usize {
        self.parts.iter().map(|part| lock(part).len()).sum()
    }

    fn part(&self, key: &RoomKey) -> MutexGuard<'_, Part> {
        lock(&self.parts[self.hasher.hash_one(key) as usize % PARTS])
    }
}

fn name(endpoint: EndpointId, name: &str) -> RoomKey {
    RoomKey {
        endpoint,
        name: name.into(),
    }
}

/// Walks one endpoint's rooms in a part, in order, a few of them under each lock.
struct Walk<'d> {
    part: &'d Mutex<Part>,
    some: usize,
    /// The start of the rooms that were not visited; `None` once all were.
    rest: Option<Bound<RoomKey>>,
    rooms: IntoIter<Named>,
}

impl<'d> Walk<'d> {
    fn new(part: &'d Mutex<Part>, first: Bound<RoomKey>, some: usize) -> Walk<'d> {
        Walk {
            part,
            some,
            rest: Some(first),
            rooms: Vec::new().into_iter(),
        }
    }

    fn next(&mut self) -> Option<Named> {
        if let Some(room) = self.rooms.next() {
            return Some(room);
        }
        let first = self.rest.take()?;
        let (Bound::Included(key) | Bound::Excluded(key)) = &first else {
            return None;
        };
        let endpoint = key.endpoint;
        let rooms: Vec<Named> = {
            let part = lock(self.part);
            let rooms = part.range::<RoomKey, _>((first.as_ref(), Bound::Unbounded));
            let rooms = rooms.take_while(|Named(room)| room.key.endpoint == endpoint);
            rooms
                .map(|Named(room)| Named(Arc::clone(room)))
                .take(self.some)
                .collect()
        };
        if rooms.len() == self.some {
            self.rest = rooms
                .last()
                .map(|Named(last)| Bound::Excluded(last.key.clone()));
        }
        self.rooms = rooms.into_iter();
        self.rooms.next()
    }
}

/// A thread that panicked with the lock cannot have left a tree broken: no foreign code runs under
/// it.
fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

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
    fn a_room_that_is_created_again_has_a_new_epoch() {
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
            assert_eq!(all(&directory, 0, limit), names, "pages of {limit}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

        /// Names with common beginnings, in two endpoints. One endpoint's are listed while another
        /// thread creates and leaves rooms between them.
        #[test]
        fn pages_are_complete_and_in_order_while_rooms_come_and_go(
            stay in btree_set("[a-c/é]{0,6}", 0..300),
            come in vec("[a-c/é]{0,6}", 1..50),
            limit in 1_usize..400,
        ) {
            let directory = Directory::default();
            for name in &stay {
                directory.enter(&key(1, name), 0);
                directory.enter(&key(0, &format!("{name}!")), 0);
                directory.enter(&key(2, &format!("{name}!")), 0);
            }
            let is_over = AtomicBool::new(false);
            let listed = thread::scope(|scope| {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        for name in &come {
                            let (room, _) = directory.enter(&key(1, name), 1);
                            directory.leave(&room, 1);
                        }
                    }
                });
                let listed: Vec<Vec<String>> = (0..5).map(|_| all(&directory, 1, limit)).collect();
                is_over.store(true, Ordering::Relaxed);
                listed
            });
            for listed in listed {
                prop_assert!(listed.is_sorted_by(|one, next| one < next));
                prop_assert!(listed.iter().all(|name| stay.contains(name) || come.contains(name)));
                prop_assert!(stay.iter().all(|name| listed.binary_search(name).is_ok()));
            }
        }
    }

    /// All rooms of an endpoint, in pages of `limit`.
    fn all(directory: &Directory, endpoint: u16, limit: usize) -> Vec<String> {
        let mut listed: Vec<String> = Vec::new();
        loop {
            let after = listed.last().map(String::as_str);
            let page = directory.rooms_after(EndpointId(endpoint), after, limit);
            assert!(page.len() <= limit);
            listed.extend(page.iter().map(|room| room.key.name.to_string()));
            if page.len() < limit {
                return listed;
            }
        }
    }

    #[test]
    fn a_lock_covers_a_bounded_number_of_rooms_each_visited_once() {
        let directory = Directory::default();
        for number in 0..2_000 {
            let room = Room::new(key(0, &number.to_string()), number);
            lock(&directory.parts[0]).insert(Named(Arc::new(room)));
        }
        let first = Bound::Included(key(0, ""));
        let mut walk = Walk::new(&directory.parts[0], first, ROOMS_PER_LOCK);
        let (mut walked, mut locked) = (0, 0);
        while walk.next().is_some() {
            walked += 1;
            assert!(walk.rooms.len() < ROOMS_PER_LOCK);
            locked += usize::from(walk.rooms.len() + 1 == ROOMS_PER_LOCK);
        }
        assert_eq!((walked, locked), (2_000, 2_000 / ROOMS_PER_LOCK));
    }

    #[test]
    fn a_limit_of_any_size_is_no_size_of_memory() {
        let directory = Directory::default();
        directory.enter(&key(0, "/a"), 0);
        let page = directory.rooms_after(EndpointId(0), None, usize::MAX);
        assert_eq!(page.len(), 1);
        assert!(directory.rooms_after(EndpointId(0), None, 0).is_empty());
    }

    #[test]
    fn rooms_of_two_endpoints_never_meet() {
        let directory = Directory::default();
        let (hub, _) = directory.enter(&key(0, "/a"), 0);
        let (push, _) = directory.enter(&key(1, "/a"), 0);
        assert!(!Arc::ptr_eq(&hub, &push));
    }
}
