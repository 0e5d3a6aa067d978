//! The rooms that a shard has members of: by place, by name and by epoch.

use std::hash::{BuildHasher, RandomState};
use std::ops::{Index, IndexMut};
use std::rc::Rc;

use hashbrown::HashTable;
use rustc_hash::FxHashSet;

use super::mailbox::Credit;
use crate::clock::Tick;
use crate::fanout::local_room::LocalRoom;
use crate::fanout::room::RoomKey;
use crate::slots::Slots;
use crate::sparse::Sparse as _;

/// The number of tables that share the entries of an index. With a million rooms each has 16,000
/// entries, so growing one moves that many at once, which takes a tenth of a millisecond.
const PARTS: usize = 64;

/// The golden ratio as an odd number, whose bits look random.
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    hash: u32,
    place: u32,
}

/// Places by hash. The caller compares the room at the place, since hashes may be equal.
struct Places {
    parts: Box<[HashTable<Entry>; PARTS]>,
}

impl Places {
    fn new() -> Places {
        Places {
            parts: Box::new([const { HashTable::new() }; PARTS]),
        }
    }

    fn find(&self, hash: u32, is_meant: impl Fn(u32) -> bool) -> Option<u32> {
        let is_meant = |entry: &Entry| entry.hash == hash && is_meant(entry.place);
        let found = self.parts[part_of(hash)].find(spread(hash), is_meant);
        found.map(|entry| entry.place)
    }

    fn insert(&mut self, hash: u32, place: u32) {
        let entry = Entry { hash, place };
        let of_entry = |entry: &Entry| spread(entry.hash);
        self.parts[part_of(hash)].insert_unique(spread(hash), entry, of_entry);
    }

    fn remove(&mut self, hash: u32, place: u32) {
        let entry = Entry { hash, place };
        let part = &mut self.parts[part_of(hash)];
        let found = part.find_entry(spread(hash), |each| *each == entry);
        debug_assert!(found.is_ok(), "a room that was in no index");
        if let Ok(found) = found {
            found.remove();
        }
        part.shrink_sparse();
    }
}

impl crate::sparse::Sparse for HashTable<Entry> {
    fn entries(&self) -> usize {
        self.len()
    }

    fn room(&self) -> usize {
        self.capacity()
    }

    fn shrink_room(&mut self, entries: usize) {
        self.shrink_to(entries, |entry| spread(entry.hash));
    }
}

fn part_of(hash: u32) -> usize {
    (hash >> 26) as usize
}

/// The bits that choose the part are equal within it, so they are mixed with the others here.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(MIX).rotate_left(32)
}

fn epoch_hash(epoch: u64) -> u32 {
    (epoch.wrapping_mul(MIX) >> 32) as u32
}

/// The rooms that a shard has members of. Names are hashed by the standard, seeded hasher, since
/// clients choose them; epochs are counters and need none.
pub(crate) struct LocalRooms {
    rooms: Slots<LocalRoom<Rc<Credit>>>,
    by_name: Places,
    by_epoch: Places,
    hasher: RandomState,
    /// Rooms with runs that wait for an earlier ticket, and some that had such runs before.
    held: FxHashSet<u32>,
}

impl LocalRooms {
    pub(crate) fn new() -> LocalRooms {
        LocalRooms {
            rooms: Slots::default(),
            by_name: Places::new(),
            by_epoch: Places::new(),
            hasher: RandomState::new(),
            held: FxHashSet::default(),
        }
    }

    /// The number of rooms.
    pub(crate) fn len(&self) -> usize {
        self.rooms.len()
    }

    pub(crate) fn get(&self, place: usize) -> Option<&LocalRoom<Rc<Credit>>> {
        self.rooms.get(place)
    }

    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut LocalRoom<Rc<Credit>>> {
        self.rooms.get_mut(place)
    }

    /// The rooms and their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &LocalRoom<Rc<Credit>>)> {
        let rooms = self.rooms.iter();
        rooms.map(|(place, room)| (place as u32, room))
    }

    /// The place of the room of this name.
    pub(crate) fn find(&self, key: &RoomKey) -> Option<u32> {
        let is_meant = |place| self[place as usize].room.key == *key;
        self.by_name.find(self.name_hash(key), is_meant)
    }

    /// The place of the room of this epoch.
    pub(crate) fn of_epoch(&self, epoch: u64) -> Option<u32> {
        let is_meant = |place| self[place as usize].room.epoch == epoch;
        self.by_epoch.find(epoch_hash(epoch), is_meant)
    }

    /// Adds a room whose name and epoch are new here. Returns its place.
    pub(crate) fn insert(&mut self, room: LocalRoom<Rc<Credit>>) -> u32 {
        let (name, epoch) = (self.name_hash(&room.room.key), epoch_hash(room.room.epoch));
        let place = self.rooms.insert(room) as u32;
        self.by_name.insert(name, place);
        self.by_epoch.insert(epoch, place);
        place
    }

    /// Removes the room at `place`, which must exist.
    pub(crate) fn remove(&mut self, place: u32) -> LocalRoom<Rc<Credit>> {
        let room = self.rooms.remove(place as usize);
        self.by_name.remove(self.name_hash(&room.room.key), place);
        self.by_epoch.remove(epoch_hash(room.room.epoch), place);
        room
    }

    /// Records that runs of the room at `place` wait for an earlier ticket.
    pub(crate) fn note_held(&mut self, place: u32) {
        self.held.insert(place);
    }

    /// The number of runs that wait for an earlier ticket, and since when the oldest does. Visits
    /// only the rooms that have had such runs since the last call.
    pub(crate) fn held(&mut self) -> (u64, Option<Tick>) {
        let (mut runs, mut oldest) = (0, None);
        let rooms = &self.rooms;
        self.held.retain(|place| {
            let Some(room) = rooms.get(*place as usize) else {
                return false;
            };
            let Some(tick) = room.held_since_tick() else {
                return false;
            };
            runs += room.held_runs() as u64;
            oldest = Some(oldest.map_or(tick, |oldest: Tick| oldest.min(tick)));
            true
        });
        self.held.shrink_sparse();
        (runs, oldest)
    }

    fn name_hash(&self, key: &RoomKey) -> u32 {
        self.hasher.hash_one(key) as u32
    }
}

impl Index<usize> for LocalRooms {
    type Output = LocalRoom<Rc<Credit>>;

    fn index(&self, place: usize) -> &Self::Output {
        self.rooms.get(place).expect("a room that has members")
    }
}

impl IndexMut<usize> for LocalRooms {
    fn index_mut(&mut self, place: usize) -> &mut Self::Output {
        self.rooms.get_mut(place).expect("a room that has members")
    }
}
