//! From a room's runs into its members' outboxes.

use std::collections::vec_deque::Iter;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::close_reason::CloseReason;
use super::connection::{Connection, Key, Membership, Phase};
use super::core::Core;
use super::settings::{EndpointSettings, SlowClient};
use super::slow;
use super::stats::SlowAction;
use crate::fanout::local_room::{Encoding, LocalRun};
use crate::fanout::outbox::Origin;
use crate::fanout::{ConnectionId, Recipient, Recipients};

/// What came of visits: the members that do not simply get all frames, and what was saved.
#[derive(Default)]
struct Outcome {
    /// Bytes that members get fewer because theirs are deflated.
    saved_bytes: usize,
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
    let mut outcome = Outcome::default();
    let visits = room.deliver(visits_max, |index, runs| {
        let connection = &mut connections[index as usize];
        let slow = slow_client(endpoint_settings, connection);
        visit(connection, (*id, index), place, runs, slow, &mut outcome);
        let key = Key {
            index,
            generation: connection.generation,
        };
        if !connection.is_writable {
            outcome.lagging.push(key);
        } else if !connection.is_dirty {
            connection.is_dirty = true;
            dirty.push(key);
        }
    });
    core.pending_bytes -= pending_before - room.pending_bytes();
    act_on(core, outcome);
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
    let mut outcome = Outcome::default();
    for index in 0..connection.rooms.len() {
        let Some(membership) = connection.rooms.at(index) else {
            break;
        };
        let Membership {
            room: place,
            place: seat,
        } = membership;
        let slow = slow_client(endpoint_settings, connection);
        let room = &mut rooms[place as usize];
        room.deliver_to(seat, |index, runs| {
            visit(connection, (*id, index), place, runs, slow, &mut outcome);
        });
    }
    // It is being closed already: no policy acts on it any more.
    outcome.lagging.clear();
    act_on(core, outcome);
}

/// Gives one member the runs that it has not got.
fn visit(
    connection: &mut Connection,
    (shard, index): (u16, u32),
    place: u32,
    runs: Iter<'_, LocalRun>,
    slow: &SlowClient,
    outcome: &mut Outcome,
) {
    debug_assert!(connection.phase == Phase::Open, "a member that is not open");
    for run in runs {
        if run.recipients.is_none() && connection.is_writable {
            let encoding = run.encoding_for(connection.window_bits);
            outcome.saved_bytes += run.plain.bytes.len() - encoding.bytes.len();
            connection.outbox.push(
                &encoding.segment,
                encoding.bytes.clone(),
                run.frames,
                Origin::Room(place),
            );
        } else {
            let id = ConnectionId {
                index,
                generation: connection.generation,
                shard,
            };
            deliver_frames(connection, id, place, run, slow, outcome);
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
    outcome: &mut Outcome,
) {
    let encoding = run.encoding_for(connection.window_bits);
    let mut from = 0;
    loop {
        let is_for = |each: &Recipients| is_recipient(each, connection, id, outcome);
        let Some(frames) = run.next_stretch(from, is_for) else {
            return;
        };
        from = frames.end + 1;
        if connection.is_writable {
            push(connection, place, run, encoding, &frames, outcome);
            continue;
        }
        for frame in frames {
            let frame = frame..frame + 1;
            if slow::refuses(connection, slow, encoding.bytes_of(&frame).len()) {
                outcome.refused_frames += 1;
                continue;
            }
            push(connection, place, run, encoding, &frame, outcome);
        }
    }
}

/// Gives one member some frames of a run, in the form that it gets.
fn push(
    connection: &mut Connection,
    place: u32,
    run: &LocalRun,
    encoding: &Encoding,
    frames: &Range<u32>,
    outcome: &mut Outcome,
) {
    let bytes = encoding.bytes_of(frames);
    if !std::ptr::eq(encoding, &run.plain) {
        outcome.saved_bytes += run.plain.bytes_of(frames).len() - bytes.len();
    }
    let count = frames.end - frames.start;
    connection
        .outbox
        .push(&encoding.segment, bytes, count, Origin::Room(place));
}

fn is_recipient(
    recipients: &Recipients,
    connection: &Connection,
    id: ConnectionId,
    outcome: &mut Outcome,
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
                attachments: connection.attachments.as_slice(),
            };
            catch_unwind(AssertUnwindSafe(|| filter(&recipient))).unwrap_or_else(|_| {
                let key = Key {
                    index: id.index,
                    generation: id.generation,
                };
                outcome.panicked.push(key);
                false
            })
        }
    }
}

fn act_on(core: &mut Core, outcome: Outcome) {
    if outcome.saved_bytes > 0 {
        let stats = core.stats();
        stats.deflate_saved_bytes.add(outcome.saved_bytes as u64);
    }
    if outcome.refused_frames > 0 {
        let stats = core.stats();
        stats.slow_actions[SlowAction::DropNewest as usize].add(1);
        stats.dropped_frames.add(outcome.refused_frames);
    }
    for key in outcome.panicked {
        core.stats().endpoint_panics.add(1);
        core.doom(key, CloseReason::EndpointPanic);
    }
    for key in outcome.lagging {
        slow::enforce(core, key);
    }
}
