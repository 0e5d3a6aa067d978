//! Clients that read too slowly: the bounds of their outboxes and of the memory of all outboxes,
//! and the action if they are exceeded.
//!
//! A policy applies only to a connection whose last send would have blocked: everything that waits
//! for others is sent in this turn.

use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};

use super::connection::{Connection, Phase};
use super::core::Core;
use crate::clock::{Tick, ticks_of};
use crate::engine::close_reason::CloseReason;
use crate::engine::holders::Turn;
use crate::engine::ids::Key;
use crate::engine::lagging::{LaggingClient, PartOf};
use crate::engine::settings::{SlowClient, SlowPolicy};
use crate::engine::stats::SlowAction;
use crate::fanout::outbox::{Dropped, Outbox};
use crate::fanout::segment::Segment;
use crate::limits::{
    LAGGING_CLIENTS_PER_TURN, LAGGING_SHOWN_MAX, LAGGING_SLICES_PER_TURN, LATEST_SLICES_MIN, TICK,
};

/// Whether `drop_newest` refuses to queue `more_bytes`.
pub(super) fn refuses(connection: &Connection, slow: &SlowClient, more_bytes: usize) -> bool {
    slow.policy == SlowPolicy::DropNewest
        && !connection.is_writable
        && connection.outbox.cost() + more_bytes > slow.outbox_bytes
}

/// The bound that an outbox exceeds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Bytes,
    Age,
}

/// Whether the connection exceeds a bound for which it is closed.
pub(super) fn is_to_be_closed(core: &Core, key: Key) -> bool {
    let connection = core.connections.get(key.index as usize);
    let connection = connection.filter(|each| each.generation == key.generation);
    connection.is_some_and(|connection| {
        let slow = &core.endpoint_settings[usize::from(connection.endpoint.0)].slow_client;
        slow.policy == SlowPolicy::Disconnect
            && connection.phase == Phase::Open
            && over_bytes(connection, slow).is_some()
    })
}

/// Applies the policy if the outbox exceeds the bound in bytes. The sweep checks its age, to the
/// resolution of a tick.
pub(super) fn enforce(core: &mut Core, key: Key) {
    note_growth(core, key);
    let bounds = |connection: &Connection, slow: &SlowClient| over_bytes(connection, slow);
    enforce_bounds(core, key, bounds);
}

/// Records the size of the connection's outbox, which may now be the largest.
pub(super) fn note_growth(core: &Core, key: Key) {
    let connection = core.connections.get(key.index as usize);
    let connection = connection.filter(|each| !each.is_writable && !each.is_close_scheduled);
    if let Some(connection) = connection {
        let bytes = connection.outbox.cost() + connection.open_bytes();
        core.shared.waiting_holders.grown(core.id, bytes);
    }
}

fn enforce_bounds(
    core: &mut Core,
    key: Key,
    over: impl Fn(&Connection, &SlowClient) -> Option<Over>,
) {
    let now = core.clock.tick();
    let Some(connection) = core.connections.get_mut(key.index as usize) else {
        return;
    };
    let is_open = connection.generation == key.generation && connection.phase == Phase::Open;
    if connection.is_writable || !is_open || connection.is_close_scheduled {
        return;
    }
    let slow = &core.endpoint_settings[usize::from(connection.endpoint.0)].slow_client;
    let Some(over) = over(connection, slow) else {
        return;
    };
    let (action, dropped) = act(connection, slow, now);
    // The policy has nothing left to drop, so the connection is closed. Not so if only the age is
    // over its bound: the rest is a frame that is partly sent, and the policy was chosen for
    // clients that come back late.
    let is_final = action == SlowAction::Disconnect
        || (action != SlowAction::DropNewest && over_bytes(connection, slow).is_some())
        || (action == SlowAction::LatestOnly && is_in_vain(&connection.outbox, slow));
    count(core, action, dropped);
    if is_final {
        if action != SlowAction::Disconnect {
            count(core, SlowAction::Disconnect, Dropped::default());
        }
        let reason = match over {
            Over::Bytes => CloseReason::SlowBytes,
            Over::Age => CloseReason::SlowAge,
        };
        core.schedule_close(key, reason);
    }
}

fn over_bytes(connection: &Connection, slow: &SlowClient) -> Option<Over> {
    (connection.outbox.cost() > slow.outbox_bytes).then_some(Over::Bytes)
}

fn over_bytes_or_age(connection: &Connection, slow: &SlowClient, now: Tick) -> Option<Over> {
    let over_age = || {
        let oldest = connection.outbox.oldest_tick()?;
        is_too_old(oldest, slow, now).then_some(Over::Age)
    };
    let over = over_bytes(connection, slow).or_else(over_age)?;
    let is_of_use = over == Over::Bytes
        || slow.policy != SlowPolicy::LatestOnly
        || connection.outbox.may_have_stale();
    is_of_use.then_some(over)
}

fn is_too_old(tick: Tick, slow: &SlowClient, now: Tick) -> bool {
    slow.outbox_age > Duration::ZERO && now.saturating_sub(tick) > ticks_of(slow.outbox_age)
}

/// Whether the latest frames alone are so many, and so close to the bound, that almost every
/// further frame would walk over all of them.
fn is_in_vain(outbox: &Outbox, slow: &SlowClient) -> bool {
    outbox.slices() > LATEST_SLICES_MIN && outbox.cost() > slow.outbox_bytes / 8 * 7
}

fn act(connection: &mut Connection, slow: &SlowClient, now: Tick) -> (SlowAction, Dropped) {
    match slow.policy {
        SlowPolicy::Disconnect => (SlowAction::Disconnect, Dropped::default()),
        SlowPolicy::DropOldest => {
            let is_over = |cost, tick| cost > slow.outbox_bytes || is_too_old(tick, slow, now);
            (
                SlowAction::DropOldest,
                connection.outbox.drop_oldest(is_over),
            )
        }
        // New frames were refused already; frames that are too old are useless to the client.
        SlowPolicy::DropNewest => {
            let is_over = |_, tick| is_too_old(tick, slow, now);
            (
                SlowAction::DropNewest,
                connection.outbox.drop_oldest(is_over),
            )
        }
        SlowPolicy::LatestOnly => (SlowAction::LatestOnly, connection.outbox.keep_latest()),
    }
}

fn count(core: &Core, action: SlowAction, dropped: Dropped) {
    let stats = core.stats();
    if action == SlowAction::Disconnect || dropped.frames > 0 {
        stats.slow_actions[action as usize].add(1);
    }
    stats.dropped_frames.add(u64::from(dropped.frames));
}

/// Begins a sweep, unless the last one is still in progress. Called once a tick.
pub(in crate::engine) fn begin_sweep(core: &mut Core) {
    if !core.sweep.is_under_way() {
        core.sweep.next = Some(0);
    }
}

/// Goes on with the sweep: merges small slices, and applies the policy to clients over a bound.
/// Called once a turn.
pub(super) fn sweep_lagging(core: &mut Core) {
    let Some(mut next) = core.sweep.next else {
        return;
    };
    let (mut clients, mut slices) = (0, 0);
    while let Some(key) = core.lagging.get(next).copied() {
        if clients == LAGGING_CLIENTS_PER_TURN || slices >= LAGGING_SLICES_PER_TURN {
            core.sweep.next = Some(next);
            return;
        }
        clients += 1;
        match sweep_client(core, key) {
            Some(looked_at) => {
                slices += looked_at;
                next += 1;
            }
            None => {
                core.lagging.swap_remove(next);
            }
        }
    }
    let oldest = std::mem::take(&mut core.sweep).oldest;
    let age = oldest.map_or(0, |tick| core.clock.tick().saturating_sub(tick));
    core.stats()
        .outbox_age_ms
        .set(u64::from(age) * TICK.as_millis() as u64);
}

/// Returns the number of slices visited; `None` if the client no longer lags behind.
fn sweep_client(core: &mut Core, key: Key) -> Option<usize> {
    let now = core.clock.tick();
    let connection = core.connections.get_mut(key.index as usize);
    let connection = connection.filter(|each| each.generation == key.generation)?;
    if connection.is_writable || connection.phase == Phase::Dead {
        connection.is_lagging = false;
        return None;
    }
    let tick = connection.outbox.oldest_tick();
    core.sweep.oldest = core.sweep.oldest.min(tick).or(tick).or(core.sweep.oldest);
    let slow = &core.endpoint_settings[usize::from(connection.endpoint.0)].slow_client;
    // A merged slice no longer tells which rooms its frames came from.
    let is_mixed = slow.policy != SlowPolicy::LatestOnly;
    let joined = &mut core.sweep.joined;
    let looked_at = connection
        .outbox
        .coalesce(now, is_mixed, |parts| joined.of(parts));
    enforce_bounds(core, key, |connection, slow| {
        over_bytes_or_age(connection, slow, now)
    });
    Some(looked_at)
}

/// Records the clients that lag behind, for reports. Called once a sweep; costs nothing if no
/// client does.
pub(in crate::engine) fn note_lagging(core: &Core) {
    let noted = &core.shared.handles[usize::from(core.id)].lagging;
    let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
    if noted.count == 0 && core.lagging.is_empty() {
        return;
    }
    let mut oldest: Vec<(Tick, Key)> = Vec::new();
    noted.count = 0;
    for key in &core.lagging {
        let connection = core.connections.get(key.index as usize);
        let connection = connection.filter(|each| each.generation == key.generation);
        let Some(tick) = connection.and_then(|each| each.outbox.oldest_tick()) else {
            continue;
        };
        noted.count += 1;
        let place = oldest.partition_point(|(other, _)| *other <= tick);
        if place < LAGGING_SHOWN_MAX {
            oldest.truncate(LAGGING_SHOWN_MAX - 1);
            oldest.insert(place, (tick, *key));
        }
    }
    let shown = oldest.into_iter().map(|(tick, key)| {
        let connection = &core.connections[key.index as usize];
        LaggingClient {
            connection: core.connection_id(key),
            peer: connection.peer(),
            endpoint: connection.endpoint,
            age: TICK * core.clock.tick().saturating_sub(tick),
            outbox_bytes: connection.outbox.bytes(),
        }
    });
    noted.oldest = shown.collect();
}

/// Keeps the memory of all outboxes within the bound of the process. Called once a turn, after the
/// shard has published what it holds. Above half of the bound, parts that lagging connections wait
/// for are copied out, so that they no longer keep larger buffers in memory. Above the bound, the
/// largest holder of all shards is closed.
pub(super) fn relieve_memory(core: &mut Core) {
    if core.shared.process_bytes() <= core.settings.process_bytes_max / 2 {
        return;
    }
    let tick = core.clock.tick();
    if core.copied_out_tick != tick {
        core.copied_out_tick = tick;
        copy_out(core);
        core.publish_metered();
    }
    if is_over(core) {
        let_largest_go(core);
    }
}

fn is_over(core: &Core) -> bool {
    core.shared.process_bytes() > core.settings.process_bytes_max
}

#[cold]
fn let_largest_go(core: &mut Core) {
    let shared = Arc::clone(&core.shared);
    match shared.waiting_holders.turn() {
        None => return,
        Some(other) if other != core.id => {
            shared.wake(other);
            return;
        }
        Some(_) => {}
    }
    core.shrink_buffers();
    copy_out(core);
    core.publish_metered();
    let mut relief = shared.waiting_holders.relief(core.id, holders(core));
    while is_over(core) {
        match relief.next() {
            Turn::Own(key) => let_go(core, key),
            Turn::Other(shard) => {
                shared.wake(shard);
                return;
            }
            Turn::Nobody => return,
        }
    }
}

/// How the buffers that lagging connections wait for are spread over shards.
#[derive(Default)]
struct Spread {
    /// The number of segments of each buffer that are waited for on this shard, by the buffer's
    /// address: one for each room with frames in it.
    segments: FxHashMap<usize, usize>,
}

impl Spread {
    fn of(core: &Core) -> Spread {
        let mut spread = Spread::default();
        let mut seen: FxHashSet<usize> = FxHashSet::default();
        let connections = core.lagging.iter().filter_map(|key| {
            let connection = core.connections.get(key.index as usize)?;
            (connection.generation == key.generation).then_some(connection)
        });
        for segment in connections.flat_map(|connection| connection.outbox.segments()) {
            if seen.insert(Rc::as_ptr(segment) as usize) {
                let buffer = Arc::as_ptr(&segment.buffer) as usize;
                *spread.segments.entry(buffer).or_default() += 1;
            }
        }
        spread
    }

    /// An estimate of the number of shards that hold the segment's buffer, if each has a segment
    /// for the same rooms.
    fn shards(&self, segment: &Segment) -> usize {
        let buffer = Arc::as_ptr(&segment.buffer) as usize;
        let here = self.segments.get(&buffer).copied().unwrap_or(1);
        (Arc::strong_count(&segment.buffer) / here).max(1)
    }
}

/// The connections that lag behind, each with the bytes that closing it would free on average.
/// Memory that several hold is divided among them.
fn holders(core: &Core) -> Vec<(usize, Key)> {
    let spread = Spread::of(core);
    let share = |key: &Key| {
        let connection = core.connections.get(key.index as usize)?;
        let is_there = connection.generation == key.generation && connection.phase != Phase::Dead;
        let is_holder = is_there && !connection.is_close_scheduled && !connection.is_writable;
        let share = connection.waiting_share(|segment| spread.shards(segment));
        (is_holder && share > 0).then_some((share, *key))
    };
    core.lagging.iter().filter_map(share).collect()
}

/// Closes a connection and frees its memory at once. It gets a Close frame, unless most of what it
/// holds is the rest of a frame that is partly sent. A connection that has its Close frame already,
/// or that speaks HTTP, is cut.
fn let_go(core: &mut Core, key: Key) {
    let Some(connection) = core.connection(key) else {
        return;
    };
    let is_open = connection.phase == Phase::Open;
    let was_counted = connection.was_open() && !is_open;
    let waiting_bytes = connection.outbox.bytes() + connection.unsent_bytes();
    let is_cut = !is_open || connection.open_bytes() > waiting_bytes / 2;
    let mut dropped = connection.outbox.clear(!is_cut);
    if is_cut {
        connection.is_cut = true;
        let is_data = connection.outbox.oldest_tick().is_some();
        dropped.frames += u32::from(is_data);
        connection.outbox = Outbox::default();
        if let Some(tls) = &mut connection.tls {
            tls.forget_unsent();
        }
    }
    match was_counted {
        true => core.stats().dropped_frames.add(u64::from(dropped.frames)),
        false => count(core, SlowAction::Disconnect, dropped),
    }
    core.publish_metered();
    core.schedule_close(key, CloseReason::SlowMemory);
}

/// Copies the parts that lagging connections wait for out of larger buffers: each part once for all
/// of them, and only if all parts of a buffer together are smaller than the buffer.
fn copy_out(core: &mut Core) {
    let gains = gains(core);
    // The original is kept until the end, so that its address is not used again meanwhile.
    let mut copies: FxHashMap<PartOf, (Rc<Segment>, Rc<Segment>)> = FxHashMap::default();
    let stats = &core.shared.handles[usize::from(core.id)].stats;
    for key in &core.lagging {
        let Some(connection) = core
            .connections
            .get_mut(key.index as usize)
            .filter(|connection| connection.generation == key.generation)
        else {
            continue;
        };
        connection.outbox.compact(|segment, start, end| {
            let address = Rc::as_ptr(segment) as usize;
            if !gains.contains(&address) {
                return None;
            }
            let (_, copy) = copies.entry((address, start, end)).or_insert_with(|| {
                stats.slow_actions[SlowAction::CopyOut as usize].add(1);
                let copy = segment.with_copy(segment.buffer.copy_out(start, end));
                (Rc::clone(segment), copy)
            });
            Some(Rc::clone(copy))
        });
    }
}

/// The segments, by address, whose parts take less memory as copies. Clients that are at different
/// places of one large frame share it, and a copy for each of them would take more.
fn gains(core: &Core) -> FxHashSet<usize> {
    let spread = Spread::of(core);
    let mut seen: FxHashSet<PartOf> = FxHashSet::default();
    let mut left: FxHashMap<usize, usize> = FxHashMap::default();
    for key in &core.lagging {
        let Some(connection) = core
            .connections
            .get(key.index as usize)
            .filter(|connection| connection.generation == key.generation)
        else {
            continue;
        };
        for (segment, start, end) in connection.outbox.parts() {
            let address = Rc::as_ptr(segment) as usize;
            if seen.insert((address, start, end)) {
                // The other shards keep it in memory anyway.
                let whole = segment.buffer.bytes().len() / spread.shards(segment);
                let left = left.entry(address).or_insert(whole);
                *left = left.saturating_sub(segment.buffer.own_bytes_in(start, end));
            }
        }
    }
    left.retain(|_, left| *left > 0);
    left.into_keys().collect()
}
