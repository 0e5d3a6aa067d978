//! From a room's runs into its members' outboxes.

use std::collections::vec_deque::Iter;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::close_reason::CloseReason;
use super::connection::{Connection, Key, Membership, Phase};
use super::core::Core;
use super::settings::{EndpointSettings, SlowClient};
use super::slow;
use super::stats::SlowAction;
use crate::fanout::local_room::LocalRun;
use crate::fanout::outbox::Origin;
use crate::fanout::{ConnectionId, Recipient, Recipients};

/// What came of the members that do not simply get all frames.
#[derive(Default)]
struct Exceptions {
    /// Members whose last send would have blocked.
    lagging: Vec<Key>,
    /// Members for which a filter panicked.
    panicked: Vec<Key>,
    /// Frames that `drop_newest` kept from being queued.
    refused_frames: u64,
}

/// Gives up to `visits_max` members of the room at `place` what they have not got. Returns how many
/// were visited.
pub(super) fn deliver_room(core: &mut Core, place: u32, visits_max: usize) -> usize {
    let Core {
        id,
        rooms,
        connections,
        dirty,
        endpoint_settings,
        ..
    } = core;
    let Some(room) = rooms.get_mut(place as usize) else {
        return 0;
    };
    let pending_before = room.pending_bytes();
    let mut exceptions = Exceptions::default();
    let visits = room.deliver(visits_max, |index, runs| {
        let connection = &mut connections[index as usize];
        let slow = slow_client(endpoint_settings, connection);
        visit(connection, (*id, index), place, runs, slow, &mut exceptions);
        let key = Key {
            index,
            generation: connection.generation,
        };
        if !connection.is_writable {
            exceptions.lagging.push(key);
        } else if !connection.is_dirty {
            connection.is_dirty = true;
            dirty.push(key);
        }
    });
    core.pending_bytes -= pending_before - room.pending_bytes();
    act_on(core, exceptions);
    visits
}

/// Gives a member that is about to leave all its rooms what it has not got.
pub(super) fn deliver_rest(core: &mut Core, key: Key) {
    let Core {
        id,
        rooms,
        connections,
        endpoint_settings,
        ..
    } = core;
    let connection = &mut connections[key.index as usize];
    let mut exceptions = Exceptions::default();
    for membership in connection.rooms.as_slice().to_vec() {
        let Membership {
            room: place,
            place: seat,
        } = membership;
        let slow = slow_client(endpoint_settings, connection);
        let room = &mut rooms[place as usize];
        room.deliver_to(seat, |index, runs| {
            visit(connection, (*id, index), place, runs, slow, &mut exceptions);
        });
    }
    // It is being closed already: no policy acts on it any more.
    exceptions.lagging.clear();
    act_on(core, exceptions);
}

/// Gives one member the runs that it has not got.
fn visit(
    connection: &mut Connection,
    (shard, index): (u16, u32),
    place: u32,
    runs: Iter<'_, LocalRun>,
    slow: &SlowClient,
    exceptions: &mut Exceptions,
) {
    debug_assert!(connection.phase == Phase::Open, "a member that is not open");
    for run in runs {
        if run.recipients.is_none() && connection.is_writable {
            let range = run.bytes.clone();
            connection
                .outbox
                .push(&run.segment, range, run.frames, Origin::Room(place));
        } else {
            let id = ConnectionId {
                index,
                generation: connection.generation,
                shard,
            };
            deliver_frames(connection, id, place, run, slow, exceptions);
        }
    }
}

fn slow_client<'s>(settings: &'s [EndpointSettings], connection: &Connection) -> &'s SlowClient {
    &settings[usize::from(connection.endpoint.0)].slow_client
}

/// Gives one member those frames of a run that it is to get. Frames side by side become one slice.
fn deliver_frames(
    connection: &mut Connection,
    id: ConnectionId,
    place: u32,
    run: &LocalRun,
    slow: &SlowClient,
    exceptions: &mut Exceptions,
) {
    for frame in 0..run.frames {
        if let Some(recipients) = &run.recipients
            && !is_recipient(&recipients[frame as usize], connection, id, exceptions)
        {
            continue;
        }
        let bytes = run.segment.buffer.frame_range(run.first_frame + frame);
        if slow::refuses(connection, slow, bytes.len()) {
            exceptions.refused_frames += 1;
            continue;
        }
        connection
            .outbox
            .push(&run.segment, bytes, 1, Origin::Room(place));
    }
}

fn is_recipient(
    recipients: &Recipients,
    connection: &Connection,
    id: ConnectionId,
    exceptions: &mut Exceptions,
) -> bool {
    match recipients {
        Recipients::All => true,
        Recipients::Except(sender) => *sender != id,
        Recipients::If(filter) => {
            let state = connection.state.as_deref();
            let recipient = Recipient {
                id,
                peer: connection.peer,
                state,
            };
            catch_unwind(AssertUnwindSafe(|| filter(&recipient))).unwrap_or_else(|_| {
                let key = Key {
                    index: id.index,
                    generation: id.generation,
                };
                exceptions.panicked.push(key);
                false
            })
        }
    }
}

fn act_on(core: &mut Core, exceptions: Exceptions) {
    if exceptions.refused_frames > 0 {
        let stats = core.stats();
        stats.slow_actions[SlowAction::DropNewest as usize].add(1);
        stats.dropped_frames.add(exceptions.refused_frames);
    }
    for key in exceptions.panicked {
        core.stats().endpoint_panics.add(1);
        core.doom(key, CloseReason::EndpointPanic);
    }
    for key in exceptions.lagging {
        slow::enforce(core, key);
    }
}
