//! A port: a participant of the exchange that is not a shard.
//!
//! Unlike a shard it takes no tickets while its mail does not fit into some mailbox. So a port that
//! is dropped never leaves a gap in a room's tickets, at which the room would wait for ever.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rustc_hash::FxHashMap;

use super::sealing::Sealing;
use super::{Exchange, Interconnect};
use crate::fanout::Recipients;
use crate::fanout::local_room::{LocalRun, MemberSeat};
use crate::fanout::room::{EndpointId, Room, RoomKey};
use crate::limits::{MESSAGE_BYTES_MAX, TURN_BYTES_MAX};
use crate::wire::frame::{MessageKind, Opcode, split_frame};
use crate::work::{TurnPhase, Work};

/// A member of rooms that is not a connection, driven by a thread of the embedder. It gets every
/// frame of its rooms in the rooms' order, and publishes to any room.
///
/// It is a member and not a client. So it gets frames **regardless of their recipients**
/// ([`Frame::is_restricted`] marks those that not every member gets), including the frames that it
/// has published itself ([`Delivery::is_own`]), and it is not counted as a member. A room that only
/// ports are in exists, and is listed with 0 members.
///
/// Its thread calls [`Port::turn`] for as long as there is more to do, and then [`Port::park`]:
///
/// ```no_run
/// use corecast_engine::engine::{Builder, PortTurn, StartError};
/// use corecast_engine::fanout::room::EndpointId;
///
/// fn start(mut builder: Builder, chat: EndpointId) -> Result<(), StartError> {
///     let (waker, woken) = std::sync::mpsc::sync_channel(1);
///     let seat = builder.port(waker); // before the engine starts
///     let engine = builder.start()?;
///     let authorizer = std::thread::spawn(move || {
///         let Ok(mut port) = seat.open() else { return };
///         port.join(chat, "everybody");
///         loop {
///             let turn = port.turn(|delivery| {
///                 for frame in delivery.frames() {
///                     println!("{}: {} bytes", delivery.room(), frame.payload.len());
///                 }
///             });
///             match turn {
///                 PortTurn::More => {}
///                 PortTurn::Idle => port.park(|| drop(woken.recv())),
///                 PortTurn::Ended => return,
///             }
///         }
///     });
///     # engine.stop();
///     # let _ = authorizer.join();
///     # Ok(())
/// }
/// ```
///
/// A port holds up what a shard would hold up: if it does not take its mail, its mailboxes fill
/// (`MAILBOX_BATCHES_MAX` and `MAILBOX_BYTES_MAX` in [`crate::limits`], from each shard), and the
/// shards that publish to its rooms stop reading their clients until it does. Nothing is lost. Once
/// a port is dropped it holds up nothing: it leaves its rooms, and mail on its way to it is
/// discarded.
pub struct Port {
    id: u16,
    exchange: Exchange,
    interconnect: Arc<Interconnect>,
    origin: Instant,
    work: Work,
    /// The first tickets of the port's own runs that it has yet to get itself, by the room's epoch.
    own: FxHashMap<u64, VecDeque<u64>>,
    /// The participant that has to make room before what was published can be sealed.
    waits_for: Option<u16>,
    /// The embedder was told that it may not publish, and will be told when it may.
    is_refused: bool,
}

/// The next step after a turn of a [`Port`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortTurn {
    /// Take another turn at once: there is more.
    More,
    /// Wait until the port is woken, with [`Port::park`].
    Idle,
    /// Drop the port: the engine has stopped, and the port has got everything.
    Ended,
}

/// The reason why a [`Port`] did not publish a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PortError {
    /// Too much of what was published before is still to be sent. Try again after a turn that has
    /// returned [`PortTurn::More`].
    #[error("the port has too much to send already")]
    Busy,
    /// The message is larger than [`MESSAGE_BYTES_MAX`].
    #[error("the message is too large")]
    TooLarge,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Ended,
}

/// Rooms.
impl Port {
    pub(super) fn new(id: u16, interconnect: Arc<Interconnect>, origin: Instant) -> Port {
        let shared = Arc::clone(&interconnect);
        Port {
            id,
            exchange: Exchange::new(id, shared, Arc::default(), Rc::default()),
            interconnect,
            origin,
            work: Work::default(),
            own: FxHashMap::default(),
            waits_for: None,
            is_refused: false,
        }
    }

    /// Makes the port a member of the room: it gets every frame that is published from now on. The
    /// room is created if it does not exist. Returns `false` if the port was a member already.
    pub fn join(&mut self, endpoint: EndpointId, room: &str) -> bool {
        let key = key(endpoint, room);
        let is_new = self.exchange.find(&key).is_none();
        if is_new {
            // A room has one member here at most, so any number identifies it.
            self.exchange.join_as(&key, 0, |_| ());
        }
        is_new
    }

    /// Ends the membership. The port does not get frames of the room that it has not got yet.
    /// Returns `false` if it was not a member.
    pub fn leave(&mut self, endpoint: EndpointId, room: &str) -> bool {
        let place = self.exchange.find(&key(endpoint, room));
        if let Some(place) = place {
            self.leave_at(place);
            self.exchange.wake_if_freed();
        }
        place.is_some()
    }

    fn leave_at(&mut self, place: u32) {
        self.own.remove(&self.exchange.room(place).epoch);
        self.exchange.leave_as(place, MemberSeat::new(0), |_| ());
    }

    /// Publishes to the room, with the next turn. If the room has neither members nor ports,
    /// nothing happens.
    ///
    /// Members that could get deflated messages get this one plain.
    ///
    /// # Errors
    ///
    /// [`PortError::Busy`], until turns have sent what was published before: the first turn after
    /// which there is room again returns [`PortTurn::More`]. [`PortError::TooLarge`] if the message
    /// exceeds the bound; [`PortError::Ended`] if the engine has stopped.
    pub fn publish(
        &mut self,
        endpoint: EndpointId,
        room: &str,
        recipients: Recipients,
        kind: MessageKind,
        payload: &[u8],
    ) -> Result<(), PortError> {
        if payload.len() > MESSAGE_BYTES_MAX {
            return Err(PortError::TooLarge);
        }
        if self.is_over() {
            return Err(PortError::Ended);
        }
        self.is_refused = !self.may_publish();
        if self.is_refused {
            return Err(PortError::Busy);
        }
        let key = key(endpoint, room);
        let (opcode, now_ns) = (kind.into(), self.origin.elapsed().as_nanos() as u64);
        let exchange = &mut self.exchange;
        if let Some(place) = exchange.find(&key) {
            exchange.publish(place, recipients, opcode, payload, now_ns);
        } else if let Some(room) = exchange.find_anywhere(&key) {
            exchange.publish_to(&room, recipients, opcode, payload, now_ns);
        }
        Ok(())
    }
}

/// Turns.
impl Port {
    fn may_publish(&self) -> bool {
        let is_full = self.exchange.published_bytes() >= TURN_BYTES_MAX;
        !is_full && self.waits_for.is_none() && self.exchange.may_publish()
    }

    /// Takes mail that has come, within a bound, sends what was published, and calls `visit` for
    /// every run of frames that is next in its room. If `visit` panics, the other runs of the turn
    /// are lost.
    pub fn turn(&mut self, mut visit: impl FnMut(Delivery<'_>)) -> PortTurn {
        if self.interconnect.is_closed(self.id) {
            self.let_go();
            return PortTurn::Ended;
        }
        // Read before the mail: shards leave their last mail before they end, so it cannot be
        // missed.
        let has_ended = self.interconnect.has_ended();
        self.receive_mail();
        self.seal();
        self.deliver(&mut visit);
        let has_more = self.has_more();
        self.is_refused &= !self.may_publish();
        match (has_more, has_ended) {
            (true, _) => PortTurn::More,
            (false, false) => {
                self.exchange.shrink();
                PortTurn::Idle
            }
            (false, true) => PortTurn::Ended,
        }
    }

    /// Announces that the port sleeps, checks once more for work, and calls `wait` if there is
    /// none. `wait` returns when the port's [`Wake`](super::Wake) is called; it may also return
    /// earlier for any reason. A wake that comes before `wait` begins to wait must end it.
    pub fn park(&self, wait: impl FnOnce()) {
        let sleeping = &self.interconnect.sleeper(self.id).sleeping;
        sleeping.announce();
        if !self.has_work() {
            wait();
        }
        sleeping.withdraw();
    }

    /// Whether a turn would do anything.
    pub(super) fn has_work(&self) -> bool {
        self.has_more() || self.is_over()
    }

    fn has_more(&self) -> bool {
        let may_seal = match self.waits_for {
            // Whether the receiver has announced that there is room again.
            Some(to) => {
                let mailbox = self.interconnect.mailbox(self.id, to);
                !mailbox.blocked.is_announced()
            }
            None => self.exchange.has_published(),
        };
        let may_publish = self.is_refused && self.may_publish();
        may_seal || may_publish || self.exchange.has_pending() || self.exchange.has_mail()
    }

    /// Whether the port gets nothing more except what is there already.
    fn is_over(&self) -> bool {
        self.interconnect.has_ended() || self.interconnect.is_closed(self.id)
    }

    pub(super) fn receive_mail(&mut self) {
        self.exchange.push_unsent();
        self.work.begin_turn();
        self.work.begin(TurnPhase::Mail);
        // Ticks only measure for how long runs are held, which is not asked of a port.
        self.exchange.receive_mail(&mut self.work, 0);
    }

    fn seal(&mut self) {
        let mut next = self.begin_sealing();
        while let Some(sealing) = next {
            next = self.go_on_sealing(sealing);
        }
    }

    /// Begins to seal what was published, if every mailbox has room for it. Only the port itself
    /// pushes to them, so the room stays there until it does.
    pub(super) fn begin_sealing(&mut self) -> Option<Sealing> {
        let bytes = self.exchange.published_bytes();
        let is_full = |to: &u16| !self.interconnect.mailbox(self.id, *to).takes(bytes);
        let mut others = self.exchange.others();
        let waits_for = match self.exchange.has_published() {
            true => others.find(is_full),
            false => None,
        };
        self.waits_for = waits_for;
        match self.waits_for {
            Some(_) => None,
            None => self.exchange.begin_sealing(),
        }
    }

    /// Takes one step of sealing. Returns the next step.
    pub(super) fn go_on_sealing(&mut self, sealing: Sealing) -> Option<Sealing> {
        let next = self.exchange.go_on_sealing(sealing, 0);
        if let Some(Sealing::Tickets { batch, next, .. }) = &next
            && let Some(run) = batch.runs.get(next - 1)
            && let Some(place) = self.exchange.find(&run.room.key)
            && self.exchange.room(place).epoch == run.room.epoch
        {
            let own = self.own.entry(run.room.epoch).or_default();
            own.push_back(run.first_ticket);
        }
        debug_assert!(!self.exchange.is_blocked(), "there was room for it");
        next
    }

    #[cfg(test)]
    pub(super) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// `visit` is called once the state is consistent, so that a panic in it breaks nothing.
    pub(super) fn deliver(&mut self, visit: &mut impl FnMut(Delivery<'_>)) {
        let mut next_runs = Vec::new();
        let mut pending = self.exchange.begin_pass();
        for place in pending.drain(..) {
            self.collect_runs(place, &mut next_runs);
        }
        self.exchange.end_pass(pending);
        for next in next_runs {
            visit(next.as_delivery());
        }
    }

    fn collect_runs(&mut self, place: u32, next_runs: &mut Vec<NextRun>) {
        let Some(local) = self.exchange.rooms.get_mut(place as usize) else {
            return;
        };
        self.exchange.pending_bytes -= local.pending_bytes();
        let (mut first_ticket, runs) = local.take_runs();
        for run in runs {
            let frames = u64::from(run.frames);
            next_runs.push(NextRun {
                room: Arc::clone(&local.room),
                run,
                first_ticket,
                is_own: is_own(&mut self.own, local.room.epoch, first_ticket),
            });
            first_ticket += frames;
        }
    }

    /// Leaves all rooms, and closes the port's mailboxes.
    fn let_go(&mut self) {
        let places: Vec<u32> = self.exchange.rooms.iter().map(|(place, _)| place).collect();
        for place in places {
            self.leave_at(place);
        }
        if let Some(to) = self.waits_for.take() {
            self.interconnect.mailbox(self.id, to).blocked.withdraw();
        }
        self.interconnect.close(self.id);
    }
}

/// Sends what was published and fits; everything else is dropped.
impl Drop for Port {
    fn drop(&mut self) {
        self.seal();
        self.let_go();
    }
}

fn key(endpoint: EndpointId, name: &str) -> RoomKey {
    RoomKey {
        endpoint,
        name: name.into(),
    }
}

/// Whether the run with this ticket is one of the port's own. Each run is asked about once, in
/// order.
fn is_own(own: &mut FxHashMap<u64, VecDeque<u64>>, epoch: u64, first_ticket: u64) -> bool {
    let Some(tickets) = own.get_mut(&epoch) else {
        return false;
    };
    let is_own = tickets.front() == Some(&first_ticket);
    if is_own {
        tickets.pop_front();
    }
    if tickets.is_empty() {
        own.remove(&epoch);
    }
    is_own
}

/// A run that is next in its room.
struct NextRun {
    room: Arc<Room>,
    run: LocalRun,
    first_ticket: u64,
    is_own: bool,
}

impl NextRun {
    fn as_delivery(&self) -> Delivery<'_> {
        Delivery(self)
    }
}

/// Consecutive frames of one room, which a [`Port`] gets.
#[derive(Clone, Copy)]
pub struct Delivery<'a>(&'a NextRun);

impl<'a> Delivery<'a> {
    /// The endpoint that the room belongs to.
    pub fn endpoint(self) -> EndpointId {
        self.0.room.key.endpoint
    }

    /// The room's name.
    pub fn room(self) -> &'a str {
        &self.0.room.key.name
    }

    /// Distinguishes rooms of the same name: a room that was created again has another epoch. It
    /// stays the same while the port is a member.
    pub fn epoch(self) -> u64 {
        self.0.room.epoch
    }

    /// The ticket of the first frame. The other frames have the tickets that follow, as do those of
    /// the room's next delivery, without gaps. Epoch and ticket together identify a frame.
    pub fn first_ticket(self) -> u64 {
        self.0.first_ticket
    }

    /// When the oldest of the frames was received, in nanoseconds since
    /// [`started`](crate::engine::View::started).
    pub fn received_ns(self) -> u64 {
        self.0.run.plain.segment.received_ns
    }

    /// Whether the port itself published these frames.
    pub fn is_own(self) -> bool {
        self.0.is_own
    }

    /// The frames, in order.
    pub fn frames(self) -> impl Iterator<Item = Frame<'a>> {
        let run = &self.0.run;
        (0..run.frames).filter_map(move |number| {
            let bytes = run.plain.bytes_of(&(number..number + 1));
            let buffer = run.plain.segment.buffer.bytes();
            let (opcode, payload) = split_frame(&buffer[bytes.start as usize..bytes.end as usize])?;
            Some(Frame {
                kind: match opcode {
                    Opcode::Text => MessageKind::Text,
                    _ => MessageKind::Binary,
                },
                payload,
                is_restricted: !matches!(run.recipients_of(number), Recipients::All),
            })
        })
    }
}

/// One frame of a [`Delivery`], as it was published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// Text or binary.
    pub kind: MessageKind,
    /// The message, never deflated.
    pub payload: &'a [u8],
    /// Whether some members do not get it: its recipients are not [`Recipients::All`].
    pub is_restricted: bool,
}
