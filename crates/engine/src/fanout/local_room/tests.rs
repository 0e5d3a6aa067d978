use super::super::ConnectionId;
use super::super::batch::{Batch, BatchBuilder};
use super::super::directory::Directory;
use super::super::room::{EndpointId, RoomKey};
use super::*;
use crate::wire::frame::Opcode;

fn room() -> Arc<Room> {
    let key = RoomKey {
        endpoint: EndpointId(0),
        name: "/".into(),
    };
    Directory::default().enter(&key, 0).0
}

/// A batch with one run per count, of so many frames, with consecutive tickets.
fn runs(room: &Arc<Room>, counts: &[u32]) -> Vec<Run> {
    let seal = |count: &u32| {
        let mut builder = BatchBuilder::new(Arc::default());
        for _ in 0..*count {
            builder.append(room, Recipients::All, Opcode::Binary, &[0; 10], 0);
        }
        let mut batch: Batch = builder.seal();
        batch.take_tickets();
        batch.runs.remove(0)
    };
    counts.iter().map(seal).collect()
}

/// Visits up to `visits_max` members. Returns each connection with the number of frames it got.
fn deliver(local: &mut LocalRoom<Rc<()>>, visits_max: usize) -> Vec<(u32, u32)> {
    let mut visited = Vec::new();
    local.deliver(visits_max, |connection, runs| {
        visited.push((connection, runs.map(|run| run.frames).sum()));
        true
    });
    visited
}

fn local(members: u32) -> (LocalRoom<Rc<()>>, Arc<Room>) {
    let room = room();
    let mut local = LocalRoom::new(Arc::clone(&room), 0, &Rc::default());
    for connection in 0..members {
        let seat = MemberSeat::new(connection as usize);
        assert_eq!(local.join(connection), seat);
    }
    (local, room)
}

#[test]
fn an_early_run_waits_for_its_predecessor() {
    let (mut local, room) = local(1);
    let [first, second, third] = &runs(&room, &[1, 2, 3])[..] else {
        unreachable!()
    };
    let hold = Rc::new(());
    assert_eq!(local.accept(third, 7, || Rc::clone(&hold)), Accepted::Held);
    assert_eq!(local.accept(second, 9, || Rc::clone(&hold)), Accepted::Held);
    assert_eq!((local.held_runs(), local.held_since_tick()), (2, Some(7)));
    assert!(!local.is_pending());
    assert_eq!(Rc::strong_count(&hold), 3);
    assert_eq!(local.accept(first, 9, || unreachable!()), Accepted::Now);
    assert_eq!((local.held_runs(), local.held_since_tick()), (0, None));
    assert_eq!(
        Rc::strong_count(&hold),
        1,
        "what waited gives its credit back"
    );
    let mut frames = Vec::new();
    local.deliver(1, |_, runs| {
        frames.extend(runs.map(|run| run.frames));
        true
    });
    assert_eq!(frames, [1, 2, 3]);
}

#[test]
fn a_run_from_before_the_join_is_ignored() {
    let room = room();
    let [old, new] = &runs(&room, &[4, 1])[..] else {
        unreachable!()
    };
    let mut local = LocalRoom::new(Arc::clone(&room), 4, &Rc::default());
    local.join(0);
    assert_eq!(local.accept(old, 0, || unreachable!()), Accepted::Stale);
    assert_eq!(local.accept(new, 0, || Rc::new(())), Accepted::Now);
    assert_eq!(deliver(&mut local, 9), [(0, 1)]);
}

#[test]
fn held_runs_give_their_credit_back_with_the_room() {
    let (mut local, room) = local(1);
    let hold = Rc::new(());
    local.accept(&runs(&room, &[1, 1])[1], 0, || Rc::clone(&hold));
    assert_eq!(Rc::strong_count(&hold), 2);
    drop(local);
    assert_eq!(Rc::strong_count(&hold), 1);
}

#[test]
fn members_are_visited_in_a_circle_and_get_all_at_once() {
    let (mut local, room) = local(4);
    let runs = runs(&room, &[1, 1, 1]);
    local.accept(&runs[0], 0, || unreachable!());
    assert_eq!(deliver(&mut local, 3), [(0, 1), (1, 1), (2, 1)]);
    local.accept(&runs[1], 0, || unreachable!());
    assert_eq!(deliver(&mut local, 2), [(3, 2), (0, 1)]);
    local.accept(&runs[2], 0, || unreachable!());
    assert_eq!(deliver(&mut local, 9), [(1, 2), (2, 2), (3, 1), (0, 1)]);
    assert!(!local.is_pending());
    assert_eq!(local.pending_bytes(), 0);
}

#[test]
fn a_member_that_accepts_nothing_now_is_visited_next() {
    let (mut local, room) = local(3);
    let runs = runs(&room, &[1, 1]);
    local.accept(&runs[0], 0, || unreachable!());
    let mut asked = Vec::new();
    let visits = local.deliver(9, |connection, _| {
        asked.push(connection);
        connection == 0
    });
    assert_eq!((visits, asked), (1, vec![0, 1]));
    assert!(local.is_pending());
    local.accept(&runs[1], 0, || unreachable!());
    let mut visited = deliver(&mut local, 9);
    visited.sort_unstable();
    assert_eq!(visited, [(0, 1), (1, 2), (2, 2)]);
    assert!(!local.is_pending());
}

#[test]
fn a_member_that_joins_between_gets_only_what_follows() {
    let (mut local, room) = local(2);
    let runs = runs(&room, &[1, 1]);
    local.accept(&runs[0], 0, || unreachable!());
    assert_eq!(deliver(&mut local, 1), [(0, 1)]);
    local.join(9);
    assert_eq!(deliver(&mut local, 9), [(1, 1)]);
    local.accept(&runs[1], 0, || unreachable!());
    let mut visited = deliver(&mut local, 9);
    visited.sort_unstable();
    assert_eq!(visited, [(0, 1), (1, 1), (9, 1)]);
}

#[test]
fn those_who_stay_get_everything_whoever_leaves_between() {
    for leaver in 0..5 {
        for visited_before in 0..5 {
            let (mut local, room) = local(5);
            let runs = runs(&room, &[1, 2]);
            local.accept(&runs[0], 0, || unreachable!());
            let mut got = [0; 5];
            let mut count = |visits: Vec<(u32, u32)>| {
                visits
                    .iter()
                    .for_each(|(connection, frames)| got[*connection as usize] += frames);
            };
            count(deliver(&mut local, visited_before));
            for moved in local
                .leave(MemberSeat::new(leaver as usize))
                .into_iter()
                .flatten()
            {
                let at = local.connections().nth(moved.seat.index());
                assert_eq!(at, Some(moved.connection));
            }
            count(deliver(&mut local, 1));
            local.accept(&runs[1], 0, || unreachable!());
            count(deliver(&mut local, 99));
            let stay = (0..5).filter(|connection| *connection != leaver);
            assert!(
                stay.into_iter()
                    .all(|connection| got[connection as usize] == 3),
                "{got:?}"
            );
            assert!(got[leaver as usize] <= 1);
            assert!(!local.is_pending() && local.pending_bytes() == 0);
        }
    }
}

#[test]
fn frames_that_all_members_have_are_released_meanwhile() {
    let (mut local, room) = local(10);
    let mut pending_most = 0;
    for run in runs(&room, &[1; 100]) {
        local.accept(&run, 0, || unreachable!());
        deliver(&mut local, 5);
        pending_most = pending_most.max(local.pending_bytes());
    }
    assert!(local.is_pending(), "there never was time for all of them");
    // Two visits of five make a lap, and a run lives for two laps at most.
    assert!(pending_most <= 5 * 12, "{pending_most} bytes were held");
}

#[test]
fn a_member_gets_frames_in_stretches() {
    let (mut local, room) = local(1);
    let mut builder = BatchBuilder::new(Arc::default());
    let sender = |index| {
        let (generation, shard) = (0, 0);
        Recipients::Except(ConnectionId {
            index,
            generation,
            shard,
        })
    };
    for index in [1, 0, 0, 2, 0, 1, 1] {
        builder.append(&room, sender(index), Opcode::Binary, &[0; 10], 0);
    }
    let mut batch = builder.seal();
    batch.take_tickets();
    local.accept(&batch.runs[0], 0, || unreachable!());
    local.deliver(1, |_, mut runs| {
        let run = runs.next().expect("a run");
        let stretches = |index| {
            let is_for =
                |each: &Recipients| !matches!(each, Recipients::Except(id) if id.index == index);
            let mut from = 0;
            let next = || {
                let frames = run.next_stretch(from, is_for)?;
                from = frames.end + 1;
                assert_eq!(
                    run.plain.bytes_of(&frames),
                    frames.start * 12..frames.end * 12
                );
                Some((frames.start, frames.end))
            };
            std::iter::from_fn(next).collect::<Vec<_>>()
        };
        assert_eq!(stretches(0), [(0, 1), (3, 4), (5, 7)]);
        assert_eq!(stretches(1), [(1, 5)]);
        assert_eq!(stretches(2), [(0, 3), (4, 7)]);
        assert_eq!(stretches(9), [(0, 7)]);
        true
    });
}
