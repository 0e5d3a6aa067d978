//! Joining and publishing: a frame is either from before the join, or it reaches the shard.

use std::sync::Arc;

use loom::sync::Mutex;
use loom::thread::{self, JoinHandle};

use crate::tickets::Tickets;

/// The shard that joins.
const JOINER: u16 = 0;
/// A shard that is in the room all the time, so that the room survives when the joiner leaves it.
const RESIDENT: u16 = 65;

/// A room, and the mailbox of the shard that joins: first ticket and length of each run.
#[derive(Default)]
struct World {
    tickets: Tickets,
    mailbox: Mutex<Vec<(u64, u64)>>,
}

/// Publishes runs of these lengths. Returns their tickets.
fn publisher(world: &Arc<World>, lengths: &'static [u64]) -> JoinHandle<Vec<(u64, u64)>> {
    let world = Arc::clone(world);
    thread::spawn(move || {
        let publish = |frames: &u64| {
            let (first, shards) = world.tickets.take(*frames);
            assert!(shards.contains(RESIDENT));
            if shards.contains(JOINER) {
                world.mailbox.lock().unwrap().push((first, *frames));
            }
            (first, *frames)
        };
        lengths.iter().map(publish).collect()
    })
}

/// Every run from the joiner's start on is in its mailbox exactly once, and none straddles the
/// start.
fn assert_complete(world: &World, start: u64, published: Vec<(u64, u64)>) {
    let mailbox = world.mailbox.lock().unwrap();
    for (first, frames) in published {
        assert!(first >= start || first + frames <= start, "a run straddles");
        let copies = mailbox
            .iter()
            .filter(|run| **run == (first, frames))
            .count();
        assert!(copies <= 1, "ticket {first} came {copies} times");
        assert!(first < start || copies == 1, "ticket {first} was missed");
    }
}

fn world() -> Arc<World> {
    let world = Arc::new(World::default());
    world.tickets.enter(RESIDENT);
    world
}

/// A shard gets its first member while two others publish.
pub fn two_publishers() {
    let world = world();
    let publishers = [publisher(&world, &[1, 1]), publisher(&world, &[2])];
    let start = world.tickets.enter(JOINER);
    let published = publishers.map(|each| each.join().unwrap()).concat();
    assert_complete(&world, start, published);
}

/// The joiner loses that member and gets another one meanwhile.
pub fn leave_and_rejoin() {
    let world = world();
    let publishers = [publisher(&world, &[1]), publisher(&world, &[2])];
    let before = world.tickets.enter(JOINER);
    assert!(!world.tickets.leave(JOINER), "the resident is still there");
    let start = world.tickets.enter(JOINER);
    assert!(before <= start);
    let published = publishers.map(|each| each.join().unwrap()).concat();
    assert_complete(&world, start, published);
}
