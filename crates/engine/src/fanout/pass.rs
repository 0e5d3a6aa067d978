//! One pass of delivery: room by room, round robin, with a bounded share of the work each.
//!
//! A shard makes one pass in each turn. A room of any size delays another by one share at most, and
//! newly published frames join the rounds that are still to come.

use std::collections::VecDeque;

/// The result of serving a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Served {
    /// Whether some member still has frames to get: the room goes to the end of the queue.
    pub is_pending: bool,
    /// Whether the pass is over.
    pub is_spent: bool,
}

/// Serves the rooms of `pending` in turn until none is left or the pass is over. `serve` gives a
/// room its share.
pub fn deliver_pass(pending: &mut VecDeque<u32>, mut serve: impl FnMut(u32) -> Served) {
    while let Some(room) = pending.pop_front() {
        let served = serve(room);
        if served.is_pending {
            pending.push_back(room);
        }
        if served.is_spent {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use super::super::Recipients;
    use super::super::batch::BatchBuilder;
    use super::super::directory::Directory;
    use super::super::local_room::LocalRoom;
    use super::super::room::{EndpointId, RoomKey};
    use super::*;
    use crate::limits::MEMBERS_PER_PASS;
    use crate::wire::frame::Opcode;

    const SMALL: usize = 0;
    /// Visits of one pass.
    const PASS: usize = 2 * MEMBERS_PER_PASS;

    /// Rooms of the given sizes; the first is the small one.
    struct World {
        rooms: Vec<LocalRoom<()>>,
        pending: VecDeque<u32>,
    }

    impl World {
        fn new(sizes: &[u32]) -> World {
            let directory = Directory::default();
            let room = |(number, size): (usize, &u32)| {
                let endpoint = EndpointId(0);
                let name = number.to_string().into();
                let (room, first) = directory.enter(&RoomKey { endpoint, name }, 0);
                let mut local = LocalRoom::new(room, first, &Rc::default());
                (0..*size).for_each(|connection| {
                    local.join(connection);
                });
                local
            };
            World {
                rooms: sizes.iter().enumerate().map(room).collect(),
                pending: VecDeque::new(),
            }
        }

        fn publish(&mut self, room: usize) {
            let local = &mut self.rooms[room];
            let mut builder = BatchBuilder::new(Arc::default());
            builder.append(&local.room, Recipients::All, Opcode::Text, b"x", 0);
            let mut batch = builder.seal();
            batch.take_tickets();
            let was_pending = local.is_pending();
            local.accept(&batch.runs[0], 0, || ());
            if !was_pending {
                self.pending.push_back(room as u32);
            }
        }

        /// The room of each visit of a pass, in order.
        fn pass(&mut self) -> Vec<usize> {
            let mut visited = Vec::new();
            deliver_pass(&mut self.pending, |room| {
                let local = &mut self.rooms[room as usize];
                let visits_max = MEMBERS_PER_PASS.min(PASS - visited.len());
                local.deliver(visits_max, |_, _| {
                    visited.push(room as usize);
                    true
                });
                Served {
                    is_pending: local.is_pending(),
                    is_spent: visited.len() == PASS,
                }
            });
            visited
        }
    }

    #[test]
    fn a_small_room_waits_for_one_share_of_a_large_one() {
        let mut world = World::new(&[2, 100_000]);
        world.publish(1);
        for _ in 0..20 {
            world.pass();
            world.publish(SMALL);
            let visited = world.pass();
            let before = visited.iter().take_while(|room| **room != SMALL).count();
            assert!(before <= MEMBERS_PER_PASS, "{before} members came first");
            let of_small = visited.iter().filter(|room| **room == SMALL).count();
            assert_eq!(of_small, 2, "the small room is served in the same pass");
        }
        assert!(
            world.rooms[1].is_pending(),
            "the large room was served all the time"
        );
    }

    #[test]
    fn among_many_large_rooms_it_waits_for_one_share_of_each() {
        let large = 9;
        let mut sizes = vec![10_000; 1 + large];
        sizes[SMALL] = 2;
        let mut world = World::new(&sizes);
        (1..=large).for_each(|room| world.publish(room));
        world.pass();
        world.publish(SMALL);
        let mut before = 0;
        let served = (0..=large * MEMBERS_PER_PASS / PASS).any(|_| {
            let visited = world.pass();
            assert!(visited.len() <= PASS);
            before += visited.iter().filter(|room| **room != SMALL).count();
            visited.contains(&SMALL)
        });
        assert!(served, "{before} members came first");
    }

    #[test]
    fn every_room_is_served_to_its_end() {
        let mut world = World::new(&[2, 1_000, 300, 513]);
        (0..4).for_each(|room| world.publish(room));
        let mut visits = [0; 4];
        while !world.pending.is_empty() {
            world.pass().iter().for_each(|room| visits[*room] += 1);
        }
        assert_eq!(visits, [2, 1_000, 300, 513]);
    }
}
