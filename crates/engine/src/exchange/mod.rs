//! How shards work together: each shard's part of the rooms, the frames it publishes to them, and
//! the mail that carries those from shard to shard. A [`Port`] is a participant that is not a
//! shard; what is said of shards here applies to it too.
//!
//! An [`Exchange`] has no thread, socket, clock or connection: members are numbers that its caller
//! assigns. It wakes others through [`wake::Wake`] and never waits. So the simulation
//! (`simulation.rs`) can drive the same code as a shard does, in every order of steps that threads
//! could produce.

mod interconnect;
mod invariants;
mod local_rooms;
mod mailbox;
mod port;
mod sealing;
mod seat;
mod sleep;
mod stats;
mod wake;

use std::collections::VecDeque;
use std::collections::vec_deque::Iter;
use std::rc::Rc;
use std::sync::Arc;

use self::local_rooms::LocalRooms;
use self::mailbox::{Credit, Mail, Mailbox};
use self::sealing::Sealing;
use crate::clock::Tick;
use crate::fanout::Recipients;
use crate::fanout::batch::{BatchBuilder, Run};
use crate::fanout::local_room::{Accepted, LocalRoom, LocalRun, MemberSeat, Moved};
use crate::fanout::meter::Meter;
use crate::fanout::room::{Room, RoomKey};
use crate::fanout::tickets::ShardSet;
use crate::limits::{BATCHES_PER_MAILBOX, PENDING_BYTES_MAX, PRICE_RUN};
use crate::sparse::Sparse as _;
use crate::wire::deflate::Deflater;
use crate::wire::frame::Opcode;
use crate::work::Work;

pub(crate) use self::interconnect::Interconnect;
pub(crate) use self::mailbox::EndpointMail;
pub use self::port::{Delivery, Frame, Port, PortError, PortTurn};
pub(crate) use self::seat::Link;
pub use self::seat::{OpenError, Seat};
pub use self::stats::ExchangeStats;
pub(crate) use self::wake::Sleeper;
pub use self::wake::Wake;

#[cfg(test)]
mod simulation;

/// The point up to which a member has to be served.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// Everything published so far, which is not sealed yet.
    Sealed,
    /// The frames before this ticket.
    Ticket(u64),
    /// The runs before this one of the room on this shard.
    Run(u32),
}

/// One shard's part of the rooms and of the mail.
pub(crate) struct Exchange {
    id: u16,
    interconnect: Arc<Interconnect>,
    stats: Arc<ExchangeStats>,
    /// Counts the memory of the rooms.
    meter: Rc<Meter>,
    rooms: LocalRooms,
    /// Rooms with members that have yet to get frames, round robin. Some may no longer exist.
    pending: VecDeque<u32>,
    /// The bytes of the runs that those members wait for.
    pending_bytes: usize,
    batch: BatchBuilder,
    /// Mail that did not fit into its mailbox, for each shard.
    unsent: Vec<VecDeque<Mail>>,
    /// Counts the shard's own frames that wait for the ticket of another shard.
    own_mailbox: Arc<Mailbox>,
    /// Runs that waited for a ticket were dropped with their room, so their mailboxes have room
    /// again.
    has_freed_mail: bool,
    /// Mail of endpoints that was taken and not handled. It counts in its mailbox until then.
    arrived: VecDeque<(EndpointMail, Rc<Credit>)>,
    /// The shards that have sent their last mail, and whose last mail was taken.
    ended: ShardSet,
}

impl Exchange {
    /// The exchange of shard `id`.
    pub(crate) fn new(
        id: u16,
        interconnect: Arc<Interconnect>,
        stats: Arc<ExchangeStats>,
        meter: Rc<Meter>,
    ) -> Exchange {
        Exchange {
            id,
            stats,
            meter,
            rooms: LocalRooms::new(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            batch: BatchBuilder::new(Arc::clone(&interconnect.live)),
            unsent: (0..interconnect.participants())
                .map(|_| VecDeque::new())
                .collect(),
            own_mailbox: Arc::clone(interconnect.mailbox(id, id)),
            interconnect,
            has_freed_mail: false,
            arrived: VecDeque::new(),
            ended: ShardSet::default(),
        }
    }

    fn others(&self) -> impl Iterator<Item = u16> + use<> {
        let own = self.id;
        (0..self.interconnect.participants()).filter(move |shard| *shard != own)
    }

    /// Gives back memory that grew under load.
    pub(crate) fn shrink(&mut self) {
        self.pending.shrink_sparse();
        for mails in &mut self.unsent {
            mails.shrink_sparse();
        }
    }

    /// Gives back memory that is kept from one batch to the next only for speed.
    pub(crate) fn shrink_batch(&mut self) {
        self.batch.shrink();
    }

    /// The memory of the batch besides its buffers, in bytes.
    #[inline]
    pub(crate) fn batch_bytes(&self) -> usize {
        self.batch.held_bytes()
    }
}

/// Rooms and their members.
impl Exchange {
    /// The place of the room of this name, if the shard has members of it.
    #[inline]
    pub(crate) fn find(&self, key: &RoomKey) -> Option<u32> {
        self.rooms.find(key)
    }

    /// The room at `place`, which has members here.
    #[inline]
    pub(crate) fn room(&self, place: u32) -> &Arc<Room> {
        &self.rooms[place as usize].room
    }

    /// The same for a place that may be vacant by now.
    #[inline]
    pub(crate) fn get_room(&self, place: u32) -> Option<&Arc<Room>> {
        let local = self.rooms.get(place as usize)?;
        Some(&local.room)
    }

    /// Members of the room at `place` on this shard.
    pub(crate) fn local_members(&self, place: u32) -> usize {
        self.rooms[place as usize].members()
    }

    /// The connections of those members, in no particular order.
    pub(crate) fn connections(&self, place: u32) -> impl Iterator<Item = u32> {
        self.rooms[place as usize].connections()
    }

    /// Members of the room of this name on all shards.
    pub(crate) fn members(&self, key: &RoomKey) -> u32 {
        if let Some(place) = self.find(key) {
            return self.room(place).members();
        }
        let room = self.interconnect.directory.find(key);
        room.map_or(0, |room| room.members())
    }

    /// Enters the room, whose frames the shard gets from now on. Returns its place.
    fn enter(&mut self, key: &RoomKey) -> u32 {
        if let Some(place) = self.rooms.find(key) {
            return place;
        }
        let (room, first_ticket) = self.interconnect.directory.enter(key, self.id);
        let local = LocalRoom::new(room, first_ticket, &self.meter);
        let place = self.rooms.insert(local);
        self.stats.rooms.set(self.rooms.len() as u64);
        place
    }

    /// Makes a connection a member of the room, which it must not be yet. The room is created if it
    /// does not exist. Returns the room's place and the member's seat in it.
    pub(crate) fn join(
        &mut self,
        key: &RoomKey,
        connection: u32,
        can_inflate: bool,
    ) -> (u32, MemberSeat) {
        self.join_as(key, connection, |room| room.member_joined(can_inflate))
    }

    /// The same; `count` decides whether the member counts in the room's number of members.
    #[inline]
    fn join_as(
        &mut self,
        key: &RoomKey,
        connection: u32,
        count: impl Fn(&Room),
    ) -> (u32, MemberSeat) {
        let place = self.enter(key);
        let local = &mut self.rooms[place as usize];
        count(&local.room);
        let seat = local.join(connection);
        self.check_invariants();
        (place, seat)
    }

    /// Ends the membership at `seat`. Returns the members whose seat has changed. The room ends
    /// with its last member.
    pub(crate) fn leave(
        &mut self,
        place: u32,
        seat: MemberSeat,
        can_inflate: bool,
    ) -> [Option<Moved>; 2] {
        self.leave_as(place, seat, |room| room.member_left(can_inflate))
    }

    /// The same; `count` undoes what it did when the member joined.
    #[inline]
    fn leave_as(
        &mut self,
        place: u32,
        seat: MemberSeat,
        count: impl Fn(&Room),
    ) -> [Option<Moved>; 2] {
        let local = &mut self.rooms[place as usize];
        let pending_before = local.pending_bytes();
        let moved = local.leave(seat);
        self.pending_bytes -= pending_before - local.pending_bytes();
        count(&local.room);
        if local.members() == 0 {
            let local = self.rooms.remove(place);
            self.has_freed_mail |= local.held_runs() > 0;
            self.interconnect.directory.leave(&local.room, self.id);
            self.stats.rooms.set(self.rooms.len() as u64);
        }
        self.check_invariants();
        moved
    }

    /// Wakes senders whose mailbox has room again because rooms have ended.
    #[inline]
    pub(crate) fn wake_if_freed(&mut self) {
        if std::mem::take(&mut self.has_freed_mail) {
            self.wake_blocked_senders();
        }
    }

    /// The number of runs that wait for an earlier ticket, and for how many ticks the oldest has.
    pub(crate) fn held(&mut self, now: Tick) -> (u64, Tick) {
        let (runs, oldest) = self.rooms.held();
        (runs, oldest.map_or(0, |tick| now.saturating_sub(tick)))
    }
}

/// Publishing.
impl Exchange {
    /// Whether something was published and is not sealed.
    #[inline]
    pub(crate) fn has_published(&self) -> bool {
        !self.batch.is_empty()
    }

    /// The number of bytes that were published and are not sealed.
    #[inline]
    pub(crate) fn published_bytes(&self) -> usize {
        self.batch.bytes_pending()
    }

    /// Publishes to the room at `place`. Returns the room if some of its members can inflate; the
    /// caller may then call [`Exchange::deflate_last`].
    #[inline]
    pub(crate) fn publish(
        &mut self,
        place: u32,
        recipients: Recipients,
        opcode: Opcode,
        payload: &[u8],
        received_ns: u64,
    ) -> Option<Arc<Room>> {
        let room = &self.rooms[place as usize].room;
        let batch = &mut self.batch;
        batch.append(room, recipients, opcode, payload, received_ns);
        (room.deflate_members() > 0).then(|| Arc::clone(room))
    }

    /// The room of this name, if any shard has members of it.
    pub(crate) fn find_anywhere(&self, key: &RoomKey) -> Option<Arc<Room>> {
        self.interconnect.directory.find(key)
    }

    /// Publishes to a room that this shard may have no members of.
    pub(crate) fn publish_to(
        &mut self,
        room: &Arc<Room>,
        recipients: Recipients,
        opcode: Opcode,
        payload: &[u8],
        received_ns: u64,
    ) {
        let batch = &mut self.batch;
        batch.append(room, recipients, opcode, payload, received_ns);
    }

    /// Deflates the message that was published last, once for all members that can inflate. Returns
    /// whether it became smaller.
    pub(crate) fn deflate_last(
        &mut self,
        deflater: &mut Deflater,
        level: u8,
        opcode: Opcode,
        payload: &[u8],
    ) -> bool {
        self.batch.deflate_last(deflater, level, opcode, payload)
    }

    /// Freezes what was published, takes tickets and hands the batch over.
    #[inline]
    pub(crate) fn seal(&mut self, tick: Tick) {
        let mut next = self.begin_sealing();
        while let Some(sealing) = next {
            next = self.go_on_sealing(sealing, tick);
        }
        self.check_invariants();
        self.check_pending();
    }

    fn begin_sealing(&mut self) -> Option<Sealing> {
        self.has_published()
            .then(|| Sealing::new(self.batch.seal()))
    }

    /// Takes one step of sealing. Returns the next step. It is always inlined, so that the loop of
    /// [`Exchange::seal`] compiles to one piece of code that moves no state from step to step.
    #[inline(always)]
    fn go_on_sealing(&mut self, sealing: Sealing, tick: Tick) -> Option<Sealing> {
        match sealing {
            Sealing::Tickets {
                mut batch,
                next,
                mut shards,
            } => {
                if let Some(run) = batch.runs.get_mut(next) {
                    shards.add(run.take_tickets());
                    let next = next + 1;
                    return Some(Sealing::Tickets {
                        batch,
                        next,
                        shards,
                    });
                }
                shards.remove(self.id);
                Some(Sealing::Mail {
                    batch: Arc::new(batch),
                    shards,
                    left: shards,
                })
            }
            Sealing::Mail {
                batch,
                shards,
                mut left,
            } => {
                let Some(shard) = left.take_first() else {
                    return Some(Sealing::Wakes {
                        batch,
                        left: shards,
                    });
                };
                self.push_mail(shard, Mail::Batch(Arc::clone(&batch)));
                Some(Sealing::Mail {
                    batch,
                    shards,
                    left,
                })
            }
            Sealing::Wakes { batch, mut left } => match left.take_first() {
                Some(shard) => {
                    self.wake(shard);
                    Some(Sealing::Wakes { batch, left })
                }
                None => Some(Sealing::Own { batch }),
            },
            Sealing::Own { batch } => {
                self.accept_own(&Mail::Batch(batch), tick);
                None
            }
        }
    }

    /// Accepts the shard's own part of a batch. Runs that wait for the ticket of another shard
    /// count in the shard's mailbox to itself, so that they too stop it from reading more in the
    /// end.
    fn accept_own(&mut self, mail: &Mail, tick: Tick) {
        let own_mailbox = Arc::clone(&self.own_mailbox);
        let mut credit = None;
        for run in mail.runs() {
            let reserve = || Rc::new(Credit::reserve(&own_mailbox, mail));
            self.accept_run(run, tick, || Rc::clone(credit.get_or_insert_with(reserve)));
        }
    }
}

/// Mail between shards.
impl Exchange {
    /// Whether another shard's mailbox is full. Nothing may be published until that shard has taken
    /// what waits for it.
    #[inline]
    pub(crate) fn is_blocked(&self) -> bool {
        self.unsent.iter().any(|unsent| !unsent.is_empty())
    }

    /// Whether more may be published: everything that it would add to is below its bound.
    #[inline]
    pub(crate) fn may_publish(&self) -> bool {
        !self.is_blocked() && self.pending_bytes < PENDING_BYTES_MAX && !self.own_mailbox.is_full()
    }

    /// Whether other shards left mail, or made room for mail to them. They may have done so while
    /// this shard was awake, without waking it, so a shard has to call this before it sleeps.
    pub(crate) fn has_mail(&self) -> bool {
        let has_mail = |from: u16| !self.interconnect.mailbox(from, self.id).is_empty();
        self.others().any(has_mail)
            || (0..self.interconnect.participants()).any(|to| self.may_push_again(to))
    }

    /// Whether a receiver has announced that there is room again.
    fn may_push_again(&self, to: u16) -> bool {
        let mailbox = self.interconnect.mailbox(self.id, to);
        !self.unsent[usize::from(to)].is_empty() && !mailbox.blocked.is_announced()
    }

    /// Takes mail of the other shards, from each at least once, unless too much has yet to be
    /// delivered. Returns whether mail is left.
    pub(crate) fn receive_mail(&mut self, work: &mut Work, tick: Tick) -> bool {
        let (mut has_taken, mut has_left) = (false, false);
        for from in self.others() {
            if self.take_from(from, work, tick) {
                has_taken = true;
                has_left |= !self.interconnect.mailbox(from, self.id).is_empty();
            }
        }
        if has_taken {
            self.wake_blocked_senders();
        }
        self.check_invariants();
        self.check_pending();
        has_left
    }

    /// Returns whether there was any mail.
    fn take_from(&mut self, from: u16, work: &mut Work, tick: Tick) -> bool {
        let mut taken = 0;
        while taken < BATCHES_PER_MAILBOX
            && self.pending_bytes < PENDING_BYTES_MAX
            && !(taken > 0 && work.is_spent())
            && let Some(mail) = self.interconnect.mailbox(from, self.id).pop()
        {
            taken += 1;
            let credit = Rc::new(Credit::new(self.interconnect.mailbox(from, self.id), &mail));
            match &mail {
                Mail::Stop => self.ended.insert(from),
                Mail::Endpoint(mail) => {
                    self.arrived.push_back((mail.clone(), Rc::clone(&credit)));
                }
                Mail::Batch(_) => {}
            }
            work.spend(mail.runs().len() as u64 * PRICE_RUN);
            for run in mail.runs() {
                self.accept_run(run, tick, || Rc::clone(&credit));
            }
        }
        taken > 0
    }

    /// Accepts a run of a room that this shard may have members of. `hold` is called if it has to
    /// wait.
    fn accept_run(&mut self, run: &Run, tick: Tick, hold: impl FnOnce() -> Rc<Credit>) {
        let Some(place) = self.rooms.of_epoch(run.room.epoch) else {
            return;
        };
        let local = &mut self.rooms[place as usize];
        let was_pending = local.is_pending();
        let pending_before = local.pending_bytes();
        let accepted = local.accept(run, tick, hold);
        self.pending_bytes += local.pending_bytes() - pending_before;
        match accepted {
            Accepted::Now if !was_pending && local.is_pending() => self.pending.push_back(place),
            Accepted::Held => self.rooms.note_held(place),
            Accepted::Now | Accepted::Stale => {}
        }
    }

    /// Wakes the shards whose mail did not fit. Every mailbox is checked, since runs that waited
    /// for what was just taken may have come from any of them.
    fn wake_blocked_senders(&self) {
        for from in self.others() {
            if self.interconnect.mailbox(from, self.id).blocked.must_wake() {
                self.interconnect.wake(from);
            }
        }
    }

    /// Pushes mail to another shard, after mail that waits for it already.
    fn push_mail(&mut self, shard: u16, mail: Mail) {
        let unsent = &mut self.unsent[usize::from(shard)];
        unsent.push_back(mail);
        if unsent.len() == 1 {
            self.push_unsent_to(shard);
            if !self.unsent[usize::from(shard)].is_empty() {
                self.stats.blocked.add(1);
            }
        }
    }

    /// Tries again to push mail that did not fit.
    #[inline]
    pub(crate) fn push_unsent(&mut self) {
        for shard in 0..self.interconnect.participants() {
            if !self.unsent[usize::from(shard)].is_empty() && self.push_unsent_to(shard) {
                self.wake(shard);
            }
        }
    }

    /// Returns whether any was pushed.
    fn push_unsent_to(&mut self, shard: u16) -> bool {
        let mailbox = self.interconnect.mailbox(self.id, shard);
        mailbox.push_all(&mut self.unsent[usize::from(shard)])
    }

    /// Wakes another shard if it sleeps, after mail was pushed to it.
    fn wake(&self, shard: u16) {
        if self.interconnect.wake(shard) {
            self.stats.wakes_sent.add(1);
        } else {
            self.stats.wakes_elided.add(1);
        }
    }

    /// Sends mail of an endpoint to a shard, which may be this one. It arrives after everything
    /// that was sent there before, and is never lost. Nothing may be published while a shard takes
    /// no mail.
    pub(crate) fn send(&mut self, shard: u16, mail: EndpointMail) {
        let mail = Mail::Endpoint(mail);
        if shard == self.id {
            let credit = Rc::new(Credit::reserve(&self.own_mailbox, &mail));
            if let Mail::Endpoint(mail) = mail {
                self.arrived.push_back((mail, credit));
            }
            return;
        }
        self.push_mail(shard, mail);
        self.wake(shard);
    }

    /// Whether mail of endpoints has to be handled.
    #[inline]
    pub(crate) fn has_arrived(&self) -> bool {
        !self.arrived.is_empty()
    }

    /// The next mail of an endpoint, in the order in which each shard sent it.
    pub(crate) fn next_arrived(&mut self) -> Option<EndpointMail> {
        let (mail, credit) = self.arrived.pop_front()?;
        drop(credit);
        // Its mailbox has room again.
        self.has_freed_mail = true;
        Some(mail)
    }

    /// Tells another shard that it has got everything that was read here. Frames that endpoints
    /// publish while connections are closed may follow.
    pub(crate) fn end_mail_to(&mut self, shard: u16) {
        debug_assert!(!self.has_published(), "mail is to follow");
        self.push_mail(shard, Mail::Stop);
        self.wake(shard);
    }

    /// Whether another shard has said so, and all its mail before that was taken.
    pub(crate) fn has_ended(&self, shard: u16) -> bool {
        self.ended.contains(shard)
    }
}

/// Delivery to members.
impl Exchange {
    /// Whether members of any room have frames to get.
    #[inline]
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether members of the room at `place` have frames to get.
    #[inline]
    pub(crate) fn is_pending(&self, place: u32) -> bool {
        let room = self.rooms.get(place as usize);
        room.is_some_and(LocalRoom::is_pending)
    }

    /// The bytes of frames that at least one member of the room has not got; `None` if the room has
    /// ended.
    pub(crate) fn pending_bytes_of(&self, place: u32) -> Option<usize> {
        Some(self.rooms.get(place as usize)?.pending_bytes())
    }

    /// Takes the rooms to serve, for a pass over them. [`Exchange::end_pass`] must follow, and
    /// nothing may be accepted in between.
    #[inline]
    pub(crate) fn begin_pass(&mut self) -> VecDeque<u32> {
        std::mem::take(&mut self.pending)
    }

    /// Takes back the rooms that were not served completely.
    #[inline]
    pub(crate) fn end_pass(&mut self, pending: VecDeque<u32>) {
        debug_assert!(self.pending.is_empty(), "runs were accepted in a pass");
        self.pending = pending;
        self.check_invariants();
        self.check_pending();
    }

    /// Visits up to `visits_max` members of the room at `place`, each with the runs that it has not
    /// got. If `visit` returns false, the member can take nothing at the moment and stays the next
    /// one to be visited. Returns the number of visits.
    #[inline]
    pub(crate) fn visit(
        &mut self,
        place: u32,
        visits_max: usize,
        visit: impl FnMut(u32, Iter<'_, LocalRun>) -> bool,
    ) -> usize {
        let Some(local) = self.rooms.get_mut(place as usize) else {
            return 0;
        };
        let pending_before = local.pending_bytes();
        let visits = local.deliver(visits_max, visit);
        self.pending_bytes -= pending_before - local.pending_bytes();
        visits
    }

    /// Turns [`Until::Sealed`] into the ticket up to which the frames that are now sealed go.
    pub(crate) fn note_sealed(&self, place: u32, until: &mut Until) {
        if let (Until::Sealed, Some(room)) = (&*until, self.get_room(place)) {
            *until = Until::Ticket(room.tickets.next());
        }
    }

    /// Whether the member at `seat` has got all of the room's frames up to `until`.
    pub(crate) fn has_got(&self, place: u32, seat: MemberSeat, until: &mut Until) -> bool {
        let local = &self.rooms[place as usize];
        if let Until::Ticket(ticket) = *until
            && local.next_ticket() >= ticket
        {
            *until = Until::Run(local.next_run());
        }
        match *until {
            Until::Run(run) => local.has_got(seat, run),
            Until::Sealed | Until::Ticket(_) => false,
        }
    }

    /// Visits a single member, out of turn.
    pub(crate) fn visit_seat(
        &mut self,
        place: u32,
        seat: MemberSeat,
        visit: impl FnOnce(u32, Iter<'_, LocalRun>),
    ) {
        self.rooms[place as usize].deliver_to(seat, visit);
    }
}
