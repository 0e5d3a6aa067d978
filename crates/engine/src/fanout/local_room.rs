//! One shard's members of a room, and the frames that they have yet to get.
//!
//! Runs are accepted strictly in ticket order; a run that arrives early waits for its predecessor.
//! Delivery goes round the members in a circle, a bounded number at a time. Each visit gives a
//! member everything that came since its last visit, so frames that arrive while a large room is
//! being served join the same send.

use std::collections::vec_deque::Iter;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::Recipients;
use super::batch::{Addressed, Run};
use super::meter::{Charge, Meter};
use super::room::Room;
use super::segment::Segment;

/// A run that this shard has accepted.
#[derive(Clone)]
pub struct LocalRun {
    /// The frames in the form that every member can read.
    pub plain: Encoding,
    /// The same frames, each deflated if that makes it smaller, with the smallest window that can
    /// inflate all of them (see [`super::batch::Deflated`]).
    pub deflated: Option<(Encoding, u8)>,
    /// The number of frames.
    pub frames: u32,
    /// The recipients of the frames; `None` if every frame is for all members.
    pub recipients: Option<Arc<[Addressed]>>,
}

/// The frames of a run in one of their forms.
#[derive(Clone, Debug)]
pub struct Encoding {
    /// The shard's handle to their buffer.
    pub segment: Rc<Segment>,
    /// Their range in it.
    pub bytes: Range<u32>,
    /// The first frame's number in the buffer.
    pub first_frame: u32,
}

impl Encoding {
    /// The range in the buffer of `frames` of the run, which must not be empty.
    pub fn bytes_of(&self, frames: &Range<u32>) -> Range<u32> {
        debug_assert!(frames.start < frames.end);
        let buffer = &self.segment.buffer;
        let first = buffer.frame_range(self.first_frame + frames.start);
        let last = buffer.frame_range(self.first_frame + frames.end - 1);
        first.start..last.end
    }
}

impl LocalRun {
    /// The form for a member that can inflate with a window of `window_bits`; 0: it cannot inflate.
    #[inline]
    pub fn encoding_for(&self, window_bits: u8) -> &Encoding {
        match &self.deflated {
            Some((deflated, needed_bits)) if *needed_bits <= window_bits => deflated,
            _ => &self.plain,
        }
    }

    /// The bytes of the run in both forms.
    fn held_bytes(&self) -> usize {
        let deflated = self.deflated.as_ref();
        self.plain.bytes.len() + deflated.map_or(0, |(deflated, _)| deflated.bytes.len())
    }

    /// The recipients of frame number `frame` of the run.
    pub fn recipients_of(&self, frame: u32) -> &Recipients {
        let mut addressed = self.addressed_from(frame);
        addressed
            .next()
            .map_or(&Recipients::All, |each| &each.recipients)
    }

    /// The groups of frames with equal recipients that end after frame number `frame`.
    fn addressed_from(&self, frame: u32) -> std::slice::Iter<'_, Addressed> {
        let all = self.recipients.as_deref().unwrap_or_default();
        all[all.partition_point(|each| each.end <= frame)..].iter()
    }

    /// The next consecutive frames, from number `from` on, that one member gets. `is_for` tells
    /// whether the member is among the recipients. It has been asked about the group behind the
    /// result too, so the caller goes on after that group.
    pub fn next_stretch(
        &self,
        from: u32,
        mut is_for: impl FnMut(&Recipients) -> bool,
    ) -> Option<Range<u32>> {
        if self.recipients.is_none() {
            return (from < self.frames).then_some(from..self.frames);
        }
        let mut is_for = |each: &&Addressed| is_for(&each.recipients);
        let mut start = from;
        let mut addressed = self.addressed_from(from);
        let first = addressed.find(|each| {
            let is_first = is_for(each);
            if !is_first {
                start = each.end;
            }
            is_first
        })?;
        let last = addressed.take_while(is_for).last().unwrap_or(first);
        Some(start..last.end)
    }
}

/// A run that waits for an earlier ticket. Dropping `hold` when the wait is over gives the run's
/// bytes back to its mailbox.
struct Held<Hold> {
    run: Run,
    held_since_tick: u32,
    hold: Hold,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    connection: u32,
    /// The number of the first run that the member has not got.
    next_run: u32,
}

/// The result of accepting a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accepted {
    /// It was next in order: it and the runs that waited for it can be delivered.
    Now,
    /// It waits for an earlier one.
    Held,
    /// It precedes the first member of this shard.
    Stale,
}

/// A member's place among those of its shard, until it or one before it leaves. It is the index of
/// neither a room nor a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberSeat(u32);

impl MemberSeat {
    /// The seat at `index`.
    #[inline]
    pub fn new(index: usize) -> MemberSeat {
        MemberSeat(index as u32)
    }

    /// Its place, from 0.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A member whose seat changed because another member left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moved {
    /// The member's connection.
    pub connection: u32,
    /// Its new seat.
    pub seat: MemberSeat,
}

/// One shard's members of a room.
pub struct LocalRoom<Hold> {
    /// The part that all shards share.
    pub room: Arc<Room>,
    next_ticket: u64,
    held: BTreeMap<u64, Held<Hold>>,
    /// Runs that at least one member has not got.
    runs: VecDeque<LocalRun>,
    /// The number of the first of them. Numbers wrap.
    first_run: u32,
    members: Vec<Member>,
    /// The member to visit next.
    cursor: usize,
    /// Visits until every member has every run.
    visits_pending: usize,
    /// The number of the next run at the start of this lap. Once the cursor wraps, every member has
    /// all earlier runs.
    lap_run: u32,
    /// The bytes of `runs`.
    pending_bytes: usize,
    meter: Rc<Meter>,
    /// The memory of `runs` on the meter, if it exceeds what a room keeps anyway.
    charge: Option<Box<Charge>>,
}

/// Runs that an idle room keeps memory for.
const KEPT_RUNS: usize = 64;

impl<Hold: Clone> LocalRoom<Hold> {
    /// A room on the shard of this `meter`. It gets every frame from `first_ticket` on.
    pub fn new(room: Arc<Room>, first_ticket: u64, meter: &Rc<Meter>) -> LocalRoom<Hold> {
        LocalRoom {
            room,
            next_ticket: first_ticket,
            held: BTreeMap::new(),
            runs: VecDeque::new(),
            first_run: 0,
            members: Vec::new(),
            cursor: 0,
            visits_pending: 0,
            lap_run: 0,
            pending_bytes: 0,
            meter: Rc::clone(meter),
            charge: None,
        }
    }

    /// Members on this shard.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// The members' connections, in no particular order.
    pub fn connections(&self) -> impl Iterator<Item = u32> {
        self.members.iter().map(|member| member.connection)
    }

    /// The ticket of the run that will be accepted next.
    pub fn next_ticket(&self) -> u64 {
        self.next_ticket
    }

    /// Whether the member at `place` has got every run before number `run`. Run numbers wrap, so
    /// the sign of the difference decides.
    pub fn has_got(&self, seat: MemberSeat, run: u32) -> bool {
        let next_run = self.members[seat.index()].next_run;
        next_run.wrapping_sub(run).cast_signed() >= 0
    }

    /// Whether at least one member has frames to get.
    pub fn is_pending(&self) -> bool {
        self.visits_pending > 0
    }

    /// The bytes of frames that at least one member has not got.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Runs that wait for an earlier ticket.
    pub fn held_runs(&self) -> usize {
        self.held.len()
    }

    /// The holds of those runs.
    pub fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.held.values().map(|held| &held.hold)
    }

    /// Since when the oldest of those runs has waited, in ticks of the shard's clock.
    pub fn held_since_tick(&self) -> Option<u32> {
        self.held.values().map(|held| held.held_since_tick).min()
    }

    /// Adds a member, which gets every frame that is accepted from now on. Returns its seat.
    pub fn join(&mut self, connection: u32) -> MemberSeat {
        let seat = MemberSeat::new(self.members.len());
        self.members.push(Member {
            connection,
            next_run: self.next_run(),
        });
        // The new member is last in the circle, so visits that wrap around pass it on their way.
        self.visits_pending += usize::from(self.visits_pending > 0);
        self.check_invariants();
        seat
    }

    /// Removes the member at `place`. Up to two other members move: the last member that was
    /// visited in this lap fills the hole, and the last member of all takes that one's seat. So the
    /// members before the cursor stay those that were visited.
    pub fn leave(&mut self, seat: MemberSeat) -> [Option<Moved>; 2] {
        let mut hole = seat.index();
        let mut moved = [None; 2];
        debug_assert!(hole < self.members.len());
        if hole < self.cursor {
            self.cursor -= 1;
            moved[0] = self.move_member(self.cursor, hole);
            hole = self.cursor;
        }
        moved[1] = self.move_member(self.members.len() - 1, hole);
        self.members.pop();
        // The member that moved to the cursor may be the last one to be visited. A visit too many
        // does no harm: it finds that the member has everything.
        if self.visits_pending > 0 {
            self.visits_pending = self.members.len().min(self.visits_pending + 1);
        }
        if self.visits_pending == 0 {
            self.forget_runs();
        }
        if self.members.len() * 4 < self.members.capacity() && self.members.capacity() > 64 {
            self.members.shrink_to(self.members.len() * 2);
        }
        self.check_invariants();
        moved
    }

    fn move_member(&mut self, from: usize, to: usize) -> Option<Moved> {
        if from == to {
            return None;
        }
        self.members[to] = self.members[from];
        Some(Moved {
            connection: self.members[to].connection,
            seat: MemberSeat::new(to),
        })
    }

    /// Accepts a run. `hold` is called only if the run has to wait.
    pub fn accept(&mut self, run: &Run, now_tick: u32, hold: impl FnOnce() -> Hold) -> Accepted {
        if run.first_ticket < self.next_ticket {
            debug_assert!(
                run.first_ticket + u64::from(run.frames) <= self.next_ticket,
                "a run straddles the shard's first ticket"
            );
            return Accepted::Stale;
        }
        if run.first_ticket > self.next_ticket {
            let held = Held {
                run: run.clone(),
                held_since_tick: now_tick,
                hold: hold(),
            };
            let before = self.held.insert(run.first_ticket, held);
            debug_assert!(before.is_none(), "two runs with one ticket");
            return Accepted::Held;
        }
        self.append(run, now_tick);
        while let Some(next) = self.held.first_entry()
            && *next.key() == self.next_ticket
        {
            let held = next.remove();
            self.append(&held.run, now_tick);
        }
        self.visits_pending = self.members.len();
        self.check_invariants();
        Accepted::Now
    }

    fn append(&mut self, run: &Run, now_tick: u32) {
        self.next_ticket += u64::from(run.frames);
        let segment =
            |buffer| Segment::new(Arc::clone(buffer), run.received_ns, now_tick, &self.meter);
        let deflated = run.deflated.as_ref().map(|deflated| {
            let encoding = Encoding {
                segment: segment(&deflated.buffer),
                bytes: 0..deflated.buffer.bytes().len() as u32,
                first_frame: 0,
            };
            (encoding, deflated.window_bits)
        });
        let local = LocalRun {
            plain: Encoding {
                segment: segment(&run.buffer),
                bytes: run.bytes.clone(),
                first_frame: run.first_frame,
            },
            deflated,
            frames: run.frames,
            recipients: run.recipients.clone(),
        };
        self.pending_bytes += local.held_bytes();
        let capacity = self.runs.capacity();
        self.runs.push_back(local);
        if self.runs.capacity() != capacity && self.runs.capacity() > KEPT_RUNS {
            let bytes = self.runs.capacity() * size_of::<LocalRun>();
            let charge = || Box::new(Charge::new(&self.meter));
            self.charge.get_or_insert_with(charge).set(bytes);
        }
    }

    /// Visits up to `visits_max` members. `visit` gets the connection and the runs that the member
    /// has not got; if it returns false, the member can take nothing at the moment and stays the
    /// next one to be visited. Returns the number of visits.
    pub fn deliver(
        &mut self,
        visits_max: usize,
        mut visit: impl FnMut(u32, Iter<'_, LocalRun>) -> bool,
    ) -> usize {
        let next_run = self.next_run();
        let visits_max = visits_max.min(self.visits_pending);
        let mut visits = 0;
        while visits < visits_max {
            if self.cursor == self.members.len() {
                self.begin_lap();
            }
            let member = &mut self.members[self.cursor];
            let got = member.next_run.wrapping_sub(self.first_run) as usize;
            if got < self.runs.len() && !visit(member.connection, self.runs.range(got..)) {
                break;
            }
            member.next_run = next_run;
            self.cursor += 1;
            visits += 1;
        }
        self.visits_pending -= visits;
        if self.visits_pending == 0 {
            self.forget_runs();
        }
        self.check_invariants();
        visits
    }

    /// Visits the member at `seat` alone, out of turn.
    pub fn deliver_to(&mut self, seat: MemberSeat, visit: impl FnOnce(u32, Iter<'_, LocalRun>)) {
        let next_run = self.next_run();
        let member = &mut self.members[seat.index()];
        let got = member.next_run.wrapping_sub(self.first_run) as usize;
        member.next_run = next_run;
        if got < self.runs.len() {
            visit(member.connection, self.runs.range(got..));
        }
    }

    /// Returns all runs that the only member has not got, with the ticket of the first frame.
    pub fn take_runs(&mut self) -> (u64, VecDeque<LocalRun>) {
        debug_assert!(self.members.len() == 1, "the runs of several members");
        let next_run = self.next_run();
        let runs = std::mem::take(&mut self.runs);
        self.members
            .iter_mut()
            .for_each(|member| member.next_run = next_run);
        (self.first_run, self.lap_run) = (next_run, next_run);
        (self.visits_pending, self.pending_bytes) = (0, 0);
        self.charge = None;
        self.check_invariants();
        let frames: u64 = runs.iter().map(|run| u64::from(run.frames)).sum();
        (self.next_ticket - frames, runs)
    }

    /// The cursor is back at the first member, so every member was visited in the last lap and has
    /// all runs that existed when that lap began: those are dropped.
    ///
    /// Without this, a room that is published to all the time would keep its runs for ever, since
    /// there is never a moment at which every member has everything (`visits_pending` is 0). With
    /// it, a run lives for two laps at most.
    fn begin_lap(&mut self) {
        self.cursor = 0;
        let done = self.lap_run.wrapping_sub(self.first_run) as usize;
        if done <= self.runs.len() {
            let drained = self.runs.drain(..done);
            self.pending_bytes -= drained.map(|run| run.held_bytes()).sum::<usize>();
            self.first_run = self.lap_run;
        }
        self.lap_run = self.next_run();
    }

    fn forget_runs(&mut self) {
        self.first_run = self.next_run();
        self.lap_run = self.first_run;
        self.runs.clear();
        self.pending_bytes = 0;
        if self.runs.capacity() > KEPT_RUNS {
            self.runs.shrink_to_fit();
            self.charge = None;
        }
    }

    /// The number that the next run gets.
    pub fn next_run(&self) -> u32 {
        self.first_run.wrapping_add(self.runs.len() as u32)
    }

    fn check_invariants(&self) {
        debug_assert!(self.cursor <= self.members.len());
        debug_assert!(self.visits_pending <= self.members.len());
        debug_assert!(self.visits_pending > 0 || self.runs.is_empty());
        debug_assert!(
            self.held
                .keys()
                .next()
                .is_none_or(|first| *first > self.next_ticket)
        );
    }
}

#[cfg(test)]
mod tests;
