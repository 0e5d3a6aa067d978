//! Clients that read too slowly: the bounds of their outboxes, and what happens past them.
//!
//! A policy acts only on a connection whose last send would have blocked: what waits for any other
//! goes out in this turn.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};

use super::clock::{Tick, ticks_of};
use super::close_reason::CloseReason;
use super::connection::{Connection, Key, Phase};
use super::core::Core;
use super::settings::{SlowClient, SlowPolicy};
use super::stats::SlowAction;
use crate::fanout::ConnectionId;
use crate::fanout::outbox::Dropped;
use crate::fanout::room::EndpointId;
use crate::fanout::segment::Segment;
use crate::limits::{LAGGING_SHOWN_MAX, TICK};

/// Whether `drop_newest` keeps `more_bytes` from being queued.
pub(super) fn refuses(connection: &Connection, slow: &SlowClient, more_bytes: usize) -> bool {
    slow.policy == SlowPolicy::DropNewest
        && !connection.is_writable
        && connection.outbox.bytes() + more_bytes > slow.outbox_bytes
}

/// Which bound an outbox is over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Bytes,
    Age,
}

/// Whether the connection is over a bound for which it is closed.
pub(super) fn is_to_be_closed(core: &mut Core, key: Key) -> bool {
    let now = core.clock.tick();
    let settings = Arc::clone(&core.endpoint_settings);
    let connection = core.connection(key);
    connection.is_some_and(|connection| {
        let slow = &settings[usize::from(connection.endpoint.0)].slow_client;
        slow.policy == SlowPolicy::Disconnect
            && connection.phase == Phase::Open
            && over(connection, slow, now).is_some()
    })
}

/// Acts on the connection where its outbox is over a bound.
pub(super) fn enforce(core: &mut Core, key: Key) {
    let now = core.clock.tick();
    let settings = Arc::clone(&core.endpoint_settings);
    let Some(connection) = core.connection(key) else {
        return;
    };
    if connection.is_writable || connection.phase != Phase::Open || connection.is_doomed {
        return;
    }
    let slow = &settings[usize::from(connection.endpoint.0)].slow_client;
    let Some(over) = over(connection, slow, now) else {
        return;
    };
    let (action, dropped) = act(connection, slow, now);
    let still_over = self::over(connection, slow, now);
    let is_final = action == SlowAction::Disconnect
        // A policy that has nothing left to drop. By age that is no end: what remains then is a
        // frame that is partly sent, and the policy was chosen for clients that come back late.
        || (still_over == Some(Over::Bytes)
            && dropped.frames == 0
            && action != SlowAction::DropNewest);
    count(core, action, dropped);
    if is_final {
        if action != SlowAction::Disconnect {
            count(core, SlowAction::Disconnect, Dropped::default());
        }
        let reason = match over {
            Over::Bytes => CloseReason::SlowBytes,
            Over::Age => CloseReason::SlowAge,
        };
        core.doom(key, reason);
    }
}

fn over(connection: &Connection, slow: &SlowClient, now: Tick) -> Option<Over> {
    if connection.outbox.bytes() > slow.outbox_bytes {
        return Some(Over::Bytes);
    }
    let oldest = connection.outbox.oldest_tick()?;
    is_too_old(oldest, slow, now).then_some(Over::Age)
}

fn is_too_old(tick: Tick, slow: &SlowClient, now: Tick) -> bool {
    slow.outbox_age > Duration::ZERO && now.saturating_sub(tick) > ticks_of(slow.outbox_age)
}

fn act(connection: &mut Connection, slow: &SlowClient, now: Tick) -> (SlowAction, Dropped) {
    match slow.policy {
        SlowPolicy::Disconnect => (SlowAction::Disconnect, Dropped::default()),
        SlowPolicy::DropOldest => {
            let is_over = |bytes, tick| bytes > slow.outbox_bytes || is_too_old(tick, slow, now);
            (
                SlowAction::DropOldest,
                connection.outbox.drop_oldest(is_over),
            )
        }
        // What is new was refused already; what is too old is of no use to anybody.
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

/// Looks at every connection whose last send would have blocked. Called once a tick.
pub(super) fn sweep_lagging(core: &mut Core) {
    let mut oldest = None;
    let mut lagging = std::mem::take(&mut core.lagging);
    lagging.retain(|key| {
        let Some(connection) = core.connection(*key) else {
            return false;
        };
        if connection.is_writable || connection.phase == Phase::Dead {
            connection.is_lagging = false;
            return false;
        }
        let tick = connection.outbox.oldest_tick();
        oldest = oldest.min(tick).or(tick).or(oldest);
        enforce(core, *key);
        true
    });
    lagging.append(&mut core.lagging);
    core.lagging = lagging;
    let age = oldest.map_or(0, |tick: Tick| core.clock.tick().saturating_sub(tick));
    core.stats()
        .outbox_age_ms
        .set(u64::from(age) * TICK.as_millis() as u64);
}

/// A client whose last send would have blocked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaggingClient {
    /// The connection.
    pub connection: ConnectionId,
    /// Its client's address.
    pub peer: SocketAddr,
    /// The endpoint that it is connected to.
    pub endpoint: EndpointId,
    /// How long the oldest of what waits for it has waited.
    pub age: Duration,
    /// Bytes that wait for it.
    pub outbox_bytes: usize,
}

/// The clients that lag behind on one shard, as of its last sweep.
#[derive(Default, Debug)]
pub(super) struct Lagging {
    pub(super) count: usize,
    /// Those of them that have waited longest, the first of all first.
    pub(super) oldest: Vec<LaggingClient>,
}

/// Notes who lags behind, for whoever asks. Called once a sweep; where nobody does it costs
/// nothing.
pub(super) fn note_lagging(core: &Core) {
    let noted = &core.doors.doors[usize::from(core.id)].lagging;
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
            peer: connection.peer,
            endpoint: connection.endpoint,
            age: TICK * core.clock.tick().saturating_sub(tick),
            outbox_bytes: connection.outbox.bytes(),
        }
    });
    noted.oldest = shown.collect();
}

/// Keeps the process within its memory for live buffers. Over half of it, what lagging connections
/// wait for is copied out, so that it no longer holds larger buffers; over the whole, the holders
/// of the oldest frames are closed.
pub(super) fn relieve_memory(core: &mut Core) {
    let max = core.settings.process_bytes_max;
    if core.doors.live.now() <= max / 2 {
        return;
    }
    copy_out(core);
    if core.doors.live.now() <= max {
        return;
    }
    let mut holders: Vec<(Tick, Key)> = Vec::new();
    for key in core.lagging.clone() {
        let Some(connection) = core.connection(key) else {
            continue;
        };
        if !connection.is_doomed
            && let Some(tick) = connection.outbox.oldest_tick()
        {
            holders.push((tick, key));
        }
    }
    holders.sort_unstable_by_key(|(tick, _)| *tick);
    // What they hold together may be shared, so only dropping it shows what it frees.
    for (_, key) in holders {
        if core.doors.live.now() <= max {
            break;
        }
        if let Some(connection) = core.connection(key) {
            let dropped = connection.outbox.clear(true);
            count(core, SlowAction::Disconnect, Dropped::default());
            core.stats().dropped_frames.add(u64::from(dropped.frames));
            core.doom(key, CloseReason::SlowMemory);
        }
    }
}

/// A part of a segment, by the segment's address.
type Part = (usize, u32, u32);

/// Copies what lagging connections wait for out of larger buffers: each part once for all of them,
/// and only where all parts of a buffer together are smaller than it is.
fn copy_out(core: &mut Core) {
    let gains = gains(core);
    // The original is kept until all are copied: its address must not be used again.
    let mut copies: FxHashMap<Part, (Rc<Segment>, Rc<Segment>)> = FxHashMap::default();
    let stats = &core.doors.doors[usize::from(core.id)].stats;
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

/// The segments, by address, of which copies take less than they do. Many clients that are at
/// different places of one large frame share it; a copy for each of them would be worse.
fn gains(core: &Core) -> FxHashSet<usize> {
    let mut seen: FxHashSet<Part> = FxHashSet::default();
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
                let whole = segment.buffer.bytes().len();
                let left = left.entry(address).or_insert(whole);
                *left = left.saturating_sub((end - start) as usize);
            }
        }
    }
    left.retain(|_, left| *left > 0);
    left.into_keys().collect()
}
