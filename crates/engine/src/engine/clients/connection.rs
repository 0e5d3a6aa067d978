//! One connection, as its shard keeps it. See `LIFECYCLE.md` beside this file for the phases.
//!
//! An idle connection is this entry and nothing else: data that is needed only now and then is
//! boxed for as long as it is needed.

use std::any::Any;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use indexmap::IndexMap;
use mio::event::Event;
use rustc_hash::FxBuildHasher;

use super::extras::Extras;
use super::held::Held;
use super::pace::Pace;
use super::packed_peer::PackedPeer;
use crate::clock::Tick;
use crate::counter::Counter;
use crate::engine::answer::{AnswerSlot, HeadVerdict, Terms};
use crate::engine::over_limit::OverLimit;
use crate::engine::stats::ShardStats;
use crate::engine::stream::Stream;
use crate::engine::tls::TlsSession;
use crate::fanout::local_room::MemberSeat;
use crate::fanout::outbox::Outbox;
use crate::fanout::room::EndpointId;
use crate::fanout::segment::Segment;
use crate::limits::{
    COMPRESSED_READ_BYTES_MAX, FLUSH_AHEAD_BYTES, LARGE_OUTBOX_BYTES, READ_QUANTUM_BYTES,
    SLICES_PER_WRITE,
};
use crate::peer::Peer;
use crate::sparse::Sparse as _;
use crate::wire::decoder::Decoder;
use crate::wire::http::ChunkedDecoder;

/// The phase of a connection's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::engine) enum Phase {
    /// The TLS handshake is in progress.
    Handshake,
    /// An HTTP request is awaited, or has arrived in part.
    Request,
    /// The endpoint's answer to the request is awaited; nothing is read meanwhile.
    Deferred,
    /// It is a WebSocket.
    Open,
    /// Our Close frame is queued; the client's is awaited, and its data is ignored.
    Closing,
    /// Nothing more is queued. The stream ends when the outbox is sent.
    Draining,
    /// Everything was sent and our stream has ended; the end of the client's is awaited.
    Lingering,
    /// It is removed at the end of a turn, as soon as it has left its rooms.
    Dead,
}

impl Phase {
    /// Every transition: the table of `LIFECYCLE.md`, which a test compares with this.
    #[rustfmt::skip]
    pub(super) const TRANSITIONS: &[(Phase, Phase)] = &[
        (Phase::Handshake, Phase::Request),
        (Phase::Handshake, Phase::Draining),
        (Phase::Handshake, Phase::Dead),
        (Phase::Request, Phase::Deferred),
        (Phase::Request, Phase::Open),
        (Phase::Request, Phase::Draining),
        (Phase::Request, Phase::Dead),
        (Phase::Deferred, Phase::Request),
        (Phase::Deferred, Phase::Draining),
        (Phase::Deferred, Phase::Dead),
        (Phase::Open, Phase::Closing),
        (Phase::Open, Phase::Draining),
        (Phase::Open, Phase::Dead),
        (Phase::Closing, Phase::Draining),
        (Phase::Closing, Phase::Dead),
        (Phase::Draining, Phase::Lingering),
        (Phase::Draining, Phase::Dead),
        (Phase::Lingering, Phase::Dead),
    ];

    /// The gauge that counts connections in this phase.
    pub(super) fn gauge(self, stats: &ShardStats) -> Option<&Counter> {
        match self {
            Phase::Handshake | Phase::Request | Phase::Deferred => Some(&stats.connecting),
            Phase::Open => Some(&stats.open),
            Phase::Closing | Phase::Draining | Phase::Lingering => Some(&stats.closing),
            Phase::Dead => None,
        }
    }
}

/// A membership: the room's place on this shard, and the connection's seat in the room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Membership {
    pub(super) room: u32,
    pub(super) seat: MemberSeat,
}

/// Seats by rooms, in the order of joining. If a room is left, the last one takes its position.
type Seats = IndexMap<u32, MemberSeat, FxBuildHasher>;

/// The rooms of a connection, which is one in most cases. Each of them is joined, found and left in
/// constant time, whatever their number.
#[derive(Debug, Default)]
pub(super) enum Memberships {
    #[default]
    None,
    One(Membership),
    Many(Box<Seats>),
}

impl Memberships {
    pub(super) fn len(&self) -> usize {
        match self {
            Memberships::None => 0,
            Memberships::One(_) => 1,
            Memberships::Many(many) => many.len(),
        }
    }

    /// The membership at `index`, which is below [`Memberships::len`].
    pub(super) fn at(&self, index: usize) -> Option<Membership> {
        match self {
            Memberships::One(one) => Some(*one).filter(|_| index == 0),
            Memberships::Many(many) => {
                let (room, seat) = many.get_index(index)?;
                Some(Membership {
                    room: *room,
                    seat: *seat,
                })
            }
            Memberships::None => None,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Membership> {
        (0..self.len()).filter_map(|index| self.at(index))
    }

    pub(super) fn contains(&self, room: u32) -> bool {
        match self {
            Memberships::None => false,
            Memberships::One(one) => one.room == room,
            Memberships::Many(many) => many.contains_key(&room),
        }
    }

    /// The seat in the room.
    pub(super) fn seat_in(&self, room: u32) -> Option<MemberSeat> {
        match self {
            Memberships::One(one) => (one.room == room).then_some(one.seat),
            Memberships::Many(many) => many.get(&room).copied(),
            Memberships::None => None,
        }
    }

    pub(super) fn add(&mut self, membership: Membership) {
        debug_assert!(!self.contains(membership.room));
        match self {
            Memberships::None => *self = Memberships::One(membership),
            Memberships::One(one) => {
                let both = [*one, membership].map(|each| (each.room, each.seat));
                *self = Memberships::Many(Box::new(both.into_iter().collect()));
            }
            Memberships::Many(many) => {
                many.insert(membership.room, membership.seat);
            }
        }
    }

    /// Removes the membership of `room`. Returns the connection's seat in it.
    pub(super) fn remove(&mut self, room: u32) -> Option<MemberSeat> {
        match self {
            Memberships::One(one) if one.room == room => {
                let seat = one.seat;
                *self = Memberships::None;
                Some(seat)
            }
            Memberships::Many(many) => {
                let seat = many.swap_remove(&room);
                many.shrink_sparse();
                seat
            }
            _ => None,
        }
    }

    /// Records that the connection's seat in `room` has changed.
    pub(super) fn moved(&mut self, room: u32, seat: MemberSeat) {
        match self {
            Memberships::One(one) if one.room == room => one.seat = seat,
            Memberships::Many(many) => {
                if let Some(known) = many.get_mut(&room) {
                    *known = seat;
                }
            }
            _ => {}
        }
    }
}

/// The state of a connection before it is open.
#[derive(Default)]
pub(in crate::engine) struct Cold {
    /// Bytes that were received and not used yet: the request so far, or what followed it.
    pub(in crate::engine) received: Vec<u8>,
    /// The number of bytes at which it is worth parsing again, once the head is complete; 0 before
    /// that.
    pub(in crate::engine) wanted_bytes: usize,
    /// The body so far, if it is chunked.
    pub(in crate::engine) chunked: Option<Chunked>,
    /// The decision on the head of a request whose body is awaited.
    pub(in crate::engine) verdict: Option<HeadVerdict>,
    /// The slot for a deferred answer.
    pub(in crate::engine) answer: Option<Arc<AnswerSlot>>,
    /// The terms of the client if that answer admits it.
    pub(in crate::engine) terms: Option<Terms>,
    /// The proxy whose connection it is, once [`Connection::peer`] is its client.
    pub(in crate::engine) proxy: Option<Peer>,
    /// Counts the memory of all this.
    pub(in crate::engine) held: Held,
    /// The client was told to send the body.
    pub(in crate::engine) is_body_invited: bool,
    /// Some bytes were received and not handled, since others had their turn.
    pub(in crate::engine) is_left: bool,
    /// The bytes that waited to be sent when the client last missed its deadline.
    pub(in crate::engine) unsent_bytes: Option<usize>,
}

/// A chunked body that is being read.
pub(in crate::engine) struct Chunked {
    pub(in crate::engine) decoder: ChunkedDecoder,
    pub(in crate::engine) body: Vec<u8>,
    /// How many of the received bytes are the head and chunks that were read.
    pub(in crate::engine) consumed: usize,
}

/// A socket that will become a connection.
pub(in crate::engine) struct Arrival {
    pub(in crate::engine) stream: Stream,
    pub(in crate::engine) tls: Option<TlsSession>,
    pub(in crate::engine) peer: Peer,
    /// The limit that it exceeds, if it is accepted only to be refused.
    pub(in crate::engine) over_limit: Option<OverLimit>,
    pub(in crate::engine) is_counted: bool,
    pub(in crate::engine) awaits_proxy_header: bool,
    /// When its first request must have arrived, on the clock of reading.
    pub(in crate::engine) deadline_tick: Tick,
}

/// The outcome of one `recv`.
pub(in crate::engine) enum Received {
    /// The buffer is filled up to `end`, including bytes kept at its front; `new` bytes of it were
    /// just received. `is_drained`: the socket has no more data for now.
    Bytes {
        end: usize,
        new: usize,
        is_drained: bool,
    },
    /// A signal interrupted the call.
    Interrupted,
    /// The socket has no data at present.
    Nothing,
    /// The client has ended its stream.
    End,
    /// The connection is broken.
    Gone,
}

/// Whether an endpoint waits to be told when little waits for its client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LowWater {
    Unasked,
    Awaited,
    /// Little was in the outbox: this is checked again after the flush of the turn.
    Noted,
}

/// One connection.
pub(in crate::engine) struct Connection {
    pub(super) stream: Stream,
    pub(super) tls: Option<Box<TlsSession>>,
    pub(super) outbox: Outbox,
    pub(super) decoder: Decoder,
    /// The state that the endpoint keeps for it.
    pub(super) state: Option<Box<dyn Any + Send>>,
    pub(super) extras: Extras,
    pub(super) rooms: Memberships,
    pub(super) cold: Option<Box<Cold>>,
    peer: PackedPeer,
    pub(super) generation: u32,
    /// When the client was last heard from, on the clock of reading.
    pub(super) heard_tick: Tick,
    /// When the phase ends at the latest (Request and Deferred: on the clock of reading).
    pub(super) deadline_tick: Tick,
    pub(super) next_ping_tick: Tick,
    /// Since when a message is unfinished, on the clock of reading; 0 if none is.
    pub(super) message_since_tick: Tick,
    pub(super) endpoint: EndpointId,
    pub(super) phase: Phase,
    /// The window with which the client inflates, as a power of two; 0 without permessage-deflate.
    /// It does not change while the connection is open.
    pub(super) window_bits: u8,
    pub(super) over_limit: Option<OverLimit>,
    /// The last read may have left data in the socket.
    pub(super) is_readable: bool,
    /// The last send did not block.
    pub(super) is_writable: bool,
    /// The operating system reported the end of the client's data: it is read up to that end.
    pub(super) is_read_closed: bool,
    /// It is in the list of connections to read.
    pub(super) is_queued_to_read: bool,
    /// It is in the list of connections to flush.
    pub(super) is_dirty: bool,
    /// It is in the list of connections whose last send would have blocked.
    pub(super) is_lagging: bool,
    /// Its close is scheduled, with a reason.
    pub(super) is_close_scheduled: bool,
    /// A frame was dropped after a part of it was sent, so nothing can follow.
    pub(super) is_cut: bool,
    /// It counts towards its address's limit or, with `is_apart`, towards that of refused
    /// connections.
    pub(super) is_counted: bool,
    /// It has one of the places for connections that are refused or linger, and no other.
    pub(super) is_apart: bool,
    /// A header of the PROXY protocol has to come first.
    pub(super) awaits_proxy_header: bool,
    /// Its endpoint has paused the reading.
    pub(super) is_held: bool,
    /// Whether its endpoint is told when little waits for it: [`Extras::low_water_bytes`].
    pub(super) low_water: LowWater,
    /// That header does not name its client, so it counts towards the proxy's own address.
    pub(super) is_of_unknown_client: bool,
}

/// A page of 64 entries takes 12 KiB, which is a size class of the allocator. In a debug build mio
/// keeps a number for each socket.
const _: () =
    assert!(size_of::<Option<Connection>>() <= if cfg!(debug_assertions) { 216 } else { 192 });

impl Connection {
    pub(super) fn new(arrival: Arrival, generation: u32) -> Connection {
        let phase = match arrival.tls {
            Some(_) => Phase::Handshake,
            None => Phase::Request,
        };
        Connection {
            stream: arrival.stream,
            tls: arrival.tls.map(Box::new),
            outbox: Outbox::default(),
            decoder: Decoder::new(),
            state: None,
            extras: Extras::default(),
            rooms: Memberships::None,
            cold: None,
            peer: arrival.peer.into(),
            generation,
            heard_tick: 0,
            deadline_tick: arrival.deadline_tick,
            next_ping_tick: 0,
            message_since_tick: 0,
            endpoint: EndpointId(0),
            phase,
            window_bits: 0,
            over_limit: arrival.over_limit,
            is_readable: false,
            is_writable: true,
            is_read_closed: false,
            is_queued_to_read: false,
            is_dirty: false,
            is_lagging: false,
            is_close_scheduled: false,
            is_cut: false,
            is_counted: arrival.is_counted,
            is_apart: arrival.over_limit.is_some(),
            awaits_proxy_header: arrival.awaits_proxy_header,
            is_held: false,
            low_water: LowWater::Unasked,
            is_of_unknown_client: false,
        }
    }

    #[inline]
    pub(in crate::engine) fn phase(&self) -> Phase {
        self.phase
    }

    #[inline]
    pub(in crate::engine) fn generation(&self) -> u32 {
        self.generation
    }

    #[inline]
    pub(in crate::engine) fn endpoint(&self) -> EndpointId {
        self.endpoint
    }

    /// The request that is being read is for a path of this endpoint.
    pub(in crate::engine) fn set_endpoint(&mut self, endpoint: EndpointId) {
        self.endpoint = endpoint;
    }

    /// The limit that it exceeds, if it was accepted only to be refused.
    #[inline]
    pub(in crate::engine) fn over_limit(&self) -> Option<OverLimit> {
        self.over_limit
    }

    /// When the phase ends at the latest.
    #[inline]
    pub(in crate::engine) fn deadline_tick(&self) -> Tick {
        self.deadline_tick
    }

    pub(in crate::engine) fn set_deadline(&mut self, tick: Tick) {
        self.deadline_tick = tick;
    }

    /// The bytes that wait to be sent.
    #[inline]
    pub(in crate::engine) fn outbox_bytes(&self) -> usize {
        self.outbox.bytes()
    }

    #[inline]
    pub(in crate::engine) fn tls(&self) -> Option<&TlsSession> {
        self.tls.as_deref()
    }

    #[inline]
    pub(in crate::engine) fn tls_mut(&mut self) -> Option<&mut TlsSession> {
        self.tls.as_deref_mut()
    }

    /// Its state before it is open, if any.
    pub(in crate::engine) fn cold(&self) -> Option<&Cold> {
        self.cold.as_deref()
    }

    /// The same, mutable.
    pub(in crate::engine) fn cold_if_any(&mut self) -> Option<&mut Cold> {
        self.cold.as_deref_mut()
    }

    /// The same, created on first use.
    pub(in crate::engine) fn cold_mut(&mut self) -> &mut Cold {
        self.cold.get_or_insert_default()
    }

    /// Removes that state: the request is over.
    pub(in crate::engine) fn take_cold(&mut self) -> Option<Box<Cold>> {
        self.cold.take()
    }

    #[inline]
    pub(in crate::engine) fn awaits_proxy_header(&self) -> bool {
        self.awaits_proxy_header
    }

    /// Records that the header of the PROXY protocol has come.
    pub(in crate::engine) fn note_proxy_header(&mut self) {
        self.awaits_proxy_header = false;
    }

    /// Whether the proxy does not name its client.
    #[inline]
    pub(in crate::engine) fn is_of_unknown_client(&self) -> bool {
        self.is_of_unknown_client
    }

    /// Records that the proxy does not know its client.
    pub(in crate::engine) fn note_unknown_client(&mut self) {
        self.is_of_unknown_client = true;
    }

    /// Records what the operating system reports about its socket. Returns whether there is
    /// something to read, and whether the socket is writable again while something waits for it.
    ///
    /// Events are edge-triggered, so readiness is remembered here until a call would block: nothing
    /// reports it again. An error counts as readable. There may be no other event for it, and the
    /// `recv` that follows returns it and ends the connection; were it ignored, the connection
    /// would stay until a timeout. With epoll an event reports the whole state of a socket, so only
    /// a change from blocked to writable is worth a flush.
    #[inline]
    pub(in crate::engine) fn note_event(&mut self, event: &Event) -> (bool, bool) {
        let is_over = event.is_read_closed() || event.is_error();
        self.is_read_closed |= is_over;
        let readable = event.is_readable() || is_over;
        self.is_readable |= readable;
        let writable = event.is_writable() && !self.is_writable;
        self.is_writable |= event.is_writable();
        (readable, writable && self.has_to_send())
    }

    /// Whether nothing comes after the data that is there.
    #[inline]
    pub(in crate::engine) fn is_read_closed(&self) -> bool {
        self.is_read_closed
    }

    /// Records that it left the list of connections to read.
    #[inline]
    pub(in crate::engine) fn leave_read_queue(&mut self) {
        self.is_queued_to_read = false;
    }

    /// Reads once, behind the incomplete TLS record that was kept, if any: at most `paced_max`
    /// bytes, and fewer while others wait or if the data is compressed. Inlined for the reasons
    /// given at [`Stream::write`].
    #[inline(always)]
    pub(in crate::engine) fn receive(
        &mut self,
        buffer: &mut [u8],
        is_alone: bool,
        paced_max: usize,
    ) -> Received {
        let kept = self.tls.as_ref().map_or(0, |tls| tls.restore(buffer));
        let most_at_once = match self.window_bits {
            0 if is_alone => paced_max,
            0 => READ_QUANTUM_BYTES.min(paced_max),
            _ => COMPRESSED_READ_BYTES_MAX.min(paced_max),
        };
        let most = kept.saturating_add(most_at_once).min(buffer.len());
        match self.stream.read(&mut buffer[kept..most]) {
            Ok(0) => Received::End,
            Ok(new) => {
                // A short read has drained the socket. But if its end was reported, read on until
                // `recv` returns the end: no other event will come for it.
                let end = kept + new;
                let is_drained = end < most && !self.is_read_closed;
                self.is_readable = !is_drained;
                Received::Bytes {
                    end,
                    new,
                    is_drained,
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.is_readable = false;
                Received::Nothing
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Received::Interrupted,
            Err(_) => Received::Gone,
        }
    }

    /// The client's address, or the proxy's until it has named its client.
    pub(in crate::engine) fn peer(&self) -> Peer {
        self.peer.into()
    }

    /// The address by which the connection is counted.
    pub(in crate::engine) fn ip(&self) -> IpAddr {
        self.peer().counting_ip()
    }

    /// Records the client that a proxy has named.
    pub(in crate::engine) fn set_peer(&mut self, peer: Peer) {
        self.peer = peer.into();
    }

    /// Whether its messages are still handled.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open && !self.is_close_scheduled
    }

    /// Whether reading it now is useful.
    pub(in crate::engine) fn may_be_read(&self) -> bool {
        let is_stopped = match self.phase {
            Phase::Open => self.is_held || self.is_paused(),
            phase => matches!(phase, Phase::Deferred | Phase::Dead),
        };
        !is_stopped && !self.is_close_scheduled
    }

    /// Whether so much waits for it that it must be sent to before it gets more, although its
    /// socket is writable.
    #[inline]
    pub(in crate::engine) fn is_flushed_first(&self) -> bool {
        self.is_writable
            && (self.outbox.slices() >= SLICES_PER_WRITE
                || self.outbox.bytes() + self.outbox.announced() >= FLUSH_AHEAD_BYTES)
    }

    /// Whether other connections are sent to before it, alternately.
    #[inline]
    pub(super) fn has_much_to_send(&self) -> bool {
        self.outbox.bytes() > LARGE_OUTBOX_BYTES
    }

    /// Whether received bytes were left when others had their turn.
    pub(super) fn has_kept(&self) -> bool {
        let cold = self.cold.as_ref();
        self.has_rest() || cold.is_some_and(|cold| cold.is_left)
    }

    /// Whether it is or was a WebSocket: an open one has a tick for its next ping.
    pub(super) fn was_open(&self) -> bool {
        self.next_ping_tick > 0
    }

    /// The received bytes of an incomplete message or request.
    pub(super) fn held_bytes(&self) -> usize {
        let cold = self.cold.as_ref().map_or(0, |cold| cold.held.bytes());
        let rest = self.extras.pace().map_or(0, Pace::held_bytes);
        let records = self.tls.as_ref().map_or(0, |tls| tls.held_bytes());
        self.decoder.held_bytes() + cold + rest + records
    }

    /// Drops received bytes that were not used, except those needed for the answer to an unfinished
    /// request. Bytes that follow are useless then.
    pub(super) fn forget_received(&mut self, inbound: &Arc<AtomicUsize>) {
        let held = std::mem::take(&mut self.decoder).held_bytes();
        inbound.fetch_sub(held, Ordering::Relaxed);
        if let Some(cold) = &mut self.cold {
            let is_end = |byte: &u8| *byte == b'\r' || *byte == b'\n';
            let line = cold.received.iter().position(is_end);
            cold.received.truncate(line.map_or(0, |end| end + 1));
            cold.received.shrink_to_fit();
            cold.chunked = None;
            cold.held.set(inbound, cold.received.capacity());
        }
        if let Some(pace) = self.extras.pace_mut() {
            pace.forget_rest();
        }
        if let Some(tls) = &mut self.tls {
            tls.forget_kept(inbound);
        }
    }

    /// The bytes that closing it would free on average.
    pub(super) fn waiting_share(&self, shards: impl Fn(&Segment) -> usize) -> usize {
        self.outbox.share(shards) + self.unsent_bytes()
    }

    /// The bytes of records that the socket did not take.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.tls.as_ref().map_or(0, |tls| tls.unsent_bytes())
    }

    /// All bytes that are to be sent to it: outbox, records, and what is gathered for it.
    #[inline]
    pub(super) fn all_bytes(&self) -> usize {
        self.outbox.bytes() + self.outbox.announced() + self.unsent_bytes()
    }

    /// The bytes that must be sent before anything else can be: the rest of a frame, and of
    /// records.
    pub(super) fn open_bytes(&self) -> usize {
        self.outbox.open_bytes() + self.unsent_bytes()
    }

    /// Whether so little waits for it, in the outbox and elsewhere, that its endpoint wants to be
    /// told.
    #[inline]
    pub(super) fn is_at_low_water(&self, elsewhere_bytes: usize) -> bool {
        let bytes = self.all_bytes() + elsewhere_bytes;
        bytes <= self.extras.low_water_bytes()
    }

    /// Whether anything is to be sent: frames, records, or the end of TLS if nothing follows.
    pub(super) fn has_to_send(&self) -> bool {
        let is_last = self.phase == Phase::Draining;
        let tls = self.tls.as_ref();
        !self.outbox.is_empty() || tls.is_some_and(|tls| tls.has_to_send(is_last))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_page_has_exactly_these_transitions() {
        let rows = include_str!("LIFECYCLE.md").lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            let is_phase = |cell: &&str| cell.starts_with(char::is_uppercase);
            Some((
                cells.next().filter(is_phase)?,
                cells.next().filter(is_phase)?,
            ))
        });
        let on_page: BTreeSet<String> = rows.map(|(from, to)| format!("{from} {to}")).collect();
        let in_code = Phase::TRANSITIONS.iter();
        let in_code: BTreeSet<String> = in_code
            .map(|(from, to)| format!("{from:?} {to:?}"))
            .collect();
        assert_eq!(on_page, in_code);
    }

    #[test]
    fn memberships_are_found_moved_and_removed() {
        let seat = MemberSeat::new;
        let mut rooms = Memberships::default();
        for room in 0..3 {
            rooms.add(Membership {
                room,
                seat: seat(room as usize * 10),
            });
        }
        rooms.moved(1, seat(7));
        assert_eq!(rooms.remove(1), Some(seat(7)));
        assert_eq!(rooms.remove(1), None);
        assert_eq!(rooms.len(), 2);
        assert!(rooms.contains(0) && !rooms.contains(1));
        assert_eq!(rooms.remove(0), Some(seat(0)));
        assert_eq!(rooms.remove(2), Some(seat(20)));
        assert_eq!((rooms.len(), rooms.at(0)), (0, None));
    }
}
