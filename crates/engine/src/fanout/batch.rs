//! A batch: everything that one shard publishes in one turn, encoded once.

use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Recipients;
use super::room::Room;
use super::segment::{Buffer, LiveBytes};
use super::tickets::ShardSet;
use crate::limits::{MESSAGE_BYTES_MAX, SHARED_FRAME_BYTES_MAX};
use crate::wire::deflate::{Deflater, window_bits_for};
use crate::wire::frame::{Opcode, append_frame, server_frame_bytes};

/// Consecutive frames of one room, with consecutive tickets, side by side in one buffer.
#[derive(Clone)]
pub struct Run {
    /// The room itself rather than its name: a room of the same name that was made later is another
    /// one.
    pub room: Arc<Room>,
    /// The ticket of the first frame.
    pub first_ticket: u64,
    /// The number of frames.
    pub frames: u32,
    /// The first frame's number in the buffer.
    pub first_frame: u32,
    /// The range of the frames in the buffer.
    pub bytes: Range<u32>,
    /// The buffer.
    pub buffer: Arc<Buffer>,
    /// The same frames for members that can inflate, if that makes any of them smaller.
    pub deflated: Option<Deflated>,
    /// When the oldest frame was received, in nanoseconds of the process's clock.
    pub received_ns: u64,
    /// The recipients of the frames; `None` if every frame is for all members.
    pub recipients: Option<Arc<[Addressed]>>,
}

/// Consecutive frames with the same recipients. They begin at the end of those before them.
#[derive(Clone)]
pub struct Addressed {
    /// Their end, as a frame number in the run.
    pub end: u32,
    /// The recipients of each of them.
    pub recipients: Recipients,
}

/// The deflated form of a run, for members that can inflate. It has the same frames; those that
/// deflating does not make smaller are in it unchanged.
#[derive(Clone)]
pub struct Deflated {
    /// The frames of the run, and nothing else.
    pub buffer: Arc<Buffer>,
    /// The smallest window that can inflate all of them, as a power of two.
    pub window_bits: u8,
}

impl Run {
    /// The bytes of the run in both forms.
    pub fn held_bytes(&self) -> usize {
        let deflated = self.deflated.as_ref();
        self.bytes.len() + deflated.map_or(0, |deflated| deflated.buffer.bytes().len())
    }

    /// Takes the run's tickets. Returns the shards that must get it.
    pub fn take_tickets(&mut self) -> ShardSet {
        let (first, shards) = self.room.tickets.take(u64::from(self.frames));
        self.first_ticket = first;
        shards
    }
}

/// Everything that one shard publishes in one turn.
pub struct Batch {
    /// The runs. Those of one room are in order; runs of different rooms are independent.
    pub runs: Vec<Run>,
    /// The bytes of all buffers, deflated forms included.
    pub bytes: usize,
    live: Arc<LiveBytes>,
}

impl Batch {
    /// Its memory besides the buffers.
    fn cost(&self) -> usize {
        size_of::<Batch>() + self.runs.capacity() * size_of::<Run>()
    }

    /// Takes the tickets of every run. Returns the shards that must get the batch. Until the batch
    /// is handed over, later frames of its rooms wait for it on every shard, so the caller must not
    /// linger.
    pub fn take_tickets(&mut self) -> ShardSet {
        let mut shards = ShardSet::default();
        for run in &mut self.runs {
            shards.add(run.take_tickets());
        }
        shards
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.live.subtract(self.cost());
    }
}

/// The largest payload whose frame is stored in the turn's buffer.
const SHARED_PAYLOAD_BYTES_MAX: usize = SHARED_FRAME_BYTES_MAX - 4;

const _: () = assert!(server_frame_bytes(SHARED_PAYLOAD_BYTES_MAX) == SHARED_FRAME_BYTES_MAX);

/// Where frames are stored until the batch is sealed.
enum Place {
    /// In the turn's buffer, from the frame of this number on.
    Shared { first_frame: u32 },
    /// In a buffer of their own, which holds one frame.
    Large(Vec<u8>),
}

/// The deflated form of a frame, until the batch is sealed.
struct DeflatedFrame {
    bytes: Range<usize>,
    window_bits: u8,
}

/// Consecutive frames that were published to one room and for the same recipients.
struct Stretch {
    room: u32,
    frames: u32,
    place: Place,
    /// The deflated form, if there is a single frame.
    deflated: Option<DeflatedFrame>,
    /// When the oldest of them was received.
    received_ns: u64,
    recipients: Recipients,
}

impl Stretch {
    /// Whether the small frame that follows belongs to this stretch.
    #[inline]
    fn takes(&self, room: u32, recipients: &Recipients) -> bool {
        self.room == room
            && self.is_shared()
            && self.deflated.is_none()
            && self.recipients.are_surely(recipients)
    }

    fn is_shared(&self) -> bool {
        matches!(self.place, Place::Shared { .. })
    }

    /// Whether the next stretch belongs to the same run.
    fn is_of_run_with(&self, next: &Stretch) -> bool {
        self.room == next.room && self.is_shared() && next.is_shared()
    }
}

/// Gathers what a shard publishes in a turn.
pub struct BatchBuilder {
    /// The turn's buffer: small frames in the order in which they were published.
    bytes: Vec<u8>,
    /// The end of each of them.
    ends: Vec<u32>,
    /// Frames in their deflated form.
    deflated: Vec<u8>,
    /// Bytes of frames in buffers of their own.
    large_bytes: usize,
    stretches: Vec<Stretch>,
    rooms: Vec<Arc<Room>>,
    /// The index of each room in `rooms`, by epoch.
    places: FxHashMap<u64, u32>,
    /// The index of the room that was published to last.
    last_place: u32,
    /// Whether the frames of a room are not side by side.
    interleaved: bool,
    live: Arc<LiveBytes>,
}

impl BatchBuilder {
    /// An empty builder. Its buffers are counted in `live`.
    pub fn new(live: Arc<LiveBytes>) -> BatchBuilder {
        BatchBuilder {
            bytes: Vec::new(),
            ends: Vec::new(),
            deflated: Vec::new(),
            large_bytes: 0,
            stretches: Vec::new(),
            rooms: Vec::new(),
            places: FxHashMap::default(),
            last_place: 0,
            interleaved: false,
            live,
        }
    }

    /// Whether nothing was published in this turn.
    pub fn is_empty(&self) -> bool {
        self.stretches.is_empty()
    }

    /// The bytes that were published in this turn.
    pub fn bytes_pending(&self) -> usize {
        self.bytes.len() + self.deflated.len() + self.large_bytes
    }

    /// Encodes a frame. This is the only copy of its payload that is made for the whole room.
    #[inline]
    pub fn append(
        &mut self,
        room: &Arc<Room>,
        recipients: Recipients,
        opcode: Opcode,
        payload: &[u8],
        received_ns: u64,
    ) {
        debug_assert!(payload.len() <= MESSAGE_BYTES_MAX);
        let room = self.room_place(room);
        // Endpoint code may publish more in a turn than its connections sent, and positions in a
        // buffer have 32 bits.
        let is_full = self.bytes.len() > MESSAGE_BYTES_MAX;
        if is_full || payload.len() > SHARED_PAYLOAD_BYTES_MAX {
            let place = self.append_large(opcode, payload);
            return self.begin_stretch(room, place, recipients, received_ns);
        }
        let first_frame = self.ends.len() as u32;
        append_frame(&mut self.bytes, opcode, payload);
        self.ends.push(self.bytes.len() as u32);
        match self.stretches.last_mut() {
            Some(last) if last.takes(room, &recipients) => {
                last.frames += 1;
                last.received_ns = last.received_ns.min(received_ns);
            }
            _ => {
                let place = Place::Shared { first_frame };
                self.begin_stretch(room, place, recipients, received_ns);
            }
        }
    }

    #[cold]
    fn append_large(&mut self, opcode: Opcode, payload: &[u8]) -> Place {
        let mut own = Vec::with_capacity(server_frame_bytes(payload.len()));
        append_frame(&mut own, opcode, payload);
        self.large_bytes += own.len();
        Place::Large(own)
    }

    /// Begins a stretch with its first frame.
    #[inline(never)]
    fn begin_stretch(&mut self, room: u32, place: Place, recipients: Recipients, received_ns: u64) {
        self.stretches.push(Stretch {
            room,
            frames: 1,
            place,
            deflated: None,
            received_ns,
            recipients,
        });
    }

    /// Deflates the frame that was appended last, which has this opcode and payload, once for all
    /// members that can inflate. Returns whether it became smaller; if not, those members get the
    /// plain frame.
    pub fn deflate_last(
        &mut self,
        deflater: &mut Deflater,
        level: u8,
        opcode: Opcode,
        payload: &[u8],
    ) -> bool {
        let start = self.deflated.len();
        if !deflater.append(&mut self.deflated, opcode, payload, level) {
            return false;
        }
        self.part_last_frame();
        if let Some(last) = self.stretches.last_mut() {
            last.deflated = Some(DeflatedFrame {
                bytes: start..self.deflated.len(),
                window_bits: window_bits_for(payload.len()),
            });
        }
        true
    }

    /// Moves the frame that was appended last into a stretch of its own.
    fn part_last_frame(&mut self) {
        if let Some(last) = self.stretches.last_mut()
            && last.frames > 1
        {
            last.frames -= 1;
            let (room, received_ns) = (last.room, last.received_ns);
            let recipients = last.recipients.clone();
            let first_frame = self.ends.len() as u32 - 1;
            let place = Place::Shared { first_frame };
            self.begin_stretch(room, place, recipients, received_ns);
        }
    }

    #[inline]
    fn room_place(&mut self, room: &Arc<Room>) -> u32 {
        let last = self.rooms.get(self.last_place as usize);
        match last.is_some_and(|last| last.epoch == room.epoch) {
            true => self.last_place,
            false => self.enter_room(room),
        }
    }

    #[inline(never)]
    fn enter_room(&mut self, room: &Arc<Room>) -> u32 {
        let place = self.rooms.len() as u32;
        let known = *self.places.entry(room.epoch).or_insert(place);
        if known == place {
            self.rooms.push(Arc::clone(room));
        } else {
            self.interleaved = true;
        }
        self.last_place = known;
        known
    }

    /// Freezes what was gathered: the frames of each room side by side, in the order in which they
    /// were published, in buffers of their exact size. The caller takes the tickets.
    pub fn seal(&mut self) -> Batch {
        if self.interleaved {
            self.stretches.sort_by_key(|stretch| stretch.room);
        }
        let shared = self.freeze_shared();
        let mut batch = Batch {
            runs: Vec::new(),
            bytes: 0,
            live: Arc::clone(&self.live),
        };
        let mut gather = Gather {
            first_frame: 0,
            position: 0,
            shared,
            deflated: &self.deflated,
            live: &self.live,
        };
        for stretches in self.stretches.chunk_by_mut(Stretch::is_of_run_with) {
            let room = Arc::clone(&self.rooms[stretches[0].room as usize]);
            let run = match stretches {
                [
                    Stretch {
                        place: Place::Large(own),
                        ..
                    },
                ] => {
                    let own = std::mem::take(own);
                    gather.large_run(room, own, stretches)
                }
                _ => gather.run(room, stretches),
            };
            batch.bytes += run.held_bytes();
            batch.runs.push(run);
        }
        self.live.add(batch.cost());
        self.reset();
        batch
    }

    /// The memory that it keeps from one turn to the next, in bytes.
    pub fn held_bytes(&self) -> usize {
        let ends = self.ends.capacity() * size_of::<u32>();
        let stretches = self.stretches.capacity() * size_of::<Stretch>();
        let rooms = self.rooms.capacity() * size_of::<Arc<Room>>();
        let places = self.places.capacity() * size_of::<(u64, u32)>();
        self.bytes.capacity() + ends + self.deflated.capacity() + stretches + rooms + places
    }

    /// The turn's buffer with the frames in the order of `self.stretches`. A small buffer is
    /// copied, so that the builder keeps its own, which is in the cache; a large one is handed over
    /// if it is in order.
    fn freeze_shared(&mut self) -> Arc<Buffer> {
        let (bytes, ends) = if self.interleaved {
            self.gathered()
        } else if self.bytes.len() <= SHARED_FRAME_BYTES_MAX {
            (self.bytes.as_slice().to_vec(), self.frame_ends())
        } else {
            // As large as turns have needed so far, so that no frame is moved while it grows.
            let next = Vec::with_capacity(self.bytes.capacity());
            let bytes = std::mem::replace(&mut self.bytes, next);
            (bytes, self.frame_ends())
        };
        Arc::new(Buffer::new(bytes, ends, &self.live))
    }

    /// The index of the turn's buffer; empty if it is a single frame.
    fn frame_ends(&self) -> Box<[u32]> {
        match self.ends.len() {
            1 => Box::default(),
            _ => self.ends.as_slice().into(),
        }
    }

    /// The small frames in the order of `self.stretches`, and the end of each.
    fn gathered(&self) -> (Vec<u8>, Box<[u32]>) {
        let mut bytes = Vec::with_capacity(self.bytes.len());
        let mut ends = Vec::with_capacity(self.ends.len());
        for stretch in &self.stretches {
            let Place::Shared { first_frame } = stretch.place else {
                continue;
            };
            let first = first_frame as usize;
            let start = first.checked_sub(1).map_or(0, |before| self.ends[before]);
            let own = &self.ends[first..first + stretch.frames as usize];
            let end = own.last().map_or(start, |end| *end);
            let before = bytes.len() as u32;
            ends.extend(own.iter().map(|end| end - start + before));
            bytes.extend_from_slice(&self.bytes[start as usize..end as usize]);
        }
        debug_assert_eq!(bytes.len(), self.bytes.len());
        (bytes, ends.into_boxed_slice())
    }

    fn reset(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.deflated.clear();
        self.large_bytes = 0;
        self.stretches.clear();
        self.rooms.clear();
        self.places.clear();
        self.interleaved = false;
    }

    /// Gives back memory that grew under load. Called every few seconds, between turns.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            self.bytes = Vec::new();
            self.ends = Vec::new();
            self.deflated = Vec::new();
            self.stretches = Vec::new();
            self.rooms = Vec::new();
            self.places = FxHashMap::default();
        }
    }
}

/// Walks the turn's buffer and cuts runs from it.
struct Gather<'a> {
    first_frame: u32,
    position: u32,
    shared: Arc<Buffer>,
    deflated: &'a [u8],
    live: &'a Arc<LiveBytes>,
}

impl Gather<'_> {
    /// The next run in the turn's buffer.
    fn run(&mut self, room: Arc<Room>, stretches: &mut [Stretch]) -> Run {
        let frames = stretches.iter().map(|stretch| stretch.frames).sum();
        let first_frame = self.first_frame;
        self.first_frame += frames;
        let start = self.position;
        self.position = self.shared.frame_range(self.first_frame - 1).end;
        Run {
            room,
            first_ticket: 0,
            frames,
            first_frame,
            bytes: start..self.position,
            deflated: self.variant(stretches, first_frame..first_frame + frames),
            buffer: Arc::clone(&self.shared),
            received_ns: received_ns(stretches),
            recipients: take_recipients(stretches),
        }
    }

    /// A run of one frame in a buffer of its own.
    fn large_run(&self, room: Arc<Room>, own: Vec<u8>, stretches: &mut [Stretch]) -> Run {
        let buffer = Arc::new(Buffer::new(own, Box::default(), self.live));
        let deflated = stretches
            .iter()
            .find_map(|stretch| stretch.deflated.as_ref());
        Run {
            room,
            first_ticket: 0,
            frames: 1,
            first_frame: 0,
            bytes: 0..buffer.bytes().len() as u32,
            buffer,
            deflated: deflated.map(|deflated| self.alone(deflated)),
            received_ns: received_ns(stretches),
            recipients: take_recipients(stretches),
        }
    }

    /// The deflated form of a run in the turn's buffer whose frames have these numbers: each frame
    /// deflated, or copied if deflating did not pay.
    fn variant(&self, stretches: &[Stretch], numbers: Range<u32>) -> Option<Deflated> {
        let deflated = stretches.iter().flat_map(|stretch| &stretch.deflated);
        let window_bits = deflated.map(|deflated| deflated.window_bits).max()?;
        let each_frame = stretches
            .iter()
            .flat_map(|stretch| (0..stretch.frames).map(|_| &stretch.deflated));
        let encoded = |(number, deflated): (u32, &Option<DeflatedFrame>)| match deflated {
            Some(deflated) => &self.deflated[deflated.bytes.clone()],
            None => {
                let range = self.shared.frame_range(number);
                &self.shared.bytes()[range.start as usize..range.end as usize]
            }
        };
        let encoded: Vec<&[u8]> = numbers.zip(each_frame).map(encoded).collect();
        let ends = encoded.iter().scan(0, |end, bytes| {
            *end += bytes.len() as u32;
            Some(*end)
        });
        let ends = match encoded.len() {
            1 => Box::default(),
            _ => ends.collect(),
        };
        let buffer = Buffer::new(encoded.concat(), ends, self.live);
        Some(Deflated {
            buffer: Arc::new(buffer),
            window_bits,
        })
    }

    /// The deflated form of a run of one frame.
    fn alone(&self, deflated: &DeflatedFrame) -> Deflated {
        let bytes = self.deflated[deflated.bytes.clone()].to_vec();
        Deflated {
            buffer: Arc::new(Buffer::new(bytes, Box::default(), self.live)),
            window_bits: deflated.window_bits,
        }
    }
}

/// When the oldest frame was received.
fn received_ns(stretches: &[Stretch]) -> u64 {
    let received_ns = stretches.iter().map(|stretch| stretch.received_ns);
    received_ns.min().unwrap_or(0)
}

/// Removes the recipients of the frames; `None` if every frame is for all members.
fn take_recipients(stretches: &mut [Stretch]) -> Option<Arc<[Addressed]>> {
    let mut each = stretches.iter().map(|stretch| &stretch.recipients);
    if each.all(|recipients| matches!(recipients, Recipients::All)) {
        return None;
    }
    let mut end = 0;
    let addressed = stretches.iter_mut().map(|stretch| {
        end += stretch.frames;
        let recipients = std::mem::take(&mut stretch.recipients);
        Addressed { end, recipients }
    });
    Some(addressed.collect())
}

#[cfg(test)]
mod tests;
