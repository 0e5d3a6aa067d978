//! Delivery of a room's runs into its members' outboxes.

use std::collections::vec_deque::Iter;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::connection::{Connection, Membership, Phase};
use super::core::Core;
use super::slow;
use crate::engine::clients::Clients;
use crate::engine::close_reason::CloseReason;
use crate::engine::ids::Key;
use crate::engine::settings::{EndpointSettings, SlowClient};
use crate::engine::stats::SlowAction;
use crate::fanout::local_room::{Encoding, LocalRun};
use crate::fanout::outbox::Origin;
use crate::fanout::pass::{Served, deliver_pass};
use crate::fanout::{ConnectionId, Recipient, Recipients};
use crate::limits::{
    DELIVER_QUANTUM_NS, MEMBERS_PER_PASS, PRICE_KIB_SENT, PRICE_SEND, PRICE_VISIT,
};
use crate::work::{TurnPhase, price_of_bytes};

/// The result of visits: members that need attention, and the bytes that compression saved.
#[derive(Default)]
struct Outcome {
    /// The bytes that are to be sent now.
    bytes: usize,
    /// The number of connections that have to be sent to because of them.
    sends: u64,
    /// The bytes that compression saved.
    saved_bytes: usize,
    /// Members whose last send would have blocked.
    lagging: Vec<Key>,
    /// Members for which a filter panicked.
    panicked: Vec<Key>,
    /// Frames that `drop_newest` kept from being queued.
    refused_frames: u64,
}

impl Clients {
    /// Gives members their frames: room by room, round robin, with a share of the work each.
    ///
    /// The share keeps a room of a million members from holding up a room of two. A room that is
    /// not finished goes to the end of the queue; frames that arrive meanwhile join its next
    /// visits.
    pub(in crate::engine) fn deliver(&mut self) {
        self.core.settle();
        self.core.work.begin(TurnPhase::Deliver);
        // Nothing here accepts runs, which would add rooms to the queue.
        let mut pending = self.core.exchange.begin_pass();
        deliver_pass(&mut pending, |room| self.serve_room(room));
        self.core.note_cut(!pending.is_empty());
        self.core.exchange.end_pass(pending);
    }

    /// Serves one room: at least one member, and as many as its share of the work allows.
    fn serve_room(&mut self, place: u32) -> Served {
        let end_ns = self.core.work.left_ns() - DELIVER_QUANTUM_NS as i64;
        let mut is_held_up = false;
        while !is_held_up {
            let Some(pending_bytes) = self.core.exchange.pending_bytes_of(place) else {
                break;
            };
            let largest = price_of_bytes(pending_bytes, PRICE_KIB_SENT);
            let visits_max = DELIVER_QUANTUM_NS / (PRICE_VISIT + PRICE_SEND + largest);
            let visits_max = (visits_max as usize).clamp(1, MEMBERS_PER_PASS);
            let Delivered { full, lagging } = deliver_room(&mut self.core, place, visits_max);
            lagging.into_iter().for_each(|key| self.check_lagging(key));
            is_held_up = full.is_some_and(|key| !self.make_room(key));
            let is_pending = self.core.exchange.is_pending(place);
            if !is_pending || self.core.work.is_spent() || self.core.work.left_ns() < end_ns {
                break;
            }
        }
        Served {
            is_pending: self.core.exchange.is_pending(place),
            is_spent: self.core.work.is_spent(),
        }
    }

    /// Applies the policy to a member whose last send would have blocked, if it is over a bound. A
    /// member that would be closed is sent to once more before, since its socket may have room
    /// again.
    fn check_lagging(&mut self, key: Key) {
        if slow::is_to_be_closed(&self.core, key) {
            if let Some(connection) = self.core.connection(key) {
                connection.is_writable = true;
            }
            self.flush_now(key);
        }
        slow::enforce(&mut self.core, key);
    }

    /// Sends to a member for which too much waits already. Returns whether it can get more.
    fn make_room(&mut self, key: Key) -> bool {
        self.flush_now(key);
        let connection = self.core.connection(key);
        connection.is_none_or(|connection| !connection.is_flushed_first())
    }
}

/// The result of visiting members of a room.
#[derive(Default)]
struct Delivered {
    /// The next member, if it must be sent to before it gets more.
    full: Option<Key>,
    /// Members whose last send would have blocked.
    lagging: Vec<Key>,
}

/// Visits up to `visits_max` members of the room at `place`.
fn deliver_room(core: &mut Core, place: u32, visits_max: usize) -> Delivered {
    let Core {
        id,
        exchange,
        connections,
        dirty,
        endpoint_settings,
        ..
    } = core;
    let mut outcome = Outcome::default();
    let mut full = None;
    let visits = exchange.visit(place, visits_max, |index, runs| {
        let connection = &mut connections[index as usize];
        let key = Key {
            index,
            generation: connection.generation,
        };
        if connection.phase != Phase::Open {
            return true;
        }
        let waiting = connection.outbox.bytes();
        if waiting > 0 && connection.is_flushed_first() {
            full = Some(key);
            return false;
        }
        let slow = slow_client(endpoint_settings, connection);
        visit(connection, (*id, index), place, runs, slow, &mut outcome);
        if !connection.is_writable {
            outcome.lagging.push(key);
            return true;
        }
        outcome.bytes += connection.outbox.bytes() - waiting;
        if !connection.is_dirty {
            outcome.sends += 1;
            connection.is_dirty = true;
            match connection.has_much_to_send() {
                true => dirty.push_heavy(key),
                false => dirty.push(key),
            }
        }
        true
    });
    core.work
        .spend(visits as u64 * PRICE_VISIT + outcome.sends * PRICE_SEND);
    core.work.spend_bytes(outcome.bytes, PRICE_KIB_SENT);
    let lagging = std::mem::take(&mut outcome.lagging);
    act_on(core, outcome);
    Delivered { full, lagging }
}

/// Delivers the rest of all its rooms to a member that is about to leave them.
pub(super) fn deliver_rest(core: &mut Core, key: Key) {
    let Core {
        id,
        exchange,
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
        let Membership { room: place, seat } = membership;
        let slow = slow_client(endpoint_settings, connection);
        exchange.visit_seat(place, seat, |index, runs| {
            visit(connection, (*id, index), place, runs, slow, &mut outcome);
        });
    }
    act_on(core, outcome);
}

/// Delivers to one member the runs that it has not got.
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

/// Delivers to one member the frames of a run that are for it. Consecutive frames become one slice.
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

/// Pushes frames of a run to one member, in the form that it can read.
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
                peer: connection.peer(),
                state,
                attachments: connection.extras.attachments(),
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
        core.schedule_close(key, CloseReason::EndpointPanic);
    }
}
