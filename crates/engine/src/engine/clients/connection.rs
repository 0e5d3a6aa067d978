//! One connection, as its shard keeps it. See `LIFECYCLE.md` beside this file for the phases.
//!
//! An idle connection is this entry and nothing else: what is needed only now and then is boxed
//! while it is needed.

use std::any::Any;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use indexmap::IndexMap;
use mio::event::Event;
use rustc_hash::FxBuildHasher;

use super::extras::Extras;
use super::held::Held;
use super::pace::Pace;
use super::peer::Peer;
use crate::clock::Tick;
use crate::counter::Counter;
use crate::engine::answer::{AnswerSlot, HeadVerdict, Terms};
use crate::engine::over_limit::OverLimit;
use crate::engine::stats::ShardStats;
use crate::engine::stream::Stream;
use crate::engine::tls::TlsSession;
use crate::fanout::outbox::Outbox;
use crate::fanout::room::EndpointId;
use crate::fanout::segment::Segment;
use crate::limits::{
    COMPRESSED_READ_BYTES_MAX, FLUSH_AHEAD_BYTES, LARGE_OUTBOX_BYTES, READ_QUANTUM_BYTES,
    SLICES_PER_WRITE,
};
use crate::sparse::Sparse as _;
use crate::wire::decoder::Decoder;
use crate::wire::http::ChunkedDecoder;

/// Where a connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::engine) enum Phase {
    /// The TLS handshake is under way.
    Handshake,
    /// An HTTP request is expected, or part of it is there.
    Request,
    /// An endpoint's answer to the request is awaited; nothing is read meanwhile.
    Deferred,
    /// A WebSocket.
    Open,
    /// Our Close frame is on its way; the client's is awaited, and its data is ignored.
    Closing,
    /// Nothing follows what is in the outbox. Then the stream is finished.
    Draining,
    /// All was sent and the stream finished; the client's end of it is awaited.
    Lingering,
    /// To be removed at the end of a turn, as soon as it has left its rooms.
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

/// A membership: the room's place on this shard, and the connection's place among its members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Membership {
    pub(super) room: u32,
    pub(super) place: u32,
}

/// Places by rooms, in the order of joining until one is left: the last one takes its place then.
type Places = IndexMap<u32, u32, FxBuildHasher>;

/// The rooms of a connection. Most have one. Whatever their number, each of them is joined, found
/// and left in constant time.
#[derive(Debug, Default)]
pub(super) enum Memberships {
    #[default]
    None,
    One(Membership),
    Many(Box<Places>),
}

impl Memberships {
    pub(super) fn len(&self) -> usize {
        match self {
            Memberships::None => 0,
            Memberships::One(_) => 1,
            Memberships::Many(many) => many.len(),
        }
    }

    /// The membership at `index`, of [`Memberships::len`].
    pub(super) fn at(&self, index: usize) -> Option<Membership> {
        match self {
            Memberships::One(one) => Some(*one).filter(|_| index == 0),
            Memberships::Many(many) => {
                let (room, place) = many.get_index(index)?;
                Some(Membership {
                    room: *room,
                    place: *place,
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
    pub(super) fn seat_in(&self, room: u32) -> Option<u32> {
        match self {
            Memberships::One(one) => (one.room == room).then_some(one.place),
            Memberships::Many(many) => many.get(&room).copied(),
            Memberships::None => None,
        }
    }

    pub(super) fn add(&mut self, membership: Membership) {
        debug_assert!(!self.contains(membership.room));
        match self {
            Memberships::None => *self = Memberships::One(membership),
            Memberships::One(one) => {
                let both = [*one, membership].map(|each| (each.room, each.place));
                *self = Memberships::Many(Box::new(both.into_iter().collect()));
            }
            Memberships::Many(many) => {
                many.insert(membership.room, membership.place);
            }
        }
    }

    /// Takes the membership of `room` out. Returns the connection's place in it.
    pub(super) fn remove(&mut self, room: u32) -> Option<u32> {
        match self {
            Memberships::One(one) if one.room == room => {
                let place = one.place;
                *self = Memberships::None;
                Some(place)
            }
            Memberships::Many(many) => {
                let place = many.swap_remove(&room);
                many.shrink_sparse();
                place
            }
            _ => None,
        }
    }

    /// Notes that the connection's place in `room` has changed.
    pub(super) fn moved(&mut self, room: u32, place: u32) {
        match self {
            Memberships::One(one) if one.room == room => one.place = place,
            Memberships::Many(many) => {
                if let Some(known) = many.get_mut(&room) {
                    *known = place;
                }
            }
            _ => {}
        }
    }
}

/// The state of a connection before it is open.
#[derive(Default)]
pub(in crate::engine) struct Cold {
    /// Received and not yet used: the request so far, or what followed it.
    pub(in crate::engine) received: Vec<u8>,
    /// How much has to be there before it is worth looking at, where the head is whole; zero: it
    /// is not.
    pub(in crate::engine) wanted_bytes: usize,
    /// The body so far, where it is chunked.
    pub(in crate::engine) chunked: Option<Chunked>,
    /// The verdict on the head of a request whose body is awaited.
    pub(in crate::engine) verdict: Option<HeadVerdict>,
    /// The slot for a deferred answer.
    pub(in crate::engine) answer: Option<Arc<AnswerSlot>>,
    /// The terms on which that answer lets the client in.
    pub(in crate::engine) terms: Option<Terms>,
    /// The proxy whose connection it is, once [`Connection::peer`] is its client.
    pub(in crate::engine) proxy: Option<SocketAddr>,
    /// The memory that all of this takes.
    pub(in crate::engine) held: Held,
    /// The client was told to send the body.
    pub(in crate::engine) is_body_invited: bool,
    /// What was received has not been looked at to its end, since others had their turn.
    pub(in crate::engine) is_left: bool,
    /// What waited to be sent when the client was last found to be late.
    pub(in crate::engine) unsent_bytes: Option<usize>,
}

/// A chunked body that is being read.
pub(in crate::engine) struct Chunked {
    pub(in crate::engine) decoder: ChunkedDecoder,
    pub(in crate::engine) body: Vec<u8>,
    /// How much of what was received is the head, and chunks that were read.
    pub(in crate::engine) consumed: usize,
}

/// A socket that is to become a connection.
pub(in crate::engine) struct Arrival {
    pub(in crate::engine) stream: Stream,
    pub(in crate::engine) tls: Option<TlsSession>,
    pub(in crate::engine) peer: SocketAddr,
    /// It is let in only to be told so.
    pub(in crate::engine) over_limit: Option<OverLimit>,
    pub(in crate::engine) is_counted: bool,
    pub(in crate::engine) awaits_proxy_header: bool,
    /// When its first request has to be there, on the clock of reading.
    pub(in crate::engine) deadline_tick: Tick,
}

/// The outcome of one `recv`.
pub(in crate::engine) enum Received {
    /// The buffer is filled up to `end`, what was kept in front included, with `new` bytes of it
    /// just received. Where `is_drained`, the socket has nothing more for now.
    Bytes {
        end: usize,
        new: usize,
        is_drained: bool,
    },
    /// A signal came instead.
    Interrupted,
    /// There is nothing for now.
    Nothing,
    /// The client has finished its stream.
    End,
    /// The connection is gone.
    Gone,
}

/// Whether an endpoint wants to be told when little waits for its client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LowWater {
    Unasked,
    Awaited,
    /// Little was in the outbox: it is looked at again after the flush of the turn.
    Noted,
}

/// One connection.
pub(in crate::engine) struct Connection {
    pub(super) stream: Stream,
    pub(super) tls: Option<Box<TlsSession>>,
    pub(super) outbox: Outbox,
    pub(super) decoder: Decoder,
    /// What the endpoint keeps for it.
    pub(super) state: Option<Box<dyn Any + Send>>,
    pub(super) extras: Extras,
    pub(super) rooms: Memberships,
    pub(super) cold: Option<Box<Cold>>,
    peer: Peer,
    pub(super) generation: u32,
    /// When something was last heard, on the clock of reading.
    pub(super) heard_tick: Tick,
    /// When the phase ends at the latest (request and deferred: on the clock of reading).
    pub(super) deadline_tick: Tick,
    pub(super) next_ping_tick: Tick,
    /// Since when a message is unfinished, on the clock of reading; zero: none is.
    pub(super) message_since_tick: Tick,
    pub(super) endpoint: EndpointId,
    pub(super) phase: Phase,
    /// The window with which the client inflates, as a power of two; zero: permessage-deflate was
    /// not agreed on. It stays as it is while the connection is open.
    pub(super) window_bits: u8,
    pub(super) over_limit: Option<OverLimit>,
    /// The last read may have left something.
    pub(super) is_readable: bool,
    /// The last send did not block.
    pub(super) is_writable: bool,
    /// The operating system said that nothing more will come: read on to the end.
    pub(super) is_read_closed: bool,
    /// It is in the list of connections to be read.
    pub(super) is_queued_to_read: bool,
    /// It is in the list of connections to be flushed.
    pub(super) is_dirty: bool,
    /// It is in the list of connections whose last send would have blocked.
    pub(super) is_lagging: bool,
    /// It is about to be closed: the reason is noted.
    pub(super) is_close_scheduled: bool,
    /// What it was being sent was dropped within a frame, so nothing can follow.
    pub(super) is_cut: bool,
    /// It counts towards its address's limit; with `is_apart`, that of those who are refused.
    pub(super) is_counted: bool,
    /// It has one of the places for those who are refused or linger, and no other.
    pub(super) is_apart: bool,
    /// A header of the PROXY protocol has to come first.
    pub(super) awaits_proxy_header: bool,
    /// Its endpoint wants nothing more of it to be read for now.
    pub(super) is_held: bool,
    /// Whether its endpoint is to be told when little waits for it: [`Extras::low_water_bytes`].
    pub(super) low_water: LowWater,
    /// It is somebody's whom that header does not name: it counts towards the proxy's own address.
    pub(super) is_of_unknown_client: bool,
}

/// A page of 64 of them is 12 KiB, which is a size that the allocator has. In a build for
/// debugging mio keeps a number for each socket.
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

    /// The limit past which it was let in only to be told so.
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

    /// Bytes that wait to be sent.
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

    /// Its state before it is open, if there is any.
    pub(in crate::engine) fn cold(&self) -> Option<&Cold> {
        self.cold.as_deref()
    }

    /// As [`Connection::cold`].
    pub(in crate::engine) fn cold_if_any(&mut self) -> Option<&mut Cold> {
        self.cold.as_deref_mut()
    }

    /// The state before the connection is open, created on first use.
    pub(in crate::engine) fn cold_mut(&mut self) -> &mut Cold {
        self.cold.get_or_insert_default()
    }

    /// Takes that state out: the request is over.
    pub(in crate::engine) fn take_cold(&mut self) -> Option<Box<Cold>> {
        self.cold.take()
    }

    #[inline]
    pub(in crate::engine) fn awaits_proxy_header(&self) -> bool {
        self.awaits_proxy_header
    }

    /// The header of the PROXY protocol has come.
    pub(in crate::engine) fn note_proxy_header(&mut self) {
        self.awaits_proxy_header = false;
    }

    /// Whether it is somebody's whom the proxy does not name.
    #[inline]
    pub(in crate::engine) fn is_of_unknown_client(&self) -> bool {
        self.is_of_unknown_client
    }

    /// The proxy has said that it does not know whose it is.
    pub(in crate::engine) fn note_unknown_client(&mut self) {
        self.is_of_unknown_client = true;
    }

    /// Notes what the operating system says of its socket. Returns whether there is something to be
    /// read, and whether the socket takes something again that waits.
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

    /// Whether nothing will come after what is there.
    #[inline]
    pub(in crate::engine) fn is_read_closed(&self) -> bool {
        self.is_read_closed
    }

    /// It has its turn to be read.
    #[inline]
    pub(in crate::engine) fn leave_read_queue(&mut self) {
        self.is_queued_to_read = false;
    }

    /// Reads once, behind the incomplete TLS record that was kept, if one was: at most `paced_max`
    /// bytes, and less while others wait or what comes is compressed. Inlined for the sake of
    /// [`Stream::read`].
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
                // A short read has drained the socket; where the end is near, read up to it.
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

    /// The client's address; the proxy's until it has said whose connection it is.
    pub(in crate::engine) fn peer(&self) -> SocketAddr {
        self.peer.into()
    }

    /// The IP address of [`Connection::peer`].
    pub(in crate::engine) fn ip(&self) -> IpAddr {
        self.peer.ip()
    }

    /// A proxy has said whose connection it is.
    pub(in crate::engine) fn set_peer(&mut self, peer: SocketAddr) {
        self.peer = peer.into();
    }

    /// Whether its messages still count.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open && !self.is_close_scheduled
    }

    /// Whether there is any use in reading it now.
    pub(in crate::engine) fn may_be_read(&self) -> bool {
        let is_stopped = match self.phase {
            Phase::Open => self.is_held || self.is_paused(),
            phase => matches!(phase, Phase::Deferred | Phase::Dead),
        };
        !is_stopped && !self.is_close_scheduled
    }

    /// Whether so much waits for it that it has to be sent before more comes to it, though its
    /// socket takes what it is given.
    #[inline]
    pub(in crate::engine) fn is_flushed_first(&self) -> bool {
        self.is_writable
            && (self.outbox.slices() >= SLICES_PER_WRITE
                || self.outbox.bytes() + self.outbox.announced() >= FLUSH_AHEAD_BYTES)
    }

    /// Whether others are sent to before it, turn by turn.
    #[inline]
    pub(super) fn has_much_to_send(&self) -> bool {
        self.outbox.bytes() > LARGE_OUTBOX_BYTES
    }

    /// Whether something was received and left when others had their turn.
    pub(super) fn has_kept(&self) -> bool {
        let cold = self.cold.as_ref();
        self.has_rest() || cold.is_some_and(|cold| cold.is_left)
    }

    /// Whether it is a WebSocket or was one: an open one has a tick for its next ping.
    pub(super) fn was_open(&self) -> bool {
        self.next_ping_tick > 0
    }

    /// What was received of a message or a request that is not whole.
    pub(super) fn held_bytes(&self) -> usize {
        let cold = self.cold.as_ref().map_or(0, |cold| cold.held.bytes());
        let rest = self.extras.pace().map_or(0, Pace::held_bytes);
        let records = self.tls.as_ref().map_or(0, |tls| tls.held_bytes());
        self.decoder.held_bytes() + cold + rest + records
    }

    /// Lets go of what was received and not yet used, all but what an answer to an unfinished
    /// request needs. Nothing that comes is of any use then.
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

    /// What closing it would free of what waits for it, on average.
    pub(super) fn waiting_share(&self, shards: impl Fn(&Segment) -> usize) -> usize {
        self.outbox.share(shards) + self.unsent_bytes()
    }

    /// Records that the socket did not take, in bytes.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.tls.as_ref().map_or(0, |tls| tls.unsent_bytes())
    }

    /// All that is to be sent to it: what waits, records, and what is gathered for it.
    #[inline]
    pub(super) fn all_bytes(&self) -> usize {
        self.outbox.bytes() + self.outbox.announced() + self.unsent_bytes()
    }

    /// What has to be sent before anything else can be: the rest of a frame, and of records.
    pub(super) fn open_bytes(&self) -> usize {
        self.outbox.open_bytes() + self.unsent_bytes()
    }

    /// Whether so little is in its outbox, and waits elsewhere, that its endpoint wants to be told.
    #[inline]
    pub(super) fn is_at_low_water(&self, elsewhere_bytes: usize) -> bool {
        let bytes = self.all_bytes() + elsewhere_bytes;
        bytes <= self.extras.low_water_bytes()
    }

    /// Whether anything waits to be sent: frames, records, or the end of TLS where nothing follows.
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
        let mut rooms = Memberships::default();
        for room in 0..3 {
            rooms.add(Membership {
                room,
                place: room * 10,
            });
        }
        rooms.moved(1, 7);
        assert_eq!(rooms.remove(1), Some(7));
        assert_eq!(rooms.remove(1), None);
        assert_eq!(rooms.len(), 2);
        assert!(rooms.contains(0) && !rooms.contains(1));
        assert_eq!(rooms.remove(0), Some(0));
        assert_eq!(rooms.remove(2), Some(20));
        assert_eq!((rooms.len(), rooms.at(0)), (0, None));
    }
}
